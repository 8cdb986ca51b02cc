/* The rows, and the words of the command line. */
#include "tests/guest/latency/latency.h"

/* Waits between two samples, and timers' times, in ticks of the TSC. */
#define REST 20000u
#define DELAY 1000000u
#define WARM 4u /* samples that do not count: what is done for the first time is done then */

/* The nop 0f 1f 80 'P' 'M' 'K' n: row n begins. */
#define MARK(n)                                                                                    \
	case n:                                                                                    \
		__asm__ volatile(".byte 0x0f, 0x1f, 0x80, 'P', 'M', 'K', " #n : : : "memory");     \
		break
#define BETWEEN 31

static uint64_t samples[SAMPLES_MAX];
static unsigned nr_samples = 200;
static unsigned cpus = 1;

/* A row: what prepares it, and one sample of it in ticks. */
struct row {
	const char *name;
	unsigned needs; /* processors */
	enum timer_kind timer;
	bool (*prepare)(const struct row *row);
	uint64_t (*sample)(void);
};

static void mark(unsigned n)
{
	switch (n) {
		MARK(1);
		MARK(2);
		MARK(3);
		MARK(4);
		MARK(5);
		MARK(6);
		MARK(7);
		MARK(8);
		MARK(9);
		MARK(10);
		MARK(31);
	}
}

static void rest(void)
{
	uint64_t from = rdtsc();

	while (rdtsc() - from < REST)
		pause();
}

/* --- interrupts --- */

static bool prepare_alone(const struct row *row)
{
	(void)row;
	return true;
}

static bool prepare_spin(const struct row *row)
{
	(void)row;
	others_set(1, 1, JOB_SPIN);
	return true;
}

static uint64_t sample_self(void)
{
	uint32_t before = stamps;
	uint64_t from = rdtsc();

	apic_send_self(VEC_STAMP);
	while (stamps == before)
		;
	return stamp - from;
}

/* There and back: both processors are awake. */
static uint64_t sample_ipi(void)
{
	uint32_t before = pongs;
	uint64_t from = rdtsc();

	apic_send(1, VEC_PING);
	while (pongs == before)
		pause();
	return rdtsc() - from;
}

/* From the sender's decision to the first instruction of the one who was halted. */
static uint64_t sample_wake(void)
{
	uint32_t before = stamps, beat = beats[1];
	uint64_t from;

	rest();
	from = rdtsc();
	apic_send(1, VEC_STAMP);
	while (stamps == before || beats[1] == beat)
		pause();
	return stamp - from;
}

static bool prepare_shootdown(const struct row *row)
{
	(void)row;
	window_init();
	window_map(expected);
	others_set(1, cpus - 1, JOB_SPIN);
	return true;
}

/* A page goes elsewhere: all who may have it in their TLB drop it, and say so. */
static uint64_t sample_shootdown(void)
{
	uint64_t from = rdtsc();

	expected ^= 1;
	flushes = 0;
	window_map(expected);
	apic_send_others(VEC_FLUSH);
	while (flushes != cpus - 1)
		pause();
	return rdtsc() - from;
}

/* --- timers --- */

static bool prepare_timer(const struct row *row)
{
	if (!timer_has(row->timer))
		return false;
	timer_set_kind(row->timer);
	if (row->timer == TIMER_PERIODIC)
		timer_arm(0, DELAY);
	return true;
}

static uint64_t late(uint64_t due)
{
	return stamp > due ? stamp - due : 0;
}

/* By how much the interrupt comes late to one who works. */
static uint64_t sample_busy(void)
{
	uint32_t before = stamps;
	uint64_t from = rdtsc();

	timer_arm(from, DELAY);
	while (stamps == before)
		;
	return late(from + DELAY);
}

static uint64_t sample_halted(void)
{
	uint32_t before = stamps;
	uint64_t from = rdtsc();

	interrupts_off();
	timer_arm(from, DELAY);
	while (stamps == before)
		halt();
	interrupts_on();
	return late(from + DELAY);
}

/* By how much the time between two differs from the period. */
static uint64_t sample_jitter(void)
{
	static uint64_t last;
	uint32_t before = stamps;
	uint64_t gap;

	interrupts_off();
	while (stamps == before)
		halt();
	interrupts_on();
	gap = stamp - last;
	last = stamp;
	return gap > DELAY ? gap - DELAY : DELAY - gap;
}

/* Its place here, from 1 on, is its number for those who count. */
static const struct row rows[] = {
	{ "self", 1, 0, prepare_alone, sample_self },
	{ "ipi", 2, 0, prepare_spin, sample_ipi },
	{ "wake", 2, 0, prepare_alone, sample_wake },
	{ "shootdown", 2, 0, prepare_shootdown, sample_shootdown },
	{ "busy", 1, TIMER_ONCE, prepare_timer, sample_busy },
	{ "halted", 1, TIMER_ONCE, prepare_timer, sample_halted },
	{ "periodic", 1, TIMER_PERIODIC, prepare_timer, sample_jitter },
	{ "deadline", 1, TIMER_DEADLINE, prepare_timer, sample_halted },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void sort(uint64_t *a, unsigned n)
{
	for (unsigned gap = n / 2; gap; gap /= 2)
		for (unsigned i = gap; i < n; i++)
			for (unsigned j = i; j >= gap && a[j - gap] > a[j]; j -= gap) {
				uint64_t other = a[j];

				a[j] = a[j - gap];
				a[j - gap] = other;
			}
}

static void report(const struct row *row)
{
	const uint64_t figures[] = { nr_samples, samples[0], samples[nr_samples / 2],
				     samples[nr_samples - 1] };

	put_text("bench ");
	put_text(row->name);
	for (unsigned i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
		put_text(" ");
		put_number(figures[i]);
	}
	put_text("\n");
}

static void run(unsigned i)
{
	const struct row *row = &rows[i];

	if (row->needs > cpus || !row->prepare(row))
		return;
	for (unsigned n = 0; n < WARM; n++)
		row->sample();
	mark(i + 1);
	for (unsigned n = 0; n < nr_samples; n++)
		samples[n] = row->sample();
	mark(BETWEEN);
	timer_stop();
	others_set(1, cpus - 1, JOB_HALT);
	sort(samples, nr_samples);
	report(row);
}

/* Is this the word at text? Then what follows it; else NULL. */
static const char *after(const char *text, const char *word)
{
	while (*word)
		if (*text++ != *word++)
			return NULL;
	return text;
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
	unsigned long n = parse_number(text);

	return n < least ? least : n > most ? most : (unsigned)n;
}

/* One word; the rows that it names. */
static unsigned take_word(const char *word)
{
	const char *rest_of_it;

	if ((rest_of_it = after(word, "cpus=")))
		cpus = number(rest_of_it, 1, CPUS_MAX);
	else if ((rest_of_it = after(word, "n=")))
		nr_samples = number(rest_of_it, 1, SAMPLES_MAX);
	else if (after(word, "x2apic"))
		use_x2apic = true;
	for (unsigned i = 0; i < ROWS; i++) {
		rest_of_it = after(word, rows[i].name);
		if (rest_of_it && (!*rest_of_it || *rest_of_it == ' '))
			return 1u << i;
	}
	return 0;
}

static bool has_x2apic(void)
{
	uint32_t reg[4];

	cpuid(1, reg);
	return reg[2] & 1u << 21;
}

void guest_main(uint32_t start_info) __attribute__((noreturn));

void guest_main(uint32_t start_info)
{
	const char *line = pvh_command_line(start_info);
	unsigned wanted = 0;

	while (line && *line) {
		wanted |= take_word(line);
		while (*line && *line != ' ')
			line++;
		while (*line == ' ')
			line++;
	}
	if (use_x2apic && !has_x2apic()) {
		put_text("WRONG: no x2APIC\n");
		stop(false);
	}
	set_gate(VEC_SPURIOUS, NULL);
	apic_init();
	others_start(cpus);
	timer_calibrate();
	interrupts_on();
	for (unsigned i = 0; i < ROWS; i++)
		if (wanted & 1u << i)
			run(i);
	put_text(stale ? "WRONG: an old page was seen\n" : "bench done\n");
	stop(!stale);
}
