/* vmm/monitor/output.c and fold.c: what becomes of a command's text before it is shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/monitor/command.h"
#include "vmm/monitor/fold.h"
#include "vmm/monitor/output.h"
#include "vmm/monitor/pipe.h"

/* --- lines that are too long --- */

static char text[65536];

static const char *folded(const char *input, size_t size)
{
	unsigned missing = 0;
	size_t len = strlen(input);

	strcpy(text, input);
	len = fold_text(text, len, size, &missing);
	assert_true(len <= size);
	text[len] = '\0';
	return missing ? "missing" : text;
}

#define TEN "123456789 "
#define FORTY TEN TEN TEN TEN

static void test_fold(void **state)
{
	(void)state;
	assert_string_equal(folded("", 100), "");
	assert_string_equal(folded("a\n\nb\n", 5), "a\n\nb\n");
	assert_string_equal(folded("a\nb", 3), "a\nb");
	/* 80 characters are a line, blanks at its end are none. */
	assert_string_equal(folded(FORTY FORTY "\n", 81), FORTY FORTY "\n");
	assert_string_equal(folded(FORTY FORTY "   \nb\n", 200),
			    FORTY "123456789 " TEN TEN "123456789 \nb\n");
	assert_string_equal(folded(FORTY TEN TEN TEN "1234567890\n", 81),
			    FORTY TEN TEN TEN "1234567890\n");
	/* One more is too many: it is broken at a blank, and the rest indented. */
	assert_string_equal(folded(FORTY TEN TEN TEN "1234567890x\n", 200),
			    FORTY TEN TEN "123456789\n    1234567890x\n");
	assert_string_equal(folded("  " FORTY FORTY "last", 200),
			    "  " FORTY TEN TEN "123456789\n      123456789 last");
}

static void test_fold_words(void **state)
{
	char word[301], expected[400];

	(void)state;
	memset(word, 'w', 300);
	word[300] = '\0';
	/* No blank: where the line ends. Again and again. */
	snprintf(expected, sizeof(expected), "%.80s\n    %.76s\n    %.76s\n    %.68s", word, word,
		 word, word);
	assert_string_equal(folded(word, 400), expected);
	/* Rows in two parts. */
	assert_string_equal(folded("name\v     1\nother 2\n", 100), "name\n     1\nother 2\n");
}

static void test_fold_room(void **state)
{
	char input[1000] = "";
	unsigned missing = 0;
	size_t len;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		strcat(input, FORTY FORTY "tail\n");
	/* 4 bytes more for each of them: four fit, and each is whole. */
	strcpy(text, input);
	len = fold_text(text, strlen(input), strlen(input) + 4, &missing);
	assert_int_equal(missing, 1);
	assert_int_equal(text[len - 1], '\n');
	assert_int_equal(len, 4 * 89);
	assert_memory_equal(text + len - 10, "\n    tail\n", 10);
	assert_string_equal(folded(input, strlen(input) + 19), "missing");
	assert_int_equal(strlen(folded(input, strlen(input) + 20)), 5 * 89);
}

/* A line that shrinks makes no room for those before it, over which they would go. */
static void test_fold_overtakes(void **state)
{
	char input[512];
	unsigned missing = 0;
	size_t len;

	(void)state;
	memset(input, 'a', 150);
	strcpy(input + 150, "\nb");
	memset(input + 152, ' ', 100);
	strcpy(input + 252, "c\n");
	memset(text, '!', sizeof(text));
	strcpy(text, input);
	len = fold_text(text, 254, 254, &missing);
	assert_int_equal(len, 156);
	assert_int_equal(missing, 1);
	strcpy(text, input);
	missing = 0;
	len = fold_text(text, 254, 254 + 5, &missing);
	assert_int_equal(missing, 0);
	assert_int_equal(text[254 + 5], '!');
	assert_int_equal(len, 156 + 81 + 6);
	assert_memory_equal(text + 154, "a\nb ", 4);
	assert_memory_equal(text + len - 8, " \n    c\n", 8);
}

/* --- through filters, into a buffer --- */

static char buf[1024];
static struct pipeline pipeline;

static void begin(size_t size, const char *filters)
{
	static char line[128];

	snprintf(line, sizeof(line), "x %s", filters);
	assert_null(pipe_parse(line, &pipeline));
	output_begin(buf, size);
	output_filter(&pipeline);
}

static const char *end(void)
{
	size_t len = output_end();

	assert_true(len <= sizeof(buf) - 1);
	buf[len] = '\0';
	return buf;
}

/* n lines, far more than fit: "line 0001". */
static const char *of_many(const char *filters, unsigned n)
{
	begin(sizeof(buf) - 1, filters);
	for (unsigned i = 0; i < n; i++)
		monitor_printf("line %04u\n", i);
	return end();
}

/* A filter sees what does not fit, and what it lets through is all there is. */
static void test_filtered(void **state)
{
	(void)state;
	assert_string_equal(of_many("| grep 8888", 9999), "line 8888\n");
	assert_string_equal(of_many("| tail 2", 9999), "line 9997\nline 9998\n");
	assert_string_equal(of_many("| grep -c 5", 9999), "3439\n");
	assert_string_equal(of_many("| grep -v 9 | tail 3 | head 1", 9999), "line 8886\n");
	assert_string_equal(of_many("| tail 0", 9999), "");
	assert_string_equal(of_many("| tail 50 | grep -c 9", 9999), "50\n");
	assert_string_equal(of_many("| head 1 | grep -c 9", 9999), "0\n");
}

/* What does not fit is said in any case. */
static void test_missing(void **state)
{
	const char *said;

	(void)state;
	said = of_many("", 1000);
	assert_memory_equal(said, "line 0000\nline 0001\n", 20);
	assert_string_equal(strstr(said, "line 0093\n"),
			    "line 0093\n... and 906 lines more, which do not fit\n");
	said = of_many("| grep line", 1000);
	assert_non_null(strstr(said, "... and 906 lines more, which do not fit\n"));
	said = of_many("| grep -v 5 | cat", 300);
	assert_non_null(strstr(said, "line 0113\n... and "));
	/* The last ones, as many as there is room for. */
	said = of_many("| tail 500", 1000);
	assert_null(strstr(said, "line 0499"));
	assert_non_null(strstr(said, "line 0998\nline 0999\n... and "));
	assert_non_null(strstr(said, " lines more, which do not fit\n"));
	said = of_many("| tail 500", 60);
	assert_non_null(strstr(said, "line 0000\n"));
	assert_null(strstr(said, "do not fit"));
}

/* In pieces, and a line whose end never comes. */
static void test_pieces(void **state)
{
	(void)state;
	begin(sizeof(buf) - 1, "| grep ab");
	monitor_printf("a");
	monitor_printf("b\nc\na");
	monitor_printf("a\nxa");
	monitor_printf("%s", "bx");
	assert_string_equal(end(), "ab\nxabx");
	begin(sizeof(buf) - 1, "| grep -c z");
	for (unsigned i = 0; i < 10000; i++)
		monitor_printf("yyyyy");
	monitor_printf("\nz\n");
	assert_string_equal(end(), "1\n");
}

/* However long a line becomes, and in whatever pieces, nothing is lost: as of gdb's, with the names
 * of 64 guests. */
static void test_long_line(void **state)
{
	static const char piece[] = ", 123456789012345678901234567890";
	const unsigned pieces = 64;
	size_t at = 0;
	const char *out;

	(void)state;
	output_begin(text, sizeof(text) - 1);
	for (unsigned i = 0; i < pieces; i++)
		monitor_printf(", %s", piece + 2);
	monitor_printf(" on %s\n", "com2");
	text[output_end()] = '\0';
	out = text;
	/* Folded at blanks: what is not blank is there, in its order. */
	for (unsigned i = 0; i < pieces; i++)
		for (const char *p = piece; *p; p++) {
			if (*p == ' ')
				continue;
			at += strspn(out + at, " \n");
			assert_int_equal(out[at++], *p);
		}
	assert_string_equal(out + at + strspn(out + at, " \n"), "on com2\n");
}

/* A filter takes no complaint away. */
static void test_wrong(void **state)
{
	(void)state;
	begin(sizeof(buf) - 1, "| grep b | tail 1");
	monitor_printf("a\nab\nb\n");
	output_wrong();
	monitor_printf("c is wrong\n");
	monitor_printf("usage: c\n");
	assert_string_equal(end(), "b\nc is wrong\nusage: c\n");
	begin(sizeof(buf) - 1, "| grep -c b");
	output_wrong();
	monitor_printf("b is wrong\n");
	assert_string_equal(end(), "0\nb is wrong\n");
	/* Into the smallest buffer. */
	begin(OUTPUT_NOTE + 20, "| grep b");
	monitor_printf("b 3456789\nb 3456789\nb 3456789\n");
	output_wrong();
	monitor_printf("wrong\n");
	assert_non_null(strstr(end(), "... and 2 lines more"));
}

/* A row whose name is too long for its column is one row for filters, and two lines. */
static void test_name(void **state)
{
	(void)state;
	begin(sizeof(buf) - 1, "| grep running | grep long");
	monitor_printf(" 1 ");
	monitor_name(3, 6, "short");
	monitor_printf(" running\n 2 ");
	monitor_name(3, 6, "long-name");
	monitor_printf(" running\n");
	assert_string_equal(end(), " 2 long-name\n          running\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fold),           cmocka_unit_test(test_fold_words),
		cmocka_unit_test(test_fold_room),      cmocka_unit_test(test_filtered),
		cmocka_unit_test(test_missing),        cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_wrong),          cmocka_unit_test(test_name),
		cmocka_unit_test(test_fold_overtakes), cmocka_unit_test(test_long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
