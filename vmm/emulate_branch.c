/* Jumps, calls and returns within a code segment. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/vm.h"

/* May code run there? False: e->fault. */
static bool check_target(struct emu *e, uint64_t rip)
{
	struct segment cs;

	if (e->code_size == 8) {
		if (addr_is_canonical(rip, vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_LA57 ? 57 : 48))
			return true;
	} else {
		e->vcpu->vm->backend->get_seg(e->vcpu, SEG_CS, &cs);
		if (rip <= cs.limit)
			return true;
	}
	return emu_refuse_error(e, VEC_GP, 0);
}

static uint64_t next_rip(const struct emu *e)
{
	return alu_cut(e->vcpu->regs.rip + e->insn->len, e->code_size);
}

/* Where the branch leads: a distance from the next instruction, or a value. False: e->fault. */
static bool find_target(struct emu *e, uint64_t *rip)
{
	if (e->insn->operand[0].kind == OPERAND_IMM)
		*rip = e->vcpu->regs.rip + e->insn->len + e->insn->imm;
	else if (!emu_value(e, 0, rip))
		return false;
	*rip = alu_cut(*rip, e->insn->op_size);
	return check_target(e, *rip);
}

enum emulate_result emu_jmp(struct emu *e)
{
	uint64_t rip;

	return find_target(e, &rip) ? emu_retire_at(e, rip) : emu_fault(e);
}

enum emulate_result emu_jcc(struct emu *e)
{
	return alu_condition(e->insn->cond, e->flags) ? emu_jmp(e) : emu_retire(e);
}

enum emulate_result emu_jcxz(struct emu *e)
{
	return emu_reg(e, RCX, e->insn->addr_size) ? emu_retire(e) : emu_jmp(e);
}

/* LOOPE and LOOPNE look at ZF besides. */
enum emulate_result emu_loop(struct emu *e)
{
	unsigned width = e->insn->addr_size;
	uint64_t count = alu_cut(emu_reg(e, RCX, width) - 1, width), rip;
	bool equal = e->flags & RFLAGS_ZF, again = count;

	if (e->insn->op != INSN_LOOP)
		again = again && equal == (e->insn->op == INSN_LOOPE);
	if (!again) {
		emu_set_reg(e, RCX, width, count);
		return emu_retire(e);
	}
	if (!find_target(e, &rip))
		return emu_fault(e);
	emu_set_reg(e, RCX, width, count);
	return emu_retire_at(e, rip);
}

enum emulate_result emu_call(struct emu *e)
{
	uint64_t rip, back = next_rip(e);
	struct emu_pushes pushes;

	if (!find_target(e, &rip) || !emu_push_prepare(e, &pushes, 1, e->insn->op_size))
		return emu_fault(e);
	emu_push_commit(e, &pushes, &back);
	return emu_retire_at(e, rip);
}

enum emulate_result emu_ret(struct emu *e)
{
	unsigned size = e->insn->op_size;
	uint64_t rip;

	if (!emu_peek(e, &rip, 1, size) || !check_target(e, rip))
		return emu_fault(e);
	emu_drop(e, size + (unsigned)(e->insn->imm & BITS(15, 0)));
	return emu_retire_at(e, rip);
}
