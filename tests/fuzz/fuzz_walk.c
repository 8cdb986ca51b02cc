/* pt_walk, pt_find and pt_mark: at most one read a level, and results that fit together. */
#include "arch/x86_64/include/bits.h"
#include "tests/fuzz/world.h"

static struct world w;

static void check_walk(uint64_t addr)
{
	struct pt_walk walk;
	uint64_t pa, size;

	w.nr_reads = w.nr_writes = 0;
	pt_walk(&w.tree, addr, &walk);
	expect(w.nr_reads == walk.top - walk.level + 1u && walk.top == w.fmt.levels - 1);
	expect(pt_page_size(&w.tree, addr) == (walk.status == PT_OK ? BIT(walk.page_shift) : 0));
	for (unsigned level = 0; level < w.fmt.levels; level++) {
		enum pt_status status = pt_find(&w.tree, addr, level, &pa);

		if (status == PT_OK)
			expect(level >= walk.level && IS_ALIGNED(pa, 32));
		else
			expect(status == (walk.status == PT_OK ? PT_LARGER : walk.status));
	}
	expect(pt_find(&w.tree, addr, PT_DATA, &pa) == walk.status);
	if (walk.status != PT_OK) {
		expect(!pt_mark(&w.tree, &walk, true) && !w.nr_writes);
		return;
	}
	size = BIT(walk.page_shift);
	expect(pa == ALIGN_DOWN(walk.out, size) && (walk.out & (size - 1)) == (addr & (size - 1)));
	expect(walk.out < BIT(52));
}

/* A mark changes nothing but the accessed and dirty bits; marked once, it stays. */
static void check_mark(uint64_t addr, bool write)
{
	struct pt_walk walk, again;

	w.nr_writes = 0;
	if (pt_walk(&w.tree, addr, &walk) != PT_OK || !pt_mark(&w.tree, &walk, write))
		return;
	expect(w.nr_writes <= w.fmt.levels);
	/* What marks an entry of one level may make it wrong for another. */
	for (unsigned i = walk.level; i < walk.top; i++)
		for (unsigned j = i + 1; j <= walk.top; j++)
			if (walk.entry_pa[i] == walk.entry_pa[j])
				return;
	pt_walk(&w.tree, addr, &again);
	expect(again.status == PT_OK && again.out == walk.out && again.rights == walk.rights);
	w.nr_writes = 0;
	expect(pt_mark(&w.tree, &again, write) && !w.nr_writes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	world_init(&w, &in, PT_EPT);
	do {
		uint64_t addr = world_address(&w, &in);

		check_walk(addr);
		check_mark(addr, take(&in, 1) & 1);
	} while (in.left);
	return 0;
}
