/*
 * For the shadow's unit tests: a guest's tables, made by hand, and its accesses.
 */
#ifndef UMBRA_TESTS_SHADOW_GUEST_H
#define UMBRA_TESTS_SHADOW_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "paging/shadow_core.h"
#include "tests/host/shadow_fixture.h"
#include "tests/host/shadow_machine.h"

#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define A BIT(5)
#define D BIT(6)
#define PS BIT(7)
#define G BIT(8)
#define NX BIT(63)
#define FRAME BITS(51, 12)

static const struct pt_caps test_caps = { .maxphyaddr = 40, .pse36 = true, .page_1g = true };

/* The first 2 MiB of memory, where the tables lie, seen by the kernel; and user's pages. */
#define WINDOW UINT64_C(0xc0000000)
#define USER UINT64_C(0x00400000)
#define LARGE UINT64_C(0x40000000)

static const enum pt_kind kinds[] = { PT_32, PT_PAE, PT_4LEVEL, PT_5LEVEL };
#define for_each_kind(k) for (unsigned k##_i = 0; k##_i < 4 && (k = kinds[k##_i], true); k##_i++)

static enum pt_kind kind;
static uint64_t next_table;

/* --- making tables --- */

static inline unsigned top_level(void)
{
	return kind == PT_32 ? 1 : kind == PT_PAE ? 2 : kind == PT_4LEVEL ? 3 : 4;
}

static inline unsigned entry_size(void)
{
	return kind == PT_32 ? 4 : 8;
}

static inline uint64_t entry_at(uint64_t table, unsigned level, uint64_t va)
{
	unsigned bits = kind == PT_32 ? 10 : 9;
	uint64_t index = va >> (12 + bits * level) & (BIT(bits) - 1);

	return table + (kind == PT_PAE && level == 2 ? index & 3 : index) * entry_size();
}

/* Where the entry of that level for va lies, in tables that are made if need be. */
static inline uint64_t entry_for(uint64_t root, uint64_t va, unsigned level)
{
	for (unsigned l = top_level();; l--) {
		uint64_t at = entry_at(root, l, va), e = fx_get(at, entry_size());

		if (l == level)
			return at;
		if (!(e & P)) {
			e = next_table | P | (kind == PT_PAE && l == 2 ? 0 : W | U | A);
			next_table += PAGE_SIZE;
			fx_set(at, entry_size(), e);
		}
		root = e & FRAME;
	}
}

static inline void map_at(uint64_t root, uint64_t va, uint64_t e, unsigned level)
{
	fx_set(entry_for(root, va, level), entry_size(), e);
}

static inline void map(uint64_t root, uint64_t va, uint64_t e)
{
	map_at(root, va, e, 0);
}

static inline uint64_t new_root(void)
{
	uint64_t root = next_table;

	next_table += PAGE_SIZE;
	for (uint64_t i = 0; i < MIB(2); i += PAGE_SIZE)
		map(root, WINDOW + i, i | P | W | A | D);
	return root;
}

static inline void start_with(enum pt_kind k, uint64_t max_bytes)
{
	kind = k;
	next_table = FX_SCATTERED + 16 * PAGE_SIZE;
	mc_start(&test_caps, max_bytes);
	mc.is_closed = sp_frame_closed;
	mc.what = k == PT_32 ? "32" : k == PT_PAE ? "PAE" : k == PT_4LEVEL ? "4-level" : "5-level";
}

static inline void start(enum pt_kind k)
{
	start_with(k, MIB(4));
}

static inline void stop(void)
{
	mc_check_tables();
	mc_audit();
	mc_stop();
}

static inline void turn_on(uint64_t root, uint64_t cr4)
{
	mc_registers(kind, root, cr4 | CR4_PSE, true);
	mc_load();
}

/* A guest with paging on whose entry for USER is e; its root. */
static inline uint64_t start_mapped(enum pt_kind k, uint64_t e)
{
	uint64_t root;

	start(k);
	root = new_root();
	map(root, USER, e);
	turn_on(root, 0);
	return root;
}

static inline void load_cr3(uint64_t root)
{
	mc.gp.cr3 = root;
	if (kind == PT_PAE)
		assert_true(mc_load_pdptes(root));
	mc_load();
}

/* --- accesses --- */

static inline struct mc_result run(uint64_t va, unsigned cpl, bool write, bool fetch, uint64_t val)
{
	struct mc_access a = { .va = va, .size = 4, .write = write, .fetch = fetch, .val = val };
	struct mc_result r;

	mc.cpl = cpl;
	mc_run(&a, 1, &r);
	return r;
}

static inline struct mc_result rd(uint64_t va, unsigned cpl)
{
	return run(va, cpl, false, false, 0);
}

static inline struct mc_result wr(uint64_t va, unsigned cpl)
{
	return run(va, cpl, true, false, 0x5a5a0000);
}

static inline struct mc_result ex(uint64_t va, unsigned cpl)
{
	return run(va, cpl, false, true, 0);
}

static inline void passes(struct mc_result r)
{
	assert_int_equal(r.end, MC_DONE);
}

static inline void faults(struct mc_result r, uint32_t error)
{
	assert_int_equal(r.end, MC_FAULT);
	assert_int_equal(r.error, error);
}

static inline void traps(struct mc_result r)
{
	assert_int_equal(r.end, MC_DEVICE);
}

/* The kernel writes an entry, through its window. */
static inline void poke(uint64_t at, uint64_t e)
{
	struct mc_access a = { WINDOW + at, .size = entry_size(), .write = true, .val = e };
	struct mc_result r;

	mc.cpl = 0;
	mc_run(&a, 1, &r);
	assert_int_equal(r.end, MC_DONE);
}

static inline const struct shadow_stats *stats(void)
{
	return shadow_stats(mc.s);
}

#endif
