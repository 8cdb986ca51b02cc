/* What the parts of the emulator share: one instruction under emulation. */
#ifndef UMBRA_VMM_EMULATE_CORE_H
#define UMBRA_VMM_EMULATE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/fault.h"
#include "paging/guest.h"
#include "vmm/backend.h"
#include "vmm/decode.h"
#include "vmm/desc.h"
#include "vmm/emulate.h"
#include "vmm/vcpu.h"

/* A checked operand in memory: it lies in one page, or in two. */
#define EMU_SPAN_MAX 108 /* FNSAVE's */
struct emu_span {
	gpa_t gpa[2];
	uint8_t size;  /* bytes in all, 1 to EMU_SPAN_MAX */
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
	bool one_access; /* to memory: the one that the exit reports, if it reports one */
	bool have_paging;
	struct guest_paging paging;
	struct emu_page page[EMU_PAGES];
	uint64_t flags; /* the RFLAGS to be, once it retires */
	/* Why not, when a function below gives false: a fault for the guest, or something that
	 * is not emulated. */
	bool failed;
	struct guest_fault fault;
};

/* --- emulate.c --- */

/* e is ready for what has no instruction. */
void emu_init(struct emu *e, struct vcpu *vcpu);
/* EMULATE_DONE: e is ready for the instruction at RIP. Otherwise why not. */
enum emulate_result emu_begin(struct emu *e, struct vcpu *vcpu);

/* Is segmentation that of protected mode? Not in real and in virtual-8086 mode. */
bool emu_protected(const struct emu *e);
bool emu_v86(const struct emu *e);
/* RFLAGS.IOPL. */
unsigned emu_iopl(const struct emu *e);

/* e->fault is to be this exception: without an error code, or with one. False. */
static inline bool emu_refuse(struct emu *e, unsigned vector)
{
	e->fault = (struct guest_fault){ .vector = (uint8_t)vector };
	return false;
}

static inline bool emu_refuse_error(struct emu *e, unsigned vector, uint32_t error)
{
	e->fault = (struct guest_fault){ .vector = (uint8_t)vector,
					 .has_error = true,
					 .error = error };
	return false;
}

/* It is not emulated. False. */
static inline bool emu_fail(struct emu *e)
{
	e->failed = true;
	return false;
}

/* How an instruction ends: raise e->fault, or fail if that is what it did. */
enum emulate_result emu_fault(struct emu *e);
/* Commit e->flags and go on with the next instruction, or with the one at rip. */
enum emulate_result emu_retire(struct emu *e);
enum emulate_result emu_retire_at(struct emu *e, uint64_t rip);
/* As emu_retire(); no interrupt comes before the next instruction is done, and no single step's
 * trap if hold_trap. */
enum emulate_result emu_retire_shadowed(struct emu *e, bool hold_trap);

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
/* Its bytes, lowest first; of a span of at most 8 bytes as a number. */
void emu_span_load(struct emu *e, const struct emu_span *span, uint8_t *bytes);
void emu_span_store(struct emu *e, const struct emu_span *span, const uint8_t *bytes);
/* Store bytes where old was read, in one access to all other vCPUs if it is RAM. False: another
 * processor has changed it meanwhile, and it stays so. */
bool emu_span_replace(struct emu *e, const struct emu_span *span, const uint8_t *old,
		      const uint8_t *bytes);
uint64_t emu_span_read(struct emu *e, const struct emu_span *span);
void emu_span_write(struct emu *e, const struct emu_span *span, uint64_t val);

/*
 * The instruction's operands, in order: check and translate where operand n lies, if that is in
 * memory (false: e->fault); read it; write it.
 */
bool emu_locate(struct emu *e, unsigned n, bool write, struct emu_span *span);
uint64_t emu_operand_read(struct emu *e, unsigned n, const struct emu_span *span);
void emu_operand_write(struct emu *e, unsigned n, const struct emu_span *span, uint64_t val);
/* Locate and read operand n. False: e->fault. */
bool emu_value(struct emu *e, unsigned n, uint64_t *val);

/* --- emulate_lock.c --- */

/* Is it one whose reads and writes of memory are one access to all others? */
bool emu_is_locked(const struct emu *e);
/* emu_operand_write() of such a one, in memory over was. False: something else is there by now; the
 * instruction is to be done again. */
bool emu_write_locked(struct emu *e, unsigned n, const struct emu_span *span, uint64_t was,
		      uint64_t val);

/* --- emulate_insn.c --- */

/* The instruction, with e ready. */
enum emulate_result emu_execute(struct emu *e);

/* --- emulate_stack.c --- */

#define EMU_PUSHES 8
struct emu_pushes {
	struct emu_span span[EMU_PUSHES];
	unsigned n;
	uint64_t sp; /* as it will be */
};
/* Find room on the stack for n values of size bytes. Nothing changes. False: e->fault. */
bool emu_push_prepare(struct emu *e, struct emu_pushes *p, unsigned n, unsigned size);
/* Push val[0] first, and move the stack pointer. */
void emu_push_commit(struct emu *e, const struct emu_pushes *p, const uint64_t *val);
/* The n values of size bytes on top of the stack; val[0] is the one on top. They stay there. */
bool emu_peek(struct emu *e, uint64_t *val, unsigned n, unsigned size);
/* Move the stack pointer up. */
void emu_drop(struct emu *e, unsigned bytes);

/* --- emulate_seg.c --- */

/*
 * Load a segment register but CS, as MOV does. False: e->fault, and nothing has changed.
 */
bool emu_load_seg(struct emu *e, enum seg_reg reg, uint16_t selector);

/* A code segment to go to. */
struct emu_code {
	struct desc desc; /* protected mode: where it lies in its table; else only seg counts */
	uint64_t rip;
};
/* May JMP and CALL, or RET and IRET when is_return, go there at the same privilege? Nothing
 * changes. False: e->fault, or e->failed for gates, tasks and other privileges. */
bool emu_code_find(struct emu *e, uint16_t selector, uint64_t rip, bool is_return,
		   struct emu_code *code);
/* Mark the descriptor accessed. False: e->fault. */
bool emu_code_mark(struct emu *e, struct emu_code *code);
/* Load CS. */
void emu_code_load(struct emu *e, const struct emu_code *code);

/* --- emulate_deliver.c --- */

/* In real mode: push where the program stands, and go to the vector's handler. False: e->fault, and
 * nothing has changed. */
bool emu_enter_vector(struct emu *e, unsigned vector, uint64_t return_ip);

/* --- the instructions, in the file of their kind --- */

typedef enum emulate_result emu_exec(struct emu *e);

/* emulate_lock.c: CMPXCHG16B too */
emu_exec emu_cmpxchg8b;
/* emulate_string.c: INSN_MOVS to INSN_SCAS; INS and OUTS, once vcpu->exit.io says where. */
emu_exec emu_string;
/* emulate_stack.c */
emu_exec emu_push, emu_pop, emu_pusha, emu_popa, emu_pushf, emu_popf, emu_enter, emu_leave;
/* emulate_branch.c */
emu_exec emu_jcc, emu_jmp, emu_call, emu_ret, emu_loop, emu_jcxz;
/* emulate_far.c; emu_int: INT3 and INTO too */
emu_exec emu_jmp_far, emu_call_far, emu_ret_far, emu_int, emu_iret;
/* emulate_seg.c; emu_load_far: LDS and the like */
emu_exec emu_mov_to_seg, emu_mov_from_seg, emu_load_far;
/* emulate_table.c: LGDT, LIDT; SGDT, SIDT; SLDT, STR; VERR, VERW, LAR, LSL */
emu_exec emu_load_table, emu_store_table, emu_lldt, emu_ltr, emu_store_selector, emu_verify,
	emu_arpl;
/* emulate_system.c; emu_as_exit: what exits have a handler for */
emu_exec emu_cli, emu_sti, emu_port, emu_string_port, emu_as_exit, emu_smsw, emu_mov_dr, emu_ud;
/* emulate_fpu.c */
emu_exec emu_fpu, emu_x87, emu_x87_state, emu_xmm, emu_mmx;

/* What POPF or IRET make of the flags that they have popped, in e->flags. False: e->fault. */
bool emu_flags_load(struct emu *e, unsigned size, uint64_t image);

#endif
