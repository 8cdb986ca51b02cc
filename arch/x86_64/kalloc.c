#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/mm.h"

static unsigned order_of(size_t size)
{
	unsigned order = 0;

	while (order <= FRAME_MAX_ORDER && PAGE_SIZE << order < size)
		order++;
	return order;
}

void *kalloc(size_t size)
{
	unsigned order = order_of(size);
	hpa_t pa = HPA(0);

	if (size && order <= FRAME_MAX_ORDER)
		pa = frame_alloc_zeroed(order, FRAME_HYPERVISOR);
	return pa.v ? hpa_to_ptr(pa) : NULL;
}

void kfree(void *p, size_t size)
{
	if (p)
		frame_free(ptr_to_hpa(p), order_of(size), FRAME_HYPERVISOR);
}
