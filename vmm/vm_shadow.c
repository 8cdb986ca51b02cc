#include "vmm/vm_shadow.h"

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "paging/shadow.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/emulate.h"
#include "vmm/gmem.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_tables.h"

/* The default: a fiftieth of the guest's memory, which is enough for tables of all of it ten
 * times over, and what a guest of any size needs for its processes. */
#define LIMIT_PART 50
#define LIMIT_LEAST MIB(4)
/* What a further vCPU has of its own: roots, and the shadow pages that its faults work on. */
#define LIMIT_VCPU KIB(128)

/* --- what the shadow asks for --- */

static bool resolve(void *ctx, gpa_t gpa, bool touch, struct shadow_target *out)
{
	struct vm *vm = ctx;
	const struct region *r = memmap_find(&vm->mem, gpa);
	uint64_t avail;

	out->away = false;
	if (!r || (!memmap_is_plain(r, false) && r->kind != REGION_APIC))
		return false;
	*out = (struct shadow_target){ .start = r->start.v,
				       .size = r->size,
				       .pa = r->frames,
				       .writable =
					       memmap_is_plain(r, true) || r->kind == REGION_APIC,
				       .device = r->kind == REGION_APIC };
	if (!r->page)
		return true;
	out->start = ALIGN_DOWN(gpa.v, PAGE_SIZE);
	out->size = PAGE_SIZE;
	if (!memmap_disk_page(r, gpa) && (!touch || !memmap_ptr(&vm->mem, gpa, false, &avail))) {
		out->away = true;
		return false;
	}
	out->pa = HPA(memmap_disk_page(r, gpa));
	return true;
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	const struct vm *vm = ctx;

	return frame_range_owned(pa, size, FRAME_VM0 + vm->id);
}

static hpa_t page_alloc(void *ctx, bool low)
{
	(void)ctx;
	return low ? frame_alloc_low(0, FRAME_PAGE_TABLE) : frame_alloc_zeroed(0, FRAME_PAGE_TABLE);
}

static void page_free(void *ctx, hpa_t pa)
{
	(void)ctx;
	frame_free(pa, 0, FRAME_PAGE_TABLE);
}

static void *alloc(void *ctx, size_t size)
{
	(void)ctx;
	return kalloc(size);
}

static void free_memory(void *ctx, void *p, size_t size)
{
	(void)ctx;
	kfree(p, size);
}

static void *ptr(hpa_t pa)
{
	return hpa_to_ptr(pa);
}

static void flush(void *ctx)
{
	vm_tables_flush(ctx, FLUSH_GUEST);
}

static void flush_vcpu(struct shadow_vcpu *sv)
{
	struct vcpu *vcpu = container_of(sv, struct vcpu, shadow);

	vcpu->vm->backend->flush(vcpu, FLUSH_GUEST);
}

static void intercept_invlpg(void *ctx, bool on)
{
	vm_tables_intercept_invlpg(ctx, on);
}

/* --- life --- */

uint64_t vm_shadow_limit(const struct vm_config *cfg)
{
	uint64_t limit = MAX(ALIGN_DOWN(cfg->memory / LIMIT_PART, PAGE_SIZE), LIMIT_LEAST);

	return (cfg->shadow ? cfg->shadow : limit) + (MAX(cfg->vcpus, 1u) - 1) * LIMIT_VCPU;
}

int vm_shadow_create(struct vm *vm)
{
	const struct shadow_ops ops = {
		.resolve = resolve,
		.may_map = may_map,
		.page_alloc = page_alloc,
		.page_free = page_free,
		.alloc = alloc,
		.free = free_memory,
		.ptr = ptr,
		.flush = flush,
		.flush_vcpu = flush_vcpu,
		.intercept_invlpg = intercept_invlpg,
		.guest_mem = gmem_own_pt_mem(vm),
		.ctx = vm,
	};
	struct pt_caps caps = vcpu_pt_caps();

	vm->audit_left = vm->cfg->audit;
	return shadow_create(&vm->shadow, &ops, &caps, vm_shadow_limit(vm->cfg));
}

void vm_shadow_destroy(struct vm *vm)
{
	shadow_destroy(vm->shadow);
	vm->shadow = NULL;
	vm->audit_left = 0;
}

int vm_shadow_vcpu_init(struct vcpu *vcpu)
{
	static_assert(VM_MAX_VCPUS <= SHADOW_VCPUS, "a shadow has room for all");
	return shadow_vcpu_init(&vcpu->shadow, vcpu->vm->shadow);
}

static void out_of_memory(struct vcpu *vcpu)
{
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "no free memory for its shadow, rip 0x%llx",
			(unsigned long long)vcpu->regs.rip);
}

bool vm_shadow_translates(const struct vcpu *vcpu)
{
	return vcpu->vm->shadow && !vcpu->nested_root;
}

/* It is about to write to memory unseen that the shadow has been made from. It is the only one. */
static void load_nested(struct vcpu *vcpu)
{
	vm_tables_lock(vcpu->vm);
	if (!vcpu->nested_root)
		shadow_leave(&vcpu->shadow);
	vm_tables_unlock(vcpu->vm);
	vcpu->nested_root = true;
	vcpu->stale &= ~VCPU_STALE_ROOT;
	vcpu->vm->backend->set_root(vcpu, vcpu->vm->nested.root, ROOT_NESTED);
}

bool vm_shadow_load(struct vcpu *vcpu)
{
	struct guest_paging gp;
	hpa_t root;

	if (vcpu->vm->has_nested && !(vcpu_hot_reg(vcpu, REG_CR0) & CR0_PG)) {
		load_nested(vcpu);
		return true;
	}
	vcpu_guest_paging(vcpu, &gp);
	vm_tables_lock(vcpu->vm);
	root = shadow_load(&vcpu->shadow, &gp);
	vm_tables_unlock(vcpu->vm);
	if (!root.v) {
		out_of_memory(vcpu);
		return false;
	}
	vcpu->nested_root = false;
	vcpu->stale &= ~VCPU_STALE_ROOT;
	vcpu->vm->backend->set_root(vcpu, root, ROOT_SHADOW);
	return true;
}

/* --- exits --- */

/* No entry lets this access through: it is done as one that no nested table lets through. */
static void emulate(struct vcpu *vcpu, gpa_t gpa, uint32_t error)
{
	struct vm_exit *exit = &vcpu->exit;

	exit->kind = EXIT_NESTED_FAULT;
	exit->nested.gpa = gpa;
	exit->nested.write = error & PF_W;
	exit->nested.fetch = error & PF_I;
	exit->nested.read = !(error & (PF_W | PF_I));
	exit->nested.present = error & PF_P;
	exit->nested.table_walk = false;
	vm_exit_nested_fault(vcpu);
}

/*
 * What the shadow said without vm->lock may be memory by now, if another vCPU has moved its local
 * APIC: the emulator looks again, and finds the guest's tables as they are. An event whose delivery
 * failed there it would not.
 */
static bool emulate_shared(struct vcpu *vcpu, gpa_t gpa)
{
	if (vcpu->exit.interrupted.kind != EVENT_NONE)
		return false;
	owned_lock(&vcpu->vm->lock);
	emulate(vcpu, gpa, vcpu->exit.page_fault.error);
	owned_unlock(&vcpu->vm->lock);
	return true;
}

bool vm_exit_page_fault_shared(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	struct shadow_outcome out;
	enum shadow_result result;

	if (vcpu->vm->nr_vcpus < 2 || !vm_shadow_translates(vcpu))
		return false;
	vm_tables_share(vcpu->vm);
	result = shadow_fault_shared(&vcpu->shadow, exit->page_fault.gva, exit->page_fault.error,
				     vcpu->regs.rip, vcpu->regs.rflags, vcpu_cpl(vcpu),
				     vcpu_pkru(vcpu), &out);
	vm_tables_unshare(vcpu->vm);
	if (result == SHADOW_DEVICE)
		return emulate_shared(vcpu, out.gpa);
	if (result == SHADOW_REFLECT)
		vcpu_raise(vcpu, &out.fault);
	return result != SHADOW_ALONE;
}

void vm_exit_page_fault(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	uint32_t error = exit->page_fault.error;
	struct shadow_outcome out;
	enum shadow_result result;

	vm_tables_lock(vcpu->vm);
	result = shadow_fault(&vcpu->shadow, exit->page_fault.gva, error, vcpu->regs.rip,
			      vcpu->regs.rflags, vcpu_cpl(vcpu), vcpu_pkru(vcpu), &out);
	vm_tables_unlock(vcpu->vm);
	switch (result) {
	case SHADOW_RESUME:
	case SHADOW_ALONE:
		break;
	case SHADOW_REFLECT:
		vcpu_raise(vcpu, &out.fault);
		break;
	case SHADOW_DEVICE:
		emulate(vcpu, out.gpa, error);
		break;
	case SHADOW_NO_MEMORY:
		out_of_memory(vcpu);
		break;
	}
}

void vm_exit_invlpg(struct vcpu *vcpu)
{
	gva_t gva = vcpu->exit.invlpg.gva;
	unsigned len = vcpu->exit.insn_len;

	if ((!len || !vcpu->exit.invlpg.known) && !emulate_decode_invlpg(vcpu, &gva, &len))
		return;
	vm_tables_lock(vcpu->vm);
	shadow_invlpg(&vcpu->shadow, gva);
	vm_tables_unlock(vcpu->vm);
	vcpu_retire_insn(vcpu, len);
}

/* INVPCID's types and descriptor: APM vol. 3, INVPCID; SDM vol. 2. */
enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL, INVPCID_TYPES };

struct invpcid_descriptor {
	uint64_t pcid; /* 63:12 reserved */
	uint64_t gva;
};

static bool invpcid_refused(const struct vcpu *vcpu, uint64_t type,
			    const struct invpcid_descriptor *d)
{
	uint64_t cr4 = vcpu_hot_reg(vcpu, REG_CR4);

	if (type >= INVPCID_TYPES || (d->pcid & ~CR3_PCID_MASK))
		return true;
	if (type == INVPCID_ADDRESS && !addr_is_canonical(d->gva, cr4 & CR4_LA57 ? 57 : 48))
		return true;
	return type <= INVPCID_CONTEXT && d->pcid && !(cr4 & CR4_PCIDE);
}

/* The shadow keeps no PCIDs apart: whatever is to be dropped, all is. */
void vm_exit_invpcid(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	struct guest_access access = { .user = vcpu_cpl(vcpu) == 3 };
	struct invpcid_descriptor d;
	struct guest_fault fault;
	unsigned len;

	if (!vcpu->vm->backend->caps()->invpcid_exits) {
		vcpu_raise_vector(vcpu, VEC_UD); /* CPUID says that it is not there */
		return;
	}
	len = emulate_insn_length(vcpu);
	if (!len)
		return;
	if (vcpu_cpl(vcpu) != 0) {
		vcpu_raise_error(vcpu, VEC_GP, 0);
	} else if (!gmem_read(vcpu, exit->invpcid.gva, &d, sizeof(d), access, &fault)) {
		vcpu_raise(vcpu, &fault);
	} else if (invpcid_refused(vcpu, exit->invpcid.type, &d)) {
		vcpu_raise_error(vcpu, VEC_GP, 0);
	} else {
		vcpu->stale |= VCPU_STALE_ROOT;
		vcpu_retire_insn(vcpu, len);
	}
}

/* --- looking at it --- */

void vm_shadow_audit(struct vm *vm)
{
	char why[96];
	bool right;

	vm_tables_lock(vm);
	right = shadow_audit(vm->shadow, why, sizeof(why));
	vm_tables_unlock(vm);
	if (!right)
		vm_request_stop(vm, VM_STOP_ERROR, 0, "the shadow is wrong: %s", why);
}

void vm_shadow_print(const struct vm *vm)
{
	const struct shadow_stats *stats = shadow_stats(vm->shadow);
	const char *name = vm->cfg->name;

#define X(field, text)                                                                             \
	log_info("vm %s: shadow %-11s %12llu", name, text, (unsigned long long)stats->field);
	SHADOW_COUNTERS(X)
#undef X
	log_info("vm %s: shadow %-11s %12llu", name, "interrupts",
		 (unsigned long long)vm->tables.driven_out);
	log_info("vm %s: shadow %-11s %12llu", name, "KiB",
		 (unsigned long long)(shadow_bytes(vm->shadow) >> 10));
}
