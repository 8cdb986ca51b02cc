/*
 * Where things go in a guest's memory while its kernel is loaded: the RAM a kernel may
 * count on, room found in it, and the fixed places of the small tables.
 *
 *     0x01000  GDT                       0x09000  PVH: memory map
 *     0x07000  boot_params               0x0a000  page tables, 6 pages
 *     0x08000  PVH: hvm_start_info       0x20000  command line, up to 0x90000; or all of
 *                                                 multiboot's information
 *     0x9fc00  end of low RAM            0xf0000  BIOS area: ACPI tables, reserved
 *    0x100000  kernel, from here on at the earliest; initrd as high as it may be
 */
#ifndef UMBRA_VMM_LOAD_PLACE_H
#define UMBRA_VMM_LOAD_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/load/boot_params.h"

struct memmap;

#define PLACE_GDT 0x1000u
#define PLACE_BOOT_PARAMS 0x7000u
#define PLACE_START_INFO 0x8000u
#define PLACE_PVH_MEMMAP 0x9000u
#define PLACE_PAGE_TABLES 0xa000u
#define PLACE_CMDLINE 0x20000u
#define PLACE_CMDLINE_END 0x90000u
#define PLACE_LOW_RAM_END 0x9fc00u
#define PLACE_LOW_END 0xa0000u
#define PLACE_BIOS 0xf0000u
#define PLACE_HIGH 0x100000u

/* What a 32-bit entry and its pointers reach. */
#define PLACE_4G GIB(4)

struct ram_range {
	uint64_t start, end;
};

/* RAM from 0 up, sorted, adjacent ranges merged; nothing in 0x9fc00-0xfffff. */
#define RAM_RANGES 110
#define RAM_DISKS 16
struct ram_map {
	unsigned nr, nr_disks;
	struct ram_range range[RAM_RANGES];
	/* Disk regions, and ROM above 1 MiB: memory, but not for a kernel to take. */
	struct ram_range disk[RAM_DISKS];
};

/* The RAM of mem, less what is kept for tables and firmware. */
void ram_map_fill(struct ram_map *ram, const struct memmap *mem);
/* Is all of [start, start + size) RAM in one piece, at or above 1 MiB? Any numbers are safe. */
bool ram_holds(const struct ram_map *ram, uint64_t start, uint64_t size);
/* The lowest, and the highest, aligned address at which size > 0 bytes of RAM lie within
 * [min, end); the highest keeps clear of the range avoid. False: there is no such room. */
bool ram_place_low(const struct ram_map *ram, uint64_t size, uint64_t align, uint64_t min,
		   uint64_t end, uint64_t *at);
bool ram_place_high(const struct ram_map *ram, uint64_t size, uint64_t min, uint64_t end,
		    struct ram_range avoid, uint64_t *at);

/* The memory map as BIOS call e820 would give it, by rising address: RAM; and reserved, disk
 * regions, ROM, and what else lies below 1 MiB. Returns the number of entries. */
unsigned ram_map_e820(const struct ram_map *ram, struct e820_entry e820[E820_MAX]);

#endif
