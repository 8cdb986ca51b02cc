/*
 * Passthrough tables from guest-physical to host-physical for one VM: NPT or EPT.
 * The tables' own pages come from the frame allocator through a pt_mem that vmm/
 * hands in.
 */
#ifndef UMBRA_PAGING_NESTED_H
#define UMBRA_PAGING_NESTED_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "paging/pt.h"

enum nested_kind { NESTED_NPT, NESTED_EPT };

struct nested {
	struct pt_format fmt;
	const struct pt_mem *mem;
	/*
	 * May frame range [pa, pa + size) be entered in this VM's table? Asked by each
	 * nested_map() about its whole target, in release builds too.
	 */
	bool (*may_map)(void *ctx, hpa_t pa, uint64_t size);
	void *may_map_ctx;
	hpa_t root;
	struct pt_flush left; /* tables that have fallen out, until nested_release() */
};

/* 0 or -ENOMEM. caps: MAXPHYADDR and 1 GiB pages of this machine. */
int nested_init(struct nested *n, enum nested_kind kind, const struct pt_caps *caps,
		const struct pt_mem *mem, bool (*may_map)(void *ctx, hpa_t, uint64_t),
		void *may_map_ctx);
/* Free every table page, never a data page. */
void nested_destroy(struct nested *n);

/*
 * Map [gpa, gpa + size) to [pa, ...) in the largest pages that alignment, size and the
 * format allow. rights: PT_R | PT_W | PT_X. gpa, pa, size: multiples of 4 KiB, size > 0.
 * Replaces what was mapped. 0, -EINVAL (alignment, wrap), -EACCES (may_map said no),
 * -ENOMEM. The caller flushes the TLBs of all vCPUs when something was mapped there before. They
 * may run meanwhile: each access finds the old mapping or the new one.
 */
int nested_map(struct nested *n, gpa_t gpa, hpa_t pa, uint64_t size, unsigned rights);
/* Leave the range absent: every access exits. 0, -EINVAL or -ENOMEM, as nested_map(). */
int nested_unmap(struct nested *n, gpa_t gpa, uint64_t size);
/* Change the rights of what is mapped in the range; absent parts stay absent. 0, -EINVAL
 * or -ENOMEM. */
int nested_protect(struct nested *n, gpa_t gpa, uint64_t size, unsigned rights);
/* All vCPUs have been flushed since the changes above: the tables that fell out go. */
void nested_release(struct nested *n);
/* The table as a tree, for looking at it only. */
struct pt_tree nested_tree(const struct nested *n);
/* Where gpa leads, without rights; false: absent. */
bool nested_lookup(const struct nested *n, gpa_t gpa, hpa_t *pa, unsigned *rights,
		   uint64_t *page_size);

#endif
