/* The hostile guest: one try after the other, for ever. */
#include "tests/guest/hostile/hostile.h"

#define SAY_EVERY 20 /* test_hostile.py knows it */

struct options options;
static uint64_t count;
static uint32_t theme; /* what all processors try at the same time */
static uint32_t only;  /* this line of doors[], from 1; 0: all of them */

/* Something that differs from life to life where time goes by instructions. */
static uint64_t time_of_day(void)
{
	uint64_t val = 0;

	for (uint8_t i = 0; i < 6; i += 2)
		val = val << 8 | rtc_read(i);
	return val;
}

static void read_options(const char *line)
{
	const char *val = find(line, "seed=");
	uint32_t a, d;

	options.seed = val ? parse_number(val) : 0;
	options.exact = find(line, "exact");
	options.on_qemu = find(line, "on-qemu");
	options.no_tasks = find(line, "no-tasks");
	val = find(line, "sweep=");
	options.sweep = val ? (uint32_t)parse_number(val) : 0;
	val = find(line, "cpus=");
	options.cpus = val ? (uint32_t)parse_number(val) : 1;
	val = find(line, "only=");
	only = val ? (uint32_t)parse_number(val) : 0;
	__asm__ volatile("rdtsc" : "=a"(a), "=d"(d));
	if (!options.exact)
		options.seed = (options.seed * 1000003 + time_of_day() * 100003 +
				((uint64_t)d << 32 | a)) %
			       1000000000;
}

void guest_main(uint32_t start_info)
{
	read_options(pvh_command_line(start_info));
	machine_init();
	put_text("hostile: a life with seed=");
	put_number(options.seed);
	put_text("\n");
	for (uintptr_t pa = 0x200000; pa < MEMORY_END; pa += PAGE)
		look_at((void *)pa, pa);
	start_others();
	next_try();
}

static uint32_t by_weight(void)
{
	uint32_t total = 0, at, i = 0;

	for (unsigned k = 0; k < nr_doors; k++)
		total += doors[k].weight;
	for (at = below(total); at >= doors[i].weight; i++)
		at -= doors[i].weight;
	return i;
}

static const struct door *choose(void)
{
	if (only)
		return &doors[(only - 1) % nr_doors];
	if (options.cpus > 1 && one_in(2)) {
		if (one_in(50))
			theme = by_weight();
		return &doors[theme % nr_doors];
	}
	return &doors[by_weight()];
}

/* Once all is swept there is nothing more to do. */
static void sweep_on(void)
{
	if (sweep())
		return;
	put_text("sweep: all done\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void try_one(void)
{
	uint64_t now = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);

	if (now % SAY_EVERY == 0) {
		put_text("hostile: ");
		put_number(now);
		put_text(" tries\n");
	}
	this_cpu()->tries++;
	if (options.cpus > 1)
		look_after_others();
	choose()->run();
}

void next_try(void)
{
	if (options.sweep)
		sweep_on();
	else
		try_one();
	__asm__ volatile("int $0x81"); /* as any other end */
	__builtin_unreachable();
}
