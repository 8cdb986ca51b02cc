/*
 * A spinlock. Those who wait get it in the order in which they came, so that nobody who takes it
 * again and again keeps it from another; on an emulator, those who wait long (spin_looks). Each has
 * a rank; a CPU takes locks in rising rank only, so that no two CPUs can wait for each other. Debug
 * builds check that, and that the one who releases is the one who took it.
 *
 * A lock that an interrupt handler takes is only taken with interrupts off. Debug builds check that
 * by rank: they remember which were ever taken in a handler, and which with interrupts on.
 */
#ifndef UMBRA_SPINLOCK_H
#define UMBRA_SPINLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* All ranks, outermost first. */
enum lock_rank {
	LOCK_VM,           /* vm->lock; of one VM at a time */
	LOCK_PAGING,       /* vm->paging: who waits to have it alone, */
	LOCK_PAGING_USERS, /* and who has it, alone or with others */
	LOCK_SHADOW_TABLE, /* a table's of the guest's, of those in its shadow */
	LOCK_SHADOW_FRAME,
	LOCK_SHADOW_CHUNK,
	LOCK_TABLES, /* vm->tables */
	LOCK_STOP,   /* why a VM is to stop */
	LOCK_HOST_TABLES,
	LOCK_FRAME,
	LOCK_TIMER,
	LOCK_IOAPIC,
	LOCK_PCI,
	LOCK_LOG,
	LOCK_CONSOLE,
	LOCK_SERIAL,
};

struct spinlock {
	uint32_t next, serving; /* tickets: the next one to be drawn; whose turn it is */
	uint32_t rank;
#ifdef UMBRA_DEBUG
	const void *owner; /* the holder's held-locks word */
#endif
};

#define SPINLOCK_INIT(r)                                                                           \
	{                                                                                          \
		.rank = (r)                                                                        \
	}

#ifdef UMBRA_DEBUG
/*
 * What the checks need from the floor above: a word for the calling CPU (bit n: a lock
 * of rank n is held) and what to do on misuse. Unset, a static word and a trap serve.
 */
struct spin_debug {
	uint32_t *(*held)(void);
	void (*misuse)(const char *what);
	/* Is the calling CPU in an interrupt's handler; does it take interrupts? Unset: neither. */
	bool (*in_handler)(void);
	bool (*takes_interrupts)(void);
};
extern struct spin_debug spin_debug;

void spin_debug_acquire(struct spinlock *l);  /* before waiting for it */
void spin_debug_acquired(struct spinlock *l); /* holding it */
void spin_debug_release(struct spinlock *l);
/* The same for a lock that several may hold. */
struct spin_debug_shared {
	const void *owner; /* who has it alone: his held-locks word */
	uint32_t sharers;  /* atomic */
};
void spin_debug_rank_acquire(uint32_t rank);
void spin_debug_shared_acquired(struct spin_debug_shared *s, uint32_t rank, bool alone);
void spin_debug_shared_release(struct spin_debug_shared *s, uint32_t rank, bool alone);
#else
#define spin_debug_acquire(l) ((void)(l))
#define spin_debug_acquired(l) ((void)(l))
#define spin_debug_release(l) ((void)(l))
#define spin_debug_rank_acquire(r) ((void)(r))
#define spin_debug_shared_acquired(s, r, alone) ((void)(r))
#define spin_debug_shared_release(s, r, alone) ((void)(r))
#endif

/*
 * Where the processors are threads of another system, which runs them by turns, the one whose turn
 * it is to have the lock need not be running: the lock stands idle until it does, at each change of
 * hands, and the others spin for that long. There who waits looks so often whether the lock is free
 * before it draws a ticket. 0: on processors of one's own.
 */
extern uint32_t spin_looks;
#define SPIN_LOOKS_VIRTUAL 65536

/* Look spin_looks times whether it is free, and take it. False: it never was. */
bool spin_look(struct spinlock *l);

/* Wait for the lock and take it. Not for one that this CPU holds. */
static inline void spin_lock(struct spinlock *l)
{
	uint32_t ticket;

	spin_debug_acquire(l);
	if (spin_looks && spin_look(l)) {
		spin_debug_acquired(l);
		return;
	}
	ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
	while (__atomic_load_n(&l->serving, __ATOMIC_ACQUIRE) != ticket)
		__builtin_ia32_pause();
	spin_debug_acquired(l);
}

/* Release a lock that this CPU holds. */
static inline void spin_unlock(struct spinlock *l)
{
	spin_debug_release(l);
	__atomic_store_n(&l->serving, l->serving + 1, __ATOMIC_RELEASE);
}

/* So often it has been given back; it wraps. */
static inline uint32_t spin_turns(const struct spinlock *l)
{
	return __atomic_load_n(&l->serving, __ATOMIC_RELAXED);
}

/* Does anybody hold it now? */
static inline bool spin_is_locked(const struct spinlock *l)
{
	return __atomic_load_n(&l->serving, __ATOMIC_RELAXED) !=
	       __atomic_load_n(&l->next, __ATOMIC_RELAXED);
}

#endif
