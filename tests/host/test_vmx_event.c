/* VM-entry interruption information from neutral events, and back from vectoring information. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/fault.h"
#include "vmx/event.h"

#define VALID 0x80000000u

static void expect(const struct vm_event *ev, bool protected_mode, uint32_t info, uint32_t error,
		   uint32_t len)
{
	struct vmx_entry_event out = vmx_event_encode(ev, protected_mode);

	assert_int_equal(out.info, info);
	assert_int_equal(out.error, error);
	assert_int_equal(out.insn_len, len);
}

static void test_encode(void **state)
{
	struct vm_event gp = { EVENT_EXCEPTION, VEC_GP, true, 0x1234, 0 };

	(void)state;
	expect(&(struct vm_event){ .kind = EVENT_NONE, .vector = 9 }, true, 0, 0, 0);
	expect(&(struct vm_event){ .kind = EVENT_INTR, .vector = 0x31 }, true, VALID | 0x031, 0, 0);
	/* Whatever the vector says, an NMI is vector 2. */
	expect(&(struct vm_event){ .kind = EVENT_NMI }, true, VALID | 0x202, 0, 0);
	expect(&(struct vm_event){ .kind = EVENT_EXCEPTION, .vector = VEC_UD }, true, VALID | 0x306,
	       0, 0);
	expect(&gp, true, VALID | 0xb0d, 0x1234, 0);
	expect(&gp, false, VALID | 0x30d, 0, 0); /* real mode has no error codes */
}

static void test_encode_software(void **state)
{
	struct vm_event ev = { .kind = EVENT_SOFT_INT, .vector = 0x80, .insn_len = 3 };

	(void)state;
	expect(&ev, true, VALID | 0x480, 0, 3);
	expect(&ev, false, VALID | 0x480, 0, 3);
	ev = (struct vm_event){ .kind = EVENT_SOFT_EXC, .vector = VEC_BP, .insn_len = 1 };
	expect(&ev, true, VALID | 0x603, 0, 1);
	ev.vector = VEC_OF;
	expect(&ev, true, VALID | 0x604, 0, 1);
	ev.vector = VEC_DB; /* INT1 */
	expect(&ev, true, VALID | 0x501, 0, 1);
	ev.insn_len = 15;
	expect(&ev, true, VALID | 0x501, 0, 15);
	/* No length: the instruction raises it again. */
	ev.insn_len = 0;
	expect(&ev, true, 0, 0, 0);
	ev.insn_len = 16;
	expect(&ev, true, 0, 0, 0);
	ev.kind = EVENT_SOFT_INT;
	expect(&ev, true, 0, 0, 0);
}

static void test_decode(void **state)
{
	struct vm_event ev;

	(void)state;
	assert_int_equal(vmx_event_decode(0x030, 0, 0).kind, EVENT_NONE);
	assert_int_equal(vmx_event_decode(0x7fffffff, 1, 1).kind, EVENT_NONE);
	ev = vmx_event_decode(VALID | 0x030, 5, 2);
	assert_int_equal(ev.kind, EVENT_INTR);
	assert_int_equal(ev.vector, 0x30);
	assert_false(ev.has_error);
	assert_int_equal(ev.insn_len, 0);
	/* Bit 12 is no part of the vector or the type. */
	ev = vmx_event_decode(VALID | 0x1202, 0, 0);
	assert_int_equal(ev.kind, EVENT_NMI);
	assert_int_equal(ev.vector, VEC_NMI);
	ev = vmx_event_decode(VALID | 0xb0e, 7, 4);
	assert_int_equal(ev.kind, EVENT_EXCEPTION);
	assert_int_equal(ev.vector, VEC_PF);
	assert_true(ev.has_error);
	assert_int_equal(ev.error, 7);
	assert_int_equal(ev.insn_len, 0);
	ev = vmx_event_decode(VALID | 0x30e, 7, 4);
	assert_false(ev.has_error);
	assert_int_equal(ev.error, 0);
}

static void test_decode_software(void **state)
{
	struct vm_event ev = vmx_event_decode(VALID | 0x480, 9, 2);

	(void)state;
	assert_int_equal(ev.kind, EVENT_SOFT_INT);
	assert_int_equal(ev.vector, 0x80);
	assert_int_equal(ev.insn_len, 2);
	assert_int_equal(ev.error, 0);
	ev = vmx_event_decode(VALID | 0x603, 0, 1);
	assert_int_equal(ev.kind, EVENT_SOFT_EXC);
	assert_int_equal(ev.vector, VEC_BP);
	assert_int_equal(ev.insn_len, 1);
	ev = vmx_event_decode(VALID | 0x501, 0, 1);
	assert_int_equal(ev.kind, EVENT_SOFT_EXC);
	assert_int_equal(ev.vector, VEC_DB);
	assert_int_equal(vmx_event_decode(VALID | 0x480, 0, 16).insn_len, 0);
	/* Types that vectoring information has not. */
	assert_int_equal(vmx_event_decode(VALID | 0x101, 0, 1).kind, EVENT_NONE);
	assert_int_equal(vmx_event_decode(VALID | 0x700, 0, 1).kind, EVENT_NONE);
}

/* What was cut off is delivered again as it was. */
static void test_round_trip(void **state)
{
	static const struct {
		uint32_t info, error, len;
	} rows[] = {
		{ VALID | 0x0ff, 0, 0 },    { VALID | 0x202, 0, 0 }, { VALID | 0x300, 0, 0 },
		{ VALID | 0xb0d, 0x58, 0 }, { VALID | 0xb0e, 2, 0 }, { VALID | 0x421, 0, 2 },
		{ VALID | 0x501, 0, 1 },    { VALID | 0x603, 0, 1 }, { VALID | 0x604, 0, 1 },
		{ VALID | 0xb08, 0, 0 },    { VALID | 0x312, 0, 0 }, { VALID | 0xb11, 0, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_event ev = vmx_event_decode(rows[i].info, rows[i].error, rows[i].len);

		expect(&ev, true, rows[i].info, rows[i].error, rows[i].len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),     cmocka_unit_test(test_encode_software),
		cmocka_unit_test(test_decode),     cmocka_unit_test(test_decode_software),
		cmocka_unit_test(test_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
