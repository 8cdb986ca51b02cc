/*
 * A spinlock that one has alone, or several share. Who comes later waits for who came before, so
 * that neither those who share it nor those who want it alone are kept from it; but several who
 * share it and stand behind each other have it at the same time.
 *
 * Who shares it must not take it again, in whatever way: somebody may wait in between who wants it
 * alone. Ranks as in spinlock.h.
 */
#ifndef UMBRA_RW_LOCK_H
#define UMBRA_RW_LOCK_H

#include <stdint.h>

#include "arch/x86_64/lib/spinlock.h"

struct rw_lock {
	uint32_t next;           /* ticket to be drawn */
	uint32_t share, exclude; /* whose turn it is to share it; to have it alone */
	uint32_t rank;
#ifdef UMBRA_DEBUG
	struct spin_debug_shared debug;
#endif
};

#define RW_LOCK_INIT(r)                                                                            \
	{                                                                                          \
		.rank = (r)                                                                        \
	}

/* As spin_look(). */
bool rw_look_shared(struct rw_lock *l);
bool rw_look(struct rw_lock *l);

static inline void rw_wait(uint32_t *next, const uint32_t *serving)
{
	uint32_t ticket = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);

	while (__atomic_load_n(serving, __ATOMIC_ACQUIRE) != ticket)
		__builtin_ia32_pause();
}

static inline void rw_lock_shared(struct rw_lock *l)
{
	spin_debug_rank_acquire(l->rank);
	if (!spin_looks || !rw_look_shared(l))
		rw_wait(&l->next, &l->share);
	spin_debug_shared_acquired(&l->debug, l->rank, false);
	/* Who comes next may share it as well. */
	__atomic_store_n(&l->share, __atomic_load_n(&l->share, __ATOMIC_RELAXED) + 1,
			 __ATOMIC_RELEASE);
}

static inline void rw_unlock_shared(struct rw_lock *l)
{
	spin_debug_shared_release(&l->debug, l->rank, false);
	__atomic_fetch_add(&l->exclude, 1, __ATOMIC_RELEASE);
}

static inline void rw_lock(struct rw_lock *l)
{
	spin_debug_rank_acquire(l->rank);
	if (!spin_looks || !rw_look(l))
		rw_wait(&l->next, &l->exclude);
	spin_debug_shared_acquired(&l->debug, l->rank, true);
}

static inline void rw_unlock(struct rw_lock *l)
{
	spin_debug_shared_release(&l->debug, l->rank, true);
	/* In this order: who comes next may be done with it at once. */
	__atomic_store_n(&l->share, __atomic_load_n(&l->share, __ATOMIC_RELAXED) + 1,
			 __ATOMIC_RELEASE);
	__atomic_fetch_add(&l->exclude, 1, __ATOMIC_RELEASE);
}

#endif
