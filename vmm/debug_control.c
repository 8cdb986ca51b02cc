/* What a debugger has a VM do: through the run loop. */
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
	int err = vmm_resume_vm(vcpu->vm);

	if (err)
		return err;
	vcpu->debug.step = true;
	debug_update(vcpu);
	return 0;
}
