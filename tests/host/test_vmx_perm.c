/* VMX's I/O and MSR bitmaps, bit by bit as SDM vol. 3, 24.6.4 and 24.6.9 places them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/msr.h"
#include "vmx/perm.h"

static uint8_t io[IO_BITMAPS_SIZE], msrs[MSR_BITMAP_SIZE];

static void assert_all(const uint8_t *map, size_t size, uint8_t val)
{
	for (size_t i = 0; i < size; i++)
		if (map[i] != val)
			fail_msg("byte 0x%zx is 0x%x, not 0x%x", i, map[i], val);
}

static void test_io_init(void **state)
{
	(void)state;
	memset(io, 0, sizeof(io));
	vmx_io_bitmaps_init(io);
	assert_all(io, sizeof(io), 0xff);
}

static void test_io(void **state)
{
	(void)state;
	vmx_io_bitmaps_init(io);
	vmx_io_bitmaps_set(io, 0x3f8, 8, false);
	assert_int_equal(io[0x3f8 / 8], 0);
	assert_int_equal(io[0x3f0 / 8], 0xff);
	assert_int_equal(io[0x400 / 8], 0xff);
	vmx_io_bitmaps_set(io, 0x3fd, 1, true);
	assert_int_equal(io[0x3f8 / 8], 0x20);
	vmx_io_bitmaps_set(io, 0x80, 0, false);
	assert_int_equal(io[0x80 / 8], 0xff);
}

/* Bitmap B begins in the second page, with port 8000h. */
static void test_io_halves(void **state)
{
	(void)state;
	vmx_io_bitmaps_init(io);
	vmx_io_bitmaps_set(io, 0x7fff, 2, false);
	assert_int_equal(io[4095], 0x7f);
	assert_int_equal(io[4096], 0xfe);
}

static void test_io_end(void **state)
{
	(void)state;
	vmx_io_bitmaps_init(io);
	vmx_io_bitmaps_set(io, 0xfffe, 100000, false);
	assert_int_equal(io[sizeof(io) - 1], 0x3f);
	assert_all(io, sizeof(io) - 1, 0xff);
}

static void test_msr(void **state)
{
	static const struct {
		uint32_t msr;
		size_t read_byte;
		uint8_t bit;
	} rows[] = {
		{ 0, 0, 0x01 },
		{ 0x174, 0x2e, 0x10 },
		{ 0x1fff, 0x3ff, 0x80 },
		{ 0xc0000000, 0x400, 0x01 },
		{ 0xc0000082, 0x410, 0x04 },
		{ 0xc0001fff, 0x7ff, 0x80 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t *r = &msrs[rows[i].read_byte], *w = r + 0x800;

		memset(msrs, 0xff, sizeof(msrs));
		assert_true(vmx_msr_bitmap_set(msrs, rows[i].msr, false, true));
		assert_int_equal(*r, (uint8_t)~rows[i].bit);
		*r = 0xff;
		assert_all(msrs, sizeof(msrs), 0xff);
		memset(msrs, 0, sizeof(msrs));
		assert_true(vmx_msr_bitmap_set(msrs, rows[i].msr, false, true));
		assert_int_equal(*w, rows[i].bit);
		*w = 0;
		assert_all(msrs, sizeof(msrs), 0);
	}
}

static void test_msr_outside(void **state)
{
	static const uint32_t outside[] = { 0x2000,     0x40000000, 0xbfffffff,
					    0xc0002000, 0xc0010015, 0xffffffff };

	(void)state;
	memset(msrs, 0xff, sizeof(msrs));
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		assert_false(vmx_msr_bitmap_set(msrs, outside[i], false, false));
	assert_all(msrs, sizeof(msrs), 0xff);
}

/* Nothing but what is named here goes through in a new VM. */
static void test_msr_init(void **state)
{
	static const uint32_t through[] = {
		0xc0000100, 0xc0000101, 0xc0000102,             /* FS, GS, kernel GS base */
		0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, /* STAR, LSTAR, CSTAR, SFMASK */
		0x174,      0x175,      0x176,
	};

	(void)state;
	memset(msrs, 0, sizeof(msrs));
	vmx_msr_bitmap_init(msrs);
	for (size_t i = 0; i < sizeof(through) / sizeof(through[0]); i++) {
		size_t at = (through[i] & 0x1fff) / 8 + (through[i] >> 31) * 0x400;
		uint8_t bit = (uint8_t)(1u << through[i] % 8);

		assert_false(msrs[at] & bit);
		assert_false(msrs[at + 0x800] & bit);
		msrs[at] |= bit;
		msrs[at + 0x800] |= bit;
	}
	assert_all(msrs, sizeof(msrs), 0xff);
}

static bool exits(uint32_t msr, bool write)
{
	return msrs[(write ? 0x800 : 0) + msr / 8] >> msr % 8 & 1;
}

/* An x2APIC's: what has no register stays #GP, and what is to be done stays the core's. */
static void test_x2apic(void **state)
{
	static const uint16_t readable[] = { 0x802, 0x803, 0x808, 0x80d, 0x80f, 0x828, 0x832,
					     0x833, 0x834, 0x835, 0x836, 0x837, 0x838, 0x83e };

	(void)state;
	for (unsigned how = 0; how < 4; how++) {
		bool registers = how & 1, interrupts = how & 2;
		unsigned passed = 0, want = registers ? 14 + 24 : 1;

		memset(msrs, 0xff, sizeof(msrs));
		vmx_msr_bitmap_pass_x2apic(msrs, registers, interrupts);
		for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++)
			assert_int_equal(exits(readable[i], false),
					 !registers && readable[i] != 0x808);
		for (uint32_t msr = 0x810; msr < 0x828; msr++)
			assert_int_equal(exits(msr, false), !registers);
		for (uint32_t msr = 0; msr < 0x2000; msr++)
			passed += !exits(msr, false);
		assert_int_equal(passed, want);
		for (uint32_t msr = 0; msr < 0x2000; msr++)
			assert_int_equal(exits(msr, true),
					 msr != 0x808 &&
						 !(interrupts && (msr == 0x80b || msr == 0x83f)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_io_init),   cmocka_unit_test(test_io),
		cmocka_unit_test(test_io_halves), cmocka_unit_test(test_io_end),
		cmocka_unit_test(test_msr),       cmocka_unit_test(test_msr_outside),
		cmocka_unit_test(test_msr_init),  cmocka_unit_test(test_x2apic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
