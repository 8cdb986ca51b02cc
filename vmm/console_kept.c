#include "vmm/console_kept.h"

#define SCREEN_LINES 24
#define SCREEN_BYTES 2048
#define LINE_SEARCH 1024 /* how far a line's beginning is looked for */
#define SEQUENCE_MAX 64  /* what is longer is no control sequence */

#define BEL 0x07
#define ENQ 0x05
#define SO 0x0e
#define ESC 0x1b
#define DEL 0x7f
#define UTF8_C1 0xc2 /* before 0x80 to 0x9f: a control character, ECMA-48's CSI among them */

static uint8_t at(const struct kept *k, uint64_t pos)
{
	return k->buf[pos % KEPT_BYTES];
}

void kept_put(struct kept *k, uint8_t c)
{
	k->buf[k->end++ % KEPT_BYTES] = c;
	if (c == '\n')
		k->line_end = k->end;
	k->escapes |= c == ESC || c == SO;
	term_said(&k->term, c);
}

static uint64_t oldest(const struct kept *k)
{
	return k->end > KEPT_BYTES ? k->end - KEPT_BYTES : 0;
}

/* The line's beginning nearest before pos, or pos when that is too far. */
static uint64_t line_before(const struct kept *k, uint64_t pos)
{
	for (uint64_t p = pos; pos - p <= LINE_SEARCH; p--)
		if (!p || (p > oldest(k) && at(k, p - 1) == '\n'))
			return p;
		else if (p == oldest(k))
			break;
	return pos;
}

/* The line's beginning nearest behind pos, or pos when that is too far. */
static uint64_t line_behind(const struct kept *k, uint64_t pos)
{
	if (!pos)
		return pos;
	for (uint64_t p = pos; p < k->end && p - pos < LINE_SEARCH; p++)
		if (at(k, p) == '\n')
			return p + 1;
	return pos;
}

/* Where the last lines begin that fit on a screen. */
static uint64_t last_screen(const struct kept *k)
{
	uint64_t pos = k->end, first = k->end;
	unsigned lines = 0;

	while (pos > oldest(k) && k->end - pos < SCREEN_BYTES) {
		pos--;
		if (at(k, pos) == '\n' && pos + 1 != k->end) {
			first = pos + 1;
			if (++lines == SCREEN_LINES - 1)
				break;
		}
	}
	return pos ? first : 0;
}

uint64_t kept_replay(struct kept *k)
{
	uint64_t gone = k->shown < oldest(k) ? oldest(k) - k->shown : 0, screen = last_screen(k);

	if (gone)
		k->shown = line_behind(k, oldest(k));
	else
		k->shown = line_before(k, k->shown);
	if (screen < k->shown)
		k->shown = screen;
	k->replay_end = k->end;
	return gone;
}

void kept_pass_over(struct kept *k, size_t last)
{
	if (kept_unseen(k) > last)
		k->shown = line_behind(k, k->end - last);
}

static bool is_final(uint8_t c)
{
	return c >= 0x40 && c <= 0x7e;
}

/* Is the sequence at pos, whose final byte is n bytes on, one of those that terminals answer to?
 * Reports of the status, the device, a mode, the window, the keyboard; xterm's and ECMA-48's. */
static bool asks(const struct kept *k, uint64_t pos, unsigned n)
{
	uint8_t first = at(k, pos + 2), last = at(k, pos + n - 1);

	switch (at(k, pos + n)) {
	case 'n':
	case 'c':
	case 't':
	case 'x':
		return true;
	case 'p':
		return last == '$';
	case 'q':
		return first == '>';
	case 'u':
		return first == '?';
	default:
		return false;
	}
}

/*
 * The length of the control sequence at pos (ECMA-48), 0: its end is not there yet. *question: a
 * terminal answers to it, or might.
 */
static unsigned sequence(const struct kept *k, uint64_t pos, bool *question)
{
	uint8_t kind = pos + 1 < k->end ? at(k, pos + 1) : 0;
	bool string = kind == ']' || kind == 'P' || kind == '_' || kind == '^' || kind == 'X';

	*question = string || kind == 'Z';
	if (!kind)
		return 0;
	if (kind != '[' && !string)
		return kind >= 0x20 && kind <= 0x2f ? (pos + 2 < k->end ? 3 : 0) : 2;
	for (unsigned n = 2; pos + n < k->end && n < SEQUENCE_MAX; n++) {
		uint8_t c = at(k, pos + n);

		if (!string && is_final(c)) {
			*question = asks(k, pos, n);
			return n + 1;
		}
		if (string && (c == BEL || (c == '\\' && at(k, pos + n - 1) == ESC)))
			return n + 1;
	}
	return k->end - pos >= SEQUENCE_MAX ? 1 : 0; /* none, whatever it is */
}

/* Does what stands before make a byte from 0x80 to 0x9f a part of a UTF-8 character? */
static bool is_continued(const struct kept *k, uint64_t pos)
{
	for (unsigned n = 1; n <= 3 && pos >= oldest(k) + n; n++) {
		uint8_t c = at(k, pos - n);

		if (c < 0x80 || c > 0x9f)
			return c > 0x9f && c != UTF8_C1;
	}
	return false;
}

/* With nothing that moves the cursor back: the name before the line is not the speaker's. */
static bool is_plain(const struct kept *k, uint64_t pos)
{
	uint8_t c = at(k, pos);

	if (c >= 0x80 && c <= 0x9f)
		return is_continued(k, pos);
	return c == '\n' || c == '\r' || c == '\t' || (c >= ' ' && c != DEL);
}

int kept_next(struct kept *k, bool plain)
{
	if (k->shown < oldest(k))
		k->shown = line_behind(k, oldest(k));
	while (k->shown < k->end) {
		uint8_t c = at(k, k->shown);
		bool late = k->shown < k->replay_end, question = false;
		unsigned n = 1;

		if (c == ESC && (plain || late))
			n = sequence(k, k->shown, &question);
		if (!n && plain)
			return -1;
		if (plain ? is_plain(k, k->shown) : !late || !(question || c == ENQ))
			return c;
		k->shown += n ? n : 1;
	}
	return -1;
}
