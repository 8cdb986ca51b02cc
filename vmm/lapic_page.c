/*
 * The local APIC's registers on a page of their own, for a processor that reads and writes some of
 * them there while it runs the guest: the way there, the way back, and what it leaves to do.
 */
#include <stddef.h>

#include "arch/x86_64/include/msr.h"
#include "vmm/lapic_core.h"

static void put(struct lapic *l, uint32_t *page, unsigned reg)
{
	page[LAPIC_PAGE_STRIDE * reg] = lapic_reg(l, reg);
}

static void show_vectors(struct lapic *l, uint32_t *page)
{
	for (unsigned n = 0; n < 8; n++) {
		page[LAPIC_PAGE_STRIDE * (APIC_ISR + n)] = l->isr.word[n];
		page[LAPIC_PAGE_STRIDE * (APIC_TMR + n)] = l->tmr.word[n];
		page[LAPIC_PAGE_STRIDE * (APIC_IRR + n)] = l->irr.word[n];
	}
	page[LAPIC_PAGE_STRIDE * APIC_TPR] = l->tpr;
	page[LAPIC_PAGE_STRIDE * APIC_PPR] = l->ppr;
}

static void show_registers(struct lapic *l, uint32_t *page)
{
	static const uint8_t regs[] = {
		APIC_ID,       APIC_VERSION,       APIC_EOI,         APIC_LDR,
		APIC_DFR,      APIC_SVR,           APIC_ESR,         APIC_ICR,
		APIC_ICR_HIGH, APIC_TIMER_INITIAL, APIC_TIMER_DIVIDE
	};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		put(l, page, regs[i]);
	for (unsigned reg = APIC_LVT_TIMER; reg <= APIC_LVT_ERROR; reg++)
		put(l, page, reg);
}

unsigned lapic_show(struct lapic *l, uint32_t *page)
{
	unsigned what = l->unshown;

	if (what & LAPIC_SHOW_VECTORS)
		show_vectors(l, page);
	if (what & LAPIC_SHOW_REGISTERS)
		show_registers(l, page);
	l->unshown = 0;
	return what;
}

void lapic_tell_taken(struct lapic *l)
{
	l->has_taken = false;
	for (unsigned n = 0; n < 8; n++)
		for (; l->taken[n]; l->taken[n] &= l->taken[n] - 1)
			lapic_taken(l, (uint8_t)(32 * n + (unsigned)__builtin_ctz(l->taken[n])));
}

void lapic_take_back(struct lapic *l, const uint32_t *page)
{
	uint32_t irr[8], isr[8], changed = 0;

	for (unsigned n = 0; n < 8; n++) {
		irr[n] = page[LAPIC_PAGE_STRIDE * (APIC_IRR + n)];
		isr[n] = page[LAPIC_PAGE_STRIDE * (APIC_ISR + n)];
		/* Those that no longer wait have been taken. */
		l->taken[n] |= l->irr.word[n] & ~irr[n];
		changed |= (irr[n] ^ l->irr.word[n]) | (isr[n] ^ l->isr.word[n]);
	}
	if (!changed)
		return;
	lapic_set_vectors(l, irr, isr);
	l->has_taken = true;
}

void lapic_take_back_icr(struct lapic *l, const uint32_t *page)
{
	if (l->mode != LAPIC_XAPIC)
		return;
	l->icr[0] = page[LAPIC_PAGE_STRIDE * APIC_ICR] & ICR_WRITABLE;
	l->icr[1] = page[LAPIC_PAGE_STRIDE * APIC_ICR_HIGH] & (uint32_t)BITS(31, 24);
}

void lapic_written(struct lapic *l, const uint32_t *page, unsigned off)
{
	unsigned reg = off >> 4 & (APIC_REGS - 1);
	uint32_t val = page[LAPIC_PAGE_STRIDE * reg];

	/* What it may not write there is to be as it was. */
	l->unshown |= LAPIC_SHOW_REGISTERS;
	if (l->mode == LAPIC_X2APIC)
		lapic_msr_write(l, MSR_X2APIC_BASE + reg, val);
	else
		lapic_mmio_write(l, off, sizeof(val), val);
}

void lapic_watched_ends(const struct lapic *l, uint64_t vectors[4])
{
	uint8_t awaited = l->set->awaited ? l->set->awaited(l->set->eoi_ctx) : 0;
	uint8_t timer = lapic_timer_waits(l) ? l->lvt[LVT_TIMER] & LVT_VECTOR : 0;

	for (unsigned n = 0; n < 4; n++)
		vectors[n] = l->tmr.word[2 * n] | (uint64_t)l->tmr.word[2 * n + 1] << 32;
	vectors[awaited >> 6] |= BIT(awaited & 63);
	vectors[timer >> 6] |= BIT(timer & 63);
	vectors[0] &= ~BIT(0);
}
