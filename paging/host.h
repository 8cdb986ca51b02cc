/* The hypervisor's own address space (arch/x86_64/mm.h has its picture). */
#ifndef UMBRA_PAGING_HOST_H
#define UMBRA_PAGING_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "paging/pt.h"

struct boot_info;

/*
 * Build the final tables and load them: all RAM and the low 4 GiB in the direct map, the
 * image with W^X and without its guard pages, nothing in the lower half. After
 * frame_init(), before frame_init_high(). 0, -ENOMEM or -EINVAL (logged).
 */
int host_paging_init(const struct boot_info *bi);

/*
 * Device registers at [pa, pa + size) as uncached memory, in the direct map's window; for
 * good. NULL: no memory, not an address of this machine, or RAM is there.
 */
void *host_map_mmio(hpa_t pa, uint64_t size);

/* Have nothing at that page of the direct map any more, for good: the guard page of a stack. False:
 * no memory for a table. */
bool host_unmap_guard(const void *page);

/*
 * Look at every page mapped: none may be both writable and executable, none for user mode,
 * none in the lower half. 0, or -EINVAL with the first wrong one logged.
 */
int host_paging_audit(void);

/* The final tables as a tree, for looking at it only; which host_paging_init() says once. */
struct pt_tree host_pt_tree(void);
void host_pt_tree_set(struct pt_tree tree);

/*
 * Memory for tables that hardware walks: through the direct map, pages from the frame
 * allocator with owner FRAME_PAGE_TABLE.
 */
const struct pt_mem *host_pt_mem(void);

#endif
