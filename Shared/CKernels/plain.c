// The same kernels once more, for the least processor of the architecture alone: no function of this file is chosen by what
// the processor can do.
#define UNDERCURRENT_PLAIN

#include "fisher.c"
#include "kernels.c"
#include "rows.c"
