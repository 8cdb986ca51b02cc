/*
 * A guest between two tasks, on a backend without hardware, for the tests of vmm/task.c:
 * tables, the old task's registers, and what may come of a switch.
 */
#ifndef UMBRA_TESTS_TASK_FIXTURE_H
#define UMBRA_TESTS_TASK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_backend.h"
#include "vmm/cpuid.h"
#include "vmm/task_state.h"

/* Where things lie in the guest's 64 KiB; with paging on, one to one. */
#define CODE 0x1000u
#define GDT 0x2000u
#define LDT 0x2800u
#define OLD_TSS 0x3000u
#define NEW_TSS 0x4000u
#define STACK 0x5800u
#define PAGE_DIR 0x8000u
#define PAGE_TABLE 0x9000u
#define OTHER_DIR 0xa000u
#define PDPT 0xb000u
#define BAD_PDPT 0xb100u

#define SEL_CODE0 0x08u
#define SEL_DATA0 0x10u
#define SEL_OLD 0x18u
#define SEL_NEW 0x20u
#define SEL_OLD16 0x28u
#define SEL_LDT 0x30u
#define SEL_CODE3 0x3bu
#define SEL_DATA3 0x43u
#define SEL_TEST 0x48u /* a test makes what it needs here */
#define SEL_BEYOND 0x58u
#define GDT_LIMIT 0x57u

#define P 0x80u
#define DPL3 0x60u
#define TSS32_FREE 0x89u
#define TSS32_BUSY 0x8bu
#define TSS16_FREE 0x81u
#define TSS16_BUSY 0x83u
#define BIG 0xc00u /* D/B and G */

#define NEW_EIP 0x1234u
#define NEW_CR3 OTHER_DIR

enum how { CALL, JMP, IRET, EVENT };

static struct tss32 *old32, *new32;
static struct tss16 *old16, *new16;

static inline void put_desc(unsigned table, unsigned selector, uint32_t base, uint32_t limit,
			    unsigned attr)
{
	uint64_t raw = (limit & 0xffff) | (uint64_t)(limit >> 16 & 0xf) << 48 |
		       (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56 |
		       (uint64_t)(attr & 0xff) << 40 | (uint64_t)(attr >> 8) << 52;

	memcpy(fake_ram + table + (selector & 0xfff8), &raw, sizeof(raw));
}

static inline void gdt_desc(unsigned selector, uint32_t base, uint32_t limit, unsigned attr)
{
	put_desc(GDT, selector, base, limit, attr);
}

/* P, DPL, S and the type, as they are in memory now. */
static inline unsigned gdt_attr(unsigned selector)
{
	return fake_ram[GDT + (selector & 0xfff8) + 5];
}

static inline struct vm_exit *prepare(enum how how)
{
	struct vm_exit *exit = &fake_vcpu.exit;

	*exit = (struct vm_exit){ .kind = EXIT_TASK_SWITCH };
	exit->task.selector = SEL_NEW;
	exit->task.jmp = how == JMP;
	exit->task.iret = how == IRET;
	if (how == EVENT)
		exit->interrupted = (struct vm_event){ .kind = EVENT_INTR, .vector = 0x20 };
	if (how == IRET) {
		gdt_desc(SEL_NEW, NEW_TSS, 0x67, TSS32_BUSY);
		fake_vcpu.regs.rflags |= RFLAGS_NT;
	}
	return exit;
}

static inline void handle(void)
{
	vm_exit_handle(&fake_vcpu);
}

static inline void do_switch(enum how how)
{
	prepare(how);
	handle();
}

static inline void set_new_tss(void)
{
	*new32 = (struct tss32){ .link = 0x7777,
				 .cr3 = NEW_CR3,
				 .eip = NEW_EIP,
				 .eflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF,
				 .gpr = { 0xa0, 0xa1, 0xa2, 0xa3, STACK, 0xa5, 0xa6, 0xa7 },
				 .ldt = 0,
				 .iomap = 0x68 };
	for (unsigned i = 0; i < TSS_SEGS; i++)
		new32->seg[i].selector = i == SEG_CS ? SEL_CODE0 : SEL_DATA0;
}

static inline void set_tables(void)
{
	gdt_desc(SEL_CODE0, 0, 0xfffff, BIG | 0x9b);
	gdt_desc(SEL_DATA0, 0, 0xfffff, BIG | 0x93);
	gdt_desc(SEL_OLD, OLD_TSS, 0x67, TSS32_BUSY);
	gdt_desc(SEL_NEW, NEW_TSS, 0x67, TSS32_FREE);
	gdt_desc(SEL_OLD16, OLD_TSS, 0x2b, TSS16_BUSY);
	gdt_desc(SEL_LDT, LDT, 0x17, 0x82);
	gdt_desc(SEL_CODE3, 0, 0xfffff, BIG | 0xfb);
	gdt_desc(SEL_DATA3, 0, 0xfffff, BIG | 0xf3);
	memset(fake_ram + OLD_TSS, 0x5a, 0x80);
	set_new_tss();
}

/* 32-bit protected mode, paging off, in the task of SEL_OLD; at CS:EIP a far jump of 7 bytes. */
static inline int setup(void **state)
{
	static const uint8_t insn[] = { 0xea, 0, 0, 0, 0, SEL_NEW, 0 };

	(void)state;
	fake_vm_reset();
	cpuid_init(fake_cpuid_amd, XCR0_X87);
	old32 = (struct tss32 *)(fake_ram + OLD_TSS);
	old16 = (struct tss16 *)(fake_ram + OLD_TSS);
	new32 = (struct tss32 *)(fake_ram + NEW_TSS);
	new16 = (struct tss16 *)(fake_ram + NEW_TSS);
	set_tables();
	memcpy(fake_ram + CODE, insn, sizeof(insn));
	fake_hw.reg[REG_CR0] = CR0_PE | CR0_ET | CR0_NE;
	fake_hw.reg[REG_CR4] = 0;
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.reg[REG_DR7] = 0x7ff;
	fake_hw.reg[REG_INTR_SHADOW] = 1;
	for (unsigned i = 0; i < TSS_SEGS; i++)
		fake_hw.seg[i] = (struct segment){ SEL_DATA0, BIG | 0x93, 0xffffffff, 0 };
	fake_hw.seg[SEG_CS] = (struct segment){ SEL_CODE0, BIG | 0x9b, 0xffffffff, 0 };
	fake_hw.seg[SEG_TR] = (struct segment){ SEL_OLD, TSS32_BUSY, 0x67, OLD_TSS };
	fake_hw.seg[SEG_GDTR] = (struct segment){ 0, 0, GDT_LIMIT, GDT };
	for (unsigned i = 0; i < GPRS; i++)
		fake_vcpu.regs.gpr[i] = UINT64_C(0xfeed00000000) + i;
	fake_vcpu.regs.rip = CODE;
	fake_vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ZF;
	return 0;
}

/* Paging on: 64 KiB one to one, in two equal directories. */
static inline void paging_on(void)
{
	static const unsigned dirs[] = { PAGE_DIR, OTHER_DIR };

	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++) {
		uint32_t pde = PAGE_TABLE | 7;

		memcpy(fake_ram + dirs[i], &pde, sizeof(pde));
	}
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t pte = i << 12 | 7;

		memcpy(fake_ram + PAGE_TABLE + 4 * i, &pte, sizeof(pte));
	}
	fake_hw.reg[REG_CR0] |= CR0_PG | CR0_WP;
	fake_hw.reg[REG_CR3] = PAGE_DIR;
}

static inline void set_page(unsigned addr, uint32_t bits)
{
	uint32_t pte = bits ? (addr & ~0xfffu) | bits : 0;

	memcpy(fake_ram + PAGE_TABLE + 4 * (addr >> 12), &pte, sizeof(pte));
}

/* --- what came of it --- */

static inline void expect_quiet(void)
{
	const struct vm_event *ev = &fake_vcpu.events.pending;

	if (ev->kind != EVENT_NONE)
		fail_msg("expected nothing to deliver, seen vector %u error 0x%x", ev->vector,
			 ev->error);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
}

static inline void expect_raised(const char *what, unsigned vector, unsigned error)
{
	const struct vm_event *ev = &fake_vcpu.events.pending;

	if (ev->kind != EVENT_EXCEPTION || ev->vector != vector || ev->error != error ||
	    ev->has_error != fault_has_error(vector))
		fail_msg("%s: expected exception %u error 0x%x, seen kind %u vector %u error 0x%x",
			 what, vector, error, ev->kind, ev->vector, ev->error);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
}

static inline void expect_in_new(void)
{
	assert_int_equal(fake_hw.seg[SEG_TR].selector, SEL_NEW);
	assert_int_equal(fake_hw.seg[SEG_TR].base, NEW_TSS);
	assert_int_equal(fake_vcpu.regs.rip, NEW_EIP);
}

/* Nothing of the old task has changed, nor of the two TSSs and their descriptors. */
static inline void expect_in_old(const uint8_t *before)
{
	assert_int_equal(fake_hw.seg[SEG_TR].selector, SEL_OLD);
	assert_int_equal(fake_vcpu.regs.rip, CODE);
	assert_int_equal(fake_vcpu.regs.gpr[RBX], UINT64_C(0xfeed00000000) + RBX);
	assert_false(fake_hw.reg[REG_CR0] & CR0_TS);
	assert_memory_equal(fake_ram + GDT, before + GDT, GDT_LIMIT + 1);
	assert_memory_equal(fake_ram + OLD_TSS, before + OLD_TSS, 0x80);
	assert_memory_equal(fake_ram + NEW_TSS, before + NEW_TSS, 0x80);
}

static inline void expect_refused(const char *what, enum how how, unsigned selector,
				  unsigned vector, unsigned error)
{
	static uint8_t before[FAKE_RAM_SIZE];

	prepare(how)->task.selector = (uint16_t)selector;
	if (selector == SEL_TEST && how == IRET)
		gdt_desc(SEL_NEW, NEW_TSS, 0x67, TSS32_FREE);
	memcpy(before, fake_ram, sizeof(before));
	handle();
	expect_raised(what, vector, error);
	expect_in_old(before);
}

#endif
