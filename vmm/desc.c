#include "vmm/desc.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/gmem.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define DESC_TYPE_BYTE 5 /* the byte that holds type, S, DPL and P */

/* The processor's own access, whatever the CPL. */
static const struct guest_access implicit_read = { .implicit = true };
static const struct guest_access implicit_write = { .implicit = true, .write = true };

/* Outside long mode linear addresses have 32 bits. */
static gva_t entry_address(const struct vcpu *vcpu, const struct segment *table, uint16_t selector)
{
	uint64_t at = table->base + (selector & SEL_INDEX);

	return GVA(vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA ? at : at & BITS(31, 0));
}

gva_t desc_gdt_address(struct vcpu *vcpu, uint16_t selector)
{
	struct segment gdt;

	vcpu->vm->backend->get_seg(vcpu, SEG_GDTR, &gdt);
	return entry_address(vcpu, &gdt, selector);
}

/* APM vol. 2, figures 4-14 and 4-22. */
static void unpack(uint64_t raw, uint16_t selector, struct segment *seg)
{
	uint32_t limit = (uint32_t)((raw & BITS(15, 0)) | (raw >> 32 & BITS(19, 16)));

	seg->selector = selector;
	seg->attr = (uint16_t)((raw >> 40 & BITS(7, 0)) | (raw >> 44 & BITS(11, 8)));
	seg->base = (raw >> 16 & BITS(23, 0)) | (raw >> 32 & BITS(31, 24));
	seg->limit = seg->attr & SEG_ATTR_G ? limit << 12 | 0xfff : limit;
}

enum desc_result desc_read(struct vcpu *vcpu, uint16_t selector, struct desc *out,
			   struct guest_fault *fault)
{
	bool local = selector & SEL_TI;
	struct segment table;
	uint64_t raw;

	vcpu->vm->backend->get_seg(vcpu, local ? SEG_LDTR : SEG_GDTR, &table);
	if (local ? !(table.attr & SEG_ATTR_P) : !(selector & SEL_INDEX))
		return DESC_OUTSIDE;
	if ((selector & SEL_INDEX) + 7u > table.limit)
		return DESC_OUTSIDE;
	out->at = entry_address(vcpu, &table, selector);
	if (!gmem_read(vcpu, out->at, &raw, sizeof(raw), implicit_read, fault))
		return DESC_FAULT;
	unpack(raw, selector, &out->seg);
	return DESC_FOUND;
}

static unsigned dpl_of(const struct segment *seg)
{
	return (seg->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

unsigned desc_judge_data(const struct segment *seg, unsigned cpl, unsigned rpl, unsigned wrong)
{
	bool code = seg->attr & DESC_TYPE_CODE;
	bool conforming = code && (seg->attr & DESC_TYPE_CONFORMING);

	if (!(seg->attr & SEG_ATTR_S) || (code && !(seg->attr & DESC_TYPE_READABLE)))
		return wrong;
	if (!conforming && dpl_of(seg) < MAX(cpl, rpl))
		return wrong;
	return seg->attr & SEG_ATTR_P ? 0 : VEC_NP;
}

unsigned desc_judge_stack(const struct segment *seg, unsigned cpl, unsigned rpl, unsigned wrong)
{
	const unsigned mask = SEG_ATTR_S | DESC_TYPE_CODE | DESC_TYPE_WRITABLE;

	if ((seg->attr & mask) != (SEG_ATTR_S | DESC_TYPE_WRITABLE))
		return wrong;
	if (dpl_of(seg) != cpl || rpl != cpl)
		return wrong;
	return seg->attr & SEG_ATTR_P ? 0 : VEC_SS;
}

unsigned desc_judge_code(const struct segment *seg, unsigned cpl, unsigned wrong)
{
	const unsigned code = SEG_ATTR_S | DESC_TYPE_CODE;

	if ((seg->attr & code) != code)
		return wrong;
	if (seg->attr & DESC_TYPE_CONFORMING ? dpl_of(seg) > cpl : dpl_of(seg) != cpl)
		return wrong;
	return seg->attr & SEG_ATTR_P ? 0 : VEC_NP;
}

bool desc_mark_accessed(struct vcpu *vcpu, struct desc *d, struct guest_fault *fault)
{
	if (!(d->seg.attr & DESC_TYPE_ACCESSED) &&
	    !desc_change_type(vcpu, d->at, DESC_TYPE_ACCESSED, 0, fault))
		return false;
	d->seg.attr |= DESC_TYPE_ACCESSED;
	return true;
}

static bool type_address(struct vcpu *vcpu, gva_t at, gpa_t *out, struct guest_fault *fault)
{
	return gmem_translate(vcpu, GVA(at.v + DESC_TYPE_BYTE), implicit_write, out, fault);
}

bool desc_probe_type(struct vcpu *vcpu, gva_t at, struct guest_fault *fault)
{
	gpa_t gpa;

	return type_address(vcpu, at, &gpa, fault);
}

bool desc_change_type(struct vcpu *vcpu, gva_t at, uint8_t set, uint8_t clear,
		      struct guest_fault *fault)
{
	uint8_t was, type;
	gpa_t gpa;

	if (!type_address(vcpu, at, &gpa, fault))
		return false;
	do {
		gmem_phys_read(vcpu->vm, gpa, &was, sizeof(was));
		type = (uint8_t)((was | set) & ~clear);
	} while (!gmem_phys_replace(vcpu->vm, gpa, &was, &type, sizeof(type)));
	return true;
}
