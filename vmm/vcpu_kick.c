/* How one CPU makes another look at a vCPU that is at home there. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/smp.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

void vcpu_kick(struct vcpu *vcpu)
{
	struct cpu *home = vcpu_home(vcpu), *self = this_cpu();

	/* One whose exit is being handled looks by itself before it is entered again. */
	if (home && (home != self || self->current != vcpu))
		cpu_kick(home);
}

/*
 * Whether it is in the guest may change any time: one that has left it takes the interrupt as a
 * kick, and looks at what is posted before it is entered again, there or on another CPU.
 */
void vcpu_notify(struct vcpu *vcpu)
{
	struct cpu *home = vcpu_home(vcpu);

	if (home && home != this_cpu() && __atomic_load_n(&vcpu->in_guest, __ATOMIC_SEQ_CST) &&
	    vcpu->vm->backend->caps()->posted_interrupts)
		cpu_notify(home);
	else
		vcpu_kick(vcpu);
}

static bool is_behind(const struct vcpu *vcpu, uint64_t seen)
{
	return __atomic_load_n(&vcpu->in_guest, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&vcpu->tables_seen, __ATOMIC_ACQUIRE) < seen;
}

/* One that is not in the guest looks at the count before it is entered. */
unsigned vcpus_drive_out(const struct vm *vm, uint64_t seen)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		struct cpu *home = vcpu_home(vm->vcpu[i]);

		if (home && home != this_cpu() && is_behind(vm->vcpu[i], seen)) {
			cpu_interrupt(home);
			n++;
		}
	}
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		while (vcpu_home(vm->vcpu[i]) != this_cpu() && is_behind(vm->vcpu[i], seen))
			cpu_relax();
	return n;
}
