// Every kernel exists twice: compiled for several instruction sets, and plain. Which one runs is decided in dispatch.c under
// the name that others know.
#ifndef UNDERCURRENT_VARIANTS_H
#define UNDERCURRENT_VARIANTS_H

#ifdef UNDERCURRENT_PLAIN
#define VARIANT(name) plain_##name
#else
#define VARIANT(name) vector_##name
#endif

#define kernel_product VARIANT(kernel_product)
#define kernel_curve VARIANT(kernel_curve)
#define kernel_autocorrelation VARIANT(kernel_autocorrelation)
#define kernel_memories VARIANT(kernel_memories)
#define kernel_products VARIANT(kernel_products)
#define kernel_scores VARIANT(kernel_scores)
#define kernel_join_maxima VARIANT(kernel_join_maxima)
#define kernel_candidates VARIANT(kernel_candidates)
#define kernel_pack VARIANT(kernel_pack)
#define kernel_median VARIANT(kernel_median)
#define kernel_clip_range VARIANT(kernel_clip_range)
#define kernel_extreme VARIANT(kernel_extreme)
#define kernel_is_finite VARIANT(kernel_is_finite)
#define kernel_centre VARIANT(kernel_centre)
#define kernel_lag_factors VARIANT(kernel_lag_factors)
#define kernel_fisher_mass VARIANT(kernel_fisher_mass)
#define kernel_has_byte_products VARIANT(kernel_has_byte_products)

#endif
