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

static uint32_t word_of(const uint32_t *words, unsigned n)
{
	return __atomic_load_n(&words[n], __ATOMIC_ACQUIRE);
}

static bool has_bit(const uint32_t words[8], uint8_t vector)
{
	return word_of(words, vector >> 5) >> (vector & 31) & 1;
}

static void set_bit(uint32_t words[8], uint8_t vector)
{
	__atomic_fetch_or(&words[vector >> 5], (uint32_t)BIT(vector & 31), __ATOMIC_RELEASE);
}

/*
 * May the processor take it unseen? Not what somebody waits for to be taken. Nor one whose last
 * interrupt was a level: until TMR has been told, its end would be one for the I/O APICs.
 */
static bool may_be_unseen(const struct lapic *l, uint8_t vector)
{
	const struct lapic_set *set = l->set;

	return !(set->awaited && vector == set->awaited(set->eoi_ctx)) &&
	       !has_bit(l->tmr.word, vector);
}

/* The processor clears NEWS_POSTED, as lapic_fold() does, before it looks at what is posted: who
 * finds it set has posted in time. */
static void post_unseen(struct lapic *l, uint8_t vector)
{
	uint32_t old;

	set_bit(l->inbox.posted, vector);
	old = __atomic_fetch_or(&l->inbox.news, (uint32_t)NEWS_POSTED, __ATOMIC_SEQ_CST);
	if (!(old & (NEWS_POSTED | NEWS_KICKED)))
		l->cpu->notify(l->ctx);
}

void lapic_post(struct lapic *l, uint8_t vector, bool level, bool kick)
{
	if (vector < VECTOR_MIN) {
		tell(l, NEWS_ILLEGAL, kick);
		return;
	}
	if (kick && !level && may_be_unseen(l, vector)) {
		post_unseen(l, vector);
		return;
	}
	set_bit(l->inbox.vectors[level], vector);
	tell(l, NEWS_WORD(level, vector >> 5), kick);
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

/* On any CPU. What its own CPU takes over meanwhile is in one of them at least. */
static uint32_t posted_word(const struct lapic *l, unsigned n)
{
	return word_of(l->inbox.posted, n) | word_of(l->inbox.vectors[0], n) |
	       word_of(l->inbox.vectors[1], n);
}

bool lapic_waits(const struct lapic *l, uint8_t vector)
{
	uint32_t word = posted_word(l, vector >> 5) | word_of(l->irr.word, vector >> 5);

	return word >> (vector & 31) & 1;
}

static uint8_t class_of(uint32_t word, unsigned n)
{
	return (32 * n + 31u - (unsigned)__builtin_clz(word)) & 0xf0;
}

/* A register where the processor keeps it while it runs; own: here. */
static uint32_t now(const uint32_t *page, unsigned reg, const uint32_t *own)
{
	return word_of(page ? &page[LAPIC_PAGE_STRIDE * reg] : own, 0);
}

static uint8_t tpr_now(const struct lapic *l, const uint32_t *page)
{
	if (page)
		return (uint8_t)word_of(page, LAPIC_PAGE_STRIDE * APIC_TPR);
	return __atomic_load_n(&l->tpr, __ATOMIC_RELAXED);
}

uint8_t lapic_apr(const struct lapic *l)
{
	const uint32_t *page = __atomic_load_n(&l->page, __ATOMIC_ACQUIRE);
	uint8_t want = 0, busy = 0, all = tpr_now(l, page);
	uint8_t tpr = all & 0xf0;

	if (!__atomic_load_n(&l->page_vectors, __ATOMIC_RELAXED))
		page = NULL;
	for (unsigned n = 8; n-- > 0 && !(want && busy);) {
		uint32_t waits = posted_word(l, n) | now(page, APIC_IRR + n, &l->irr.word[n]);
		uint32_t serves = now(page, APIC_ISR + n, &l->isr.word[n]);

		if (waits && !want)
			want = class_of(waits, n);
		if (serves && !busy)
			busy = class_of(serves, n);
	}
	if (tpr >= want && tpr > busy)
		return all;
	return MAX(tpr & busy, want);
}
