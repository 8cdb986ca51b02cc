/*
 * The clock of Linux' KVM guests, with pv=kvm on the guest's line: a page of the guest's says how
 * to make nanoseconds of the TSC. Linux, Documentation/virt/kvm/x86/{cpuid,msr}.rst.
 */
#ifndef UMBRA_VMM_KVM_CLOCK_H
#define UMBRA_VMM_KVM_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct vm;

/* CPUID leaf 40000001. */
#define KVM_FEATURE_NOP_IO_DELAY 0x2u
#define KVM_FEATURE_CLOCKSOURCE2 0x8u
#define KVM_FEATURE_CLOCK_STABLE 0x1000000u

#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01

/* The MSRs as last written. False: this guest has none. */
bool kvm_clock_read_msr(const struct vcpu *vcpu, uint32_t msr, uint64_t *val);
/*
 * Wall clock: write the time of day at which the guest's clock was 0, this once. System time: keep
 * the vCPU's clock there from now on (bit 0), or nowhere. Where not all of it is memory, but a
 * device's, ROM or nothing, nothing is written. False: this guest has no such MSR, or an address
 * that is not of 4 bytes or wider than the processor's. With vm->lock held, as what follows.
 */
bool kvm_clock_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t val);
/* The TSC of one of its vCPUs was set: all their pages are written anew. */
void kvm_clock_tsc_changed(struct vm *vm);
/* It stands in the page of each vCPU that it did not run for a while, and that the guest's
 * watchdogs are not to mind; the guest takes that away again. */
void kvm_clock_resumed(struct vm *vm);
/* What VMCALL gives a guest with pv=kvm at this privilege level: there are no hypercalls. */
int64_t kvm_hypercall(unsigned cpl);

#endif
