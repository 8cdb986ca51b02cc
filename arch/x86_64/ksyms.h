/* Function names for backtraces. The table is made by scripts/ksyms from the linked image. */
#ifndef UMBRA_KSYMS_H
#define UMBRA_KSYMS_H

#include <stdint.h>

struct ksym {
	uint64_t addr;
	const char *name;
};

/* Sorted by address; ksyms_count may be 0. */
extern const struct ksym ksyms[];
extern const unsigned ksyms_count;

/* The function that holds addr, "?" when unknown; *offset: how far in. */
const char *ksym_lookup(uint64_t addr, uint64_t *offset);

#endif
