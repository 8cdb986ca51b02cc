#include "vmm/monitor/line.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"

#define CTRL(letter) ((letter)&0x1f)
#define BELL 0x07
#define ESC 0x1b
#define DEL 0x7f
#define ESCAPE_MAX 16 /* bytes of a sequence; a longer one is noise */

/* --- the screen --- */

static void put(struct line *l, const char *s, size_t n)
{
	if (n)
		l->host->write(s, n);
}

static void bell(struct line *l)
{
	put(l, (const char[]){ BELL }, 1);
}

/* Columns behind the prompt. The last one of the screen stays free: a byte there may, or may not,
 * take the terminal to the next line. */
static size_t window(const struct line *l)
{
	return LINE_COLUMNS - 1 - strlen(l->prompt);
}

/* What is to stand behind the prompt; returns its length. < and > mark what lies beyond. */
static size_t compose(struct line *l, char *want)
{
	size_t w = window(l), n;

	if (l->len <= w)
		l->left = 0;
	else if (l->cursor < l->left + 1 || l->cursor > l->left + w - 1)
		l->left = l->cursor > w / 2 ? l->cursor - w / 2 : 0;
	if (l->len > w && l->left > l->len + 1 - w)
		l->left = l->len + 1 - w;
	n = MIN(l->len - l->left, w);
	memcpy(want, l->text + l->left, n);
	if (l->left)
		want[0] = '<';
	if (l->len - l->left > w)
		want[w - 1] = '>';
	return n;
}

static void move_to(struct line *l, size_t column)
{
	while (l->column > column) {
		put(l, "\b", 1);
		l->column--;
	}
	put(l, l->shown + l->column, column - l->column);
	l->column = column;
}

/* Change on the screen what is not as it should be. */
static void update(struct line *l)
{
	char want[LINE_COLUMNS];
	size_t n = compose(l, want), from = 0, to;

	memset(want + n, ' ', sizeof(want) - n);
	to = MAX(n, l->shown_len);
	while (from < to && want[from] == l->shown[from])
		from++;
	while (to > from && want[to - 1] == l->shown[to - 1])
		to--;
	if (from < to) {
		move_to(l, from);
		put(l, want + from, to - from);
		l->column = to;
	}
	memcpy(l->shown, want, sizeof(want));
	l->shown_len = n;
	move_to(l, l->cursor - l->left);
}

void line_show(struct line *l)
{
	put(l, l->prompt, strlen(l->prompt));
	memset(l->shown, ' ', sizeof(l->shown));
	l->shown_len = l->column = 0;
	update(l);
}

static void clear_screen(struct line *l)
{
	put(l, "\x1b[H\x1b[2J", 7);
	line_show(l);
}

/* --- the text --- */

static void set_text(struct line *l, const char *text)
{
	l->len = MIN(str_copy(l->text, text, sizeof(l->text)), (size_t)LINE_TEXT_MAX);
	l->cursor = l->len;
}

static void insert(struct line *l, const char *s, size_t n)
{
	if (n > LINE_TEXT_MAX - l->len) {
		bell(l);
		return;
	}
	memmove(l->text + l->cursor + n, l->text + l->cursor, l->len - l->cursor + 1);
	memcpy(l->text + l->cursor, s, n);
	l->len += n;
	l->cursor += n;
}

/* Take [from, to) out; the cursor goes there. */
static void erase(struct line *l, size_t from, size_t to)
{
	if (from == to)
		bell(l);
	memmove(l->text + from, l->text + to, l->len - to + 1);
	l->len -= to - from;
	l->cursor = from;
}

static void kill(struct line *l, size_t from, size_t to)
{
	if (to > from) {
		memcpy(l->killed, l->text + from, to - from);
		l->killed[to - from] = '\0';
	}
	erase(l, from, to);
}

static void step(struct line *l, bool right)
{
	if (right ? l->cursor == l->len : !l->cursor)
		bell(l);
	else
		l->cursor += right ? 1 : (size_t)-1;
}

static bool is_word(char c, bool blanks_only)
{
	if (blanks_only)
		return c != ' ';
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t word_left(const struct line *l, bool blanks_only)
{
	size_t at = l->cursor;

	while (at && !is_word(l->text[at - 1], blanks_only))
		at--;
	while (at && is_word(l->text[at - 1], blanks_only))
		at--;
	return at;
}

static size_t word_right(const struct line *l)
{
	size_t at = l->cursor;

	while (at < l->len && !is_word(l->text[at], false))
		at++;
	while (at < l->len && is_word(l->text[at], false))
		at++;
	return at;
}

/* --- history --- */

static char *past(struct line *l, unsigned back)
{
	return l->past[(l->nr_past - back) % LINE_HISTORY];
}

static void remember(struct line *l)
{
	const char *word = l->text;

	while (*word == ' ')
		word++;
	if (!*word || (l->nr_past && !strcmp(past(l, 1), l->text)))
		return;
	memcpy(l->past[l->nr_past % LINE_HISTORY], l->text, l->len + 1);
	l->nr_past++;
}

static void go_back(struct line *l, bool older)
{
	if (older ? l->back == MIN(l->nr_past, (unsigned)LINE_HISTORY) : !l->back) {
		bell(l);
		return;
	}
	if (!l->back)
		memcpy(l->saved, l->text, l->len + 1);
	l->back += older ? 1 : -1u;
	set_text(l, l->back ? past(l, l->back) : l->saved);
}

/* --- completion --- */

struct matches {
	unsigned nr;
	const char *first;
	size_t common; /* so many bytes begin all of them */
	size_t widest;
};

/* The next candidate from *index on that begins as the word before the cursor does. */
static const char *next_match(const struct line *l, size_t start, unsigned *index)
{
	const char *word;

	while ((word = l->host->candidate(l->text, start, (*index)++)))
		if (!strncmp(word, l->text + start, l->cursor - start))
			return word;
	return NULL;
}

static struct matches find_matches(const struct line *l, size_t start)
{
	struct matches m = { 0 };
	unsigned index = 0;
	const char *word;

	while ((word = next_match(l, start, &index))) {
		size_t n = 0;

		if (!m.nr++) {
			m.first = word;
			m.common = strlen(word);
		}
		while (n < m.common && word[n] == m.first[n])
			n++;
		m.common = n;
		m.widest = MAX(m.widest, strlen(word));
	}
	return m;
}

static void list_matches(struct line *l, size_t start, size_t widest)
{
	static const char blanks[LINE_COLUMNS + 1] = "                                        "
						     "                                        ";
	size_t column = 0;
	unsigned index = 0;
	const char *word;

	move_to(l, l->shown_len);
	put(l, "\n", 1);
	widest = MIN(widest + 2, (size_t)LINE_COLUMNS - 1);
	while ((word = next_match(l, start, &index))) {
		size_t n = MIN(strlen(word), widest);

		if (column + widest >= LINE_COLUMNS) {
			put(l, "\n", 1);
			column = 0;
		}
		put(l, word, n);
		put(l, blanks, widest - n);
		column += widest;
	}
	put(l, "\n", 1);
	line_show(l);
}

static void complete(struct line *l)
{
	size_t start = l->cursor, typed;
	struct matches m;

	while (start && l->text[start - 1] != ' ' && l->text[start - 1] != '|')
		start--;
	typed = l->cursor - start;
	m = find_matches(l, start);
	if (!m.nr) {
		bell(l);
	} else if (m.nr > 1 && m.common == typed) {
		list_matches(l, start, m.widest);
	} else {
		insert(l, m.first + typed, m.common - typed);
		if (m.nr == 1 && l->cursor == l->len)
			insert(l, " ", 1);
	}
}

/* --- keys --- */

/* ESC [ ... final, ESC O final. */
static void escape_key(struct line *l, uint8_t final)
{
	bool by_word = l->nr_params > 1 && l->param[1] >= 2;

	switch (final) {
	case 'A':
		go_back(l, true);
		break;
	case 'B':
		go_back(l, false);
		break;
	case 'C':
		if (by_word)
			l->cursor = word_right(l);
		else
			step(l, true);
		break;
	case 'D':
		if (by_word)
			l->cursor = word_left(l, false);
		else
			step(l, false);
		break;
	case 'H':
		l->cursor = 0;
		break;
	case 'F':
		l->cursor = l->len;
		break;
	case '~':
		if (l->param[0] == 1 || l->param[0] == 7)
			l->cursor = 0;
		else if (l->param[0] == 4 || l->param[0] == 8)
			l->cursor = l->len;
		else if (l->param[0] == 3)
			erase(l, l->cursor, MIN(l->cursor + 1, l->len));
		break;
	}
}

/* ESC and a letter. */
static void meta_key(struct line *l, uint8_t c)
{
	switch (c) {
	case 'b':
		l->cursor = word_left(l, false);
		break;
	case 'f':
		l->cursor = word_right(l);
		break;
	case 'd':
		kill(l, l->cursor, word_right(l));
		break;
	case DEL:
		kill(l, word_left(l, false), l->cursor);
		break;
	}
}

/* A byte behind ESC that is no control byte. */
static void escape_input(struct line *l, uint8_t c)
{
	enum line_escape was = l->escape;

	if (was == ESCAPE_ESC && (c == '[' || c == 'O')) {
		l->escape = c == '[' ? ESCAPE_CSI : ESCAPE_SS3;
		l->param[0] = l->param[1] = l->nr_params = l->escape_len = 0;
		return;
	}
	if (was == ESCAPE_CSI && c >= ' ' && c < '@' && l->escape_len++ < ESCAPE_MAX) {
		if (!l->nr_params)
			l->nr_params = 1;
		if (c == ';')
			l->nr_params = MIN(l->nr_params + 1, 2u);
		else if (c >= '0' && c <= '9')
			l->param[l->nr_params - 1] =
				(l->param[l->nr_params - 1] * 10 + c - '0') % 1000;
		return;
	}
	/* ESC [ [ A: a function key of the Linux console. */
	if (was == ESCAPE_CSI && c == '[' && !l->escape_len) {
		l->escape = ESCAPE_SKIP;
		return;
	}
	l->escape = ESCAPE_NONE;
	if (was == ESCAPE_ESC)
		meta_key(l, c);
	else if (was != ESCAPE_SKIP)
		escape_key(l, c);
}

static void control_key(struct line *l, uint8_t c)
{
	switch (c) {
	case CTRL('A'):
		l->cursor = 0;
		break;
	case CTRL('B'):
		step(l, false);
		break;
	case CTRL('D'):
		erase(l, l->cursor, MIN(l->cursor + 1, l->len));
		break;
	case CTRL('E'):
		l->cursor = l->len;
		break;
	case CTRL('F'):
		step(l, true);
		break;
	case CTRL('H'):
	case DEL:
		erase(l, l->cursor ? l->cursor - 1 : 0, l->cursor);
		break;
	case CTRL('I'):
		complete(l);
		break;
	case CTRL('K'):
		kill(l, l->cursor, l->len);
		l->cursor = l->len;
		break;
	case CTRL('L'):
		clear_screen(l);
		break;
	case CTRL('N'):
		go_back(l, false);
		break;
	case CTRL('P'):
		go_back(l, true);
		break;
	case CTRL('U'):
		kill(l, 0, l->cursor);
		break;
	case CTRL('W'):
		kill(l, word_left(l, true), l->cursor);
		break;
	case CTRL('Y'):
		insert(l, l->killed, strlen(l->killed));
		break;
	}
}

/* Leave the line with the cursor behind its end. */
static void end_line(struct line *l, const char *mark)
{
	l->cursor = l->len;
	update(l);
	if (l->column + strlen(mark) <= window(l))
		put(l, mark, strlen(mark));
	put(l, "\n", 1);
	l->back = 0;
}

bool line_input(struct line *l, uint8_t c)
{
	if (c == ESC) {
		l->escape = ESCAPE_ESC;
		return false;
	}
	if (l->escape != ESCAPE_NONE && c >= ' ' && c < 0x80) {
		escape_input(l, c);
		update(l);
		return false;
	}
	l->escape = ESCAPE_NONE;
	if (c == '\r' || c == '\n') {
		end_line(l, "");
		remember(l);
		return true;
	}
	if (c == CTRL('C')) {
		end_line(l, "^C");
		line_begin(l);
		return false;
	}
	if (c < ' ' || c == DEL)
		control_key(l, c);
	else if (c < 0x80)
		insert(l, (const char *)&c, 1);
	update(l);
	return false;
}

void line_empty(struct line *l)
{
	l->len = l->cursor = l->left = l->back = 0;
	l->text[0] = '\0';
}

void line_begin(struct line *l)
{
	line_empty(l);
	line_show(l);
}

void line_init(struct line *l, const struct line_host *host, const char *prompt)
{
	memset(l, 0, sizeof(*l));
	l->host = host;
	l->prompt = prompt;
}
