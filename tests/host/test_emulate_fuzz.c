/*
 * The emulator on any code, registers, segments, tables and exits that a hostile guest can
 * bring about: it ends, stays within the guest, and keeps its promises.
 */
#include "tests/host/emu_fixture.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"

#include <stdlib.h>

#define ROUNDS 150000

static uint64_t random64(void)
{
	static uint64_t s = 0x243f6a8885a308d3;

	return fake_random64(&s);
}

/* Addresses that lead somewhere, and some that do not. */
static uint64_t random_address(void)
{
	static const uint64_t places[] = {
		WINDOW, WINDOW + 4096,     CODE,       0,       RAM_SIZE,
		TABLES, UINT64_C(1) << 47, UINT32_MAX, 0x10000, ~UINT64_C(0)
	};
	uint64_t r = random64();

	if ((r & 7) == 0)
		return random64();
	return places[(r >> 8) % ARRAY_SIZE(places)] + (r >> 16) % 64 - 32;
}

/* Opcodes of the instructions that are emulated, behind prefixes, ahead of anything. */
static void random_code(void)
{
	static const uint8_t prefixes[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e,
					    0x64, 0x65, 0x48, 0x4c, 0x41, 0x26 };
	static const uint8_t one[] = { 0x88, 0x89, 0x8a, 0x8b, 0xc6, 0xc7, 0xa0, 0xa1, 0xa2,
				       0xa3, 0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xa7,
				       0xae, 0xaf, 0x86, 0x87, 0x00, 0x09, 0x12, 0x1b, 0x20,
				       0x29, 0x33, 0x3b, 0x80, 0x81, 0x83, 0xf6, 0xf7, 0xfe,
				       0xff, 0x84, 0x85, 0x63, 0x6c, 0x6d, 0x6e, 0x6f };
	static const uint8_t two[] = { 0xb6, 0xb7, 0xbe, 0xbf, 0xa3, 0xab, 0xb3, 0xbb, 0xba,
				       0xb0, 0xb1, 0xc0, 0xc1, 0xc3, 0x01, 0x20, 0x22, 0x06,
				       0x10, 0x11, 0x13, 0x17, 0x28, 0x2b, 0x6e, 0x6f, 0x7e,
				       0x7f, 0xd6, 0xe7, 0xc7, 0x92, 0x4a, 0xa4, 0xad, 0xb2 };
	uint8_t code[15];
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(code); i++)
		code[i] = (uint8_t)random64();
	while (n < 4 && (random64() & 1))
		code[n++] = prefixes[random64() % sizeof(prefixes)];
	switch (random64() % 4) {
	case 0:
		code[n++] = 0x0f;
		code[n++] = two[random64() % sizeof(two)];
		break;
	case 1:
		break;
	default:
		code[n++] = one[random64() % sizeof(one)];
		break;
	}
	if (random64() & 1)
		code[n] &= 0x3f; /* a memory operand without displacement */
	memcpy(fx.ram + CODE_PA + 4096 - 8, code, sizeof(code));
}

static void random_guest(void)
{
	switch (random64() % 4) {
	case 0:
		fx_mode_16();
		fx.vcpu.regs.rip = 4096 - 8;
		break;
	case 1:
		fx_mode_32();
		fx.vcpu.regs.rip = CODE_PA + 4096 - 8;
		break;
	default:
		fx_mode_64();
		fx.vcpu.regs.rip = CODE + 4096 - 8;
		break;
	}
	fx.reg[REG_CPL] = random64() & 1 ? 3 : 0;
	for (unsigned i = 0; i < GPRS; i++)
		fx.vcpu.regs.gpr[i] = random_address();
	if (random64() & 1)
		fx.vcpu.regs.gpr[RCX] = random64() % 100;
	fx.vcpu.regs.rflags = RFLAGS_FIXED | (random64() & (RFLAGS_DF | 0x8d5));
	for (unsigned i = 0; i < 6; i++) {
		if (i == SEG_CS || random64() % 4)
			continue;
		fx.seg[i] = (struct segment){ .base = random_address(),
					      .limit = (uint32_t)random_address(),
					      .attr = (uint16_t)random64() & 0xfff };
	}
	for (unsigned i = 0; i < 4; i++)
		window_map(i,
			   (uint64_t[]){ DEVICE_A, DEVICE_B, 0x200000, ROM_PA, NOWHERE, TABLES,
					 CODE_PA, BIT(50) }[random64() % 8],
			   random64() & 0x67);
	if (random64() % 16 == 0)
		fx.reg[REG_CR3] = random_address() & ~UINT64_C(0xfff);
}

static void random_exit(void)
{
	struct vm_exit *exit = &fx.vcpu.exit;

	*exit = (struct vm_exit){ .kind = random64() & 1 ? EXIT_NESTED_FAULT : EXIT_UNKNOWN };
	exit->nested.gpa = GPA(random64() & 1 ? DEVICE_A + random64() % 4096 : random_address());
	exit->nested.write = random64() & 1;
	exit->nested.fetch = random64() % 8 == 0;
	exit->nested.table_walk = random64() % 8 == 0;
	if (random64() % 8 == 0)
		exit->nr_bytes = (uint8_t)(random64() % 16);
	memcpy(exit->bytes, fx.ram + CODE_PA + 4096 - 8, sizeof(exit->bytes));
}

static unsigned accesses(void)
{
	return fx.dev[0].reads + fx.dev[0].writes + fx.dev[1].reads + fx.dev[1].writes;
}

/* What the instruction at RIP is; INSN_OTHER: none. */
static void insn_at_rip(struct insn *insn)
{
	uint8_t bytes[VM_EXIT_MAX_INSN];
	struct guest_fault fault;
	unsigned n = gmem_fetch(&fx.vcpu, bytes, sizeof(bytes), &fault);

	if (decode_insn(insn, bytes, n, vcpu_code_size(&fx.vcpu)) != DECODE_OK)
		*insn = (struct insn){ .op = INSN_OTHER };
}

/* Where may RIP be now? */
static void check_progress(const struct insn *insn, const struct vcpu_regs *before)
{
	uint64_t moved = fx.vcpu.regs.rip - before->rip;

	if (insn->op >= INSN_JCC && insn->op <= INSN_IRET)
		return;
	if (insn->op >= INSN_MOVS && insn->op <= INSN_OUTS && !moved) {
		/* Only a repetition stays where it is, and it gets somewhere. */
		assert_int_not_equal(fx.vcpu.regs.gpr[RCX], before->gpr[RCX]);
		return;
	}
	if (insn->op == INSN_IN || insn->op == INSN_OUT || !insn->len)
		return; /* further ones are done with it */
	if (vcpu_code_size(&fx.vcpu) == 2)
		moved &= 0xffff;
	assert_int_equal(moved, insn->len);
}

static void check_result(enum emulate_result result, const struct insn *insn,
			 const struct vcpu_regs *before, unsigned asked)
{
	switch (result) {
	case EMULATE_DONE:
		check_progress(insn, before);
		assert_int_not_equal(fx.vcpu.events.pending.kind, EVENT_INTR);
		break;
	case EMULATE_FAULT:
		assert_int_equal(fx.vcpu.regs.rip, before->rip);
		assert_int_equal(fx.vcpu.events.pending.kind, EVENT_EXCEPTION);
		assert_int_equal(fx.vcpu.regs.gpr[RSP], before->gpr[RSP]);
		break;
	case EMULATE_FAILED:
		assert_memory_equal(&fx.vcpu.regs, before, sizeof(*before));
		/* What a far transfer leads to is not known before its pointer is read. */
		if (accesses() != asked && (insn->op < INSN_JMP_FAR || insn->op > INSN_IRET))
			fail_msg("operation %u asks a device, and fails", insn->op);
		assert_nothing_raised();
		break;
	}
	assert_true(accesses() - asked <= 4 * 4096);
}

/* Let the function at a guest's instruction, again and again. */
static void rounds(enum emulate_result (*run)(struct vcpu *vcpu), void (*make_guest)(void))
{
	unsigned seen[3] = { 0 };

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct vcpu_regs before;
		enum emulate_result result;
		struct insn insn;
		unsigned asked = accesses();

		if (i % 64 == 0)
			make_tables(); /* the guest may have written over them */
		random_code();
		make_guest();
		random_exit();
		fx.vcpu.events.pending.kind = EVENT_NONE;
		fx.vm.stop_reason = VM_STOP_NONE;
		before = fx.vcpu.regs;
		insn_at_rip(&insn);
		result = run(&fx.vcpu);
		assert_in_range(result, EMULATE_DONE, EMULATE_FAILED);
		check_result(result, &insn, &before, asked);
		seen[result]++;
	}
	/* Most of it is not refused at the door. */
	assert_true(seen[EMULATE_DONE] > ROUNDS / 20);
	assert_true(seen[EMULATE_FAULT] > ROUNDS / 20);
	assert_true(seen[EMULATE_FAILED] > ROUNDS / 200);
}

static void test_mmio(void **state)
{
	(void)state;
	rounds(emulate_mmio, random_guest);
}

/* Every mode that the interpreter may find, and the way from one to another; tables and segments
 * of any kind; any opcode. */
static void random_stepped_guest(void)
{
	uint8_t *code = fx.ram + CODE_PA + 4096 - 8;

	random_guest();
	fx.vcpu.exit.nr_bytes = 0;
	if (random64() & 1) {
		code[0] = (uint8_t)random64();
		if (random64() % 4 == 0)
			code[0] = 0x0f;
	}
	fx.vcpu.regs.rflags |= random64() & (RFLAGS_IF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_TF);
	if (vcpu_code_size(&fx.vcpu) != 8) {
		fx.reg[REG_CR0] = random64() % 4 ? fx.reg[REG_CR0] : fx.reg[REG_CR0] ^ CR0_PE;
		if (fx.reg[REG_CR0] & CR0_PE && random64() % 4 == 0)
			fx.vcpu.regs.rflags |= RFLAGS_VM;
		fx.reg[REG_CR4] = random64() & (CR4_VME | CR4_PVI | CR4_UMIP | CR4_DE | CR4_TSD);
	}
	for (unsigned i = SEG_LDTR; i < SEG_REGS; i++)
		fx.seg[i] = (struct segment){ .base = random_address(),
					      .limit = (uint32_t)random64() & 0xffff,
					      .attr = (uint16_t)random64() & 0xfff };
	if (random64() & 1)
		fx.seg[SEG_GDTR].base = 0x20000 + random64() % 64;
	fx.seg[SEG_SS].attr &= (uint16_t)(random64() | 0xff);
}

static void test_step(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 0x10000; i++)
		fx.ram[0x20000 + i] = (uint8_t)random64();
	rounds(emulate_step, random_stepped_guest);
}

/* Events in real mode, to whatever stands in the table, on whatever stack. */
static void test_deliver(void **state)
{
	unsigned delivered = 0;

	(void)state;
	for (unsigned i = 0; i < ROUNDS / 10; i++) {
		struct vm_event ev = { .kind = (enum vm_event_kind)(1 + random64() % 5),
				       .vector = (uint8_t)random64(),
				       .insn_len = (uint8_t)(random64() % 3) };
		uint64_t rsp;

		random_stepped_guest();
		fx_mode_16();
		fx.seg[SEG_IDTR] = (struct segment){ .base = random64() & 1 ? 0 : random_address(),
						     .limit = (uint32_t)(random64() % 0x500) };
		fx.seg[SEG_SS].limit = random64() & 1 ? 0xffff : (uint32_t)random64() % 64;
		fx.vcpu.events.pending.kind = EVENT_NONE;
		fx.vm.stop_reason = VM_STOP_NONE;
		rsp = fx.vcpu.regs.gpr[RSP];
		emulate_deliver(&fx.vcpu, &ev);
		if (fx.vcpu.events.pending.kind == EVENT_NONE) {
			assert_int_equal((uint16_t)(rsp - fx.vcpu.regs.gpr[RSP]), 6);
			assert_true(fx.vcpu.regs.rip <= fx.seg[SEG_CS].limit);
			delivered++;
		} else {
			assert_int_equal(fx.vcpu.regs.gpr[RSP], rsp);
		}
	}
	assert_true(delivered > ROUNDS / 200);
}

static void test_others(void **state)
{
	struct cr_insn cr;
	char text[24];

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 64 == 0)
			make_tables();
		random_code();
		random_guest();
		random_exit();
		fx.vcpu.exit.kind = (enum vm_exit_kind)(random64() % EXIT_KINDS);
		fx.vcpu.events.pending.kind = EVENT_NONE;
		if (!emulate_insn_length(&fx.vcpu) && fx.vcpu.exit.kind != EXIT_NESTED_FAULT)
			assert_int_equal(fx.vcpu.events.pending.kind, EVENT_EXCEPTION);
		emulate_decode_cr(&fx.vcpu, &cr);
		text[20] = 'x';
		emulate_disassemble(&fx.vcpu, text, 20);
		assert_int_equal(text[20], 'x');
		fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_IO };
		fx.vcpu.exit.io.size = (uint8_t)(1 << random64() % 3);
		fx.vcpu.exit.io.in = random64() & 1;
		fx.vcpu.exit.io.seg = 0xff;
		fx.vcpu.exit.io.port = (uint16_t)random64();
		emulate_string_io(&fx.vcpu);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_mmio, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_step, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_deliver, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_others, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
