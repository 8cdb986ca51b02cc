/*
 * What a guest may write to control registers, EFER and XCR0: every check that the
 * manuals name, and then the write. APM vol. 2, 3.1 and 11.5.2; SDM vol. 3, 2.5 and 2.6.
 */
#ifndef UMBRA_VMM_CR_H
#define UMBRA_VMM_CR_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/*
 * MOV to CR0, CR3, CR4 or CR8. val is the whole register, already cut to 32 bits outside
 * 64-bit mode. False: refused, a fault was raised and nothing changed.
 */
bool cr_write(struct vcpu *vcpu, unsigned nr, uint64_t val);
/* LMSW: only bits 3:0 of val count, and PE is never cleared. */
bool cr_write_lmsw(struct vcpu *vcpu, uint16_t val);
/* CLTS at CPL 0, which the hardware has checked. True. */
bool cr_clts(struct vcpu *vcpu);
/* What MOV from CR0, CR2, CR3, CR4 or CR8 gives. */
uint64_t cr_read(const struct vcpu *vcpu, unsigned nr);

/* WRMSR to EFER. False: the value is refused; nothing is raised. */
bool cr_write_efer(struct vcpu *vcpu, uint64_t val);
/* XSETBV with ECX = nr. False: a fault was raised. */
bool cr_write_xcr(struct vcpu *vcpu, uint32_t nr, uint64_t val);

#endif
