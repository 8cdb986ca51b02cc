#include "vmm/dev/hpet.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "vmm/msi.h"

/* IA-PC HPET 1.0a, 2.3 "Register Definitions". */
#define REG_CAPABILITIES 0x00
#define REG_CONFIG 0x10
#define REG_STATUS 0x20
#define REG_COUNTER 0xf0
#define REG_TIMER 0x100 /* 32 bytes each */
#define TIMER_BYTES 0x20
#define TIMER_CONFIG 0x00
#define TIMER_COMPARATOR 0x08
#define TIMER_MESSAGE 0x10

#define PERIOD_FS (HPET_TICK_NS * UINT64_C(1000000))

#define CONFIG_ENABLE BIT(0)
#define CONFIG_LEGACY BIT(1)
#define CONFIG_WRITABLE BITS(1, 0)

#define TN_LEVEL BIT(1)
#define TN_INT_ENABLE BIT(2)
#define TN_PERIODIC BIT(3)
#define TN_PERIODIC_CAP BIT(4)
#define TN_SIZE_CAP BIT(5)
#define TN_VAL_SET BIT(6)
#define TN_32MODE BIT(8)
#define TN_ROUTE BITS(13, 9)
#define TN_ROUTE_OF(config) ((unsigned)((config) >> 9 & 0x1f))
#define TN_FSB_ENABLE BIT(14)
#define TN_FSB_CAP BIT(15)
#define TN_ROUTES (BITS(HPET_PIN_FIRST + HPET_PINS - 1, HPET_PIN_FIRST) << 32)
#define TN_READ_ONLY (TN_PERIODIC_CAP | TN_SIZE_CAP | TN_FSB_CAP | TN_ROUTES)
#define TN_WRITABLE (TN_LEVEL | TN_INT_ENABLE | TN_PERIODIC | TN_32MODE | TN_ROUTE | TN_FSB_ENABLE)

/* Matches further off than this are never waited for: some 300 years. */
#define FAR_AWAY BIT(60)

static bool hpet_runs(const struct hpet *h)
{
	return h->config & CONFIG_ENABLE;
}

static uint64_t hpet_count(const struct hpet *h)
{
	return h->offset + (hpet_runs(h) ? clock_ns() / HPET_TICK_NS : 0);
}

static uint64_t timer_width(const struct hpet_timer *t)
{
	return t->config & TN_32MODE ? UINT32_MAX : UINT64_MAX;
}

static bool timer_is_legacy(const struct hpet_timer *t)
{
	return t->hpet->legacy && t->nr < ARRAY_SIZE(t->hpet->wires.legacy);
}

/* --- interrupts --- */

/* Does it hold its wire active? */
static bool timer_asserts(const struct hpet_timer *t)
{
	return hpet_runs(t->hpet) && (t->config & TN_INT_ENABLE) && (t->config & TN_LEVEL) &&
	       (t->hpet->status & BIT(t->nr));
}

static bool timer_on_pin(const struct hpet_timer *t, unsigned pin)
{
	return !timer_is_legacy(t) && !(t->config & TN_FSB_ENABLE) &&
	       TN_ROUTE_OF(t->config) == HPET_PIN_FIRST + pin;
}

/* Level-triggered timers may share an input. */
static void hpet_drive_pin(struct hpet *h, unsigned pin)
{
	bool active = false;

	for (unsigned i = 0; i < HPET_TIMERS; i++)
		active |= timer_on_pin(&h->t[i], pin) && timer_asserts(&h->t[i]);
	irq_line_set(&h->wires.pin[pin], active);
}

static void hpet_drive(struct hpet *h)
{
	for (unsigned pin = 0; pin < HPET_PINS; pin++)
		hpet_drive_pin(h, pin);
	for (unsigned i = 0; i < ARRAY_SIZE(h->wires.legacy); i++)
		if (timer_is_legacy(&h->t[i]) && (h->t[i].config & TN_LEVEL))
			irq_line_set(&h->wires.legacy[i], timer_asserts(&h->t[i]));
}

static void timer_send(const struct hpet_timer *t)
{
	const struct apic_wire *wire = &t->hpet->wires.msi;
	struct apic_msg msg;

	if (wire->send && msi_decode(t->message >> 32, (uint32_t)t->message, &msg))
		wire->send(wire->ctx, &msg);
}

/* A legacy wire stays high until the next time: an 8259 forgets an edge that falls too soon. */
static void timer_pulse(const struct hpet_timer *t)
{
	struct hpet *h = t->hpet;
	unsigned pin = TN_ROUTE_OF(t->config) - HPET_PIN_FIRST;

	if (timer_is_legacy(t)) {
		irq_line_set(&h->wires.legacy[t->nr], false);
		irq_line_set(&h->wires.legacy[t->nr], true);
	} else if (t->config & TN_FSB_ENABLE) {
		timer_send(t);
	} else if (pin < HPET_PINS) {
		irq_line_set(&h->wires.pin[pin], true);
		hpet_drive_pin(h, pin);
	}
}

static void timer_fire(struct hpet_timer *t)
{
	t->last_fire_ns = clock_ns();
	if (t->config & TN_LEVEL) {
		t->hpet->status |= BIT(t->nr);
		hpet_drive(t->hpet);
		if (!(t->config & TN_FSB_ENABLE) || timer_is_legacy(t))
			return;
	}
	if (t->config & TN_INT_ENABLE)
		timer_pulse(t);
}

/* n matches of a periodic timer have come: one interrupts. Of a rate too high to keep, what does
 * not fit is lost. */
static void hpet_owe(struct hpet_timer *t, uint64_t n)
{
	const struct hpet_wires *w = &t->hpet->wires;
	uint64_t late;

	if (t->nr || !timer_is_legacy(t) || !(t->config & TN_INT_ENABLE) ||
	    t->period < HPET_MIN_PERIOD_NS / HPET_TICK_NS || !w->masked || w->masked(w->ctx))
		return;
	late = w->requested(w->ctx) ? n : n - 1;
	t->hpet->owed = (unsigned)MIN(t->hpet->owed + late, (uint64_t)HPET_MAX_OWED);
}

void hpet_irq_acked(struct hpet *h)
{
	if (!h->owed)
		return;
	h->owed--;
	timer_pulse(&h->t[0]);
}

/* --- matches --- */

/* Counts from t->seen to the next match; 0: never. */
static uint64_t timer_distance(const struct hpet_timer *t)
{
	uint64_t width = timer_width(t), left = (t->comparator - t->seen) & width;

	return left ? left : width + 1;
}

/* Deal with matches up to now. */
static void timer_sync(struct hpet_timer *t)
{
	uint64_t now = hpet_count(t->hpet), passed = now - t->seen, left = timer_distance(t);
	bool hit = hpet_runs(t->hpet) && left && passed >= left;

	t->seen = now;
	if (!hit)
		return;
	if ((t->config & TN_PERIODIC) && t->period) {
		uint64_t n = 1 + (passed - left) / t->period;

		t->comparator = (t->comparator + n * t->period) & timer_width(t);
		hpet_owe(t, n);
	}
	timer_fire(t);
}

static void timer_rearm(struct hpet_timer *t)
{
	uint64_t left = timer_distance(t), deadline;

	if (!hpet_runs(t->hpet) || !(t->config & TN_INT_ENABLE) || timer_asserts(t) || !left ||
	    left > FAR_AWAY) {
		timer_cancel(&t->timer);
		return;
	}
	deadline = (t->seen - t->hpet->offset + left) * HPET_TICK_NS;
	if (t->config & TN_PERIODIC)
		deadline = MAX(deadline, t->last_fire_ns + HPET_MIN_PERIOD_NS);
	timer_arm(&t->timer, deadline);
}

static void timer_expired(void *ctx)
{
	struct hpet_timer *t = ctx;

	timer_sync(t);
	timer_rearm(t);
}

static void hpet_sync(struct hpet *h)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		timer_sync(&h->t[i]);
}

/* Something was written: what has matched by now was told before. */
static void hpet_follow(struct hpet *h)
{
	hpet_drive(h);
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		timer_rearm(&h->t[i]);
}

/* --- registers --- */

static void hpet_set_legacy(struct hpet *h)
{
	bool on = (h->config & CONFIG_WRITABLE) == (CONFIG_ENABLE | CONFIG_LEGACY);

	if (on == h->legacy)
		return;
	h->legacy = on;
	if (h->wires.take)
		h->wires.take(h->wires.ctx, on);
}

static void hpet_set_count(struct hpet *h, uint64_t count)
{
	h->offset = count - (hpet_runs(h) ? clock_ns() / HPET_TICK_NS : 0);
	h->owed = 0;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		h->t[i].seen = count;
}

static void hpet_set_config(struct hpet *h, uint64_t val)
{
	uint64_t count = hpet_count(h);

	h->config = val & CONFIG_WRITABLE;
	hpet_set_count(h, count);
	hpet_set_legacy(h);
}

/* A route that there is not leaves the one before. */
static void timer_set_config(struct hpet_timer *t, uint64_t val)
{
	if (!(TN_ROUTES >> 32 >> TN_ROUTE_OF(val) & 1))
		val = (val & ~TN_ROUTE) | (t->config & TN_ROUTE);
	t->config = (val & TN_WRITABLE) | TN_READ_ONLY;
	t->set_accumulator = (val & TN_VAL_SET) && (val & TN_PERIODIC);
	t->comparator &= timer_width(t);
	if (!(t->config & TN_LEVEL))
		t->hpet->status &= ~BIT(t->nr);
}

/* A periodic timer's writes set the period, and the comparator only if that was asked for. */
static void timer_set_comparator(struct hpet_timer *t, uint64_t val, uint64_t lanes)
{
	if (!(t->config & TN_PERIODIC) || t->set_accumulator)
		t->comparator = ((t->comparator & ~lanes) | (val & lanes)) & timer_width(t);
	if (t->config & TN_PERIODIC)
		t->period = ((t->period & ~lanes) | (val & lanes)) & timer_width(t);
	t->set_accumulator = false;
}

static uint64_t timer_get(const struct hpet_timer *t, uint64_t reg)
{
	switch (reg) {
	case TIMER_CONFIG:
		return t->config;
	case TIMER_COMPARATOR:
		return t->comparator;
	case TIMER_MESSAGE:
		return t->message;
	default:
		return 0;
	}
}

static uint64_t hpet_get(const struct hpet *h, uint64_t reg)
{
	switch (reg) {
	case REG_CAPABILITIES:
		return PERIOD_FS << 32 | HPET_BLOCK_ID;
	case REG_CONFIG:
		return h->config;
	case REG_STATUS:
		return h->status;
	case REG_COUNTER:
		return hpet_count(h);
	default:
		if (reg < REG_TIMER || reg >= REG_TIMER + HPET_TIMERS * TIMER_BYTES)
			return 0;
		return timer_get(&h->t[(reg - REG_TIMER) / TIMER_BYTES], reg % TIMER_BYTES);
	}
}

/* val: what the register holds after the write, of which lanes are written. */
static void timer_put(struct hpet_timer *t, uint64_t reg, uint64_t val, uint64_t lanes)
{
	if (!t->nr)
		t->hpet->owed = 0;
	switch (reg) {
	case TIMER_CONFIG:
		timer_set_config(t, val);
		break;
	case TIMER_COMPARATOR:
		timer_set_comparator(t, val, lanes);
		break;
	case TIMER_MESSAGE:
		t->message = val;
		break;
	}
}

static void hpet_put(struct hpet *h, uint64_t reg, uint64_t val, uint64_t lanes)
{
	switch (reg) {
	case REG_CONFIG:
		hpet_set_config(h, val);
		break;
	case REG_STATUS:
		h->status &= ~(val & lanes);
		break;
	case REG_COUNTER:
		hpet_set_count(h, val);
		break;
	default:
		if (reg >= REG_TIMER && reg < REG_TIMER + HPET_TIMERS * TIMER_BYTES)
			timer_put(&h->t[(reg - REG_TIMER) / TIMER_BYTES], reg % TIMER_BYTES, val,
				  lanes);
	}
}

/* A match since the last look may show in the status, or move a comparator. */
static uint64_t hpet_read(void *dev, uint64_t off, unsigned size)
{
	struct hpet *h = dev;
	uint64_t reg = off & ~UINT64_C(7);

	(void)size;
	if (reg == REG_STATUS || reg >= REG_TIMER) {
		hpet_sync(h);
		hpet_follow(h);
	}
	return hpet_get(h, reg) >> (8 * (off & 7));
}

/* Words and doublewords in their places; others are undefined (2.2), and do nothing here. */
static void hpet_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct hpet *h = dev;
	uint64_t reg = off & ~UINT64_C(7), shift = 8 * (off & 7), lanes;

	if (size < 4 || off % size)
		return;
	lanes = (~UINT64_C(0) >> (64 - 8 * size)) << shift;
	hpet_sync(h);
	hpet_put(h, reg, (hpet_get(h, reg) & ~lanes) | (val << shift & lanes), lanes);
	hpet_follow(h);
}

const struct mmio_ops hpet_ops = { .read = hpet_read, .write = hpet_write };

void hpet_init(struct hpet *h, const struct hpet_wires *wires, struct owned_lock *guard)
{
	*h = (struct hpet){ .wires = *wires };
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		struct hpet_timer *t = &h->t[i];

		*t = (struct hpet_timer){
			.hpet = h, .nr = i, .config = TN_READ_ONLY, .comparator = UINT64_MAX
		};
		timer_setup(&t->timer, timer_expired, t, guard);
	}
	hpet_drive(h);
}

void hpet_destroy(struct hpet *h)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		timer_cancel(&h->t[i].timer);
}
