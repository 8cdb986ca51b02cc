/* vmm/monitor/exits.c: what the commands about exits and devices show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/machine.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/dev/pc.h"
#include "vmm/monitor/dispatch.h"
#include "vmm/run.h"

static struct vm_config cfg;

/* --- what other commands would need --- */

struct vm *vmm_vm(unsigned index)
{
	return index == 0 ? &fake_vm : NULL;
}

/* Held while a command is carried out, and let go of. */
void vmm_hold_vm(struct vm *vm)
{
	assert_int_equal(vm->holds++, 0);
}

void vmm_let_vm(struct vm *vm)
{
	assert_int_equal(--vm->holds, 0);
}

#define NEVER(name)                                                                                \
	int name(struct vm *vm)                                                                    \
	{                                                                                          \
		(void)vm;                                                                          \
		fail_msg(#name "() was called");                                                   \
		return 0;                                                                          \
	}
NEVER(vmm_pause_vm)
NEVER(vmm_resume_vm)
NEVER(vmm_reset_vm)
NEVER(vmm_kill_vm)
NEVER(vmm_stop_vm)

int vmm_start_vm_as(struct vm *vm, const struct vm_config *line)
{
	(void)vm;
	(void)line;
	fail();
	return 0;
}

const struct vcpu *vmm_turn(const struct cpu *cpu)
{
	(void)cpu;
	fail();
	return NULL;
}

void machine_poweroff(void)
{
	fail();
	for (;;)
		;
}

void machine_reboot(void)
{
	fail();
	for (;;)
		;
}

/* --- a VM with a board --- */

static char *said;

static void run(const char *line)
{
	size_t len;

	dispatch_line(line, &said, &len);
	said[len] = '\0';
	for (const char *p = said, *end; *p; p = end + 1) {
		end = strchr(p, '\n');
		if (!end || end - p > 80)
			fail_msg("%s: more than 80 columns, or no end: \"%s\"", line, p);
	}
}

static void expect_said(const char *line, const char *part)
{
	run(line);
	if (!strstr(said, part))
		fail_msg("%s: expected \"%s\", seen \"%s\"", line, part, said);
}

static void expect_wrong(const char *line, const char *part)
{
	expect_said(line, part);
	assert_non_null(strstr(said, "usage: "));
}

static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	fake_timers_reset();
	cfg = (struct vm_config){ .name = "alpha", .memory = MIB(16), .vcpus = 1, .cmdline = "" };
	fake_vm.cfg = &cfg;
	assert_int_equal(bus_init(&fake_vm.bus), 0);
	fake_vm.bus.touches = &fake_vm.touches;
	assert_int_equal(pc_create(&fake_vm), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pc_destroy(&fake_vm);
	bus_destroy(&fake_vm.bus);
	exit_trace_off(&fake_vm.exits[0]->trace);
	return 0;
}

/* n exits of this kind that cost so much each, after as much time in the guest. */
static void exits(enum vm_exit_kind kind, unsigned n, uint64_t ticks)
{
	static uint64_t tsc;
	struct exit_stats *s = fake_vm.exits[0];

	for (unsigned i = 0; i < n; i++) {
		exit_stats_enter(s, tsc);
		tsc += ticks;
		exit_stats_leave(s, tsc);
		fake_vcpu.exit.kind = kind;
		exit_stats_count(s, kind);
		if (s->trace.records)
			exit_trace_add(&s->trace, &fake_vcpu, tsc);
		tsc += ticks;
		exit_stats_close(s, tsc);
	}
}

/* --- tests --- */

static struct exit_stats of_second;

static void test_exits(void **state)
{
	(void)state;
	exits(EXIT_IO, 60, 1000);
	exits(EXIT_IO, 10, 5000);
	exits(EXIT_CPUID, 30, 3000);
	run("exits alpha");
	assert_string_equal(
		said,
		"exits alpha: 100, of its time 50.0% in the guest; TSC at 1000000 kHz\n"
		"KIND                COUNT  SHARE  MEAN TICKS         WORST   COST\n"
		"io                     70   70.0%        1571          5000   55.0%\n"
		"cpuid                  30   30.0%        3000          3000   45.0%\n"
		"total                 100  100.0%        2000          5000  100.0%\n"
		"TICKS FROM        EXITS\n"
		"       512           60  ##################################################\n"
		"      1024            0\n"
		"      2048           30  #########################\n"
		"      4096           10  ########\n");
	run("exits alpha cpuid");
	assert_string_equal(
		said,
		"exits alpha: 100, of its time 50.0% in the guest; TSC at 1000000 kHz\n"
		"TICKS FROM        EXITS\n"
		"      2048           30  ##################################################\n");
	/* Those of one vCPU alone. */
	fake_vm.exits[1] = &of_second;
	of_second.count[EXIT_IO] = 7;
	expect_said("exits alpha.1 clear", "");
	assert_int_equal(of_second.count[EXIT_IO], 0);
	assert_int_equal(fake_vm.exits[0]->count[EXIT_CPUID], 30);
	fake_vm.exits[1] = NULL;
	expect_said("exits alpha clear", "");
	run("exits alpha");
	assert_non_null(strstr(said, "alpha: 0, of its time 0.0%"));
	assert_null(strstr(said, "TICKS FROM"));
	/* The widest figures that there can be. */
	fake_vm.exits[0]->count[EXIT_INTR_WINDOW] = 999999999999;
	fake_vm.exits[0]->ticks[EXIT_INTR_WINDOW] = UINT64_C(99999999999) * 100000000;
	fake_vm.exits[0]->worst[EXIT_INTR_WINDOW] = 9999999999999;
	fake_vm.exits[0]->bucket[EXIT_INTR_WINDOW][31] = 999999999999;
	expect_said("exits alpha", "2147483648 999999999999  ####");
}

static void test_wrong(void **state)
{
	(void)state;
	exits(EXIT_IO, 3, 1000);
	expect_wrong("exits", "");
	expect_wrong("exits nobody", "nobody");
	expect_wrong("exits alpha foo", "foo is neither a kind of exit nor clear");
	expect_wrong("exits alpha io io", "");
	expect_wrong("trace alpha", "");
	expect_wrong("trace alpha perhaps", "perhaps is none of on, off, dump");
	expect_wrong("trace alpha on 5", "only dump takes a number");
	expect_wrong("trace alpha dump", "the trace of alpha is off");
	expect_wrong("trace alpha dump x", "x");
	assert_null(fake_vm.exits[0]->trace.records);
	assert_int_equal(fake_vm.exits[0]->count[EXIT_IO], 3);
}

static unsigned lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* All of it, of which a debugger's buffer holds little, goes through the filter. */
static void expect_filtered(const char *line, const char *text)
{
	char answer[DISPATCH_ASIDE_MIN];

	dispatch_aside(line, answer, sizeof(answer));
	assert_string_equal(answer, text);
}

static void test_trace(void **state)
{
	(void)state;
	exits(EXIT_IO, 3, 1000);
	fake_vcpu.regs.rip = UINT64_C(0xffffffff81000000);
	fake_vcpu.regs.gpr[RAX] = UINT64_C(0xffffffff);
	fake_vcpu.regs.gpr[RDX] = UINT64_C(0xffffffff);
	fake_vcpu.regs.gpr[RCX] = UINT64_C(0xc0000082);
	expect_said("trace alpha on", "");
	expect_said("trace alpha on", ""); /* again: it goes on */
	run("trace alpha dump");
	assert_int_equal(lines(said), 2);
	exits(EXIT_WRMSR, 2, 777);
	expect_said("trace alpha dump", "trace alpha: last 2 of 2 exits; TSC at 1000000 kHz\n");
	assert_non_null(strstr(said, " ffffffff81000000 wrmsr             777 "
				     "c0000082=ffffffffffffffff\n"));
	exits(EXIT_WRMSR, 5000, 777);
	expect_said("trace alpha dump 7", "trace alpha: last 7 of 5002 exits");
	assert_int_equal(lines(said), 2 + 7);
	expect_said("trace alpha dump 0x10", "trace alpha: last 16 of 5002 exits");
	/* All of it fits into a command's output. */
	expect_said("trace alpha dump", "trace alpha: last 4096 of 5002 exits");
	assert_int_equal(lines(said), 2 + 4096);
	expect_filtered("trace alpha dump | grep -c wrmsr", "4096\n");
	expect_filtered("trace alpha dump | grep trace",
			"trace alpha: last 4096 of 5002 exits; TSC "
			"at 1000000 kHz\n");
	/* After some days the TSC is wider, and so is its heading. */
	exit_trace_add(&fake_vm.exits[0]->trace, &fake_vcpu, UINT64_C(1234567890123456));
	run("trace alpha dump 1");
	assert_non_null(strstr(said, "\n             TSC RIP  "));
	assert_non_null(strstr(said, "\n1234567890123456 ffffffff81000000 wrmsr "));
	expect_said("trace alpha off", "");
	assert_null(fake_vm.exits[0]->trace.records);
	fake_frame_limit = 0;
	expect_said("trace alpha on", "no memory for a trace");
	fake_frame_limit = UINT64_MAX;
}

/* A table says of whom it is, whatever word was typed; of several vCPUs those are shown that are
 * traced. */
static void test_titles(void **state)
{
	(void)state;
	expect_said("exits 1", "exits alpha: 0, ");
	expect_said("exits 1.0", "exits alpha: 0, ");
	run("trace alpha on");
	expect_said("trace 1.0 dump", "trace alpha: last 0 of 0 exits");
	run("trace alpha off");
	fake_vm.exits[1] = &of_second;
	expect_said("exits 1", "exits alpha: 0, ");
	expect_said("exits 1.1", "exits alpha.1: 0, ");
	expect_wrong("trace alpha dump", "the trace of alpha is off");
	run("trace alpha.1 on");
	run("trace alpha dump");
	assert_memory_equal(said, "trace alpha.1: last 0", 21);
	assert_int_equal(lines(said), 2);
	expect_wrong("trace alpha.0 dump", "the trace of alpha.0 is off");
	run("trace alpha.0 on");
	run("trace alpha.1 off");
	run("trace 1 dump");
	assert_memory_equal(said, "trace alpha.0: last 0", 21);
	assert_int_equal(lines(said), 2);
	run("trace alpha off");
	fake_vm.exits[1] = NULL;
}

static void test_io(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		bus_out(&fake_vm.bus, 0x80, 1, 0);
	bus_in(&fake_vm.bus, 0x3fd, 1);
	bus_in(&fake_vm.bus, 0xabc, 1);
	bus_in(&fake_vm.bus, 0xabc, 1);
	bus_mmio_read(&fake_vm.bus, GPA(UINT64_C(0xffffffffff000)), 4);
	run("io alpha");
	assert_string_equal(said,
			    "io alpha: 4 ports and addresses\n"
			    "KIND            ADDRESS  DEVICE                 IN          OUT\n"
			    "port                 80  post                    0            5\n"
			    "port                abc  -                       2            0\n"
			    "memory    ffffffffff000  -                       1            0\n"
			    "port                3fd  com1                    1            0\n");
	fake_vm.touches.forgotten = 12;
	expect_said("io alpha", "addresses; 12 accesses to others are forgotten\n");
}

static void test_irqs(void **state)
{
	static const struct vm_config with_apic = {
		.name = "alpha", .memory = 1 << 20, .vcpus = 1, .apic = true
	};
	/* ICW1 to ICW4, and all open. */
	static const uint8_t init[] = { 0x11, 0x30, 4, 1, 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(init); i++)
		bus_out(&fake_vm.bus, i ? 0x21 : 0x20, 1, init[i]);
	bus_out(&fake_vm.bus, 0x43, 1, 0x30); /* the 8254: one interrupt, soon */
	bus_out(&fake_vm.bus, 0x40, 1, 10);
	bus_out(&fake_vm.bus, 0x40, 1, 0);
	fake_clock_advance(1000000);
	expect_said("irqs alpha", "IRQ VECTOR DEVICE       RAISED      TAKEN MODE  LINE STATE\n");
	expect_said("irqs alpha", "  0   0x30 pit               2          0 edge  high "
				  "requested\n");
	assert_non_null(strstr(said, "  3   0x33 com2              0          0 edge  low  -\n"));
	assert_int_equal(lines(said), 17);
	assert_true(fake_vm.intr.pending(fake_vm.intr.ctx));
	assert_int_equal(fake_vm.intr.ack(fake_vm.intr.ctx), 0x30);
	expect_said("irqs alpha", "  0   0x30 pit               2          1 edge  high "
				  "in-service\n");
	pc_destroy(&fake_vm);
	expect_said("irqs alpha", "alpha has no interrupt controller now: it is stopped\n");
	fake_vm.cfg = &with_apic;
	assert_int_equal(pc_create(&fake_vm), 0);
	expect_said("irqs alpha",
		    "IRQ VECTOR DEVICE       RAISED      TAKEN MODE  LINE STATE\n  0 ");
	expect_said("irqs alpha",
		    "\n 15   0x07 -                 0          0 edge  low  "
		    "masked\n"
		    "PIN VECTOR DEVICE       RAISED      TAKEN MODE  LINE STATE\n  0 ");
	expect_said("irqs alpha", "\n  2   0x00 pit               1          0 edge  high "
				  "masked\n");
	assert_int_equal(lines(said), 17 + 25);
	pc_destroy(&fake_vm);
	expect_said("devs alpha", "alpha has no devices now: it is stopped\n");
}

/* The machine's own: those that somebody takes, and what comes all the same. */
static void test_vectors(void **state)
{
	(void)state;
	fake_trap_count[0xf0] = 4711;
	fake_trap_count[0x27] = 2;
	fake_trap_count[0xf2] = 3;
	fake_trap_count[0xff] = 1;
	expect_said("irqs", "VECTOR            COUNT SOURCE\n"
			    "  0x27                2 8259 7, masked, taken by nobody\n"
			    "  0x34                0 ISA 4\n"
			    "  0xf0             4711 timer\n"
			    "  0xf2                3 a CPU is called, taken by nobody\n"
			    "  0xff                1 spurious, taken by nobody\n");
	assert_int_equal(lines(said), 6);
	memset(fake_trap_count, 0, sizeof(fake_trap_count));
}

static void test_devs(void **state)
{
	const char *pit, *com1;

	(void)state;
	bus_out(&fake_vm.bus, 0x43, 1, 0x34);
	bus_out(&fake_vm.bus, 0x40, 1, 0x9c);
	bus_out(&fake_vm.bus, 0x40, 1, 0x2e);
	run("devs alpha");
	pit = strstr(said, "ports 0040-0043 pit         channel 0: mode 2, count 11932 (99 Hz)\n");
	com1 = strstr(said, "ports 03f8-03ff com1        9600 baud, ");
	assert_non_null(pit);
	assert_non_null(com1);
	assert_true(pit < com1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_exits), CASE(test_wrong),   CASE(test_trace), CASE(test_io),
		CASE(test_irqs),  CASE(test_vectors), CASE(test_devs),  CASE(test_titles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
