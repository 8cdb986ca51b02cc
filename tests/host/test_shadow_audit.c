/*
 * The auditor finds whatever is wrong with the shadow's pages. See test_shadow.c.
 */
#include <string.h>

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

static void finds(const char *what)
{
	char why[256] = "";

	assert_false(shadow_audit(mc.s, why, sizeof(why)));
	if (!strstr(why, what))
		fail_msg("the auditor says \"%s\" where \"%s\" was expected", why, what);
}

static void finds_entry(uint64_t *entry, uint64_t wrong, const char *what)
{
	uint64_t right = *entry;

	*entry = wrong;
	finds(what);
	*entry = right;
	assert_true(shadow_audit(mc.s, NULL, 0));
}

static void finds_table(uint64_t at, uint64_t wrong, const char *what)
{
	uint64_t right = fx_get(at, entry_size());

	fx_set(at, entry_size(), wrong);
	finds(what);
	fx_set(at, entry_size(), right);
	assert_true(shadow_audit(mc.s, NULL, 0));
}

/* A page, two links to tables, a large page and one in pieces; and the tables behind them. */
static uint64_t start_for_audit(void)
{
	uint64_t root;

	start(PT_4LEVEL);
	root = new_root();
	map(root, USER, FX_LARGE | P | W | U);
	map(root, USER + PAGE_SIZE, FX_LARGE | P | U);
	map(root, USER + MIB(2), FX_LARGE | P | U);
	map_at(root, LARGE, FX_LARGE4 | P | W | U | PS, 1);
	map_at(root, LARGE + MIB(2), FX_SKEWED | P | W | U | PS, 1);
	turn_on(root, 0);
	passes(wr(USER, 3));
	passes(rd(USER + PAGE_SIZE, 3));
	passes(rd(USER + MIB(2), 3));
	passes(wr(LARGE, 3));
	passes(wr(LARGE + MIB(2), 3));
	passes(rd(WINDOW + entry_for(root, USER, 0), 0));
	mc_audit();
	return root;
}

static void test_audit_pages(void **state)
{
	uint64_t root = start_for_audit(), *e;
	unsigned level;

	(void)state;
	e = mc_shadow_entry(USER, &level);
	fx_hook(FX_LARGE, FX_HOOK_ALL);
	finds("maps what is no memory");
	fx_hook(FX_LARGE, FX_HOOK_WRITES);
	finds("lets writes through to gpa");
	fx_hook(FX_LARGE, 0);
	fx.forbidden = fx_hpa(FX_LARGE);
	finds("a frame that is not the VM's");
	fx.forbidden = HPA(0);
	finds_entry(e, *e ^ FX_LARGE, "maps another frame");
	e = mc_shadow_entry(USER + PAGE_SIZE, &level);
	finds_entry(e, *e | W, "more rights");
	e = mc_shadow_entry(WINDOW + entry_for(root, USER, 0), &level);
	finds_entry(e, *e | W, "to a table in use");
	sp_chunk_find(mc.s, FX_LARGE4 / PAGE_SIZE)->tables++;
	finds("is large, and holds tables");
	sp_chunk_find(mc.s, FX_LARGE4 / PAGE_SIZE)->tables--;
	finds_table(entry_for(root, USER, 0), 0, "the guest's is not");
	finds_table(entry_for(root, USER, 0), fx_get(entry_for(root, USER, 0), 8) & ~A,
		    "was not accessed");
	finds_table(entry_for(root, LARGE, 1), fx_get(entry_for(root, LARGE, 1), 8) | BIT(13),
		    "the guest's is not");
	finds_table(entry_for(root, LARGE, 1), fx_get(entry_for(root, LARGE, 1), 8) & ~PS,
		    "should be a link");
	finds_table(entry_for(root, LARGE + MIB(2), 1), MIB(10) | P | U | PS | A | D,
		    "leads to more rights");
	stop();
}

static void test_audit_lists(void **state)
{
	uint64_t root = start_for_audit();
	struct sp *pt = page_of(ALIGN_DOWN(entry_for(root, USER, 0), PAGE_SIZE), 0);
	struct sp *pd = page_of(ALIGN_DOWN(entry_for(root, USER, 1), PAGE_SIZE), 1);
	unsigned slot = USER / MIB(2) % 512;
	struct sp_link *l;
	uint32_t right;
	uint64_t split;

	(void)state;
	/* Two or more entries map the frame: one of them is first, and one last. */
	for (unsigned i = 0; i < 2; i++) {
		l = &pt->link[i];
		right = l->next;
		l->next = sp_number(mc.s, pt) * SPTES + i;
		finds("does not know it");
		l->next = right;
		right = l->prev;
		l->prev = sp_number(mc.s, pt) * SPTES + 7;
		finds("does not know it");
		l->prev = right;
	}
	pt->used[0] ^= 1;
	finds("not counted right");
	pt->used[0] ^= 1;
	finds_entry(&pd->spt[slot], pd->spt[slot] & ~P, "not as open or closed");
	finds_entry(&pd->spt[slot], fx_hpa(0).v | P | SPTE_LINK, "leads to no shadow page");
	finds_entry(&pd->spt[slot], pd->spt[slot + 1], "should lead to the shadow of");
	split = LARGE / MIB(2) % 512 + 1;
	pd = page_of(ALIGN_DOWN(entry_for(root, LARGE, 1), PAGE_SIZE), 1);
	finds_entry(&pd->spt[split], fx_hpa(0).v | P | SPTE_LINK, "leads to no shadow page");
	finds_table(entry_for(root, USER, 1), fx_get(entry_for(root, USER, 1), 8) & ~U,
		    "one of role");
	sp_open_frame(mc.s, pt->gfn, true, 0x1000);
	assert_int_equal(pt->state, SP_UNSYNC);
	mc_audit();
	mc.s->invlpg_exits = false;
	finds("INVLPG does not exit");
	mc.s->invlpg_exits = true;
	stop();
}

static unsigned lines;

static void count_line(void *ctx, const char *why)
{
	assert_ptr_equal(ctx, &lines);
	assert_non_null(strstr(why, "shadow of table 0x"));
	lines++;
}

/* It goes on behind the first, with the entries that are counted wrong too. */
static void test_audit_all(void **state)
{
	unsigned level;
	uint64_t *a, *b, old_a, old_b;

	(void)state;
	start_for_audit();
	lines = 0;
	assert_int_equal(shadow_audit_all(mc.s, count_line, &lines), 0);
	a = mc_shadow_entry(USER, &level);
	b = mc_shadow_entry(USER + PAGE_SIZE, &level);
	old_a = *a;
	old_b = *b;
	*a += PAGE_SIZE;
	*b = 0;
	assert_int_equal(shadow_audit_all(mc.s, count_line, &lines), 2);
	assert_int_equal(lines, 2);
	*a = old_a;
	*b = old_b;
	assert_int_equal(shadow_audit_all(mc.s, count_line, &lines), 0);
	assert_int_equal(lines, 2);
	stop();
}

/* The tree that hardware walks leads where the guest's own tables do. */
static void test_tree(void **state)
{
	struct pt_tree tree;
	struct shadow_vcpu none = { 0 };
	unsigned level;

	(void)state;
	start_for_audit();
	none.s = mc.s;
	assert_false(shadow_tree(&none, &fx_table_mem, &tree));
	assert_true(shadow_tree(&mc.sv, &fx_table_mem, &tree));
	assert_int_equal(tree.fmt->kind, PT_4LEVEL);
	assert_non_null(mc_shadow_entry(USER, &level));
	assert_int_equal(pt_page_size(&tree, USER), PAGE_SIZE);
	assert_int_equal(pt_page_size(&tree, USER + GIB(1)), 0);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_audit_pages),
		cmocka_unit_test(test_audit_lists),
		cmocka_unit_test(test_audit_all),
		cmocka_unit_test(test_tree),
	};

	for (unsigned i = 0; i < 2; i++) {
		mc_shares = i;
		if (cmocka_run_group_tests(tests, NULL, NULL))
			return 1;
	}
	return 0;
}
