#include "include/CKernels.h"

#include <stdatomic.h>

// One read of a flag that changes once, at the start; what it decides takes a hundred times as long.
static atomic_int usesVectors = 1;

#define IS_ON atomic_load_explicit(&usesVectors, memory_order_relaxed)

void kernel_use_vectors(int isOn) { atomic_store_explicit(&usesVectors, isOn, memory_order_relaxed); }

int kernel_uses_vectors(void) { return IS_ON; }

// Which variant was called last. It is written only when it changes, so that threads do not take its line from one another.
static atomic_int ranVectors = -1;

static inline int choose(void) {
    int isOn = IS_ON;
    if (atomic_load_explicit(&ranVectors, memory_order_relaxed) != isOn)
        atomic_store_explicit(&ranVectors, isOn, memory_order_relaxed);
    return isOn;
}

int kernel_ran_vectors(void) { return atomic_load_explicit(&ranVectors, memory_order_relaxed); }

int vector_kernel_has_byte_products(void);

int kernel_has_byte_products(void) { return IS_ON && vector_kernel_has_byte_products(); }

#define VALUE(type, name, parameters, arguments) \
    type vector_kernel_##name parameters; \
    type plain_kernel_##name parameters; \
    type kernel_##name parameters { \
        return choose() ? vector_kernel_##name arguments : plain_kernel_##name arguments; \
    }
#define EFFECT(name, parameters, arguments) \
    void vector_kernel_##name parameters; \
    void plain_kernel_##name parameters; \
    void kernel_##name parameters { \
        if (choose()) \
            vector_kernel_##name arguments; \
        else \
            plain_kernel_##name arguments; \
    }

VALUE(double, product, (const double *x, const double *y, ptrdiff_t count), (x, y, count))
EFFECT(
    curve,
    (const double *x, const double *y, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, const double *xMoments,
     const double *yMoments, double *scores),
    (x, y, length, window, lags, xMoments, yMoments, scores))
EFFECT(
    autocorrelation, (const double *x, ptrdiff_t count, ptrdiff_t lags, double energy, double *result),
    (x, count, lags, energy, result))
EFFECT(
    memories,
    (const double *x, ptrdiff_t count, ptrdiff_t lags, double energy, const double *weights, float *scratch, float *target,
     ptrdiff_t stride),
    (x, count, lags, energy, weights, scratch, target, stride))
EFFECT(
    products,
    (const float *a, ptrdiff_t aStride, const float *b, ptrdiff_t bStride, ptrdiff_t rows, ptrdiff_t columns,
     ptrdiff_t depth, float *c, ptrdiff_t cStride),
    (a, aStride, b, bStride, rows, columns, depth, c, cStride))
EFFECT(
    scores,
    (float *c, ptrdiff_t rows, ptrdiff_t width, const float *rowMeans, const float *rowInverses, const float *columnMeans,
     const float *columnInverses, float *largest),
    (c, rows, width, rowMeans, rowInverses, columnMeans, columnInverses, largest))
EFFECT(
    join_maxima,
    (float *a, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t width, const float *b, ptrdiff_t bWidth, int isTriangle),
    (a, rows, columns, width, b, bWidth, isTriangle))
VALUE(
    ptrdiff_t, candidates, (const struct kernel_line *line, ptrdiff_t first, ptrdiff_t count, int32_t *found),
    (line, first, count, found))
EFFECT(
    pack, (const double *x, ptrdiff_t count, double scale, float *target, ptrdiff_t stride),
    (x, count, scale, target, stride))
VALUE(double, median, (const double *x, ptrdiff_t count), (x, count))
VALUE(
    ptrdiff_t, clip_range, (const double *x, ptrdiff_t count, double *scratch, double *range), (x, count, scratch, range))
VALUE(double, extreme, (const double *x, ptrdiff_t count), (x, count))
VALUE(int, is_finite, (const double *x, ptrdiff_t count), (x, count))
VALUE(
    double, centre,
    (const double *x, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, const double *range, double *values,
     double *moments, double *plain),
    (x, length, window, lags, range, values, moments, plain))
EFFECT(
    lag_factors,
    (const double *moments, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, double scale, float *const *factors,
     ptrdiff_t stride, float *extremes),
    (moments, length, window, lags, scale, factors, stride, extremes))
VALUE(double, fisher_mass, (double low, double high, double z, double deviation), (low, high, z, deviation))
