/*
 * The tables that translate for a VM follow its memory map: the nested table is changed with
 * it; a shadow is made of it when the guest gets there, and forgets what has changed. A VM has
 * one of the two; or both, where a guest that does not page can run through nested tables under
 * shadow paging (caps.nested_unpaged), and has one vCPU.
 */
#ifndef UMBRA_VMM_VM_TABLES_H
#define UMBRA_VMM_VM_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "vmm/backend.h"
#include "vmm/config.h"

struct vm;
struct vcpu;

/* Nested or shadow: what a VM with such a line gets. Never PAGING_AUTO. */
enum paging_mode vm_paging_mode(const struct vm_config *cfg, const struct vmm_backend *backend);

/* Make the nested table or the shadow, or both, empty. 0 or -ENOMEM: what was made stays. */
int vm_tables_create(struct vm *vm);
/* Give them back, when the vCPUs are gone. Harmless when there are none. */
void vm_tables_destroy(struct vm *vm);
/* Does the processor run this VM's real mode (caps.real_mode)? It needs the nested table for it
 * where it has caps.nested_unpaged. */
bool vm_tables_run_real_mode(const struct vm *vm);
/* A new vCPU gets its root. */
void vm_tables_attach(struct vcpu *vcpu);

/* As nested_map(), nested_unmap() and nested_protect(); for a shadow alone there is nothing to
 * do. */
int vm_tables_map(struct vm *vm, gpa_t gpa, hpa_t pa, uint64_t size, unsigned rights);
int vm_tables_unmap(struct vm *vm, gpa_t gpa, uint64_t size);
int vm_tables_protect(struct vm *vm, gpa_t gpa, uint64_t size, unsigned rights);

/* Does the nested table give gpa with these rights, all of them? */
bool vm_tables_allow(struct vm *vm, gpa_t gpa, unsigned rights);

/*
 * To have alone the shadow, and the memory map as it is: vm->paging, which its holder may take
 * again. Whoever changes the map holds vm->lock besides, but for a page of a disk that comes in, so
 * that the rest stays as it is for who holds either of the two. vm->lock is taken before it, never
 * after. Not while it is shared.
 */
void vm_tables_lock(struct vm *vm);
void vm_tables_unlock(struct vm *vm);
/* To share them with other vCPUs' faults: shadow_fault_shared(). Not again, and nothing of the
 * above until vm_tables_unshare(). */
void vm_tables_share(struct vm *vm);
void vm_tables_unshare(struct vm *vm);

/*
 * Every vCPU drops its translations before it is entered again, and none is in the guest with them
 * any more when this returns. By several CPUs at a time.
 */
void vm_tables_flush(struct vm *vm, enum flush_scope scope);
/* INVLPG of each vCPU is to exit, from here on, or not, from its next entry on. */
void vm_tables_intercept_invlpg(struct vm *vm, bool on);
/*
 * No other vCPU is in the guest from the one to the other, all with vm->lock held: for an access
 * that none of them may see half of.
 */
void vm_tables_close(struct vm *vm);
void vm_tables_open(struct vm *vm);
/* Before the vCPU is entered, when vcpu->tables_seen is not vm->tables.count. */
void vm_tables_catch_up(struct vcpu *vcpu);

/* What was there of [gpa, gpa + size) is no longer so: no vCPU sees the old state from here on. */
void vm_tables_changed(struct vm *vm, gpa_t gpa, uint64_t size);

#endif
