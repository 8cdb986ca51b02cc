/* Intel's VMX as a backend of the core. */
#ifndef UMBRA_VMX_VMX_H
#define UMBRA_VMX_VMX_H

#include <stdint.h>

#include "vmm/backend.h"

/* vmm/backend.h says what each entry does. */
extern const struct vmm_backend vmx_backend;

/*
 * Do as if the CPU had only those optional features whose bit is set in mask
 * (VMX_FEATURE_*, vmx/caps.h). UINT32_MAX: all of them, but what an emulator is known to do
 * wrong. Before vmx_backend.probe().
 */
void vmx_mask_features(uint32_t mask);

#endif
