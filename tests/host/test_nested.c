/* Passthrough tables of a VM, NPT and EPT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "paging/host.h"
#include "paging/nested.h"
#include "tests/host/fakes.h"

#define RWX (PT_R | PT_W | PT_X)

/* The tables' pages are heap addresses of this process: all 52 bits. */
static const struct pt_caps caps = { .maxphyaddr = 52, .page_1g = true };

static struct {
	unsigned calls;
	uint64_t pa, size;
	uint64_t denied; /* this frame is another's; 0: none */
} ask;

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	assert_ptr_equal(ctx, &ask);
	ask.calls++;
	ask.pa = pa.v;
	ask.size = size;
	return !ask.denied || ask.denied < pa.v || ask.denied - pa.v >= size;
}

static struct nested nested;
static enum nested_kind kind;

static int setup_npt(void **state)
{
	(void)state;
	kind = NESTED_NPT;
	memset(&ask, 0, sizeof(ask));
	fake_frame_limit = UINT64_MAX;
	return nested_init(&nested, kind, &caps, host_pt_mem(), may_map, &ask);
}

static int setup_ept(void **state)
{
	(void)state;
	kind = NESTED_EPT;
	memset(&ask, 0, sizeof(ask));
	fake_frame_limit = UINT64_MAX;
	return nested_init(&nested, kind, &caps, host_pt_mem(), may_map, &ask);
}

/* No page table is left, whatever the test did. */
static int teardown(void **state)
{
	(void)state;
	nested_destroy(&nested);
	nested_destroy(&nested);
	fake_frame_limit = UINT64_MAX;
	if (fake_frame_bytes)
		print_error("%llu bytes of frames are left\n",
			    (unsigned long long)fake_frame_bytes);
	return fake_frame_bytes != 0;
}

static void expect_page(uint64_t gpa, uint64_t pa, unsigned rights, uint64_t size)
{
	hpa_t to;
	unsigned r;
	uint64_t s;

	if (!nested_lookup(&nested, GPA(gpa), &to, &r, &s))
		fail_msg("%#llx is absent, should be at %#llx", (unsigned long long)gpa,
			 (unsigned long long)pa);
	assert_int_equal(to.v, pa);
	assert_int_equal(r, rights);
	assert_int_equal(s, size);
}

static void expect_absent(uint64_t gpa)
{
	hpa_t to;
	unsigned r;
	uint64_t s;

	if (nested_lookup(&nested, GPA(gpa), &to, &r, &s))
		fail_msg("%#llx is at %#llx, should be absent", (unsigned long long)gpa,
			 (unsigned long long)to.v);
}

static uint64_t entry_at(hpa_t table, unsigned index)
{
	return ((const uint64_t *)hpa_to_ptr(table))[index];
}

static uint64_t tables(void)
{
	nested_release(&nested);
	assert_int_equal(frame_bytes_owned(FRAME_PAGE_TABLE), fake_frame_bytes);
	return fake_frame_bytes / PAGE_SIZE;
}

/* The whole of a 4 GiB guest in one call: root and one table. */
static void test_4g_guest(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), GIB(4), RWX), 0);
	assert_int_equal(tables(), 2);
	expect_page(0x12345, GIB(8) + 0x12345, RWX, GIB(1));
	expect_page(GIB(4) - 1, GIB(12) - 1, RWX, GIB(1));
	expect_absent(GIB(4));
	assert_int_equal(ask.pa, GIB(8));
	assert_int_equal(ask.size, GIB(4));
}

static void test_hook_splits_only_what_it_must(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), GIB(4), RWX), 0);
	assert_int_equal(nested_unmap(&nested, GPA(0xa0000), KIB(128)), 0);
	assert_int_equal(tables(), 4);
	expect_page(0x9ffff, GIB(8) + 0x9ffff, RWX, KIB(4));
	expect_absent(0xa0000);
	expect_absent(0xbffff);
	expect_page(0xc0000, GIB(8) + 0xc0000, RWX, KIB(4));
	expect_page(MIB(2), GIB(8) + MIB(2), RWX, MIB(2));
	expect_page(GIB(1), GIB(9), RWX, GIB(1));
	/* Taken away again, the pages are one. */
	assert_int_equal(nested_map(&nested, GPA(0xa0000), HPA(GIB(8) + 0xa0000), KIB(128), RWX),
			 0);
	assert_int_equal(tables(), 2);
	expect_page(0xa0000, GIB(8) + 0xa0000, RWX, GIB(1));
}

static void test_write_hook(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), GIB(1), RWX), 0);
	assert_int_equal(nested_protect(&nested, GPA(MIB(5)), KIB(4), PT_R | PT_X), 0);
	assert_int_equal(tables(), 4);
	expect_page(MIB(5), GIB(8) + MIB(5), PT_R | PT_X, KIB(4));
	expect_page(MIB(5) - 1, GIB(8) + MIB(5) - 1, RWX, KIB(4));
	expect_page(MIB(6), GIB(8) + MIB(6), RWX, MIB(2));
	assert_int_equal(nested_protect(&nested, GPA(MIB(5)), KIB(4), RWX), 0);
	assert_int_equal(tables(), 2);
	expect_page(MIB(5), GIB(8) + MIB(5), RWX, GIB(1));
}

static void test_protect_leaves_absent_absent(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(MIB(1)), HPA(MIB(1)), KIB(8), RWX), 0);
	assert_int_equal(nested_protect(&nested, GPA(0), GIB(4), PT_R), 0);
	expect_page(MIB(1) + KIB(4), MIB(1) + KIB(4), PT_R, KIB(4));
	expect_absent(MIB(1) - 1);
	expect_absent(MIB(1) + KIB(8));
}

static void test_unmap_frees_tables(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(KIB(4)), HPA(KIB(4)), GIB(3), RWX), 0);
	assert_true(tables() > 4);
	assert_int_equal(nested_unmap(&nested, GPA(0), GIB(8)), 0);
	assert_int_equal(tables(), 1);
	expect_absent(KIB(4));
	assert_int_equal(nested_unmap(&nested, GPA(0), GIB(8)), 0);
}

/* Until all vCPUs have been flushed, what one of them may still walk stays as it was. */
static void test_tables_stay_until_release(void **state)
{
	uint64_t had, e, at;

	(void)state;
	assert_int_equal(nested_map(&nested, GPA(KIB(4)), HPA(KIB(4)), MIB(8), RWX), 0);
	had = fake_frame_bytes;
	e = entry_at(nested.root, 0);
	e = entry_at(HPA(e & BITS(51, 12)), 0);
	e = entry_at(HPA(e & BITS(51, 12)), 0);
	at = entry_at(HPA(e & BITS(51, 12)), 1);
	assert_int_equal(nested_unmap(&nested, GPA(0), MIB(4)), 0);
	/* The first table goes as a whole, the last one is merged. */
	assert_int_equal(nested_map(&nested, GPA(MIB(8)), HPA(MIB(8)), MIB(2), RWX), 0);
	expect_absent(KIB(4));
	expect_page(MIB(8), MIB(8), RWX, MIB(2));
	assert_int_equal(fake_frame_bytes, had);
	assert_int_equal(entry_at(HPA(e & BITS(51, 12)), 1) & ~BIT(11), at & ~BIT(11));
	nested_release(&nested);
	assert_int_equal(fake_frame_bytes, had - KIB(8));
	nested_release(&nested);
	assert_int_equal(fake_frame_bytes, had - KIB(8));
	/* What is left when the table goes, goes with it. */
	assert_int_equal(nested_unmap(&nested, GPA(0), GIB(1)), 0);
	nested_destroy(&nested);
	assert_int_equal(fake_frame_bytes, 0);
}

static void test_replaces(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), MIB(4), RWX), 0);
	assert_int_equal(nested_map(&nested, GPA(KIB(4)), HPA(GIB(1)), KIB(4), PT_R), 0);
	expect_page(KIB(4), GIB(1), PT_R, KIB(4));
	/* A large page over a table of small ones. */
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(2)), MIB(2), PT_R | PT_X), 0);
	expect_page(KIB(4), GIB(2) + KIB(4), PT_R | PT_X, MIB(2));
	expect_page(MIB(2), GIB(8) + MIB(2), RWX, MIB(2));
	assert_int_equal(tables(), 3);
}

/* A frame that is not the VM's own does not get in, nor do its neighbours in that call. */
static void test_foreign_frame_is_refused(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(MIB(4)), MIB(2), RWX), 0);
	ask.denied = GIB(1) + MIB(1);
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(1)), MIB(2), RWX), -EACCES);
	expect_page(0, MIB(4), RWX, MIB(2));
	assert_int_equal(ask.calls, 2);
	assert_int_equal(nested_map(&nested, GPA(0), HPA(ask.denied), KIB(4), PT_R), -EACCES);
	assert_int_equal(nested_map(&nested, GPA(0), HPA(ask.denied + KIB(4)), KIB(4), PT_R), 0);
}

static void test_bad_arguments(void **state)
{
	static const struct {
		uint64_t gpa, pa, size;
		unsigned rights;
	} bad[] = {
		{ 1, 0, KIB(4), RWX },
		{ 0, 1, KIB(4), RWX },
		{ 0, 0, 0, RWX },
		{ 0, 0, 100, RWX },
		{ 0, 0, KIB(4), 0 },
		{ 0, 0, KIB(4), RWX | PT_U },
		{ 0, 0, KIB(4), RWX | PT_UC },
		{ UINT64_C(0xfffffffffffff000), 0, KIB(8), RWX },
		{ 0, UINT64_C(0xfffffffffffff000), KIB(8), RWX },
		{ BIT(48), 0, KIB(4), RWX },
		{ BIT(48) - KIB(4), 0, KIB(8), RWX },
		{ 0, BIT(52), KIB(4), RWX },
		{ 0, BIT(52) - KIB(4), KIB(8), RWX },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		if (nested_map(&nested, GPA(bad[i].gpa), HPA(bad[i].pa), bad[i].size,
			       bad[i].rights) != -EINVAL)
			fail_msg("bad[%u] was taken", i);
	assert_int_equal(tables(), 1);
	assert_int_equal(nested_unmap(&nested, GPA(0), 0), -EINVAL);
	assert_int_equal(nested_unmap(&nested, GPA(0), 5), -EINVAL);
	assert_int_equal(nested_unmap(&nested, GPA(BIT(48)), KIB(4)), -EINVAL);
	assert_int_equal(nested_protect(&nested, GPA(0), KIB(4), 0), -EINVAL);
	assert_int_equal(nested_protect(&nested, GPA(0), KIB(4), PT_U), -EINVAL);
	assert_int_equal(nested_protect(&nested, GPA(2), KIB(4), PT_R), -EINVAL);
	expect_absent(BIT(48));
	expect_absent(UINT64_MAX);
}

/* Write without read, or fetch without it, is not for every processor. */
static void test_ept_rights(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(0), KIB(4), PT_W), -EINVAL);
	assert_int_equal(nested_map(&nested, GPA(0), HPA(0), KIB(4), PT_X), -EINVAL);
	assert_int_equal(nested_map(&nested, GPA(0), HPA(MIB(1)), KIB(4), PT_R), 0);
	assert_int_equal(nested_protect(&nested, GPA(0), KIB(4), PT_X), -EINVAL);
	expect_page(0, MIB(1), PT_R, KIB(4));
}

/* The bits that hardware sees. APM vol. 2, 15.25.5: U at every level. */
static void test_npt_entries(void **state)
{
	uint64_t e;

	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), GIB(1), RWX), 0);
	e = entry_at(nested.root, 0);
	assert_int_equal(e & 0xfff, 0x27);
	e = entry_at(HPA(e & BITS(51, 12)), 0);
	assert_int_equal(e, GIB(8) | 0xe7);
	assert_int_equal(nested_protect(&nested, GPA(0), GIB(1), PT_R), 0);
	e = entry_at(HPA(entry_at(nested.root, 0) & BITS(51, 12)), 0);
	assert_int_equal(e, GIB(8) | 0xe5 | BIT(63));
}

/* SDM vol. 3, table 29-3: write-back, page, rights. */
static void test_ept_entries(void **state)
{
	uint64_t e;

	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), GIB(1), RWX), 0);
	e = entry_at(nested.root, 0);
	assert_int_equal(e & 0xfff, 7);
	e = entry_at(HPA(e & BITS(51, 12)), 0);
	assert_int_equal(e, GIB(8) | 6 << 3 | BIT(7) | 7);
}

/* Each possible place for memory to run out in: then the map can be finished later. */
static void test_out_of_memory(void **state)
{
	(void)state;
	for (unsigned spare = 0; spare < 5; spare++) {
		fake_frame_limit = fake_frame_bytes + spare * PAGE_SIZE;
		assert_int_equal(nested_map(&nested, GPA(MIB(2) - KIB(4)), HPA(MIB(2) - KIB(4)),
					    GIB(1), RWX),
				 -ENOMEM);
		fake_frame_limit = UINT64_MAX;
		assert_int_equal(nested_map(&nested, GPA(MIB(2) - KIB(4)), HPA(MIB(2) - KIB(4)),
					    GIB(1), RWX),
				 0);
		assert_int_equal(tables(), 6);
		expect_page(MIB(2) - KIB(4), MIB(2) - KIB(4), RWX, KIB(4));
		expect_page(GIB(1), GIB(1), RWX, KIB(4));
		assert_int_equal(nested_unmap(&nested, GPA(0), GIB(4)), 0);
		assert_int_equal(tables(), 1);
	}
}

/* A split needs tables; without them, nothing is lost. */
static void test_split_out_of_memory(void **state)
{
	(void)state;
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), GIB(1), RWX), 0);
	for (unsigned spare = 0; spare < 2; spare++) {
		fake_frame_limit = fake_frame_bytes + spare * PAGE_SIZE;
		assert_int_equal(nested_unmap(&nested, GPA(MIB(3)), KIB(4)), -ENOMEM);
		expect_page(MIB(3), GIB(8) + MIB(3), RWX, GIB(1));
		assert_int_equal(tables(), 2);
	}
}

static void test_init_out_of_memory(void **state)
{
	struct nested n;

	(void)state;
	fake_frame_limit = fake_frame_bytes;
	assert_int_equal(nested_init(&n, kind, &caps, host_pt_mem(), may_map, &ask), -ENOMEM);
	nested_destroy(&n);
	assert_int_equal(nested_init(&n, kind, &caps, host_pt_mem(), NULL, NULL), -EINVAL);
}

static void test_no_1g_pages(void **state)
{
	struct pt_caps small = caps;

	(void)state;
	small.page_1g = false;
	nested_destroy(&nested);
	assert_int_equal(nested_init(&nested, kind, &small, host_pt_mem(), may_map, &ask), 0);
	assert_int_equal(nested_map(&nested, GPA(0), HPA(GIB(8)), GIB(4), RWX), 0);
	assert_int_equal(tables(), 2 + 4);
	expect_page(GIB(3), GIB(11), RWX, MIB(2));
}

#define BOTH(name)                                                                                 \
	{ #name " (NPT)", name, setup_npt, teardown, NULL },                                       \
	{                                                                                          \
#name " (EPT)", name, setup_ept, teardown, NULL                                    \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_4g_guest),
		BOTH(test_hook_splits_only_what_it_must),
		BOTH(test_write_hook),
		BOTH(test_protect_leaves_absent_absent),
		BOTH(test_unmap_frees_tables),
		BOTH(test_tables_stay_until_release),
		BOTH(test_replaces),
		BOTH(test_foreign_frame_is_refused),
		BOTH(test_bad_arguments),
		BOTH(test_out_of_memory),
		BOTH(test_split_out_of_memory),
		BOTH(test_init_out_of_memory),
		BOTH(test_no_1g_pages),
		cmocka_unit_test_setup_teardown(test_ept_rights, setup_ept, teardown),
		cmocka_unit_test_setup_teardown(test_npt_entries, setup_npt, teardown),
		cmocka_unit_test_setup_teardown(test_ept_entries, setup_ept, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
