#include "vmm/dev/pit.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "vmm/dev/split.h"

/* Intel 8254 data sheet (231164), "Programming the 8254". */
#define CONTROL_SC(val) ((val) >> 6)
#define CONTROL_RW(val) ((val) >> 4 & 3)
#define CONTROL_MODE(val) ((val) >> 1 & 7)
#define CONTROL_BCD BIT(0)
#define SC_READ_BACK 3
#define RW_LATCH 0
#define RW_LOW 1
#define RW_HIGH 2
#define RW_BOTH 3

#define READ_BACK_NO_COUNT BIT(5)
#define READ_BACK_NO_STATUS BIT(4)
#define READ_BACK_CHANNEL(n) BIT((n) + 1)

#define STATUS_OUT BIT(7)
#define STATUS_NULL BIT(6)

/* Port 61, System Control Port B. */
#define PORT61_GATE2 BIT(0)
#define PORT61_WRITABLE BITS(3, 0)
#define PORT61_REFRESH BIT(4)
#define PORT61_OUT2 BIT(5)
#define REFRESH_TICKS 18 /* a PC refreshes its memory every 15 us */

#define PIT_MIN_PERIOD_TICKS ((uint32_t)(PIT_MIN_PERIOD_NS * (uint64_t)PIT_HZ / NS_PER_SEC))

static uint64_t pit_now(void)
{
	return mul_div64(clock_ns(), PIT_HZ, NS_PER_SEC);
}

/* The first nanosecond at which pit_now() is at least tick. */
static uint64_t pit_tick_ns(uint64_t tick)
{
	return mul_div64(tick, NS_PER_SEC, PIT_HZ) + 1;
}

/* --- one channel: what it shows at a given tick --- */

static bool mode_periodic(uint8_t mode)
{
	return mode == 2 || mode == 3;
}

/* Modes 1 and 5 wait for the gate to rise; the others count while it is high. */
static bool mode_gate_triggers(uint8_t mode)
{
	return mode == 1 || mode == 5;
}

static uint64_t channel_elapsed(const struct pit_channel *ch, uint64_t now)
{
	if (!ch->gate && !mode_gate_triggers(ch->mode))
		return ch->paused;
	return now > ch->start ? now - ch->start : 0;
}

static void channel_start(struct pit_channel *ch, uint64_t now)
{
	ch->count = ch->reload;
	ch->start = now + 1; /* the clock after the write loads the counting element */
	ch->paused = 0;
	ch->triggered = true;
	ch->reload_due = false;
}

/* A count written while a period ran takes effect when that ends. */
static void channel_sync(struct pit_channel *ch, uint64_t now)
{
	if (!ch->reload_due || !ch->gate || channel_elapsed(ch, now) < ch->count)
		return;
	ch->start += ch->count;
	ch->count = ch->reload;
	ch->reload_due = false;
}

static bool channel_out(const struct pit_channel *ch, uint64_t now)
{
	uint64_t done;

	if (!ch->triggered)
		return ch->mode != 0;
	done = channel_elapsed(ch, now);
	switch (ch->mode) {
	case 0:
	case 1:
		return done >= ch->count;
	case 2:
		return !ch->gate || done % ch->count != ch->count - 1;
	case 3:
		return !ch->gate || done % ch->count < (ch->count + 1) / 2;
	default:
		return done != ch->count;
	}
}

/* The square wave counts by two, twice through the count in one period. */
static uint32_t square_value(uint32_t count, uint32_t done)
{
	uint32_t high = (count + 1) / 2;
	uint32_t left = (count & ~1u) - 2 * (done < high ? done : done - high);

	return left > count ? 0 : left;
}

static uint16_t to_bcd(uint32_t val)
{
	return (uint16_t)(val % 10 | val / 10 % 10 << 4 | val / 100 % 10 << 8 |
			  val / 1000 % 10 << 12);
}

static uint32_t from_bcd(uint16_t val)
{
	return (val & 15u) + 10 * (val >> 4 & 15u) + 100 * (val >> 8 & 15u) +
	       1000 * (val >> 12 & 15u);
}

/* The counting element as the guest reads it. */
static uint16_t channel_value(const struct pit_channel *ch, uint64_t now)
{
	uint32_t wrap = ch->bcd ? 10000 : 65536;
	uint64_t done;
	uint32_t val;

	if (!ch->triggered)
		return 0;
	done = channel_elapsed(ch, now);
	if (ch->mode == 2)
		val = ch->count - (uint32_t)(done % ch->count);
	else if (ch->mode == 3)
		val = square_value(ch->count, (uint32_t)(done % ch->count));
	else
		val = ch->count + wrap - (uint32_t)(done % wrap);
	return ch->bcd ? to_bcd(val) : (uint16_t)val;
}

/* The tick of the next rise of OUT after now, or PIT_NEVER. */
static uint64_t channel_next_rise(const struct pit_channel *ch, uint64_t now)
{
	uint64_t done, rise;

	if (!ch->triggered || !ch->gate)
		return PIT_NEVER;
	done = channel_elapsed(ch, now);
	if (mode_periodic(ch->mode))
		return ch->start + (now < ch->start ? 0 : done - done % ch->count) + ch->count;
	rise = ch->start + ch->count + (ch->mode == 4 || ch->mode == 5);
	return rise > now ? rise : PIT_NEVER;
}

static void channel_set_gate(struct pit_channel *ch, bool gate, uint64_t now)
{
	if (gate == ch->gate)
		return;
	channel_sync(ch, now);
	if (!gate) {
		ch->paused = channel_elapsed(ch, now);
		ch->gate = false;
		return;
	}
	ch->gate = true;
	if (!ch->loaded)
		return;
	if (mode_periodic(ch->mode) || mode_gate_triggers(ch->mode))
		channel_start(ch, now);
	else
		ch->start = now - MIN(now, ch->paused);
}

/* --- channel 0's interrupt --- */

static void pit_raise(struct pit *pit)
{
	irq_line_set(&pit->irq, false);
	irq_line_set(&pit->irq, true);
}

/* n ticks have come: one is raised, the others are owed. */
static void pit_tick(struct pit *pit, uint64_t n)
{
	const struct pit_controller *c = &pit->controller;
	uint64_t late = c->requested(c->ctx) ? n : n - 1;

	if (late && !c->masked(c->ctx))
		pit->owed = (unsigned)MIN(pit->owed + late, (uint64_t)PIT_MAX_OWED);
	pit_raise(pit);
}

void pit_irq_acked(struct pit *pit)
{
	if (pit->owed) {
		pit->owed--;
		pit_raise(pit);
	}
}

static void pit_arm(struct pit *pit, uint64_t now)
{
	const struct pit_channel *ch = &pit->ch[0];
	uint64_t deadline;

	pit->next_edge = channel_next_rise(ch, now);
	if (pit->next_edge == PIT_NEVER) {
		timer_cancel(&pit->timer);
		return;
	}
	deadline = pit_tick_ns(pit->next_edge);
	if (mode_periodic(ch->mode))
		deadline = MAX(deadline, pit->last_fire_ns + PIT_MIN_PERIOD_NS);
	timer_arm(&pit->timer, deadline);
}

static void pit_expired(void *ctx)
{
	struct pit *pit = ctx;
	struct pit_channel *ch = &pit->ch[0];
	uint64_t now = pit_now(), late;

	pit->last_fire_ns = clock_ns();
	if (now < pit->next_edge) {
		pit_arm(pit, now);
		return;
	}
	late = now - pit->next_edge;
	channel_sync(ch, now);
	if (!mode_periodic(ch->mode) || ch->count < PIT_MIN_PERIOD_TICKS)
		pit_raise(pit); /* of a rate too high to keep, what does not fit is lost */
	else
		pit_tick(pit, 1 + late / ch->count);
	pit_arm(pit, now);
}

/* Channel 0 was programmed: its output is what the mode says before it has counted. */
static void pit_restart_irq(struct pit *pit, uint64_t now)
{
	pit->owed = 0;
	irq_line_set(&pit->irq, channel_out(&pit->ch[0], now));
}

/* Channel 0 has new orders: its line and the timer follow. */
static void pit_follow(struct pit *pit, const struct pit_channel *ch, uint64_t now)
{
	if (ch != &pit->ch[0])
		return;
	if (!mode_periodic(ch->mode) || !ch->triggered)
		pit_restart_irq(pit, now);
	pit_arm(pit, now);
}

/* --- ports 40-43 --- */

static void channel_latch_count(struct pit_channel *ch, uint64_t now)
{
	if (ch->count_latched)
		return;
	ch->latch = channel_value(ch, now);
	ch->count_latched = true;
}

static void channel_latch_status(struct pit_channel *ch, uint64_t now)
{
	bool null = !ch->triggered || ch->reload_due || now < ch->start ||
		    (mode_gate_triggers(ch->mode) && ch->count != ch->reload);

	if (ch->status_latched)
		return;
	ch->status = (uint8_t)((channel_out(ch, now) ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) |
			       ch->access << 4 | ch->mode << 1 | ch->bcd);
	ch->status_latched = true;
}

static void pit_read_back(struct pit *pit, uint8_t val, uint64_t now)
{
	for (unsigned i = 0; i < PIT_CHANNELS; i++) {
		if (!(val & READ_BACK_CHANNEL(i)))
			continue;
		channel_sync(&pit->ch[i], now);
		if (!(val & READ_BACK_NO_COUNT))
			channel_latch_count(&pit->ch[i], now);
		if (!(val & READ_BACK_NO_STATUS))
			channel_latch_status(&pit->ch[i], now);
	}
}

static void pit_control(struct pit *pit, uint8_t val)
{
	uint64_t now = pit_now();
	struct pit_channel *ch;

	if (CONTROL_SC(val) == SC_READ_BACK) {
		pit_read_back(pit, val, now);
		return;
	}
	ch = &pit->ch[CONTROL_SC(val)];
	if (CONTROL_RW(val) == RW_LATCH) {
		channel_sync(ch, now);
		channel_latch_count(ch, now);
		return;
	}
	ch->access = CONTROL_RW(val);
	ch->mode = CONTROL_MODE(val) > 5 ? CONTROL_MODE(val) - 4 : CONTROL_MODE(val);
	ch->bcd = val & CONTROL_BCD;
	ch->loaded = ch->triggered = ch->reload_due = false;
	ch->write_high = ch->read_high = false;
	ch->status_latched = ch->count_latched = false;
	pit_follow(pit, ch, now);
}

/* A whole count was written. */
static void channel_load(struct pit_channel *ch, uint16_t raw, uint64_t now)
{
	uint32_t count = ch->bcd ? from_bcd(raw) : raw;

	channel_sync(ch, now);
	ch->reload = count ? count : ch->bcd ? 10000 : 65536;
	ch->loaded = true;
	if (mode_gate_triggers(ch->mode))
		return;
	if (!mode_periodic(ch->mode) || !ch->triggered) {
		channel_start(ch, now);
		return;
	}
	/* The running period goes on; whole ones that lie behind do not matter. */
	if (ch->gate && now > ch->start)
		ch->start += (now - ch->start) / ch->count * ch->count;
	ch->reload_due = true;
}

static void pit_write_count(struct pit *pit, struct pit_channel *ch, uint8_t val)
{
	bool both = ch->access == RW_BOTH;
	uint64_t now;

	if (both && !ch->write_high) {
		ch->write_low = val;
		ch->write_high = true;
		if (ch->mode != 0)
			return;
		ch->triggered = false; /* mode 0: the first byte stops the counting */
		pit_follow(pit, ch, 0);
		return;
	}
	ch->write_high = false;
	now = pit_now();
	if (both)
		channel_load(ch, (uint16_t)(val << 8 | ch->write_low), now);
	else
		channel_load(ch, ch->access == RW_HIGH ? (uint16_t)(val << 8) : val, now);
	pit_follow(pit, ch, now);
}

static uint8_t pit_read_count(struct pit_channel *ch)
{
	uint16_t val = ch->latch;

	if (ch->status_latched) {
		ch->status_latched = false;
		return ch->status;
	}
	if (!ch->count_latched) {
		uint64_t now = pit_now();

		channel_sync(ch, now);
		val = channel_value(ch, now);
	}
	if (ch->access == RW_BOTH) {
		ch->read_high = !ch->read_high;
		if (ch->read_high)
			return (uint8_t)val;
		ch->count_latched = false;
		return (uint8_t)(val >> 8);
	}
	ch->count_latched = false;
	return ch->access == RW_HIGH ? (uint8_t)(val >> 8) : (uint8_t)val;
}

static void pit_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct pit *pit = dev;

	if (size != 1)
		io_split_out(&pit_ops, dev, port, size, val);
	else if ((port & 3) == 3)
		pit_control(pit, (uint8_t)val);
	else
		pit_write_count(pit, &pit->ch[port & 3], (uint8_t)val);
}

static uint32_t pit_in(void *dev, uint16_t port, unsigned size)
{
	struct pit *pit = dev;

	if (size != 1)
		return io_split_in(&pit_ops, dev, port, size);
	if ((port & 3) == 3)
		return 0xff; /* the control word cannot be read */
	return pit_read_count(&pit->ch[port & 3]);
}

/* --- port 61 --- */

static void port61_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct pit *pit = dev;

	(void)port;
	(void)size;
	pit->port61 = val & PORT61_WRITABLE;
	channel_set_gate(&pit->ch[2], val & PORT61_GATE2, pit_now());
}

static uint32_t port61_in(void *dev, uint16_t port, unsigned size)
{
	struct pit *pit = dev;
	uint64_t now = pit_now();
	uint32_t val = pit->port61;

	(void)port;
	(void)size;
	channel_sync(&pit->ch[2], now);
	if (now / REFRESH_TICKS & 1)
		val |= PORT61_REFRESH;
	if (channel_out(&pit->ch[2], now))
		val |= PORT61_OUT2;
	return val;
}

static void pit_describe(const void *dev, char *text, size_t size)
{
	const struct pit *pit = dev;
	const struct pit_channel *c = &pit->ch[0];

	bool periodic = c->mode == 2 || c->mode == 3;

	if (c->loaded && c->reload && periodic)
		ksnprintf(text, size, "channel 0: mode %u, count %u (%u Hz)", c->mode, c->reload,
			  PIT_HZ / c->reload);
	else if (c->loaded)
		ksnprintf(text, size, "channel 0: mode %u, count %u", c->mode, c->reload);
	else
		ksnprintf(text, size, "channel 0: mode %u, no count", c->mode);
}

const struct io_ops pit_ops = { .in = pit_in, .out = pit_out, .describe = pit_describe };
const struct io_ops pit_port61_ops = { .in = port61_in, .out = port61_out };

void pit_init(struct pit *pit, struct irq_line irq, struct pit_controller controller,
	      struct owned_lock *guard)
{
	*pit = (struct pit){ .irq = irq, .controller = controller, .next_edge = PIT_NEVER };
	for (unsigned i = 0; i < PIT_CHANNELS; i++) {
		pit->ch[i].mode = 3;
		pit->ch[i].access = RW_BOTH;
		pit->ch[i].gate = i != 2;
	}
	timer_setup(&pit->timer, pit_expired, pit, guard);
	irq_line_set(&pit->irq, true);
}

void pit_destroy(struct pit *pit)
{
	timer_cancel(&pit->timer);
}
