#include "arch/x86_64/gdt.h"

#include <stdint.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"

struct table_ptr {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

#define DESC_CODE64 UINT64_C(0x00af9b000000ffff)
#define DESC_DATA UINT64_C(0x00cf93000000ffff)
#define DESC_TSS_AVAILABLE (BIT(47) | UINT64_C(9) << 40) /* present, type 9 */

struct main_stack boot_stack __attribute__((section(".stacks"), aligned(4096)));
struct ist_stack boot_ist_stack[IST_SLOTS] __attribute__((section(".stacks"), aligned(4096)));
static_assert(sizeof(struct main_stack) == 0x9000, "boot.asm: BOOT_STACK_BYTES");

const uint8_t *const image_guard_page[IMAGE_GUARD_PAGES] = {
	boot_stack.guard,
	boot_ist_stack[IST_DF - 1].guard,
	boot_ist_stack[IST_NMI - 1].guard,
	boot_ist_stack[IST_MC - 1].guard,
};

uint64_t image_load_base;

struct cpu_tables boot_tables;

static void tss_fill(struct tss *tss, struct ist_stack *stacks)
{
	for (unsigned i = 0; i < IST_SLOTS; i++)
		tss->ist[i] = (uintptr_t)stacks[i].body + IST_STACK_SIZE;
	tss->iomap_base = sizeof(*tss);
}

static void gdt_fill(uint64_t *gdt, const struct tss *tss)
{
	uint64_t base = (uintptr_t)tss;

	gdt[SEL_CODE / 8] = DESC_CODE64;
	gdt[SEL_DATA / 8] = DESC_DATA;
	gdt[SEL_TSS / 8] = DESC_TSS_AVAILABLE | (sizeof(*tss) - 1) | (base & BITS(23, 0)) << 16 |
			   (base >> 24 & 0xff) << 56;
	gdt[SEL_TSS / 8 + 1] = base >> 32;
}

void gdt_init(void)
{
	struct cpu_tables *t = this_cpu()->tables;
	struct table_ptr ptr = { sizeof(t->gdt) - 1, (uintptr_t)t->gdt };
	uint64_t gs = rdmsr(MSR_GS_BASE);

	tss_fill(&t->tss, this_cpu()->ist);
	gdt_fill(t->gdt, &t->tss);
	__asm__ volatile("lgdt %0\n\t"
			 "push %1\n\t"
			 "lea 1f(%%rip), %%rax\n\t"
			 "push %%rax\n\t"
			 "lretq\n"
			 "1:\tmov %2, %%ds\n\t"
			 "mov %2, %%es\n\t"
			 "mov %2, %%ss\n\t"
			 "mov %3, %%fs\n\t"
			 "mov %3, %%gs" ::"m"(ptr),
			 "i"(SEL_CODE), "r"(SEL_DATA), "r"(0)
			 : "rax", "memory");
	wrmsr(MSR_GS_BASE, gs);
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
}
