/* What guests' exits were and cost, and the devices that many of them are about. */
#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/trap.h"
#include "vmm/exit_stats.h"
#include "vmm/exit_trace.h"
#include "vmm/monitor/command.h"
#include "vmm/touches.h"
#include "vmm/vm.h"

#define BAR_WIDTH 50
#define STATE_SIZE 56

static const char bar[BAR_WIDTH + 1] = "##################################################";

static unsigned long long tsc_khz(void)
{
	return clock_tsc_hz() / 1000;
}

/*
 * What word 0 names, to look at what was counted: a VM, and *nr is VM_MAX_VCPUS, or one vCPU of
 * its last run. NULL: none, and said.
 */
static struct vm *counted(const struct monitor_args *args, unsigned *nr)
{
	struct vm *vm = monitor_vm_nr(args, 0, nr);

	if (!vm || *nr == VM_MAX_VCPUS || vm->exits[*nr])
		return vm;
	monitor_wrong("%s has no virtual CPU \"%u\"", vm->cfg->name, *nr);
	return NULL;
}

/* Of what a table is: NAME, or NAME.N for one of several vCPUs. Whatever word was typed. */
static void print_title(const char *what, const struct vm *vm, unsigned nr)
{
	monitor_printf("%s %s", what, vm->cfg->name);
	if (nr < VM_MAX_VCPUS && vm->exits[1])
		monitor_printf(".%u", nr);
}

/* --- exits --- */

static void print_row(const char *name, struct exit_summary sum, struct exit_summary all)
{
	unsigned share = exit_stats_permille(sum.count, all.count);
	unsigned cost = exit_stats_permille(sum.ticks, all.ticks);

	monitor_printf("%-12s %12llu %4u.%u%% %11llu %13llu %4u.%u%%\n", name,
		       (unsigned long long)sum.count, share / 10, share % 10,
		       (unsigned long long)sum.mean, (unsigned long long)sum.worst, cost / 10,
		       cost % 10);
}

static void print_table(const struct exit_stats *s)
{
	struct exit_summary all = exit_stats_summary(s, EXIT_KINDS);
	enum vm_exit_kind order[EXIT_KINDS];
	unsigned n = exit_stats_order(s, order);

	monitor_printf("KIND                COUNT  SHARE  MEAN TICKS         WORST   COST\n");
	for (unsigned i = 0; i < n; i++)
		print_row(vm_exit_name(order[i]), exit_stats_summary(s, order[i]), all);
	print_row("total", all, all);
}

/* From the first bucket that has an exit to the last one. */
static void print_histogram(const struct exit_stats *s, unsigned kind)
{
	unsigned first = EXIT_BUCKETS, last = 0;
	uint64_t most = 0;

	for (unsigned b = 0; b < EXIT_BUCKETS; b++) {
		uint64_t n = exit_stats_bucket(s, kind, b);

		if (!n)
			continue;
		first = MIN(first, b);
		last = b;
		most = MAX(most, n);
	}
	if (most)
		monitor_printf("%10s %12s\n", "TICKS FROM", "EXITS");
	for (unsigned b = first; b <= last; b++) {
		uint64_t n = exit_stats_bucket(s, kind, b);
		unsigned width = (unsigned)mul_div64(n, BAR_WIDTH, most);

		if (n && !width)
			width = 1;
		monitor_printf("%10llu %12llu%s%.*s\n", 1ull << b, (unsigned long long)n,
			       width ? "  " : "", (int)width, bar);
	}
}

/* The kind of that name, or EXIT_KINDS. */
static unsigned find_kind(const char *name)
{
	unsigned k = 0;

	while (k < EXIT_KINDS && strcmp(vm_exit_name((enum vm_exit_kind)k), name) != 0)
		k++;
	return k;
}

static bool cmd_exits(const struct monitor_args *args)
{
	unsigned kind = EXIT_KINDS, nr, guest;
	struct vm *vm = counted(args, &nr);
	const struct exit_stats *s;
	struct exit_summary all;

	if (!vm)
		return false;
	if (args->count > 1 && strcmp(args->word[1], "clear") == 0) {
		if (nr < VM_MAX_VCPUS) {
			exit_stats_clear(vm->exits[nr]);
			return true;
		}
		vm_exits_clear(vm);
		memset(&vm->touches, 0, sizeof(vm->touches));
		return true;
	}
	if (args->count > 1) {
		kind = find_kind(args->word[1]);
		if (kind == EXIT_KINDS)
			return monitor_wrong("%s is neither a kind of exit nor clear",
					     args->word[1]);
	}
	s = nr < VM_MAX_VCPUS ? vm->exits[nr] : vm_exits(vm);
	all = exit_stats_summary(s, EXIT_KINDS);
	guest = exit_stats_permille(s->guest_ticks, s->guest_ticks + all.ticks);
	print_title("exits", vm, nr);
	monitor_printf(": %llu, of its time %u.%u%% in the guest; TSC at %llu kHz\n",
		       (unsigned long long)all.count, guest / 10, guest % 10, tsc_khz());
	if (kind == EXIT_KINDS)
		print_table(s);
	print_histogram(s, kind);
	return true;
}

/* --- trace --- */

/* What stands over the records, in their columns: a TSC of some days is wider. */
static void print_trace_head(const struct exit_trace *t)
{
	unsigned n = exit_trace_count(t), width = EXIT_TRACE_TSC;
	uint64_t tsc = n ? exit_record_tsc(exit_trace_record(t, n - 1)) : 0;

	for (uint64_t most = UINT64_C(1000000000000000); tsc >= most; most *= 10)
		width++;
	monitor_printf("%*s " EXIT_TRACE_HEAD "\n", (int)width, "TSC");
}

static void print_trace(const struct vm *vm, unsigned nr, uint64_t wanted)
{
	const struct exit_trace *t = &vm->exits[nr]->trace;
	unsigned n = exit_trace_count(t), shown = (unsigned)MIN(wanted, (uint64_t)n);
	char text[96];

	print_title("trace", vm, nr);
	monitor_printf(": last %u of %llu exits; TSC at %llu kHz\n", shown,
		       (unsigned long long)t->total, tsc_khz());
	print_trace_head(t);
	for (unsigned i = n - shown; i < n; i++) {
		exit_trace_line(exit_trace_record(t, i), text, sizeof(text));
		monitor_printf("%s\n", text);
	}
}

/* Of one vCPU, or of all whose trace is on. */
static bool trace_dump(const struct monitor_args *args, const struct vm *vm, unsigned nr)
{
	uint64_t wanted = EXIT_TRACE_RECORDS;
	bool any = false;

	if (args->count > 2 && !monitor_number(args, 2, &wanted))
		return false;
	for (unsigned i = 0; i < VM_MAX_VCPUS && vm->exits[i]; i++) {
		if ((nr < VM_MAX_VCPUS && i != nr) || !vm->exits[i]->trace.records)
			continue;
		print_trace(vm, i, wanted);
		any = true;
	}
	return any || monitor_wrong("the trace of %s is off", args->word[0]);
}

static bool cmd_trace(const struct monitor_args *args)
{
	const char *what = args->word[1];
	bool on = strcmp(what, "on") == 0;
	unsigned nr;
	struct vm *vm = counted(args, &nr);

	if (!vm)
		return false;
	if (strcmp(what, "dump") == 0)
		return trace_dump(args, vm, nr);
	if (args->count > 2)
		return monitor_wrong("only dump takes a number");
	if (!on && strcmp(what, "off") != 0)
		return monitor_wrong("%s is none of on, off, dump", what);
	for (unsigned i = 0; i < VM_MAX_VCPUS && vm->exits[i]; i++) {
		if (nr < VM_MAX_VCPUS && i != nr)
			continue;
		if (!on)
			exit_trace_off(&vm->exits[i]->trace);
		else if (exit_trace_on(&vm->exits[i]->trace) == -ENOMEM)
			monitor_printf("no memory for a trace\n");
	}
	return true;
}

/* --- ports and addresses --- */

static bool cmd_io(const struct monitor_args *args)
{
	const struct touch *order[TOUCHES_MAX];
	struct vm *vm = monitor_vm(args, 0);
	unsigned n;

	if (!vm)
		return false;
	n = touches_order(&vm->touches, order);
	monitor_printf("io %s: %u ports and addresses", vm->cfg->name, n);
	if (vm->touches.forgotten)
		monitor_printf("; %llu accesses to others are forgotten",
			       (unsigned long long)vm->touches.forgotten);
	monitor_printf("\nKIND            ADDRESS  DEVICE                 IN          OUT\n");
	for (unsigned i = 0; i < n; i++)
		monitor_printf("%-6s %16llx  %-12s %12llu %12llu\n",
			       touch_kind(order[i]) == TOUCH_PORT ? "port" : "memory",
			       (unsigned long long)touch_address(order[i]),
			       order[i]->name ? order[i]->name : "-",
			       (unsigned long long)order[i]->in, (unsigned long long)order[i]->out);
	return true;
}

/* --- interrupt lines --- */

static const char *vector_name(unsigned vector, char *buf, size_t size)
{
	if (vector == TRAP_TIMER)
		return "timer";
	if (vector == TRAP_KICK)
		return "a CPU is kicked";
	if (vector == TRAP_CALL)
		return "a CPU is called";
	if (vector == TRAP_POSTED)
		return "interrupts are posted";
	if (vector == TRAP_APIC_ERROR)
		return "APIC error";
	if (vector == TRAP_SPURIOUS)
		return "spurious";
	if (vector >= TRAP_ISA && vector < TRAP_ISA + 16)
		ksnprintf(buf, size, "ISA %u", vector - TRAP_ISA);
	else if (vector >= TRAP_PIC && vector < TRAP_PIC + 16)
		ksnprintf(buf, size, "8259 %u, masked", vector - TRAP_PIC);
	else
		return "-";
	return buf;
}

/* The vectors of this machine that somebody takes, and those that have come all the same. */
static bool show_vectors(void)
{
	char name[24];

	monitor_printf("VECTOR            COUNT SOURCE\n");
	for (unsigned vector = TRAP_PIC; vector <= TRAP_SPURIOUS; vector++)
		if (trap_is_handled(vector) || trap_count(vector))
			monitor_printf("  0x%02x %16llu %s%s\n", vector,
				       (unsigned long long)trap_count(vector),
				       vector_name(vector, name, sizeof(name)),
				       trap_is_handled(vector) ? "" : ", taken by nobody");
	return true;
}

static void print_irq(const struct irq_state *s)
{
	bool any = s->masked || s->requested || s->in_service;

	monitor_printf("%3u   0x%02x %-8s %10llu %10llu %-5s %-4s%s%s%s%s\n", s->input, s->vector,
		       s->device ? s->device : "-", (unsigned long long)s->raised,
		       (unsigned long long)s->taken, s->level_triggered ? "level" : "edge",
		       s->high ? "high" : "low", s->masked ? " masked" : "",
		       s->requested ? " requested" : "", s->in_service ? " in-service" : "",
		       any ? "" : " -");
}

static bool cmd_irqs(const struct monitor_args *args)
{
	struct vm *vm = args->count ? monitor_vm(args, 0) : NULL;
	struct irq_state s;

	if (!args->count)
		return show_vectors();
	if (!vm)
		return false;
	if (!vm->intr.look) {
		monitor_printf("%s has no interrupt controller now: it is stopped\n",
			       vm->cfg->name);
		return true;
	}
	/* Each controller with a heading: IRQs of the 8259s, pins of the I/O APIC. */
	for (unsigned n = 0; vm->intr.look(vm->intr.ctx, n, &s); n++) {
		if (!s.input)
			monitor_printf(
				"%s VECTOR DEVICE       RAISED      TAKEN MODE  LINE STATE\n",
				s.ioapic ? "PIN" : "IRQ");
		print_irq(&s);
	}
	return true;
}

/* --- devices --- */

/* The port range with the lowest base from that one on; NULL: none. */
static const struct io_range *next_io(const struct bus *bus, uint32_t from)
{
	const struct io_range *next = NULL;

	for (unsigned i = 1; i < BUS_IO_RANGES; i++) {
		const struct io_range *r = &bus->io[i];

		if (r->count && r->base >= from && (!next || r->base < next->base))
			next = r;
	}
	return next;
}

static void print_ports(const struct bus *bus)
{
	const struct io_range *r;

	for (uint32_t from = 0; (r = next_io(bus, from)); from = r->base + r->count) {
		char state[STATE_SIZE] = "";

		if (r->ops->describe)
			r->ops->describe(r->dev, state, sizeof(state));
		monitor_printf("ports %04x-%04x %-11s %s\n", r->base, r->base + r->count - 1,
			       r->name, *state ? state : "-");
	}
}

static bool cmd_devs(const struct monitor_args *args)
{
	struct vm *vm = monitor_vm(args, 0);

	if (!vm)
		return false;
	if (!vm->bus.nr_io && !vm->bus.nr_mmio) {
		monitor_printf("%s has no devices now: it is stopped\n", vm->cfg->name);
		return true;
	}
	print_ports(&vm->bus);
	for (unsigned i = 0; i < vm->bus.nr_mmio; i++) {
		const struct mmio_range *r = &vm->bus.mmio[i];

		monitor_printf("memory %llx-%llx %s\n", (unsigned long long)r->base.v,
			       (unsigned long long)(r->base.v + r->size - 1), r->name);
	}
	return true;
}

static const struct monitor_command commands[] = {
	{
		.name = "exits",
		.args = "NAME[.N] [KIND|clear]",
		.help = "exits by kind: how many, and what they cost",
		.example = "exits deb64 io",
		.words_min = 1,
		.words_max = 2,
		.word = { WORD_VM },
		.run = cmd_exits,
	},
	{
		.name = "trace",
		.args = "NAME[.N] on|off|dump [COUNT]",
		.help = "the last 4096 exits, one by one",
		.example = "trace deb64 dump 20",
		.words_min = 2,
		.words_max = 3,
		.word = { WORD_VM },
		.run = cmd_trace,
	},
	{
		.name = "io",
		.args = "NAME",
		.help = "ports and device memory it touched, by count",
		.example = "io deb64",
		.words_min = 1,
		.words_max = 1,
		.word = { WORD_VM },
		.run = cmd_io,
	},
	{
		.name = "irqs",
		.args = "[NAME]",
		.help = "its interrupt lines; alone: this machine's vectors",
		.example = "irqs deb64",
		.words_max = 1,
		.word = { WORD_VM },
		.run = cmd_irqs,
	},
	{
		.name = "devs",
		.args = "NAME",
		.help = "its devices, where they are and how they stand",
		.example = "devs deb64",
		.words_min = 1,
		.words_max = 1,
		.word = { WORD_VM },
		.run = cmd_devs,
	},
};

const struct monitor_family monitor_exits_family = {
	.title = "Exits and devices",
	.commands = commands,
	.count = ARRAY_SIZE(commands),
};
