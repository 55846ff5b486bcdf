// What the kernels share: compiling for several instruction sets, vectors, and sums in one fixed order.
#ifndef UNDERCURRENT_VECTORS_H
#define UNDERCURRENT_VECTORS_H

#include <stdint.h>
#include <string.h>

#include "variants.h"

// One body, compiled for three instruction sets; the processor's own is chosen at load time.
#if defined(__x86_64__) && !defined(UNDERCURRENT_PLAIN)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));
typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));

#define LOAD64(p) ({ f64x8 v_; memcpy(&v_, (p), sizeof v_); v_; })
#define LOAD32(p) ({ f32x16 v_; memcpy(&v_, (p), sizeof v_); v_; })
// The sum of eight lanes, always in this order: the same digits on every machine.
#define JOIN(s) ((((s)[0] + (s)[4]) + ((s)[2] + (s)[6])) + (((s)[1] + (s)[5]) + ((s)[3] + (s)[7])))

#endif
