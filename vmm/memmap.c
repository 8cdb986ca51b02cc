#include "vmm/memmap.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"

void memmap_init(struct memmap *map)
{
	map->nr = 0;
	map->last_hit = 0;
}

static uint64_t region_last(const struct region *r)
{
	return r->start.v + (r->size - 1);
}

static bool region_holds(const struct region *r, uint64_t addr)
{
	return addr - r->start.v < r->size;
}

/* The first region that ends at or above addr, or nr. */
static unsigned region_index(const struct memmap *map, uint64_t addr)
{
	unsigned lo = 0, hi = map->nr;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (region_last(&map->region[mid]) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int memmap_add(struct memmap *map, const struct region *region)
{
	bool frames = region->kind != REGION_HOOK;
	unsigned at;

	if (!region->size || !IS_ALIGNED(region->start.v | region->size, PAGE_SIZE) ||
	    region_last(region) < region->start.v ||
	    (frames && !IS_ALIGNED(region->frames.v, PAGE_SIZE)))
		return trace_error(-EINVAL);
	at = region_index(map, region->start.v);
	if (at < map->nr && map->region[at].start.v <= region_last(region))
		return trace_error(-EEXIST);
	if (map->nr == MEMMAP_MAX_REGIONS)
		return trace_error(-ENOSPC);
	memmove(&map->region[at + 1], &map->region[at], (map->nr - at) * sizeof(map->region[0]));
	map->region[at] = *region;
	map->nr++;
	return 0;
}

int memmap_remove(struct memmap *map, gpa_t start)
{
	unsigned at = region_index(map, start.v);

	if (at == map->nr || map->region[at].start.v != start.v)
		return -ENOENT;
	map->nr--;
	memmove(&map->region[at], &map->region[at + 1], (map->nr - at) * sizeof(map->region[0]));
	map->last_hit = 0;
	return 0;
}

const struct region *memmap_find(struct memmap *map, gpa_t gpa)
{
	unsigned i = map->last_hit;

	if (i < map->nr && region_holds(&map->region[i], gpa.v))
		return &map->region[i];
	i = region_index(map, gpa.v);
	if (i == map->nr || !region_holds(&map->region[i], gpa.v))
		return NULL;
	map->last_hit = i;
	return &map->region[i];
}

void *memmap_ptr(struct memmap *map, gpa_t gpa, bool write, uint64_t *avail)
{
	const struct region *r = memmap_find(map, gpa);
	uint64_t off;

	if (!r || r->kind == REGION_HOOK || (write && r->kind == REGION_ROM))
		return NULL;
	off = gpa.v - r->start.v;
	*avail = r->size - off;
	return (uint8_t *)hpa_to_ptr(r->frames) + off;
}

bool memmap_read(struct memmap *map, gpa_t gpa, void *dst, size_t n)
{
	uint8_t *to = dst;

	while (n) {
		uint64_t avail;
		const void *from = memmap_ptr(map, gpa, false, &avail);
		size_t part;

		if (!from)
			return false;
		part = MIN(n, avail);
		memcpy(to, from, part);
		to += part;
		n -= part;
		gpa.v += part;
	}
	return true;
}

bool memmap_write(struct memmap *map, gpa_t gpa, const void *src, size_t n)
{
	const uint8_t *from = src;

	while (n) {
		uint64_t avail;
		void *to = memmap_ptr(map, gpa, true, &avail);
		size_t part;

		if (!to)
			return false;
		part = MIN(n, avail);
		memcpy(to, from, part);
		from += part;
		n -= part;
		gpa.v += part;
	}
	return true;
}

uint64_t memmap_ram_bytes(const struct memmap *map)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < map->nr; i++)
		if (map->region[i].kind == REGION_MEM)
			sum += map->region[i].size;
	return sum;
}
