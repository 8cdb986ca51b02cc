/* vmm/monitor/line.c: keys go in, and a pretended terminal shows what a person would see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "vmm/monitor/line.h"

#define ROWS 200
#define COLUMNS 80
#define UP "\x1b[A"
#define DOWN "\x1b[B"
#define RIGHT "\x1b[C"
#define LEFT "\x1b[D"

/* --- the terminal: 80 columns, and nothing but these control bytes --- */

static char screen[ROWS][COLUMNS + 1];
static unsigned row, column;
static unsigned bells;
static size_t written;

static void clear_screen(void)
{
	memset(screen, 0, sizeof(screen));
	for (unsigned i = 0; i < ROWS; i++)
		memset(screen[i], ' ', COLUMNS);
	row = column = 0;
}

static void terminal(const char *s, size_t n)
{
	written += n;
	for (; n; n--, s++) {
		if (n >= 7 && !memcmp(s, "\x1b[H\x1b[2J", 7)) {
			clear_screen();
			s += 6;
			n -= 6;
		} else if (*s == '\n') {
			column = 0;
			assert_true(++row < ROWS);
		} else if (*s == '\r') {
			column = 0;
		} else if (*s == '\b') {
			assert_true(column > 0);
			column--;
		} else if (*s == 7) {
			bells++;
		} else {
			assert_in_range(*s, ' ', '~');
			/* A byte in the last column may take the cursor to the next line. */
			assert_in_range(column, 0, COLUMNS - 2);
			screen[row][column++] = *s;
		}
	}
}

/* --- words to complete --- */

static const char *const commands[] = { "vm", "vms", "vcpus", "start", "stop", "watch" };
static const char *const names[] = { "deb64", "deb32", "tiny" };

static const char *candidate(const char *before, size_t len, unsigned index)
{
	bool first = true;

	for (size_t i = 0; i < len; i++)
		first &= before[i] == ' ';
	if (first)
		return index < 6 ? commands[index] : NULL;
	return index < 3 ? names[index] : NULL;
}

static const struct line_host host = { terminal, candidate };
static struct line line;

/* --- fixture --- */

static int setup(void **state)
{
	(void)state;
	clear_screen();
	bells = 0;
	written = 0;
	line_init(&line, &host, "> ");
	line_begin(&line);
	return 0;
}

/* How many lines were entered. */
static unsigned type_bytes(const char *keys, size_t n)
{
	unsigned entered = 0;

	for (; n; n--, keys++) {
		if (line_input(&line, (uint8_t)*keys)) {
			entered++;
			if (n > 1)
				line_begin(&line);
		}
	}
	return entered;
}

static unsigned type(const char *keys)
{
	return type_bytes(keys, strlen(keys));
}

/* What stands on the cursor's row, less blanks at its end; and the cursor. */
static void expect_screen(const char *text, unsigned at)
{
	char seen[COLUMNS + 1];
	size_t n = COLUMNS;

	memcpy(seen, screen[row], sizeof(seen));
	while (n && seen[n - 1] == ' ' && n > strlen(text))
		n--;
	seen[n] = '\0';
	assert_string_equal(seen, text);
	assert_int_equal(column, at);
}

static void expect(const char *keys, const char *text)
{
	setup(NULL);
	assert_int_equal(type(keys), 0);
	assert_string_equal(line.text, text);
	type("\x05"); /* to the end, which is a known place */
	if (strlen(text) < 70) {
		char shown[100];

		snprintf(shown, sizeof(shown), "> %s", text);
		expect_screen(shown, (unsigned)strlen(shown));
	}
}

/* --- tests --- */

static void test_typing(void **state)
{
	(void)state;
	expect("vms", "vms");
	expect("vmx\bs", "vms");
	expect("vmx\x7fs", "vms");
	expect("\b\x7f", "");
	assert_int_equal(bells, 2);
}

static void test_moving(void **state)
{
	(void)state;
	expect("ms\x01v", "vms");
	expect("vs\x02m", "vms");
	expect("vs" LEFT "m", "vms");
	expect("vms" LEFT LEFT RIGHT "X", "vmXs");
	expect("vms\x02\x02\x06X", "vmXs");
	expect("ms\x1b[Hv\x1b[F!", "vms!");
	expect("ms\x1bOHv\x1bOF!", "vms!");
	expect("ms\x1b[1~v\x1b[4~!", "vms!");
	expect("ms\x1b[7~v\x1b[8~!", "vms!");
	expect("one two\x1b"
	       "bX",
	       "one Xtwo");
	expect("one two\x1b[1;5D\x1b[1;5DX\x1b[1;5CY", "XoneY two");
	expect("one two\x01\x1b"
	       "fX",
	       "oneX two");
	setup(NULL);
	type("abc\x02\x02");
	expect_screen("> abc", 3);
}

static void test_erasing(void **state)
{
	(void)state;
	expect("vmxs\x02\x02\x04", "vms");
	expect("vmxs\x02\x02\x1b[3~", "vms");
	expect("one two three\x17", "one two ");
	expect("one two\x15three", "three");
	expect("one two\x01\x06\x06\x06\x0b", "one");
	expect("one two\x17\x01\x19", "twoone ");
	expect("one two\x1b\x7f", "one ");
	expect("one two\x01\x1b"
	       "d",
	       " two");
	expect("ab\x15\x19\x19", "abab");
	/* Nothing to erase: the bell, and what was killed stays. */
	expect("ab\x15\x15\x19", "ab");
	assert_true(bells > 0);
}

static void test_enter(void **state)
{
	(void)state;
	assert_int_equal(type("vms\r"), 1);
	assert_string_equal(line.text, "vms");
	assert_int_equal(row, 1);
	assert_int_equal(column, 0);
	setup(NULL);
	assert_int_equal(type("vms\n"), 1);
	setup(NULL);
	/* In the middle of the line: all of it, and the cursor leaves it untorn. */
	assert_int_equal(type("vms\x02\x02\r"), 1);
	assert_string_equal(line.text, "vms");
	assert_memory_equal(screen[0], "> vms ", 6);
	setup(NULL);
	assert_int_equal(type("\r"), 1);
	assert_string_equal(line.text, "");
}

static void test_ctrl_c(void **state)
{
	(void)state;
	assert_int_equal(type("some thing\x02\x02\x03vms"), 0);
	assert_string_equal(line.text, "vms");
	assert_memory_equal(screen[0], "> some thing^C ", 15);
	expect_screen("> vms", 5);
}

static void test_history(void **state)
{
	(void)state;
	type("one\rtwo\rthree\r");
	line_begin(&line);
	type(UP);
	expect_screen("> three", 7);
	type("\x10\x10");
	expect_screen("> one", 5);
	bells = 0;
	type(UP);
	assert_int_equal(bells, 1);
	expect_screen("> one", 5);
	type(DOWN "\x0e");
	expect_screen("> three", 7);
	/* What was being typed comes back. */
	setup(NULL);
	type("one\rtw" UP);
	expect_screen("> one", 5);
	type(DOWN);
	expect_screen("> tw", 4);
	/* An old line that is changed becomes a new one, and the old one stays. */
	setup(NULL);
	type("one\r" UP "!\r" UP UP);
	expect_screen("> one", 5);
}

static void test_history_same_and_blank(void **state)
{
	(void)state;
	type("one\rtwo\rtwo\r\r   \r" UP UP);
	expect_screen("> one", 5);
}

static void test_history_depth(void **state)
{
	char text[16];

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "n%u\r", i);
		clear_screen();
		line_begin(&line);
		type(text);
	}
	line_begin(&line);
	for (unsigned i = 0; i < LINE_HISTORY; i++)
		type(UP);
	assert_string_equal(line.text, "n136");
	type(UP);
	assert_string_equal(line.text, "n136");
}

static void test_completion(void **state)
{
	(void)state;
	expect("w\t", "watch ");
	expect("vm\tx", "vmx"); /* several: the list */
	expect("s\t\t", "st");
	expect("sta\tt\t", "start tiny ");
	expect("start d\t", "start deb");
	expect("start deb6\t", "start deb64 ");
	/* In the middle of a line no blank is added. */
	expect("start x\x02t\t", "start tinyx");
	bells = 0;
	type_bytes("zz\t", 3);
	assert_int_equal(bells, 1);
}

static void test_completion_list(void **state)
{
	(void)state;
	type("start deb\t");
	assert_memory_equal(screen[0], "> start deb ", 12);
	assert_memory_equal(screen[1], "deb64  deb32  ", 14);
	expect_screen("> start deb", 11);
	assert_int_equal(row, 2);
	/* From the middle of the line, too. */
	setup(NULL);
	type("start deb tail\x02\x02\x02\x02\x02\t");
	assert_memory_equal(screen[0], "> start deb tail ", 17);
	expect_screen("> start deb tail", 11);
}

static void test_escape_noise(void **state)
{
	(void)state;
	expect("a\x1b[200~b\x1b[201~c", "abc");
	expect("a\x1b[[Ab", "ab"); /* F1 of the Linux console */
	expect("a\x1b[15~b", "ab");
	expect("a\x1bOPb", "ab");
	expect("a\x1b[1;2;3;4;5;6Zb", "ab");
	expect("a\x1b\x1b[Db", "ba");
	expect("\x80\xff\xc3\xa4vms\xe2\x82\xac", "vms");
	expect("a\x1b\xff"
	       "b",
	       "ab"); /* what is cut off takes no key with it */
	expect("a\x01"
	       "b\x16\x1c\x1d\x1e\x1f\x13\x11",
	       "ba");
	setup(NULL);
	type_bytes("v\0ms\0", 5);
	assert_string_equal(line.text, "vms");
	/* A sequence that has no end does not swallow Enter. */
	setup(NULL);
	assert_int_equal(type("vms\x1b[12;\r"), 1);
	assert_string_equal(line.text, "vms");
	setup(NULL);
	type("\x1b[1111111111111111111111111111111111x");
	assert_true(line.escape == ESCAPE_NONE);
}

/* A line longer than the screen scrolls sideways. */
static void test_long_line(void **state)
{
	char text[LINE_TEXT_MAX + 1] = "";

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		char c[2] = { (char)('a' + i % 26), 0 };

		strcat(text, c);
		type(c);
		assert_int_equal(row, 0);
	}
	assert_string_equal(line.text, text);
	assert_int_equal(screen[0][2], '<');
	assert_int_equal(screen[0][column - 1], text[199]);
	type("\x01");
	assert_int_equal(column, 2);
	assert_memory_equal(screen[0] + 2, text, 76);
	assert_int_equal(screen[0][78], '>');
	for (unsigned i = 0; i < 100; i++)
		type("\x06");
	assert_int_equal(screen[0][column], text[100]);
	assert_int_equal(screen[0][2], '<');
	assert_int_equal(screen[0][78], '>');
	type("\x0b");
	assert_int_equal(strlen(line.text), 100);
	type("\x15vms");
	expect_screen("> vms", 5);
}

static void test_full_line(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LINE_TEXT_MAX; i++)
		type("x");
	assert_int_equal(bells, 0);
	type("y");
	assert_int_equal(bells, 1);
	assert_int_equal(line.len, LINE_TEXT_MAX);
	assert_null(strchr(line.text, 'y'));
	type("\x15\x19\x19"); /* twice is too much: the first only */
	assert_int_equal(line.len, LINE_TEXT_MAX);
	assert_int_equal(type("\r"), 1);
}

static void test_redraw(void **state)
{
	(void)state;
	type("vms\x02");
	terminal("\nsomething else\n", 16);
	line_show(&line);
	expect_screen("> vms", 4);
	type("X\x0c");
	assert_int_equal(row, 0);
	expect_screen("> vmXs", 5);
}

/* A byte typed at the end costs a byte on the line. */
static void test_cheap(void **state)
{
	(void)state;
	written = 0;
	type("v");
	assert_int_equal(written, 1);
}

/* Any bytes at all: the screen is what the line says, and the editor stays whole. */
static void test_random(void **state)
{
	static const char *const favourites[] = { "\x1b[", ";",      "5",    "A",     "D",
						  "\t",    "\x17",   "\b",   "word ", "\x10",
						  "\x19",  "start ", "\x01", "~" };
	uint64_t seed = 0x5eed;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t r = fake_random64(&seed);
		char byte = (char)(r >> 8);

		if (row > ROWS / 2) {
			clear_screen();
			line_show(&line);
		}
		if (r % 3)
			type(favourites[(r >> 16) % 14]);
		else if (type_bytes(&byte, 1))
			line_begin(&line);
		assert_int_equal(strlen(line.text), line.len);
		assert_true(line.cursor <= line.len);
		assert_int_equal(column, 2 + line.cursor - line.left);
		assert_memory_equal(screen[row], "> ", 2);
		if (line.len <= 76)
			assert_memory_equal(screen[row] + 2, line.text, line.len);
		for (size_t k = 2 + line.len; k < COLUMNS; k++)
			assert_int_equal(screen[row][k], ' ');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_typing, setup),
		cmocka_unit_test_setup(test_moving, setup),
		cmocka_unit_test_setup(test_erasing, setup),
		cmocka_unit_test_setup(test_enter, setup),
		cmocka_unit_test_setup(test_ctrl_c, setup),
		cmocka_unit_test_setup(test_history, setup),
		cmocka_unit_test_setup(test_history_same_and_blank, setup),
		cmocka_unit_test_setup(test_history_depth, setup),
		cmocka_unit_test_setup(test_completion, setup),
		cmocka_unit_test_setup(test_completion_list, setup),
		cmocka_unit_test_setup(test_escape_noise, setup),
		cmocka_unit_test_setup(test_long_line, setup),
		cmocka_unit_test_setup(test_full_line, setup),
		cmocka_unit_test_setup(test_redraw, setup),
		cmocka_unit_test_setup(test_cheap, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
