/* Sets of the machine's processors, by their numbers. */
#ifndef UMBRA_LIB_CPU_SET_H
#define UMBRA_LIB_CPU_SET_H

#include <stdbool.h>
#include <stdint.h>

/* That Umbra uses: their numbers are less. */
#define CPU_MAX 256
#define CPU_SET_WORDS (CPU_MAX / 64)

/* Bit n % 64 of word n / 64: number n is in it. */
struct cpu_set {
	uint64_t word[CPU_SET_WORDS];
};

static inline bool cpu_set_has(const struct cpu_set *set, unsigned cpu)
{
	return set->word[cpu / 64] >> (cpu % 64) & 1;
}

static inline void cpu_set_add(struct cpu_set *set, unsigned cpu)
{
	set->word[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

static inline void cpu_set_remove(struct cpu_set *set, unsigned cpu)
{
	set->word[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

static inline void cpu_set_unite(struct cpu_set *set, const struct cpu_set *with)
{
	for (unsigned i = 0; i < CPU_SET_WORDS; i++)
		set->word[i] |= with->word[i];
}

static inline bool cpu_set_is_empty(const struct cpu_set *set)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < CPU_SET_WORDS; i++)
		any |= set->word[i];
	return !any;
}

static inline struct cpu_set cpu_set_all(void)
{
	struct cpu_set all;

	for (unsigned i = 0; i < CPU_SET_WORDS; i++)
		all.word[i] = ~UINT64_C(0);
	return all;
}

static inline struct cpu_set cpu_set_of(unsigned cpu)
{
	struct cpu_set only = { { 0 } };

	cpu_set_add(&only, cpu);
	return only;
}

#endif
