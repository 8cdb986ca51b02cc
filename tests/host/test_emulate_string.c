/* String instructions of the emulator: REP that stops or faults, other widths, ports. */
#include "tests/host/emu_fixture.h"

static const uint64_t rw = PTE_P | PTE_W | PTE_U;

#define GPR fx.vcpu.regs.gpr

/* --- REP --- */

static void test_rep_is_bounded(void **state)
{
	unsigned exits = 0;

	(void)state;
	FX_CODE(0xf3, 0xaa); /* rep stosb */
	for (unsigned i = 0; i < 8; i++)
		window_map(i, NOWHERE + i * 4096, rw);
	GPR[RDI] = WINDOW;
	GPR[RCX] = 8 * 4096;
	while (fx.vcpu.regs.rip == CODE) {
		uint64_t before = GPR[RCX];

		assert_int_equal(emulate_mmio(&fx.vcpu), EMULATE_DONE);
		assert_true(before - GPR[RCX] <= 4096);
		assert_int_equal(GPR[RDI] - WINDOW, 8 * 4096 - GPR[RCX]);
		assert_true(++exits <= 64);
	}
	assert_int_equal(GPR[RCX], 0);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 2);
	/* The most there can be does not take any longer. */
	fx.vcpu.regs.rip = CODE;
	GPR[RCX] = UINT64_MAX;
	GPR[RDI] = WINDOW;
	emulates(EMULATE_DONE, 0);
	assert_true(GPR[RCX] >= UINT64_MAX - 4096);
}

static void test_rep_faults_in_the_middle(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0xa5); /* rep movsd */
	window_map(1, 0, 0);
	window_map(4, 0x200000, rw);
	GPR[RSI] = WINDOW + 4 * 4096;
	GPR[RDI] = WINDOW + 4096 - 10;
	GPR[RCX] = 5;
	memset(fx.ram + 0x200000, 0x3c, 64);
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_W);
	assert_int_equal(fx.reg[REG_CR2], WINDOW + 4096);
	assert_int_equal(GPR[RCX], 3);
	assert_int_equal(GPR[RSI], WINDOW + 4 * 4096 + 8);
	assert_int_equal(GPR[RDI], WINDOW + 4096 - 2);
	assert_int_equal(fx.dev[0].writes, 2); /* none of the third */
}

/* Under TF each iteration traps, with RF in the image; an interrupt shadow lasts for one. */
static void test_rep_single_step(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0xaa); /* rep stosb */
	GPR[RDI] = WINDOW;
	GPR[RCX] = 3;
	fx.reg[REG_INTR_SHADOW] = 1;
	for (unsigned i = 1; i <= 3; i++) {
		fx.vcpu.events.pending.kind = EVENT_NONE;
		fx.vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_TF;
		fx.reg[REG_DR6] = DR6_INIT;
		emulates(EMULATE_DONE, i == 3 ? 2 : 0);
		assert_raised(VEC_DB, 0);
		assert_int_equal(fx.reg[REG_DR6], DR6_INIT | DR6_BS);
		assert_int_equal(GPR[RCX], 3 - i);
		assert_int_equal(fx.dev[0].writes, i);
		assert_int_equal(fx.vcpu.regs.rflags & RFLAGS_RF, i == 3 ? 0 : RFLAGS_RF);
		assert_int_equal(fx.reg[REG_INTR_SHADOW], 0);
	}
}

static void test_rep_budget_ends_shadow(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0xaa); /* rep stosb */
	window_map(0, NOWHERE, rw);
	GPR[RDI] = WINDOW;
	GPR[RCX] = UINT64_MAX;
	fx.reg[REG_INTR_SHADOW] = 1;
	emulates(EMULATE_DONE, 0);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 0);
	assert_nothing_raised();
}

/* A device that is read for nothing may lose data: the target is looked at first. */
static void test_movs_checks_target_before_reading(void **state)
{
	(void)state;
	FX_CODE(0xa4); /* movsb */
	window_map(1, 0, 0);
	GPR[RSI] = WINDOW;
	GPR[RDI] = WINDOW + 4096;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_W);
	assert_int_equal(fx.dev[0].reads + fx.dev[0].writes, 0);
}

static void test_rep_of_zero(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0xaa, 0x67, 0xf3, 0xaa);
	GPR[RDI] = WINDOW;
	emulates(EMULATE_DONE, 2);
	GPR[RCX] = BIT(32); /* ECX is 0 */
	emulates(EMULATE_DONE, 3);
	assert_int_equal(GPR[RCX], BIT(32));
	assert_int_equal(fx.dev[0].reads + fx.dev[0].writes, 0);
}

static void test_string_16_bit_wraps(void **state)
{
	(void)state;
	fx_mode_16();
	FX_CODE(0xf3, 0xaa); /* rep stosb */
	fx.seg[SEG_ES].base = 0x50000;
	GPR[RDI] = 0x1234fffe;
	GPR[RCX] = 0x10004;
	GPR[RAX] = 0x99;
	emulates(EMULATE_DONE, 2);
	assert_int_equal(GPR[RDI], 0x12340002);
	assert_int_equal(GPR[RCX], 0x10000);
	assert_memory_equal(fx.ram + 0x5fffe, "\x99\x99\0", 3);
	assert_memory_equal(fx.ram + 0x50000, "\x99\x99\0", 3);
}

/* --- string I/O --- */

static uint8_t port_data[64];
static unsigned port_at, port_size;

static uint32_t port_in(void *dev, uint16_t port, unsigned size)
{
	uint32_t val = 0;

	(void)dev;
	assert_int_equal(port, 0x1f0);
	port_size = size;
	memcpy(&val, port_data + port_at, size);
	port_at += size;
	return val;
}

static void port_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	(void)dev;
	assert_int_equal(port, 0x1f0);
	port_size = size;
	memcpy(port_data + port_at, &val, size);
	port_at += size;
}

static const struct io_ops port_ops = { .in = port_in, .out = port_out };

static void string_io_exit(bool in, unsigned size, bool rep)
{
	assert_int_equal(bus_register_io(&fx.vm.bus, 0x1f0, 4, "data", &port_ops, NULL), 0);
	port_at = 0;
	memcpy(port_data, "0123456789abcdefghijklmnopqrstuvwxyz", 36);
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_IO };
	fx.vcpu.exit.io.port = 0x1f0;
	fx.vcpu.exit.io.in = in;
	fx.vcpu.exit.io.size = (uint8_t)size;
	fx.vcpu.exit.io.string = true;
	fx.vcpu.exit.io.rep = rep;
	fx.vcpu.exit.io.seg = 0xff;
}

static void test_rep_insw(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0x66, 0x6d);
	string_io_exit(true, 2, true);
	window_map(0, 0x200000, rw);
	GPR[RDI] = WINDOW + 4096 - 5; /* over to the device, in the middle of a word */
	GPR[RCX] = 5;
	assert_int_equal(emulate_string_io(&fx.vcpu), EMULATE_DONE);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 3);
	assert_int_equal(GPR[RDI], WINDOW + 4096 + 5);
	assert_int_equal(GPR[RCX], 0);
	assert_memory_equal(fx.ram + 0x200ffb, "01234", 5);
	assert_memory_equal(fx.dev[1].mem, "56789", 5);
}

static void test_ins_fault_leaves_the_port(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0x6c); /* rep insb */
	string_io_exit(true, 1, true);
	window_map(1, 0x201000, PTE_P | PTE_U);
	GPR[RDI] = WINDOW + 4094;
	GPR[RCX] = 10;
	assert_int_equal(emulate_string_io(&fx.vcpu), EMULATE_FAULT);
	assert_raised(VEC_PF, PF_P | PF_W);
	assert_int_equal(port_at, 2);
	assert_int_equal(GPR[RCX], 8);
	assert_int_equal(GPR[RDI], WINDOW + 4096);
	assert_int_equal(fx.vcpu.regs.rip, CODE);
}

/* The page's key stops INS at its first byte there. */
static void test_ins_protection_key(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0x6c); /* rep insb */
	string_io_exit(true, 1, true);
	window_map(0, 0x200000, rw);
	window_map(1, 0x201000, rw | PTE_KEY(1));
	fx_pkru(2u << 2 * 1);
	GPR[RDI] = WINDOW + 4094;
	GPR[RCX] = 10;
	assert_int_equal(emulate_string_io(&fx.vcpu), EMULATE_FAULT);
	assert_raised(VEC_PF, PF_P | PF_W | PF_PK);
	assert_int_equal(port_at, 2);
	assert_int_equal(GPR[RCX], 8);
}

static void test_outs(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0x65, 0x6f); /* rep outsd gs: */
	string_io_exit(false, 4, true);
	fx.seg[SEG_GS].base = 0x300000;
	memcpy(fx.ram + 0x300010 - 4, "eightbyt", 8);
	fx.vcpu.regs.rflags |= RFLAGS_DF;
	GPR[RSI] = 0x10;
	GPR[RCX] = 2;
	assert_int_equal(emulate_string_io(&fx.vcpu), EMULATE_DONE);
	assert_memory_equal(port_data, "tbyteigh", 4);
	assert_memory_equal(port_data + 4, "eigh", 4);
	assert_int_equal(GPR[RSI], 8);
	assert_int_equal(port_size, 4);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 3);
}

/* What the exit says is taken when it is whole; no byte of code is looked at then. */
static void test_outs_from_exit(void **state)
{
	(void)state;
	FX_CODE(0xff, 0xff);
	string_io_exit(false, 1, false);
	fx.vcpu.exit.insn_len = 2;
	fx.vcpu.exit.io.addr_size = 4;
	fx.vcpu.exit.io.seg = SEG_FS;
	fx.seg[SEG_FS].base = 0x300000;
	fx.ram[0x300020] = 'Q';
	GPR[RSI] = BIT(35) | 0x20;
	assert_int_equal(emulate_string_io(&fx.vcpu), EMULATE_DONE);
	assert_int_equal(port_data[0], 'Q');
	assert_int_equal(GPR[RSI], 0x21);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 2);
}

static void test_string_io_bounded(void **state)
{
	(void)state;
	FX_CODE(0xf3, 0x6e); /* rep outsb */
	string_io_exit(false, 1, true);
	bus_unregister_io(&fx.vm.bus, 0x1f0);
	GPR[RCX] = UINT64_MAX;
	GPR[RSI] = 0;
	assert_int_equal(emulate_string_io(&fx.vcpu), EMULATE_DONE);
	assert_int_equal(fx.vcpu.regs.rip, CODE);
	assert_in_range(GPR[RSI], 1, 4096);
	assert_int_equal(GPR[RCX], UINT64_MAX - GPR[RSI]);
}

static void test_string_io_mismatch(void **state)
{
	(void)state;
	FX_CODE(0x6e); /* outsb, where the exit says insb */
	string_io_exit(true, 1, false);
	assert_int_equal(emulate_string_io(&fx.vcpu), EMULATE_FAILED);
	assert_int_equal(port_at, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(test_rep_is_bounded),
		T(test_rep_faults_in_the_middle),
		T(test_rep_single_step),
		T(test_rep_budget_ends_shadow),
		T(test_movs_checks_target_before_reading),
		T(test_rep_of_zero),
		T(test_string_16_bit_wraps),
		T(test_rep_insw),
		T(test_ins_fault_leaves_the_port),
		T(test_ins_protection_key),
		T(test_outs),
		T(test_outs_from_exit),
		T(test_string_io_bounded),
		T(test_string_io_mismatch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
