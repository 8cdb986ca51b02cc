#include "vmm/lookahead.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/gmem.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define DR7_ENABLED BITS(7, 0)

/* Long mode: a remembered walk is used when all its entries read the same again. */
static bool long_mode_page(struct vcpu *vcpu, gva_t gva, gpa_t *page)
{
	const struct pt_mem *mem = gmem_pt_mem(vcpu->vm);
	struct guest_memo *memo = &vcpu->lookahead.page[(gva.v >> PAGE_SHIFT) % LOOKAHEAD_PAGES];
	uint64_t cr3 = vcpu->vm->backend->get_reg(vcpu, REG_CR3);

	if (!guest_memo_holds(memo, mem, cr3, gva)) {
		struct guest_paging gp;

		vcpu_guest_paging(vcpu, &gp);
		if (!guest_remember(&gp, mem, gva, memo))
			return false;
	}
	*page = memo->gpa;
	return true;
}

static bool legacy_page(struct vcpu *vcpu, gva_t gva, gpa_t *page)
{
	struct guest_paging gp;
	struct guest_xlat xlat;

	vcpu_guest_paging(vcpu, &gp);
	if (!guest_peek(&gp, gmem_pt_mem(vcpu->vm), gva, &xlat))
		return false;
	*page = GPA(ALIGN_DOWN(xlat.gpa.v, PAGE_SIZE));
	return true;
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
	const uint8_t *code;
	uint64_t left, offset;
	gva_t gva = code_address(vcpu, &left);
	gpa_t page;

	if (!left ||
	    !(long_mode ? long_mode_page(vcpu, gva, &page) : legacy_page(vcpu, gva, &page)))
		return NULL;
	offset = gva.v & (PAGE_SIZE - 1);
	code = memmap_ptr(&vcpu->vm->mem, GPA(page.v + offset), false, avail);
	if (code)
		*avail = MIN(*avail, MIN(PAGE_SIZE - offset, left));
	return code;
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
