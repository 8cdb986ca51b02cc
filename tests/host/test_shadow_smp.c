/*
 * One shadow while the VM's other vCPUs run: they write to tables until a flush has reached them,
 * by what they have cached, they walk the shadow's tables at any time, and invalidate by
 * themselves. See test_shadow_vcpus.c for what they do by turns.
 */
#include "paging/shadow_core.h"
#include "tests/host/shadow_guest.h"

#define FRAME_A (FX_LARGE + 16 * PAGE_SIZE)
#define FRAME_B (FX_LARGE + 17 * PAGE_SIZE)
#define TABLE (FX_LARGE4 + 8 * PAGE_SIZE)
#define RIP 0x1000
#define OTHER_RIP 0x2000

static void on(unsigned vcpu, uint64_t root)
{
	mc_switch(vcpu);
	turn_on(root, 0);
}

/* A fault that is handled while others run; the machine compares nothing. */
static enum shadow_result fault_of(struct shadow_vcpu *sv, uint64_t va, uint32_t error,
				   uint64_t rip)
{
	unsigned cpl = error & PF_U ? 3 : 0;
	struct shadow_outcome o;
	enum shadow_result result = SHADOW_ALONE;

	if (mc_shares)
		result = shadow_fault_shared(sv, GVA(va), error, rip, RFLAGS_FIXED, cpl, 0, &o);
	if (result != SHADOW_ALONE)
		return result;
	return shadow_fault(sv, GVA(va), error, rip, RFLAGS_FIXED, cpl, 0, &o);
}

static struct sp *page_of(uint64_t table)
{
	return &mc.s->sp[sp_frame_find(mc.s, table / PAGE_SIZE)->pages];
}

/* --- a table changes while it is being closed --- */

static struct {
	uint64_t at, val;
	bool done;
} edit;

/* vCPU 1 writes the entry as long as it knows how to. */
static void edit_at_flush(void)
{
	if (edit.done || !mc_other_may_write(1, WINDOW + edit.at))
		return;
	fx_set(edit.at, entry_size(), edit.val);
	edit.done = true;
}

/*
 * vCPU 1 changes an entry of the way after vCPU 0's fault has walked it, and before the table is
 * protected; its INVLPG follows. vCPU 0 has none to do: its fault came before.
 */
static void entry_changes(unsigned level, uint64_t seen)
{
	uint64_t root = start_mapped(kind, FRAME_A | P | W | U | A | D), at, other;

	map(root, USER + PAGE_SIZE, FRAME_A | P | W | U | A | D);
	other = next_table;
	next_table += PAGE_SIZE;
	at = entry_for(root, USER, level);
	/* A copy of what the entry leads to, but for the page. */
	for (unsigned i = 0; level && i < PAGE_SIZE; i += 8)
		fx_set(other + i, 8, fx_get((fx_get(at, entry_size()) & FRAME) + i, 8));
	if (level == 1)
		fx_set(entry_at(other, 0, USER), entry_size(), FRAME_B | P | W | U | A | D);
	edit.at = at;
	edit.val = level ? other | P | W | U | A : seen;
	edit.done = false;
	passes(rd(USER, 3));
	on(1, root);
	poke(at, fx_get(at, entry_size()));
	assert_int_equal(page_of(ALIGN_DOWN(at, PAGE_SIZE))->state, SP_OPEN);
	mc_switch(0);
	mc_invlpg(USER);
	mc.on_flush = edit_at_flush;
	assert_int_equal(fault_of(&mc.sv, USER, PF_U, RIP),
			 seen & U ? SHADOW_RESUME : SHADOW_REFLECT);
	mc.on_flush = NULL;
	assert_true(edit.done);
	if (seen & U)
		passes(rd(USER, 3));
	else
		faults(rd(USER, 3), PF_P | PF_U);
	mc_audit();
	mc_switch(1);
	mc_invlpg(USER);
	if (seen & U)
		passes(wr(USER, 3));
	stop();
}

static void test_entry_changes(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		entry_changes(0, FRAME_B | P | W | U | A | D);
		entry_changes(0, FRAME_A | P | A);
		/* The 32-bit page directory is on the way to each table, its own too. */
		if (kind != PT_32)
			entry_changes(1, FRAME_B | P | W | U | A | D);
	}
}

/* --- what is given back --- */

/* A shadow page goes while another vCPU remembers the way to it: the machine tells if it is too
 * early. */
static void test_given_back_after_flush(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root[24];

		start_with(kind, SHADOW_MIN);
		for (unsigned i = 0; i < ARRAY_SIZE(root); i++) {
			root[i] = next_table;
			next_table += PAGE_SIZE;
			for (unsigned k = 0; k < 6; k++)
				map(root[i], USER + k * MIB(4),
				    (FRAME_A + k * PAGE_SIZE) | P | W | U | A | D);
		}
		/* Its pages are the oldest. */
		on(1, root[1]);
		for (unsigned k = 0; k < 6; k++)
			passes(rd(USER + k * MIB(4), 3));
		on(0, root[0]);
		for (unsigned i = 2; i < ARRAY_SIZE(root); i++) {
			load_cr3(root[i]);
			for (unsigned k = 0; k < 6; k++)
				passes(rd(USER + k * MIB(4), 3));
		}
		assert_true(stats()->reclaimed > 0);
		mc_switch(1);
		for (unsigned k = 0; k < 6; k++)
			passes(rd(USER + k * MIB(4), 3));
		stop();
	}
}

/* The memory map has changed while a fault was under way: the root is no longer what it was. */
static void test_fault_after_forget(void **state)
{
	uint64_t root, misses, fills;

	(void)state;
	start(PT_4LEVEL);
	root = FX_DISK;
	fx_set(root, 8, 0);
	map(root, USER, FRAME_A | P | W | U | A | D);
	turn_on(root, 0);
	passes(rd(USER, 3));
	on(1, root);
	passes(rd(USER, 3));
	mc_switch(0);
	shadow_forget(mc.s, GPA(root), PAGE_SIZE);
	fx_swap_out(root);
	misses = stats()->misses;
	fills = stats()->fills;
	assert_int_equal(fault_of(&mc.sv, USER, PF_U, RIP), SHADOW_RESUME);
	assert_int_equal(fault_of(&mc.sv, USER + GIB(512), PF_U, RIP), SHADOW_RESUME);
	assert_int_equal(stats()->misses, misses);
	assert_int_equal(stats()->fills, fills);
	mc_load();
	passes(wr(USER, 3));
	mc_switch(1);
	mc_load();
	passes(wr(USER, 3));
	stop();
}

/*
 * The entry by which vCPU 1 has written to a page goes, without a flush, as the guest has not yet
 * invalidated it. Then the page is a table, once more if it is known as one: its write no longer
 * passes, by no entry of old either.
 */
static void stale_write(uint64_t then, bool known)
{
	for_each_kind(kind)
	{
		uint64_t root, pte, low, va = USER + LARGE;

		start(kind);
		root = new_root();
		/* Tables that no window shows: nothing else is protected with them. */
		low = next_table;
		next_table = FX_LARGE4;
		map(root, USER, TABLE | P | W | U | A | D);
		map(root, USER + PAGE_SIZE, FRAME_A | P | W | U | A | D);
		next_table = low;
		fx_set(entry_for(root, va, 1), entry_size(), TABLE | P | W | U | A);
		fx_set(entry_at(TABLE, 0, va), entry_size(), FRAME_A | P | W | U | A | D);
		pte = entry_for(root, USER, 0);
		turn_on(root, 0);
		passes(rd(USER + PAGE_SIZE, 3));
		if (known)
			passes(rd(va, 3));
		on(1, root);
		passes(wr(USER + 0x800, 3));
		mc_switch(0);
		shadow_write_begins(mc.s, GPA(pte), entry_size());
		fx_set(pte, entry_size(), then);
		mc_invlpg(USER + PAGE_SIZE);
		passes(rd(USER + PAGE_SIZE, 3));
		assert_true(mc_other_may_write(1, USER));
		mc_invlpg(va);
		passes(rd(va, 3));
		assert_false(mc_other_may_write(1, USER));
		stop();
	}
}

static void test_stale_write(void **state)
{
	(void)state;
	stale_write(0, false);
	stale_write(0, true);
	stale_write(TABLE | P | U | A | D, false);
	stale_write(TABLE | P | U | A | D, true);
}

/* --- out of sync --- */

static struct {
	uint64_t va, frame;
	unsigned on, off;
} sync;

/* No vCPU runs with an INVLPG of its own while the table may be written to, or differs. */
static void look_at_intercept(bool exits)
{
	struct pt_walk w;

	if (exits) {
		sync.on++;
		assert_true(mc_other_walk(0, WINDOW + sync.frame, &w) != PT_OK ||
			    !(w.rights & PT_W));
		return;
	}
	sync.off++;
	assert_int_not_equal(mc_other_walk(0, sync.va, &w), PT_OK);
	assert_false(mc_other_may_write(0, WINDOW + sync.frame));
}

static void test_invlpg_exits_in_time(void **state)
{
	uint64_t root, pml4e;

	(void)state;
	root = start_mapped(PT_4LEVEL, FRAME_A | P | W | U);
	passes(wr(USER, 3));
	passes(rd(WINDOW + root, 0));
	on(1, root);
	passes(wr(USER, 3));
	on(2, new_root());
	sync.va = USER;
	sync.frame = root;
	sync.on = sync.off = 0;
	fx.on_intercept = look_at_intercept;
	pml4e = entry_for(root, USER, 3);
	poke(pml4e, 0);
	assert_int_equal(sync.on, 1);
	mc_switch(1);
	mc_invlpg(USER);
	assert_int_equal(sync.off, 1);
	faults(rd(USER, 3), PF_U);
	fx.on_intercept = NULL;
	stop();
}

/* Two entries of the shadow's stand for one of the guest's, which changes between them. */
static void test_halves(void **state)
{
	uint64_t root, pde;

	(void)state;
	kind = PT_32;
	start(kind);
	root = new_root();
	map_at(root, LARGE, MIB(8) | P | W | U | PS | A | D, 1);
	pde = entry_for(root, LARGE, 1);
	turn_on(root, 0);
	passes(rd(LARGE, 3));
	mc.rip = RIP;
	sp_open_frame(mc.s, root / PAGE_SIZE, true, mc.rip);
	fx_set(pde, 4, FX_LARGE4 | P | W | U | PS | A | D);
	passes(rd(LARGE + MIB(2), 3));
	assert_int_equal(page_of(root)->state, SP_UNSYNC);
	mc_invlpg(LARGE);
	passes(rd(LARGE, 3));
	passes(rd(LARGE + MIB(2), 3));
	stop();
}

/*
 * What was several pages to hardware has become another, entry by entry, while the table was out of
 * sync: when it is no longer, one INVLPG is for all of them again.
 */
static void test_pieces_go_with_sync(void **state)
{
	uint64_t root, pde;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map_at(root, LARGE, MIB(8) | P | W | U | PS | A | D, 1);
	pde = entry_for(root, LARGE, 1);
	turn_on(root, 0);
	passes(rd(LARGE + KIB(256), 3));
	passes(rd(LARGE + KIB(512), 3));
	sp_open_frame(mc.s, pde / PAGE_SIZE, true, RIP);
	fx_set(pde, 8, FX_LARGE4 | P | W | U | PS | A | D);
	assert_int_equal(fault_of(&mc.sv, LARGE + KIB(768), PF_U, RIP), SHADOW_RESUME);
	on(1, new_root());
	assert_int_equal(page_of(ALIGN_DOWN(pde, PAGE_SIZE))->state, SP_CLOSED);
	assert_false(fx.invlpg_exits);
	mc_switch(0);
	mc_invlpg(LARGE);
	passes(rd(LARGE + KIB(256), 3));
	passes(rd(LARGE + KIB(512), 3));
	stop();
}

/* Faults of another vCPU don't take the table away from an instruction that needs it. */
static void test_kept_for_its_instruction(void **state)
{
	struct shadow_vcpu sv;
	uint64_t root, pte, table;

	(void)state;
	root = start_mapped(PT_4LEVEL, FRAME_A | P | W | U | A | D);
	pte = entry_for(root, USER, 0);
	table = ALIGN_DOWN(pte, PAGE_SIZE);
	passes(rd(USER, 3));
	assert_int_equal(shadow_vcpu_init(&sv, mc.s), 0);
	shadow_load(&sv, &mc.gp);
	/* A write that goes on as soon as it is let. */
	assert_int_equal(fault_of(&mc.sv, WINDOW + pte, PF_P | PF_W, RIP), SHADOW_RESUME);
	assert_int_equal(page_of(table)->state, SP_OPEN);
	assert_int_equal(fault_of(&sv, USER, PF_U, OTHER_RIP), SHADOW_RESUME);
	assert_int_equal(page_of(table)->state, SP_CLOSED);
	/* The next of a loop, to another entry. */
	assert_int_equal(fault_of(&mc.sv, WINDOW + pte + 8, PF_P | PF_W, RIP), SHADOW_RESUME);
	assert_int_equal(page_of(table)->state, SP_OPEN);
	assert_int_equal(fault_of(&sv, USER, PF_U, OTHER_RIP), SHADOW_RESUME);
	/* The same once more: it has not got on. */
	assert_int_equal(fault_of(&mc.sv, WINDOW + pte + 8, PF_P | PF_W, RIP), SHADOW_RESUME);
	assert_int_equal(page_of(table)->state, SP_UNSYNC);
	assert_int_equal(fault_of(&sv, USER, PF_U, OTHER_RIP), SHADOW_RESUME);
	assert_int_equal(page_of(table)->state, SP_UNSYNC);
	/* Until it has. */
	assert_int_equal(fault_of(&mc.sv, USER, PF_U, OTHER_RIP), SHADOW_RESUME);
	assert_int_equal(page_of(table)->state, SP_CLOSED);
	/* A vCPU that loads CR3 is through as well. */
	assert_int_equal(fault_of(&mc.sv, WINDOW + pte, PF_P | PF_W, RIP), SHADOW_RESUME);
	shadow_load(&mc.sv, &mc.gp);
	assert_int_equal(page_of(table)->state, SP_CLOSED);
	assert_int_equal(fault_of(&mc.sv, WINDOW + pte, PF_P | PF_W, RIP), SHADOW_RESUME);
	assert_int_equal(page_of(table)->state, SP_OPEN);
	mc_load();
	mc_audit();
	mc_stop();
}

/* --- writes in the guest's place --- */

/* A vCPU that has seen the write and invalidated finds what is new, at once. */
static void test_write_begins(void **state)
{
	(void)state;
	for_each_kind(kind)
	{
		uint64_t root = start_mapped(kind, FRAME_A | P | W | U | A | D), pte;
		unsigned level;
		struct pt_walk w;

		pte = entry_for(root, USER, 0);
		passes(wr(USER, 3));
		assert_non_null(mc_shadow_entry(USER, &level));
		on(1, root);
		passes(wr(USER, 3));
		shadow_write_begins(mc.s, GPA(pte), entry_size());
		assert_int_not_equal(mc_other_walk(0, USER, &w), PT_OK);
		fx_set(pte, entry_size(), FRAME_B | P | W | U | A | D);
		mc_switch(0);
		mc_invlpg(USER);
		passes(wr(USER, 3));
		mc_switch(1);
		mc_invlpg(USER);
		passes(wr(USER, 3));
		shadow_write_begins(mc.s, GPA(UINT64_MAX), 1);
		shadow_write_begins(mc.s, GPA(pte), 0);
		assert_int_equal(page_of(ALIGN_DOWN(pte, PAGE_SIZE))->state, SP_CLOSED);
		stop();
	}
}

/* --- refusals --- */

/* What hardware refuses twice may have been let through by another vCPU in between. */
static void test_refused_in_between(void **state)
{
	struct shadow_vcpu sv;
	struct shadow_outcome o;
	uint64_t root;
	const uint64_t ac = RFLAGS_FIXED | RFLAGS_AC;

	(void)state;
	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FRAME_A | P | W | U | A | D);
	map(root, USER + MIB(2), FRAME_A | P | W | U | A | D);
	map(root, USER + MIB(4), FRAME_A | P | W | U | A | D);
	turn_on(root, CR4_SMAP);
	passes(rd(USER, 3));
	assert_int_equal(shadow_vcpu_init(&sv, mc.s), 0);
	shadow_load(&sv, &mc.gp);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(shadow_fault(&mc.sv, GVA(USER), PF_P, RIP, ac, 0, 0, &o),
				 SHADOW_RESUME);
		if (i < 2)
			assert_int_equal(fault_of(&sv, USER + (i + 1) * MIB(2), PF_U, OTHER_RIP),
					 SHADOW_RESUME);
	}
	assert_int_equal(shadow_fault(&mc.sv, GVA(USER), PF_P, RIP, ac, 0, 0, &o), SHADOW_REFLECT);
	/* There is an end to it. */
	for (unsigned i = 0; i < 64; i++) {
		if (shadow_fault(&mc.sv, GVA(USER), PF_P, RIP, ac, 0, 0, &o) == SHADOW_REFLECT)
			break;
		mc.s->grants++;
		assert_in_range(i, 0, 32);
	}
	mc_audit();
	mc_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entry_changes),
		cmocka_unit_test(test_given_back_after_flush),
		cmocka_unit_test(test_fault_after_forget),
		cmocka_unit_test(test_stale_write),
		cmocka_unit_test(test_invlpg_exits_in_time),
		cmocka_unit_test(test_halves),
		cmocka_unit_test(test_pieces_go_with_sync),
		cmocka_unit_test(test_kept_for_its_instruction),
		cmocka_unit_test(test_write_begins),
		cmocka_unit_test(test_refused_in_between),
	};

	for (unsigned i = 0; i < 2; i++) {
		mc_shares = i;
		if (cmocka_run_group_tests_name("shadow_smp", tests, NULL, NULL))
			return 1;
	}
	return 0;
}
