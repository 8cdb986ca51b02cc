/*
 * The interpreter between segments: far transfers, loads of segment registers from their tables,
 * interrupts and events in real mode and through gates, and the way from one mode to another.
 */
#include "tests/host/emu_step_fixture.h"
#include "vmm/desc.h"

#define GDT UINT64_C(0x3000)
#define IDT UINT64_C(0x4000)
#define SEL_CODE 0x08u
#define SEL_DATA 0x10u
#define SEL_CODE16 0x18u
#define SEL_DATA16 0x20u
#define SEL_TEST 0x28u
#define SEL_BEYOND 0x30u
#define GDT_LIMIT 0x2fu

#define DESC_CODE UINT64_C(0x00cf9a000000ffff) /* not accessed */
#define DESC_DATA UINT64_C(0x00cf92000000ffff)
#define DESC_CODE16 UINT64_C(0x00009a100000ffff) /* based at CODE_PA */
#define DESC_DATA16 UINT64_C(0x000092000000ffff)
static_assert(CODE_PA == 0x100000, "DESC_CODE16");

static void put_desc(unsigned selector, uint64_t raw)
{
	memcpy(fx.ram + GDT + selector, &raw, 8);
}

static unsigned desc_type(unsigned selector)
{
	return fx.ram[GDT + selector + 5] & 0x1f;
}

static void tables(void)
{
	put_desc(SEL_CODE, DESC_CODE);
	put_desc(SEL_DATA, DESC_DATA);
	put_desc(SEL_CODE16, DESC_CODE16);
	put_desc(SEL_DATA16, DESC_DATA16);
	fx.seg[SEG_GDTR] = (struct segment){ .base = GDT, .limit = GDT_LIMIT };
	fx.seg[SEG_LDTR] = (struct segment){ 0 };
	GPR[RSP] = 0x1000;
}

static int setup_16(void **state)
{
	int err = fx_setup(state);

	fx_mode_16();
	tables();
	fx.seg[SEG_IDTR] = (struct segment){ .base = 0, .limit = 0x3ff };
	return err;
}

static int setup_32(void **state)
{
	int err = fx_setup(state);

	fx_mode_32();
	tables();
	fx.seg[SEG_CS].selector = SEL_CODE;
	fx.seg[SEG_IDTR] = (struct segment){ .base = IDT, .limit = 0xff };
	return err;
}

static int setup_64(void **state)
{
	int err = fx_setup(state);

	tables();
	fx.seg[SEG_GDTR].limit = SEL_BEYOND + 15;
	return err;
}

/* --- far transfers in real mode --- */

static void test_real_far_call(void **state)
{
	(void)state;
	fx.seg[SEG_CS].selector = 0x7777;
	BEGIN(0x9a, 0x10, 0x00, 0x00, 0x20); /* call 0x2000:0x10 */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x10);
	assert_int_equal(fx.seg[SEG_CS].base, 0x20000);
	assert_int_equal(fx.seg[SEG_CS].selector, 0x2000);
	assert_int_equal(fx.seg[SEG_CS].limit, 0xffff);
	assert_int_equal(fx.seg[SEG_CS].attr, 0x9b);
	assert_int_equal(read16(0xffe), 0x7777);
	assert_int_equal(read16(0xffc), 5);
}

static void test_real_far_ret(void **state)
{
	(void)state;
	BEGIN(0xca, 0x02, 0x00); /* retf 2 */
	write32(0x1000, 0x20000123);
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x123);
	assert_int_equal(fx.seg[SEG_CS].base, 0x20000);
	assert_int_equal(GPR[RSP], 0x1006);
}

/* What the limit does not hold is refused before the stack or CS changes. */
static void test_real_far_limit(void **state)
{
	(void)state;
	/* call dword 0x2000:0x10000 */
	BEGIN(0x66, 0x9a, 0x00, 0x00, 0x01, 0x00, 0x00, 0x20);
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	assert_int_equal(GPR[RSP], 0x1000);
	assert_int_equal(fx.seg[SEG_CS].base, CODE_PA);
}

/* --- INT and IRET in real mode --- */

static void test_real_int(void **state)
{
	(void)state;
	fx.seg[SEG_CS].selector = 0x7777;
	write32(0x21 * 4, 0x20000100);
	BEGIN(0xcd, 0x21);
	FLAGS |= RFLAGS_IF | RFLAGS_CF | RFLAGS_AC;
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x100);
	assert_int_equal(fx.seg[SEG_CS].base, 0x20000);
	assert_int_equal(FLAGS, RFLAGS_FIXED | RFLAGS_CF);
	assert_int_equal(GPR[RSP], 0xffa);
	assert_int_equal(read16(0xffa), 2);
	assert_int_equal(read16(0xffc), 0x7777);
	assert_int_equal(read16(0xffe), RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF);
	fx.reg[REG_NMI_BLOCKED] = 1;
	fx.ram[0x20100] = 0xcf; /* iret */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 2);
	assert_int_equal(fx.seg[SEG_CS].selector, 0x7777);
	assert_int_equal(FLAGS, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF);
	assert_int_equal(GPR[RSP], 0x1000);
	assert_int_equal(fx.reg[REG_NMI_BLOCKED], 0);
}

static void test_real_int3_into(void **state)
{
	(void)state;
	write32(3 * 4, 0x20000100);
	write32(4 * 4, 0x20000200);
	BEGIN(0xce, 0xce, 0xcc); /* into; into; int3 */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 1);
	FLAGS |= RFLAGS_OF;
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x200);
	assert_int_equal(read16(0xffa), 2);
	BEGIN(0xcc);
	fx.seg[SEG_CS].base = CODE_PA;
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x100);
}

/* IRETD's image keeps VM, VIF and VIP out, and lets RF in. */
static void test_real_iretd(void **state)
{
	(void)state;
	BEGIN(0x66, 0xcf);
	write32(0x1000, 0x123);
	write32(0x1004, 0x2000);
	write32(0x1008, 0xffffffff & ~RFLAGS_TF);
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x123);
	assert_int_equal(GPR[RSP], 0x100c);
	assert_int_equal(FLAGS & (RFLAGS_VM | RFLAGS_VIF | RFLAGS_VIP), 0);
	assert_true(FLAGS & RFLAGS_RF && FLAGS & RFLAGS_IF && FLAGS & RFLAGS_ID);
	assert_int_equal(FLAGS & RFLAGS_IOPL, RFLAGS_IOPL);
}

static void test_int_beyond_the_table(void **state)
{
	(void)state;
	fx.seg[SEG_IDTR].limit = 0x21 * 4 + 2;
	BEGIN(0xcd, 0x21);
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	assert_int_equal(RIP, 0);
	assert_int_equal(GPR[RSP], 0x1000);
}

/* --- events in real mode --- */

static void test_deliver_interrupt(void **state)
{
	const struct vm_event ev = { .kind = EVENT_INTR, .vector = 8 };

	(void)state;
	write32(8 * 4, 0xf000fea5);
	RIP = 0x1234;
	FLAGS |= RFLAGS_IF;
	fx.reg[REG_INTR_SHADOW] = 1;
	emulate_deliver(&fx.vcpu, &ev);
	assert_nothing_raised();
	assert_int_equal(RIP, 0xfea5);
	assert_int_equal(fx.seg[SEG_CS].base, 0xf0000);
	assert_int_equal(read16(0xffa), 0x1234);
	assert_false(FLAGS & RFLAGS_IF);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 0);
	assert_int_equal(fx.reg[REG_NMI_BLOCKED], 0);
}

/* No error code; a software interrupt comes back behind itself; an NMI blocks the next. */
static void test_deliver_kinds(void **state)
{
	(void)state;
	write32(13 * 4, 0x20000000);
	RIP = 0x1234;
	emulate_deliver(&fx.vcpu, &(struct vm_event){ .kind = EVENT_EXCEPTION,
						      .vector = 13,
						      .has_error = true,
						      .error = 8 });
	assert_int_equal(GPR[RSP], 0xffa);
	assert_int_equal(read16(0xffa), 0x1234);
	emulate_deliver(&fx.vcpu,
			&(struct vm_event){ .kind = EVENT_SOFT_INT, .vector = 13, .insn_len = 2 });
	assert_int_equal(read16(0xff4), 2);
	emulate_deliver(&fx.vcpu, &(struct vm_event){ .kind = EVENT_NMI, .vector = 2 });
	assert_int_equal(fx.reg[REG_NMI_BLOCKED], 1);
	assert_int_equal(fx.injected, 0);
}

/* The event queue asks the core while CR0.PE is clear, and the backend else. */
static void test_queue_delivers(void **state)
{
	(void)state;
	write32(6 * 4, 0x20000000);
	vcpu_raise_vector(&fx.vcpu, VEC_UD);
	vcpu_inject_pending(&fx.vcpu);
	assert_nothing_raised();
	assert_int_equal(fx.seg[SEG_CS].base, 0x20000);
	assert_int_equal(fx.injected, 0);
	vcpu_raise_nmi(&fx.vcpu);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.reg[REG_NMI_BLOCKED], 1);
	assert_int_equal(fx.injected, 0);
	fx.reg[REG_CR0] = CR0_PE;
	vcpu_raise_vector(&fx.vcpu, VEC_UD);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.injected, 1);
}

/* A table with room for #DF and no more: #UD meets #GP, which meets #GP: #DF is delivered. */
static void test_queue_double_fault(void **state)
{
	(void)state;
	fx.seg[SEG_IDTR] = (struct segment){ .base = 0x5000 - 4 * VEC_DF, .limit = 4 * VEC_DF + 3 };
	write32(0x5000, 0x20000555);
	vcpu_raise_error(&fx.vcpu, VEC_GP, 0);
	vcpu_inject_pending(&fx.vcpu);
	assert_nothing_raised();
	assert_int_equal(RIP, 0x555);
	assert_int_equal(fx.vm.stop_reason, VM_STOP_NONE);
}

static void test_queue_triple_fault(void **state)
{
	(void)state;
	fx.seg[SEG_IDTR].limit = 3;
	vcpu_raise_vector(&fx.vcpu, VEC_UD);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.vm.stop_reason, VM_STOP_TRIPLE);
}

/* --- protected mode --- */

static void test_load_data_segment(void **state)
{
	(void)state;
	BEGIN(0x8e, 0xd8, 0x8e, 0xdb); /* mov ds, eax; mov ds, ebx */
	put_desc(SEL_TEST, UINT64_C(0x1240920345678888) | UINT64_C(1) << 55);
	GPR[RAX] = SEL_TEST;
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_DS].base, 0x12034567);
	assert_int_equal(fx.seg[SEG_DS].limit, 0x8888fff);
	assert_int_equal(desc_type(SEL_TEST), 0x13);
	assert_int_equal(fx.seg[SEG_DS].attr & 0x1f, 0x13);
	GPR[RBX] = 3; /* null */
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_DS].attr & SEG_ATTR_P, 0);
	BEGIN(0xa1, 0, 0, 0, 0); /* mov eax, [0] */
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
}

static void test_refused_segments(void **state)
{
	static const struct {
		uint8_t modrm; /* of MOV from AX */
		uint16_t selector;
		uint64_t raw; /* SEL_TEST's */
		unsigned vector, error;
	} cases[] = {
		{ 0xd8, SEL_BEYOND, 0, VEC_GP, SEL_BEYOND },
		{ 0xd8, SEL_TEST | SEL_TI, 0, VEC_GP, SEL_TEST | SEL_TI },
		{ 0xd8, SEL_TEST, 0x000012000000ffff, VEC_NP, SEL_TEST },
		{ 0xd8, SEL_TEST, 0x000082000000ffff, VEC_GP, SEL_TEST },     /* an LDT */
		{ 0xd8, SEL_TEST, 0x000098000000ffff, VEC_GP, SEL_TEST },     /* not readable */
		{ 0xd8, SEL_TEST | 3, 0x000092000000ffff, VEC_GP, SEL_TEST }, /* RPL */
		{ 0xd0, 0, 0, VEC_GP, 0 },                                    /* SS null */
		{ 0xd0, SEL_TEST, 0x000090000000ffff, VEC_GP, SEL_TEST },     /* not writable */
		{ 0xd0, SEL_TEST, 0x0000f2000000ffff, VEC_GP, SEL_TEST },     /* DPL 3 */
		{ 0xd0, SEL_TEST, 0x000012000000ffff, VEC_SS, SEL_TEST },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint8_t code[] = { 0x8e, cases[i].modrm };
		struct segment before[SEG_REGS];

		put_desc(SEL_TEST, cases[i].raw);
		GPR[RAX] = cases[i].selector;
		memcpy(before, fx.seg, sizeof(before));
		begin(code, sizeof(code));
		steps(EMULATE_FAULT);
		assert_raised(cases[i].vector, cases[i].error);
		assert_memory_equal(before, fx.seg, sizeof(before));
	}
}

/* A POP that faults leaves the stack pointer. */
static void test_pop_segment(void **state)
{
	(void)state;
	BEGIN(0x1f, 0x1f, 0x17); /* pop ds; pop ds; pop ss */
	write32(0x1000, SEL_DATA);
	write32(0x1004, SEL_BEYOND);
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_DS].selector, SEL_DATA);
	assert_int_equal(GPR[RSP], 0x1004);
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, SEL_BEYOND);
	assert_int_equal(GPR[RSP], 0x1004);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	RIP = CODE_PA + 2;
	write32(0x1004, SEL_DATA16);
	steps(EMULATE_DONE);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 1);
	assert_int_equal(GPR[RSP], 0x1008);
}

static void test_far_jump(void **state)
{
	(void)state;
	BEGIN(0xea, 0x00, 0x20, 0x00, 0x00, SEL_CODE16, 0x00); /* jmp SEL_CODE16:0x2000 */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x2000);
	assert_int_equal(fx.seg[SEG_CS].base, CODE_PA);
	assert_int_equal(fx.seg[SEG_CS].attr & SEG_ATTR_DB, 0);
	assert_int_equal(desc_type(SEL_CODE16), 0x1b);
}

static void test_refused_jumps(void **state)
{
	static const struct {
		uint16_t selector;
		uint64_t raw;
		unsigned vector, error;
	} cases[] = {
		{ 0, 0, VEC_GP, 0 },
		{ SEL_BEYOND, 0, VEC_GP, SEL_BEYOND },
		{ SEL_DATA, 0, VEC_GP, SEL_DATA },
		{ SEL_TEST, 0x00001a000000ffff, VEC_NP, SEL_TEST },
		{ SEL_TEST, 0x0000fa000000ffff, VEC_GP, SEL_TEST }, /* DPL 3 */
		{ SEL_TEST, 0x0000fe000000ffff, VEC_GP, SEL_TEST }, /* conforming, too */
		{ SEL_TEST | 1, DESC_CODE, VEC_GP, SEL_TEST },      /* RPL */
		{ SEL_TEST, 0x00009a0000001fff, VEC_GP, 0 },        /* beyond its limit */
		{ SEL_TEST, 0, VEC_GP, SEL_TEST },                  /* type 0 */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint8_t code[] = { 0xea,
					 0x00,
					 0x20,
					 0,
					 0,
					 (uint8_t)cases[i].selector,
					 (uint8_t)(cases[i].selector >> 8) };

		put_desc(SEL_TEST, cases[i].raw);
		begin(code, sizeof(code));
		steps(EMULATE_FAULT);
		assert_raised(cases[i].vector, cases[i].error);
		assert_int_equal(RIP, CODE_PA);
	}
	put_desc(SEL_TEST, 0x00008c0000081000); /* a call gate */
	BEGIN(0xea, 0, 0, 0, 0, SEL_TEST, 0);
	steps(EMULATE_FAILED);
}

static void test_far_call_and_return(void **state)
{
	(void)state;
	BEGIN(0x9a, 0x00, 0x20, 0x00, 0x00, SEL_CODE16, 0x00);
	steps(EMULATE_DONE);
	assert_int_equal(read32(0xffc), SEL_CODE);
	assert_int_equal(read32(0xff8), CODE_PA + 7);
	fx.ram[CODE_PA + 0x2000] = 0x66; /* retfd */
	fx.ram[CODE_PA + 0x2001] = 0xcb;
	steps(EMULATE_DONE);
	assert_int_equal(RIP, CODE_PA + 7);
	assert_int_equal(fx.seg[SEG_CS].base, 0);
	assert_int_equal(GPR[RSP], 0x1000);
	BEGIN(0xcb); /* to another privilege */
	write32(0x1000, 0x2000);
	write32(0x1004, SEL_CODE | 3);
	steps(EMULATE_FAILED);
}

static void test_gate(void **state)
{
	const struct vm_event gp = {
		.kind = EVENT_EXCEPTION, .vector = 13, .has_error = true, .error = 0x18
	};

	(void)state;
	write32(IDT + 13 * 8, SEL_CODE << 16 | 0x2222);
	write32(IDT + 13 * 8 + 4, 0x00018e00);
	FLAGS |= RFLAGS_IF | RFLAGS_NT;
	RIP = 0x1234;
	emulate_deliver(&fx.vcpu, &gp);
	assert_nothing_raised();
	assert_int_equal(RIP, 0x12222);
	assert_int_equal(FLAGS & (RFLAGS_IF | RFLAGS_NT), 0);
	assert_int_equal(read32(0xff0), 0x18);
	assert_int_equal(read32(0xff4), 0x1234);
	assert_int_equal(read32(0xff8), SEL_CODE);
	assert_int_equal(read32(0xffc), RFLAGS_FIXED | RFLAGS_IF | RFLAGS_NT);
	write32(IDT + 13 * 8 + 4, 0x00018700); /* a trap gate of 16 bits */
	FLAGS |= RFLAGS_IF;
	emulate_deliver(&fx.vcpu, &gp);
	assert_int_equal(RIP, 0x2222);
	assert_true(FLAGS & RFLAGS_IF);
	assert_int_equal(GPR[RSP], 0xff0 - 8);
	BEGIN(0xcf);
	GPR[RSP] = 0xff4;
	FLAGS &= ~RFLAGS_IF;
	steps(EMULATE_DONE); /* iretd */
	assert_int_equal(RIP, 0x1234);
	assert_int_equal(GPR[RSP], 0x1000);
	assert_true(FLAGS & RFLAGS_IF);
}

static void test_gate_refused(void **state)
{
	const struct vm_event ev = { .kind = EVENT_INTR, .vector = 0x1f };

	(void)state;
	write32(IDT + 0x1f * 8, SEL_CODE << 16);
	write32(IDT + 0x1f * 8 + 4, 0x0e00); /* not present */
	emulate_deliver(&fx.vcpu, &ev);
	assert_raised(VEC_NP, 0x1f * 8 + 3);
	fx.seg[SEG_IDTR].limit = 0xfe;
	emulate_deliver(&fx.vcpu, &ev);
	assert_raised(VEC_GP, 0x1f * 8 + 3);
	fx.seg[SEG_IDTR].limit = 0xff;
	write32(IDT + 0x1f * 8 + 4, 0x8500); /* a task gate */
	emulate_deliver(&fx.vcpu, &ev);
	assert_int_equal(fx.vm.stop_reason, VM_STOP_ERROR);
}

/* INT of protected mode waits for the processor to deliver it. */
static void test_protected_int(void **state)
{
	(void)state;
	BEGIN(0xcd, 0x80);
	steps(EMULATE_DONE);
	assert_int_equal(RIP, CODE_PA);
	assert_int_equal(fx.vcpu.events.pending.kind, EVENT_SOFT_INT);
	assert_int_equal(fx.vcpu.events.pending.vector, 0x80);
	assert_int_equal(fx.vcpu.events.pending.insn_len, 2);
}

static void test_system_segments(void **state)
{
	(void)state;
	BEGIN(0x0f, 0x00, 0xd0, 0x0f, 0x00, 0xdb, 0x0f, 0x00, 0xc9); /* lldt ax; ltr bx; str ecx */
	put_desc(SEL_TEST, 0x0000820060000017);
	put_desc(SEL_DATA16, 0x0000890070000067);
	GPR[RAX] = SEL_TEST;
	GPR[RBX] = SEL_DATA16;
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_LDTR].base, 0x6000);
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_TR].base, 0x7000);
	assert_int_equal(fx.seg[SEG_TR].attr & 0xf, 0xb);
	assert_int_equal(desc_type(SEL_DATA16), 0xb);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RCX], SEL_DATA16);
	RIP = CODE_PA + 3; /* it is busy now */
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, SEL_DATA16);
}

#define LDT_LOW UINT64_C(0x1200820060000017)
#define TSS_LOW UINT64_C(0x0000890070000067)
#define HIGH UINT64_C(0xffff8000)

/* In long mode their descriptors have 16 bytes. */
static void test_system_segments_64(void **state)
{
	(void)state;
	window_map(0, DEVICE_A, PTE_P | PTE_W);
	BEGIN(0x0f, 0x00, 0x10, 0x0f, 0x00, 0xdb); /* lldt [rax]; ltr bx */
	put_desc(SEL_TEST, LDT_LOW);
	put_desc(SEL_TEST + 8, HIGH);
	put_desc(SEL_CODE16, TSS_LOW);
	put_desc(SEL_CODE16 + 8, HIGH);
	fx.dev[0].mem[4] = SEL_TEST;
	GPR[RAX] = WINDOW + 4;
	GPR[RBX] = SEL_CODE16;
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_LDTR].base, 0xffff800012006000);
	assert_int_equal(fx.seg[SEG_LDTR].limit, 0x17);
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_TR].base, 0xffff800000007000);
	assert_int_equal(fx.seg[SEG_TR].attr & 0xf, 0xb);
	assert_int_equal(desc_type(SEL_CODE16), 0xb);
	assert_int_equal(desc_type(SEL_CODE16 + 8), 0);
}

static void test_system_segments_64_refused(void **state)
{
	static const struct {
		uint64_t low, high;
		uint32_t limit;
		bool ltr;
		unsigned vector;
	} cases[] = {
		{ LDT_LOW, HIGH, SEL_TEST + 14, false, VEC_GP },
		{ LDT_LOW, HIGH | UINT64_C(0x100) << 32, SEL_TEST + 15, false, VEC_GP },
		{ LDT_LOW, UINT64_C(0x8000), SEL_TEST + 15, false, VEC_GP }, /* not canonical */
		{ LDT_LOW & ~BIT(47), HIGH, SEL_TEST + 15, false, VEC_NP },
		{ TSS_LOW, HIGH, SEL_TEST + 14, true, VEC_GP },
		{ TSS_LOW, HIGH | UINT64_C(0x1000) << 32, SEL_TEST + 15, true, VEC_GP },
		{ TSS_LOW & ~BIT(43), HIGH, SEL_TEST + 15, true, VEC_GP }, /* of 16 bits */
		{ TSS_LOW & ~BIT(47), HIGH, SEL_TEST + 15, true, VEC_NP },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		BEGIN(0x0f, 0x00, 0xd0, 0x0f, 0x00, 0xd8); /* lldt ax; ltr ax */
		RIP += cases[i].ltr ? 3 : 0;
		put_desc(SEL_TEST, cases[i].low);
		put_desc(SEL_TEST + 8, cases[i].high);
		fx.seg[SEG_GDTR].limit = cases[i].limit;
		GPR[RAX] = SEL_TEST;
		steps(EMULATE_FAULT);
		assert_raised(cases[i].vector, SEL_TEST);
		assert_int_equal(desc_type(SEL_TEST), cases[i].low >> 40 & 0x1f);
	}
}

static void test_verify(void **state)
{
	(void)state;
	BEGIN(0x0f, 0x00, 0xe0, 0x0f, 0x00, 0xe8, 0x0f, 0x02, 0xd8, 0x0f, 0x03, 0xd8);
	GPR[RAX] = SEL_CODE16; /* verr ax; verw ax; lar ebx, eax; lsl ebx, eax */
	steps(EMULATE_DONE);
	assert_true(FLAGS & RFLAGS_ZF);
	steps(EMULATE_DONE);
	assert_false(FLAGS & RFLAGS_ZF);
	steps(EMULATE_DONE);
	assert_true(FLAGS & RFLAGS_ZF);
	assert_int_equal(GPR[RBX], 0x9a00);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RBX], 0xffff);
	RIP = CODE_PA + 6;
	GPR[RAX] = SEL_BEYOND;
	steps(EMULATE_DONE);
	assert_false(FLAGS & RFLAGS_ZF);
	assert_int_equal(GPR[RBX], 0xffff);
}

/* As Linux does it: from real mode to protected mode, with the segments of real mode until they are
 * loaded, and back with limits of 4 GiB. */
static void test_to_protected_and_back(void **state)
{
	(void)state;
	fx.seg[SEG_DS] = (struct segment){
		.selector = 0x900, .base = 0x9000, .limit = 0xffff, .attr = 0x93
	};
	/* mov eax, cr0; inc ax; mov cr0, eax; mov cx, [0x10]; jmp SEL_CODE16:0x11 */
	BEGIN(0x0f, 0x20, 0xc0, 0x40, 0x0f, 0x22, 0xc0, 0x8b, 0x0e, 0x10, 0x00, 0xea, 0x10, 0x00,
	      SEL_CODE16, 0x00,
	      /* 10: mov fs, bx; dec ax; mov cr0, eax; mov fs, si; mov dx, fs:[edi] */
	      0x8e, 0xe3, 0x48, 0x0f, 0x22, 0xc0, 0x8e, 0xe6, 0x64, 0x67, 0x8b, 0x17);
	write32(0x9010, 0x5566);
	GPR[RBX] = SEL_DATA;
	GPR[RSI] = 0x1000;
	GPR[RDI] = 0x200000;
	write32(0x210000, 0x7788);
	for (unsigned i = 0; i < 5; i++)
		steps(EMULATE_DONE);
	assert_int_equal(GPR[RCX], 0x5566);
	assert_int_equal(RIP, 0x10);
	assert_int_equal(fx.seg[SEG_CS].selector, SEL_CODE16);
	for (unsigned i = 0; i < 5; i++)
		steps(EMULATE_DONE);
	assert_int_equal(fx.reg[REG_CR0] & CR0_PE, 0);
	assert_int_equal(fx.seg[SEG_FS].base, 0x10000);
	assert_int_equal(fx.seg[SEG_FS].limit, 0xffffffff);
	assert_int_equal(GPR[RDX], 0x7788);
}

#define T16(name) cmocka_unit_test_setup_teardown(name, setup_16, fx_teardown)
#define T32(name) cmocka_unit_test_setup_teardown(name, setup_32, fx_teardown)
#define T64(name) cmocka_unit_test_setup_teardown(name, setup_64, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T16(test_real_far_call),
		T16(test_real_far_ret),
		T16(test_real_far_limit),
		T16(test_real_int),
		T16(test_real_int3_into),
		T16(test_real_iretd),
		T16(test_int_beyond_the_table),
		T16(test_deliver_interrupt),
		T16(test_deliver_kinds),
		T16(test_queue_delivers),
		T16(test_queue_double_fault),
		T16(test_queue_triple_fault),
		T32(test_load_data_segment),
		T32(test_refused_segments),
		T32(test_pop_segment),
		T32(test_far_jump),
		T32(test_refused_jumps),
		T32(test_far_call_and_return),
		T32(test_gate),
		T32(test_gate_refused),
		T32(test_protected_int),
		T32(test_system_segments),
		T64(test_system_segments_64),
		T64(test_system_segments_64_refused),
		T32(test_verify),
		T16(test_to_protected_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
