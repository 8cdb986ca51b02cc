/* Text for a person, line by line, to whoever wants it: the log, the monitor. */
#ifndef UMBRA_PRINTER_H
#define UMBRA_PRINTER_H

#include <stdint.h>

#include "arch/x86_64/include/bits.h"

struct printer {
	void (*line)(void *ctx, const char *text); /* without newline */
	void *ctx;
	unsigned name_width; /* of printer_value()'s names */
};

/* A line, cut at 160 characters. */
void printer_line(const struct printer *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* What the bits of a word are called. */
struct flag {
	uint8_t bit, width; /* 1: NAME when it is set; more: NAME=value when that is not 0 */
	char name[22];
};
struct flag_set {
	const struct flag *flag;
	unsigned count;
	uint64_t silent; /* bits that are not worth a word */
};

#define FLAG(bit, name)                                                                            \
	{                                                                                          \
		bit, 1, name                                                                       \
	}
#define FLAG_FIELD(hi, lo, name)                                                                   \
	{                                                                                          \
		lo, (hi) - (lo) + 1, name                                                          \
	}
#define FLAG_SET(flags, silent)                                                                    \
	{                                                                                          \
		flags, ARRAY_SIZE(flags), silent                                                   \
	}

/*
 * "  NAME  00000078  THIS THAT=3 bit 9": the name, val in so many digits, and its flags, on further
 * lines when they do not fit into 80 columns. set NULL: none.
 */
void printer_value(const struct printer *p, const char *name, unsigned digits, uint64_t val,
		   const struct flag_set *set);
/* The same with words of one's own. */
void printer_note(const struct printer *p, const char *name, unsigned digits, uint64_t val,
		  const char *words);

#endif
