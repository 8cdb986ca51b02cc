/* The stack, and the instructions that do nothing but use it. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/vm.h"

#define ENTER_LEVELS 31u
#define PUSHA_REGS 8u
static_assert(PUSHA_REGS <= EMU_PUSHES, "PUSHA");

/* Bytes of RSP that count: SDM vol. 1, 6.2.3. */
static unsigned pointer_size(const struct emu *e)
{
	struct segment ss;

	if (e->code_size == 8)
		return 8;
	e->vcpu->vm->backend->get_seg(e->vcpu, SEG_SS, &ss);
	return ss.attr & SEG_ATTR_DB ? 4 : 2;
}

bool emu_push_prepare(struct emu *e, struct emu_pushes *p, unsigned n, unsigned size)
{
	unsigned width = pointer_size(e);
	uint64_t sp = emu_reg(e, RSP, width);

	p->n = n;
	for (unsigned i = 0; i < n; i++) {
		sp = alu_cut(sp - size, width);
		if (!emu_span(e, SEG_SS, sp, size, true, &p->span[i]))
			return false;
	}
	p->sp = sp;
	return true;
}

void emu_push_commit(struct emu *e, const struct emu_pushes *p, const uint64_t *val)
{
	for (unsigned i = 0; i < p->n; i++)
		emu_span_write(e, &p->span[i], val[i]);
	emu_set_reg(e, RSP, pointer_size(e), p->sp);
}

bool emu_peek(struct emu *e, uint64_t *val, unsigned n, unsigned size)
{
	struct emu_span span[EMU_PUSHES];
	unsigned width = pointer_size(e);
	uint64_t sp = emu_reg(e, RSP, width);

	for (unsigned i = 0; i < n; i++)
		if (!emu_span(e, SEG_SS, alu_cut(sp + i * size, width), size, false, &span[i]))
			return false;
	for (unsigned i = 0; i < n; i++)
		val[i] = emu_span_read(e, &span[i]);
	return true;
}

void emu_drop(struct emu *e, unsigned bytes)
{
	unsigned width = pointer_size(e);

	emu_set_reg(e, RSP, width, emu_reg(e, RSP, width) + bytes);
}

/* --- PUSH and POP --- */

static enum emulate_result push_value(struct emu *e, uint64_t val, unsigned size)
{
	struct emu_pushes pushes;

	if (!emu_push_prepare(e, &pushes, 1, size))
		return emu_fault(e);
	emu_push_commit(e, &pushes, &val);
	return emu_retire(e);
}

/* A device that is pushed from is read once the stack is known to take it. */
static enum emulate_result push_memory(struct emu *e)
{
	struct emu_pushes pushes;
	struct emu_span from;
	uint64_t val;

	if (!emu_locate(e, 0, false, &from) || !emu_push_prepare(e, &pushes, 1, e->insn->op_size))
		return emu_fault(e);
	val = emu_span_read(e, &from);
	emu_push_commit(e, &pushes, &val);
	return emu_retire(e);
}

enum emulate_result emu_push(struct emu *e)
{
	const struct operand *op = &e->insn->operand[0];
	struct segment seg;

	if (op->kind == OPERAND_MEM)
		return push_memory(e);
	if (op->kind != OPERAND_SEG)
		return push_value(e, emu_operand_read(e, 0, NULL), e->insn->op_size);
	e->vcpu->vm->backend->get_seg(e->vcpu, (enum seg_reg)op->reg, &seg);
	return push_value(e, seg.selector, e->insn->op_size);
}

static enum emulate_result pop_segment(struct emu *e, enum seg_reg reg)
{
	uint64_t val;

	if (!emu_peek(e, &val, 1, e->insn->op_size) || !emu_load_seg(e, reg, (uint16_t)val))
		return emu_fault(e);
	emu_drop(e, e->insn->op_size);
	return reg == SEG_SS ? emu_retire_shadowed(e, true) : emu_retire(e);
}

/* An address that rSP is part of is that after the POP. */
static enum emulate_result pop_memory(struct emu *e)
{
	uint64_t rsp = e->vcpu->regs.gpr[RSP], val;
	struct emu_span from, to;
	bool ok = emu_span(e, SEG_SS, emu_reg(e, RSP, pointer_size(e)), e->insn->op_size, false,
			   &from);

	emu_drop(e, e->insn->op_size);
	if (!ok || !emu_locate(e, 0, true, &to)) {
		e->vcpu->regs.gpr[RSP] = rsp;
		return emu_fault(e);
	}
	val = emu_span_read(e, &from);
	emu_span_write(e, &to, val);
	return emu_retire(e);
}

enum emulate_result emu_pop(struct emu *e)
{
	const struct operand *op = &e->insn->operand[0];
	uint64_t val;

	if (op->kind == OPERAND_SEG)
		return pop_segment(e, (enum seg_reg)op->reg);
	if (op->kind == OPERAND_MEM)
		return pop_memory(e);
	if (!emu_peek(e, &val, 1, e->insn->op_size))
		return emu_fault(e);
	emu_drop(e, e->insn->op_size);
	emu_operand_write(e, 0, NULL, val);
	return emu_retire(e);
}

enum emulate_result emu_pusha(struct emu *e)
{
	struct emu_pushes pushes;

	if (!emu_push_prepare(e, &pushes, PUSHA_REGS, e->insn->op_size))
		return emu_fault(e);
	emu_push_commit(e, &pushes, e->vcpu->regs.gpr);
	return emu_retire(e);
}

enum emulate_result emu_popa(struct emu *e)
{
	unsigned size = e->insn->op_size;
	uint64_t val[PUSHA_REGS];

	if (!emu_peek(e, val, PUSHA_REGS, size))
		return emu_fault(e);
	emu_drop(e, PUSHA_REGS * size);
	for (unsigned i = 0; i < PUSHA_REGS; i++)
		if (i != RSP)
			emu_set_reg(e, i, size, val[PUSHA_REGS - 1 - i]);
	return emu_retire(e);
}

/* --- flags: SDM vol. 2, PUSHF and POPF; vol. 3, 20.3 for virtual-8086 mode --- */

/* IOPL keeps virtual-8086 code from the flags; with VME, VIF stands in for IF. */
static bool flags_virtual(struct emu *e, unsigned size, bool *virtual)
{
	*virtual = emu_v86(e) && emu_iopl(e) < 3;
	if (*virtual && (size != 2 || !(vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_VME)))
		return emu_refuse_error(e, VEC_GP, 0);
	return true;
}

/* What PUSHF saves. False: e->fault. */
static bool flags_image(struct emu *e, unsigned size, uint64_t *image)
{
	bool virtual;

	if (!flags_virtual(e, size, &virtual))
		return false;
	*image = e->flags & ~(RFLAGS_VM | RFLAGS_RF);
	if (virtual) {
		*image = (*image & ~RFLAGS_IF) | RFLAGS_IOPL;
		if (e->flags & RFLAGS_VIF)
			*image |= RFLAGS_IF;
	}
	return true;
}

static bool load_virtual_flags(struct emu *e, uint64_t image)
{
	const uint64_t kept = RFLAGS_IOPL | RFLAGS_IF | ~BITS(15, 0);

	if ((image & RFLAGS_TF) || ((image & RFLAGS_IF) && (e->flags & RFLAGS_VIP)))
		return emu_refuse_error(e, VEC_GP, 0);
	e->flags = (e->flags & kept) | (image & ~kept) | RFLAGS_FIXED;
	e->flags &= ~RFLAGS_VIF;
	if (image & RFLAGS_IF)
		e->flags |= RFLAGS_VIF;
	return true;
}

bool emu_flags_load(struct emu *e, unsigned size, uint64_t image)
{
	uint64_t set = ALU_FLAGS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
	unsigned cpl = vcpu_cpl(e->vcpu);
	bool virtual;

	if (!flags_virtual(e, size, &virtual))
		return false;
	if (virtual)
		return load_virtual_flags(e, image);
	if (size > 2)
		set |= RFLAGS_AC | RFLAGS_ID;
	if (cpl <= emu_iopl(e))
		set |= RFLAGS_IF;
	if (cpl == 0)
		set |= RFLAGS_IOPL;
	e->flags = (e->flags & ~set) | (image & set) | RFLAGS_FIXED;
	return true;
}

enum emulate_result emu_pushf(struct emu *e)
{
	uint64_t image;

	if (!flags_image(e, e->insn->op_size, &image))
		return emu_fault(e);
	return push_value(e, image, e->insn->op_size);
}

enum emulate_result emu_popf(struct emu *e)
{
	unsigned size = e->insn->op_size;
	uint64_t image;

	if (!emu_peek(e, &image, 1, size) || !emu_flags_load(e, size, image))
		return emu_fault(e);
	emu_drop(e, size);
	return emu_retire(e);
}

/* --- frames --- */

/*
 * rBP of this frame goes on the stack; then, for nested procedures, the frame pointers that the
 * enclosing frame has; and the new one. The stack is written before the last of them is found: a
 * fault on the way leaves the registers, and begins it anew.
 */
enum emulate_result emu_enter(struct emu *e)
{
	unsigned size = e->insn->op_size, width = pointer_size(e);
	unsigned level = e->insn->imm2 & ENTER_LEVELS;
	uint64_t sp = emu_reg(e, RSP, width), bp = emu_reg(e, RBP, width), frame, val;
	struct emu_span span;

	val = emu_reg(e, RBP, size);
	frame = alu_cut(sp - size, width);
	for (unsigned i = 0; i <= level; i++) {
		sp = alu_cut(sp - size, width);
		if (!emu_span(e, SEG_SS, sp, size, true, &span))
			return emu_fault(e);
		emu_span_write(e, &span, val);
		bp = alu_cut(bp - size, width);
		val = frame;
		if (i + 1 >= level)
			continue;
		if (!emu_span(e, SEG_SS, bp, size, false, &span))
			return emu_fault(e);
		val = emu_span_read(e, &span);
	}
	sp = alu_cut(sp - e->insn->imm, width);
	if (!emu_span(e, SEG_SS, sp, 1, true, &span))
		return emu_fault(e);
	emu_set_reg(e, RSP, width, sp);
	emu_set_reg(e, RBP, size, frame);
	return emu_retire(e);
}

enum emulate_result emu_leave(struct emu *e)
{
	unsigned size = e->insn->op_size, width = pointer_size(e);
	uint64_t frame = emu_reg(e, RBP, width), val;
	struct emu_span span;

	if (!emu_span(e, SEG_SS, frame, size, false, &span))
		return emu_fault(e);
	val = emu_span_read(e, &span);
	emu_set_reg(e, RSP, width, frame + size);
	emu_set_reg(e, RBP, size, val);
	return emu_retire(e);
}
