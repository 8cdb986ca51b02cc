#include "arch/x86_64/gdt.h"

#include <stdint.h>

#include "arch/x86_64/image.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"

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

static struct tss boot_tss;
static uint64_t boot_cpu_gdt[SEL_TSS / 8 + 2];

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
	struct table_ptr ptr = { sizeof(boot_cpu_gdt) - 1, (uintptr_t)boot_cpu_gdt };
	uint64_t gs = rdmsr(MSR_GS_BASE);

	tss_fill(&boot_tss, boot_ist_stack);
	gdt_fill(boot_cpu_gdt, &boot_tss);
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
