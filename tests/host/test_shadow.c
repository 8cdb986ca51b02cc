/*
 * The shadow, one promise at a time: what is kept, large pages, tables in odd places, modes,
 * memory, the auditor. Guests' accesses go through the machine in shadow_machine.c,
 * which checks every one of them against the oracle; what is asserted here is what that can't
 * see: what it cost, what the shadow's own tables hold, what its bound is.
 */
#include <string.h>

#include "arch/x86_64/include/errno.h"
#include "tests/host/shadow_guest.h"

static void test_create(void **state)
{
	struct shadow *s = NULL;

	(void)state;
	fx_reset(&test_caps);
	assert_int_equal(shadow_create(&s, &fx_ops, &test_caps, SHADOW_MIN - 1), -EINVAL);
	fx_check_empty();
	shadow_destroy(NULL);
	for (unsigned n = 0;; n++) {
		int err;

		fx.fail_after = n;
		err = shadow_create(&s, &fx_ops, &test_caps, SHADOW_MIN);
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
		fx_check_empty();
		assert_in_range(n, 0, 1000);
	}
	shadow_destroy(s);
	fx_check_empty();
}

static void test_roots_stay(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root[3], misses, fills, taken;

		start(kind);
		for (unsigned i = 0; i < 3; i++) {
			root[i] = new_root();
			for (unsigned j = 0; j < 8; j++)
				map(root[i], USER + j * PAGE_SIZE,
				    (FX_LARGE + (8 * i + j) * PAGE_SIZE) | P | W | U | A | D);
			fx_set(FX_LARGE + 8 * i * PAGE_SIZE, 4, 100 + i);
		}
		turn_on(root[0], 0);
		for (unsigned i = 0; i < 3; i++) {
			load_cr3(root[i]);
			for (unsigned j = 0; j < 8; j++)
				passes(wr(USER + j * PAGE_SIZE + 64, 3));
			passes(rd(WINDOW, 0));
		}
		misses = stats()->misses;
		fills = stats()->fills;
		taken = mc.faults;
		for (unsigned i = 0; i < 30; i++) {
			load_cr3(root[i % 3]);
			for (unsigned j = 0; j < 8; j++)
				passes(wr(USER + j * PAGE_SIZE + 64, 3));
			passes(rd(WINDOW, 0));
		}
		assert_int_equal(stats()->misses, misses);
		assert_int_equal(stats()->fills, fills);
		assert_int_equal(mc.faults, taken);
		stop();
	}
}

/* Tables that two processes share: edited by one, used by the other. */
static void test_shared_table(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t a, b, pte;

		start(kind);
		a = new_root();
		b = new_root();
		map(a, USER, FX_LARGE | P | W | U);
		pte = entry_for(a, USER, 0);
		map_at(b, USER, fx_get(entry_for(a, USER, 1), entry_size()), 1);
		turn_on(a, 0);
		passes(wr(USER, 3));
		load_cr3(b);
		passes(rd(USER, 3));
		poke(pte, (FX_LARGE + PAGE_SIZE) | P | U);
		mc_invlpg(USER);
		faults(wr(USER, 3), PF_P | PF_W | PF_U);
		passes(rd(USER, 3));
		load_cr3(a);
		passes(rd(USER, 3));
		faults(wr(USER, 3), PF_P | PF_W | PF_U);
		stop();
	}
}

static uint64_t large_size(void)
{
	return kind == PT_32 ? MIB(4) : MIB(2);
}

static void test_large_stays_large(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, taken, *e;
		unsigned level = 0;

		start(kind);
		root = new_root();
		map_at(root, LARGE, FX_LARGE4 | P | W | U | PS | A | D, 1);
		map(root, USER, FX_LARGE | P | W | U);
		turn_on(root, 0);
		passes(wr(LARGE, 3));
		passes(wr(LARGE + large_size() - 4, 3));
		taken = mc.faults;
		for (uint64_t i = 0; i < large_size(); i += 16 * PAGE_SIZE)
			passes(wr(LARGE + i, 3));
		assert_int_equal(mc.faults, taken);
		assert_non_null(mc_shadow_entry(LARGE, &level));
		assert_int_equal(level, 1);
		passes(wr(USER, 3));
		e = mc_shadow_entry(USER, &level);
		assert_non_null(e);
		assert_int_equal(level, 0);
		assert_int_equal(stats()->splintered, 0);
		stop();
	}
}

static void test_1g_is_made_of_large(void **state)
{
	unsigned level = 0;
	uint64_t root;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map_at(root, GIB(512), FX_GIB | P | W | U | PS, 2);
	turn_on(root, 0);
	passes(rd(GIB(512) + MIB(6), 3));
	passes(wr(GIB(512) + MIB(6) + 8, 3));
	assert_non_null(mc_shadow_entry(GIB(512) + MIB(6), &level));
	assert_true(level >= 1);
	stop();
}

/* A large page over ROM, device, DISK and RAM. */
static void test_splintered(void **state)
{
	static const uint64_t ram[] = { FX_AFTER, FX_AFTER + KIB(64), FX_SKEWED - KIB(4) };

	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, before = 0, pde;

		start(kind);
		root = new_root();
		pde = entry_for(root, LARGE, 1);
		map_at(root, LARGE, MIB(8) | P | W | U | PS, 1);
		turn_on(root, 0);
		for (unsigned i = 0; i < 3; i++)
			passes(wr(LARGE + (ram[i] & BITS(20, 0)), 3));
		passes(rd(LARGE + (FX_ROM & BITS(20, 0)), 3));
		traps(wr(LARGE + (FX_ROM & BITS(20, 0)), 3));
		traps(rd(LARGE + (FX_DEVICE & BITS(20, 0)), 3));
		traps(wr(LARGE + (FX_DEVICE & BITS(20, 0)), 3));
		passes(wr(LARGE + (FX_DISK & BITS(20, 0)), 3));
		assert_true(stats()->splintered > before);
		mc_check_tables();
		/* It leads elsewhere now: one INVLPG, of any address in it, is for all of it. */
		poke(pde, FX_LARGE4 | P | W | U | PS);
		mc_invlpg(LARGE + 0x12345);
		for (unsigned i = 0; i < 3; i++)
			passes(rd(LARGE + (ram[i] & BITS(20, 0)), 3));
		passes(wr(LARGE + (FX_ROM & BITS(20, 0)), 3));
		/* And gone. */
		poke(pde, 0);
		mc_invlpg(LARGE + KIB(300));
		for (unsigned i = 0; i < 3; i++)
			faults(rd(LARGE + (ram[i] & BITS(20, 0)), 3), PF_U);
		stop();
	}
}

/* A large page gives no right that its upper levels deny, and its pieces none that it denies. */
static void test_large_rights(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map_at(root, LARGE, FX_LARGE4 | P | W | U | PS, 1);
	map_at(root, LARGE + MIB(2), MIB(8) | P | U | PS | NX, 1);
	turn_on(root, 0);
	passes(wr(LARGE, 3));
	faults(wr(LARGE + MIB(2) + KIB(256), 3), PF_P | PF_W | PF_U);
	faults(ex(LARGE + MIB(2) + KIB(256), 3), PF_P | PF_I | PF_U);
	passes(rd(LARGE + MIB(2) + KIB(256), 3));
	poke(entry_for(root, LARGE, 2), fx_get(entry_for(root, LARGE, 2), 8) & ~U);
	mc_load();
	faults(rd(LARGE, 3), PF_P | PF_U);
	faults(rd(LARGE + MIB(2) + KIB(256), 3), PF_P | PF_U);
	passes(wr(LARGE, 0));
	faults(wr(LARGE + MIB(2) + KIB(256), 0), PF_P | PF_W);
	stop();
}

/* Tables that lie in a large page which is mapped writable. */
static void test_tables_in_large_page(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pte;

		start(kind);
		root = new_root();
		map_at(root, LARGE, FX_LARGE4 | P | W | PS, 1);
		next_table = FX_LARGE4 + 7 * PAGE_SIZE;
		map(root, USER, FX_LARGE | P | W | U);
		pte = entry_for(root, USER, 0);
		assert_true(pte >= FX_LARGE4);
		turn_on(root, 0);
		passes(wr(LARGE, 0));
		passes(wr(USER, 3));
		passes(run(LARGE + (pte - FX_LARGE4), 0, true, false,
			   (FX_LARGE + PAGE_SIZE) | P | U));
		mc_invlpg(USER);
		passes(rd(USER, 3));
		faults(wr(USER, 3), PF_P | PF_W | PF_U);
		passes(wr(LARGE + KIB(512), 0));
		stop();
	}
}

/* The root maps itself: the guest edits its tables there. */
static void test_recursive(void **state)
{
	static const enum pt_kind with_memory_root[] = { PT_32, PT_4LEVEL };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t root, pte_va, self;

		start(with_memory_root[i]);
		root = new_root();
		map(root, USER, FX_LARGE | P | W | U);
		self = kind == PT_32 ? 0xffc00000 : 0xffffff8000000000;
		map_at(root, self, root | P | W | A | D, top_level());
		pte_va = self + USER / PAGE_SIZE * entry_size();
		turn_on(root, 0);
		passes(wr(USER, 3));
		passes(rd(pte_va, 0));
		for (unsigned j = 1; j < 20; j++) {
			passes(run(pte_va, 0, true, false,
				   (FX_LARGE + j % 3 * PAGE_SIZE) | P | U | (j & 1 ? W : 0)));
			mc_invlpg(USER);
			passes(rd(USER, 3));
			assert_int_equal(wr(USER, 3).end, j & 1 ? MC_DONE : MC_FAULT);
		}
		/* The self-map's own entry. */
		passes(run(self + entry_size() *
					   (kind == PT_32 ? 1023 * 1025ull : 511 * 0x8040201ull),
			   0, true, false, root | P | W | A | D));
		mc_invlpg(self);
		passes(rd(pte_va, 0));
		stop();
	}
}

/* One frame as a directory and as a page table. */
static void test_two_levels(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pd, at;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE | P | W | U);
		at = entry_for(root, USER, 1);
		pd = ALIGN_DOWN(at, PAGE_SIZE);
		map_at(root, LARGE + large_size(), pd | P | W | U, 1);
		turn_on(root, 0);
		passes(wr(USER, 3));
		/* The directory's entries, as pages: the table that the first of them leads to. */
		at = LARGE + large_size() + (at % PAGE_SIZE / entry_size()) * PAGE_SIZE;
		passes(rd(at, 3));
		passes(wr(at + 0x800, 3));
		passes(rd(USER, 3));
		stop();
	}
}

static void test_table_is_data(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pt, pte;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE | P | W | U);
		pte = entry_for(root, USER, 0);
		pt = ALIGN_DOWN(pte, PAGE_SIZE);
		map(root, USER + PAGE_SIZE, pt | P | W | U);
		turn_on(root, 0);
		for (unsigned i = 0; i < 30; i++) {
			passes(wr(USER, 3));
			/* Data, where the entries lead nowhere. */
			passes(run(USER + PAGE_SIZE + 0xf00, 3, true, false, 2 * i));
			/* And an entry. */
			if (i % 5 == 4) {
				passes(run(USER + PAGE_SIZE + pte % PAGE_SIZE, 3, true, false,
					   (FX_LARGE + i * PAGE_SIZE) | P | W | U));
				mc_invlpg(USER);
			}
		}
		stop();
	}
}

/* An instruction that writes to the very table that leads to its code, data and stack. */
static void test_writes_under_its_feet(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pt;
		struct mc_result r;

		start(kind);
		root = new_root();
		for (unsigned i = 0; i < 3; i++)
			map(root, USER + i * PAGE_SIZE, (FX_LARGE + i * PAGE_SIZE) | P | W | U);
		pt = ALIGN_DOWN(entry_for(root, USER, 0), PAGE_SIZE);
		map(root, USER + 3 * PAGE_SIZE, pt | P | W | U);
		turn_on(root, 0);
		for (unsigned i = 0; i < 20; i++) {
			struct mc_access a[3] = {
				{ .va = USER, .size = 4, .fetch = true },
				{ .va = USER + PAGE_SIZE, .size = 4 },
				{ .va = USER + 3 * PAGE_SIZE + 0x800, .size = 4, .write = true },
			};

			a[2].val = i * 2;
			mc.cpl = 3;
			mc_run(a, 3, &r);
			passes(r);
			passes(wr(USER + 2 * PAGE_SIZE, 3));
		}
		stop();
	}
}

/* Its code needs the table that it writes to, and no TLB helps it. */
static void test_writes_to_its_codes_table(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pt;

		start(kind);
		root = new_root();
		for (unsigned i = 0; i < 2; i++)
			map(root, USER + i * PAGE_SIZE, (FX_LARGE + i * PAGE_SIZE) | P | W | U);
		pt = ALIGN_DOWN(entry_for(root, USER, 0), PAGE_SIZE);
		turn_on(root, 0);
		mc.forgetful = true;
		for (unsigned i = 0; i < 10; i++) {
			struct mc_access a[3] = {
				{ .va = USER, .size = 4, .fetch = true },
				{ .va = USER + PAGE_SIZE, .size = 4 },
				{ .va = WINDOW + pt + 0x800,
				  .size = 4,
				  .write = true,
				  .val = 2 * i },
			};
			struct mc_result r;

			mc.cpl = 0;
			mc_run(a, 3, &r);
			passes(r);
			mc.rip += 8;
			passes(wr(USER, 3));
			mc.rip -= 8;
		}
		stop();
	}
}

static void test_tables_without_memory(void **state)
{
	static const uint64_t places[] = { FX_ROM, FX_DEVICE, FX_HOLE, FX_DISK };

	(void)state;
	for_each_kind(kind)
	{
		uint64_t root;

		start(kind);
		root = new_root();
		for (unsigned i = 0; i < 4; i++)
			map_at(root, LARGE + i * large_size(), places[i] | P | W | U, 1);
		fx_set(FX_ROM, entry_size(), FX_LARGE | P | W | U);
		fx_set(FX_DISK, entry_size(), FX_LARGE | P | W | U);
		turn_on(root, 0);
		/* Marks are lost in ROM, and the access passes. */
		passes(wr(LARGE, 3));
		passes(rd(LARGE, 3));
		assert_int_equal(fx_get(FX_ROM, entry_size()) & (A | D), 0);
		rd(LARGE + large_size(), 3);
		rd(LARGE + 2 * large_size(), 3);
		passes(wr(LARGE + 3 * large_size(), 3));
		shadow_forget(mc.s, GPA(FX_DISK), PAGE_SIZE);
		fx_swap_out(FX_DISK);
		passes(rd(LARGE + 3 * large_size(), 3));
		/* And roots. */
		for (unsigned i = 0; i < 4 && kind != PT_PAE; i++) {
			load_cr3(places[i]);
			rd(USER, 3);
			wr(WINDOW, 0);
		}
		stop();
	}
}

static void test_unpaged(void **state)
{
	(void)state;
	start(PT_32);
	passes(wr(FX_SCATTERED, 0));
	passes(wr(FX_LARGE4, 3));
	passes(wr(FX_SKEWED, 3));
	passes(wr(FX_GIB + MIB(5), 0));
	traps(wr(FX_ROM, 0));
	passes(rd(FX_ROM, 0));
	traps(rd(FX_HOLE, 0));
	traps(rd(0xfffffff0, 0));
	passes(ex(FX_DISK, 3));
	stop();
}

#define ANSWERED (FX_SCATTERED + PAGE_SIZE)

/* Beside others a device is found at once, in a page of its own and in a large one; code there, and
 * what lies on a disk yet, is for who is alone. */
static void test_device_shared(void **state)
{
	(void)state;
	if (!mc_shares)
		skip();
	for_each_kind(kind)
	{
		uint64_t root, shared;

		start(kind);
		root = new_root();
		map(root, USER, FX_DEVICE | P | W | U);
		map(root, USER + PAGE_SIZE, FX_LARGE | P | W | U);
		map_at(root, LARGE, MIB(8) | P | W | U | PS, 1);
		turn_on(root, 0);
		/* What leads to the tables. */
		passes(rd(USER + PAGE_SIZE, 3));
		passes(wr(LARGE + (FX_AFTER & BITS(20, 0)), 3));
		shared = stats()->shared;
		traps(rd(USER, 3));
		traps(wr(USER, 3));
		assert_int_equal(stats()->shared, shared + 2);
		traps(rd(LARGE + (FX_DEVICE & BITS(20, 0)), 3));
		traps(wr(LARGE + (FX_ROM & BITS(20, 0)), 3));
		assert_int_equal(stats()->shared, shared + 4);
		traps(ex(USER, 3));
		assert_int_equal(stats()->shared, shared + 4);
		fx_swap_out(FX_DISK);
		passes(rd(LARGE + (FX_DISK & BITS(20, 0)), 3));
		assert_int_equal(stats()->shared, shared + 4);
		mc_check_tables();
		stop();
	}
}

/* A page that the processor answers for holds no code: its translation is for data alone. */
static void test_answered(void **state)
{
	struct shadow_outcome out;

	(void)state;
	fx_answered = ANSWERED;
	start(PT_32);
	passes(rd(ANSWERED, 0));
	passes(wr(ANSWERED, 0));
	assert_int_equal(
		shadow_fault(&mc.sv, GVA(ANSWERED), PF_P | PF_I, 0x1000, RFLAGS_FIXED, 0, 0, &out),
		SHADOW_DEVICE);
	assert_int_equal(out.gpa.v, ANSWERED);
	stop();
	fx_answered = 0;
}

/* Off, each kind of paging, off: tables that were made unpaged are seen, and none is left over. */
static void test_modes(void **state)
{
	uint64_t root[ARRAY_SIZE(kinds)], high;

	(void)state;
	start(PT_32);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		kind = kinds[i];
		high = next_table;
		root[i] = next_table;
		next_table += PAGE_SIZE;
		map(root[i], USER, (FX_LARGE + i * PAGE_SIZE) | P | W | U);
		assert_true(next_table > high);
	}
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
			uint64_t pte;

			kind = kinds[i];
			pte = entry_for(root[i], USER, 0);
			mc.gp = (struct guest_paging){ .cr0 = CR0_PE, .caps = test_caps };
			mc_load();
			passes(run(pte, 0, true, false,
				   (uint32_t)(FX_LARGE + (i + round) * PAGE_SIZE) | P | W | U));
			turn_on(root[i], 0);
			passes(wr(USER, 3));
		}
	stop();
}

/* An accessed bit of a 32-bit entry is an address bit of the 8-byte one around it. */
static void test_modes_share_a_table(void **state)
{
	uint64_t root, low, pte;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_HIGH | P | W | U | A | D);
	pte = entry_for(root, USER, 0);
	low = next_table;
	fx_set(low, 4, ALIGN_DOWN(pte, PAGE_SIZE) | P | W);
	turn_on(root, 0);
	passes(wr(USER, 3));
	kind = PT_32;
	turn_on(low, 0);
	passes(rd((pte % PAGE_SIZE + 4) / 4 * PAGE_SIZE, 0));
	assert_int_equal(fx_get(pte, 8) >> 32, 0x21);
	kind = PT_4LEVEL;
	turn_on(root, 0);
	traps(rd(USER, 3));
	stop();
}

/* Many more address spaces than fit. */
static void test_bound(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root[140];

		start_with(kind, SHADOW_MIN);
		next_table = FX_LARGE4;
		for (unsigned i = 0; i < ARRAY_SIZE(root); i++) {
			root[i] = next_table;
			next_table += PAGE_SIZE;
			map(root[i], USER, FX_LARGE | P | W | U);
			map(root[i], LARGE, (FX_LARGE + i * PAGE_SIZE) | P | W | U);
		}
		assert_true(next_table <= FX_LARGE4 + MIB(4));
		turn_on(root[0], 0);
		for (unsigned round = 0; round < 2; round++)
			for (unsigned i = 0; i < ARRAY_SIZE(root); i++) {
				load_cr3(root[i]);
				passes(wr(USER, 3));
				passes(wr(LARGE, 3));
				assert_true(shadow_bytes(mc.s) <= SHADOW_MIN);
				assert_true(fx.nr_pages * PAGE_SIZE <= SHADOW_MIN);
			}
		assert_true(stats()->reclaimed > 100);
		/* What was used last is still there. */
		load_cr3(root[ARRAY_SIZE(root) - 2]);
		passes(wr(USER, 3));
		stop();
	}
}

/* One address space that does not fit: what is reclaimed is in use a moment ago. */
static void test_bound_of_one_space(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, step = large_size();

		start_with(kind, SHADOW_MIN);
		root = new_root();
		next_table = FX_LARGE4;
		for (uint64_t i = 0; i < 200; i++)
			map(root, LARGE + i * step, (FX_LARGE + i * PAGE_SIZE) | P | W | U);
		turn_on(root, 0);
		for (unsigned round = 0; round < 3; round++)
			for (uint64_t i = 0; i < 200; i++) {
				passes(wr(LARGE + i * step, 3));
				passes(rd(LARGE + i * 77 % 200 * step, 3));
				assert_true(fx.nr_pages * PAGE_SIZE <= SHADOW_MIN);
			}
		assert_true(stats()->reclaimed > 0);
		stop();
	}
}

/* What a fault works on is not given up for what it needs. */
static void test_reclaim_on_the_way(void **state)
{
	(void)state;
	start_with(PT_4LEVEL, SHADOW_MIN);
	mc.what = "4-level";
	for (unsigned n = 1; n < 110; n++) {
		uint64_t a, b;

		mc_stop();
		start_with(PT_4LEVEL, SHADOW_MIN);
		a = new_root();
		b = next_table;
		next_table = FX_LARGE4;
		map(a, GIB(3), FX_LARGE | P | W | U);
		map(a, GIB(3) + MIB(2), FX_LARGE | P | W | U);
		for (uint64_t i = 0; i < n; i++)
			map(b, i * MIB(2), (FX_LARGE + i * PAGE_SIZE) | P | W | U);
		turn_on(a, 0);
		passes(wr(GIB(3), 3));
		load_cr3(b);
		for (uint64_t i = 0; i < n; i++)
			passes(wr(i * MIB(2), 3));
		load_cr3(a);
		passes(wr(GIB(3) + MIB(2), 3));
		mc_audit();
	}
	stop();
}

/* Memory runs out at every possible point: no crash, no leak, and it goes on when there is some. */
static void test_no_memory(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		bool failed = true;

		for (unsigned n = 0; failed; n++) {
			struct shadow_outcome o;
			enum shadow_result r;
			uint64_t root;

			start(kind);
			root = new_root();
			map(root, USER, FX_LARGE | P | W | U | A | D);
			fx.fail_after = n;
			turn_on(root, 0);
			r = shadow_fault(&mc.sv, GVA(USER), PF_W | PF_U, 0x1000, RFLAGS_FIXED, 3, 0,
					 &o);
			failed = r != SHADOW_RESUME;
			assert_true(!failed || r == SHADOW_NO_MEMORY);
			fx.fail_after = UINT32_MAX;
			mc_check_tables();
			mc_load();
			fx_model_put(entry_for(root, USER, 0), entry_size(),
				     fx_get(entry_for(root, USER, 0), entry_size()));
			passes(wr(USER, 3));
			passes(rd(WINDOW, 0));
			stop();
			assert_in_range(n, 0, 100);
		}
	}
}

static void audit_finds(uint64_t *entry, uint64_t wrong)
{
	char why[200] = "";
	uint64_t right = *entry;

	*entry = wrong;
	assert_false(shadow_audit(mc.s, why, sizeof(why)));
	assert_true(strlen(why) > 20);
	*entry = right;
	assert_true(shadow_audit(mc.s, why, sizeof(why)));
}

static void test_audit(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		unsigned level;
		uint64_t root, *ro, *large, *table;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE | P);
		map(root, USER + PAGE_SIZE, FX_ROM | P | W | U);
		map_at(root, LARGE, FX_LARGE4 | P | U | PS, 1);
		turn_on(root, 0);
		passes(rd(USER, 0));
		passes(rd(USER + PAGE_SIZE, 3));
		passes(rd(LARGE, 3));
		passes(rd(WINDOW + root, 0));
		ro = mc_shadow_entry(USER, &level);
		audit_finds(ro, *ro | W);
		audit_finds(ro, *ro | U);
		audit_finds(ro, *ro + PAGE_SIZE);
		audit_finds(ro, 0);
		ro = mc_shadow_entry(USER + PAGE_SIZE, &level);
		audit_finds(ro, *ro | W);
		large = mc_shadow_entry(LARGE, &level);
		audit_finds(large, *large | W);
		audit_finds(large, *large ^ MIB(2));
		/* PAE has no shadow page of the root's own frame. */
		table = mc_shadow_entry(WINDOW + ALIGN_DOWN(entry_for(root, USER, 1), PAGE_SIZE),
					&level);
		if (table)
			audit_finds(table, *table | W);
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_roots_stay),
		cmocka_unit_test(test_shared_table),
		cmocka_unit_test(test_large_stays_large),
		cmocka_unit_test(test_1g_is_made_of_large),
		cmocka_unit_test(test_splintered),
		cmocka_unit_test(test_large_rights),
		cmocka_unit_test(test_tables_in_large_page),
		cmocka_unit_test(test_recursive),
		cmocka_unit_test(test_two_levels),
		cmocka_unit_test(test_table_is_data),
		cmocka_unit_test(test_writes_under_its_feet),
		cmocka_unit_test(test_writes_to_its_codes_table),
		cmocka_unit_test(test_tables_without_memory),
		cmocka_unit_test(test_unpaged),
		cmocka_unit_test(test_device_shared),
		cmocka_unit_test(test_answered),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_modes_share_a_table),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_bound_of_one_space),
		cmocka_unit_test(test_reclaim_on_the_way),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_audit),
	};

	for (unsigned i = 0; i < 2; i++) {
		mc_shares = i;
		if (cmocka_run_group_tests(tests, NULL, NULL))
			return 1;
	}
	return 0;
}
