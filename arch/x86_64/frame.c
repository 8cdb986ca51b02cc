#include "arch/x86_64/frame.h"

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/panic.h"

/*
 * The frame table, in sections of 1 GiB so that holes cost nothing. A block of frames
 * is described by its first frame, the head; free ones are chained per zone (below 4 GiB and
 * above) and order by frame number (frame 0 is never free, so 0 ends a chain). The owner
 * stands in every frame.
 *
 *   section[0] -> | frame 0 | frame 1 | ... |
 *   section[1]    (no RAM there)
 *   section[4] -> | frame 0x100000 | ...    |
 */
#define SECTION_SHIFT FRAME_MAX_ORDER
#define SECTION_FRAMES (UINT32_C(1) << SECTION_SHIFT)
#define MAX_SECTIONS 16384 /* 16 TiB */
#define MAX_BYTES ((uint64_t)MAX_SECTIONS << (SECTION_SHIFT + PAGE_SHIFT))
#define LOW_BYTES GIB(4) /* what the boot tables map */
#define FIRMWARE_BYTES MIB(1)
#define STARTUP_BYTES KIB(640)
#define NR_OWNERS 256 /* owners that are counted one by one */
#define ORDER_2M 9
#define ORDER_1G 18
#define POISON 0xdf

/* No block straddles 4 GiB: none is larger than a section. */
enum zone { ZONE_LOW, ZONE_HIGH, ZONES };

struct frame {
	uint32_t next, prev; /* heads of free blocks */
	uint16_t owner;
	uint8_t order; /* heads */
	bool head;
};

struct section {
	struct frame *frame;
	uint32_t nr; /* the table ends at the section's last frame of RAM */
};

/* All guarded by lock once frame_init() is done. */
static struct spinlock lock = SPINLOCK_INIT(LOCK_FRAME);
static struct section section[MAX_SECTIONS];
static uint32_t free_head[ZONES][FRAME_MAX_ORDER + 1];
static uint64_t owned[NR_OWNERS];                 /* frames */
static uint64_t in_large[NR_OWNERS][FRAME_SIZES]; /* of these, in blocks: pages of 2 MiB, 1 GiB */
static uint64_t total;                            /* frames of RAM */

/* --- the table --- */

static struct frame *frame_at(uint64_t pfn)
{
	const struct section *s;

	if (pfn >> SECTION_SHIFT >= MAX_SECTIONS)
		return NULL;
	s = &section[pfn >> SECTION_SHIFT];
	pfn &= SECTION_FRAMES - 1;
	return pfn < s->nr ? &s->frame[pfn] : NULL;
}

static void count(unsigned owner, int64_t frames)
{
	if (owner != FRAME_NONE && owner < NR_OWNERS)
		owned[owner] += (uint64_t)frames;
}

/* The owner gets a block, or (by -1) loses it. */
static void count_block(unsigned owner, unsigned order, int64_t by)
{
	enum frame_size size = order >= ORDER_1G   ? FRAME_1G
			       : order >= ORDER_2M ? FRAME_2M
						   : FRAME_4K;
	unsigned smallest = size == FRAME_1G ? ORDER_1G : ORDER_2M;

	if (size != FRAME_4K && owner < NR_OWNERS)
		in_large[owner][size] += (uint64_t)(by * (INT64_C(1) << (order - smallest)));
}

static enum zone zone_of(uint32_t pfn)
{
	return pfn < LOW_BYTES >> PAGE_SHIFT ? ZONE_LOW : ZONE_HIGH;
}

static void chain_push(uint32_t pfn, unsigned order)
{
	struct frame *f = frame_at(pfn);
	uint32_t *head = &free_head[zone_of(pfn)][order];

	count_block(FRAME_FREE, order, 1);
	f->head = true;
	f->order = (uint8_t)order;
	f->prev = 0;
	f->next = *head;
	if (f->next)
		frame_at(f->next)->prev = pfn;
	*head = pfn;
}

static void chain_remove(uint32_t pfn)
{
	struct frame *f = frame_at(pfn);

	count_block(FRAME_FREE, f->order, -1);
	f->head = false;
	if (f->prev)
		frame_at(f->prev)->next = f->next;
	else
		free_head[zone_of(pfn)][f->order] = f->next;
	if (f->next)
		frame_at(f->next)->prev = f->prev;
}

/* The n frames lie in one section and have one owner up to now. */
static void set_owner(uint64_t pfn, uint64_t n, unsigned owner)
{
	struct frame *f = frame_at(pfn);

	count(f->owner, -(int64_t)n);
	count(owner, (int64_t)n);
	while (n--)
		f++->owner = (uint16_t)owner;
}

/* Chain a free block, joined with its free buddies as far as that goes. */
static void block_join(uint32_t pfn, unsigned order)
{
	while (order < FRAME_MAX_ORDER) {
		uint32_t buddy = pfn ^ (UINT32_C(1) << order);
		const struct frame *b = frame_at(buddy);

		if (!b || !b->head || b->owner != FRAME_FREE || b->order != order)
			break;
		chain_remove(buddy);
		pfn &= ~(UINT32_C(1) << order);
		order++;
	}
	chain_push(pfn, order);
}

/* --- giving and taking --- */

static uint32_t block_take(enum zone zone, unsigned order)
{
	unsigned o = order;
	uint32_t pfn;

	while (o <= FRAME_MAX_ORDER && !free_head[zone][o])
		o++;
	if (o > FRAME_MAX_ORDER)
		return 0;
	pfn = free_head[zone][o];
	chain_remove(pfn);
	while (o > order) {
		o--;
		chain_push(pfn + (UINT32_C(1) << o), o);
	}
	return pfn;
}

/* From the highest zone that has one. */
static hpa_t alloc(enum zone highest, unsigned order, unsigned owner)
{
	struct frame *f;
	uint32_t pfn;

	kassert(order <= FRAME_MAX_ORDER && owner > FRAME_FREE && owner <= UINT16_MAX);
	spin_lock(&lock);
	pfn = highest == ZONE_HIGH ? block_take(ZONE_HIGH, order) : 0;
	if (!pfn)
		pfn = block_take(ZONE_LOW, order);
	if (pfn) {
		set_owner(pfn, UINT64_C(1) << order, owner);
		count_block(owner, order, 1);
		f = frame_at(pfn);
		f->head = true;
		f->order = (uint8_t)order;
	}
	spin_unlock(&lock);
	return HPA((uint64_t)pfn << PAGE_SHIFT);
}

hpa_t frame_alloc(unsigned order, unsigned owner)
{
	return alloc(ZONE_HIGH, order, owner);
}

static hpa_t zeroed(hpa_t pa, unsigned order)
{
	if (pa.v)
		memset(hpa_to_ptr(pa), 0, PAGE_SIZE << order);
	return pa;
}

hpa_t frame_alloc_zeroed(unsigned order, unsigned owner)
{
	return zeroed(alloc(ZONE_HIGH, order, owner), order);
}

hpa_t frame_alloc_low(unsigned order, unsigned owner)
{
	return zeroed(alloc(ZONE_LOW, order, owner), order);
}

void frame_free(hpa_t pa, unsigned order, unsigned owner)
{
	struct frame *f = frame_at(pa.v >> PAGE_SHIFT);

	if (!f || !IS_ALIGNED(pa.v, PAGE_SIZE) || !f->head || f->order != order ||
	    f->owner != owner || owner <= FRAME_FREE)
		panic("frame_free: 0x%llx, order %u, owner %u was not given so",
		      (unsigned long long)pa.v, order, owner);
#ifdef UMBRA_DEBUG
	memset(hpa_to_ptr(pa), POISON, PAGE_SIZE << order);
#endif
	spin_lock(&lock);
	f->head = false;
	set_owner(pa.v >> PAGE_SHIFT, UINT64_C(1) << order, FRAME_FREE);
	count_block(owner, order, -1);
	block_join((uint32_t)(pa.v >> PAGE_SHIFT), order);
	spin_unlock(&lock);
}

unsigned frame_owner_of(hpa_t pa)
{
	const struct frame *f = frame_at(pa.v >> PAGE_SHIFT);

	return f ? f->owner : FRAME_NONE;
}

bool frame_range_owned(hpa_t pa, uint64_t size, unsigned owner)
{
	uint64_t pfn = pa.v >> PAGE_SHIFT, end;

	if (!size || pa.v + size < pa.v)
		return false;
	end = (pa.v + size - 1) >> PAGE_SHIFT;
	while (pfn <= end) {
		const struct frame *f = frame_at(pfn);

		if (!f || f->owner != owner)
			return false;
		pfn += f->head ? UINT64_C(1) << f->order : 1;
	}
	return true;
}

uint64_t frame_bytes_total(void)
{
	return total << PAGE_SHIFT;
}

uint64_t frame_bytes_free(void)
{
	return owned[FRAME_FREE] << PAGE_SHIFT;
}

uint64_t frame_bytes_owned(unsigned owner)
{
	return owner < NR_OWNERS ? owned[owner] << PAGE_SHIFT : 0;
}

uint64_t frame_pages_owned(unsigned owner, enum frame_size size)
{
	if (owner >= NR_OWNERS)
		return 0;
	if (size != FRAME_4K)
		return in_large[owner][size];
	return owned[owner] - (in_large[owner][FRAME_2M] << ORDER_2M) -
	       (in_large[owner][FRAME_1G] << ORDER_1G);
}

/* --- reading the memory map --- */

/* The frames that the range touches (outward) or holds in full. */
static void frames_of(uint64_t base, uint64_t size, bool outward, uint64_t *from, uint64_t *to)
{
	uint64_t end = base + size < base ? UINT64_MAX : base + size;

	*from = (outward ? base : base + MIN(PAGE_SIZE - 1, UINT64_MAX - base)) >> PAGE_SHIFT;
	*to = end >> PAGE_SHIFT;
	if (outward && !IS_ALIGNED(end, PAGE_SIZE))
		++*to;
	if (*to < *from)
		*to = *from;
}

/*
 * Look at pfn through one range: true if the range holds it. *end moves down to the
 * next frame at which the range begins or ends.
 */
static bool range_holds(uint64_t base, uint64_t size, bool outward, uint64_t pfn, uint64_t *end)
{
	uint64_t from, to;

	frames_of(base, size, outward, &from, &to);
	if (pfn < from) {
		*end = MIN(*end, from);
		return false;
	}
	if (pfn >= to)
		return false;
	*end = MIN(*end, to);
	return true;
}

struct boot_use {
	bool ram, loaded, image;
};

/* What is frame pfn at boot? *end: the frame up to which the answer holds. */
static struct boot_use boot_use(const struct boot_info *bi, uint64_t pfn, uint64_t *end)
{
	bool ram = false, reserved = false, loaded = false, image;

	*end = MAX_BYTES >> PAGE_SHIFT;
	for (unsigned i = 0; i < bi->nr_ranges; i++) {
		const struct boot_range *r = &bi->range[i];

		if (r->size && range_holds(r->base, r->size, !r->available, pfn, end)) {
			if (r->available)
				ram = true;
			else
				reserved = true;
		}
	}
	for (unsigned i = 0; i < bi->nr_modules; i++)
		if (bi->module[i].size &&
		    range_holds(bi->module[i].start.v, bi->module[i].size, true, pfn, end))
			loaded = true;
	if (range_holds(bi->info_start.v, bi->info_end.v - bi->info_start.v, true, pfn, end))
		loaded = true;
	image = range_holds(bi->image_start.v, bi->image_end.v - bi->image_start.v, true, pfn, end);
	return (struct boot_use){ ram && !reserved, loaded, image };
}

/* Whose is it? */
static unsigned boot_owner(const struct boot_info *bi, uint64_t pfn, uint64_t *end)
{
	struct boot_use use = boot_use(bi, pfn, end);

	if (!use.ram)
		return FRAME_NONE;
	/* There is firmware that writes to the first MiB whenever it runs (SMM). QEMU, Bochs:
	 * theirs was not seen to. */
	if (use.image || range_holds(0, FIRMWARE_BYTES, true, pfn, end))
		return FRAME_HYPERVISOR;
	return use.loaded ? FRAME_MODULE : FRAME_FREE;
}

/* The highest: the real-mode firmware's own lie at the bottom. */
hpa_t frame_startup_page(const struct boot_info *bi)
{
	uint64_t end;

	for (uint64_t pfn = STARTUP_BYTES >> PAGE_SHIFT; --pfn;) {
		struct boot_use use = boot_use(bi, pfn, &end);

		if (use.ram && !use.loaded && !use.image)
			return HPA(pfn << PAGE_SHIFT);
	}
	return HPA(0);
}

#define SECTION_FIRST(nr) ((uint64_t)(nr) << SECTION_SHIFT)

/* One past the last frame of RAM in the section; its first frame when there is none. */
static uint64_t section_end(const struct boot_info *bi, unsigned nr)
{
	uint64_t pfn = SECTION_FIRST(nr), stop = SECTION_FIRST(nr + 1), last = pfn, end;

	for (; pfn < stop; pfn = end) {
		unsigned owner = boot_owner(bi, pfn, &end);

		end = MIN(end, stop);
		if (owner != FRAME_NONE)
			last = end;
	}
	return last;
}

/* Where a section's table goes while there is no allocator: a free run of RAM in one
 * section, from *floor on and below 4 GiB. 0: none. */
static uint64_t place_table(const struct boot_info *bi, uint64_t frames, uint64_t *floor)
{
	uint64_t pfn = *floor, end;

	for (; pfn < LOW_BYTES >> PAGE_SHIFT; pfn = end) {
		unsigned owner = boot_owner(bi, pfn, &end);

		end = MIN(end, (pfn | (SECTION_FRAMES - 1)) + 1);
		if (owner == FRAME_FREE && end - pfn >= frames) {
			*floor = pfn + frames;
			return pfn;
		}
	}
	return 0;
}

/* Write down the owner of every frame of the section; its table is there already. */
static void section_fill(const struct boot_info *bi, unsigned nr)
{
	uint64_t pfn = SECTION_FIRST(nr), stop = pfn + section[nr].nr, end;

	for (; pfn < stop; pfn = end) {
		unsigned owner = boot_owner(bi, pfn, &end);

		end = MIN(end, stop);
		if (owner != FRAME_NONE)
			total += end - pfn;
		set_owner(pfn, end - pfn, owner);
	}
}

/* Chain [pfn, stop) of one section as blocks of the largest orders that fit. */
static void run_release(uint64_t pfn, uint64_t stop)
{
	while (pfn < stop) {
		unsigned order = 0;

		while (order < FRAME_MAX_ORDER && IS_ALIGNED(pfn, UINT64_C(2) << order) &&
		       pfn + (UINT64_C(2) << order) <= stop)
			order++;
		block_join((uint32_t)pfn, order);
		pfn += UINT64_C(1) << order;
	}
}

static void section_release(unsigned nr)
{
	uint64_t pfn = SECTION_FIRST(nr), stop = pfn + section[nr].nr, end;

	for (; pfn < stop; pfn = end) {
		unsigned owner = frame_at(pfn)->owner;

		for (end = pfn + 1; end < stop && frame_at(end)->owner == owner;)
			end++;
		if (owner == FRAME_FREE)
			run_release(pfn, end);
	}
}

static uint64_t table_pages(uint64_t frames)
{
	return ALIGN_UP(frames * sizeof(struct frame), PAGE_SIZE) >> PAGE_SHIFT;
}

static void section_open(unsigned nr, struct frame *table, uint64_t frames)
{
	memset(table, 0, table_pages(frames) << PAGE_SHIFT);
	section[nr] = (struct section){ .frame = table, .nr = (uint32_t)frames };
}

void frame_init(const struct boot_info *bi)
{
	const unsigned sections = LOW_BYTES >> (SECTION_SHIFT + PAGE_SHIFT);
	uint64_t table[LOW_BYTES >> (SECTION_SHIFT + PAGE_SHIFT)] = { 0 };
	uint64_t floor = FIRMWARE_BYTES >> PAGE_SHIFT;

	for (unsigned i = 0; i < sections; i++) {
		uint64_t frames = section_end(bi, i) - SECTION_FIRST(i);

		if (!frames)
			continue;
		table[i] = place_table(bi, table_pages(frames), &floor);
		if (table[i])
			section_open(i, hpa_to_ptr(HPA(table[i] << PAGE_SHIFT)), frames);
		else
			log_warn("no room for the frame table of GiB %u: its memory is not used",
				 i);
	}
	for (unsigned i = 0; i < sections; i++)
		section_fill(bi, i);
	for (unsigned i = 0; i < sections; i++)
		if (table[i])
			set_owner(table[i], table_pages(section[i].nr), FRAME_HYPERVISOR);
	for (unsigned i = 0; i < sections; i++)
		section_release(i);
}

/* Memory for a table of so many pages: the block's unneeded tail goes back. */
static uint64_t alloc_table(uint64_t pages)
{
	unsigned order = 0;
	uint64_t pfn, stop;

	while (UINT64_C(1) << order < pages)
		order++;
	pfn = frame_alloc(order, FRAME_HYPERVISOR).v >> PAGE_SHIFT;
	stop = pfn + (UINT64_C(1) << order);
	if (!pfn || pfn + pages == stop)
		return pfn;
	spin_lock(&lock);
	frame_at(pfn)->head = false;
	set_owner(pfn + pages, stop - pfn - pages, FRAME_FREE);
	count_block(FRAME_HYPERVISOR, order, -1);
	run_release(pfn + pages, stop);
	spin_unlock(&lock);
	return pfn;
}

static void section_add_high(const struct boot_info *bi, unsigned nr)
{
	uint64_t frames = section_end(bi, nr) - SECTION_FIRST(nr), pfn;

	if (!frames)
		return;
	pfn = alloc_table(table_pages(frames));
	if (!pfn) {
		log_warn("no room for the frame table of GiB %u: its memory is not used", nr);
		return;
	}
	section_open(nr, hpa_to_ptr(HPA(pfn << PAGE_SHIFT)), frames);
	section_fill(bi, nr);
	section_release(nr);
}

void frame_init_high(const struct boot_info *bi)
{
	uint64_t pfn = LOW_BYTES >> PAGE_SHIFT, end;

	/* Holes are stepped over a range at a time, RAM a section at a time. */
	for (; pfn < MAX_BYTES >> PAGE_SHIFT; pfn = end) {
		unsigned nr = (unsigned)(pfn >> SECTION_SHIFT);

		if (boot_owner(bi, pfn, &end) == FRAME_NONE)
			continue;
		section_add_high(bi, nr);
		end = SECTION_FIRST(nr + 1);
	}
	for (unsigned i = 0; i < bi->nr_ranges; i++)
		if (bi->range[i].available && bi->range[i].base + bi->range[i].size > MAX_BYTES)
			log_warn("memory above 16 TiB is not used");
}
