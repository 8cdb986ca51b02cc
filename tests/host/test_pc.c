/* The board: devices at their ports, on their wires, and what they ask of the VM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "tests/host/fakes.h"
#include "vmm/console.h"
#include "vmm/console_view.h"
#include "vmm/dev/pc.h"
#include "vmm/vm.h"

static struct vm vm;
static bool added; /* to the console */
static struct vm_config cfg;
static uint8_t rom[KIB(64)] __attribute__((aligned(4096)));

static void create(bool debug_exit)
{
	struct region r = { .start = GPA(VM_BIOS_ROM),
			    .size = sizeof(rom),
			    .kind = REGION_ROM,
			    .frames = HPA((uintptr_t)rom) };

	memset(&vm, 0, sizeof(vm));
	cfg = (struct vm_config){ .name = "test", .memory = MIB(256), .debug_exit = debug_exit };
	vm.cfg = &cfg;
	vm.nr_vcpus = 1;
	vm.state = VM_RUNNING;
	memmap_init(&vm.mem);
	assert_int_equal(memmap_add(&vm.mem, &r), 0);
	assert_int_equal(bus_init(&vm.bus), 0);
	assert_int_equal(pc_create(&vm), 0);
	if (!added)
		assert_int_equal(console_add(&vm), 0);
	added = true;
	console_set_front(&vm);
	console_work();
	fake_console_len = 0;
	fake_console_out[0] = '\0';
}

static int setup(void **state)
{
	(void)state;
	fake_timers_reset();
	fake_log_reset();
	fake_console_len = 0;
	fake_console_out[0] = '\0';
	fake_console_room = sizeof(fake_console_out);
	create(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	console_forget(&vm);
	pc_destroy(&vm);
	bus_destroy(&vm.bus);
	return 0;
}

static void outb(uint16_t port, uint8_t val)
{
	bus_out(&vm.bus, port, 1, val);
}

static uint8_t inb(uint16_t port)
{
	return (uint8_t)bus_in(&vm.bus, port, 1);
}

static bool pending(void)
{
	return vm.intr.pending(vm.intr.ctx);
}

/* The interrupt that must be there, taken and ended. */
static void assert_interrupt(int vector)
{
	assert_true(pending());
	assert_int_equal(vm.intr.ack(vm.intr.ctx), vector);
	if (vector >= 0x38)
		outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

/* As Linux's init_8259A(), everything open. */
static void init_pics(void)
{
	outb(0x21, 0xff);
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0xa0, 0x11);
	outb(0xa1, 0x38);
	outb(0xa1, 0x02);
	outb(0xa1, 0x01);
	outb(0x21, 0x00);
	outb(0xa1, 0x00);
}

static void cmos(uint8_t reg, uint8_t val)
{
	outb(0x70, reg);
	outb(0x71, val);
}

static void test_absent_ports(void **state)
{
	static const uint16_t absent[] = { 0x00,  0x22,  0x3c,  0x62,  0x63,  0x81, 0x3e8,
					   0x2e8, 0x378, 0x1f7, 0x3f6, 0xcf0, 0x60c };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_int_equal(inb(absent[i]), 0xff);
		outb(absent[i], 0x55);
	}
	assert_false(pending());
}

static void test_timer_interrupt(void **state)
{
	(void)state;
	init_pics();
	outb(0x43, 0x34);
	outb(0x40, 0x9c);
	outb(0x40, 0x2e); /* 100 Hz */
	for (unsigned i = 0; i < 100; i++) {
		assert_false(pending());
		fake_clock_advance(NS_PER_SEC / 100 + 1000);
		assert_interrupt(0x30);
	}
	/* Half a second late: fifty ticks, one for each that is taken. */
	fake_clock_advance(NS_PER_SEC / 2);
	for (unsigned i = 0; i < 50; i++)
		assert_interrupt(0x30);
	assert_false(pending());
	outb(0x21, 0x01); /* masked: they merge into one */
	fake_clock_advance(NS_PER_SEC / 2);
	outb(0x21, 0x00);
	assert_interrupt(0x30);
	assert_false(pending());
}

/* A tick that the controllers' initialization swallows does not stop those that follow. */
static void test_pics_initialized_under_a_running_timer(void **state)
{
	(void)state;
	init_pics();
	outb(0x43, 0x34);
	outb(0x40, 0x9c);
	outb(0x40, 0x2e);
	fake_clock_advance(NS_PER_SEC);
	init_pics();
	assert_false(pending());
	fake_clock_advance(11 * NS_PER_SEC / 1000);
	assert_interrupt(0x30);
}

static void test_rtc_interrupt(void **state)
{
	(void)state;
	init_pics();
	cmos(0x0b, 0x12);
	fake_clock_advance(NS_PER_SEC + 1000);
	assert_interrupt(0x38);
	outb(0x70, 0x0c);
	assert_int_equal(inb(0x71) & 0x90, 0x90);
	outb(0x70, 0x34);
	assert_int_equal(inb(0x71), 240 * 16 & 0xff);
}

static void test_keyboard_interrupt(void **state)
{
	(void)state;
	init_pics();
	outb(0x60, 0xee);
	assert_interrupt(0x31);
	assert_int_equal(inb(0x64) & 1, 1);
	assert_int_equal(inb(0x60), 0xee);
	assert_false(pending());
}

static void test_console_out(void **state)
{
	(void)state;
	for (const char *s = "to the console"; *s; s++)
		outb(0x3f8, (uint8_t)*s);
	assert_string_equal(fake_console_out, "to the console");
	outb(0x2f8, 'x'); /* COM2 has no cable */
	assert_string_equal(fake_console_out, "to the console");
	outb(0xe9, '!');
	assert_string_equal(fake_console_out, "to the console!");
	assert_int_equal(inb(0xe9), 0xe9);
}

/* A full console holds the guest's transmitter back until it has room. */
static void test_console_full(void **state)
{
	(void)state;
	init_pics();
	outb(0x3fc, 0x08);
	outb(0x3fa, 0x01);
	fake_console_room = 2;
	for (const char *s = "abcd"; *s; s++)
		outb(0x3f8, (uint8_t)*s);
	for (unsigned i = 0; i < SAID_AHEAD; i++)
		outb(0x3f8, '.');
	assert_int_equal(inb(0x3fd) & 0x60, 0x00);
	outb(0x3f9, 0x02);
	assert_false(pending());
	fake_console_room = 1000;
	console_work();
	assert_int_equal(strspn(fake_console_out, "abcd"), 4);
	assert_int_equal(fake_console_len, 4 + SAID_AHEAD);
	assert_int_equal(inb(0x3fd) & 0x60, 0x60);
	assert_interrupt(0x34);
}

static void test_console_in(void **state)
{
	(void)state;
	init_pics();
	outb(0x3fc, 0x08);
	outb(0x3f9, 0x01);
	assert_true(pc_console_input(&vm, 'k'));
	assert_false(pc_console_input(&vm, 'l'));
	assert_interrupt(0x34);
	assert_int_equal(inb(0x3f8), 'k');
	assert_false(pending());
	outb(0x3fa, 0x01);
	for (unsigned i = 0; i < 16; i++)
		assert_true(pc_console_input(&vm, (uint8_t)i));
	assert_false(pc_console_input(&vm, 16));
}

/* Linux's transmit interrupt: IIR, LSR, a FIFO full of bytes; no byte comes twice. */
static void test_linux_console_driver(void **state)
{
	static const char text[] =
		"The quick brown fox jumps over the lazy dog, and again and again.";
	const char *s = text;
	unsigned interrupts = 0;

	(void)state;
	init_pics();
	outb(0x3fa, 0x81);
	outb(0x3fc, 0x0b);
	outb(0x3f9, 0x07); /* start_tx */
	while (pending()) {
		vm.intr.ack(vm.intr.ctx);
		outb(0x21, 0x10); /* mask_and_ack */
		outb(0x20, 0x64);
		interrupts++;
		while (!(inb(0x3fa) & 1)) {
			if (!(inb(0x3fd) & 0x20))
				continue;
			for (unsigned i = 0; i < 16 && *s; i++)
				outb(0x3f8, (uint8_t)*s++);
			if (!*s)
				outb(0x3f9, 0x05); /* stop_tx */
		}
		outb(0x21, 0x00);
	}
	assert_string_equal(fake_console_out, text);
	assert_in_range(interrupts, 1, 6);
}

static void expect_stop(enum vm_stop_reason reason, int status)
{
	assert_int_equal(vm.stop_reason, reason);
	assert_int_equal(vm.stop_status, status);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(vm.stop_reason, VM_STOP_NONE);
}

static void test_resets(void **state)
{
	(void)state;
	outb(0x64, 0xfe);
	expect_stop(VM_STOP_RESET, 0);
	outb(0x92, 0x01);
	expect_stop(VM_STOP_RESET, 0);
	outb(0xcf9, 0x02);
	assert_int_equal(vm.stop_reason, VM_STOP_NONE);
	outb(0xcf9, 0x06);
	expect_stop(VM_STOP_RESET, 0);
}

static void test_power_off(void **state)
{
	(void)state;
	bus_out(&vm.bus, 0x604, 2, 0x3401);
	expect_stop(VM_STOP_POWEROFF, 0);
}

static void test_first_reason_wins(void **state)
{
	(void)state;
	bus_out(&vm.bus, 0x604, 2, 0x3401);
	outb(0x64, 0xfe);
	expect_stop(VM_STOP_POWEROFF, 0);
}

static void test_debug_exit(void **state)
{
	(void)state;
	assert_int_equal(inb(0xf4), 0x00);
	outb(0xf4, 0x10);
	expect_stop(VM_STOP_DEBUG_EXIT, 0x21);
	bus_out(&vm.bus, 0xf4, 4, 0x12345);
	expect_stop(VM_STOP_DEBUG_EXIT, 0x2468b);
	bus_out(&vm.bus, 0xf4, 4, 0xffffffff);
	expect_stop(VM_STOP_DEBUG_EXIT, -1);
	teardown(NULL);
	create(false);
	outb(0xf4, 0x10); /* only when the guest's line asks for it */
	assert_int_equal(vm.stop_reason, VM_STOP_NONE);
	assert_int_equal(inb(0xf4), 0xff);
}

static void test_post_port(void **state)
{
	(void)state;
	outb(0x80, 0x5a);
	assert_int_equal(inb(0x80), 0x5a);
}

static void test_pci(void **state)
{
	(void)state;
	bus_out(&vm.bus, 0xcf8, 4, 0x80000000);
	assert_int_equal(bus_in(&vm.bus, 0xcfc, 4), 0x12378086);
	assert_int_equal(bus_in(&vm.bus, 0xcff, 2) & 0xff,
			 0x12); /* over the end: the rest is absent */
	assert_int_equal(bus_in(&vm.bus, 0xcff, 4) >> 8, 0xffffff);
}

static void test_tables(void **state)
{
	(void)state;
	assert_int_equal(pc_write_tables(&vm).v, VM_BIOS_ROM);
	assert_memory_equal(rom, "RSD PTR ", 8);
	assert_int_equal(memmap_remove(&vm.mem, GPA(VM_BIOS_ROM)), 0);
	assert_int_equal(pc_write_tables(&vm).v, 0);
}

static void test_destroy_leaves_nothing(void **state)
{
	(void)state;
	init_pics();
	outb(0x43, 0x34);
	outb(0x40, 0x9c);
	outb(0x40, 0x2e);
	cmos(0x0b, 0x72);
	bus_out(&vm.bus, 0x602, 2, 1);
	pc_destroy(&vm);
	assert_null(vm.pc);
	assert_null(vm.intr.pending);
	assert_int_equal(vm.bus.nr_io, 0);
	for (unsigned port = 0; port < BUS_IO_PORTS; port++)
		assert_int_equal(inb((uint16_t)port), 0xff);
	fake_clock_advance(1000 * NS_PER_SEC); /* a timer left would touch freed memory */
	pc_destroy(&vm);
}

/* All ports, all sizes, any value, any time: the VM may stop, nothing else happens. */
static void test_hostile_guest(void **state)
{
	static const uint16_t bases[] = { 0x20, 0x40,  0x60,  0x70,  0x80,  0x90,  0xa0,
					  0xe8, 0x2f8, 0x3f8, 0x4d0, 0x600, 0xcf8, 0xf4 };

	(void)state;
	srand(8);
	for (unsigned i = 0; i < 300000; i++) {
		unsigned r = (unsigned)rand(), size = 1u << (r >> 3) % 3;
		uint16_t port = (uint16_t)(bases[(r >> 8) % ARRAY_SIZE(bases)] + (r & 7));

		switch (r >> 16 & 3) {
		case 0:
			bus_in(&vm.bus, port, size);
			break;
		case 1:
			bus_out(&vm.bus, port, size, (uint32_t)rand() * 3u);
			break;
		case 2:
			fake_clock_advance((uint64_t)rand() % 200000);
			break;
		default:
			if (pending())
				assert_in_range(vm.intr.ack(vm.intr.ctx), 0, 255);
			fake_console_len = 0;
			fake_console_room = r >> 20 & 63;
			pc_console_input(&vm, (uint8_t)r);
			pc_console_ready(&vm);
		}
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_absent_ports),
		TEST(test_timer_interrupt),
		TEST(test_pics_initialized_under_a_running_timer),
		TEST(test_rtc_interrupt),
		TEST(test_keyboard_interrupt),
		TEST(test_console_out),
		TEST(test_console_full),
		TEST(test_console_in),
		TEST(test_linux_console_driver),
		TEST(test_resets),
		TEST(test_power_off),
		TEST(test_first_reason_wins),
		TEST(test_debug_exit),
		TEST(test_post_port),
		TEST(test_pci),
		TEST(test_tables),
		TEST(test_destroy_leaves_nothing),
		TEST(test_hostile_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
