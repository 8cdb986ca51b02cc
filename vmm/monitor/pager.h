/* Long output by the screen, as more and less do it: pure, fed key by key. */
#ifndef UMBRA_VMM_MONITOR_PAGER_H
#define UMBRA_VMM_MONITOR_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGER_ROWS 24
#define PAGER_COLUMNS 80
#define PAGER_WORD_MAX 60

struct pager {
	void (*write)(const char *s, size_t n);
	const char *text;
	size_t len, at; /* text[0, at) has been shown */
	size_t prompt;  /* columns of what stands on the last line */
	bool reads_word;
	char word[PAGER_WORD_MAX + 1]; /* looked for last; while reads_word: as far as typed */
	size_t word_len;
};

/*
 * Show text[0, len), which stays the caller's until the end, or its first screen if it is longer
 * than that. True: more is to come, by pager_input().
 */
bool pager_begin(struct pager *p, void (*write)(const char *s, size_t n), const char *text,
		 size_t len);
/*
 * A key: Space, Enter, b, q, /WORD, n. False: the text is at its end, or the user has had
 * enough; the terminal is at the beginning of a line.
 */
bool pager_input(struct pager *p, uint8_t c);
/* Show the last screen again: something else was written, and ended with a newline. */
void pager_show(struct pager *p);

#endif
