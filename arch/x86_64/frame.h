/*
 * The frame allocator: a buddy system over the machine's RAM, 4 KiB to 1 GiB, with
 * an owner for every frame. Only RAM that the multiboot2 memory map calls available,
 * less the image, modules, boot information and the first MiB, is ever handed out.
 */
#ifndef UMBRA_FRAME_H
#define UMBRA_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

#define FRAME_MAX_ORDER 18 /* 2^18 frames of 4 KiB: 1 GiB */

/* Who a frame belongs to. Owners from FRAME_VM0 on are VM number owner - FRAME_VM0. */
enum frame_owner {
	FRAME_NONE, /* not RAM, or firmware's: never handed out */
	FRAME_FREE,
	FRAME_HYPERVISOR,
	FRAME_PAGE_TABLE,
	FRAME_MODULE, /* what GRUB loaded */
	FRAME_VM0,
};

/*
 * 2^order frames, naturally aligned, now owned by owner; content undefined (poisoned
 * in debug builds). HPA(0) when there is none: frame 0 is never handed out.
 */
hpa_t frame_alloc(unsigned order, unsigned owner);
/* As frame_alloc, filled with zeros. */
hpa_t frame_alloc_zeroed(unsigned order, unsigned owner);
/* As frame_alloc_zeroed, below 4 GiB. The others take from there last. */
hpa_t frame_alloc_low(unsigned order, unsigned owner);
/* Give back what frame_alloc(order, owner) gave; anything else is a bug and panics. */
void frame_free(hpa_t pa, unsigned order, unsigned owner);
/* The owner of the frame that holds pa; FRAME_NONE for an address with no frame. */
unsigned frame_owner_of(hpa_t pa);
/* Does every frame of [pa, pa + size) belong to owner? */
bool frame_range_owned(hpa_t pa, uint64_t size, unsigned owner);

/* Byte counts for the machine and for one owner. */
uint64_t frame_bytes_total(void);
uint64_t frame_bytes_free(void);
uint64_t frame_bytes_owned(unsigned owner);

/* The owner's memory by the size of the blocks it was given in, as pages of these sizes. */
enum frame_size { FRAME_4K, FRAME_2M, FRAME_1G, FRAME_SIZES };
uint64_t frame_pages_owned(unsigned owner, enum frame_size size);

struct boot_info;
/* A page of RAM below 640 KiB that holds nothing: never handed out otherwise. HPA(0): none. */
hpa_t frame_startup_page(const struct boot_info *bi);
/*
 * Read the memory map: from here on RAM below 4 GiB, which the boot tables map, is handed
 * out. Ranges may overlap and come in any order; what is reserved wins.
 */
void frame_init(const struct boot_info *bi);
/* Once the direct map holds everything: the rest of the RAM. */
void frame_init_high(const struct boot_info *bi);

/*
 * Hypervisor memory, zeroed, in whole blocks of frames: size is rounded up to a power of
 * two of 4 KiB. NULL: none left, size 0, or more than 1 GiB.
 */
void *kalloc(size_t size);
/* p: what kalloc(size) gave, or NULL. */
void kfree(void *p, size_t size);

#endif
