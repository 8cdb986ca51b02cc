/* ksnprintf against libc's snprintf, and where it is used to its limits. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/lib/printf.h"

/* The same text and length as libc makes of it. */
#define SAME(...)                                                                                  \
	do {                                                                                       \
		char got[256], want[256];                                                          \
		int n = snprintf(want, sizeof(want), __VA_ARGS__);                                 \
                                                                                                   \
		memset(got, '?', sizeof(got));                                                     \
		assert_int_equal(ksnprintf(got, sizeof(got), __VA_ARGS__), n);                     \
		assert_string_equal(got, want);                                                    \
	} while (0)

/* Formats whose flags libc knows but gcc would warn about, made at run time. */
static void same_int(const char *fmt, int v)
{
	char got[256], want[256];
	int n;

	n = snprintf(want, sizeof(want), fmt, v);
	assert_int_equal(ksnprintf(got, sizeof(got), fmt, v), n);
	if (strcmp(got, want))
		print_error("format \"%s\" of %d\n", fmt, v);
	assert_string_equal(got, want);
}

static void test_plain(void **state)
{
	(void)state;
	SAME("Umbra");
	SAME("100%%");
	SAME("%s and %s", "one", "two");
	SAME("%c%c%c", 'a', 'b', 'c');
	SAME("[%5c|%-5c]", 'x', 'y');
}

static void test_all_flags(void **state)
{
	static const int values[] = { 0, 1, -1, 7, 42, -42, 12345, INT_MAX, INT_MIN };
	static const char conversions[] = "diuxXo";
	static const char *const widths[] = { "", "1", "7", "12" };
	static const char *const precisions[] = { "", ".", ".0", ".1", ".5", ".12" };
	char fmt[32];

	(void)state;
	for (unsigned flags = 0; flags < 32; flags++) {
		for (size_t w = 0; w < 4; w++) {
			for (size_t p = 0; p < 6; p++) {
				for (const char *c = conversions; *c; c++) {
					snprintf(fmt, sizeof(fmt), "%%%s%s%s%s%s%s%s%c",
						 flags & 1 ? "-" : "", flags & 2 ? "0" : "",
						 flags & 4 ? "+" : "", flags & 8 ? " " : "",
						 flags & 16 ? "#" : "", widths[w], precisions[p],
						 *c);
					for (size_t i = 0; i < sizeof(values) / sizeof(*values);
					     i++)
						same_int(fmt, values[i]);
				}
			}
		}
	}
}

static void test_lengths(void **state)
{
	(void)state;
	SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, 0xfeedfacecafebeefUL);
	SAME("%lld %llu %#llx", LLONG_MIN, ULLONG_MAX, 0x123456789abcULL);
	SAME("%zu %zx", (size_t)-1, (size_t)0x1234);
	SAME("%hhd %hhu %hhx", -1, 200, 0xab);
	SAME("%hd %hu %hx", -2, 60000, 0xabcd);
	SAME("%d %u", INT_MIN, UINT_MAX);
	SAME("%016llx", 0x1234ULL);
}

static void test_narrow_lengths_cut(void **state)
{
	char buf[32];
	const char *fmt = "%hhu %hu";

	(void)state;
	ksnprintf(buf, sizeof(buf), fmt, 0x1ff, 0x1ffff);
	assert_string_equal(buf, "255 65535");
}

static void test_strings(void **state)
{
	char unterminated[4] = { 'a', 'b', 'c', 'd' };

	(void)state;
	SAME("[%8s]", "abc");
	SAME("[%-8s]", "abc");
	SAME("[%.2s]", "abc");
	SAME("[%8.2s]", "abc");
	SAME("[%s]", "");
	SAME("[%.0s]", "abc");
	/* With a precision the text need not be terminated. */
	SAME("[%.4s]", unterminated);
	SAME("[%.*s]", 3, unterminated);
	SAME("[%*s|%-*s|%*s]", 6, "ab", 6, "cd", -6, "ef");
}

static void test_null_and_pointer(void **state)
{
	char buf[64];
	const char *volatile none = NULL;

	(void)state;
	ksnprintf(buf, sizeof(buf), "%s", none);
	assert_string_equal(buf, "(null)");
	ksnprintf(buf, sizeof(buf), "%p", (void *)0xffff800000001000UL);
	assert_string_equal(buf, "0xffff800000001000");
	ksnprintf(buf, sizeof(buf), "%p", NULL);
	assert_string_equal(buf, "0x0");
}

/* The result is always terminated, never longer than the buffer, and the length told is the
 * whole text's. */
static void test_truncation(void **state)
{
	char buf[16];

	(void)state;
	for (size_t size = 0; size <= 12; size++) {
		memset(buf, '!', sizeof(buf));
		assert_int_equal(ksnprintf(buf, size, "%s-%05d", "abc", 42), 9);
		if (size) {
			assert_int_equal(strlen(buf), size > 9 ? 9 : size - 1);
			assert_memory_equal(buf, "abc-00042", strlen(buf));
		}
		assert_int_equal(buf[size < 10 ? size : 10], '!');
	}
	assert_int_equal(ksnprintf(NULL, 0, "%d", 1234), 4);
}

static void test_bad_formats(void **state)
{
	char buf[32];
	static const char *const bad[][2] = {
		{ "50%", "50" }, { "%k", "%k" }, { "%5", "" },
		{ "%.", "" },    { "%ll", "" },  { "a%-yb", "a%yb" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ksnprintf(buf, sizeof(buf), bad[i][0]);
		assert_string_equal(buf, bad[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),      cmocka_unit_test(test_all_flags),
		cmocka_unit_test(test_lengths),    cmocka_unit_test(test_narrow_lengths_cut),
		cmocka_unit_test(test_strings),    cmocka_unit_test(test_null_and_pointer),
		cmocka_unit_test(test_truncation), cmocka_unit_test(test_bad_formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
