/* ELF files of kernels: what is to be loaded where, and how to enter it. */
#ifndef UMBRA_VMM_LOAD_ELF_H
#define UMBRA_VMM_LOAD_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_SEGMENTS 32

/* One PT_LOAD; file bytes [offset, offset + filesz) are known to be in the file. */
struct elf_segment {
	uint64_t offset, filesz;
	uint64_t paddr, vaddr, memsz; /* memsz >= filesz, > 0; neither range wraps */
};

struct elf_image {
	bool is_64;    /* ELF64 for x86-64; else ELF32 for the 386 */
	bool is_linux; /* a note says so */
	bool has_pvh;  /* XEN_ELFNOTE_PHYS32_ENTRY is there */
	uint32_t pvh_entry;
	uint64_t entry; /* e_entry as it stands */
	unsigned nr;    /* at least 1; by rising address, physically disjoint */
	struct elf_segment seg[ELF_SEGMENTS];
};

/* Has the file the magic number of an ELF file? */
bool is_elf(const uint8_t *file, uint64_t size);

/*
 * Read and check the headers and notes of a file that is_elf(). Every number is checked
 * against the file's size; nothing is known about the guest's memory here. 0, -ENOEXEC
 * (not a file that could be loaded) or -EINVAL (it contradicts itself), with the field
 * at fault in why[].
 */
int elf_read(const uint8_t *file, uint64_t size, struct elf_image *img, char *why, size_t why_size);

/* Where in physical memory e_entry lies: itself if a segment's file part is loaded there,
 * else by the virtual addresses. False: in no segment. */
bool elf_physical_entry(const struct elf_image *img, uint64_t *entry);
/* Is this physical address in the file part of a segment? */
bool elf_holds(const struct elf_image *img, uint64_t paddr);

#endif
