/* A vCPU's local APIC: its registers in the vCPU's memory, and what it does to the vCPU. */
#ifndef UMBRA_VMM_VCPU_APIC_H
#define UMBRA_VMM_VCPU_APIC_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "vmm/vcpu.h"

/* The state after power-on, and what a PC's firmware does to it; with apic=off it is off, and its
 * pins are the processor's own. After those of the VM's vCPUs with lower numbers. */
void vcpu_apic_init(struct vcpu *vcpu);

/* Do its registers lie there for this vCPU? */
static inline bool vcpu_apic_at(const struct vcpu *vcpu, gpa_t gpa)
{
	return (gpa.v | (PAGE_SIZE - 1)) == vcpu->lapic.last_byte;
}

/* These are for the vCPU's own CPU, and need no lock: what they reach beyond the vCPU they lock
 * themselves. */

/* An access there; size bytes, in one page. */
void vcpu_apic_read(struct vcpu *vcpu, gpa_t gpa, uint8_t *bytes, unsigned size);
void vcpu_apic_write(struct vcpu *vcpu, gpa_t gpa, const uint8_t *bytes, unsigned size);

/*
 * Do the instruction that exited for such an access (EXIT_NESTED_FAULT) if it is a plain MOV of 32
 * bits, as kernels use it. False: it is not, or not this way; nothing has been done.
 */
bool vcpu_apic_mov(struct vcpu *vcpu);

/* EXIT_APIC_WRITE, EXIT_APIC_EOI. */
void vcpu_apic_written(struct vcpu *vcpu);
void vcpu_apic_ended(struct vcpu *vcpu);

/* IA32_APIC_BASE. False: #GP. */
bool vcpu_apic_read_base(const struct vcpu *vcpu, uint64_t *val);
bool vcpu_apic_write_base(struct vcpu *vcpu, uint64_t val);

#endif
