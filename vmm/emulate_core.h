/* What the parts of the emulator share: one instruction under emulation. */
#ifndef UMBRA_VMM_EMULATE_CORE_H
#define UMBRA_VMM_EMULATE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/fault.h"
#include "paging/guest.h"
#include "vmm/decode.h"
#include "vmm/emulate.h"
#include "vmm/vcpu.h"

/* A checked operand in memory: it lies in one page, or in two. */
struct emu_span {
	gpa_t gpa[2];
	uint8_t size;  /* bytes in all, 1 to 8 */
	uint8_t first; /* bytes at gpa[0] */
};

/* Translations that this instruction has used: the TLB of its REP loop. */
#define EMU_PAGES 4
struct emu_page {
	uint64_t tag; /* linear page | EMU_PAGE_VALID | EMU_PAGE_WRITE */
	gpa_t gpa;    /* of the page */
};
#define EMU_PAGE_VALID BIT(0)
#define EMU_PAGE_WRITE BIT(1)

struct emu {
	struct vcpu *vcpu;
	const struct insn *insn;
	struct insn own; /* when no bytes were decoded */
	unsigned code_size;
	bool user;
	bool have_paging;
	struct guest_paging paging;
	struct emu_page page[EMU_PAGES];
	uint64_t flags; /* the RFLAGS to be, once it retires */
	struct guest_fault fault;
};

/* --- emulate_mem.c --- */

/* The low size bytes of a register; and write them: 4 bytes clear the upper half, 1 and
 * 2 leave the rest. */
uint64_t emu_reg(const struct emu *e, unsigned reg, unsigned size);
void emu_set_reg(struct emu *e, unsigned reg, unsigned size, uint64_t val);

/* The offset of the instruction's memory operand in its segment. */
uint64_t emu_offset(const struct emu *e);

/*
 * Check and translate size bytes at seg:offset, for writing (reading too) or reading.
 * Nothing but accessed and dirty bits has changed then. False: e->fault.
 */
bool emu_span(struct emu *e, unsigned seg, uint64_t offset, unsigned size, bool write,
	      struct emu_span *span);
uint64_t emu_span_read(struct emu *e, const struct emu_span *span);
void emu_span_write(struct emu *e, const struct emu_span *span, uint64_t val);

/* --- emulate_string.c --- */

/* INSN_MOVS to INSN_SCAS, with e ready. */
enum emulate_result emu_string(struct emu *e);

/* --- emulate.c --- */

/* Raise e->fault. */
enum emulate_result emu_fault(struct emu *e);
/* Commit e->flags and retire. */
enum emulate_result emu_retire(struct emu *e);
/* EMULATE_DONE: e is ready for the instruction at RIP. Otherwise why not. */
enum emulate_result emu_begin(struct emu *e, struct vcpu *vcpu);

#endif
