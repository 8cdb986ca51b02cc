#include "vmm/vm_tables.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "paging/host.h"
#include "paging/nested.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_shadow.h"

enum paging_mode vm_paging_mode(const struct vm_config *cfg, const struct vmm_backend *backend)
{
	if (cfg->paging != PAGING_AUTO)
		return cfg->paging;
	return backend->caps()->nested_paging ? PAGING_NESTED : PAGING_SHADOW;
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	const struct vm *vm = ctx;

	return frame_range_owned(pa, size, FRAME_VM0 + vm->id);
}

static int create_nested(struct vm *vm)
{
	const struct backend_caps *caps = vm->backend->caps();
	struct pt_caps pt = { .maxphyaddr = (uint8_t)cpu_features()->maxphyaddr,
			      .nx = true,
			      .page_1g = caps->nested_1g };
	int err = nested_init(&vm->nested, caps->nested_kind, &pt, host_pt_mem(), may_map, vm);

	vm->has_nested = !err;
	return err;
}

int vm_tables_create(struct vm *vm)
{
	bool shadow = vm_paging_mode(vm->cfg, vm->backend) == PAGING_SHADOW;
	int err;

	/* Of another life, which may have been paged otherwise. */
	vm->tables = (struct vm_tables_state){ .lock = SPINLOCK_INIT(LOCK_TABLES) };
	err = shadow ? vm_shadow_create(vm) : 0;
	/* Through nested tables a vCPU would write unseen to what the shadow of the others is made
	 * of. */
	if (!err && (!shadow || (vm->backend->caps()->nested_unpaged && vm->cfg->vcpus <= 1)))
		err = create_nested(vm);
	return err;
}

bool vm_tables_run_real_mode(const struct vm *vm)
{
	const struct backend_caps *caps = vm->backend->caps();

	return caps->real_mode && (vm->has_nested || !caps->nested_unpaged);
}

void vm_tables_destroy(struct vm *vm)
{
	vm_shadow_destroy(vm);
	if (vm->has_nested)
		nested_destroy(&vm->nested);
	vm->has_nested = false;
}

void vm_tables_attach(struct vcpu *vcpu)
{
	if (vcpu->vm->shadow)
		vcpu->stale |= VCPU_STALE_ROOT;
	else
		vcpu->vm->backend->set_root(vcpu, vcpu->vm->nested.root, ROOT_NESTED);
}

int vm_tables_map(struct vm *vm, gpa_t gpa, hpa_t pa, uint64_t size, unsigned rights)
{
	return vm->has_nested ? nested_map(&vm->nested, gpa, pa, size, rights) : 0;
}

int vm_tables_unmap(struct vm *vm, gpa_t gpa, uint64_t size)
{
	return vm->has_nested ? nested_unmap(&vm->nested, gpa, size) : 0;
}

int vm_tables_protect(struct vm *vm, gpa_t gpa, uint64_t size, unsigned rights)
{
	return vm->has_nested ? nested_protect(&vm->nested, gpa, size, rights) : 0;
}

bool vm_tables_allow(struct vm *vm, gpa_t gpa, unsigned rights)
{
	unsigned have;
	uint64_t size;
	hpa_t pa;
	bool ok;

	vm_tables_lock(vm);
	ok = vm->has_nested && nested_lookup(&vm->nested, gpa, &pa, &have, &size) &&
	     (have & rights) == rights;
	vm_tables_unlock(vm);
	return ok;
}

/* --- who is at work on them --- */

void vm_tables_lock(struct vm *vm)
{
	owned_lock(&vm->paging);
	if (vm->paging.depth == 1)
		rw_lock(&vm->paging_users);
}

void vm_tables_unlock(struct vm *vm)
{
	if (vm->paging.depth == 1)
		rw_unlock(&vm->paging_users);
	owned_unlock(&vm->paging);
}

void vm_tables_share(struct vm *vm)
{
	rw_lock_shared(&vm->paging_users);
}

void vm_tables_unshare(struct vm *vm)
{
	rw_unlock_shared(&vm->paging_users);
}

/* --- what the vCPUs are told --- */

/* The count under which something is told to the vCPUs. With vm->tables.lock held. */
static uint64_t next_count(const struct vm *vm)
{
	return vm->tables.count + 1;
}

static void set(uint64_t *word, uint64_t val)
{
	__atomic_store_n(word, val, __ATOMIC_RELAXED);
}

/* What was set before is to be followed: by who is in the guest, now. */
static void tell_and_unlock(struct vm *vm, bool wait)
{
	uint64_t count = next_count(vm);

	__atomic_store_n(&vm->tables.count, count, __ATOMIC_SEQ_CST);
	spin_unlock(&vm->tables.lock);
	if (wait && vm->nr_vcpus > 1)
		__atomic_fetch_add(&vm->tables.driven_out, vcpus_drive_out(vm, count),
				   __ATOMIC_RELAXED);
}

void vm_tables_flush(struct vm *vm, enum flush_scope scope)
{
	struct vm_tables_state *t = &vm->tables;

	spin_lock(&t->lock);
	set(scope == FLUSH_NESTED ? &t->nested : &t->guest, next_count(vm));
	tell_and_unlock(vm, true);
}

/* Each that is in the guest leaves it to catch up, and waits there for the lock. */
void vm_tables_close(struct vm *vm)
{
	spin_lock(&vm->tables.lock);
	__atomic_store_n(&vm->tables.closed, true, __ATOMIC_RELAXED);
	tell_and_unlock(vm, true);
}

void vm_tables_open(struct vm *vm)
{
	__atomic_store_n(&vm->tables.closed, false, __ATOMIC_RELAXED);
}

/* Who still exits for nothing may go on. */
void vm_tables_intercept_invlpg(struct vm *vm, bool on)
{
	spin_lock(&vm->tables.lock);
	__atomic_store_n(&vm->tables.invlpg_exits, on, __ATOMIC_RELAXED);
	tell_and_unlock(vm, on);
}

void vm_tables_catch_up(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	const struct vm_tables_state *t = &vm->tables;
	const struct vmm_backend *backend = vm->backend;
	uint64_t count = __atomic_load_n(&t->count, __ATOMIC_SEQ_CST), seen = vcpu->tables_seen;
	bool exits = __atomic_load_n(&t->invlpg_exits, __ATOMIC_RELAXED);

	if (__atomic_load_n(&t->closed, __ATOMIC_RELAXED)) {
		owned_lock(&vm->lock);
		owned_unlock(&vm->lock);
	}
	if (seen < __atomic_load_n(&t->nested, __ATOMIC_RELAXED))
		backend->flush(vcpu, FLUSH_NESTED);
	else if (seen < __atomic_load_n(&t->guest, __ATOMIC_RELAXED))
		backend->flush(vcpu, FLUSH_GUEST);
	if (seen < __atomic_load_n(&t->roots, __ATOMIC_RELAXED))
		vcpu->stale |= VCPU_STALE_ROOT;
	if (vcpu->invlpg_exits != exits)
		backend->set_intercept_invlpg(vcpu, exits);
	vcpu->invlpg_exits = exits;
	__atomic_store_n(&vcpu->tables_seen, count, __ATOMIC_RELEASE);
}

void vm_tables_changed(struct vm *vm, gpa_t gpa, uint64_t size)
{
	struct vm_tables_state *t = &vm->tables;

	vm_tables_lock(vm);
	/* First: who leaves the guest for what the shadow flushes comes back with a new root. */
	if (vm->shadow) {
		set(&t->roots, next_count(vm));
		shadow_forget(vm->shadow, gpa, size);
	}
	vm_tables_flush(vm, vm->has_nested ? FLUSH_NESTED : FLUSH_GUEST);
	vm_tables_unlock(vm);
	if (vm->has_nested)
		nested_release(&vm->nested);
}
