/*
 * A VM that runs without nested paging: its shadow's side of the VM's memory, and the exits
 * that drive it. paging/shadow.h does the work.
 */
#ifndef UMBRA_VMM_VM_SHADOW_H
#define UMBRA_VMM_VM_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

struct vm;
struct vcpu;
struct vm_config;

/* What the shadow may take: shadow= of the VM's line, or what its memory makes of it. */
uint64_t vm_shadow_limit(const struct vm_config *cfg);

/* Make vm->shadow. 0 or -ENOMEM. */
int vm_shadow_create(struct vm *vm);
/* vm->shadow is gone; harmless when it is not there. Its vCPUs are gone already. */
void vm_shadow_destroy(struct vm *vm);
/* 0 or -ENOMEM. */
int vm_shadow_vcpu_init(struct vcpu *vcpu);

/*
 * VCPU_STALE_ROOT: make the root anew for the guest's registers of now. A guest that does not page
 * gets the nested tables where the VM has these too: it then writes to its memory unseen, and the
 * shadow holds nothing. False: there is no memory for it, the VM is to stop and must not be
 * entered.
 */
bool vm_shadow_load(struct vcpu *vcpu);

/* Was the shadow what the processor walked when this vCPU ran last? A VM without one: no. */
bool vm_shadow_translates(const struct vcpu *vcpu);

/* EXIT_PAGE_FAULT beside those of other vCPUs; vm->lock is taken for a device only. False:
 * vm_exit_page_fault() is to handle it. */
bool vm_exit_page_fault_shared(struct vcpu *vcpu);
/* EXIT_PAGE_FAULT, EXIT_INVLPG and EXIT_INVPCID of a VM with a shadow. */
void vm_exit_page_fault(struct vcpu *vcpu);
void vm_exit_invlpg(struct vcpu *vcpu);
void vm_exit_invpcid(struct vcpu *vcpu);

/* Compare the shadow with what it was made from. A difference stops the VM. */
void vm_shadow_audit(struct vm *vm);
/* The counters, one a line. */
void vm_shadow_print(const struct vm *vm);

#endif
