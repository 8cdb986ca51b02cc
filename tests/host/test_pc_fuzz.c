/*
 * The whole board under a guest that reads and writes any port in any size, takes its
 * interrupts or does not, while time goes on in steps of any size: no access leaves the
 * devices, nothing is logged, and no device's timer outlives it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/timer.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "vmm/console.h"
#include "vmm/dev/pc.h"
#include "vmm/vm.h"

#define ROUNDS 2000000
#define RESET_EVERY 20000 /* rounds, after which the guest gets a new board */

static struct vm vm;
static struct vm_config cfg;

static uint64_t random64(void)
{
	static uint64_t s = 0x9e3779b97f4a7c15;

	return fake_random64(&s);
}

/* A port of a device, mostly. */
static uint16_t random_port(void)
{
	static const uint16_t bases[] = { 0x20,  0x40,  0x60,  0x61,  0x64,  0x70,  0x71,
					  0x80,  0x92,  0xa0,  0xe9,  0xf4,  0x2f8, 0x3f8,
					  0x4d0, 0x600, 0x604, 0x608, 0xcf8, 0xcfc, 0xfffd };
	uint64_t r = random64();

	if (r % 16 == 0)
		return (uint16_t)(r >> 16);
	return (uint16_t)(bases[(r >> 8) % ARRAY_SIZE(bases)] + (r >> 16) % 8);
}

static void random_access(void)
{
	unsigned size = 1u << random64() % 3;
	uint16_t port = random_port();
	uint32_t val = (uint32_t)random64();

	if (random64() & 1) {
		bus_out(&vm.bus, port, size, random64() & 1 ? val : val & 0x17);
		return;
	}
	val = bus_in(&vm.bus, port, size);
	if (size < 4)
		assert_int_equal(val >> (8 * size), 0);
}

static void random_time(void)
{
	static const uint64_t steps[] = {
		100, 10000, NS_PER_SEC / 1000, NS_PER_SEC / 18, 3 * NS_PER_SEC, 86400 * NS_PER_SEC,
	};
	uint64_t r = random64();
	bool small = r >> 8 & 0x3ff;

	fake_now_ns += steps[(r >> 24) % (small ? 3 : ARRAY_SIZE(steps))] + r % 97;
	timer_run_expired();
}

static void create(void)
{
	memset(&vm, 0, sizeof(vm));
	vm.cfg = &cfg;
	vm.nr_vcpus = 1;
	assert_int_equal(bus_init(&vm.bus), 0);
	assert_int_equal(pc_create(&vm), 0);
}

static void destroy(void)
{
	console_forget(&vm);
	pc_destroy(&vm);
	bus_destroy(&vm.bus);
}

static void test_any_port(void **state)
{
	(void)state;
	cfg = (struct vm_config){ .name = "test", .memory = MIB(256), .debug_exit = true };
	fake_timers_reset();
	fake_log_reset();
	fake_now_ns = 5;
	create();
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % RESET_EVERY == 0) {
			destroy();
			create();
		}
		fake_console_len = 0;
		fake_console_room = random64() % 8;
		random_access();
		if (random64() % 4 == 0)
			random_time();
		if (random64() % 8 == 0)
			pc_console_input(&vm, (uint8_t)random64());
		if (random64() % 8 == 0)
			console_work();
		if (random64() % 2 == 0 && vm.intr.pending(vm.intr.ctx))
			assert_in_range(vm.intr.ack(vm.intr.ctx), 0, 255);
	}
	destroy();
	/* No device's timer outlives it: this would run it. */
	fake_clock_advance(100000 * NS_PER_SEC);
	if (fake_log[0])
		fail_msg("expected no line in the log, seen:\n%.500s", fake_log);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_any_port) };

	return cmocka_run_group_tests_name("pc_fuzz", tests, NULL, NULL);
}
