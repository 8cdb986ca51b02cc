/*
 * A hardware task switch in three parts: what can refuse it, with nothing changed; the
 * exchange of the two tasks' states; and the loading of the new task's segments, whose
 * faults are already the new task's own.
 */
#include "vmm/task.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/cr.h"
#include "vmm/desc.h"
#include "vmm/dr.h"
#include "vmm/emulate.h"
#include "vmm/gmem.h"
#include "vmm/task_state.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define DR6_BT BIT(15)
/* DR7's L0 to L3 and LE belong to the task. */
#define DR7_LOCAL (BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(8))
/* What EFLAGS can hold: SDM vol. 1, 3.4.3. */
#define EFLAGS_DEFINED UINT32_C(0x003f7fd5)

/* Error code bit 0: the fault came while an event from outside the program was delivered. */
#define ERROR_EXT 1u

/* A segment in virtual-8086 mode, and what CS is while its descriptor is not yet accepted. */
#define ATTR_V86 (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DPL | 0x3u)
#define ATTR_NO_CODE (SEG_ATTR_P | SEG_ATTR_S | DESC_TYPE_CODE | 0x3u)

enum cause { CAUSE_CALL, CAUSE_JMP, CAUSE_IRET, CAUSE_EVENT };

struct task {
	struct vcpu *vcpu;
	enum cause cause;
	uint32_t ext;       /* ERROR_EXT or 0 */
	uint32_t next_eip;  /* where the old task goes on */
	struct segment old; /* its TSS */
	struct desc new;    /* the TSS to go to */
	struct task_state in;
	unsigned cpl; /* the new task's */
	bool raised;  /* the fault was raised already */
	struct guest_fault fault;
};

static const struct guest_access implicit_read = { .implicit = true };
static const struct guest_access implicit_write = { .implicit = true, .write = true };

static bool is_32bit(const struct segment *tss)
{
	return tss->attr & DESC_TYPE_32BIT;
}

static size_t tss_size(const struct segment *tss)
{
	return is_32bit(tss) ? sizeof(struct tss32) : sizeof(struct tss16);
}

static bool nests(const struct task *t)
{
	return t->cause == CAUSE_CALL || t->cause == CAUSE_EVENT;
}

static bool refuse(struct task *t, unsigned vector, uint16_t selector)
{
	t->fault = (struct guest_fault){ .vector = (uint8_t)vector,
					 .has_error = true,
					 .error = (selector & ~SEL_RPL) | t->ext };
	return false;
}

/* --- what can refuse the switch --- */

/* Why it happens, and where the old task will go on. */
static bool begin(struct task *t)
{
	struct vcpu *vcpu = t->vcpu;
	const struct vm_exit *exit = &vcpu->exit;
	enum vm_event_kind event = exit->interrupted.kind;
	unsigned len;

	if (exit->task.iret)
		t->cause = CAUSE_IRET;
	else if (exit->task.jmp)
		t->cause = CAUSE_JMP;
	else if (event != EVENT_NONE)
		t->cause = CAUSE_EVENT;
	else
		t->cause = CAUSE_CALL;
	vcpu->vm->backend->get_seg(vcpu, SEG_TR, &t->old);
	t->next_eip = (uint32_t)vcpu->regs.rip;
	if (t->cause == CAUSE_EVENT && event != EVENT_SOFT_INT && event != EVENT_SOFT_EXC) {
		t->ext = ERROR_EXT;
		return true;
	}
	len = emulate_insn_length(vcpu);
	t->next_eip += len;
	if (vcpu_code_size(vcpu) == 2)
		t->next_eip &= 0xffff;
	t->raised = !len;
	return !t->raised;
}

/* SDM vol. 3, table 7-1: IRET's mistakes with a TSS are all #TS. */
static bool check_new_tss(struct task *t)
{
	uint16_t selector = t->vcpu->exit.task.selector;
	unsigned wrong = t->cause == CAUSE_IRET ? VEC_TS : VEC_GP;
	unsigned busy = t->cause == CAUSE_IRET ? DESC_TYPE_BUSY : 0, type;

	if (selector & SEL_TI)
		return refuse(t, wrong, selector);
	switch (desc_read(t->vcpu, selector, &t->new, &t->fault)) {
	case DESC_FOUND:
		break;
	case DESC_OUTSIDE:
		return refuse(t, wrong, selector);
	case DESC_FAULT:
		return false;
	}
	type = t->new.seg.attr &(SEG_ATTR_S | SEG_ATTR_TYPE);
	if (type != (DESC_TYPE_TSS16 | busy) && type != (DESC_TYPE_TSS32 | busy))
		return refuse(t, wrong, selector);
	if (!(t->new.seg.attr &SEG_ATTR_P))
		return refuse(t, VEC_NP, selector);
	if (t->new.seg.limit < tss_size(&t->new.seg) - 1)
		return refuse(t, VEC_TS, selector);
	return true;
}

/* Would every page of the span let the processor itself through? size <= 4096. */
static bool probe(struct task *t, uint64_t addr, size_t size, struct guest_access access)
{
	uint64_t last = addr + size - 1;
	gpa_t gpa;

	if (!gmem_translate(t->vcpu, GVA(addr), access, &gpa, &t->fault))
		return false;
	return addr >> PAGE_SHIFT == last >> PAGE_SHIFT ||
	       gmem_translate(t->vcpu, GVA(ALIGN_DOWN(last, PAGE_SIZE)), access, &gpa, &t->fault);
}

/* All memory that the switch touches, before it changes any of it. */
static bool check_memory(struct task *t)
{
	bool old32 = is_32bit(&t->old);
	size_t at = old32 ? TSS32_SAVED_AT : TSS16_SAVED_AT;
	size_t size = old32 ? TSS32_SAVED : TSS16_SAVED;
	gva_t old_desc = desc_gdt_address(t->vcpu, t->old.selector);

	if (t->old.limit < at + size - 1)
		return refuse(t, VEC_TS, t->old.selector);
	if (!probe(t, t->new.seg.base, tss_size(&t->new.seg), implicit_read))
		return false;
	if (!probe(t, t->old.base + at, size, implicit_write))
		return false;
	if (nests(t) && !probe(t, t->new.seg.base, sizeof(uint16_t), implicit_write))
		return false;
	if (!nests(t) && !desc_probe_type(t->vcpu, old_desc, &t->fault))
		return false;
	return t->cause == CAUSE_IRET || desc_probe_type(t->vcpu, t->new.at, &t->fault);
}

/* --- the exchange --- */

static void old_state(const struct task *t, struct task_state *s)
{
	const struct vcpu *vcpu = t->vcpu;
	struct segment seg;

	s->eip = t->next_eip;
	s->eflags = (uint32_t)(vcpu->regs.rflags & ~RFLAGS_RF);
	if (vcpu->exit.task.rf)
		s->eflags |= RFLAGS_RF;
	if (t->cause == CAUSE_IRET)
		s->eflags &= ~(uint32_t)RFLAGS_NT;
	for (unsigned i = 0; i < TSS_GPRS; i++)
		s->gpr[i] = (uint32_t)vcpu->regs.gpr[i];
	for (unsigned i = 0; i < TSS_SEGS; i++) {
		vcpu->vm->backend->get_seg(vcpu, (enum seg_reg)i, &seg);
		s->seg[i] = seg.selector;
	}
}

/* The fields between those that are saved keep what they hold. */
static bool save_old(struct task *t)
{
	struct vcpu *vcpu = t->vcpu;
	struct task_state state = { 0 };
	union {
		struct tss32 tss32;
		struct tss16 tss16;
		uint8_t bytes[sizeof(struct tss32)];
	} image;
	bool wide = is_32bit(&t->old);
	size_t at = wide ? TSS32_SAVED_AT : TSS16_SAVED_AT;
	size_t size = wide ? TSS32_SAVED : TSS16_SAVED;
	gva_t gva = GVA(t->old.base + at);

	old_state(t, &state);
	if (!gmem_read(vcpu, gva, image.bytes + at, size, implicit_read, &t->fault))
		return false;
	if (wide)
		task_state_save32(&state, &image.tss32);
	else
		task_state_save16(&state, &image.tss16);
	return gmem_write(vcpu, gva, image.bytes + at, size, implicit_write, &t->fault);
}

static bool read_new(struct task *t)
{
	gva_t gva = GVA(t->new.seg.base);
	struct tss32 tss32;
	struct tss16 tss16;

	if (is_32bit(&t->new.seg)) {
		if (!gmem_read(t->vcpu, gva, &tss32, sizeof(tss32), implicit_read, &t->fault))
			return false;
		task_state_load32(&t->in, &tss32);
	} else {
		if (!gmem_read(t->vcpu, gva, &tss16, sizeof(tss16), implicit_read, &t->fault))
			return false;
		task_state_load16(&t->in, &tss16);
	}
	if (nests(t))
		t->in.eflags |= RFLAGS_NT;
	t->cpl = t->in.eflags & RFLAGS_VM ? 3 : t->in.seg[SEG_CS] & SEL_RPL;
	return true;
}

/* SDM vol. 3, 7.3, steps 6 to 10. It has all been probed: nothing here fails but by another
 * CPU's doing. */
static bool exchange(struct task *t)
{
	struct vcpu *vcpu = t->vcpu;
	uint16_t link = t->old.selector;
	gva_t old_desc = desc_gdt_address(vcpu, t->old.selector);

	if (!nests(t) && !desc_change_type(vcpu, old_desc, 0, DESC_TYPE_BUSY, &t->fault))
		return false;
	if (!save_old(t))
		return false;
	if (nests(t) &&
	    !gmem_write(vcpu, GVA(t->new.seg.base), &link, sizeof(link), implicit_write, &t->fault))
		return false;
	if (!read_new(t))
		return false;
	return t->cause == CAUSE_IRET ||
	       desc_change_type(vcpu, t->new.at, DESC_TYPE_BUSY, 0, &t->fault);
}

/* --- the new task --- */

static void set_seg(struct task *t, enum seg_reg reg, struct segment seg)
{
	t->vcpu->vm->backend->set_seg(t->vcpu, reg, &seg);
}

/*
 * The selectors alone, so that a fault on one of them finds them all. Nothing can be done
 * through such a segment, but the CPL is right.
 */
static void set_selectors(struct task *t)
{
	uint16_t dpl = (uint16_t)(t->cpl << SEG_ATTR_DPL_SHIFT);

	for (unsigned i = 0; i < TSS_SEGS; i++) {
		struct segment seg = { .selector = t->in.seg[i] };

		if (t->in.eflags & RFLAGS_VM)
			seg = (struct segment){ seg.selector, ATTR_V86, 0xffff,
						(uint32_t)seg.selector << 4 };
		else if (i == SEG_SS)
			seg.attr = dpl;
		else if (i == SEG_CS)
			seg.attr = ATTR_NO_CODE | dpl;
		set_seg(t, (enum seg_reg)i, seg);
	}
	set_seg(t, SEG_LDTR, (struct segment){ .selector = t->in.ldt });
}

/* From here on the new task runs. */
static void enter_new(struct task *t)
{
	struct vcpu *vcpu = t->vcpu;
	const struct vmm_backend *backend = vcpu->vm->backend;
	struct segment tr = t->new.seg;

	tr.attr |= DESC_TYPE_BUSY;
	set_seg(t, SEG_TR, tr);
	backend->set_reg(vcpu, REG_CR0, backend->get_reg(vcpu, REG_CR0) | CR0_TS);
	dr_write(vcpu, 7, dr_read(vcpu, 7) & ~DR7_LOCAL);
	backend->set_reg(vcpu, REG_INTR_SHADOW, 0);
	vcpu->regs.rip = t->in.eip;
	vcpu->regs.rflags = (t->in.eflags & EFLAGS_DEFINED) | RFLAGS_FIXED;
	for (unsigned i = 0; i < TSS_GPRS; i++)
		vcpu->regs.gpr[i] = t->in.gpr[i];
	set_selectors(t);
}

/* A switch that does not change CR3 leaves the TLB alone. */
static bool load_cr3(struct task *t)
{
	const struct vmm_backend *backend = t->vcpu->vm->backend;

	if (!t->in.has_cr3 || !(backend->get_reg(t->vcpu, REG_CR0) & CR0_PG) ||
	    backend->get_reg(t->vcpu, REG_CR3) == t->in.cr3)
		return true;
	t->raised = !cr_write(t->vcpu, 3, t->in.cr3);
	return !t->raised;
}

/* A selector that must name a descriptor: it does, or #TS. */
static bool read_desc(struct task *t, uint16_t selector, struct desc *out)
{
	switch (desc_read(t->vcpu, selector, out, &t->fault)) {
	case DESC_FOUND:
		return true;
	case DESC_OUTSIDE:
		return refuse(t, VEC_TS, selector);
	default:
		return false;
	}
}

/* Mark the descriptor accessed and put it into the register. */
static bool accept_segment(struct task *t, enum seg_reg reg, struct desc *d)
{
	if (!desc_mark_accessed(t->vcpu, d, &t->fault))
		return false;
	set_seg(t, reg, d->seg);
	return true;
}

static bool load_ldt(struct task *t)
{
	const unsigned want = SEG_ATTR_P | DESC_TYPE_LDT;
	uint16_t selector = t->in.ldt;
	struct desc d;

	if (!(selector & ~SEL_RPL))
		return true;
	/* One with TI finds no table: the old LDT is gone already. */
	if (!read_desc(t, selector, &d))
		return false;
	if ((d.seg.attr & (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_TYPE)) != want)
		return refuse(t, VEC_TS, selector);
	set_seg(t, SEG_LDTR, d.seg);
	return true;
}

static bool load_code(struct task *t)
{
	uint16_t selector = t->in.seg[SEG_CS];
	unsigned wrong;
	struct desc d;

	if (!read_desc(t, selector, &d))
		return false;
	wrong = desc_judge_code(&d.seg, selector & SEL_RPL, VEC_TS);
	return wrong ? refuse(t, wrong, selector) : accept_segment(t, SEG_CS, &d);
}

static bool load_stack(struct task *t)
{
	uint16_t selector = t->in.seg[SEG_SS];
	unsigned wrong;
	struct desc d;

	if (!read_desc(t, selector, &d))
		return false;
	wrong = desc_judge_stack(&d.seg, t->cpl, selector & SEL_RPL, VEC_TS);
	return wrong ? refuse(t, wrong, selector) : accept_segment(t, SEG_SS, &d);
}

static bool load_data(struct task *t, enum seg_reg reg)
{
	uint16_t selector = t->in.seg[reg];
	unsigned wrong;
	struct desc d;

	if (!(selector & ~SEL_RPL))
		return true; /* null: unusable, as it is already */
	if (!read_desc(t, selector, &d))
		return false;
	wrong = desc_judge_data(&d.seg, t->cpl, selector & SEL_RPL, VEC_TS);
	return wrong ? refuse(t, wrong, selector) : accept_segment(t, reg, &d);
}

/* The order is the processor's own choice: SDM vol. 3, table 7-1. */
static bool load_segments(struct task *t)
{
	if (!load_cr3(t) || !load_ldt(t))
		return false;
	if (t->in.eflags & RFLAGS_VM)
		return true; /* they came with their selectors */
	return load_code(t) && load_stack(t) && load_data(t, SEG_ES) && load_data(t, SEG_DS) &&
	       load_data(t, SEG_FS) && load_data(t, SEG_GS);
}

/* Are size bytes at offset within the stack segment? */
static bool stack_holds(const struct segment *ss, uint32_t offset, unsigned size)
{
	uint64_t last = (uint64_t)offset + size - 1;

	if (ss->attr & DESC_TYPE_EXPAND_DOWN)
		return offset > ss->limit &&
		       last <= (ss->attr & SEG_ATTR_DB ? BITS(31, 0) : 0xffff);
	return last <= ss->limit;
}

/* As a push by the new task, as wide as its TSS. */
static bool push_error(struct task *t)
{
	struct vcpu *vcpu = t->vcpu;
	unsigned size = is_32bit(&t->new.seg) ? 4 : 2;
	struct guest_access access = { .write = true, .user = t->cpl == 3 };
	uint64_t *rsp = &vcpu->regs.gpr[RSP], mask;
	struct segment ss;
	uint32_t sp;

	if (!vcpu->exit.task.has_error)
		return true;
	vcpu->vm->backend->get_seg(vcpu, SEG_SS, &ss);
	mask = ss.attr & SEG_ATTR_DB ? BITS(31, 0) : BITS(15, 0);
	sp = (uint32_t)((*rsp - size) & mask);
	if (!stack_holds(&ss, sp, size))
		return refuse(t, VEC_SS, 0);
	if (!gmem_write(vcpu, GVA(ss.base + sp), &vcpu->exit.task.error, size, access, &t->fault))
		return false;
	*rsp = (*rsp & ~mask) | sp;
	return true;
}

static bool check_eip(struct task *t)
{
	struct segment cs;

	t->vcpu->vm->backend->get_seg(t->vcpu, SEG_CS, &cs);
	return t->in.eip <= cs.limit || refuse(t, VEC_GP, 0);
}

void task_switch(struct vcpu *vcpu)
{
	struct task t = { .vcpu = vcpu };
	bool ok = begin(&t) && check_new_tss(&t) && check_memory(&t) && exchange(&t);

	if (ok) {
		enter_new(&t);
		ok = load_segments(&t) && push_error(&t) && check_eip(&t);
	}
	if (!ok) {
		if (!t.raised)
			vcpu_raise(vcpu, &t.fault);
		return;
	}
	vcpu_event_delivered(vcpu);
	if (t.in.trap) {
		dr_write(vcpu, 6, dr_read(vcpu, 6) | DR6_BT);
		vcpu_raise_vector(vcpu, VEC_DB);
	}
}
