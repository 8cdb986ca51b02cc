/* Descriptor tables, their registers, and instructions that look into them. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"

/* UMIP keeps the tables from programs: SDM vol. 2, SGDT. */
static bool hidden(const struct emu *e)
{
	return emu_protected(e) && vcpu_cpl(e->vcpu) != 0 &&
	       (vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_UMIP);
}

static enum seg_reg table_of(const struct emu *e)
{
	return e->insn->op == INSN_LGDT || e->insn->op == INSN_SGDT ? SEG_GDTR : SEG_IDTR;
}

static bool is_canonical(const struct emu *e, uint64_t addr)
{
	return addr_is_canonical(addr, vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_LA57 ? 57 : 48);
}

/* A limit of 16 bits, then the base: 24 bits of it count with 16-bit operands. */
enum emulate_result emu_load_table(struct emu *e)
{
	uint8_t bytes[EMU_SPAN_MAX] = { 0 };
	struct segment table = { 0 };
	struct emu_span span;

	if (!emu_locate(e, 0, false, &span))
		return emu_fault(e);
	emu_span_load(e, &span, bytes);
	table.limit = bytes[0] | (uint32_t)bytes[1] << 8;
	for (unsigned i = 2; i < span.size; i++)
		table.base |= (uint64_t)bytes[i] << 8 * (i - 2);
	if (e->insn->op_size == 2)
		table.base &= BITS(23, 0);
	if (e->code_size == 8 && !is_canonical(e, table.base)) {
		emu_refuse_error(e, VEC_GP, 0);
		return emu_fault(e);
	}
	e->vcpu->vm->backend->set_seg(e->vcpu, table_of(e), &table);
	return emu_retire(e);
}

/* Where a table's register goes. False: e->fault. */
static bool locate_store(struct emu *e, struct emu_span *span)
{
	if (hidden(e)) {
		emu_refuse_error(e, VEC_GP, 0);
		return false;
	}
	return emu_locate(e, 0, true, span);
}

/* The whole base is stored whatever the operands' size (SDM vol. 2, SGDT). */
enum emulate_result emu_store_table(struct emu *e)
{
	uint8_t bytes[EMU_SPAN_MAX];
	struct segment table;
	struct emu_span span;

	if (!locate_store(e, &span))
		return emu_fault(e);
	e->vcpu->vm->backend->get_seg(e->vcpu, table_of(e), &table);
	bytes[0] = (uint8_t)table.limit;
	bytes[1] = (uint8_t)(table.limit >> 8);
	for (unsigned i = 2; i < span.size; i++)
		bytes[i] = (uint8_t)(table.base >> 8 * (i - 2));
	emu_span_store(e, &span, bytes);
	return emu_retire(e);
}

enum emulate_result emu_store_selector(struct emu *e)
{
	struct segment seg;
	struct emu_span span;

	if (!locate_store(e, &span))
		return emu_fault(e);
	e->vcpu->vm->backend->get_seg(e->vcpu, e->insn->op == INSN_STR ? SEG_TR : SEG_LDTR, &seg);
	emu_operand_write(e, 0, &span, seg.selector);
	return emu_retire(e);
}

/* LLDT's and LTR's operand. False: e->fault. */
static bool system_operand(struct emu *e, uint16_t *selector)
{
	uint64_t val;

	if (!emu_value(e, 0, &val))
		return false;
	*selector = (uint16_t)val;
	return true;
}

/* In long mode such a descriptor has 16 bytes: APM vol. 2, 4.8.3. */
static bool is_long(const struct emu *e)
{
	return vcpu_hot_reg(e->vcpu, REG_EFER) & EFER_LMA;
}

static bool in_gdt(const struct emu *e, uint16_t selector)
{
	unsigned last = (selector & SEL_INDEX) + (is_long(e) ? 15u : 7u);
	struct segment gdt;

	e->vcpu->vm->backend->get_seg(e->vcpu, SEG_GDTR, &gdt);
	return !(selector & SEL_TI) && last <= gdt.limit;
}

/* Its second half: the base's upper half, and where the first has its type, none. False: e->fault.
 */
static bool read_upper(struct emu *e, uint16_t selector, struct desc *d)
{
	const struct guest_access implicit_read = { .implicit = true };
	uint64_t upper;

	if (!gmem_read(e->vcpu, GVA(d->at.v + 8), &upper, sizeof(upper), implicit_read, &e->fault))
		return false;
	d->seg.base |= upper << 32;
	return (!(upper >> 32 & BITS(12, 8)) && is_canonical(e, d->seg.base)) ||
	       emu_refuse_error(e, VEC_GP, selector & ~SEL_RPL);
}

/* The descriptor of a table or a task in the GDT. False: e->fault. */
static bool find_system(struct emu *e, uint16_t selector, struct desc *d)
{
	if (in_gdt(e, selector)) {
		switch (desc_read(e->vcpu, selector, d, &e->fault)) {
		case DESC_FOUND:
			return !is_long(e) || read_upper(e, selector, d);
		case DESC_FAULT:
			return false;
		default:
			break;
		}
	}
	return emu_refuse_error(e, VEC_GP, selector & ~SEL_RPL);
}

/* Is it of this type, and present? False: e->fault. */
static bool check_system(struct emu *e, uint16_t selector, const struct desc *d, bool right)
{
	if (!right)
		return emu_refuse_error(e, VEC_GP, selector & ~SEL_RPL);
	if (!(d->seg.attr & SEG_ATTR_P))
		return emu_refuse_error(e, VEC_NP, selector & ~SEL_RPL);
	return true;
}

static unsigned system_type(const struct desc *d)
{
	return d->seg.attr & (SEG_ATTR_S | SEG_ATTR_TYPE);
}

enum emulate_result emu_lldt(struct emu *e)
{
	struct desc d = { .seg = { 0 } };
	uint16_t selector;

	if (!system_operand(e, &selector))
		return emu_fault(e);
	if (!(selector & ~SEL_RPL))
		d.seg.selector = selector; /* no table */
	else if (!find_system(e, selector, &d) ||
		 !check_system(e, selector, &d, system_type(&d) == DESC_TYPE_LDT))
		return emu_fault(e);
	e->vcpu->vm->backend->set_seg(e->vcpu, SEG_LDTR, &d.seg);
	return emu_retire(e);
}

enum emulate_result emu_ltr(struct emu *e)
{
	struct desc d;
	uint16_t selector;
	unsigned type;

	if (!system_operand(e, &selector))
		return emu_fault(e);
	if (!(selector & ~SEL_RPL)) {
		emu_refuse_error(e, VEC_GP, 0);
		return emu_fault(e);
	}
	if (!find_system(e, selector, &d))
		return emu_fault(e);
	type = system_type(&d);
	if (!check_system(e, selector, &d,
			  type == DESC_TYPE_TSS32 || (type == DESC_TYPE_TSS16 && !is_long(e))) ||
	    !desc_change_type(e->vcpu, d.at, DESC_TYPE_BUSY, 0, &e->fault))
		return emu_fault(e);
	d.seg.attr |= DESC_TYPE_BUSY;
	e->vcpu->vm->backend->set_seg(e->vcpu, SEG_TR, &d.seg);
	return emu_retire(e);
}

/* --- VERR, VERW, LAR, LSL: ZF says whether the descriptor may be looked at --- */

static bool visible(const struct emu *e, uint16_t selector, const struct segment *seg)
{
	unsigned dpl = (seg->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
	bool conforming = (seg->attr & SEG_ATTR_S) && (seg->attr & DESC_TYPE_CODE) &&
			  (seg->attr & DESC_TYPE_CONFORMING);

	return conforming || (dpl >= vcpu_cpl(e->vcpu) && dpl >= (selector & SEL_RPL));
}

/* System types: SDM vol. 2, tables 3-53 and 3-56. Gates have access rights and no limit. */
static bool type_answers(const struct emu *e, const struct segment *seg)
{
	const unsigned lar =
		BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(9) | BIT(11) | BIT(12);
	const unsigned lsl = BIT(1) | BIT(2) | BIT(3) | BIT(9) | BIT(11);
	unsigned type = seg->attr & SEG_ATTR_TYPE;
	bool is_segment = seg->attr & SEG_ATTR_S, code = type & DESC_TYPE_CODE;

	switch (e->insn->op) {
	case INSN_VERR:
		return is_segment && (!code || (type & DESC_TYPE_READABLE));
	case INSN_VERW:
		return is_segment && !code && (type & DESC_TYPE_WRITABLE);
	case INSN_LAR:
		return is_segment || (lar >> type & 1);
	default:
		return is_segment || (lsl >> type & 1);
	}
}

/* What LAR and LSL load. */
static uint64_t answer(const struct emu *e, const struct segment *seg)
{
	if (e->insn->op == INSN_LSL)
		return seg->limit;
	return (uint64_t)(seg->attr & BITS(7, 0)) << 8 | (uint64_t)(seg->attr & BITS(11, 8)) << 12;
}

enum emulate_result emu_verify(struct emu *e)
{
	bool loads = e->insn->op == INSN_LAR || e->insn->op == INSN_LSL;
	struct desc d;
	uint64_t val;
	uint16_t selector;

	if (!emu_value(e, loads, &val))
		return emu_fault(e);
	selector = (uint16_t)val;
	e->flags &= ~RFLAGS_ZF;
	switch (desc_read(e->vcpu, selector, &d, &e->fault)) {
	case DESC_FAULT:
		return emu_fault(e);
	case DESC_OUTSIDE:
		return emu_retire(e);
	case DESC_FOUND:
		break;
	}
	if (!visible(e, selector, &d.seg) || !type_answers(e, &d.seg))
		return emu_retire(e);
	e->flags |= RFLAGS_ZF;
	if (loads)
		emu_operand_write(e, 0, NULL, answer(e, &d.seg));
	return emu_retire(e);
}

/* The first selector's RPL becomes the second's, if that is the lesser privilege. */
enum emulate_result emu_arpl(struct emu *e)
{
	struct emu_span span;
	uint64_t dst, src;

	if (!emu_locate(e, 0, true, &span))
		return emu_fault(e);
	dst = emu_operand_read(e, 0, &span);
	src = emu_operand_read(e, 1, NULL);
	e->flags &= ~RFLAGS_ZF;
	if ((dst & SEL_RPL) < (src & SEL_RPL)) {
		e->flags |= RFLAGS_ZF;
		dst = (dst & ~(uint64_t)SEL_RPL) | (src & SEL_RPL);
	}
	emu_operand_write(e, 0, &span, dst);
	return emu_retire(e);
}
