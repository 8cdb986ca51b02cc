/* The guest memory map: what lies at each guest-physical address. */
#ifndef UMBRA_VMM_MEMMAP_H
#define UMBRA_VMM_MEMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

enum region_kind {
	REGION_MEM,  /* RAM in host frames */
	REGION_ROM,  /* readable and executable frames; writes are dropped */
	REGION_HOOK, /* device registers: every access goes to the bus */
};

struct region {
	gpa_t start;
	uint64_t size; /* multiples of 4 KiB */
	enum region_kind kind;
	hpa_t frames;   /* MEM, ROM: contiguous host frames */
	unsigned order; /* MEM, ROM: how frame_alloc gave them (for freeing); see owned */
	bool owned;     /* frames are freed with the map */
};

#define MEMMAP_MAX_REGIONS 256

struct memmap {
	unsigned nr;
	unsigned last_hit;                        /* index of the region found last */
	struct region region[MEMMAP_MAX_REGIONS]; /* sorted by start, never overlapping */
};

/* An empty map. */
void memmap_init(struct memmap *map);
/* 0, -EINVAL (alignment, wrap, empty), -EEXIST (overlap), -ENOSPC. */
int memmap_add(struct memmap *map, const struct region *region);
/* Remove exactly the region that starts at start. 0 or -ENOENT. */
int memmap_remove(struct memmap *map, gpa_t start);
/* The region that holds gpa, or NULL: nothing is there. Logarithmic, last hit first. */
const struct region *memmap_find(struct memmap *map, gpa_t gpa);

/*
 * A pointer to guest RAM (REGION_MEM; also ROM when !write) at gpa, and in *avail how
 * many bytes follow contiguously. NULL: not memory.
 */
void *memmap_ptr(struct memmap *map, gpa_t gpa, bool write, uint64_t *avail);
/* Copy to or from guest RAM over region borders; false: part of it is not memory
 * (nothing before that part is undone). */
bool memmap_read(struct memmap *map, gpa_t gpa, void *dst, size_t n);
bool memmap_write(struct memmap *map, gpa_t gpa, const void *src, size_t n);
/* RAM bytes in all. */
uint64_t memmap_ram_bytes(const struct memmap *map);

#endif
