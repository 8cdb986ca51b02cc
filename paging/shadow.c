/* The shadow's life, its roots, and what changes under it. shadow_fault.c has the page faults. */
#include "paging/shadow.h"

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "paging/shadow_core.h"

/* --- life --- */

static void init_locks(struct shadow *s)
{
	s->chunk_lock = (struct spinlock)SPINLOCK_INIT(LOCK_SHADOW_CHUNK);
	for (unsigned i = 0; i < SP_LOCKS; i++) {
		s->table_lock[i].lock = (struct spinlock)SPINLOCK_INIT(LOCK_SHADOW_TABLE);
		s->frame_lock[i].lock = (struct spinlock)SPINLOCK_INIT(LOCK_SHADOW_FRAME);
	}
}

int shadow_create(struct shadow **out, const struct shadow_ops *ops, const struct pt_caps *caps,
		  uint64_t max_bytes)
{
	struct pt_caps hw = *caps;
	struct shadow *s;
	int err;

	if (max_bytes < SHADOW_MIN)
		return -EINVAL;
	s = ops->alloc(ops->ctx, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->ops = *ops;
	s->caps = *caps;
	init_locks(s);
	hw.nx = true;
	pt_format_init(&s->hw_fmt[PT_PAE], PT_PAE, &hw);
	pt_format_init(&s->hw_fmt[PT_4LEVEL], PT_4LEVEL, &hw);
	pt_format_init(&s->hw_fmt[PT_5LEVEL], PT_5LEVEL, &hw);
	err = sp_pool_init(s, max_bytes);
	if (err) {
		shadow_destroy(s);
		return err;
	}
	*out = s;
	return 0;
}

void shadow_destroy(struct shadow *s)
{
	if (!s)
		return;
	sp_pool_destroy(s);
	s->ops.free(s->ops.ctx, s, sizeof(*s));
}

int shadow_vcpu_init(struct shadow_vcpu *sv, struct shadow *s)
{
	struct sp *low = sp_get(s, 0, ROLE_LOW_ROOT | LOW_LEVEL);

	*sv = (struct shadow_vcpu){ .s = s };
	if (!low)
		return -ENOMEM;
	s->many = s->vcpus++ > 0;
	low->roots = 1;
	sv->low_root = sp_number(s, low);
	return 0;
}

/* Others may do the same meanwhile: what was lost before one has begun is flushed when he is done.
 */
void sp_flush_writes(struct shadow *s)
{
	uint64_t lost = __atomic_load_n(&s->lost_writes, __ATOMIC_RELAXED), flushed;

	sp_count(s, &s->stats.flushes);
	s->ops.flush(s->ops.ctx);
	flushed = __atomic_load_n(&s->flushed_writes, __ATOMIC_RELAXED);
	while (flushed < lost &&
	       !__atomic_compare_exchange_n(&s->flushed_writes, &flushed, lost, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

void sp_flush(struct shadow *s)
{
	sp_flush_writes(s);
	s->lost_way = false;
	sp_bury(s);
	sp_update_invlpg(s);
}

void sp_flush_vcpu(struct shadow_vcpu *sv)
{
	sv->s->stats.flushes++;
	sv->s->ops.flush_vcpu(sv);
}

const struct shadow_stats *shadow_stats(const struct shadow *s)
{
	return &s->stats;
}

bool shadow_tree(const struct shadow_vcpu *sv, const struct pt_mem *mem, struct pt_tree *out)
{
	const struct sp *root = &sv->s->sp[sv->root];

	*out = (struct pt_tree){ .fmt = root->hw, .mem = mem, .root = root->pa.v };
	return sv->root;
}

uint64_t shadow_bytes(const struct shadow *s)
{
	return s->pages * PAGE_SIZE;
}

/* --- roots --- */

/* What the registers make of every shadow page's role. */
static uint32_t mode_of(const struct guest_paging *gp)
{
	uint64_t keeps_user = CR4_SMAP | (gp->efer & EFER_LMA ? CR4_PKE : 0);
	uint32_t kind = ROLE_UNPAGED, role = 0;

	if (gp->cr0 & CR0_PG) {
		kind = guest_paging_kind(gp);
		role |= gp->cr0 & CR0_WP ? ROLE_WP : gp->cr4 & CR4_SMEP ? ROLE_SMEP : 0;
		role |= !(gp->cr0 & CR0_WP) && (gp->cr4 & keeps_user) ? ROLE_USER_KEPT : 0;
		role |= gp->efer & EFER_NXE && kind != PT_32 ? ROLE_NXE : 0;
		role |= gp->cr4 & CR4_PSE && kind == PT_32 ? ROLE_PSE : 0;
	}
	return role | kind << ROLE_KIND_SHIFT;
}

bool sp_low_table(const struct shadow_vcpu *sv, unsigned slot, uint64_t *gfn)
{
	switch (role_kind(sv->role)) {
	case PT_PAE:
		*gfn = (sv->gp.pdpte[slot] & CR3_ADDR_LONG) >> PAGE_SHIFT;
		return sv->gp.pdpte[slot] & PDPTE_P;
	case PT_32:
		*gfn = (sv->gp.cr3 & CR3_ADDR_32) >> PAGE_SHIFT;
		return true;
	default:
		*gfn = (uint64_t)slot << (30 - PAGE_SHIFT);
		return true;
	}
}

uint64_t sp_long_root(const struct shadow_vcpu *sv)
{
	return (sv->gp.cr3 & CR3_ADDR_LONG) >> PAGE_SHIFT;
}

/* Point the four entries at what is there already. */
static void load_low_root(struct shadow_vcpu *sv, struct sp *low)
{
	struct shadow *s = sv->s;

	low->role = (low->role & ~ROLE_MODE) | (sv->role & ROLE_MODE);
	low->hw = sp_hw_format(s, low->role);
	for (unsigned slot = 0; slot < LOW_ENTRIES; slot++) {
		uint64_t gfn;
		struct sp *p = NULL;

		sp_zap(s, low, slot);
		if (!role_is_long(sv->role) && sp_low_table(sv, slot, &gfn))
			p = sp_find(s, gfn, sp_low_role(sv->role, slot));
		if (!p)
			continue;
		sp_set_link(s, low, slot, p);
		sp_close(s, p, SPTES);
	}
}

/* The shadow page for hardware's CR3. A root where no memory is: an empty one. */
static struct sp *choose_root(struct shadow_vcpu *sv)
{
	struct shadow *s = sv->s;
	unsigned kind = role_kind(sv->role);
	uint64_t gfn = sp_long_root(sv);
	uint32_t role = sv->role | (kind == PT_5LEVEL ? 4 : 3) | PT_RIGHTS << ROLE_RIGHTS_SHIFT;
	struct sp *p = NULL, *low = &s->sp[sv->low_root];

	if (role_is_long(sv->role)) {
		bool made = !sp_find(s, gfn, role);

		p = sp_get(s, gfn, role);
		if (p && made)
			sp_mirror_all(s, p);
	}
	if (!p)
		load_low_root(sv, low);
	else
		sp_close(s, p, SPTES);
	return p ? p : low;
}

static void leave_root(struct shadow *s, uint32_t nr)
{
	struct sp *p = &s->sp[nr];

	if (!nr || --p->roots)
		return;
	if (p->orphan)
		sp_free(s, p);
}

/* What is made from a table without an access is gone; a root stays one. */
static void empty(struct shadow *s, struct sp *p)
{
	if (!p->roots) {
		sp_free(s, p);
		return;
	}
	for_each_used(p, slot) sp_zap(s, p, slot);
}

/*
 * The guest has gone over to tables of another kind, or one of its vCPUs has. Where an accessed or
 * dirty bit is in those, the others have something else: what was made from the others is to be
 * compared again.
 */
void sp_use_kind(struct shadow *s, unsigned kind)
{
	bool freed = false;

	if (kind == s->kind || kind == ROLE_UNPAGED)
		return;
	s->kind = kind;
	for (uint32_t i = 1; i < s->nr_sps; i++) {
		struct sp *p = &s->sp[i];

		if (p->state != SP_CLOSED || !sp_is_table(p) || role_kind(p->role) == kind)
			continue;
		/* One that the guest can't write to is never open. */
		if (!p->rom) {
			sp_open_frame(s, p->gfn, false, 0);
			continue;
		}
		empty(s, p);
		freed = true;
	}
	if (freed)
		sp_flush(s);
}

hpa_t shadow_load(struct shadow_vcpu *sv, const struct guest_paging *gp)
{
	struct shadow *s = sv->s;
	uint32_t old = sv->root;
	struct sp *root;

	sp_sync_all(s);
	sv->opened_rip = NO_RIP;
	sv->gp = *gp;
	sv->role = mode_of(gp);
	pt_policy_init(&sv->policy, gp->cr0, gp->cr4, gp->efer, gp->pkru);
	root = choose_root(sv);
	sv->root = sp_number(s, root);
	root->roots++;
	s->rooted += !old;
	leave_root(s, old);
	sp_use_kind(s, role_kind(sv->role));
	sp_close_opened(s, root);
	sp_touch(s, root);
	s->stats.roots++;
	sp_flush_vcpu(sv);
	return root->pa;
}

/* What is made from a table that the guest can write to is to be compared before it is used. Roots
 * that are in use go out of sync. */
static void open_all(struct shadow *s)
{
	for (uint32_t i = 1; i < s->nr_sps; i++) {
		const struct sp *p = &s->sp[i];

		if (p->state == SP_CLOSED && sp_is_table(p) && !p->rom)
			sp_open_frame(s, p->gfn, false, 0);
	}
}

void shadow_leave(struct shadow_vcpu *sv)
{
	struct shadow *s = sv->s;

	leave_root(s, sv->root);
	s->rooted -= sv->root != 0;
	if (s->unsync_by == sv)
		s->unsync_by = NULL;
	*sv = (struct shadow_vcpu){ .s = s, .low_root = sv->low_root };
	if (!s->nr_chunks)
		return;
	if (s->rooted) {
		open_all(s);
		return;
	}
	while (s->nr_unsync)
		sp_unsync_drop(s, &s->sp[s->unsync[0]]);
	s->nr_opened = 0;
	sp_flush(s);
	sp_pool_reset(s);
}

/* --- what else changes --- */

void shadow_invlpg(struct shadow_vcpu *sv, gva_t gva)
{
	(void)gva;
	sv->opened_rip = NO_RIP;
	sp_sync_all(sv->s);
	sp_flush_vcpu(sv);
}

void shadow_write_begins(struct shadow *s, gpa_t gpa, uint64_t size)
{
	uint64_t last = (gpa.v + size - 1) >> PAGE_SHIFT;

	for (uint64_t gfn = gpa.v >> PAGE_SHIFT; size && gfn <= last; gfn++)
		if (sp_frame_closed(s, gfn))
			sp_open_frame(s, gfn, false, 0);
}

void shadow_written(struct shadow *s, gpa_t gpa, uint64_t size)
{
	uint64_t last = (gpa.v + size - 1) >> PAGE_SHIFT;

	for (uint64_t gfn = gpa.v >> PAGE_SHIFT; size && gfn <= last; gfn++) {
		struct sp_frame *fr = sp_frame_find(s, gfn);

		for (uint32_t i = fr ? fr->pages : 0; i; i = s->sp[i].next_same)
			if (sp_is_table(&s->sp[i]) && s->sp[i].state == SP_CLOSED)
				sp_resync(s, &s->sp[i], SPTES);
	}
}

static void forget_frame(struct shadow *s, struct sp_frame *fr)
{
	uint32_t i = fr->pages;

	while (fr->rmap)
		sp_zap(s, entry_sp(s, fr->rmap), fr->rmap % SPTES);
	while (i) {
		struct sp *p = &s->sp[i];

		i = p->next_same;
		if (sp_is_table(p))
			sp_free(s, p);
	}
}

void shadow_forget(struct shadow *s, gpa_t gpa, uint64_t size)
{
	uint64_t first = gpa.v >> PAGE_SHIFT, last = (gpa.v + size - 1) >> PAGE_SHIFT;

	s->last.size = 0;
	for (uint32_t i = 0; i < s->nr_chunks; i++) {
		struct sp_chunk *c = &s->block[i / CHUNKS_PER_BLOCK][i % CHUNKS_PER_BLOCK];
		uint64_t base = c->number * SPTES;

		if (base > last || base + SPTES <= first)
			continue;
		while (c->rmap)
			sp_zap(s, entry_sp(s, c->rmap), c->rmap % SPTES);
		for (uint64_t gfn = MAX(base, first); gfn <= MIN(base + SPTES - 1, last); gfn++)
			forget_frame(s, &c->frame[gfn - base]);
	}
	sp_flush(s);
}
