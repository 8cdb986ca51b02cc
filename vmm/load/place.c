#include "vmm/load/place.h"

#include "vmm/memmap.h"

static_assert(RAM_RANGES + RAM_DISKS + 2 <= E820_MAX, "two more entries are reserved below 1 MiB");

/* Ranges come in rising order. */
static void add_range(struct ram_map *ram, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	if (ram->nr && ram->range[ram->nr - 1].end == start)
		ram->range[ram->nr - 1].end = end;
	else if (ram->nr < RAM_RANGES)
		ram->range[ram->nr++] = (struct ram_range){ start, end };
}

void ram_map_fill(struct ram_map *ram, const struct memmap *mem)
{
	ram->nr = ram->nr_disks = 0;
	for (unsigned i = 0; i < mem->nr; i++) {
		const struct region *r = &mem->region[i];
		uint64_t end = r->start.v + r->size;

		if ((r->kind == REGION_DISK ||
		     (r->kind == REGION_ROM && r->start.v >= PLACE_HIGH)) &&
		    ram->nr_disks < RAM_DISKS)
			ram->disk[ram->nr_disks++] = (struct ram_range){ r->start.v, end };
		if (r->kind != REGION_MEM)
			continue;
		add_range(ram, r->start.v, MIN(end, PLACE_LOW_RAM_END));
		add_range(ram, MAX(r->start.v, PLACE_HIGH), end);
	}
}

bool ram_holds(const struct ram_map *ram, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < ram->nr; i++) {
		const struct ram_range *r = &ram->range[i];

		if (start >= r->start && start < r->end)
			return start >= PLACE_HIGH && size <= r->end - start;
	}
	return false;
}

bool ram_place_low(const struct ram_map *ram, uint64_t size, uint64_t align, uint64_t min,
		   uint64_t end, uint64_t *at)
{
	for (unsigned i = 0; i < ram->nr; i++) {
		uint64_t lo = MAX(ram->range[i].start, min);
		uint64_t hi = MIN(ram->range[i].end, end);
		uint64_t start = ALIGN_UP(lo, align);

		if (start < lo || start >= hi || size > hi - start)
			continue;
		*at = start;
		return true;
	}
	return false;
}

/* The highest page boundary in [lo, hi) from which size bytes fit. */
static bool fit_high(uint64_t lo, uint64_t hi, uint64_t size, uint64_t *at)
{
	if (hi <= lo || size > hi - lo)
		return false;
	*at = ALIGN_DOWN(hi - size, PAGE_SIZE);
	return *at >= lo;
}

bool ram_place_high(const struct ram_map *ram, uint64_t size, uint64_t min, uint64_t end,
		    struct ram_range avoid, uint64_t *at)
{
	for (unsigned i = ram->nr; i-- > 0;) {
		uint64_t lo = MAX(ram->range[i].start, min);
		uint64_t hi = MIN(ram->range[i].end, end);

		if (avoid.start >= hi || avoid.end <= lo) {
			if (fit_high(lo, hi, size, at))
				return true;
		} else if (fit_high(avoid.end, hi, size, at) ||
			   fit_high(lo, avoid.start, size, at)) {
			return true;
		}
	}
	return false;
}

static void add_e820(struct e820_entry *table, unsigned *n, uint64_t start, uint64_t end,
		     uint32_t type)
{
	unsigned at = (*n)++;

	for (; at && table[at - 1].addr > start; at--)
		table[at] = table[at - 1];
	table[at] = (struct e820_entry){ .addr = start, .size = end - start, .type = type };
}

unsigned ram_map_e820(const struct ram_map *ram, struct e820_entry e820[E820_MAX])
{
	unsigned n = 0;

	add_e820(e820, &n, PLACE_LOW_RAM_END, PLACE_LOW_END, E820_RESERVED);
	add_e820(e820, &n, PLACE_BIOS, PLACE_HIGH, E820_RESERVED);
	for (unsigned i = 0; i < ram->nr; i++)
		add_e820(e820, &n, ram->range[i].start, ram->range[i].end, E820_RAM);
	for (unsigned i = 0; i < ram->nr_disks; i++)
		add_e820(e820, &n, ram->disk[i].start, ram->disk[i].end, E820_RESERVED);
	return n;
}
