/* vmm/task.c: what refuses a switch, and what the new task's segments may be. */
#include "tests/host/task_fixture.h"

/* --- what refuses it: SDM vol. 3, table 7-1 --- */

static void test_refused(void **state)
{
	static const struct {
		const char *what;
		enum how how;
		unsigned selector, limit, attr, vector, error;
	} cases[] = {
		{ "null, JMP", JMP, 0, 0, 0, VEC_GP, 0 },
		{ "null, IRET", IRET, 0, 0, 0, VEC_TS, 0 },
		{ "in the LDT, JMP", JMP, 0x24, 0, 0, VEC_GP, 0x24 },
		{ "in the LDT, IRET", IRET, 0x24, 0, 0, VEC_TS, 0x24 },
		{ "beyond the GDT, CALL", CALL, SEL_BEYOND, 0, 0, VEC_GP, SEL_BEYOND },
		{ "beyond the GDT, IRET", IRET, SEL_BEYOND, 0, 0, VEC_TS, SEL_BEYOND },
		{ "RPL is not told", CALL, SEL_BEYOND | 3, 0, 0, VEC_GP, SEL_BEYOND },
		{ "busy, JMP", JMP, SEL_TEST, 0x67, TSS32_BUSY, VEC_GP, SEL_TEST },
		{ "busy, CALL", CALL, SEL_TEST, 0x2b, TSS16_BUSY, VEC_GP, SEL_TEST },
		{ "busy, event", EVENT, SEL_TEST, 0x67, TSS32_BUSY, VEC_GP, SEL_TEST | 1 },
		{ "free, IRET", IRET, SEL_TEST, 0x67, TSS32_FREE, VEC_TS, SEL_TEST },
		{ "16-bit free, IRET", IRET, SEL_TEST, 0x2b, TSS16_FREE, VEC_TS, SEL_TEST },
		{ "an LDT", JMP, SEL_TEST, 0x67, 0x82, VEC_GP, SEL_TEST },
		{ "a call gate", JMP, SEL_TEST, 0x67, 0x8c, VEC_GP, SEL_TEST },
		{ "a data segment", JMP, SEL_TEST, 0x67, 0x99, VEC_GP, SEL_TEST },
		{ "not present", JMP, SEL_TEST, 0x67, 0x09, VEC_NP, SEL_TEST },
		{ "not present, IRET", IRET, SEL_TEST, 0x67, 0x0b, VEC_NP, SEL_TEST },
		{ "not present, event", EVENT, SEL_TEST, 0x67, 0x09, VEC_NP, SEL_TEST | 1 },
		{ "type before presence", JMP, SEL_TEST, 0x67, 0x0b, VEC_GP, SEL_TEST },
		{ "32-bit limit", JMP, SEL_TEST, 0x66, TSS32_FREE, VEC_TS, SEL_TEST },
		{ "16-bit limit", CALL, SEL_TEST, 0x2a, TSS16_FREE, VEC_TS, SEL_TEST },
		{ "presence before limit", JMP, SEL_TEST, 0, 0x09, VEC_NP, SEL_TEST },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		gdt_desc(SEL_TEST, NEW_TSS, cases[i].limit, cases[i].attr);
		expect_refused(cases[i].what, cases[i].how, cases[i].selector, cases[i].vector,
			       cases[i].error);
	}
}

/* What looks like a TSS where none may be: in entry 0, in an LDT, half beyond the limit. */
static void test_tss_out_of_place(void **state)
{
	gdt_desc(0, NEW_TSS, 0x67, TSS32_FREE);
	expect_refused("null", JMP, 0, VEC_GP, 0);
	setup(state);
	fake_hw.seg[SEG_LDTR] = (struct segment){ SEL_LDT, 0x82, 0xff, LDT };
	put_desc(LDT, SEL_NEW, NEW_TSS, 0x67, TSS32_FREE);
	expect_refused("in an LDT", JMP, SEL_NEW | 4, VEC_GP, SEL_NEW | 4);
	setup(state);
	fake_hw.seg[SEG_GDTR].limit = SEL_NEW + 6;
	expect_refused("last byte beyond the GDT", JMP, SEL_NEW, VEC_GP, SEL_NEW);
	setup(state);
	fake_hw.seg[SEG_LDTR] = (struct segment){ SEL_LDT, 0x82, 0xff, LDT };
	put_desc(LDT, 0, LDT, 0xff, 0x82);
	new32->ldt = 4;
	do_switch(JMP);
	expect_raised("LDT in the old LDT", VEC_TS, 4);
}

static void test_large_limit(void **state)
{
	(void)state;
	gdt_desc(SEL_NEW, NEW_TSS, 0, 0x800 | TSS32_FREE); /* in pages: 4095 */
	do_switch(JMP);
	expect_quiet();
	expect_in_new();
	assert_int_equal(fake_hw.seg[SEG_TR].limit, 0xfff);
}

static void test_old_tss_limit(void **state)
{
	fake_hw.seg[SEG_TR].limit = 0x5e;
	expect_refused("old TSS too small", JMP, SEL_NEW, VEC_TS, SEL_OLD);
	setup(state);
	fake_hw.seg[SEG_TR].limit = 0x5f;
	do_switch(JMP);
	expect_quiet();
	setup(state);
	fake_hw.seg[SEG_TR] = (struct segment){ SEL_OLD, TSS16_BUSY, 0x28, OLD_TSS };
	expect_refused("old 16-bit TSS too small", JMP, SEL_NEW, VEC_TS, SEL_OLD);
}

/* The jump itself cannot be fetched: nothing else happens. */
static void test_no_instruction(void **state)
{
	static uint8_t before[FAKE_RAM_SIZE];

	(void)state;
	paging_on();
	set_page(CODE, 0);
	prepare(JMP);
	memcpy(before, fake_ram, sizeof(before));
	handle();
	expect_raised("fetch of the jump", VEC_PF, 0);
	expect_in_old(before);
}

/* --- the new task's segments --- */

struct bad_segment {
	const char *what;
	enum seg_reg reg; /* SEG_LDTR too */
	unsigned selector, attr, vector, error;
};

static void expect_bad_segment(const struct bad_segment *c, bool cpl3)
{
	unsigned error = c->error;

	if (cpl3) {
		for (unsigned i = 0; i < TSS_SEGS; i++)
			new32->seg[i].selector = i == SEG_CS ? SEL_CODE3 : SEL_DATA3;
	}
	gdt_desc(SEL_TEST, c->reg == SEG_LDTR ? LDT : 0, 0xfffff, c->attr);
	if (c->reg == SEG_LDTR)
		new32->ldt = (uint16_t)c->selector;
	else
		new32->seg[c->reg].selector = (uint16_t)c->selector;
	do_switch(JMP);
	expect_raised(c->what, c->vector, error);
	expect_in_new();
	/* The selector is there to be seen, and nothing behind it. */
	assert_int_equal(fake_hw.seg[c->reg].selector, c->selector);
	if (c->reg == SEG_CS)
		assert_int_equal(fake_hw.seg[SEG_CS].limit, 0);
	else
		assert_int_equal(fake_hw.seg[c->reg].attr & P, 0);
}

static void test_bad_segments_cpl0(void **state)
{
	static const struct bad_segment cases[] = {
		{ "LDT in the LDT", SEG_LDTR, SEL_TEST | 4, 0x82, VEC_TS, SEL_TEST | 4 },
		{ "LDT beyond", SEG_LDTR, SEL_BEYOND, 0, VEC_TS, SEL_BEYOND },
		{ "LDT is a TSS", SEG_LDTR, SEL_TEST, 0x89, VEC_TS, SEL_TEST },
		{ "LDT not present", SEG_LDTR, SEL_TEST, 0x02, VEC_TS, SEL_TEST },
		{ "LDT is a data segment", SEG_LDTR, SEL_TEST, 0x92, VEC_TS, SEL_TEST },
		{ "CS null", SEG_CS, 0, 0, VEC_TS, 0 },
		{ "CS beyond", SEG_CS, SEL_BEYOND, 0, VEC_TS, SEL_BEYOND },
		{ "CS is data", SEG_CS, SEL_TEST, 0x93, VEC_TS, SEL_TEST },
		{ "CS is a gate", SEG_CS, SEL_TEST, 0x8c, VEC_TS, SEL_TEST },
		{ "CS DPL", SEG_CS, SEL_TEST, 0xfb, VEC_TS, SEL_TEST },
		{ "CS conforming DPL", SEG_CS, SEL_TEST, 0xff, VEC_TS, SEL_TEST },
		{ "CS not present", SEG_CS, SEL_TEST, 0x1b, VEC_NP, SEL_TEST },
		{ "CS in an LDT that is not there", SEG_CS, 0x0c, 0, VEC_TS, 0x0c },
		{ "SS null", SEG_SS, 0, 0, VEC_TS, 0 },
		{ "SS beyond", SEG_SS, SEL_BEYOND, 0, VEC_TS, SEL_BEYOND },
		{ "SS is code", SEG_SS, SEL_TEST, 0x9b, VEC_TS, SEL_TEST },
		{ "SS read-only", SEG_SS, SEL_TEST, 0x91, VEC_TS, SEL_TEST },
		{ "SS not present", SEG_SS, SEL_TEST, 0x13, VEC_SS, SEL_TEST },
		{ "SS DPL", SEG_SS, SEL_TEST, 0xf3, VEC_TS, SEL_TEST },
		{ "SS RPL", SEG_SS, SEL_TEST | 3, 0x93, VEC_TS, SEL_TEST },
		{ "ES beyond", SEG_ES, SEL_BEYOND, 0, VEC_TS, SEL_BEYOND },
		{ "DS execute-only", SEG_DS, SEL_TEST, 0x99, VEC_TS, SEL_TEST },
		{ "DS is a TSS", SEG_DS, SEL_TEST, 0x89, VEC_TS, SEL_TEST },
		{ "FS not present", SEG_FS, SEL_TEST, 0x13, VEC_NP, SEL_TEST },
		{ "GS RPL", SEG_GS, SEL_TEST | 3, 0x93, VEC_TS, SEL_TEST },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		expect_bad_segment(&cases[i], false);
	}
}

static void test_bad_segments_cpl3(void **state)
{
	static const struct bad_segment cases[] = {
		{ "CS RPL", SEG_CS, SEL_TEST | 3, 0x9b, VEC_TS, SEL_TEST },
		{ "SS DPL", SEG_SS, SEL_TEST | 3, 0x93, VEC_TS, SEL_TEST },
		{ "SS RPL", SEG_SS, SEL_TEST, 0xf3, VEC_TS, SEL_TEST },
		{ "DS DPL", SEG_DS, SEL_TEST | 3, 0x93, VEC_TS, SEL_TEST },
		{ "DS DPL, RPL 0", SEG_DS, SEL_TEST, 0x93, VEC_TS, SEL_TEST },
		{ "GS code DPL", SEG_GS, SEL_TEST | 3, 0x9b, VEC_TS, SEL_TEST },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		expect_bad_segment(&cases[i], true);
	}
}

/* The CPL is right even when the stack is not: a fault can then change to ring 0's. */
static void test_cpl_of_bad_task(void **state)
{
	(void)state;
	new32->seg[SEG_CS].selector = SEL_CODE3;
	new32->seg[SEG_SS].selector = 0;
	do_switch(JMP);
	expect_raised("SS null", VEC_TS, 0);
	assert_int_equal(fake_hw.seg[SEG_SS].attr & 0x60, DPL3);
	setup(state);
	new32->seg[SEG_CS].selector = SEL_BEYOND | 3;
	do_switch(JMP);
	expect_raised("CS beyond", VEC_TS, SEL_BEYOND);
	assert_int_equal(fake_hw.seg[SEG_SS].attr & 0x60, DPL3);
	assert_int_equal(fake_hw.seg[SEG_CS].attr & 0x60, DPL3);
}

static void test_good_segments(void **state)
{
	(void)state;
	put_desc(LDT, 0x00, 0x100, 0xfff, BIG | 0xfb);
	put_desc(LDT, 0x08, 0x200, 0xfff, BIG | 0xf3);
	gdt_desc(SEL_TEST, 0, 0xfffff, BIG | 0x9f); /* conforming, readable */
	new32->ldt = SEL_LDT;
	new32->seg[SEG_CS].selector = 0x07;
	new32->seg[SEG_SS].selector = 0x0f;
	new32->seg[SEG_DS].selector = SEL_TEST | 3;
	new32->seg[SEG_ES].selector = SEL_DATA3;
	new32->seg[SEG_FS].selector = 3; /* null, whatever its RPL */
	new32->seg[SEG_GS].selector = 0;
	do_switch(JMP);
	expect_quiet();
	expect_in_new();
	assert_int_equal(fake_hw.seg[SEG_LDTR].selector, SEL_LDT);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0x100);
	assert_int_equal(fake_hw.seg[SEG_SS].base, 0x200);
	assert_int_equal(fake_hw.seg[SEG_SS].attr & 0x60, DPL3);
	assert_int_equal(fake_hw.seg[SEG_DS].attr, BIG | 0x9f);
	assert_int_equal(fake_hw.seg[SEG_FS].selector, 3);
	assert_int_equal(fake_hw.seg[SEG_FS].attr, 0);
	assert_int_equal(fake_hw.seg[SEG_GS].attr, 0);
}

static void test_eip_beyond_cs(void **state)
{
	(void)state;
	gdt_desc(SEL_CODE0, 0, 0xfff, 0x49b);
	do_switch(JMP);
	expect_raised("EIP beyond CS", VEC_GP, 0);
	expect_in_new();
	assert_true(fake_vcpu.regs.rflags & RFLAGS_RF);
	setup(state);
	gdt_desc(SEL_CODE0, 0, NEW_EIP, 0x49b);
	do_switch(JMP);
	expect_quiet();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_refused, setup),
		cmocka_unit_test_setup(test_tss_out_of_place, setup),
		cmocka_unit_test_setup(test_large_limit, setup),
		cmocka_unit_test_setup(test_old_tss_limit, setup),
		cmocka_unit_test_setup(test_no_instruction, setup),
		cmocka_unit_test_setup(test_bad_segments_cpl0, setup),
		cmocka_unit_test_setup(test_bad_segments_cpl3, setup),
		cmocka_unit_test_setup(test_cpl_of_bad_task, setup),
		cmocka_unit_test_setup(test_good_segments, setup),
		cmocka_unit_test_setup(test_eip_beyond_cs, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
