/* Loading segment registers: SDM vol. 2, MOV; vol. 3, 3.4.3 and 5.5 to 5.8. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/vm.h"

/* What virtual-8086 mode has in every segment register. */
#define V86_ATTR (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DPL | 0x3u)
#define V86_LIMIT 0xffffu

/* In real mode the limit and the attributes stay what they were: SDM vol. 3, 9.9.2. */
static void real_segment(struct emu *e, enum seg_reg reg, uint16_t selector, struct segment *seg)
{
	e->vcpu->vm->backend->get_seg(e->vcpu, reg, seg);
	seg->selector = selector;
	seg->base = (uint64_t)selector << 4;
	if (emu_v86(e)) {
		seg->limit = V86_LIMIT;
		seg->attr = V86_ATTR;
	}
}

/* The descriptor, or the fault that names its selector. */
static bool find_desc(struct emu *e, uint16_t selector, struct desc *d)
{
	switch (desc_read(e->vcpu, selector, d, &e->fault)) {
	case DESC_FOUND:
		return true;
	case DESC_OUTSIDE:
		return emu_refuse_error(e, VEC_GP, selector & ~SEL_RPL);
	default:
		return false;
	}
}

static bool judge(struct emu *e, unsigned wrong, uint16_t selector)
{
	return !wrong || emu_refuse_error(e, wrong, selector & ~SEL_RPL);
}

/* A null selector makes the segment unusable; SS takes one in 64-bit mode below CPL 3 alone. */
static bool load_null(struct emu *e, enum seg_reg reg, uint16_t selector)
{
	unsigned cpl = vcpu_cpl(e->vcpu);
	struct segment seg = { .selector = selector };

	if (reg == SEG_SS) {
		if (e->code_size != 8 || cpl == 3 || (selector & SEL_RPL) != cpl)
			return emu_refuse_error(e, VEC_GP, 0);
		seg.attr = (uint16_t)(cpl << SEG_ATTR_DPL_SHIFT);
	}
	e->vcpu->vm->backend->set_seg(e->vcpu, reg, &seg);
	return true;
}

bool emu_load_seg(struct emu *e, enum seg_reg reg, uint16_t selector)
{
	const struct vmm_backend *backend = e->vcpu->vm->backend;
	unsigned cpl = vcpu_cpl(e->vcpu), rpl = selector & SEL_RPL, wrong;
	struct segment seg;
	struct desc d;

	if (!emu_protected(e)) {
		real_segment(e, reg, selector, &seg);
		backend->set_seg(e->vcpu, reg, &seg);
		return true;
	}
	if (!(selector & ~SEL_RPL))
		return load_null(e, reg, selector);
	if (!find_desc(e, selector, &d))
		return false;
	if (reg == SEG_SS)
		wrong = desc_judge_stack(&d.seg, cpl, rpl, VEC_GP);
	else
		wrong = desc_judge_data(&d.seg, cpl, rpl, VEC_GP);
	if (!judge(e, wrong, selector) || !desc_mark_accessed(e->vcpu, &d, &e->fault))
		return false;
	backend->set_seg(e->vcpu, reg, &d.seg);
	return true;
}

/* --- code segments --- */

/* Gates, task state segments, and code of other privileges: a processor may go there. */
static bool elsewhere(const struct segment *seg, unsigned rpl, unsigned cpl, bool is_return)
{
	if (is_return)
		return rpl > cpl;
	return !(seg->attr & SEG_ATTR_S) && (seg->attr & SEG_ATTR_TYPE);
}

static bool in_limit(struct emu *e, const struct emu_code *code)
{
	bool wide =
		(code->desc.seg.attr & SEG_ATTR_L) && (vcpu_hot_reg(e->vcpu, REG_EFER) & EFER_LMA);

	if (wide ? addr_is_canonical(code->rip, 48) : code->rip <= code->desc.seg.limit)
		return true;
	return emu_refuse_error(e, VEC_GP, 0);
}

bool emu_code_find(struct emu *e, uint16_t selector, uint64_t rip, bool is_return,
		   struct emu_code *code)
{
	unsigned cpl = vcpu_cpl(e->vcpu), rpl = selector & SEL_RPL, wrong;
	struct segment *seg = &code->desc.seg;

	code->rip = rip;
	if (!emu_protected(e)) {
		real_segment(e, SEG_CS, selector, seg);
		return in_limit(e, code);
	}
	if (!(selector & ~SEL_RPL))
		return emu_refuse_error(e, VEC_GP, 0);
	if (!find_desc(e, selector, &code->desc))
		return false;
	if (elsewhere(seg, rpl, cpl, is_return))
		return emu_fail(e);
	/* A return goes to the RPL, which is the CPL here; a conforming segment takes any. */
	if (is_return ? rpl != cpl : rpl > cpl && !(seg->attr & DESC_TYPE_CONFORMING))
		return emu_refuse_error(e, VEC_GP, selector & ~SEL_RPL);
	wrong = desc_judge_code(seg, cpl, VEC_GP);
	if (!wrong && (seg->attr & SEG_ATTR_L) && (seg->attr & SEG_ATTR_DB) &&
	    (vcpu_hot_reg(e->vcpu, REG_EFER) & EFER_LMA))
		wrong = VEC_GP;
	seg->selector = (uint16_t)((selector & ~SEL_RPL) | cpl);
	return judge(e, wrong, selector) && in_limit(e, code);
}

bool emu_code_mark(struct emu *e, struct emu_code *code)
{
	return !emu_protected(e) || desc_mark_accessed(e->vcpu, &code->desc, &e->fault);
}

void emu_code_load(struct emu *e, const struct emu_code *code)
{
	e->vcpu->vm->backend->set_seg(e->vcpu, SEG_CS, &code->desc.seg);
}

/* --- instructions --- */

enum emulate_result emu_mov_to_seg(struct emu *e)
{
	enum seg_reg reg = (enum seg_reg)e->insn->operand[0].reg;
	uint64_t selector;

	if (!emu_value(e, 1, &selector) || !emu_load_seg(e, reg, (uint16_t)selector))
		return emu_fault(e);
	return reg == SEG_SS ? emu_retire_shadowed(e, true) : emu_retire(e);
}

enum emulate_result emu_mov_from_seg(struct emu *e)
{
	struct segment seg;
	struct emu_span span;

	if (!emu_locate(e, 0, true, &span))
		return emu_fault(e);
	e->vcpu->vm->backend->get_seg(e->vcpu, (enum seg_reg)e->insn->operand[1].reg, &seg);
	emu_operand_write(e, 0, &span, seg.selector);
	return emu_retire(e);
}

/* LDS, LES, LFS, LGS, LSS. */
enum emulate_result emu_load_far(struct emu *e)
{
	static const uint8_t regs[] = { [0] = SEG_ES,
					[INSN_LSS - INSN_LES] = SEG_SS,
					[INSN_LDS - INSN_LES] = SEG_DS,
					[INSN_LFS - INSN_LES] = SEG_FS,
					[INSN_LGS - INSN_LES] = SEG_GS };
	unsigned size = e->insn->operand[0].size;
	uint8_t bytes[EMU_SPAN_MAX] = { 0 };
	uint64_t offset = 0;
	struct emu_span span;

	if (!emu_locate(e, 1, false, &span))
		return emu_fault(e);
	emu_span_load(e, &span, bytes);
	if (!emu_load_seg(e, (enum seg_reg)regs[e->insn->op - INSN_LES],
			  (uint16_t)(bytes[size] | bytes[size + 1] << 8)))
		return emu_fault(e);
	for (unsigned i = 0; i < size; i++)
		offset |= (uint64_t)bytes[i] << 8 * i;
	emu_operand_write(e, 0, NULL, offset);
	return emu_retire(e);
}
