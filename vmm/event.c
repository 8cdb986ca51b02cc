/*
 * The one event queue: what is due for delivery, what was cut off and is due again, and
 * what two exceptions at once become.
 */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/debug_core.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_tables.h"

/* APM vol. 2, 8.2.9, table 8-4; SDM vol. 3, table 6-4. */
enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum exception_class class_of(unsigned vector)
{
	switch (vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP:
	case VEC_CP:
	case VEC_SX:
		return CONTRIBUTORY;
	case VEC_PF:
		return PAGE_FAULT;
	case VEC_DF:
		return DOUBLE_FAULT;
	default:
		return BENIGN;
	}
}

/* What a second exception during the delivery of a first one leads to. */
enum double_outcome { DELIVER_SECOND, DELIVER_DF, SHUTDOWN };

static enum double_outcome combine(unsigned first, unsigned second)
{
	enum exception_class a = class_of(first), b = class_of(second);

	if (b == BENIGN || a == BENIGN)
		return DELIVER_SECOND;
	if (a == DOUBLE_FAULT)
		return SHUTDOWN;
	if (a == CONTRIBUTORY && b == PAGE_FAULT)
		return DELIVER_SECOND;
	return DELIVER_DF;
}

/* Do handlers of this vector see RFLAGS.RF set in the saved image? Those of faults do. */
static bool is_fault(unsigned vector)
{
	return vector != VEC_DB && vector != VEC_BP && vector != VEC_OF && vector != VEC_DF &&
	       vector != VEC_MC;
}

void vcpu_triple_fault(struct vcpu *vcpu)
{
	vm_request_stop(vcpu->vm, VM_STOP_TRIPLE, 0, "triple fault at rip 0x%llx, cr3 0x%llx",
			(unsigned long long)vcpu->regs.rip,
			(unsigned long long)vcpu->vm->backend->get_reg(vcpu, REG_CR3));
}

void vcpu_raise(struct vcpu *vcpu, const struct guest_fault *fault)
{
	struct vm_event *pending = &vcpu->events.pending;
	struct vm_event ev = { .kind = EVENT_EXCEPTION,
			       .vector = fault->vector,
			       .has_error = fault->has_error,
			       .error = fault->error };

	if (pending->kind == EVENT_EXCEPTION) {
		switch (combine(pending->vector, fault->vector)) {
		case DELIVER_SECOND:
			break;
		case DELIVER_DF:
			ev.vector = VEC_DF;
			ev.has_error = true;
			ev.error = 0;
			break;
		case SHUTDOWN:
			vcpu_triple_fault(vcpu);
			return;
		}
	}
	if (fault->vector == VEC_PF)
		vcpu->vm->backend->set_reg(vcpu, REG_CR2, fault->cr2);
	if (is_fault(ev.vector))
		vcpu->regs.rflags |= RFLAGS_RF;
	*pending = ev;
}

void vcpu_raise_vector(struct vcpu *vcpu, unsigned vector)
{
	vcpu_raise(vcpu, &(struct guest_fault){ .vector = (uint8_t)vector });
}

void vcpu_raise_error(struct vcpu *vcpu, unsigned vector, uint32_t error)
{
	vcpu_raise(vcpu, &(struct guest_fault){
				 .vector = (uint8_t)vector, .has_error = true, .error = error });
}

void vcpu_requeue(struct vcpu *vcpu, const struct vm_event *ev)
{
	vcpu->events.pending = *ev;
}

void vcpu_event_delivered(struct vcpu *vcpu)
{
	vcpu->events.pending.kind = EVENT_NONE;
}

static inline bool extint_pending(const struct vcpu *vcpu)
{
	const struct vm_intr_source *pic = &vcpu->vm->intr;

	return !vcpu->lapic.extint_blocked && pic->pending && pic->pending(pic->ctx);
}

static inline bool intr_pending(struct vcpu *vcpu)
{
	return lapic_next(&vcpu->lapic) || extint_pending(vcpu);
}

/* Of those the ones that the backend does not deliver by itself. */
static inline bool intr_to_inject(struct vcpu *vcpu)
{
	bool local = lapic_next(&vcpu->lapic);

	return (local && !vcpu->events.virtual_interrupts) || extint_pending(vcpu);
}

bool vcpu_intr_pending(struct vcpu *vcpu)
{
	return intr_pending(vcpu);
}

/*
 * The first look was without the lock. Another vCPU may have taken the interrupt meanwhile, or
 * masked it, or its way here, and whatever the 8259 has by now may not come this way: with the lock
 * held what the local APIC has been told of that is true.
 */
static int extint_ack(struct vcpu *vcpu)
{
	const struct vm_intr_source *pic = &vcpu->vm->intr;
	int vector = VCPU_INTR_GONE;

	owned_lock(&vcpu->vm->lock);
	if (lapic_has_posted(&vcpu->lapic))
		lapic_fold(&vcpu->lapic);
	if (extint_pending(vcpu))
		vector = (uint8_t)pic->ack(pic->ctx);
	owned_unlock(&vcpu->vm->lock);
	return vector;
}

int vcpu_intr_ack(struct vcpu *vcpu)
{
	if (lapic_next(&vcpu->lapic) && !vcpu->events.virtual_interrupts)
		return lapic_ack(&vcpu->lapic);
	return extint_ack(vcpu);
}

/* Ask the backend only when what we want of it changes. */
static void want_window(struct vcpu *vcpu, enum vm_event_kind kind, bool on)
{
	bool *requested = &vcpu->events.window_requested[kind == EVENT_NMI];

	if (*requested == on)
		return;
	*requested = on;
	vcpu->vm->backend->request_window(vcpu, kind, on);
}

bool vcpu_core_delivers(const struct vcpu *vcpu)
{
	return !(vcpu_hot_reg(vcpu, REG_CR0) & CR0_PE) && !vm_tables_run_real_mode(vcpu->vm);
}

/* For whoever looks into a crash. */
static void remember(struct vcpu *vcpu, const struct vm_event *ev)
{
	struct vcpu_events *events = &vcpu->events;

	events->given[events->nr_given++ % VCPU_EVENTS_KEPT] =
		(struct given_event){ vcpu->regs.rip, *ev };
}

/* A fault on the way is due at once, and so are those that follow, to a triple fault at the
 * latest. */
static void deliver(struct vcpu *vcpu, struct vm_event ev)
{
	struct vm_event *pending = &vcpu->events.pending;

	pending->kind = EVENT_NONE;
	remember(vcpu, &ev);
	if (vcpu->debug.on && ev.kind == EVENT_EXCEPTION && ev.vector == VEC_DB)
		vcpu->debug.dr7 &= ~DR7_GD;
	if (!vcpu_core_delivers(vcpu)) {
		vcpu->vm->backend->inject(vcpu, &ev);
		return;
	}
	owned_lock(&vcpu->vm->lock);
	emulate_deliver(vcpu, &ev);
	while (pending->kind != EVENT_NONE && vcpu->vm->stop_reason == VM_STOP_NONE) {
		ev = *pending;
		pending->kind = EVENT_NONE;
		remember(vcpu, &ev);
		emulate_deliver(vcpu, &ev);
	}
	if (vcpu->debug.on)
		debug_delivered(vcpu);
	owned_unlock(&vcpu->vm->lock);
}

/* Something waits, or the backend is to learn that nothing does any more. */
static __attribute__((noinline)) void inject_one(struct vcpu *vcpu, bool intr)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	struct vcpu_events *events = &vcpu->events;

	if (events->pending.kind != EVENT_NONE) {
		deliver(vcpu, events->pending);
	} else if (events->nmi && backend->can_inject(vcpu, EVENT_NMI)) {
		/* One that comes from now on is another one. */
		__atomic_store_n(&events->nmi, false, __ATOMIC_SEQ_CST);
		deliver(vcpu, (struct vm_event){ .kind = EVENT_NMI, .vector = VEC_NMI });
	} else if (intr && backend->can_inject(vcpu, EVENT_INTR)) {
		int vector = vcpu_intr_ack(vcpu);

		if (vector != VCPU_INTR_GONE)
			deliver(vcpu,
				(struct vm_event){ .kind = EVENT_INTR, .vector = (uint8_t)vector });
		intr = intr_to_inject(vcpu);
	}
	want_window(vcpu, EVENT_NMI, events->nmi);
	want_window(vcpu, EVENT_INTR, intr);
}

/* A debugger has to do with it. */
static __attribute__((noinline)) void inject_debugged(struct vcpu *vcpu)
{
	if (debug_before_entry(vcpu)) {
		inject_one(vcpu, intr_to_inject(vcpu));
		return;
	}
	if (vcpu->events.pending.kind != EVENT_NONE && !vcpu->vm->pause_requested)
		deliver(vcpu, vcpu->events.pending);
	want_window(vcpu, EVENT_NMI, false);
	want_window(vcpu, EVENT_INTR, false);
}

/* What waits for the guest to lower its CR8, which it does unseen. */
static __attribute__((noinline)) void watch_tpr(struct vcpu *vcpu)
{
	unsigned class = lapic_held_class(&vcpu->lapic);

	if (class == vcpu->events.tpr_threshold)
		return;
	vcpu->events.tpr_threshold = (uint8_t) class;
	vcpu->vm->backend->set_tpr_threshold(vcpu, class);
}

/*
 * A debugger has a say in what is delivered when; what the core delivers, in real mode, goes not by
 * the tables that the processor would take; and a local APIC that is switched off takes nothing
 * new, which the processor does not look at when the guest sends an interrupt to itself.
 */
static bool backend_may_deliver(const struct vcpu *vcpu)
{
	return !vcpu->debug.on && !vcpu_core_delivers(vcpu) && lapic_takes_more(&vcpu->lapic);
}

static inline void choose_deliverer(struct vcpu *vcpu)
{
	bool on;

	if (!vcpu->vm->virtual_interrupts)
		return;
	on = backend_may_deliver(vcpu);
	if (on == vcpu->events.virtual_interrupts)
		return;
	vcpu->events.virtual_interrupts = on;
	vcpu->vm->backend->set_virtual_interrupts(vcpu, on);
}

void vcpu_inject_pending(struct vcpu *vcpu)
{
	const struct vcpu_events *events = &vcpu->events;
	bool intr;

	choose_deliverer(vcpu);
	intr = intr_to_inject(vcpu);
	if (vcpu->debug.on) {
		owned_lock(&vcpu->vm->lock);
		inject_debugged(vcpu);
		owned_unlock(&vcpu->vm->lock);
	} else if (intr || events->nmi || events->pending.kind != EVENT_NONE ||
		   events->window_requested[0] || events->window_requested[1]) {
		inject_one(vcpu, intr);
	}
	if (!events->virtual_interrupts && (vcpu->lapic.irr.used || events->tpr_threshold))
		watch_tpr(vcpu);
}

/* What is posted may be an NMI, too. */
bool vcpu_has_wakeup(struct vcpu *vcpu)
{
	if (lapic_has_posted(&vcpu->lapic))
		lapic_fold(&vcpu->lapic);
	if (vcpu->events.pending.kind != EVENT_NONE || vcpu->events.nmi)
		return true;
	return (vcpu->regs.rflags & RFLAGS_IF) && intr_pending(vcpu);
}
