#include "include/CKernels.h"
#include "vectors.h"

// The inner loops of the engine, compiled for several instruction sets and chosen when the program is loaded.
// Swift has no such attribute, and a BLAS that does not know the processor falls back to its oldest kernels.

INLINE double product(const double *x, const double *y, ptrdiff_t count) {
#pragma clang fp contract(off)
    f64x8 sum = {0};
    ptrdiff_t t = 0;
    for (; t + 8 <= count; t += 8) sum += LOAD64(x + t) * LOAD64(y + t);
    for (; t < count; t++) sum[0] += x[t] * y[t];
    return JOIN(sum);
}

CLONES double kernel_product(const double *x, const double *y, ptrdiff_t count) { return product(x, y, count); }

CLONES void kernel_curve(
    const double *x, const double *y, ptrdiff_t length, ptrdiff_t window, ptrdiff_t lags, const double *xMoments,
    const double *yMoments, double *scores) {
#pragma clang fp contract(off)
    for (int isBack = 0; isBack < 2; isBack++) {
        const double *leader = isBack ? y : x, *follower = isBack ? x : y;
        const double *leads = isBack ? yMoments : xMoments;
        const double *follows = (isBack ? xMoments : yMoments) + 2 * (lags + 1);
        for (ptrdiff_t lag = isBack; lag <= lags; lag++) {
            const ptrdiff_t overlap = length - lag < window ? length - lag : window;
            const double energies = leads[lags + 1 + lag] * follows[lags + 1 + lag];
            double score = 0;
            if (overlap >= 10 && leads[lags + 1 + lag] > 0 && follows[lags + 1 + lag] > 0) {
                const ptrdiff_t start = length - overlap;
                const double sum = product(leader + start - lag, follower + start, overlap);
                score = (sum - leads[lag] * follows[lag] / (double)overlap) / __builtin_sqrt(energies);
            }
            scores[isBack ? lags - lag : lags + lag] = score;
        }
    }
    for (ptrdiff_t k = 0; k < 2 * lags + 1; k++) {
        double score = scores[k] > -1 ? scores[k] : -1;
        score = score < 1 ? score : 1;
        scores[k] = __builtin_round(score * 1e9) / 1e9;
    }
}

CLONES void kernel_autocorrelation(
    const double *x, ptrdiff_t count, ptrdiff_t lags, double energy, double *result) {
#pragma clang fp contract(off)
    ptrdiff_t k = 1;
    // Four lags at once hide the latency of the additions; the order is fixed by count and k alone.
    for (; k + 3 <= lags; k += 4) {
        f64x8 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        ptrdiff_t t = 0;
        for (; t + 8 <= count - k - 3; t += 8) {
            f64x8 v = LOAD64(x + t);
            s0 += v * LOAD64(x + t + k);
            s1 += v * LOAD64(x + t + k + 1);
            s2 += v * LOAD64(x + t + k + 2);
            s3 += v * LOAD64(x + t + k + 3);
        }
        for (ptrdiff_t u = t; u < count - k; u++) s0[0] += x[u] * x[u + k];
        for (ptrdiff_t u = t; u < count - k - 1; u++) s1[0] += x[u] * x[u + k + 1];
        for (ptrdiff_t u = t; u < count - k - 2; u++) s2[0] += x[u] * x[u + k + 2];
        for (ptrdiff_t u = t; u < count - k - 3; u++) s3[0] += x[u] * x[u + k + 3];
        result[k - 1] = JOIN(s0) / energy;
        result[k] = JOIN(s1) / energy;
        result[k + 1] = JOIN(s2) / energy;
        result[k + 2] = JOIN(s3) / energy;
    }
    for (; k <= lags; k++) {
        f64x8 sum = {0};
        ptrdiff_t t = 0;
        for (; t + 8 <= count - k; t += 8) sum += LOAD64(x + t) * LOAD64(x + t + k);
        for (; t < count - k; t++) sum[0] += x[t] * x[t + k];
        result[k - 1] = JOIN(sum) / energy;
    }
}

CLONES void kernel_memories(
    const double *x, ptrdiff_t count, ptrdiff_t lags, double energy, const double *weights, float *scratch,
    float *target, ptrdiff_t stride) {
#pragma clang fp contract(fast)
    for (ptrdiff_t t = 0; t < count; t++) scratch[t] = (float)x[t];
    // Behind the series come zeros, so that every sum may run to its end.
    memset(scratch + count, 0, 80 * sizeof(float));
    const float inverse = (float)(1 / energy);
    for (ptrdiff_t first = 0; first < lags; first += 64) {
        f32x16 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        for (ptrdiff_t t = 0; t + first + 1 < count; t++) {
            const float *later = scratch + t + first + 1;
            s0 += scratch[t] * LOAD32(later);
            s1 += scratch[t] * LOAD32(later + 16);
            s2 += scratch[t] * LOAD32(later + 32);
            s3 += scratch[t] * LOAD32(later + 48);
        }
        float sums[64];
        memcpy(sums, &s0, sizeof s0);
        memcpy(sums + 16, &s1, sizeof s1);
        memcpy(sums + 32, &s2, sizeof s2);
        memcpy(sums + 48, &s3, sizeof s3);
        for (ptrdiff_t k = 0; k < 64 && first + k < lags; k++)
            target[(first + k) * stride] = sums[k] * inverse * (float)weights[first + k];
    }
}

#define STORE32(p, v) memcpy((p), &(v), sizeof(f32x16))

CLONES void kernel_products(
    const float *a, ptrdiff_t aStride, const float *b, ptrdiff_t bStride, ptrdiff_t rows, ptrdiff_t columns,
    ptrdiff_t depth, float *c, ptrdiff_t cStride) {
#pragma clang fp contract(fast)
    for (ptrdiff_t j = 0; j < columns; j += 32) {
        for (ptrdiff_t i = 0; i < rows; i += 4) {
            const float *left = a + i;
            const float *right = b + j;
            float *out = c + i * cStride + j;
            f32x16 s00 = {0}, s10 = {0}, s20 = {0}, s30 = {0};
            if (j + 32 <= columns) {
                f32x16 s01 = {0}, s11 = {0}, s21 = {0}, s31 = {0};
                for (ptrdiff_t t = 0; t < depth; t++, left += aStride, right += bStride) {
                    f32x16 v0 = LOAD32(right), v1 = LOAD32(right + 16);
                    s00 += left[0] * v0;
                    s01 += left[0] * v1;
                    s10 += left[1] * v0;
                    s11 += left[1] * v1;
                    s20 += left[2] * v0;
                    s21 += left[2] * v1;
                    s30 += left[3] * v0;
                    s31 += left[3] * v1;
                }
                STORE32(out + 16, s01);
                STORE32(out + cStride + 16, s11);
                STORE32(out + 2 * cStride + 16, s21);
                STORE32(out + 3 * cStride + 16, s31);
            } else {
                for (ptrdiff_t t = 0; t < depth; t++, left += aStride, right += bStride) {
                    f32x16 v0 = LOAD32(right);
                    s00 += left[0] * v0;
                    s10 += left[1] * v0;
                    s20 += left[2] * v0;
                    s30 += left[3] * v0;
                }
            }
            STORE32(out, s00);
            STORE32(out + cStride, s10);
            STORE32(out + 2 * cStride, s20);
            STORE32(out + 3 * cStride, s30);
        }
    }
}

CLONES void kernel_scores(
    float *c, ptrdiff_t rows, ptrdiff_t width, const float *rowMeans, const float *rowInverses,
    const float *columnMeans, const float *columnInverses, float *largest) {
    for (ptrdiff_t i = 0; i < rows; i++) {
        float *line = c + i * width, *top = largest + i * width;
        const float mean = rowMeans[i], inverse = rowInverses[i];
        for (ptrdiff_t j = 0; j < width; j++) {
            float score = (line[j] - mean * columnMeans[j]) * (inverse * columnInverses[j]);
            line[j] = score;
            float strength = __builtin_fabsf(score);
            top[j] = strength > top[j] ? strength : top[j];
        }
    }
}

CLONES void kernel_join_maxima(
    float *a, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t width, const float *b, ptrdiff_t bWidth, int isTriangle) {
    for (ptrdiff_t i = 0; i < rows; i++) {
        float *line = a + i * width;
        for (ptrdiff_t j = isTriangle ? i + 1 : 0; j < columns; j++) {
            const float other = b[j * bWidth + i];
            line[j] = other > line[j] ? other : line[j];
        }
    }
}

/// Whether a column may be passed over; what is not a number may not.
INLINE int isPassed(const struct kernel_line *line, ptrdiff_t j) {
    const float y = line->conditions[j], second = line->roundings[j];
    const float bound = line->rounding * (y + second) + line->condition * second + line->unit * line->condition * y;
    return (line->strengths[j] + bound < line->limit) & (line->memories[j] < line->memoryLimit);
}

CLONES ptrdiff_t kernel_candidates(const struct kernel_line *given, ptrdiff_t first, ptrdiff_t count, int32_t *found) {
    const struct kernel_line line = *given;
    ptrdiff_t size = 0, j = first;
    for (; j + 16 <= count; j += 16) {
        int32_t passed = 0;
        for (ptrdiff_t k = 0; k < 16; k++) passed += isPassed(&line, j + k);
        if (passed == 16) continue;
        for (ptrdiff_t k = 0; k < 16; k++)
            if (!isPassed(&line, j + k)) found[size++] = (int32_t)(j + k);
    }
    for (; j < count; j++)
        if (!isPassed(&line, j)) found[size++] = (int32_t)j;
    return size;
}

CLONES void kernel_pack(const double *x, ptrdiff_t count, double scale, float *target, ptrdiff_t stride) {
    for (ptrdiff_t t = 0; t < count; t++) target[t * stride] = (float)(x[t] * scale);
}
