/* vmm/task.c: the exchange of two tasks, and events that come through a task gate. */
#include "tests/host/task_fixture.h"

/* --- the exchange of states --- */

static void test_saves_old(void **state)
{
	(void)state;
	for (unsigned i = 0; i < TSS_SEGS; i++)
		fake_hw.seg[i].selector = (uint16_t)(0x100 + i);
	fake_hw.seg[SEG_CS].selector = SEL_CODE0;
	do_switch(JMP);
	expect_quiet();
	assert_int_equal(old32->eip, CODE + 7);
	assert_int_equal(old32->eflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ZF);
	for (unsigned i = 0; i < TSS_GPRS; i++)
		assert_int_equal(old32->gpr[i], i);
	for (unsigned i = 0; i < TSS_SEGS; i++)
		assert_int_equal(old32->seg[i].selector, i == SEG_CS ? SEL_CODE0 : 0x100 + i);
	/* The fields that a switch never writes. */
	assert_int_equal(old32->link, 0x5a5a);
	assert_int_equal(old32->stack[0].esp, 0x5a5a5a5a);
	assert_int_equal(old32->cr3, 0x5a5a5a5a);
	assert_int_equal(old32->seg[SEG_ES].reserved, 0x5a5a);
	assert_int_equal(old32->ldt, 0x5a5a);
	assert_int_equal(old32->trap, 0x5a5a);
}

static void test_loads_new(void **state)
{
	(void)state;
	do_switch(JMP);
	expect_quiet();
	expect_in_new();
	assert_int_equal(fake_hw.seg[SEG_TR].attr, TSS32_BUSY);
	assert_int_equal(fake_hw.seg[SEG_TR].limit, 0x67);
	assert_int_equal(fake_vcpu.regs.rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF);
	for (unsigned i = 0; i < TSS_GPRS; i++)
		assert_int_equal(fake_vcpu.regs.gpr[i], new32->gpr[i]);
	assert_int_equal(fake_vcpu.regs.gpr[R8], UINT64_C(0xfeed00000000) + R8);
	assert_int_equal(fake_hw.seg[SEG_CS].selector, SEL_CODE0);
	assert_int_equal(fake_hw.seg[SEG_CS].attr, BIG | 0x9b);
	assert_int_equal(fake_hw.seg[SEG_CS].limit, 0xffffffff);
	assert_int_equal(fake_hw.seg[SEG_GS].attr, BIG | 0x93);
	assert_int_equal(fake_hw.seg[SEG_LDTR].attr, 0);
	assert_true(fake_hw.reg[REG_CR0] & CR0_TS);
	assert_int_equal(fake_hw.reg[REG_DR7], 0x7ff & ~0x155);
	assert_int_equal(fake_hw.reg[REG_INTR_SHADOW], 0);
	assert_int_equal(fake_hw.reg[REG_CR3], 0); /* paging is off */
}

/* NT, the back link and the busy bits of both, for each way in. */
static void test_nesting(void **state)
{
	static const struct {
		enum how how;
		bool nt, link;
		unsigned old_attr, new_attr;
	} cases[] = {
		{ CALL, true, true, TSS32_BUSY, TSS32_BUSY },
		{ EVENT, true, true, TSS32_BUSY, TSS32_BUSY },
		{ JMP, false, false, TSS32_FREE, TSS32_BUSY },
		{ IRET, false, false, TSS32_FREE, TSS32_BUSY },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		fake_vcpu.regs.rflags |= RFLAGS_NT;
		do_switch(cases[i].how);
		expect_quiet();
		expect_in_new();
		assert_int_equal(!!(fake_vcpu.regs.rflags & RFLAGS_NT), cases[i].nt);
		assert_int_equal(new32->link, cases[i].link ? SEL_OLD : 0x7777);
		assert_int_equal(gdt_attr(SEL_OLD), cases[i].old_attr);
		assert_int_equal(gdt_attr(SEL_NEW), cases[i].new_attr);
		/* Only IRET clears NT in what it leaves behind. */
		assert_int_equal(!!(old32->eflags & RFLAGS_NT), cases[i].how != IRET);
	}
}

/* NT of the new task's own is kept by JMP and IRET. */
static void test_own_nt(void **state)
{
	(void)state;
	new32->eflags |= RFLAGS_NT;
	do_switch(JMP);
	assert_true(fake_vcpu.regs.rflags & RFLAGS_NT);
}

static void test_rf(void **state)
{
	fake_vcpu.regs.rflags |= RFLAGS_RF;
	do_switch(JMP);
	assert_false(old32->eflags & RFLAGS_RF);
	setup(state);
	prepare(EVENT)->task.rf = true;
	handle();
	assert_true(old32->eflags & RFLAGS_RF);
}

/* Bits that EFLAGS does not have are not loaded. */
static void test_reserved_flags(void **state)
{
	(void)state;
	new32->eflags = 0xffffffff & ~(uint32_t)RFLAGS_VM;
	do_switch(JMP);
	assert_int_equal(fake_vcpu.regs.rflags, 0x003f7fd7 & ~RFLAGS_VM);
}

static void test_old_16bit(void **state)
{
	(void)state;
	fake_hw.seg[SEG_TR] = (struct segment){ SEL_OLD16, TSS16_BUSY, 0x2b, OLD_TSS };
	fake_vcpu.regs.gpr[RDI] = 0x12345678;
	do_switch(JMP);
	expect_quiet();
	expect_in_new();
	assert_int_equal(gdt_attr(SEL_OLD16), TSS16_FREE);
	assert_int_equal(old16->ip, CODE + 7);
	assert_int_equal(old16->flags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ZF);
	assert_int_equal(old16->gpr[RDI], 0x5678);
	assert_int_equal(old16->seg[SEG_CS], SEL_CODE0);
	assert_int_equal(old16->seg[SEG_DS], SEL_DATA0);
	assert_int_equal(old16->ldt, 0x5a5a);
	assert_int_equal(fake_ram[OLD_TSS + sizeof(*old16)], 0x5a);
}

static void test_new_16bit(void **state)
{
	(void)state;
	paging_on();
	gdt_desc(SEL_NEW, NEW_TSS, 0x2b, TSS16_FREE);
	*new16 = (struct tss16){ .ip = NEW_EIP,
				 .flags = RFLAGS_FIXED | RFLAGS_DF,
				 .gpr = { 0xa0, 0xa1, 0xa2, 0xa3, STACK, 0xa5, 0xa6, 0xa7 },
				 .seg = { SEL_DATA0, SEL_CODE0, SEL_DATA0, SEL_DATA0 },
				 .ldt = SEL_LDT };
	do_switch(CALL);
	expect_quiet();
	expect_in_new();
	assert_int_equal(fake_hw.seg[SEG_TR].attr, TSS16_BUSY);
	assert_int_equal(gdt_attr(SEL_NEW), TSS16_BUSY);
	assert_int_equal(new16->link, SEL_OLD);
	assert_int_equal(fake_vcpu.regs.gpr[RCX], 0xffff00a1);
	assert_int_equal(fake_vcpu.regs.rflags, RFLAGS_FIXED | RFLAGS_DF | RFLAGS_NT);
	assert_int_equal(fake_hw.seg[SEG_LDTR].base, LDT);
	assert_int_equal(fake_hw.seg[SEG_LDTR].limit, 0x17);
	assert_int_equal(fake_hw.seg[SEG_FS].selector, 0);
	assert_int_equal(fake_hw.seg[SEG_FS].attr, 0);
	assert_int_equal(fake_hw.reg[REG_CR3], PAGE_DIR);
}

static void test_v86(void **state)
{
	(void)state;
	new32->eflags |= RFLAGS_VM | RFLAGS_IOPL;
	for (unsigned i = 0; i < TSS_SEGS; i++)
		new32->seg[i].selector = (uint16_t)(0x0100 + i);
	do_switch(JMP);
	expect_quiet();
	expect_in_new();
	assert_true(fake_vcpu.regs.rflags & RFLAGS_VM);
	for (unsigned i = 0; i < TSS_SEGS; i++) {
		assert_int_equal(fake_hw.seg[i].selector, 0x100 + i);
		assert_int_equal(fake_hw.seg[i].base, 0x1000 + 16 * i);
		assert_int_equal(fake_hw.seg[i].limit, 0xffff);
		assert_int_equal(fake_hw.seg[i].attr, 0xf3);
	}
	setup(state);
	new32->eflags |= RFLAGS_VM;
	new32->eip = 0x10000;
	do_switch(JMP);
	expect_raised("EIP beyond 64 KiB", VEC_GP, 0);
}

/* An old task in virtual-8086 mode, left by an interrupt. */
static void test_from_v86(void **state)
{
	(void)state;
	fake_vcpu.regs.rflags |= RFLAGS_VM;
	fake_hw.seg[SEG_CS] = (struct segment){ 0x100, 0xf3, 0xffff, 0x1000 };
	fake_vcpu.regs.rip = 0x42;
	do_switch(EVENT);
	expect_quiet();
	expect_in_new();
	assert_int_equal(old32->eip, 0x42);
	assert_true(old32->eflags & RFLAGS_VM);
	assert_int_equal(old32->seg[SEG_CS].selector, 0x100);
}

/* --- memory --- */

static void test_cr3(void **state)
{
	(void)state;
	paging_on();
	do_switch(JMP);
	expect_quiet();
	assert_int_equal(fake_hw.reg[REG_CR3], NEW_CR3);
	setup(state);
	paging_on();
	new32->cr3 = PAGE_DIR;
	do_switch(JMP);
	assert_int_equal(fake_hw.sets[REG_CR3], 0); /* the same: the TLB stays */
}

static void pae_on(void)
{
	static const uint64_t good[4] = { OTHER_DIR | 1, 0, 0, 0 };
	static const uint64_t bad[4] = { OTHER_DIR | 1, 0, 0, OTHER_DIR | 3 };
	static const uint64_t pde = 0x87;

	memcpy(fake_ram + PDPT, good, sizeof(good));
	memcpy(fake_ram + PDPT + 0x20, good, sizeof(good));
	memcpy(fake_ram + BAD_PDPT, bad, sizeof(bad));
	memcpy(fake_ram + OTHER_DIR, &pde, sizeof(pde));
	fake_hw.reg[REG_CR0] |= CR0_PG;
	fake_hw.reg[REG_CR3] = PDPT;
	fake_hw.reg[REG_CR4] = CR4_PAE;
}

static void test_pae(void **state)
{
	(void)state;
	pae_on();
	new32->cr3 = PDPT + 0x20;
	do_switch(JMP);
	expect_quiet();
	expect_in_new();
	assert_int_equal(fake_hw.reg[REG_CR3], PDPT + 0x20);
	assert_int_equal(fake_vcpu.pdpte[0], OTHER_DIR | 1);
	setup(state);
	pae_on();
	new32->cr3 = BAD_PDPT;
	do_switch(JMP);
	expect_raised("a reserved bit in a PDPTE", VEC_GP, 0);
	expect_in_new();
	assert_int_equal(fake_hw.reg[REG_CR3], PDPT);
}

/* Page faults before the switch is certain: the old task's. */
static void test_page_faults_before(void **state)
{
	static const struct {
		const char *what;
		unsigned page, bits;
		enum how how;
		unsigned error, cr2;
	} cases[] = {
		{ "new TSS", NEW_TSS, 0, JMP, 0, NEW_TSS },
		{ "old TSS", OLD_TSS, 0, JMP, PF_W, OLD_TSS + 0x20 },
		{ "old TSS read-only", OLD_TSS, 5, CALL, PF_W | PF_P, OLD_TSS + 0x20 },
		{ "back link read-only", NEW_TSS, 5, CALL, PF_W | PF_P, NEW_TSS },
		{ "GDT", GDT, 0, JMP, 0, GDT + SEL_NEW },
		{ "GDT read-only: old busy bit", GDT, 5, JMP, PF_W | PF_P, GDT + SEL_OLD + 5 },
		{ "GDT read-only: new busy bit", GDT, 5, CALL, PF_W | PF_P, GDT + SEL_NEW + 5 },
	};
	static uint8_t before[FAKE_RAM_SIZE];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		paging_on();
		fake_hw.reg[REG_CPL] = 3; /* the processor's own access, all the same */
		set_page(cases[i].page, cases[i].bits);
		prepare(cases[i].how);
		memcpy(before, fake_ram, sizeof(before));
		handle();
		expect_raised(cases[i].what, VEC_PF, cases[i].error);
		assert_int_equal(fake_hw.reg[REG_CR2], cases[i].cr2);
		expect_in_old(before);
	}
}

/* A new TSS that is only read may be read-only; supervisor pages do for CPL 3. */
static void test_pages_that_do(void **state)
{
	(void)state;
	paging_on();
	set_page(NEW_TSS, 5);
	do_switch(JMP);
	expect_quiet();
	setup(state);
	paging_on();
	fake_hw.reg[REG_CPL] = 3;
	set_page(NEW_TSS, 3);
	set_page(OLD_TSS, 3);
	set_page(GDT, 3);
	do_switch(CALL);
	expect_quiet();
	expect_in_new();
}

/* A TSS over two pages, of which the second is missing. */
static void test_tss_crosses_pages(void **state)
{
	static uint8_t before[FAKE_RAM_SIZE];

	paging_on();
	gdt_desc(SEL_NEW, 0x6fc0, 0x67, TSS32_FREE);
	memcpy(fake_ram + 0x6fc0, new32, sizeof(*new32));
	do_switch(JMP);
	expect_quiet();
	assert_int_equal(fake_vcpu.regs.rip, NEW_EIP);
	setup(state);
	paging_on();
	gdt_desc(SEL_NEW, 0x6fc0, 0x67, TSS32_FREE);
	set_page(0x7000, 0);
	prepare(JMP);
	memcpy(before, fake_ram, sizeof(before));
	handle();
	expect_raised("second page of the new TSS", VEC_PF, 0);
	assert_int_equal(fake_hw.reg[REG_CR2], 0x7000);
	expect_in_old(before);
	setup(state);
	paging_on();
	fake_hw.seg[SEG_TR].base = 0x6fc0;
	set_page(0x7000, 5);
	prepare(JMP);
	memcpy(before, fake_ram, sizeof(before));
	handle();
	expect_raised("second page of the old TSS", VEC_PF, PF_W | PF_P);
	assert_int_equal(fake_hw.reg[REG_CR2], 0x7000);
	expect_in_old(before);
}

/* The new task's tables do not have its GDT: its own fault, at its first instruction. */
static void test_page_fault_after(void **state)
{
	uint32_t none = 0;

	(void)state;
	paging_on();
	memcpy(fake_ram + OTHER_DIR, &none, sizeof(none));
	do_switch(JMP);
	expect_raised("GDT under the new CR3", VEC_PF, 0);
	assert_int_equal(fake_hw.reg[REG_CR2], GDT + SEL_CODE0);
	assert_int_equal(fake_hw.reg[REG_CR3], NEW_CR3);
	expect_in_new();
	assert_int_equal(fake_hw.seg[SEG_DS].selector, SEL_DATA0);
	assert_int_equal(fake_hw.seg[SEG_DS].attr, 0);
	assert_int_equal(gdt_attr(SEL_OLD), TSS32_FREE);
	assert_int_equal(gdt_attr(SEL_NEW), TSS32_BUSY);
}

static void test_accessed_bits(void **state)
{
	(void)state;
	gdt_desc(SEL_CODE0, 0, 0xfffff, BIG | 0x9a);
	gdt_desc(SEL_DATA0, 0, 0xfffff, BIG | 0x92);
	do_switch(JMP);
	expect_quiet();
	assert_int_equal(gdt_attr(SEL_CODE0), 0x9b);
	assert_int_equal(gdt_attr(SEL_DATA0), 0x93);
	assert_int_equal(fake_hw.seg[SEG_CS].attr, BIG | 0x9b);
	assert_int_equal(fake_hw.seg[SEG_SS].attr, BIG | 0x93);
}

/* --- events through a task gate --- */

static void raise_through_gate(enum vm_event_kind kind, unsigned vector, uint32_t error)
{
	struct vm_exit *exit = prepare(EVENT);
	bool has_error = kind == EVENT_EXCEPTION && fault_has_error(vector);

	exit->interrupted = (struct vm_event){
		.kind = kind, .vector = (uint8_t)vector, .has_error = has_error, .error = error
	};
	exit->task.has_error = has_error;
	exit->task.error = error;
	handle();
}

static uint32_t stack_word(uint32_t addr)
{
	uint32_t val;

	memcpy(&val, fake_ram + addr, sizeof(val));
	return val;
}

/* Delivered by the switch, and not a second time at the next entry. */
static void test_event_once(void **state)
{
	static const enum vm_event_kind kinds[] = { EVENT_INTR, EVENT_NMI, EVENT_EXCEPTION,
						    EVENT_SOFT_INT, EVENT_SOFT_EXC };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		setup(state);
		raise_through_gate(kinds[i], 3, 0);
		expect_quiet();
		expect_in_new();
		vcpu_inject_pending(&fake_vcpu);
		assert_int_equal(fake_hw.nr_injected, 0);
	}
}

/* A fault comes again; INT n, INT3 and INTO are done. */
static void test_saved_eip(void **state)
{
	raise_through_gate(EVENT_EXCEPTION, VEC_GP, 0);
	assert_int_equal(old32->eip, CODE);
	setup(state);
	raise_through_gate(EVENT_INTR, 0x20, 0);
	assert_int_equal(old32->eip, CODE);
	setup(state);
	memcpy(fake_ram + CODE, "\xcd\x40", 2);
	raise_through_gate(EVENT_SOFT_INT, 0x40, 0);
	assert_int_equal(old32->eip, CODE + 2);
	setup(state);
	memcpy(fake_ram + CODE, "\x66\xcd\x40", 3); /* a prefix counts */
	raise_through_gate(EVENT_SOFT_INT, 0x40, 0);
	assert_int_equal(old32->eip, CODE + 3);
	setup(state);
	memcpy(fake_ram + CODE, "\xcc", 1);
	raise_through_gate(EVENT_SOFT_EXC, VEC_BP, 0);
	assert_int_equal(old32->eip, CODE + 1);
	setup(state);
	memcpy(fake_ram + CODE, "\xce", 1);
	fake_vcpu.exit.insn_len = 0;
	raise_through_gate(EVENT_SOFT_EXC, VEC_OF, 0);
	assert_int_equal(old32->eip, CODE + 1);
}

/* The instruction's length: the hardware's when it tells one, else by decoding. */
static void test_insn_length(void **state)
{
	static const struct {
		enum how how;
		const char *bytes;
		unsigned n;
	} cases[] = {
		{ CALL, "\x9a\0\0\0\0\x20\0", 7 },
		{ CALL, "\xff\x1d\0\x10\0\0", 6 },
		{ JMP, "\xff\x2d\0\x10\0\0", 6 },
		{ JMP, "\x66\xea\0\0\x20\0", 6 },
		{ IRET, "\xcf", 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		memcpy(fake_ram + CODE, cases[i].bytes, cases[i].n);
		do_switch(cases[i].how);
		expect_quiet();
		assert_int_equal(old32->eip, CODE + cases[i].n);
	}
	setup(state);
	prepare(JMP)->insn_len = 9;
	handle();
	assert_int_equal(old32->eip, CODE + 9);
}

/* IP wraps at 64 KiB in 16-bit code. */
static void test_ip_wraps(void **state)
{
	(void)state;
	fake_hw.seg[SEG_CS] = (struct segment){ SEL_CODE0, 0x9b, 0xffff, 0 };
	fake_vcpu.regs.rip = 0xffff;
	prepare(JMP)->insn_len = 5;
	handle();
	assert_int_equal(old32->eip, 4);
}

static void test_error_code(void **state)
{
	(void)state;
	raise_through_gate(EVENT_EXCEPTION, VEC_GP, 0xdead0050);
	expect_quiet();
	assert_int_equal(fake_vcpu.regs.gpr[RSP], STACK - 4);
	assert_int_equal(stack_word(STACK - 4), 0xdead0050);
	/* Through a 16-bit TSS: two bytes. */
	setup(state);
	gdt_desc(SEL_NEW, NEW_TSS, 0x2b, TSS16_FREE);
	*new16 = (struct tss16){ .ip = NEW_EIP,
				 .gpr = { [RSP] = STACK },
				 .seg = { 0, SEL_CODE0, SEL_TEST, 0 } };
	gdt_desc(SEL_TEST, 0, 0xffff, 0x93);
	memset(fake_ram + STACK - 8, 0xee, 8);
	raise_through_gate(EVENT_EXCEPTION, VEC_GP, 0xdead0050);
	expect_quiet();
	assert_int_equal(fake_vcpu.regs.gpr[RSP], 0xffff0000 | (STACK - 2));
	assert_int_equal(stack_word(STACK - 4), 0x0050eeee);
	/* No error code: nothing is pushed. */
	setup(state);
	raise_through_gate(EVENT_INTR, 0x20, 0);
	assert_int_equal(fake_vcpu.regs.gpr[RSP], STACK);
}

/* The stack takes the error code, or the new task has #SS with EXT. */
static void test_error_code_limits(void **state)
{
	static const struct {
		const char *what;
		uint32_t esp, limit;
		unsigned attr;
		bool good;
	} cases[] = {
		{ "just fits", STACK, STACK - 1, 0x493, true },
		{ "beyond by one", STACK, STACK - 2, 0x493, false },
		{ "wraps", 2, STACK, 0x493, false },
		{ "16-bit SP wraps", 0x10000, 0xffff, 0x093, true },
		{ "expand-down", STACK, STACK - 5, 0x497, true },
		{ "expand-down, in the limit", STACK, STACK - 4, 0x497, false },
		{ "expand-down, 16-bit", 0x10000, 0x1000, 0x097, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		gdt_desc(SEL_TEST, 0, cases[i].limit, cases[i].attr);
		new32->seg[SEG_SS].selector = SEL_TEST;
		new32->gpr[RSP] = cases[i].esp;
		raise_through_gate(EVENT_EXCEPTION, VEC_AC, 0); /* benign: no #DF of it */
		if (cases[i].good)
			expect_quiet();
		else
			expect_raised(cases[i].what, VEC_SS, 1);
		expect_in_new();
	}
}

/* The push is the new task's own access; a push that faults leaves ESP. */
static void test_error_code_page_fault(void **state)
{
	(void)state;
	paging_on();
	for (unsigned i = 0; i < TSS_SEGS; i++)
		new32->seg[i].selector = i == SEG_CS ? SEL_CODE3 : SEL_DATA3;
	set_page(STACK, 3);
	raise_through_gate(EVENT_EXCEPTION, VEC_AC, 0);
	expect_raised("push to a supervisor page", VEC_PF, PF_P | PF_W | PF_U);
	assert_int_equal(fake_hw.reg[REG_CR2], STACK - 4);
	assert_int_equal(fake_vcpu.regs.gpr[RSP], STACK);
	expect_in_new();
}

/* EXT: only what comes from outside the program sets it. */
static void test_ext(void **state)
{
	static const struct {
		enum vm_event_kind kind;
		unsigned vector, ext;
	} cases[] = {
		{ EVENT_INTR, 0x20, 1 },        { EVENT_NMI, VEC_NMI, 1 },
		{ EVENT_EXCEPTION, VEC_UD, 1 }, { EVENT_SOFT_INT, 0x20, 0 },
		{ EVENT_SOFT_EXC, VEC_BP, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(state);
		gdt_desc(SEL_NEW, NEW_TSS, 0x67, 0x09);
		raise_through_gate(cases[i].kind, cases[i].vector, 0);
		expect_raised("not present", VEC_NP, SEL_NEW | cases[i].ext);
		assert_int_equal(fake_vcpu.regs.rip, CODE);
		setup(state);
		new32->seg[SEG_DS].selector = SEL_BEYOND;
		raise_through_gate(cases[i].kind, cases[i].vector, 0);
		expect_raised("DS beyond", VEC_TS, SEL_BEYOND | cases[i].ext);
		expect_in_new();
	}
}

/* A fault on the way to the handler of a fault: #DF; on the way to #DF's: the end. */
static void test_double_fault(void **state)
{
	gdt_desc(SEL_NEW, NEW_TSS, 0x67, 0x09);
	raise_through_gate(EVENT_EXCEPTION, VEC_GP, 0);
	expect_raised("#NP after #GP", VEC_DF, 0);
	assert_int_equal(fake_vcpu.regs.rip, CODE);
	setup(state);
	new32->seg[SEG_SS].selector = 0;
	raise_through_gate(EVENT_EXCEPTION, VEC_PF, 0);
	expect_raised("#TS after #PF", VEC_DF, 0);
	expect_in_new();
	setup(state);
	gdt_desc(SEL_NEW, NEW_TSS, 0x67, 0x09);
	raise_through_gate(EVENT_EXCEPTION, VEC_DF, 0);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_TRIPLE);
}

/* --- T --- */

static void test_debug_trap(void **state)
{
	(void)state;
	new32->trap = 1;
	do_switch(JMP);
	expect_raised("T", VEC_DB, 0);
	expect_in_new();
	assert_int_equal(fake_hw.reg[REG_DR6], DR6_INIT | BIT(15));
	assert_false(fake_vcpu.regs.rflags & RFLAGS_RF);
	setup(state);
	new32->trap = 0xfffe;
	do_switch(JMP);
	expect_quiet();
	/* A fault of the new task comes first. */
	setup(state);
	new32->trap = 1;
	new32->seg[SEG_DS].selector = SEL_BEYOND;
	do_switch(JMP);
	expect_raised("DS beyond", VEC_TS, SEL_BEYOND);
}

/* A task that was called goes back, and is called again where it left off. */
static void test_there_and_back(void **state)
{
	(void)state;
	memcpy(fake_ram + CODE, "\x9a\0\0\0\0\x20\0", 7);
	old32->ldt = 0;
	old32->trap = 0;
	do_switch(CALL);
	expect_in_new();
	fake_ram[NEW_EIP] = 0xcf;
	fake_vcpu.regs.gpr[RBX] = 0xbbbb;
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_TASK_SWITCH };
	fake_vcpu.exit.task.selector = new32->link;
	fake_vcpu.exit.task.iret = true;
	handle();
	expect_quiet();
	assert_int_equal(fake_hw.seg[SEG_TR].selector, SEL_OLD);
	assert_int_equal(fake_vcpu.regs.rip, CODE + 7);
	assert_int_equal(fake_vcpu.regs.gpr[RBX], RBX);
	assert_int_equal(fake_vcpu.regs.rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ZF);
	assert_int_equal(gdt_attr(SEL_OLD), TSS32_BUSY);
	assert_int_equal(gdt_attr(SEL_NEW), TSS32_FREE);
	assert_int_equal(new32->eip, NEW_EIP + 1);
	assert_int_equal(new32->gpr[RBX], 0xbbbb);
	assert_false(new32->eflags & RFLAGS_NT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_saves_old, setup),
		cmocka_unit_test_setup(test_loads_new, setup),
		cmocka_unit_test_setup(test_nesting, setup),
		cmocka_unit_test_setup(test_own_nt, setup),
		cmocka_unit_test_setup(test_rf, setup),
		cmocka_unit_test_setup(test_reserved_flags, setup),
		cmocka_unit_test_setup(test_old_16bit, setup),
		cmocka_unit_test_setup(test_new_16bit, setup),
		cmocka_unit_test_setup(test_v86, setup),
		cmocka_unit_test_setup(test_from_v86, setup),
		cmocka_unit_test_setup(test_cr3, setup),
		cmocka_unit_test_setup(test_pae, setup),
		cmocka_unit_test_setup(test_page_faults_before, setup),
		cmocka_unit_test_setup(test_pages_that_do, setup),
		cmocka_unit_test_setup(test_tss_crosses_pages, setup),
		cmocka_unit_test_setup(test_page_fault_after, setup),
		cmocka_unit_test_setup(test_accessed_bits, setup),
		cmocka_unit_test_setup(test_event_once, setup),
		cmocka_unit_test_setup(test_saved_eip, setup),
		cmocka_unit_test_setup(test_insn_length, setup),
		cmocka_unit_test_setup(test_ip_wraps, setup),
		cmocka_unit_test_setup(test_error_code, setup),
		cmocka_unit_test_setup(test_error_code_limits, setup),
		cmocka_unit_test_setup(test_error_code_page_fault, setup),
		cmocka_unit_test_setup(test_ext, setup),
		cmocka_unit_test_setup(test_double_fault, setup),
		cmocka_unit_test_setup(test_debug_trap, setup),
		cmocka_unit_test_setup(test_there_and_back, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
