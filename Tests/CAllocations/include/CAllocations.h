#ifndef CALLOCATIONS_H
#define CALLOCATIONS_H

/// Pieces of memory the calling thread has asked for since it began. A program that links this has every malloc counted, its
/// own and those of its libraries.
long allocation_count(void);

#endif
