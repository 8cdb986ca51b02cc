/* KVM's clock for guests: what is written where, and that no address does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/kvm_clock.h"
#include "vmm/msr.h"

static const struct vm_config kvm = { .name = "kvm", .pv = PV_KVM };
static const struct vm_config none = { .name = "none" };

static struct vcpu second;

static int setup(void **state)
{
	(void)state;
	second = (struct vcpu){ 0 };
	fake_timers_reset();
	fake_vm_reset();
	fake_vm.cfg = &kvm;
	cpuid_init(fake_cpuid_amd, XCR0_X87 | XCR0_SSE);
	msr_reset(&fake_vcpu);
	return 0;
}

static uint64_t field(unsigned at, unsigned size)
{
	uint64_t val = 0;

	memcpy(&val, fake_ram + at, size);
	return val;
}

/* pvclock_clocksource_read() of Linux. */
static uint64_t guest_ns(unsigned at, uint64_t tsc)
{
	uint64_t delta = tsc - field(at + 8, 8);
	int8_t shift = (int8_t)fake_ram[at + 28];

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return field(at + 16, 8) + (uint64_t)((unsigned __int128)delta * field(at + 24, 4) >> 32);
}

static uint64_t guest_tsc(void)
{
	uint64_t tsc = 0;

	assert_true(msr_read(&fake_vcpu, MSR_TSC, &tsc));
	return tsc;
}

static void two_vcpus(void)
{
	second = fake_vcpu;
	second.id = 1;
	fake_vm.vcpu[fake_vm.nr_vcpus++] = &second;
}

static void hours_pass(uint64_t hours)
{
	uint64_t ticks = hours * 3600 * fake_tsc_hz;

	fake_vm.tsc_offset += ticks;
	fake_hw.reg[REG_TSC_OFFSET] += ticks;
}

static void test_system_time(void **state)
{
	uint64_t said, after, val;

	(void)state;
	memset(fake_ram, 0x55, 64);
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	assert_true(msr_read(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, &val));
	assert_int_equal(val, 0x1001);
	assert_int_equal(field(0x1000, 4) & 1, 0);
	assert_int_not_equal(field(0x1000, 4), 0);
	said = field(0x1008, 8);
	after = guest_tsc();
	assert_int_equal(said, 0);
	assert_int_equal(fake_ram[0x101d], 1); /* stable */
	/* The TSC of the tests is said to run at 1 GHz, and the VM's began at 0. */
	assert_in_range(guest_ns(0x1000, after), after - 1, after + 1);
	assert_in_range(guest_ns(0x1000, after + NS_PER_SEC) - guest_ns(0x1000, after),
			NS_PER_SEC - 2, NS_PER_SEC + 2);
	assert_int_equal(field(0x1020, 8), 0); /* 32 bytes, and no more */
}

/* The clock is where it was, whatever the guest does to its TSC. */
static void test_tsc_is_set(void **state)
{
	uint64_t before, after, version;

	(void)state;
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	version = field(0x1000, 4);
	before = guest_ns(0x1000, guest_tsc());
	assert_true(msr_write(&fake_vcpu, MSR_TSC, UINT64_C(1) << 50));
	after = guest_ns(0x1000, guest_tsc());
	assert_in_range(after, before, before + NS_PER_SEC);
	assert_int_equal(field(0x1000, 4), version + 2);
	assert_true(msr_write(&fake_vcpu, MSR_TSC_ADJUST, 12345));
	assert_in_range(guest_ns(0x1000, guest_tsc()), after, before + NS_PER_SEC);
	/* Off: nothing is written any more. */
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1000));
	memset(fake_ram + 0x1000, 0, 32);
	assert_true(msr_write(&fake_vcpu, MSR_TSC, 0));
	assert_int_equal(field(0x1000, 8), 0);
}

/* None whose rate makes whole nanoseconds, or fits the multiplier. */
static const uint64_t rates[] = { 2893201457, 1000000001, 999999937, 333333333, 4999999993 };

/* The page of one that is brought online hours after the others tells what theirs do. */
static void test_one_clock(void **state)
{
	(void)state;
	two_vcpus();
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		uint64_t tsc;

		fake_tsc_hz = rates[i];
		assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
		hours_pass(1000 + 7 * i);
		assert_true(msr_write(&second, MSR_KVM_SYSTEM_TIME_NEW, 0x1041));
		tsc = guest_tsc();
		assert_int_equal(guest_ns(0x1000, tsc), guest_ns(0x1040, tsc));
		hours_pass(1);
		tsc = guest_tsc();
		assert_int_equal(guest_ns(0x1000, tsc), guest_ns(0x1040, tsc));
	}
}

/* Not by a nanosecond, in either direction: of a page that is written anew and of the others. */
static void test_no_step(void **state)
{
	(void)state;
	two_vcpus();
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		uint64_t tsc, before, adjust = 0;

		fake_tsc_hz = rates[i];
		assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
		assert_true(msr_write(&second, MSR_KVM_SYSTEM_TIME_NEW, 0x1041));
		for (unsigned turn = 0; turn < 50; turn++) {
			hours_pass(3);
			tsc = guest_tsc() - adjust;
			before = guest_ns(0x1000, tsc + adjust);
			if (turn % 2)
				adjust += UINT64_C(0x123456789abcdef) * turn;
			assert_true(msr_write(&fake_vcpu, MSR_TSC_ADJUST, adjust));
			assert_int_equal(guest_ns(0x1000, tsc + adjust), before);
			assert_int_equal(guest_ns(0x1040, tsc), before);
			kvm_clock_resumed(&fake_vm);
			assert_int_equal(guest_ns(0x1000, tsc + adjust), before);
			assert_int_equal(guest_ns(0x1040, tsc), before);
		}
		assert_true(msr_write(&fake_vcpu, MSR_TSC_ADJUST, 0));
	}
}

/* While one has another TSC than the others, who read a page not their own are to know. */
static void test_stable(void **state)
{
	(void)state;
	two_vcpus();
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	assert_true(msr_write(&second, MSR_KVM_SYSTEM_TIME_NEW, 0x1041));
	assert_int_equal(fake_ram[0x101d], 1);
	assert_int_equal(fake_ram[0x105d], 1);
	assert_true(msr_write(&second, MSR_TSC_ADJUST, 1));
	assert_int_equal(fake_ram[0x101d], 0);
	assert_int_equal(fake_ram[0x105d], 0);
	assert_int_equal(field(0x1000, 4), 4);
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	assert_int_equal(fake_ram[0x101d], 0);
	/* All of them moved by as much: they are one again. */
	assert_true(msr_write(&fake_vcpu, MSR_TSC_ADJUST, 1));
	assert_int_equal(fake_ram[0x101d], 1);
	assert_int_equal(fake_ram[0x105d], 1);
}

/* After a pause: the guest's watchdogs look at the flag, and clear it. */
static void test_resumed(void **state)
{
	uint64_t before;

	(void)state;
	kvm_clock_resumed(&fake_vm); /* it has no page: nothing is written */
	assert_int_equal(field(0, 8), 0);
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	before = guest_ns(0x1000, guest_tsc());
	kvm_clock_resumed(&fake_vm);
	assert_int_equal(fake_ram[0x101d], 3);
	assert_in_range(guest_ns(0x1000, guest_tsc()), before, before + NS_PER_SEC);
	/* Nobody else takes it away. */
	assert_true(msr_write(&fake_vcpu, MSR_TSC, 0));
	assert_int_equal(fake_ram[0x101d], 3);
	fake_ram[0x101d] = 1;
	assert_true(msr_write(&fake_vcpu, MSR_TSC, 1));
	assert_int_equal(fake_ram[0x101d], 1);
	/* What lies at a new page's place says nothing. */
	fake_ram[0x101d] = 3;
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	assert_int_equal(fake_ram[0x101d], 1);
}

static void test_wall_clock(void **state)
{
	uint64_t start;

	(void)state;
	fake_wall_seconds = 1700000000;
	fake_now_ns = 5 * NS_PER_SEC + 250000000;
	assert_true(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, 0x2004));
	assert_int_equal(field(0x2004, 4), 2);
	start = field(0x2008, 4) * NS_PER_SEC + field(0x200c, 4);
	/* It was made but a moment ago. */
	assert_in_range(start, UINT64_C(1700000005) * NS_PER_SEC - 100 * NS_PER_SEC,
			UINT64_C(1700000005) * NS_PER_SEC + 250000000);
	assert_int_equal(field(0x2010, 8), 0);
	msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, 0x2004);
	assert_int_equal(field(0x2004, 4), 4);
}

/* A second that ends while it is written is not lost. */
static void test_wall_clock_straddles(void **state)
{
	uint64_t start;

	(void)state;
	fake_wall_seconds = 1700000000;
	fake_vm.tsc_offset = -rdtsc();
	fake_now_ns = 6 * NS_PER_SEC - 1;
	fake_clock_step = 1;
	assert_true(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, 0x2004));
	start = field(0x2008, 4) * NS_PER_SEC + field(0x200c, 4);
	assert_in_range(start, UINT64_C(1700000006) * NS_PER_SEC - NS_PER_SEC / 2,
			UINT64_C(1700000006) * NS_PER_SEC);
}

/* By the guest's clock as it is, not as it would be with no rounding. */
static void test_wall_clock_is_the_clocks(void **state)
{
	uint64_t wall, up;

	(void)state;
	fake_wall_seconds = 1700000000;
	fake_tsc_hz = rates[0];
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	hours_pass(20000);
	fake_now_ns = UINT64_C(20000) * 3600 * NS_PER_SEC;
	assert_true(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, 0x2004));
	up = guest_ns(0x1000, guest_tsc());
	wall = field(0x2008, 4) * NS_PER_SEC + field(0x200c, 4);
	assert_in_range(wall + up, fake_wall_seconds * NS_PER_SEC + fake_now_ns,
			fake_wall_seconds * NS_PER_SEC + fake_now_ns + NS_PER_SEC / 100);
}

static unsigned touched; /* so often a device was asked for something */

static uint64_t device_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	touched++;
	return 0;
}

static void device_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)dev;
	(void)off;
	(void)size;
	(void)val;
	touched++;
}

/* Registers as of an HPET, and others that lie right behind the memory. */
static void test_device(void **state)
{
	static const struct mmio_ops ops = { device_read, device_write };
	static const uint64_t at[] = { 0xfed00000, 0xfed000f0, 0xfecffffc, FAKE_RAM_SIZE - 8 };

	(void)state;
	assert_int_equal(bus_init(&fake_vm.bus), 0);
	bus_register_mmio(&fake_vm.bus, GPA(0xfed00000), 0x1000, "registers", &ops, NULL);
	bus_register_mmio(&fake_vm.bus, GPA(FAKE_RAM_SIZE), 0x1000, "behind", &ops, NULL);
	touched = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		assert_true(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, at[i]));
		assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, at[i] | 1));
		kvm_clock_resumed(&fake_vm);
	}
	bus_destroy(&fake_vm.bus);
	assert_int_equal(touched, 0);
	assert_int_equal(field(FAKE_RAM_SIZE - 8, 8), 0);
}

static void expect_refused(uint64_t address)
{
	uint64_t val;

	assert_false(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, address));
	assert_false(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, address | 1));
	assert_true(msr_read(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, &val));
	assert_int_equal(val, 0);
	assert_true(msr_read(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, &val));
	assert_int_equal(val, 0);
}

/* No processor has such addresses. */
static void test_wide_addresses(void **state)
{
	unsigned width = cpuid_policy()->maxphyaddr;

	(void)state;
	assert_in_range(width, 36, 52);
	expect_refused(BIT(width));
	expect_refused(BIT(width) | 0x1000);
	expect_refused(BIT(62) | 0x1000);
	expect_refused(UINT64_C(0xfffffffffffffffc));
	assert_int_equal(field(0x1000, 8), 0);
	assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, BIT(width - 1) | 1));
}

static void test_hostile_addresses(void **state)
{
	const uint64_t ends[] = { FAKE_RAM_SIZE - 4, FAKE_RAM_SIZE, UINT64_C(0xfec00000),
				  UINT64_C(0xfee00000), BIT(cpuid_policy()->maxphyaddr) - 4 };

	(void)state;
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		assert_true(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, ends[i]));
		assert_true(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, ends[i] | 1));
		kvm_clock_tsc_changed(&fake_vm);
	}
	for (unsigned i = 0; i < FAKE_RAM_SIZE; i += 4)
		if (field(i, 4))
			fail_msg("written at %x", i);
	assert_false(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, 0x1001));
	assert_false(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, 0x1002));
	assert_false(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1003));
	assert_int_equal(field(0x1000, 4), 0);
}

static void test_without(void **state)
{
	uint64_t val;

	(void)state;
	fake_vm.cfg = &none;
	assert_false(msr_write(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, 0x1000));
	assert_false(msr_write(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, 0x1001));
	assert_false(msr_read(&fake_vcpu, MSR_KVM_WALL_CLOCK_NEW, &val));
	assert_false(msr_read(&fake_vcpu, MSR_KVM_SYSTEM_TIME_NEW, &val));
	assert_int_equal(field(0x1000, 8), 0);
}

static void test_hypercalls(void **state)
{
	(void)state;
	assert_int_equal(kvm_hypercall(0), -1000);
	assert_int_equal(kvm_hypercall(3), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_system_time, setup),
		cmocka_unit_test_setup(test_tsc_is_set, setup),
		cmocka_unit_test_setup(test_one_clock, setup),
		cmocka_unit_test_setup(test_no_step, setup),
		cmocka_unit_test_setup(test_stable, setup),
		cmocka_unit_test_setup(test_resumed, setup),
		cmocka_unit_test_setup(test_wall_clock, setup),
		cmocka_unit_test_setup(test_wall_clock_straddles, setup),
		cmocka_unit_test_setup(test_wall_clock_is_the_clocks, setup),
		cmocka_unit_test_setup(test_device, setup),
		cmocka_unit_test_setup(test_wide_addresses, setup),
		cmocka_unit_test_setup(test_hostile_addresses, setup),
		cmocka_unit_test_setup(test_without, setup),
		cmocka_unit_test(test_hypercalls),
	};

	return cmocka_run_group_tests_name("kvm_clock", tests, NULL, NULL);
}
