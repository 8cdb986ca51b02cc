/* vmm/vm_life.c: what a VM gets, that a start which fails leaves nothing, and its lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fake_run.h"
#include "tests/host/fakes.h"
#include "tests/host/kernel_image.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/vm.h"

#define KERNEL_AT 0x200000u

static struct kernel_image kernel;
static struct boot_module module;
static struct vm_config cfg;
static struct vm vm;

static int setup(void **state)
{
	(void)state;
	kernel_image_make(&kernel, KERNEL_AT);
	module = (struct boot_module){ ptr_to_hpa(&kernel), sizeof(kernel), "" };
	cfg = (struct vm_config){
		.name = "test", .memory = MIB(16), .vcpus = 1, .cmdline = "", .kernel = &module
	};
	fake_vm_reset();
	fake_log_reset();
	fake_has_nested = true;
	fake_identity_map = false;
	fake_frame_limit = UINT64_MAX;
	cpuid_init(fake_cpuid_amd, XCR0_X87);
	memset(&vm, 0, sizeof(vm));
	vm.id = 3;
	vm.cfg = &cfg;
	vm.backend = &fake_backend_ops;
	vm.state = VM_STOPPED;
	return 0;
}

/* In use, but for what is counted of the last run for whoever looks. */
static uint64_t bytes_left(void)
{
	vm_exits_make(&vm, 0);
	return fake_frame_bytes;
}

static int teardown(void **state)
{
	(void)state;
	fake_frame_limit = UINT64_MAX;
	vm_teardown(&vm);
	assert_int_equal(bytes_left(), 0);
	assert_int_equal(fake_hw.vms, 0);
	assert_int_equal(fake_hw.vcpus, 0);
	return 0;
}

static void expect_log(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("the log lacks \"%s\":\n%s", text, fake_log);
}

static void start(void)
{
	if (vm_start(&vm))
		fail_msg("not started:\n%s", fake_log);
	assert_int_equal(vm.state, VM_RUNNING);
}

/* What lies at a guest-physical address, in the memory map and in the nested table. */
static void finds_memory(uint64_t gpa, int kind, unsigned rights)
{
	const struct region *r = memmap_find(&vm.mem, GPA(gpa));
	unsigned got = 0;
	uint64_t size;
	hpa_t pa;

	if (!r || (int)r->kind != kind)
		fail_msg("0x%llx: not the region that was expected", (unsigned long long)gpa);
	assert_true(nested_lookup(&vm.nested, GPA(gpa), &pa, &got, &size));
	assert_int_equal(got & PT_RIGHTS & ~PT_U, rights);
	assert_int_equal(pa.v, r->frames.v + (gpa - r->start.v));
	assert_int_equal(frame_owner_of(pa), FRAME_VM0 + vm.id);
}

static void finds_nothing(uint64_t gpa)
{
	unsigned rights;
	uint64_t size;
	hpa_t pa;

	assert_null(memmap_find(&vm.mem, GPA(gpa)));
	assert_false(nested_lookup(&vm.nested, GPA(gpa), &pa, &rights, &size));
}

static void test_memory_layout(void **state)
{
	const unsigned ram = PT_R | PT_W | PT_X;

	(void)state;
	start();
	finds_memory(0, REGION_MEM, ram);
	finds_memory(0x9ffff, REGION_MEM, ram);
	finds_nothing(0xa0000);
	finds_nothing(0xbffff);
	finds_memory(0xc0000, REGION_MEM, ram);
	finds_memory(0xeffff, REGION_MEM, ram);
	finds_memory(0xf0000, REGION_ROM, PT_R | PT_X);
	finds_memory(0xfffff, REGION_ROM, PT_R | PT_X);
	finds_memory(0x100000, REGION_MEM, ram);
	finds_memory(MIB(16) - 1, REGION_MEM, ram);
	finds_nothing(MIB(16));
	finds_nothing(VM_PCI_HOLE);
	assert_int_equal(fake_hw.root.v, vm.nested.root.v);
}

/* A page directory of 4 MiB pages that lead to themselves, where the processor needs one. */
static void test_identity_map(void **state)
{
	const uint64_t at = 0xfeffc000;
	uint32_t pde[1024];

	(void)state;
	start();
	assert_int_equal(vm.identity_map.v, 0);
	finds_nothing(at);
	vm_teardown(&vm);
	fake_identity_map = true;
	start();
	assert_int_equal(vm.identity_map.v, at);
	finds_nothing(at - 1);
	finds_memory(at, REGION_ROM, PT_R | PT_X);
	finds_memory(at + 0xfff, REGION_ROM, PT_R | PT_X);
	finds_nothing(at + 0x1000);
	assert_true(memmap_read(&vm.mem, vm.identity_map, pde, sizeof(pde)));
	for (uint32_t i = 0; i < 1024; i++)
		assert_int_equal(pde[i], i << 22 | 0xe7); /* P RW US A D PS */
	vm_teardown(&vm);
	assert_int_equal(vm.identity_map.v, 0);
	cfg.paging = PAGING_SHADOW;
	start();
	assert_int_equal(vm.identity_map.v, 0);
	assert_null(memmap_find(&vm.mem, GPA(at)));
}

/* The processor answers for local APICs, and delivers, where it can and they are there. */
static void test_apic(void **state)
{
	(void)state;
	fake_apic_page = fake_virtual_interrupts = true;
	start();
	assert_false(vm.virtual_interrupts); /* apic=off */
	finds_nothing(LAPIC_BASE);
	vm_teardown(&vm);
	cfg.apic = true;
	start();
	assert_true(vm.virtual_interrupts);
	finds_memory(LAPIC_BASE, REGION_APIC, PT_R | PT_W);
	vm_teardown(&vm);
	assert_int_equal(vm.apic_page.v, 0);
	cfg.paging = PAGING_SHADOW;
	cfg.vcpus = 2;
	start();
	assert_true(vm.virtual_interrupts);
	assert_int_equal(memmap_find(&vm.mem, GPA(LAPIC_BASE))->kind, REGION_APIC);
	fake_apic_page = fake_virtual_interrupts = false;
}

/* Blocks are as large as alignment allows, so that large nested pages are. */
static void test_large_blocks(void **state)
{
	uint64_t size = 0;
	unsigned rights;
	hpa_t pa;

	(void)state;
	start();
	assert_true(nested_lookup(&vm.nested, GPA(MIB(8)), &pa, &rights, &size));
	assert_int_equal(size, MIB(2));
	assert_true(vm.mem.nr <= 10);
}

static void test_memory_is_zeroed_and_kernel_loaded(void **state)
{
	uint8_t bytes[sizeof(kernel.code)];

	(void)state;
	start();
	assert_true(memmap_read(&vm.mem, GPA(MIB(8)), bytes, sizeof(bytes)));
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
	assert_true(memmap_read(&vm.mem, GPA(KERNEL_AT), bytes, sizeof(bytes)));
	assert_memory_equal(bytes, kernel.code, sizeof(bytes));
	assert_int_equal(vm.vcpu[0]->regs.rip, KERNEL_AT);
}

static void test_refusals(void **state)
{
	(void)state;
	cfg.paging = PAGING_NESTED;
	fake_has_nested = false;
	assert_true(vm_start(&vm) < 0);
	expect_log("vm test: paging=nested: this processor has no nested paging, not started\n");
	cfg.paging = PAGING_AUTO;
	fake_has_nested = true;
	fake_log_reset();
	boot_cpu.state = CPU_ONLINE;
	cfg.cpus = (struct cpu_set){ { BIT(1) | BIT(63), 0, 0, BIT(63) } };
	assert_true(vm_start(&vm) < 0);
	expect_log("vm test: cpus=: none of these processors is there, not started\n");
	fake_log_reset();
	cfg.cpus = cpu_set_of(0);
	cfg.vcpus = 2;
	assert_true(vm_start(&vm) < 0);
	expect_log("vm test: vcpus=2: with apic=off there is one only, not started\n");
	cfg.vcpus = 1;
	fake_log_reset();
	cfg.memory = GIB(64);
	assert_true(vm_start(&vm) < 0);
	expect_log("vm test: memory=65536M exceeds the 4096 MiB that are free, not started\n");
	assert_int_equal(vm.state, VM_STOPPED);
}

/* Where a disk's line may not put it. */
static void test_disks(void **state)
{
	static const struct {
		uint64_t at;
		const char *why;
	} bad[] = {
		{ 0, "disk at=0x0: 5 KiB from there meet the guest's RAM" },
		{ 0xa0000, "meet the guest's RAM" }, /* a PC's, where there is none as well */
		{ MIB(16) - KIB(4), "meet the guest's RAM" },
		{ 0xfebff000, "meet the chipset" },
		{ 0xfffff000, "meet the chipset" },
		{ BIT(48), "meet the end of physical addresses" },
		{ BIT(48) - KIB(4), "meet the end of physical addresses" },
		{ UINT64_C(0xfffffffffffff000), "meet the end of physical addresses" },
		{ MIB(64) + KIB(4), "meet another disk" },
		{ MIB(64) - KIB(4), "meet another disk" },
	};
	static uint8_t bytes[KIB(4) + 1];
	struct boot_module file = { ptr_to_hpa(bytes), sizeof(bytes), "" };

	(void)state;
	cfg.nr_disks = 2;
	cfg.disk[0] = (struct vm_disk){ &file, MIB(64) };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cfg.disk[1] = (struct vm_disk){ &file, bad[i].at };
		fake_log_reset();
		assert_int_equal(vm_start(&vm), -EINVAL);
		expect_log(bad[i].why);
	}
	file.size = 0;
	fake_log_reset();
	assert_int_equal(vm_start(&vm), -EINVAL);
	expect_log("vm test: disk at=0x4000000: the file is empty, not started");
	file.size = sizeof(bytes);
	cfg.disk[1].at = MIB(16);
	start();
	assert_int_equal(memmap_find(&vm.mem, GPA(MIB(16)))->kind, REGION_DISK);
	assert_int_equal(memmap_find(&vm.mem, GPA(MIB(64) + KIB(8) - 1))->kind, REGION_DISK);
	assert_null(memmap_find(&vm.mem, GPA(MIB(64) + KIB(8))));
}

static void test_bad_kernel(void **state)
{
	(void)state;
	kernel.phdr.p_filesz = kernel.phdr.p_memsz = 4096;
	assert_true(vm_start(&vm) < 0);
	expect_log("p_filesz");
	expect_log(", not started\n");
	assert_int_equal(bytes_left(), 0);
	assert_int_equal(fake_hw.vms, 0);
}

/* Whatever step fails: one line, and nothing stays behind. */
static void test_failed_steps(void **state)
{
	int *const fails[] = { &fake_hw.vm_init_error, &fake_hw.vcpu_init_error };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(fails); i++) {
		fake_log_reset();
		*fails[i] = -ENOMEM;
		assert_int_equal(vm_start(&vm), -ENOMEM);
		*fails[i] = 0;
		assert_string_equal(fake_log,
				    "vm test: not enough memory for its tables, not started\n");
		assert_int_equal(bytes_left(), 0);
		assert_int_equal(fake_hw.vms, 0);
		assert_int_equal(vm.state, VM_STOPPED);
	}
	start();
}

/* The BSP is to begin, the others wait; all have the same clock. */
static void test_vcpus(void **state)
{
	(void)state;
	cfg.vcpus = VM_MAX_VCPUS;
	cfg.apic = true;
	start();
	cfg.vcpus = 1;
	cfg.apic = false;
	assert_int_equal(vm.nr_vcpus, VM_MAX_VCPUS);
	assert_int_equal(fake_hw.vcpus, VM_MAX_VCPUS);
	assert_int_equal(vm.vcpu[0]->state, VCPU_RUNNABLE);
	for (unsigned i = 1; i < VM_MAX_VCPUS; i++) {
		assert_int_equal(vm.vcpu[i]->id, i);
		assert_int_equal(vm.vcpu[i]->state, VCPU_WAIT_SIPI);
		assert_ptr_equal(vm.vcpu[i]->sched.share, &vm.sched);
		assert_ptr_equal(vm.vcpu[i]->exits, vm.exits[i]);
	}
	assert_int_equal(fake_hw.sets[REG_TSC_OFFSET], VM_MAX_VCPUS);
	assert_int_equal(fake_hw.reg[REG_TSC_OFFSET], vm.tsc_offset);
	vm.exits[63]->count[EXIT_IO] = 5;
	vm.exits[0]->count[EXIT_IO] = 2;
	assert_int_equal(vm_exits(&vm)->count[EXIT_IO], 7);
	vm_request_stop(&vm, VM_STOP_POWEROFF, 0, "powered off");
	vm_stop(&vm);
	assert_int_equal(fake_hw.vcpus, 0);
	assert_int_equal(vm_exits(&vm)->count[EXIT_IO], 7);
	start();
	assert_int_equal(vm_exits(&vm)->count[EXIT_IO], 0);
	assert_null(vm.exits[1]);
}

static void test_poweroff_gives_all_back(void **state)
{
	(void)state;
	start();
	vm_request_stop(&vm, VM_STOP_POWEROFF, 0, "powered off");
	vm_stop(&vm);
	expect_log("vm test: powered off\n");
	assert_int_equal(bytes_left(), 0);
	assert_int_equal(vm.state, VM_STOPPED);
	assert_int_equal(vm.stop_reason, VM_STOP_POWEROFF);
	assert_false(vm_wants_restart(&vm));
}

static void test_crash_keeps_memory(void **state)
{
	(void)state;
	start();
	vm_request_stop(&vm, VM_STOP_TRIPLE, 0, "triple fault at rip 0x1, cr3 0x2");
	assert_false(vm_wants_restart(&vm));
	vm_stop(&vm);
	expect_log("vm test: triple fault at rip 0x1, cr3 0x2, stopped\n");
	assert_int_equal(fake_hw.dumps, 1); /* the log's level is debug here */
	assert_int_equal(frame_bytes_owned(FRAME_VM0 + vm.id), MIB(16) - 0x20000);
	cfg.memory = GIB(64); /* which cannot be had */
	assert_int_equal(vm_start(&vm), -ENOMEM);
	assert_int_equal(vm.stop_reason, VM_STOP_TRIPLE);
	assert_int_equal(vm.nr_vcpus, 1);
	cfg.memory = MIB(16);
	start(); /* anew, over what was kept */
	assert_int_equal(frame_bytes_owned(FRAME_VM0 + vm.id), MIB(16) - 0x20000);
}

/* A log of a crash that was seen once has to be enough to find out what happened. */
static void test_crash_is_told(void **state)
{
	struct vcpu *vcpu;
	uint64_t avail;

	(void)state;
	cfg.vcpus = 2;
	cfg.apic = true;
	start();
	vcpu = this_cpu()->current = vm.vcpu[1];
	fake_hw.seg[SEG_IDTR] = (struct segment){ .base = 0x3000, .limit = 0x7ff };
	fake_hw.seg[SEG_GDTR] = (struct segment){ .base = 0xa0000, .limit = 0x1f };
	fake_hw.can_inject_intr = true;
	*(uint64_t *)memmap_ptr(&vm.mem, GPA(0x3000 + 16 * VEC_PF), true, &avail) = 0x8e0100081234;
	for (unsigned i = 0; i < VCPU_EVENTS_KEPT; i++) {
		vcpu->regs.rip = 0x1000 + i;
		vcpu_raise_vector(vcpu, i ? VEC_UD : VEC_DE);
		vcpu_inject_pending(vcpu);
	}
	vcpu->regs.rip = 0x2000;
	vcpu_raise_error(vcpu, VEC_PF, 0x12);
	vcpu_inject_pending(vcpu);
	fake_hw.reg[REG_CR2] = 0x77000;
	vcpu->exit.kind = EXIT_SHUTDOWN;
	vcpu->exit.interrupted = (struct vm_event){ .kind = EVENT_INTR, .vector = 48 };
	vcpu_triple_fault(vcpu);
	vm_stop(&vm);
	expect_log("vm test: vCPU 1, exit shutdown, cpl 0\n  rip 0000000000002000  rsp ");
	expect_log("cr2 0000000000077000");
	expect_log("  idt 0000000000003000 limit 000007ff, at gpa 0x3000\n");
	expect_log("  gdt 00000000000a0000 limit 0000001f, at gpa 0xa0000\n");
	expect_log("  at rip 0000000000001001 it was given exception 6\n");
	expect_log("  at rip 0000000000001003 it was given exception 6\n");
	expect_log("  at rip 0000000000002000 it was given exception 14 error 0x12\n");
	expect_log("  being delivered: interrupt 48\n");
	expect_log("  gate 14 is 00008e0100081234 0000000000000000\n");
	assert_null(strstr(fake_log, "it was given exception 0")); /* more than are kept */
	assert_null(strstr(fake_log, "vCPU 0, exit"));
	assert_null(strstr(fake_log, "nested wrong"));
	for (const char *p = fake_log, *end; (end = strchr(p, '\n')); p = end + 1)
		if (end - p > 80 - (int)strlen("umbra: "))
			fail_msg("more than 80 columns: %.*s", (int)(end - p), p);
	this_cpu()->current = NULL;
}

/* What is not the doing of one that is whole is not laid at anybody's door. */
static void test_crash_of_nobody(void **state)
{
	(void)state;
	start();
	this_cpu()->current = NULL;
	vm_request_stop(&vm, VM_STOP_ERROR, 0, "no more of it");
	vm_stop(&vm);
	expect_log("vm test: no more of it, stopped\n");
	assert_null(strstr(fake_log, ", exit "));
}

/* The nested table leads to another frame than the memory map has: that is Umbra's fault. */
static void test_crash_tells_of_wrong_tables(void **state)
{
	const struct region *r;

	(void)state;
	start();
	r = memmap_find(&vm.mem, GPA(0x3000));
	assert_int_equal(nested_unmap(&vm.nested, GPA(0x3000), PAGE_SIZE), 0);
	assert_int_equal(nested_map(&vm.nested, GPA(0x3000), HPA(r->frames.v + 0x5000), PAGE_SIZE,
				    PT_R | PT_W | PT_X),
			 0);
	this_cpu()->current = vm.vcpu[0];
	fake_hw.seg[SEG_IDTR] = (struct segment){ .base = 0x3000, .limit = 0x7ff };
	vcpu_triple_fault(vm.vcpu[0]);
	vm_stop(&vm);
	expect_log("at gpa 0x3000, nested wrong\n");
	this_cpu()->current = NULL;
}

static void test_restart_wishes(void **state)
{
	static const struct {
		enum vm_stop_reason reason;
		enum on_reset on_reset;
		enum on_crash on_crash;
		bool restart;
	} cases[] = {
		{ VM_STOP_RESET, ON_RESET_RESTART, ON_CRASH_STOP, true },
		{ VM_STOP_RESET, ON_RESET_STOP, ON_CRASH_RESTART, false },
		{ VM_STOP_TRIPLE, ON_RESET_RESTART, ON_CRASH_STOP, false },
		{ VM_STOP_TRIPLE, ON_RESET_STOP, ON_CRASH_RESTART, true },
		{ VM_STOP_POWEROFF, ON_RESET_RESTART, ON_CRASH_RESTART, false },
		{ VM_STOP_DEBUG_EXIT, ON_RESET_RESTART, ON_CRASH_RESTART, false },
		{ VM_STOP_ERROR, ON_RESET_RESTART, ON_CRASH_RESTART, false },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		vm.stop_reason = cases[i].reason;
		cfg.on_reset = cases[i].on_reset;
		cfg.on_crash = cases[i].on_crash;
		assert_int_equal(vm_wants_restart(&vm), cases[i].restart);
	}
	vm.stop_reason = VM_STOP_NONE;
}

/* A guest that resets itself at once may not live on the time that making it anew takes. */
static void test_restart_pause(void **state)
{
	(void)state;
	fake_now_ns = 7 * NS_PER_SEC;
	start();
	assert_int_equal(vm.start_ns, 7 * NS_PER_SEC);
	assert_int_equal(vm_restart_time(&vm), 8 * NS_PER_SEC);
}

/* As the run loop does it, a piece at a time. */
static void test_start_in_pieces(void **state)
{
	uint8_t bytes[PAGE_SIZE], zeros[PAGE_SIZE] = { 0 };
	unsigned pieces = 1;

	(void)state;
	assert_int_equal(vm_start_begin(&vm), 0);
	assert_int_equal(vm.state, VM_RUNNING);
	assert_int_equal(vm.vcpu[0]->state, VCPU_STARTING);
	while (!vm_clear_memory(&vm, KIB(300)))
		pieces++;
	assert_in_range(pieces, MIB(15) / KIB(300), MIB(17) / KIB(300));
	assert_true(vm_clear_memory(&vm, 1));
	for (uint64_t at = 0; at < MIB(16); at += PAGE_SIZE) {
		if (!memmap_read(&vm.mem, GPA(at), bytes, sizeof(bytes)))
			continue;
		if (memcmp(bytes, zeros, sizeof(bytes)) != 0)
			fail_msg("0x%llx is not clear", (unsigned long long)at);
	}
	assert_int_equal(vm_start_end(&vm), 0);
	assert_int_equal(vm.vcpu[0]->state, VCPU_RUNNABLE);
	expect_log("vm test: started, 16 MiB");
}

/* However often and in whatever way a VM stops: it costs no frame, and no timer lives on. */
static void test_many_lives(void **state)
{
	static const enum vm_stop_reason ends[] = { VM_STOP_RESET, VM_STOP_TRIPLE, VM_STOP_POWEROFF,
						    VM_STOP_ERROR, VM_STOP_DEBUG_EXIT };
	uint64_t bytes;

	(void)state;
	cfg.memory = MIB(3);
	start();
	bytes = fake_frame_bytes;
	for (unsigned i = 0; i < 100; i++) {
		/* Timers of the PIT, the RTC (both), the PM timer; a byte that waits. */
		bus_out(&vm.bus, 0x43, 1, 0x34);
		bus_out(&vm.bus, 0x40, 1, 0x10);
		bus_out(&vm.bus, 0x40, 1, 0x10);
		bus_out(&vm.bus, 0x70, 1, 0x0b);
		bus_out(&vm.bus, 0x71, 1, 0x72);
		bus_out(&vm.bus, 0x602, 2, 1);
		fake_console_room = 0;
		bus_out(&vm.bus, 0x3f8, 1, 'x');
		vm_request_stop(&vm, ends[i % ARRAY_SIZE(ends)], 0, "life %u is over", i);
		vm_stop(&vm);
		fake_console_room = 4096;
		console_work();
		fake_clock_advance(1000 * NS_PER_SEC);
		start();
		if (fake_frame_bytes != bytes)
			fail_msg("life %u: expected %llu bytes in use, seen %llu", i,
				 (unsigned long long)bytes, (unsigned long long)fake_frame_bytes);
		assert_int_equal(fake_hw.vms, 1);
		assert_int_equal(fake_hw.vcpus, 1);
		fake_log_reset();
	}
}

/* What CPU 0 reads of one VM's exits, another CPU's count of its own VM's leaves alone. */
static void test_exits_counted(void **state)
{
	static struct exit_stats of_other[2];
	static struct vm other = { .exits = { &of_other[0], &of_other[1] } };
	const struct exit_stats *sum;

	(void)state;
	start();
	vm.exits[0]->count[EXIT_IO] = 5;
	of_other[0].count[EXIT_IO] = 7;
	of_other[1].count[EXIT_HLT] = 8;
	sum = vm_exits(&vm);
	assert_int_equal(vm_exit_count(&other), 15);
	assert_int_equal(sum->count[EXIT_IO], 5);
	assert_int_equal(sum->count[EXIT_HLT], 0);
}

static void test_stats(void **state)
{
	(void)state;
	cfg.stats = true;
	start();
	vm.exits[0]->count[EXIT_IO] = 1234;
	vm.exits[0]->ticks[EXIT_IO] = 12340000;
	vm.exits[0]->worst[EXIT_IO] = 777777;
	vm.exits[0]->count[EXIT_HLT] = 5;
	vm_request_stop(&vm, VM_STOP_DEBUG_EXIT, 33, "debug-exit status 33");
	vm_stop(&vm);
	expect_log("vm test: debug-exit status 33\n");
	expect_log("vm test: exits io                   1234"
		   "  mean    10000  worst     777777 ticks\n");
	expect_log("vm test: exits hlt                     5"
		   "  mean        0  worst          0 ticks\n");
	expect_log("vm test: exits total                1239"
		   "  mean     9959  worst     777777 ticks\n");
	assert_null(strstr(fake_log, "exits cpuid"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_memory_layout),
		CASE(test_large_blocks),
		CASE(test_identity_map),
		CASE(test_apic),
		CASE(test_memory_is_zeroed_and_kernel_loaded),
		CASE(test_refusals),
		CASE(test_disks),
		CASE(test_bad_kernel),
		CASE(test_failed_steps),
		CASE(test_vcpus),
		CASE(test_poweroff_gives_all_back),
		CASE(test_crash_keeps_memory),
		CASE(test_crash_is_told),
		CASE(test_crash_of_nobody),
		CASE(test_crash_tells_of_wrong_tables),
		CASE(test_restart_wishes),
		CASE(test_restart_pause),
		CASE(test_start_in_pieces),
		CASE(test_many_lives),
		CASE(test_exits_counted),
		CASE(test_stats),
	};

	return cmocka_run_group_tests_name("vm_life", tests, NULL, NULL);
}
