/*
 * Inside the shadow: its pages, what they were made from, and who points at what. For
 * shadow*.c only; docs/shadow.md has the picture.
 */
#ifndef UMBRA_PAGING_SHADOW_CORE_H
#define UMBRA_PAGING_SHADOW_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/lib/spinlock.h"
#include "paging/pt.h"
#include "paging/shadow.h"

/*
 * A shadow page's role: everything that what it holds depends on, besides the frame that it
 * was made from. Two uses of one frame share a shadow page just when their roles are equal.
 */
#define ROLE_LEVEL BITS(2, 0)
#define ROLE_KIND_SHIFT 3
#define ROLE_KIND BITS(5, 3)  /* enum pt_kind of the guest's tables, or ROLE_UNPAGED */
#define ROLE_QUADRANT_SHIFT 6 /* 32-bit tables hold two or four times as much as one of ours */
#define ROLE_QUADRANT BITS(7, 6)
#define ROLE_DIRECT BIT(8) /* from no table: a part of one large page, or of memory itself */
#define ROLE_RIGHTS_SHIFT 9
#define ROLE_RIGHTS BITS(12, 9) /* PT_R, W, X, U that the way to it leaves */
#define ROLE_WP BIT(13)
#define ROLE_NXE BIT(14)
#define ROLE_PSE BIT(15)
#define ROLE_SMEP BIT(16)   /* with CR0.WP clear only: it then changes what entries hold */
#define ROLE_GLOBAL BIT(17) /* direct: of the large page */
#define ROLE_PKEY_SHIFT 18
#define ROLE_PKEY BITS(21, 18) /* direct */
#define ROLE_LOW_ROOT BIT(22)  /* the four entries that CR3 points at outside long mode */
#define ROLE_USER_KEPT                                                                             \
	BIT(23) /* with CR0.WP clear only: SMAP or keys need the user bit as it is                 \
		 */
#define ROLE_MODE (ROLE_KIND | ROLE_WP | ROLE_NXE | ROLE_PSE | ROLE_SMEP | ROLE_USER_KEPT)
#define ROLE_UNPAGED 7u
static_assert(PT_KINDS <= ROLE_UNPAGED, "a kind fits into a role");

/* Entries of the shadow's own, besides hardware's bits. Bits 11:9 are software's in each format. */
#define SPTE_P BIT(0)
#define SPTE_W BIT(1)
#define SPTE_MAY_W BIT(9) /* a page: writable, if only it were no table in use */
#define SPTE_LINK BIT(10) /* leads to a shadow page; without SPTE_P it is parked */
#define SPTE_ADDR BITS(51, 12)
#define SPTES 512

/* What becomes of the guest's writes to the table that a shadow page was made from. */
enum sp_state {
	SP_FREE,
	SP_CLOSED, /* the table is write-protected; what is here agrees with it */
	SP_OPEN,   /* the guest writes as it likes; no hardware walk comes here */
	SP_UNSYNC, /* the guest writes, walks come here; INVLPG exits */
	SP_DEAD,   /* given up; hardware may be in it until the next flush of all vCPUs */
};

/*
 * Lists of entries: of the pages' that map one frame, of the links' that lead to one shadow
 * page. An entry's number is its shadow page's, times 512, plus its index; 0 is none.
 * prev of the first is a reference to the list's head: REF_*, and a number.
 */
struct sp_link {
	uint32_t next, prev;
};
#define REF_KIND BITS(31, 30)
#define REF_FRAME (UINT32_C(1) << 30)  /* chunk * 512 + frame */
#define REF_CHUNK (UINT32_C(2) << 30)  /* chunk */
#define REF_PARENT (UINT32_C(3) << 30) /* shadow page */

/* One shadow page. */
struct sp {
	uint64_t gfn; /* the table's frame; direct: the first frame it maps */
	uint32_t role;
	uint32_t state; /* enum sp_state; read beside others, as touched is written */
	bool rom;       /* the table can't be written by the guest */
	bool orphan;    /* in use as a root for the last time */
	bool protects;  /* SP_DEAD: its table may still be write-protected */
	uint8_t pins;   /* not to be reclaimed: a fault works on it */
	uint16_t roots; /* vCPUs that have it as their root */
	hpa_t pa;
	uint64_t *spt;               /* hardware's table, at pa */
	struct sp_link *link;        /* of each entry */
	const struct pt_format *hw;  /* hardware's */
	const struct pt_format *fmt; /* the guest's table's; NULL: direct */
	const void *guest;           /* that table itself */
	uint64_t frame;              /* and the page of memory that it lies in */
	void *snap;                  /* it, as it was when the entries were made from it */
	uint8_t mirrored;            /* blocks that snap holds, see BLOCK */
	uint16_t asked;              /* the entry that a fault asked for last */
	uint64_t used[SPTES / 64];   /* entries that are not 0 */
	uint32_t parents;            /* entries that lead here */
	uint32_t next_same;          /* further shadow pages of this frame */
	uint32_t next_pa;            /* hash chain by pa */
	uint32_t lru_prev, lru_next;
	uint32_t touched; /* it was used since it came to where it is in that order */
};

/* A frame of the guest's memory. */
struct sp_frame {
	uint32_t rmap;  /* entries that map it as a 4 KiB page */
	uint32_t pages; /* shadow pages made from it */
};

/* 2 MiB of the guest's memory. */
struct sp_chunk {
	uint64_t number; /* gpa >> 21 */
	struct sp_frame *frame;
	uint32_t rmap;   /* entries that map all of it */
	uint32_t tables; /* shadow pages made from tables in it: large entries are not to be */
	uint32_t next;
};

/* Outside long mode CR3 points at four entries, of this level. */
#define LOW_LEVEL 2
#define LOW_ENTRIES 4
/* The guest's entries are looked at, and compared, by so many at a time. */
#define BLOCK 64
/* Of the larger pages that entries map: 2 MiB. */
#define LARGE_SHIFT 21
#define CHUNK_BUCKETS 4096
#define CHUNKS_PER_BLOCK 128
#define CHUNK_BLOCKS 4096
#define MAX_UNSYNC (2 * SHADOW_VCPUS)
/* Tables opened lately: the next load of a root that leads to one closes it, unless so many other
 * loads have come before. */
#define MAX_OPENED 32
#define OPENED_LOADS 4
/* No instruction is there. */
#define NO_RIP UINT64_MAX
#define FORMATS 16 /* by the guest's kind of tables, NXE, PSE */

static_assert(MAX_UNSYNC > SHADOW_VCPUS, "more than there are roots in use at a time");

/*
 * Who shares the shadow with others holds a lock of the table that he works on, while he looks at
 * its state, its entries and its copy, and in it a lock of the frame that an entry maps, for the
 * frame's list and for who may write there. Who has the shadow alone needs neither. Tables and
 * frames by their numbers share the locks.
 */
#define SP_LOCKS 64
struct sp_lock {
	struct spinlock lock;
	char rest[64 - sizeof(struct spinlock)]; /* of the line */
};

struct shadow {
	struct shadow_ops ops;
	struct pt_caps caps;
	struct pt_format guest_fmt[FORMATS], hw_fmt[PT_5LEVEL + 1];
	bool guest_fmt_made[FORMATS];
	struct sp *sp; /* sp[0] is not used */
	uint32_t nr_sps, free_sp;
	uint32_t *pa_hash;
	uint32_t pa_mask;
	uint64_t pages, max_pages; /* in use, dead ones' too; at most */
	uint32_t dead;             /* SP_DEAD, by next_same */
	uint64_t dead_pages;       /* what they have of memory */
	/* So often an entry that let writes through was taken away without a flush; and of these,
	 * before the last flush of all vCPUs began. */
	uint64_t lost_writes, flushed_writes;
	bool lost_way; /* since that, one above level 0 was */
	uint32_t lru_first, lru_last;
	uint32_t bucket[CHUNK_BUCKETS];
	struct sp_chunk *block[CHUNK_BLOCKS];
	uint32_t nr_chunks;
	uint32_t unsync[MAX_UNSYNC];
	unsigned nr_unsync;
	uint64_t unsync_rip;
	const struct shadow_vcpu *unsync_by; /* whose instruction that is; NULL: nobody's */
	struct {
		uint32_t page;
		uint32_t loads;
	} opened[MAX_OPENED];
	unsigned nr_opened;
	unsigned kind;   /* of the tables of the vCPU that came last, of those that page */
	unsigned rooted; /* vCPUs that have a root */
	bool invlpg_exits;
	bool no_memory;            /* something could not be had */
	uint64_t grants;           /* so often an entry has come to let more through */
	struct shadow_target last; /* what resolve() said last, of one vCPU alone */
	struct shadow_stats stats;
	unsigned vcpus;
	bool many; /* several CPUs may share it at a time: those who do take these locks */
	struct spinlock chunk_lock;
	struct sp_lock table_lock[SP_LOCKS], frame_lock[SP_LOCKS];
};

static inline unsigned role_level(uint32_t role)
{
	return role & ROLE_LEVEL;
}

static inline unsigned role_kind(uint32_t role)
{
	return (role & ROLE_KIND) >> ROLE_KIND_SHIFT;
}

static inline unsigned role_quadrant(uint32_t role)
{
	return (role & ROLE_QUADRANT) >> ROLE_QUADRANT_SHIFT;
}

static inline unsigned role_rights(uint32_t role)
{
	return (role & ROLE_RIGHTS) >> ROLE_RIGHTS_SHIFT;
}

static inline bool role_is_long(uint32_t role)
{
	return role_kind(role) == PT_4LEVEL || role_kind(role) == PT_5LEVEL;
}

static inline bool sp_is_table(const struct sp *p)
{
	return !(p->role & (ROLE_DIRECT | ROLE_LOW_ROOT));
}

static inline uint32_t sp_number(const struct shadow *s, const struct sp *p)
{
	return (uint32_t)(p - s->sp);
}

/*
 * Entries of ours that one of the guest's stands behind, and which of the guest's that is in
 * sp->guest: a 32-bit page directory's entries are as large as two of ours.
 */
static inline unsigned sp_slots_shift(const struct sp *p)
{
	return role_kind(p->role) == PT_32 && role_level(p->role) ? 1 : 0;
}

static inline uint64_t sp_table_entry(const struct sp *p, const void *table, unsigned i)
{
	if (p->fmt->entry_size == 4)
		return __atomic_load_n((const uint32_t *)table + i, __ATOMIC_RELAXED);
	return __atomic_load_n((const uint64_t *)table + i, __ATOMIC_RELAXED);
}

/* The guest's entry behind one of p's: as it is now, and as it was looked at last. */
static inline uint64_t sp_guest_entry(const struct sp *p, unsigned slot)
{
	return sp_table_entry(p, p->guest, slot >> sp_slots_shift(p));
}

static inline uint64_t sp_get_snap(const struct sp *p, unsigned slot)
{
	return sp_table_entry(p, p->snap, slot >> sp_slots_shift(p));
}

/* An entry by its number. */
static inline struct sp *entry_sp(struct shadow *s, uint32_t id)
{
	return &s->sp[id / SPTES];
}

/* An event has been counted; others count too. */
static inline void sp_count(const struct shadow *s, uint64_t *n)
{
	if (s->many)
		__atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
	else
		++*n;
}

/* Those who share the shadow read what another of them may write. */
static inline uint64_t sp_entry(const struct sp *p, unsigned slot)
{
	return __atomic_load_n(&p->spt[slot], __ATOMIC_RELAXED);
}

static inline enum sp_state sp_state(const struct sp *p)
{
	return (enum sp_state)__atomic_load_n(&p->state, __ATOMIC_RELAXED);
}

static inline void sp_lock_table(struct shadow *s, uint64_t gfn)
{
	if (s->many)
		spin_lock(&s->table_lock[gfn % SP_LOCKS].lock);
}

static inline void sp_unlock_table(struct shadow *s, uint64_t gfn)
{
	if (s->many)
		spin_unlock(&s->table_lock[gfn % SP_LOCKS].lock);
}

/* By where the frame lies: an entry of ours tells that. */
static inline void sp_lock_frame(struct shadow *s, uint64_t pa)
{
	if (s->many)
		spin_lock(&s->frame_lock[pa / PAGE_SIZE % SP_LOCKS].lock);
}

static inline void sp_unlock_frame(struct shadow *s, uint64_t pa)
{
	if (s->many)
		spin_unlock(&s->frame_lock[pa / PAGE_SIZE % SP_LOCKS].lock);
}

/* For each entry of p that is not 0; the body may take it out. */
#define for_each_used(p, slot)                                                                     \
	for (unsigned w_ = 0, slot; w_ < SPTES / 64; w_++)                                         \
		for (uint64_t m_ = (p)->used[w_];                                                  \
		     m_ && (slot = w_ * 64 + (unsigned)__builtin_ctzll(m_), true); m_ &= m_ - 1)

/* --- shadow_page.c: shadow pages, their memory, frames, lists --- */

int sp_pool_init(struct shadow *s, uint64_t max_bytes);
void sp_pool_destroy(struct shadow *s);
/* Only the low roots stay, empty. No other is a root, pinned, or SP_UNSYNC. All vCPUs have been
 * flushed. */
void sp_pool_reset(struct shadow *s);

/* Memory at gpa, as the memory map says. touch: for an access of the guest's. */
bool sp_resolve(struct shadow *s, uint64_t gpa, bool touch, struct shadow_target *out);

/* The frame's or chunk's state. NULL: nothing is known of it. */
struct sp_chunk *sp_chunk_find(struct shadow *s, uint64_t gfn);
struct sp_frame *sp_frame_find(struct shadow *s, uint64_t gfn);

/* The shadow page of this frame and role, or NULL. */
struct sp *sp_find(struct shadow *s, uint64_t gfn, uint32_t role);
/* It, made if need be: empty, and SP_OPEN when made from a table. NULL: no memory, or there is
 * no table at gfn (then s->no_memory is false). */
struct sp *sp_get(struct shadow *s, uint64_t gfn, uint32_t role);
/* The shadow page whose table lies at pa. */
struct sp *sp_at(struct shadow *s, uint64_t pa);
/* The one that a link leads to. */
struct sp *sp_child(struct shadow *s, uint64_t spte);
/* Give it up, with all entries in it and to it. sp_flush() is to follow: it then gives back the
 * memory, which hardware may be walking until then. */
void sp_free(struct shadow *s, struct sp *p);
/* All vCPUs have been flushed: what is dead goes. */
void sp_bury(struct shadow *s);
/* Is there so little room left that it matters which shadow page was used when? */
static inline bool sp_order_counts(const struct shadow *s)
{
	return s->pages >= s->max_pages / 2;
}

/* Most recently used now. */
void sp_touch(struct shadow *s, struct sp *p);

/* Take an entry out. The caller sees to the TLBs. */
void sp_zap(struct shadow *s, struct sp *p, unsigned slot);
/* Make the entry a link to child. */
void sp_set_link(struct shadow *s, struct sp *p, unsigned slot, struct sp *child);
/* Make the entry map the 4 KiB or, at level 1, 2 MiB of frames from gfn; with SPTE_MAY_W writable,
 * if only the frame is no table in use. False: not the VM's own memory, or no memory to note it. */
bool sp_set_page(struct shadow *s, struct sp *p, unsigned slot, uint64_t gfn, uint64_t spte);

/* --- shadow_sync.c: tables that the guest writes to --- */

/* Is the frame a table whose writes must not pass? */
bool sp_frame_closed(struct shadow *s, uint64_t gfn);
/* The format of the tables that a role is made from. */
const struct pt_format *sp_format(struct shadow *s, uint32_t role);
/* Hardware's format in that mode. */
const struct pt_format *sp_hw_format(const struct shadow *s, uint32_t role);
/* Look at the guest's entries around the one behind slot for the first time, or at all of them. */
void sp_mirror(struct shadow *s, struct sp *p, unsigned slot);
void sp_mirror_all(struct shadow *s, struct sp *p);
/* What p has at slot is being made from the guest's entry e. */
void sp_made_from(struct shadow *s, struct sp *p, unsigned slot, uint64_t e);

/*
 * Compare its entries with the guest's, and make those again that differ. Around the entry at slot,
 * which an access asks for, also those that the guest has added; SPTES: no access.
 */
void sp_resync(struct shadow *s, struct sp *p, unsigned slot);
/* Protect its table and bring it up to date; hardware may follow the links to it again. */
void sp_close(struct shadow *s, struct sp *p, unsigned slot);
/* Let the guest write to the frame. unsync: all made from it stay in use. */
void sp_open_frame(struct shadow *s, uint64_t gfn, bool unsync, uint64_t rip);
/* It is SP_UNSYNC no longer. INVLPG exits until sp_update_invlpg(). */
void sp_unsync_drop(struct shadow *s, const struct sp *p);
void sp_update_invlpg(struct shadow *s);
/* Let the guest write to the frame again where no table in it is in use. */
void sp_unprotect(struct shadow *s, uint64_t gfn);
/*
 * For who shares the shadow. Close a shadow page of level 0, with its table's lock held. Open all
 * that are closed of the frame; false: that is to be done by who has the shadow alone, and nothing
 * has changed.
 */
void sp_close_shared(struct shadow *s, struct sp *p, unsigned slot);
bool sp_open_shared(struct shadow *s, uint64_t gfn);
/* Close what was opened lately and is reached from this root. */
void sp_close_opened(struct shadow *s, const struct sp *root);
/* Close all that are SP_UNSYNC. */
void sp_sync_all(struct shadow *s);

/* --- shadow_fill.c: entries --- */

/* What a page's entry is made from. */
struct sp_leaf {
	uint64_t gpa;    /* of the byte accessed */
	unsigned rights; /* PT_* that the guest's levels give together */
	bool dirty, global;
	unsigned pkey;
};

/* The role of the page below an entry of p: of the table that the guest's entry e leads to; of a
 * part of a page that is larger than p's entries may be. */
uint32_t sp_table_role(const struct sp *p, unsigned slot, uint64_t e);
uint32_t sp_direct_role(const struct sp *p, const struct sp_leaf *leaf);
/* And of the tables that CR3 or the PDPTEs lead to, outside long mode: the one at slot. */
uint32_t sp_low_role(uint32_t mode, unsigned slot);
/* Would a page of 2 MiB do, for all of the memory around? */
bool sp_large_fits(struct shadow *s, const struct sp_leaf *leaf, const struct shadow_target *t);
/* Enter the page that holds leaf->gpa at p's level. False: as sp_set_page. */
bool sp_enter(struct shadow *s, struct sp *p, unsigned slot, const struct sp_leaf *leaf,
	      const struct shadow_target *t);
/*
 * Make the entry of p from the guest's, which is e, if the accessed bit there says that hardware
 * might have it already; else take it out. Did it hold something?
 */
bool sp_remake(struct shadow *s, struct sp *p, unsigned slot, uint64_t e);
/* Make the entry of a direct shadow page, if it is not there. */
void sp_prefetch_direct(struct shadow *s, struct sp *p, unsigned slot);

/* --- shadow.c --- */

/* All translations of the VM go; of one vCPU. The second for who shares the shadow: nothing is
 * given back. */
void sp_flush(struct shadow *s);
void sp_flush_writes(struct shadow *s);
void sp_flush_vcpu(struct shadow_vcpu *sv);
/* A vCPU whose tables are of this kind is about to use them. */
void sp_use_kind(struct shadow *s, unsigned kind);
/* Frame of the table of level 1 that the entry at slot of the four leads to, without paging of the
 * memory itself; false: to none. */
bool sp_low_table(const struct shadow_vcpu *sv, unsigned slot, uint64_t *gfn);
/* Frame of the table that CR3 points at in long mode. */
uint64_t sp_long_root(const struct shadow_vcpu *sv);

#endif
