#include "vmm/load/enter.h"

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/load/place.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define SEL_CODE 0x10u /* __BOOT_CS */
#define SEL_DATA 0x18u /* __BOOT_DS */

/* Descriptors, APM vol. 2, 4.7 and 4.8: flat, accessed, DPL 0. */
#define GDT_CODE64 UINT64_C(0x00af9b000000ffff)
#define GDT_CODE32 UINT64_C(0x00cf9b000000ffff)
#define GDT_DATA UINT64_C(0x00cf93000000ffff)

#define ATTR_CODE (0xbu | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_G)
#define ATTR_DATA (0x3u | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_G | SEG_ATTR_DB)
#define ATTR_TSS_BUSY (0xbu | SEG_ATTR_P)

/* Page table entries, APM vol. 2, 5.3. */
#define PTE_TABLE (BIT(0) | BIT(1))          /* present, writable */
#define PTE_LARGE (BIT(0) | BIT(1) | BIT(7)) /* and a 2 MiB page */

static void set_segments(struct vcpu *vcpu, uint64_t gdt_size, unsigned code_attr)
{
	static const enum seg_reg data[] = { SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS };
	const struct vmm_backend *hw = vcpu->vm->backend;
	struct segment seg = { SEL_CODE, (uint16_t)(ATTR_CODE | code_attr), UINT32_MAX, 0 };

	hw->set_seg(vcpu, SEG_CS, &seg);
	seg.selector = SEL_DATA;
	seg.attr = ATTR_DATA;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		hw->set_seg(vcpu, data[i], &seg);
	seg = (struct segment){ 0, ATTR_TSS_BUSY, 0x67, 0 };
	hw->set_seg(vcpu, SEG_TR, &seg);
	seg = (struct segment){ 0, 0, (uint32_t)gdt_size - 1, PLACE_GDT };
	hw->set_seg(vcpu, SEG_GDTR, &seg);
	seg = (struct segment){ 0, 0, 0, 0 };
	hw->set_seg(vcpu, SEG_IDTR, &seg);
}

static void set_general(struct vcpu *vcpu, uint64_t rip)
{
	memset(&vcpu->regs, 0, sizeof(vcpu->regs));
	vcpu->regs.rip = rip;
	vcpu->regs.rflags = RFLAGS_FIXED;
}

/* Page i of the tables, cleared; NULL: no RAM there. RAM comes in whole pages. */
static uint64_t *table_page(struct memmap *mem, unsigned i)
{
	uint64_t avail;
	uint64_t *page = memmap_ptr(mem, GPA(PLACE_PAGE_TABLES + i * PAGE_SIZE), true, &avail);

	if (page)
		memset(page, 0, PAGE_SIZE);
	return page;
}

/* One PML4, one PDPT, four page directories of 2 MiB pages. */
static bool write_identity_map(struct memmap *mem)
{
	uint64_t *pml4 = table_page(mem, 0), *pdpt = table_page(mem, 1);

	if (!pml4 || !pdpt)
		return false;
	pml4[0] = (PLACE_PAGE_TABLES + PAGE_SIZE) | PTE_TABLE;
	for (unsigned dir = 0; dir < 4; dir++) {
		uint64_t *pd = table_page(mem, 2 + dir);

		if (!pd)
			return false;
		pdpt[dir] = (PLACE_PAGE_TABLES + (2 + dir) * PAGE_SIZE) | PTE_TABLE;
		for (unsigned i = 0; i < 512; i++)
			pd[i] = GIB(dir) | MIB(2 * i) | PTE_LARGE;
	}
	return true;
}

/* The registers in the order that hardware would take: paging last. */
static void set_long_mode(struct vcpu *vcpu)
{
	const struct vmm_backend *hw = vcpu->vm->backend;

	hw->set_reg(vcpu, REG_CR3, PLACE_PAGE_TABLES);
	hw->set_reg(vcpu, REG_CR4, CR4_PAE);
	hw->set_reg(vcpu, REG_EFER, EFER_LME | EFER_LMA);
	hw->set_reg(vcpu, REG_CR0, CR0_PE | CR0_ET | CR0_PG);
}

bool enter_long(struct vcpu *vcpu, uint64_t rip)
{
	const uint64_t gdt[] = { 0, 0, GDT_CODE64, GDT_DATA };
	struct memmap *mem = &vcpu->vm->mem;

	if (!memmap_write(mem, GPA(PLACE_GDT), gdt, sizeof(gdt)) || !write_identity_map(mem))
		return false;
	set_long_mode(vcpu);
	set_segments(vcpu, sizeof(gdt), SEG_ATTR_L);
	set_general(vcpu, rip);
	return true;
}

bool enter_protected(struct vcpu *vcpu, uint32_t eip)
{
	const uint64_t gdt[] = { 0, 0, GDT_CODE32, GDT_DATA };
	const struct vmm_backend *hw = vcpu->vm->backend;

	if (!memmap_write(&vcpu->vm->mem, GPA(PLACE_GDT), gdt, sizeof(gdt)))
		return false;
	hw->set_reg(vcpu, REG_CR0, CR0_PE | CR0_ET);
	hw->set_reg(vcpu, REG_EFER, 0);
	hw->set_reg(vcpu, REG_CR4, 0);
	hw->set_reg(vcpu, REG_CR3, 0);
	set_segments(vcpu, sizeof(gdt), SEG_ATTR_DB);
	set_general(vcpu, eip);
	return true;
}
