/*
 * Which modes of an operator's terminal (VT100, xterm) a speaker on the console has changed, so
 * that whoever comes after it has them as they were, and it has them again when it comes back. For
 * vmm/console_*.c.
 */
#ifndef UMBRA_VMM_CONSOLE_TERM_H
#define UMBRA_VMM_CONSOLE_TERM_H

#include <stddef.h>
#include <stdint.h>

#define TERM_TEXT_MAX 256

struct term {
	uint64_t odd;    /* a bit for each mode that is not as a terminal has it at first */
	uint8_t state;   /* in a control sequence: how far */
	uint8_t mark;    /* its '?', '!' or another that stands before or behind the numbers */
	uint16_t number; /* the one that is being read */
	uint64_t asked;  /* modes that it names */
	uint8_t numbers; /* how many there have been */
};

/* The speaker has said c. */
void term_said(struct term *t, uint8_t c);
/* What brings a terminal back from these modes, without a loss of what is on it: into text, whose
 * length is returned. The cursor is at a line's beginning, maybe at the bottom. */
size_t term_leave(uint64_t odd, char text[TERM_TEXT_MAX]);
/* What gives it those again that a program relies on when keys come and lines are written; not
 * where on the screen it was. */
size_t term_return(uint64_t odd, char text[TERM_TEXT_MAX]);

#endif
