/* Memory as numbers, characters, strings and instructions: what x and dis print. */
#ifndef UMBRA_VMM_MONITOR_EXAMINE_H
#define UMBRA_VMM_MONITOR_EXAMINE_H

#include <stdbool.h>

#include "vmm/monitor/address.h"

#define EXAMINE_MAX 4096 /* units at a time */

/* GDB's: 4gx. */
struct examine_format {
	unsigned count;
	char letter;   /* x d u o c s i */
	unsigned size; /* 1, 2, 4, 8 */
};

/* False: it is none, and said. "" is 1xw. */
bool examine_parse(const char *text, struct examine_format *out);
/* Print it, up to where memory ends. */
void examine(const struct address *from, const struct examine_format *fmt);
/* Print instructions. */
void examine_code(const struct address *from, unsigned count);

#endif
