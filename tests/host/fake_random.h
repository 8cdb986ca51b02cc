/* Random numbers for tests: the same ones each time, and what a test has begun with says all of
 * them. */
#ifndef UMBRA_TESTS_FAKE_RANDOM_H
#define UMBRA_TESTS_FAKE_RANDOM_H

#include <stdint.h>

/* A random number, and the state for the next: any start but 0 gives its own sequence. Xorshift64*,
 * as Vigna has it. */
static inline uint64_t fake_random64(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
