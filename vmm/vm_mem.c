/*
 * A VM's memory: regions come and go in the memory map and in the VM's tables together.
 * Guest-physical memory, as every VM gets it:
 *
 *   0x00000000  RAM
 *   0x000a0000  nothing (the video window): reads all ones
 *   0x000c0000  RAM, for option ROMs and tables
 *   0x000f0000  ROM: the BIOS area, with the ACPI tables
 *   0x00100000  RAM, up to memory= or the PCI hole at 3 GiB
 *   0xc0000000  PCI hole: devices, or nothing
 *   0xfee00000  a page for the processor, where it has a use for one: see add_apic_page()
 *   0xfeffc000  a page of ROM, where the processor needs one: see add_identity_map()
 *  0x100000000  the RAM that did not fit below
 *
 * and disk regions where their lines put them.
 */
#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/panic.h"
#include "vmm/vm.h"
#include "vmm/vm_tables.h"

/* --- regions --- */

/* What the tables give of the frames of a region; 0: nothing. */
static unsigned table_rights(enum region_kind kind)
{
	switch (kind) {
	case REGION_MEM:
	case REGION_DISK:
		return PT_R | PT_W | PT_X;
	case REGION_ROM:
	case REGION_HOOK_WRITE:
		return PT_R | PT_X;
	case REGION_APIC:
		return PT_R | PT_W;
	case REGION_HOOK:
		return 0;
	}
	return 0;
}

static size_t page_array_size(const struct region *r)
{
	return (r->size >> PAGE_SHIFT) * sizeof(r->page[0]);
}

/* Enter what the memory map has of [start, start + size), all of it the region's. Of a disk that
 * are the pages that have come in. */
static int map_part(struct vm *vm, const struct region *r, gpa_t start, uint64_t size)
{
	uint64_t end = start.v + size;
	int err = 0;

	if (!table_rights(r->kind))
		return 0;
	if (!r->page)
		return vm_tables_map(vm, start, HPA(r->frames.v + (start.v - r->start.v)), size,
				     table_rights(r->kind));
	for (uint64_t at = start.v; !err && at != end; at += PAGE_SIZE) {
		uint64_t pa = memmap_disk_page(r, GPA(at));

		if (pa)
			err = vm_tables_map(vm, GPA(at), HPA(pa), PAGE_SIZE, table_rights(r->kind));
	}
	return err;
}

/* A map that ran out of memory half way has left enough to take back what it did. */
static void unmap_again(struct vm *vm, const struct region *r)
{
	int err = vm_tables_unmap(vm, r->start, r->size);

	if (err)
		panic("vm_tables_unmap: %d after a map that failed", err);
}

static int add_region(struct vm *vm, const struct region *region)
{
	struct region r = *region;
	int err;

	r.page = NULL;
	if (r.kind == REGION_DISK) {
		if (!r.source.read || !IS_ALIGNED(r.size, PAGE_SIZE) || !r.size)
			return trace_error(-EINVAL);
		r.page = kalloc(page_array_size(&r));
		if (!r.page)
			return trace_error(-ENOMEM);
	}
	err = memmap_add(&vm->mem, &r);
	if (err) {
		kfree(r.page, page_array_size(&r));
		return err;
	}
	err = map_part(vm, &r, r.start, r.size);
	if (err) {
		unmap_again(vm, &r);
		memmap_remove(&vm->mem, r.start);
	}
	vm_tables_changed(vm, r.start, r.size);
	return err;
}

int vm_add_region(struct vm *vm, const struct region *region)
{
	int err;

	vm_tables_lock(vm);
	err = add_region(vm, region);
	vm_tables_unlock(vm);
	return err;
}

/* The table could not follow the memory map, which the guest must not go on with. */
static int out_of_tables(struct vm *vm, gpa_t gpa)
{
	vm_request_stop(vm, VM_STOP_ERROR, 0, "no free memory for its tables at gpa 0x%llx",
			(unsigned long long)gpa.v);
	return trace_error(-ENOMEM);
}

static void free_frames(const struct vm *vm, const struct region *r)
{
	if (r->owned)
		frame_free(r->frames, r->order, FRAME_VM0 + vm->id);
	if (r->kind != REGION_DISK)
		return;
	for (uint64_t i = 0; i < r->size >> PAGE_SHIFT; i++)
		if (r->page[i])
			frame_free(HPA(r->page[i]), 0, FRAME_VM0 + vm->id);
	kfree(r->page, page_array_size(r));
}

static int remove_region(struct vm *vm, gpa_t start)
{
	const struct region *found = memmap_find(&vm->mem, start);
	struct region r;
	int err;

	if (!found)
		return -ENOENT;
	r = *found;
	err = memmap_remove(&vm->mem, start);
	if (err)
		return err;
	err = vm_tables_unmap(vm, r.start, r.size);
	vm_tables_changed(vm, r.start, r.size);
	if (!err) {
		free_frames(vm, &r);
		return 0;
	}
	memmap_add(&vm->mem, &r);
	return map_part(vm, &r, r.start, r.size) ? out_of_tables(vm, start) : trace_error(err);
}

int vm_remove_region(struct vm *vm, gpa_t start)
{
	int err;

	vm_tables_lock(vm);
	err = remove_region(vm, start);
	vm_tables_unlock(vm);
	return err;
}

/* --- hooks --- */

/* Enter what the memory map has of a range that is all memory. */
static int map_range(struct vm *vm, gpa_t start, uint64_t size)
{
	uint64_t end = start.v + size;
	int err = 0;

	for (uint64_t at = start.v; !err && at != end;) {
		const struct region *r = memmap_find(&vm->mem, GPA(at));
		uint64_t part = MIN(r->size - (at - r->start.v), end - at);

		err = map_part(vm, r, GPA(at), part);
		at += part;
	}
	vm_tables_changed(vm, start, size);
	return err;
}

static int hook(struct vm *vm, gpa_t start, uint64_t size, enum region_kind kind)
{
	unsigned rights = table_rights(kind);
	int err = memmap_hook(&vm->mem, start, size, kind);

	if (err)
		return err;
	err = rights ? vm_tables_protect(vm, start, size, rights)
		     : vm_tables_unmap(vm, start, size);
	vm_tables_changed(vm, start, size);
	if (!err)
		return 0;
	memmap_unhook(&vm->mem, start, size);
	return map_range(vm, start, size) ? out_of_tables(vm, start) : trace_error(err);
}

int vm_hook(struct vm *vm, gpa_t start, uint64_t size, enum region_kind kind)
{
	int err;

	vm_tables_lock(vm);
	err = hook(vm, start, size, kind);
	vm_tables_unlock(vm);
	return err;
}

int vm_unhook(struct vm *vm, gpa_t start, uint64_t size)
{
	int err;

	vm_tables_lock(vm);
	err = memmap_unhook(&vm->mem, start, size);
	if (!err && map_range(vm, start, size))
		err = out_of_tables(vm, start);
	vm_tables_unlock(vm);
	return err;
}

/* --- disk regions --- */

static bool bring_in_alone(struct vm *vm, struct region *r, uint64_t page)
{
	gpa_t gpa = GPA(r->start.v + (page << PAGE_SHIFT));
	hpa_t frame = frame_alloc(0, FRAME_VM0 + vm->id);
	int err = frame.v ? 0 : -ENOMEM;

	if (!err)
		err = r->source.read(r->source.ctx, r->source.offset + (page << PAGE_SHIFT),
				     hpa_to_ptr(frame));
	if (!err)
		err = vm_tables_map(vm, gpa, frame, PAGE_SIZE, table_rights(r->kind));
	if (err) {
		if (frame.v)
			frame_free(frame, 0, FRAME_VM0 + vm->id);
		vm_request_stop(vm, VM_STOP_ERROR, 0,
				err == -ENOMEM ? "no free memory for the disk page at gpa 0x%llx"
					       : "the disk page at gpa 0x%llx cannot be read",
				(unsigned long long)gpa.v);
		return false;
	}
	memmap_disk_enter(r, page, frame);
	return true;
}

/* Another CPU may want it at the same time. */
static bool bring_in(void *ctx, struct region *r, uint64_t page)
{
	struct vm *vm = ctx;
	bool done;

	vm_tables_lock(vm);
	done = memmap_disk_page(r, GPA(r->start.v + (page << PAGE_SHIFT))) ||
	       bring_in_alone(vm, r, page);
	vm_tables_unlock(vm);
	return done;
}

void vm_disk_fault(struct vm *vm, gpa_t gpa)
{
	const struct region *r = memmap_find(&vm->mem, gpa);
	uint64_t avail;

	if (!memmap_disk_page(r, gpa)) {
		memmap_ptr(&vm->mem, gpa, false, &avail);
		return;
	}
	/* Another vCPU was first, or a translation was kept that is no longer true. */
	if (map_part(vm, r, GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE)), PAGE_SIZE))
		out_of_tables(vm, gpa);
	vm_tables_changed(vm, GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE)), PAGE_SIZE);
}

/* A GRUB module as a region's source. */
static int read_module(void *ctx, uint64_t offset, void *page)
{
	const struct boot_module *m = ctx;
	uint64_t n = offset < m->size ? MIN(m->size - offset, PAGE_SIZE) : 0;

	memcpy(page, (const uint8_t *)hpa_to_ptr(m->start) + offset, n);
	memset((uint8_t *)page + n, 0, PAGE_SIZE - n);
	return 0;
}

static int add_disk(struct vm *vm, const struct vm_disk *disk)
{
	const struct region r = {
		.start = GPA(disk->at),
		.size = ALIGN_UP(disk->file->size, PAGE_SIZE),
		.kind = REGION_DISK,
		.source = { .read = read_module, .ctx = (void *)disk->file },
	};

	return vm_add_region(vm, &r);
}

/* --- a whole guest --- */

/* The largest block that alignment at gpa and size allow. */
static unsigned block_order(uint64_t gpa, uint64_t size)
{
	unsigned order = 0;

	while (order < FRAME_MAX_ORDER && (PAGE_SIZE << (order + 1)) <= size &&
	       IS_ALIGNED(gpa, PAGE_SIZE << (order + 1)))
		order++;
	return order;
}

/* One block of at most *order. What is RAM is not clear yet: vm_clear_memory(). */
static int add_block(struct vm *vm, uint64_t gpa, enum region_kind kind, unsigned *order)
{
	struct region r = { .start = GPA(gpa), .kind = kind, .owned = true };
	int err;

	for (;; (*order)--) {
		r.frames = frame_alloc(*order, FRAME_VM0 + vm->id);
		if (r.frames.v || *order == 0)
			break;
	}
	if (!r.frames.v)
		return trace_error(-ENOMEM);
	r.order = *order;
	r.size = PAGE_SIZE << *order;
	if (kind != REGION_MEM)
		memset(hpa_to_ptr(r.frames), 0, r.size);
	err = vm_add_region(vm, &r);
	if (err)
		frame_free(r.frames, r.order, FRAME_VM0 + vm->id);
	return err;
}

static int add_memory(struct vm *vm, uint64_t start, uint64_t end, enum region_kind kind)
{
	while (start < end) {
		unsigned order = block_order(start, end - start);
		int err = add_block(vm, start, kind, &order);

		if (err)
			return err;
		start += PAGE_SIZE << order;
	}
	return 0;
}

/* A 32-bit page directory: SDM vol. 3, 4.3. */
#define PDE_P BIT(0)
#define PDE_RW BIT(1)
#define PDE_US BIT(2)
#define PDE_A BIT(5)
#define PDE_D BIT(6)
#define PDE_PS BIT(7)
#define PDE_SHIFT 22
#define PDES 1024

/* In the chipset's range, where no device of the guest's PC answers. */
#define IDENTITY_MAP UINT64_C(0xfeffc000)

/*
 * There are processors that page always under nested paging: while the guest does not, its
 * addresses go through a page directory of 4 MiB pages that leads each to itself. The guest can
 * read it, as ROM. Accessed and dirty are set from the start, so that the processor never writes
 * there either.
 */
static int add_identity_map(struct vm *vm)
{
	int err = add_memory(vm, IDENTITY_MAP, IDENTITY_MAP + PAGE_SIZE, REGION_ROM);
	uint32_t *pde;
	uint64_t avail;

	if (err)
		return err;
	pde = memmap_ptr(&vm->mem, GPA(IDENTITY_MAP), false, &avail);
	for (uint32_t i = 0; i < PDES; i++)
		pde[i] = (uint32_t)(i << PDE_SHIFT | PDE_P | PDE_RW | PDE_US | PDE_A | PDE_D |
				    PDE_PS);
	vm->identity_map = GPA(IDENTITY_MAP);
	return 0;
}

/*
 * Accesses there the processor does on each vCPU's own virtual-APIC page, or leaves the guest.
 * Which page it is goes by the frame, which stays the VM's for as long as it has vCPUs: it is taken
 * off the map as soon as one of them has its local APIC elsewhere, off, or as x2APIC.
 */
static int add_apic_page(struct vm *vm)
{
	struct region r = { .start = GPA(LAPIC_BASE), .size = PAGE_SIZE, .kind = REGION_APIC };

	r.frames = vm->apic_page = frame_alloc_zeroed(0, FRAME_VM0 + vm->id);
	return r.frames.v ? vm_add_region(vm, &r) : trace_error(-ENOMEM);
}

void vm_drop_apic_page(struct vm *vm)
{
	const struct region *r = memmap_find(&vm->mem, GPA(LAPIC_BASE));

	if (r && r->kind == REGION_APIC && vm_remove_region(vm, GPA(LAPIC_BASE)))
		out_of_tables(vm, GPA(LAPIC_BASE));
}

int vm_make_memory(struct vm *vm)
{
	uint64_t ram = vm->cfg->memory, low = MIN(ram, VM_PCI_HOLE);
	int err;

	vm->mem.bring_in = bring_in;
	vm->mem.ctx = vm;
	err = add_memory(vm, 0, MIN(low, VM_LOW_RAM_END), REGION_MEM);
	if (!err)
		err = add_memory(vm, VM_BIOS_RAM, VM_BIOS_ROM, REGION_MEM);
	if (!err)
		err = add_memory(vm, VM_BIOS_ROM, VM_HIGH_RAM, REGION_ROM);
	if (!err)
		err = add_memory(vm, VM_HIGH_RAM, low, REGION_MEM);
	if (!err && ram > low)
		err = add_memory(vm, VM_ABOVE_4G, VM_ABOVE_4G + (ram - low), REGION_MEM);
	if (!err && !vm->shadow && vm->backend->caps()->identity_map)
		err = add_identity_map(vm);
	if (!err && vm->cfg->apic && vm->backend->caps()->apic_page)
		err = add_apic_page(vm);
	for (unsigned i = 0; !err && i < vm->cfg->nr_disks; i++)
		err = add_disk(vm, &vm->cfg->disk[i]);
	return err;
}

bool vm_clear_memory(struct vm *vm, uint64_t bytes)
{
	for (unsigned i = 0; i < vm->mem.nr && bytes; i++) {
		const struct region *r = &vm->mem.region[i];
		uint64_t end = r->start.v + r->size, n;

		if (r->kind != REGION_MEM || end <= vm->clear_to)
			continue;
		vm->clear_to = MAX(vm->clear_to, r->start.v);
		n = MIN(end - vm->clear_to, bytes);
		memset(hpa_to_ptr(HPA(r->frames.v + (vm->clear_to - r->start.v))), 0, n);
		vm->clear_to += n;
		bytes -= n;
	}
	return bytes;
}

void vm_free_memory(struct vm *vm)
{
	/* A region owns its frames whole. From the end: what was cut off is joined to the left. */
	for (unsigned i = vm->mem.nr; i-- > 0;)
		if (vm->mem.region[i].hooked)
			memmap_unhook(&vm->mem, vm->mem.region[i].start, vm->mem.region[i].size);
	for (unsigned i = 0; i < vm->mem.nr; i++)
		free_frames(vm, &vm->mem.region[i]);
	if (vm->apic_page.v)
		frame_free(vm->apic_page, 0, FRAME_VM0 + vm->id);
	vm->apic_page = HPA(0);
	vm->identity_map = GPA(0);
	vm->clear_to = 0;
	memmap_init(&vm->mem);
}
