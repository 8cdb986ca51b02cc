/* The processors and the devices as the hostile guest itself wants them. */
#include "tests/guest/hostile/hostile.h"

#include <string.h>

#define PIC1 0x20
#define PIC2 0xa0
#define PIT 0x40
#define PIT_RATE 1193 /* about a millisecond */

#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u

#define PAGES(n) [n] __attribute__((aligned(PAGE), section(".bss.tables")))

uint64_t pml4 PAGES(512), code_pt PAGES(512);
static uint64_t pdpt PAGES(512), pd PAGES(4 * 512), low_pt PAGES(512);
uint32_t pd32 PAGES(1024);
static uint32_t low_pt32 PAGES(1024);
uint64_t pdpt_pae PAGES(4);

/* entry.asm has these as numbers. */
_Static_assert(offsetof(struct cpu, wild) == CPU_STACK && sizeof(struct wild) == 208 &&
		       offsetof(struct cpu, gdt) == 0x40d0 &&
		       offsetof(struct cpu, gdtr) == 0x4308 && sizeof(struct cpu) == CPU_SIZE,
	       "as entry.asm has it");

extern uint8_t text_start[], safe_end[];
extern const uint8_t start_code[], start_code_end[];

uint32_t in(uint16_t port, unsigned size)
{
	uint32_t val = 0;

	if (size == 1)
		__asm__ volatile("inb %w1, %b0" : "+a"(val) : "Nd"(port));
	else if (size == 2)
		__asm__ volatile("inw %w1, %w0" : "+a"(val) : "Nd"(port));
	else
		__asm__ volatile("inl %w1, %0" : "+a"(val) : "Nd"(port));
	return val;
}

void out(uint16_t port, unsigned size, uint32_t val)
{
	if (size == 1)
		__asm__ volatile("outb %b0, %w1" : : "a"(val), "Nd"(port));
	else if (size == 2)
		__asm__ volatile("outw %w0, %w1" : : "a"(val), "Nd"(port));
	else
		__asm__ volatile("outl %0, %w1" : : "a"(val), "Nd"(port));
}

static void mend_serial(void)
{
	outb(COM1 + 3, 0x83);
	outb(COM1, 1);
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 3);
	outb(COM1 + 2, 7);
	outb(COM1 + 4, 3);
}

/* --- page tables --- */

static void make_tables(void)
{
	for (unsigned i = 0; i < 4 * 512; i++)
		pd[i] = (uint64_t)i << 21 | PTE_PS | PTE_W | PTE_P;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (uintptr_t)&pd[i * 512] | PTE_U | PTE_W | PTE_P;
	for (uintptr_t i = 0; i < 512; i++) {
		bool safe = i * PAGE >= (uintptr_t)text_start && i * PAGE < (uintptr_t)safe_end;

		low_pt[i] = i * PAGE | (safe ? 0 : PTE_W) | PTE_P;
	}
	for (uint32_t i = 0; i < 512; i++)
		code_pt[i] = (WILD_CODE + i * PAGE) | PTE_U | PTE_W | PTE_P;
	pd[0] = (uintptr_t)low_pt | PTE_U | PTE_W | PTE_P;
	pd[WILD_CODE >> 21] = (uintptr_t)code_pt | PTE_U | PTE_W | PTE_P;
	pd[WILD_DATA >> 21] |= PTE_U;
	pd[MINE >> 21] = PTE_PS | PTE_W | PTE_P;
	pml4[0] = (uintptr_t)pdpt | PTE_U | PTE_W | PTE_P;
	pml4[1] = WILD_TABLES | PTE_U | PTE_W | PTE_P;
}

static void mend_tables(void)
{
	for (uint32_t i = 0; i < 512; i++)
		if (code_pt[i] != ((WILD_CODE + i * PAGE) | PTE_U | PTE_W | PTE_P))
			mine(code_pt)[i] = (WILD_CODE + i * PAGE) | PTE_U | PTE_W | PTE_P;
}

/* --- descriptors --- */

#define SEGMENT(flags, access)                                                                     \
	((uint64_t)(flags) << 52 | (uint64_t)0xf << 48 | (uint64_t)(access) << 40 | 0xffff)

static uint64_t tss_low(const void *tss)
{
	uint64_t at = (uintptr_t)tss;

	return (at >> 24 & 0xff) << 56 | (uint64_t)0x89 << 40 | (at & 0xffffff) << 16 | 103;
}

static void mend_descriptors(struct cpu *me)
{
	uint64_t *gdt = me->gdt;

	gdt[0] = 0;
	gdt[CODE64 / 8] = SEGMENT(0xa, 0x9b);
	gdt[DATA / 8] = SEGMENT(0xc, 0x93);
	gdt[CODE32 / 8] = SEGMENT(0xc, 0x9b);
	gdt[CODE16 / 8] = SEGMENT(0x0, 0x9b) & ~((uint64_t)0xf << 48);
	gdt[UCODE64 / 8] = SEGMENT(0xa, 0xfb);
	gdt[UDATA / 8] = SEGMENT(0xc, 0xf3);
	gdt[UCODE32 / 8] = SEGMENT(0xc, 0xfb);
	gdt[UCODE16 / 8] = (SEGMENT(0x0, 0xfb) & ~((uint64_t)0xf << 48)) | (uint64_t)WILD_CODE
										   << 16;
	gdt[WILD_CODE16 / 8] = (SEGMENT(0x0, 0x9b) & ~((uint64_t)0xf << 48)) | (uint64_t)WILD_CODE
										       << 16;
	gdt[TSS64 / 8] = tss_low(me->tss64);
	gdt[TSS64 / 8 + 1] = 0;
	gdt[TSS32 / 8] = tss_low(me->tss32);
	gdt[TSS_DF / 8] = tss_low(me->tss_df);
}

static void make_idts(void)
{
	for (unsigned i = 0; i < 256; i++) {
		set_gate64(idt64[i], CODE64, idt_stubs[i], GATE_INTERRUPT | GATE_DPL(3) | 1);
		set_gate32(idt32[i], CODE32, idt32_stubs[i], GATE_INTERRUPT | GATE_DPL(3));
	}
	if (!options.no_tasks) {
		idt32[8][0] = TSS_DF << 16;
		idt32[8][1] = 0x8500;
	}
}

/* For the modes without EFER.LME: all of 4 GiB, of the user what wild code has. */
static void make_legacy_tables(void)
{
	for (uint32_t i = 0; i < 1024; i++) {
		low_pt32[i] = i * PAGE | (low_pt[i & 511] & PTE_W) | (i < 256 ? PTE_U : 0) | PTE_P;
		pd32[i] = i << 22 | PTE_PS | (i == WILD_CODE >> 22 ? PTE_U : 0) | PTE_W | PTE_P;
	}
	pd32[0] = (uint32_t)(uintptr_t)low_pt32 | PTE_U | PTE_W | PTE_P;
	for (unsigned i = 0; i < 4; i++)
		pdpt_pae[i] = (uintptr_t)&pd[i * 512] | PTE_P;
}

static void make_tsss(struct cpu *me)
{
	uint32_t stack = (uint32_t)(uintptr_t)me + CPU_STACK;

	me->tss64[1] = stack; /* RSP0 */
	me->tss64[9] = stack; /* IST1 */
	me->tss64[25] = 104 << 16;
	me->tss32[1] = stack; /* ESP0 */
	me->tss32[2] = DATA;
	me->tss32[25] = 104 << 16;
	me->tss_df[1] = me->tss_df[14] = (uint32_t)(uintptr_t)me + CPU_SIZE;
	me->tss_df[2] = DATA;
	me->tss_df[8] = (uint32_t)(uintptr_t)stub_df32;
	me->tss_df[9] = 2;
	for (unsigned i = 18; i < 24; i++)
		me->tss_df[i] = DATA;
	me->tss_df[19] = CODE32;
	me->tss_df[25] = 104 << 16;
}

/* --- registers that a program can't do without --- */

static void mend_msrs(struct cpu *me)
{
	if (rdmsr(MSR_EFER) != EFER_GOOD)
		wrmsr(MSR_EFER, EFER_GOOD);
	if (rdmsr(MSR_LSTAR) != (uintptr_t)syscall_entry) {
		wrmsr(MSR_LSTAR, (uintptr_t)syscall_entry);
		wrmsr(MSR_CSTAR, (uintptr_t)syscall_entry);
	}
	if (rdmsr(MSR_STAR) != ((uint64_t)CODE64 << 32 | (uintptr_t)syscall_entry))
		wrmsr(MSR_STAR, (uint64_t)CODE64 << 32 | (uintptr_t)syscall_entry);
	me->msrs_spoiled = false;
	if (rdmsr(MSR_SYSENTER_EIP) != (uintptr_t)syscall_entry) {
		wrmsr(MSR_SYSENTER_CS, CODE64);
		wrmsr(MSR_SYSENTER_ESP, (uintptr_t)me->stack + CPU_STACK);
		wrmsr(MSR_SYSENTER_EIP, (uintptr_t)syscall_entry);
	}
}

/* IRQs by vectors 0x20 to 0x2f, ended by themselves; of them the PIT's only, as a watchdog. */
static void mend_devices(struct cpu *me)
{
	const uint8_t words[4][2] = { { 0x11, 0x11 }, { 0x20, 0x28 }, { 4, 2 }, { 3, 3 } };

	for (unsigned i = 0; i < 4; i++) {
		outb(PIC1 + (i != 0), words[i][0]);
		outb(PIC2 + (i != 0), words[i][1]);
	}
	outb(PIC1 + 1, 0xfe);
	outb(PIC2 + 1, 0xff);
	outb(PIT + 3, 0x34);
	outb(PIT, PIT_RATE & 0xff);
	outb(PIT, PIT_RATE >> 8);
	mend_serial();
	me->devices_spoiled = false;
}

static void mend_processor(struct cpu *me)
{
	uint64_t dr7, cr8;

	mend_descriptors(me);
	make_tsss(me);
	load_tables(me);
	__asm__ volatile("mov %%dr7, %0" : "=r"(dr7));
	if (dr7 != 0x400)
		__asm__ volatile("mov %0, %%dr7" : : "r"((uint64_t)0x400));
	__asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
	if (cr8)
		__asm__ volatile("mov %0, %%cr8" : : "r"((uint64_t)0));
	if (me->msrs_spoiled)
		mend_msrs(me);
	mend_tables();
}

void machine_mend(void)
{
	struct cpu *me = this_cpu();

	if (!options.sweep) /* which breaks nothing of it */
		mend_processor(me);
	if (me->devices_spoiled)
		mend_devices(me);
	if (me->apic_spoiled)
		mend_apic(me);
}

void make_start_code(void)
{
	memcpy((void *)(uintptr_t)LOW_CODE, low_code, (size_t)(low_code_end - low_code));
	memcpy((void *)(uintptr_t)START_CODE, start_code, (size_t)(start_code_end - start_code));
}

void machine_init(void)
{
	make_tables();
	make_legacy_tables();
	make_idts();
	make_start_code();
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		struct cpu *cpu = &cpus[i];

		cpu->nr = i;
		cpu->msrs_spoiled = cpu->apic_spoiled = true;
		cpu->gdtr = (struct table_register){ sizeof(cpu->gdt) - 1, (uintptr_t)cpu->gdt };
		seed_random(cpu, options.seed);
		mend_descriptors(cpu);
	}
	__asm__ volatile("mov %0, %%cr3" : : "r"((uint64_t)(uintptr_t)pml4) : "memory");
	mend_processor(this_cpu());
	mend_devices(this_cpu());
	mend_apic(this_cpu());
}
