/* What of the console's speakers goes onto the line, and when. For vmm/console.c alone. */
#ifndef UMBRA_VMM_CONSOLE_VIEW_H
#define UMBRA_VMM_CONSOLE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/lib/ring.h"
#include "vmm/console_kept.h"
#include "vmm/vm.h"

#define SPEAKERS (VM_MAX + 1) /* the monitor is number 0, VM n number n + 1 */

#define SAID_BYTES 4096 /* of a VM that is not seen; */
#define SAID_AHEAD 256  /* who is seen is not much ahead of the line */

/* Who can be in front. The first CPU's, but for said and seen. */
struct speaker {
	struct vm *vm;    /* NULL: the monitor */
	const char *name; /* NULL: there is none of this number */
	struct ring said; /* not taken into out yet: the holder of vm->lock puts */
	bool seen;        /* atomic: view_shows(); any CPU reads */
	uint32_t log_at;  /* said.head when a line of Umbra's was found that waits */
	struct kept out;
	struct ring in;  /* typed for it, and not taken yet */
	uint64_t in_ns;  /* when it took some last, or the first was typed */
	uint64_t out_ns; /* when it said something last */
	uint64_t on_ns;  /* since when it has done so without a pause */
	bool returned;   /* followed: \r came last, and is not shown yet */
	bool ends;       /* is stopping: all is taken */
	bool last_words; /* followed: what it said is to go out before Umbra's lines that wait */
};

extern struct speaker speakers[SPEAKERS];

/* Show s alone (with follow: every VM) from now on, after a banner. */
void view_set(struct speaker *s, bool follow);
/* Put onto the line what there is room for. */
void view_pump(void);
/* Put what s has said onto the line, as far as its ring has room, if s is seen. */
void view_drain(struct speaker *s);
/* s will say no more: what it did to the terminal is not for its next life. It is not shown. */
void view_ended(struct speaker *s);
/* There is s from now on. */
void view_added(struct speaker *s);
/* Is what s says seen now? */
bool view_shows(const struct speaker *s);
/* May s say a byte more, or must the line be waited for? */
bool view_may_say(const struct speaker *s);
/* s has said a byte, which is taken from s->said: it is seen at once when nothing is before it. */
void view_said(struct speaker *s, uint8_t c);
/* A line of the console's own. */
void view_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Called when the banner of who is shown has gone out. */
void view_set_arrived(void (*arrived)(void));

#endif
