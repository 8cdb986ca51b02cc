/*
 * The interpreter where the processor at hand cannot be asked: stacks and branches of 16 and 32
 * bits, limits, what real mode does with segments, and what only the kernel may do. What
 * instructions compute is in test_emulate_cpu.c; far transfers and events in test_emulate_far.c.
 */
#include "tests/host/emu_step_fixture.h"

/* --- the stack --- */

static void test_stack_pointer_is_16_bits(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0x50, 0x66, 0x50, 0x5b, 0x66, 0x59); /* push ax; push eax; pop bx; pop ecx */
	fx.seg[SEG_SS].base = 0x30000;
	GPR[RAX] = 0x11223344;
	GPR[RSP] = 0x55550004;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RSP], 0x55550002);
	assert_int_equal(read16(0x30002), 0x3344);
	steps(EMULATE_FAULT); /* the four bytes are at fffe: two are beyond the limit */
	assert_raised(VEC_SS, 0);
	assert_int_equal(GPR[RSP], 0x55550002);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	GPR[RSP] = 0x55550000;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RSP], 0x5555fffc);
	assert_int_equal(read32(0x3fffc), 0x11223344);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RBX], 0x3344);
	assert_int_equal(GPR[RSP], 0x5555fffe);
	steps(EMULATE_FAULT); /* pop ecx: half of it is beyond */
	assert_raised(VEC_SS, 0);
	assert_int_equal(GPR[RCX], 0);
}

/* SS.B alone says how wide the stack pointer is, in real mode too. */
static void test_big_stack(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0x50); /* push ax */
	fx.seg[SEG_SS].attr |= SEG_ATTR_DB;
	fx.seg[SEG_SS].limit = 0xffffffff;
	GPR[RSP] = 0x200002;
	GPR[RAX] = 0x7788;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RSP], 0x200000);
	assert_int_equal(read16(0x200000), 0x7788);
}

static void test_pusha(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0x60, 0x61, 0x66, 0x60); /* pusha; popa; pushad */
	for (unsigned i = 0; i < 8; i++)
		GPR[i] = 0xaaaa0000 | (i + 1) * 0x111;
	GPR[RSP] = 0x1010;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RSP], 0x1000);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(read16(0x100e - 2 * i), i == RSP ? 0x1010 : (i + 1) * 0x111);
	for (unsigned i = 0; i < 8; i++)
		GPR[i] = i == RSP ? 0x1000 : 0xbbbbbbbb;
	steps(EMULATE_DONE);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(GPR[i], i == RSP ? 0x1010 : 0xbbbb0000 | (i + 1) * 0x111);
	GPR[RSP] = 0x0e; /* the seventh register's place is beyond the limit's end */
	write32(0, 0x5a5a5a5a);
	steps(EMULATE_FAULT);
	assert_raised(VEC_SS, 0);
	assert_int_equal(GPR[RSP], 0x0e);
	assert_int_equal(read32(0), 0x5a5a5a5a);
}

static void test_enter_leave(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xc8, 0x10, 0x00, 0x03, 0xc9); /* enter 16, 3; leave */
	GPR[RSP] = 0x1000;
	GPR[RBP] = 0x2000;
	write32(0x1ffc, 0xbbbbaaaa); /* the enclosing frames' pointers */
	steps(EMULATE_DONE);
	assert_int_equal(read16(0xffe), 0x2000);
	assert_int_equal(read16(0xffc), 0xbbbb);
	assert_int_equal(read16(0xffa), 0xaaaa);
	assert_int_equal(read16(0xff8), 0xffe);
	assert_int_equal(GPR[RBP], 0xffe);
	assert_int_equal(GPR[RSP], 0xff8 - 16);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RBP], 0x2000);
	assert_int_equal(GPR[RSP], 0x1000);
}

/* A fault of the target leaves the stack pointer, which its address is made with. */
static void test_pop_to_memory_faults(void **state)
{
	(void)state;
	fx_mode_32();
	BEGIN(0x8f, 0x44, 0x24, 0x08); /* pop dword [esp + 8] */
	GPR[RSP] = 0x1000;
	write32(0x1000, 0x12345678);
	steps(EMULATE_DONE);
	assert_int_equal(read32(0x1004 + 8), 0x12345678);
	RIP = CODE_PA;
	GPR[RSP] = 0x1000;
	fx.seg[SEG_SS].limit = 0x1008;
	steps(EMULATE_FAULT);
	assert_raised(VEC_SS, 0);
	assert_int_equal(GPR[RSP], 0x1000);
}

/* --- flags --- */

static void test_popf_by_privilege(void **state)
{
	const uint64_t system = RFLAGS_IF | RFLAGS_IOPL;

	(void)state;
	fx_mode_32();
	BEGIN(0x9d); /* popfd */
	GPR[RSP] = 0x1000;
	write32(0x1000, 0xffffffff);
	steps(EMULATE_DONE);
	assert_int_equal(FLAGS & (system | RFLAGS_VM | RFLAGS_RF), system);
	assert_true(FLAGS & RFLAGS_ID && FLAGS & RFLAGS_AC && FLAGS & RFLAGS_TF);
	assert_nothing_raised(); /* TF counts from the next instruction on */
	RIP = CODE_PA;
	GPR[RSP] = 0x1000;
	FLAGS = RFLAGS_FIXED;
	fx_user();
	steps(EMULATE_DONE);
	assert_int_equal(FLAGS & system, 0);
	assert_true(FLAGS & RFLAGS_CF);
}

static void test_trap_flag(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0x9d, 0x90, 0x8e, 0xd0); /* popf; nop; mov ss, ax */
	FLAGS |= RFLAGS_TF;
	GPR[RSP] = 0x1000;
	write32(0x1000, RFLAGS_FIXED | RFLAGS_TF);
	steps(EMULATE_DONE);
	assert_raised(VEC_DB, 0);
	assert_true(fx.reg[REG_DR6] & DR6_BS);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	steps(EMULATE_DONE);
	assert_raised(VEC_DB, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	steps(EMULATE_DONE); /* the next instruction is to load SP */
	assert_nothing_raised();
	assert_true(FLAGS & RFLAGS_TF);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 1);
}

static void test_sti_shadow(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xfb, 0xfb, 0xfa); /* sti; sti; cli */
	steps(EMULATE_DONE);
	assert_true(FLAGS & RFLAGS_IF);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 1);
	steps(EMULATE_DONE);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 0);
	steps(EMULATE_DONE);
	assert_false(FLAGS & RFLAGS_IF);
}

/* IOPL guards IF; VME and PVI have VIF instead. */
static void test_cli_by_privilege(void **state)
{
	(void)state;
	fx_mode_32();
	fx_user();
	BEGIN(0xfa); /* cli */
	FLAGS |= RFLAGS_IF;
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.reg[REG_CR4] = CR4_PVI;
	FLAGS |= RFLAGS_VIF;
	steps(EMULATE_DONE);
	assert_int_equal(FLAGS & (RFLAGS_IF | RFLAGS_VIF), RFLAGS_IF);
	RIP = CODE_PA;
	FLAGS |= RFLAGS_IOPL;
	steps(EMULATE_DONE);
	assert_int_equal(FLAGS & RFLAGS_IF, 0);
}

static void test_v86_flags(void **state)
{
	(void)state;
	fx_mode_16();
	fx.reg[REG_CR0] = CR0_PE;
	fx_user();
	FLAGS |= RFLAGS_VM | RFLAGS_IF;
	GPR[RSP] = 0x1000;
	BEGIN(0x9c, 0x9d, 0xcd, 0x10); /* pushf; popf; int 0x10 */
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.reg[REG_CR4] = CR4_VME;
	steps(EMULATE_DONE);
	assert_int_equal(read16(0xffe) & (RFLAGS_IF | RFLAGS_IOPL), RFLAGS_IOPL);
	write32(0xffe, RFLAGS_IF | RFLAGS_FIXED);
	steps(EMULATE_DONE);
	assert_true(FLAGS & RFLAGS_VIF);
	assert_int_equal(FLAGS & RFLAGS_IOPL, 0);
	fx.reg[REG_CR4] = 0;
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
}

/* --- branches --- */

static void test_ip_wraps(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xeb, 0x80); /* jmp -126 */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0xff82);
	BEGIN(0x66, 0xe9, 0x00, 0x00, 0x01, 0x00); /* jmp dword +0x10000: beyond the limit */
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	assert_int_equal(RIP, 0);
	fx.seg[SEG_CS].limit = 0xffffffff;
	BEGIN(0x66, 0xe9, 0x00, 0x00, 0x01, 0x00);
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x10006);
}

static void test_call_ret(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xe8, 0x01, 0x00, 0xf4, 0xc2, 0x04, 0x00); /* call +1; hlt; ret 4 */
	GPR[RSP] = 0x1000;
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 4);
	assert_int_equal(read16(0xffe), 3);
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 3);
	assert_int_equal(GPR[RSP], 0x1004);
	BEGIN(0xe8, 0x01, 0x00); /* with no room for the return address */
	GPR[RSP] = 1;
	steps(EMULATE_FAULT);
	assert_raised(VEC_SS, 0);
	assert_int_equal(RIP, 0);
	BEGIN(0xff, 0x16, 0x00, 0x20); /* call [0x2000] */
	GPR[RSP] = 0x1000;
	write32(0x2000, 0x12340777);
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x777);
	assert_int_equal(read16(0xffe), 4);
}

static void test_loops(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xe2, 0xfe, 0x67, 0xe2, 0xfd, 0xe1, 0xfe, 0xe0, 0xfe, 0xe3, 0x10);
	GPR[RCX] = 0x10002;
	steps(EMULATE_DONE); /* loop $ */
	assert_int_equal(RIP, 0);
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 2);
	assert_int_equal(GPR[RCX], 0x10000);
	steps(EMULATE_DONE); /* loop $ by ECX */
	assert_int_equal(RIP, 2);
	assert_int_equal(GPR[RCX], 0xffff);
	GPR[RCX] = 1;
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 5);
	FLAGS |= RFLAGS_ZF; /* loope: CX wraps */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 5);
	assert_int_equal(GPR[RCX], 0xffff);
	FLAGS &= ~RFLAGS_ZF;
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 7);
	FLAGS |= RFLAGS_ZF; /* loopne */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 9);
	GPR[RCX] = 0x50000; /* jcxz */
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 0x1b);
}

/* --- segments in real mode --- */

static void test_real_mode_segments(void **state)
{
	(void)state;
	fx_mode_16();
	/* mov fs, ax; mov dword fs:[ebx], 0x11223344 */
	BEGIN(0x8e, 0xe0, 0x64, 0x66, 0x67, 0xc7, 0x03, 0x44, 0x33, 0x22, 0x11);
	fx.seg[SEG_FS].limit = 0xffffffff;
	fx.seg[SEG_FS].attr = 0xc93;
	GPR[RAX] = 0x2345;
	GPR[RBX] = 0x200000;
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_FS].base, 0x23450);
	assert_int_equal(fx.seg[SEG_FS].limit, 0xffffffff);
	assert_int_equal(fx.seg[SEG_FS].attr, 0xc93);
	steps(EMULATE_DONE);
	assert_int_equal(read32(0x223450), 0x11223344);
	assert_nothing_raised();
	RIP = 2; /* the same with a limit of 64 KiB */
	fx.seg[SEG_FS].limit = 0xffff;
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
}

static void test_limits_at_the_border(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xa1, 0xff, 0xff); /* mov ax, [0xffff] */
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	BEGIN(0x8b, 0x46, 0xff); /* mov ax, [bp - 1] */
	steps(EMULATE_FAULT);
	assert_raised(VEC_SS, 0);
	BEGIN(0xa1, 0xfe, 0xff); /* mov ax, [0xfffe] */
	write32(0xfffe, 0x8877);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RAX], 0x8877);
}

/* Code must lie within its segment whole. */
static void test_code_limit(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xb8, 0x34, 0x12); /* mov ax, 0x1234 */
	fx.seg[SEG_CS].limit = 1;
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	assert_int_equal(GPR[RAX], 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.seg[SEG_CS].limit = 2;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RAX], 0x1234);
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
}

/* Fifteen bytes, prefixes and all, are the most. */
static void test_too_long(void **state)
{
	uint8_t code[17];

	(void)state;
	fx_mode_16();
	memset(code, 0x2e, sizeof(code));
	code[14] = 0x40; /* inc ax */
	begin(code, sizeof(code));
	steps(EMULATE_DONE);
	assert_int_equal(RIP, 15);
	code[14] = 0x2e;
	code[15] = 0x40;
	begin(code, sizeof(code));
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
}

/* Paged code: what no processor has fetched is judged, and a page that is not there faults with
 * its own address. */
static void test_code_pages(void **state)
{
	(void)state;
	fx_mode_64();
	RIP = CODE + 4094;
	FX_CODE(0xb8, 0x01); /* mov eax, imm32: three bytes are on the next page */
	pte_set(PT_WINDOW, 257, 0);
	steps(EMULATE_FAULT);
	assert_raised(VEC_PF, PF_I);
	assert_int_equal(fx.reg[REG_CR2], CODE + 4096);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	pte_set(PT_WINDOW, 257, (CODE_PA + PAGE_SIZE) | PTE_P | BIT(63)); /* NX */
	steps(EMULATE_FAULT);
	assert_raised(VEC_PF, PF_P | PF_I);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	pte_set(PT_WINDOW, 257, (CODE_PA + PAGE_SIZE) | PTE_P);
	steps(EMULATE_DONE);
	assert_true(pte_get(PT_WINDOW, 257) & PTE_A);
}

static void test_load_far(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xc5, 0x36, 0x00, 0x20, 0x66, 0x0f, 0xb4, 0x3e, 0x00, 0x20); /* lds si; lfs edi */
	write32(0x2000, 0x30001234);
	write32(0x2004, 0x00004000);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RSI], 0x1234);
	assert_int_equal(fx.seg[SEG_DS].base, 0x30000);
	fx.seg[SEG_DS].base = 0;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RDI], 0x30001234);
	assert_int_equal(fx.seg[SEG_FS].base, 0x40000);
	BEGIN(0xc5, 0x36, 0xfe, 0xff); /* the pointer's end is beyond the limit */
	GPR[RSI] = 1;
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	assert_int_equal(GPR[RSI], 1);
}

/* --- what needs protected mode, or the kernel --- */

static void test_refused_in_real_mode(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0x0f, 0x00, 0xd0); /* lldt ax */
	steps(EMULATE_FAULT);
	assert_raised(VEC_UD, 0);
	BEGIN(0x0f, 0x02, 0xc0); /* lar ax, ax */
	steps(EMULATE_FAULT);
	assert_raised(VEC_UD, 0);
	BEGIN(0x63, 0xc0); /* arpl ax, ax */
	steps(EMULATE_FAULT);
	assert_raised(VEC_UD, 0);
	BEGIN(0xf0, 0x40); /* lock inc ax */
	steps(EMULATE_FAULT);
	assert_raised(VEC_UD, 0);
	BEGIN(0x8e, 0xc8); /* mov cs, ax */
	steps(EMULATE_FAULT);
	assert_raised(VEC_UD, 0);
}

static void test_refused_to_users(void **state)
{
	static const uint8_t codes[][4] = {
		{ 0xf4 },             /* hlt */
		{ 0x0f, 0x06 },       /* clts */
		{ 0x0f, 0x22, 0xc0 }, /* mov cr0, eax */
		{ 0x0f, 0x21, 0xf8 }, /* mov eax, dr7 */
		{ 0x0f, 0x30 },       /* wrmsr */
		{ 0x0f, 0x09 },       /* wbinvd */
		{ 0x0f, 0x01, 0x10 }, /* lgdt [eax] */
		{ 0x0f, 0x00, 0xd8 }, /* ltr ax */
		{ 0xe4, 0x10 },       /* in al, 0x10: no bitmap in the TSS */
		{ 0x6c },             /* insb */
	};

	(void)state;
	fx_mode_32();
	fx_user();
	GPR[RAX] = 0x1000;
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		begin(codes[i], sizeof(codes[i]));
		steps(EMULATE_FAULT);
		assert_raised(VEC_GP, 0);
	}
}

static void test_port_bitmap(void **state)
{
	(void)state;
	fx_mode_32();
	fx_user();
	fx.seg[SEG_TR] = (struct segment){ .attr = 0x8b, .base = 0x3000, .limit = 0x68 + 3 };
	write32(0x3066, 0x68);
	write32(0x3068, 0xfffffbff);               /* port 10 alone */
	BEGIN(0xe4, 0x0a, 0xe5, 0x0a, 0xe4, 0x20); /* in al, 10; in eax, 10; in al, 32 */
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RAX], 0xff);
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	RIP = CODE_PA + 4;
	fx.vcpu.events.pending.kind = EVENT_NONE;
	steps(EMULATE_FAULT); /* beyond the TSS */
	assert_raised(VEC_GP, 0);
}

static void test_tables(void **state)
{
	(void)state;
	fx_mode_16();
	/* lgdt [0x2000]; lidt dword [0x2000]; sgdt [0x2100] */
	BEGIN(0x0f, 0x01, 0x16, 0x00, 0x20, 0x66, 0x0f, 0x01, 0x1e, 0x00, 0x20, 0x0f, 0x01, 0x06,
	      0x00, 0x21);
	write32(0x2000, 0x56781234);
	write32(0x2004, 0xabcd);
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_GDTR].limit, 0x1234);
	assert_int_equal(fx.seg[SEG_GDTR].base, 0xcd5678);
	steps(EMULATE_DONE);
	assert_int_equal(fx.seg[SEG_IDTR].base, 0xabcd5678);
	steps(EMULATE_DONE);
	assert_int_equal(read32(0x2100), 0x56781234);
	assert_int_equal(read16(0x2104), 0xcd);
}

/* --- instructions that have exits, and their handlers --- */

static void test_control_registers(void **state)
{
	(void)state;
	fx_mode_16();
	/* mov eax, cr0; smsw [0x2000]; lmsw bx; clts; mov cr3, ecx */
	BEGIN(0x0f, 0x20, 0xc0, 0x0f, 0x01, 0x26, 0x00, 0x20, 0x0f, 0x01, 0xf3, 0x0f, 0x06, 0x0f,
	      0x22, 0xd9);
	fx.reg[REG_CR0] = CR0_ET | CR0_TS;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RAX], CR0_ET | CR0_TS);
	steps(EMULATE_DONE);
	assert_int_equal(read16(0x2000), CR0_ET | CR0_TS);
	GPR[RBX] = CR0_PE | CR0_TS;
	steps(EMULATE_DONE);
	assert_int_equal(fx.reg[REG_CR0], CR0_ET | CR0_PE | CR0_TS);
	steps(EMULATE_DONE);
	assert_int_equal(fx.reg[REG_CR0], CR0_ET | CR0_PE);
	GPR[RCX] = 0x5000;
	steps(EMULATE_DONE);
	assert_int_equal(fx.reg[REG_CR3], 0x5000);
	assert_int_equal(RIP, 16);
	BEGIN(0x0f, 0x22, 0xc0); /* mov cr0, eax: paging without protection */
	GPR[RAX] = CR0_PG;
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
}

static void test_handed_over(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0x0f, 0xa2, 0xf3, 0x90, 0x0f, 0x08, 0xf4); /* cpuid; pause; invd; hlt */
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RBX], 0x68747541);
	steps(EMULATE_DONE);
	assert_true(fx.vcpu.yield);
	steps(EMULATE_DONE);
	steps(EMULATE_DONE);
	assert_int_equal(fx.vcpu.state, VCPU_HALTED);
	assert_int_equal(RIP, 7);
	BEGIN(0x0f, 0x32); /* rdmsr of a register that is not there */
	GPR[RCX] = 0x12345;
	steps(EMULATE_FAULT);
	assert_raised(VEC_GP, 0);
	BEGIN(0x0f, 0x0b); /* ud2 */
	steps(EMULATE_FAULT);
	assert_raised(VEC_UD, 0);
}

static void test_debug_registers(void **state)
{
	(void)state;
	fx_mode_32();
	/* mov dr3, eax; mov dr4, eax; mov ebx, dr6; mov dr7, eax */
	BEGIN(0x0f, 0x23, 0xd8, 0x0f, 0x23, 0xe0, 0x0f, 0x21, 0xf3, 0x0f, 0x23, 0xf8);
	GPR[RAX] = 0x80002000;
	steps(EMULATE_DONE);
	assert_int_equal(fx.vcpu.dr[3], 0x80002000);
	steps(EMULATE_DONE);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RBX], (DR6_INIT | 0x2000) & UINT32_MAX);
	steps(EMULATE_DONE); /* it has GD set */
	assert_int_equal(fx.reg[REG_DR7], 0x80002400);
	RIP = CODE_PA;
	steps(EMULATE_FAULT);
	assert_raised(VEC_DB, 0);
	assert_true(fx.reg[REG_DR6] & BIT(13));
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.reg[REG_DR7] = DR7_INIT;
	fx.reg[REG_CR4] = CR4_DE;
	RIP = CODE_PA + 3;
	steps(EMULATE_FAULT);
	assert_raised(VEC_UD, 0);
}

static void test_fpu(void **state)
{
	(void)state;
	fx_mode_16();
	/* fninit; fnstcw [0x2000]; fnstsw ax; fwait */
	BEGIN(0xdb, 0xe3, 0xd9, 0x3e, 0x00, 0x20, 0xdf, 0xe0, 0x9b);
	fake_fpu_control = fake_fpu_status = 0x1111;
	GPR[RAX] = 0x22222222;
	for (unsigned i = 0; i < 4; i++)
		steps(EMULATE_DONE);
	assert_int_equal(read16(0x2000), 0x37f);
	assert_int_equal(GPR[RAX], 0x22220000);
	RIP = 0;
	fx.reg[REG_CR0] = CR0_EM;
	steps(EMULATE_FAULT);
	assert_raised(VEC_NM, 0);
}

static void test_bound(void **state)
{
	(void)state;
	fx_mode_16();
	write32(0x2000, 0x0005fffe); /* -2 to 5 */
	for (int i = -4; i < 8; i++) {
		BEGIN(0x62, 0x06, 0x00, 0x20);
		GPR[RAX] = (uint16_t)i;
		if (i >= -2 && i <= 5) {
			steps(EMULATE_DONE);
			assert_nothing_raised();
		} else {
			steps(EMULATE_FAULT);
			assert_raised(VEC_BR, 0);
		}
	}
}

static void test_ascii_multiply(void **state)
{
	(void)state;
	fx_mode_16();
	BEGIN(0xd4, 0x0a, 0xd5, 0x0a, 0xd6, 0xd4, 0x00); /* aam; aad; salc; aam 0 */
	GPR[RAX] = 87;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RAX], 0x807);
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RAX], 87);
	FLAGS |= RFLAGS_CF;
	steps(EMULATE_DONE);
	assert_int_equal(GPR[RAX], 0xff);
	steps(EMULATE_FAULT);
	assert_raised(VEC_DE, 0);
	assert_int_equal(GPR[RAX], 0xff);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_stack_pointer_is_16_bits),
		T(test_big_stack),
		T(test_pusha),
		T(test_enter_leave),
		T(test_pop_to_memory_faults),
		T(test_popf_by_privilege),
		T(test_trap_flag),
		T(test_sti_shadow),
		T(test_cli_by_privilege),
		T(test_v86_flags),
		T(test_ip_wraps),
		T(test_call_ret),
		T(test_loops),
		T(test_real_mode_segments),
		T(test_limits_at_the_border),
		T(test_code_limit),
		T(test_too_long),
		T(test_code_pages),
		T(test_load_far),
		T(test_refused_in_real_mode),
		T(test_refused_to_users),
		T(test_port_bitmap),
		T(test_tables),
		T(test_control_registers),
		T(test_handed_over),
		T(test_debug_registers),
		T(test_fpu),
		T(test_bound),
		T(test_ascii_multiply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
