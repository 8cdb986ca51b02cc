/*
 * How the processor is to run the guest. With unrestricted guest: as it is,
 * whatever the state. Without, VMX operation has CR0.PE set, and VM entry takes
 * only such segment registers as protected mode can load (SDM
 * vol. 3, 23.8, 26.3.1.2). Then real mode is a virtual-8086 task with IOPL 0, so
 * that every instruction that minds the difference leaves with #GP; and what
 * can be neither that nor protected mode is emulated, an instruction at a time:
 * real mode with other limits than 64 KiB, or the way from one mode to the
 * other before the segments are loaded.
 */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "vmx/insn.h"
#include "vmx/state.h"

#define TYPE_ACCESSED 0x1u
#define TYPE_READABLE 0x2u /* of code */
#define TYPE_CONFORMING 0x4u
#define TYPE_CODE 0x8u
#define TYPE_LDT 0x2u
#define SELECTOR_RPL 3u
#define SELECTOR_TI 4u

static unsigned dpl(const struct segment *s)
{
	return (s->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

static unsigned rpl(const struct segment *s)
{
	return s->selector & SELECTOR_RPL;
}

static bool is_present_code_or_data(const struct segment *s)
{
	return (s->attr & (SEG_ATTR_S | SEG_ATTR_P | TYPE_ACCESSED)) ==
	       (SEG_ATTR_S | SEG_ATTR_P | TYPE_ACCESSED);
}

static bool valid_code(const struct segment *cs, const struct segment *ss)
{
	if (!is_present_code_or_data(cs) || !(cs->attr & TYPE_CODE))
		return false;
	return cs->attr & TYPE_CONFORMING ? dpl(cs) <= dpl(ss) : dpl(cs) == dpl(ss);
}

static bool valid_stack(const struct segment *ss, const struct segment *cs)
{
	const unsigned want = TYPE_ACCESSED | TYPE_READABLE;

	if (dpl(ss) != rpl(ss) || rpl(ss) != rpl(cs))
		return false;
	if (!(ss->attr & SEG_ATTR_P))
		return true;
	return is_present_code_or_data(ss) && (ss->attr & (TYPE_CODE | want)) == want;
}

static bool valid_data(const struct segment *s)
{
	if (!(s->attr & SEG_ATTR_P))
		return true;
	if (!is_present_code_or_data(s))
		return false;
	if ((s->attr & TYPE_CODE) && !(s->attr & TYPE_READABLE))
		return false;
	return (s->attr & (TYPE_CODE | TYPE_CONFORMING)) == (TYPE_CODE | TYPE_CONFORMING) ||
	       dpl(s) >= rpl(s);
}

static bool valid_system(const struct segment *tr, const struct segment *ldtr)
{
	if ((tr->selector & SELECTOR_TI) || (tr->attr & SEG_ATTR_S) || !(tr->attr & SEG_ATTR_P))
		return false;
	if (!(ldtr->attr & SEG_ATTR_P))
		return true;
	return !(ldtr->selector & SELECTOR_TI) &&
	       (ldtr->attr & (SEG_ATTR_S | SEG_ATTR_TYPE)) == TYPE_LDT;
}

/* SDM vol. 3, 26.3.1.2, for a guest in protected mode. */
static bool is_protected_mode(const struct segment *seg)
{
	return valid_code(&seg[SEG_CS], &seg[SEG_SS]) && valid_stack(&seg[SEG_SS], &seg[SEG_CS]) &&
	       valid_data(&seg[SEG_ES]) && valid_data(&seg[SEG_DS]) && valid_data(&seg[SEG_FS]) &&
	       valid_data(&seg[SEG_GS]) && valid_system(&seg[SEG_TR], &seg[SEG_LDTR]);
}

/* The same for virtual-8086 mode: what real mode's segments look like unless
 * somebody has been in protected mode for another limit, or code of 32 bits. */
static bool is_virtual_8086(const struct vcpu *vcpu, const struct segment *seg)
{
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		if (seg[i].base != (uint64_t)seg[i].selector << 4 || seg[i].limit != 0xffff ||
		    (seg[i].attr & SEG_ATTR_DB))
			return false;
	return !(vcpu->regs.rip >> 16);
}

static enum vmx_mode choose(const struct vcpu *vcpu, const struct segment *seg)
{
	if (!(vmx_vcpu(vcpu)->guest.cr0 & CR0_PE))
		return is_virtual_8086(vcpu, seg) ? MODE_V86 : MODE_EMULATE;
	if (vcpu->regs.rflags & RFLAGS_VM)
		return is_virtual_8086(vcpu, seg) ? MODE_DIRECT : MODE_EMULATE;
	return is_protected_mode(seg) ? MODE_DIRECT : MODE_EMULATE;
}

/* What a task in virtual-8086 mode has: data that can be written, of ring 3. An
 * I/O instruction in it is judged by its TSS: one that ends before its I/O map
 * makes each leave with #GP. */
#define V86_ATTR 0xf3u
static const struct segment v86_tss = { .attr = 0x8b, .limit = 0 };
static const struct segment v86_ldt = { .attr = 0 };

static void enter_v86(struct vmx_vcpu *vv, const struct segment *seg)
{
	memcpy(vv->seg, seg, sizeof(vv->seg));
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		struct segment s = seg[i];

		s.attr = V86_ATTR;
		vmx_write_seg((enum seg_reg)i, &s);
	}
	vmx_write_seg(SEG_LDTR, &v86_ldt);
	vmx_write_seg(SEG_TR, &v86_tss);
	/* SYSENTER, #GP in real mode, would take the task to ring 0. */
	vv->sysenter_cs = vmread32(VMCS_GUEST_SYSENTER_CS);
	vmwrite32(VMCS_GUEST_SYSENTER_CS, 0);
}

static void leave_v86(const struct vmx_vcpu *vv, const struct segment *seg)
{
	for (unsigned i = 0; i <= SEG_TR; i++)
		vmx_write_seg((enum seg_reg)i, &seg[i]);
	vmwrite32(VMCS_GUEST_SYSENTER_CS, vv->sysenter_cs);
}

void vmx_update_mode(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	bool unrestricted = vv->proc2 & PROC2_UNRESTRICTED_GUEST;
	struct segment seg[SEG_TR + 1];
	enum vmx_mode old = vv->mode;

	vv->mode_stale = false;
	if (unrestricted && old == MODE_DIRECT)
		return;
	for (unsigned i = 0; i <= SEG_TR; i++)
		vmx_get_seg(vcpu, (enum seg_reg)i, &seg[i]);
	if (old == MODE_V86)
		leave_v86(vv, seg);
	vv->mode = unrestricted ? MODE_DIRECT : choose(vcpu, seg);
	if (vv->mode == MODE_V86)
		enter_v86(vv, seg);
	if (vv->mode != old) {
		vmx_update_control(vcpu);
		vmx_update_exceptions(vv);
	}
}
