#include "include/CKernels.h"
#include "vectors.h"

#include <float.h>
#include <math.h>

// What is done once for each series: median, clipping, prefix sums, moments of all lags.

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

CLONES double kernel_extreme(const double *x, ptrdiff_t count) {
    const struct extent e = extent(x, count);
    return -e.low > e.high ? -e.low : e.high;
}

CLONES int kernel_is_finite(const double *x, ptrdiff_t count) {
    // A sum of products with 0 is 0 unless a value is not finite.
    f64x8 traces = {0};
    ptrdiff_t t = 0;
    for (; t + 8 <= count; t += 8) traces += LOAD64(x + t) * 0.0;
    double trace = JOIN(traces);
    for (; t < count; t++) trace += x[t] * 0.0;
    return trace == 0;
}

CLONES double kernel_centre(
    const double *x, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, const double *range, double *values,
    double *moments, double *plain) {
#pragma clang fp contract(off)
    const double low = range[0], high = range[1];
    for (ptrdiff_t t = 0; t < length; t++) {
        double v = x[t] > low ? x[t] : low;
        values[t] = v < high ? v : high;
    }
    const ptrdiff_t reach = length - window;
    const double *inside = values + reach;
    // In two steps, so that a large offset costs no digits.
    const double rough = extent(inside, window).sum / (double)window;
    f64x8 rests = {0};
    ptrdiff_t t = 0;
    for (; t + 8 <= window; t += 8) rests += LOAD64(inside + t) - rough;
    double rest = JOIN(rests);
    for (; t < window; t++) rest += inside[t] - rough;
    const double mean = rough + rest / (double)window;
    double before = 0;
    for (t = 0; t < reach; t++) {
        values[t] -= mean;
        before += values[t] * values[t];
    }
    f64x8 sums = {0}, squares = {0};
    for (; t + 8 <= length; t += 8) {
        f64x8 v = LOAD64(values + t) - mean;
        memcpy(values + t, &v, sizeof v);
        sums += v;
        squares += v * v;
    }
    double sum = JOIN(sums), square = JOIN(squares);
    for (; t < length; t++) {
        values[t] -= mean;
        sum += values[t];
        square += values[t] * values[t];
    }
    *plain = square;
    // From lag to lag the leader's window takes in an older value and leaves its newest; once nothing older is left, the
    // follower's window loses its oldest, too.
    double *leads = moments, *leadEnergies = leads + lags + 1, *follows = leadEnergies + lags + 1;
    double *followEnergies = follows + lags + 1;
    double lead = sum, leadSquare = square, follow = sum, followSquare = square;
    for (ptrdiff_t lag = 0; lag <= lags; lag++) {
        if (lag >= length) {
            leads[lag] = leadEnergies[lag] = follows[lag] = followEnergies[lag] = 0;
            continue;
        }
        if (lag > 0) {
            const double newest = values[length - lag];
            lead -= newest;
            leadSquare -= newest * newest;
            if (lag <= reach) {
                const double older = values[reach - lag];
                lead += older;
                leadSquare += older * older;
            } else {
                const double oldest = values[lag - 1];
                follow -= oldest;
                followSquare -= oldest * oldest;
            }
        }
        leads[lag] = lead;
        leadEnergies[lag] = leadSquare;
        follows[lag] = follow;
        followEnergies[lag] = followSquare;
    }
    const double total = before + square, floor = 1e-11 * total;
    for (ptrdiff_t lag = 0; lag <= lags; lag++) {
        ptrdiff_t overlap = length - lag < window ? length - lag : window;
        const double size = overlap > 1 ? (double)overlap : 1;
        const double a = leadEnergies[lag] - leads[lag] * leads[lag] / size;
        const double b = followEnergies[lag] - follows[lag] * follows[lag] / size;
        // Below this share of the whole stretch the difference of sums is rounding.
        leadEnergies[lag] = a > floor && overlap > 1 ? a : 0;
        followEnergies[lag] = b > floor && overlap > 1 ? b : 0;
    }
    return total;
}

CLONES void kernel_lag_factors(
    const double *moments, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, double scale, float *const *factors,
    ptrdiff_t stride, float *extremes) {
    float condition = 1, steepest = 0;
    for (ptrdiff_t first = 0; first <= lags; first += 16) {
        const ptrdiff_t count = lags + 1 - first < 16 ? lags + 1 - first : 16;
        for (int role = 0; role < 2; role++) {
            const double *from = moments + 2 * role * (lags + 1) + first;
            f32x16 sum = {0}, energy = (f32x16){0} + 1.0f, size = energy;
            for (ptrdiff_t k = 0; k < count; k++) {
                const ptrdiff_t lag = first + k, overlap = length - lag < window ? length - lag : window;
                const double left = from[lags + 1 + k];
                sum[k] = left > 0 ? (float)(from[k] * scale) : 0;
                energy[k] = left > 0 ? (float)(left * scale * scale) : 0;
                size[k] = overlap > 1 ? (float)overlap : 1;
            }
            const i32x16 known = energy > 0;
            const f32x16 safe = (f32x16)((known & (i32x16)energy) | (~known & (i32x16)((f32x16){0} + 1.0f)));
            const f32x16 mean = sum / __builtin_elementwise_sqrt(size);
            const f32x16 inverse = 1.0f / __builtin_elementwise_sqrt(safe);
            const f32x16 excess = 1.0f + mean * mean / safe;
            float *means = factors[2 * role], *inverses = factors[2 * role + 1];
            for (ptrdiff_t k = 0; k < count; k++) {
                means[(first + k) * stride] = mean[k];
                inverses[(first + k) * stride] = known[k] ? inverse[k] : 0;
                condition = known[k] && excess[k] > condition ? excess[k] : condition;
                steepest = known[k] && inverse[k] > steepest ? inverse[k] : steepest;
            }
        }
    }
    extremes[0] = condition;
    extremes[1] = steepest;
}
