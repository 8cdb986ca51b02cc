#include "vmm/inspect.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "paging/guest.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* --- guest-physical --- */

size_t inspect_read_gpa(const struct vm *vm, gpa_t gpa, void *buf, size_t n)
{
	uint8_t *to = buf;
	size_t done = 0;

	while (done < n) {
		uint64_t avail;
		const void *from = memmap_peek(&vm->mem, GPA(gpa.v + done), &avail);
		size_t part;

		if (!from)
			break;
		part = MIN(n - done, avail);
		memcpy(to + done, from, part);
		done += part;
	}
	return done;
}

/*
 * What Umbra remembers of the guest's code (lookahead.h, decode.h) is compared with memory before
 * it is used; only a shadow has to be told.
 */
size_t inspect_write_gpa(struct vm *vm, gpa_t gpa, const void *buf, size_t n)
{
	const uint8_t *from = buf;
	size_t done = 0;

	while (done < n) {
		gpa_t at = GPA(gpa.v + done);
		uint64_t avail;
		void *to = memmap_peek(&vm->mem, at, &avail);
		size_t part;

		if (!to)
			break;
		part = MIN(n - done, avail);
		memcpy(to, from + done, part);
		if (vm->shadow)
			shadow_written(vm->shadow, at, part);
		done += part;
	}
	return done;
}

/* --- the guest's tables --- */

static bool table_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	const struct vm *vm = ctx;

	*val = 0;
	return inspect_read_gpa(vm, GPA(pa), val, size) == size;
}

struct pt_mem inspect_pt_mem(struct vm *vm)
{
	return (struct pt_mem){ .read = table_read, .ctx = vm };
}

/* Linear addresses end at 4 GiB outside long mode. */
static uint64_t wrap(const struct guest_paging *gp, uint64_t addr)
{
	return gp->efer & EFER_LMA ? addr : addr & BITS(31, 0);
}

static bool translate(const struct vcpu *vcpu, const struct guest_paging *gp, uint64_t addr,
		      gpa_t *gpa)
{
	const struct pt_mem mem = inspect_pt_mem(vcpu->vm);
	struct guest_xlat xlat;

	if ((gp->efer & EFER_LMA) && !addr_is_canonical(addr, gp->cr4 & CR4_LA57 ? 57 : 48))
		return false;
	if (!guest_peek(gp, &mem, GVA(addr), &xlat))
		return false;
	*gpa = xlat.gpa;
	return true;
}

bool inspect_translate(const struct vcpu *vcpu, gva_t gva, gpa_t *gpa)
{
	struct guest_paging gp;

	vcpu_peek_paging(vcpu, &gp);
	return translate(vcpu, &gp, wrap(&gp, gva.v), gpa);
}

/* --- guest-virtual --- */

/* To `to` or, when it is NULL, from `from`. */
static size_t copy_gva(const struct vcpu *vcpu, gva_t gva, uint8_t *to, const uint8_t *from,
		       size_t n)
{
	struct guest_paging gp;
	size_t done = 0;

	vcpu_peek_paging(vcpu, &gp);
	while (done < n) {
		uint64_t addr = wrap(&gp, gva.v + done);
		size_t part = MIN(n - done, PAGE_SIZE - (addr & (PAGE_SIZE - 1)));
		size_t got;
		gpa_t gpa;

		if (!translate(vcpu, &gp, addr, &gpa))
			break;
		got = to ? inspect_read_gpa(vcpu->vm, gpa, to + done, part)
			 : inspect_write_gpa(vcpu->vm, gpa, from + done, part);
		done += got;
		if (got < part)
			break;
	}
	return done;
}

size_t inspect_read_gva(const struct vcpu *vcpu, gva_t gva, void *buf, size_t n)
{
	return copy_gva(vcpu, gva, buf, NULL, n);
}

size_t inspect_write_gva(struct vcpu *vcpu, gva_t gva, const void *buf, size_t n)
{
	return copy_gva(vcpu, gva, NULL, buf, n);
}
