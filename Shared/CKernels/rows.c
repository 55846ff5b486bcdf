#include "include/CKernels.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

// What is done once for each series: median, clipping, prefix sums, moments of all lags.
#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));

#define LOAD64(p) ({ f64x8 v_; memcpy(&v_, (p), sizeof v_); v_; })
#define JOIN(s) ((((s)[0] + (s)[4]) + ((s)[2] + (s)[6])) + (((s)[1] + (s)[5]) + ((s)[3] + (s)[7])))
#define SELECT(mask, a, b) ((f64x8)(((mask) & (i64x8)(a)) | (~(mask) & (i64x8)(b))))

/// Doubles as integers of the same order.
INLINE int64_t ordered(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? INT64_MIN - bits : bits;
}

INLINE double disordered(int64_t key) {
    int64_t bits = key < 0 ? INT64_MIN - key : key;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/// The median by counting: a pivot with as many values under it as the rank needs lies between the two middle values, so
/// one more pass gives both. Interpolating between counts finds it in about five passes; where values crowd or repeat,
/// halving the range of bit patterns ends the search. The answer is exact and has the same bits on every machine.
INLINE double median(const double *x, ptrdiff_t count, double low, double high, double guess) {
    const ptrdiff_t whole = count / 8 * 8, rank = count / 2;
    // Past the end NaN, of which no comparison is true.
    f64x8 last = (f64x8){0} + NAN;
    memcpy(&last, x + whole, (size_t)(count - whole) * sizeof(double));
    // Values at or below `low`: `under`, at most rank; values below `high`: `over`, more than rank.
    ptrdiff_t under = 0, over = count;
    double pivot = guess;
    for (int pass = 0;; pass++) {
        if (!(pivot > low && pivot < high)) pivot = low + (high - low) * 0.5;
        if (pass >= 12 || !(pivot > low && pivot < high)) {
            int64_t a = ordered(low), b = ordered(high);
            pivot = disordered((a & b) + ((a ^ b) >> 1));
        }
        i64x8 less = {0}, equal = {0};
        for (ptrdiff_t t = 0; t < whole; t += 8) {
            f64x8 v = LOAD64(x + t);
            less += v < pivot;
            equal += v <= pivot;
        }
        less += last < pivot;
        equal += last <= pivot;
        const ptrdiff_t below = -JOIN(less), upTo = -JOIN(equal);
        if (below < rank && upTo > rank) return pivot;
        if (below == rank || upTo == rank) {
            f64x8 top = (f64x8){0} + INFINITY, bottom = (f64x8){0} - INFINITY;
            const int inclusive = below != rank;
            for (ptrdiff_t t = 0; t < whole + 8; t += 8) {
                f64x8 v = t < whole ? LOAD64(x + t) : last;
                i64x8 left = inclusive ? v <= pivot : v < pivot;
                i64x8 right = inclusive ? v > pivot : v >= pivot;
                f64x8 lefts = SELECT(left, v, (f64x8){0} - INFINITY), rights = SELECT(right, v, (f64x8){0} + INFINITY);
                bottom = SELECT(lefts > bottom, lefts, bottom);
                top = SELECT(rights < top, rights, top);
            }
            double lower = bottom[0], upper = top[0];
            for (int k = 1; k < 8; k++) {
                lower = bottom[k] > lower ? bottom[k] : lower;
                upper = top[k] < upper ? top[k] : upper;
            }
            return count % 2 ? upper : (lower + upper) / 2;
        }
        if (below > rank) {
            high = pivot;
            over = below;
        } else {
            low = pivot;
            under = upTo;
        }
        pivot = low + (high - low) * ((double)(rank - under) / (double)(over - under));
    }
}

struct extent { double low, high, sum; };

INLINE struct extent extent(const double *x, ptrdiff_t count) {
    struct extent e = {x[0], x[0], 0};
    f64x8 low = (f64x8){0} + x[0], high = low, sum = {0};
    ptrdiff_t t = 0;
    for (; t + 8 <= count; t += 8) {
        f64x8 v = LOAD64(x + t);
        sum += v;
        low = SELECT(v < low, v, low);
        high = SELECT(v > high, v, high);
    }
    e.sum = JOIN(sum);
    for (int k = 0; k < 8; k++) {
        e.low = low[k] < e.low ? low[k] : e.low;
        e.high = high[k] > e.high ? high[k] : e.high;
    }
    for (; t < count; t++) {
        e.sum += x[t];
        e.low = x[t] < e.low ? x[t] : e.low;
        e.high = x[t] > e.high ? x[t] : e.high;
    }
    return e;
}

INLINE double middle(const double *x, ptrdiff_t count, struct extent e, double guess) {
    if (e.low == e.high) return e.low;
    return median(x, count, disordered(ordered(e.low) - 1), disordered(ordered(e.high) + 1), guess);
}

CLONES double kernel_median(const double *x, ptrdiff_t count) {
    struct extent e = extent(x, count);
    return middle(x, count, e, e.sum / (double)count);
}

CLONES ptrdiff_t kernel_clip_range(const double *x, ptrdiff_t count, double *scratch, double *range) {
    const struct extent e = extent(x, count);
    const double centre = middle(x, count, e, e.sum / (double)count);
    ptrdiff_t differing = 0;
    for (ptrdiff_t t = 0; t < count; t++) {
        scratch[t] = __builtin_fabs(x[t] - centre);
        differing += scratch[t] > 0;
    }
    const struct extent d = extent(scratch, count);
    const double mean = d.sum / (double)count;
    const double deviation = middle(scratch, count, d, 0.85 * mean);
    const double scale = deviation > 0 ? 1.4826 * deviation : 1.2533 * mean;
    range[0] = centre - 3 * scale;
    range[1] = centre + 3 * scale;
    range[2] = -e.low > e.high ? -e.low : e.high;
    return differing;
}

CLONES void kernel_centre(
    const double *x, ptrdiff_t length, ptrdiff_t window, const double *range, double *values, double *sums,
    double *squares) {
#pragma clang fp contract(off)
    const double low = range[0], high = range[1];
    for (ptrdiff_t t = 0; t < length; t++) {
        double v = x[t] > low ? x[t] : low;
        values[t] = v < high ? v : high;
    }
    const double *inside = values + length - window;
    // In two steps, so that a large offset costs no digits.
    const double rough = extent(inside, window).sum / (double)window;
    f64x8 rests = {0};
    ptrdiff_t t = 0;
    for (; t + 8 <= window; t += 8) rests += LOAD64(inside + t) - rough;
    double rest = JOIN(rests);
    for (; t < window; t++) rest += inside[t] - rough;
    const double mean = rough + rest / (double)window;
    double sum = 0, square = 0;
    sums[0] = squares[0] = 0;
    for (t = 0; t < length; t++) {
        double v = values[t] - mean;
        values[t] = v;
        sum += v;
        square += v * v;
        sums[t + 1] = sum;
        squares[t + 1] = square;
    }
}

CLONES double kernel_lag_factors(
    const double *sums, const double *squares, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, double scale,
    float *const *factors, ptrdiff_t stride) {
    double condition = 1;
    const double floor = 1e-11 * squares[length];
    for (ptrdiff_t first = 0; first <= lags; first += 8) {
        for (int isFollower = 0; isFollower < 2; isFollower++) {
            f64x8 sum, square, size;
            for (ptrdiff_t k = 0; k < 8; k++) {
                ptrdiff_t lag = first + k <= lags ? first + k : lags;
                ptrdiff_t overlap = length - lag < window ? length - lag : window;
                if (overlap < 2) overlap = 0;
                ptrdiff_t end = isFollower ? length : length - lag;
                if (overlap == 0) end = 0;
                sum[k] = sums[end] - sums[end - overlap];
                square[k] = squares[end] - squares[end - overlap];
                size[k] = overlap ? (double)overlap : 1;
            }
            const f64x8 offset = sum * sum / size;
            f64x8 energy = square - offset;
            const i64x8 known = energy > floor;
            energy = SELECT(known, energy, (f64x8){0} + 1.0);
            const f64x8 mean = sum * scale / __builtin_elementwise_sqrt(size);
            const f64x8 inverse = 1.0 / (__builtin_elementwise_sqrt(energy) * scale);
            const f64x8 excess = 1.0 + offset / energy;
            float *means = factors[2 * isFollower], *inverses = factors[2 * isFollower + 1];
            for (ptrdiff_t k = 0; k < 8 && first + k <= lags; k++) {
                if (!known[k]) continue;
                means[(first + k) * stride] = (float)mean[k];
                inverses[(first + k) * stride] = (float)inverse[k];
                condition = excess[k] > condition ? excess[k] : condition;
            }
        }
    }
    return condition;
}
