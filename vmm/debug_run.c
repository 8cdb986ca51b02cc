/*
 * A vCPU that is debugged, around each of its runs: single steps, and whose a #DB or #BP is.
 *
 * A step is an entry with RFLAGS.TF set, of which the guest sees nothing: all exceptions leave, so
 * that none is delivered with TF in its frame, and the instructions that would show it are emulated
 * (PUSHF) or corrected afterwards (SYSCALL, SYSRET). No interrupt is delivered meanwhile. Where the
 * instruction leaves for Umbra to do it, that is the step. An event that it raises, or INT n, is
 * delivered with an INT3 put at its handler, where the step ends.
 */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "vmm/backend.h"
#include "vmm/debug_core.h"
#include "vmm/dr.h"
#include "vmm/emulate.h"
#include "vmm/inspect.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define INSN_INT3 0xccu
#define DR6_TRAPS BITS(3, 0)
#define DR6_BT BIT(15)
#define DR7_ENABLE(n) (UINT64_C(3) << (2 * (n)))
#define DR7_TYPE(dr7, n) ((dr7) >> (16 + 4 * (n)) & 3)

static bool is_stepping(const struct vcpu_debug *d)
{
	return d->step || d->over;
}

static bool event_pending(const struct vcpu *vcpu)
{
	return vcpu->events.pending.kind != EVENT_NONE;
}

/* The code point that RIP is at; NULL: none. */
static const struct debug_point *point_at_rip(const struct vcpu *vcpu)
{
	const struct vm_debug *vd = &vcpu->vm->debug;
	gva_t rip = debug_rip(vcpu);
	gpa_t gpa;
	bool mapped = inspect_translate(vcpu, rip, &gpa);

	for (unsigned i = 0; i < vd->nr; i++) {
		const struct debug_slot *s = &vd->slot[i];

		if (s->point.kind == DEBUG_EXEC && s->point.at.v == rip.v)
			return &s->point;
		if (s->point.kind == DEBUG_EXEC_INT3 && mapped && s->gpa.v == gpa.v)
			return &s->point;
	}
	return NULL;
}

static void finish(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;
	bool step = d->step;

	d->step = d->over = d->aimed = false;
	if (step)
		debug_stop(vcpu, DEBUG_STEPPED, NULL);
	debug_update(vcpu);
}

/* --- into a handler --- */

/* At d->target, if that is known. */
static void aim(struct vcpu *vcpu, bool known)
{
	static const uint8_t int3 = INSN_INT3;
	struct vcpu_debug *d = &vcpu->debug;
	struct vm *vm = vcpu->vm;

	d->aimed = known;
	d->target_planted = d->aimed && inspect_translate(vcpu, d->target, &d->target_gpa) &&
			    inspect_read_gpa(vm, d->target_gpa, &d->target_original, 1) == 1 &&
			    inspect_write_gpa(vm, d->target_gpa, &int3, 1) == 1;
}

static void lift_target(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;

	if (d->target_planted)
		inspect_write_gpa(vcpu->vm, d->target_gpa, &d->target_original, 1);
	d->target_planted = false;
}

static void intercept_exceptions(struct vcpu *vcpu, bool on)
{
	for (unsigned v = 0; v < 32; v++)
		if (v != VEC_NMI && v != VEC_BP)
			vcpu->vm->backend->set_intercept_exception(vcpu, v, on);
}

/* --- one instruction --- */

static void begin_tf(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	struct vcpu_debug *d = &vcpu->debug;

	d->tf = true;
	d->guest_tf = vcpu->regs.rflags & RFLAGS_TF;
	/* The step is to end behind this instruction, which ends the shadow as well. */
	d->shadow = backend->get_reg(vcpu, REG_INTR_SHADOW);
	backend->set_reg(vcpu, REG_INTR_SHADOW, 0);
	vcpu->regs.rflags |= RFLAGS_TF;
	if (d->insn == DEBUG_INSN_SYSCALL) {
		d->sfmask = backend->get_reg(vcpu, REG_SFMASK);
		backend->set_reg(vcpu, REG_SFMASK, d->sfmask & ~RFLAGS_TF);
	} else if (d->insn == DEBUG_INSN_SYSRET) {
		d->r11 = vcpu->regs.gpr[R11];
		vcpu->regs.gpr[R11] |= RFLAGS_TF;
	}
}

static void set_bit(uint64_t *word, uint64_t bit, bool on)
{
	*word = on ? *word | bit : *word & ~bit;
}

/* The instruction is not done: it has not begun. */
static void take_back_tf(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;

	/* With TF still set: no trap is to be left pending either. */
	vcpu->vm->backend->set_reg(vcpu, REG_INTR_SHADOW, d->shadow);
	set_bit(&vcpu->regs.rflags, RFLAGS_TF, d->guest_tf);
}

static void end_tf(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;
	struct vcpu_regs *regs = &vcpu->regs;
	const struct vm_exit *exit = &vcpu->exit;

	d->tf = false;
	d->trapped = exit->kind == EXIT_EXCEPTION && exit->exception.vector == VEC_DB &&
		     !exit->insn_len && (vcpu->vm->backend->get_reg(vcpu, REG_DR6) & DR6_BS);
	if (!d->trapped)
		take_back_tf(vcpu);
	switch (d->insn) {
	case DEBUG_INSN_LOADS_FLAGS:
		return;
	case DEBUG_INSN_SYSCALL:
		vcpu->vm->backend->set_reg(vcpu, REG_SFMASK, d->sfmask);
		if (!d->trapped)
			return;
		if (vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA)
			set_bit(&regs->gpr[R11], RFLAGS_TF, d->guest_tf);
		set_bit(&regs->rflags, RFLAGS_TF, d->guest_tf && !(d->sfmask & RFLAGS_TF));
		return;
	case DEBUG_INSN_SYSRET:
		regs->gpr[R11] = d->r11;
		if (d->trapped)
			set_bit(&regs->rflags, RFLAGS_TF, d->r11 & RFLAGS_TF);
		return;
	default:
		if (d->trapped)
			set_bit(&regs->rflags, RFLAGS_TF, d->guest_tf);
	}
}

static void begin_event(struct vcpu *vcpu)
{
	vcpu->debug.tf = false;
	if (!vcpu_core_delivers(vcpu)) {
		aim(vcpu, debug_handler(vcpu, vcpu->events.pending.vector, &vcpu->debug.target));
		intercept_exceptions(vcpu, true);
		vcpu->debug.entered = true;
	}
}

static void begin_insn(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;

	intercept_exceptions(vcpu, true);
	d->entered = true;
	if (d->insn == DEBUG_INSN_INT) {
		d->tf = false;
		aim(vcpu, debug_int_handler(vcpu, &d->target));
	} else {
		begin_tf(vcpu);
	}
}

/* Get ready to run one instruction, or to deliver what is pending. False: the step is over. */
static bool begin_step(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;

	debug_lift(vcpu->vm);
	dr_arm(vcpu, false);
	if (event_pending(vcpu)) {
		begin_event(vcpu);
		return true;
	}
	d->insn = debug_insn_at_rip(vcpu);
	if (d->insn == DEBUG_INSN_PUSHF) {
		vcpu->exit = (struct vm_exit){ .kind = EXIT_EMULATE, .hw_name = "step" };
		d->retired = false;
		emulate_step(vcpu);
		if (d->retired) {
			d->retired = false;
			finish(vcpu);
			return false;
		}
		if (event_pending(vcpu)) {
			begin_event(vcpu);
			return true;
		}
	}
	begin_insn(vcpu);
	return true;
}

bool debug_before_entry(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;

	if (d->fresh) {
		d->fresh = false;
		if (!d->step && !event_pending(vcpu) && point_at_rip(vcpu))
			d->over = true;
	}
	if (is_stepping(d) && (begin_step(vcpu) || vcpu->vm->pause_requested))
		return false;
	debug_plant(vcpu->vm);
	if (d->on)
		dr_arm(vcpu, true);
	return true;
}

void debug_delivered(struct vcpu *vcpu)
{
	if (is_stepping(&vcpu->debug))
		finish(vcpu);
}

void debug_after_exit(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;

	d->trapped = d->retired = d->watched = false;
	if (!d->entered)
		return;
	d->entered = false;
	lift_target(vcpu);
	intercept_exceptions(vcpu, false);
	if (d->tf)
		end_tf(vcpu);
}

void debug_handled(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;
	bool done = d->trapped || d->retired;

	if (d->watched)
		debug_stop(vcpu, DEBUG_POINT, &d->watch);
	if (!is_stepping(d))
		return;
	if (!event_pending(vcpu))
		done |= (d->aimed && debug_rip(vcpu).v == d->target.v) ||
			vcpu->exit.kind == EXIT_TASK_SWITCH;
	if (done)
		finish(vcpu);
}

/* --- #DB and #BP --- */

void debug_trap(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	struct vcpu_debug *d = &vcpu->debug;
	uint64_t dr6 = backend->get_reg(vcpu, REG_DR6), guest = dr6 & DR6_BT;
	const struct debug_point *hit = NULL;

	backend->set_reg(vcpu, REG_DR6, DR6_INIT);
	for (unsigned i = 0; i < 4; i++) {
		unsigned owner = d->owner[i];

		if (!(dr6 & BIT(i)) || !(d->hw_dr7 & DR7_ENABLE(i)))
			continue;
		if (owner < DEBUG_POINTS_MAX)
			hit = &vcpu->vm->debug.slot[owner].point;
		else
			guest |= BIT(i);
		/* A fault, not a trap: the guest's returns to the instruction. */
		if (!DR7_TYPE(d->hw_dr7, i))
			set_bit(&vcpu->regs.rflags, RFLAGS_RF, owner >= DEBUG_POINTS_MAX);
	}
	if ((dr6 & DR6_BS) && (!d->trapped || d->guest_tf))
		guest |= DR6_BS;
	/* Of an INT1 DR6 tells nothing. */
	if (guest || (!hit && !d->trapped)) {
		if (guest)
			d->dr6 = (d->dr6 & ~DR6_TRAPS) | guest;
		vcpu_raise_vector(vcpu, VEC_DB);
	}
	if (hit)
		debug_stop(vcpu, DEBUG_POINT, hit);
}

bool debug_breakpoint(struct vcpu *vcpu)
{
	const struct vm_debug *vd = &vcpu->vm->debug;
	const struct vcpu_debug *d = &vcpu->debug;
	gpa_t gpa;

	if (is_stepping(d))
		return d->aimed && debug_rip(vcpu).v == d->target.v;
	if (!inspect_translate(vcpu, debug_rip(vcpu), &gpa))
		return false;
	for (unsigned i = 0; i < vd->nr; i++)
		if (vd->slot[i].planted && vd->slot[i].gpa.v == gpa.v) {
			debug_stop(vcpu, DEBUG_POINT, &vd->slot[i].point);
			return true;
		}
	return false;
}

/* --- what the emulator does --- */

bool debug_stops_at(struct vcpu *vcpu)
{
	const struct debug_point *p;

	if (is_stepping(&vcpu->debug))
		return false;
	p = point_at_rip(vcpu);
	if (p)
		debug_stop(vcpu, DEBUG_POINT, p);
	return p;
}

static bool is_watched(const struct debug_point *p, gva_t gva, unsigned size, bool write)
{
	if (p->kind != DEBUG_ACCESS && (p->kind != DEBUG_WRITE || !write))
		return false;
	return gva.v < p->at.v + p->size && p->at.v < gva.v + size;
}

void debug_access(struct vcpu *vcpu, gva_t gva, unsigned size, bool write)
{
	const struct vm_debug *vd = &vcpu->vm->debug;
	struct vcpu_debug *d = &vcpu->debug;

	for (unsigned i = 0; i < vd->nr; i++)
		if (is_watched(&vd->slot[i].point, gva, size, write)) {
			d->watched = true;
			d->watch = vd->slot[i].point;
		}
}
