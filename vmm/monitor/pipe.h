/* What a command's output goes through before it is shown: `exits deb64 | grep -v io | cat`. */
#ifndef UMBRA_VMM_MONITOR_PIPE_H
#define UMBRA_VMM_MONITOR_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIPE_MAX 8

enum pipe_kind {
	PIPE_MORE, /* the pager, which long output meets anyhow */
	PIPE_CAT,  /* no pager */
	PIPE_GREP,
	PIPE_HEAD,
	PIPE_TAIL,
	PIPE_KINDS,
};

struct pipe_stage {
	enum pipe_kind kind;
	bool invert, fold, count; /* grep -v, -i, -c */
	const char *word;         /* grep's, any text */
	unsigned lines;           /* head's and tail's */
	uint64_t came, kept;      /* lines, so far */
};

struct pipeline {
	unsigned nr;
	unsigned by_line; /* so many of the first stages look at each line as it comes */
	struct pipe_stage stage[PIPE_MAX];
};

/*
 * Read what follows a line's command; line is cut at its first '|' and further on, and the stages
 * point into it. A '|' in double quotes, or behind a word "--", is none. NULL, or what is wrong.
 */
const char *pipe_parse(char *line, struct pipeline *pipe);

/* Text goes through the stages so: first this, once; */
void pipe_begin(struct pipeline *pipe);
/* then each line, with its newline if it has one. True: it is to be kept until all have come; */
bool pipe_take(struct pipeline *pipe, const char *line, size_t n);
/* of those that are kept the last ones alone matter, so many; */
#define PIPE_ALL UINT32_MAX
unsigned pipe_last(const struct pipeline *pipe);
/* and at the end what is kept, text[0, len), in place: it never grows beyond size. Returns its new
 * length. */
size_t pipe_end(struct pipeline *pipe, char *text, size_t len, size_t size);

/* Does the line end in this stage? */
bool pipe_has(const struct pipeline *pipe, enum pipe_kind kind);
/* The index-th name of a stage; NULL: no more. */
const char *pipe_name(unsigned index);

#endif
