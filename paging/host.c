#include "paging/host.h"

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/smp.h"
#include "paging/host_layout.h"

/* With more pages than this to drop, dropping all is quicker. */
#define INVLPG_MAX 64

static struct pt_format format;
static struct spinlock lock = SPINLOCK_INIT(LOCK_HOST_TABLES); /* of the tree's entries */
static struct pt_tree tree;

static struct host_part part_of(const char *start, const char *end, unsigned rights)
{
	return (struct host_part){
		.start = (uintptr_t)start,
		.size = (uint64_t)(end - start),
		.pa = image_to_hpa(start),
		.rights = rights,
	};
}

/* Build the layout of this image on this machine into the tree. */
static enum pt_status build(const struct boot_info *bi, struct pt_flush *flush)
{
	const struct host_part parts[] = {
		part_of(__text_start, __text_end, PT_R | PT_X),
		part_of(__rodata_start, __rodata_end, PT_R),
		part_of(__data_start, __bss_end, PT_R | PT_W),
	};
	uint64_t guards[IMAGE_GUARD_PAGES];
	const struct host_layout layout = {
		.bi = bi,
		.direct_map = DIRECT_MAP_BASE,
		.maxphyaddr = cpu_features()->maxphyaddr,
		.nr_parts = ARRAY_SIZE(parts),
		.part = parts,
		.nr_guards = IMAGE_GUARD_PAGES,
		.guard = guards,
	};

	for (unsigned i = 0; i < IMAGE_GUARD_PAGES; i++)
		guards[i] = (uintptr_t)image_guard_page[i];
	return host_layout_build(&tree, &layout, flush);
}

/* Drop this CPU's translations of what was changed. */
static void flush_local(void *ctx)
{
	const struct pt_flush *flush = ctx;

	if ((flush->last - flush->start) >> PAGE_SHIFT < INVLPG_MAX)
		for (uint64_t va = flush->start; va - 1 < flush->last; va += PAGE_SIZE)
			invlpg(va);
	else
		write_cr3(read_cr3());
}

/* On every CPU, then free the tables that fell out. Without the lock: who waits for that with
 * interrupts off would not hear of it. */
static void flush_all(struct pt_flush *flush)
{
	if (flush->start <= flush->last) {
		flush_local(flush);
		smp_call_others(flush_local, flush);
	}
	pt_release(&tree, flush);
	*flush = PT_FLUSH_NONE;
}

static int failed(enum pt_status status)
{
	log_err("host page tables: %s",
		status == PT_NO_MEMORY ? "out of memory" : "an address that cannot be mapped");
	return trace_error(status == PT_NO_MEMORY ? -ENOMEM : -EINVAL);
}

int host_paging_init(const struct boot_info *bi)
{
	const struct cpu_features *cpu = cpu_features();
	const struct pt_caps caps = {
		.maxphyaddr = (uint8_t)cpu->maxphyaddr,
		.nx = true,
		.page_1g = cpu->page_1g,
	};
	struct pt_flush flush = PT_FLUSH_NONE;
	enum pt_status status;

	pt_format_init(&format, PT_4LEVEL, &caps);
	status = pt_create(&tree, &format, host_pt_mem());
	host_pt_tree_set(tree);
	if (status == PT_OK)
		status = build(bi, &flush);
	/* The new tree is not in use yet: nothing is cached of it. */
	pt_release(&tree, &flush);
	if (status != PT_OK)
		return failed(status);
	write_cr0(read_cr0() | CR0_WP);
	write_cr3(tree.root);
	log_debug("host page tables: %llu KiB",
		  (unsigned long long)(frame_bytes_owned(FRAME_PAGE_TABLE) >> 10));
	return 0;
}

void *host_map_mmio(hpa_t pa, uint64_t size)
{
	struct host_layout l = { .direct_map = DIRECT_MAP_BASE,
				 .maxphyaddr = cpu_features()->maxphyaddr };
	uint64_t start = ALIGN_DOWN(pa.v, PAGE_SIZE), end = ALIGN_UP(pa.v + size, PAGE_SIZE);
	struct pt_flush flush = PT_FLUSH_NONE;
	enum pt_status status;

	if (!size || end <= start)
		return NULL;
	for (uint64_t at = start; at < end; at += PAGE_SIZE)
		if (frame_owner_of(HPA(at)) != FRAME_NONE)
			return NULL;
	spin_lock(&lock);
	status = host_layout_map_mmio(&tree, &l, HPA(start), end - start, &flush);
	spin_unlock(&lock);
	flush_all(&flush);
	return status == PT_OK ? hpa_to_ptr(pa) : NULL;
}

bool host_unmap_guard(const void *page)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	enum pt_status status;

	spin_lock(&lock);
	status = pt_unmap(&tree, (uintptr_t)page, PAGE_SIZE, &flush);
	spin_unlock(&lock);
	flush_all(&flush);
	return status == PT_OK;
}

int host_paging_audit(void)
{
	struct pt_visit bad;
	bool good;

	spin_lock(&lock);
	good = host_layout_audit(&tree, &bad);
	spin_unlock(&lock);
	if (good)
		return 0;
	log_err("host page tables: page at 0x%llx has rights 0x%x", (unsigned long long)bad.addr,
		bad.attrs & PT_RIGHTS);
	return trace_error(-EINVAL);
}
