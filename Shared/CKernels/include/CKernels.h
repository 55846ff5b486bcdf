#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>

/// Sum of x[t] * y[t]: eight interleaved partial sums, joined pairwise, never contracted. The same bits on every machine.
double kernel_product(const double *x, const double *y, ptrdiff_t count);

/// result[k - 1] = sum of x[t] * x[t + k] / energy for k = 1 ... lags; the same bits on every machine.
void kernel_autocorrelation(const double *x, ptrdiff_t count, ptrdiff_t lags, double energy, double *result);

/// C[i][j] = sum over t of A[t][i] * B[t][j] in float, any order of summation.
///
/// A and B lie time by time: A[t] starts at a + t * aStride. `rows` is a multiple of 4 and `columns` of 16; both inputs
/// are padded to that.
void kernel_products(
    const float *a, ptrdiff_t aStride, const float *b, ptrdiff_t bStride, ptrdiff_t rows, ptrdiff_t columns,
    ptrdiff_t depth, float *c, ptrdiff_t cStride);

#endif
