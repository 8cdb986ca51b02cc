/* Shadow pages: their memory, the guest's frames, and the lists between them. */
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "paging/shadow_core.h"

#define CHUNK_SHIFT 9 /* from frame to chunk */
#define CHUNK_FRAMES (1u << CHUNK_SHIFT)
#define MAX_SPS (REF_FRAME / SPTES)

/* --- memory --- */

static void *page_get(struct shadow *s, bool low, hpa_t *pa)
{
	*pa = s->ops.page_alloc(s->ops.ctx, low);
	if (!pa->v)
		return NULL;
	s->pages++;
	return s->ops.ptr(*pa);
}

static void page_put(struct shadow *s, hpa_t pa)
{
	if (!pa.v)
		return;
	s->ops.page_free(s->ops.ctx, pa);
	s->pages--;
}

static size_t sps_size(const struct shadow *s)
{
	return s->nr_sps * sizeof(struct sp);
}

static size_t hash_size(const struct shadow *s)
{
	return (s->pa_mask + 1u) * sizeof(uint32_t);
}

int sp_pool_init(struct shadow *s, uint64_t max_bytes)
{
	uint64_t nr;

	s->max_pages = max_bytes / PAGE_SIZE;
	/* The smallest shadow page takes two pages of memory. */
	nr = MIN(s->max_pages / 2 + 1, MAX_SPS);
	s->nr_sps = (uint32_t)nr;
	for (s->pa_mask = 63; s->pa_mask < nr; s->pa_mask = s->pa_mask * 2 + 1)
		;
	s->sp = s->ops.alloc(s->ops.ctx, sps_size(s));
	s->pa_hash = s->ops.alloc(s->ops.ctx, hash_size(s));
	if (!s->sp || !s->pa_hash)
		return -ENOMEM;
	for (uint32_t i = 1; i < s->nr_sps; i++)
		s->sp[i].next_same = i + 1 < s->nr_sps ? i + 1 : 0;
	s->free_sp = s->nr_sps > 1 ? 1 : 0;
	return 0;
}

/* Pages of memory that it has. */
static unsigned sp_pages(const struct sp *p)
{
	return (p->pa.v ? 1 : 0) + (p->link ? 1 : 0) + (p->snap ? 1 : 0);
}

/* What a shadow page has of memory; where it could not have all, what it got. */
static void sp_memory_free(struct shadow *s, struct sp *p)
{
	page_put(s, p->pa);
	s->pages -= (p->link ? 1 : 0) + (p->snap ? 1 : 0);
	s->ops.free(s->ops.ctx, p->link, PAGE_SIZE);
	s->ops.free(s->ops.ctx, p->snap, PAGE_SIZE);
}

static void chunks_free(struct shadow *s)
{
	for (uint32_t i = 0; i < s->nr_chunks; i++)
		s->ops.free(s->ops.ctx, s->block[i / CHUNKS_PER_BLOCK][i % CHUNKS_PER_BLOCK].frame,
			    CHUNK_FRAMES * sizeof(struct sp_frame));
	for (unsigned i = 0; i < CHUNK_BLOCKS && s->block[i]; i++) {
		s->ops.free(s->ops.ctx, s->block[i], CHUNKS_PER_BLOCK * sizeof(struct sp_chunk));
		s->block[i] = NULL;
	}
	s->nr_chunks = 0;
}

void sp_pool_destroy(struct shadow *s)
{
	for (uint32_t i = 1; s->sp && i < s->nr_sps; i++)
		if (s->sp[i].state != SP_FREE)
			sp_memory_free(s, &s->sp[i]);
	chunks_free(s);
	if (s->pa_hash)
		s->ops.free(s->ops.ctx, s->pa_hash, hash_size(s));
	if (s->sp)
		s->ops.free(s->ops.ctx, s->sp, sps_size(s));
}

/* --- the guest's frames --- */

bool sp_resolve(struct shadow *s, uint64_t gpa, bool touch, struct shadow_target *out)
{
	if (s->many)
		return s->ops.resolve(s->ops.ctx, GPA(gpa), touch, out);
	if (gpa - s->last.start >= s->last.size) {
		if (!s->ops.resolve(s->ops.ctx, GPA(gpa), touch, &s->last)) {
			out->away = s->last.away;
			s->last.size = 0;
			return false;
		}
	}
	*out = s->last;
	return true;
}

static struct sp_chunk *chunk_at(struct shadow *s, uint32_t nr)
{
	return &s->block[nr / CHUNKS_PER_BLOCK][nr % CHUNKS_PER_BLOCK];
}

static uint32_t *chunk_bucket(struct shadow *s, uint64_t number)
{
	return &s->bucket[number % CHUNK_BUCKETS];
}

/* Numbers from 1: 0 ends a chain. */
static struct sp_chunk *chunk_find(struct shadow *s, uint64_t number, uint32_t *nr)
{
	uint32_t i = __atomic_load_n(chunk_bucket(s, number), __ATOMIC_ACQUIRE);

	for (; i; i = chunk_at(s, i - 1)->next) {
		struct sp_chunk *c = chunk_at(s, i - 1);

		if (c->number == number) {
			*nr = i - 1;
			return c;
		}
	}
	return NULL;
}

/* It is there as a whole before others find it. */
static struct sp_chunk *chunk_new(struct shadow *s, uint64_t number, uint32_t *nr)
{
	uint32_t *bucket = chunk_bucket(s, number);
	struct sp_chunk *c, **block = &s->block[s->nr_chunks / CHUNKS_PER_BLOCK];

	if (s->nr_chunks == CHUNK_BLOCKS * CHUNKS_PER_BLOCK)
		return NULL;
	if (!*block)
		*block = s->ops.alloc(s->ops.ctx, CHUNKS_PER_BLOCK * sizeof(struct sp_chunk));
	if (!*block)
		return NULL;
	c = chunk_at(s, s->nr_chunks);
	c->frame = s->ops.alloc(s->ops.ctx, CHUNK_FRAMES * sizeof(struct sp_frame));
	if (!c->frame)
		return NULL;
	*nr = s->nr_chunks++;
	c->number = number;
	c->next = *bucket;
	__atomic_store_n(bucket, *nr + 1, __ATOMIC_RELEASE);
	return c;
}

static struct sp_chunk *chunk_make(struct shadow *s, uint64_t number, uint32_t *nr)
{
	struct sp_chunk *c = chunk_find(s, number, nr);

	if (c)
		return c;
	if (!s->many)
		return chunk_new(s, number, nr);
	spin_lock(&s->chunk_lock);
	c = chunk_find(s, number, nr);
	if (!c)
		c = chunk_new(s, number, nr);
	spin_unlock(&s->chunk_lock);
	return c;
}

struct sp_chunk *sp_chunk_find(struct shadow *s, uint64_t gfn)
{
	uint32_t nr;

	return chunk_find(s, gfn >> CHUNK_SHIFT, &nr);
}

struct sp_frame *sp_frame_find(struct shadow *s, uint64_t gfn)
{
	struct sp_chunk *c = sp_chunk_find(s, gfn);

	return c ? &c->frame[gfn % CHUNK_FRAMES] : NULL;
}

/* --- lists --- */

static struct sp_link *link_at(struct shadow *s, uint32_t id)
{
	return &s->sp[id / SPTES].link[id % SPTES];
}

static uint32_t *list_head(struct shadow *s, uint32_t ref)
{
	uint32_t n = ref & ~(uint32_t)REF_KIND;

	switch (ref & REF_KIND) {
	case REF_FRAME:
		return &chunk_at(s, n / CHUNK_FRAMES)->frame[n % CHUNK_FRAMES].rmap;
	case REF_CHUNK:
		return &chunk_at(s, n)->rmap;
	default:
		return &s->sp[n].parents;
	}
}

static void list_add(struct shadow *s, uint32_t ref, uint32_t id)
{
	uint32_t *head = list_head(s, ref);
	struct sp_link *l = link_at(s, id);

	l->next = *head;
	l->prev = ref;
	if (*head)
		link_at(s, *head)->prev = id;
	*head = id;
}

static void list_del(struct shadow *s, uint32_t id)
{
	struct sp_link *l = link_at(s, id);

	if (l->prev & REF_KIND)
		*list_head(s, l->prev) = l->next;
	else
		link_at(s, l->prev)->next = l->next;
	if (l->next)
		link_at(s, l->next)->prev = l->prev;
}

/* --- entries --- */

/* A hardware walk may be going on: an entry changes in one store. */
static void spte_write(struct sp *p, unsigned slot, uint64_t e)
{
	__atomic_store_n(&p->spt[slot], e, __ATOMIC_RELEASE);
}

static uint32_t entry_id(const struct shadow *s, const struct sp *p, unsigned slot)
{
	return sp_number(s, p) * SPTES + slot;
}

static void mark_used(struct sp *p, unsigned slot, bool used)
{
	if (used)
		p->used[slot / 64] |= BIT(slot % 64);
	else
		p->used[slot / 64] &= ~BIT(slot % 64);
}

/* Counted when it is gone: a flush that begins now may be one that has seen it counted, and not
 * gone. */
static void lost_write(struct shadow *s, bool lost)
{
	if (lost)
		sp_count(s, &s->lost_writes);
}

/* Its frame may have become a table in use, or the other way round, until its lock is held. */
static void zap_page(struct shadow *s, struct sp *p, unsigned slot)
{
	uint64_t pa = sp_entry(p, slot) & SPTE_ADDR;
	bool let_write;

	sp_lock_frame(s, pa);
	list_del(s, entry_id(s, p, slot));
	let_write = sp_entry(p, slot) & SPTE_W;
	spte_write(p, slot, 0);
	lost_write(s, let_write);
	sp_unlock_frame(s, pa);
}

void sp_zap(struct shadow *s, struct sp *p, unsigned slot)
{
	uint64_t e = sp_entry(p, slot);

	if (!e)
		return;
	if (e & SPTE_LINK) {
		list_del(s, entry_id(s, p, slot));
		spte_write(p, slot, 0);
	} else {
		zap_page(s, p, slot);
	}
	if (role_level(p->role) > 0 && !(p->role & ROLE_LOW_ROOT))
		s->lost_way = true;
	mark_used(p, slot, false);
	sp_count(s, &s->stats.zapped);
}

void sp_set_link(struct shadow *s, struct sp *p, unsigned slot, struct sp *child)
{
	uint64_t e = p->hw->level[role_level(p->role)].table_set | child->pa.v | SPTE_LINK;

	if (child->state == SP_OPEN)
		e &= ~SPTE_P;
	sp_zap(s, p, slot);
	list_add(s, REF_PARENT | sp_number(s, child), entry_id(s, p, slot));
	spte_write(p, slot, e);
	mark_used(p, slot, true);
}

/* The frame's lock is held: whether it is a table in use stays as it is until the entry is there.
 */
static void page_write(struct shadow *s, struct sp *p, unsigned slot, uint64_t gfn, uint64_t spte)
{
	uint64_t old = sp_entry(p, slot);

	if ((spte & SPTE_MAY_W) && (role_level(p->role) > 0 || !sp_frame_closed(s, gfn)))
		spte |= SPTE_W;
	sp_count(s, &s->grants);
	spte_write(p, slot, spte);
	lost_write(s, old & ~spte & SPTE_W);
}

bool sp_set_page(struct shadow *s, struct sp *p, unsigned slot, uint64_t gfn, uint64_t spte)
{
	bool large = role_level(p->role) > 0;
	uint64_t old = sp_entry(p, slot), pa = spte & SPTE_ADDR;
	struct sp_chunk *c;
	uint32_t nr;

	/* Only its rights change. */
	if (old && !(old & SPTE_LINK) && !((old ^ spte) & SPTE_ADDR)) {
		sp_lock_frame(s, pa);
		page_write(s, p, slot, gfn, spte);
		sp_unlock_frame(s, pa);
		return true;
	}
	if (!s->ops.may_map(s->ops.ctx, HPA(pa), large ? PAGE_SIZE * CHUNK_FRAMES : PAGE_SIZE))
		return false;
	c = chunk_make(s, gfn >> CHUNK_SHIFT, &nr);
	if (!c)
		return false;
	sp_zap(s, p, slot);
	sp_lock_frame(s, pa);
	list_add(s,
		 large ? REF_CHUNK | nr
		       : REF_FRAME | (uint32_t)(nr * CHUNK_FRAMES + gfn % CHUNK_FRAMES),
		 entry_id(s, p, slot));
	page_write(s, p, slot, gfn, spte);
	sp_unlock_frame(s, pa);
	mark_used(p, slot, true);
	return true;
}

/* --- shadow pages --- */

static void lru_remove(struct shadow *s, struct sp *p)
{
	*(p->lru_prev ? &s->sp[p->lru_prev].lru_next : &s->lru_first) = p->lru_next;
	*(p->lru_next ? &s->sp[p->lru_next].lru_prev : &s->lru_last) = p->lru_prev;
}

static void lru_add(struct shadow *s, struct sp *p)
{
	uint32_t n = sp_number(s, p);

	p->lru_prev = 0;
	p->lru_next = s->lru_first;
	*(s->lru_first ? &s->sp[s->lru_first].lru_prev : &s->lru_last) = n;
	s->lru_first = n;
}

void sp_touch(struct shadow *s, struct sp *p)
{
	p->touched = false;
	if (!sp_order_counts(s) || s->lru_first == sp_number(s, p))
		return;
	lru_remove(s, p);
	lru_add(s, p);
}

static uint32_t *pa_bucket(struct shadow *s, uint64_t pa)
{
	return &s->pa_hash[pa / PAGE_SIZE & s->pa_mask];
}

/* To be found by its table's address, and as used most recently. */
static void enlist(struct shadow *s, struct sp *p)
{
	uint32_t *bucket = pa_bucket(s, p->pa.v);

	p->next_pa = *bucket;
	*bucket = sp_number(s, p);
	lru_add(s, p);
}

struct sp *sp_at(struct shadow *s, uint64_t pa)
{
	uint32_t i = *pa_bucket(s, pa);

	while (i && s->sp[i].pa.v != pa)
		i = s->sp[i].next_pa;
	return i ? &s->sp[i] : NULL;
}

struct sp *sp_child(struct shadow *s, uint64_t spte)
{
	return sp_at(s, spte & SPTE_ADDR);
}

struct sp *sp_find(struct shadow *s, uint64_t gfn, uint32_t role)
{
	struct sp_frame *f = sp_frame_find(s, gfn);

	for (uint32_t i = f ? f->pages : 0; i; i = s->sp[i].next_same)
		if (s->sp[i].role == role)
			return &s->sp[i];
	return NULL;
}

/* Take it off a chain that is linked by the member at next. */
static void chain_remove(struct shadow *s, uint32_t *head, const struct sp *p, size_t next)
{
	uint32_t nr = sp_number(s, p);

	while (*head != nr)
		head = (uint32_t *)((char *)&s->sp[*head] + next);
	*head = *(const uint32_t *)((const char *)p + next);
}

/* No more shadow pages of the frame are to be found by it. */
static void frame_remove(struct shadow *s, struct sp *p)
{
	struct sp_chunk *c = sp_chunk_find(s, p->gfn);

	if ((p->role & ROLE_LOW_ROOT) || p->orphan)
		return;
	chain_remove(s, &c->frame[p->gfn % CHUNK_FRAMES].pages, p, offsetof(struct sp, next_same));
	if (sp_is_table(p))
		c->tables--;
}

static void give_back(struct shadow *s, struct sp *p)
{
	uint64_t gfn = p->gfn;
	bool protects = p->protects;

	sp_memory_free(s, p);
	*p = (struct sp){ .next_same = s->free_sp };
	s->free_sp = sp_number(s, p);
	if (protects)
		sp_unprotect(s, gfn);
}

/*
 * First the ways to it go, then what is in it. A walk that came in before may still be under way,
 * and other processors may remember the way: memory and table wait for a flush of them all. An
 * orphan has seen one since its ways went.
 */
void sp_free(struct shadow *s, struct sp *p)
{
	bool orphan = p->orphan;

	p->protects |= p->state == SP_CLOSED && sp_is_table(p) && !orphan;
	sp_unsync_drop(s, p);
	while (p->parents)
		sp_zap(s, entry_sp(s, p->parents), p->parents % SPTES);
	for_each_used(p, slot) sp_zap(s, p, slot);
	frame_remove(s, p);
	if (p->pins || p->roots) {
		p->state = SP_OPEN;
		p->orphan = true;
		return;
	}
	chain_remove(s, pa_bucket(s, p->pa.v), p, offsetof(struct sp, next_pa));
	lru_remove(s, p);
	if (orphan) {
		give_back(s, p);
		return;
	}
	p->state = SP_DEAD;
	p->next_same = s->dead;
	s->dead = sp_number(s, p);
	s->dead_pages += sp_pages(p);
}

void sp_bury(struct shadow *s)
{
	while (s->dead) {
		struct sp *p = &s->sp[s->dead];

		s->dead = p->next_same;
		s->dead_pages -= sp_pages(p);
		give_back(s, p);
	}
}

static void empty_low_root(struct sp *p)
{
	for_each_used(p, slot)
	{
		spte_write(p, slot, 0);
		mark_used(p, slot, false);
	}
}

/* In one go: a list that goes altogether need not be taken apart. */
void sp_pool_reset(struct shadow *s)
{
	uint32_t i = s->lru_first;

	chunks_free(s);
	memset(s->bucket, 0, sizeof(s->bucket));
	memset(s->pa_hash, 0, hash_size(s));
	s->lru_first = s->lru_last = 0;
	while (i) {
		struct sp *p = &s->sp[i];
		uint32_t next = p->lru_next;

		if (p->role & ROLE_LOW_ROOT) {
			empty_low_root(p);
			enlist(s, p);
		} else {
			sp_memory_free(s, p);
			*p = (struct sp){ .next_same = s->free_sp };
			s->free_sp = i;
		}
		i = next;
	}
}

/* Give up what was used longest ago until there is room for n pages. */
static bool make_room(struct shadow *s, unsigned n)
{
	uint32_t i = s->lru_last;

	while (i && (s->pages - s->dead_pages + n > s->max_pages || !(s->free_sp || s->dead))) {
		struct sp *p = &s->sp[i];

		i = p->lru_prev;
		if (p->touched) {
			sp_touch(s, p);
			continue;
		}
		if (p->pins || p->roots)
			continue;
		sp_free(s, p);
		s->stats.reclaimed++;
	}
	if (s->dead && (s->pages + n > s->max_pages || !s->free_sp))
		sp_flush(s);
	return s->pages + n <= s->max_pages && s->free_sp;
}

static bool sp_memory(struct shadow *s, struct sp *p, bool snap)
{
	p->spt = page_get(s, p->role & ROLE_LOW_ROOT, &p->pa);
	p->link = s->ops.alloc(s->ops.ctx, PAGE_SIZE);
	p->snap = snap ? s->ops.alloc(s->ops.ctx, PAGE_SIZE) : NULL;
	s->pages += (p->link ? 1 : 0) + (p->snap ? 1 : 0);
	return p->spt && p->link && (p->snap || !snap);
}

static struct sp *sp_new(struct shadow *s, uint64_t gfn, uint32_t role, bool table)
{
	uint32_t nr;
	struct sp *p;

	if (!make_room(s, table ? 3 : 2))
		return NULL;
	nr = s->free_sp;
	p = &s->sp[nr];
	s->free_sp = p->next_same;
	*p = (struct sp){ .gfn = gfn, .role = role, .hw = sp_hw_format(s, role) };
	if (!sp_memory(s, p, table)) {
		uint32_t next = s->free_sp;

		sp_memory_free(s, p);
		*p = (struct sp){ .next_same = next };
		s->free_sp = nr;
		return NULL;
	}
	p->state = table ? SP_OPEN : SP_CLOSED;
	enlist(s, p);
	s->stats.misses++;
	return p;
}

/* From now on no large entry is to cover a table. */
static void chunk_gets_table(struct shadow *s, struct sp_chunk *c)
{
	if (c->tables++ || !c->rmap)
		return;
	while (c->rmap)
		sp_zap(s, entry_sp(s, c->rmap), c->rmap % SPTES);
	sp_flush(s);
}

struct sp *sp_get(struct shadow *s, uint64_t gfn, uint32_t role)
{
	bool table = !(role & (ROLE_DIRECT | ROLE_LOW_ROOT));
	struct sp *p = role & ROLE_LOW_ROOT ? NULL : sp_find(s, gfn, role);
	struct shadow_target t = { 0 };
	struct sp_chunk *c = NULL;
	uint32_t nr;

	if (p) {
		s->stats.hits++;
		return p;
	}
	if (table && (!sp_resolve(s, gfn << PAGE_SHIFT, true, &t) || t.device))
		return NULL;
	if (!(role & ROLE_LOW_ROOT))
		c = chunk_make(s, gfn >> CHUNK_SHIFT, &nr);
	p = c || (role & ROLE_LOW_ROOT) ? sp_new(s, gfn, role, table) : NULL;
	if (!p) {
		s->no_memory = true;
		return NULL;
	}
	if (c) {
		p->next_same = c->frame[gfn % CHUNK_FRAMES].pages;
		c->frame[gfn % CHUNK_FRAMES].pages = sp_number(s, p);
	}
	if (table) {
		uint64_t pa = t.pa.v + ((gfn << PAGE_SHIFT) - t.start);

		p->fmt = sp_format(s, role);
		/* The second half of a 32-bit table, or a quarter of a page directory. */
		if (role_kind(role) == PT_32)
			pa += role_quadrant(role) * ((SPTES * 4u) >> sp_slots_shift(p));
		p->guest = s->ops.ptr(HPA(pa));
		p->frame = ALIGN_DOWN(pa, PAGE_SIZE);
		p->rom = !t.writable;
		chunk_gets_table(s, c);
	}
	return p;
}
