/* String instructions, to memory and to ports. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/bus.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/vm.h"

/* What one exit may do of a REP: then the guest is entered again, where interrupts are
 * taken, and comes back for the rest. */
#define STRING_BUDGET_BYTES 4096
#define STRING_BUDGET_STEPS 1024

enum step {
	STEP_FAULT,
	STEP_NEXT,
	STEP_LAST, /* the condition of REPE or REPNE ended it */
};

/* --- one element each --- */

static uint64_t source_offset(const struct emu *e)
{
	return emu_reg(e, RSI, e->insn->addr_size);
}

static uint64_t dest_offset(const struct emu *e)
{
	return emu_reg(e, RDI, e->insn->addr_size);
}

static void advance(struct emu *e, unsigned reg)
{
	uint64_t delta = e->insn->size;

	if (e->vcpu->regs.rflags & RFLAGS_DF)
		delta = -delta;
	emu_set_reg(e, reg, e->insn->addr_size, e->vcpu->regs.gpr[reg] + delta);
}

/* Does the comparison just made end the repetition? */
static enum step compare_step(const struct emu *e)
{
	bool equal = e->flags & RFLAGS_ZF;

	if ((e->insn->rep && !equal) || (e->insn->repne && equal))
		return STEP_LAST;
	return STEP_NEXT;
}

/* Both sides are checked before a device is read: reading may have an effect there. */
static enum step step_movs(struct emu *e)
{
	struct emu_span from, to;

	if (!emu_span(e, e->insn->seg, source_offset(e), e->insn->size, false, &from) ||
	    !emu_span(e, SEG_ES, dest_offset(e), e->insn->size, true, &to))
		return STEP_FAULT;
	emu_span_write(e, &to, emu_span_read(e, &from));
	advance(e, RSI);
	advance(e, RDI);
	return STEP_NEXT;
}

static enum step step_stos(struct emu *e)
{
	struct emu_span to;

	if (!emu_span(e, SEG_ES, dest_offset(e), e->insn->size, true, &to))
		return STEP_FAULT;
	emu_span_write(e, &to, emu_reg(e, RAX, e->insn->size));
	advance(e, RDI);
	return STEP_NEXT;
}

static enum step step_lods(struct emu *e)
{
	struct emu_span from;

	if (!emu_span(e, e->insn->seg, source_offset(e), e->insn->size, false, &from))
		return STEP_FAULT;
	emu_set_reg(e, RAX, e->insn->size, emu_span_read(e, &from));
	advance(e, RSI);
	return STEP_NEXT;
}

static enum step step_cmps(struct emu *e)
{
	struct emu_span first, second;
	uint64_t a, b;

	if (!emu_span(e, e->insn->seg, source_offset(e), e->insn->size, false, &first) ||
	    !emu_span(e, SEG_ES, dest_offset(e), e->insn->size, false, &second))
		return STEP_FAULT;
	a = emu_span_read(e, &first);
	b = emu_span_read(e, &second);
	alu_binary(INSN_CMP, a, b, e->insn->size, &e->flags);
	advance(e, RSI);
	advance(e, RDI);
	return compare_step(e);
}

static enum step step_scas(struct emu *e)
{
	struct emu_span with;

	if (!emu_span(e, SEG_ES, dest_offset(e), e->insn->size, false, &with))
		return STEP_FAULT;
	alu_binary(INSN_CMP, e->vcpu->regs.gpr[RAX], emu_span_read(e, &with), e->insn->size,
		   &e->flags);
	advance(e, RDI);
	return compare_step(e);
}

/* The port is not read before the byte is known to have a place. */
static enum step step_ins(struct emu *e)
{
	struct emu_span to;

	if (!emu_span(e, SEG_ES, dest_offset(e), e->insn->size, true, &to))
		return STEP_FAULT;
	emu_span_write(e, &to, bus_in(&e->vcpu->vm->bus, e->vcpu->exit.io.port, e->insn->size));
	advance(e, RDI);
	return STEP_NEXT;
}

static enum step step_outs(struct emu *e)
{
	struct emu_span from;

	if (!emu_span(e, e->insn->seg, source_offset(e), e->insn->size, false, &from))
		return STEP_FAULT;
	bus_out(&e->vcpu->vm->bus, e->vcpu->exit.io.port, e->insn->size,
		(uint32_t)emu_span_read(e, &from));
	advance(e, RSI);
	return STEP_NEXT;
}

static enum step (*const steps[])(struct emu *e) = {
	[INSN_MOVS] = step_movs, [INSN_STOS] = step_stos, [INSN_LODS] = step_lods,
	[INSN_CMPS] = step_cmps, [INSN_SCAS] = step_scas, [INSN_INS] = step_ins,
	[INSN_OUTS] = step_outs,
};

/* --- repetition --- */

static unsigned string_budget(const struct emu *e)
{
	if ((e->flags & RFLAGS_TF) || e->vcpu->debug.step) /* each iteration traps */
		return 1;
	return MIN(STRING_BUDGET_BYTES / e->insn->size, STRING_BUDGET_STEPS);
}

/*
 * A fault, or the end of the budget, leaves RIP at the instruction and rCX, rSI, rDI at
 * the element that comes next, as hardware does.
 */
enum emulate_result emu_string(struct emu *e)
{
	enum step (*step)(struct emu *) = steps[e->insn->op];
	bool repeated = e->insn->rep || e->insn->repne;
	unsigned addr_size = e->insn->addr_size;
	unsigned budget = string_budget(e);
	uint64_t left = repeated ? emu_reg(e, RCX, addr_size) : 1;
	enum step done = STEP_NEXT;

	while (left && budget-- && done == STEP_NEXT) {
		done = step(e);
		if (done == STEP_FAULT)
			return emu_fault(e);
		left--;
		if (repeated)
			emu_set_reg(e, RCX, addr_size, left);
		e->vcpu->regs.rflags = e->flags;
	}
	if (left && done == STEP_NEXT) {
		vcpu_retire_iteration(e->vcpu);
		return EMULATE_DONE;
	}
	return emu_retire(e);
}

/* An instruction that the exit describes whole; false: it has to be decoded. */
static bool from_exit(struct emu *e, struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;

	if (!exit->insn_len || !exit->io.addr_size || !exit->io.size ||
	    (!exit->io.in && exit->io.seg > SEG_GS))
		return false;
	emu_init(e, vcpu);
	e->own = (struct insn){ .op = exit->io.in ? INSN_INS : INSN_OUTS,
				.len = exit->insn_len,
				.addr_size = exit->io.addr_size,
				.size = exit->io.size,
				.rep = exit->io.rep,
				.seg = exit->io.in ? SEG_DS : exit->io.seg };
	return true;
}

enum emulate_result emulate_string_io(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	struct emu e;

	if (!from_exit(&e, vcpu)) {
		enum emulate_result result = emu_begin(&e, vcpu);

		if (result != EMULATE_DONE)
			return result;
		if (e.insn->op != (exit->io.in ? INSN_INS : INSN_OUTS) ||
		    e.insn->size != exit->io.size)
			return EMULATE_FAILED;
	}
	return emu_string(&e);
}
