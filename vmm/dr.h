/* The debug registers: the guest's own, wherever they are, and the processor's. */
#ifndef UMBRA_VMM_DR_H
#define UMBRA_VMM_DR_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* The guest's DR0 to DR3, DR6 or DR7. Its own write is checked by the caller. */
uint64_t dr_read(const struct vcpu *vcpu, unsigned nr);
void dr_write(struct vcpu *vcpu, unsigned nr, uint64_t val);

/* What the processor has in DR0 to DR3 while the vCPU is loaded. */
const uint64_t *dr_hardware(const struct vcpu *vcpu);

/* From now on the guest's are kept apart from the processor's; no more. */
void dr_virtualize(struct vcpu *vcpu);
void dr_restore(struct vcpu *vcpu);
/*
 * Bring the guest's own breakpoints, and the points of the VM, into the processor's registers;
 * where there is no room for all, the guest's stay out. code: points on code too.
 */
void dr_arm(struct vcpu *vcpu, bool code);
/* dr7 without those breakpoints in the processor's registers that may meet [from, to). */
uint64_t dr_without(const struct vcpu *vcpu, uint64_t dr7, uint64_t from, uint64_t to);

#endif
