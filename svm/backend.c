/* SVM's entries of the backend table, and those of them that are a few lines. */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/panic.h"
#include "svm/exit.h"
#include "svm/perm.h"
#include "svm/state.h"
#include "svm/svm.h"
#include "vmm/vm.h"

/* Frame orders that hold the permission maps; both must be contiguous. */
#define IOPM_ORDER 2
#define MSRPM_ORDER 1
static_assert(IOPM_SIZE <= PAGE_SIZE << IOPM_ORDER, "IOPM fits");
static_assert(MSRPM_SIZE <= PAGE_SIZE << MSRPM_ORDER, "MSRPM fits");

static void vm_destroy(struct vm *vm)
{
	struct svm_vm *sm = vm->hw;

	if (sm->iopm.v)
		frame_free(sm->iopm, IOPM_ORDER, FRAME_HYPERVISOR);
	if (sm->msrpm.v)
		frame_free(sm->msrpm, MSRPM_ORDER, FRAME_HYPERVISOR);
	kfree(sm, sizeof(*sm));
	vm->hw = NULL;
}

static int vm_init(struct vm *vm)
{
	struct svm_vm *sm = kalloc(sizeof(*sm));

	if (!sm)
		return trace_error(-ENOMEM);
	vm->hw = sm;
	sm->iopm = frame_alloc(IOPM_ORDER, FRAME_HYPERVISOR);
	sm->msrpm = frame_alloc(MSRPM_ORDER, FRAME_HYPERVISOR);
	if (!sm->iopm.v || !sm->msrpm.v) {
		vm_destroy(vm);
		return trace_error(-ENOMEM);
	}
	svm_iopm_init(hpa_to_ptr(sm->iopm));
	svm_msrpm_init(hpa_to_ptr(sm->msrpm));
	return 0;
}

/* The processor may have cached what it read of the maps. Nobody runs by them now: an exit would
 * mark all as clean again. */
static void maps_changed(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i])
			vmcb_dirty(svm_vcpu(vm->vcpu[i])->vmcb, CLEAN_IOPM);
}

static void set_intercept_io(struct vm *vm, uint16_t port, unsigned count, bool on)
{
	struct svm_vm *sm = vm->hw;

	svm_iopm_set(hpa_to_ptr(sm->iopm), port, count, on);
	maps_changed(vm);
}

static void set_intercept_msr(struct vm *vm, uint32_t msr, bool read, bool write)
{
	struct svm_vm *sm = vm->hw;

	svm_msrpm_set(hpa_to_ptr(sm->msrpm), msr, read, write);
	maps_changed(vm);
}

static void set_intercept_exception(struct vcpu *vcpu, unsigned vector, bool on)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	uint32_t bit = (uint32_t)BIT(vector & 31);

	sv->exceptions = (on ? sv->exceptions | bit : sv->exceptions & ~bit) | sv->own_exceptions;
	vmcb_set_exceptions(sv->vmcb, sv->exceptions);
	svm_update_intn(sv);
}

static void set_intercept_dr(struct vcpu *vcpu, bool on)
{
	svm_set_intercept_dr(svm_vcpu(vcpu), on);
}

/* On another CPU than last time neither its cached VMCB nor its ASIDs mean anything, though both
 * may have come to the same number of a generation. APM vol. 2, 15.15.1, 15.16. */
static void vcpu_load(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct svm_cpu *cpu = svm_this_cpu();

	kassert(!sv->holder || sv->holder == cpu);
	sv->holder = cpu;
	sv->cr2_changed = true; /* by whoever was here in between */
	if (sv->cpu == cpu)
		return;
	sv->cpu = cpu;
	sv->asid_generation = 0;
	sv->vmcb->clean = 0;
}

/* Nothing of the guest stays on the CPU between runs: svm_enter() switches all of it. */
static void vcpu_put(struct vcpu *vcpu)
{
	(void)vcpu;
}

/* Nor is there anything to take off it: VMRUN reads all of a VMCB that no clean bit covers. */
static void vcpu_release(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	kassert(!sv->holder || sv->holder == svm_this_cpu());
	sv->holder = NULL;
}

static void set_intercept_invlpg(struct vcpu *vcpu, bool on)
{
	vmcb_set_intercept(svm_vcpu(vcpu)->vmcb, INTERCEPT_INVLPG, on);
}

static void flush(struct vcpu *vcpu, enum flush_scope scope)
{
	(void)scope;
	svm_vcpu(vcpu)->flush = true;
}

const struct vmm_backend svm_backend = {
	.name = "SVM",
	.probe = svm_probe,
	.cpu_enable = svm_cpu_enable,
	.caps = svm_caps,
	.vm_init = vm_init,
	.vm_destroy = vm_destroy,
	.vcpu_init = svm_vcpu_init,
	.vcpu_destroy = svm_vcpu_destroy,
	.vcpu_load = vcpu_load,
	.vcpu_put = vcpu_put,
	.vcpu_release = vcpu_release,
	.run = svm_run,
	.get_reg = svm_get_reg,
	.set_reg = svm_set_reg,
	.get_seg = svm_get_seg,
	.set_seg = svm_set_seg,
	.can_inject = svm_can_inject,
	.inject = svm_inject,
	.request_window = svm_request_window,
	.set_tpr_threshold = svm_set_tpr_threshold,
	.set_intercept_io = set_intercept_io,
	.set_intercept_msr = set_intercept_msr,
	.set_intercept_exception = set_intercept_exception,
	.set_intercept_dr = set_intercept_dr,
	.set_intercept_invlpg = set_intercept_invlpg,
	.set_root = svm_set_root,
	.flush = flush,
	.dump = svm_dump,
};
