/*
 * PVH: the 32-bit entry of a kernel that says by an ELF note where it is, with EBX at
 * hvm_start_info (Xen: docs/misc/pvh.pandoc, xen/include/public/arch-x86/hvm/start_info.h).
 */
#ifndef UMBRA_VMM_LOAD_PVH_H
#define UMBRA_VMM_LOAD_PVH_H

#include <stdint.h>

#include "arch/x86_64/include/bits.h"

#define HVM_START_MAGIC 0x336ec578u
#define HVM_START_VERSION 1u

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr; /* struct hvm_modlist_entry[] */
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr; /* struct hvm_memmap_entry[]; version 1 on */
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct hvm_modlist_entry {
	uint64_t paddr, size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};

/* type: as e820's. */
struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type;
	uint32_t reserved;
};

static_assert(sizeof(struct hvm_start_info) == 56, "hvm_start_info");
static_assert(offsetof(struct hvm_start_info, memmap_paddr) == 40, "memmap_paddr");
static_assert(sizeof(struct hvm_modlist_entry) == 32, "hvm_modlist_entry");
static_assert(sizeof(struct hvm_memmap_entry) == 24, "hvm_memmap_entry");

#endif
