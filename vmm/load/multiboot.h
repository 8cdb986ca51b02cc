/*
 * The layouts of Multiboot Specification 0.6.96 (multiboot 1) and 2.0 (multiboot 2): the
 * header that a kernel carries and the information it is entered with.
 */
#ifndef UMBRA_VMM_LOAD_MULTIBOOT_H
#define UMBRA_VMM_LOAD_MULTIBOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"
#include "vmm/load/boot_params.h"

/* --- multiboot 1 --- */

#define MB1_MAGIC 0x1badb002u
#define MB1_SEARCH 8192u
#define MB1_ALIGN 4u
#define MB1_ENTRY_EAX 0x2badb002u

/* Header flags: 0-15 are requirements, 16 on may be ignored. */
#define MB1_FLAG_PAGE_ALIGN BIT(0)
#define MB1_FLAG_MEMORY BIT(1)
#define MB1_FLAG_VIDEO BIT(2)
#define MB1_FLAG_ADDRESSES BIT(16)

struct mb1_header {
	uint32_t magic, flags, checksum;
	/* with MB1_FLAG_ADDRESSES: */
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

#define MB1_HEADER_MIN 12u /* without the addresses */

#define MB1_INFO_MEMORY BIT(0)
#define MB1_INFO_CMDLINE BIT(2)
#define MB1_INFO_MODS BIT(3)
#define MB1_INFO_MMAP BIT(6)
#define MB1_INFO_LOADER BIT(9)

struct mb1_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
	uint32_t vbe_control_info, vbe_mode_info;
	uint16_t vbe_mode, vbe_interface_seg, vbe_interface_off, vbe_interface_len;
};

struct mb1_module {
	uint32_t start, end;
	uint32_t string;
	uint32_t reserved;
};

/* size does not count itself. */
struct mb1_mmap_entry {
	uint32_t size;
	struct e820_entry range;
} __attribute__((packed));

static_assert(sizeof(struct mb1_header) == 32, "multiboot 1 header");
static_assert(offsetof(struct mb1_info, mmap_length) == 44, "mmap_length");
static_assert(offsetof(struct mb1_info, boot_loader_name) == 64, "boot_loader_name");
static_assert(sizeof(struct mb1_info) == 88, "multiboot 1 information");
static_assert(sizeof(struct mb1_mmap_entry) == 24, "multiboot 1 memory map entry");

/* --- multiboot 2 --- */

#define MB2_MAGIC 0xe85250d6u
#define MB2_SEARCH 32768u
#define MB2_ALIGN 8u
#define MB2_ENTRY_EAX 0x36d76289u
#define MB2_ARCH_I386 0u

struct mb2_header {
	uint32_t magic, architecture, header_length, checksum;
};

#define MB2_TAG_OPTIONAL BIT(0) /* in flags */

/* Tags of the header. */
enum mb2_header_tag {
	MB2_HEADER_END,
	MB2_HEADER_INFO_REQUEST,
	MB2_HEADER_ADDRESS,
	MB2_HEADER_ENTRY,
	MB2_HEADER_CONSOLE,
	MB2_HEADER_FRAMEBUFFER,
	MB2_HEADER_MODULE_ALIGN,
	MB2_HEADER_EFI_BS,
	MB2_HEADER_EFI_ENTRY_32,
	MB2_HEADER_EFI_ENTRY_64,
	MB2_HEADER_RELOCATABLE,
};

struct mb2_header_tag_head {
	uint16_t type, flags;
	uint32_t size;
};

struct mb2_address_tag {
	struct mb2_header_tag_head head;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr;
};

struct mb2_relocatable_tag {
	struct mb2_header_tag_head head;
	uint32_t min_addr, max_addr, align, preference;
};

#define MB2_CONSOLE_REQUIRED BIT(0)

/* Tags of the information. */
enum mb2_info_tag {
	MB2_INFO_END = 0,
	MB2_INFO_CMDLINE = 1,
	MB2_INFO_LOADER = 2,
	MB2_INFO_MODULE = 3,
	MB2_INFO_MEMORY = 4,
	MB2_INFO_MMAP = 6,
	MB2_INFO_ACPI_OLD = 14,
	MB2_INFO_ACPI_NEW = 15,
	MB2_INFO_LOAD_BASE = 21,
};

struct mb2_tag {
	uint32_t type, size;
};

struct mb2_module_tag {
	struct mb2_tag tag;
	uint32_t start, end;
};

struct mb2_memory_tag {
	struct mb2_tag tag;
	uint32_t mem_lower, mem_upper; /* KiB */
};

struct mb2_mmap_tag {
	struct mb2_tag tag;
	uint32_t entry_size, entry_version;
};

struct mb2_mmap_entry {
	struct e820_entry range;
	uint32_t zero;
} __attribute__((packed));

struct mb2_load_base_tag {
	struct mb2_tag tag;
	uint32_t addr;
};

static_assert(sizeof(struct mb2_header) == 16, "multiboot 2 header");
static_assert(sizeof(struct mb2_address_tag) == 24, "address tag");
static_assert(sizeof(struct mb2_relocatable_tag) == 24, "relocatable tag");
static_assert(sizeof(struct mb2_mmap_entry) == 24, "multiboot 2 memory map entry");

/* --- both, as the loader works with them --- */

/* A header, checked in itself; addresses are as they stand. */
struct multiboot {
	unsigned version;   /* 1, 2 */
	uint64_t offset;    /* of the header in the file */
	bool has_addresses; /* these say what to load, not the file's ELF headers */
	bool has_entry;     /* entry replaces the ELF file's */
	bool relocatable;   /* min, max, align say where it may go */
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr;
	uint32_t entry;
	uint32_t min, max, align;
	uint32_t load_base; /* where the first byte of it went: load_multiboot()'s */
};

struct load;

/* A module in guest memory. */
struct multiboot_module {
	uint32_t start, end;
	const char *string;
};

/*
 * Write the information for a kernel that is in place, with the modules in order, and
 * return its address in *at. 0, -E2BIG or -EFBIG with why.
 */
int multiboot_info(struct load *load, const struct multiboot *mb,
		   const struct multiboot_module *module, unsigned nr, uint64_t *at);

#endif
