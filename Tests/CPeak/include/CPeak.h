#ifndef CPEAK_H
#define CPEAK_H

/// What the processor can do at most on one core, in registers alone: `rounds` rounds of independent multiply-adds, sixteen
/// vectors of 64 bytes each.
///
/// Both return how many products were added; what comes out of them goes to `sink`, so that no compiler drops the work.
double peak_float_products(long rounds, float *sink);
/// 8-bit products summed to 32 bits; 0 where the processor has no such instruction.
double peak_byte_products(long rounds, float *sink);

#endif
