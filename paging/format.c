/* The formats' descriptors, from the processor's capabilities. */
#include "paging/entry.h"
#include "paging/pt.h"

/* Entry bits that all x86 formats share. APM vol. 2, 5.4; SDM vol. 3, tables 4-5 to 4-20. */
#define X86_P BIT(0)
#define X86_W BIT(1)
#define X86_U BIT(2)
#define X86_PWT BIT(3)
#define X86_PCD BIT(4)
#define X86_A BIT(5)
#define X86_D BIT(6)
#define X86_PS BIT(7)
#define X86_G BIT(8)
#define X86_PKEY BITS(62, 59)
#define X86_NX BIT(63)

/* EPT entries. SDM vol. 3, tables 29-1 to 29-7. */
#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)
#define EPT_TYPE BITS(5, 3)
#define EPT_TYPE_UC (UINT64_C(0) << 3)
#define EPT_TYPE_WB (UINT64_C(6) << 3)
#define EPT_PS BIT(7)
#define EPT_A BIT(8)
#define EPT_D BIT(9)

static unsigned phys_bits(const struct pt_caps *caps)
{
	return MIN(MAX(caps->maxphyaddr, 32u), 52u);
}

/* What levels of all formats have in common. index_bits: 9 or 10. */
static void level_init(struct pt_format *f, unsigned level, unsigned index_bits, uint64_t phys,
		       bool leaf)
{
	unsigned shift = PAGE_SHIFT + index_bits * level;

	f->level[level] = (struct pt_level){
		.shift = (uint8_t)shift,
		.index_mask = (uint16_t)(BIT(index_bits) - 1),
		.table_mask = PAGE_SIZE - 1,
		.leaf = leaf,
		.leaf_bit = level ? 0 : f->present,
		.table_addr = phys & BITS(63, PAGE_SHIFT),
		.leaf_addr = phys & BITS(63, shift),
	};
}

static void x86_level_init(struct pt_format *f, unsigned level, unsigned index_bits, uint64_t phys,
			   bool leaf)
{
	struct pt_level *l = &f->level[level];

	level_init(f, level, index_bits, phys, leaf);
	l->table_set = X86_P | X86_W | X86_U | X86_A;
	l->leaf_set = X86_P | (level ? X86_PS : 0);
	if (level && leaf)
		l->leaf_bit = X86_PS;
}

static void x86_init(struct pt_format *f, const char *name, unsigned levels, unsigned entry_shift)
{
	f->name = name;
	f->levels = (uint8_t)levels;
	f->entry_size = (uint8_t)(1u << entry_shift);
	f->entry_shift = (uint8_t)entry_shift;
	f->present = X86_P;
	f->w = X86_W;
	f->u = X86_U;
	f->accessed = X86_A;
	f->dirty = X86_D;
	f->global = X86_G;
	f->type_mask = f->type_uc = X86_PWT | X86_PCD;
}

/* SDM vol. 3, 4.3. PSE-36: address bits 39:32 are in bits 20:13 of the entry. */
static void format_32(struct pt_format *f, const struct pt_caps *caps)
{
	unsigned hi = caps->pse36 ? MIN(phys_bits(caps), 40u) : 32;
	struct pt_level *pde = &f->level[1];

	x86_init(f, "32", 2, 2);
	f->addr_bits = 32;
	f->root_addr = BITS(31, PAGE_SHIFT);
	x86_level_init(f, 0, 10, BITS(31, 0), true);
	x86_level_init(f, 1, 10, BITS(31, 0), caps->pse);
	if (hi > 32) {
		pde->leaf_hi = BITS(hi - 32 + 12, 13);
		pde->leaf_hi_shift = 32 - 13;
	}
	pde->rsvd[1] = BITS(21, 13) & ~pde->leaf_hi;
}

/* The formats with 8-byte entries. SDM vol. 3, 4.4.2 and 4.5; APM vol. 2, 5.2.3 and 5.3. */
static void format_long(struct pt_format *f, const char *name, unsigned levels,
			const struct pt_caps *caps)
{
	uint64_t phys = BITS(phys_bits(caps) - 1, 0);
	uint64_t rsvd = (BITS(51, 0) & ~phys) | (caps->nx ? 0 : X86_NX);

	x86_init(f, name, levels, 3);
	f->addr_bits = (uint8_t)(PAGE_SHIFT + 9 * levels);
	f->sign_extend = true;
	f->root_addr = phys & BITS(63, PAGE_SHIFT);
	f->x = f->invert = caps->nx ? X86_NX : 0;
	f->pkey = X86_PKEY;
	for (unsigned i = 0; i < levels; i++) {
		struct pt_level *l = &f->level[i];

		x86_level_init(f, i, 9, phys, i <= 1 || (i == 2 && caps->page_1g));
		l->rsvd[0] = rsvd | (i >= 2 && caps->nonleaf_g_rsvd ? X86_G : 0);
		l->rsvd[1] = rsvd | (i ? BITS(l->shift - 1, 13) : 0);
		if (!l->leaf)
			l->rsvd[0] |= X86_PS;
	}
}

/*
 * PAE: bits 62:52 are reserved as well. A PDPTE has no rights, no page, no accessed bit:
 * 2:1, 8:5 and all above the address are reserved. Bit 5 is let pass unless strict_pdpte:
 * some processors' nested walks set it. QEMU: its do. SDM vol. 3, 4.4.1.
 */
static void format_pae(struct pt_format *f, const struct pt_caps *caps)
{
	struct pt_level *pdpte = &f->level[2];
	struct pt_caps no_g = *caps;

	no_g.nonleaf_g_rsvd = no_g.page_1g = false;
	format_long(f, "pae", 3, &no_g);
	f->addr_bits = 32;
	f->root_addr = BITS(31, 5);
	f->sign_extend = false;
	f->pkey = 0;
	for (unsigned i = 0; i < 2; i++) {
		f->level[i].rsvd[0] |= BITS(62, 52);
		f->level[i].rsvd[1] |= BITS(62, 52);
	}
	pdpte->index_mask = 3;
	pdpte->table_mask = 4 * 8 - 1;
	pdpte->keep = ~UINT64_C(0);
	pdpte->table_set = X86_P;
	pdpte->rsvd[0] = BITS(63, phys_bits(caps)) | BITS(8, 6) | BITS(2, 1) |
			 (caps->strict_pdpte ? X86_A : 0);
}

/* The nested table of SVM: a 64-bit table that every guest access walks as a user's, under
 * the host's NXE, which is always set. APM vol. 2, 15.25. */
static void format_npt(struct pt_format *f, const struct pt_caps *caps)
{
	struct pt_caps npt = *caps;

	npt.nx = true;
	format_long(f, "npt", 4, &npt);
	f->sign_extend = false;
	f->pkey = 0;
}

/* SDM vol. 3, 29.3.2 and 29.3.3.1 (misconfigurations). */
static void format_ept(struct pt_format *f, const struct pt_caps *caps)
{
	uint64_t phys = BITS(phys_bits(caps) - 1, 0);
	uint64_t rsvd = BITS(51, 0) & ~phys;

	f->name = "ept";
	f->levels = 4;
	f->entry_size = 8;
	f->entry_shift = 3;
	f->addr_bits = 48;
	f->root_addr = phys & BITS(63, PAGE_SHIFT);
	f->present = EPT_R | EPT_W | EPT_X;
	f->r = EPT_R;
	f->w = EPT_W;
	f->x = EPT_X;
	f->accessed = caps->ept_ad ? EPT_A : 0;
	f->dirty = caps->ept_ad ? EPT_D : 0;
	f->type_mask = EPT_TYPE;
	f->type_uc = EPT_TYPE_UC;
	f->type_wb = EPT_TYPE_WB;
	for (unsigned v = 0; v < 64; v++) {
		unsigned xwr = v & 7, type = v >> 3;

		if (xwr == 2 || xwr == 6 || (xwr == 4 && !caps->ept_exec_only) || type == 2 ||
		    type == 3 || type == 7)
			f->bad_low6 |= BIT(v);
	}
	for (unsigned i = 0; i < f->levels; i++) {
		struct pt_level *l = &f->level[i];

		level_init(f, i, 9, phys, i <= 1 || (i == 2 && caps->page_1g));
		l->rsvd[0] = rsvd | BITS(6, 3) | (l->leaf ? 0 : EPT_PS);
		l->rsvd[1] = rsvd | (i ? BITS(l->shift - 1, 12) : 0);
		l->table_set = EPT_R | EPT_W | EPT_X | f->accessed;
		l->leaf_set = i ? EPT_PS : 0;
		if (i && l->leaf)
			l->leaf_bit = EPT_PS;
	}
}

/* What pt_walk() has at hand in other forms. */
static void derive(struct pt_format *f)
{
	for (unsigned i = 0; i < f->levels; i++) {
		struct pt_level *l = &f->level[i];

		l->offset_mask = (uint64_t)l->index_mask << f->entry_shift;
		l->stop = l->leaf_bit | l->rsvd[0];
		/* A present entry of level 0 is a page's, above it is one that has a leaf_bit. */
		l->leaf_flip = i ? l->leaf_bit : 0;
		l->leaf_rsvd = l->leaf ? l->leaf_flip | l->rsvd[1] : l->rsvd[0];
	}
	f->root_mask = f->level[f->levels - 1].table_mask;
	for (unsigned i = 0; i < ARRAY_SIZE(f->rights); i++) {
		uint64_t acc = i >> 1 | (uint64_t)i << 63;

		f->rights[rights_index(acc)] = (uint8_t)rights_decode(f, acc);
	}
}

void pt_format_init(struct pt_format *f, enum pt_kind kind, const struct pt_caps *caps)
{
	*f = (struct pt_format){ .kind = kind };
	switch (kind) {
	case PT_32:
		format_32(f, caps);
		break;
	case PT_PAE:
		format_pae(f, caps);
		break;
	case PT_5LEVEL:
		format_long(f, "5level", 5, caps);
		break;
	case PT_NPT:
		format_npt(f, caps);
		break;
	case PT_EPT:
		format_ept(f, caps);
		break;
	default:
		format_long(f, "4level", 4, caps);
		break;
	}
	derive(f);
}

bool pt_addr_ok(const struct pt_format *f, uint64_t addr)
{
	uint64_t high = addr >> (f->addr_bits - f->sign_extend);

	return !high || (f->sign_extend && high == UINT64_MAX >> (f->addr_bits - 1));
}
