/*
 * Events, where the processor does not deliver them: real mode's through the interrupt vector table
 * (SDM vol. 3, 20.1.4), protected mode's through gates to the same privilege (6.12).
 */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/dr.h"
#include "vmm/emulate_core.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"

#define IVT_ENTRY 4u

/* Gates: SDM vol. 3, 6.11. */
#define GATE_SIZE 8u
#define GATE_P BIT(47)
#define GATE_DPL(raw) ((unsigned)((raw) >> 45 & 3))
#define GATE_TYPE(raw) ((unsigned)((raw) >> 40 & 0x1f)) /* S too, which is 0 */
#define GATE_INT16 0x6u
#define GATE_TRAP16 0x7u
#define GATE_INT32 0xeu
#define GATE_TRAP32 0xfu
#define GATE_TASK 0x5u
#define GATE_32BIT 0x8u
#define GATE_IS_TRAP 0x1u

/* Error code: the event comes from outside the program; and its index is the IDT's. */
#define ERROR_EXT 1u
#define ERROR_IDT 2u

static const struct guest_access implicit_read = { .implicit = true };

/* Go to the handler, with what stands on the stack already. */
static void enter(struct emu *e, const struct emu_code *code, uint64_t cleared)
{
	emu_code_load(e, code);
	e->vcpu->regs.rip = code->rip;
	e->vcpu->regs.rflags = e->flags & ~(cleared | RFLAGS_TF | RFLAGS_RF);
}

bool emu_enter_vector(struct emu *e, unsigned vector, uint64_t return_ip)
{
	const struct vmm_backend *backend = e->vcpu->vm->backend;
	struct emu_pushes pushes;
	struct segment idt, cs;
	struct emu_code code;
	uint32_t handler;

	backend->get_seg(e->vcpu, SEG_IDTR, &idt);
	backend->get_seg(e->vcpu, SEG_CS, &cs);
	if (vector * IVT_ENTRY + IVT_ENTRY - 1 > idt.limit)
		return emu_refuse_error(e, VEC_GP, 0);
	if (!gmem_read(e->vcpu, GVA(idt.base + vector * IVT_ENTRY), &handler, sizeof(handler),
		       implicit_read, &e->fault))
		return false;
	if (!emu_code_find(e, (uint16_t)(handler >> 16), handler & BITS(15, 0), false, &code) ||
	    !emu_push_prepare(e, &pushes, 3, 2))
		return false;
	emu_push_commit(e, &pushes, (uint64_t[]){ e->flags, cs.selector, return_ip });
	enter(e, &code, RFLAGS_IF | RFLAGS_AC);
	return true;
}

static bool is_software(const struct vm_event *ev)
{
	return ev->kind == EVENT_SOFT_INT || ev->kind == EVENT_SOFT_EXC;
}

/* The event's gate. False: e->fault, or e->failed. */
static bool find_gate(struct emu *e, const struct vm_event *ev, uint64_t *gate)
{
	uint32_t error = ev->vector * GATE_SIZE | ERROR_IDT;
	struct segment idt;

	e->vcpu->vm->backend->get_seg(e->vcpu, SEG_IDTR, &idt);
	if (ev->vector * GATE_SIZE + GATE_SIZE - 1 > idt.limit)
		return emu_refuse_error(e, VEC_GP, error);
	if (!gmem_read(e->vcpu, GVA(idt.base + ev->vector * GATE_SIZE), gate, sizeof(*gate),
		       implicit_read, &e->fault))
		return false;
	switch (GATE_TYPE(*gate)) {
	case GATE_INT16:
	case GATE_TRAP16:
	case GATE_INT32:
	case GATE_TRAP32:
		break;
	case GATE_TASK:
		return emu_fail(e);
	default:
		return emu_refuse_error(e, VEC_GP, error);
	}
	if (is_software(ev) && GATE_DPL(*gate) < vcpu_cpl(e->vcpu))
		return emu_refuse_error(e, VEC_GP, error);
	if (!(*gate & GATE_P))
		return emu_refuse_error(e, VEC_NP, error);
	return true;
}

/* False: e->fault, and nothing has changed but an accessed bit; or e->failed. */
static bool enter_gate(struct emu *e, const struct vm_event *ev, uint64_t return_ip)
{
	unsigned n = ev->has_error ? 4 : 3, size;
	struct emu_pushes pushes;
	struct emu_code code;
	struct segment cs;
	uint64_t gate, rip;

	if (emu_v86(e) || vcpu_cpl(e->vcpu) != 0 || (vcpu_hot_reg(e->vcpu, REG_EFER) & EFER_LMA))
		return emu_fail(e);
	if (!find_gate(e, ev, &gate))
		return false;
	size = GATE_TYPE(gate) & GATE_32BIT ? 4 : 2;
	rip = gate & BITS(15, 0);
	if (size == 4)
		rip |= gate >> 32 & BITS(31, 16);
	e->vcpu->vm->backend->get_seg(e->vcpu, SEG_CS, &cs);
	if (!emu_code_find(e, (uint16_t)(gate >> 16) & ~SEL_RPL, rip, false, &code) ||
	    !emu_push_prepare(e, &pushes, n, size) || !emu_code_mark(e, &code))
		return false;
	emu_push_commit(e, &pushes, (uint64_t[]){ e->flags, cs.selector, return_ip, ev->error });
	enter(e, &code, RFLAGS_NT | RFLAGS_VM | (GATE_TYPE(gate) & GATE_IS_TRAP ? 0 : RFLAGS_IF));
	return true;
}

/* The fault that came in between, with the event cut off by it. */
static void cut_off(struct emu *e, const struct vm_event *ev)
{
	struct vcpu *vcpu = e->vcpu;

	if (e->failed) {
		vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "cannot deliver event %u at rip 0x%llx",
				ev->vector, (unsigned long long)vcpu->regs.rip);
		return;
	}
	if (e->fault.has_error && e->fault.vector != VEC_PF && !is_software(ev))
		e->fault.error |= ERROR_EXT;
	vcpu_requeue(vcpu, ev);
	vcpu_raise(vcpu, &e->fault);
}

void emulate_deliver(struct vcpu *vcpu, const struct vm_event *ev)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	uint64_t return_ip = vcpu->regs.rip + (is_software(ev) ? ev->insn_len : 0);
	struct emu e;
	bool ok;

	emu_init(&e, vcpu);
	ok = vcpu_hot_reg(vcpu, REG_CR0) & CR0_PE ? enter_gate(&e, ev, return_ip)
						  : emu_enter_vector(&e, ev->vector, return_ip);
	if (!ok) {
		cut_off(&e, ev);
		return;
	}
	backend->set_reg(vcpu, REG_INTR_SHADOW, 0);
	if (ev->kind == EVENT_NMI)
		backend->set_reg(vcpu, REG_NMI_BLOCKED, 1);
	if (ev->kind == EVENT_EXCEPTION && ev->vector == VEC_DB)
		dr_write(vcpu, 7, dr_read(vcpu, 7) & ~DR7_GD);
}
