#include "vmm/gmem.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/mm.h"
#include "vmm/bus.h"
#include "vmm/exit.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_tables.h"

/* --- guest-physical --- */

/* The largest access that a device can be asked for at gpa, of n bytes there. */
static unsigned device_piece(gpa_t gpa, size_t n)
{
	unsigned size = 8;

	if (n == 1 || n == 2 || n == 4 || n == 8)
		return (unsigned)n;
	while (size > n || (gpa.v & (size - 1)))
		size /= 2;
	return size;
}

/* Bytes from addr to the end of its page: regions of the memory map end with pages. */
static size_t page_rest(uint64_t addr)
{
	return PAGE_SIZE - (addr & (PAGE_SIZE - 1));
}

static bool is_aligned(const void *p, size_t size)
{
	return !((uintptr_t)p & (size - 1));
}

/* What a processor reads or writes in one access other processors see in one, too. */
static void copy_once(void *to, const void *from, size_t size)
{
	if (size == 8 && is_aligned(to, 8) && is_aligned(from, 8))
		__atomic_store_n((uint64_t *)to,
				 __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
	else if (size == 4 && is_aligned(to, 4) && is_aligned(from, 4))
		__atomic_store_n((uint32_t *)to,
				 __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
	else if (size == 2 && is_aligned(to, 2) && is_aligned(from, 2))
		__atomic_store_n((uint16_t *)to,
				 __atomic_load_n((const uint16_t *)from, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
	else
		memcpy(to, from, size);
}

void gmem_phys_read(struct vm *vm, gpa_t gpa, void *dst, size_t size)
{
	uint8_t *to = dst;

	while (size) {
		uint64_t avail;
		const void *from = memmap_ptr(&vm->mem, gpa, false, &avail);
		size_t part;

		if (from) {
			part = MIN(size, avail);
			copy_once(to, from, part);
		} else {
			uint64_t val;

			part = device_piece(gpa, MIN(size, page_rest(gpa.v)));
			val = bus_mmio_read(&vm->bus, gpa, (unsigned)part);
			memcpy(to, &val, part);
		}
		to += part;
		size -= part;
		gpa.v += part;
	}
}

static bool is_rom(struct vm *vm, gpa_t gpa)
{
	const struct region *r = memmap_find(&vm->mem, gpa);

	return r && r->kind == REGION_ROM;
}

/* The guest's tables may lie there, and its other vCPUs run: they are not closed again before it is
 * written. */
static void write_begins(struct vm *vm, gpa_t gpa, uint64_t size)
{
	if (!vm->shadow)
		return;
	vm_tables_lock(vm);
	shadow_write_begins(vm->shadow, gpa, size);
}

static void write_ends(struct vm *vm)
{
	if (vm->shadow)
		vm_tables_unlock(vm);
}

void gmem_phys_write(struct vm *vm, gpa_t gpa, const void *src, size_t size)
{
	const uint8_t *from = src;

	while (size) {
		uint64_t avail;
		void *to = memmap_ptr(&vm->mem, gpa, true, &avail);
		size_t part;

		if (to) {
			part = MIN(size, avail);
			write_begins(vm, gpa, part);
			copy_once(to, from, part);
			write_ends(vm);
		} else if (is_rom(vm, gpa)) {
			part = MIN(size, page_rest(gpa.v));
		} else {
			uint64_t val = 0;

			part = device_piece(gpa, MIN(size, page_rest(gpa.v)));
			memcpy(&val, from, part);
			bus_mmio_write(&vm->bus, gpa, (unsigned)part, val);
		}
		from += part;
		size -= part;
		gpa.v += part;
	}
}

/* Like the guest's own, locked, whatever the alignment. */
#define CMPXCHG(suffix, type)                                                                      \
	static bool cmpxchg_##suffix(void *p, const void *old, const void *new)                    \
	{                                                                                          \
		type expected, wanted;                                                             \
		bool done;                                                                         \
                                                                                                   \
		memcpy(&expected, old, sizeof(expected));                                          \
		memcpy(&wanted, new, sizeof(wanted));                                              \
		__asm__ volatile("lock cmpxchg %3, (%2)"                                           \
				 : "=@ccz"(done), "+a"(expected)                                   \
				 : "r"(p), "r"(wanted)                                             \
				 : "memory");                                                      \
		return done;                                                                       \
	}
CMPXCHG(1, uint8_t)
CMPXCHG(2, uint16_t)
CMPXCHG(4, uint32_t)
CMPXCHG(8, uint64_t)

/* Aligned: the guest's own would be #GP else. It has CMPXCHG16B where the machine does. */
static bool cmpxchg_16(void *p, const void *old, const void *new)
{
	uint64_t expected[2], wanted[2];
	bool done;

	memcpy(expected, old, sizeof(expected));
	memcpy(wanted, new, sizeof(wanted));
	__asm__ volatile("lock cmpxchg16b (%3)"
			 : "=@ccz"(done), "+a"(expected[0]), "+d"(expected[1])
			 : "r"(p), "b"(wanted[0]), "c"(wanted[1])
			 : "memory");
	return done;
}

bool gmem_phys_replace(struct vm *vm, gpa_t gpa, const void *old, const void *new, size_t size)
{
	uint64_t avail;
	void *p = memmap_ptr(&vm->mem, gpa, true, &avail);
	bool done;

	if (!p) {
		gmem_phys_write(vm, gpa, new, size);
		return true;
	}
	write_begins(vm, gpa, size);
	switch (size) {
	case 1:
		done = cmpxchg_1(p, old, new);
		break;
	case 2:
		done = cmpxchg_2(p, old, new);
		break;
	case 4:
		done = cmpxchg_4(p, old, new);
		break;
	case 8:
		done = cmpxchg_8(p, old, new);
		break;
	default:
		done = cmpxchg_16(p, old, new);
		break;
	}
	write_ends(vm);
	return done;
}

/* --- the guest's tables --- */

/*
 * Device registers are no place for tables: they count as nothing there. This is called for
 * every level of every walk, so it makes one look-up and no more.
 */
static bool table_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	struct vm *vm = ctx;
	uint64_t avail;
	const void *p = memmap_ptr(&vm->mem, GPA(pa), false, &avail);

	if (!p)
		return false;
	if (size == 8)
		*val = __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	else
		*val = __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	return true;
}

/* ROM takes the write and stays as it is; a write hook gets to see it. */
static bool table_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	struct vm *vm = ctx;
	uint64_t avail;
	void *p = memmap_ptr(&vm->mem, GPA(pa), true, &avail);
	uint32_t old32 = (uint32_t)old;

	if (!p) {
		if (!is_rom(vm, GPA(pa)))
			bus_mmio_write(&vm->bus, GPA(pa), size, val);
		return true;
	}
	if (size == 8)
		return __atomic_compare_exchange_n((uint64_t *)p, &old, val, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)p, &old32, (uint32_t)val, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static bool shadowed_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	struct vm *vm = ctx;
	bool done;

	if (!vm->shadow)
		return table_cmpxchg(ctx, pa, size, old, val);
	vm_tables_lock(vm);
	done = table_cmpxchg(ctx, pa, size, old, val);
	if (done)
		shadow_written(vm->shadow, GPA(pa), size);
	vm_tables_unlock(vm);
	return done;
}

const struct pt_mem *gmem_pt_mem(struct vm *vm)
{
	struct pt_mem *mem = &vm->guest_tables;

	if (mem->ctx != vm)
		*mem = (struct pt_mem){ .read = table_read,
					.cmpxchg = shadowed_cmpxchg,
					.ctx = vm };
	return mem;
}

const struct pt_mem *gmem_own_pt_mem(struct vm *vm)
{
	vm->own_guest_tables =
		(struct pt_mem){ .read = table_read, .cmpxchg = table_cmpxchg, .ctx = vm };
	return &vm->own_guest_tables;
}

/* --- guest-virtual --- */

/* Linear addresses end at 4 GiB outside long mode. */
static uint64_t wrap(const struct guest_paging *gp, uint64_t addr)
{
	return gp->efer & EFER_LMA ? addr : addr & BITS(31, 0);
}

static bool translate(struct vcpu *vcpu, const struct guest_paging *gp, uint64_t addr,
		      struct guest_access access, gpa_t *out, struct guest_fault *fault)
{
	struct guest_xlat xlat;

	if (!guest_translate(gp, gmem_pt_mem(vcpu->vm), GVA(addr), access, &xlat, fault))
		return false;
	*out = xlat.gpa;
	return true;
}

/* Would every page of a span that crosses pages let the access pass? */
static bool check_pages(struct vcpu *vcpu, const struct guest_paging *gp, uint64_t addr,
			size_t size, struct guest_access access, struct guest_fault *fault)
{
	gpa_t gpa;

	while (size) {
		size_t part = MIN(size, page_rest(addr));

		if (!translate(vcpu, gp, addr, access, &gpa, fault))
			return false;
		addr = wrap(gp, addr + part);
		size -= part;
	}
	return true;
}

/* To dst or, when write, from src; the other one is NULL. */
static bool gmem_copy(struct vcpu *vcpu, gva_t gva, bool write, uint8_t *dst, const uint8_t *src,
		      size_t size, struct guest_access access, struct guest_fault *fault)
{
	struct guest_paging gp;
	uint64_t addr;

	vcpu_guest_paging(vcpu, &gp);
	addr = wrap(&gp, gva.v);
	if (size > page_rest(addr) && !check_pages(vcpu, &gp, addr, size, access, fault))
		return false;
	while (size) {
		size_t part = MIN(size, page_rest(addr));
		gpa_t gpa;

		if (!translate(vcpu, &gp, addr, access, &gpa, fault))
			return false;
		if (write) {
			gmem_phys_write(vcpu->vm, gpa, src, part);
			src += part;
		} else {
			gmem_phys_read(vcpu->vm, gpa, dst, part);
			dst += part;
		}
		addr = wrap(&gp, addr + part);
		size -= part;
	}
	return true;
}

bool gmem_read(struct vcpu *vcpu, gva_t gva, void *dst, size_t size, struct guest_access access,
	       struct guest_fault *fault)
{
	return gmem_copy(vcpu, gva, false, dst, NULL, size, access, fault);
}

bool gmem_write(struct vcpu *vcpu, gva_t gva, const void *src, size_t size,
		struct guest_access access, struct guest_fault *fault)
{
	access.write = true;
	return gmem_copy(vcpu, gva, true, NULL, src, size, access, fault);
}

bool gmem_translate(struct vcpu *vcpu, gva_t gva, struct guest_access access, gpa_t *out,
		    struct guest_fault *fault)
{
	struct guest_paging gp;

	vcpu_guest_paging(vcpu, &gp);
	return translate(vcpu, &gp, wrap(&gp, gva.v), access, out, fault);
}

/* --- code --- */

/* The linear address of CS:RIP, and how many bytes (at most 15) the segment has there. */
static gva_t code_window(struct vcpu *vcpu, unsigned *room)
{
	uint64_t rip = vcpu->regs.rip;
	struct segment cs;

	*room = VM_EXIT_MAX_INSN;
	if (vcpu_code_size(vcpu) == 8)
		return GVA(rip);
	vcpu->vm->backend->get_seg(vcpu, SEG_CS, &cs);
	*room = rip > cs.limit ? 0 : (unsigned)MIN(VM_EXIT_MAX_INSN, cs.limit - rip + 1);
	return GVA((cs.base + rip) & BITS(31, 0));
}

/* Code that lies in no memory reads as all ones: devices are not asked. */
static void fetch_phys(struct vm *vm, gpa_t gpa, uint8_t *bytes, size_t n)
{
	uint64_t avail;
	const void *p = memmap_ptr(&vm->mem, gpa, false, &avail);

	if (p)
		memcpy(bytes, p, n); /* n ends with the page, regions do too */
	else
		memset(bytes, 0xff, n);
}

static unsigned fetch(struct vcpu *vcpu, uint8_t *bytes, unsigned max, struct guest_fault *fault)
{
	const struct pt_mem *mem = gmem_pt_mem(vcpu->vm);
	struct guest_paging gp;
	struct guest_access access = { .fetch = true };
	struct guest_xlat xlat;
	unsigned n = 0, room;
	uint64_t addr = code_window(vcpu, &room).v;

	max = MIN(max, room);
	if (!max) {
		*fault = (struct guest_fault){ .vector = VEC_GP, .has_error = true };
		return 0;
	}
	vcpu_guest_paging(vcpu, &gp);
	while (n < max) {
		unsigned part = (unsigned)MIN(max - n, page_rest(addr));

		if (!guest_peek(&gp, mem, GVA(addr), &xlat))
			break;
		fetch_phys(vcpu->vm, xlat.gpa, bytes + n, part);
		addr = wrap(&gp, addr + part);
		n += part;
	}
	if (n)
		return n;
	/* Nothing is mapped there: find out what the processor would say to that. */
	access.user = vcpu_cpl(vcpu) == 3;
	if (guest_translate(&gp, mem, GVA(addr), access, &xlat, fault)) {
		/* Mapped this very moment, by another of the guest's CPUs. */
		n = (unsigned)MIN(max, page_rest(addr));
		fetch_phys(vcpu->vm, xlat.gpa, bytes, n);
	}
	return n;
}

unsigned gmem_fetch(struct vcpu *vcpu, uint8_t *bytes, unsigned max, struct guest_fault *fault)
{
	unsigned n;

	owned_lock(&vcpu->vm->lock);
	n = fetch(vcpu, bytes, max, fault);
	owned_unlock(&vcpu->vm->lock);
	return n;
}

bool gmem_fetch_allowed(struct vcpu *vcpu, unsigned n, struct guest_fault *fault)
{
	struct guest_access access = { .fetch = true, .user = vcpu_cpl(vcpu) == 3 };
	struct guest_paging gp;
	unsigned room;
	uint64_t addr = code_window(vcpu, &room).v;
	bool allowed;
	gpa_t gpa;

	if (n >= room) {
		*fault = (struct guest_fault){ .vector = VEC_GP, .has_error = true };
		return false;
	}
	vcpu_guest_paging(vcpu, &gp);
	owned_lock(&vcpu->vm->lock);
	allowed = translate(vcpu, &gp, wrap(&gp, addr + n), access, &gpa, fault);
	owned_unlock(&vcpu->vm->lock);
	return allowed;
}
