/* The hostile guest: one try after the other, for ever. */
#include "tests/guest/hostile/hostile.h"

#define SAY_EVERY 50 /* test_hostile.py knows it */

struct options options;
static uint64_t count;
static uint32_t only; /* this line of doors[], from 1; 0: all of them */

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
	seed_random(options.seed);
	for (uintptr_t pa = 0x200000; pa < MEMORY_END; pa += PAGE)
		look_at((void *)pa, pa);
	next_try();
}

static const struct door *choose(void)
{
	static uint32_t total;
	uint32_t at, i = 0;

	if (only)
		return &doors[(only - 1) % nr_doors];
	if (!total)
		for (unsigned k = 0; k < nr_doors; k++)
			total += doors[k].weight;
	for (at = below(total); at >= doors[i].weight; i++)
		at -= doors[i].weight;
	return &doors[i];
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
	if (++count % SAY_EVERY == 0) {
		put_text("hostile: ");
		put_number(count);
		put_text(" tries\n");
	}
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
