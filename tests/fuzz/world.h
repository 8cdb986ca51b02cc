/*
 * What the fuzzers share: a few pages of hostile memory, filled with table entries as the input
 * says, a format, and addresses that meet those entries. Entries lead to each other, to
 * themselves, to nothing, anywhere.
 */
#ifndef UMBRA_TESTS_FUZZ_WORLD_H
#define UMBRA_TESTS_FUZZ_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paging/pt.h"

#define WORLD_PAGES 8
#define WORLD_BASE UINT64_C(0x100000)

/* The fuzzer's bytes, taken from the front; zeros when there are no more. */
struct input {
	const uint8_t *at;
	size_t left;
};

uint64_t take(struct input *in, unsigned bytes);

struct world {
	struct pt_caps caps;
	struct pt_format fmt;
	struct pt_mem mem;
	struct pt_tree tree;
	_Alignas(8) uint8_t page[WORLD_PAGES][4096];
	bool used[WORLD_PAGES]; /* else there is no memory */
	uint64_t nr_reads, nr_writes;
};

/* Kind, capabilities, root and memory; kinds beyond last are not chosen. */
void world_init(struct world *w, struct input *in, enum pt_kind last);
/* An address that the format can translate; its indices are those that entries are put at. */
uint64_t world_address(const struct world *w, struct input *in);

/* Else say so and abort, which is what the fuzzer looks for. */
#define expect(cond)                                                                               \
	do {                                                                                       \
		if (!(cond))                                                                       \
			world_fail(__FILE__, __LINE__, #cond);                                     \
	} while (0)
void world_fail(const char *file, int line, const char *what);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
