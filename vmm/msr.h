/* MSRs as guests see them, by a table; what is not in it is #GP, as in hardware. */
#ifndef UMBRA_VMM_MSR_H
#define UMBRA_VMM_MSR_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* The state after RESET plus what a PC's firmware sets up (MTRRs). */
void msr_reset(struct vcpu *vcpu);

/* RDMSR and WRMSR with ECX = msr. False: the guest earned #GP(0); nothing is raised. */
bool msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *val);
bool msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t val);

#endif
