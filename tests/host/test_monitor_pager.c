/* vmm/monitor/pager.c and pipe.c: long output by the screen, and what it goes through before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/monitor/pager.h"
#include "vmm/monitor/pipe.h"
#include "vmm/monitor/text.h"

static char out[65536];
static size_t nr_out;
static char text[65536];
static struct pager pager;

static void put(const char *s, size_t n)
{
	assert_true(nr_out + n < sizeof(out));
	memcpy(out + nr_out, s, n);
	nr_out += n;
	out[nr_out] = '\0';
}

/* Lines "line 1" to "line N". */
static void make_text(unsigned lines)
{
	text[0] = '\0';
	for (unsigned i = 1; i <= lines; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "line %u\n", i);
}

static bool begin(void)
{
	nr_out = 0;
	out[0] = '\0';
	return pager_begin(&pager, put, text, strlen(text));
}

/* A key, and only what it has shown. */
static bool key(char c)
{
	nr_out = 0;
	out[0] = '\0';
	return pager_input(&pager, (uint8_t)c);
}

static unsigned count(const char *word)
{
	unsigned n = 0;

	for (const char *p = out; (p = strstr(p, word)); p++)
		n++;
	return n;
}

/* The lines shown are from..to, and these alone. */
static void expect_lines(unsigned from, unsigned to)
{
	char word[32];

	for (unsigned i = from; i <= to; i++) {
		snprintf(word, sizeof(word), "line %u\n", i);
		if (!strstr(out, word))
			fail_msg("expected %s seen %s", word, out);
	}
	assert_int_equal(count("line "), to + 1 - from);
}

/* --- the pager --- */

static void test_short(void **state)
{
	(void)state;
	make_text(24);
	assert_false(begin());
	assert_string_equal(out, text);
	text[0] = '\0';
	assert_false(begin());
	assert_string_equal(out, "");
	strcpy(text, "no newline");
	assert_false(begin());
	assert_string_equal(out, "no newline\n");
}

static void test_pages(void **state)
{
	(void)state;
	make_text(60);
	assert_true(begin());
	expect_lines(1, 23);
	assert_non_null(strstr(out, "--more-- 3"));
	assert_true(key(' '));
	expect_lines(24, 46);
	assert_int_equal(out[0], '\r'); /* the prompt goes first */
	assert_false(key(' '));
	expect_lines(47, 60);
	assert_null(strstr(out, "--more--"));
	assert_int_equal(out[nr_out - 1], '\n');
}

static void test_lines(void **state)
{
	(void)state;
	make_text(26);
	assert_true(begin());
	assert_true(key('\r'));
	expect_lines(24, 24);
	assert_true(key('\n'));
	expect_lines(25, 25);
	assert_false(key('j'));
	expect_lines(26, 26);
}

static void test_quit(void **state)
{
	static const char keys[] = { 'q', 'Q', 3 };

	(void)state;
	make_text(60);
	for (unsigned i = 0; i < sizeof(keys); i++) {
		assert_true(begin());
		assert_false(key(keys[i]));
		expect_lines(1, 0);
		assert_int_equal(out[nr_out - 1], '\r');
	}
}

static void test_back(void **state)
{
	(void)state;
	make_text(100);
	begin();
	key(' ');
	key(' ');
	assert_true(key('b'));
	expect_lines(24, 46);
	assert_true(key('b'));
	expect_lines(1, 23);
	assert_true(key('b'));
	expect_lines(1, 23);
	assert_true(key(' '));
	expect_lines(24, 46);
}

/* Lines that are wider than the screen take more of its rows. */
static void test_wide(void **state)
{
	(void)state;
	text[0] = '\0';
	for (unsigned i = 0; i < 20; i++) {
		memset(text + strlen(text) + 100, 0, 1);
		memset(text + strlen(text), 'x', 100);
		strcat(text, "\n");
	}
	assert_true(begin());
	assert_int_equal(count("x\n"), 11); /* of two rows each */
	/* One that is as long as many screens comes as a whole. */
	memset(text, 'y', 10000);
	strcpy(text + 10000, "\nline 2\n");
	assert_true(begin());
	assert_int_equal(count("y"), 10000);
	assert_false(key(' '));
	expect_lines(2, 2);
}

static void test_word(void **state)
{
	(void)state;
	make_text(200);
	begin();
	for (const char *p = "/LINE 15x\b0"; *p; p++)
		assert_true(key(*p));
	assert_true(key('\r'));
	expect_lines(150, 171);
	assert_true(key('n'));
	assert_non_null(strstr(out, "not found"));
	assert_true(key('/'));
	assert_true(key('9'));
	assert_true(key(3));
	assert_non_null(strstr(out, "--more--"));
	assert_true(key('/'));
	assert_true(key('\b')); /* more than was typed: no word after all */
	assert_non_null(strstr(out, "--more--"));
	assert_true(key(' '));
	expect_lines(172, 194);
	/* A word of any length, and keys that are none. */
	key('/');
	for (unsigned i = 0; i < 300; i++)
		assert_true(key('z'));
	assert_true(key('\n'));
	assert_true(key((char)0xff));
	assert_true(key('x'));
	assert_true(key('?'));
	assert_false(key('q'));
}

static void test_show_again(void **state)
{
	(void)state;
	make_text(100);
	begin();
	key(' ');
	nr_out = 0;
	pager_show(&pager);
	expect_lines(24, 46);
	assert_non_null(strstr(out, "--more--"));
}

/* --- pipes --- */

static char line[256];
static struct pipeline pipeline;

static const char *parse(const char *s)
{
	strcpy(line, s);
	return pipe_parse(line, &pipeline);
}

static const char *through(const char *s, const char *input)
{
	size_t len = strlen(input), n, kept = 0;

	assert_null(parse(s));
	pipe_begin(&pipeline);
	for (size_t at = 0; at < len; at += n) {
		n = text_line(input, at, len);
		if (!pipe_take(&pipeline, input + at, n))
			continue;
		memcpy(text + kept, input + at, n);
		kept += n;
	}
	text[pipe_end(&pipeline, text, kept, sizeof(text))] = '\0';
	return text;
}

static void test_grep(void **state)
{
	static const char input[] = "alpha 1\nBeta 2\nalphabet 3\n\nno end";

	(void)state;
	assert_string_equal(through("x | grep alpha", input), "alpha 1\nalphabet 3\n");
	assert_string_equal(line, "x ");
	assert_string_equal(through("x | grep -v alpha", input), "Beta 2\n\nno end");
	assert_string_equal(through("x|grep -i ALPHA|grep 3", input), "alphabet 3\n");
	assert_string_equal(through("x | grep -iv \"beta 2\"", input),
			    "alpha 1\nalphabet 3\n\nno end");
	assert_string_equal(through("x | grep -c alpha", input), "2\n");
	assert_string_equal(through("x | grep no end", input), "no end");
	assert_string_equal(through("x | grep \"a 2\"", input), "Beta 2\n");
	assert_string_equal(through("x | grep \"|\"", "a|b\nab\n"), "a|b\n");
	assert_string_equal(through("x | grep nothing", input), "");
	assert_string_equal(through("x | grep -v -c nothing", ""), "0\n");
}

static void test_head_tail(void **state)
{
	(void)state;
	make_text(20);
	assert_string_equal(through("x | head 2", "1\n2\n3\n"), "1\n2\n");
	assert_string_equal(through("x | tail 2", "1\n2\n3\n"), "2\n3\n");
	assert_string_equal(through("x | tail 2", "1\n2\n3"), "2\n3");
	assert_string_equal(through("x | tail 20", "1\n2\n"), "1\n2\n");
	assert_string_equal(through("x | head 0", "1\n2\n"), "");
	assert_string_equal(through("x | head", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n"),
			    "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
	assert_string_equal(through("x | grep 1 | tail 1 | cat", "1\n2\n11\n3\n"), "11\n");
	assert_string_equal(through("x | tail 3 | grep -v 1 | head 1", "1\n2\n11\n3\n"), "2\n");
	assert_string_equal(through("x | grep -c 1 | grep -v 2", "1\n2\n11\n3\n"), "");
	assert_string_equal(through("x | tail 3 | grep -c 1 | cat", "1\n2\n11\n3\n"), "1\n");
	assert_string_equal(through("x | grep 1 | tail 1 | cat", "1\n2\n11\n3\n"), "11\n");
	assert_true(pipe_has(&pipeline, PIPE_CAT));
	assert_false(pipe_has(&pipeline, PIPE_MORE));
}

static void test_wrong_pipes(void **state)
{
	static const char *const wrong[] = {
		"x |",
		"x | | cat",
		"x | sort",
		"x | grep",
		"x | grep -v",
		"x | grep -q a",
		"x | grep \"\"",
		"x | head y",
		"x | tail -1",
		"x | head 0x",
		"x | grepp alpha",
		"x | grep a |",
		"x|cat|cat|cat|cat|cat|cat|cat|cat|cat",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (!parse(wrong[i]))
			fail_msg("expected \"%s\" to be refused", wrong[i]);
	assert_null(parse("x"));
	assert_int_equal(pipeline.nr, 0);
	assert_null(parse("x | more"));
	assert_null(parse("start a -- \"b|c\""));
	assert_int_equal(pipeline.nr, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short),       cmocka_unit_test(test_pages),
		cmocka_unit_test(test_lines),       cmocka_unit_test(test_quit),
		cmocka_unit_test(test_back),        cmocka_unit_test(test_wide),
		cmocka_unit_test(test_word),        cmocka_unit_test(test_show_again),
		cmocka_unit_test(test_grep),        cmocka_unit_test(test_head_tail),
		cmocka_unit_test(test_wrong_pipes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
