/* Exceptions and interrupts of the host: the IDT and who gets what. */
#ifndef UMBRA_TRAP_H
#define UMBRA_TRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

/* What trap.asm pushes. Hardware's part: APM vol. 2, 8.9.3. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};
static_assert(sizeof(struct trap_frame) == 22 * 8, "trap.asm");

/* Interrupt vectors. A higher one has priority at the local APIC. */
enum {
	TRAP_EXCEPTIONS = 32,
	TRAP_PIC = 0x20, /* the 8259 pair, masked: only its spurious ones can come */
	TRAP_ISA = 0x30, /* the 16 ISA interrupts through the I/O APIC */
	TRAP_TIMER = 0xf0,
	TRAP_KICK = 0xf1,   /* from another CPU: look at work_pending */
	TRAP_CALL = 0xf2,   /* from another CPU: do its cpu_call */
	TRAP_POSTED = 0xf3, /* from another CPU: a guest has interrupts posted */
	TRAP_APIC_ERROR = 0xfe,
	TRAP_SPURIOUS = 0xff,
};

/* Make and load the IDT. Every exception panics from here on. */
void trap_init(void);
/* Load it on another CPU. */
void trap_init_other(void);

/*
 * Call fn, with interrupts off, for each interrupt of this vector (>= TRAP_ISA), then
 * end it at the local APIC. fn only takes bytes from hardware and marks work.
 */
void trap_set_handler(unsigned vector, void (*fn)(void));

/* Take an interrupt of this vector, which the processor has acknowledged already, as VM exit does:
 * as if it came now. Interrupts are off. */
void trap_take(unsigned vector);

/* How often an interrupt of this vector (>= TRAP_PIC) has come, and whether anybody takes it. */
uint64_t trap_count(unsigned vector);
bool trap_is_handled(unsigned vector);

/* Who looks at an NMI first. fn: true if it was for it; else Umbra panics. */
void trap_set_nmi(bool (*fn)(const struct trap_frame *tf));

/* Copy bytes from or to where there may be no memory, or none to write; returns how many came. */
size_t trap_copy(void *dst, const void *src, size_t n);

#endif
