/* The smallest kernel that the loader takes: an ELF file of one segment, all HLT. */
#ifndef UMBRA_TESTS_KERNEL_IMAGE_H
#define UMBRA_TESTS_KERNEL_IMAGE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#undef PF_W /* of a program header; a page fault's is meant where it is used */

struct kernel_image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	uint8_t code[64];
};

/* at: its physical address and entry. */
static inline void kernel_image_make(struct kernel_image *k, uint64_t at)
{
	memset(k, 0, sizeof(*k));
	memcpy(k->ehdr.e_ident, ELFMAG, SELFMAG);
	k->ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	k->ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	k->ehdr.e_ident[EI_VERSION] = EV_CURRENT;
	k->ehdr.e_type = ET_EXEC;
	k->ehdr.e_machine = EM_X86_64;
	k->ehdr.e_version = EV_CURRENT;
	k->ehdr.e_entry = at;
	k->ehdr.e_phoff = offsetof(struct kernel_image, phdr);
	k->ehdr.e_ehsize = sizeof(Elf64_Ehdr);
	k->ehdr.e_phentsize = sizeof(Elf64_Phdr);
	k->ehdr.e_phnum = 1;
	k->phdr = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_flags = 5 /* read, execute */,
				.p_offset = offsetof(struct kernel_image, code),
				.p_vaddr = at,
				.p_paddr = at,
				.p_filesz = sizeof(k->code),
				.p_memsz = sizeof(k->code) };
	memset(k->code, 0xf4, sizeof(k->code));
}

#endif
