#include "arch/x86_64/owned_lock.h"

#include "arch/x86_64/cpu.h"

void owned_lock_init(struct owned_lock *l, enum lock_rank rank)
{
	*l = (struct owned_lock){ .lock = SPINLOCK_INIT(rank) };
}

bool owned_lock_held(const struct owned_lock *l)
{
	return __atomic_load_n(&l->holder, __ATOMIC_RELAXED) == this_cpu();
}

void owned_lock(struct owned_lock *l)
{
	if (!owned_lock_held(l)) {
		spin_lock(&l->lock);
		__atomic_store_n(&l->holder, this_cpu(), __ATOMIC_RELAXED);
	}
	l->depth++;
}

void owned_unlock(struct owned_lock *l)
{
	if (--l->depth)
		return;
	__atomic_store_n(&l->holder, NULL, __ATOMIC_RELAXED);
	spin_unlock(&l->lock);
}
