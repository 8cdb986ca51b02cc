/* The bus: who answers which port and address, and what nobody answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/errno.h"
#include "vmm/bus.h"

/* A device that remembers the last accesses and answers with a number of its own. */
struct probe {
	uint64_t answer;
	unsigned reads, writes;
	uint64_t at, val;
	unsigned size;
	uint8_t bytes[16]; /* by write, at & 15 */
};

static uint32_t probe_in(void *dev, uint16_t port, unsigned size)
{
	struct probe *p = dev;

	p->reads++;
	p->at = port;
	p->size = size;
	return (uint32_t)p->answer;
}

static void probe_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct probe *p = dev;

	p->writes++;
	p->at = port;
	p->size = size;
	p->val = val;
	p->bytes[port & 15] = (uint8_t)val;
}

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
	struct probe *p = dev;

	p->reads++;
	p->at = off;
	p->size = size;
	return p->answer;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct probe *p = dev;

	p->writes++;
	p->at = off;
	p->size = size;
	p->val = val;
	p->bytes[off & 15] = (uint8_t)val;
}

static const struct io_ops io = { .in = probe_in, .out = probe_out };
static const struct mmio_ops mmio = { probe_read, probe_write };
static struct bus bus;

static int setup(void **state)
{
	(void)state;
	return bus_init(&bus);
}

static int teardown(void **state)
{
	(void)state;
	bus_destroy(&bus);
	return 0;
}

static void test_nobody(void **state)
{
	(void)state;
	assert_int_equal(bus_in(&bus, 0x80, 1), 0xff);
	assert_int_equal(bus_in(&bus, 0, 2), 0xffff);
	assert_int_equal(bus_in(&bus, 0xffff, 4), 0xffffffff);
	bus_out(&bus, 0x80, 4, 1);
	bus_out(&bus, 0xffff, 4, 1);
	assert_int_equal(bus_mmio_read(&bus, GPA(0xfee00000), 1), 0xff);
	assert_int_equal(bus_mmio_read(&bus, GPA(0xfee00000), 4), 0xffffffff);
	assert_int_equal(bus_mmio_read(&bus, GPA(UINT64_MAX), 8), UINT64_MAX);
	bus_mmio_write(&bus, GPA(UINT64_MAX), 8, 0);
}

static void test_io_hit(void **state)
{
	struct probe p = { .answer = 0x12345678 };

	(void)state;
	assert_int_equal(bus_register_io(&bus, 0x3f8, 8, "uart", &io, &p), 0);
	assert_int_equal(bus_in(&bus, 0x3f8, 1), 0x78);
	assert_int_equal(p.at, 0x3f8);
	assert_int_equal(bus_in(&bus, 0x3fe, 2), 0x5678);
	assert_int_equal(bus_in(&bus, 0x3fc, 4), 0x12345678);
	assert_int_equal(p.size, 4);
	bus_out(&bus, 0x3ff, 1, 0xabcd);
	assert_int_equal(p.at, 0x3ff);
	assert_int_equal(p.val, 0xcd);
	p.reads = 0;
	assert_int_equal(bus_in(&bus, 0x3f7, 1), 0xff);
	assert_int_equal(bus_in(&bus, 0x400, 1), 0xff);
	assert_int_equal(p.reads, 0);
}

static void test_io_port_zero(void **state)
{
	struct probe p = { .answer = 0x11 };

	(void)state;
	assert_int_equal(bus_register_io(&bus, 0, 16, "dma", &io, &p), 0);
	assert_int_equal(bus_in(&bus, 0, 1), 0x11);
	assert_int_equal(bus_in(&bus, 15, 1), 0x11);
	assert_int_equal(bus_in(&bus, 16, 1), 0xff);
}

/* An access past the end of a range goes byte by byte to each port's owner. */
static void test_io_split(void **state)
{
	struct probe a = { .answer = 0xffffffaa }, b = { .answer = 0xbb };

	(void)state;
	assert_int_equal(bus_register_io(&bus, 0x60, 1, "a", &io, &a), 0);
	assert_int_equal(bus_register_io(&bus, 0x62, 1, "b", &io, &b), 0);
	assert_int_equal(bus_in(&bus, 0x60, 4), 0xffbbffaa);
	assert_int_equal(a.size, 1);
	assert_int_equal(b.reads, 1);
	/* The first port belongs to nobody, the second does. */
	assert_int_equal(bus_in(&bus, 0x61, 2), 0xbbff);
	bus_out(&bus, 0x60, 4, 0x44332211);
	assert_int_equal(a.val, 0x11);
	assert_int_equal(b.val, 0x33);
	assert_int_equal(a.writes + b.writes, 2);
}

static void test_io_top(void **state)
{
	struct probe p = { .answer = 0x77 }, low = { .answer = 0x88 };

	(void)state;
	assert_int_equal(bus_register_io(&bus, 0xffff, 1, "top", &io, &p), 0);
	assert_int_equal(bus_register_io(&bus, 0, 1, "low", &io, &low), 0);
	/* No wrapping to port 0. */
	assert_int_equal(bus_in(&bus, 0xffff, 2), 0xff77);
	assert_int_equal(low.reads, 0);
	assert_int_equal(bus_register_io(&bus, 0xfff0, 17, "wraps", &io, &p), -EINVAL);
	assert_int_equal(bus_register_io(&bus, 0x10, 0, "empty", &io, &p), -EINVAL);
	assert_int_equal(bus_register_io(&bus, 0x10, UINT32_MAX, "huge", &io, &p), -EINVAL);
}

static void test_io_overlap_and_unregister(void **state)
{
	struct probe p = { .answer = 1 }, q = { .answer = 2 };

	(void)state;
	assert_int_equal(bus_register_io(&bus, 0x100, 8, "p", &io, &p), 0);
	assert_int_equal(bus_register_io(&bus, 0x107, 2, "q", &io, &q), -EEXIST);
	assert_int_equal(bus_register_io(&bus, 0xf0, 17, "q", &io, &q), -EEXIST);
	/* The failed ones left nothing behind. */
	assert_int_equal(bus_in(&bus, 0x108, 1), 0xff);
	assert_int_equal(bus_in(&bus, 0xf0, 1), 0xff);
	bus_unregister_io(&bus, 0x101);
	assert_int_equal(bus_in(&bus, 0x100, 1), 1);
	bus_unregister_io(&bus, 0x100);
	assert_int_equal(bus_in(&bus, 0x100, 1), 0xff);
	assert_int_equal(bus_in(&bus, 0x107, 1), 0xff);
	bus_unregister_io(&bus, 0x100);
	assert_int_equal(bus_register_io(&bus, 0x104, 8, "q", &io, &q), 0);
	assert_int_equal(bus_in(&bus, 0x104, 1), 2);
}

static void test_io_full(void **state)
{
	struct probe p = { .answer = 5 };

	(void)state;
	for (unsigned i = 1; i < BUS_IO_RANGES; i++)
		assert_int_equal(bus_register_io(&bus, (uint16_t)(i * 16), 4, "p", &io, &p), 0);
	assert_int_equal(bus_register_io(&bus, 0x8000, 4, "p", &io, &p), -ENOSPC);
	/* A slot given back is used again, and the others still answer. */
	bus_unregister_io(&bus, 32);
	assert_int_equal(bus_register_io(&bus, 0x8000, 4, "p", &io, &p), 0);
	assert_int_equal(bus_in(&bus, 0x8003, 1), 5);
	assert_int_equal(bus_in(&bus, 32, 1), 0xff);
	assert_int_equal(bus_in(&bus, (BUS_IO_RANGES - 1) * 16, 1), 5);
}

static void test_mmio_hit(void **state)
{
	struct probe a = { .answer = 0x1122334455667788 }, b = { .answer = 0xb0 };

	(void)state;
	/* Registered out of order. */
	assert_int_equal(bus_register_mmio(&bus, GPA(0xfee00000), 0x1000, "a", &mmio, &a), 0);
	assert_int_equal(bus_register_mmio(&bus, GPA(0xfec00000), 0x1000, "b", &mmio, &b), 0);
	assert_int_equal(bus_mmio_read(&bus, GPA(0xfee00ff8), 8), 0x1122334455667788);
	assert_int_equal(a.at, 0xff8);
	assert_int_equal(bus_mmio_read(&bus, GPA(0xfee00000), 4), 0x55667788);
	assert_int_equal(bus_mmio_read(&bus, GPA(0xfec00fff), 1), 0xb0);
	assert_int_equal(b.at, 0xfff);
	bus_mmio_write(&bus, GPA(0xfec00010), 2, 0x12345);
	assert_int_equal(b.val, 0x2345);
	assert_int_equal(bus_mmio_read(&bus, GPA(0xfec01000), 1), 0xff);
	assert_int_equal(bus_mmio_read(&bus, GPA(0xfebfffff), 1), 0xff);
}

static void test_mmio_unregister(void **state)
{
	struct probe p[3] = { { .answer = 1 }, { .answer = 2 }, { .answer = 3 } };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			bus_register_mmio(&bus, GPA(0x1000 * (i + 1)), 0x1000, "p", &mmio, &p[i]),
			0);
	bus_unregister_mmio(&bus, GPA(0x2800)); /* no range begins there */
	bus_unregister_mmio(&bus, GPA(0x9000));
	assert_int_equal(bus.nr_mmio, 3);
	bus_unregister_mmio(&bus, GPA(0x2000));
	assert_int_equal(bus_mmio_read(&bus, GPA(0x1000), 1), 1);
	assert_int_equal(bus_mmio_read(&bus, GPA(0x2000), 1), 0xff);
	assert_int_equal(bus_mmio_read(&bus, GPA(0x3000), 1), 3);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x2000), 0x1000, "p", &mmio, &p[1]), 0);
	for (unsigned i = 3; i > 0; i--)
		bus_unregister_mmio(&bus, GPA(0x1000 * i));
	assert_int_equal(bus.nr_mmio, 0);
	bus_unregister_mmio(&bus, GPA(0x1000));
}

static void test_mmio_split(void **state)
{
	struct probe a = { .answer = 0xaa }, b = { .answer = 0xbb };

	(void)state;
	assert_int_equal(bus_register_mmio(&bus, GPA(0x1000), 0x10, "a", &mmio, &a), 0);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x1012), 0x10, "b", &mmio, &b), 0);
	assert_int_equal(bus_mmio_read(&bus, GPA(0x100e), 8), 0xbbbbbbbbffffaaaa);
	bus_mmio_write(&bus, GPA(0x100e), 8, 0x8877665544332211);
	assert_int_equal(a.writes, 2);
	assert_int_equal(b.writes, 4);
	assert_int_equal(a.bytes[15], 0x22);
	assert_int_equal(b.bytes[3], 0x88);
}

/* Wider than the whole range. */
static void test_mmio_narrow_range(void **state)
{
	struct probe p = { .answer = 0x5a };

	(void)state;
	assert_int_equal(bus_register_mmio(&bus, GPA(0x1000), 2, "p", &mmio, &p), 0);
	assert_int_equal(bus_mmio_read(&bus, GPA(0x1000), 4), 0xffff5a5a);
	assert_int_equal(p.size, 1);
	bus_mmio_write(&bus, GPA(0x1000), 8, 0);
	assert_int_equal(p.writes, 2);
}

static void test_mmio_register_errors(void **state)
{
	struct probe p = { .answer = 0x5a };

	(void)state;
	assert_int_equal(bus_register_mmio(&bus, GPA(0x1000), 0, "empty", &mmio, &p), -EINVAL);
	assert_int_equal(bus_register_mmio(&bus, GPA(UINT64_MAX), 2, "wraps", &mmio, &p), -EINVAL);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x2000), 0x1000, "p", &mmio, &p), 0);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x1000), 0x1001, "below", &mmio, &p), -EEXIST);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x2fff), 1, "in", &mmio, &p), -EEXIST);
	assert_int_equal(bus_register_mmio(&bus, GPA(0), UINT64_MAX, "all", &mmio, &p), -EEXIST);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x1000), 0x1000, "fits", &mmio, &p), 0);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x3000), 0x1000, "fits", &mmio, &p), 0);
	/* Up to the last address there is. */
	assert_int_equal(bus_register_mmio(&bus, GPA(UINT64_MAX), 1, "last", &mmio, &p), 0);
	assert_int_equal(bus_mmio_read(&bus, GPA(UINT64_MAX), 1), 0x5a);
	for (unsigned i = bus.nr_mmio; i < BUS_MMIO_RANGES; i++)
		assert_int_equal(
			bus_register_mmio(&bus, GPA(0x10000 + i * 4096), 8, "more", &mmio, &p), 0);
	assert_int_equal(bus_register_mmio(&bus, GPA(0x9000000), 8, "more", &mmio, &p), -ENOSPC);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_nobody),
		T(test_io_hit),
		T(test_io_port_zero),
		T(test_io_split),
		T(test_io_top),
		T(test_io_overlap_and_unregister),
		T(test_mmio_unregister),
		T(test_io_full),
		T(test_mmio_hit),
		T(test_mmio_split),
		T(test_mmio_narrow_range),
		T(test_mmio_register_errors),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
