/* Where physical memory is found in the hypervisor's address space. */
#ifndef UMBRA_MM_H
#define UMBRA_MM_H

#include <stdint.h>

#include "arch/x86_64/include/addr.h"

/*
 *   0x0000000000000000  unmapped (page 0 and all of the lower half)
 *   0xffff800000000000  direct map: all physical memory, RW, NX; the image's read-only
 *                       parts R
 *   0xffffffff80200000  the image: .text RX, .rodata R, .data/.bss RW, each NX but
 *                       .text; its stacks have an unmapped guard page below
 */
#if __STDC_HOSTED__
extern uint64_t direct_map_base; /* tests set it to where their fake memory lies */
#define DIRECT_MAP_BASE direct_map_base
#else
#define DIRECT_MAP_BASE UINT64_C(0xffff800000000000)
#endif

/* Where the direct map has pa: RAM, what firmware reserved, the first 4 GiB, and what
 * host_map_mmio() mapped. */
static inline void *hpa_to_ptr(hpa_t pa)
{
	return (void *)(uintptr_t)(DIRECT_MAP_BASE + pa.v);
}

/* ptr must lie in the direct map. */
static inline hpa_t ptr_to_hpa(const void *ptr)
{
	return HPA((uintptr_t)ptr - DIRECT_MAP_BASE);
}

#endif
