#include "vmm/monitor/pager.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/monitor/text.h"

#define CTRL(letter) ((letter)&0x1f)
#define DEL 0x7f
#define PAGE_ROWS (PAGER_ROWS - 1) /* the last row is the prompt's */

/* Rows of the screen that a line of n bytes takes. */
static size_t line_rows(const struct pager *p, size_t at, size_t n)
{
	if (n && p->text[at + n - 1] == '\n')
		n--;
	return n ? (n + PAGER_COLUMNS - 1) / PAGER_COLUMNS : 1;
}

/* Where the text is after the lines that fit in so many rows, but after one at least. */
static size_t after_rows(const struct pager *p, size_t at, size_t rows)
{
	size_t used = 0, start = at;

	while (at < p->len) {
		size_t n = text_line(p->text, at, p->len);

		used += line_rows(p, at, n);
		if (used > rows && at > start)
			break;
		at += n;
	}
	return at;
}

/* Where the line before the one at `at` begins. */
static size_t line_before(const struct pager *p, size_t at)
{
	if (at)
		at--;
	while (at && p->text[at - 1] != '\n')
		at--;
	return at;
}

/* Where the page begins that ends before `at`. */
static size_t before_rows(const struct pager *p, size_t at, size_t rows)
{
	size_t used = 0;

	while (at) {
		size_t start = line_before(p, at);

		used += line_rows(p, start, at - start);
		if (used > rows)
			break;
		at = start;
	}
	return at;
}

static void prompt_put(struct pager *p, const char *s, size_t n)
{
	p->write(s, n);
	p->prompt += n;
}

static void prompt_clear(struct pager *p)
{
	static const char blanks[PAGER_COLUMNS + 1] = "                                        "
						      "                                        ";

	p->write("\r", 1);
	p->write(blanks, MIN(p->prompt, (size_t)PAGER_COLUMNS));
	p->write("\r", 1);
	p->prompt = 0;
}

/* Show text up to `to`; false: that was all. */
static bool show_to(struct pager *p, size_t to)
{
	char text[64];
	int n;

	p->write(p->text + p->at, to - p->at);
	p->at = to;
	if (to == p->len) {
		if (to && p->text[to - 1] != '\n')
			p->write("\n", 1);
		return false;
	}
	n = ksnprintf(text, sizeof(text), "--more-- %u%%", (unsigned)(to * 100 / p->len));
	prompt_put(p, text, (size_t)n);
	return true;
}

bool pager_begin(struct pager *p, void (*write)(const char *s, size_t n), const char *text,
		 size_t len)
{
	size_t screen;

	memset(p, 0, sizeof(*p));
	p->write = write;
	p->text = text;
	p->len = len;
	screen = after_rows(p, 0, PAGER_ROWS);
	return show_to(p, screen == len ? len : after_rows(p, 0, PAGE_ROWS));
}

void pager_show(struct pager *p)
{
	p->prompt = 0;
	p->reads_word = false;
	p->at = before_rows(p, p->at, PAGE_ROWS);
	show_to(p, after_rows(p, p->at, PAGE_ROWS));
}

/* --- looking for a word --- */

static bool word_at(const struct pager *p, size_t at)
{
	return text_has_at(p->text, at, p->len, p->word, true);
}

/* Go to the page whose first line has the word, if there is one behind the last line shown. */
static bool find_word(struct pager *p)
{
	static const char none[] = "not found";
	size_t at = p->at;

	while (at < p->len && !word_at(p, at))
		at++;
	if (!p->word[0] || at == p->len) {
		prompt_put(p, none, sizeof(none) - 1);
		return true;
	}
	while (at > p->at && p->text[at - 1] != '\n')
		at--;
	if (at > p->at)
		p->write("...\n", 4);
	p->at = at;
	return show_to(p, after_rows(p, at, PAGE_ROWS - 1));
}

static bool word_input(struct pager *p, uint8_t c)
{
	if (c == '\r' || c == '\n') {
		if (p->word_len)
			p->word[p->word_len] = '\0';
		p->reads_word = false;
		prompt_clear(p);
		return find_word(p);
	}
	if (c == CTRL('C') || ((c == CTRL('H') || c == DEL) && !p->word_len)) {
		p->reads_word = false;
		prompt_clear(p);
		return show_to(p, p->at);
	}
	if (c == CTRL('H') || c == DEL) {
		p->word_len--;
		p->write("\b \b", 3);
	} else if (c >= ' ' && c < DEL && p->word_len < PAGER_WORD_MAX) {
		p->word[p->word_len++] = (char)c;
		prompt_put(p, (const char *)&c, 1);
	}
	return true;
}

/* --- keys --- */

bool pager_input(struct pager *p, uint8_t c)
{
	if (p->reads_word)
		return word_input(p, c);
	switch (c) {
	case ' ':
	case 'f':
		prompt_clear(p);
		return show_to(p, after_rows(p, p->at, PAGE_ROWS));
	case '\r':
	case '\n':
	case 'j':
		prompt_clear(p);
		return show_to(p, p->at + text_line(p->text, p->at, p->len));
	case 'b':
		prompt_clear(p);
		p->at = before_rows(p, p->at, (size_t)2 * PAGE_ROWS);
		return show_to(p, after_rows(p, p->at, PAGE_ROWS));
	case '/':
		prompt_clear(p);
		prompt_put(p, "/", 1);
		p->reads_word = true;
		p->word_len = 0;
		return true;
	case 'n':
		prompt_clear(p);
		return find_word(p);
	case 'q':
	case 'Q':
	case CTRL('C'):
		prompt_clear(p);
		return false;
	case 'h':
	case '?':
		prompt_clear(p);
		prompt_put(p, "Space: page, Enter: line, b: back, /WORD, n: next, q: end", 57);
		return true;
	}
	return true;
}
