#include "arch/x86_64/lib/spinlock.h"

#include "arch/x86_64/lib/rw_lock.h"

uint32_t spin_looks;

/* Draw the next ticket, if it is the one that this counter has come to. */
static bool draw(uint32_t *next, const uint32_t *serving)
{
	uint32_t turn = __atomic_load_n(serving, __ATOMIC_ACQUIRE);

	return __atomic_load_n(next, __ATOMIC_RELAXED) == turn &&
	       __atomic_compare_exchange_n(next, &turn, turn + 1, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static bool look(uint32_t *next, const uint32_t *serving)
{
	for (uint32_t looks = spin_looks; looks; looks--) {
		if (draw(next, serving))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

bool spin_look(struct spinlock *l)
{
	return look(&l->next, &l->serving);
}

bool rw_look_shared(struct rw_lock *l)
{
	return look(&l->next, &l->share);
}

bool rw_look(struct rw_lock *l)
{
	return look(&l->next, &l->exclude);
}

#ifdef UMBRA_DEBUG

#include <stddef.h>

struct spin_debug spin_debug;

static uint32_t *held_word(void)
{
	static uint32_t only;

	return spin_debug.held ? spin_debug.held() : &only;
}

static void misuse(const char *what)
{
	if (spin_debug.misuse)
		spin_debug.misuse(what);
	__builtin_trap();
}

/* How locks of a rank have been taken; atomic. */
#define TAKEN_IN_HANDLER 0x1u
#define TAKEN_INTERRUPTIBLE 0x2u
static uint8_t taken[32];

static void check_interrupts(uint32_t rank)
{
	uint8_t how = 0;

	if (spin_debug.in_handler && spin_debug.in_handler())
		how = TAKEN_IN_HANDLER;
	else if (spin_debug.takes_interrupts && spin_debug.takes_interrupts())
		how = TAKEN_INTERRUPTIBLE;
	if ((__atomic_load_n(&taken[rank], __ATOMIC_RELAXED) & how) == how)
		return;
	if (__atomic_or_fetch(&taken[rank], how, __ATOMIC_RELAXED) ==
	    (TAKEN_IN_HANDLER | TAKEN_INTERRUPTIBLE))
		misuse("spinlock of interrupt handlers taken with interrupts on");
}

void spin_debug_rank_acquire(uint32_t rank)
{
	check_interrupts(rank);
	if (*held_word() >> rank)
		misuse("spinlock taken twice or against the order of ranks");
}

void spin_debug_shared_acquired(struct spin_debug_shared *s, uint32_t rank, bool alone)
{
	uint32_t *held = held_word();

	*held |= UINT32_C(1) << rank;
	if (alone)
		s->owner = held;
	else
		__atomic_fetch_add(&s->sharers, 1, __ATOMIC_RELAXED);
}

/* One who has it alone has taken it, and no other of its rank; one of those who share it must hold
 * one of its rank. */
void spin_debug_shared_release(struct spin_debug_shared *s, uint32_t rank, bool alone)
{
	uint32_t *held = held_word();

	if (!(*held >> rank & 1) || s->owner != (alone ? held : NULL) ||
	    (!alone && !__atomic_load_n(&s->sharers, __ATOMIC_RELAXED)))
		misuse("spinlock released by one who does not hold it");
	if (alone)
		s->owner = NULL;
	else
		__atomic_fetch_sub(&s->sharers, 1, __ATOMIC_RELAXED);
	*held &= ~(UINT32_C(1) << rank);
}

void spin_debug_acquire(struct spinlock *l)
{
	spin_debug_rank_acquire(l->rank);
}

void spin_debug_acquired(struct spinlock *l)
{
	uint32_t *held = held_word();

	*held |= UINT32_C(1) << l->rank;
	l->owner = held;
}

void spin_debug_release(struct spinlock *l)
{
	uint32_t *held = held_word();

	if (!spin_is_locked(l) || l->owner != held)
		misuse("spinlock released by one who does not hold it");
	l->owner = 0;
	*held &= ~(UINT32_C(1) << l->rank);
}

#endif
