#include "tests/guest/linux/stress.h"

#define SHARED_PAGES 128u
#define SHARED_SIZE (SHARED_PAGES * PAGE_SIZE)

/* The same pages twice in this process, and in its children; what they hold, shared as well. */
static uintptr_t views[2];
static uint32_t *stamps;
static unsigned first, end; /* the pages that are this process' to use now */

void shared_init(void)
{
	views[0] = (uintptr_t)sys_mmap(0, SHARED_SIZE, RW, MAP_SHARED);
	/* Nothing of a shared mapping, moved: all of it is there again. */
	views[1] = (uintptr_t)sys5(SYS_MREMAP, views[0], 0, SHARED_SIZE, MREMAP_MAYMOVE, 0);
	stamps = (uint32_t *)sys_mmap(0, PAGE_SIZE, RW, MAP_SHARED);
	first = 0;
	end = SHARED_PAGES;
}

static void fill(uintptr_t addr, uint32_t stamp)
{
	for (uint32_t i = 0; i < PAGE_SIZE / 4; i++)
		((volatile uint32_t *)addr)[i] = pattern(stamp, i);
}

static void check(uintptr_t addr, uint32_t stamp)
{
	for (uint32_t i = 0; i < PAGE_SIZE / 4; i++) {
		uint32_t got = ((volatile uint32_t *)addr)[i], want = pattern(stamp, i);

		if (got != want)
			wrong(addr + i * 4, want, got, "a word of a shared page");
	}
}

void shared_op(void)
{
	unsigned view = random_below(2), page = first + random_below(end - first);
	uintptr_t here = views[view] + page * PAGE_SIZE;
	uintptr_t there = views[!view] + page * PAGE_SIZE;
	bool protect = !random_below(4);

	if (protect)
		sys3(SYS_MPROTECT, there, PAGE_SIZE, PROT_READ);
	check(here, stamps[page]);
	stamps[page] = random_word() | 1;
	fill(here, stamps[page]);
	check(there, stamps[page]);
	if (protect)
		sys3(SYS_MPROTECT, there, PAGE_SIZE, RW);
}

unsigned shared_lend(void)
{
	unsigned old = end;

	end = first + (end - first + 1) / 2;
	return old;
}

void shared_borrow(unsigned old_end)
{
	if (end < old_end) {
		first = end;
		end = old_end;
	}
}

void shared_return(unsigned old_end)
{
	for (unsigned page = end; page < old_end; page++)
		check(views[random_below(2)] + page * PAGE_SIZE, stamps[page]);
	end = old_end;
}
