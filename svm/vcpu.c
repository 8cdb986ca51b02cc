/* A vCPU's VMCB, in the state after RESET. */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/panic.h"
#include "svm/state.h"
#include "vmm/vm.h"

/*
 * What leaves the guest always. The rest of APM vol. 2, table B-1 is either harmless
 * with the state that the VMCB gives the guest, or set when asked for (VINTR, IRET).
 * The instructions of SVM itself are #UD for a guest whose CPUID has none.
 */
static const uint8_t always[] = {
	INTERCEPT_CR_WRITE + 0, INTERCEPT_CR_WRITE + 4, INTERCEPT_INTR,     INTERCEPT_NMI,
	INTERCEPT_SMI,          INTERCEPT_INIT,         INTERCEPT_RDPMC,    INTERCEPT_CPUID,
	INTERCEPT_INVD,         INTERCEPT_HLT,          INTERCEPT_INVLPGA,  INTERCEPT_IOIO_PROT,
	INTERCEPT_MSR_PROT,     INTERCEPT_TASK_SWITCH,  INTERCEPT_SHUTDOWN, INTERCEPT_VMRUN,
	INTERCEPT_VMMCALL,      INTERCEPT_VMLOAD,       INTERCEPT_VMSAVE,   INTERCEPT_STGI,
	INTERCEPT_CLGI,         INTERCEPT_SKINIT,       INTERCEPT_WBINVD,   INTERCEPT_MONITOR,
	INTERCEPT_MWAIT,        INTERCEPT_MWAIT_ARMED,  INTERCEPT_XSETBV,
};

/* How many PAUSEs, each within so many cycles of the last, are spinning. */
#define PAUSE_FILTER_COUNT 3000
#define PAUSE_FILTER_THRESHOLD 128

void svm_set_intercept_dr(struct svm_vcpu *sv, bool on)
{
	on |= svm_machine.arms_dr7;
	for (unsigned i = 0; i < 16; i++) {
		vmcb_set_intercept(sv->vmcb, INTERCEPT_DR_READ + i, on);
		vmcb_set_intercept(sv->vmcb, INTERCEPT_DR_WRITE + i, on);
	}
}

/*
 * What a guest without nested paging does to its translations is the core's to do. INVLPG it
 * does itself, by its ASID, while the core does not ask for its exits. A guest that knows no
 * INVPCID gets #UD from the core.
 */
static void init_shadow_intercepts(struct svm_vcpu *sv)
{
	struct vmcb *v = sv->vmcb;

	vmcb_set_intercept(v, INTERCEPT_CR_READ + 3, true);
	vmcb_set_intercept(v, INTERCEPT_CR_WRITE + 3, true);
	vmcb_set_intercept(v, INTERCEPT_INVPCID, svm_machine.invpcid);
	sv->own_exceptions |= (uint32_t)BIT(VEC_PF);
}

static void init_intercepts(struct svm_vcpu *sv)
{
	struct vmcb *v = sv->vmcb;

	for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
		vmcb_set_intercept(v, always[i], true);
	svm_set_intercept_dr(sv, false);
	vmcb_set_intercept(v, INTERCEPT_RDPRU, svm_machine.rdpru);
	vmcb_set_intercept(v, INTERCEPT_CR_WRITE + 8, svm_machine.loose_cr8);
	sv->own_exceptions = SVM_OWN_EXCEPTIONS;
	if (sv->shadow)
		init_shadow_intercepts(sv);
	sv->exceptions = sv->own_exceptions;
	vmcb_set_exceptions(v, sv->exceptions);
	/* Without the filter each PAUSE would exit: see svm_run(). */
	if (!(svm_machine.features & SVM_FEATURE_PAUSE_FILTER))
		return;
	vmcb_set_intercept(v, INTERCEPT_PAUSE, true);
	vmcb_set_pause_filter_count(v, PAUSE_FILTER_COUNT);
	if (svm_machine.features & SVM_FEATURE_PAUSE_THRESHOLD)
		vmcb_set_pause_filter_threshold(v, PAUSE_FILTER_THRESHOLD);
}

/* APM vol. 2, table 14-1. The general registers are the core's. */
static void init_state(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < SEG_REGS; i++)
		svm_set_seg(vcpu, (enum seg_reg)i, vcpu_reset_seg((enum seg_reg)i));
	svm_set_reg(vcpu, REG_EFER, 0);
	svm_set_reg(vcpu, REG_CR0, CR0_CD | CR0_NW | CR0_ET);
	svm_set_reg(vcpu, REG_DR6, DR6_INIT);
	svm_set_reg(vcpu, REG_DR7, DR7_INIT);
	svm_set_reg(vcpu, REG_PAT, PAT_RESET);
}

int svm_vcpu_init(struct vcpu *vcpu)
{
	struct svm_vm *vm = vcpu->vm->hw;
	struct svm_vcpu *sv = kalloc(sizeof(*sv));
	struct vmcb *v;

	if (!sv)
		return trace_error(-ENOMEM);
	sv->vmcb_pa = frame_alloc_zeroed(0, FRAME_HYPERVISOR);
	if (!sv->vmcb_pa.v) {
		kfree(sv, sizeof(*sv));
		return trace_error(-ENOMEM);
	}
	v = sv->vmcb = hpa_to_ptr(sv->vmcb_pa);
	sv->holder = svm_this_cpu();
	sv->shadow = vcpu->vm->shadow;
	vcpu->hw = sv;
	vcpu->hot = &sv->guest.cr0;
	vcpu->pauses_borne =
		svm_machine.features & SVM_FEATURE_PAUSE_FILTER ? 0 : VCPU_PAUSES_BORNE;
	vmcb_set_iopm_base_pa(v, vm->iopm.v);
	vmcb_set_msrpm_base_pa(v, vm->msrpm.v);
	vmcb_set_v_intr(v, V_INTR_MASKING);
	vmcb_set_np_control(v, sv->shadow ? 0 : VMCB_NP_ENABLE);
	init_intercepts(sv);
	init_state(vcpu);
	return 0;
}

void svm_vcpu_destroy(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	kassert(!sv->holder || sv->holder == svm_this_cpu());
	frame_free(sv->vmcb_pa, 0, FRAME_HYPERVISOR);
	kfree(sv, sizeof(*sv));
	vcpu->hw = NULL;
}
