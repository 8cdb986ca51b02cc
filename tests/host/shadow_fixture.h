/*
 * A guest's memory as the shadow sees it, and a copy on which a model says what should
 * have become of it.
 *
 * Every frame lies elsewhere than its guest-physical address; pages for the shadow's tables are
 * never given twice, so that whoever uses one that was given back is found out.
 */
#ifndef UMBRA_TESTS_SHADOW_FIXTURE_H
#define UMBRA_TESTS_SHADOW_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"
#include "paging/pt.h"
#include "paging/shadow.h"

/* The guest's memory map. */
#define FX_SCATTERED UINT64_C(0) /* 2 MiB of RAM, no two frames side by side */
#define FX_LARGE MIB(2)          /* 2 MiB of RAM in one piece, aligned */
#define FX_LARGE4 MIB(4)         /* 4 MiB of it */
#define FX_ROM MIB(8)            /* 64 KiB each of ROM, */
#define FX_DEVICE (MIB(8) + KIB(64))
#define FX_DISK (MIB(8) + KIB(128))  /* memory that is brought in, */
#define FX_AFTER (MIB(8) + KIB(192)) /* and RAM in one piece with the ROM */
#define FX_SKEWED MIB(10)            /* 2 MiB of RAM in one piece, not aligned */
#define FX_HOLE MIB(12)              /* nothing */
#define FX_SMALL_END MIB(12)
#define FX_GIB GIB(1)  /* 1 GiB of RAM in one piece, aligned */
#define FX_HIGH GIB(4) /* 4 MiB of RAM, above 4 GiB */
#define FX_HIGH_SIZE MIB(4)

enum fx_kind { FX_NOTHING, FX_RAM, FX_IS_ROM, FX_IS_DISK };

/* What a test may do to a page. */
#define FX_HOOK_WRITES 1u
#define FX_HOOK_ALL 2u

extern struct fx {
	struct pt_caps caps;
	unsigned nr_pages, max_pages;  /* table pages given out now, and ever at a time */
	unsigned nr_low;               /* of them below 4 GiB */
	int64_t bytes;                 /* of alloc() */
	unsigned fail_after;           /* so many more allocations succeed; UINT_MAX: all */
	unsigned nr_flushes, nr_asked; /* calls of flush() and may_map() */
	bool invlpg_exits;
	hpa_t forbidden;  /* a frame that may_map() refuses */
	bool cut_targets; /* resolve() says less than it could */
	void (*on_flush)(void);
	void (*on_flush_vcpu)(const struct shadow_vcpu *sv);
	void (*on_page_free)(uint64_t hpa); /* before a table page is given back */
	void (*on_intercept)(bool on);      /* before invlpg_exits changes */
} fx;

extern const struct shadow_ops fx_ops;

/* All memory zero, nothing hooked, DISK out. */
void fx_reset(const struct pt_caps *caps);
/* Nothing may be left of the shadow. */
void fx_check_empty(void);

enum fx_kind fx_kind_at(uint64_t gpa);
void fx_hook(uint64_t gpa, unsigned how);
unsigned fx_hooks(uint64_t gpa);
/* A page of RAM that counts as one that the processor answers for; 0: none. */
extern uint64_t fx_answered;
/* A page of DISK goes out; its frame is another's from now on. Call shadow_forget() before. */
void fx_swap_out(uint64_t gpa);

/* The guest's memory, and the model's copy of it; not there: all ones, and writes are lost. */
uint64_t fx_get(uint64_t gpa, unsigned size);
void fx_put(uint64_t gpa, unsigned size, uint64_t val);
uint64_t fx_model_get(uint64_t gpa, unsigned size);
void fx_model_put(uint64_t gpa, unsigned size, uint64_t val);
/* Write both, ROM too. */
void fx_set(uint64_t gpa, unsigned size, uint64_t val);
/* The first address where they differ, or UINT64_MAX. The GiB is left out. */
uint64_t fx_first_difference(void);

/* The guest-physical address of a frame that the VM may use now; false: not its own. */
bool fx_frame_gpa(uint64_t hpa, uint64_t *gpa);
/* Where a page that is in memory lies. */
hpa_t fx_hpa(uint64_t gpa);
/* May an entry lead there? */
bool fx_may_reach(uint64_t hpa, bool write);

/* A table page that is in use, or NULL. */
uint64_t *fx_table(uint64_t hpa);
/* Call fn for every table page in use. */
void fx_for_each_table(void (*fn)(uint64_t hpa, uint64_t *table));

/* The tables as the engine's memory, for pt_visit(). */
extern const struct pt_mem fx_table_mem;

#endif
