/* The freestanding string functions, under other names beside libc's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define UMBRA_STRING_FREESTANDING
#define memcpy u_memcpy
#define memmove u_memmove
#define memset u_memset
#define memcmp u_memcmp
#define memchr u_memchr
#define strlen u_strlen
#define strnlen u_strnlen
#define strcmp u_strcmp
#define strncmp u_strncmp
#define strchr u_strchr
#define str_copy u_str_copy
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr
#undef str_copy

#define N 64

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + 1);
}

/* Every offset and length in a small window, against libc's. */
static void test_memcpy(void **state)
{
	uint8_t src[N], got[N], want[N];

	(void)state;
	fill(src, N);
	for (size_t from = 0; from < 9; from++) {
		for (size_t to = 0; to < 9; to++) {
			for (size_t n = 0; n < N - 9; n++) {
				memset(got, 0xee, N);
				memset(want, 0xee, N);
				memcpy(want + to, src + from, n);
				assert_ptr_equal(u_memcpy(got + to, src + from, n), got + to);
				assert_memory_equal(got, want, N);
			}
		}
	}
}

static void test_memmove_overlap(void **state)
{
	uint8_t got[N], want[N];

	(void)state;
	for (size_t from = 0; from < 20; from++) {
		for (size_t to = 0; to < 20; to++) {
			for (size_t n = 0; n < N - 20; n++) {
				fill(got, N);
				fill(want, N);
				memmove(want + to, want + from, n);
				assert_ptr_equal(u_memmove(got + to, got + from, n), got + to);
				assert_memory_equal(got, want, N);
			}
		}
	}
}

static void test_memset(void **state)
{
	uint8_t got[N], want[N];

	(void)state;
	for (size_t to = 0; to < 9; to++) {
		for (size_t n = 0; n < N - 9; n++) {
			fill(got, N);
			fill(want, N);
			memset(want + to, 0x1a5, n);
			assert_ptr_equal(u_memset(got + to, 0x1a5, n), got + to);
			assert_memory_equal(got, want, N);
		}
	}
}

static void test_memcmp(void **state)
{
	uint8_t a[N], b[N];

	(void)state;
	fill(a, N);
	for (size_t i = 0; i < N; i++) {
		fill(b, N);
		b[i] = 0xff;
		assert_true(u_memcmp(a, b, N) < 0);
		assert_true(u_memcmp(b, a, N) > 0);
		assert_int_equal(u_memcmp(a, b, i), 0);
	}
	assert_int_equal(u_memcmp(a, b, 0), 0);
	/* Bytes are compared unsigned. */
	assert_true(u_memcmp("\x80", "\x01", 1) > 0);
}

static void test_memchr(void **state)
{
	const char s[] = "abcabc\xff";

	(void)state;
	assert_ptr_equal(u_memchr(s, 'b', 7), s + 1);
	assert_ptr_equal(u_memchr(s, 'c', 2), NULL);
	assert_ptr_equal(u_memchr(s, 0xff, 7), s + 6);
	assert_ptr_equal(u_memchr(s, -1, 7), s + 6);
	assert_ptr_equal(u_memchr(s, 0, 8), s + 7);
	assert_ptr_equal(u_memchr(s, 'a', 0), NULL);
}

static void test_lengths(void **state)
{
	(void)state;
	assert_int_equal(u_strlen(""), 0);
	assert_int_equal(u_strlen("Umbra"), 5);
	assert_int_equal(u_strnlen("Umbra", 3), 3);
	assert_int_equal(u_strnlen("Umbra", 5), 5);
	assert_int_equal(u_strnlen("Umbra", 50), 5);
	assert_int_equal(u_strnlen("Umbra", 0), 0);
}

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static void test_compare(void **state)
{
	static const char *const s[] = { "", "a", "ab", "abc", "abd", "b", "\xe4", "aB" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(s); j++) {
			assert_int_equal(sign(u_strcmp(s[i], s[j])), sign(strcmp(s[i], s[j])));
			for (size_t n = 0; n < 5; n++)
				assert_int_equal(sign(u_strncmp(s[i], s[j], n)),
						 sign(strncmp(s[i], s[j], n)));
		}
	}
}

static void test_strchr(void **state)
{
	const char *s = "key=value=x";

	(void)state;
	assert_ptr_equal(u_strchr(s, '='), s + 3);
	assert_ptr_equal(u_strchr(s, 'k'), s);
	assert_ptr_equal(u_strchr(s, '#'), NULL);
	assert_ptr_equal(u_strchr(s, '\0'), s + 11);
}

static void test_str_copy(void **state)
{
	char buf[8];

	(void)state;
	assert_int_equal(u_str_copy(buf, "Umbra", sizeof(buf)), 5);
	assert_string_equal(buf, "Umbra");
	assert_int_equal(u_str_copy(buf, "1234567", sizeof(buf)), 7);
	assert_string_equal(buf, "1234567");
	/* Cut: terminated, and the length that it would have had is told. */
	assert_int_equal(u_str_copy(buf, "12345678", sizeof(buf)), 8);
	assert_string_equal(buf, "1234567");
	assert_int_equal(u_str_copy(buf, "xyz", 1), 3);
	assert_string_equal(buf, "");
	buf[0] = '!';
	assert_int_equal(u_str_copy(buf, "xyz", 0), 3);
	assert_int_equal(buf[0], '!');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memcpy),   cmocka_unit_test(test_memmove_overlap),
		cmocka_unit_test(test_memset),   cmocka_unit_test(test_memcmp),
		cmocka_unit_test(test_memchr),   cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_compare),  cmocka_unit_test(test_strchr),
		cmocka_unit_test(test_str_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
