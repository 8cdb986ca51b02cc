/* The guest memory map: what lies where, and copies across its borders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "vmm/memmap.h"

static struct memmap map;
static uint8_t *pages; /* 16 pages of fake host memory */

static int setup(void **state)
{
	(void)state;
	pages = aligned_alloc(4096, 16 * 4096);
	memset(pages, 0, 16 * 4096);
	memmap_init(&map);
	return pages ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(pages);
	return 0;
}

static int add(enum region_kind kind, uint64_t start, uint64_t size, unsigned page)
{
	const struct region r = { .start = GPA(start),
				  .size = size,
				  .kind = kind,
				  .frames = ptr_to_hpa(pages + page * 4096) };

	return memmap_add(&map, &r);
}

static void test_empty(void **state)
{
	uint64_t avail;
	uint8_t byte;

	(void)state;
	assert_null(memmap_find(&map, GPA(0)));
	assert_null(memmap_find(&map, GPA(UINT64_MAX)));
	assert_null(memmap_ptr(&map, GPA(0), false, &avail));
	assert_false(memmap_read(&map, GPA(0), &byte, 1));
	assert_true(memmap_read(&map, GPA(0), &byte, 0));
	assert_int_equal(memmap_ram_bytes(&map), 0);
	assert_int_equal(memmap_remove(&map, GPA(0)), -ENOENT);
}

static void test_find(void **state)
{
	(void)state;
	assert_int_equal(add(REGION_HOOK, 0xfee00000, 4096, 0), 0);
	assert_int_equal(add(REGION_MEM, 0, 0x4000, 0), 0);
	assert_int_equal(add(REGION_ROM, 0xf0000, 0x1000, 8), 0);
	assert_int_equal(memmap_find(&map, GPA(0))->kind, REGION_MEM);
	assert_int_equal(memmap_find(&map, GPA(0x3fff))->kind, REGION_MEM);
	assert_null(memmap_find(&map, GPA(0x4000)));
	assert_null(memmap_find(&map, GPA(0xeffff)));
	assert_int_equal(memmap_find(&map, GPA(0xf0000))->kind, REGION_ROM);
	assert_int_equal(memmap_find(&map, GPA(0xf0fff))->kind, REGION_ROM);
	assert_null(memmap_find(&map, GPA(0xf1000)));
	assert_int_equal(memmap_find(&map, GPA(0xfee00fff))->kind, REGION_HOOK);
	assert_null(memmap_find(&map, GPA(0xfee01000)));
	/* Back to one found before the last. */
	assert_int_equal(memmap_find(&map, GPA(0x10))->start.v, 0);
	assert_int_equal(memmap_ram_bytes(&map), 0x4000);
}

static void test_bad_regions(void **state)
{
	struct region odd = {
		.start = GPA(0x10000), .size = 4096, .kind = REGION_MEM, .frames = HPA(0x1001)
	};

	(void)state;
	assert_int_equal(add(REGION_MEM, 0x1000, 0, 0), -EINVAL);
	assert_int_equal(add(REGION_MEM, 0x1001, 4096, 0), -EINVAL);
	assert_int_equal(add(REGION_MEM, 0x1000, 4097, 0), -EINVAL);
	assert_int_equal(add(REGION_HOOK, ~UINT64_C(0xfff), 8192, 0), -EINVAL);
	assert_int_equal(memmap_add(&map, &odd), -EINVAL);
	assert_int_equal(map.nr, 0);
	/* The last page of all is a good one. */
	assert_int_equal(add(REGION_HOOK, ~UINT64_C(0xfff), 4096, 0), 0);
	assert_non_null(memmap_find(&map, GPA(UINT64_MAX)));
}

static void test_overlap(void **state)
{
	(void)state;
	assert_int_equal(add(REGION_MEM, 0x10000, 0x4000, 0), 0);
	assert_int_equal(add(REGION_MEM, 0x10000, 0x4000, 4), -EEXIST);
	assert_int_equal(add(REGION_MEM, 0xf000, 0x2000, 4), -EEXIST);
	assert_int_equal(add(REGION_MEM, 0x13000, 0x1000, 4), -EEXIST);
	assert_int_equal(add(REGION_HOOK, 0, 0x100000, 4), -EEXIST);
	assert_int_equal(add(REGION_MEM, 0xf000, 0x1000, 4), 0);
	assert_int_equal(add(REGION_MEM, 0x14000, 0x1000, 5), 0);
	assert_int_equal(map.nr, 3);
}

static void test_remove(void **state)
{
	(void)state;
	assert_int_equal(add(REGION_MEM, 0x0, 0x1000, 0), 0);
	assert_int_equal(add(REGION_MEM, 0x1000, 0x1000, 1), 0);
	assert_int_equal(add(REGION_HOOK, 0x2000, 0x1000, 0), 0);
	assert_non_null(memmap_find(&map, GPA(0x2000)));
	assert_int_equal(memmap_remove(&map, GPA(0x2800)), -ENOENT);
	assert_int_equal(memmap_remove(&map, GPA(0x1000)), 0);
	assert_null(memmap_find(&map, GPA(0x1000)));
	assert_int_equal(memmap_find(&map, GPA(0x2000))->kind, REGION_HOOK);
	assert_int_equal(memmap_remove(&map, GPA(0x2000)), 0);
	assert_null(memmap_find(&map, GPA(0x2000)));
	assert_int_equal(memmap_find(&map, GPA(0))->kind, REGION_MEM);
}

static void test_full(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MEMMAP_MAX_REGIONS; i++) /* from the top down */
		assert_int_equal(add(REGION_HOOK, (uint64_t)(999 - i) << 13, 4096, 0), 0);
	assert_int_equal(add(REGION_HOOK, 0, 4096, 0), -ENOSPC);
	for (unsigned i = 0; i < MEMMAP_MAX_REGIONS; i++) {
		uint64_t at = (uint64_t)(999 - i) << 13;

		assert_int_equal(memmap_find(&map, GPA(at + 123))->start.v, at);
		assert_null(memmap_find(&map, GPA(at + 4096)));
	}
}

static void test_ptr(void **state)
{
	uint64_t avail = 0;

	(void)state;
	assert_int_equal(add(REGION_MEM, 0x8000, 0x2000, 2), 0);
	assert_int_equal(add(REGION_ROM, 0xf0000, 0x1000, 4), 0);
	assert_int_equal(add(REGION_HOOK, 0xf1000, 0x1000, 0), 0);
	assert_ptr_equal(memmap_ptr(&map, GPA(0x8123), true, &avail), pages + 0x2123);
	assert_int_equal(avail, 0x2000 - 0x123);
	assert_ptr_equal(memmap_ptr(&map, GPA(0xf0fff), false, &avail), pages + 0x4fff);
	assert_int_equal(avail, 1);
	assert_null(memmap_ptr(&map, GPA(0xf0000), true, &avail));
	assert_null(memmap_ptr(&map, GPA(0xf1000), false, &avail));
}

static void test_copy_across(void **state)
{
	char buf[32];

	(void)state;
	/* Neighbours in the guest, apart on the host. */
	assert_int_equal(add(REGION_MEM, 0x1000, 0x1000, 6), 0);
	assert_int_equal(add(REGION_MEM, 0x2000, 0x1000, 3), 0);
	assert_true(memmap_write(&map, GPA(0x1ffa), "0123456789ab", 12));
	assert_memory_equal(pages + 6 * 4096 + 0xffa, "012345", 6);
	assert_memory_equal(pages + 3 * 4096, "6789ab", 6);
	assert_true(memmap_read(&map, GPA(0x1ffa), buf, 12));
	assert_memory_equal(buf, "0123456789ab", 12);
	/* Into the open: the part before is written. */
	assert_false(memmap_write(&map, GPA(0x2ffe), "wxyz", 4));
	assert_memory_equal(pages + 3 * 4096 + 0xffe, "wx", 2);
	assert_false(memmap_read(&map, GPA(0x2ffe), buf, 4));
	assert_false(memmap_read(&map, GPA(UINT64_MAX), buf, 2));
}

static void test_rom_is_not_written(void **state)
{
	uint8_t byte = 0x55;

	(void)state;
	assert_int_equal(add(REGION_ROM, 0xf0000, 0x1000, 1), 0);
	pages[4096] = 0x33;
	assert_false(memmap_write(&map, GPA(0xf0000), &byte, 1));
	assert_int_equal(pages[4096], 0x33);
	assert_true(memmap_read(&map, GPA(0xf0000), &byte, 1));
	assert_int_equal(byte, 0x33);
	assert_int_equal(memmap_ram_bytes(&map), 0);
}

/* --- hooks: against a model with one record for each page --- */

#define PAGES 16

static struct {
	enum region_kind base;
	unsigned block; /* regions as they were added */
	unsigned hook;  /* 0: none; else which */
	enum region_kind kind;
} model[PAGES];

static void model_init(void)
{
	for (unsigned i = 0; i < PAGES; i++) {
		model[i].block = i < 5 ? 0 : i < 9 ? 1 : 2;
		model[i].base =
			(enum region_kind[]){ REGION_MEM, REGION_ROM, REGION_DISK }[model[i].block];
		model[i].hook = 0;
	}
}

/* Does a region begin, or the last one end, at this page's start? */
static bool model_border(unsigned i)
{
	return i == 0 || i == PAGES || model[i].hook != model[i - 1].hook ||
	       model[i].block != model[i - 1].block;
}

static bool model_hook(unsigned first, unsigned n, enum region_kind kind, unsigned nr)
{
	for (unsigned i = first; i < first + n; i++)
		if (model[i].hook)
			return false;
	for (unsigned i = first; i < first + n; i++) {
		model[i].hook = nr;
		model[i].kind = kind;
	}
	return true;
}

static bool model_unhook(unsigned first, unsigned n)
{
	if (!model_border(first) || !model_border(first + n))
		return false;
	for (unsigned i = first; i < first + n; i++)
		if (!model[i].hook)
			return false;
	for (unsigned i = first; i < first + n; i++)
		model[i].hook = 0;
	return true;
}

static void model_check(void)
{
	unsigned regions = 0;

	for (unsigned i = 0; i < PAGES; i++) {
		enum region_kind kind = model[i].hook ? model[i].kind : model[i].base;
		const struct region *r = memmap_find(&map, GPA(i * 4096));
		uint64_t avail;
		const uint8_t *p = memmap_ptr(&map, GPA(i * 4096 + 1), false, &avail);

		regions += model_border(i);
		assert_int_equal(r->kind, kind);
		if (kind == REGION_HOOK)
			assert_null(p);
		else
			assert_ptr_equal(p, pages + i * 4096 + 1);
		p = memmap_ptr(&map, GPA(i * 4096), true, &avail);
		assert_int_equal(p != NULL, kind == REGION_MEM || kind == REGION_DISK);
		assert_int_equal(p != NULL, memmap_is_plain(r, true));
	}
	assert_int_equal(map.nr, regions);
}

#define DISK_FIRST 9
#define DISK_OFFSET 0x123000
static uint64_t disk_page[PAGES - DISK_FIRST];

/* However the region is cut, a page is the same of its source, and is kept in the same place. */
static bool model_bring_in(void *ctx, struct region *region, uint64_t page)
{
	uint64_t gpa = region->start.v + page * 4096, offset = region->source.offset + page * 4096;

	assert_ptr_equal(ctx, model);
	assert_int_not_equal(region->kind, REGION_HOOK);
	assert_int_equal(offset, DISK_OFFSET + gpa - DISK_FIRST * 4096);
	assert_ptr_equal(&region->page[page], &disk_page[gpa / 4096 - DISK_FIRST]);
	region->page[page] = ptr_to_hpa(pages + gpa).v;
	return true;
}

static void test_hooks_model(void **state)
{
	const struct region disk = { .start = GPA(DISK_FIRST * 4096),
				     .size = ARRAY_SIZE(disk_page) * 4096,
				     .kind = REGION_DISK,
				     .source = { .offset = DISK_OFFSET },
				     .page = disk_page };
	unsigned hooked = 0, unhooked = 0;

	(void)state;
	srand(5);
	model_init();
	assert_int_equal(add(REGION_MEM, 0, 5 * 4096, 0), 0);
	assert_int_equal(add(REGION_ROM, 5 * 4096, 4 * 4096, 5), 0);
	assert_int_equal(memmap_add(&map, &disk), 0);
	map.bring_in = model_bring_in;
	map.ctx = model;
	for (unsigned round = 1; round < 20000; round++) {
		unsigned first = (unsigned)rand() % PAGES;
		unsigned n = (unsigned)rand() % MIN(PAGES - first, 6u) + 1;
		enum region_kind kind = rand() & 1 ? REGION_HOOK : REGION_HOOK_WRITE;
		bool ok;
		int err;

		if (rand() & 1) {
			ok = model_hook(first, n, kind, round);
			err = memmap_hook(&map, GPA(first * 4096), n * 4096, kind);
			hooked += ok;
		} else {
			ok = model_unhook(first, n);
			err = memmap_unhook(&map, GPA(first * 4096), n * 4096);
			unhooked += ok;
		}
		if (ok != !err)
			fail_msg("round %u, pages %u + %u: %d", round, first, n, err);
		disk_page[round % ARRAY_SIZE(disk_page)] = 0; /* comes in anew */
		model_check();
	}
	assert_true(hooked > 500 && unhooked > 500);
}

static void test_hook_limits(void **state)
{
	(void)state;
	assert_int_equal(memmap_hook(&map, GPA(0), 4096, REGION_HOOK), -ENOENT);
	assert_int_equal(memmap_unhook(&map, GPA(0), 4096), -ENOENT);
	/* The last page of all addresses. */
	assert_int_equal(add(REGION_MEM, ~UINT64_C(0x1fff), 8192, 0), 0);
	assert_int_equal(memmap_hook(&map, GPA(~UINT64_C(0xfff)), 8192, REGION_HOOK), -EINVAL);
	assert_int_equal(memmap_hook(&map, GPA(~UINT64_C(0xfff)), 4096, REGION_HOOK), 0);
	assert_int_equal(memmap_find(&map, GPA(UINT64_MAX))->kind, REGION_HOOK);
	assert_int_equal(memmap_unhook(&map, GPA(~UINT64_C(0xfff)), 4096), 0);
	assert_int_equal(map.nr, 1);
	assert_int_equal(map.region[0].size, 8192);
	/* A table that has room for one more only. */
	for (uint64_t i = 0; map.nr < MEMMAP_MAX_REGIONS - 1; i++)
		assert_int_equal(add(REGION_MEM, i * 0x10000, 0x4000, 0), 0);
	assert_int_equal(memmap_hook(&map, GPA(0x1000), 4096, REGION_HOOK), -ENOSPC);
	assert_int_equal(memmap_find(&map, GPA(0x1000))->kind, REGION_MEM);
}

/* A page comes in once, when it is first asked for. */
static unsigned brought_in;

static bool bring_in(void *ctx, struct region *region, uint64_t page)
{
	assert_ptr_equal(ctx, &brought_in);
	brought_in++;
	if (page == 3)
		return false;
	region->page[page] = ptr_to_hpa(pages + (15 - page) * 4096).v;
	return true;
}

static void test_disk(void **state)
{
	uint64_t page[4] = { 0 }, avail;
	struct region r = { .start = GPA(0x10000), .size = 0x4000, .kind = REGION_DISK };

	(void)state;
	brought_in = 0;
	assert_int_equal(memmap_add(&map, &r), -EINVAL); /* nowhere to keep its pages */
	r.page = page;
	assert_int_equal(memmap_add(&map, &r), 0);
	assert_null(memmap_ptr(&map, GPA(0x10000), false, &avail)); /* nobody to bring it in */
	map.bring_in = bring_in;
	map.ctx = &brought_in;
	assert_int_equal(memmap_disk_page(memmap_find(&map, GPA(0x11fff)), GPA(0x11fff)), 0);
	assert_ptr_equal(memmap_ptr(&map, GPA(0x11ffe), true, &avail), pages + 14 * 4096 + 0xffe);
	assert_int_equal(avail, 2);
	assert_int_equal(memmap_disk_page(memmap_find(&map, GPA(0x11fff)), GPA(0x11fff)),
			 ptr_to_hpa(pages + 14 * 4096).v);
	assert_int_equal(memmap_disk_page(memmap_find(&map, GPA(0x12000)), GPA(0x12000)), 0);
	assert_ptr_equal(memmap_ptr(&map, GPA(0x11000), false, &avail), pages + 14 * 4096);
	assert_int_equal(brought_in, 1);
	/* A copy over its end stops there, one over a page that cannot come in too. */
	assert_false(memmap_write(&map, GPA(0x12ffe), "abcd", 4));
	assert_memory_equal(pages + 13 * 4096 + 0xffe, "ab", 2);
	assert_int_equal(brought_in, 3);
	/* Under a full hook no page comes in, under a write hook those that are read. */
	assert_int_equal(memmap_hook(&map, GPA(0x10000), 4096, REGION_HOOK), 0);
	assert_null(memmap_ptr(&map, GPA(0x10000), false, &avail));
	assert_int_equal(memmap_hook(&map, GPA(0x10000), 4096, REGION_HOOK), -EEXIST);
	assert_int_equal(brought_in, 3);
	assert_int_equal(memmap_unhook(&map, GPA(0x10000), 4096), 0);
	assert_int_equal(memmap_hook(&map, GPA(0x10000), 4096, REGION_HOOK_WRITE), 0);
	assert_null(memmap_ptr(&map, GPA(0x10000), true, &avail));
	assert_int_equal(brought_in, 3);
	assert_ptr_equal(memmap_ptr(&map, GPA(0x10000), false, &avail), pages + 15 * 4096);
	assert_int_equal(avail, 4096);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_empty),       T(test_find),        T(test_bad_regions),
		T(test_overlap),     T(test_remove),      T(test_full),
		T(test_ptr),         T(test_copy_across), T(test_rom_is_not_written),
		T(test_hooks_model), T(test_hook_limits), T(test_disk),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
