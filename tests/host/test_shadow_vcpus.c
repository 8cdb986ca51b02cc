/*
 * One shadow, several vCPUs: what one does to its translations, and to tables that others use, too.
 * A vCPU may keep what it has cached of a table that another changes until it invalidates that
 * itself; what the shadow takes away, all lose at once. See test_shadow.c.
 */
#include "paging/shadow_core.h"
#include "tests/host/shadow_guest.h"

#define FRAME_A (FX_LARGE + 16 * PAGE_SIZE)
#define TABLE (FX_SCATTERED + 8 * PAGE_SIZE)
#define FRAME_B (FX_LARGE + 17 * PAGE_SIZE)

/* The vCPU has paging on, by those tables. */
static void on(unsigned vcpu, uint64_t root)
{
	mc_switch(vcpu);
	turn_on(root, 0);
}

/* They use the same shadow pages. */
static void test_share(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t misses, root = start_mapped(kind, FRAME_A | P | W | U);

		passes(wr(USER, 3));
		misses = stats()->misses;
		on(1, root);
		passes(rd(USER, 3));
		passes(wr(USER, 3));
		/* But for the two roots that each has of its own outside long mode. */
		assert_in_range(stats()->misses - misses, 0, 1);
		stop();
	}
}

/* INVLPG reaches the vCPU that does it, on each; then it sees what the other has written. */
static void test_shootdown(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root = start_mapped(kind, FRAME_A | P | W | U), pte;

		pte = entry_for(root, USER, 0);
		passes(wr(USER, 3));
		on(1, root);
		passes(wr(USER, 3));
		for (unsigned i = 0; i < 6; i++) {
			uint64_t e = i % 3 == 0 ? 0 : (i % 2 ? FRAME_B : FRAME_A) | P | W | U;

			mc_switch(i % 2);
			poke(pte, e);
			mc_invlpg(USER);
			mc_switch(!(i % 2));
			mc_invlpg(USER);
			for (unsigned k = 0; k < 2; k++) {
				mc_switch(k);
				mc_invlpg(USER);
				if (e)
					passes(wr(USER, 3));
				else
					faults(rd(USER, 3), PF_U);
			}
			mc_audit();
		}
		stop();
	}
}

/* A load of CR3 leaves the others' translations alone, and so does an INVLPG. */
static void test_own_flush(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root = start_mapped(kind, FRAME_A | P | W | U | A | D);
		unsigned had;

		passes(wr(USER, 3));
		on(1, root);
		passes(wr(USER, 3));
		had = mc_tlb_entries();
		assert_true(had > 0);
		mc_switch(0);
		load_cr3(root);
		assert_int_equal(mc_tlb_entries(), 0);
		mc_invlpg(USER);
		mc_switch(1);
		assert_int_equal(mc_tlb_entries(), had);
		stop();
	}
}

/* A page becomes a table: what another has cached of it, to write to it, is worth nothing. */
static void test_protected_for_all(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root = start_mapped(kind, TABLE | P | W | U | A | D);
		uint64_t table = TABLE, va = USER + LARGE;

		map(root, va, 0); /* tables on the way */
		load_cr3(root);
		on(1, root);
		passes(wr(USER, 3));
		mc_switch(0);
		fx_set(table + (va >> PAGE_SHIFT) % (PAGE_SIZE / entry_size()) * entry_size(),
		       entry_size(), FRAME_A | P | W | U | A | D);
		poke(entry_for(root, va, 1), table | P | W | U | A);
		mc_invlpg(va);
		passes(wr(va, 3));
		mc_switch(1);
		passes(wr(va, 3));
		/* By the mapping that it has had before. */
		{
			struct mc_access a = { .va = USER + (va >> PAGE_SHIFT) %
								    (PAGE_SIZE / entry_size()) *
								    entry_size(),
					       .size = entry_size(),
					       .write = true,
					       .val = FRAME_B | P | W | U | A | D };
			struct mc_result r;

			mc_run(&a, 1, &r);
			passes(r);
		}
		mc_invlpg(va);
		passes(rd(va, 3));
		mc_switch(0);
		mc_invlpg(va);
		passes(wr(va, 3));
		stop();
	}
}

/* The root of another is out of sync while this one writes to it: its INVLPG exits, too. */
static void test_root_of_another(void **state)
{
	uint64_t root, pml4e;

	(void)state;
	root = start_mapped(PT_4LEVEL, FRAME_A | P | W | U);
	passes(wr(USER, 3));
	on(1, root);
	passes(wr(USER, 3));
	on(2, new_root());
	pml4e = entry_for(root, USER, 3);
	poke(pml4e, 0);
	assert_true(fx.invlpg_exits);
	for (unsigned i = 0; i < 2; i++) {
		mc_switch(i);
		mc_invlpg(USER);
		faults(rd(USER, 3), PF_U);
	}
	assert_false(fx.invlpg_exits);
	stop();
}

/* Each of so many vCPUs has its own root, and one instruction writes to them all. */
static void test_many_roots(void **state)
{
	static struct shadow_vcpu sv[SHADOW_VCPUS - 1];
	struct guest_paging gp;
	uint64_t root;

	(void)state;
	start_with(PT_4LEVEL, MIB(8));
	root = new_root();
	turn_on(root, 0);
	gp = mc.gp;
	for (unsigned i = 0; i < ARRAY_SIZE(sv); i++) {
		assert_int_equal(shadow_vcpu_init(&sv[i], mc.s), 0);
		gp.cr3 = next_table;
		next_table += PAGE_SIZE;
		assert_true(shadow_load(&sv[i], &gp).v);
	}
	mc_load();
	for (unsigned i = 0; i < ARRAY_SIZE(sv); i++)
		poke(next_table - (i + 1) * PAGE_SIZE + 0x800, 0);
	assert_true(mc.s->nr_unsync > 0);
	mc_invlpg(USER);
	assert_int_equal(mc.s->nr_unsync, 0);
	stop();
}

/* One that does not page runs on other tables, and writes to the guest's unseen. The others then
 * see what it has written, as they are given their roots anew. */
static void test_unseen_writes(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root = start_mapped(kind, FRAME_A | P | W | U), pte;

		pte = entry_for(root, USER, 0);
		passes(wr(USER, 3));
		mc_switch(1);
		for (unsigned i = 0; i < 4; i++) {
			uint64_t e = (i % 2 ? FRAME_A : FRAME_B) | P | W | U;

			shadow_leave(&mc.sv);
			fx_set(pte, entry_size(), e);
			mc_audit();
			mc_switch(0);
			mc_load();
			passes(wr(USER, 3));
			mc_switch(1);
		}
		/* The last one that leaves: nothing is kept. */
		mc_switch(0);
		shadow_leave(&mc.sv);
		assert_int_equal(mc.s->nr_chunks, 0);
		mc_load();
		passes(wr(USER, 3));
		stop();
	}
}

/* Tables of two kinds in one page: the bits that one vCPU's accesses set are the other's entries.
 */
static void test_kinds_at_once(void **state)
{
	uint64_t table, root;

	(void)state;
	root = start_mapped(PT_4LEVEL, FRAME_A | P | W | U);
	table = ALIGN_DOWN(entry_for(root, USER, 0), PAGE_SIZE);
	passes(rd(USER, 3));
	mc_switch(1);
	kind = PT_32;
	{
		uint64_t other = new_root();

		/* The same page table: of 32 bits its entries are the halves. */
		fx_set(entry_at(other, 1, 0), 4, table | P | W | U | A);
		turn_on(other, 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		mc_switch(1);
		rd(i * PAGE_SIZE, 0);
		mc_audit();
		mc_switch(0);
		mc_invlpg(USER);
		passes(i < 2 ? rd(USER, 3) : wr(USER, 3));
		mc_audit();
	}
	kind = PT_4LEVEL;
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share),           cmocka_unit_test(test_shootdown),
		cmocka_unit_test(test_own_flush),       cmocka_unit_test(test_protected_for_all),
		cmocka_unit_test(test_root_of_another), cmocka_unit_test(test_many_roots),
		cmocka_unit_test(test_unseen_writes),   cmocka_unit_test(test_kinds_at_once),
	};

	for (unsigned i = 0; i < 2; i++) {
		mc_shares = i;
		if (cmocka_run_group_tests_name("shadow_vcpus", tests, NULL, NULL))
			return 1;
	}
	return 0;
}
