/*
 * Which ports and memory-mapped addresses a guest has touched, and how often: a table of a fixed
 * size, which keeps those that are touched most.
 */
#ifndef UMBRA_VMM_TOUCHES_H
#define UMBRA_VMM_TOUCHES_H

#include <stddef.h>
#include <stdint.h>

#define TOUCHES_SETS 64
#define TOUCHES_WAYS 4
#define TOUCHES_MAX (TOUCHES_SETS * TOUCHES_WAYS)

enum touch_kind { TOUCH_NONE, TOUCH_PORT, TOUCH_MEMORY };

struct touch {
	uint64_t key;     /* kind and address; 0: free */
	uint64_t in, out; /* reads, writes */
	const char *name; /* of the device that answered; NULL: nobody */
};

struct touches {
	struct touch set[TOUCHES_SETS][TOUCHES_WAYS];
	uint64_t forgotten; /* accesses whose entries gave way to others */
};

static inline enum touch_kind touch_kind(const struct touch *t)
{
	return (enum touch_kind)(t->key >> 62);
}

static inline uint64_t touch_address(const struct touch *t)
{
	return t->key & ~(UINT64_C(3) << 62);
}

static inline struct touch *touches_set(struct touches *t, uint64_t address)
{
	return t->set[(address ^ address >> 6) % TOUCHES_SETS];
}

static inline uint64_t touch_key(enum touch_kind kind, uint64_t address)
{
	return (uint64_t)kind << 62 | address;
}

/* The entry for this address, less than 2^62, whose counts the caller raises; NULL: it has none. */
static inline struct touch *touches_find(struct touches *t, enum touch_kind kind, uint64_t address)
{
	struct touch *set = touches_set(t, address);

	for (unsigned i = 0; i < TOUCHES_WAYS; i++)
		if (set[i].key == touch_key(kind, address))
			return &set[i];
	return NULL;
}

/* Make one for an address that has none: that of its set with the fewest accesses gives way. */
struct touch *touches_new(struct touches *t, enum touch_kind kind, uint64_t address,
			  const char *name);

/* All entries, those with the most accesses first; how many. */
unsigned touches_order(const struct touches *t, const struct touch *order[TOUCHES_MAX]);

#endif
