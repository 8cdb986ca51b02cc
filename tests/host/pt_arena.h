/*
 * Pages for page tables, at addresses that are not those of their memory, with hooks on every
 * write; and one tree in them. Using a page that was not given, or freeing one twice, fails.
 */
#ifndef UMBRA_TESTS_PT_ARENA_H
#define UMBRA_TESTS_PT_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/pt.h"

#define ARENA_PAGES 64
#define ARENA_BASE UINT64_C(0x40000000)

struct arena {
	uint64_t page[ARENA_PAGES][512];
	bool used[ARENA_PAGES];
	unsigned nr_used, limit, nr_writes;
	void (*before)(struct arena *a, void *entry, unsigned size); /* each cmpxchg */
	void (*after)(void *ctx);
	void *after_ctx;
};

extern struct arena arena;
extern const struct pt_mem arena_mem;

extern const struct pt_caps full_caps; /* all there is, 46 address bits */
extern struct pt_format fmt;
extern struct pt_tree tree;

/* An empty tree in an empty arena. */
void make_tree(enum pt_kind kind, const struct pt_caps *caps);
/* Destroy it; no page may be left. */
void drop_tree(void);

#endif
