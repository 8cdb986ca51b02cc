/* From a line to the command that it names, and the text that this leaves. */
#ifndef UMBRA_VMM_MONITOR_DISPATCH_H
#define UMBRA_VMM_MONITOR_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Carry out a line: a command, and what its output goes through (`| grep WORD`). What it said is
 * in *text, *len bytes, until the next line is carried out. Returns false when it asked for no
 * pager (`| cat`).
 */
bool dispatch_line(const char *line, char **text, size_t *len);

/* The same for somebody else, while the operator may still be reading: it leaves text in buf, size
 * bytes with a zero byte behind it, and `wait` does nothing. */
#define DISPATCH_ASIDE_MIN 512
void dispatch_aside(const char *line, char *buf, size_t size);

/* What a command `wait` asks of who carried it out: to wait so long, or until no VM runs. */
struct dispatch_wait {
	bool idle;
	uint64_t ns;
};
/* Did the line ask to wait? Says so once. */
bool dispatch_waits(struct dispatch_wait *wait);

/*
 * For completion: the index-th word that may follow what stands in before[0, len), which ends
 * where the word begins. NULL: there are no more.
 */
const char *dispatch_candidate(const char *before, size_t len, unsigned index);

#endif
