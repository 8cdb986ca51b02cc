/* The way up the stack, by frame pointers. */
#ifndef UMBRA_BACKTRACE_H
#define UMBRA_BACKTRACE_H

#include <stdint.h>

/*
 * Up to max addresses of Umbra's code: rip if it is not 0, then the return addresses of the frames
 * from rbp on, as long as they lie in a CPU's stacks. Nothing of a broken stack faults. How many.
 */
unsigned backtrace_take(uint64_t rip, uint64_t rbp, uint64_t *at, unsigned max);

#endif
