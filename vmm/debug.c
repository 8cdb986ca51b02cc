#include "vmm/debug.h"

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/log.h"
#include "vmm/backend.h"
#include "vmm/debug_core.h"
#include "vmm/dr.h"
#include "vmm/emulate.h"
#include "vmm/inspect.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define INSN_INT3 0xccu

static struct vcpu *any_vcpu(const struct vm *vm)
{
	return vm->nr_vcpus ? vm->vcpu[0] : NULL;
}

/* --- points --- */

static bool is_sound(const struct debug_point *p)
{
	switch (p->kind) {
	case DEBUG_EXEC:
	case DEBUG_EXEC_INT3:
		return p->size == 1;
	case DEBUG_WRITE:
	case DEBUG_ACCESS:
		return (p->size == 1 || p->size == 2 || p->size == 4 || p->size == 8) &&
		       !(p->at.v & (p->size - 1));
	}
	return false;
}

static bool is_same(const struct debug_point *a, const struct debug_point *b)
{
	return a->kind == b->kind && a->at.v == b->at.v && a->size == b->size;
}

static unsigned find(const struct vm_debug *vd, const struct debug_point *p)
{
	unsigned i = 0;

	while (i < vd->nr && !is_same(&vd->slot[i].point, p))
		i++;
	return i;
}

static unsigned hardware_points(const struct vm_debug *vd)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vd->nr; i++)
		n += vd->slot[i].point.kind != DEBUG_EXEC_INT3;
	return n;
}

void debug_update(struct vcpu *vcpu)
{
	struct vcpu_debug *d = &vcpu->debug;
	bool on = vcpu->vm->debug.nr || d->step || d->over;

	d->armed = false;
	if (on && !d->on)
		dr_virtualize(vcpu);
	else if (!on && d->on)
		dr_restore(vcpu);
}

static void update_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		debug_update(vm->vcpu[i]);
}

/* Where the address is now, in memory; one of 64 bits is nowhere before the guest has such. */
static bool find_code(const struct vcpu *vcpu, struct debug_slot *slot)
{
	gva_t at = slot->point.at;

	if (at.v > UINT32_MAX && !(vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA))
		return false;
	return inspect_translate(vcpu, at, &slot->gpa) &&
	       inspect_read_gpa(vcpu->vm, slot->gpa, &slot->original, 1) == 1;
}

int debug_set_point(struct vm *vm, const struct debug_point *point)
{
	struct vm_debug *vd = &vm->debug;
	struct debug_slot slot = { .point = *point };
	const struct vcpu *vcpu = any_vcpu(vm);

	if (!is_sound(point))
		return -EINVAL;
	if (find(vd, point) < vd->nr)
		return -EEXIST;
	if (vd->nr == DEBUG_POINTS_MAX ||
	    (point->kind != DEBUG_EXEC_INT3 && hardware_points(vd) == DEBUG_HARDWARE_POINTS))
		return -ENOSPC;
	if (point->kind == DEBUG_EXEC_INT3 && (!vcpu || !find_code(vcpu, &slot)))
		return -EFAULT;
	debug_lift(vm);
	vd->slot[vd->nr++] = slot;
	update_all(vm);
	return 0;
}

int debug_clear_point(struct vm *vm, const struct debug_point *point)
{
	struct vm_debug *vd = &vm->debug;
	unsigned i = find(vd, point);

	if (i == vd->nr)
		return -ENOENT;
	debug_lift(vm);
	for (vd->nr--; i < vd->nr; i++)
		vd->slot[i] = vd->slot[i + 1];
	update_all(vm);
	return 0;
}

const struct debug_point *debug_point(const struct vm *vm, unsigned index)
{
	return index < vm->debug.nr ? &vm->debug.slot[index].point : NULL;
}

/* --- INT3s: put in before the guest runs, taken out when it does not or steps --- */

void debug_plant(struct vm *vm)
{
	static const uint8_t int3 = INSN_INT3;
	struct vm_debug *vd = &vm->debug;

	if (vd->planted)
		return;
	for (unsigned i = 0; i < vd->nr; i++) {
		struct debug_slot *s = &vd->slot[i];

		if (s->point.kind == DEBUG_EXEC_INT3)
			s->planted = inspect_read_gpa(vm, s->gpa, &s->original, 1) == 1 &&
				     inspect_write_gpa(vm, s->gpa, &int3, 1) == 1;
	}
	vd->planted = true;
}

/* What the guest has written there meanwhile stays. The last one in comes out first: two may be
 * at one place. */
void debug_lift(struct vm *vm)
{
	struct vm_debug *vd = &vm->debug;

	if (!vd->planted)
		return;
	for (unsigned i = vd->nr; i-- > 0;) {
		struct debug_slot *s = &vd->slot[i];
		uint8_t now;

		if (s->planted && inspect_read_gpa(vm, s->gpa, &now, 1) == 1 && now == INSN_INT3)
			inspect_write_gpa(vm, s->gpa, &s->original, 1);
		s->planted = false;
	}
	vd->planted = false;
}

/* --- stops --- */

void debug_set_listener(struct vm *vm,
			void (*stopped)(struct vm *vm, const struct debug_stop *stop))
{
	vm->debug.stopped = stopped;
}

const struct debug_stop *debug_last_stop(const struct vm *vm)
{
	return &vm->debug.last;
}

static const char *stop_words(const struct debug_stop *stop)
{
	if (stop->reason == DEBUG_STEPPED)
		return "stepped";
	switch (stop->point.kind) {
	case DEBUG_EXEC:
	case DEBUG_EXEC_INT3:
		return "break";
	case DEBUG_WRITE:
		return "written";
	default:
		return "accessed";
	}
}

bool debug_has_listener(const struct vm *vm)
{
	return vm->debug.stopped;
}

void debug_say_stop(struct vm *vm, const struct debug_stop *stop)
{
	struct vcpu *vcpu = stop->vcpu;
	char insn[64], who[16] = "";

	if (stop->reason != DEBUG_STEPPED && stop->reason != DEBUG_POINT)
		return;
	emulate_disassemble(vcpu, insn, sizeof(insn));
	if (vm->nr_vcpus > 1)
		ksnprintf(who, sizeof(who), "vcpu %u: ", vcpu->id);
	if (stop->reason == DEBUG_POINT && stop->point.kind >= DEBUG_WRITE)
		log_warn("vm %s: %s0x%llx %s, before rip 0x%llx: %s", vm->cfg->name, who,
			 (unsigned long long)stop->point.at.v, stop_words(stop),
			 (unsigned long long)vcpu->regs.rip, insn);
	else
		log_warn("vm %s: %s%s, rip 0x%llx: %s", vm->cfg->name, who, stop_words(stop),
			 (unsigned long long)vcpu->regs.rip, insn);
}

static void tell(struct vm *vm)
{
	vm->debug.to_report = false;
	if (vm->debug.stopped)
		vm->debug.stopped(vm, &vm->debug.last);
	else
		debug_say_stop(vm, &vm->debug.last);
}

static void set_last(struct vm *vm, enum debug_reason reason, struct vcpu *vcpu,
		     const struct debug_point *point)
{
	vm->debug.last = (struct debug_stop){ .reason = reason, .vcpu = vcpu };
	if (point)
		vm->debug.last.point = *point;
	vm->debug.to_report = true;
}

void debug_stop(struct vcpu *vcpu, enum debug_reason reason, const struct debug_point *point)
{
	vcpu->debug.step = vcpu->debug.over = false;
	/* The first reason counts. */
	if (!vcpu->vm->debug.to_report)
		set_last(vcpu->vm, reason, vcpu, point);
	vm_request_pause(vcpu->vm);
}

static void at_rest(struct vm *vm)
{
	debug_lift(vm);
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu_debug *d = &vm->vcpu[i]->debug;

		d->step = d->over = d->aimed = false;
		d->fresh = true;
		debug_update(vm->vcpu[i]);
	}
}

void debug_paused(struct vm *vm)
{
	at_rest(vm);
	if (!vm->debug.to_report)
		set_last(vm, DEBUG_ASKED, any_vcpu(vm), NULL);
	tell(vm);
}

void debug_ended(struct vm *vm, bool again)
{
	at_rest(vm);
	set_last(vm, DEBUG_VM_ENDED, any_vcpu(vm), NULL);
	vm->debug.last.again = again;
	tell(vm);
}

bool debug_started(struct vm *vm)
{
	vm->debug.again = vm->debug.held = false;
	if (vm->debug.stopped)
		set_last(vm, DEBUG_VM_STARTED, any_vcpu(vm), NULL);
	return vm->debug.stopped;
}

void debug_hold_restart(struct vm *vm, bool on)
{
	vm->debug.held = on;
}

/* INT3s stood in memory that goes. */
void debug_forget(struct vm *vm)
{
	struct vm_debug *vd = &vm->debug;
	unsigned n = 0;

	for (unsigned i = 0; i < vd->nr; i++)
		if (vd->slot[i].point.kind != DEBUG_EXEC_INT3)
			vd->slot[n++] = vd->slot[i];
	vd->nr = n;
	vd->planted = vd->to_report = false;
	vd->last.vcpu = NULL;
}

void debug_attach(struct vcpu *vcpu)
{
	debug_update(vcpu);
}

void debug_clear(struct vm *vm)
{
	debug_lift(vm);
	vm->debug.nr = 0;
	vm->debug.stopped = NULL;
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vm->vcpu[i]->debug.step = vm->vcpu[i]->debug.over = false;
	update_all(vm);
}
