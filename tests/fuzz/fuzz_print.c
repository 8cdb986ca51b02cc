/* The printers: every line a line, and no more of them than was asked for. */
#include <string.h>

#include "arch/x86_64/include/bits.h"
#include "paging/print.h"
#include "tests/fuzz/world.h"

static struct world w;
static unsigned nr_lines;

static void on_line(void *ctx, const char *text)
{
	size_t len = strlen(text);

	expect(ctx == &w && len > 0 && len < 191);
	for (size_t i = 0; i < len; i++)
		expect(text[i] >= ' ' && text[i] <= '~');
	nr_lines++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint64_t addr, budget, given, entry;
	unsigned max_lines, level;
	struct pt_walk walk;
	enum pt_status status;

	world_init(&w, &in, PT_EPT);
	addr = world_address(&w, &in);
	nr_lines = 0;
	pt_walk(&w.tree, addr, &walk);
	expect(pt_print_path(&w.tree, addr, on_line, &w) == walk.status);
	expect(nr_lines >= 2 && nr_lines <= w.fmt.levels + 2u);

	level = (unsigned)take(&in, 1);
	entry = take(&in, w.fmt.entry_size);
	nr_lines = 0;
	status = pt_print_entry(&w.fmt, level, entry, on_line, &w);
	expect(status == (level < w.fmt.levels ? PT_OK : PT_BAD_ARG) && nr_lines == !status);

	max_lines = (unsigned)take(&in, 1);
	budget = given = take(&in, 2);
	nr_lines = 0;
	w.nr_reads = 0;
	status = pt_print_tree(&w.tree, &budget, max_lines, on_line, &w);
	expect(status == PT_OK || status == PT_STOPPED);
	expect(nr_lines <= max_lines + 2 && budget <= given);
	expect(w.nr_reads <= 2 * (given - budget) + 2);
	return 0;
}
