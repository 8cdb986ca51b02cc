/*
 * The page of facts that a Linux kernel is entered with, by the x86 boot protocol
 * (Linux: Documentation/x86/boot.rst and zero-page.rst). Offsets in the comments are
 * from the page's start; a bzImage has its setup_header at the same offset of the file.
 */
#ifndef UMBRA_VMM_LOAD_BOOT_PARAMS_H
#define UMBRA_VMM_LOAD_BOOT_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

#define SETUP_HEADER_OFFSET 0x1f1u
#define SETUP_BOOT_FLAG 0xaa55u
#define SETUP_MAGIC 0x53726448u /* "HdrS" */

/* Where the header ends: this plus the byte at 0x201 (the displacement of its jump). */
#define SETUP_HEADER_END_BASE 0x202u
#define SETUP_JUMP_OFFSET 0x201u
#define SETUP_MAGIC_OFFSET 0x202u
#define SETUP_VERSION_OFFSET 0x206u
#define SETUP_HEADER_END_MAX 0x290u

#define SETUP_SECTOR 512u

#define LOADFLAGS_LOADED_HIGH BIT(0)
#define XLF_KERNEL_64 BIT(0)
#define LOADER_TYPE_UNDEFINED 0xffu

struct setup_header {
	uint8_t setup_sects;            /* 0x1f1 */
	uint16_t root_flags;            /* 0x1f2 */
	uint32_t syssize;               /* 0x1f4: 16-byte units */
	uint16_t ram_size;              /* 0x1f8 */
	uint16_t vid_mode;              /* 0x1fa */
	uint16_t root_dev;              /* 0x1fc */
	uint16_t boot_flag;             /* 0x1fe */
	uint16_t jump;                  /* 0x200 */
	uint32_t magic;                 /* 0x202 */
	uint16_t version;               /* 0x206 */
	uint32_t realmode_switch;       /* 0x208 */
	uint16_t start_sys_seg;         /* 0x20c */
	uint16_t kernel_version;        /* 0x20e */
	uint8_t type_of_loader;         /* 0x210 */
	uint8_t loadflags;              /* 0x211 */
	uint16_t setup_move_size;       /* 0x212 */
	uint32_t code32_start;          /* 0x214 */
	uint32_t ramdisk_image;         /* 0x218 */
	uint32_t ramdisk_size;          /* 0x21c */
	uint32_t bootsect_kludge;       /* 0x220 */
	uint16_t heap_end_ptr;          /* 0x224 */
	uint8_t ext_loader_ver;         /* 0x226 */
	uint8_t ext_loader_type;        /* 0x227 */
	uint32_t cmd_line_ptr;          /* 0x228 */
	uint32_t initrd_addr_max;       /* 0x22c: the last byte's highest address */
	uint32_t kernel_alignment;      /* 0x230 */
	uint8_t relocatable_kernel;     /* 0x234 */
	uint8_t min_alignment;          /* 0x235: 2.10+ */
	uint16_t xloadflags;            /* 0x236: 2.12+ */
	uint32_t cmdline_size;          /* 0x238: 2.06+, without the terminator */
	uint32_t hardware_subarch;      /* 0x23c: 2.07+ */
	uint64_t hardware_subarch_data; /* 0x240 */
	uint32_t payload_offset;        /* 0x248: 2.08+ */
	uint32_t payload_length;        /* 0x24c */
	uint64_t setup_data;            /* 0x250: 2.09+ */
	uint64_t pref_address;          /* 0x258: 2.10+ */
	uint32_t init_size;             /* 0x260: 2.10+ */
	uint32_t handover_offset;       /* 0x264: 2.11+ */
	uint32_t kernel_info_offset;    /* 0x268: 2.15+ */
} __attribute__((packed));

#define SETUP_FIELD_AT(field, offset)                                                              \
	static_assert(SETUP_HEADER_OFFSET + offsetof(struct setup_header, field) == (offset),      \
		      #field)
SETUP_FIELD_AT(boot_flag, 0x1fe);
SETUP_FIELD_AT(magic, 0x202);
SETUP_FIELD_AT(type_of_loader, 0x210);
SETUP_FIELD_AT(ramdisk_image, 0x218);
SETUP_FIELD_AT(cmd_line_ptr, 0x228);
SETUP_FIELD_AT(kernel_alignment, 0x230);
SETUP_FIELD_AT(cmdline_size, 0x238);
SETUP_FIELD_AT(payload_offset, 0x248);
SETUP_FIELD_AT(pref_address, 0x258);
SETUP_FIELD_AT(kernel_info_offset, 0x268);
static_assert(sizeof(struct setup_header) == 0x26c - SETUP_HEADER_OFFSET, "setup_header");

#define E820_RAM 1u
#define E820_RESERVED 2u
#define E820_MAX 128u

struct e820_entry {
	uint64_t addr, size;
	uint32_t type;
} __attribute__((packed));

struct boot_params {
	uint8_t screen_info[0x70];
	uint64_t acpi_rsdp_addr; /* 0x070 */
	uint8_t unused_078[0x1e8 - 0x078];
	uint8_t e820_entries; /* 0x1e8 */
	uint8_t unused_1e9[SETUP_HEADER_OFFSET - 0x1e9];
	struct setup_header hdr; /* 0x1f1 */
	uint8_t unused_26c[0x2d0 - 0x26c];
	struct e820_entry e820[E820_MAX]; /* 0x2d0 */
	uint8_t unused_cd0[0x1000 - 0xcd0];
} __attribute__((packed));

static_assert(sizeof(struct e820_entry) == 20, "e820_entry");
static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "acpi_rsdp_addr");
static_assert(offsetof(struct boot_params, e820_entries) == 0x1e8, "e820_entries");
static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER_OFFSET, "hdr");
static_assert(offsetof(struct boot_params, e820) == 0x2d0, "e820");
static_assert(sizeof(struct boot_params) == 4096, "boot_params");

#endif
