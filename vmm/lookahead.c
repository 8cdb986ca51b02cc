#include "vmm/lookahead.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/gmem.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define NO_PAGE UINT64_C(1)

/* Bits of an entry that do not matter to where it leads. */
#define ENTRY_A BIT(5)
#define ENTRY_D BIT(6)

void lookahead_forget(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < LOOKAHEAD_PAGES; i++)
		vcpu->lookahead.page[i].code = NULL;
}

static inline bool is_same(const struct lookahead_entry *e, bool wide)
{
	uint64_t now = wide ? __atomic_load_n((const uint64_t *)e->at, __ATOMIC_RELAXED)
			    : __atomic_load_n((const uint32_t *)e->at, __ATOMIC_RELAXED);

	return !((now ^ e->val) & ~(ENTRY_A | ENTRY_D));
}

static inline bool all_same(const struct lookahead_page *p, bool wide)
{
	const struct lookahead_entry *e = p->entry, *end = e + p->n;

	while (e < end)
		if (!is_same(e++, wide))
			return false;
	return true;
}

/* Another table stands on top: where its entry is. False: not in memory. */
static __attribute__((noinline)) bool move_top(struct vcpu *vcpu, struct lookahead_page *p,
					       uint64_t cr3)
{
	uint64_t avail;
	const void *at = memmap_ptr(&vcpu->vm->mem, GPA((cr3 & p->root_mask) + p->root_offset),
				    false, &avail);

	if (!at)
		return false;
	p->entry[0].at = at;
	p->cr3 = cr3;
	return true;
}

/* Has the VM PDPTEs that count whatever is in memory? A shadow's do, and are vcpu->pdpte. */
static bool pdptes_are_loaded(const struct vcpu *vcpu)
{
	return vcpu->vm->shadow || vcpu->vm->backend->get_pdptes;
}

/* Under nested paging the guest loads them unseen. */
static void update_pdptes(struct vcpu *vcpu)
{
	if (!vcpu->vm->shadow)
		vcpu->vm->backend->get_pdptes(vcpu, vcpu->pdpte);
}

/* Does the page still lie where it was found? */
static bool page_holds(struct vcpu *vcpu, struct lookahead_page *p, uint64_t page)
{
	uint64_t cr3 = vcpu_hot_reg(vcpu, REG_CR3);

	if (p->page != page || !p->code || p->changes != vcpu->vm->mem.changes)
		return false;
	if (p->loaded)
		update_pdptes(vcpu);
	if (p->cr3 != cr3 && p->root_mask && !move_top(vcpu, p, cr3))
		return false;
	return p->wide ? all_same(p, true) : all_same(p, false);
}

/* Keep the entries of the walk. False: they do not all lie in memory. */
static bool keep_entries(struct vcpu *vcpu, struct lookahead_page *p, const struct guest_memo *m,
			 uint64_t cr3)
{
	uint64_t avail;

	p->cr3 = cr3;
	p->root_mask = m->root_mask;
	p->root_offset = m->n ? (uint16_t)(m->entry_pa[0] - (cr3 & m->root_mask)) : 0;
	p->wide = m->entry_size == 8;
	p->n = m->n;
	for (unsigned i = 0; i < m->n; i++) {
		p->entry[i].at = memmap_ptr(&vcpu->vm->mem, GPA(m->entry_pa[i]), false, &avail);
		p->entry[i].val = m->entry[i];
		if (!p->entry[i].at)
			return false;
	}
	return true;
}

/* Walk to the page, and remember it if that can be. False: there is none. */
static __attribute__((noinline)) bool find_page(struct vcpu *vcpu, struct lookahead_page *p,
						gva_t page)
{
	const struct pt_mem *mem = gmem_pt_mem(vcpu->vm);
	struct guest_paging gp;
	struct guest_memo m;
	uint64_t avail;

	p->code = NULL;
	vcpu_guest_paging(vcpu, &gp);
	if (!guest_remember(&gp, mem, page, &m))
		return false;
	p->changes = vcpu->vm->mem.changes;
	p->page = keep_entries(vcpu, p, &m, gp.cr3) ? page.v : NO_PAGE;
	p->loaded = pdptes_are_loaded(vcpu) && m.n && !(gp.efer & EFER_LMA) && (gp.cr4 & CR4_PAE);
	if (p->loaded) {
		p->entry[0].at = &vcpu->pdpte[page.v >> 30 & 3];
		p->root_mask = 0;
	}
	p->code = memmap_ptr(&vcpu->vm->mem, m.gpa, false, &avail);
	return p->code;
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
	uint64_t left, offset, page;
	gva_t gva = code_address(vcpu, &left);
	struct lookahead_page *p;

	if (!left)
		return NULL;
	offset = gva.v & (PAGE_SIZE - 1);
	page = gva.v - offset;
	p = &vcpu->lookahead.page[(page >> PAGE_SHIFT) % LOOKAHEAD_PAGES];
	if (!page_holds(vcpu, p, page) && !find_page(vcpu, p, GVA(page)))
		return NULL;
	*avail = MIN(PAGE_SIZE - offset, left);
	return p->code + offset;
}

bool lookahead_allowed(const struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;

	return !vcpu->debug.on && !(vcpu->regs.rflags & RFLAGS_TF) && vcpu_cpl(vcpu) == 0 &&
	       !(backend->get_reg(vcpu, REG_DR7) & DR7_ENABLED) && vcpu_code_size(vcpu) >= 4;
}

bool lookahead_may_go_on(struct vcpu *vcpu)
{
	return !vcpu_has_wakeup(vcpu) && vcpu->vm->stop_reason == VM_STOP_NONE;
}
