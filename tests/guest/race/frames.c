/* Frames for pages and tables, of which the free ones are full of poison; and locks. */
#include "tests/guest/race/race.h"

static uint64_t free_frames[NR_FRAMES];
static unsigned nr_free;
static volatile uint32_t frames_lock;

void lock(volatile uint32_t *word)
{
	struct wait wait = { 0 };

	while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE))
		while (*word)
			wait_more(&wait, "a lock that is never free");
}

bool try_lock(volatile uint32_t *word)
{
	return !__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE);
}

void unlock(volatile uint32_t *word)
{
	__atomic_store_n(word, 0, __ATOMIC_RELEASE);
}

static void poison(uint64_t frame)
{
	for (unsigned i = 0; i < WORDS; i++)
		at(frame)[i] = POISON;
}

void frame_check(uint64_t frame)
{
	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t seen = at(frame)[i];

		if (seen == POISON)
			continue;
		wrong_begin("a free frame was written");
		wrong_value("frame", frame);
		wrong_value("word", i);
		wrong_value("seen", seen);
		wrong_value("expected", POISON);
		wrong_end();
	}
}

void frames_init(void)
{
	for (uint64_t frame = HOMES; frame < HOMES + NR_UNITS * LARGE; frame += PAGE)
		poison(frame);
	for (unsigned i = 0; i < NR_FRAMES; i++) {
		poison(POOL + i * PAGE);
		if (POOL + i * PAGE != TRAP)
			free_frames[nr_free++] = POOL + i * PAGE;
	}
}

uint64_t frame_alloc(void)
{
	uint64_t frame;

	lock(&frames_lock);
	frame = nr_free ? free_frames[--nr_free] : 0;
	unlock(&frames_lock);
	if (frame)
		frame_check(frame);
	return frame;
}

void frame_free(uint64_t frame, bool page)
{
	if (page) {
		at(frame)[WORD_TAG] = POISON;
		at(frame)[WORD_CODE] = POISON;
		at(frame)[WORD_TAG2] = POISON;
		for (unsigned i = 0; i < MAX_CPUS; i++)
			at(frame)[WORD_CPU + i] = POISON;
	} else {
		poison(frame);
	}
	if (frame >= HOMES)
		return;
	lock(&frames_lock);
	free_frames[nr_free++] = frame;
	unlock(&frames_lock);
}

void frames_check(void)
{
	frame_check(TRAP);
	for (unsigned i = 0; i < nr_free; i++)
		frame_check(free_frames[i]);
}
