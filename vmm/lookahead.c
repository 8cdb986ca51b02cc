#include "vmm/lookahead.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/gmem.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define DR7_ENABLED BITS(7, 0)

#define CR3_TABLE BITS(51, 12)

/* Where an entry, or the code page, lies in Umbra's memory. NULL: in none. */
static const void *find(struct vcpu *vcpu, uint64_t pa)
{
	uint64_t avail;

	return memmap_ptr(&vcpu->vm->mem, GPA(pa), false, &avail);
}

/*
 * Do all entries of the walk read the same again? Under another CR3 the first is another: when
 * that reads the same, the others are those remembered, as it is with kernels, whose half of
 * all address spaces is one.
 */
static bool holds(struct vcpu *vcpu, struct lookahead_page *p, uint64_t cr3, gva_t gva)
{
	struct guest_memo *m = &p->memo;
	unsigned top = m->first + m->n - 1u;

	if (!m->n || m->page != ALIGN_DOWN(gva.v, PAGE_SIZE) || p->changes != vcpu->vm->mem.changes)
		return false;
	if (m->cr3 != cr3) {
		m->cr3 = cr3;
		m->entry_pa[top] = (cr3 & CR3_TABLE) | (m->entry_pa[top] & (PAGE_SIZE - 1));
		p->entry[top] = find(vcpu, m->entry_pa[top]);
	}
	for (unsigned i = m->first; i <= top; i++)
		if (!p->entry[i] || __atomic_load_n(p->entry[i], __ATOMIC_RELAXED) != m->entry[i])
			return false;
	return true;
}

static bool remember(struct vcpu *vcpu, struct lookahead_page *p, gva_t gva)
{
	struct guest_memo *m = &p->memo;
	struct guest_paging gp;

	vcpu_guest_paging(vcpu, &gp);
	if (!guest_remember(&gp, gmem_pt_mem(vcpu->vm), gva, m))
		return false;
	for (unsigned i = m->first; i < m->first + m->n; i++)
		p->entry[i] = find(vcpu, m->entry_pa[i]);
	p->code = find(vcpu, m->gpa.v);
	p->changes = vcpu->vm->mem.changes;
	return true;
}

static const uint8_t *long_mode_page(struct vcpu *vcpu, gva_t gva)
{
	struct lookahead_page *p = &vcpu->lookahead.page[(gva.v >> PAGE_SHIFT) % LOOKAHEAD_PAGES];

	if (!holds(vcpu, p, vcpu->vm->backend->get_reg(vcpu, REG_CR3), gva) &&
	    !remember(vcpu, p, gva))
		return NULL;
	return p->code;
}

static const uint8_t *legacy_page(struct vcpu *vcpu, gva_t gva)
{
	struct guest_paging gp;
	struct guest_xlat xlat;

	vcpu_guest_paging(vcpu, &gp);
	if (!guest_peek(&gp, gmem_pt_mem(vcpu->vm), gva, &xlat))
		return NULL;
	return find(vcpu, ALIGN_DOWN(xlat.gpa.v, PAGE_SIZE));
}

/* The linear address of RIP; *left: what the segment has from there. */
static gva_t code_address(const struct vcpu *vcpu, uint64_t *left)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	uint64_t rip = vcpu->regs.rip;
	struct segment cs;

	*left = PAGE_SIZE;
	if (vcpu_code_size(vcpu) == 8)
		return GVA(rip);
	backend->get_seg(vcpu, SEG_CS, &cs);
	*left = rip > cs.limit ? 0 : cs.limit - rip + 1;
	return GVA((cs.base + rip) & BITS(31, 0));
}

const uint8_t *lookahead_code(struct vcpu *vcpu, uint64_t *avail)
{
	bool long_mode = vcpu->vm->backend->get_reg(vcpu, REG_EFER) & EFER_LMA;
	uint64_t left, offset;
	gva_t gva = code_address(vcpu, &left);
	const uint8_t *page;

	if (!left)
		return NULL;
	page = long_mode ? long_mode_page(vcpu, gva) : legacy_page(vcpu, gva);
	offset = gva.v & (PAGE_SIZE - 1);
	*avail = MIN(PAGE_SIZE - offset, left);
	return page ? page + offset : NULL;
}

bool lookahead_allowed(const struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;

	return !(vcpu->regs.rflags & RFLAGS_TF) && vcpu_cpl(vcpu) == 0 &&
	       !(backend->get_reg(vcpu, REG_DR7) & DR7_ENABLED) && vcpu_code_size(vcpu) >= 4;
}

bool lookahead_may_go_on(const struct vcpu *vcpu)
{
	return !vcpu_has_wakeup(vcpu) && vcpu->vm->stop_reason == VM_STOP_NONE;
}
