/* Lines that are too long for the operator's terminal, broken: pure. */
#ifndef UMBRA_VMM_MONITOR_FOLD_H
#define UMBRA_VMM_MONITOR_FOLD_H

#include <stddef.h>

#define FOLD_COLUMNS 80

/* Where a row may be broken that is one line for grep, head and tail: what follows begins a line of
 * its own, in its column. */
#define FOLD_HERE '\v'

/*
 * Break the lines of text[0, len) that have more than FOLD_COLUMNS characters, at a blank where
 * there is one: the rest is indented by 4 more. In place; it never grows beyond size >= len.
 * Returns the new length. *missing grows by the lines that were left out at the end, as there was
 * no room.
 */
size_t fold_text(char *text, size_t len, size_t size, unsigned *missing);

#endif
