/* The GDT and the task state segment with its interrupt stacks. */
#ifndef UMBRA_GDT_H
#define UMBRA_GDT_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS 0x18

/* 64-bit task state segment. APM vol. 2, 12.2.5; SDM vol. 3, 8.7. */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7]; /* IST_DF is ist[0] */
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap_base;
} __attribute__((packed));
static_assert(sizeof(struct tss) == 104, "TSS");
static_assert(offsetof(struct tss, ist) == 0x24, "TSS.IST1");

/* One CPU's. */
struct cpu_tables {
	struct tss tss;
	uint64_t gdt[SEL_TSS / 8 + 2];
};
extern struct cpu_tables boot_tables;

/* Fill and load this CPU's GDT (this_cpu()->tables), segment registers and TR. GS base is kept. */
void gdt_init(void);

#endif
