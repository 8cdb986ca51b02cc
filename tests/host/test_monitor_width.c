/* All commands of the monitor, about a VM whose names and figures are as long as they get: what
 * they say fits the operator's terminal. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/mm.h"
#include "paging/host.h"
#include "paging/nested.h"
#include "tests/host/monitor_fixture.h"
#include "vmm/dev/pc.h"
#include "vmm/exit_trace.h"

#define RIP UINT64_C(0xffffffff81000000)
#define TABLES 0x2000u /* of the guest, each of them 4 KiB */
#define CODE 0x6000u
#define ENTRY 7 /* present, writable, the user's */

static struct backend_caps widest_caps;
static struct vmm_backend backend;
static struct vcpu others[VM_MAX_VCPUS];
static struct exit_stats stats[VM_MAX_VCPUS];

/* What each of them is asked: by VM 1. Its own name would do as well. */
static const char *const lines[] = {
	"help",
	"help start",
	"help x",
	"help trace",
	"wait 0",
	"vms",
	"vm 1",
	"vm 2",
	"vcpus",
	"vcpus 1",
	"console 1",
	"console -f",
	"start 1",
	"start 2 paging=shadow",
	"stop 1",
	"stop 2",
	"pause 1",
	"pause 2",
	"resume 1",
	"resume 2",
	"reset 1",
	"reset 2",
	"kill 1",
	"kill 2",
	"cpus",
	"mem",
	"uptime",
	"version",
	"log",
	"regs 1",
	"regs 1.63",
	"x/64gx 1 $rip",
	"x/64dg 1 0",
	"x/64c 1 $rip",
	"x/4s 1 0x7000",
	"x/8i 1 $rip",
	"x 1 0x123456789abcdef0",
	"dis 1",
	"dis 1 0x8000",
	"bt 1",
	"vmcb 1",
	"vmcs 1",
	"maps 1",
	"walk 1 $rip",
	"walk 1 gpa:0xfffffffffffff",
	"walk 1 0x123456789abcdef0",
	"tables 1",
	"tables 1 nested",
	"tables 1 shadow",
	"tables host",
	"paging 1",
	"paging audit 1",
	"exits 1",
	"exits 1.63",
	"exits 1 nested-fault",
	"trace 1 dump",
	"trace 1.63 dump 3",
	"io 1",
	"irqs",
	"irqs 1",
	"devs 1",
	"break 1 0xffffffff81000000",
	"watch 1 0xffffffff81000000 8",
	"points 1",
	"delete 1 1",
	"delete 1 1000",
	"step 1",
	"cont 1",
	"gdb",
	"gdb off",
	"gdb close",
};

/* These do not come back, or are not in every build. */
static const char *const left_out[] = { "reboot", "poweroff", "panic", "hang", "ping" };

static const struct backend_caps *caps(void)
{
	return &widest_caps;
}

static void dump(const struct vcpu *vcpu, const struct printer *p)
{
	(void)vcpu;
	printer_line(p, "%0150u", 1);
}

/* --- the VM --- */

static bool look(void *ctx, unsigned n, struct irq_state *s)
{
	(void)ctx;
	*s = (struct irq_state){ .device = "cascade",
				 .input = n,
				 .vector = 0xff,
				 .level_triggered = true,
				 .high = true,
				 .masked = true,
				 .requested = true,
				 .in_service = true,
				 .raised = n == 1 ? UINT64_MAX : 9999999999,
				 .taken = n == 1 ? UINT64_MAX : 9999999999 };
	return n < 3;
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	(void)ctx;
	(void)pa;
	(void)size;
	return true;
}

static void entry(uint32_t at, uint64_t val)
{
	memcpy(fake_ram + at, &val, sizeof(val));
}

/* Code with as many operands as there are, in 64-bit mode. */
static void make_guest(void)
{
	static const uint8_t code[] = { 0xf0, 0x4f, 0x0f, 0xb1, 0x9c, 0xec, 0x78, 0x56, 0x34, 0x12,
					0x64, 0x4b, 0xc7, 0x84, 0x6c, 0x78, 0x56, 0x34, 0x92, 0x21,
					0x43, 0x65, 0x97, 0x62, 0xf1, 0x7d, 0x48, 0x28, 0x05, 0x10,
					0x32, 0x54, 0x76, 0xe8, 0x00, 0x00, 0x00, 0x00, 0xf4 };
	static const struct pt_caps pt = { .maxphyaddr = 48, .page_1g = true };

	for (unsigned i = 0; i < 3; i++) {
		entry(TABLES + i * 0x1000, (TABLES + (i + 1) * 0x1000) | ENTRY);
		entry(TABLES + i * 0x1000 + 8 * (unsigned)(RIP >> (39 - 9 * i) & 511),
		      (TABLES + (i + 1) * 0x1000) | ENTRY);
	}
	entry(TABLES + 0x3000, CODE | ENTRY);
	for (uint32_t at = CODE; at + sizeof(code) < sizeof(fake_ram); at += sizeof(code))
		memcpy(fake_ram + at, code, sizeof(code));
	fake_hw.reg[REG_CR3] = TABLES;
	fake_hw.reg[REG_CR4] = ~UINT64_C(0) & ~CR4_LA57;
	assert_int_equal(
		nested_init(&fake_vm.nested, NESTED_NPT, &pt, host_pt_mem(), may_map, NULL), 0);
	fake_vm.has_nested = true;
	assert_int_equal(nested_map(&fake_vm.nested, GPA(0), ptr_to_hpa(fake_ram), sizeof(fake_ram),
				    PT_R | PT_W | PT_X),
			 0);
}

static void make_vcpus(void)
{
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++) {
		struct vcpu *vcpu = i ? &others[i] : &fake_vcpu;

		if (i) {
			*vcpu = fake_vcpu;
			vcpu->exits = fake_vm.exits[i] = &stats[i];
			fake_vm.vcpu[i] = vcpu;
		}
		vcpu->id = i;
		vcpu->last_cpu = CPU_MAX - 1;
		vcpu->regs.rip = RIP;
		vcpu->regs.rflags = UINT32_MAX;
		for (unsigned r = 0; r < GPRS; r++)
			vcpu->regs.gpr[r] = UINT64_C(0xffffffffffffff00);
		vcpu->exit.kind = EXIT_NESTED_FAULT;
		vcpu->exit.hw_name = "TPR_BELOW_THRESHOLD";
	}
	fake_vm.nr_vcpus = VM_MAX_VCPUS;
	cfg[0].vcpus = VM_MAX_VCPUS;
}

/* The words of an exit that are long when they are shown. */
static struct vm_exit widest_exit(enum vm_exit_kind kind)
{
	static uint32_t page[0x1000 / 4];
	struct vm_exit e = { .kind = kind, .hw_name = "TPR_BELOW_THRESHOLD" };

	e.raw[0] = UINT64_MAX;
	if (kind == EXIT_IO) {
		e.io.port = 0xffff;
		e.io.size = 4;
	} else if (kind == EXIT_NESTED_FAULT) {
		e.nested.gpa = GPA(UINT64_MAX);
		e.nested.read = e.nested.write = e.nested.fetch = e.nested.table_walk = true;
	} else if (kind == EXIT_PAGE_FAULT) {
		e.page_fault.gva = GVA(UINT64_MAX);
		e.page_fault.error = UINT32_MAX;
	} else if (kind == EXIT_EXCEPTION) {
		e.exception.vector = 0xff;
		e.exception.error = UINT32_MAX;
	} else if (kind == EXIT_APIC_WRITE) {
		e.apic.off = 0xff0;
		e.apic.page = page;
	} else if (kind == EXIT_CR_READ || kind == EXIT_CR_WRITE) {
		e.cr.nr = 8;
	} else if (kind == EXIT_INVLPG) {
		e.invlpg.gva = GVA(UINT64_MAX);
		e.invlpg.known = true;
	}
	return e;
}

/* One of each kind, at the end of a TSC's days. */
static void trace_exits(struct vcpu *vcpu)
{
	for (unsigned kind = 0; kind < EXIT_KINDS; kind++) {
		vcpu->exit = widest_exit((enum vm_exit_kind)kind);
		exit_trace_add(&vcpu->exits->trace, vcpu, BIT(56) - 1);
		exit_trace_cost(&vcpu->exits->trace, UINT64_MAX);
	}
	vcpu->exit.kind = EXIT_NESTED_FAULT;
}

static void make_figures(void)
{
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++) {
		struct exit_stats *s = fake_vm.exits[i];

		s->guest_ticks = UINT64_MAX / 128;
		for (unsigned kind = 0; kind < EXIT_KINDS; kind++) {
			s->count[kind] = s->ticks[kind] = UINT64_MAX / 128 / EXIT_KINDS;
			s->worst[kind] = UINT64_MAX;
			for (unsigned b = 0; b < EXIT_BUCKETS; b++)
				s->bucket[kind][b] = s->count[kind] / EXIT_BUCKETS;
		}
	}
	assert_int_equal(exit_trace_on(&fake_vm.exits[0]->trace), 0);
	assert_int_equal(exit_trace_on(&fake_vm.exits[63]->trace), 0);
	trace_exits(&fake_vcpu);
	trace_exits(&others[63]);
	for (unsigned i = 0; i < TOUCHES_MAX; i++) {
		struct touch *t = touches_new(&fake_vm.touches, TOUCH_MEMORY,
					      UINT64_C(0xfffffffff0000) + i, "local APIC 12");

		t->in = t->out = UINT64_MAX;
	}
	fake_vm.touches.forgotten = UINT64_MAX;
	fake_vm.start_cost_ns = UINT64_MAX;
	fake_vm.intr.look = look;
}

static int setup_widest(void **state)
{
	static char words[480];

	setup(state);
	backend = fake_backend_ops;
	backend.name = "SVM";
	backend.caps = caps;
	backend.dump = dump;
	widest_caps = *fake_backend_ops.caps();
	memset(words, 'w', sizeof(words) - 1);
	for (unsigned i = 12; i < sizeof(words) - 1; i += 13)
		words[i] = ' ';
	widest_caps.features = words;
	fake_vm.backend = second.backend = &backend;
	for (unsigned i = 0; i < 2; i++) {
		memset(cfg[i].name, i ? 'B' : 'A', VM_NAME_MAX - 1);
		cfg[i].memory = GIB(999);
		cfg[i].cmdline = words;
		memset(&cfg[i].cpus, 0x55, sizeof(cfg[i].cpus));
		cfg[i].weight = 10000;
		cfg[i].shadow = cfg[i].audit = GIB(100);
		cfg[i].apic = cfg[i].paused = cfg[i].debug_exit = cfg[i].stats = true;
		strcpy(cfg[i].com2, "mmio,0xfffffffff0000,4,115200");
	}
	second.stop_reason = VM_STOP_TRIPLE;
	memset(second.stop_text, 't', sizeof(second.stop_text) - 1);
	module.cmdline = words;
	fake_now_ns = 99999 * 3600 * SECOND;
	make_guest();
	make_vcpus();
	make_figures();
	turn = &others[63];
	boot_cpu.state = CPU_ONLINE;
	boot_cpu.irq_count = UINT64_MAX;
	boot_cpu.apic_id = UINT32_MAX;
	assert_int_equal(bus_init(&fake_vm.bus), 0);
	log_info("%s", words);
	return 0;
}

static int teardown_widest(void **state)
{
	(void)state;
	exit_trace_off(&fake_vm.exits[0]->trace);
	exit_trace_off(&stats[63].trace);
	nested_destroy(&fake_vm.nested);
	bus_destroy(&fake_vm.bus);
	return 0;
}

/* --- what they say --- */

static unsigned widest_line(const char *what)
{
	unsigned widest = 0;

	for (const char *p = said, *end; *p; p = end + 1) {
		end = strchr(p, '\n');
		if (!end)
			fail_msg("%s: a line without an end: \"%s\"", what, p);
		if (end - p > 80)
			fail_msg("%s: %u columns: \"%.*s\"", what, (unsigned)(end - p),
				 (int)(end - p), p);
		if (widest < end - p)
			widest = (unsigned)(end - p);
	}
	return widest;
}

static void test_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		fake_vm.state = VM_RUNNING;
		run(lines[i]);
		widest_line(lines[i]);
		fake_vm.state = VM_PAUSED;
		asked[0] = '\0';
		run(lines[i]);
		widest_line(lines[i]);
		asked[0] = '\0';
	}
}

/* Is there a line for it? */
static bool is_tried(const char *command)
{
	size_t n = strlen(command);

	for (unsigned i = 0; i < ARRAY_SIZE(left_out); i++)
		if (!strcmp(left_out[i], command))
			return true;
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		if (!strncmp(lines[i], command, n) && strchr(" /", lines[i][n]))
			return true; /* its end is one, too */
	return false;
}

static void test_none_forgotten(void **state)
{
	static const struct monitor_family *const families[] = {
		&monitor_vm_family,     &monitor_machine_family, &monitor_inspect_family,
		&monitor_paging_family, &monitor_exits_family,   &monitor_debug_family,
	};

	(void)state;
	for (unsigned f = 0; f < ARRAY_SIZE(families); f++)
		for (unsigned i = 0; i < families[f]->count; i++)
			if (!is_tried(families[f]->commands[i].name))
				fail_msg("no line tries %s", families[f]->commands[i].name);
}

/* Complaints about words as long as a line may be. */
static void test_wrong_words(void **state)
{
	static char line[512];

	(void)state;
	expect_wrong("vms 1", "too many words", "usage: vms\n");
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		size_t n = (size_t)snprintf(line, sizeof(line), "%.*s ",
					    (int)strcspn(lines[i], " "), lines[i]);

		memset(line + n, 'x', sizeof(line) - 1 - n);
		line[sizeof(line) - 1] = '\0';
		run(line);
		widest_line(line);
		assert_string_equal(asked, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all, setup_widest, teardown_widest),
		cmocka_unit_test_setup_teardown(test_none_forgotten, setup_widest, teardown_widest),
		cmocka_unit_test_setup_teardown(test_wrong_words, setup_widest, teardown_widest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
