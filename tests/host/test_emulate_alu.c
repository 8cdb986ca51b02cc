/*
 * Arithmetic that the processor at hand cannot be asked for (decimal instructions, of which 64-bit
 * mode has none) or raises #DE for; the rest is in test_emulate_cpu.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "vmm/emulate_alu.h"

static uint64_t random64(void)
{
	static uint64_t s = 0x452821e638d01377;

	return fake_random64(&s);
}

/* --- division --- */

static void check_unsigned(uint64_t high, uint64_t low, uint64_t divisor, unsigned size)
{
	unsigned __int128 n =
		(unsigned __int128)alu_cut(high, size) << 8 * size | alu_cut(low, size);
	uint64_t d = alu_cut(divisor, size), q = 0, r = 0;
	bool fits = d && n / d <= alu_cut(~UINT64_C(0), size);

	assert_int_equal(alu_div(high, low, divisor, size, false, &q, &r), fits);
	if (!fits)
		return;
	assert_true(q == (uint64_t)(n / d));
	assert_true(r == (uint64_t)(n % d));
}

static void check_signed(uint64_t high, uint64_t low, uint64_t divisor, unsigned size)
{
	unsigned shift = 128 - 16 * size;
	unsigned __int128 raw =
		(unsigned __int128)alu_cut(high, size) << 8 * size | alu_cut(low, size);
	__int128 n = (__int128)(raw << shift) >> shift, quotient;
	int64_t d = (int64_t)alu_sign_extend(divisor, size);
	uint64_t q = 0, r = 0;
	bool fits = d;

	/* The most negative of all numbers has no opposite in C either. */
	if (d == -1 && (unsigned __int128)n == (unsigned __int128)1 << 127)
		fits = false;
	quotient = fits ? n / d : 0;
	if (quotient > (__int128)alu_cut(~UINT64_C(0), size) >> 1 ||
	    quotient < -((__int128)1 << (8 * size - 1)))
		fits = false;
	assert_int_equal(alu_div(high, low, divisor, size, true, &q, &r), fits);
	if (!fits)
		return;
	assert_true(q == alu_cut((uint64_t)quotient, size));
	assert_true(r == alu_cut((uint64_t)(n % d), size));
}

static uint64_t operand(void)
{
	uint64_t r = random64();

	switch (r & 7) {
	case 0:
		return (r >> 8) % 4;
	case 1:
		return -((r >> 8) % 4);
	case 2:
		return BIT(7 + 8 * ((r >> 8) % 8)) + (r >> 16) % 3 - 1;
	default:
		return random64();
	}
}

static void test_division(void **state)
{
	static const unsigned sizes[] = { 1, 2, 4, 8 };

	(void)state;
	for (unsigned i = 0; i < 400000; i++) {
		unsigned size = sizes[i % 4];
		uint64_t high = operand(), low = operand(), divisor = operand();

		/* Quotients that just fit, and just do not. */
		if (random64() & 1)
			high = random64() & 1 ? divisor - 1 : alu_sign_extend(low, size) >> 63;
		check_unsigned(high, low, divisor, size);
		check_signed(high, low, divisor, size);
		check_signed(alu_sign_extend(divisor, size) / 2 - (i & 1), low, divisor, size);
	}
}

/* --- decimal --- */

static unsigned packed(unsigned n)
{
	return n / 10 << 4 | n % 10;
}

/* DAA behind ADD, and DAS behind SUB, of packed numbers with a carry. */
static void test_packed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100 * 100 * 2; i++) {
		unsigned a = i % 100, b = i / 100 % 100, c = i / 10000;
		uint64_t flags = c ? RFLAGS_CF : 0;
		uint64_t al = alu_binary(INSN_ADC, packed(a), packed(b), 1, &flags);
		uint16_t ax = alu_decimal(INSN_DAA, (uint16_t)(0x1200 | al), &flags);

		assert_int_equal(ax, 0x1200 | packed((a + b + c) % 100));
		assert_int_equal(!!(flags & RFLAGS_CF), a + b + c >= 100);
		flags = c ? RFLAGS_CF : 0;
		al = alu_binary(INSN_SBB, packed(a), packed(b), 1, &flags);
		ax = alu_decimal(INSN_DAS, (uint16_t)(0x1200 | al), &flags);
		assert_int_equal(ax, 0x1200 | packed((100 + a - b - c) % 100));
		assert_int_equal(!!(flags & RFLAGS_CF), a < b + c);
	}
}

/* AAA behind ADD, and AAS behind SUB, of digits: a carry goes into AH. */
static void test_ascii(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		unsigned a = i % 10, b = i / 10;
		uint64_t flags = 0, al = alu_binary(INSN_ADD, 0x30 + a, b, 1, &flags);
		uint16_t ax = alu_decimal(INSN_AAA, (uint16_t)(0x500 | al), &flags);

		assert_int_equal(ax, (5 + (a + b) / 10) << 8 | (a + b) % 10);
		assert_int_equal(!!(flags & RFLAGS_CF), a + b >= 10);
		assert_int_equal(!!(flags & RFLAGS_AF), a + b >= 10);
		flags = 0;
		al = alu_binary(INSN_SUB, a, b, 1, &flags);
		ax = alu_decimal(INSN_AAS, (uint16_t)(0x500 | al), &flags);
		assert_int_equal(ax >> 8, a < b ? 4 : 5);
		assert_int_equal(ax & 0xff, (10 + a - b) % 10);
		assert_int_equal(!!(flags & RFLAGS_CF), a < b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_division),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_ascii),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
