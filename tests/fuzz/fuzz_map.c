/* Changes to trees that nobody should have: they end, and free each page once. */
#include <string.h>

#include "arch/x86_64/include/bits.h"
#include "tests/fuzz/world.h"

static struct world w;

/* A range of a few pages of one size, aligned to it, or of bytes at random. */
static uint64_t take_range(struct input *in, uint64_t *addr, uint64_t *pa)
{
	unsigned how = (unsigned)take(in, 1), shift = (how & 3) == 3 ? 30 : how & 1 ? 21 : 12;
	uint64_t size = (1 + (how >> 2 & 3)) << shift;

	*addr = world_address(&w, in);
	*pa = take(in, 4) << 12;
	if (how & 0x80)
		return take(in, 2);
	*addr = ALIGN_DOWN(*addr, BIT(shift));
	*pa = ALIGN_DOWN(*pa, BIT(shift));
	return size;
}

static void change(struct input *in, struct pt_flush *flush)
{
	unsigned how = (unsigned)take(in, 1), attrs = (unsigned)take(in, 1);
	uint64_t addr, pa, size = take_range(in, &addr, &pa), last = addr + size - 1;
	struct pt_flush now = { .start = UINT64_MAX, .freed = flush->freed };
	enum pt_status status;
	struct pt_walk walk;

	w.nr_reads = w.nr_writes = 0;
	switch (how % 3) {
	case 0:
		status = pt_map(&w.tree, addr, pa, size, attrs, &now);
		break;
	case 1:
		status = pt_unmap(&w.tree, addr, size, &now);
		break;
	default:
		status = pt_protect(&w.tree, addr, size, attrs, attrs & how >> 2, &now);
		break;
	}
	flush->freed = now.freed;
	/* Each table is scanned at most once for each link to it, and for each merge. */
	expect(w.nr_reads < 8 * 1024 * 1024);
	if (status == PT_BAD_ARG)
		expect(!w.nr_writes && now.start > now.last);
	else
		expect(size && IS_ALIGNED(addr | size, PAGE_SIZE) && last >= addr);
	if (how & 0x40)
		expect((pt_release(&w.tree, flush) == PT_OK) == !flush->freed);
	pt_walk(&w.tree, addr, &walk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct pt_flush flush = PT_FLUSH_NONE;

	world_init(&w, &in, PT_EPT);
	for (unsigned i = 0; i < 8 && in.left; i++)
		change(&in, &flush);
	pt_release(&w.tree, &flush);
	pt_destroy(&w.tree);
	return 0;
}
