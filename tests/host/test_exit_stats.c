/* vmm/exit_stats.c, exit_trace.c, touches.c: what exits were, what they cost, what they touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/exit_stats.h"

static struct exit_stats stats;

static int setup(void **state)
{
	(void)state;
	memset(&stats, 0, sizeof(stats));
	fake_vm_reset();
	fake_frame_limit = UINT64_MAX;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	exit_trace_off(&stats.trace);
	fake_frame_limit = UINT64_MAX;
	return 0;
}

/* The guest runs from one TSC to the next, an exit of this kind, which costs ticks. */
static uint64_t run(uint64_t tsc, uint64_t in_guest, enum vm_exit_kind kind, uint64_t ticks)
{
	exit_stats_enter(&stats, tsc);
	exit_stats_leave(&stats, tsc + in_guest);
	exit_stats_count(&stats, kind);
	return tsc + in_guest + ticks;
}

/* --- statistics --- */

static void test_costs(void **state)
{
	struct exit_summary sum;
	uint64_t tsc = 1000;

	(void)state;
	tsc = run(tsc, 500, EXIT_IO, 100);
	tsc = run(tsc, 500, EXIT_IO, 300);
	tsc = run(tsc, 500, EXIT_CPUID, 2000);
	exit_stats_close(&stats, tsc);
	sum = exit_stats_summary(&stats, EXIT_IO);
	assert_int_equal(sum.count, 2);
	assert_int_equal(sum.ticks, 400);
	assert_int_equal(sum.mean, 200);
	assert_int_equal(sum.worst, 300);
	sum = exit_stats_summary(&stats, EXIT_KINDS);
	assert_int_equal(sum.count, 3);
	assert_int_equal(sum.ticks, 2400);
	assert_int_equal(sum.worst, 2000);
	assert_int_equal(stats.guest_ticks, 1500);
	assert_int_equal(exit_stats_summary(&stats, EXIT_HLT).mean, 0);
}

/* While the vCPU waits, its last exit costs nothing; nor does an entry with none before it. */
static void test_waiting_is_free(void **state)
{
	uint64_t tsc;

	(void)state;
	tsc = run(0, 10, EXIT_HLT, 70);
	exit_stats_close(&stats, tsc);
	exit_stats_close(&stats, tsc + 5000); /* closed is closed */
	tsc = run(1000000, 10, EXIT_IO, 40);
	exit_stats_close(&stats, tsc);
	assert_int_equal(exit_stats_summary(&stats, EXIT_HLT).ticks, 70);
	assert_int_equal(exit_stats_summary(&stats, EXIT_IO).ticks, 40);
	assert_int_equal(stats.guest_ticks, 20);
}

/* The kind that counts is the one counted, though its handler makes another one of it. */
static void test_kind_stays(void **state)
{
	uint64_t tsc;

	(void)state;
	fake_vcpu.exits = &stats;
	cpuid_init(fake_cpuid_amd, 7);
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_CPUID, .insn_len = 2 };
	exit_stats_enter(&stats, 100);
	exit_stats_leave(&stats, 200);
	vm_exit_handle(&fake_vcpu);
	fake_vcpu.exit.kind = EXIT_NESTED_FAULT;
	tsc = 264;
	exit_stats_close(&stats, tsc);
	assert_int_equal(stats.count[EXIT_CPUID], 1);
	assert_int_equal(stats.ticks[EXIT_CPUID], 64);
	assert_int_equal(stats.ticks[EXIT_NESTED_FAULT], 0);
}

static void test_buckets(void **state)
{
	static const struct {
		uint64_t ticks;
		unsigned bucket;
	} cases[] = {
		{ 0, 0 },           { 1, 0 },
		{ 2, 1 },           { 3, 1 },
		{ 1023, 9 },        { 1024, 10 },
		{ UINT32_MAX, 31 }, { UINT64_C(1) << 31, 31 },
		{ 1u << 30, 30 },   { UINT64_C(1) << 40, 31 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(&stats, 0, sizeof(stats));
		exit_stats_close(&stats, run(77, 3, EXIT_IO, cases[i].ticks));
		for (unsigned b = 0; b < EXIT_BUCKETS; b++) {
			if (exit_stats_bucket(&stats, EXIT_IO, b) != (b == cases[i].bucket))
				fail_msg("%llu ticks: bucket %u has %llu, expected bucket %u alone",
					 (unsigned long long)cases[i].ticks, b,
					 (unsigned long long)exit_stats_bucket(&stats, EXIT_IO, b),
					 cases[i].bucket);
			assert_int_equal(exit_stats_bucket(&stats, EXIT_KINDS, b),
					 b == cases[i].bucket);
			assert_int_equal(exit_stats_bucket(&stats, EXIT_HLT, b), 0);
		}
	}
}

static void test_order(void **state)
{
	enum vm_exit_kind order[EXIT_KINDS];

	(void)state;
	assert_int_equal(exit_stats_order(&stats, order), 0);
	stats.count[EXIT_CPUID] = 5;
	stats.count[EXIT_IO] = 700;
	stats.count[EXIT_SMI] = 60;
	stats.count[EXIT_HLT] = 60;
	assert_int_equal(exit_stats_order(&stats, order), 4);
	assert_int_equal(order[0], EXIT_IO);
	assert_int_equal(order[1], EXIT_HLT); /* equal ones as in the list of kinds */
	assert_int_equal(order[2], EXIT_SMI);
	assert_int_equal(order[3], EXIT_CPUID);
}

static void test_permille(void **state)
{
	(void)state;
	assert_int_equal(exit_stats_permille(0, 0), 0);
	assert_int_equal(exit_stats_permille(1, 3), 333);
	assert_int_equal(exit_stats_permille(2, 3), 667);
	assert_int_equal(exit_stats_permille(UINT64_MAX, UINT64_MAX), 1000);
}

static void test_clear(void **state)
{
	(void)state;
	assert_int_equal(exit_trace_on(&stats.trace), 0);
	exit_stats_close(&stats, run(0, 10, EXIT_HLT, 70));
	exit_stats_clear(&stats);
	assert_int_equal(exit_stats_summary(&stats, EXIT_KINDS).count, 0);
	assert_int_equal(exit_stats_summary(&stats, EXIT_KINDS).ticks, 0);
	assert_int_equal(stats.guest_ticks, 0);
	assert_non_null(stats.trace.records);
}

/* --- the trace --- */

/* An exit of fake_vcpu at that RIP goes its way. */
static void traced(uint64_t tsc, uint64_t rip, uint64_t ticks)
{
	fake_vcpu.regs.rip = rip;
	exit_stats_enter(&stats, tsc);
	exit_stats_leave(&stats, tsc);
	exit_stats_count(&stats, fake_vcpu.exit.kind);
	exit_trace_add(&stats.trace, &fake_vcpu, tsc);
	exit_stats_close(&stats, tsc + ticks);
}

static void test_ring(void **state)
{
	const struct exit_trace *t = &stats.trace;

	(void)state;
	assert_int_equal(exit_trace_count(t), 0); /* off */
	assert_int_equal(exit_trace_on(&stats.trace), 0);
	assert_int_equal(exit_trace_on(&stats.trace), -EBUSY);
	assert_int_equal(exit_trace_count(t), 0);
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_WBINVD };
	for (unsigned i = 0; i < EXIT_TRACE_RECORDS + 10; i++) {
		traced(i * 1000, 0x100000 + i, i);
		assert_int_equal(exit_trace_count(t), MIN(i + 1, (unsigned)EXIT_TRACE_RECORDS));
		assert_int_equal(exit_trace_record(t, exit_trace_count(t) - 1)->rip, 0x100000 + i);
		assert_int_equal(exit_trace_record(t, 0)->rip,
				 0x100000 +
					 (i < EXIT_TRACE_RECORDS ? 0 : i - EXIT_TRACE_RECORDS + 1));
	}
	assert_int_equal(t->total, EXIT_TRACE_RECORDS + 10);
	for (unsigned i = 0; i < EXIT_TRACE_RECORDS; i++) {
		assert_int_equal(exit_trace_record(t, i)->ticks, i + 10);
		assert_int_equal(exit_record_tsc(exit_trace_record(t, i)), (i + 10) * 1000);
		assert_int_equal(exit_record_kind(exit_trace_record(t, i)), EXIT_WBINVD);
	}
	exit_trace_off(&stats.trace);
	assert_int_equal(exit_trace_count(t), 0);
}

static char tail[4096];

static void add_line(const char *text)
{
	size_t at = strlen(tail);

	snprintf(tail + at, sizeof(tail) - at, "%s\n", text);
}

static void test_tail(void **state)
{
	unsigned lines = 0;

	(void)state;
	tail[0] = '\0';
	exit_trace_tail(&stats.trace, add_line);
	assert_string_equal(tail, "");
	assert_int_equal(exit_trace_on(&stats.trace), 0);
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_SHUTDOWN, .raw = { 0x7f } };
	traced(1, 0x1000, 2);
	exit_trace_tail(&stats.trace, add_line);
	assert_string_equal(tail, "              1 0000000000001000 shutdown     code 7f\n");
	for (unsigned i = 0; i < 100; i++)
		traced(i, i, 2);
	tail[0] = '\0';
	exit_trace_tail(&stats.trace, add_line);
	for (const char *p = tail; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, EXIT_TRACE_TAIL);
	assert_non_null(strstr(tail, "84 0000000000000054"));
	assert_non_null(strstr(tail, "99 0000000000000063"));
	assert_null(strstr(tail, "83 0000000000000053"));
}

static void test_no_memory(void **state)
{
	(void)state;
	fake_frame_limit = 0;
	assert_int_equal(exit_trace_on(&stats.trace), -ENOMEM);
	assert_null(stats.trace.records);
	assert_int_equal(exit_trace_count(&stats.trace), 0);
	exit_trace_off(&stats.trace);
}

/* A trace that is turned on between two exits takes no cost of the one before. */
static void test_cost_of_none(void **state)
{
	uint64_t tsc = run(0, 10, EXIT_HLT, 70);

	(void)state;
	assert_int_equal(exit_trace_on(&stats.trace), 0);
	exit_stats_close(&stats, tsc);
	assert_int_equal(exit_trace_count(&stats.trace), 0);
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_WBINVD };
	traced(1000, 0x1234, UINT64_C(1) << 40);
	assert_int_equal(exit_trace_record(&stats.trace, 0)->ticks, UINT32_MAX);
}

static void expect_detail(const struct vm_exit *exit, const char *want)
{
	const struct exit_trace *t = &stats.trace;
	char text[EXIT_TRACE_DETAIL], line[128];

	fake_vcpu.exit = *exit;
	traced(UINT64_C(0xab00000000000000) | 123456, UINT64_C(0xffffffff81000000), 4000000000);
	exit_trace_detail(exit_trace_record(t, exit_trace_count(t) - 1), text, sizeof(text));
	if (strcmp(text, want) != 0)
		fail_msg("expected \"%s\", seen \"%s\"", want, text);
	exit_trace_line(exit_trace_record(t, exit_trace_count(t) - 1), line, sizeof(line));
	if (strlen(line) > 82)
		fail_msg("%zu characters: \"%s\"", strlen(line), line);
}

static void test_details(void **state)
{
	static const uint32_t apic_page[1024] = { [0x300 / 4] = 0x40093 };
	uint64_t *gpr = fake_vcpu.regs.gpr;
	char line[128];

	(void)state;
	assert_int_equal(exit_trace_on(&stats.trace), 0);
	gpr[RAX] = UINT64_C(0x1122334455667788);
	gpr[RCX] = UINT64_C(0xffffffffc0000082);
	gpr[RDX] = UINT64_C(0xffffffffffffffff);
	gpr[R9] = 0x6f0;
#define DETAIL(want, ...) expect_detail(&(struct vm_exit){ __VA_ARGS__ }, want)
	DETAIL("out 3f8 1 88", .kind = EXIT_IO, .io = { .port = 0x3f8, .size = 1 });
	DETAIL("out cf8 4 55667788", .kind = EXIT_IO, .io = { .port = 0xcf8, .size = 4 });
	DETAIL("in 3fd 2", .kind = EXIT_IO, .io = { .port = 0x3fd, .size = 2, .in = true });
	DETAIL("outs 402 1 rep", .kind = EXIT_IO,
	       .io = { .port = 0x402, .size = 1, .string = true, .rep = true });
	DETAIL("fee00020 r", .kind = EXIT_NESTED_FAULT,
	       .nested = { .gpa = GPA(0xfee00020), .read = true });
	DETAIL("d0000000 w walk", .kind = EXIT_NESTED_FAULT,
	       .nested = { .gpa = GPA(0xd0000000), .write = true, .table_walk = true });
	DETAIL("ffffffff81000000 error 1f", .kind = EXIT_PAGE_FAULT,
	       .page_fault = { .gva = GVA(UINT64_C(0xffffffff81000000)), .error = 0x1f });
	DETAIL("vector 13 error 18", .kind = EXIT_EXCEPTION,
	       .exception = { .vector = 13, .error = 0x18 });
	DETAIL("leaf 55667788.c0000082", .kind = EXIT_CPUID);
	DETAIL("c0000082", .kind = EXIT_RDMSR);
	DETAIL("c0000082=ffffffff55667788", .kind = EXIT_WRMSR);
	DETAIL("cr3", .kind = EXIT_CR_READ, .cr = { .nr = 3, .gpr = R9 });
	DETAIL("cr4=6f0", .kind = EXIT_CR_WRITE, .cr = { .nr = 4, .gpr = R9 });
	DETAIL("cr0", .kind = EXIT_CR_WRITE, .cr = { .nr = 0, .gpr = VM_EXIT_GPR_UNKNOWN });
	DETAIL("cr0", .kind = EXIT_CR_WRITE, .cr = { .nr = 0, .gpr = R9, .clts = true });
	DETAIL("7f0000", .kind = EXIT_INVLPG, .invlpg = { .gva = GVA(0x7f0000), .known = true });
	DETAIL("-", .kind = EXIT_INVLPG);
	DETAIL("selector 28", .kind = EXIT_TASK_SWITCH, .task = { .selector = 0x28 });
	DETAIL("rax 1122334455667788", .kind = EXIT_HYPERCALL);
	DETAIL("300=40093", .kind = EXIT_APIC_WRITE, .apic = { .off = 0x300, .page = apic_page });
	DETAIL("e5", .kind = EXIT_APIC_EOI, .apic = { .vector = 0xe5 });
	DETAIL("code 60", .kind = EXIT_INTR, .raw = { 0x60 });
	exit_trace_line(exit_trace_record(&stats.trace, 0), line, sizeof(line));
	assert_string_equal(line, "         123456 ffffffff81000000 io           4000000000 "
				  "out 3f8 1 88");
}

/* Only when it is on is an exit recorded, with what the guest had before it was handled. */
static void test_handled(void **state)
{
	char text[EXIT_TRACE_DETAIL];

	(void)state;
	cpuid_init(fake_cpuid_amd, 7);
	for (unsigned on = 0; on <= 1; on++) {
		if (on)
			assert_int_equal(exit_trace_on(&fake_vcpu.exits->trace), 0);
		fake_vcpu.regs.rip = 0x4000;
		fake_vcpu.regs.gpr[RAX] = fake_vcpu.regs.gpr[RCX] = 0;
		fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_CPUID, .insn_len = 2 };
		vm_exit_handle(&fake_vcpu);
		assert_int_equal(fake_vcpu.regs.rip, 0x4002);
		assert_int_equal(exit_trace_count(&fake_vcpu.exits->trace), on);
	}
	assert_int_equal(exit_trace_record(&fake_vcpu.exits->trace, 0)->rip, 0x4000);
	exit_trace_detail(exit_trace_record(&fake_vcpu.exits->trace, 0), text, sizeof(text));
	assert_string_equal(text, "leaf 0.0");
	exit_trace_off(&fake_vcpu.exits->trace);
}

/* --- touches --- */

static struct touches touches;
static const struct touch *order[TOUCHES_MAX];

static struct touch *touch(uint64_t port, const char *name)
{
	struct touch *t = touches_find(&touches, TOUCH_PORT, port);

	return t ? t : touches_new(&touches, TOUCH_PORT, port, name);
}

static uint32_t port_in(void *dev, uint16_t port, unsigned size)
{
	(void)dev;
	(void)port;
	(void)size;
	return 0;
}

static void port_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	(void)dev;
	(void)port;
	(void)size;
	(void)val;
}

static void expect_touch(unsigned i, enum touch_kind kind, uint64_t address, const char *name,
			 uint64_t in, uint64_t out)
{
	assert_int_equal(touch_kind(order[i]), kind);
	assert_int_equal(touch_address(order[i]), address);
	assert_int_equal(order[i]->in, in);
	assert_int_equal(order[i]->out, out);
	if (name)
		assert_string_equal(order[i]->name, name);
	else
		assert_null(order[i]->name);
}

static void test_touches_of_bus(void **state)
{
	static const struct io_ops ops = { .in = port_in, .out = port_out };
	struct bus bus;

	(void)state;
	memset(&touches, 0, sizeof(touches));
	assert_int_equal(bus_init(&bus), 0);
	assert_int_equal(bus_register_io(&bus, 0x60, 8, "dev", &ops, NULL), 0);
	bus_out(&bus, 0x60, 1, 5); /* nobody counts yet */
	bus.touches = &touches;
	for (unsigned i = 0; i < 3; i++)
		bus_in(&bus, 0x60, 1);
	bus_out(&bus, 0x60, 1, 5);
	bus_in(&bus, 0x66, 4); /* split, and touched once */
	bus_in(&bus, 0x100, 2);
	bus_in(&bus, 0x100, 2);
	for (unsigned i = 0; i < 5; i++)
		bus_mmio_write(&bus, GPA(0x60), 8, 0);
	assert_int_equal(touches_order(&touches, order), 4);
	expect_touch(0, TOUCH_MEMORY, 0x60, NULL, 0, 5);
	expect_touch(1, TOUCH_PORT, 0x60, "dev", 3, 1);
	expect_touch(2, TOUCH_PORT, 0x100, NULL, 2, 0);
	expect_touch(3, TOUCH_PORT, 0x66, "dev", 1, 0);
	assert_int_equal(touches.forgotten, 0);
	bus_destroy(&bus);
}

/* A guest that touches everything does not drive out what is touched most. */
static void test_touches_evict(void **state)
{
	uint64_t kept = 0;
	unsigned n;

	(void)state;
	memset(&touches, 0, sizeof(touches));
	for (unsigned i = 0; i < 1000; i++)
		touch(0x3f8, "com1")->out++;
	for (unsigned port = 0; port < 65536; port++)
		if (port != 0x3f8)
			touch(port, NULL)->in++;
	n = touches_order(&touches, order);
	assert_int_equal(n, TOUCHES_MAX);
	expect_touch(0, TOUCH_PORT, 0x3f8, "com1", 0, 1000);
	for (unsigned i = 0; i < n; i++)
		kept += order[i]->in + order[i]->out;
	assert_int_equal(kept + touches.forgotten, 65535 + 1000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_costs),         CASE(test_waiting_is_free),
		CASE(test_kind_stays),    CASE(test_buckets),
		CASE(test_order),         CASE(test_permille),
		CASE(test_clear),         CASE(test_ring),
		CASE(test_tail),          CASE(test_no_memory),
		CASE(test_cost_of_none),  CASE(test_details),
		CASE(test_handled),       CASE(test_touches_of_bus),
		CASE(test_touches_evict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
