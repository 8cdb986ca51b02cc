/* The MP tables, by the offsets of the MultiProcessor Specification 1.4, chapter 4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/table_bytes.h"
#include "vmm/dev/mptable.h"

#define GPA0 0xf4000

static uint8_t area[8192] __attribute__((aligned(16)));

static struct mp_machine machine(unsigned vcpus)
{
	return (struct mp_machine){ vcpus, 9, 0x00800f12, 0x178bfbff };
}

/* The first entry behind the header, of a table that is as it has to be. */
static const uint8_t *entries(unsigned vcpus, unsigned *n)
{
	const struct mp_machine m = machine(vcpus);
	const uint8_t *t = area + 16;
	size_t used;

	memset(area, 0xcc, sizeof(area));
	used = mptable_write(area, sizeof(area), GPA(GPA0), &m);
	assert_int_not_equal(used, 0);
	assert_memory_equal(area, "_MP_", 4);
	assert_int_equal(field(area, 4, 4), GPA0 + 16);
	assert_int_equal(area[8], 1);
	assert_int_equal(area[9], 4);
	assert_int_equal(sum(area, 16), 0);
	assert_int_equal(field(area, 11, 5), 0); /* a table; no IMCR */

	assert_memory_equal(t, "PCMP", 4);
	assert_int_equal(field(t, 4, 2), used - 16);
	assert_int_equal(t[6], 4);
	assert_int_equal(sum(t, used - 16), 0);
	assert_int_equal(field(t, 28, 6), 0); /* no OEM table */
	assert_int_equal(field(t, 36, 4), 0xfee00000);
	assert_int_equal(field(t, 40, 4), 0);
	*n = (unsigned)field(t, 34, 2);
	return t + 44;
}

static void test_processors(void **state)
{
	(void)state;
	for (unsigned vcpus = 1; vcpus <= 64; vcpus *= 2) {
		unsigned n;
		const uint8_t *e = entries(vcpus, &n);

		assert_int_equal(n, vcpus + 2 + 1 + 15 + 128 + 2);
		for (unsigned i = 0; i < vcpus; i++, e += 20) {
			assert_int_equal(e[0], 0);
			assert_int_equal(e[1], i);
			assert_int_equal(e[2], 0x14);
			assert_int_equal(e[3], i ? 1 : 3); /* the first is the bootstrap one */
			assert_int_equal(field(e, 4, 4), 0xf12);
			assert_int_equal(field(e, 8, 4), 0x178bfbff);
			assert_int_equal(field(e, 12, 8), 0);
		}
		assert_int_equal(e[0], 1);
	}
}

static void test_board(void **state)
{
	unsigned n;
	const uint8_t *e = entries(2, &n) + 2 * 20;

	(void)state;
	assert_memory_equal(e, "\1\0PCI   ", 8);
	assert_memory_equal(e + 8, "\1\1ISA   ", 8);
	e += 16;
	assert_memory_equal(e, "\2\11\40\1\0\0\300\376", 8);
	e += 8;
	for (uint8_t irq = 0; irq < 16; irq++) {
		uint8_t want[8] = { 3, 0, irq == 9 ? 0xd : 0, 0, 1, irq, 9, irq ? irq : 2 };

		if (irq == 2)
			continue;
		assert_memory_equal(e, want, 8);
		e += 8;
	}
	/* Each slot's four wires, as _PRT has them. */
	for (uint8_t i = 0; i < 128; i++, e += 8) {
		uint8_t want[8] = { 3, 0, 0, 0, 0, i, 9, 16 + (i / 4 + i % 4) % 4 };

		assert_memory_equal(e, want, 8);
	}
	assert_memory_equal(e, "\4\3\0\0\1\0\377\0", 8);     /* the 8259 on LINT0, */
	assert_memory_equal(e + 8, "\4\1\0\0\1\0\377\1", 8); /* NMI on LINT1 */
	assert_int_equal(e[16], 0xcc);
}

static void test_needs_room(void **state)
{
	struct mp_machine m = machine(3);
	size_t used = mptable_write(area, sizeof(area), GPA(GPA0), &m);

	(void)state;
	memset(area, 0xcc, sizeof(area));
	for (size_t size = 0; size < used; size++)
		assert_int_equal(mptable_write(area, size, GPA(GPA0), &m), 0);
	assert_int_equal(area[0], 0xcc);
	assert_int_equal(mptable_write(area, used, GPA(GPA0), &m), used);
	assert_int_equal(area[used], 0xcc);
	m.vcpus = 256; /* it knows no more APIC ids */
	assert_int_equal(mptable_write(area, sizeof(area), GPA(GPA0), &m), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_processors),
		cmocka_unit_test(test_board),
		cmocka_unit_test(test_needs_room),
	};

	return cmocka_run_group_tests_name("mptable", tests, NULL, NULL);
}
