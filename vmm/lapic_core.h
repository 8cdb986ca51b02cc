/* What the files of the local APIC share. */
#ifndef UMBRA_VMM_LAPIC_CORE_H
#define UMBRA_VMM_LAPIC_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"
#include "vmm/lapic.h"

/* Registers by offset / 16, which is also an x2APIC MSR's number - 800h. SDM vol. 3, tables 11-1
 * and 11-6. */
enum lapic_reg {
	APIC_ID = 0x02,
	APIC_VERSION = 0x03,
	APIC_TPR = 0x08,
	APIC_APR = 0x09,
	APIC_PPR = 0x0a,
	APIC_EOI = 0x0b,
	APIC_RRD = 0x0c,
	APIC_LDR = 0x0d,
	APIC_DFR = 0x0e,
	APIC_SVR = 0x0f,
	APIC_ISR = 0x10,
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
	APIC_ESR = 0x28,
	APIC_ICR = 0x30,
	APIC_ICR_HIGH = 0x31,
	APIC_LVT_TIMER = 0x32,
	APIC_LVT_THERMAL = 0x33,
	APIC_LVT_PERF = 0x34,
	APIC_LVT_LINT0 = 0x35,
	APIC_LVT_LINT1 = 0x36,
	APIC_LVT_ERROR = 0x37,
	APIC_TIMER_INITIAL = 0x38,
	APIC_TIMER_CURRENT = 0x39,
	APIC_TIMER_DIVIDE = 0x3e,
	APIC_SELF_IPI = 0x3f,
	APIC_REGS = 0x40,
};

#define VECTOR_MIN 16 /* those below are illegal */

#define SVR_ENABLE BIT(8)
#define SVR_FOCUS BIT(9)
#define SVR_NO_BROADCAST BIT(12) /* of EOIs */

#define ESR_SEND_VECTOR BIT(5)
#define ESR_RECEIVE_VECTOR BIT(6)
#define ESR_REGISTER BIT(7)

#define ICR_WRITABLE ((uint32_t)(BITS(11, 0) | BITS(15, 14) | BITS(19, 18)))

#define LVT_VECTOR BITS(7, 0)
#define LVT_DELIVERY BITS(10, 8)
#define LVT_DELIVERY_SHIFT 8
#define LVT_STATUS BIT(12)
#define LVT_ACTIVE_LOW BIT(13)
#define LVT_REMOTE_IRR BIT(14)
#define LVT_LEVEL BIT(15)
#define LVT_MASKED BIT(16)
#define LVT_TIMER_MODE BITS(18, 17)
#define LVT_TIMER_MODE_SHIFT 17

/*
 * inbox.news. Who finds NEWS_KICKED set need not kick: another has, or is about to, since the
 * processor looked last. NEWS_POSTED is the descriptor's bit ON: who finds it set need not notify,
 * for the same reason. Bits 1 and 23:16 are left to what else may use such a descriptor.
 */
#define NEWS_POSTED BIT(0)
#define NEWS_EXTINT BIT(2)
#define NEWS_ILLEGAL BIT(3) /* a vector below 16 */
#define NEWS_PINS BIT(4)
#define NEWS_EXTINT_OVER BIT(5) /* the 8259's of before is gone */
#define NEWS_KICKED BIT(6)
#define NEWS_LEVELS_SHIFT 24
#define NEWS_EDGES_SHIFT 8
#define NEWS_WORD(level, word) BIT(((level) ? NEWS_LEVELS_SHIFT : NEWS_EDGES_SHIFT) + (word))

/* inbox.pins. */
#define PIN_LEVEL(pin) BIT(pin)
#define PIN_ROSE(pin) BIT(2 + (pin)) /* since the last fold */
#define PIN_FELL(pin) BIT(4 + (pin))
#define PINS_EDGES BITS(5, 2)

enum lapic_timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

/* Another CPU may change it meanwhile. */
static inline enum lapic_mode lapic_mode(const struct lapic *l)
{
	return __atomic_load_n(&l->mode, __ATOMIC_RELAXED);
}

static inline bool lapic_is_enabled(const struct lapic *l)
{
	return lapic_mode(l) != LAPIC_OFF &&
	       (__atomic_load_n(&l->svr, __ATOMIC_RELAXED) & SVR_ENABLE);
}

static inline bool vectors_has(const struct lapic_vectors *v, unsigned vector)
{
	return v->word[vector >> 5] >> (vector & 31) & 1;
}

/* Words of the page from one register to the next. */
#define LAPIC_PAGE_STRIDE 4

/* --- lapic.c --- */

/* What the guest reads there, in either mode. */
uint32_t lapic_reg(struct lapic *l, unsigned reg);
/* Set the words of IRR and ISR, and what follows from them. */
void lapic_set_vectors(struct lapic *l, const uint32_t irr[8], const uint32_t isr[8]);
/* The processor has taken an interrupt of this vector; IRR and ISR are up to date. */
void lapic_taken(struct lapic *l, uint8_t vector);

/* An interrupt of its own has come; level is its trigger mode. */
void lapic_take(struct lapic *l, uint8_t vector, bool level);
void lapic_error(struct lapic *l, uint32_t bit);
/* The interrupt of an entry of the local vector table has come. */
void lapic_local(struct lapic *l, unsigned entry, bool level);

/* --- lapic_post.c: by any CPU --- */

/* An interrupt has been sent to it; level is its trigger mode. kick: unless its own CPU sends,
 * which is not in its guest. */
void lapic_post(struct lapic *l, uint8_t vector, bool level, bool kick);
/* The 8259's interrupt is to be taken; it is not any more. One CPU at a time. */
void lapic_post_extint(struct lapic *l, bool kick);
void lapic_post_extint_over(struct lapic *l);
/* Is this vector posted, or in IRR? */
bool lapic_waits(const struct lapic *l, uint8_t vector);
/* Arbitration priority, with what is posted: SDM vol. 3, 11.6.2.4. */
uint8_t lapic_apr(const struct lapic *l);

/* --- lapic_timer.c --- */

void lapic_timer_setup(struct lapic *l);
/* All off and zero. */
void lapic_timer_reset(struct lapic *l);
uint32_t lapic_timer_current(const struct lapic *l);
void lapic_timer_write_initial(struct lapic *l, uint32_t val);
void lapic_timer_write_divide(struct lapic *l, uint32_t val);
/* Its entry of the local vector table was `old`. */
void lapic_timer_lvt_changed(struct lapic *l, uint32_t old);
/* The processor has taken this vector. */
void lapic_timer_acked(struct lapic *l, uint8_t vector);
/* ESR was written, or its entry: an error may be told of anew. */
void lapic_timer_errors_changed(struct lapic *l);
/* Is it to be told when its vector is taken? */
static inline bool lapic_timer_waits(const struct lapic *l)
{
	return l->timer.owed || l->timer.held;
}

/* --- lapic_bus.c --- */

/* Send what the interrupt command register says. */
void lapic_send_ipi(struct lapic *l);

#endif
