#include "vmm/touches.h"

static uint64_t accesses(const struct touch *t)
{
	return t->in + t->out;
}

struct touch *touches_new(struct touches *t, enum touch_kind kind, uint64_t address,
			  const char *name)
{
	struct touch *set = touches_set(t, address), *least = &set[0];

	for (unsigned i = 1; i < TOUCHES_WAYS; i++)
		if (accesses(&set[i]) < accesses(least))
			least = &set[i];
	t->forgotten += accesses(least);
	*least = (struct touch){ .key = touch_key(kind, address), .name = name };
	return least;
}

unsigned touches_order(const struct touches *t, const struct touch *order[TOUCHES_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < TOUCHES_MAX; i++) {
		const struct touch *e = &t->set[i / TOUCHES_WAYS][i % TOUCHES_WAYS];
		unsigned at = n;

		if (!e->key)
			continue;
		for (; at && accesses(order[at - 1]) < accesses(e); at--)
			order[at] = order[at - 1];
		order[at] = e;
		n++;
	}
	return n;
}
