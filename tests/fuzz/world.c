#include "tests/fuzz/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/include/bits.h"

void world_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, what);
	abort();
}

uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->left--)
		v |= (uint64_t)*in->at++ << (8 * i);
	return v;
}

/* The first and last eight entries of a table are used. */
static unsigned take_index(const struct pt_level *l, struct input *in)
{
	unsigned v = (unsigned)take(in, 1);

	return (v & 8 ? ~v | 8 : v & 7) & l->index_mask;
}

static void *place(struct world *w, uint64_t pa, unsigned size)
{
	uint64_t off = pa - WORLD_BASE;

	expect(IS_ALIGNED(pa, size));
	if (pa < WORLD_BASE || off >= sizeof(w->page) || !w->used[off / PAGE_SIZE])
		return NULL;
	return (uint8_t *)w->page + off;
}

static bool world_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	struct world *w = ctx;
	const void *p = place(w, pa, size);

	expect(size == w->fmt.entry_size);
	w->nr_reads++;
	if (!p)
		return false;
	*val = 0;
	memcpy(val, p, size);
	return true;
}

static bool world_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	struct world *w = ctx;
	void *p = place(w, pa, size);

	expect(size == w->fmt.entry_size);
	expect(size == 8 || val <= UINT32_MAX);
	w->nr_writes++;
	if (!p || memcmp(p, &old, size))
		return false;
	memcpy(p, &val, size);
	return true;
}

static uint64_t world_alloc(void *ctx)
{
	struct world *w = ctx;

	for (unsigned i = 0; i < WORLD_PAGES; i++) {
		if (w->used[i])
			continue;
		w->used[i] = true;
		memset(w->page[i], 0, PAGE_SIZE);
		return WORLD_BASE + i * PAGE_SIZE;
	}
	return 0;
}

static void world_free(void *ctx, uint64_t pa)
{
	struct world *w = ctx;

	expect(place(w, pa, PAGE_SIZE)); /* it is there, and not free yet */
	w->used[(pa - WORLD_BASE) / PAGE_SIZE] = false;
}

/* Flags, and what it leads to: one of the pages, or any address. */
static uint64_t take_entry(struct input *in)
{
	uint64_t flags = take(in, 2), target = take(in, 1);
	uint64_t e = flags & BITS(11, 0);

	e |= flags & BIT(15) ? BIT(63) : 0;
	if (target < 0xc0)
		return e | (WORLD_BASE + target % (WORLD_PAGES + 1) * PAGE_SIZE);
	if (target < 0xe0)
		return e | (target & 31) << 21;
	return e ^ take(in, 8);
}

void world_init(struct world *w, struct input *in, enum pt_kind last)
{
	unsigned kind = (unsigned)take(in, 1), caps = (unsigned)take(in, 1), n;

	memset(w, 0, sizeof(*w));
	w->caps = (struct pt_caps){
		.maxphyaddr = (uint8_t)(32 + (kind >> 3) % 21),
		.nx = caps & 1,
		.pse = caps & 2,
		.pse36 = caps & 4,
		.page_1g = caps & 8,
		.nonleaf_g_rsvd = caps & 16,
		.strict_pdpte = caps & 32,
		.ept_exec_only = caps & 64,
		.ept_ad = caps & 128,
	};
	pt_format_init(&w->fmt, (enum pt_kind)((kind & 7) % (last + 1)), &w->caps);
	w->mem = (struct pt_mem){ world_read, world_cmpxchg, world_alloc, world_free, w };
	w->tree = (struct pt_tree){ .fmt = &w->fmt, .mem = &w->mem, .root = WORLD_BASE };
	n = (unsigned)take(in, 1);
	for (unsigned i = 0; i < WORLD_PAGES; i++)
		w->used[i] = !i || (n >> i & 1);
	n = (unsigned)take(in, 1) % 64;
	for (unsigned i = 0; i < n; i++) {
		unsigned where = (unsigned)take(in, 1), page = where % WORLD_PAGES;
		unsigned index = take_index(&w->fmt.level[0], in);
		unsigned count = where & 0x80 ? 4096u / w->fmt.entry_size - index : 1;
		uint64_t e = take_entry(in), step = where & 0x40 ? PAGE_SIZE : 0;

		for (unsigned j = 0; j < count; j++, e += step)
			memcpy(&w->page[page][(index + j) * w->fmt.entry_size], &e,
			       w->fmt.entry_size);
	}
}

uint64_t world_address(const struct world *w, struct input *in)
{
	const struct pt_format *f = &w->fmt;
	uint64_t addr = take(in, 2) & BITS(11, 0);

	for (unsigned i = 0; i < f->levels; i++)
		addr |= (uint64_t)take_index(&f->level[i], in) << f->level[i].shift;
	if (f->sign_extend && (addr >> (f->addr_bits - 1) & 1))
		addr |= ~BITS(f->addr_bits - 1, 0);
	return addr;
}
