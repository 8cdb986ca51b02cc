/*
 * The editor of the monitor's line, with the keys of a shell: pure, fed byte by byte. It writes for
 * a terminal of 80 columns and uses backspaces alone to move, so that any one will do.
 */
#ifndef UMBRA_VMM_MONITOR_LINE_H
#define UMBRA_VMM_MONITOR_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_TEXT_MAX 511
#define LINE_HISTORY 64
#define LINE_COLUMNS 80

/* Whom it edits for. */
struct line_host {
	/* To the terminal; a newline goes to the beginning of the next line. */
	void (*write)(const char *s, size_t n);
	/* The index-th word that may follow before[0, len); NULL: there are no more. */
	const char *(*candidate)(const char *before, size_t len, unsigned index);
};

enum line_escape { ESCAPE_NONE, ESCAPE_ESC, ESCAPE_CSI, ESCAPE_SS3, ESCAPE_SKIP };

struct line {
	const struct line_host *host;
	const char *prompt;
	char text[LINE_TEXT_MAX + 1]; /* terminated */
	size_t len, cursor;
	char killed[LINE_TEXT_MAX + 1]; /* for ^Y */
	/* What is on the screen behind the prompt, and the column there. */
	char shown[LINE_COLUMNS];
	size_t shown_len, column;
	size_t left; /* the first byte of text that is on the screen */
	/* Lines entered before; the newest is past[(nr_past - 1) % LINE_HISTORY]. */
	char past[LINE_HISTORY][LINE_TEXT_MAX + 1];
	unsigned nr_past, back;        /* back: 0: none of them is shown, 1: the newest */
	char saved[LINE_TEXT_MAX + 1]; /* what was being typed while back > 0 */
	/* An escape sequence that is not whole yet. */
	enum line_escape escape;
	unsigned param[2], nr_params, escape_len;
};

/* Zeros apart from these two, which stay the caller's. */
void line_init(struct line *l, const struct line_host *host, const char *prompt);
/* Show the prompt with an empty line. The terminal is at the beginning of a line. */
void line_begin(struct line *l);
/* The same unseen: line_show() shows it. */
void line_empty(struct line *l);
/* Show prompt and text again: something else was written, and ended with a newline. */
void line_show(struct line *l);
/*
 * A byte from the keyboard. True: Enter (CR or LF): text is the line, and the terminal is on the
 * next one; line_begin() starts anew. What no key sends is ignored.
 */
bool line_input(struct line *l, uint8_t c);

#endif
