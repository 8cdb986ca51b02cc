/*
 * The shadow, one promise at a time: rights, control bits, marks, and memory that is not the
 * guest's to write. See test_shadow.c.
 */
#include "tests/host/shadow_guest.h"

static void test_wp(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		start_mapped(kind, FX_LARGE | P | U);
		faults(wr(USER, 0), PF_P | PF_W);
		mc.gp.cr0 &= ~CR0_WP;
		mc_load();
		passes(wr(USER, 0));
		faults(wr(USER, 3), PF_P | PF_W | PF_U);
		passes(rd(USER, 3));
		passes(wr(USER, 0));
		passes(ex(USER, 0));
		mc.gp.cr4 |= CR4_SMEP;
		mc_load();
		passes(wr(USER, 0));
		faults(ex(USER, 0), PF_P | PF_I);
		passes(ex(USER, 3));
		mc.gp.cr4 |= CR4_SMAP;
		mc_load();
		faults(wr(USER, 0), PF_P | PF_W);
		mc.ac = true;
		passes(wr(USER, 0));
		mc.ac = false;
		faults(rd(USER, 0), PF_P);
		passes(rd(USER, 3));
		mc.gp.cr0 |= CR0_WP;
		mc.gp.cr4 &= ~CR4_SMAP;
		mc_load();
		faults(wr(USER, 0), PF_P | PF_W);
		stop();
	}
}

/* What the kernel wrote with CR0.WP clear must be no user's, and not escape SMAP later. */
static void test_wp_then_smap(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		start_mapped(kind, FX_LARGE | P | U);
		mc.gp.cr0 &= ~CR0_WP;
		mc_load();
		passes(wr(USER, 0));
		mc.gp.cr4 |= CR4_SMAP;
		mc_load();
		faults(rd(USER, 0), PF_P);
		stop();
	}
}

static void test_keys(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | UINT64_C(5) << 59);
	/* In pieces. */
	map_at(root, LARGE, MIB(8) | P | W | U | PS | UINT64_C(5) << 59, 1);
	turn_on(root, CR4_PKE);
	passes(wr(USER, 3));
	passes(wr(LARGE + KIB(300), 3));
	mc.gp.pkru = 2u << 10;
	faults(wr(LARGE + KIB(300), 3), PF_P | PF_W | PF_U | PF_PK);
	faults(wr(USER, 3), PF_P | PF_W | PF_U | PF_PK);
	faults(wr(USER, 0), PF_P | PF_W | PF_PK);
	passes(rd(USER, 3));
	mc.gp.cr0 &= ~CR0_WP;
	mc_load();
	passes(wr(USER, 0));
	mc.gp.pkru = 1u << 10;
	faults(rd(USER, 0), PF_P | PF_PK);
	mc.gp.cr4 &= ~CR4_PKE;
	mc_load();
	passes(wr(USER, 3));
	stop();
}

/* With CR0.WP clear a key does not bind the kernel, however often the same instruction writes: not
 * an access of the processor's own, which AC would not excuse. */
static void test_key_without_wp(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | UINT64_C(5) << 59);
	turn_on(root, CR4_PKE | CR4_SMAP);
	mc.gp.cr0 &= ~CR0_WP;
	mc.ac = true;
	mc_load();
	passes(wr(USER, 0));
	mc.gp.pkru = 2u << 10;
	for (unsigned i = 0; i < 4; i++)
		passes(wr(USER, 0));
	mc.ac = false;
	mc_load();
	faults(wr(USER, 0), PF_P | PF_W);
	stop();
}

static void test_nxe(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_PAE);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U | NX);
	turn_on(root, 0);
	passes(wr(USER, 3));
	faults(ex(USER, 3), PF_P | PF_I | PF_U);
	mc.gp.efer = 0;
	mc_load();
	faults(rd(USER, 3), PF_P | PF_RSVD | PF_U);
	mc.gp.efer = EFER_NXE;
	mc_load();
	passes(rd(USER, 3));
	stop();
}

/* With CR4.PSE clear the bit means nothing, and the same entry leads to a table. */
static void test_pse(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_32);
	root = new_root();
	map_at(root, LARGE, FX_LARGE4 | P | W | U | PS, 1);
	fx_set(FX_LARGE4 + 4, 4, FX_LARGE | P | W | U);
	turn_on(root, 0);
	passes(wr(LARGE + PAGE_SIZE, 3));
	mc.gp.cr4 &= ~CR4_PSE;
	mc_load();
	passes(wr(LARGE + PAGE_SIZE, 3));
	faults(rd(LARGE, 3), PF_U);
	mc.gp.cr4 |= CR4_PSE;
	mc_load();
	passes(wr(LARGE + PAGE_SIZE + 4, 3));
	passes(wr(LARGE, 3));
	stop();
}

static void test_pge(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pte;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE | P | W | U | G);
		pte = entry_for(root, USER, 0);
		turn_on(root, CR4_PGE);
		passes(wr(USER, 3));
		poke(pte, (FX_LARGE + PAGE_SIZE) | P | W | U | G);
		mc.gp.cr4 &= ~CR4_PGE;
		mc_load();
		mc.gp.cr4 |= CR4_PGE;
		mc_load();
		passes(wr(USER, 3));
		poke(pte, 0);
		mc_invlpg(USER);
		faults(rd(USER, 3), PF_U);
		stop();
	}
}

/* The PDPTEs are those that were loaded, whatever is in memory now. */
static void test_pdptes(void **state)
{
	uint64_t root;

	(void)state;
	start(PT_PAE);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U);
	turn_on(root, 0);
	passes(wr(USER, 3));
	poke(root, 0);
	mc_invlpg(USER);
	passes(wr(USER, 3));
	mc_load();
	passes(wr(USER, 3));
	load_cr3(root);
	faults(wr(USER, 3), PF_W | PF_U);
	stop();
}

/* Accessed and dirty are the guest's own accesses', and prefetch sets none. */
static void test_accessed_dirty(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pte, n = entry_size();

		start(kind);
		root = new_root();
		for (unsigned i = 0; i < 8; i++)
			map(root, USER + i * PAGE_SIZE,
			    (FX_LARGE + i * PAGE_SIZE) | P | W | U | (i & 1 ? A : 0));
		pte = entry_for(root, USER, 0);
		turn_on(root, 0);
		passes(rd(USER, 3));
		assert_int_equal(fx_get(pte, n) & (A | D), A);
		for (unsigned i = 1; i < 8; i++)
			assert_int_equal(fx_get(pte + i * n, n) & (A | D), i & 1 ? A : 0);
		passes(wr(USER, 3));
		passes(wr(USER + PAGE_SIZE, 3));
		assert_int_equal(fx_get(pte, n) & (A | D), A | D);
		assert_int_equal(fx_get(pte + n, n) & (A | D), A | D);
		poke(pte, FX_LARGE | P | W | U);
		mc_invlpg(USER);
		passes(rd(USER, 3));
		assert_int_equal(fx_get(pte, n) & (A | D), A);
		passes(wr(USER, 3));
		assert_int_equal(fx_get(pte, n) & (A | D), A | D);
		stop();
	}
}

static void test_hooked(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE4 | P | W | U);
		map(root, USER + PAGE_SIZE, FX_LARGE4 | P | W | U);
		map_at(root, LARGE, FX_LARGE4 | P | W | U | PS, 1);
		turn_on(root, 0);
		for (unsigned how = 0; how <= FX_HOOK_ALL; how++) {
			fx_hook(FX_LARGE4, how);
			shadow_forget(mc.s, GPA(FX_LARGE4), PAGE_SIZE);
			mc_check_tables();
			for (unsigned i = 0; i < 2; i++) {
				int end = how ? MC_DEVICE : MC_DONE;

				assert_int_equal(wr(USER, 3).end, end);
				assert_int_equal(wr(USER + PAGE_SIZE, 0).end, end);
				assert_int_equal(wr(LARGE, 3).end, end);
				end = how == FX_HOOK_ALL ? MC_DEVICE : MC_DONE;
				assert_int_equal(rd(USER, 3).end, end);
				assert_int_equal(rd(LARGE, 3).end, end);
				passes(wr(LARGE + PAGE_SIZE, 3));
				mc_check_tables();
			}
			mc_audit();
		}
		fx_hook(FX_LARGE4, 0);
		shadow_forget(mc.s, GPA(FX_LARGE4), PAGE_SIZE);
		passes(wr(USER, 3));
		passes(wr(LARGE, 3));
		stop();
	}
}

/* With CR0.WP clear as well. */
static void test_rom(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		start_mapped(kind, FX_ROM | P | W | U);
		mc.gp.cr0 &= ~CR0_WP;
		mc_load();
		traps(wr(USER, 0));
		passes(rd(USER, 3));
		traps(wr(USER, 3));
		traps(wr(USER, 0));
		stop();
	}
}

static void test_disk(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		start_mapped(kind, FX_DISK | P | W | U);
		for (unsigned i = 0; i < 5; i++) {
			passes(run(USER, 3, true, false, i));
			shadow_forget(mc.s, GPA(FX_DISK), PAGE_SIZE);
			fx_swap_out(FX_DISK);
			mc_check_tables();
			mc_audit();
			passes(rd(USER, 3));
		}
		stop();
	}
}

/* A frame that is not the VM's, whatever its memory map says. */
static void test_owner(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		struct shadow_outcome o;
		unsigned level;
		uint64_t root;

		root = start_mapped(kind, FX_LARGE | P | W | U);
		fx.forbidden = fx_hpa(FX_LARGE);
		assert_int_not_equal(
			shadow_fault(&mc.sv, GVA(USER), PF_U, 0x1000, RFLAGS_FIXED, 3, 0, &o),
			SHADOW_RESUME);
		assert_null(mc_shadow_entry(USER, &level));
		fx_model_put(entry_for(root, USER, 0), 4,
			     (uint32_t)fx_get(entry_for(root, USER, 0), 4));
		fx.forbidden = HPA(0);
		passes(wr(USER, 3));
		stop();
	}
}

/* What a device or the emulator writes to a table is made known. */
static void test_written(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root, pte;

		start(kind);
		root = new_root();
		map(root, USER, FX_LARGE | P | W | U);
		pte = entry_for(root, USER, 0);
		turn_on(root, 0);
		passes(wr(USER, 3));
		fx_set(pte, entry_size(), (FX_LARGE + PAGE_SIZE) | P | U);
		shadow_written(mc.s, GPA(pte), entry_size());
		mc_invlpg(USER);
		faults(wr(USER, 3), PF_P | PF_W | PF_U);
		passes(rd(USER, 3));
		stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wp),      cmocka_unit_test(test_wp_then_smap),
		cmocka_unit_test(test_keys),    cmocka_unit_test(test_nxe),
		cmocka_unit_test(test_pse),     cmocka_unit_test(test_pge),
		cmocka_unit_test(test_pdptes),  cmocka_unit_test(test_accessed_dirty),
		cmocka_unit_test(test_hooked),  cmocka_unit_test(test_rom),
		cmocka_unit_test(test_disk),    cmocka_unit_test(test_owner),
		cmocka_unit_test(test_written), cmocka_unit_test(test_key_without_wp),
	};

	for (unsigned i = 0; i < 2; i++) {
		mc_shares = i;
		if (cmocka_run_group_tests(tests, NULL, NULL))
			return 1;
	}
	return 0;
}
