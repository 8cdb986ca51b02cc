/*
 * micro PHASE [N]: one microbenchmark, or a step of the bench's /init. A phase begins and ends
 * with a mark that those who count know (tests/bench/count.c, bochs.py): what prepares it is
 * not counted. `micro list` prints the phases' numbers and names; `micro mark N` only marks.
 */
#include "tests/guest/linux/sys.h"

#define FIRST_PHASE 4 /* those before are of /init: boot, fork+exec by a shell, dd, sha1sum */
#define BETWEEN 31    /* not counted */
#define MAX_TASKS 64
#define SETTLE 2 /* seconds until an idle machine is idle */

#define MARK(n)                                                                                    \
	case n:                                                                                    \
		__asm__ volatile(".byte 0x0f, 0x1f, 0x80, 'P', 'M', 'K', " #n);                    \
		break
#define MARKS4(a, b, c, d)                                                                         \
	MARK(a);                                                                                   \
	MARK(b);                                                                                   \
	MARK(c);                                                                                   \
	MARK(d)

/* The nop 0f 1f 80 'P' 'M' 'K' n: phase n begins. For Bochs its magic break, which is no more
 * than a nop elsewhere, with 'P' 'M' 'K' n in EAX. */
static void mark(unsigned phase)
{
	__asm__ volatile("xchg %%bx, %%bx" : : "a"(0x504d4b00 | phase));
	switch (phase) {
		MARKS4(0, 1, 2, 3);
		MARKS4(4, 5, 6, 7);
		MARKS4(8, 9, 10, 11);
		MARKS4(12, 13, 14, 15);
		MARK(16);
		MARK(31);
	}
}

static unsigned current;    /* the phase that was asked for */
static bool marking = true; /* a worker does not mark: its parent does */

static void begin(void)
{
	if (marking)
		mark(current);
}

static void end(void)
{
	if (marking)
		mark(BETWEEN);
}

static void must(long ret, const char *what)
{
	if (ret >= 0)
		return;
	say("micro: %s: errno %lu\n", what, (unsigned long)-ret);
	sys_exit(1);
}

static volatile uint8_t *map(unsigned long size)
{
	long at = sys_mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	if (at < 0 && at > -4096)
		must(at, "mmap");
	sys3(SYS_MADVISE, at, size, MADV_NOHUGEPAGE);
	return (volatile uint8_t *)at;
}

static void touch(volatile uint8_t *p, unsigned long size, uint8_t with)
{
	for (unsigned long i = 0; i < size; i += PAGE_SIZE)
		p[i] = with;
}

static void fork_exit(unsigned long n)
{
	begin();
	while (n--) {
		long pid = sys_fork();

		if (!pid)
			sys_exit(0);
		must(pid, "fork");
		must(sys_wait(pid), "wait");
	}
	end();
}

static void fork_exec(unsigned long n)
{
	static char *const argv[] = { "/bin/micro", "nothing", NULL };
	static char *const envp[] = { NULL };

	begin();
	while (n--) {
		long pid = sys_fork();

		if (!pid) {
			sys3(SYS_EXECVE, argv[0], argv, envp);
			sys_exit(1);
		}
		must(pid, "fork");
		must(sys_wait(pid) ? -1 : 0, "exec");
	}
	end();
}

/* n chunks of 1 MiB: mapped, touched page by page, unmapped. */
static void map_touch_unmap(unsigned long n)
{
	begin();
	while (n--) {
		volatile uint8_t *p = map(MIB(1));

		touch(p, MIB(1), 1);
		must(sys3(SYS_MUNMAP, p, MIB(1), 0), "munmap");
	}
	end();
}

static void pass_on(int from, int to, unsigned long times)
{
	uint8_t token = 0;

	while (times--) {
		must(sys3(SYS_READ, from, &token, 1), "read");
		must(sys3(SYS_WRITE, to, &token, 1), "write");
	}
}

/* A token goes n times from process to process in a ring of pipes. */
static void switches(unsigned long n, unsigned tasks)
{
	static int pipes[MAX_TASKS][2];
	unsigned long rounds = n / tasks;

	for (unsigned i = 0; i < tasks; i++)
		must(sys3(SYS_PIPE, pipes[i], 0, 0), "pipe");
	for (unsigned i = 1; i < tasks; i++) {
		long pid = sys_fork();

		must(pid, "fork");
		if (!pid) {
			pass_on(pipes[i][0], pipes[(i + 1) % tasks][1], rounds + 1);
			sys_exit(0);
		}
	}
	for (unsigned long round = 0; round <= rounds; round++) {
		if (round == 1) /* the first shows each to the processor once */
			begin();
		must(sys3(SYS_WRITE, pipes[1][1], "", 1), "write");
		must(sys3(SYS_READ, pipes[0][0], &(uint8_t){ 0 }, 1), "read");
	}
	end();
	for (unsigned i = 1; i < tasks; i++)
		must(sys_wait(-1), "wait");
}

static void switch_2(unsigned long n)
{
	switches(n, 2);
}

static void switch_8(unsigned long n)
{
	switches(n, 8);
}

static void switch_64(unsigned long n)
{
	switches(n, 64);
}

/* The rights of 1 MiB flip n times; every 16th page is written at each. */
static void protect(unsigned long n)
{
	volatile uint8_t *p = map(MIB(1));

	touch(p, MIB(1), 1);
	begin();
	while (n--) {
		must(sys3(SYS_MPROTECT, p, MIB(1), PROT_READ), "mprotect");
		must(sys3(SYS_MPROTECT, p, MIB(1), PROT_READ | PROT_WRITE), "mprotect");
		for (unsigned long i = 0; i < MIB(1); i += 16 * PAGE_SIZE)
			p[i]++;
	}
	end();
}

/* n pages of one mapping are touched for the first time. */
static void first_touch(unsigned long n)
{
	volatile uint8_t *p = map(n * PAGE_SIZE);

	begin();
	touch(p, n * PAGE_SIZE, 1);
	end();
}

/* A child writes to n pages that it shares with its parent. */
static void copy_on_write(unsigned long n)
{
	volatile uint8_t *p = map(n * PAGE_SIZE);
	long pid;

	touch(p, n * PAGE_SIZE, 1);
	pid = sys_fork();
	if (!pid) {
		begin();
		touch(p, n * PAGE_SIZE, 2);
		end();
		sys_exit(0);
	}
	must(pid, "fork");
	must(sys_wait(pid), "wait");
}

/* As many processes as workers= says share the n between them, and work at the same time. */
static void parallel(unsigned long n, void (*work)(unsigned long n))
{
	static uint8_t starts[MAX_TASKS];
	static int gate[2];
	unsigned long workers = option("workers", 1);

	if (workers > MAX_TASKS)
		workers = MAX_TASKS;
	must(sys3(SYS_PIPE, gate, 0, 0), "pipe");
	for (unsigned long i = 0; i < workers; i++) {
		long pid = sys_fork();

		must(pid, "fork");
		if (!pid) {
			marking = false;
			must(sys3(SYS_READ, gate[0], &starts[0], 1), "read");
			work(n / workers);
			sys_exit(0);
		}
	}
	begin();
	must(sys3(SYS_WRITE, gate[1], starts, workers), "write");
	for (unsigned long i = 0; i < workers; i++)
		must(sys_wait(-1) ? -1 : 0, "worker");
	end();
}

static void fork_parallel(unsigned long n)
{
	parallel(n, fork_exit);
}

static void touch_parallel(unsigned long n)
{
	parallel(n, first_touch);
}

static void switch_parallel(unsigned long n)
{
	parallel(n, switch_2);
}

static void show(const char *path)
{
	static uint8_t text[8192];
	long fd = sys3(SYS_OPEN, path, 0, 0), got;

	must(fd, path);
	while ((got = sys3(SYS_READ, fd, text, sizeof(text))) > 0)
		must(sys3(SYS_WRITE, 1, text, got), "write");
	sys3(SYS_CLOSE, fd, 0, 0);
}

static void rest(unsigned long seconds)
{
	long span[2] = { (long)seconds, 0 };

	must(sys3(SYS_NANOSLEEP, span, 0, 0), "nanosleep");
}

/* Nobody does anything; the interrupts that there were are between what is shown. */
static void idle(unsigned long seconds)
{
	must(sys5(SYS_MOUNT, "proc", "/proc", "proc", 0, 0), "mount");
	rest(SETTLE);
	show("/proc/interrupts");
	rest(SETTLE);
	begin();
	rest(seconds);
	end();
	show("/proc/interrupts");
}

static const struct {
	const char *name, *what;
	void (*run)(unsigned long n);
	unsigned long n;
} phases[] = {
	{ "forkexit", "200 fork+exit", fork_exit, 200 },
	{ "forkexec", "200 fork+exec", fork_exec, 200 },
	{ "mmap", "mmap 1024 x 1 MiB", map_touch_unmap, 1024 },
	{ "switch2", "10k switches of 2", switch_2, 10000 },
	{ "switch8", "10k switches of 8", switch_8, 10000 },
	{ "switch64", "10k switches of 64", switch_64, 10048 },
	{ "mprotect", "500 mprotect flips", protect, 500 },
	{ "fault", "16k first touches", first_touch, 16384 },
	{ "cow", "16k copies on write", copy_on_write, 16384 },
	{ "parfork", "400 fork+exit", fork_parallel, 400 },
	{ "parfault", "16k first touches", touch_parallel, 16384 },
	{ "parswitch", "20k switches", switch_parallel, 20000 },
	{ "idle", "10 s of nothing", idle, 10 },
};

#define PHASES (sizeof(phases) / sizeof(phases[0]))

static int list(void)
{
	for (unsigned long i = 0; i < PHASES; i++)
		say("%lu %s %s\n", FIRST_PHASE + i, phases[i].name, phases[i].what);
	return 0;
}

int program(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (same_text(name, "nothing"))
		return 0;
	if (same_text(name, "list"))
		return list();
	if (same_text(name, "mark") && argc > 2) {
		mark((unsigned)parse_number(argv[2]));
		return 0;
	}
	for (unsigned i = 0; i < PHASES; i++)
		if (same_text(name, phases[i].name)) {
			current = FIRST_PHASE + i;
			phases[i].run(argc > 2 ? parse_number(argv[2]) : phases[i].n);
			return 0;
		}
	say("usage: micro list | mark N | PHASE [N]\n");
	return 2;
}
