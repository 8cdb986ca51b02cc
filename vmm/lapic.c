#include "vmm/lapic.h"

#include <stddef.h>

#include "arch/x86_64/include/msr.h"
#include "vmm/lapic_core.h"

/* An APIC on the processor's chip; so many local vectors; EOIs may stay off the bus. */
#define VERSION (0x14u | (LVTS - 1u) << 16 | (uint32_t)BIT(24))
#define SVR_RESET 0xffu
#define DFR_ONES BITS(27, 0)

#define DELIVERY(mode) ((uint32_t)(mode) << LVT_DELIVERY_SHIFT)

/* --- vectors --- */

/* Other CPUs may look at words, lapic_waits() does. */
static void set_word(struct lapic_vectors *v, unsigned n, uint32_t word)
{
	__atomic_store_n(&v->word[n], word, __ATOMIC_RELEASE);
	if (word)
		v->used |= (uint8_t)BIT(n);
	else
		v->used &= (uint8_t)~BIT(n);
}

static void vectors_set(struct lapic_vectors *v, unsigned vector)
{
	set_word(v, vector >> 5, v->word[vector >> 5] | (uint32_t)BIT(vector & 31));
}

static void vectors_clear(struct lapic_vectors *v, unsigned vector)
{
	set_word(v, vector >> 5, v->word[vector >> 5] & (uint32_t)~BIT(vector & 31));
}

/* 0: none, which is no vector here. */
static uint8_t vectors_highest(const struct lapic_vectors *v)
{
	unsigned word;

	if (!v->used)
		return 0;
	word = 31u - (unsigned)__builtin_clz(v->used);
	return (uint8_t)(32 * word + 31u - (unsigned)__builtin_clz(v->word[word]));
}

/* --- priorities: SDM vol. 3, 11.8.3 --- */

static void update(struct lapic *l)
{
	uint8_t want = vectors_highest(&l->irr), busy = vectors_highest(&l->isr);

	l->ppr = l->tpr >> 4 >= busy >> 4 ? l->tpr : busy & 0xf0;
	l->next = want >> 4 > l->ppr >> 4 ? want : 0;
	l->unshown |= LAPIC_SHOW_VECTORS;
}

bool lapic_takes_more(const struct lapic *l)
{
	return lapic_is_enabled(l);
}

uint8_t lapic_highest_waiting(const struct lapic *l)
{
	return vectors_highest(&l->irr);
}

uint8_t lapic_highest_served(const struct lapic *l)
{
	return vectors_highest(&l->isr);
}

/* An edge that comes anew makes its vector an edge's. */
void lapic_set_vectors(struct lapic *l, const uint32_t irr[8], const uint32_t isr[8])
{
	for (unsigned n = 0; n < 8; n++) {
		set_word(&l->isr, n, isr[n]);
		set_word(&l->tmr, n, l->tmr.word[n] & ~(irr[n] & ~l->irr.word[n]));
		set_word(&l->irr, n, irr[n]);
	}
	update(l);
}

unsigned lapic_held_class(const struct lapic *l)
{
	unsigned want = vectors_highest(&l->irr) >> 4, busy = vectors_highest(&l->isr) >> 4;

	return !l->next && want > busy ? want : 0;
}

void lapic_take(struct lapic *l, uint8_t vector, bool level)
{
	if (vector < VECTOR_MIN) {
		lapic_error(l, ESR_RECEIVE_VECTOR);
		return;
	}
	vectors_set(&l->irr, vector);
	if (level)
		vectors_set(&l->tmr, vector);
	else
		vectors_clear(&l->tmr, vector);
	update(l);
}

uint8_t lapic_ack(struct lapic *l)
{
	uint8_t vector = lapic_next(l);

	if (!vector)
		return (uint8_t)l->svr;
	vectors_set(&l->isr, vector); /* first: who looks from outside finds it somewhere */
	vectors_clear(&l->irr, vector);
	update(l);
	lapic_taken(l, vector);
	return vector;
}

void lapic_taken(struct lapic *l, uint8_t vector)
{
	lapic_timer_acked(l, vector);
	if (l->set->taken)
		l->set->taken(l->set->eoi_ctx, vector);
}

/* --- local interrupts --- */

/* Errors are told of once, until the guest has looked. SDM vol. 3, 11.5.3. */
void lapic_error(struct lapic *l, uint32_t bit)
{
	l->errors |= bit;
	if (l->error_told || (l->lvt[LVT_ERROR] & LVT_MASKED))
		return;
	l->error_told = true;
	lapic_local(l, LVT_ERROR, false);
}

static enum apic_delivery delivery_mode(uint32_t lvt)
{
	return (enum apic_delivery)((lvt & LVT_DELIVERY) >> LVT_DELIVERY_SHIFT);
}

void lapic_local(struct lapic *l, unsigned entry, bool level)
{
	uint32_t lvt = l->lvt[entry];

	if (lvt & LVT_MASKED)
		return;
	switch (delivery_mode(lvt)) {
	case APIC_FIXED:
		lapic_take(l, lvt & LVT_VECTOR, level);
		break;
	case APIC_NMI:
		l->cpu->nmi(l->ctx);
		break;
	case APIC_INIT:
		l->cpu->init(l->ctx);
		break;
	default: /* SMI: there is none; ExtINT: the 8259 is asked when the processor takes it */
		break;
	}
}

/* Does the 8259 get through to the processor? */
static void update_extint(struct lapic *l)
{
	uint32_t lvt = l->lvt[LVT_LINT0];

	if (l->mode == LAPIC_OFF)
		l->extint_blocked = !l->bsp;
	else
		l->extint_blocked =
			!l->extint_msg && ((lvt & LVT_MASKED) || delivery_mode(lvt) != APIC_EXTINT);
}

/* LINT0, level-triggered: an interrupt as long as the pin is active, each after the EOI of the one
 * before. */
static void update_level_lint(struct lapic *l, bool active)
{
	uint32_t *lvt = &l->lvt[LVT_LINT0];

	if (!active || (*lvt & (LVT_MASKED | LVT_REMOTE_IRR)))
		return;
	*lvt |= LVT_REMOTE_IRR;
	l->unshown |= LAPIC_SHOW_REGISTERS;
	lapic_local(l, LVT_LINT0, true);
}

static bool lint_is_level(const struct lapic *l, unsigned pin)
{
	uint32_t lvt = l->lvt[LVT_LINT0];

	return pin == 0 && (lvt & LVT_LEVEL) && delivery_mode(lvt) == APIC_FIXED;
}

static bool lint_active_low(const struct lapic *l, unsigned pin)
{
	return l->lvt[LVT_LINT0 + pin] & LVT_ACTIVE_LOW;
}

static bool lint_active(const struct lapic *l, unsigned pin)
{
	return l->lint[pin] != lint_active_low(l, pin);
}

static void end_of_interrupt(struct lapic *l)
{
	uint8_t vector = vectors_highest(&l->isr);

	if (!vector)
		return;
	vectors_clear(&l->isr, vector);
	update(l);
	lapic_ended(l, vector);
}

void lapic_ended(struct lapic *l, uint8_t vector)
{
	uint32_t *lint0 = &l->lvt[LVT_LINT0];

	if (!vectors_has(&l->tmr, vector))
		return;
	if ((*lint0 & LVT_REMOTE_IRR) && (*lint0 & LVT_VECTOR) == vector) {
		*lint0 &= (uint32_t)~LVT_REMOTE_IRR;
		l->unshown |= LAPIC_SHOW_REGISTERS;
		if (lint_is_level(l, 0))
			update_level_lint(l, lint_active(l, 0));
	}
	if (!(l->svr & SVR_NO_BROADCAST) && l->set->eoi)
		l->set->eoi(l->set->eoi_ctx, vector);
}

/* --- the inbox --- */

/* One that was up and down again, or down and up, since the last look has had its edge. */
static void fold_pin(struct lapic *l, unsigned pin, uint32_t pins)
{
	bool edge;

	l->lint[pin] = pins & PIN_LEVEL(pin);
	if (l->mode == LAPIC_OFF) {
		if (pin == 1 && (pins & PIN_ROSE(pin)))
			l->cpu->nmi(l->ctx);
		return;
	}
	edge = pins & (lint_active_low(l, pin) ? PIN_FELL(pin) : PIN_ROSE(pin));
	if (lint_is_level(l, pin))
		update_level_lint(l, lint_active(l, pin));
	else if (edge)
		lapic_local(l, LVT_LINT0 + pin, false);
}

static void fold_pins(struct lapic *l)
{
	uint32_t pins = __atomic_fetch_and(&l->inbox.pins, (uint32_t)~PINS_EDGES, __ATOMIC_ACQUIRE);

	for (unsigned pin = 0; pin < 2; pin++)
		if (pins & (PIN_ROSE(pin) | PIN_FELL(pin)))
			fold_pin(l, pin, pins);
}

/* They are in IRR before they leave the inbox, so that who looks from outside always sees them; one
 * that is posted again in between is the same interrupt. */
static void fold_word(struct lapic *l, uint32_t *posted, bool level, unsigned n)
{
	uint32_t word = __atomic_load_n(posted, __ATOMIC_ACQUIRE);

	if (!word)
		return;
	if (l->mode != LAPIC_OFF) {
		set_word(&l->irr, n, l->irr.word[n] | word);
		set_word(&l->tmr, n, level ? l->tmr.word[n] | word : l->tmr.word[n] & ~word);
	}
	__atomic_fetch_and(posted, ~word, __ATOMIC_RELEASE);
}

/* Edges before levels: of a vector that has come both ways the I/O APIC waits for the end. */
static void fold_vectors(struct lapic *l, uint32_t news)
{
	struct lapic_inbox *inbox = &l->inbox;

	for (unsigned n = 0; n < 8; n++) {
		if (news & NEWS_POSTED)
			fold_word(l, &inbox->posted[n], false, n);
		for (unsigned level = 0; level < 2; level++)
			if (news & NEWS_WORD(level, n))
				fold_word(l, &inbox->vectors[level][n], level, n);
	}
}

void lapic_fold(struct lapic *l)
{
	uint32_t news = __atomic_exchange_n(&l->inbox.news, 0, __ATOMIC_SEQ_CST);

	fold_vectors(l, news);
	update(l);
	if (news & (NEWS_EXTINT | NEWS_EXTINT_OVER)) {
		l->extint_msg = (news & NEWS_EXTINT) && l->mode != LAPIC_OFF;
		update_extint(l);
	}
	if ((news & NEWS_ILLEGAL) && l->mode != LAPIC_OFF)
		lapic_error(l, ESR_RECEIVE_VECTOR);
	if (news & NEWS_PINS)
		fold_pins(l);
}

static void fold_posted(struct lapic *l)
{
	if (lapic_has_posted(l))
		lapic_fold(l);
}

/* All but the levels of the pins. */
static void throw_away_posted(struct lapic *l)
{
	uint32_t pins;

	__atomic_store_n(&l->inbox.news, 0, __ATOMIC_SEQ_CST);
	for (unsigned n = 0; n < 8; n++) {
		__atomic_store_n(&l->inbox.posted[n], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&l->inbox.vectors[0][n], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&l->inbox.vectors[1][n], 0, __ATOMIC_RELAXED);
	}
	pins = __atomic_fetch_and(&l->inbox.pins, (uint32_t)~PINS_EDGES, __ATOMIC_ACQUIRE);
	for (unsigned pin = 0; pin < 2; pin++)
		l->lint[pin] = pins & PIN_LEVEL(pin);
}

/* --- registers --- */

/* In which modes a register can be read and written. */
enum { XR = 1, XW = 2, MR = 4, MW = 8, X = XR | XW, M = MR | MW };

/* Bits that software cannot write but that are no reserved ones either are read only. */
static const struct reg_rule {
	uint8_t may;
	uint32_t writable, read_only;
} rules[APIC_REGS] = {
	[APIC_ID] = { XR | MR, 0, 0 },
	[APIC_VERSION] = { XR | MR, 0, 0 },
	[APIC_TPR] = { X | M, BITS(7, 0), 0 },
	[APIC_APR] = { XR, 0, 0 },
	[APIC_PPR] = { XR | MR, 0, 0 },
	[APIC_EOI] = { X | MW, 0, 0 },
	[APIC_RRD] = { XR, 0, 0 },
	[APIC_LDR] = { X | MR, BITS(31, 24), 0 },
	[APIC_DFR] = { X, BITS(31, 28), 0 },
	[APIC_SVR] = { X | M, BITS(7, 0) | SVR_ENABLE | SVR_FOCUS | SVR_NO_BROADCAST, 0 },
	[APIC_ISR... APIC_ISR + 7] = { XR | MR, 0, 0 },
	[APIC_TMR... APIC_TMR + 7] = { XR | MR, 0, 0 },
	[APIC_IRR... APIC_IRR + 7] = { XR | MR, 0, 0 },
	[APIC_ESR] = { X | M, 0, 0 },
	[APIC_ICR] = { X | M, ICR_WRITABLE, BIT(12) },
	[APIC_ICR_HIGH] = { X, BITS(31, 24), 0 },
	[APIC_LVT_TIMER] = { X | M, LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE, LVT_STATUS },
	[APIC_LVT_THERMAL...
		APIC_LVT_PERF] = { X | M, LVT_VECTOR | LVT_DELIVERY | LVT_MASKED, LVT_STATUS },
	[APIC_LVT_LINT0... APIC_LVT_LINT1] = { X | M,
					       LVT_VECTOR | LVT_DELIVERY | LVT_ACTIVE_LOW |
						       LVT_LEVEL | LVT_MASKED,
					       LVT_STATUS | LVT_REMOTE_IRR },
	[APIC_LVT_ERROR] = { X | M, LVT_VECTOR | LVT_MASKED, LVT_STATUS },
	[APIC_TIMER_INITIAL] = { X | M, BITS(31, 0), 0 },
	[APIC_TIMER_CURRENT] = { XR | MR, 0, 0 },
	[APIC_TIMER_DIVIDE] = { X | M, BIT(3) | BITS(1, 0), 0 },
	[APIC_SELF_IPI] = { MW, BITS(7, 0), 0 },
};

uint32_t lapic_reg(struct lapic *l, unsigned reg)
{
	switch (reg) {
	case APIC_ID:
		return l->mode == LAPIC_X2APIC ? l->id : l->id << 24;
	case APIC_VERSION:
		return VERSION;
	case APIC_TPR:
		return l->tpr;
	case APIC_APR:
		return lapic_apr(l);
	case APIC_PPR:
		return l->ppr;
	case APIC_LDR:
		return l->ldr;
	case APIC_DFR:
		return l->dfr;
	case APIC_SVR:
		return l->svr;
	case APIC_ISR ... APIC_ISR + 7:
		return l->isr.word[reg - APIC_ISR];
	case APIC_TMR ... APIC_TMR + 7:
		return l->tmr.word[reg - APIC_TMR];
	case APIC_IRR ... APIC_IRR + 7:
		return l->irr.word[reg - APIC_IRR];
	case APIC_ESR:
		return l->esr;
	case APIC_ICR ... APIC_ICR_HIGH:
		return l->icr[reg - APIC_ICR];
	case APIC_LVT_TIMER ... APIC_LVT_ERROR:
		return l->lvt[reg - APIC_LVT_TIMER];
	case APIC_TIMER_INITIAL:
		return l->timer.initial;
	case APIC_TIMER_CURRENT:
		return lapic_timer_current(l);
	case APIC_TIMER_DIVIDE:
		return l->divide;
	default: /* EOI is written only; there are no remote reads */
		return 0;
	}
}

void lapic_write_tpr(struct lapic *l, uint8_t tpr)
{
	l->tpr = tpr;
	update(l);
}

/* Who sets a pin puts it into the inbox, and looks then whether it is masked; who unmasks it is
 * seen there, or sees it. */
static void before_next_look(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* While the APIC is off by software all entries are masked, and stay so. */
static void write_lvt(struct lapic *l, unsigned n, uint32_t val)
{
	uint32_t old = l->lvt[n];

	if (!(l->svr & SVR_ENABLE))
		val |= (uint32_t)LVT_MASKED;
	l->lvt[n] = val | (old & (uint32_t)LVT_REMOTE_IRR);
	if (n == LVT_TIMER)
		lapic_timer_lvt_changed(l, old);
	if (n == LVT_ERROR)
		lapic_timer_errors_changed(l);
	if (n == LVT_LINT0) {
		update_extint(l);
		if (lint_is_level(l, 0))
			update_level_lint(l, lint_active(l, 0));
		else
			l->lvt[n] &= (uint32_t)~LVT_REMOTE_IRR;
	}
	if (n == LVT_LINT0 || n == LVT_LINT1)
		before_next_look();
}

static void write_svr(struct lapic *l, uint32_t val)
{
	l->svr = val;
	if (val & SVR_ENABLE)
		return;
	for (unsigned i = 0; i < LVTS; i++)
		write_lvt(l, i, l->lvt[i]);
}

static void write_reg(struct lapic *l, unsigned reg, uint32_t val)
{
	l->unshown |= LAPIC_SHOW_REGISTERS;
	switch (reg) {
	case APIC_TPR:
		lapic_write_tpr(l, (uint8_t)val);
		l->cpu->tpr_changed(l->ctx, l->tpr);
		break;
	case APIC_EOI:
		end_of_interrupt(l);
		break;
	case APIC_LDR:
		l->ldr = val;
		break;
	case APIC_DFR:
		l->dfr = val | (uint32_t)DFR_ONES;
		break;
	case APIC_SVR:
		write_svr(l, val);
		break;
	case APIC_ESR:
		l->esr = l->errors;
		l->errors = 0;
		l->error_told = false;
		lapic_timer_errors_changed(l);
		break;
	case APIC_ICR:
		l->icr[0] = val;
		lapic_send_ipi(l);
		break;
	case APIC_ICR_HIGH:
		l->icr[1] = val;
		break;
	case APIC_LVT_TIMER ... APIC_LVT_ERROR:
		write_lvt(l, reg - APIC_LVT_TIMER, val);
		break;
	case APIC_TIMER_INITIAL:
		lapic_timer_write_initial(l, val);
		break;
	case APIC_TIMER_DIVIDE:
		lapic_timer_write_divide(l, val);
		break;
	default:
		break;
	}
}

/* An access that begins in the upper 12 of a register's 16 bytes meets nothing. */
static bool aligned(struct lapic *l, unsigned off, unsigned right)
{
	unsigned reg = off >> 4;

	if (off < APIC_REGS << 4 && (rules[reg].may & right))
		return (off & 0xf) == 0;
	if (off >= APIC_REGS << 4 || !(rules[reg].may & X))
		lapic_error(l, ESR_REGISTER);
	return false;
}

uint64_t lapic_mmio_read(struct lapic *l, unsigned off, unsigned size)
{
	unsigned byte = off & 3;

	fold_posted(l);
	/* Parts of a register are given as some processors do. */
	if ((off & 0xf) > 3 || byte + size > 4)
		return aligned(l, off, XR) ? lapic_reg(l, off >> 4) : 0;
	if (!aligned(l, off - byte, XR))
		return 0;
	return lapic_reg(l, off >> 4) >> (8 * byte) & BITS(8 * size - 1, 0);
}

void lapic_mmio_write(struct lapic *l, unsigned off, unsigned size, uint64_t val)
{
	fold_posted(l);
	if (aligned(l, off, XW) && size == 4)
		write_reg(l, off >> 4, (uint32_t)val & rules[off >> 4].writable);
}

/* --- x2APIC: SDM vol. 3, 11.12 --- */

/* The MSR's register; APIC_REGS: none that may be accessed so. */
static unsigned msr_reg(const struct lapic *l, uint32_t msr, unsigned right)
{
	unsigned reg = msr - MSR_X2APIC_BASE;

	if (l->mode != LAPIC_X2APIC || reg >= APIC_REGS || !(rules[reg].may & right))
		return APIC_REGS;
	return reg;
}

bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val)
{
	unsigned reg = msr_reg(l, msr, MR);

	if (reg == APIC_REGS)
		return false;
	fold_posted(l);
	*val = lapic_reg(l, reg);
	if (reg == APIC_ICR)
		*val |= (uint64_t)l->icr[1] << 32;
	return true;
}

static bool write_self_ipi(struct lapic *l, uint8_t vector)
{
	if (vector < VECTOR_MIN)
		lapic_error(l, ESR_SEND_VECTOR);
	else if (lapic_is_enabled(l))
		lapic_take(l, vector, false);
	return true;
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val)
{
	unsigned reg = msr_reg(l, msr, MW);
	uint64_t allowed;

	if (reg == APIC_REGS)
		return false;
	allowed = rules[reg].writable | rules[reg].read_only;
	if (reg == APIC_ICR)
		allowed |= BITS(63, 32);
	if (val & ~allowed)
		return false;
	fold_posted(l);
	if (reg == APIC_SELF_IPI)
		return write_self_ipi(l, (uint8_t)val);
	if (reg == APIC_ICR)
		l->icr[1] = (uint32_t)(val >> 32);
	write_reg(l, reg, (uint32_t)val & rules[reg].writable);
	return true;
}

void lapic_write_cr8(struct lapic *l, uint64_t cr8)
{
	lapic_write_tpr(l, (uint8_t)(cr8 << 4));
}

/* --- on and off --- */

/* Logical x2APIC ids follow from the other ones: SDM vol. 3, 11.12.10.2. */
static uint32_t x2apic_ldr(const struct lapic *l)
{
	return (l->id & ~0xfu) << 12 | (uint32_t)BIT(l->id & 0xf);
}

static void reset_registers(struct lapic *l)
{
	throw_away_posted(l);
	l->irr = l->isr = l->tmr = (struct lapic_vectors){ 0 };
	l->tpr = 0;
	l->ldr = l->mode == LAPIC_X2APIC ? x2apic_ldr(l) : 0;
	l->dfr = UINT32_MAX;
	l->unshown |= LAPIC_SHOW_REGISTERS;
	l->svr = SVR_RESET;
	l->esr = l->errors = 0;
	l->error_told = false;
	l->icr[0] = l->icr[1] = 0;
	l->extint_msg = false;
	for (unsigned i = 0; i < LVTS; i++)
		l->lvt[i] = (uint32_t)LVT_MASKED;
	lapic_timer_reset(l);
	update(l);
	update_extint(l);
}

void lapic_init_signal(struct lapic *l)
{
	if (l->mode == LAPIC_OFF)
		return;
	reset_registers(l);
	l->cpu->tpr_changed(l->ctx, 0);
}

static enum lapic_mode mode_of(uint64_t base)
{
	if (!(base & APIC_BASE_ENABLE))
		return LAPIC_OFF;
	return base & APIC_BASE_X2APIC ? LAPIC_X2APIC : LAPIC_XAPIC;
}

static void set_base(struct lapic *l, uint64_t base)
{
	l->base = base;
	l->mode = mode_of(base);
	l->last_byte = l->mode == LAPIC_XAPIC ? base | BITS(11, 0) : 0;
	l->unshown |= LAPIC_SHOW_REGISTERS;
}

/* From which mode to which: SDM vol. 3, 11.12.5. */
static bool transition_allowed(enum lapic_mode from, uint64_t base)
{
	enum lapic_mode to = mode_of(base);

	if (to == LAPIC_OFF)
		return !(base & APIC_BASE_X2APIC);
	if (from == LAPIC_OFF)
		return to == LAPIC_XAPIC;
	return from == LAPIC_XAPIC || to == LAPIC_X2APIC;
}

bool lapic_write_base(struct lapic *l, uint64_t val, unsigned maxphyaddr)
{
	const uint64_t flags = APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE;
	enum lapic_mode old = l->mode;

	if ((val & BITS(11, 0) & ~flags) || (val & BITS(63, maxphyaddr)) ||
	    !transition_allowed(old, val))
		return false;
	fold_posted(l);
	set_base(l, val);
	if (l->mode == old)
		return true;
	if (old == LAPIC_OFF || l->mode == LAPIC_OFF) {
		reset_registers(l);
		l->cpu->tpr_changed(l->ctx, 0);
	} else {
		l->ldr = x2apic_ldr(l);
	}
	return true;
}

void lapic_setup(struct lapic *l, struct lapic_set *set, const struct lapic_cpu *cpu, void *ctx)
{
	*l = (struct lapic){ .set = set, .cpu = cpu, .ctx = ctx, .id = set->nr, .bsp = !set->nr };
	set->lapic[set->nr++] = l;
	lapic_timer_setup(l);
	set_base(l, LAPIC_BASE | APIC_BASE_ENABLE | (l->bsp ? APIC_BASE_BSP : 0));
	reset_registers(l);
}

void lapic_virtual_wire(struct lapic *l)
{
	l->unshown |= LAPIC_SHOW_REGISTERS;
	l->svr |= (uint32_t)SVR_ENABLE;
	l->lvt[LVT_LINT0] = DELIVERY(APIC_EXTINT);
	l->lvt[LVT_LINT1] = DELIVERY(APIC_NMI);
	update_extint(l);
}
