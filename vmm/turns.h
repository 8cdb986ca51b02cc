/*
 * The loop of each processor that runs guests: whose turn it is there, and entering the guest.
 *
 * A vCPU that may run has a home, the CPU whose loop alone touches its registers, its local APIC
 * and the backend's state of it. Its home takes it off, or gives it to another CPU; whoever else
 * wants something of it leaves word and kicks it (vcpu_kick()). CPU 0 is the operator's besides: it
 * decides which VMs have homes at all.
 */
#ifndef UMBRA_VMM_TURNS_H
#define UMBRA_VMM_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/backend.h"

struct cpu;
struct vcpu;
struct vm;

/*
 * On CPU 0, before any other. start: what is done in the turns of a vCPU that is VCPU_STARTING,
 * which it has on CPU 0 alone, up to the TSC `end` and while the CPU has no work.
 */
int turns_init(const struct vmm_backend *backend, void (*start)(struct vcpu *vcpu, uint64_t end));
/* The other CPUs that are online run guests from now on. 0 or -ENOMEM. */
int turns_start_others(void);

/* One round of the calling CPU's loop: a turn, or halted until there is something to look at. Its
 * timers and messages come before it: turns_messages(). */
void turns_round(struct cpu *cpu);
/* What interrupts and other CPUs have left to be done. */
void turns_messages(struct cpu *cpu);

/* --- for CPU 0's loop, between two turns --- */

/* Give each vCPU of the VM a home; those that have one keep it. A VM that starts or is debugged has
 * all of them on one CPU. */
void turns_join(struct vm *vm);
/* Take them away: when it returns the vCPUs are on no CPU, and all of their state is in memory.
 * CPU 0 does not hold vm->lock. */
void turns_leave(struct vm *vm);

#endif
