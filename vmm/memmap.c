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
	map->bring_in = NULL;
	map->ctx = NULL;
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

static bool range_ok(gpa_t start, uint64_t size)
{
	return size && IS_ALIGNED(start.v | size, PAGE_SIZE) && start.v + (size - 1) >= start.v;
}

int memmap_add(struct memmap *map, const struct region *region)
{
	bool frames = region->kind != REGION_HOOK && region->kind != REGION_DISK;
	unsigned at;

	if (!range_ok(region->start, region->size) ||
	    (region->kind == REGION_DISK && !region->page) ||
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
	map->changes++;
	return 0;
}

static void take_out(struct memmap *map, unsigned at)
{
	map->nr--;
	memmove(&map->region[at], &map->region[at + 1], (map->nr - at) * sizeof(map->region[0]));
	map->last_hit = 0;
}

int memmap_remove(struct memmap *map, gpa_t start)
{
	unsigned at = region_index(map, start.v);

	if (at == map->nr || map->region[at].start.v != start.v)
		return -ENOENT;
	if (map->region[at].cut || map->region[at].hooked ||
	    (at + 1 < map->nr && map->region[at + 1].cut))
		return -EBUSY;
	take_out(map, at);
	map->changes++;
	return 0;
}

/* --- hooks over memory --- */

/* Let a region end, and its rest begin, at addr. */
static void cut(struct memmap *map, uint64_t addr)
{
	unsigned at = region_index(map, addr);
	struct region *r = &map->region[at];
	uint64_t first;

	if (at == map->nr || r->start.v >= addr)
		return;
	first = addr - r->start.v;
	memmove(r + 1, r, (map->nr - at) * sizeof(*r));
	map->nr++;
	r[1].start.v = addr;
	r[1].size -= first;
	r[1].frames.v += first;
	r[1].source.offset += first;
	r[1].page = r->page ? r->page + (first >> PAGE_SHIFT) : NULL;
	r[1].owned = false;
	r[1].cut = true;
	r->size = first;
}

int memmap_hook(struct memmap *map, gpa_t start, uint64_t size, enum region_kind kind)
{
	uint64_t end = start.v + size, at = start.v;
	unsigned i;

	if (!range_ok(start, size) || (kind != REGION_HOOK && kind != REGION_HOOK_WRITE))
		return trace_error(-EINVAL);
	for (i = region_index(map, at); at != end; i++) {
		const struct region *r = &map->region[i];

		if (i == map->nr || !region_holds(r, at))
			return -ENOENT;
		if (r->kind == REGION_HOOK || r->kind == REGION_HOOK_WRITE)
			return -EEXIST;
		at = MIN(region_last(r), end - 1) + 1;
	}
	if (map->nr + 2 > MEMMAP_MAX_REGIONS)
		return trace_error(-ENOSPC);
	cut(map, start.v);
	cut(map, end);
	for (i = region_index(map, start.v); i < map->nr && map->region[i].start.v - start.v < size;
	     i++) {
		map->region[i].under = map->region[i].kind;
		map->region[i].kind = kind;
		map->region[i].hooked = true;
	}
	map->changes++;
	return 0;
}

/* Join what was cut, from region i on, as far as it begins at or below last + 1. */
static void join(struct memmap *map, unsigned i, uint64_t last)
{
	while (i < map->nr && (!map->region[i].start.v || map->region[i].start.v - 1 <= last)) {
		struct region *r = &map->region[i];

		if (i && r->cut && !r->hooked && !r[-1].hooked) {
			r[-1].size += r->size;
			take_out(map, i);
		} else {
			i++;
		}
	}
}

int memmap_unhook(struct memmap *map, gpa_t start, uint64_t size)
{
	uint64_t last = start.v + (size - 1), at = start.v;
	unsigned first, i;

	if (!range_ok(start, size))
		return trace_error(-EINVAL);
	first = region_index(map, start.v);
	for (i = first; at != last + 1; i++) {
		const struct region *r = &map->region[i];

		if (i == map->nr || r->start.v != at || !r->hooked || region_last(r) > last)
			return -ENOENT;
		at = region_last(r) + 1;
	}
	while (i-- > first) {
		map->region[i].kind = map->region[i].under;
		map->region[i].hooked = false;
	}
	join(map, first, last);
	map->changes++;
	return 0;
}

/* --- looking things up --- */

static struct region *find(struct memmap *map, gpa_t gpa)
{
	unsigned i = __atomic_load_n(&map->last_hit, __ATOMIC_RELAXED);

	if (i < map->nr && region_holds(&map->region[i], gpa.v))
		return &map->region[i];
	i = region_index(map, gpa.v);
	if (i == map->nr || !region_holds(&map->region[i], gpa.v))
		return NULL;
	__atomic_store_n(&map->last_hit, i, __ATOMIC_RELAXED);
	return &map->region[i];
}

const struct region *memmap_find(struct memmap *map, gpa_t gpa)
{
	return find(map, gpa);
}

uint64_t memmap_disk_page(const struct region *r, gpa_t gpa)
{
	if (!r->page)
		return 0;
	return __atomic_load_n(&r->page[(gpa.v - r->start.v) >> PAGE_SHIFT], __ATOMIC_ACQUIRE);
}

void memmap_disk_enter(struct region *r, uint64_t page, hpa_t frame)
{
	__atomic_store_n(&r->page[page], frame.v, __ATOMIC_RELEASE);
}

bool memmap_is_plain(const struct region *r, bool write)
{
	switch (r->kind) {
	case REGION_MEM:
	case REGION_DISK:
		return true;
	case REGION_ROM:
	case REGION_HOOK_WRITE:
		return !write;
	case REGION_HOOK:
	case REGION_APIC:
		return false;
	}
	return false;
}

/* Pages of a DISK region are found in memory one by one. */
static void *disk_ptr(struct memmap *map, struct region *r, uint64_t off, uint64_t *avail)
{
	uint64_t page = off >> PAGE_SHIFT, in_page = off & (PAGE_SIZE - 1);
	gpa_t gpa = GPA(r->start.v + off);

	if (!memmap_disk_page(r, gpa) && (!map->bring_in || !map->bring_in(map->ctx, r, page)))
		return NULL;
	*avail = PAGE_SIZE - in_page;
	return (uint8_t *)hpa_to_ptr(HPA(memmap_disk_page(r, gpa))) + in_page;
}

void *memmap_ptr(struct memmap *map, gpa_t gpa, bool write, uint64_t *avail)
{
	struct region *r = find(map, gpa);
	uint64_t off;

	if (!r || !memmap_is_plain(r, write))
		return NULL;
	off = gpa.v - r->start.v;
	if (r->page)
		return disk_ptr(map, r, off, avail);
	*avail = r->size - off;
	return (uint8_t *)hpa_to_ptr(r->frames) + off;
}

void *memmap_peek(const struct memmap *map, gpa_t gpa, uint64_t *avail)
{
	unsigned at = region_index(map, gpa.v);
	const struct region *r = &map->region[at];
	uint64_t off, page;

	if (at == map->nr || !region_holds(r, gpa.v) || !memmap_is_plain(r, false))
		return NULL;
	off = gpa.v - r->start.v;
	*avail = r->size - off;
	if (!r->page)
		return (uint8_t *)hpa_to_ptr(r->frames) + off;
	off &= PAGE_SIZE - 1;
	*avail = PAGE_SIZE - off;
	page = memmap_disk_page(r, gpa);
	return page ? (uint8_t *)hpa_to_ptr(HPA(page)) + off : NULL;
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
