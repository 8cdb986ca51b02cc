#include "paging/host_layout.h"

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/include/bits.h"

#define LOW_BYTES GIB(4)
#define DATA_ATTRS (PT_R | PT_W | PT_A | PT_D)

/* Cut [base, base + size) to whole pages, inward or outward, below the machine's end. */
static bool clip(const struct host_layout *l, uint64_t base, uint64_t size, bool outward,
		 uint64_t *start, uint64_t *bytes)
{
	uint64_t limit = MIN(HOST_WINDOW, BIT(l->maxphyaddr));
	uint64_t end = base + size < base ? limit : MIN(base + size, limit);

	if (base >= limit)
		return false;
	*start = outward ? ALIGN_DOWN(base, PAGE_SIZE) : ALIGN_UP(base, PAGE_SIZE);
	end = outward ? ALIGN_UP(end, PAGE_SIZE) : ALIGN_DOWN(end, PAGE_SIZE);
	*bytes = end - *start;
	return end > *start;
}

static enum pt_status map_direct(const struct pt_tree *t, const struct host_layout *l, uint64_t pa,
				 uint64_t size, unsigned attrs, struct pt_flush *flush)
{
	return pt_map(t, l->direct_map + pa, pa, size, DATA_ATTRS | attrs, flush);
}

/* All ranges of one kind. RAM keeps whole pages only: what firmware has of a page wins. */
static enum pt_status map_ranges(const struct pt_tree *t, const struct host_layout *l,
				 bool available, struct pt_flush *flush)
{
	for (unsigned i = 0; i < l->bi->nr_ranges; i++) {
		const struct boot_range *r = &l->bi->range[i];
		uint64_t start, size;
		enum pt_status status;

		if (r->available != available ||
		    !clip(l, r->base, r->size, !available, &start, &size))
			continue;
		status = map_direct(t, l, start, size, available ? 0 : PT_UC, flush);
		if (status != PT_OK)
			return status;
	}
	return PT_OK;
}

static enum pt_status map_image(const struct pt_tree *t, const struct host_layout *l,
				struct pt_flush *flush)
{
	enum pt_status status;

	for (unsigned i = 0; i < l->nr_parts; i++) {
		const struct host_part *p = &l->part[i];

		if (!p->size)
			continue;
		status = pt_map(t, p->start, p->pa.v, p->size, p->rights | PT_A | PT_D, flush);
		if (status == PT_OK && !(p->rights & PT_W))
			status = pt_protect(t, l->direct_map + p->pa.v, p->size, PT_W, 0, flush);
		if (status != PT_OK)
			return status;
	}
	for (unsigned i = 0; i < l->nr_guards; i++) {
		status = pt_unmap(t, l->guard[i], PAGE_SIZE, flush);
		if (status != PT_OK)
			return status;
	}
	return PT_OK;
}

enum pt_status host_layout_build(const struct pt_tree *t, const struct host_layout *l,
				 struct pt_flush *flush)
{
	enum pt_status status = map_direct(t, l, 0, LOW_BYTES, PT_UC, flush);

	if (status == PT_OK)
		status = map_ranges(t, l, true, flush);
	if (status == PT_OK)
		status = map_ranges(t, l, false, flush);
	if (status == PT_OK)
		status = map_image(t, l, flush);
	return status;
}

enum pt_status host_layout_map_mmio(const struct pt_tree *t, const struct host_layout *l, hpa_t pa,
				    uint64_t size, struct pt_flush *flush)
{
	uint64_t limit = MIN(HOST_WINDOW, BIT(l->maxphyaddr));

	if (pa.v >= limit || size > limit - pa.v)
		return PT_BAD_ARG;
	return map_direct(t, l, pa.v, size, PT_UC, flush);
}

static bool page_is_good(void *ctx, const struct pt_visit *v)
{
	struct pt_visit *bad = ctx;

	if (!v->leaf ||
	    (v->addr >> 63 && !(v->attrs & PT_U) && (v->attrs & (PT_W | PT_X)) != (PT_W | PT_X)))
		return true;
	*bad = *v;
	return false;
}

bool host_layout_audit(const struct pt_tree *t, struct pt_visit *bad)
{
	uint64_t budget = UINT64_MAX;

	return pt_visit(t, &budget, page_is_good, bad) == PT_OK;
}
