#include "vmm/gdb/packet.h"

#include "arch/x86_64/lib/string.h"

#define ESCAPE_XOR 0x20
#define TAIL 3 /* # and two digits */

static const char digits[] = "0123456789abcdef";

int gdb_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void gdb_link_init(struct gdb_link *l)
{
	memset(l, 0, sizeof(*l));
	l->acks = true;
}

/* --- what comes --- */

static void say_ack(struct gdb_link *l, char c)
{
	if (l->acks && l->nr_acks < GDB_ACKS_MAX)
		l->ack[l->nr_acks++] = c;
}

static void packet_begin(struct gdb_link *l)
{
	l->state = GDB_BODY;
	l->sum = 0;
	l->in_len = 0;
	l->overlong = false;
}

static void take_data(struct gdb_link *l, uint8_t c)
{
	if (l->in_len < GDB_PACKET_MAX)
		l->in[l->in_len++] = (char)c;
	else
		l->overlong = true;
}

static enum gdb_event spoiled(struct gdb_link *l)
{
	l->state = GDB_BETWEEN;
	say_ack(l, '-');
	return GDB_NOTHING;
}

static enum gdb_event take_sum(struct gdb_link *l, uint8_t c)
{
	int digit = gdb_hex_digit((char)c);

	if (digit < 0)
		return spoiled(l);
	if (l->state == GDB_SUM_HIGH) {
		l->sum_said = (uint8_t)(digit << 4);
		l->state = GDB_SUM_LOW;
		return GDB_NOTHING;
	}
	if ((l->sum_said | digit) != l->sum)
		return spoiled(l);
	l->state = GDB_BETWEEN;
	l->in[l->in_len] = '\0';
	say_ack(l, '+');
	return l->overlong ? GDB_OVERLONG : GDB_PACKET;
}

static enum gdb_event take_body(struct gdb_link *l, uint8_t c)
{
	if (c == '#') {
		if (l->state == GDB_ESCAPED)
			return spoiled(l);
		l->state = GDB_SUM_HIGH;
		return GDB_NOTHING;
	}
	l->sum = (uint8_t)(l->sum + c);
	if (l->state == GDB_ESCAPED) {
		l->state = GDB_BODY;
		take_data(l, c ^ ESCAPE_XOR);
	} else if (c == '}') {
		l->state = GDB_ESCAPED;
	} else {
		take_data(l, c);
	}
	return GDB_NOTHING;
}

static bool all_sent(const struct gdb_link *l)
{
	return l->out_at == l->out_len;
}

static enum gdb_event take_between(struct gdb_link *l, uint8_t c)
{
	if (c == GDB_BREAK)
		return GDB_INTERRUPT;
	if (c == '-') {
		l->out_at = 0;
	} else if (c == '+' && all_sent(l)) {
		l->out_len = l->out_at = 0;
		l->acks = !l->acks_end;
		l->acks_end = false;
	}
	return GDB_NOTHING;
}

void gdb_link_drop(struct gdb_link *l)
{
	l->state = GDB_BETWEEN;
}

enum gdb_event gdb_link_take(struct gdb_link *l, uint8_t c)
{
	/* No packet has a bare $ in it: whatever came before was cut off. */
	if (c == '$') {
		packet_begin(l);
		return GDB_NOTHING;
	}
	switch (l->state) {
	case GDB_BODY:
	case GDB_ESCAPED:
		return take_body(l, c);
	case GDB_SUM_HIGH:
	case GDB_SUM_LOW:
		return take_sum(l, c);
	default:
		return take_between(l, c);
	}
}

/* --- what goes --- */

int gdb_link_next(struct gdb_link *l)
{
	int c;

	if (l->nr_acks) {
		c = (uint8_t)l->ack[0];
		memmove(l->ack, l->ack + 1, --l->nr_acks);
		return c;
	}
	if (all_sent(l))
		return -1;
	return (uint8_t)l->out[l->out_at++];
}

bool gdb_link_is_idle(const struct gdb_link *l)
{
	return l->state == GDB_BETWEEN && !l->nr_acks && (l->acks ? !l->out_len : all_sent(l));
}

static void put_raw(struct gdb_link *l, char c)
{
	if (l->out_len + TAIL >= sizeof(l->out)) {
		l->out_full = true;
		return;
	}
	l->out[l->out_len++] = c;
	l->out_sum = (uint8_t)(l->out_sum + (uint8_t)c);
}

void gdb_put_begin(struct gdb_link *l)
{
	l->out_len = l->out_at = 0;
	l->out_full = false;
	put_raw(l, '$');
	l->out_sum = 0;
	l->out_at = l->out_len; /* nothing goes before its end */
}

void gdb_put_byte(struct gdb_link *l, uint8_t c)
{
	/* A bare * means a repetition. */
	if (c == '$' || c == '#' || c == '}' || c == '*') {
		put_raw(l, '}');
		c ^= ESCAPE_XOR;
	}
	put_raw(l, (char)c);
}

void gdb_put_text(struct gdb_link *l, const char *text)
{
	while (*text)
		gdb_put_byte(l, (uint8_t)*text++);
}

void gdb_put_hex(struct gdb_link *l, const void *bytes, size_t n)
{
	for (const uint8_t *b = bytes; n--; b++) {
		put_raw(l, digits[*b >> 4]);
		put_raw(l, digits[*b & 0xf]);
	}
}

void gdb_put_number(struct gdb_link *l, uint64_t val)
{
	unsigned shift = 60;

	while (shift && !(val >> shift))
		shift -= 4;
	for (;; shift -= 4) {
		put_raw(l, digits[val >> shift & 0xf]);
		if (!shift)
			return;
	}
}

void gdb_put_end(struct gdb_link *l)
{
	uint8_t sum;

	if (l->out_full) {
		gdb_put_begin(l);
		gdb_put_text(l, "E.reply too long");
	}
	sum = l->out_sum;
	l->out[l->out_len++] = '#';
	l->out[l->out_len++] = digits[sum >> 4];
	l->out[l->out_len++] = digits[sum & 0xf];
	l->out_at = 0;
}

void gdb_link_end_acks(struct gdb_link *l)
{
	l->acks_end = true;
}
