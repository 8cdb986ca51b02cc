/* Words and numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/parse.h"

static struct token token(const char *s)
{
	return (struct token){ s, strlen(s) };
}

static void test_tokens(void **state)
{
	const char *line = "  vm=a\tkernel   -- x ";
	static const char *const want[] = { "vm=a", "kernel", "--", "x" };
	struct token tok;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		assert_true(parse_token(&line, &tok));
		assert_true(token_is(&tok, want[i]));
	}
	assert_false(parse_token(&line, &tok));
	assert_false(parse_token(&line, &tok));
	assert_int_equal(*line, 0);
	line = "";
	assert_false(parse_token(&line, &tok));
}

static void test_token_is(void **state)
{
	struct token tok = { "kernelx", 6 };

	(void)state;
	assert_true(token_is(&tok, "kernel"));
	assert_false(token_is(&tok, "kerne"));
	assert_false(token_is(&tok, "kernelx"));
	assert_false(token_is(&tok, ""));
}

static void test_token_value(void **state)
{
	struct token tok = token("memory=256M"), val;

	(void)state;
	assert_true(token_value(&tok, "memory", &val));
	assert_true(token_is(&val, "256M"));
	assert_false(token_value(&tok, "mem", &val));
	assert_false(token_value(&tok, "memory=256M", &val));
	tok = token("memory=");
	assert_true(token_value(&tok, "memory", &val));
	assert_int_equal(val.len, 0);
	tok = token("memory");
	assert_false(token_value(&tok, "memory", &val));
	/* Beyond the token's length nothing is looked at. */
	tok = (struct token){ "vm=x", 2 };
	assert_false(token_value(&tok, "vm", &val));
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "007", 7 },
		{ "0x0", 0 },
		{ "0xfF", 0xff },
		{ "0X10", 16 },
		{ "18446744073709551615", UINT64_MAX },
		{ "0xffffffffffffffff", UINT64_MAX },
	};
	static const char *const bad[] = {
		"",
		"-1",
		"+1",
		"0x",
		"x",
		"1x",
		"0xg",
		" 1",
		"1 ",
		"1M",
		"0b1",
		"18446744073709551616",
		"0x10000000000000000",
		"99999999999999999999999999",
	};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct token tok = token(good[i].text);

		v = 1234;
		assert_true(parse_u64(&tok, &v));
		assert_int_equal(v, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct token tok = token(bad[i]);

		if (parse_u64(&tok, &v))
			fail_msg("\"%s\" was taken for a number", bad[i]);
	}
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{ "0", 0 },           { "4096", 4096 },       { "1K", KIB(1) },
		{ "256M", MIB(256) }, { "256m", MIB(256) },   { "3g", GIB(3) },
		{ "0x10M", MIB(16) }, { "1T", GIB(1) << 10 }, { "16777215T", 16777215ULL << 40 },
	};
	static const char *const bad[] = { "",
					   "M",
					   "K",
					   "0xM",
					   "1P",
					   "1MM",
					   "M1",
					   "-1M",
					   "1.5G",
					   "16777216T",
					   "18446744073709551615K" };
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct token tok = token(good[i].text);

		v = 1234;
		assert_true(parse_size(&tok, &v));
		assert_int_equal(v, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct token tok = token(bad[i]);

		if (parse_size(&tok, &v))
			fail_msg("\"%s\" was taken for a size", bad[i]);
	}
}

static void test_token_cut(void **state)
{
	struct token tok = token("0,2-3,"), rest;

	(void)state;
	assert_true(token_cut(&tok, ',', &rest));
	assert_true(token_is(&tok, "0"));
	assert_true(token_is(&rest, "2-3,"));
	tok = rest;
	assert_true(token_cut(&tok, ',', &rest));
	assert_true(token_is(&tok, "2-3"));
	assert_true(token_is(&rest, ""));
	assert_false(token_cut(&tok, ',', &rest));
	assert_true(token_is(&tok, "2-3"));
}

static void test_token_choose(void **state)
{
	static const struct token_choice list[] = { { "on", 7 }, { "off", 0 } };
	struct token tok = token("off");
	int v = 1;

	(void)state;
	assert_true(token_choose(&tok, list, ARRAY_SIZE(list), &v));
	assert_int_equal(v, 0);
	tok = token("o");
	assert_false(token_choose(&tok, list, ARRAY_SIZE(list), &v));
	tok = token("");
	assert_false(token_choose(&tok, list, ARRAY_SIZE(list), &v));
	assert_int_equal(v, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokens),       cmocka_unit_test(test_token_is),
		cmocka_unit_test(test_token_value),  cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_sizes),        cmocka_unit_test(test_token_cut),
		cmocka_unit_test(test_token_choose),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
