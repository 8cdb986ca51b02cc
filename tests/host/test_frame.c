/* The frame allocator itself, over a pretended machine's memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/panic.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"

/* The real functions beside the stand-ins of fakes.c; a panic fails cmocka's way. */
#define frame_alloc real_frame_alloc
#define frame_alloc_zeroed real_frame_alloc_zeroed
#define frame_alloc_low real_frame_alloc_low
#define frame_free real_frame_free
#define frame_owner_of real_frame_owner_of
#define frame_range_owned real_frame_range_owned
#define frame_bytes_total real_frame_bytes_total
#define frame_bytes_free real_frame_bytes_free
#define frame_bytes_owned real_frame_bytes_owned
#define frame_pages_owned real_frame_pages_owned
#define frame_init real_frame_init
#define frame_init_high real_frame_init_high
#define panic(...)                                                                                 \
	do {                                                                                       \
		mock_assert(0, "panic", __FILE__, __LINE__);                                       \
		abort();                                                                           \
	} while (0)
#include "arch/x86_64/frame.c"

#define MACHINE_BYTES GIB(40)

static struct boot_info bi;

/* --- the pretended machine --- */

static void machine_reset(void)
{
	memset(&bi, 0, sizeof(bi));
	memset(section, 0, sizeof(section));
	memset(free_head, 0, sizeof(free_head));
	memset(owned, 0, sizeof(owned));
	memset(in_large, 0, sizeof(in_large));
	total = 0;
	lock.serving = lock.next;
	fake_log_reset();
	madvise((void *)(uintptr_t)direct_map_base, MACHINE_BYTES, MADV_DONTNEED);
}

static int setup(void **state)
{
	void *ram = mmap(NULL, MACHINE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	if (ram == MAP_FAILED)
		return -1;
	direct_map_base = (uintptr_t)ram;
	return 0;
}

static int setup_test(void **state)
{
	(void)state;
	machine_reset();
	return 0;
}

static void add(uint64_t base, uint64_t size, bool available)
{
	bi.range[bi.nr_ranges++] = (struct boot_range){ base, size, available };
}

static void add_module(uint64_t start, uint64_t size)
{
	bi.module[bi.nr_modules++] = (struct boot_module){ HPA(start), size, "" };
}

/* 128 MiB as GRUB reports them on a PC, Umbra at 2 MiB. */
static void pc_init(void)
{
	add(0, 0x9fc00, true);
	add(0x9fc00, 0x400, false);
	add(0xf0000, 0x10000, false);
	add(MIB(1), MIB(127) - 0x20000, true);
	add(MIB(128) - 0x20000, 0x20000, false);
	bi.image_start = HPA(MIB(2));
	bi.image_end = HPA(MIB(4));
	bi.info_start = HPA(0x10008);
	bi.info_end = HPA(0x10800);
	frame_init(&bi);
}

/* Every free frame, taken one by one; each is given back. Checks that none comes twice. */
static uint64_t drain(void (*look)(uint64_t pa))
{
	uint64_t n = 0, *all = calloc(1 << 20, sizeof(*all));

	assert_non_null(all);
	for (;;) {
		hpa_t pa = frame_alloc(0, FRAME_VM0);

		if (!pa.v)
			break;
		assert_int_equal(pa.v % PAGE_SIZE, 0);
		if (look)
			look(pa.v);
		all[n++] = pa.v;
		assert_true(n < 1 << 20);
	}
	assert_int_equal(frame_bytes_owned(FRAME_VM0), n * PAGE_SIZE);
	for (uint64_t i = 0; i < n; i++)
		frame_free(HPA(all[i]), 0, FRAME_VM0);
	free(all);
	return n * PAGE_SIZE;
}

/* --- what is handed out --- */

static void is_free_ram_of_pc(uint64_t pa)
{
	if (pa < MIB(1) || pa >= MIB(128) - 0x20000)
		fail_msg("frame 0x%llx was handed out: not RAM, or in use", (unsigned long long)pa);
	if (pa >= MIB(2) && pa < MIB(4))
		fail_msg("frame 0x%llx of the image was handed out", (unsigned long long)pa);
	if (pa >= MIB(64) && pa < MIB(64) + 0x3000)
		fail_msg("frame 0x%llx of a module was handed out", (unsigned long long)pa);
}

static void test_only_free_ram(void **state)
{
	uint64_t free_before;

	(void)state;
	add_module(MIB(64) + 0x123, 0x2000); /* touches three frames */
	pc_init();
	free_before = frame_bytes_free();
	assert_true(free_before > MIB(120));
	assert_int_equal(drain(is_free_ram_of_pc), free_before);
	assert_int_equal(frame_bytes_free(), free_before);
}

static void test_owners_at_boot(void **state)
{
	(void)state;
	add_module(MIB(64) + 0x123, 0x2000);
	pc_init();
	assert_int_equal(frame_owner_of(HPA(0)), FRAME_HYPERVISOR);
	assert_int_equal(frame_owner_of(HPA(0x1000)), FRAME_HYPERVISOR); /* firmware scribbles */
	assert_int_equal(frame_owner_of(HPA(0x9e000)), FRAME_HYPERVISOR);
	assert_int_equal(frame_owner_of(HPA(MIB(1) + MIB(127) - 0x21000)), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(0x9f000)), FRAME_NONE); /* half of it is RAM */
	assert_int_equal(frame_owner_of(HPA(0xa0000)), FRAME_NONE);
	assert_int_equal(frame_owner_of(HPA(0x10000)), FRAME_HYPERVISOR); /* boot information */
	assert_int_equal(frame_owner_of(HPA(MIB(2))), FRAME_HYPERVISOR);
	assert_int_equal(frame_owner_of(HPA(MIB(4) - 1)), FRAME_HYPERVISOR);
	assert_int_equal(frame_owner_of(HPA(MIB(4))), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(MIB(64))), FRAME_MODULE);
	assert_int_equal(frame_owner_of(HPA(MIB(64) + 0x2fff)), FRAME_MODULE);
	assert_int_equal(frame_owner_of(HPA(MIB(64) + 0x3000)), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(MIB(128))), FRAME_NONE);
	assert_int_equal(frame_owner_of(HPA(UINT64_MAX)), FRAME_NONE);
	assert_int_equal(frame_bytes_owned(FRAME_MODULE), 3 * PAGE_SIZE);
}

/* Ranges out of order, overlapping, unaligned, empty; a reserved one always wins. */
static void test_map_in_disorder(void **state)
{
	(void)state;
	add(MIB(48), MIB(16), true);
	add(MIB(20) + 1, 1, false);
	add(MIB(16), MIB(40), true); /* overlaps the first */
	add(MIB(30), 0, false);
	add(0x100, MIB(17), true);
	add(MIB(40), MIB(2), false);
	add(MIB(41), MIB(2), true); /* half of it reserved */
	add(UINT64_MAX - 0xfff, 0x1000, false);
	frame_init(&bi);
	assert_int_equal(frame_bytes_total(), MIB(64) - MIB(2) - 2 * PAGE_SIZE);
	assert_int_equal(frame_owner_of(HPA(MIB(20))), FRAME_NONE);
	assert_int_equal(frame_owner_of(HPA(MIB(20) + PAGE_SIZE)), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(MIB(41))), FRAME_NONE);
	assert_int_equal(frame_owner_of(HPA(MIB(42))), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(MIB(63))), FRAME_FREE);
	assert_int_equal(drain(NULL), frame_bytes_free());
}

static void test_no_memory_at_all(void **state)
{
	(void)state;
	frame_init(&bi);
	frame_init_high(&bi);
	assert_int_equal(frame_bytes_total(), 0);
	assert_int_equal(frame_alloc(0, FRAME_VM0).v, 0);
	assert_false(frame_range_owned(HPA(0), PAGE_SIZE, FRAME_FREE));
}

/* The table finds no room: its GiB is left alone and said so. */
static void test_no_room_for_table(void **state)
{
	(void)state;
	for (uint64_t at = MIB(16); at < MIB(16) + 50 * 0x2000; at += 0x2000)
		add(at, 0x1000, true);
	frame_init(&bi);
	assert_int_equal(frame_bytes_free(), 0);
	assert_non_null(strstr(fake_log, "no room for the frame table of GiB 0"));
}

/* The only free run lies across a GiB: no table does. */
static void test_run_across_sections(void **state)
{
	(void)state;
	add(GIB(1) - MIB(1), MIB(100), true);
	frame_init(&bi);
	assert_int_equal(frame_owner_of(HPA(GIB(1) - MIB(1))), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(GIB(1) - 1)), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(GIB(1))), FRAME_HYPERVISOR);
	assert_int_equal(drain(NULL), frame_bytes_free());
}

/* --- above 4 GiB --- */

static void test_high_memory(void **state)
{
	hpa_t pa;

	(void)state;
	add(0, MIB(512), true);
	add(GIB(4), GIB(2) + MIB(3) + 5, true);
	add(GIB(36), GIB(1), true); /* a hole of 30 GiB before it */
	frame_init(&bi);
	assert_int_equal(frame_bytes_total(), MIB(512));
	assert_int_equal(frame_owner_of(HPA(GIB(4))), FRAME_NONE);
	assert_int_equal(drain(NULL), frame_bytes_free());

	frame_init_high(&bi);
	assert_int_equal(frame_bytes_total(), MIB(512) + GIB(3) + MIB(3));
	assert_int_equal(frame_owner_of(HPA(GIB(5))), FRAME_FREE);
	assert_int_equal(frame_owner_of(HPA(GIB(6) + MIB(3))), FRAME_NONE);
	assert_int_equal(frame_owner_of(HPA(GIB(7))), FRAME_NONE);
	assert_int_equal(frame_owner_of(HPA(GIB(36))), FRAME_FREE);
	assert_null(section[8].frame); /* a hole costs nothing */
	/* A table's block was larger than the table: the rest is free. */
	assert_true(frame_range_owned(ptr_to_hpa(section[4].frame), MIB(3), FRAME_HYPERVISOR));
	assert_false(frame_range_owned(ptr_to_hpa(section[4].frame), MIB(4), FRAME_HYPERVISOR));

	pa = frame_alloc(FRAME_MAX_ORDER, FRAME_VM0);
	assert_int_not_equal(pa.v, 0);
	assert_int_equal(pa.v % GIB(1), 0);
	assert_true(frame_range_owned(pa, GIB(1), FRAME_VM0));
	frame_free(pa, FRAME_MAX_ORDER, FRAME_VM0);
}

/* What must lie below 4 GiB does, what need not takes nothing from there while it can. */
static void test_low_memory(void **state)
{
	uint8_t *p;
	hpa_t pa;

	(void)state;
	add(0, MIB(64), true);
	add(GIB(4), MIB(64), true);
	frame_init(&bi);
	frame_init_high(&bi);
	for (uint64_t taken = 0; taken < MIB(64); taken += PAGE_SIZE) {
		pa = frame_alloc(0, FRAME_VM0);
		if (pa.v < GIB(4))
			fail_msg("0x%llx is handed out while there are frames above 4 GiB",
				 (unsigned long long)pa.v);
	}
	assert_true(frame_alloc(0, FRAME_VM0).v < GIB(4));
	memset(hpa_to_ptr(HPA(GIB(4))), 0xee, PAGE_SIZE);
	frame_free(HPA(GIB(4)), 0, FRAME_VM0);
	do {
		pa = frame_alloc_low(0, FRAME_PAGE_TABLE);
		assert_true(pa.v < GIB(4));
		p = hpa_to_ptr(pa);
		for (uint64_t i = 0; pa.v && i < PAGE_SIZE; i++)
			assert_int_equal(p[i], 0);
	} while (pa.v);
	assert_int_equal(frame_bytes_free(), PAGE_SIZE);
	assert_int_equal(frame_alloc(0, FRAME_VM0).v, GIB(4));
}

/* The highest page below 640 KiB with nothing in it. */
static void test_startup_page(void **state)
{
	(void)state;
	pc_init(); /* RAM to 0x9fc00, the boot information at 0x10008 */
	assert_int_equal(frame_startup_page(&bi).v, 0x9e000);
	add_module(0x9e800, 0x10);
	assert_int_equal(frame_startup_page(&bi).v, 0x9d000);
	add(0x12000, 0x9d800 - 0x12000, false);
	assert_int_equal(frame_startup_page(&bi).v, 0x11000);
	add_module(0x1fff, 0x10002);                    /* pages 1 to 0x12 */
	assert_int_equal(frame_startup_page(&bi).v, 0); /* never page 0 */
}

/* --- the buddies --- */

static void test_alignment_and_split(void **state)
{
	uint64_t free_before;
	hpa_t pa[12];

	(void)state;
	pc_init();
	free_before = frame_bytes_free();
	for (unsigned order = 0; order < ARRAY_SIZE(pa); order++) {
		pa[order] = frame_alloc(order, FRAME_VM0 + order);
		assert_int_not_equal(pa[order].v, 0);
		assert_int_equal(pa[order].v % (PAGE_SIZE << order), 0);
		assert_true(frame_range_owned(pa[order], PAGE_SIZE << order, FRAME_VM0 + order));
		assert_int_equal(frame_bytes_owned(FRAME_VM0 + order), PAGE_SIZE << order);
	}
	for (unsigned order = 0; order < ARRAY_SIZE(pa); order++) {
		frame_free(pa[order], order, FRAME_VM0 + order);
		assert_int_equal(frame_owner_of(pa[order]), FRAME_FREE);
		assert_int_equal(frame_bytes_owned(FRAME_VM0 + order), 0);
	}
	assert_int_equal(frame_bytes_free(), free_before);
}

/* By the size of its blocks: as pages of 4 KiB, 2 MiB and 1 GiB; free ones too. */
static void test_pages_by_size(void **state)
{
	uint64_t before[FRAME_SIZES];
	hpa_t small, large;

	(void)state;
	pc_init();
	for (unsigned size = 0; size < FRAME_SIZES; size++)
		before[size] = frame_pages_owned(FRAME_FREE, (enum frame_size)size);
	assert_int_equal((before[0] << 12) + (before[1] << 21) + (before[2] << 30),
			 frame_bytes_free());
	assert_true(before[FRAME_2M] > 0);
	small = frame_alloc(3, FRAME_VM0);
	large = frame_alloc(11, FRAME_VM0);
	assert_int_equal(frame_pages_owned(FRAME_VM0, FRAME_4K), 8);
	assert_int_equal(frame_pages_owned(FRAME_VM0, FRAME_2M), 4);
	assert_int_equal(frame_pages_owned(FRAME_VM0, FRAME_1G), 0);
	frame_free(small, 3, FRAME_VM0);
	frame_free(large, 11, FRAME_VM0);
	for (unsigned size = 0; size < FRAME_SIZES; size++) {
		assert_int_equal(frame_pages_owned(FRAME_VM0, (enum frame_size)size), 0);
		assert_int_equal(frame_pages_owned(FRAME_FREE, (enum frame_size)size),
				 before[size]);
	}
	/* All that there is belongs to somebody, in whole pages. */
	assert_int_equal(frame_pages_owned(FRAME_HYPERVISOR, FRAME_4K) << 12,
			 frame_bytes_owned(FRAME_HYPERVISOR));
	assert_int_equal(frame_pages_owned(100000, FRAME_4K), 0);
}

/* Free frames join again: after any taking and giving the largest blocks are back. */
static void test_joins_again(void **state)
{
	static struct {
		hpa_t pa;
		unsigned order;
	} held[300];
	uint64_t large = 0, seed = 12345;
	hpa_t pa, block[16];
	unsigned n = 0;

	(void)state;
	pc_init();
	while ((block[large] = frame_alloc(13, FRAME_VM0)).v)
		large++; /* of 32 MiB */
	assert_int_equal(large, 2);
	while (large)
		frame_free(block[--large], 13, FRAME_VM0);

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t r = fake_random64(&seed);

		if ((r >> 40 & 1) && n < ARRAY_SIZE(held)) {
			held[n].order = r >> 50 & 7;
			held[n].pa = frame_alloc(held[n].order, FRAME_VM0);
			n += held[n].pa.v != 0;
		} else if (n) {
			unsigned k = (unsigned)(r >> 33) % n;

			frame_free(held[k].pa, held[k].order, FRAME_VM0);
			held[k] = held[--n];
		}
	}
	while (n--)
		frame_free(held[n].pa, held[n].order, FRAME_VM0);
	for (large = 0; large < 2; large++) {
		pa = frame_alloc(13, FRAME_VM0);
		if (!pa.v)
			fail_msg("only %llu blocks of 32 MiB came back, expected 2",
				 (unsigned long long)large);
	}
}

static void test_zeroed(void **state)
{
	const uint64_t size = PAGE_SIZE << 2;
	uint8_t *p;
	hpa_t pa;

	(void)state;
	pc_init();
	pa = frame_alloc(2, FRAME_HYPERVISOR);
	memset(hpa_to_ptr(pa), 0xee, size);
	frame_free(pa, 2, FRAME_HYPERVISOR);
	pa = frame_alloc_zeroed(2, FRAME_HYPERVISOR);
	p = hpa_to_ptr(pa);
	for (uint64_t i = 0; i < size; i++)
		assert_int_equal(p[i], 0);
}

static void test_range_owned(void **state)
{
	hpa_t a;

	(void)state;
	pc_init();
	a = frame_alloc(3, FRAME_VM0 + 7);
	assert_true(frame_range_owned(a, 8 * PAGE_SIZE, FRAME_VM0 + 7));
	assert_true(frame_range_owned(HPA(a.v + PAGE_SIZE), PAGE_SIZE, FRAME_VM0 + 7));
	assert_true(frame_range_owned(HPA(a.v + 5), 3, FRAME_VM0 + 7));
	assert_false(frame_range_owned(a, 8 * PAGE_SIZE, FRAME_VM0 + 8));
	assert_false(frame_range_owned(a, 8 * PAGE_SIZE + 1, FRAME_VM0 + 7));
	assert_false(frame_range_owned(a, 0, FRAME_VM0 + 7));
	assert_false(frame_range_owned(a, UINT64_MAX, FRAME_VM0 + 7));
	assert_false(frame_range_owned(HPA(GIB(3)), PAGE_SIZE, FRAME_VM0 + 7));
}

static void test_runs_out(void **state)
{
	(void)state;
	pc_init();
	assert_int_equal(frame_alloc(FRAME_MAX_ORDER, FRAME_VM0).v, 0);
	assert_int_equal(frame_alloc_zeroed(FRAME_MAX_ORDER, FRAME_VM0).v, 0);
	assert_int_not_equal(frame_alloc(0, FRAME_VM0).v, 0);
}

static void test_wrong_free_panics(void **state)
{
	hpa_t pa;

	(void)state;
	pc_init();
	pa = frame_alloc(2, FRAME_VM0);
	expect_assert_failure(frame_free(pa, 2, FRAME_VM0 + 1));
	expect_assert_failure(frame_free(pa, 1, FRAME_VM0));
	expect_assert_failure(frame_free(HPA(pa.v + PAGE_SIZE), 0, FRAME_VM0));
	expect_assert_failure(frame_free(HPA(pa.v + 1), 2, FRAME_VM0));
	expect_assert_failure(frame_free(HPA(GIB(100)), 0, FRAME_VM0));
	frame_free(pa, 2, FRAME_VM0);
	expect_assert_failure(frame_free(pa, 2, FRAME_VM0));
	expect_assert_failure(frame_alloc(FRAME_MAX_ORDER + 1, FRAME_VM0));
	expect_assert_failure(frame_alloc(0, FRAME_FREE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_only_free_ram, setup_test),
		cmocka_unit_test_setup(test_owners_at_boot, setup_test),
		cmocka_unit_test_setup(test_startup_page, setup_test),
		cmocka_unit_test_setup(test_map_in_disorder, setup_test),
		cmocka_unit_test_setup(test_no_memory_at_all, setup_test),
		cmocka_unit_test_setup(test_no_room_for_table, setup_test),
		cmocka_unit_test_setup(test_run_across_sections, setup_test),
		cmocka_unit_test_setup(test_high_memory, setup_test),
		cmocka_unit_test_setup(test_low_memory, setup_test),
		cmocka_unit_test_setup(test_alignment_and_split, setup_test),
		cmocka_unit_test_setup(test_pages_by_size, setup_test),
		cmocka_unit_test_setup(test_joins_again, setup_test),
		cmocka_unit_test_setup(test_zeroed, setup_test),
		cmocka_unit_test_setup(test_range_owned, setup_test),
		cmocka_unit_test_setup(test_runs_out, setup_test),
		cmocka_unit_test_setup(test_wrong_free_panics, setup_test),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
