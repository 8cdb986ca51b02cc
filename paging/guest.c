#include "paging/guest.h"

#include <stddef.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "paging/pt.h"

/* Lost races with other vCPUs before the access is given up as a fault. */
#define MARK_TRIES 64

/*
 * Formats by what they depend on, each made once and never changed: a key of 0 is a free
 * slot, KEY_BUSY one that is being filled. When all are taken (as many kinds of virtual
 * CPU have not been seen), the caller makes its own.
 */
#define KEY_BUSY UINT64_C(1)
#define FORMAT_SLOTS 64
static struct format_slot {
	uint64_t key;
	struct pt_format fmt;
} format_slots[FORMAT_SLOTS];

/* The capabilities that guest formats depend on are the first 7 bytes; the kind is the 8th. */
static_assert(offsetof(struct pt_caps, ept_exec_only) == 7 && sizeof(struct pt_caps) >= 8,
	      "the format key holds the guest's capabilities");

static uint64_t format_key(enum pt_kind kind, const struct pt_caps *c)
{
	uint64_t key;

	memcpy(&key, c, sizeof(key));
	return (key & BITS(55, 0)) | (uint64_t)(kind + 1) << 56;
}

static const struct pt_format *format_get(enum pt_kind kind, const struct pt_caps *caps,
					  struct pt_format *own)
{
	uint64_t key = format_key(kind, caps);
	unsigned at = (unsigned)kind * 4 + caps->nx * 2 + caps->pse;

	for (unsigned i = 0; i < FORMAT_SLOTS; i++) {
		struct format_slot *s = &format_slots[(at + i) % FORMAT_SLOTS];
		uint64_t seen = __atomic_load_n(&s->key, __ATOMIC_ACQUIRE);

		if (__builtin_expect(seen == key, 1))
			return &s->fmt;
		if (seen == 0 && __atomic_compare_exchange_n(&s->key, &seen, KEY_BUSY, false,
							     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			pt_format_init(&s->fmt, kind, caps);
			__atomic_store_n(&s->key, key, __ATOMIC_RELEASE);
			return &s->fmt;
		}
	}
	pt_format_init(own, kind, caps);
	return own;
}

static bool open_bus_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	const struct pt_mem *mem = ctx;

	if (!mem->read(mem->ctx, pa, size, val))
		*val = size == 4 ? UINT32_MAX : UINT64_MAX;
	return true;
}

static bool open_bus_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	const struct pt_mem *mem = ctx;
	uint64_t seen;

	if (!mem->read(mem->ctx, pa, size, &seen))
		return true;
	return mem->cmpxchg(mem->ctx, pa, size, old, val);
}

void guest_open_bus(struct pt_mem *bus, const struct pt_mem *mem)
{
	*bus = (struct pt_mem){
		.read = open_bus_read,
		.cmpxchg = open_bus_cmpxchg,
		.ctx = (void *)mem,
	};
}

/* The guest's tables as one walk meets them. */
struct guest_tree {
	struct pt_tree tree;
	unsigned top;
	struct pt_mem open_bus;
	struct pt_format own; /* when the formats' cache is full */
};

enum pt_kind guest_paging_kind(const struct guest_paging *gp)
{
	if (gp->efer & EFER_LMA)
		return gp->cr4 & CR4_LA57 ? PT_5LEVEL : PT_4LEVEL;
	return gp->cr4 & CR4_PAE ? PT_PAE : PT_32;
}

/* The mode, what its format depends on, and the root (PAE: of no meaning). */
static enum pt_kind paging_mode(const struct guest_paging *gp, struct pt_caps *caps, uint64_t *root)
{
	*caps = gp->caps;
	caps->nx = gp->efer & EFER_NXE;
	caps->pse = gp->cr4 & CR4_PSE;
	*root = gp->cr3 & CR3_ADDR_32;
	if (gp->efer & EFER_LMA)
		*root = gp->cr3 & CR3_ADDR_LONG;
	return guest_paging_kind(gp);
}

/* Choose the format and the root. Paging is on. False: PAE, and the PDPTE is not present. */
static bool tree_init(struct guest_tree *g, const struct guest_paging *gp, const struct pt_mem *mem,
		      uint64_t gva)
{
	struct pt_caps caps;
	uint64_t root;
	enum pt_kind kind = paging_mode(gp, &caps, &root);

	g->tree.fmt = format_get(kind, &caps, &g->own);
	g->tree.mem = mem;
	g->top = g->tree.fmt->levels - 1u;
	if (kind == PT_PAE) {
		const struct pt_level *l = &g->tree.fmt->level[g->top--];
		uint64_t pdpte = gp->pdpte[gva >> l->shift & l->index_mask];

		root = pdpte & l->table_addr;
		if (!(pdpte & PDPTE_P))
			return false;
	}
	g->tree.root = root;
	return true;
}

static void tree_walk(struct guest_tree *g, uint64_t gva, struct pt_walk *w)
{
	if (pt_walk_from(&g->tree, g->top, gva, w) != PT_BAD_TABLE)
		return;
	guest_open_bus(&g->open_bus, g->tree.mem);
	g->tree.mem = &g->open_bus;
	pt_walk_from(&g->tree, g->top, gva, w);
}

static unsigned access_kind(const struct guest_paging *gp, struct guest_access access)
{
	unsigned a = access.fetch ? PT_ACC_FETCH : access.write ? PT_ACC_WRITE : 0;

	if (access.implicit)
		return a;
	a |= access.user ? PT_ACC_USER : 0;
	return a | (gp->rflags & RFLAGS_AC ? PT_ACC_NO_SMAP : 0);
}

static bool page_fault(struct guest_fault *fault, gva_t gva, uint32_t error)
{
	*fault = (struct guest_fault){
		.vector = VEC_PF,
		.has_error = true,
		.error = error,
		.cr2 = gva.v,
	};
	return false;
}

static struct guest_xlat identity(gva_t gva)
{
	return (struct guest_xlat){
		.gpa = GPA(gva.v & UINT32_MAX),
		.page_size = PAGE_SIZE,
		.writable = true,
	};
}

bool guest_translate(const struct guest_paging *gp, const struct pt_mem *mem, gva_t gva,
		     struct guest_access access, struct guest_xlat *out, struct guest_fault *fault)
{
	struct guest_tree g;
	struct pt_policy policy;
	struct pt_walk w;
	unsigned a = access_kind(gp, access);
	uint32_t error = 0;

	if (!(gp->cr0 & CR0_PG)) {
		*out = identity(gva);
		return true;
	}
	pt_policy_init(&policy, gp->cr0, gp->cr4, gp->efer, gp->pkru);
	w.status = PT_NOT_PRESENT;
	if (!tree_init(&g, gp, mem, gva.v)) {
		pt_judge(&policy, &w, a, &error);
		return page_fault(fault, gva, error);
	}
	for (unsigned i = 0; i < MARK_TRIES; i++) {
		tree_walk(&g, gva.v, &w);
		if (!pt_judge(&policy, &w, a, &error))
			return page_fault(fault, gva, error);
		if (!pt_mark(&g.tree, &w, a & PT_ACC_WRITE))
			continue;
		out->gpa = GPA(w.out);
		out->page_size = BIT(w.page_shift);
		a = (a & ~PT_ACC_FETCH) | PT_ACC_WRITE;
		out->writable =
			(w.entry[w.level] & g.tree.fmt->dirty) && pt_judge(&policy, &w, a, &error);
		return true;
	}
	w.status = PT_NOT_PRESENT;
	pt_judge(&policy, &w, a, &error);
	return page_fault(fault, gva, error);
}

/* Where the tables lead, without judging. False: nowhere. */
static bool tree_find(struct guest_tree *g, const struct guest_paging *gp, const struct pt_mem *mem,
		      uint64_t gva, struct pt_walk *w)
{
	if (!tree_init(g, gp, mem, gva))
		return false;
	tree_walk(g, gva, w);
	return w->status == PT_OK;
}

bool guest_peek(const struct guest_paging *gp, const struct pt_mem *mem, gva_t gva,
		struct guest_xlat *out)
{
	struct guest_tree g;
	struct pt_walk w;

	if (!(gp->cr0 & CR0_PG)) {
		*out = identity(gva);
		return true;
	}
	if (!tree_find(&g, gp, mem, gva.v, &w))
		return false;
	*out = (struct guest_xlat){
		.gpa = GPA(w.out),
		.page_size = BIT(w.page_shift),
		.writable = w.rights & PT_W,
	};
	return true;
}

/* The cached PDPTEs, and else the guest's memory. */
static bool view_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	const struct guest_view *v = ctx;

	if (pa - GUEST_PDPTES >= sizeof(v->pdpte))
		return v->under->read(v->under->ctx, pa, size, val);
	*val = v->pdpte[(pa - GUEST_PDPTES) / 8];
	return true;
}

bool guest_view_init(struct guest_view *v, const struct guest_paging *gp, const struct pt_mem *mem)
{
	struct pt_caps caps;
	enum pt_kind kind;

	if (!(gp->cr0 & CR0_PG))
		return false;
	*v = (struct guest_view){ .mem = { .read = view_read, .ctx = v }, .under = mem };
	v->tree.fmt = &v->fmt;
	v->tree.mem = &v->mem;
	kind = paging_mode(gp, &caps, &v->tree.root);
	if (kind == PT_PAE)
		v->tree.root = GUEST_PDPTES;
	memcpy(v->pdpte, gp->pdpte, sizeof(v->pdpte));
	pt_format_init(&v->fmt, kind, &caps);
	return true;
}

bool guest_remember(const struct guest_paging *gp, const struct pt_mem *mem, gva_t gva,
		    struct guest_memo *memo)
{
	struct guest_tree g;
	struct pt_walk w;

	memo->n = 0;
	memo->entry_size = 8;
	memo->root_mask = 0;
	memo->gpa = GPA(ALIGN_DOWN(identity(gva).gpa.v, PAGE_SIZE));
	if (!(gp->cr0 & CR0_PG))
		return true;
	if (!tree_find(&g, gp, mem, gva.v, &w))
		return false;
	memo->gpa = GPA(ALIGN_DOWN(w.out, PAGE_SIZE));
	memo->entry_size = g.tree.fmt->entry_size;
	memo->root_mask = gp->efer & EFER_LMA ? CR3_ADDR_LONG : CR3_ADDR_32;
	if (g.top + 1u < g.tree.fmt->levels) {
		unsigned i = gva.v >> 30 & 3;

		memo->root_mask = CR3_ADDR_PAE;
		memo->entry[0] = gp->pdpte[i];
		memo->entry_pa[0] = (gp->cr3 & CR3_ADDR_PAE) + 8 * i;
		memo->n = 1;
	}
	for (unsigned i = w.top + 1u; i-- > w.level; memo->n++) {
		memo->entry[memo->n] = w.entry[i];
		memo->entry_pa[memo->n] = w.entry_pa[i];
	}
	return true;
}

/* May PAE paging load these four? Not if a present one has a reserved bit set. */
static bool pdptes_valid(const struct pt_caps *caps, const uint64_t pdpte[4])
{
	struct pt_format own;
	const struct pt_format *f = format_get(PT_PAE, caps, &own);
	const struct pt_level *l = &f->level[f->levels - 1];

	for (unsigned i = 0; i < 4; i++)
		if ((pdpte[i] & PDPTE_P) && (pdpte[i] & l->rsvd[0]))
			return false;
	return true;
}

bool guest_load_pdptes(const struct pt_caps *caps, const struct pt_mem *mem, uint64_t cr3,
		       uint64_t pdpte[4])
{
	uint64_t e[4];

	for (unsigned i = 0; i < 4; i++)
		if (!mem->read(mem->ctx, (cr3 & CR3_ADDR_PAE) + 8 * i, 8, &e[i]))
			e[i] = UINT64_MAX;
	if (!pdptes_valid(caps, e))
		return false;
	for (unsigned i = 0; i < 4; i++)
		pdpte[i] = e[i];
	return true;
}
