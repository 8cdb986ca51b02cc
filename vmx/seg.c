/* Segment registers and descriptor tables. SDM vol. 3, 24.4.1. */
#include "arch/x86_64/include/cr.h"
#include "vmx/insn.h"
#include "vmx/state.h"

#define TSS_TYPE_BUSY 0x2u

/* The attributes of a descriptor's second byte, and those four bits further up
 * in the VMCS. */
#define ATTR_LOW BITS(7, 0)
#define ATTR_HIGH BITS(11, 8)
#define RIGHTS_HIGH_SHIFT 4

/* The fields of ES, CS, SS, DS, FS, GS, LDTR, TR follow one another in enum
 * seg_reg's order. */
static enum vmcs_field16 selector_field(enum seg_reg reg)
{
	return (enum vmcs_field16)(VMCS_GUEST_ES_SELECTOR + 2 * reg);
}

static enum vmcs_field32 rights_field(enum seg_reg reg)
{
	return (enum vmcs_field32)(VMCS_GUEST_ES_RIGHTS + 2 * reg);
}

static enum vmcs_field32 limit_field(enum seg_reg reg)
{
	return (enum vmcs_field32)(VMCS_GUEST_ES_LIMIT + 2 * reg);
}

static enum vmcs_fieldn base_field(enum seg_reg reg)
{
	return (enum vmcs_fieldn)(VMCS_GUEST_ES_BASE + 2 * reg);
}
static_assert(VMCS_GUEST_TR_SELECTOR == VMCS_GUEST_ES_SELECTOR + 2 * SEG_TR, "selectors");
static_assert(VMCS_GUEST_IDTR_LIMIT == VMCS_GUEST_ES_LIMIT + 2 * SEG_IDTR, "limits");
static_assert(VMCS_GUEST_TR_RIGHTS == VMCS_GUEST_ES_RIGHTS + 2 * SEG_TR, "access rights");
static_assert(VMCS_GUEST_IDTR_BASE == VMCS_GUEST_ES_BASE + 2 * SEG_IDTR, "bases");

static bool is_table(enum seg_reg reg)
{
	return reg == SEG_GDTR || reg == SEG_IDTR;
}

void vmx_read_seg(enum seg_reg reg, struct segment *seg)
{
	uint32_t rights;

	seg->limit = vmread32(limit_field(reg));
	seg->base = vmreadn(base_field(reg));
	seg->selector = seg->attr = 0;
	if (is_table(reg))
		return;
	seg->selector = vmread16(selector_field(reg));
	rights = vmread32(rights_field(reg));
	/* Of an unusable register SS's DPL alone is defined. */
	if (rights & RIGHTS_UNUSABLE)
		seg->attr = reg == SEG_SS ? (uint16_t)(rights & SEG_ATTR_DPL) : 0;
	else
		seg->attr =
			(uint16_t)((rights & ATTR_LOW) | (rights >> RIGHTS_HIGH_SHIFT & ATTR_HIGH));
}

/* G says in which unit the limit was counted: VM entry wants the two to agree.
 */
static uint32_t agreeing_granularity(uint32_t rights, uint32_t limit)
{
	const uint32_t g = SEG_ATTR_G << RIGHTS_HIGH_SHIFT;

	if ((limit & BITS(11, 0)) != BITS(11, 0))
		return rights & ~g;
	return limit & BITS(31, 20) ? rights | g : rights;
}

void vmx_write_seg(enum seg_reg reg, const struct segment *seg)
{
	uint32_t rights = (seg->attr & ATTR_LOW) | (seg->attr & ATTR_HIGH) << RIGHTS_HIGH_SHIFT;

	vmwrite32(limit_field(reg), seg->limit);
	vmwriten(base_field(reg), seg->base);
	if (is_table(reg))
		return;
	vmwrite16(selector_field(reg), seg->selector);
	rights = agreeing_granularity(rights, seg->limit);
	if (reg == SEG_TR)
		rights |= TSS_TYPE_BUSY;
	else if (!(seg->attr & SEG_ATTR_P))
		rights = RIGHTS_UNUSABLE | (reg == SEG_SS ? seg->attr & SEG_ATTR_DPL : 0);
	vmwrite32(rights_field(reg), rights);
}

/* As a virtual-8086 task the guest loads selectors and bases itself; the rest
 * is as it was when real mode was entered, which no MOV to a segment register
 * changes. */
void vmx_get_seg(const struct vcpu *vcpu, enum seg_reg reg, struct segment *seg)
{
	const struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_use(vcpu);
	if (vv->mode != MODE_V86 || is_table(reg)) {
		vmx_read_seg(reg, seg);
		return;
	}
	*seg = vv->seg[reg];
	if (reg <= SEG_GS) {
		seg->selector = vmread16(selector_field(reg));
		seg->base = vmreadn(base_field(reg));
	}
}

void vmx_set_seg(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_use(vcpu);
	vv->mode_stale = true;
	if (vv->mode != MODE_V86 || is_table(reg)) {
		vmx_write_seg(reg, seg);
		return;
	}
	vv->seg[reg] = *seg;
	if (reg <= SEG_GS) {
		vmwrite16(selector_field(reg), seg->selector);
		vmwriten(base_field(reg), seg->base);
	}
}
