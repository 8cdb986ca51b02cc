/* AMD's SVM as a backend of the core. */
#ifndef UMBRA_SVM_SVM_H
#define UMBRA_SVM_SVM_H

#include <stdint.h>

#include "vmm/backend.h"

/* vmm/backend.h says what each entry does. */
extern const struct vmm_backend svm_backend;

/*
 * Do as if the CPU had only those optional features whose bit is set in mask
 * (SVM_FEATURE_*, CPUID Fn8000_000A EDX). Before svm_backend.probe().
 */
void svm_mask_features(uint32_t mask);

#endif
