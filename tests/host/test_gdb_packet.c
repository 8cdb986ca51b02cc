/* GDB's packets on a line that loses and spoils bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "vmm/gdb/packet.h"

static struct gdb_link l;

static int setup(void **state)
{
	(void)state;
	gdb_link_init(&l);
	return 0;
}

/* The last event that these bytes gave; there may be one only. */
static enum gdb_event take(const char *bytes, size_t n)
{
	enum gdb_event last = GDB_NOTHING;

	for (size_t i = 0; i < n; i++) {
		enum gdb_event e = gdb_link_take(&l, (uint8_t)bytes[i]);

		if (e == GDB_NOTHING)
			continue;
		assert_int_equal(last, GDB_NOTHING);
		last = e;
	}
	return last;
}

#define TAKE(text) take(text, sizeof(text) - 1)

/* Everything that waits to go is this. */
static void expect_sent(const char *want)
{
	char got[2 * GDB_PACKET_MAX];
	size_t n = 0;
	int c;

	while ((c = gdb_link_next(&l)) >= 0 && n < sizeof(got) - 1)
		got[n++] = (char)c;
	got[n] = '\0';
	assert_string_equal(got, want);
}

static void say(const char *text)
{
	gdb_put_begin(&l);
	gdb_put_text(&l, text);
	gdb_put_end(&l);
}

static void test_good(void **state)
{
	(void)state;
	assert_int_equal(TAKE("$g#67"), GDB_PACKET);
	assert_string_equal(l.in, "g");
	expect_sent("+");
	assert_int_equal(TAKE("$m10,4#2A"), GDB_NOTHING);
	expect_sent("-");
	assert_int_equal(TAKE("$m10,4#2e"), GDB_PACKET);
	assert_int_equal(l.in_len, 5);
	expect_sent("+");
	assert_int_equal(TAKE("$#00"), GDB_PACKET);
	assert_int_equal(l.in_len, 0);
	expect_sent("+");
}

static void test_escapes(void **state)
{
	(void)state;
	/* X0,4: then }, $, 0x03, 0x00: two escaped, two bare. */
	assert_int_equal(TAKE("$X0,4:}]}\x04\x03\0#80"), GDB_PACKET);
	assert_int_equal(l.in_len, 9);
	assert_memory_equal(l.in, "X0,4:}$\x03\0", 9);
	gdb_put_begin(&l);
	gdb_put_text(&l, "a$#}*b");
	gdb_put_end(&l);
	expect_sent("+$a}\x04}\x03}]}\nb#25");
}

static void test_noise(void **state)
{
	(void)state;
	assert_int_equal(TAKE("\xff\0abc#12+-+"), GDB_NOTHING);
	expect_sent("");
	/* A packet cut off by the next one. */
	assert_int_equal(TAKE("$m1234$g#67"), GDB_PACKET);
	assert_string_equal(l.in, "g");
	expect_sent("+");
	assert_int_equal(TAKE("$m1234}$g#67"), GDB_PACKET);
	assert_int_equal(TAKE("$m#$g#67"), GDB_PACKET);
	assert_int_equal(TAKE("$m#6$g#67"), GDB_PACKET);
	expect_sent("+++");
	/* What cannot be a checksum; an escape with nothing to escape. */
	assert_int_equal(TAKE("$g#6x"), GDB_NOTHING);
	expect_sent("-");
	assert_int_equal(TAKE("$g}#e4"), GDB_NOTHING);
	expect_sent("-");
	/* The interrupt is one between packets only. */
	assert_int_equal(TAKE("\x03"), GDB_INTERRUPT);
	assert_int_equal(TAKE("$X\x03#5b"), GDB_PACKET);
	assert_int_equal(TAKE("$X\x03"), GDB_NOTHING);
}

static void test_every_cut(void **state)
{
	static const char packet[] = "$vCont;s:p1.1#";
	uint8_t sum = 0;
	char whole[32];
	size_t n;

	(void)state;
	for (const char *p = packet + 1; *p != '#'; p++)
		sum = (uint8_t)(sum + (uint8_t)*p);
	n = (size_t)snprintf(whole, sizeof(whole), "%s%02x", packet, sum);
	for (size_t cut = 0; cut < n; cut++) {
		gdb_link_init(&l);
		assert_int_equal(take(whole, cut), GDB_NOTHING);
		assert_int_equal(take(whole, n), GDB_PACKET);
		assert_string_equal(l.in, "vCont;s:p1.1");
		expect_sent("+");
	}
	/* And every bit of it spoiled: never taken for a good one. */
	for (size_t bit = 0; bit < n * 8; bit++) {
		char spoiled[32];

		memcpy(spoiled, whole, n);
		spoiled[bit / 8] ^= (char)(1 << bit % 8);
		gdb_link_init(&l);
		if (take(spoiled, n) == GDB_PACKET) /* a digit's case */
			assert_string_equal(l.in, "vCont;s:p1.1");
	}
}

static void test_sent_again(void **state)
{
	(void)state;
	say("OK");
	expect_sent("$OK#9a");
	assert_int_equal(TAKE("-"), GDB_NOTHING);
	expect_sent("$OK#9a");
	/* In the middle of it, too. */
	TAKE("-");
	for (int i = 0; i < 3; i++)
		assert_true(gdb_link_next(&l) >= 0);
	TAKE("-");
	expect_sent("$OK#9a");
	TAKE("+");
	TAKE("-");
	expect_sent("");
	/* A new packet takes its place. */
	say("one");
	assert_int_equal(gdb_link_next(&l), '$');
	TAKE("+"); /* not for this one, which is still on its way */
	say("E01");
	expect_sent("$E01#a6");
}

static void test_no_acks(void **state)
{
	(void)state;
	assert_int_equal(TAKE("$Q#51"), GDB_PACKET);
	say("OK");
	gdb_link_end_acks(&l);
	expect_sent("+$OK#9a");
	TAKE("+");
	assert_int_equal(TAKE("$g#67"), GDB_PACKET);
	assert_int_equal(TAKE("$g#66"), GDB_NOTHING);
	say("E01");
	expect_sent("$E01#a6");
	/* Another GDB says hello with a +. */
	TAKE("+");
	assert_int_equal(TAKE("$g#67"), GDB_PACKET);
	expect_sent("+");
}

static void test_overlong(void **state)
{
	uint8_t sum = 0;
	char tail[4];

	(void)state;
	for (int extra = 0; extra < 2; extra++) {
		sum = 0;
		TAKE("$");
		for (size_t i = 0; i < (size_t)(GDB_PACKET_MAX + extra);
		     i++, sum = (uint8_t)(sum + 'a'))
			assert_int_equal(TAKE("a"), GDB_NOTHING);
		snprintf(tail, sizeof(tail), "#%02x", sum);
		assert_int_equal(take(tail, 3), extra ? GDB_OVERLONG : GDB_PACKET);
		assert_int_equal(l.in_len, GDB_PACKET_MAX);
		expect_sent("+");
	}
	/* One without an end. */
	TAKE("$");
	for (int i = 0; i < 100000; i++)
		assert_int_equal(TAKE("a"), GDB_NOTHING);
	assert_int_equal(TAKE("$g#67"), GDB_PACKET);
}

static void test_reply_full(void **state)
{
	char all[GDB_PACKET_MAX + 8];
	size_t n = 0;
	int c;

	(void)state;
	gdb_put_begin(&l);
	for (int i = 0; i < GDB_PACKET_MAX; i++)
		gdb_put_byte(&l, 'a');
	gdb_put_end(&l);
	while ((c = gdb_link_next(&l)) >= 0)
		all[n++] = (char)c;
	assert_int_equal(n, GDB_PACKET_MAX + 4);
	assert_memory_equal(all + n - 3, "#00", 3);
	gdb_put_begin(&l);
	for (int i = 0; i < GDB_PACKET_MAX + 1; i++)
		gdb_put_byte(&l, 'a');
	gdb_put_end(&l);
	expect_sent("$E.reply too long#e1");
}

static void test_numbers(void **state)
{
	const uint8_t bytes[] = { 0x00, 0x7f, 0xa5 };

	(void)state;
	gdb_put_begin(&l);
	gdb_put_number(&l, 0);
	gdb_put_text(&l, ",");
	gdb_put_number(&l, 0xffffffff81000000);
	gdb_put_text(&l, ",");
	gdb_put_number(&l, 0x10);
	gdb_put_text(&l, ",");
	gdb_put_hex(&l, bytes, sizeof(bytes));
	gdb_put_end(&l);
	expect_sent("$0,ffffffff81000000,10,007fa5#61");
	assert_int_equal(gdb_hex_digit('F'), 15);
	assert_int_equal(gdb_hex_digit('g'), -1);
	assert_int_equal(gdb_hex_digit(':'), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_good, setup),
		cmocka_unit_test_setup(test_escapes, setup),
		cmocka_unit_test_setup(test_noise, setup),
		cmocka_unit_test_setup(test_every_cut, setup),
		cmocka_unit_test_setup(test_sent_again, setup),
		cmocka_unit_test_setup(test_no_acks, setup),
		cmocka_unit_test_setup(test_overlong, setup),
		cmocka_unit_test_setup(test_reply_full, setup),
		cmocka_unit_test_setup(test_numbers, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
