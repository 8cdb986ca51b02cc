/* The guest memory map: what lies at each guest-physical address. */
#ifndef UMBRA_VMM_MEMMAP_H
#define UMBRA_VMM_MEMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

enum region_kind {
	REGION_MEM,        /* RAM in host frames */
	REGION_ROM,        /* readable and executable frames; writes are dropped */
	REGION_HOOK,       /* device registers: every access goes to the bus */
	REGION_HOOK_WRITE, /* frames that are read and run as they are; writes go to the bus */
	REGION_APIC, /* a frame for the processor, which answers for the local APIC's registers
		      * there; to everybody else nothing is there */
	REGION_DISK, /* RAM whose content is elsewhere: a page comes in when it is first touched */
};

/* Where the pages of a DISK region come from. */
struct region_source {
	/* Fill a page with what is at offset, a multiple of 4 KiB; what is not there is
	 * zero. 0, or a negative errno. */
	int (*read)(void *ctx, uint64_t offset, void *page);
	void *ctx;
	uint64_t offset; /* of the region's first page */
};

struct region {
	gpa_t start;
	uint64_t size; /* multiples of 4 KiB */
	enum region_kind kind;
	hpa_t frames;   /* MEM, ROM, HOOK_WRITE: contiguous host frames */
	unsigned order; /* how frame_alloc gave them (for freeing); see owned */
	bool owned;     /* frames are freed with the map */
	bool cut;       /* a hook cut it off the region before it, which owns the frames */
	bool hooked;    /* kind is a hook's, put over memory; under is what lies there */
	enum region_kind under;
	struct region_source source; /* DISK */
	uint64_t *page; /* DISK, hooked or not: host address of each page; 0: it has not come in */
};

#define MEMMAP_MAX_REGIONS 256

struct memmap {
	unsigned nr;
	unsigned last_hit; /* index of the region found last */
	uint64_t changes;  /* so often it has been: what memmap_ptr() gave holds until the next */
	/*
	 * Bring the page of this DISK region into memory and enter it, by memmap_disk_enter().
	 * False: it can't be had, and the VM is to stop. NULL: no page ever comes in. It does
	 * not add or remove regions.
	 */
	bool (*bring_in)(void *ctx, struct region *region, uint64_t page);
	void *ctx;
	struct region region[MEMMAP_MAX_REGIONS]; /* sorted by start, never overlapping */
};

/* An empty map. */
void memmap_init(struct memmap *map);
/* 0, -EINVAL (alignment, wrap, empty), -EEXIST (overlap), -ENOSPC. */
int memmap_add(struct memmap *map, const struct region *region);
/* Remove exactly the region that starts at start. 0, -ENOENT, or -EBUSY: it is hooked, or a
 * hook has cut it. */
int memmap_remove(struct memmap *map, gpa_t start);
/*
 * Put a hook (HOOK or HOOK_WRITE) over memory: all of the range is MEM, ROM or DISK. The regions
 * are cut where it begins and ends. 0, -EINVAL, -ENOENT (nothing is there), -EEXIST (not
 * memory, or hooked already), -ENOSPC; then nothing has changed.
 */
int memmap_hook(struct memmap *map, gpa_t start, uint64_t size, enum region_kind kind);
/* Take away the hooks of a range that holds whole ones and nothing else; what they cut grows
 * together again. 0, -EINVAL or -ENOENT. */
int memmap_unhook(struct memmap *map, gpa_t start, uint64_t size);
/* The region that holds gpa, or NULL: nothing is there. Logarithmic, last hit first. */
const struct region *memmap_find(struct memmap *map, gpa_t gpa);

/* The page of a DISK region, hooked or not, that holds gpa: its host address; 0: it has not come
 * in, or it is no such region. */
uint64_t memmap_disk_page(const struct region *r, gpa_t gpa);
/* The page of that number has come in, with all that is in it. */
void memmap_disk_enter(struct region *r, uint64_t page, hpa_t frame);
/* Does the memory map give such an access without anybody's help but bring_in's? */
bool memmap_is_plain(const struct region *r, bool write);

/*
 * A pointer to guest memory at gpa, and in *avail how many bytes follow contiguously: MEM,
 * DISK, and when !write also ROM and HOOK_WRITE; a disk's page is brought in. NULL: not memory,
 * or a page that could not be brought in.
 */
void *memmap_ptr(struct memmap *map, gpa_t gpa, bool write, uint64_t *avail);
/*
 * The same for whoever looks from outside, without any effect: MEM, ROM and HOOK_WRITE, and what
 * has come in of DISK; to be written to as well. NULL: none of it.
 */
void *memmap_peek(const struct memmap *map, gpa_t gpa, uint64_t *avail);
/* Copy to or from guest RAM over region borders; false: part of it is not memory
 * (nothing before that part is undone). */
bool memmap_read(struct memmap *map, gpa_t gpa, void *dst, size_t n);
bool memmap_write(struct memmap *map, gpa_t gpa, const void *src, size_t n);
/* RAM bytes in all. */
uint64_t memmap_ram_bytes(const struct memmap *map);

#endif
