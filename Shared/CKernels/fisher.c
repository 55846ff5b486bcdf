#include "include/CKernels.h"
#include "vectors.h"

#include <math.h>

// The integral behind the confidence of an edge, eight points of a quadrature at a time.

#define FILL(x) ((f64x8){0} + (x))

/// e^x within 2 units in the last place for |x| < 700: 2^n times Taylor's series on |r| <= ln(2) / 2, whose next term is
/// under 5e-18. Not contracted, so the bits are the same on every machine; those of libm are not.
INLINE void exponentials(f64x8 *values) {
#pragma clang fp contract(off)
    static const double inverses[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1};
    const double shift = 0x1.8p52;
    const f64x8 x = *values, moved = x * 0x1.71547652b82fep0 + shift, n = moved - shift;
    // ln 2 in two parts, the first with zeros at its end: n times it is exact.
    const f64x8 r = (x - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    f64x8 sum = FILL(inverses[0]);
    for (int k = 1; k < 14; k++) sum = sum * r + inverses[k];
    i64x8 bits, power;
    memcpy(&bits, &sum, sizeof bits);
    memcpy(&power, &moved, sizeof power);
    // The low bits of `moved` hold n; adding them to the exponent multiplies by 2^n.
    bits += power << 52;
    memcpy(values, &bits, sizeof bits);
}

/// The positive half of the 12-point Gauss-Legendre rule (Abramowitz and Stegun, table 25.4) and its mirror image, filled
/// up with points of no weight.
static const double positions[16] = {
    -0.981560634246719, -0.904117256370475, -0.769902674194305, -0.587317954286617, -0.367831498998180,
    -0.125233408511469, 0.125233408511469,  0.367831498998180,  0.587317954286617,  0.769902674194305,
    0.904117256370475,  0.981560634246719,  0, 0, 0, 0};
static const double weights[16] = {
    0.047175336386512, 0.106939325995318, 0.160078328543346, 0.203167426723066, 0.233492536538355, 0.249147045813403,
    0.249147045813403, 0.233492536538355, 0.203167426723066, 0.160078328543346, 0.106939325995318, 0.047175336386512,
    0, 0, 0, 0};

CLONES double kernel_fisher_mass(double low, double high, double z, double deviation) {
#pragma clang fp contract(off)
    if (!(low < high)) return 0;
    double panels = __builtin_ceil((high - low) / (4 * deviation));
    if (panels < 1) panels = 1;
    const double half = (high - low) / (2 * panels), scale = 1 / deviation;
    f64x8 total = {0};
    for (double panel = 0; panel < panels; panel += 1) {
        const double middle = low + half * (2 * panel + 1);
        for (int part = 0; part < 16; part += 8) {
            f64x8 position, weight;
            memcpy(&position, positions + part, sizeof position);
            memcpy(&weight, weights + part, sizeof weight);
            const f64x8 x = middle + half * position, distance = (x - z) * scale;
            // sech^2(x) = 4 e^(-2x) / (1 + e^(-2x))^2; one exponential carries the normal and e^(-2 (x - z)).
            f64x8 decay = -2.0 * x, density = -0.5 * distance * distance - 2.0 * (x - z);
            exponentials(&decay);
            exponentials(&density);
            decay += 1.0;
            total += weight * density / (decay * decay);
        }
    }
    return JOIN(total) * half;
}
