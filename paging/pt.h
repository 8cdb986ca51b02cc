/*
 * The paging engine: one set of operations on every page table in the system, driven
 * by a descriptor of the format and by a pt_mem through which alone it touches memory.
 *
 * An access goes through three steps that are never mixed:
 *   pt_walk   follows the tables; no judgement, no side effects
 *   pt_judge  rights against access; the error code that hardware would push
 *   pt_mark   accessed and dirty, by compare-and-exchange
 *
 * Changing operations (map, unmap, protect) are for tables that the hypervisor owns.
 * Each entry is written whole and in an order that a hardware walk going on at the same
 * time survives; two writers of one tree keep each other out (the caller's lock).
 */
#ifndef UMBRA_PAGING_PT_H
#define UMBRA_PAGING_PT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

#define PT_MAX_LEVELS 5

/* Attributes of a mapping, the same for every format. A format that cannot withhold a
 * right always gives it; one without A, D, G or UC ignores them. */
#define PT_R 0x01u
#define PT_W 0x02u
#define PT_X 0x04u
#define PT_U 0x08u
#define PT_RIGHTS 0x0fu
#define PT_A 0x10u  /* accessed */
#define PT_D 0x20u  /* dirty */
#define PT_G 0x40u  /* global */
#define PT_UC 0x80u /* device memory: never cached; without it WB, types between are not made */
#define PT_ATTRS 0xffu

enum pt_kind { PT_32, PT_PAE, PT_4LEVEL, PT_5LEVEL, PT_NPT, PT_EPT, PT_KINDS };

/* What the processor that walks the tables can do: reserved bits depend on it. */
struct pt_caps {
	uint8_t maxphyaddr;  /* 32 to 52 */
	bool nx;             /* EFER.NXE is set (32-bit, NPT, EPT: no matter) */
	bool pse;            /* CR4.PSE is set (32-bit only) */
	bool pse36;          /* 4 MiB pages reach above 4 GiB (32-bit only) */
	bool page_1g;        /* 1 GiB pages */
	bool nonleaf_g_rsvd; /* bit 8 of a PML4E or PDPE that is no page is reserved (AMD) */
	bool strict_pdpte;   /* PAE: the accessed bit of a PDPTE is reserved, as the manuals say */
	bool ept_exec_only;  /* execute-only pages (EPT only) */
	bool ept_ad;         /* accessed and dirty flags are on (EPT only) */
};

enum pt_status {
	PT_OK,
	PT_NOT_PRESENT,
	PT_RESERVED,  /* a reserved bit is set; EPT: misconfiguration */
	PT_BAD_TABLE, /* a table lies where pt_mem has no memory */
	PT_NO_MEMORY, /* no page for a new table */
	PT_BAD_ARG,   /* alignment, range, rights, level, null; nothing was changed */
	PT_RACE,      /* entries kept changing under the operation */
	PT_STOPPED,   /* the caller's callback, or its budget, ended it */
	PT_LARGER,    /* a larger page ends the path above the level asked for */
};

/* One level of a tree; level 0 holds the entries of 4 KiB pages. */
struct pt_level {
	uint8_t shift;         /* index = addr >> shift & index_mask */
	bool leaf;             /* an entry here may map a page */
	uint8_t leaf_hi_shift; /* from leaf_hi to address bit 32 */
	uint16_t index_mask;
	uint16_t table_mask; /* a table's size - 1: what its address is aligned to */
	uint64_t table_addr; /* address field of a table's entry */
	uint64_t leaf_addr;  /* address field of a page's entry */
	uint64_t keep;       /* all ones where entries have no rights to take away */
	/* For pt_walk(): derived from the rest. */
	uint64_t offset_mask; /* index_mask, as an offset in the table */
	uint64_t stop;        /* with none of these, an entry leads to a table */
	uint64_t leaf_flip;   /* with one, to a page if (entry ^ leaf_flip) & leaf_rsvd is 0; */
	uint64_t leaf_rsvd;   /* otherwise a reserved bit is set */

	uint64_t leaf_hi;   /* PSE-36: the field that holds address bits from 32 on */
	uint64_t leaf_bit;  /* with one of these set, a present entry maps a page */
	uint64_t rsvd[2];   /* must be zero: [0] in a table's entry, [1] in a page's */
	uint64_t table_set; /* what a table's entry is made with */
	uint64_t leaf_set;  /* what a page's entry is made with */
};

struct pt_format {
	const char *name;
	enum pt_kind kind;
	uint8_t levels;
	uint8_t entry_size, entry_shift; /* 4 or 8 bytes, and log2 of that */
	uint8_t addr_bits;               /* of the addresses translated */
	bool sign_extend;                /* upper-half addresses are canonical */
	uint64_t present;                /* any of these set: the entry is present */
	uint64_t invert;                 /* bits that take away what they name (NX) */
	uint64_t r, w, x, u;             /* after inversion; 0: always given */
	uint64_t accessed, dirty, global;
	uint64_t pkey;                        /* protection key of a page */
	uint64_t type_mask, type_uc, type_wb; /* memory type of a page */
	uint64_t root_addr;                   /* address bits of what holds the root: CR3, EPTP */
	uint64_t bad_low6; /* bitmap over entry bits 5:0: EPT's misconfigurations */
	/* For pt_walk(): derived from the rest. */
	uint64_t root_mask; /* table_mask of the root */
	uint8_t rights[16]; /* PT_* by rights_index() of the bits that all entries have */
	struct pt_level level[PT_MAX_LEVELS];
};

/*
 * Memory, as the engine sees it. pa is aligned to size (4 or 8).
 * read: false: nothing is there.
 * cmpxchg: atomic. True: *pa was old and is new now, or the memory ignores writes (ROM).
 * alloc: a zeroed, 4 KiB-aligned page for a table; 0: none left.
 * Walks need read alone; pt_mark cmpxchg too; changes need all four.
 */
struct pt_mem {
	bool (*read)(void *ctx, uint64_t pa, unsigned size, uint64_t *val);
	bool (*cmpxchg)(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val);
	uint64_t (*alloc)(void *ctx);
	void (*free)(void *ctx, uint64_t pa);
	void *ctx;
};

/* One tree of tables. */
struct pt_tree {
	const struct pt_format *fmt;
	const struct pt_mem *mem;
	uint64_t root;
};

/* What a walk saw. entry[] and entry_pa[] are valid from level to top. */
struct pt_walk {
	enum pt_status status;
	uint8_t level;      /* where the walk ended */
	uint8_t page_shift; /* PT_OK: log2 of the page's size */
	uint8_t top;        /* where it began */
	unsigned rights;    /* PT_OK: what all levels together give */
	uint64_t out;       /* PT_OK: the translated address */
	uint64_t unmarked;  /* PT_OK: not 0 if an entry's accessed bit is still to be set */
	uint64_t entry[PT_MAX_LEVELS];
	uint64_t entry_pa[PT_MAX_LEVELS];
};

/* Fill in the descriptor of a format for a processor with these capabilities. */
void pt_format_init(struct pt_format *f, enum pt_kind kind, const struct pt_caps *caps);

/* Would hardware take addr for this format (canonical, within addr_bits)? */
bool pt_addr_ok(const struct pt_format *f, uint64_t addr);

/*
 * Walk addr through the tree. The result is w->status. At most one read a level. PT_BAD_ARG
 * for memory without a read or an unaligned root. Bits of addr that the format does not translate
 * are ignored by the walks alone: their caller asks pt_addr_ok() where it matters.
 */
enum pt_status pt_walk(const struct pt_tree *t, uint64_t addr, struct pt_walk *w);
/*
 * As pt_walk, with t->root a table of level top (for PAE's cached PDPTEs). PT_BAD_ARG for a
 * level that the format does not have, too.
 */
enum pt_status pt_walk_from(const struct pt_tree *t, unsigned top, uint64_t addr,
			    struct pt_walk *w);

/*
 * Where the table of the level on the path of addr lies, or with PT_DATA the page that the
 * path ends in. PT_LARGER: there is no such table because a page of a higher level maps addr.
 * *pa is set with PT_OK only; a pointer to it is the memory's business. PT_BAD_ARG also for an
 * address that the format does not take.
 */
#define PT_DATA UINT32_MAX
enum pt_status pt_find(const struct pt_tree *t, uint64_t addr, unsigned level, uint64_t *pa);
/* Size of the page that maps addr; 0: none does, or none could. */
uint64_t pt_page_size(const struct pt_tree *t, uint64_t addr);

/* What kind of access pt_judge is asked about. A read of data when none is set. */
#define PT_ACC_WRITE 0x1u
#define PT_ACC_FETCH 0x2u /* never with PT_ACC_WRITE */
#define PT_ACC_USER 0x4u
#define PT_ACC_NO_SMAP 0x8u /* EFLAGS.AC is set and the access is explicit */
#define PT_ACC_KINDS 16

/* The control state that rights are judged under. */
struct pt_policy {
	uint8_t table;     /* which permission table: WP, SMEP, SMAP */
	bool report_fetch; /* error codes have the I bit */
	bool pkeys;        /* protection keys apply */
	uint32_t pkru;
};

/* What these registers mean for pt_judge(). pkru counts only with CR4.PKE in long mode. */
void pt_policy_init(struct pt_policy *p, uint64_t cr0, uint64_t cr4, uint64_t efer, uint32_t pkru);
/*
 * Does the access pass? False: *error is the page-fault error code that hardware pushes
 * (SDM vol. 3, 4.7; APM vol. 2, 8.4.2). A walk that did not end well never passes.
 */
bool pt_judge(const struct pt_policy *p, const struct pt_walk *w, unsigned access, uint32_t *error);

/*
 * Set accessed on the path, and dirty on the page's entry when write. Call once the
 * access was judged good. False: an entry had changed; walk and judge again.
 */
bool pt_mark(const struct pt_tree *t, struct pt_walk *w, bool write);

/*
 * What a change leaves to be done: drop cached translations of [start, last] (none when
 * start > last), and only then pt_release() the table pages that fell out of the tree.
 */
struct pt_flush {
	uint64_t start, last;
	uint64_t freed; /* unlinked table pages: a list in bits of theirs that hardware ignores */
};
#define PT_FLUSH_NONE ((struct pt_flush){ .start = UINT64_MAX })

/*
 * A tree with an empty root. PT_OK or PT_NO_MEMORY, PT_BAD_ARG. Here as in changes, a page
 * that the format can't lead to (32-bit, PAE's root: above 4 GiB) is given back: PT_NO_MEMORY.
 */
enum pt_status pt_create(struct pt_tree *t, const struct pt_format *f, const struct pt_mem *m);
/*
 * Free every table page of the tree, never a data page; nothing walks it any more. PT_OK, also
 * for a root of 0; PT_BAD_TABLE when a table lies where no memory is: then nothing is freed;
 * PT_BAD_ARG.
 */
enum pt_status pt_destroy(struct pt_tree *t);

/*
 * Map [addr, addr + size) to [pa, ...) with attrs, in the largest pages that alignment,
 * size and format allow; replaces what was there. All three are multiples of 4 KiB.
 * What a change leaves uniform is merged into a larger page, tables that become empty
 * are unlinked. On PT_NO_MEMORY the tree is whole and each page of the range has either
 * its old or its new mapping. *flush is added to, in every case.
 *
 * The range is looked over before a change to it begins, as far as 2^20 entries (4 GiB in 4 KiB
 * pages): a table that lies nowhere, or a wrong entry, is found while nothing is changed yet.
 * PT_BAD_ARG also for part of a page, or smaller pages in the place of one, that smaller ones
 * can't stand for: of 4 MiB above 4 GiB (PSE-36). It may be unmapped whole. Unlinked tables keep
 * their entries until pt_release(), so that a walk which is still in one ends well.
 */
enum pt_status pt_map(const struct pt_tree *t, uint64_t addr, uint64_t pa, uint64_t size,
		      unsigned attrs, struct pt_flush *flush);
/* Make the range absent. */
enum pt_status pt_unmap(const struct pt_tree *t, uint64_t addr, uint64_t size,
			struct pt_flush *flush);
/*
 * Replace the attributes in mask by those in attrs (a subset) on every page of the range
 * that is present; addresses stay. Where a format can withhold PT_R, the rights in mask are
 * none, all, or PT_W alone to be taken away. An entry is made anew from its address and PT_*:
 * a memory type other than UC becomes WB, a protection key 0, bits for software's use are
 * lost. So it is when a page is split; pages that differ in these are not merged.
 */
enum pt_status pt_protect(const struct pt_tree *t, uint64_t addr, uint64_t size, unsigned mask,
			  unsigned attrs, struct pt_flush *flush);
/*
 * Free the pages in flush->freed. No processor may still cache a way to them. PT_OK;
 * PT_BAD_TABLE when one lies where no memory is, or was written to since: it stays on the list;
 * PT_BAD_ARG.
 */
enum pt_status pt_release(const struct pt_tree *t, struct pt_flush *flush);

/* A place in a tree, as the visitors report it. */
struct pt_visit {
	uint64_t addr;  /* first address translated through it */
	unsigned level; /* of the entry; the root has level fmt->levels and no entry */
	bool leaf;      /* the entry maps a data page */
	bool bad;       /* reserved bits set: not followed */
	uint64_t entry, entry_pa;
	uint64_t pa;    /* the table or data page it leads to */
	unsigned attrs; /* of this entry alone */
};

/*
 * Visit the root, then each present entry on the path of addr down to the data page.
 * fn returns false to stop. PT_OK: reached a data page; PT_STOPPED: fn said so; else as
 * pt_walk, or PT_BAD_ARG, also for an address that the format does not take.
 */
enum pt_status pt_drill(const struct pt_tree *t, uint64_t addr,
			bool (*fn)(void *ctx, const struct pt_visit *v), void *ctx);
/*
 * Visit the root and every present entry of the tree, pre-order, ascending. At most
 * *budget entries are read (a hostile tree may refer to itself); what is left of it is
 * written back. PT_OK, PT_STOPPED by fn or by the budget, PT_BAD_TABLE when the root can't be
 * read, or PT_BAD_ARG. Other tables that can't be read are passed over.
 */
enum pt_status pt_visit(const struct pt_tree *t, uint64_t *budget,
			bool (*fn)(void *ctx, const struct pt_visit *v), void *ctx);

#endif
