/* The options, the processors' loops, the report. */
#include "tests/guest/race/race.h"

#define TOO_LONG 30 /* seconds of a wait that has no end */

struct options options;
volatile bool stopped;
static volatile bool started;
static volatile uint32_t nr_stopped;
static volatile uint64_t seconds;
static volatile unsigned hot; /* the unit that all like best for now */

/* --- the line --- */

static uint64_t option(const char *line, const char *word, uint64_t otherwise)
{
	const char *text = find(line, word);

	return text ? parse_number(text) : otherwise;
}

static void read_options(const char *line)
{
	static const char *const plants[NR_PLANTS] = {
		[NO_SHOOTDOWN] = "plant=noshootdown",
		[NO_LOCAL] = "plant=nolocal",
		[LOST_DIRTY] = "plant=lostdirty",
		[OLD_ROOT] = "plant=oldroot",
	};
	uint32_t a, d;

	__asm__ volatile("rdtsc" : "=a"(a), "=d"(d));
	options.seed = option(line, "seed=", a % 1000000000);
	options.seconds = option(line, "seconds=", 10);
	options.lost = option(line, "lost=", 0);
	options.cpus = (unsigned)option(line, "cpus=", 0);
	if (options.cpus > MAX_CPUS)
		options.cpus = MAX_CPUS;
	for (unsigned i = 1; i < NR_PLANTS; i++)
		if (find(line, plants[i]))
			options.plant = (enum plant)i;
}

/* --- time --- */

static void look_at_clock(void)
{
	static uint8_t last;
	uint8_t now = rtc_read(0);

	if (now != last)
		seconds++;
	last = now;
}

void wait_more(struct wait *wait, const char *what)
{
	pause();
	if (++wait->spins & LOOK_EVERY)
		return;
	if (this_cpu()->nr == 0)
		look_at_clock();
	if (!wait->since)
		wait->since = seconds + 1;
	if (seconds + 1 < wait->since + TOO_LONG)
		return;
	wrong_begin(what);
	for (unsigned i = 0; i < nr_cpus; i++)
		wrong_value("pending", cpus[i].request.pending);
	wrong_end();
}

/* --- work --- */

static void put_count(const char *name, uint64_t val)
{
	put_text(" ");
	put_text(name);
	put_text("=");
	put_number(val);
}

static void report(const char *word)
{
	uint64_t accesses = 0, sure = 0, faults = 0, changes = 0, shootdowns = 0, drops = 0,
		 sleeps = 0;

	for (unsigned i = 0; i < nr_cpus; i++) {
		accesses += cpus[i].accesses;
		sure += cpus[i].sure;
		faults += cpus[i].faults;
		changes += cpus[i].changes;
		shootdowns += cpus[i].shootdowns;
		drops += cpus[i].drops;
		sleeps += cpus[i].sleeps;
	}
	put_text("race: ");
	put_text(word);
	put_count("seconds", seconds);
	put_count("accesses", accesses);
	put_count("sure", sure);
	put_count("faults", faults);
	put_count("changes", changes);
	put_count("shootdowns", shootdowns);
	put_count("drops", drops);
	put_count("sleeps", sleeps);
	put_count("seed", options.seed);
	put_text("\n");
}

static void step(struct cpu *me)
{
	struct unit *unit = &units[one_in(me, 2) ? hot : below(me, NR_UNITS)];
	uint32_t what = below(me, 256);

	if (what < 208)
		for (uint32_t n = below(me, 16); n; n--)
			access(me, unit, below(me, NR_SLOTS));
	else if (what < 238)
		change_slot(me, unit, below(me, NR_SLOTS));
	else if (what < 242)
		change_unit(me, unit);
	else if (what < 243)
		renew_root(me);
	else if (what < 244)
		hot = below(me, NR_UNITS);
	else if (what < 250)
		enter_space(me, below(me, NR_SPACES));
	else
		drop_at_random(me);
}

static void run(struct cpu *me)
{
	uint64_t told = seconds;

	for (uint64_t n = 1; !stopped; n++) {
		step(me);
		if (me->nr || n % 64)
			continue;
		look_at_clock();
		if (seconds != told)
			report("at");
		told = seconds;
		stopped = seconds > options.seconds;
	}
	__atomic_fetch_add(&nr_stopped, 1, __ATOMIC_SEQ_CST);
}

void cpu_main(unsigned nr)
{
	struct wait wait = { 0 };

	cpu_init(nr);
	while (!started)
		wait_more(&wait, "a start that does not come");
	if (nr < nr_cpus)
		run(&cpus[nr]);
	for (;;)
		__asm__ volatile("hlt");
}

void guest_main(uint32_t start_info)
{
	struct wait wait = { 0 };

	read_options(pvh_command_line(start_info));
	machine_init();
	frames_init();
	spaces_init();
	cpu_init(0);
	nr_cpus = start_others(options.cpus);
	put_text("race: begins");
	put_count("cpus", nr_cpus);
	put_count("seed", options.seed);
	put_text("\n");
	look_at_clock();
	seconds = 0;
	started = true;
	run(&cpus[0]);
	while (nr_stopped < nr_cpus)
		wait_more(&wait, "a processor that does not stop");
	check_all();
	report("OK");
	stop(true);
}
