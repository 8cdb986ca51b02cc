/* paging/host.c: the tables of this machine's image built, loaded, changed and looked over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "paging/host.h"
#include "tests/host/fake_insn.h"
#include "tests/host/fakes.h"

/* After fake_insn.h, which renames one of its symbols. */
#include "arch/x86_64/image.h"

#define DIRECT UINT64_C(0xffff800000000000)
#define IMAGE_AT MIB(34)
#define RW (PT_R | PT_W)

/* An image: 2 pages of code, 1 read-only, 8 of data; linker.ld does this for Umbra. */
__asm__(".pushsection .bss.image, \"aw\", @nobits\n"
	".globl __image_start, __text_start, __text_end, __rodata_start, __rodata_end\n"
	".globl image_data_start, __bss_end, __image_end\n"
	".balign 4096\n"
	"__image_start: __text_start: .skip 0x2000\n"
	"__text_end: __rodata_start: .skip 0x1000\n"
	"__rodata_end: image_data_start: .skip 0x8000\n"
	"__bss_end: __image_end:\n"
	".popsection\n");

uint64_t image_load_base;
const uint8_t *const image_guard_page[IMAGE_GUARD_PAGES] = {
	(const uint8_t *)__data_start,
	(const uint8_t *)__data_start + 0x2000,
	(const uint8_t *)__data_start + 0x4000,
	(const uint8_t *)__data_start + 0x6000,
};

static uint64_t cr0, cr3;
static unsigned cr3_writes, invlpgs;

uint64_t read_cr0(void)
{
	return cr0;
}

void write_cr0(uint64_t v)
{
	cr0 = v;
}

uint64_t read_cr3(void)
{
	return cr3;
}

void write_cr3(uint64_t v)
{
	cr3 = v;
	cr3_writes++;
}

static uint64_t dropped;

void invlpg(uint64_t va)
{
	dropped = va;
	invlpgs++;
}

static struct boot_info bi;
static bool built; /* there may be a tree to be freed */

static int init(void)
{
	built = true;
	return host_paging_init(&bi);
}

/* RAM below the hole and above 4 GiB; the direct map in the upper half, as on the machine. */
static int setup(void **state)
{
	(void)state;
	direct_map_base = DIRECT;
	memset(&bi, 0, sizeof(bi));
	bi.range[bi.nr_ranges++] = (struct boot_range){ MIB(1), GIB(3) - MIB(1), true };
	bi.range[bi.nr_ranges++] = (struct boot_range){ GIB(4), GIB(3), true };
	image_load_base = IMAGE_AT;
	fake_cpu_features.page_1g = true;
	fake_log_reset();
	cr0 = CR0_PE | CR0_PG;
	cr3 = cr3_writes = invlpgs = 0;
	return 0;
}

static int teardown(void **state)
{
	struct pt_tree t = host_pt_tree();

	(void)state;
	fake_frame_limit = UINT64_MAX;
	if (built)
		pt_destroy(&t);
	built = false;
	assert_int_equal(fake_frame_bytes, 0);
	direct_map_base = 0;
	return 0;
}

static void expect_page(uint64_t va, uint64_t pa, unsigned rights)
{
	struct pt_tree t = host_pt_tree();
	struct pt_walk w;

	if (pt_walk(&t, va, &w) != PT_OK)
		fail_msg("0x%llx is absent", (unsigned long long)va);
	assert_int_equal(w.out, pa);
	assert_int_equal(w.rights, rights);
}

static void expect_absent(uint64_t va)
{
	struct pt_tree t = host_pt_tree();
	struct pt_walk w;

	assert_int_equal(pt_walk(&t, va, &w), PT_NOT_PRESENT);
}

static uint64_t at(const char *symbol)
{
	return (uintptr_t)symbol;
}

static void test_init(void **state)
{
	(void)state;
	assert_int_equal(init(), 0);
	assert_int_equal(cr3, host_pt_tree().root);
	assert_int_equal(cr3_writes, 1);
	assert_int_equal(cr0, CR0_PE | CR0_PG | CR0_WP);
	expect_page(at(__text_start) + 0x1fff, IMAGE_AT + 0x1fff, PT_R | PT_X);
	expect_page(at(__rodata_start), IMAGE_AT + 0x2000, PT_R);
	for (unsigned i = 0; i < IMAGE_GUARD_PAGES; i++) {
		expect_absent((uintptr_t)image_guard_page[i]);
		expect_page((uintptr_t)image_guard_page[i] + 0x1000, IMAGE_AT + 0x4000 + i * 0x2000,
			    RW);
	}
	expect_absent(at(__image_end));
	/* The direct map: RAM, the image's read-only part, and nothing beyond RAM. */
	expect_page(DIRECT + MIB(1), MIB(1), RW);
	expect_page(DIRECT + IMAGE_AT, IMAGE_AT, PT_R);
	expect_page(DIRECT + IMAGE_AT + 0x3000, IMAGE_AT + 0x3000, RW);
	expect_page(DIRECT + GIB(7) - 1, GIB(7) - 1, RW);
	expect_absent(DIRECT + GIB(7));
	expect_absent(0);
}

/* This image lies in the lower half, which the audit refuses. */
static void test_audit(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	struct pt_tree t;

	(void)state;
	assert_int_equal(init(), 0);
	t = host_pt_tree();
	assert_int_equal(host_paging_audit(), -EINVAL);
	assert_non_null(strstr(fake_log, "host page tables: page at 0x"));
	assert_non_null(strstr(fake_log, " has rights 0x5"));
	assert_int_equal(pt_unmap(&t, at(__image_start), 0xb000, &flush), PT_OK);
	assert_int_equal(pt_release(&t, &flush), PT_OK);
	assert_int_equal(host_paging_audit(), 0);
}

static void test_map_mmio(void **state)
{
	hpa_t frame;

	(void)state;
	assert_int_equal(init(), 0);
	cr3_writes = 0;
	/* New: nothing to drop. From byte to byte, in whole pages. */
	assert_ptr_equal(host_map_mmio(HPA(GIB(1024) + 0xffc), 8),
			 (void *)(DIRECT + GIB(1024) + 0xffc));
	expect_page(DIRECT + GIB(1024), GIB(1024), RW);
	expect_page(DIRECT + GIB(1024) + 0x1000, GIB(1024) + 0x1000, RW);
	expect_absent(DIRECT + GIB(1024) + 0x2000);
	assert_int_equal(cr3_writes + invlpgs, 0);
	/* A large page is split: all of it is dropped at once. Then its neighbour alone. */
	assert_non_null(host_map_mmio(HPA(GIB(2)), 0x1000));
	assert_int_equal(cr3_writes, 1);
	assert_int_equal(invlpgs, 0);
	assert_int_equal(cr3, host_pt_tree().root);
	assert_non_null(host_map_mmio(HPA(GIB(2) + 0x3000), 0x2000));
	assert_int_equal(cr3_writes, 1);
	assert_int_equal(invlpgs, 2);
	assert_int_equal(dropped, DIRECT + GIB(2) + 0x4000);
	/* Nothing, what wraps, what no address of this machine is, RAM in use. */
	assert_null(host_map_mmio(HPA(GIB(1024)), 0));
	assert_null(host_map_mmio(HPA(UINT64_MAX - 0xfff), 0x2000));
	assert_null(host_map_mmio(HPA(BIT(46)), 0x1000));
	frame = frame_alloc(0, FRAME_VM0);
	assert_null(host_map_mmio(HPA(frame.v - 0x1000), 0x2000));
	frame_free(frame, 0, FRAME_VM0);
	fake_frame_limit = fake_frame_bytes;
	assert_null(host_map_mmio(HPA(GIB(2048)), 0x1000));
	fake_frame_limit = UINT64_MAX;
	expect_absent(DIRECT + GIB(2048));
}

/* Nothing is loaded that is not whole. */
static void test_init_fails(void **state)
{
	unsigned spare = 0;
	int err = -ENOMEM;

	for (; err == -ENOMEM; spare++) {
		teardown(state);
		setup(state);
		fake_frame_limit = fake_frame_bytes + spare * PAGE_SIZE;
		err = init();
		assert_int_equal(cr3_writes, err == 0);
		assert_int_equal(strstr(fake_log, "host page tables: out of memory") != NULL,
				 err != 0);
	}
	assert_int_equal(err, 0);
	assert_true(spare > 8);
	teardown(state);
	setup(state);
	image_load_base += 8;
	assert_int_equal(init(), -EINVAL);
	assert_non_null(strstr(fake_log, "an address that cannot be mapped"));
	assert_int_equal(cr3_writes, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_init),
		T(test_audit),
		T(test_map_mmio),
		T(test_init_fails),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
