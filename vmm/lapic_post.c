/*
 * What any CPU does to a local APIC: post into its inbox, by atomic operations, and look at what
 * waits. lapic_fold() is the other end.
 */
#include "vmm/lapic_core.h"

static void tell(struct lapic *l, uint64_t what, bool kick)
{
	uint32_t news = (uint32_t)(kick ? what | NEWS_KICKED : what);
	uint32_t old = __atomic_fetch_or(&l->inbox.news, news, __ATOMIC_SEQ_CST);

	if (kick && !(old & NEWS_KICKED))
		l->cpu->kick(l->ctx);
}

void lapic_post(struct lapic *l, uint8_t vector, bool level, bool kick)
{
	unsigned word = vector >> 5;

	if (vector < VECTOR_MIN) {
		tell(l, NEWS_ILLEGAL, kick);
		return;
	}
	__atomic_fetch_or(&l->inbox.vectors[level][word], (uint32_t)BIT(vector & 31),
			  __ATOMIC_RELEASE);
	tell(l, NEWS_WORD(level, word), kick);
}

void lapic_post_extint(struct lapic *l, bool kick)
{
	tell(l, NEWS_EXTINT, kick);
}

void lapic_post_extint_over(struct lapic *l)
{
	__atomic_fetch_and(&l->inbox.news, (uint32_t)~NEWS_EXTINT, __ATOMIC_SEQ_CST);
	tell(l, NEWS_EXTINT_OVER, false);
}

/* May anything come of it? Not while it is masked; who unmasks it looks himself. */
static bool lint_matters(const struct lapic *l, unsigned pin, bool level)
{
	uint32_t lvt = __atomic_load_n(&l->lvt[LVT_LINT0 + pin], __ATOMIC_RELAXED);

	if (pin == 0 && !__atomic_load_n(&l->extint_blocked, __ATOMIC_RELAXED))
		return level;
	if (lapic_mode(l) == LAPIC_OFF)
		return pin == 1 && level;
	return !(lvt & LVT_MASKED) && (level || (lvt & LVT_ACTIVE_LOW));
}

void lapic_set_lint(struct lapic *l, unsigned pin, bool level)
{
	uint32_t edge = (uint32_t)(level ? PIN_ROSE(pin) : PIN_FELL(pin));
	uint32_t old = __atomic_load_n(&l->inbox.pins, __ATOMIC_RELAXED), new;

	if (!!(old & PIN_LEVEL(pin)) == level)
		return;
	do
		new = (old ^ (uint32_t)PIN_LEVEL(pin)) | edge;
	while (!__atomic_compare_exchange_n(&l->inbox.pins, &old, new, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED));
	tell(l, NEWS_PINS, false);
	/* Only now: who unmasks it meanwhile finds the news, or is kicked. */
	if (lint_matters(l, pin, level))
		tell(l, NEWS_PINS, true);
}

/* --- what waits --- */

static uint32_t word_of(const uint32_t *words, unsigned n)
{
	return __atomic_load_n(&words[n], __ATOMIC_ACQUIRE);
}

/* The owner's, and what is posted: on any CPU. What goes from the one to the other meanwhile is in
 * one of them at least. */
static uint32_t waiting_word(const struct lapic *l, unsigned n)
{
	uint32_t posted = word_of(l->inbox.vectors[0], n) | word_of(l->inbox.vectors[1], n);

	return posted | word_of(l->irr.word, n);
}

bool lapic_waits(const struct lapic *l, uint8_t vector)
{
	return waiting_word(l, vector >> 5) >> (vector & 31) & 1;
}

static uint8_t class_of(uint32_t word, unsigned n)
{
	return (32 * n + 31u - (unsigned)__builtin_clz(word)) & 0xf0;
}

/* What the guest has written to it where the processor keeps it, if it runs. */
static uint8_t tpr_now(const struct lapic *l)
{
	const uint32_t *page = __atomic_load_n(&l->page, __ATOMIC_ACQUIRE);

	if (page)
		return (uint8_t)__atomic_load_n(&page[LAPIC_PAGE_STRIDE * APIC_TPR],
						__ATOMIC_RELAXED);
	return __atomic_load_n(&l->tpr, __ATOMIC_RELAXED);
}

uint8_t lapic_apr(const struct lapic *l)
{
	uint8_t want = 0, busy = 0, all = tpr_now(l);
	uint8_t tpr = all & 0xf0;

	for (unsigned n = 8; n-- > 0 && !(want && busy);) {
		uint32_t waits = waiting_word(l, n), serves = word_of(l->isr.word, n);

		if (waits && !want)
			want = class_of(waits, n);
		if (serves && !busy)
			busy = class_of(serves, n);
	}
	if (tpr >= want && tpr > busy)
		return all;
	return MAX(tpr & busy, want);
}
