/*
 * The shadow from inside: what its pages are, how many, and what becomes of them. See
 * test_shadow.c.
 */
#include "arch/x86_64/include/errno.h"
#include "paging/shadow_core.h"
#include "tests/host/shadow_guest.h"

/* The shadow page of the table at gpa, as one of that level. */
static struct sp *page_of(uint64_t gpa, unsigned level)
{
	for (uint32_t i = 1; i < mc.s->nr_sps; i++) {
		struct sp *p = &mc.s->sp[i];

		if (p->state != SP_FREE && sp_is_table(p) && p->gfn == gpa / PAGE_SIZE &&
		    role_level(p->role) == level)
			return p;
	}
	return NULL;
}

/* Between faults none is pinned or forgotten, and all are counted. */
static void check_pool(void)
{
	const struct shadow *s = mc.s;
	unsigned in_use = 0, listed = 0;
	uint64_t pages = 0;

	for (uint32_t i = 1; i < s->nr_sps; i++) {
		const struct sp *p = &s->sp[i];

		if (p->state == SP_FREE)
			continue;
		in_use++;
		pages += p->snap ? 3 : 2;
		assert_int_equal(p->pins, 0);
		assert_true(!p->orphan || p->roots);
	}
	for (uint32_t i = s->lru_first; i; i = s->sp[i].lru_next)
		listed++;
	assert_int_equal(listed, in_use);
	assert_int_equal(pages, s->pages);
}

static void finish(void)
{
	check_pool();
	stop();
}

/* --- accesses that the processor makes by itself --- */

static struct mc_result implicit(uint64_t va, bool write)
{
	struct mc_access a = {
		.va = va, .size = 4, .implicit = true, .write = write, .val = 0x1234
	};
	struct mc_result r;

	mc.cpl = 0;
	mc_run(&a, 1, &r);
	return r;
}

static enum shadow_result fault(uint64_t va, uint32_t error, uint64_t rip, uint32_t *code)
{
	struct shadow_outcome o = { 0 };
	enum shadow_result r =
		shadow_fault(&mc.sv, GVA(va), error, rip, RFLAGS_FIXED | RFLAGS_AC, 0, 0, &o);

	*code = o.fault.error;
	return r;
}

/* AC excuses the kernel's accesses to user pages, not the processor's; they look the same. */
static void test_implicit(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE | P | W | U | A | D);
		map(root, USER + PAGE_SIZE, FX_LARGE | P | W | A | D);
		turn_on(root, CR4_SMAP);
		mc.ac = true;
		for (unsigned i = 0; i < 3; i++) {
			passes(wr(USER, 0));
			faults(implicit(USER, false), PF_P);
			passes(rd(USER, 0));
			faults(implicit(USER, true), PF_P | PF_W);
			passes(implicit(USER + PAGE_SIZE, true));
		}
		mc_load();
		faults(implicit(USER, true), PF_P | PF_W);
		mc.gp.cr4 &= ~CR4_SMAP;
		mc_load();
		passes(implicit(USER, true));
		finish();
	}
}

/* Hardware may know of the entry as it was before: that is no reason to believe it. */
static void test_refused_once(void **state)
{
	uint64_t root, flushes;
	uint32_t code;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | A | D);
	map(root, USER + PAGE_SIZE, FX_LARGE | P | W | U | A);
	turn_on(root, CR4_SMAP);
	mc.ac = true;
	passes(rd(USER, 0));
	passes(rd(USER + PAGE_SIZE, 0));
	for (unsigned i = 0; i < 4; i++) {
		flushes = fx.nr_flushes;
		assert_int_equal(fault(USER, PF_P, 0x1000, &code), SHADOW_RESUME);
		assert_int_equal(fx.nr_flushes, flushes + 1);
		/* Another instruction, another address, between. */
		if (i == 0)
			assert_int_equal(fault(USER, PF_P, 0x1008, &code), SHADOW_RESUME);
		if (i == 1)
			assert_int_equal(fault(USER + PAGE_SIZE, PF_P, 0x1000, &code),
					 SHADOW_RESUME);
		/* And one that hardware was right to refuse. */
		if (i == 2)
			assert_int_equal(fault(USER, 0, 0x1000, &code), SHADOW_RESUME);
	}
	assert_int_equal(fault(USER, PF_P, 0x1000, &code), SHADOW_REFLECT);
	assert_int_equal(code, PF_P);
	assert_int_equal(fault(USER, PF_P, 0x1000, &code), SHADOW_RESUME);
	/* A fetch is not SMAP's affair; and of an absent entry hardware says so. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fault(USER, PF_P | PF_I, 0x1000, &code), SHADOW_RESUME);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fault(USER, 0, 0x1000, &code), SHADOW_RESUME);
	/* The write sets the dirty bit first. */
	flushes = fx.nr_flushes;
	assert_int_equal(fault(USER + PAGE_SIZE, PF_P | PF_W, 0x1000, &code), SHADOW_RESUME);
	assert_int_equal(fx.nr_flushes, flushes);
	fx_model_put(entry_for(root, USER + PAGE_SIZE, 0), 8,
		     fx_get(entry_for(root, USER + PAGE_SIZE, 0), 8));
	finish();
}

/* --- what an entry holds besides the frame --- */

static uint64_t shadow_bits(uint64_t va, uint64_t mask)
{
	unsigned level;
	const uint64_t *e = mc_shadow_entry(va, &level);

	assert_non_null(e);
	return *e & mask;
}

#define KEY(n) ((uint64_t)(n) << 59)

/* One frame in pages of different keys, global and not: entered singly, along with others, in
 * pieces of large pages, compared again. */
static void test_global_and_keys(void **state)
{
	static const uint64_t bits[] = { 0, G, KEY(5), KEY(6) | G };
	const uint64_t mask = G | BITS(62, 59);

	(void)state;
	for (unsigned level = 0; level < 2; level++) {
		uint64_t root, e = level ? MIB(8) | PS : FX_LARGE, step = level ? MIB(2) : KIB(4);
		uint64_t at = level ? KIB(256) : 0;

		start(PT_4LEVEL);
		root = new_root();
		for (unsigned i = 0; i < 4; i++)
			map_at(root, LARGE + i * step, e | bits[i] | P | W | U | A | D, level);
		turn_on(root, CR4_PKE);
		for (unsigned i = 0; i < 4; i++)
			passes(wr(LARGE + i * step + at, 3));
		/* And the pieces that came along. */
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(shadow_bits(LARGE + i * step + at, mask), bits[i]);
			assert_int_equal(shadow_bits(LARGE + i * step + at + level * KIB(64), mask),
					 bits[i]);
		}
		mc.gp.pkru = 2u << 10;
		faults(wr(LARGE + 2 * step + at, 3), PF_P | PF_W | PF_U | PF_PK);
		passes(wr(LARGE + 3 * step + at, 3));
		mc.gp.pkru = 0;
		/* They change places, and are made again unasked. */
		for (unsigned i = 0; i < 4; i++)
			poke(entry_for(root, LARGE + i * step, level),
			     e | bits[3 - i] | P | W | U | A | D);
		mc_load();
		passes(wr(LARGE + at, 3));
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(shadow_bits(LARGE + i * step + at, mask), bits[3 - i]);
		finish();
	}
}

/* CR0.WP clear: an entry that hides a page from users must not hide it from the keys. */
static void test_wp_then_keys(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | U);
	turn_on(root, 0);
	mc.gp.cr0 &= ~CR0_WP;
	mc_load();
	passes(wr(USER, 0));
	mc.gp.cr4 |= CR4_PKE;
	mc.gp.pkru = 1;
	mc_load();
	faults(rd(USER, 0), PF_P | PF_PK);
	finish();
}

/* With keys on already, no entry gives the kernel what users lack. */
static void test_keys_without_wp(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | U);
	turn_on(root, CR4_PKE);
	mc.gp.cr0 &= ~CR0_WP;
	mc_load();
	passes(wr(USER, 0));
	mc.gp.pkru = 1;
	faults(rd(USER, 0), PF_P | PF_PK);
	finish();
}

/* A 4 MiB page becomes the one that another entry has been for long. */
static void test_pde_like_another(void **state)
{
	uint64_t root, a = MIB(4) * 100, b = MIB(4) * 200;

	(void)state;
	start(PT_32);
	root = new_root();
	map_at(root, a, FX_LARGE4 | P | W | U | PS, 1);
	map_at(root, b, FX_GIB | P | W | U | PS | A | D, 1);
	turn_on(root, 0);
	passes(wr(b, 3));
	passes(wr(a, 3));
	poke(entry_for(root, b, 1), FX_LARGE4 | P | W | U | PS | A | D);
	mc_invlpg(b);
	passes(rd(b, 3));
	finish();
}

/* Entries are made in advance only of memory that is there. */
static void test_prefetch_brings_nothing_in(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, gpa;

		start(kind);
		root = new_root();
		for (unsigned i = 0; i < 8; i++)
			map(root, USER + i * PAGE_SIZE,
			    (FX_DISK + i * PAGE_SIZE) | P | W | U | A | D);
		turn_on(root, 0);
		passes(rd(USER + 2 * PAGE_SIZE, 3));
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(fx_frame_gpa(fx_hpa(FX_DISK + i * PAGE_SIZE).v, &gpa),
					 i == 2);
		finish();
	}
}

/* A frame that is not the VM's, in the midst of a large page. */
static void test_owner_of_large_page(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		struct shadow_outcome o;
		unsigned level;
		uint64_t root;

		start(kind);
		root = new_root();
		map_at(root, LARGE, FX_LARGE4 | P | W | U | PS | A | D, 1);
		turn_on(root, 0);
		fx.forbidden = fx_hpa(FX_LARGE4 + KIB(64));
		assert_int_not_equal(
			shadow_fault(&mc.sv, GVA(LARGE), PF_U, 0x1000, RFLAGS_FIXED, 3, 0, &o),
			SHADOW_RESUME);
		assert_null(mc_shadow_entry(LARGE, &level));
		fx.forbidden = HPA(0);
		passes(wr(LARGE, 3));
		finish();
	}
}

/* A table, and one 8 GiB away, where nothing is. */
static void test_far_apart(void **state)
{
	uint64_t root, pde;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | A | D);
	pde = fx_get(entry_for(root, USER, 1), 8);
	turn_on(root, 0);
	passes(wr(USER, 3));
	poke(entry_for(root, USER + MIB(2), 1), pde + GIB(8));
	passes(rd(USER, 3));
	rd(USER + MIB(2), 3);
	finish();
}

/* --- tables that come and go --- */

/* A large page with a table in it is large again when that is no table any more. */
static void test_large_again(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		unsigned level = 9;
		uint64_t root;

		start(kind);
		root = new_root();
		map_at(root, LARGE, FX_LARGE4 | P | W | U | PS | A | D, 1);
		next_table = FX_LARGE4;
		map(root, USER, FX_LARGE | P | W | U | A | D);
		turn_on(root, 0);
		passes(rd(USER, 3));
		passes(rd(LARGE, 3));
		assert_non_null(mc_shadow_entry(LARGE, &level));
		assert_int_equal(level, 0);
		shadow_forget(mc.s, GPA(FX_LARGE4), MIB(2));
		mc_load();
		passes(rd(LARGE, 3));
		assert_non_null(mc_shadow_entry(LARGE, &level));
		assert_int_equal(level, 1);
		finish();
	}
}

/* The root's memory goes while it is in use: it is given back when it is not. */
static void test_root_goes(void **state)
{
	static const enum pt_kind with_memory_root[] = { PT_4LEVEL, PT_5LEVEL };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t a, b, bytes;

		start(with_memory_root[i]);
		a = new_root();
		b = new_root();
		turn_on(b, 0);
		passes(rd(WINDOW, 0));
		bytes = shadow_bytes(mc.s);
		for (unsigned j = 0; j < 5; j++) {
			load_cr3(a);
			shadow_forget(mc.s, GPA(a), PAGE_SIZE);
			check_pool();
			assert_non_null(fx_table(mc.root.v));
			load_cr3(b);
			check_pool();
			assert_int_equal(shadow_bytes(mc.s), bytes);
		}
		finish();
	}
}

/* A root that was written to while others were in use, long ago. */
static void test_root_edited_before_load(void **state)
{
	static const enum pt_kind with_memory_root[] = { PT_4LEVEL, PT_5LEVEL };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t a, b;

		start(with_memory_root[i]);
		a = new_root();
		b = new_root();
		map(a, GIB(513), FX_LARGE | P | W | U);
		turn_on(a, 0);
		passes(wr(GIB(513), 3));
		load_cr3(b);
		poke(entry_at(a, top_level(), GIB(513)), 0);
		for (unsigned j = 0; j < 20; j++)
			load_cr3(b);
		load_cr3(a);
		assert_int_equal(page_of(a, top_level())->state, SP_CLOSED);
		rd(GIB(513), 3);
		finish();
	}
}

/* Paging is turned off when there has been no room for long. */
static void test_low_root_stays(void **state)
{
	uint64_t root;

	(void)state;
	start_with(PT_4LEVEL, SHADOW_MIN);
	root = new_root();
	next_table = FX_LARGE4;
	for (uint64_t i = 0; i < 200; i++)
		map(root, LARGE + i * MIB(2), (FX_LARGE + i * PAGE_SIZE) | P | W | U);
	turn_on(root, 0);
	for (uint64_t i = 0; i < 200; i++)
		passes(wr(LARGE + i * MIB(2), 3));
	assert_true(stats()->reclaimed > 0);
	assert_false(mc.s->sp[mc.sv.low_root].orphan);
	mc.gp = (struct guest_paging){ .cr0 = CR0_PE, .caps = test_caps };
	mc_load();
	passes(wr(FX_LARGE, 0));
	assert_int_equal(mc.root.v, mc.s->sp[mc.sv.low_root].pa.v);
	finish();
}

/* The page that a fault begins with is the one used longest ago, and there is no room. */
static void test_pinned(void **state)
{
	(void)state;
	for (unsigned n = 60; n < 90; n++) {
		uint64_t a, b;

		start_with(PT_4LEVEL, SHADOW_MIN);
		a = new_root();
		map(a, GIB(2), FX_LARGE | P | W | U);
		b = next_table;
		next_table = FX_LARGE4;
		for (uint64_t i = 0; i < n; i++)
			map(b, i * MIB(2), (FX_LARGE + i * PAGE_SIZE) | P | W | U);
		turn_on(a, 0);
		passes(rd(WINDOW, 0));
		load_cr3(b);
		for (uint64_t i = 0; i < n; i++)
			passes(wr(i * MIB(2), 3));
		check_pool();
		load_cr3(a);
		assert_int_equal(wr(GIB(2), 3).retries, 1);
		finish();
	}
}

/* What is used again and again outlasts what is used once. */
static void test_least_recently_used(void **state)
{
	uint64_t root, misses;

	(void)state;
	start_with(PT_4LEVEL, SHADOW_MIN);
	root = new_root();
	next_table = FX_LARGE4;
	for (uint64_t i = 0; i < 200; i++)
		map(root, LARGE + i * MIB(2), (FX_LARGE + i * PAGE_SIZE) | P | W | U | A | D);
	for (uint64_t i = 1; i < 200; i++)
		map(root, LARGE + i * PAGE_SIZE, FX_LARGE | P | W | U);
	turn_on(root, 0);
	for (uint64_t i = 0; i < 200; i++) {
		passes(wr(LARGE + i * PAGE_SIZE, 3));
		misses = stats()->misses;
		passes(wr(LARGE + i * MIB(2), 3));
		if (i > 2)
			assert_int_equal(stats()->misses, misses + 1);
	}
	assert_true(stats()->reclaimed > 0);
	finish();
}

static uint64_t hidden;

static bool resolve_but_hidden(void *ctx, gpa_t gpa, bool touch, struct shadow_target *out)
{
	return ALIGN_DOWN(gpa.v, PAGE_SIZE) != hidden && fx_ops.resolve(ctx, gpa, touch, out);
}

/* No memory for the shadow, then a table that is in no memory: not the same. */
static void test_no_memory_then_no_table(void **state)
{
	struct shadow_outcome o;
	uint64_t root;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | A | D);
	hidden = ALIGN_DOWN(entry_for(root, USER, 0), PAGE_SIZE);
	mc.s->ops.resolve = resolve_but_hidden;
	turn_on(root, 0);
	fx.fail_after = 0;
	assert_int_equal(shadow_fault(&mc.sv, GVA(USER), PF_U, 0x1000, RFLAGS_FIXED, 3, 0, &o),
			 SHADOW_NO_MEMORY);
	fx.fail_after = UINT32_MAX;
	assert_int_equal(shadow_fault(&mc.sv, GVA(USER), PF_U, 0x1000, RFLAGS_FIXED, 3, 0, &o),
			 SHADOW_DEVICE);
	assert_int_equal(o.gpa.v, FX_LARGE);
	finish();
}

/* Not even for the one page that is always there. */
static void test_no_memory_for_vcpu(void **state)
{
	struct shadow_vcpu sv;

	(void)state;
	start(PT_4LEVEL);
	for (unsigned n = 0; n < 2; n++) {
		fx.fail_after = n;
		assert_int_equal(shadow_vcpu_init(&sv, mc.s), -ENOMEM);
		fx.fail_after = UINT32_MAX;
		check_pool();
	}
	finish();
}

/* --- tables out of sync --- */

/* Each table maps itself, and one instruction writes to all of them, perhaps to one above first. */
static void test_many_out_of_sync(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		enum { TABLES = MAX_UNSYNC + 40 };
		uint64_t root, pd, base = WINDOW + MIB(2);
		unsigned max = 0;

		start(PT_4LEVEL);
		root = new_root();
		pd = ALIGN_DOWN(entry_for(root, base, 1), PAGE_SIZE);
		for (uint64_t i = 0; i < TABLES; i++) {
			uint64_t pt = ALIGN_DOWN(entry_for(root, base + i * MIB(2), 0), PAGE_SIZE);

			map(root, base + i * MIB(2), pt | P | W | A | D);
		}
		turn_on(root, 0);
		/* Those two are on the way of all that follows. */
		if (round)
			poke((round == 1 ? pd : root) + 0x800, 0);
		for (uint64_t i = 0; i < TABLES; i++) {
			struct mc_result r = wr(base + i * MIB(2) + 0x800, 0);

			passes(r);
			assert_in_range(r.retries, 0, 3);
			max = MAX(max, mc.s->nr_unsync);
			assert_true(fx.invlpg_exits);
			check_pool();
			mc_audit();
			/* Nothing leads to what has been given up, not even from a cache. */
			for (uint64_t j = 0; i >= MAX_UNSYNC && i <= MAX_UNSYNC + 2 && j <= i; j++)
				faults(rd(base + j * MIB(2) + PAGE_SIZE, 0), 0);
		}
		assert_int_equal(max, MAX_UNSYNC);
		assert_false(page_of(root, 3)->orphan);
		/* Another instruction's fault ends it. */
		mc.rip += 8;
		faults(rd(base + (TABLES - 1) * MIB(2) + 255 * PAGE_SIZE, 0), 0);
		assert_false(fx.invlpg_exits);
		finish();
	}
}

static void test_sync_at_next_fault(void **state)
{
	uint64_t root, pt, va;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U);
	pt = ALIGN_DOWN(entry_for(root, USER, 0), PAGE_SIZE);
	va = USER + PAGE_SIZE;
	map(root, va, pt | P | W | U);
	turn_on(root, 0);
	/* Through the table itself: no detour by way of opening it. */
	assert_in_range(wr(va + 0x800, 3).retries, 1, 2);
	assert_int_equal(stats()->opened, 0);
	assert_true(fx.invlpg_exits);
	assert_int_equal(mc.s->nr_unsync, 1);
	mc.rip += 8;
	passes(rd(WINDOW, 0));
	assert_false(fx.invlpg_exits);
	assert_int_equal(mc.s->nr_unsync, 0);
	/* Through a table that the directory, which it writes to, leads to. */
	va = USER + 2 * PAGE_SIZE;
	map(root, va, ALIGN_DOWN(entry_for(root, USER, 1), PAGE_SIZE) | P | W | A | D);
	mc_load();
	passes(rd(va + 0x800, 0));
	assert_int_equal(wr(va + 0x800, 0).retries, 1);
	assert_int_equal(stats()->opened, 0);
	finish();
}

/* While a table is out of sync, an entry gains a right. */
static void test_gain_out_of_sync(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pte, va = USER + PAGE_SIZE;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE | P | W | A | D);
		pte = entry_for(root, USER, 0);
		map(root, va, ALIGN_DOWN(pte, PAGE_SIZE) | P | W | A | D);
		turn_on(root, 0);
		passes(wr(USER, 0));
		passes(run(va + pte % PAGE_SIZE, 0, true, false, FX_LARGE | P | W | U | A | D));
		assert_true(fx.invlpg_exits);
		assert_in_range(wr(USER, 3).retries, 1, 2);
		finish();
	}
}

/* INVLPG exits on account of one table: it must do its own work as well. */
static void test_invlpg_exits(void **state)
{
	uint64_t root, pte, other;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | A | D);
	map(root, LARGE, (FX_LARGE + PAGE_SIZE) | P | W | U | A | D);
	fx_set(FX_LARGE, 4, 1);
	fx_set(FX_LARGE + PAGE_SIZE, 4, 2);
	pte = entry_for(root, USER, 0);
	other = entry_for(root, LARGE, 0);
	turn_on(root, 0);
	passes(rd(USER, 3));
	passes(rd(LARGE, 3));
	sp_open_frame(mc.s, pte / PAGE_SIZE, false, 0x1000);
	fx_set(pte, 8, (FX_LARGE + PAGE_SIZE) | P | W | U | A | D);
	sp_open_frame(mc.s, other / PAGE_SIZE, true, 0x1000);
	assert_true(fx.invlpg_exits);
	mc_invlpg(USER);
	assert_false(fx.invlpg_exits);
	passes(rd(USER, 3));
	finish();
}

/* The hypervisor writes across the border of two tables. */
static void test_written_over_two(void **state)
{
	uint64_t root, pt[2], end;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	for (unsigned i = 0; i < 2; i++) {
		map(root, USER + i * MIB(2), FX_LARGE | P | W | U);
		pt[i] = ALIGN_DOWN(entry_for(root, USER + i * MIB(2), 0), PAGE_SIZE);
	}
	assert_int_equal(pt[1], pt[0] + PAGE_SIZE);
	end = pt[1] - 8;
	fx_set(end, 8, FX_LARGE | P | W | U);
	turn_on(root, 0);
	passes(wr(USER + MIB(2) - PAGE_SIZE, 3));
	passes(wr(USER + MIB(2), 3));
	fx_set(end, 8, (FX_LARGE + PAGE_SIZE) | P | U);
	fx_set(pt[1], 8, (FX_LARGE + PAGE_SIZE) | P | U);
	shadow_written(mc.s, GPA(end), 16);
	mc_load();
	faults(wr(USER + MIB(2) - PAGE_SIZE, 3), PF_P | PF_W | PF_U);
	faults(wr(USER + MIB(2), 3), PF_P | PF_W | PF_U);
	shadow_written(mc.s, GPA(end), 0);
	finish();
}

/* And into a large page that was made of small ones: one INVLPG is for all of it. */
static void test_written_large(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pde;

		start(kind);
		root = new_root();
		map_at(root, LARGE, MIB(8) | P | W | U | PS | A | D, 1);
		pde = entry_for(root, LARGE, 1);
		turn_on(root, 0);
		passes(rd(LARGE + KIB(256), 3));
		passes(rd(LARGE + KIB(512), 3));
		fx_set(pde, entry_size(), FX_LARGE4 | P | W | U | PS | A | D);
		shadow_written(mc.s, GPA(pde), entry_size());
		mc_invlpg(LARGE);
		passes(rd(LARGE + KIB(256), 3));
		passes(rd(LARGE + KIB(512), 3));
		finish();
	}
}

/* The root in use loses an entry, and the guest invalidates a page. */
static void test_root_loses_entry(void **state)
{
	static const enum pt_kind with_memory_root[] = { PT_4LEVEL, PT_5LEVEL };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t root, va = i ? BIT(48) : GIB(512);

		start(with_memory_root[i]);
		root = new_root();
		map(root, va, FX_LARGE | P | W | U);
		turn_on(root, 0);
		passes(wr(va, 3));
		poke(entry_at(root, top_level(), va), 0);
		mc_invlpg(va);
		faults(rd(va, 3), PF_U);
		finish();
	}
}

/* Another processor's root is written to: it stays in use. */
static void test_root_of_another(void **state)
{
	struct guest_paging gp;
	struct shadow_outcome o;
	struct shadow_vcpu sv;
	uint64_t a, b;

	(void)state;
	start(PT_4LEVEL);
	a = new_root();
	b = new_root();
	turn_on(a, 0);
	passes(rd(WINDOW, 0));
	assert_int_equal(shadow_vcpu_init(&sv, mc.s), 0);
	gp = mc.gp;
	gp.cr3 = b;
	shadow_load(&sv, &gp);
	assert_int_equal(shadow_fault(&sv, GVA(WINDOW + a), PF_W, 0x1000, RFLAGS_FIXED, 0, 0, &o),
			 SHADOW_RESUME);
	assert_int_equal(page_of(a, 3)->state, SP_UNSYNC);
	assert_true(fx.invlpg_exits);
	shadow_invlpg(&sv, GVA(0));
	assert_int_equal(page_of(a, 3)->state, SP_CLOSED);
	check_pool();
	mc_check_tables();
	mc_stop();
}

/* The guest goes on without it, and writes where its tables were. */
static void test_leave(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pte, faulted, flushes;
		int64_t bytes;

		start(kind);
		bytes = fx.bytes;
		root = new_root();
		map(root, USER, FX_LARGE | P | W | U | A | D);
		map(root, USER + PAGE_SIZE, (FX_LARGE + PAGE_SIZE) | P | W | U | A | D);
		map_at(root, LARGE, FX_LARGE4 | P | W | U | A | D | PS, 1);
		pte = entry_for(root, USER, 0);
		fx_set(FX_LARGE, 4, 1);
		fx_set(FX_LARGE + 2 * PAGE_SIZE, 4, 3);
		turn_on(root, 0);
		passes(rd(USER, 3));
		passes(wr(LARGE, 3));
		sp_open_frame(mc.s, pte / PAGE_SIZE, true, 0x1000);
		assert_true(fx.invlpg_exits);
		faulted = stats()->faults;
		flushes = fx.nr_flushes;
		shadow_leave(&mc.sv);
		assert_true(fx.nr_flushes > flushes);
		assert_false(fx.invlpg_exits);
		assert_int_equal(shadow_bytes(mc.s), 2 * PAGE_SIZE);
		assert_int_equal(fx.nr_pages, 1);
		assert_int_equal(fx.bytes, bytes);
		assert_int_equal(stats()->faults, faulted);
		check_pool();
		mc_audit();
		for (unsigned i = 0; i < SPTES; i++)
			assert_int_equal(mc.s->sp[mc.sv.low_root].spt[i], 0);
		assert_int_equal(mc.s->sp[mc.sv.low_root].roots, 1);
		for (uint32_t i = 0; i <= mc.s->pa_mask; i++)
			assert_true(!mc.s->pa_hash[i] || mc.s->pa_hash[i] == mc.sv.low_root);
		flushes = fx.nr_flushes;
		shadow_leave(&mc.sv); /* nothing is left to be forgotten */
		assert_int_equal(fx.nr_flushes, flushes);
		fx_set(pte, entry_size(), (FX_LARGE + 2 * PAGE_SIZE) | P | W | U | A | D);
		shadow_forget(mc.s, GPA(FX_LARGE), PAGE_SIZE);
		mc_load();
		passes(rd(USER, 3));
		passes(rd(USER + PAGE_SIZE, 3));
		passes(wr(LARGE, 3));
		poke(pte, 0);
		mc_invlpg(USER);
		faults(rd(USER, 3), PF_U);
		finish();
	}
}

/* The root itself has been forgotten before, and what was opened last is another's now. */
static void test_leave_forgotten_root(void **state)
{
	uint64_t root, pte;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | A | D);
	pte = entry_for(root, USER, 0);
	turn_on(root, 0);
	passes(rd(USER, 3));
	poke(pte, (FX_LARGE + PAGE_SIZE) | P | W | U | A | D);
	assert_int_equal(mc.s->nr_opened, 1);
	shadow_forget(mc.s, GPA(root), PAGE_SIZE);
	shadow_leave(&mc.sv);
	assert_int_equal(mc.s->nr_opened, 0);
	assert_int_equal(shadow_bytes(mc.s), 2 * PAGE_SIZE);
	check_pool();
	mc_load();
	passes(rd(USER, 3));
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_implicit),
		cmocka_unit_test(test_refused_once),
		cmocka_unit_test(test_global_and_keys),
		cmocka_unit_test(test_wp_then_keys),
		cmocka_unit_test(test_keys_without_wp),
		cmocka_unit_test(test_pde_like_another),
		cmocka_unit_test(test_prefetch_brings_nothing_in),
		cmocka_unit_test(test_owner_of_large_page),
		cmocka_unit_test(test_far_apart),
		cmocka_unit_test(test_large_again),
		cmocka_unit_test(test_root_goes),
		cmocka_unit_test(test_root_edited_before_load),
		cmocka_unit_test(test_low_root_stays),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_least_recently_used),
		cmocka_unit_test(test_no_memory_then_no_table),
		cmocka_unit_test(test_no_memory_for_vcpu),
		cmocka_unit_test(test_many_out_of_sync),
		cmocka_unit_test(test_sync_at_next_fault),
		cmocka_unit_test(test_gain_out_of_sync),
		cmocka_unit_test(test_invlpg_exits),
		cmocka_unit_test(test_written_over_two),
		cmocka_unit_test(test_written_large),
		cmocka_unit_test(test_root_loses_entry),
		cmocka_unit_test(test_root_of_another),
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_leave_forgotten_root),
	};

	for (unsigned i = 0; i < 2; i++) {
		mc_shares = i;
		if (cmocka_run_group_tests(tests, NULL, NULL))
			return 1;
	}
	return 0;
}
