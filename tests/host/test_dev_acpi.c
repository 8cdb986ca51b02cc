/* ACPI tables and power-management registers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "tests/host/fakes.h"
#include "tests/host/table_bytes.h"
#include "vmm/dev/acpi.h"
#include "vmm/dev/acpi_pm.h"

#define GPA0 0xf0000

static struct acpi_pm pm;
static bool sci;
static unsigned power_offs;

static void set_irq(void *ctx, unsigned pin, bool on)
{
	(void)ctx;
	(void)pin;
	sci = on;
}

static void count_power_off(void *ctx)
{
	(void)ctx;
	power_offs++;
}

static int setup(void **state)
{
	(void)state;
	fake_timers_reset();
	sci = false;
	power_offs = 0;
	acpi_pm_init(&pm, (struct irq_line){ .set = set_irq }, count_power_off, NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	acpi_pm_destroy(&pm);
	return 0;
}

static void out(uint16_t port, unsigned size, uint32_t val)
{
	acpi_pm_ops.out(&pm, port, size, val);
}

static uint32_t in(uint16_t port, unsigned size)
{
	return acpi_pm_ops.in(&pm, port, size) & (uint32_t)(~UINT64_C(0) >> (64 - 8 * size));
}

/* --- tables --- */

static uint8_t area[32768] __attribute__((aligned(64)));

/* The table at a guest-physical address, its signature and checksum right. */
static const uint8_t *table_at(uint64_t gpa, const char *signature)
{
	const uint8_t *t = area + (gpa - GPA0);

	assert_in_range(gpa, GPA0, GPA0 + sizeof(area) - 36);
	assert_memory_equal(t, signature, 4);
	assert_in_range(field(t, 4, 4), 36, sizeof(area) - (gpa - GPA0));
	if (strcmp(signature, "FACS") != 0)
		assert_int_equal(sum(t, field(t, 4, 4)), 0);
	return t;
}

static void write_machine(const struct acpi_machine *m)
{
	memset(area, 0xcc, sizeof(area));
	assert_int_not_equal(acpi_write_tables(area, sizeof(area), GPA(GPA0), m), 0);
}

static void write_tables(unsigned vcpus)
{
	write_machine(&(struct acpi_machine){ .vcpus = vcpus, .apic = true, .ioapic_id = 7 });
}

/* The table that XSDT lists in that place. */
static const uint8_t *listed(unsigned n, const char *signature)
{
	return table_at(field(table_at(field(area, 24, 8), "XSDT"), 36 + 8 * n, 8), signature);
}

static void test_root_tables(void **state)
{
	static const char *const names[] = { "FACP", "APIC", "SSDT", "HPET" };
	const uint8_t *rsdt, *xsdt;

	(void)state;
	write_tables(1);
	assert_memory_equal(area, "RSD PTR ", 8);
	assert_int_equal(sum(area, 20), 0);
	assert_int_equal(sum(area, 36), 0);
	assert_int_equal(area[15], 2);
	assert_int_equal(field(area, 20, 4), 36);
	rsdt = table_at(field(area, 16, 4), "RSDT");
	xsdt = table_at(field(area, 24, 8), "XSDT");
	assert_int_equal(field(rsdt, 4, 4), 36 + 4 * 4);
	assert_int_equal(field(xsdt, 4, 4), 36 + 4 * 8);
	for (unsigned i = 0; i < 4; i++) {
		table_at(field(rsdt, 36 + 4 * i, 4), names[i]);
		assert_int_equal(field(rsdt, 36 + 4 * i, 4), field(xsdt, 36 + 8 * i, 8));
	}
}

/* apic=off: no HPET, an MADT that says no more than that there are 8259s, no MSIs. */
static void test_without_apic(void **state)
{
	const uint8_t *m;

	(void)state;
	write_machine(&(struct acpi_machine){ .vcpus = 1 });
	assert_int_equal(field(table_at(field(area, 24, 8), "XSDT"), 4, 4), 36 + 3 * 8);
	assert_int_equal(field(table_at(field(area, 16, 4), "RSDT"), 4, 4), 36 + 3 * 4);
	m = listed(1, "APIC");
	assert_int_equal(field(m, 4, 4), 44);
	assert_int_equal(field(m, 40, 4), 1);
	listed(2, "SSDT");
	assert_int_equal(field(listed(0, "FACP"), 109, 2), 0x000f);
}

static const uint8_t *fadt(void)
{
	return table_at(field(table_at(field(area, 24, 8), "XSDT"), 36, 8), "FACP");
}

/* Offsets from the specification, table 5-34. */
static void test_fadt(void **state)
{
	const uint8_t *f, *facs;

	(void)state;
	write_tables(1);
	f = fadt();
	assert_int_equal(field(f, 4, 4), 268);
	assert_int_equal(f[8], 5);
	facs = table_at(field(f, 36, 4), "FACS");
	assert_int_equal((uintptr_t)facs % 64, 0);
	assert_int_equal(field(facs, 4, 4), 64);
	assert_int_equal(field(f, 132, 8), 0); /* X_FIRMWARE_CTRL, for there is the other */
	table_at(field(f, 40, 4), "DSDT");
	assert_int_equal(field(f, 140, 8), field(f, 40, 4));
	assert_int_equal(field(f, 46, 2), 9); /* SCI_INT */
	assert_int_equal(field(f, 48, 4), 0); /* no SMI_CMD: ACPI is on */
	assert_int_equal(field(f, 56, 4), 0x600);
	assert_int_equal(field(f, 64, 4), 0x604);
	assert_int_equal(field(f, 76, 4), 0x608);
	assert_int_equal(f[88], 4);
	assert_int_equal(f[89], 2);
	assert_int_equal(f[91], 4);
	assert_int_equal(f[108], 0x32); /* century */
	assert_int_equal(field(f, 109, 2), 0x0007);
	/* WBINVD, C1, no sleep button, no RTC wake, 32-bit timer, reset register. */
	assert_int_equal(field(f, 112, 4), 0x565);
	assert_int_equal(field(f, 116, 1), 1);
	assert_int_equal(field(f, 120, 8), 0xcf9);
	assert_int_equal(f[128], 6);
	assert_int_equal(field(f, 148 + 4, 8), 0x600);
	assert_int_equal(f[148 + 1], 32);
	assert_int_equal(field(f, 172 + 4, 8), 0x604);
	assert_int_equal(f[172 + 1], 16);
	assert_int_equal(field(f, 208 + 4, 8), 0x608);
	assert_int_equal(f[208 + 1], 32);
}

/* Offsets from ACPI 6.4, 5.2.12.x. */
static void test_madt(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 64; n *= 4) {
		const uint8_t *m, *e;

		write_tables(n);
		m = listed(1, "APIC");
		assert_int_equal(field(m, 4, 4), 44 + 8 * n + 12 + 2 * 10 + 6);
		assert_int_equal(field(m, 36, 4), 0xfee00000);
		assert_int_equal(field(m, 40, 4), 1);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(field(m, 44 + 8 * i, 2), 0x0800);
			assert_int_equal(m[44 + 8 * i + 2], i);
			assert_int_equal(m[44 + 8 * i + 3], i);
			assert_int_equal(field(m, 44 + 8 * i + 4, 4), 1);
		}
		e = m + 44 + 8 * n;
		assert_int_equal(field(e, 0, 2), 0x0c01); /* I/O APIC */
		assert_int_equal(e[2], 7);
		assert_int_equal(field(e, 4, 4), 0xfec00000);
		assert_int_equal(field(e, 8, 4), 0);
		e += 12;
		/* IRQ 0 on input 2, as the bus has it; the SCI level-triggered, active high. */
		assert_memory_equal(e, "\2\12\0\0\2\0\0\0\0\0", 10);
		assert_memory_equal(e + 10, "\2\12\0\11\11\0\0\0\15\0", 10);
		assert_memory_equal(e + 20, "\4\6\377\0\0\1", 6); /* NMI: all, LINT1 */
	}
}

/* Ids above 254 are those of x2APICs. */
static void test_madt_x2apics(void **state)
{
	const uint8_t *m, *e;

	(void)state;
	write_tables(257);
	m = listed(1, "APIC");
	assert_int_equal(field(m, 44 + 8 * 254, 4), 0xfefe0800);
	e = m + 44 + 8 * 255;
	for (unsigned i = 255; i < 257; i++, e += 16) {
		assert_int_equal(field(e, 0, 4), 0x1009);
		assert_int_equal(field(e, 4, 4), i);
		assert_int_equal(field(e, 8, 4), 1);
		assert_int_equal(field(e, 12, 4), i);
	}
	e += 12 + 2 * 10 + 6;
	assert_memory_equal(e, "\12\14\0\0\377\377\377\377\1\0\0\0", 12);
	assert_ptr_equal(e + 12, m + field(m, 4, 4));
}

static void test_processors(void **state)
{
	static const uint8_t one[] = "\x5b\x82\x1e"
				     "C03F\x08_HID\x0d"
				     "ACPI0007\0\x08_UID\x0c\x3f\0\0";
	const uint8_t *s;

	(void)state;
	write_tables(64);
	s = listed(2, "SSDT");
	assert_int_equal(s[8], 2);
	assert_int_equal(field(s, 4, 4), 36 + 9 + 64 * 32);
	assert_int_equal(s[36], 0x10);
	/* The length counts its own three bytes. */
	assert_int_equal(s[37] >> 6, 2);
	assert_int_equal((s[37] & 15) | s[38] << 4 | s[39] << 12, 8 + 64 * 32);
	assert_memory_equal(s + 40, "\\_SB_", 5);
	assert_memory_equal(s + 36 + 9 + 63 * 32, one, 32);
}

/* IA-PC HPET 1.0a, 3.2.4. */
static void test_hpet(void **state)
{
	const uint8_t *h;

	(void)state;
	write_tables(1);
	h = listed(3, "HPET");
	assert_int_equal(field(h, 4, 4), 56);
	assert_int_equal(field(h, 36, 4), 0x8086a201);
	assert_int_equal(h[40], 0); /* memory */
	assert_int_equal(field(h, 44, 8), 0xfed00000);
	assert_int_equal(h[52], 0);
	assert_int_equal(field(h, 53, 2), 10000);
}

/* In the DSDT, the sleep package and the ids of what is on the board. */
static void test_dsdt(void **state)
{
	static const uint8_t s5[] = { 0x08, '_',  'S',  '5',  '_',  0x12,
				      0x08, 0x04, 0x0a, 0x05, 0x0a, 0x05 };
	static const uint8_t ids[][5] = {
		{ 0x0c, 0x41, 0xd0, 0x0a, 0x03 }, /* PNP0A03 */
		{ 0x0c, 0x41, 0xd0, 0x01, 0x00 }, /* PNP0100 */
		{ 0x0c, 0x41, 0xd0, 0x0b, 0x00 }, /* PNP0B00 */
		{ 0x0c, 0x41, 0xd0, 0x05, 0x01 }, /* PNP0501 */
		{ 0x0c, 0x41, 0xd0, 0x03, 0x03 }, /* PNP0303 */
		{ 0x0c, 0x41, 0xd0, 0x01, 0x03 }, /* PNP0103 */
	};
	const uint8_t *d;

	(void)state;
	write_tables(1);
	d = table_at(field(fadt(), 40, 4), "DSDT");
	assert_int_equal(field(d, 4, 4), dsdt_aml_size);
	assert_non_null(memmem(d, dsdt_aml_size, s5, sizeof(s5)));
	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		assert_non_null(memmem(d, dsdt_aml_size, ids[i], 5));
	assert_non_null(memmem(d, dsdt_aml_size, "_PIC", 4));
	assert_non_null(memmem(d, dsdt_aml_size, "_PRT", 4));
}

static void test_tables_need_room(void **state)
{
	const struct acpi_machine m = { .vcpus = 3, .apic = true };
	size_t used;

	(void)state;
	used = acpi_write_tables(area, sizeof(area), GPA(GPA0), &m);
	assert_in_range(used, 500, sizeof(area));
	memset(area, 0xcc, sizeof(area));
	assert_int_equal(acpi_write_tables(area, used, GPA(GPA0), &m), used);
	assert_int_equal(area[used], 0xcc);
	for (size_t size = 0; size < used; size++)
		assert_int_equal(acpi_write_tables(area, size, GPA(GPA0), &m), 0);
	assert_int_equal(area[used], 0xcc);
}

/* --- registers --- */

static void test_acpi_is_on(void **state)
{
	(void)state;
	assert_int_equal(in(0x604, 2), 0x0001);
	out(0x604, 2, 0); /* SCI_EN is not the guest's */
	assert_int_equal(in(0x604, 2), 0x0001);
	assert_int_equal(in(0x600, 2), 0x0000);
	assert_int_equal(in(0x602, 2), 0x0000);
	assert_int_equal(in(0x606, 2), 0x0000);
}

/* Linux enables fixed events and looks whether the bit stays. */
static void test_enable_register(void **state)
{
	(void)state;
	out(0x602, 2, 0xffff);
	assert_int_equal(in(0x602, 2), 0x0721);
	out(0x602, 1, 0x20);
	assert_int_equal(in(0x602, 2), 0x0720);
	out(0x603, 1, 0x01);
	assert_int_equal(in(0x600, 4), 0x01200000);
	assert_false(sci);
}

static void test_power_button(void **state)
{
	(void)state;
	acpi_pm_power_button(&pm);
	assert_false(sci);
	assert_int_equal(in(0x600, 2), 0x0100);
	out(0x602, 2, 0x0100);
	assert_true(sci);
	out(0x600, 2, 0x0000); /* zeros change nothing */
	assert_true(sci);
	out(0x600, 1, 0xff); /* another byte */
	assert_true(sci);
	out(0x600, 2, 0x0100);
	assert_false(sci);
	assert_int_equal(in(0x600, 2), 0x0000);
	acpi_pm_power_button(&pm);
	assert_true(sci);
}

/* Linux, acpi_hw_legacy_sleep(): SLP_TYP first, then with SLP_EN. */
static void test_power_off(void **state)
{
	(void)state;
	out(0x604, 2, 0x1401);
	assert_int_equal(power_offs, 0);
	assert_int_equal(in(0x604, 2), 0x1401);
	out(0x604, 2, 0x3401);
	assert_int_equal(power_offs, 1);
	assert_int_equal(in(0x604, 2), 0x1401); /* SLP_EN reads 0 */
}

static void test_other_sleep_states(void **state)
{
	(void)state;
	for (uint32_t type = 0; type < 8; type++)
		if (type != 5)
			out(0x604, 2, 0x2001 | type << 10);
	assert_int_equal(power_offs, 0);
	out(0x605, 1, 0x34); /* byte by byte, S5 */
	assert_int_equal(power_offs, 1);
}

static void test_timer(void **state)
{
	uint32_t before, after;

	(void)state;
	before = in(0x608, 4);
	fake_clock_advance(NS_PER_SEC);
	after = in(0x608, 4);
	assert_in_range(after - before, 3579544, 3579546);
	assert_int_equal(in(0x608, 2), after & 0xffff);
	assert_int_equal(in(0x60a, 2), after >> 16);
	assert_int_equal(in(0x609, 1), after >> 8 & 0xff);
	out(0x608, 4, 0);
	assert_int_equal(in(0x608, 4), after);
	fake_clock_advance(UINT64_C(1200) * NS_PER_SEC); /* around 2^32 */
	assert_int_equal((uint32_t)(in(0x608, 4) - after), (uint32_t)(UINT64_C(1200) * 3579545));
}

static void test_timer_carry(void **state)
{
	(void)state;
	fake_clock_advance(UINT64_C(599) * NS_PER_SEC);
	assert_int_equal(in(0x600, 2), 0);
	assert_false(pm.timer.armed); /* nobody wants to know */
	out(0x602, 2, 1);
	assert_true(pm.timer.armed);
	fake_clock_advance(2 * NS_PER_SEC); /* bit 31 changes after 599.9 s */
	assert_true(sci);
	assert_int_equal(in(0x600, 2), 1);
	assert_false(pm.timer.armed);
	out(0x600, 2, 1);
	assert_false(sci);
	fake_clock_advance(UINT64_C(600) * NS_PER_SEC); /* and back */
	assert_true(sci);
	out(0x602, 2, 0);
	assert_false(sci);
}

static void test_random(void **state)
{
	(void)state;
	srand(7);
	for (unsigned i = 0; i < 100000; i++) {
		unsigned r = (unsigned)rand(), off = r % 12, size = 1u << (r >> 4) % 3;

		if (off + size > 12)
			continue;
		if (r & 256)
			out((uint16_t)(0x600 + off), size, (uint32_t)rand() * 2u);
		else
			in((uint16_t)(0x600 + off), size);
	}
	assert_int_equal(in(0x604, 2) & 1, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_root_tables),
		TEST(test_fadt),
		TEST(test_without_apic),
		TEST(test_madt),
		TEST(test_madt_x2apics),
		TEST(test_processors),
		TEST(test_hpet),
		TEST(test_dsdt),
		TEST(test_tables_need_room),
		TEST(test_acpi_is_on),
		TEST(test_enable_register),
		TEST(test_power_button),
		TEST(test_power_off),
		TEST(test_other_sleep_states),
		TEST(test_timer),
		TEST(test_timer_carry),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
