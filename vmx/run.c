/* Into the guest and out again. */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/trap.h"
#include "vmm/vm.h"
#include "vmx/event.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/state.h"

#define DR6_TRAPS BITS(3, 0)

/* --- entry --- */

/* A trap that waits for the end of a shadow is the single step's, if TF is set,
 * and must be said to be. SDM vol. 3, 26.3.1.5. */
static void settle_shadow(struct vmx_vcpu *vv, uint64_t rflags)
{
	uint64_t pending;

	if (!(rflags & RFLAGS_IF))
		vmx_set_interruptibility(vv, vv->interruptibility & ~INTERRUPTIBILITY_STI);
	if (!(vv->interruptibility & INTERRUPTIBILITY_SHADOW))
		return;
	pending = vmreadn(VMCS_GUEST_PENDING_DEBUG) & ~PENDING_DEBUG_BS;
	if (rflags & RFLAGS_TF)
		pending |= PENDING_DEBUG_BS;
	vmwriten(VMCS_GUEST_PENDING_DEBUG, pending);
}

/* What is left to the deadline, in the timer's own ticks; none is not the same as one that is past.
 */
static uint64_t ticks_left(const struct vmx_vcpu *vv)
{
	uint64_t now;

	if (!vv->deadline)
		return UINT32_MAX;
	now = rdtsc();
	return vv->deadline > now ? (vv->deadline - now) >> vmx_machine.vmx.timer_shift : 0;
}

/*
 * Bochs: a guest that is entered with IF clear, and leaves it so, is not left for external
 * interrupts, by which it may have to answer for its translations. It is looked after; without the
 * timer, when it waits for another vCPU with PAUSE.
 */
static void set_timer(struct vmx_vcpu *vv, bool interruptible)
{
	uint64_t ticks = ticks_left(vv);

	ticks = MIN(ticks, interruptible ? UINT32_MAX : vmx_machine.deaf_ticks);
	if (ticks != vv->timer)
		vmwrite32(VMCS_PREEMPTION_TIMER, vv->timer = (uint32_t)ticks);
}

static void before_entry(struct vcpu *vcpu, struct vmx_vcpu *vv)
{
	const struct vcpu_regs *regs = &vcpu->regs;
	uint64_t rflags = regs->rflags;

	vmx_apic_before_entry(vcpu);
	vmx_tlb_prepare(vv);
	if (vmx_machine.vmx.preemption_timer)
		set_timer(vv, rflags & RFLAGS_IF);
	else if (vcpu->vm->nr_vcpus > 1)
		vmx_set_proc(vv, PROC_PAUSE, !(rflags & RFLAGS_IF));
	settle_shadow(vv, rflags);
	if (vv->nmi_window)
		vmx_set_windows(vv);
	if (vv->mode == MODE_V86)
		rflags = (rflags & ~RFLAGS_IOPL) | RFLAGS_VM;
	vmwriten(VMCS_GUEST_RSP, regs->gpr[RSP]);
	vmwriten(VMCS_GUEST_RIP, regs->rip);
	vmwriten(VMCS_GUEST_RFLAGS, rflags);
}

/* --- exit --- */

static void carry_registers(struct vcpu *vcpu, struct vmx_vcpu *vv)
{
	struct vcpu_regs *regs = &vcpu->regs;
	struct vmx_guest_cr *g = &vv->guest;
	uint64_t rflags = vmreadn(VMCS_GUEST_RFLAGS);

	if (vv->mode == MODE_V86)
		rflags = (rflags & ~(RFLAGS_VM | RFLAGS_IOPL)) | (regs->rflags & RFLAGS_IOPL);
	regs->rflags = rflags;
	regs->gpr[RSP] = vmreadn(VMCS_GUEST_RSP);
	regs->rip = vmreadn(VMCS_GUEST_RIP);
	vv->interruptibility = vmread32(VMCS_GUEST_INTERRUPTIBILITY);
	g->cr0 = (g->cr0 & ~VMX_CR0_OWNED) | (vmreadn(VMCS_GUEST_CR0) & VMX_CR0_OWNED);
	g->cr4 = (g->cr4 & ~vv->cr4_owned) | (vmreadn(VMCS_GUEST_CR4) & vv->cr4_owned);
	if (vv->root_kind != ROOT_NESTED)
		return;
	if (!(vv->proc & PROC_CR3_LOAD))
		g->cr3 = vmreadn(VMCS_GUEST_CR3);
	if ((g->cr0 & CR0_PG) && (g->cr4 & CR4_PAE) && !(g->efer & EFER_LMA))
		vmx_get_pdptes(vcpu, vcpu->pdpte);
}

static void read_info(struct vmx_exit_info *info)
{
	unsigned needs;

	*info = (struct vmx_exit_info){ .reason = vmread32(VMCS_EXIT_REASON) };
	needs = vmx_exit_needs(info->reason);
	info->vectoring_info = vmread32(VMCS_IDT_VECTORING_INFO);
	if (info->vectoring_info & INTR_INFO_ERROR)
		info->vectoring_error = vmread32(VMCS_IDT_VECTORING_ERROR);
	info->insn_len = vmread32(VMCS_EXIT_INSN_LEN);
	if (needs & VMX_NEEDS_QUALIFICATION)
		info->qualification = vmreadn(VMCS_EXIT_QUALIFICATION);
	if (needs & VMX_NEEDS_INTR_INFO) {
		info->intr_info = vmread32(VMCS_EXIT_INTR_INFO);
		info->intr_error = vmread32(VMCS_EXIT_INTR_ERROR);
	}
	if (needs & VMX_NEEDS_GPA)
		info->gpa = vmread64(VMCS_GUEST_PHYSICAL_ADDRESS);
	if (needs & VMX_NEEDS_INSN_INFO)
		info->insn_info = vmread32(VMCS_EXIT_INSN_INFO);
}

/* An IRET that has unblocked NMIs, and then found its stack's page missing, is
 * done again, and blocks them until then. SDM vol. 3, 27.2.3. */
static void block_nmis_again(struct vmx_vcpu *vv, const struct vmx_exit_info *info,
			     enum vm_exit_kind kind)
{
	uint64_t word = kind == EXIT_NESTED_FAULT ? info->qualification : info->intr_info;

	/* APIC_ACCESS has something else there. */
	if (((info->reason & EXIT_REASON_BASIC) == VMX_EXIT_EPT_VIOLATION ||
	     kind == EXIT_PAGE_FAULT) &&
	    !(info->vectoring_info & INTR_INFO_VALID) && (word & INTR_INFO_NMI_UNBLOCKED))
		vmx_set_interruptibility(vv, vv->interruptibility | INTERRUPTIBILITY_NMI);
}

/* The exit that #DB makes leaves DR6 to software. SDM vol. 3, 27.1. */
static void note_debug_exception(struct vcpu *vcpu, uint64_t qualification)
{
	uint64_t dr6 = vmx_get_reg(vcpu, REG_DR6);

	vmx_set_reg(vcpu, REG_DR6, (dr6 & ~DR6_TRAPS) | (qualification & QUAL_DEBUG_DR6));
}

/*
 * A virtual-8086 task that stands for real mode: what it may not do is done by
 * the core, and so are the instructions whose exceptions are delivered behind
 * them. It has run in ring 3.
 */
static void real_mode_exit(struct vm_exit *exit)
{
	if (exit->kind == EXIT_PAGE_FAULT)
		exit->page_fault.error &= ~PF_U;
	if (exit->kind != EXIT_EXCEPTION)
		return;
	switch (exit->exception.vector) {
	case VEC_BP:
	case VEC_OF:
	case VEC_SS:
	case VEC_GP:
		exit->kind = EXIT_EMULATE;
	}
}

/* The event is still to be delivered, and a machine check to be taken. SDM vol. 3, 26.8, 26.9. */
static void entry_failed(const struct vmx_exit_info *info)
{
	vmx_explain_failure(0, info->reason, info->qualification);
	vmwrite32(VMCS_ENTRY_INTR_INFO, 0);
	if ((info->reason & EXIT_REASON_BASIC) == VMX_EXIT_MACHINE_CHECK_ON_ENTRY)
		vmx_take_machine_check();
}

static void after_exit(struct vcpu *vcpu, struct vmx_vcpu *vv, struct vm_exit *exit)
{
	struct vmx_exit_info info;

	carry_registers(vcpu, vv);
	vmx_apic_after_exit(vcpu);
	read_info(&info);
	info.rf = vcpu->regs.rflags & RFLAGS_RF;
	vmx_exit_decode(&info, vmx_machine.vmx.insn_info_io, exit);
	switch (exit->kind) {
	case EXIT_NMI:
		vmx_take_nmi();
		break;
	case EXIT_INTR:
		if (info.intr_info & INTR_INFO_VALID)
			trap_take(info.intr_info & INTR_INFO_VECTOR);
		break;
	case EXIT_NESTED_FAULT:
	case EXIT_PAGE_FAULT:
		block_nmis_again(vv, &info, exit->kind);
		break;
	case EXIT_TASK_SWITCH:
		/* The core does the rest of an IRET, and NMIs come again behind it. */
		if (exit->task.iret)
			vmx_set_interruptibility(vv, vv->interruptibility & ~INTERRUPTIBILITY_NMI);
		break;
	case EXIT_EXCEPTION:
		/* INT1, the only one with a length, changes no DR6. */
		if (exit->exception.vector == VEC_DB && !exit->insn_len)
			note_debug_exception(vcpu, info.qualification);
		break;
	case EXIT_TIMER:
		if (ticks_left(vv))
			exit->kind = EXIT_INTR;
		break;
	case EXIT_APIC_WRITE:
		exit->apic.page = vv->virtual_apic;
		break;
	case EXIT_INVALID_STATE:
		entry_failed(&info);
		break;
	default:
		break;
	}
	if (exit->kind == EXIT_EXCEPTION && exit->exception.vector == VEC_MC) {
		vmx_take_machine_check();
		exit->kind = EXIT_INTR;
	}
	if (vv->mode == MODE_V86)
		real_mode_exit(exit);
}

/* VMLAUNCH or VMRESUME itself failed: the guest was not entered. */
static void not_entered(struct vm_exit *exit)
{
	uint32_t error = vmread32(VMCS_INSTRUCTION_ERROR);

	*exit = (struct vm_exit){ .kind = EXIT_INVALID_STATE,
				  .raw = { error },
				  .hw_name = "VM-instruction error" };
	vmx_explain_failure(error, 0, 0);
	vmwrite32(VMCS_ENTRY_INTR_INFO, 0);
}

/*
 * No entry: the core does the instruction, unless its time is up, which no timer
 * says. An interrupt that was to be delivered waits; an exception can't.
 */
static void cannot_run(struct vcpu *vcpu, struct vmx_vcpu *vv, struct vm_exit *exit)
{
	*exit = (struct vm_exit){ .kind = ticks_left(vv) ? EXIT_EMULATE : EXIT_TIMER,
				  .hw_name = "no VM entry" };
	if (!vv->injecting)
		return;
	exit->interrupted = vmx_event_decode(vmread32(VMCS_ENTRY_INTR_INFO),
					     vmread32(VMCS_ENTRY_EXCEPTION_ERROR),
					     vmread32(VMCS_ENTRY_INSN_LEN));
	vmwrite32(VMCS_ENTRY_INTR_INFO, 0);
	vv->injecting = false;
	if (exit->interrupted.kind == EVENT_EXCEPTION)
		vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0,
				"exception %u between real and protected mode, rip 0x%llx",
				exit->interrupted.vector, (unsigned long long)vcpu->regs.rip);
}

void vmx_run(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_use(vcpu);
	if (vv->mode_stale)
		vmx_update_mode(vcpu);
	if (vv->mode == MODE_EMULATE) {
		cannot_run(vcpu, vv, exit);
		return;
	}
	before_entry(vcpu, vv);
	vmx_last_look(vcpu);
	if (vmx_enter(&vcpu->regs, vv->launched)) {
		after_exit(vcpu, vv, exit);
		/* A failed entry leaves it clear. SDM vol. 3, 26.8. */
		vv->launched |= exit->kind != EXIT_INVALID_STATE;
	} else {
		not_entered(exit);
	}
	vv->injecting = false;
}
