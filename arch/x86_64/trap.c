#include "arch/x86_64/trap.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/panic.h"

/* Interrupt gate, 64-bit. APM vol. 2, 4.8.4; SDM vol. 3, 6.14.1. */
struct gate {
	uint16_t offset_15_0;
	uint16_t selector;
	uint8_t ist;
	uint8_t attr;
	uint16_t offset_31_16;
	uint32_t offset_63_32;
	uint32_t reserved;
};
static_assert(sizeof(struct gate) == 16, "IDT gate");

#define GATE_INTERRUPT 0x8e /* present, DPL 0, type 14: clears IF */
#define STUB_BYTES 16       /* trap.asm */

/* An instruction that may raise this exception, and where to go on if it does. Any other one
 * there, an NMI above all, is what it always is. */
struct ex_entry {
	uint64_t insn, fixup, vector;
};
static_assert(sizeof(struct ex_entry) == 24, ".ex_table");
extern const struct ex_entry __ex_table_start[], __ex_table_end[];
extern const char trap_stubs[];

void trap_dispatch(struct trap_frame *tf);

static struct gate idt[256];
static void (*handler[256])(void);
static uint64_t count[256]; /* of each vector's interrupts, on all CPUs; atomic */
static bool (*nmi_handler)(const struct trap_frame *tf);

void trap_init_other(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) ptr = { sizeof(idt) - 1, (uintptr_t)idt };

	__asm__ volatile("lidt %0" ::"m"(ptr));
}

void trap_init(void)
{
	for (unsigned v = 0; v < ARRAY_SIZE(idt); v++) {
		uint64_t at = (uintptr_t)trap_stubs + v * STUB_BYTES;

		idt[v] = (struct gate){
			.offset_15_0 = (uint16_t)at,
			.selector = SEL_CODE,
			.attr = GATE_INTERRUPT,
			.offset_31_16 = (uint16_t)(at >> 16),
			.offset_63_32 = (uint32_t)(at >> 32),
		};
	}
	idt[VEC_DF].ist = IST_DF;
	idt[VEC_NMI].ist = IST_NMI;
	idt[VEC_MC].ist = IST_MC;
	trap_init_other();
}

void trap_set_nmi(bool (*fn)(const struct trap_frame *tf))
{
	nmi_handler = fn;
}

void trap_set_handler(unsigned vector, void (*fn)(void))
{
	kassert(vector >= TRAP_ISA && vector < ARRAY_SIZE(handler));
	handler[vector] = fn;
}

uint64_t trap_count(unsigned vector)
{
	return vector < ARRAY_SIZE(count) ? count[vector] : 0;
}

bool trap_is_handled(unsigned vector)
{
	return vector < ARRAY_SIZE(handler) && handler[vector];
}

static bool trap_fixup(struct trap_frame *tf)
{
	for (const struct ex_entry *e = __ex_table_start; e < __ex_table_end; e++) {
		if (e->insn == tf->rip && e->vector == tf->vector) {
			tf->rip = e->fixup;
			return true;
		}
	}
	return false;
}

/* A breakpoint that is set for a guest, whose addresses may be the host's as well (svm/run.c). */
static bool is_guests_breakpoint(struct trap_frame *tf)
{
	if (tf->vector != VEC_DB || !(read_dr7() & DR7_ENABLED) || !(read_dr6() & BITS(3, 0)))
		return false;
	write_dr6(DR6_INIT);
	tf->rflags |= RFLAGS_RF;
	return true;
}

void trap_take(unsigned vector)
{
	this_cpu()->irq_count++;
	__atomic_fetch_add(&count[vector], 1, __ATOMIC_RELAXED);
	this_cpu()->in_handler = true;
	if (handler[vector])
		handler[vector]();
	this_cpu()->in_handler = false;
	if (vector >= TRAP_ISA && vector != TRAP_SPURIOUS)
		lapic_eoi();
}

void trap_dispatch(struct trap_frame *tf)
{
	if (tf->vector == VEC_NMI && nmi_handler && nmi_handler(tf))
		return;
	if (tf->vector < TRAP_EXCEPTIONS) {
		if (!trap_fixup(tf) && !is_guests_breakpoint(tf))
			panic_trap(tf);
		return;
	}
	trap_take((unsigned)tf->vector);
}

#define EX_ENTRY_GP                                                                                \
	".pushsection .ex_table, \"a\"\n\t"                                                        \
	".quad 1b, 2b, 13\n\t"                                                                     \
	".popsection"
static_assert(VEC_GP == 13, "EX_ENTRY_GP");

/* A page fault, or for an address that is not canonical #GP or #SS. */
size_t trap_copy(void *dst, const void *src, size_t n)
{
	size_t left = n;

	__asm__ volatile("1:\trep movsb\n"
			 "2:\n\t"
			 ".pushsection .ex_table, \"a\"\n\t"
			 ".quad 1b, 2b, 12\n\t"
			 ".quad 1b, 2b, 13\n\t"
			 ".quad 1b, 2b, 14\n\t"
			 ".popsection"
			 : "+c"(left), "+D"(dst), "+S"(src)
			 :
			 : "memory");
	return n - left;
}
static_assert(VEC_SS == 12 && VEC_PF == 14, "trap_copy");

bool rdmsr_safe(uint32_t msr, uint64_t *val)
{
	uint32_t lo = 0, hi = 0;
	bool ok = false;

	__asm__ volatile("1:\trdmsr\n\t"
			 "movb $1, %0\n"
			 "2:\n\t" EX_ENTRY_GP
			 : "+m"(ok), "+a"(lo), "+d"(hi)
			 : "c"(msr));
	*val = (uint64_t)hi << 32 | lo;
	return ok;
}

bool wrmsr_safe(uint32_t msr, uint64_t val)
{
	bool ok = false;

	__asm__ volatile("1:\twrmsr\n\t"
			 "movb $1, %0\n"
			 "2:\n\t" EX_ENTRY_GP
			 : "+m"(ok)
			 : "c"(msr), "a"((uint32_t)val), "d"((uint32_t)(val >> 32))
			 : "memory");
	return ok;
}
