#include "vmm/console_term.h"

#include <stdbool.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"

#define CAN 0x18
#define SUB 0x1a
#define ESC 0x1b

#define NUMBERS_MAX 32

enum state { TEXT, ESCAPE, SEQUENCE };

/* How a mode is set and taken back: a number of CSI h and l, or words of its own. */
struct mode {
	char mark;       /* '?' before the number, 0: none */
	uint16_t number; /* 0: words of its own */
	bool on;         /* at first */
	bool place;      /* of the screen: not given back */
};

enum { REGION, KEYPAD, FIRST_NUMBER };

/* ECMA-48, 7; VT100's and xterm's of `?`. In the order in which they are taken back. */
static const struct mode modes[] = {
	[REGION] = { .place = true },
	[KEYPAD] = { 0 },
	[FIRST_NUMBER] = { '?', 1049, false, true }, /* the other screen, */
	{ '?', 1047, false, true },                  /* by its older names */
	{ '?', 47, false, true },
	{ '?', 6, false, true },  /* lines count from the region's first */
	{ 0, 4, false, true },    /* insert */
	{ 0, 20, false, false },  /* Enter sends CR LF */
	{ '?', 1, false, false }, /* cursor keys send SS3 */
	{ '?', 5, false, false }, /* black on white */
	{ '?', 7, true, false },  /* lines wrap */
	{ '?', 25, true, false }, /* the cursor is seen */
	{ '?', 9, false, false }, /* the mouse, */
	{ '?', 1000, false, false },
	{ '?', 1002, false, false },
	{ '?', 1003, false, false },
	{ '?', 1004, false, false }, /* the focus, */
	{ '?', 1005, false, false }, /* and how they are told */
	{ '?', 1006, false, false },
	{ '?', 1015, false, false },
	{ '?', 2004, false, false }, /* what is pasted is marked */
};
static_assert(ARRAY_SIZE(modes) <= 64, "a bit each");

/* --- what is said --- */

static void end_number(struct term *t)
{
	for (unsigned i = FIRST_NUMBER; i < ARRAY_SIZE(modes); i++)
		if (modes[i].number == t->number && modes[i].mark == (char)t->mark)
			t->asked |= BIT(i);
	if (t->number && t->numbers < NUMBERS_MAX)
		t->numbers++;
	t->number = 0;
}

static void set_modes(struct term *t, bool on)
{
	for (unsigned i = FIRST_NUMBER; i < ARRAY_SIZE(modes); i++) {
		if (!(t->asked & BIT(i)))
			continue;
		if (on == modes[i].on)
			t->odd &= ~BIT(i);
		else
			t->odd |= BIT(i);
	}
}

/* DECSTR: all but the other screen, the mouse, pasting. */
static void reset_some(struct term *t)
{
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++)
		if (modes[i].number < 30)
			t->odd &= ~BIT(i);
}

static void end_sequence(struct term *t, uint8_t c)
{
	end_number(t);
	if (c == 'h' || c == 'l')
		set_modes(t, c == 'h');
	else if (c == 'r' && !t->mark && t->numbers)
		t->odd |= BIT(REGION);
	else if (c == 'r' && !t->mark)
		t->odd &= ~BIT(REGION);
	else if (c == 'p' && t->mark == '!')
		reset_some(t);
}

static void in_escape(struct term *t, uint8_t c)
{
	t->state = TEXT;
	if (c == '[') {
		t->state = SEQUENCE;
		t->mark = t->numbers = 0;
		t->number = 0;
		t->asked = 0;
	} else if (c == '=') {
		t->odd |= BIT(KEYPAD);
	} else if (c == '>') {
		t->odd &= ~BIT(KEYPAD);
	} else if (c == 'c') { /* RIS */
		t->odd = 0;
	}
}

static void in_sequence(struct term *t, uint8_t c)
{
	if (c >= '0' && c <= '9') {
		t->number = (uint16_t)MIN(t->number * 10u + (c - '0'), 65535u);
	} else if (c == ';') {
		end_number(t);
	} else if (c >= 0x40 && c <= 0x7e) {
		end_sequence(t, c);
		t->state = TEXT;
	} else if (c >= 0x20 && c <= 0x3f) {
		t->mark = c;
	}
}

void term_said(struct term *t, uint8_t c)
{
	if (c == ESC)
		t->state = ESCAPE;
	else if (t->state == TEXT)
		return;
	else if (c == CAN || c == SUB)
		t->state = TEXT;
	else if (t->state == ESCAPE)
		in_escape(t, c);
	else
		in_sequence(t, c);
}

/* --- the terminal --- */

static size_t put_mode(char *text, size_t n, const struct mode *m, bool on)
{
	return n + (size_t)ksnprintf(text + n, TERM_TEXT_MAX - n, "\x1b[%s%u%c", m->mark ? "?" : "",
				     m->number, on ? 'h' : 'l');
}

static size_t put_text(char *text, size_t n, const char *what)
{
	return n + (size_t)ksnprintf(text + n, TERM_TEXT_MAX - n, "%s", what);
}

size_t term_leave(uint64_t odd, char text[TERM_TEXT_MAX])
{
	/* CAN; SGR 0, ASCII, SI. */
	size_t n = put_text(text, 0, "\x18\x1b[0m\x1b(B\x0f");

	for (unsigned i = FIRST_NUMBER; i < ARRAY_SIZE(modes); i++)
		if (odd & BIT(i))
			n = put_mode(text, n, &modes[i], modes[i].on);
	if (odd & BIT(KEYPAD))
		n = put_text(text, n, "\x1b>");
	if (odd & BIT(REGION)) /* which moves the cursor: to the bottom then */
		n = put_text(text, n, "\x1b[r\x1b[999;1H");
	return n;
}

size_t term_return(uint64_t odd, char text[TERM_TEXT_MAX])
{
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = FIRST_NUMBER; i < ARRAY_SIZE(modes); i++)
		if ((odd & BIT(i)) && !modes[i].place)
			n = put_mode(text, n, &modes[i], !modes[i].on);
	if (odd & BIT(KEYPAD))
		n = put_text(text, n, "\x1b=");
	return n;
}
