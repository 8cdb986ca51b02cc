/* vmm/vm_mem.c: disk regions, hooks over memory, regions that come and go, all with the
 * nested table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "paging/host.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"
#include "vmm/vm_tables.h"

#define RWX (PT_R | PT_W | PT_X)
#define DISK_AT GIB(1)
#define FILE_SIZE (5 * 4096 + 100)
#define FAR GIB(8) /* frames that nobody looks into */

static uint8_t file[FILE_SIZE];
static struct boot_module module;
static struct vm_config cfg;
static struct vm *vm; /* fake_vm: it has a vCPU */

static bool own_or_far(void *ctx, hpa_t pa, uint64_t size)
{
	const struct vm *v = ctx;

	return (pa.v >= FAR && pa.v < FAR + GIB(64)) ||
	       frame_range_owned(pa, size, FRAME_VM0 + v->id);
}

static void make_nested(struct vm *v)
{
	const struct pt_caps caps = { .maxphyaddr = 48, .nx = true, .page_1g = true };

	assert_int_equal(nested_init(&v->nested, NESTED_NPT, &caps, host_pt_mem(), own_or_far, v),
			 0);
	v->has_nested = true;
}

static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	fake_log_reset();
	fake_frame_limit = UINT64_MAX;
	for (unsigned i = 0; i < FILE_SIZE; i++)
		file[i] = (uint8_t)(i / 4096 * 16 + i % 13);
	module = (struct boot_module){ ptr_to_hpa(file), FILE_SIZE, "" };
	cfg = (struct vm_config){
		.name = "test", .memory = MIB(2), .nr_disks = 1, .disk = { { &module, DISK_AT } }
	};
	vm = &fake_vm;
	vm->id = 3;
	vm->cfg = &cfg;
	memmap_init(&vm->mem);
	assert_int_equal(bus_init(&vm->bus), 0);
	make_nested(vm);
	return 0;
}

static void destroy(struct vm *v)
{
	fake_frame_limit = UINT64_MAX;
	nested_destroy(&v->nested);
	v->has_nested = false;
	vm_free_memory(v);
}

static int teardown(void **state)
{
	(void)state;
	destroy(vm);
	bus_destroy(&vm->bus);
	assert_int_equal(fake_frame_bytes, 0);
	return 0;
}

static uint64_t tables(void)
{
	return frame_bytes_owned(FRAME_PAGE_TABLE) / PAGE_SIZE;
}

static uint64_t owned(void)
{
	return frame_bytes_owned(FRAME_VM0 + vm->id);
}

static void expect_page(uint64_t gpa, uint64_t pa, unsigned rights, uint64_t page_size)
{
	unsigned got = 0;
	uint64_t size = 0;
	hpa_t at = HPA(0);

	if (!nested_lookup(&vm->nested, GPA(gpa), &at, &got, &size))
		fail_msg("0x%llx is absent", (unsigned long long)gpa);
	assert_int_equal(size, page_size);
	assert_int_equal(at.v, pa);
	assert_int_equal(got, rights);
}

/* What the vCPU has to flush since the last call of this. */
static unsigned flushes(void)
{
	unsigned n;

	vm_tables_catch_up(&fake_vcpu);
	n = fake_hw.flushes;
	fake_hw.flushes = 0;
	return n;
}

static void expect_absent(uint64_t gpa)
{
	unsigned rights;
	uint64_t size;
	hpa_t pa;

	assert_false(nested_lookup(&vm->nested, GPA(gpa), &pa, &rights, &size));
}

static void fault(uint64_t gpa, bool write, bool fetch, bool walk)
{
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_NESTED_FAULT,
					   .nested = { .gpa = GPA(gpa),
						       .read = !write && !fetch,
						       .write = write,
						       .fetch = fetch,
						       .table_walk = walk } };
	vm_exit_handle(&fake_vcpu);
}

/* The page is there for the guest, with the file's content. */
static void expect_content(uint64_t gpa)
{
	uint64_t off = gpa - DISK_AT, n = MIN((uint64_t)4096, FILE_SIZE - off), size;
	unsigned rights = 0;
	const uint8_t *p;
	hpa_t pa;

	assert_true(nested_lookup(&vm->nested, GPA(gpa), &pa, &rights, &size));
	assert_int_equal(rights, RWX);
	assert_int_equal(frame_owner_of(pa), FRAME_VM0 + vm->id);
	p = hpa_to_ptr(pa);
	assert_memory_equal(p, file + off, n);
	for (; n < 4096; n++)
		assert_int_equal(p[n], 0);
}

static void test_disk_comes_in(void **state)
{
	uint64_t before;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	before = owned();
	for (unsigned i = 0; i < 6; i++)
		expect_absent(DISK_AT + i * 4096);
	/* A read, a write, a fetch, a table walk: any first access, one page each. */
	fault(DISK_AT + 5 * 4096 + 4000, false, false, false);
	fault(DISK_AT + 0x123, true, false, false);
	fault(DISK_AT + 2 * 4096, false, true, false);
	fault(DISK_AT + 3 * 4096 + 8, true, false, true);
	assert_int_equal(owned(), before + 4 * 4096);
	expect_content(DISK_AT);
	expect_content(DISK_AT + 2 * 4096);
	expect_content(DISK_AT + 3 * 4096);
	expect_content(DISK_AT + 5 * 4096);
	expect_absent(DISK_AT + 4096);
	expect_absent(DISK_AT + 6 * 4096);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
}

/* A fault on a page that has come in: another vCPU was first, or the table has lost it. */
static void test_disk_page_again(void **state)
{
	uint64_t before;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	fault(DISK_AT, true, false, false);
	gmem_phys_write(vm, GPA(DISK_AT), &file[0], 1);
	before = owned();
	for (unsigned i = 0; i < 8; i++) {
		if (i & 1)
			assert_int_equal(nested_unmap(&vm->nested, GPA(DISK_AT), 4096), 0);
		flushes();
		fault(DISK_AT + 0xff8, i & 2, i == 4, i >= 6);
		assert_int_equal(vm->stop_reason, VM_STOP_NONE);
		assert_int_equal(flushes(), 1);
		assert_int_equal(fake_vcpu.regs.rip, 0x1000);
		assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
		expect_content(DISK_AT);
		assert_int_equal(owned(), before);
	}
	expect_absent(DISK_AT + 4096);
	/* Without a page for the tables it cannot be had again. */
	assert_int_equal(nested_unmap(&vm->nested, GPA(DISK_AT), 4096), 0);
	fake_frame_limit = fake_frame_bytes;
	fault(DISK_AT, false, false, false);
	assert_int_equal(vm->stop_reason, VM_STOP_ERROR);
	assert_string_equal(vm->stop_text, "no free memory for its tables at gpa 0x40000000");
}

/* An event whose delivery touched the page is delivered again. */
static void test_disk_event(void **state)
{
	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	fake_vcpu.exit = (struct vm_exit){
		.kind = EXIT_NESTED_FAULT,
		.nested = { .gpa = GPA(DISK_AT), .write = true },
		.interrupted = { .kind = EVENT_INTR, .vector = 0x30 },
	};
	vm_exit_handle(&fake_vcpu);
	expect_content(DISK_AT);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	assert_int_equal(fake_vcpu.events.pending.vector, 0x30);
}

/* Another vCPU takes a hook away between the access and its exit: the guest tries again. */
static void test_fault_on_unhooked(void **state)
{
	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	assert_int_equal(vm_hook(vm, GPA(0x2000), PAGE_SIZE, REGION_HOOK), 0);
	assert_int_equal(vm_unhook(vm, GPA(0x2000), PAGE_SIZE), 0);
	fault(0x2000, false, false, false);
	fault(0x2000, true, false, false);
	fault(0x2000, false, true, false);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	/* What the tables have forgotten is an error as ever. */
	assert_int_equal(nested_protect(&vm->nested, GPA(0x2000), PAGE_SIZE, PT_R | PT_X), 0);
	fault(0x2000, false, false, false);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	fault(0x2000, true, false, false);
	assert_int_equal(vm->stop_reason, VM_STOP_ERROR);
}

/* It was a page of the guest's tables: the instruction is the processor's as before, whatever it
 * is, and so is an event whose delivery needed them. */
static void test_walk_of_unhooked(void **state)
{
	static const uint8_t vaddps[] = { 0xc5, 0xfc, 0x58, 0x01 };

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	gmem_phys_write(vm, GPA(0x1000), vaddps, sizeof(vaddps));
	assert_int_equal(vm_hook(vm, GPA(0x2000), PAGE_SIZE, REGION_HOOK), 0);
	assert_int_equal(vm_unhook(vm, GPA(0x2000), PAGE_SIZE), 0);
	for (unsigned i = 0; i < 6; i++) {
		bool fetch = i % 3 == 2;

		fake_vcpu.events.pending.kind = EVENT_NONE;
		fake_vcpu.exit = (struct vm_exit){
			.kind = EXIT_NESTED_FAULT,
			.nested = { .gpa = GPA(0x2008),
				    .read = true,
				    .write = i % 3 == 1,
				    .fetch = fetch,
				    .table_walk = true },
			.interrupted = { .kind = i < 3 ? EVENT_NONE : EVENT_INTR, .vector = 0x30 },
		};
		vm_exit_handle(&fake_vcpu);
		assert_int_equal(vm->stop_reason, VM_STOP_NONE);
		assert_int_equal(fake_vcpu.regs.rip, 0x1000);
		assert_int_equal(fake_vcpu.events.pending.kind, i < 3 ? EVENT_NONE : EVENT_INTR);
	}
	/* One that is still hidden is none. */
	assert_int_equal(vm_hook(vm, GPA(0x2000), PAGE_SIZE, REGION_HOOK), 0);
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(vm->stop_reason, VM_STOP_ERROR);
}

/* For the processor a page, for everybody else nothing; it is dropped, but stays the VM's. */
static void test_apic_page(void **state)
{
	uint32_t word = 0;

	(void)state;
	fake_apic_page = true;
	assert_int_equal(vm_make_memory(vm), 0);
	assert_int_equal(vm->apic_page.v, 0); /* apic=off */
	destroy(vm);
	make_nested(vm);
	cfg.apic = true;
	assert_int_equal(vm_make_memory(vm), 0);
	fake_apic_page = false;
	assert_int_not_equal(vm->apic_page.v, 0);
	expect_page(LAPIC_BASE, vm->apic_page.v, PT_R | PT_W, PAGE_SIZE);
	memset(hpa_to_ptr(vm->apic_page), 0x55, PAGE_SIZE);
	gmem_phys_read(vm, GPA(LAPIC_BASE + 0x30), &word, sizeof(word));
	assert_int_equal(word, UINT32_MAX);
	fault(LAPIC_BASE + 0x30, false, true, false);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_UD);
	flushes();
	vm_drop_apic_page(vm);
	expect_absent(LAPIC_BASE);
	assert_int_equal(flushes(), 1);
	assert_true(frame_range_owned(vm->apic_page, PAGE_SIZE, FRAME_VM0 + vm->id));
	vm_drop_apic_page(vm);
	assert_int_equal(flushes(), 0);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
}

/* What Umbra touches on the guest's behalf comes in as well. */
static void test_disk_for_umbra(void **state)
{
	uint8_t bytes[4096 + 20];
	const struct pt_mem *mem;
	uint64_t val;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	gmem_phys_read(vm, GPA(DISK_AT + 4090), bytes, sizeof(bytes));
	assert_memory_equal(bytes, file + 4090, sizeof(bytes));
	expect_content(DISK_AT);
	expect_content(DISK_AT + 4096);
	expect_content(DISK_AT + 2 * 4096);
	mem = gmem_pt_mem(vm);
	assert_true(mem->read(mem->ctx, DISK_AT + 3 * 4096 + 16, 8, &val));
	assert_memory_equal(&val, file + 3 * 4096 + 16, 8);
	assert_true(mem->cmpxchg(mem->ctx, DISK_AT + 3 * 4096 + 16, 8, val, 7));
	assert_true(mem->read(mem->ctx, DISK_AT + 3 * 4096 + 16, 4, &val));
	assert_int_equal(val, 7);
	gmem_phys_write(vm, GPA(DISK_AT + 4 * 4096 + 4095), "ab", 2);
	gmem_phys_read(vm, GPA(DISK_AT + 4 * 4096 + 4094), bytes, 4);
	assert_int_equal(bytes[0], file[4 * 4096 + 4094]);
	assert_memory_equal(bytes + 1, "ab", 2);
	assert_int_equal(bytes[3], file[5 * 4096 + 1]);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
}

/* Two CPUs want the same page: for the later one it is there. */
static void test_disk_page_for_two(void **state)
{
	struct region *r;
	uint64_t pa;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	r = (struct region *)memmap_find(&vm->mem, GPA(DISK_AT));
	assert_true(vm->mem.bring_in(vm->mem.ctx, r, 1));
	pa = memmap_disk_page(r, GPA(DISK_AT + PAGE_SIZE));
	assert_true(vm->mem.bring_in(vm->mem.ctx, r, 1));
	assert_int_equal(memmap_disk_page(r, GPA(DISK_AT + PAGE_SIZE)), pa);
	assert_false(owned_lock_held(&vm->paging));
}

/* The file stays as it is, and so does another VM's copy. */
static void test_disk_is_private(void **state)
{
	static struct vm other;
	uint8_t byte;

	(void)state;
	memset(&other, 0, sizeof(other));
	other.id = 4;
	other.cfg = &cfg;
	other.backend = vm->backend;
	make_nested(&other);
	assert_int_equal(vm_make_memory(vm), 0);
	assert_int_equal(vm_make_memory(&other), 0);
	gmem_phys_write(vm, GPA(DISK_AT), "X", 1);
	gmem_phys_read(&other, GPA(DISK_AT), &byte, 1);
	assert_int_equal(byte, file[0]);
	assert_int_equal(file[0], 0);
	gmem_phys_write(&other, GPA(DISK_AT), "Y", 1);
	gmem_phys_read(vm, GPA(DISK_AT), &byte, 1);
	assert_int_equal(byte, 'X');
	destroy(&other);
}

static int read_fails(void *ctx, uint64_t offset, void *page)
{
	(void)ctx;
	(void)offset;
	(void)page;
	return -EIO;
}

static int read_module_page(void *ctx, uint64_t offset, void *page)
{
	(void)ctx;
	memcpy(page, file + offset, 4096);
	return 0;
}

static void test_disk_cannot_come_in(void **state)
{
	const struct region bad = { .start = GPA(GIB(2)),
				    .size = 4096,
				    .kind = REGION_DISK,
				    .source = { .read = read_fails } };
	uint64_t before, pages;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	assert_int_equal(vm_add_region(vm, &bad), 0);
	before = owned();
	pages = tables();
	/* No frame; a frame, but no page for the tables. */
	for (unsigned spare = 0; spare < 2; spare++) {
		vm->stop_reason = VM_STOP_NONE;
		fake_frame_limit = fake_frame_bytes + spare * PAGE_SIZE;
		fault(DISK_AT + 4096, false, false, false);
		fake_frame_limit = UINT64_MAX;
		assert_int_equal(vm->stop_reason, VM_STOP_ERROR);
		assert_string_equal(vm->stop_text,
				    "no free memory for the disk page at gpa 0x40001000");
		assert_int_equal(owned(), before);
		expect_absent(DISK_AT + 4096);
	}
	vm->stop_reason = VM_STOP_NONE;
	fault(GIB(2), true, false, false);
	assert_int_equal(vm->stop_reason, VM_STOP_ERROR);
	assert_string_equal(vm->stop_text, "the disk page at gpa 0x80000000 cannot be read");
	assert_int_equal(owned(), before);
	assert_true(tables() <= pages + 2);
}

static void test_bad_regions(void **state)
{
	struct region r = { .start = GPA(GIB(1)), .size = 4096, .kind = REGION_DISK };

	(void)state;
	assert_int_equal(vm_add_region(vm, &r), -EINVAL); /* no source */
	r.source.read = read_fails;
	r.size = 100;
	assert_int_equal(vm_add_region(vm, &r), -EINVAL);
	r.size = 0;
	assert_int_equal(vm_add_region(vm, &r), -EINVAL);
	r.size = 4096;
	assert_int_equal(vm_add_region(vm, &r), 0);
	assert_int_equal(vm_add_region(vm, &r), -EEXIST);
	/* Foreign frames. */
	r = (struct region){ .start = GPA(0), .size = 4096, .frames = HPA(MIB(1)) };
	assert_int_equal(vm_add_region(vm, &r), -EACCES);
	assert_null(memmap_find(&vm->mem, GPA(0)));
	expect_absent(0);
	assert_int_equal(vm_remove_region(vm, GPA(0)), -ENOENT);
}

/* --- 4 GiB, and hooks in it --- */

static void add_far(uint64_t start, uint64_t size)
{
	const struct region r = {
		.start = GPA(start), .size = size, .kind = REGION_MEM, .frames = HPA(FAR + start)
	};

	assert_int_equal(vm_add_region(vm, &r), 0);
}

static void test_passthrough(void **state)
{
	(void)state;
	add_far(0, GIB(4));
	assert_int_equal(tables(), 2);
	expect_page(GIB(3), FAR + GIB(3), RWX, GIB(1));
	add_far(GIB(4), MIB(2) + KIB(4));
	expect_page(GIB(4), FAR + GIB(4), RWX, MIB(2));
	expect_page(GIB(4) + MIB(2), FAR + GIB(4) + MIB(2), RWX, KIB(4));
	expect_absent(GIB(4) + MIB(2) + KIB(4));
}

static void test_hook(void **state)
{
	uint64_t at = GIB(1) + MIB(3);

	(void)state;
	add_far(0, GIB(4));
	assert_int_equal(vm_hook(vm, GPA(at), KIB(8), REGION_HOOK), 0);
	assert_true(flushes() > 0);
	assert_int_equal(memmap_find(&vm->mem, GPA(at + 5))->kind, REGION_HOOK);
	assert_int_equal(memmap_find(&vm->mem, GPA(at - 1))->kind, REGION_MEM);
	assert_int_equal(memmap_find(&vm->mem, GPA(at + KIB(8)))->kind, REGION_MEM);
	expect_absent(at);
	expect_absent(at + KIB(4));
	expect_page(at - KIB(4), FAR + at - KIB(4), RWX, KIB(4));
	expect_page(at + KIB(8), FAR + at + KIB(8), RWX, KIB(4));
	expect_page(GIB(1) + MIB(4), FAR + GIB(1) + MIB(4), RWX, MIB(2));
	expect_page(GIB(1), FAR + GIB(1), RWX, MIB(2));
	expect_page(0, FAR, RWX, GIB(1));
	expect_page(GIB(2), FAR + GIB(2), RWX, GIB(1));
	assert_int_equal(tables(), 4);
	flushes();
	assert_int_equal(vm_unhook(vm, GPA(at), KIB(8)), 0);
	assert_true(flushes() > 0);
	expect_page(at, FAR + at, RWX, GIB(1));
	assert_int_equal(tables(), 2);
	assert_int_equal(vm->mem.nr, 1);
	assert_int_equal(memmap_find(&vm->mem, GPA(at))->size, GIB(4));
}

static void test_write_hook(void **state)
{
	uint64_t at = GIB(1) + MIB(4);

	(void)state;
	add_far(0, GIB(4));
	assert_int_equal(vm_hook(vm, GPA(at), MIB(2), REGION_HOOK_WRITE), 0);
	expect_page(at, FAR + at, PT_R | PT_X, MIB(2));
	expect_page(at - KIB(4), FAR + at - KIB(4), RWX, MIB(2));
	assert_int_equal(tables(), 3);
	assert_int_equal(vm_unhook(vm, GPA(at), MIB(2)), 0);
	expect_page(at, FAR + at, RWX, GIB(1));
}

/* A disk's pages under a hook, those in memory and those that are not. */
static void test_hook_over_disk(void **state)
{
	uint64_t before;
	uint8_t byte;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	fault(DISK_AT + 4096, false, false, false);
	gmem_phys_write(vm, GPA(DISK_AT + 4096), "X", 1);
	before = owned();
	/* Pages 1 to 3; page 1 is in memory. */
	assert_int_equal(vm_hook(vm, GPA(DISK_AT + 4096), 3 * 4096, REGION_HOOK), 0);
	expect_absent(DISK_AT + 4096);
	gmem_phys_read(vm, GPA(DISK_AT + 4096), &byte, 1);
	assert_int_equal(byte, 0xff);
	gmem_phys_read(vm, GPA(DISK_AT + 2 * 4096), &byte, 1);
	assert_int_equal(byte, 0xff);
	fault(DISK_AT + 2 * 4096, false, false, false);
	expect_absent(DISK_AT + 2 * 4096);
	assert_int_equal(owned(), before);
	assert_int_equal(vm_remove_region(vm, GPA(DISK_AT)), -EBUSY);
	/* Its neighbours are as they were. */
	vm->stop_reason = VM_STOP_NONE;
	fault(DISK_AT + 4 * 4096, true, false, false);
	expect_content(DISK_AT + 4 * 4096);
	fault(DISK_AT, true, false, false);
	expect_content(DISK_AT);
	assert_int_equal(owned(), before + 2 * 4096);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	/* Taken away: what was written is still there, what was absent comes in. */
	assert_int_equal(vm_unhook(vm, GPA(DISK_AT + 4096), 3 * 4096), 0);
	gmem_phys_read(vm, GPA(DISK_AT + 4096), &byte, 1);
	assert_int_equal(byte, 'X');
	gmem_phys_write(vm, GPA(DISK_AT + 4096), &file[4096], 1);
	expect_content(DISK_AT + 4096);
	expect_absent(DISK_AT + 2 * 4096);
	fault(DISK_AT + 3 * 4096, false, false, false);
	expect_content(DISK_AT + 3 * 4096);
	assert_int_equal(memmap_find(&vm->mem, GPA(DISK_AT))->size, 6 * 4096);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
}

static void expect_readonly_content(uint64_t gpa)
{
	unsigned rights = 0;
	uint64_t size;
	hpa_t pa;

	assert_true(nested_lookup(&vm->nested, GPA(gpa), &pa, &rights, &size));
	assert_int_equal(rights, PT_R | PT_X);
	assert_memory_equal(hpa_to_ptr(pa), file + (gpa - DISK_AT), 4096);
}

static void test_write_hook_over_disk(void **state)
{
	uint64_t before;
	uint8_t byte;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	fault(DISK_AT, false, false, false);
	assert_int_equal(vm_hook(vm, GPA(DISK_AT), 4 * 4096, REGION_HOOK_WRITE), 0);
	expect_readonly_content(DISK_AT);
	before = owned();
	/* A write brings nothing in: it is the bus's. */
	gmem_phys_write(vm, GPA(DISK_AT + 4096), "X", 1);
	expect_absent(DISK_AT + 4096);
	assert_int_equal(owned(), before);
	/* A read does, a fetch, a walk of tables there; then the page can be read and run. */
	fault(DISK_AT + 4096, false, false, false);
	fault(DISK_AT + 2 * 4096, false, true, false);
	expect_readonly_content(DISK_AT + 4096);
	expect_readonly_content(DISK_AT + 2 * 4096);
	gmem_phys_read(vm, GPA(DISK_AT + 3 * 4096 + 5), &byte, 1);
	assert_int_equal(byte, file[3 * 4096 + 5]);
	expect_readonly_content(DISK_AT + 3 * 4096);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	fault(DISK_AT + 4096, false, false, false); /* again */
	expect_readonly_content(DISK_AT + 4096);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	assert_int_equal(vm_unhook(vm, GPA(DISK_AT), 4 * 4096), 0);
	for (unsigned i = 0; i < 4; i++)
		expect_content(DISK_AT + i * 4096);
	expect_absent(DISK_AT + 4 * 4096);
	/* A VM may end with its hooks on: whole regions are freed. */
	assert_int_equal(vm_hook(vm, GPA(DISK_AT + 4096), 4096, REGION_HOOK_WRITE), 0);
	assert_int_equal(vm_hook(vm, GPA(DISK_AT + 2 * 4096), 2 * 4096, REGION_HOOK), 0);
	assert_int_equal(vm_hook(vm, GPA(0x3000), 4096, REGION_HOOK), 0);
	assert_int_equal(vm_hook(vm, GPA(0x5000), 4096, REGION_HOOK_WRITE), 0);
}

/* No page for the tables: the disk's pages that are in memory stay in the guest's reach. */
static void test_hook_over_disk_out_of_memory(void **state)
{
	const struct region disk = { .start = GPA(GIB(2) - KIB(8)),
				     .size = KIB(8),
				     .kind = REGION_DISK,
				     .source = { .read = read_module_page } };

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	add_far(GIB(2), MIB(4));
	assert_int_equal(vm_add_region(vm, &disk), 0);
	fault(GIB(2) - KIB(4), true, false, false);
	expect_page(GIB(2) - KIB(4),
		    memmap_disk_page(memmap_find(&vm->mem, GPA(GIB(2) - 1)), GPA(GIB(2) - 1)), RWX,
		    KIB(4));
	/* The range ends in a large page, whose split finds no page. */
	fake_frame_limit = fake_frame_bytes;
	assert_int_equal(vm_hook(vm, GPA(GIB(2) - KIB(8)), KIB(12), REGION_HOOK), -ENOMEM);
	fake_frame_limit = UINT64_MAX;
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	expect_page(GIB(2), FAR + GIB(2), RWX, MIB(2));
	expect_page(GIB(2) - KIB(4),
		    memmap_disk_page(memmap_find(&vm->mem, GPA(GIB(2) - 1)), GPA(GIB(2) - 1)), RWX,
		    KIB(4));
	expect_absent(GIB(2) - KIB(8));
}

static void test_hook_errors(void **state)
{
	(void)state;
	add_far(0, GIB(1));
	add_far(GIB(1), GIB(1));
	assert_int_equal(vm_hook(vm, GPA(GIB(2) - KIB(4)), KIB(8), REGION_HOOK), -ENOENT);
	assert_int_equal(vm_hook(vm, GPA(0), 0, REGION_HOOK), -EINVAL);
	assert_int_equal(vm_hook(vm, GPA(100), KIB(4), REGION_HOOK), -EINVAL);
	assert_int_equal(vm_hook(vm, GPA(0), KIB(4), REGION_ROM), -EINVAL);
	/* Over the border of two regions. */
	assert_int_equal(vm_hook(vm, GPA(GIB(1) - KIB(4)), KIB(8), REGION_HOOK), 0);
	assert_int_equal(vm_hook(vm, GPA(GIB(1)), KIB(4), REGION_HOOK_WRITE), -EEXIST);
	assert_int_equal(vm_unhook(vm, GPA(GIB(1) - KIB(4)), KIB(12)), -ENOENT);
	assert_int_equal(vm_unhook(vm, GPA(GIB(1) - KIB(8)), KIB(12)), -ENOENT);
	/* A region that is cut is not to be taken away. */
	assert_int_equal(vm_remove_region(vm, GPA(0)), -EBUSY);
	assert_int_equal(vm_remove_region(vm, GPA(GIB(1))), -EBUSY);
	assert_int_equal(vm_remove_region(vm, GPA(GIB(1) + KIB(4))), -EBUSY);
	assert_int_equal(vm_unhook(vm, GPA(GIB(1) - KIB(4)), KIB(8)), 0);
	assert_int_equal(vm->mem.nr, 2);
	expect_page(GIB(1), FAR + GIB(1), RWX, GIB(1));
	expect_page(GIB(1) - KIB(4), FAR + GIB(1) - KIB(4), RWX, GIB(1));
}

/* Each place for memory to run out in: then nothing has changed. */
static void test_hook_out_of_memory(void **state)
{
	(void)state;
	add_far(0, GIB(4));
	for (unsigned spare = 0; spare < 4; spare++) {
		fake_frame_limit = fake_frame_bytes + spare * PAGE_SIZE;
		/* Both of its ends need tables of their own. */
		assert_int_equal(vm_hook(vm, GPA(MIB(1)), GIB(1), REGION_HOOK), -ENOMEM);
		fake_frame_limit = UINT64_MAX;
		assert_int_equal(vm->mem.nr, 1);
		assert_int_equal(vm->stop_reason, VM_STOP_NONE);
		expect_page(MIB(1), FAR + MIB(1), RWX, GIB(1));
		expect_page(GIB(1), FAR + GIB(1), RWX, GIB(1));
		assert_int_equal(tables(), 2);
	}
	fake_frame_limit = fake_frame_bytes + 4 * PAGE_SIZE;
	assert_int_equal(vm_hook(vm, GPA(MIB(1)), GIB(1), REGION_HOOK), 0);
}

/* A region that is mapped in part only when memory runs out is not mapped at all. */
static void test_add_out_of_memory(void **state)
{
	const struct region r = { .start = GPA(MIB(2) - KIB(4)),
				  .size = GIB(1),
				  .kind = REGION_MEM,
				  .frames = HPA(FAR + MIB(2) - KIB(4)) };

	(void)state;
	for (unsigned spare = 0; spare < 5; spare++) {
		fake_frame_limit = fake_frame_bytes + spare * PAGE_SIZE;
		assert_int_equal(vm_add_region(vm, &r), -ENOMEM);
		fake_frame_limit = UINT64_MAX;
		assert_null(memmap_find(&vm->mem, r.start));
		expect_absent(MIB(2) - KIB(4));
		expect_absent(MIB(2));
		assert_int_equal(tables(), 1);
	}
	fake_frame_limit = fake_frame_bytes + 5 * PAGE_SIZE;
	assert_int_equal(vm_add_region(vm, &r), 0);
}

/* --- regions while the guest runs --- */

static void test_remove(void **state)
{
	struct region r = { .start = GPA(MIB(64)), .size = MIB(2), .order = 9, .owned = true };
	const struct region disk = { .start = GPA(DISK_AT),
				     .size = KIB(8),
				     .kind = REGION_DISK,
				     .source = { .read = read_fails } };

	(void)state;
	r.frames = frame_alloc(9, FRAME_VM0 + vm->id);
	assert_int_equal(vm_add_region(vm, &r), 0);
	expect_page(MIB(64), r.frames.v, RWX, MIB(2));
	flushes();
	assert_int_equal(vm_remove_region(vm, GPA(MIB(64) + KIB(4))), -ENOENT);
	assert_int_equal(vm_remove_region(vm, GPA(MIB(64))), 0);
	assert_int_equal(flushes(), 1);
	expect_absent(MIB(64));
	assert_null(memmap_find(&vm->mem, GPA(MIB(64))));
	assert_int_equal(owned(), 0);
	/* A disk's pages go with it, and come anew. */
	assert_int_equal(vm_make_memory(vm), 0);
	gmem_phys_write(vm, GPA(DISK_AT), "X", 1);
	gmem_phys_write(vm, GPA(DISK_AT + 4096), "X", 1);
	assert_int_equal(vm_remove_region(vm, GPA(DISK_AT)), 0);
	expect_absent(DISK_AT);
	assert_int_equal(owned(), memmap_ram_bytes(&vm->mem) + KIB(64)); /* ROM */
	assert_int_equal(vm_add_region(vm, &disk), 0);
	expect_absent(DISK_AT);
	fault(DISK_AT, false, false, false);
	assert_int_equal(vm->stop_reason, VM_STOP_ERROR);
}

/* Between two exits of one vCPU a region comes, goes and comes: each access sees the map of now. */
static void test_regions_of_a_running_vm(void **state)
{
	struct region r = { .start = GPA(MIB(64)), .size = MIB(2), .order = 9, .owned = true };
	uint8_t byte;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	for (unsigned round = 0; round < 3; round++) {
		fault(MIB(64), false, true, false); /* it runs into nothing: #UD */
		assert_int_equal(fake_vcpu.events.pending.vector, VEC_UD);
		fake_vcpu.events.pending.kind = EVENT_NONE;
		gmem_phys_read(vm, GPA(MIB(64)), &byte, 1);
		assert_int_equal(byte, 0xff);
		r.frames = frame_alloc_zeroed(9, FRAME_VM0 + vm->id);
		assert_int_equal(vm_add_region(vm, &r), 0);
		expect_page(MIB(64), r.frames.v, RWX, MIB(2));
		gmem_phys_read(vm, GPA(MIB(64)), &byte, 1);
		assert_int_equal(byte, 0);
		gmem_phys_write(vm, GPA(MIB(64)), "R", 1);
		gmem_phys_read(vm, GPA(MIB(64)), &byte, 1);
		assert_int_equal(byte, 'R');
		/* What was there before is there still, around it and while it comes and goes. */
		expect_page(MIB(1), memmap_find(&vm->mem, GPA(MIB(1)))->frames.v, RWX, KIB(4));
		flushes();
		assert_int_equal(vm_remove_region(vm, GPA(MIB(64))), 0);
		assert_int_equal(flushes(), 1);
		expect_absent(MIB(64));
		assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	}
}

/* A cut in the table that finds no page: the region stays whole. */
static void test_remove_out_of_memory(void **state)
{
	(void)state;
	add_far(0, MIB(512));
	add_far(MIB(512), MIB(512)); /* both grow into one 1 GiB page */
	expect_page(MIB(512), FAR + MIB(512), RWX, GIB(1));
	fake_frame_limit = fake_frame_bytes;
	assert_int_equal(vm_remove_region(vm, GPA(MIB(512))), -ENOMEM);
	expect_page(MIB(512), FAR + MIB(512), RWX, GIB(1));
	assert_int_equal(memmap_find(&vm->mem, GPA(MIB(512)))->size, MIB(512));
	fake_frame_limit = UINT64_MAX;
	assert_int_equal(vm_remove_region(vm, GPA(MIB(512))), 0);
	expect_absent(MIB(512));
	expect_page(0, FAR, RWX, MIB(2));
}

/* --- a write hook's writes --- */

static uint64_t seen_addr, seen_val;
static unsigned seen_size, reads;

static uint64_t dev_read(void *dev, uint64_t offset, unsigned size)
{
	(void)dev;
	(void)offset;
	(void)size;
	reads++;
	return 0;
}

static void dev_write(void *dev, uint64_t offset, unsigned size, uint64_t val)
{
	(void)dev;
	seen_addr = offset;
	seen_size = size;
	seen_val = val;
}

static void test_write_hook_goes_to_the_bus(void **state)
{
	static const struct mmio_ops ops = { dev_read, dev_write };
	const struct pt_mem *mem;
	uint64_t val = 0;

	(void)state;
	assert_int_equal(vm_make_memory(vm), 0);
	gmem_phys_write(vm, GPA(0x5008), "before..", 8);
	assert_int_equal(bus_register_mmio(&vm->bus, GPA(0x5000), 4096, "dev", &ops, NULL), 0);
	assert_int_equal(vm_hook(vm, GPA(0x5000), 4096, REGION_HOOK_WRITE), 0);
	gmem_phys_read(vm, GPA(0x5008), &val, 8);
	assert_memory_equal(&val, "before..", 8);
	assert_int_equal(reads, 0);
	val = 0x1234;
	gmem_phys_write(vm, GPA(0x5008), &val, 2);
	assert_int_equal(seen_addr, 8);
	assert_int_equal(seen_size, 2);
	assert_int_equal(seen_val, 0x1234);
	gmem_phys_read(vm, GPA(0x5008), &val, 8);
	assert_memory_equal(&val, "before..", 8);
	/* A table in it: its accessed bits are writes too. */
	mem = gmem_pt_mem(vm);
	assert_true(mem->read(mem->ctx, 0x5008, 8, &val));
	assert_true(mem->cmpxchg(mem->ctx, 0x5008, 8, val, 0x77));
	assert_int_equal(seen_val, 0x77);
	assert_int_equal(seen_size, 8);
	/* Through the exit: a read there is not for the emulator. The table has it, and has it no
	 * more. */
	fault(0x5008, false, false, false);
	assert_int_equal(reads, 0);
	assert_int_equal(vm->stop_reason, VM_STOP_NONE);
	assert_int_equal(nested_unmap(&vm->nested, GPA(0x5000), 4096), 0);
	fault(0x5008, false, false, false);
	assert_int_equal(reads, 0);
	assert_int_equal(vm->stop_reason, VM_STOP_ERROR);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_disk_comes_in),
		T(test_disk_page_again),
		T(test_disk_event),
		T(test_fault_on_unhooked),
		T(test_walk_of_unhooked),
		T(test_apic_page),
		T(test_disk_for_umbra),
		T(test_disk_page_for_two),
		T(test_disk_is_private),
		T(test_disk_cannot_come_in),
		T(test_bad_regions),
		T(test_passthrough),
		T(test_hook),
		T(test_write_hook),
		T(test_hook_over_disk),
		T(test_write_hook_over_disk),
		T(test_hook_over_disk_out_of_memory),
		T(test_hook_errors),
		T(test_hook_out_of_memory),
		T(test_add_out_of_memory),
		T(test_remove),
		T(test_regions_of_a_running_vm),
		T(test_remove_out_of_memory),
		T(test_write_hook_goes_to_the_bus),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
