/* A task's state, as the two kinds of TSS keep it. For vmm/task*.c. */
#ifndef UMBRA_VMM_TASK_STATE_H
#define UMBRA_VMM_TASK_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

#define TSS_GPRS 8
#define TSS_SEGS 6 /* ModRM order: ES CS SS DS FS GS */

/* SDM vol. 3, figure 7-2; APM vol. 2, figure 12-6. */
struct tss32 {
	uint16_t link, link_reserved;
	struct {
		uint32_t esp;
		uint16_t ss, ss_reserved;
	} stack[3];
	uint32_t cr3;
	uint32_t eip;
	uint32_t eflags;
	uint32_t gpr[TSS_GPRS]; /* ModRM order */
	struct {
		uint16_t selector, reserved;
	} seg[TSS_SEGS];
	uint16_t ldt, ldt_reserved;
	uint16_t trap; /* bit 0: T */
	uint16_t iomap;
};
static_assert(sizeof(struct tss32) == 104, "the 32-bit TSS has 104 bytes");
static_assert(offsetof(struct tss32, cr3) == 0x1c && offsetof(struct tss32, gpr) == 0x28 &&
		      offsetof(struct tss32, seg) == 0x48 && offsetof(struct tss32, trap) == 0x64,
	      "the 32-bit TSS is laid out as in the manuals");

/* SDM vol. 3, figure 7-10. */
struct tss16 {
	uint16_t link;
	struct {
		uint16_t sp, ss;
	} stack[3];
	uint16_t ip;
	uint16_t flags;
	uint16_t gpr[TSS_GPRS];
	uint16_t seg[4]; /* ES CS SS DS */
	uint16_t ldt;
};
static_assert(sizeof(struct tss16) == 44, "the 16-bit TSS has 44 bytes");
static_assert(offsetof(struct tss16, ip) == 0x0e && offsetof(struct tss16, seg) == 0x22,
	      "the 16-bit TSS is laid out as in the manuals");

#define TSS_TRAP_T BIT(0)

/* What a switch saves: these bytes and no others are written. */
#define TSS32_SAVED_AT offsetof(struct tss32, eip)
#define TSS32_SAVED (offsetof(struct tss32, ldt) - TSS32_SAVED_AT)
#define TSS16_SAVED_AT offsetof(struct tss16, ip)
#define TSS16_SAVED (offsetof(struct tss16, ldt) - TSS16_SAVED_AT)

struct task_state {
	uint32_t gpr[TSS_GPRS];
	uint32_t eip, eflags;
	uint16_t seg[TSS_SEGS];
	/* Only in what is loaded. */
	bool has_cr3; /* a 16-bit TSS has none */
	uint32_t cr3;
	uint16_t ldt;
	bool trap;
};

/* Write the part that a switch saves, and no other byte of *tss; 16 bits: the low halves. */
void task_state_save32(const struct task_state *s, struct tss32 *tss);
void task_state_save16(const struct task_state *s, struct tss16 *tss);
/* Fill in all of *s from the new task's TSS. */
void task_state_load32(struct task_state *s, const struct tss32 *tss);
/* The registers' upper halves become ones, EFLAGS' and EIP's zero, FS and GS null. */
void task_state_load16(struct task_state *s, const struct tss16 *tss);

#endif
