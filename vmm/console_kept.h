/*
 * What one speaker on the console has said: the last 64 KiB of it, and how much of that has been
 * shown. Bytes that were shown or not count alike; the oldest go first.
 */
#ifndef UMBRA_VMM_CONSOLE_KEPT_H
#define UMBRA_VMM_CONSOLE_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/console_term.h"

#define KEPT_BYTES 65536 /* a power of two */

struct kept {
	uint8_t *buf;        /* KEPT_BYTES */
	uint64_t end;        /* bytes said so far; positions count from the first one */
	uint64_t shown;      /* up to here it has been shown */
	uint64_t replay_end; /* what is before this is shown late: nobody waits for an answer */
	uint64_t line_end;   /* behind the last newline */
	bool escapes;        /* it has used control sequences: the terminal may be left odd, */
	struct term term;    /* with these modes */
};

/* Say a byte. */
void kept_put(struct kept *k, uint8_t c);

/* Bytes not shown yet, those that are gone too. */
static inline uint64_t kept_unseen(const struct kept *k)
{
	return k->end - k->shown;
}

/* Is the end of a line among what has not been shown? */
static inline bool kept_has_line(const struct kept *k)
{
	return k->line_end > k->shown;
}

/*
 * Prepare to show it again to somebody who comes now: everything not shown yet, but at least as
 * much as fits on a screen, from a line's beginning. Returns how many bytes not shown are gone.
 */
uint64_t kept_replay(struct kept *k);
/* Of what has not been shown, pass over all but the last bytes, from a line's beginning. */
void kept_pass_over(struct kept *k, size_t last);

/*
 * The next byte to show, -1: none. In what is replayed, a terminal is not asked questions, whose
 * answers would be typed; with plain, control characters and sequences are left out, and one
 * whose end is missing is waited for.
 */
int kept_next(struct kept *k, bool plain);
/* It has been shown. */
static inline void kept_advance(struct kept *k)
{
	k->shown++;
}

#endif
