/* The board with APICs: which wire leads where, who is told of ends, and that nothing is left. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "vmm/cpuid.h"
#include "vmm/dev/hpet.h"
#include "vmm/dev/ioapic.h"
#include "vmm/dev/pc.h"

#define MASKED 0x10000u
#define LEVEL 0x8000u
#define ACTIVE_LOW 0x2000u
#define REMOTE_IRR 0x4000u

static struct vm_config cfg;
static uint8_t rom[KIB(64)] __attribute__((aligned(4096)));
static struct lapic *lapic = &fake_vcpu.lapic;

static unsigned vcpus = 1;

static bool kicked_locked; /* the VM's lock was held when the processor was kicked last */

static void kick(void *ctx)
{
	(void)ctx;
	kicked_locked = owned_lock_held(&fake_vm.lock);
}

static void no_word(void *ctx)
{
	(void)ctx;
}

static void no_byte(void *ctx, uint8_t byte)
{
	(void)ctx;
	(void)byte;
}

static uint64_t no_tsc(void *ctx)
{
	(void)ctx;
	return fake_now_ns;
}

static const struct lapic_cpu processor = {
	.nmi = no_word,
	.init = no_word,
	.startup = no_byte,
	.kick = kick,
	.notify = kick,
	.tpr_changed = no_byte,
	.tsc = no_tsc,
};

static void create(bool apic)
{
	struct region r = { .start = GPA(VM_BIOS_ROM),
			    .size = sizeof(rom),
			    .kind = REGION_ROM,
			    .frames = HPA((uintptr_t)rom) };

	fake_vm_reset();
	cpuid_init(fake_cpuid_amd, 7);
	memset(rom, 0xcc, sizeof(rom));
	cfg = (struct vm_config){ .name = "t", .memory = MIB(64), .vcpus = vcpus, .apic = apic };
	fake_vm.cfg = &cfg;
	assert_int_equal(memmap_add(&fake_vm.mem, &r), 0);
	assert_int_equal(bus_init(&fake_vm.bus), 0);
	assert_int_equal(pc_create(&fake_vm), 0);
	lapic_setup(lapic, &fake_vm.lapics, &processor, NULL);
	if (!apic)
		return;
	lapic_virtual_wire(lapic);
	lapic_mmio_write(lapic, 0xf0, 4, 0x1ff);
}

static int setup(void **state)
{
	(void)state;
	fake_timers_reset();
	fake_console_room = sizeof(fake_console_out);
	create(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pc_destroy(&fake_vm);
	lapic_destroy(lapic);
	bus_destroy(&fake_vm.bus);
	return 0;
}

static void out8(uint16_t port, uint8_t val)
{
	bus_out(&fake_vm.bus, port, 1, val);
}

static void mmio(uint64_t at, uint32_t val)
{
	bus_mmio_write(&fake_vm.bus, GPA(at), 4, val);
}

static uint32_t entry(unsigned pin)
{
	mmio(IOAPIC_BASE, 0x10 + 2 * pin);
	return (uint32_t)bus_mmio_read(&fake_vm.bus, GPA(IOAPIC_BASE + 0x10), 4);
}

static void set_entry(unsigned pin, uint32_t val)
{
	mmio(IOAPIC_BASE, 0x10 + 2 * pin);
	mmio(IOAPIC_BASE + 0x10, val);
}

/* The interrupt that must be there; taken, not ended. */
static void assert_taken(unsigned vector)
{
	assert_int_equal(lapic_next(lapic), vector);
	assert_int_equal(lapic_ack(lapic), vector);
}

static void eoi(void)
{
	lapic_mmio_write(lapic, 0xb0, 4, 0);
}

static void start_pit(uint16_t count)
{
	out8(0x43, 0x34);
	out8(0x40, (uint8_t)count);
	out8(0x40, (uint8_t)(count >> 8));
}

static void test_isa_wires(void **state)
{
	(void)state;
	set_entry(1, 0x41);
	out8(0x60, 0xee); /* the keyboard answers */
	assert_taken(0x41);
	eoi();
	assert_int_equal(lapic_next(lapic), 0);
	set_entry(4, 0x44);
	out8(0x3fc, 0x08);
	out8(0x3f9, 0x02); /* the transmitter is empty */
	assert_taken(0x44);
	eoi();
	set_entry(8, 0x48);
	out8(0x70, 0x0b);
	out8(0x71, 0x12);
	fake_clock_advance(NS_PER_SEC + 1000);
	assert_taken(0x48);
}

static void test_timer_is_on_pin_2(void **state)
{
	(void)state;
	set_entry(0, 0x50);
	set_entry(2, 0x52);
	start_pit(11932); /* 100 Hz */
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(lapic_next(lapic), 0);
		fake_clock_advance(NS_PER_SEC / 100 + 1000);
		assert_taken(0x52);
		eoi();
	}
}

/* Ticks that were not taken in time come one for each that is, as with the 8259. */
static void test_timer_owes_ticks(void **state)
{
	uint64_t ends[4];

	(void)state;
	set_entry(2, 0x52);
	start_pit(11932);
	fake_clock_advance(NS_PER_SEC * 505 / 1000);
	for (unsigned i = 0; i < 50; i++) {
		assert_taken(0x52);
		eoi();
	}
	assert_int_equal(lapic_next(lapic), 0);
	lapic_watched_ends(lapic, ends);
	assert_int_equal(ends[1], BIT(0x52 - 64));
	set_entry(2, MASKED | 0x52); /* nobody listens: nothing is owed */
	lapic_watched_ends(lapic, ends);
	assert_int_equal(ends[1], 0);
	fake_clock_advance(NS_PER_SEC / 2);
	set_entry(2, 0x52);
	assert_int_equal(lapic_next(lapic), 0);
	fake_clock_advance(NS_PER_SEC / 100);
	assert_taken(0x52);
	eoi();
	assert_int_equal(lapic_next(lapic), 0);
}

/* The 8259 goes on as before: its interrupts come by LINT0, ticks are owed by it. */
static void test_by_the_8259(void **state)
{
	static const uint8_t init[] = { 0x11, 0x30, 4, 1, 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(init); i++)
		out8(i ? 0x21 : 0x20, init[i]);
	assert_false(lapic->extint_blocked);
	start_pit(11932);
	fake_clock_advance(NS_PER_SEC * 105 / 1000);
	for (unsigned i = 0; i < 10; i++) {
		assert_true(fake_vm.intr.pending(fake_vm.intr.ctx));
		assert_int_equal(fake_vm.intr.ack(fake_vm.intr.ctx), 0x30);
		out8(0x20, 0x20);
	}
	assert_false(fake_vm.intr.pending(fake_vm.intr.ctx));
	assert_int_equal(lapic_next(lapic), 0);
}

/* LINT0 is masked: by input 0, as an ExtINT, they still come, each with its own edge. */
static void test_by_input_0(void **state)
{
	static const uint8_t init[] = { 0x11, 0x30, 4, 1, 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(init); i++)
		out8(i ? 0x21 : 0x20, init[i]);
	lapic_mmio_write(lapic, 0x350, 4, MASKED);
	start_pit(11932);
	fake_clock_advance(NS_PER_SEC / 90);
	lapic_fold(lapic);
	assert_true(lapic->extint_blocked);
	set_entry(0, 0x700);
	fake_vm.intr.ack(fake_vm.intr.ctx);
	out8(0x20, 0x20);
	for (unsigned i = 0; i < 3; i++) {
		fake_clock_advance(NS_PER_SEC / 100);
		lapic_fold(lapic);
		assert_false(lapic->extint_blocked);
		assert_int_equal(fake_vm.intr.ack(fake_vm.intr.ctx), 0x30);
		lapic_fold(lapic);
		assert_true(lapic->extint_blocked);
		out8(0x20, 0x20);
	}
}

/* All are sent it, one takes it: to the others it has never come. */
static void test_by_input_0_to_all(void **state)
{
	static const uint8_t init[] = { 0x11, 0x30, 4, 1, 0 };
	static struct lapic other;

	(void)state;
	lapic_setup(&other, &fake_vm.lapics, &processor, NULL);
	lapic_mmio_write(&other, 0xf0, 4, 0x1ff);
	lapic_mmio_write(lapic, 0x350, 4, MASKED);
	for (unsigned i = 0; i < sizeof(init); i++)
		out8(i ? 0x21 : 0x20, init[i]);
	set_entry(0, 0x700);
	mmio(IOAPIC_BASE, 0x11);
	mmio(IOAPIC_BASE + 0x10, 0xff000000);
	start_pit(11932);
	fake_clock_advance(NS_PER_SEC / 90);
	lapic_fold(lapic);
	lapic_fold(&other);
	assert_false(lapic->extint_blocked);
	assert_false(other.extint_blocked);
	assert_int_equal(fake_vm.intr.ack(fake_vm.intr.ctx), 0x30);
	out8(0x20, 0x20);
	set_entry(0, MASKED | 0x700);
	fake_clock_advance(NS_PER_SEC / 100);
	assert_true(fake_vm.intr.pending(fake_vm.intr.ctx));
	lapic_fold(lapic);
	lapic_fold(&other);
	assert_true(lapic->extint_blocked);
	assert_true(other.extint_blocked);
	lapic_destroy(&other);
}

/* The SCI, as the MADT says that it is: again after each end, until its cause is gone. */
static void test_sci(void **state)
{
	(void)state;
	set_entry(9, LEVEL | 0x59);
	bus_out(&fake_vm.bus, 0x602, 2, 0x0100);
	assert_int_equal(lapic_next(lapic), 0);
	pc_power_button(&fake_vm);
	assert_taken(0x59);
	assert_int_equal(entry(9), LEVEL | REMOTE_IRR | 0x59);
	eoi();
	assert_taken(0x59);
	bus_out(&fake_vm.bus, 0x600, 2, 0x0100);
	eoi();
	assert_int_equal(lapic_next(lapic), 0);
	assert_int_equal(entry(9), LEVEL | 0x59);
}

static void *take_edge(void *ctx)
{
	const struct apic_msg msg = { .vector = 0x61 };

	(void)ctx;
	lapic_bus_send(&fake_vm.lapics, &msg);
	if (lapic_ack(lapic) != 0x61)
		return NULL;
	lapic_mmio_write(lapic, 0xb0, 4, 0);
	lapic_mmio_write(lapic, 0x300, 4, 0x40062);
	return lapic_ack(lapic) == 0x62 ? lapic : NULL;
}

/* A processor's end of a level, and its taking of a tick, reach devices: with the VM's lock. What
 * is between local APICs alone needs none, and does not wait for who has it. */
static void test_locks(void **state)
{
	pthread_t thread;
	void *done;

	(void)state;
	set_entry(9, LEVEL | 0x59);
	bus_out(&fake_vm.bus, 0x602, 2, 0x0100);
	pc_power_button(&fake_vm);
	assert_taken(0x59);
	kicked_locked = false;
	eoi();
	assert_true(kicked_locked);
	assert_taken(0x59);
	bus_out(&fake_vm.bus, 0x600, 2, 0x0100);
	eoi();
	set_entry(2, 0x52);
	start_pit(11932);
	fake_clock_advance(NS_PER_SEC / 10);
	kicked_locked = false;
	assert_taken(0x52);
	assert_true(kicked_locked);
	eoi();
	set_entry(2, MASKED | 0x52);
	while (lapic_next(lapic)) {
		lapic_ack(lapic);
		eoi();
	}
	owned_lock(&fake_vm.lock);
	assert_int_equal(pthread_create(&thread, NULL, take_edge, NULL), 0);
	assert_int_equal(pthread_join(thread, &done), 0);
	owned_unlock(&fake_vm.lock);
	assert_ptr_equal(done, lapic);
}

/* PCI's wires are high at rest. */
static void test_pci_wires(void **state)
{
	(void)state;
	for (unsigned pin = 16; pin < IOAPIC_PINS; pin++)
		set_entry(pin, LEVEL | ACTIVE_LOW | (0x40 + pin));
	assert_int_equal(lapic_next(lapic), 0);
	/* Timer 2 of the HPET, level-triggered, on input 21. */
	mmio(HPET_BASE + 0x140, 21u << 9 | 4 | 2);
	mmio(HPET_BASE + 0x148, 1000);
	mmio(HPET_BASE + 0x14c, 0);
	mmio(HPET_BASE + 0x10, 1);
	fake_clock_advance(1000 * HPET_TICK_NS);
	assert_taken(0x40 + 21);
	mmio(HPET_BASE + 0x20, 4);
	eoi();
	assert_int_equal(lapic_next(lapic), 0);
}

static void test_hpet_message(void **state)
{
	(void)state;
	mmio(HPET_BASE + 0x130, 0x61); /* timer 1: vector 61 to processor 0 */
	mmio(HPET_BASE + 0x134, 0xfee00000);
	mmio(HPET_BASE + 0x120, 0x4004);
	mmio(HPET_BASE + 0x128, 500);
	mmio(HPET_BASE + 0x12c, 0);
	mmio(HPET_BASE + 0x10, 1);
	fake_clock_advance(500 * HPET_TICK_NS);
	assert_taken(0x61);
}

/* As Linux does: the HPET has IRQ 0 and 8, and the 8254 and the RTC are not heard. */
static void test_hpet_takes_the_timers_wires(void **state)
{
	struct irq_state s;

	(void)state;
	set_entry(2, 0x52);
	set_entry(8, 0x58);
	start_pit(11932);
	fake_clock_advance(NS_PER_SEC / 100 + 1000);
	assert_taken(0x52);
	eoi();
	mmio(HPET_BASE + 0x10, 3);
	mmio(HPET_BASE + 0x100, 0x104);
	mmio(HPET_BASE + 0x108, 100000000); /* in a second */
	out8(0x70, 0x0b);
	out8(0x71, 0x12);
	fake_clock_advance(NS_PER_SEC - 1000);
	assert_int_equal(lapic_next(lapic), 0);
	fake_clock_advance(2000);
	assert_taken(0x52);
	eoi();
	assert_int_equal(lapic_next(lapic), 0);
	assert_true(fake_vm.intr.look(fake_vm.intr.ctx, 0, &s));
	assert_string_equal(s.device, "hpet");
	/* Given back: the RTC's output is up since then, and the 8254 has not stood still. */
	mmio(HPET_BASE + 0x10, 0);
	assert_true(lapic_bus_waits(&fake_vm.lapics, 0x58));
	assert_taken(0x58);
	eoi();
	if (lapic_next(lapic)) { /* its output was high, too */
		assert_taken(0x52);
		eoi();
	}
	fake_clock_advance(NS_PER_SEC / 100);
	assert_taken(0x52);
	eoi();
	assert_int_equal(lapic_next(lapic), 0);
	assert_true(fake_vm.intr.look(fake_vm.intr.ctx, 0, &s));
	assert_string_equal(s.device, "pit");
}

/* Half a second late with a tick of 100 Hz: fifty, one for each that is taken. */
static void test_hpet_owes_ticks(void **state)
{
	(void)state;
	set_entry(2, 0x52);
	mmio(HPET_BASE + 0x10, 3);
	mmio(HPET_BASE + 0x100, 0x14c);
	mmio(HPET_BASE + 0x108, 1000000);
	mmio(HPET_BASE + 0x108, 1000000);
	fake_clock_advance(NS_PER_SEC / 2 + 1000);
	for (unsigned i = 0; i < 50; i++) {
		assert_taken(0x52);
		eoi();
	}
	assert_int_equal(lapic_next(lapic), 0);
}

static void test_look(void **state)
{
	struct irq_state s;
	unsigned n = 0;

	(void)state;
	set_entry(9, LEVEL | 0x59);
	for (; fake_vm.intr.look(fake_vm.intr.ctx, n, &s); n++) {
		assert_int_equal(s.ioapic, n >= 16);
		assert_int_equal(s.input, n % 16 + (n >= 32 ? 16 : 0));
	}
	assert_int_equal(n, 16 + 24);
	fake_vm.intr.look(fake_vm.intr.ctx, 16 + 9, &s);
	assert_string_equal(s.device, "acpi");
	assert_int_equal(s.vector, 0x59);
	assert_true(s.level_triggered);
	fake_vm.intr.look(fake_vm.intr.ctx, 16 + 2, &s);
	assert_string_equal(s.device, "pit");
	fake_vm.intr.look(fake_vm.intr.ctx, 16, &s);
	assert_string_equal(s.device, "pic");
}

static void test_tables(void **state)
{
	const uint8_t *mp;

	(void)state;
	assert_int_equal(pc_write_tables(&fake_vm).v, VM_BIOS_ROM);
	assert_memory_equal(rom, "RSD PTR ", 8);
	mp = memmem(rom, sizeof(rom), "_MP_", 4);
	assert_non_null(mp);
	assert_int_equal((mp - rom) % 16, 0);
	assert_memory_equal(mp + 16, "PCMP", 4);
	assert_memory_equal(mp + 60, "\0\0\24\3", 4); /* the bootstrap processor */
	assert_non_null(memmem(rom, sizeof(rom), "HPET", 4));
}

static void test_destroy_leaves_nothing(void **state)
{
	(void)state;
	mmio(HPET_BASE + 0x100, 4);
	mmio(HPET_BASE + 0x108, 500);
	mmio(HPET_BASE + 0x10c, 0);
	mmio(HPET_BASE + 0x10, 1);
	pc_destroy(&fake_vm);
	assert_int_equal(fake_vm.bus.nr_mmio, 0);
	assert_null(fake_vm.lapics.eoi);
	assert_null(fake_vm.lapics.taken);
	assert_null(fake_vm.lapics.awaited);
	assert_int_equal(bus_mmio_read(&fake_vm.bus, GPA(IOAPIC_BASE), 4), 0xffffffff);
	fake_clock_advance(NS_PER_SEC); /* a timer left would touch freed memory */
}

/* apic=off: the old PC. */
static void test_without(void **state)
{
	struct irq_state s;

	(void)state;
	teardown(NULL);
	create(false);
	assert_int_equal(fake_vm.bus.nr_mmio, 0);
	assert_int_equal(bus_mmio_read(&fake_vm.bus, GPA(HPET_BASE), 4), 0xffffffff);
	assert_false(fake_vm.intr.look(fake_vm.intr.ctx, 16, &s));
	assert_int_equal(pc_write_tables(&fake_vm).v, VM_BIOS_ROM);
	assert_null(memmem(rom, sizeof(rom), "_MP_", 4));
	start_pit(11932);
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(lapic_next(lapic), 0);
}

static void hostile_write(uint64_t r)
{
	static const uint64_t regs[] = { IOAPIC_BASE,       IOAPIC_BASE + 0x10, IOAPIC_BASE + 0x40,
					 HPET_BASE + 0x10,  HPET_BASE + 0x20,   HPET_BASE + 0xf0,
					 HPET_BASE + 0x100, HPET_BASE + 0x108,  HPET_BASE + 0x120,
					 HPET_BASE + 0x128, HPET_BASE + 0x130,  HPET_BASE + 0x140 };
	uint64_t val = r >> 32 & (r & 1 ? 0x1ffff : 0xffffffff);

	bus_mmio_write(&fake_vm.bus, GPA(regs[(r >> 8) % ARRAY_SIZE(regs)] + (r & 4)),
		       r & 2 ? 4 : 8, val);
}

static void test_hostile_guest(void **state)
{
	static const uint16_t ports[] = { 0x20, 0x21, 0x40, 0x43, 0x61, 0x71, 0x600, 0x602, 0x3f9 };
	uint64_t seed = 3;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t r = fake_random64(&seed);

		hostile_write(r);
		if (r & 8)
			bus_out(&fake_vm.bus, ports[(r >> 16) % ARRAY_SIZE(ports)], 1,
				(uint32_t)(r >> 24) & 0xff);
		if (r & 16)
			fake_clock_advance(r >> 40 & 0xffff);
		if ((r & 32) && lapic_next(lapic))
			lapic_ack(lapic);
		if (r & 64)
			eoi();
	}
}

/* What lies in the ROM `off` bytes behind the signature. */
static uint8_t *behind(const char *signature, size_t off)
{
	for (size_t at = 0; at + off < sizeof(rom); at += 4)
		if (!memcmp(rom + at, signature, 4))
			return rom + at + off;
	fail_msg("no %s", signature);
	return NULL;
}

/* The register's, the MADT's and the MP table's are one, and no processor's while it has room. */
static void test_ioapic_id(void **state)
{
	for (vcpus = 1; vcpus <= 64; vcpus++) {
		unsigned id = vcpus <= 15 ? vcpus : 0;
		const uint8_t *e;

		teardown(state);
		create(true);
		fake_vm.nr_vcpus = vcpus;
		assert_true(pc_write_tables(&fake_vm).v);
		mmio(IOAPIC_BASE, 0);
		assert_int_equal(bus_mmio_read(&fake_vm.bus, GPA(IOAPIC_BASE + 0x10), 4), id << 24);
		e = behind("PCMP", 44 + 20 * vcpus + 2 * 8);
		assert_int_equal(e[0], 2);
		assert_int_equal(e[1], id);
		for (e = behind("APIC", 44); e[0] != 1; e += e[1])
			assert_int_not_equal(e[1], 0);
		assert_int_equal(e[2], id);
		fake_vm.nr_vcpus = 1;
	}
	vcpus = 1;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ioapic_id),
		TEST(test_isa_wires),
		TEST(test_timer_is_on_pin_2),
		TEST(test_timer_owes_ticks),
		TEST(test_by_the_8259),
		TEST(test_by_input_0),
		TEST(test_by_input_0_to_all),
		TEST(test_sci),
		TEST(test_locks),
		TEST(test_pci_wires),
		TEST(test_hpet_message),
		TEST(test_hpet_takes_the_timers_wires),
		TEST(test_hpet_owes_ticks),
		TEST(test_look),
		TEST(test_tables),
		TEST(test_destroy_leaves_nothing),
		TEST(test_without),
		TEST(test_hostile_guest),
	};

	return cmocka_run_group_tests_name("pc_apic", tests, NULL, NULL);
}
