/* Kernels: bzImage by the boot protocol, vmlinux (ELF) by the zero page or PVH, multiboot. */
#ifndef UMBRA_VMM_LOAD_LINUX_H
#define UMBRA_VMM_LOAD_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

struct vm;
struct vcpu;

#define LOAD_MODULES 16 /* of one kernel, its initrd not counted */

/* A file that a multiboot kernel is given beside it. */
struct load_module {
	const uint8_t *data;
	uint64_t size;
	const char *cmdline;
};

/* Files and facts that a kernel is loaded from; the files are in hypervisor memory. */
struct load_source {
	const uint8_t *kernel;
	uint64_t kernel_size;
	const uint8_t *initrd; /* NULL: none */
	uint64_t initrd_size;
	const struct load_module *module;
	unsigned nr_modules; /* at most LOAD_MODULES */
	const char *cmdline;
	gpa_t rsdp;       /* guest-physical address of the ACPI RSDP, 0: none */
	uint32_t tsc_khz; /* told to the kernel so that it need not calibrate; 0: not */
};

/*
 * Put the kernel into the VM's memory and the vCPU into the state that its entry
 * protocol asks for. The kind of file is found out from its content. 0, or a negative
 * errno with why[size] saying which field or size is wrong (no guest input can do worse).
 */
int load_kernel(struct vm *vm, struct vcpu *vcpu, const struct load_source *src, char *why,
		size_t size);

#endif
