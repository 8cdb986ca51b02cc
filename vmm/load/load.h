/* What the loaders of the several kinds of kernel share. */
#ifndef UMBRA_VMM_LOAD_LOAD_H
#define UMBRA_VMM_LOAD_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/load/boot_params.h"
#include "vmm/load/elf.h"
#include "vmm/load/linux.h"
#include "vmm/load/place.h"

/* One loading on its way: filled in by load_kernel(). */
struct load {
	struct vm *vm;
	struct vcpu *vcpu;
	const struct load_source *src;
	struct ram_map ram;
	char *why;
	size_t why_size;
	struct ram_range kernel; /* what the kernel takes of the memory, from its own loader */
	uint64_t initrd_at;      /* set by load_initrd(); 0: none */
};

/* Say in load->why what is wrong with the file or the guest; returns err. */
int load_refuse(struct load *load, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Put the initrd as high as it may be: its last byte at or below addr_max, clear of
 * load->kernel. 0 (also when there is none), or -EFBIG with why.
 */
int load_initrd(struct load *load, uint64_t addr_max);
/*
 * Write the command line, at most max bytes long, to PLACE_CMDLINE. With tell_tsc, "
 * tsc_early_khz=N" follows when the frequency is known, the line does not have it, and it fits. 0,
 * or -E2BIG or -EFBIG.
 */
int load_cmdline(struct load *load, uint64_t max, bool tell_tsc);
/* Copy to guest memory. 0, or -EFBIG with why: part of it is no RAM. */
int load_bytes(struct load *load, uint64_t at, const void *from, uint64_t size);
/*
 * Put an image's segments at their paddr, all of it guest RAM from 1 MiB to 4 GiB, and say
 * in load->kernel from where to where they go. 0, or -EFBIG with why, which begins with
 * field: what is wrong when they do not fit.
 */
int load_segments(struct load *load, const struct elf_image *img, const char *field);

/* Complete the zero page from header hdr and what was loaded, and write it to
 * PLACE_BOOT_PARAMS. 0, -ENOMEM or -EFBIG. */
int load_boot_params(struct load *load, const struct setup_header *hdr);

/* The loaders, one a kind of file. 0, or a negative errno with why. */
int load_bzimage(struct load *load);
int load_elf(struct load *load);
int load_multiboot(struct load *load);

/* Has the file the magic number of a bzImage? */
bool is_bzimage(const uint8_t *file, uint64_t size);
/* Has it a multiboot 1 or 2 header, with a good checksum, where one is looked for? */
bool is_multiboot(const uint8_t *file, uint64_t size);

#endif
