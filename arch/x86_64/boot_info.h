/* What the boot loader said, copied out of its tags into a neutral form by boot/. */
#ifndef UMBRA_BOOT_INFO_H
#define UMBRA_BOOT_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

#define BOOT_MAX_RANGES 128
#define BOOT_MAX_MODULES 256

/* One range of the memory map, multiboot2 types. */
struct boot_range {
	uint64_t base, size;
	bool available;
};

struct boot_module {
	hpa_t start;
	uint64_t size;
	const char *cmdline; /* the whole module line, NUL-terminated, any length */
};

struct boot_info {
	const char *cmdline;
	const char *loader; /* the boot loader's name, "" if it did not say */
	unsigned nr_ranges, nr_modules;
	unsigned modules_dropped; /* beyond BOOT_MAX_MODULES */
	struct boot_range range[BOOT_MAX_RANGES];
	struct boot_module module[BOOT_MAX_MODULES];
	hpa_t image_start, image_end; /* where Umbra itself was loaded */
	hpa_t info_start, info_end;   /* the boot information, still in place */
	hpa_t rsdp;                   /* a copy in the boot information; 0: none */
	bool vga_text;                /* an 80x25 text screen at 0xb8000 */
};

#endif
