#include "include/CKernels.h"
#include "vectors.h"

// Sums of products of bytes, for processors with instructions for them (AVX-512 VNNI): 128 products a cycle, exactly.
#if defined(__x86_64__)
#include <immintrin.h>

typedef int8_t i8x8 __attribute__((vector_size(8)));

#define BYTES __attribute__((target("arch=x86-64-v4,avx512vnni")))
#define UNROLL _Pragma("clang loop unroll(full)")
/// Rows whose sums stay in registers, for 32 columns at once.
#define ROWS 8

int kernel_has_byte_products(void) {
    return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni");
}

BYTES void kernel_byte_products(
    const uint8_t *leaders, ptrdiff_t stride, const int8_t *followers, ptrdiff_t width, ptrdiff_t rows,
    ptrdiff_t groups, ptrdiff_t skipped, const int32_t *offsets, float *c) {
    // Bytes before the window count as 0.
    const uint32_t first = 0xffffffffu << (8 * skipped);
    for (ptrdiff_t j = 0; j < width; j += 32) {
        for (ptrdiff_t i = 0; i < rows; i += ROWS) {
            const uint8_t *left = leaders + i * stride;
            const int8_t *right = followers + 4 * j;
            __m512i s[ROWS][2];
            UNROLL for (int r = 0; r < ROWS; r++) s[r][0] = s[r][1] = _mm512_setzero_si512();
            uint32_t mask = first;
            for (ptrdiff_t g = 0; g < groups; g++, left += 4, right += 4 * width) {
                const __m512i v0 = _mm512_loadu_si512(right), v1 = _mm512_loadu_si512(right + 64);
                UNROLL for (int r = 0; r < ROWS; r++) {
                    uint32_t four;
                    memcpy(&four, left + r * stride, sizeof four);
                    const __m512i x = _mm512_set1_epi32((int32_t)(four & mask));
                    s[r][0] = _mm512_dpbusd_epi32(s[r][0], x, v0);
                    s[r][1] = _mm512_dpbusd_epi32(s[r][1], x, v1);
                }
                mask = 0xffffffffu;
            }
            const __m512i o0 = _mm512_loadu_si512(offsets + j), o1 = _mm512_loadu_si512(offsets + j + 16);
            UNROLL for (int r = 0; r < ROWS; r++) {
                float *out = c + (i + r) * width + j;
                _mm512_storeu_ps(out, _mm512_cvtepi32_ps(_mm512_sub_epi32(s[r][0], o0)));
                _mm512_storeu_ps(out + 16, _mm512_cvtepi32_ps(_mm512_sub_epi32(s[r][1], o1)));
            }
        }
    }
}

BYTES double kernel_pack_bytes(
    const double *x, ptrdiff_t count, double scale, uint8_t *leader, int8_t *follower, ptrdiff_t width) {
    // Added to a small number, this leaves the nearest integer in the low bits.
    const double shift = 0x1.8p52;
    f64x8 errors = {0};
    double error = 0;
    ptrdiff_t t = 0;
    for (; t + 8 <= count; t += 8) {
        f64x8 v;
        memcpy(&v, x + t, sizeof v);
        v *= scale;
        const f64x8 moved = v + shift, rest = v - (moved - shift);
        errors += rest * rest;
        i64x8 bits;
        memcpy(&bits, &moved, sizeof bits);
        const i8x8 bytes = __builtin_convertvector(bits, i8x8) ^ (int8_t)-128;
        memcpy(leader + t, &bytes, sizeof bytes);
    }
    for (; t < count; t++) {
        const double v = x[t] * scale, near = (v + shift) - shift;
        error += (v - near) * (v - near);
        leader[t] = (uint8_t)((int)near + 128);
    }
    for (int k = 0; k < 8; k++) error += errors[k];
    const ptrdiff_t padding = (4 - count % 4) % 4;
    for (ptrdiff_t g = 0; 4 * g < count + padding; g++) {
        uint32_t four;
        memcpy(&four, leader + 4 * g - padding, sizeof four);
        four ^= 0x80808080u;
        memcpy(follower + 4 * g * width, &four, sizeof four);
    }
    return error;
}
#else
int kernel_has_byte_products(void) { return 0; }

void kernel_byte_products(
    const uint8_t *leaders, ptrdiff_t stride, const int8_t *followers, ptrdiff_t width, ptrdiff_t rows,
    ptrdiff_t groups, ptrdiff_t skipped, const int32_t *offsets, float *c) {}

double kernel_pack_bytes(
    const double *x, ptrdiff_t count, double scale, uint8_t *leader, int8_t *follower, ptrdiff_t width) {
    return 0;
}
#endif
