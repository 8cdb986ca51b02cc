/*
 * A lock that the CPU that holds it may take again: for what is used both by itself and by what
 * already holds the lock. It is given back when it has been released as often as it was taken.
 */
#ifndef UMBRA_OWNED_LOCK_H
#define UMBRA_OWNED_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/lib/spinlock.h"

struct owned_lock {
	struct spinlock lock;
	const void *holder; /* a CPU; others look whether it is they: atomic. NULL: nobody */
	unsigned depth;     /* the holder's */
};

/* Before anything else is done with it. */
void owned_lock_init(struct owned_lock *l, enum lock_rank rank);
/* Does this CPU hold it? */
bool owned_lock_held(const struct owned_lock *l);
/* Wait for it, unless this CPU holds it, and take it. Never in an interrupt handler. */
void owned_lock(struct owned_lock *l);
void owned_unlock(struct owned_lock *l);

#endif
