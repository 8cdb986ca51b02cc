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

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_empty),   T(test_find),        T(test_bad_regions),
		T(test_overlap), T(test_remove),      T(test_full),
		T(test_ptr),     T(test_copy_across), T(test_rom_is_not_written),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
