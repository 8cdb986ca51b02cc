/* A vCPU's VMCS: its controls, and the state after RESET. */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/trap.h"
#include "vmm/vm.h"
#include "vmx/insn.h"
#include "vmx/perm.h"
#include "vmx/state.h"

/*
 * Pause-loop exiting: PAUSEs at most so many cycles apart, for so many cycles, are spinning.
 * Long enough that a delay loop of some microseconds is none: about what SVM's filter counts.
 */
#define PLE_GAP 128
#define PLE_WINDOW 131072

#define PIN_ALWAYS (PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS)
/*
 * What leaves the guest always, beside what can't be let through (CPUID, INVD,
 * XSETBV, VMX's own instructions, task switches). Without a TPR shadow CR8 would be the real one.
 */
#define PROC_ALWAYS                                                                                \
	(PROC_HLT | PROC_MWAIT | PROC_MONITOR | PROC_RDPMC | PROC_TSC_OFFSETTING |                 \
	 PROC_IO_BITMAPS | PROC_MSR_BITMAPS)
#define EXIT_ALWAYS (EXIT_CTL_SAVE_DEBUG | EXIT_CTL_HOST_LONG_MODE | EXIT_CTL_ACK_INTERRUPT)

/* What is active on two CPUs at once may be lost. SDM vol. 3, 24.11.1. */
void vmx_use(const struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	struct vmx_cpu *cpu = vmx_this_cpu();

	if (cpu->current.v == vv->vmcs.v)
		return;
	kassert(!vv->holder || vv->holder == cpu);
	if (!vmx_vmptrld(vv->vmcs))
		panic("VMPTRLD %llx failed", (unsigned long long)vv->vmcs.v);
	cpu->current = vv->vmcs;
	vv->holder = cpu;
}

static uint32_t secondary_controls(const struct vcpu *vcpu)
{
	const struct vmx_caps *vmx = &vmx_machine.vmx;
	uint32_t want = 0;

	if (vmx->vpid)
		want |= PROC2_VPID;
	if (vmx->rdtscp)
		want |= PROC2_RDTSCP;
	/* Under shadow paging it would have to exit, which it does along with INVLPG
	 * only. */
	if (vmx->invpcid && !vcpu->vm->shadow)
		want |= PROC2_INVPCID;
	if (vmx->wbinvd)
		want |= PROC2_WBINVD;
	if (vmx->pause_loop)
		want |= PROC2_PAUSE_LOOP;
	return vmx_control_word(&vmx->proc2, want);
}

static void init_controls(const struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	const struct vmx_caps *vmx = &vmx_machine.vmx;
	uint32_t pin = PIN_ALWAYS, proc = PROC_ALWAYS, exit = EXIT_ALWAYS,
		 entry = ENTRY_CTL_LOAD_DEBUG;

	if (vmx->preemption_timer)
		pin |= PIN_PREEMPTION_TIMER;
	proc |= vmx->tpr_shadow ? PROC_TPR_SHADOW : PROC_CR8_LOAD | PROC_CR8_STORE;
	if (vmx->proc.may & PROC_SECONDARY)
		proc |= PROC_SECONDARY;
	if (vmx->load_efer) {
		exit |= EXIT_CTL_LOAD_EFER;
		entry |= ENTRY_CTL_LOAD_EFER;
	}
	if (vmx->load_pat) {
		exit |= EXIT_CTL_LOAD_PAT;
		entry |= ENTRY_CTL_LOAD_PAT;
	}
	vmwrite32(VMCS_PIN_CONTROLS, vv->pin = vmx_control_word(&vmx->pin, pin));
	vmwrite32(VMCS_EXIT_CONTROLS, vmx_control_word(&vmx->exit, exit));
	vmwrite32(VMCS_PROC_CONTROLS, vv->proc = vmx_control_word(&vmx->proc, proc));
	vmwrite32(VMCS_ENTRY_CONTROLS, vv->entry = vmx_control_word(&vmx->entry, entry));
	if (!(proc & PROC_SECONDARY))
		return;
	vmwrite32(VMCS_PROC2_CONTROLS, vv->proc2 = secondary_controls(vcpu));
	if (vmx->pause_loop) {
		vmwrite32(VMCS_PLE_GAP, PLE_GAP);
		vmwrite32(VMCS_PLE_WINDOW, PLE_WINDOW);
	}
}

/* What stays as it is here for as long as the VMCS lives. */
static void init_constants(const struct vcpu *vcpu)
{
	const struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	const struct vmx_vm *vm = vcpu->vm->hw;

	vmwrite64(VMCS_IO_BITMAP_A, vm->io_bitmaps.v);
	vmwrite64(VMCS_IO_BITMAP_B, vm->io_bitmaps.v + IO_BITMAPS_SIZE / 2);
	vmwrite64(VMCS_MSR_BITMAP, vm->msr_bitmap.v);
	if (vmx_machine.vmx.preemption_timer)
		vmwrite32(VMCS_PREEMPTION_TIMER, 0);
	if (vv->virtual_apic) {
		vmwrite64(VMCS_VIRTUAL_APIC_ADDR, ptr_to_hpa(vv->virtual_apic).v);
		vmwrite32(VMCS_TPR_THRESHOLD, 0);
	}
	if (vmx_machine.vmx.apic_accesses)
		vmwrite64(VMCS_APIC_ACCESS_ADDR, vcpu->vm->apic_page.v);
	if (vmx_machine.vmx.virtual_interrupts) {
		vmwrite16(VMCS_GUEST_INTERRUPT_STATUS, 0);
		vmwrite64(VMCS_EOI_EXIT_BITMAP0, 0);
		vmwrite64(VMCS_EOI_EXIT_BITMAP1, 0);
		vmwrite64(VMCS_EOI_EXIT_BITMAP2, 0);
		vmwrite64(VMCS_EOI_EXIT_BITMAP3, 0);
	}
	if (vmx_machine.vmx.posted_interrupts) {
		vmwrite16(VMCS_POSTED_INTERRUPT_VECTOR, TRAP_POSTED);
		vmwrite64(VMCS_POSTED_INTERRUPT_DESCRIPTOR, ptr_to_hpa(&vcpu->lapic.inbox).v);
	}
	/* Every #PF that the exception bitmap lets exit does. */
	vmwrite32(VMCS_PF_ERROR_MASK, 0);
	vmwrite32(VMCS_PF_ERROR_MATCH, 0);
	/* Under shadow paging CR3 holds what no guest would load. */
	vmwrite32(VMCS_CR3_TARGET_COUNT, 0);
	vmwrite32(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmwrite32(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmwrite32(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmwrite32(VMCS_ENTRY_INTR_INFO, 0);
	vmwrite64(VMCS_LINK_POINTER, ~UINT64_C(0));
	vmwrite64(VMCS_GUEST_DEBUGCTL, 0);
	vmwrite32(VMCS_GUEST_ACTIVITY, 0);
	vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmwriten(VMCS_GUEST_PENDING_DEBUG, 0);
}

/* SDM vol. 3, table 9-1. The general registers are the core's. */
static void init_state(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	for (unsigned i = 0; i < SEG_REGS; i++)
		vmx_set_seg(vcpu, (enum seg_reg)i, vcpu_reset_seg((enum seg_reg)i));
	vv->guest.cr0 = CR0_CD | CR0_NW | CR0_ET;
	vv->pat = PAT_RESET;
	vv->dr6 = DR6_INIT;
	vmwriten(VMCS_GUEST_DR7, DR7_INIT);
	vmwrite32(VMCS_GUEST_SYSENTER_CS, 0);
	vmwriten(VMCS_GUEST_SYSENTER_ESP, 0);
	vmwriten(VMCS_GUEST_SYSENTER_EIP, 0);
	vmwrite64(VMCS_TSC_OFFSET, 0);
}

/* A fresh VMCS: cleared, and the current one. The virtual-APIC page. */
static int init_pages(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	hpa_t page;

	vv->vmcs = frame_alloc_zeroed(0, FRAME_HYPERVISOR);
	if (!vv->vmcs.v)
		return trace_error(-ENOMEM);
	if (vmx_machine.vmx.tpr_shadow) {
		page = frame_alloc_zeroed(0, FRAME_HYPERVISOR);
		if (!page.v)
			return trace_error(-ENOMEM);
		vv->virtual_apic = hpa_to_ptr(page);
	}
	*(uint32_t *)hpa_to_ptr(vv->vmcs) = vmx_machine.vmx.revision;
	if (!vmx_vmclear(vv->vmcs))
		return trace_error(-EIO);
	vmx_use(vcpu);
	return 0;
}

static void free_pages(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	if (vv->vmcs.v)
		frame_free(vv->vmcs, 0, FRAME_HYPERVISOR);
	if (vv->virtual_apic)
		frame_free(ptr_to_hpa(vv->virtual_apic), 0, FRAME_HYPERVISOR);
	kfree(vv, sizeof(*vv));
	vcpu->hw = NULL;
}

int vmx_vcpu_init(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = kalloc(sizeof(*vv));
	int err;

	if (!vv)
		return trace_error(-ENOMEM);
	vcpu->hw = vv;
	vcpu->hot = &vv->guest.cr0;
	vcpu->pauses_borne = vmx_machine.vmx.pause_loop ? 0 : VCPU_PAUSES_BORNE;
	err = init_pages(vcpu);
	if (err) {
		free_pages(vcpu);
		return err;
	}
	vv->root_kind = vcpu->vm->shadow ? ROOT_SHADOW : ROOT_NESTED;
	init_controls(vcpu);
	init_constants(vcpu);
	init_state(vcpu);
	vmx_update_control(vcpu);
	vmx_update_exceptions(vv);
	return 0;
}

/* The processor may hold parts of a VMCS until it is told to let go of it. Whoever loads it next
 * launches it. SDM vol. 3, 24.11.3. */
void vmx_vcpu_release(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	struct vmx_cpu *cpu = vmx_this_cpu();

	kassert(!vv->loaded);
	if (!vv->holder)
		return;
	kassert(vv->holder == cpu);
	if (!vmx_vmclear(vv->vmcs))
		panic("VMCLEAR %llx failed", (unsigned long long)vv->vmcs.v);
	if (cpu->current.v == vv->vmcs.v)
		cpu->current = HPA(0);
	vv->holder = NULL;
	vv->launched = false;
}

void vmx_vcpu_destroy(struct vcpu *vcpu)
{
	vmx_vcpu_release(vcpu);
	free_pages(vcpu);
}

void vmx_vcpu_load(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_load_kept(vv);
	vv->loaded = true;
	vmx_use(vcpu);
	/* On another CPU than last time neither its VPID nor what its tables gave there counts, and
	 * exits are to find that CPU's GS, GDT and TSS. */
	if (vv->cpu != vmx_this_cpu()) {
		vv->cpu = vmx_this_cpu();
		vv->vpid_generation = 0;
		vv->flush_nested = true;
		vmx_write_host_state();
	}
	if (!vmx_machine.vmx.load_efer)
		vmx_switch_efer(vv);
}

void vmx_vcpu_put(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_save_kept(vv);
	vv->loaded = false;
}
