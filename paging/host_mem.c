/* Tables in host memory, reached through the direct map. */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/mm.h"
#include "paging/host.h"

static bool direct_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	const void *p = hpa_to_ptr(HPA(pa));

	(void)ctx;
	if (size == 8)
		*val = __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	else
		*val = __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	return true;
}

static bool direct_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	void *p = hpa_to_ptr(HPA(pa));
	uint32_t old32 = (uint32_t)old;

	(void)ctx;
	if (size == 8)
		return __atomic_compare_exchange_n((uint64_t *)p, &old, val, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)p, &old32, (uint32_t)val, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static uint64_t direct_alloc(void *ctx)
{
	(void)ctx;
	return frame_alloc_zeroed(0, FRAME_PAGE_TABLE).v;
}

static void direct_free(void *ctx, uint64_t pa)
{
	(void)ctx;
	frame_free(HPA(pa), 0, FRAME_PAGE_TABLE);
}

const struct pt_mem *host_pt_mem(void)
{
	static const struct pt_mem mem = {
		.read = direct_read,
		.cmpxchg = direct_cmpxchg,
		.alloc = direct_alloc,
		.free = direct_free,
	};

	return &mem;
}

static struct pt_tree final;

struct pt_tree host_pt_tree(void)
{
	return final;
}

void host_pt_tree_set(struct pt_tree tree)
{
	final = tree;
}
