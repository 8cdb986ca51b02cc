/*
 * Looking into a guest from outside, and changing it: for the monitor, debuggers and dumps. Nothing
 * here has an effect on the guest that it could see, but for what is written: no accessed or dirty
 * bit, no device register touched, no page brought in, no fault. The VM may be running (not now),
 * paused, or stopped and still whole.
 */
#ifndef UMBRA_VMM_INSPECT_H
#define UMBRA_VMM_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "paging/pt.h"

struct vcpu;
struct vm;

/* Where the vCPU's tables lead a linear address, whatever their rights; false: nowhere. */
bool inspect_translate(const struct vcpu *vcpu, gva_t gva, gpa_t *gpa);

/* Copy from guest-physical memory; returns the bytes copied, up to the first address that is no
 * RAM or ROM, or whose page is still on its disk. */
size_t inspect_read_gpa(const struct vm *vm, gpa_t gpa, void *buf, size_t n);
/* Write RAM, or ROM too, also where writes are hooked; as above. A shadow learns of it. */
size_t inspect_write_gpa(struct vm *vm, gpa_t gpa, const void *buf, size_t n);
/* The same through the vCPU's tables, up to the first address that they do not map. */
size_t inspect_read_gva(const struct vcpu *vcpu, gva_t gva, void *buf, size_t n);
size_t inspect_write_gva(struct vcpu *vcpu, gva_t gva, const void *buf, size_t n);

/* The guest's memory for walking its tables, with no such effect either; it can't be changed. */
struct pt_mem inspect_pt_mem(struct vm *vm);

#endif
