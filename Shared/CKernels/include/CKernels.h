#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

/// Sum of x[t] * y[t]: eight interleaved partial sums, joined pairwise, never contracted. The same bits on every machine.
double kernel_product(const double *x, const double *y, ptrdiff_t count);

/// scores[lags + l] = r at lag l = -lags ... lags, rounded to 9 digits; positive lags let x lead. 0 where fewer than 10
/// buckets overlap or a window holds no change. Moments as `kernel_centre` gives them; the same bits on every machine.
void kernel_curve(
    const double *x, const double *y, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, const double *xMoments,
    const double *yMoments, double *scores);

/// result[k - 1] = sum of x[t] * x[t + k] / energy for k = 1 ... lags; the same bits on every machine.
void kernel_autocorrelation(const double *x, ptrdiff_t count, ptrdiff_t lags, double energy, double *result);

/// target[(k - 1) * stride] = weights[k - 1] times the autocorrelation at lag k = 1 ... lags, in float: within
/// (count + 8) 2^-24 of it. `scratch` holds `count` + 80 values; what the last lag reaches lies within that.
void kernel_memories(
    const double *x, ptrdiff_t count, ptrdiff_t lags, double energy, const double *weights, float *scratch,
    float *target, ptrdiff_t stride);

/// C[i][j] = sum over t of A[t][i] * B[t][j] in float, any order of summation.
///
/// A and B lie time by time: A[t] starts at a + t * aStride. `rows` is a multiple of 4 and `columns` of 16; both inputs
/// are padded to that.
void kernel_products(
    const float *a, ptrdiff_t aStride, const float *b, ptrdiff_t bStride, ptrdiff_t rows, ptrdiff_t columns,
    ptrdiff_t depth, float *c, ptrdiff_t cStride);

/// C[i][j] becomes (C[i][j] - rowMeans[i] * columnMeans[j]) * rowInverses[i] * columnInverses[j]; `largest` keeps the largest
/// |C[i][j]| so far. `width` is a multiple of 16 and the length of a line of both.
void kernel_scores(
    float *c, ptrdiff_t rows, ptrdiff_t width, const float *rowMeans, const float *rowInverses,
    const float *columnMeans, const float *columnInverses, float *largest);

/// a[i * width + j] becomes the larger of itself and b[j * bWidth + i], for j from 0, or from i + 1 where `isTriangle`; b may be
/// a then.
void kernel_join_maxima(
    float *a, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t width, const float *b, ptrdiff_t bWidth, int isTriangle);

/// What a row of pairs is held against: those are passed over whose strength and error bound are under `limit` together and
/// whose memory is under `memoryLimit`.
struct kernel_line {
    const float *strengths, *memories;
    /// kappa of each column, not finite where it has to be looked at whatever its numbers are; and what rounding took away.
    const float *conditions, *roundings;
    float condition, rounding, unit, limit, memoryLimit;
};

/// The columns first ..< count that may not be passed over, ascending, to `found`; returns how many.
ptrdiff_t kernel_candidates(const struct kernel_line *line, ptrdiff_t first, ptrdiff_t count, int32_t *found);

/// target[t * stride] = x[t] * scale.
void kernel_pack(const double *x, ptrdiff_t count, double scale, float *target, ptrdiff_t stride);

/// The middle value, or the mean of the two middle ones, of `count` > 0 finite values.
double kernel_median(const double *x, ptrdiff_t count);

/// range = {median - 3 s, median + 3 s, largest |x|}, where s is 1.4826 MAD, or 1.2533 x the mean absolute deviation where
/// the MAD is 0. Returns how many values differ from the median. `scratch` holds `count` values.
ptrdiff_t kernel_clip_range(const double *x, ptrdiff_t count, double *scratch, double *range);

/// The largest |x| of `count` > 0 finite values.
double kernel_extreme(const double *x, ptrdiff_t count);

/// Whether every value is finite.
int kernel_is_finite(const double *x, ptrdiff_t count);

/// values = x clipped to range[0] ... range[1] less the mean of its last `window` values. `moments` gets, for lags
/// 0 ... `lags` each, the sums of the leader's windows, their centred energies (0 where nothing but rounding is left), and
/// both of the follower's; `plain` the sum of squares of the last window. Returns the sum of squares of all values. The
/// same bits on every machine.
double kernel_centre(
    const double *x, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, const double *range, double *values,
    double *moments, double *plain);

/// For lags 0 ... `lags`, `stride` apart: factors[0] and [1] sum * scale / sqrt(n) and 1 / (centred norm * scale) of the
/// leader's window, factors[2] and [3] of the follower's; 1 / norm is 0 where nothing changes. Each is within 4 units of
/// its last place. extremes = {largest 1 + sum^2 / n / centred energy, largest 1 / (centred norm * scale)}.
void kernel_lag_factors(
    const double *moments, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, double scale, float *const *factors,
    ptrdiff_t stride, float *extremes);

/// Whether kernels are chosen by what the processor can do (1, as at the start), or the plain ones of the architecture's least
/// processor run (0). Sums in double are the same bits either way.
void kernel_use_vectors(int isOn);
int kernel_uses_vectors(void);

/// Which kernels were called last, of all threads: 1 or 0 as above; -1: none was called yet.
int kernel_ran_vectors(void);

/// Whether vectors are on and this processor can run the two functions below; no other may.
int kernel_has_byte_products(void);

/// C[i][j] = sum of the products of leader i and follower j over groups of four buckets, without the `skipped` first of
/// them, less offsets[j]; exact, then rounded to float.
///
/// Leaders lie row by row, `stride` apart, each byte 128 more than its value; followers group by group, four bytes a
/// column. `rows` is a multiple of 8 and `width` of 32; inputs are padded to that. 128 times the sum of follower j over
/// the buckets that count is what offsets[j] has to be.
void kernel_byte_products(
    const uint8_t *leaders, ptrdiff_t stride, const int8_t *followers, ptrdiff_t width, ptrdiff_t rows,
    ptrdiff_t groups, ptrdiff_t skipped, const int32_t *offsets, float *c);

/// x * scale, at most 127 in size, rounded to whole numbers: 128 more than that to leader[0 ..< count], and to follower in
/// groups of four with 4 * width between, the last group full. The up to 3 bytes before `leader` have to be 128. Returns
/// the sum of squares of what rounding took away.
double kernel_pack_bytes(
    const double *x, ptrdiff_t count, double scale, uint8_t *leader, int8_t *follower, ptrdiff_t width);

/// The integral over low ... high of exp(-(x - z)^2 / 2 deviation^2) sech^2(x), times e^(2z) / 4, by Gauss-Legendre
/// quadrature in panels of at most 4 deviations; |low|, |high| and z under 300. The same bits on every machine.
double kernel_fisher_mass(double low, double high, double z, double deviation);

#endif
