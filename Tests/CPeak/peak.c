#include "include/CPeak.h"

#include <string.h>

typedef float f32x16 __attribute__((vector_size(64)));
#define ACCUMULATORS 16
#define UNROLL _Pragma("clang loop unroll(full)")

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

CLONES double peak_float_products(long rounds, float *sink) {
#pragma clang fp contract(fast)
    f32x16 sums[ACCUMULATORS], x = (f32x16){0} + 0.5f * *sink, y = x + 0.25f;
    UNROLL for (int k = 0; k < ACCUMULATORS; k++) sums[k] = x * (float)k;
    for (long round = 0; round < rounds; round++) {
        // Each sum is a factor of the next one, so that no round can be left out.
        UNROLL for (int k = 0; k < ACCUMULATORS; k++) sums[k] = sums[k] * x + y;
    }
    f32x16 all = {0};
    UNROLL for (int k = 0; k < ACCUMULATORS; k++) all += sums[k];
    for (int lane = 0; lane < 16; lane++) *sink += all[lane];
    return (double)rounds * ACCUMULATORS * 16;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("arch=x86-64-v4,avx512vnni"))) static double bytes(long rounds, float *sink) {
    __m512i sums[ACCUMULATORS], x = _mm512_set1_epi32((int)*sink), y = _mm512_set1_epi32((int)*sink + 1);
    UNROLL for (int k = 0; k < ACCUMULATORS; k++) sums[k] = _mm512_set1_epi32(k);
    for (long round = 0; round < rounds; round++) {
        UNROLL for (int k = 0; k < ACCUMULATORS; k++) {
            sums[k] = _mm512_dpbusd_epi32(sums[k], x, y);
            // Nothing is known of a sum afterwards, so that no round can be left out.
            __asm__("" : "+v"(sums[k]));
        }
    }
    __m512i all = sums[0];
    UNROLL for (int k = 1; k < ACCUMULATORS; k++) all = _mm512_add_epi32(all, sums[k]);
    *sink += (float)_mm512_reduce_add_epi32(all);
    return (double)rounds * ACCUMULATORS * 64;
}

double peak_byte_products(long rounds, float *sink) {
    if (!__builtin_cpu_supports("x86-64-v4") || !__builtin_cpu_supports("avx512vnni")) return 0;
    return bytes(rounds, sink);
}
#else
double peak_byte_products(long rounds, float *sink) { return 0; }
#endif
