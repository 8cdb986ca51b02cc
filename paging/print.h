/*
 * Page tables as text for a person: an entry, the path of an address, a whole tree. The text
 * goes line by line, without newline, to a function of the caller's.
 */
#ifndef UMBRA_PAGING_PRINT_H
#define UMBRA_PAGING_PRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/pt.h"

typedef void pt_line_fn(void *ctx, const char *text);

/* What a table of the level is called: "pt", "pd", "pdp", "pml4", "pml5". Never NULL. */
const char *pt_table_name(const struct pt_format *f, unsigned level);
/* What a page of 2^shift bytes is called: "4K", "2M", "4M", "1G". Never NULL. */
const char *pt_page_name(unsigned shift);

/* One line: the entry, raw and decoded. PT_OK or PT_BAD_ARG (no such level, null). */
enum pt_status pt_print_entry(const struct pt_format *f, unsigned level, uint64_t entry,
			      pt_line_fn *line, void *ctx);

/*
 * The path of addr: a line for the root, one for each entry read, and one for what came of
 * it. The result is that of pt_walk(), or PT_BAD_ARG, as for an address that the format does
 * not take.
 */
enum pt_status pt_print_path(const struct pt_tree *t, uint64_t addr, pt_line_fn *line, void *ctx);

/*
 * The whole tree, pages that follow each other with contiguous targets and equal rights and
 * memory type in one line; a line for each wrong entry and for each table that lies nowhere.
 * At most *budget entries are read and max_lines lines printed for them, whatever the tables
 * say. PT_OK, PT_STOPPED by one of the two (the last line says so), PT_BAD_TABLE for a root that
 * can't be read, or PT_BAD_ARG.
 */
enum pt_status pt_print_tree(const struct pt_tree *t, uint64_t *budget, unsigned max_lines,
			     pt_line_fn *line, void *ctx);

#endif
