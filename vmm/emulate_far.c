/* Transfers of control to other code segments: far jumps, calls and returns, INT and IRET. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/vm.h"

static uint64_t next_rip(const struct emu *e)
{
	return alu_cut(e->vcpu->regs.rip + e->insn->len, e->code_size);
}

/* --- JMP, CALL, RET --- */

/* Where the instruction's operand leads. False: e->fault. */
static bool far_pointer(struct emu *e, uint16_t *selector, uint64_t *rip)
{
	uint8_t bytes[EMU_SPAN_MAX] = { 0 };
	unsigned size = e->insn->op_size;
	struct emu_span span;

	*selector = e->insn->imm2;
	*rip = alu_cut(e->insn->imm, size);
	if (e->insn->operand[0].kind != OPERAND_MEM)
		return true;
	if (!emu_locate(e, 0, false, &span))
		return false;
	size = span.size - 2u;
	emu_span_load(e, &span, bytes);
	*rip = 0;
	for (unsigned i = 0; i < size; i++)
		*rip |= (uint64_t)bytes[i] << 8 * i;
	*selector = (uint16_t)(bytes[size] | bytes[size + 1] << 8);
	return true;
}

enum emulate_result emu_jmp_far(struct emu *e)
{
	struct emu_code code;
	uint16_t selector;
	uint64_t rip;

	if (!far_pointer(e, &selector, &rip) || !emu_code_find(e, selector, rip, false, &code) ||
	    !emu_code_mark(e, &code))
		return emu_fault(e);
	emu_code_load(e, &code);
	return emu_retire_at(e, code.rip);
}

enum emulate_result emu_call_far(struct emu *e)
{
	struct emu_pushes pushes;
	struct emu_code code;
	struct segment cs;
	uint16_t selector;
	uint64_t rip;

	if (!far_pointer(e, &selector, &rip) || !emu_code_find(e, selector, rip, false, &code) ||
	    !emu_push_prepare(e, &pushes, 2, e->insn->op_size) || !emu_code_mark(e, &code))
		return emu_fault(e);
	e->vcpu->vm->backend->get_seg(e->vcpu, SEG_CS, &cs);
	emu_push_commit(e, &pushes, (uint64_t[]){ cs.selector, next_rip(e) });
	emu_code_load(e, &code);
	return emu_retire_at(e, code.rip);
}

enum emulate_result emu_ret_far(struct emu *e)
{
	unsigned size = e->insn->op_size;
	struct emu_code code;
	uint64_t val[2]; /* RIP, CS */

	if (!emu_peek(e, val, 2, size) ||
	    !emu_code_find(e, (uint16_t)val[1], val[0], true, &code) || !emu_code_mark(e, &code))
		return emu_fault(e);
	emu_drop(e, 2 * size + (unsigned)(e->insn->imm & BITS(15, 0)));
	emu_code_load(e, &code);
	return emu_retire_at(e, code.rip);
}

/* --- IRET --- */

/* Task returns, those to other privileges, and 64-bit mode's, which always changes stacks. */
static bool iret_elsewhere(const struct emu *e, uint64_t flags)
{
	if (!emu_protected(e))
		return false;
	return e->code_size == 8 || (e->flags & RFLAGS_NT) ||
	       ((flags & RFLAGS_VM) && e->insn->op_size > 2 && vcpu_cpl(e->vcpu) == 0);
}

enum emulate_result emu_iret(struct emu *e)
{
	const struct vmm_backend *backend = e->vcpu->vm->backend;
	unsigned size = e->insn->op_size;
	enum emulate_result result;
	struct emu_code code;
	uint64_t val[3]; /* RIP, CS, RFLAGS */

	if (!emu_peek(e, val, 3, size))
		return emu_fault(e);
	if (iret_elsewhere(e, val[2]))
		return EMULATE_FAILED;
	if (!emu_code_find(e, (uint16_t)val[1], val[0], true, &code) ||
	    !emu_flags_load(e, size, val[2]) || !emu_code_mark(e, &code))
		return emu_fault(e);
	emu_drop(e, 3 * size);
	emu_code_load(e, &code);
	backend->set_reg(e->vcpu, REG_NMI_BLOCKED, 0);
	result = emu_retire_at(e, code.rip);
	if (size > 2)
		e->vcpu->regs.rflags |= val[2] & RFLAGS_RF;
	return result;
}

/* --- INT --- */

/* Protected mode's gates are the processor's: it is to deliver the event. */
static enum emulate_result queue_int(struct emu *e, enum vm_event_kind kind, unsigned vector)
{
	if (kind == EVENT_SOFT_INT && emu_v86(e) && emu_iopl(e) < 3) {
		if (vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_VME)
			return EMULATE_FAILED;
		emu_refuse_error(e, VEC_GP, 0);
		return emu_fault(e);
	}
	vcpu_requeue(e->vcpu, &(struct vm_event){ .kind = kind,
						  .vector = (uint8_t)vector,
						  .insn_len = e->insn->len });
	return EMULATE_DONE;
}

/* INT, INT3, INTO. */
enum emulate_result emu_int(struct emu *e)
{
	enum vm_event_kind kind = e->insn->op == INSN_INT ? EVENT_SOFT_INT : EVENT_SOFT_EXC;
	unsigned vector = e->insn->imm & 0xff;

	if (e->insn->op == INSN_INTO && !(e->flags & RFLAGS_OF))
		return emu_retire(e);
	if (e->insn->op != INSN_INT)
		vector = e->insn->op == INSN_INT3 ? VEC_BP : VEC_OF;
	if (vcpu_hot_reg(e->vcpu, REG_CR0) & CR0_PE)
		return queue_int(e, kind, vector);
	if (!emu_enter_vector(e, vector, next_rip(e)))
		return emu_fault(e);
	vcpu_retire_jump(e->vcpu, e->vcpu->regs.rip);
	return EMULATE_DONE;
}
