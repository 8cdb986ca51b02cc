/* What a debugger has a VM do: through the run loop. */
#include "arch/x86_64/include/errno.h"
#include "vmm/debug.h"
#include "vmm/debug_core.h"
#include "vmm/run.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

int debug_pause(struct vm *vm)
{
	return vmm_pause_vm(vm);
}

int debug_continue(struct vm *vm)
{
	return vmm_resume_vm(vm);
}

int debug_step(struct vcpu *vcpu)
{
	if (vcpu->vm->state != VM_PAUSED)
		return -EINVAL;
	/* From when it is resumed on the vCPU is its home's. */
	vcpu->debug.step = true;
	debug_update(vcpu);
	return vmm_resume_vm(vcpu->vm);
}
