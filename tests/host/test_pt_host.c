/* The hypervisor's own address space: what is mapped where, and with which rights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/include/bits.h"
#include "paging/host.h"
#include "paging/host_layout.h"
#include "tests/host/fakes.h"

#define DIRECT UINT64_C(0xffff800000000000)
#define IMAGE UINT64_C(0xffffffff80200000)
#define RW (PT_R | PT_W)
#define AD (PT_A | PT_D)

static struct boot_info bi;
static struct pt_format fmt;
static struct pt_tree tree;

static const struct host_part parts[] = {
	{ IMAGE, KIB(512), HPA(MIB(34)), PT_R | PT_X },
	{ IMAGE + KIB(512), KIB(256), HPA(MIB(34) + KIB(512)), PT_R },
	{ IMAGE + KIB(768), MIB(2), HPA(MIB(34) + KIB(768)), RW },
};
static const uint64_t guards[] = { IMAGE + MIB(1), IMAGE + MIB(1) + KIB(36) };

static const struct host_layout layout = {
	.bi = &bi,
	.direct_map = DIRECT,
	.maxphyaddr = 40,
	.nr_parts = ARRAY_SIZE(parts),
	.part = parts,
	.nr_guards = ARRAY_SIZE(guards),
	.guard = guards,
};

static void add_range(uint64_t base, uint64_t size, bool available)
{
	bi.range[bi.nr_ranges++] = (struct boot_range){ base, size, available };
}

/* A PC with 6 GiB: 3 GiB below the hole, 3 GiB above 4 GiB. */
static int setup(void **state)
{
	/* The tables lie at heap addresses: the format has more bits than the machine. */
	const struct pt_caps caps = { .maxphyaddr = 52, .nx = true, .page_1g = true };
	struct pt_flush flush = PT_FLUSH_NONE;

	(void)state;
	memset(&bi, 0, sizeof(bi));
	add_range(0, 0x9fc00, true);
	add_range(0x9fc00, 0x400, false);
	add_range(0xf0000, 0x10000, false);
	add_range(MIB(1), GIB(3) - MIB(1) - KIB(128) + 0x10, true);
	add_range(GIB(3) - KIB(128) + 0x10, KIB(128) - 0x10, false);
	add_range(0xfffc0000, KIB(256), false);
	add_range(GIB(4), GIB(3), true);
	add_range(UINT64_C(0xfd00000000), GIB(12), false);
	add_range(BIT(41), GIB(1), true);             /* beyond the machine's addresses */
	add_range(UINT64_MAX - KIB(4), KIB(8), true); /* wraps */
	pt_format_init(&fmt, PT_4LEVEL, &caps);
	assert_int_equal(pt_create(&tree, &fmt, host_pt_mem()), PT_OK);
	assert_int_equal(host_layout_build(&tree, &layout, &flush), PT_OK);
	pt_release(&tree, &flush);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pt_destroy(&tree);
	fake_frame_limit = UINT64_MAX;
	return fake_frame_bytes != 0;
}

static struct pt_visit last;

static bool keep_last(void *ctx, const struct pt_visit *v)
{
	(void)ctx;
	last = *v;
	return true;
}

static void expect_page(uint64_t va, uint64_t pa, unsigned attrs, unsigned shift)
{
	if (pt_drill(&tree, va, keep_last, NULL) != PT_OK)
		fail_msg("%#llx is not mapped", (unsigned long long)va);
	assert_int_equal(last.pa + (va - last.addr), pa);
	if ((last.attrs & ~AD) != attrs)
		fail_msg("%#llx has attributes %x, should be %x", (unsigned long long)va,
			 last.attrs & ~AD, attrs);
	if (shift)
		assert_int_equal(fmt.level[last.level].shift, shift);
}

static void expect_absent(uint64_t va)
{
	struct pt_walk w;

	if (pt_walk(&tree, va, &w) != PT_NOT_PRESENT)
		fail_msg("%#llx is mapped", (unsigned long long)va);
}

static void test_direct_map(void **state)
{
	(void)state;
	expect_page(DIRECT, 0, RW, 12);
	expect_page(DIRECT + MIB(64), MIB(64), RW, 21);
	expect_page(DIRECT + GIB(1), GIB(1), RW, 30);
	expect_page(DIRECT + GIB(4), GIB(4), RW, 30);
	expect_page(DIRECT + GIB(7) - 1, GIB(7) - 1, RW, 30);
	expect_absent(DIRECT + GIB(7));
	expect_absent(DIRECT + BIT(41));
	expect_absent(DIRECT - 1);
}

/* What is no RAM is uncached; firmware's share of a page decides for all of it. */
static void test_uncached(void **state)
{
	(void)state;
	expect_page(DIRECT + 0x9e000, 0x9e000, RW, 12);
	expect_page(DIRECT + 0x9f000, 0x9f000, RW | PT_UC, 12);
	expect_page(DIRECT + 0xb8000, 0xb8000, RW | PT_UC, 12);
	expect_page(DIRECT + 0xf0000, 0xf0000, RW | PT_UC, 12);
	expect_page(DIRECT + MIB(1), MIB(1), RW, 12);
	expect_page(DIRECT + GIB(3) - KIB(132), GIB(3) - KIB(132), RW, 12);
	expect_page(DIRECT + GIB(3) - KIB(128), GIB(3) - KIB(128), RW | PT_UC, 12);
	expect_page(DIRECT + 0xfee00000, 0xfee00000, RW | PT_UC, 30);
	expect_page(DIRECT + UINT64_C(0xfd00000000), UINT64_C(0xfd00000000), RW | PT_UC, 30);
}

static void test_image(void **state)
{
	(void)state;
	expect_page(IMAGE, MIB(34), PT_R | PT_X, 12);
	expect_page(IMAGE + KIB(512), MIB(34) + KIB(512), PT_R, 12);
	expect_page(IMAGE + KIB(768), MIB(34) + KIB(768), RW, 12);
	expect_page(IMAGE + MIB(2), MIB(36), RW, 12);
	expect_absent(IMAGE + KIB(768) + MIB(2));
	expect_absent(IMAGE - 1);
	for (unsigned i = 0; i < ARRAY_SIZE(guards); i++) {
		expect_absent(guards[i]);
		expect_page(guards[i] - 1, MIB(34) + guards[i] - 1 - IMAGE, RW, 12);
		expect_page(guards[i] + KIB(4), MIB(34) + guards[i] + KIB(4) - IMAGE, RW, 12);
	}
	/* No way around by the direct map. */
	expect_page(DIRECT + MIB(34), MIB(34), PT_R, 12);
	expect_page(DIRECT + MIB(34) + KIB(764), MIB(34) + KIB(764), PT_R, 12);
	expect_page(DIRECT + MIB(34) + KIB(768), MIB(34) + KIB(768), RW, 12);
}

static void test_lower_half_is_empty(void **state)
{
	(void)state;
	for (uint64_t va = 0; va < BIT(47); va += BIT(39))
		expect_absent(va);
}

static void test_audit(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	struct pt_visit bad;

	(void)state;
	assert_true(host_layout_audit(&tree, &bad));
	assert_int_equal(pt_protect(&tree, IMAGE + KIB(4), KIB(4), PT_W, PT_W, &flush), PT_OK);
	assert_false(host_layout_audit(&tree, &bad));
	assert_int_equal(bad.addr, IMAGE + KIB(4));
	assert_int_equal(pt_protect(&tree, IMAGE + KIB(4), KIB(4), PT_W, 0, &flush), PT_OK);
	assert_true(host_layout_audit(&tree, &bad));
	assert_int_equal(pt_map(&tree, KIB(4), 0, KIB(4), PT_R, &flush), PT_OK);
	assert_false(host_layout_audit(&tree, &bad));
	assert_int_equal(bad.addr, KIB(4));
	assert_int_equal(pt_unmap(&tree, KIB(4), KIB(4), &flush), PT_OK);
	assert_int_equal(pt_protect(&tree, DIRECT, KIB(4), PT_U, PT_U, &flush), PT_OK);
	assert_false(host_layout_audit(&tree, &bad));
	assert_int_equal(bad.addr, DIRECT);
	pt_release(&tree, &flush);
}

static void test_mmio(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	uint64_t before = fake_frame_bytes;

	(void)state;
	assert_int_equal(host_layout_map_mmio(&tree, &layout, HPA(GIB(512)), MIB(2), &flush),
			 PT_OK);
	expect_page(DIRECT + GIB(512), GIB(512), RW | PT_UC, 21);
	/* Nothing was there: nothing to flush. */
	assert_true(flush.start > flush.last);
	/* In the low 4 GiB it is there already. */
	before = fake_frame_bytes;
	assert_int_equal(host_layout_map_mmio(&tree, &layout, HPA(0xfee00000), KIB(4), &flush),
			 PT_OK);
	assert_int_equal(fake_frame_bytes, before);
	assert_true(flush.start > flush.last);
	assert_int_equal(host_layout_map_mmio(&tree, &layout, HPA(BIT(40)), KIB(4), &flush),
			 PT_BAD_ARG);
	assert_int_equal(
		host_layout_map_mmio(&tree, &layout, HPA(BIT(40) - KIB(4)), KIB(8), &flush),
		PT_BAD_ARG);
	assert_int_equal(host_layout_map_mmio(&tree, &layout, HPA(GIB(600)), 0, &flush),
			 PT_BAD_ARG);
}

static void test_out_of_memory(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	struct pt_tree t;

	(void)state;
	for (unsigned pages = 1; pages < 8; pages++) {
		uint64_t before = fake_frame_bytes;

		fake_frame_limit = before + pages * PAGE_SIZE;
		assert_int_equal(pt_create(&t, &fmt, host_pt_mem()), PT_OK);
		assert_int_equal(host_layout_build(&t, &layout, &flush), PT_NO_MEMORY);
		pt_release(&t, &flush);
		pt_destroy(&t);
		assert_int_equal(fake_frame_bytes, before);
	}
}

/* Entries of 4 bytes are read and exchanged alone. */
static void test_small_entries(void **state)
{
	const struct pt_mem *m = host_pt_mem();
	uint64_t pa = m->alloc(m->ctx), v = 0;

	(void)state;
	assert_true(m->cmpxchg(m->ctx, pa + 4, 4, 0, 0x12345678));
	assert_false(m->cmpxchg(m->ctx, pa + 4, 4, 0, 1));
	assert_true(m->read(m->ctx, pa + 4, 4, &v));
	assert_int_equal(v, 0x12345678);
	assert_true(m->read(m->ctx, pa, 8, &v));
	assert_int_equal(v, UINT64_C(0x1234567800000000));
	m->free(m->ctx, pa);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_direct_map),          TEST(test_uncached),      TEST(test_image),
		TEST(test_lower_half_is_empty), TEST(test_audit),         TEST(test_mmio),
		TEST(test_out_of_memory),       TEST(test_small_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
