/* What the hypervisor's address space holds, as mappings in a tree. */
#ifndef UMBRA_PAGING_HOST_LAYOUT_H
#define UMBRA_PAGING_HOST_LAYOUT_H

#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "paging/pt.h"

struct boot_info;

/* Physical addresses below this have a place in the direct map's window. */
#define HOST_WINDOW BIT(46)

/* A part of the image; start, size and pa are multiples of 4 KiB. */
struct host_part {
	uint64_t start, size;
	hpa_t pa;
	unsigned rights;
};

struct host_layout {
	const struct boot_info *bi;
	uint64_t direct_map; /* where the window begins */
	unsigned maxphyaddr;
	unsigned nr_parts, nr_guards;
	const struct host_part *part;
	const uint64_t *guard; /* 4 KiB pages of the image that stay absent */
};

/*
 * Map all of it into the empty tree t: RAM write-back, the low 4 GiB else and what
 * firmware reserved uncached, all RW and NX; the image's parts with their rights, their
 * read-only ones read-only in the direct map too; no guard pages.
 */
enum pt_status host_layout_build(const struct pt_tree *t, const struct host_layout *l,
				 struct pt_flush *flush);

/* Map device registers into the window, uncached; multiples of 4 KiB. */
enum pt_status host_layout_map_mmio(const struct pt_tree *t, const struct host_layout *l, hpa_t pa,
				    uint64_t size, struct pt_flush *flush);

/* The first page that is writable and executable, or user's, or in the lower half, goes to
 * *bad. True: there is none. */
bool host_layout_audit(const struct pt_tree *t, struct pt_visit *bad);

#endif
