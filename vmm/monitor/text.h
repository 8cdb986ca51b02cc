/* Text in lines, as the pager and the pipes look at it. */
#ifndef UMBRA_VMM_MONITOR_TEXT_H
#define UMBRA_VMM_MONITOR_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "arch/x86_64/lib/string.h"

/* The length of the line at text[at], with its newline, 0 at the end; len: the text's. */
static inline size_t text_line(const char *text, size_t at, size_t len)
{
	const char *end = memchr(text + at, '\n', len - at);

	return end ? (size_t)(end - text) + 1 - at : len - at;
}

static inline char text_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Does the word stand at text[at]? fold: capital letters are as good as small ones. */
static inline bool text_has_at(const char *text, size_t at, size_t len, const char *word, bool fold)
{
	size_t n = strlen(word), i = 0;

	if (at + n > len)
		return false;
	while (i < n &&
	       (fold ? text_lower(text[at + i]) == text_lower(word[i]) : text[at + i] == word[i]))
		i++;
	return i == n;
}

#endif
