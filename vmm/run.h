/* The VMs, and what CPU 0 does for the operator beside its turns. */
#ifndef UMBRA_VMM_RUN_H
#define UMBRA_VMM_RUN_H

#include "vmm/backend.h"
#include "vmm/config.h"
#include "vmm/vm.h"

struct cpu;

/*
 * Make and start the VMs that cfg names; the backend is probed and enabled. A VM that
 * cannot start is logged in one line and the others still start. 0, or -ENOMEM when not
 * even the table of VMs could be made.
 */
int vmm_init(const struct umbra_config *cfg, const struct vmm_backend *backend);

/* Run guests, for ever. Interrupts must be on. */
_Noreturn void vmm_run(void);

/*
 * Take a VM's vCPUs off their CPUs while CPU 0 looks at the VM or changes it: what they are is in
 * memory then, and no handler of an exit is at work. Until it is let go as often as it was held.
 * For CPU 0's loop, without any lock; harmless on a VM that does not run.
 */
void vmm_hold_vm(struct vm *vm);
void vmm_let_vm(struct vm *vm);
/* Whose turn it is on that CPU, be it halted; while VMs are held, whose it was before the first of
 * them was. NULL: nobody's. To be compared, and as long as the VM lasts to be looked at. */
const struct vcpu *vmm_turn(const struct cpu *cpu);

/* The VMs, running or stopped, in the order of their lines; NULL from the count on. */
struct vm *vmm_vm(unsigned index);

/*
 * What the operator does with a VM. For the run loop's own context, between two runs of a guest:
 * the monitor's commands, timers; an exit's handler calls vm_request_stop() and
 * vm_request_pause(). Each has done its work when it returns.
 */

/* Start a stopped VM anew; one that waits for its restart does not wait. 0, -EBUSY (it runs or is
 * paused), or what vm_start() says; one that waits for its restart goes on waiting then. */
int vmm_start_vm(struct vm *vm);
/* The same by another line, which is to last as long as the VM has it. One that cannot be started
 * so has the line again that it had, also when that is found out as its kernel is loaded. */
int vmm_start_vm_as(struct vm *vm, const struct vm_config *cfg);
/*
 * Take a running VM's vCPUs off the CPU until vmm_resume_vm(). Time goes on: the guest's clocks and
 * timers show afterwards how long it was, as after a long SMI of a PC, or under KVM for guests that
 * keep time by the TSC; vmm_resume_vm() tells a guest with KVM's clock, but not for a single step.
 * 0 or -EINVAL (it does not run).
 */
int vmm_pause_vm(struct vm *vm);
/* Let a paused VM go on. 0 or -EINVAL (it is not paused). */
int vmm_resume_vm(struct vm *vm);
/* Make a VM that runs, is paused or waits for its restart anew, whatever on-reset= says; it runs
 * then. 0, -EINVAL (it is stopped), or what vm_start() says: it is stopped then. */
int vmm_reset_vm(struct vm *vm);
/*
 * Stop a VM without asking it; no restart follows, and on-idle= does not count it: the operator is
 * there. One that crashed gives its memory back, one that waits for its restart waits no more. 0 or
 * -EINVAL (there is nothing left of it).
 */
int vmm_kill_vm(struct vm *vm);
/* Press the power button of a VM that runs or is paused: a guest that listens shuts itself down,
 * in its own time. 0 or -EINVAL (it is stopped). */
int vmm_stop_vm(struct vm *vm);

#endif
