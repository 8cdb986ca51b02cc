/*
 * The emulator where the processor at hand cannot be asked: faults, other modes, how devices
 * are accessed, lengths, control registers. What instructions compute is tested in
 * test_emulate_cpu.c, repetition in test_emulate_string.c.
 */
#include "tests/host/emu_fixture.h"

static const uint64_t rw = PTE_P | PTE_W | PTE_U;

#define GPR fx.vcpu.regs.gpr

static void assert_untouched(void)
{
	assert_int_equal(fx.dev[0].reads + fx.dev[0].writes, 0);
	assert_int_equal(fx.dev[1].reads + fx.dev[1].writes, 0);
}

/* --- operands in two pages --- */

/* Another vCPU, in the guest on another CPU, which does one more store before it leaves. */
static struct cpu other_cpu;
static struct vcpu other = { .home = &other_cpu };
static uint16_t *other_stores; /* NULL: none */
static unsigned driven_out;

void cpu_interrupt(struct cpu *cpu)
{
	assert_ptr_equal(cpu, &other_cpu);
	assert_true(fx.vm.tables.closed);
	if (other_stores)
		++*other_stores;
	other.in_guest = false;
	driven_out++;
}

static void other_enters(uint16_t *stores)
{
	fx.vm.vcpu[1] = &other;
	fx.vm.nr_vcpus = 2;
	other.vm = &fx.vm;
	other.tables_seen = fx.vm.tables.count;
	other.in_guest = true;
	other_stores = stores;
	driven_out = 0;
}

/* It sees all of a locked store or nothing, and none of its own are lost. */
static void test_locked_over_two_pages(void **state)
{
	uint16_t *low = (uint16_t *)(fx.ram + 0x200ffe), *high = (uint16_t *)(fx.ram + 0x203000);

	(void)state;
	window_map(2, 0x200000, rw);
	window_map(3, 0x203000, rw);
	FX_CODE(0xf0, 0x01, 0x03); /* lock add [rbx], eax */
	GPR[RBX] = WINDOW + 0x2ffe;
	GPR[RAX] = 0x10001;
	*low = 0xffff;
	other_enters(NULL);
	emulates(EMULATE_DONE, 3);
	assert_int_equal(driven_out, 1);
	assert_false(fx.vm.tables.closed);
	assert_int_equal(*low, 0);
	assert_int_equal(*high, 2);

	/* What was read is no longer there: nothing has happened, and the guest does it again. */
	fx.vcpu.regs.rip = CODE;
	other_enters(low);
	emulates(EMULATE_DONE, 0);
	assert_int_equal(*low, 1);
	assert_int_equal(*high, 2);
	assert_false(fx.vm.tables.closed);
	emulates(EMULATE_DONE, 3);
	assert_int_equal(*low, 2);
	assert_int_equal(*high, 3);

	/* Without LOCK, and on a device, nobody is disturbed. */
	other_enters(low);
	FX_CODE(0x01, 0x03); /* add [rbx], eax */
	emulates(EMULATE_DONE, 2);
	GPR[RBX] = WINDOW + 0xffe;
	FX_CODE(0xf0, 0x01, 0x03);
	emulates(EMULATE_DONE, 3);
	assert_int_equal(driven_out, 0);
	assert_int_equal(fx.dev[0].reads, 1);
	assert_int_equal(fx.dev[0].writes, 1);
	assert_int_equal(fx.dev[1].writes, 1);
}

/* --- how devices are asked --- */

static void test_device_sees_one_access(void **state)
{
	(void)state;
	FX_CODE(0x48, 0x89, 0x03); /* mov [rbx], rax */
	GPR[RBX] = WINDOW + 0x18;
	GPR[RAX] = 0x1122334455667788;
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fx.dev[0].writes, 1);
	assert_int_equal(fx.dev[0].reads, 0);
	assert_int_equal(fx.dev[0].last_off, 0x18);
	assert_int_equal(fx.dev[0].last_size, 8);
	assert_int_equal(fx.dev[0].last_val, 0x1122334455667788);
	assert_nothing_raised();
}

static void test_rmw_is_one_read_one_write(void **state)
{
	(void)state;
	FX_CODE(0x83, 0x0b, 0x10); /* or dword [rbx], 0x10 */
	GPR[RBX] = WINDOW;
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fx.dev[0].reads, 1);
	assert_int_equal(fx.dev[0].writes, 1);
	FX_CODE(0x85, 0x03); /* test [rbx], eax: no write */
	emulates(EMULATE_DONE, 2);
	assert_int_equal(fx.dev[0].reads, 2);
	assert_int_equal(fx.dev[0].writes, 1);
}

/* A store must not read the device, a load of a byte must read no more than that. */
static void test_no_stray_reads(void **state)
{
	(void)state;
	FX_CODE(0xc6, 0x03, 0x05, 0x8a, 0x03); /* mov byte [rbx], 5; mov al, [rbx] */
	GPR[RBX] = WINDOW + 7;
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fx.dev[0].reads, 0);
	emulates(EMULATE_DONE, 2);
	assert_int_equal(fx.dev[0].reads, 1);
	assert_int_equal(fx.dev[0].last_size, 1);
	assert_int_equal(GPR[RAX], 5);
}

static void test_nowhere_and_rom(void **state)
{
	(void)state;
	window_map(0, NOWHERE, rw);
	window_map(1, ROM_PA, rw);
	FX_CODE(0x48, 0x8b, 0x03, 0x89, 0x03); /* mov rax, [rbx]; mov [rbx], eax */
	GPR[RBX] = WINDOW;
	emulates(EMULATE_DONE, 3);
	assert_int_equal(GPR[RAX], UINT64_MAX);
	emulates(EMULATE_DONE, 2);
	fx.vcpu.regs.rip = CODE + 3;
	GPR[RBX] = WINDOW + 4096;
	emulates(EMULATE_DONE, 2);
	assert_int_equal(fx.rom[0], 0);
	assert_nothing_raised();
}

/* --- faults --- */

static void test_write_fault_comes_before_the_read(void **state)
{
	(void)state;
	FX_CODE(0x83, 0x0b, 0x10); /* or dword [rbx], 0x10 */
	window_map(0, DEVICE_A, PTE_P | PTE_U);
	GPR[RBX] = WINDOW + 8;
	fx_user();
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_P | PF_W | PF_U);
	assert_int_equal(fx.reg[REG_CR2], WINDOW + 8);
	assert_untouched();
}

static void test_second_page_fault(void **state)
{
	(void)state;
	FX_CODE(0x48, 0x87, 0x03); /* xchg [rbx], rax */
	window_map(1, 0, 0);
	GPR[RBX] = WINDOW + 4090;
	GPR[RAX] = 0x1234;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_W);
	assert_int_equal(fx.reg[REG_CR2], WINDOW + 4096);
	assert_int_equal(GPR[RAX], 0x1234);
	assert_untouched();
}

static void test_non_canonical(void **state)
{
	(void)state;
	FX_CODE(0x8b, 0x03, 0x8b, 0x45, 0x00, 0x64, 0x8b, 0x03);
	GPR[RBX] = 0x00007ffffffffffd; /* the last byte is beyond */
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_GP, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.vcpu.regs.rip = CODE + 2;
	GPR[RBP] = 0x8000000000000000; /* mov eax, [rbp]: a stack fault */
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_SS, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.vcpu.regs.rip = CODE + 5;
	fx.seg[SEG_FS].base = 0x00007ffffffff000; /* mov eax, fs:[rbx] */
	GPR[RBX] = 0x1000;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_GP, 0);
	assert_untouched();
}

static void test_wide_canonical_with_la57(void **state)
{
	(void)state;
	FX_CODE(0x8b, 0x03);
	pte_set(TABLES + 0x8000, 0, TABLES | rw);
	fx.reg[REG_CR3] = TABLES + 0x8000;
	fx.reg[REG_CR4] |= CR4_LA57;
	GPR[RBX] = 0x00ff000000000000;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, 0); /* canonical in 57 bits: not mapped, that is all */
}

/* Protection keys: AD and WD of the page's key, for what is done on the guest's behalf. */
static void test_protection_keys(void **state)
{
	(void)state;
	window_map(0, DEVICE_A, rw | PTE_KEY(5));
	GPR[RBX] = WINDOW + 8;
	FX_CODE(0x8b, 0x03, 0x89, 0x03); /* mov eax, [rbx]; mov [rbx], eax */
	fx_pkru(1u << 2 * 5);
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_P | PF_PK);
	assert_int_equal(fx.reg[REG_CR2], WINDOW + 8);
	assert_untouched();
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx_pkru(2u << 2 * 5);
	emulates(EMULATE_DONE, 2);
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_P | PF_W | PF_PK);
	assert_int_equal(fx.dev[0].writes, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.reg[REG_CR0] &= ~CR0_WP; /* WD then binds CPL 3 alone */
	emulates(EMULATE_DONE, 2);
	assert_int_equal(fx.dev[0].writes, 1);
}

static void test_code_that_is_not_there(void **state)
{
	(void)state;
	fx.vcpu.exit.kind = EXIT_NESTED_FAULT;
	fx.vcpu.exit.nested.fetch = true;
	fx.vcpu.regs.rip = WINDOW; /* a device: all ones, no instruction */
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_UD, 0);
	assert_untouched();
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.vcpu.regs.rip = CODE + 2 * 4096;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_I);
}

static void test_what_is_not_emulated(void **state)
{
	(void)state;
	FX_CODE(0x0f, 0x58, 0x03); /* addps xmm0, [rbx] */
	GPR[RBX] = WINDOW;
	emulates(EMULATE_FAILED, 0);
	assert_nothing_raised();
	window_map(0, 0, 0); /* but first comes what the operand's address earns */
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	FX_CODE(0x62, 0xf1, 0x7c, 0x48, 0x10, 0x03); /* AVX-512: the decoder does not know it */
	fx.vcpu.exit.kind = EXIT_NESTED_FAULT;
	emulates(EMULATE_FAILED, 0);
	assert_nothing_raised();
	FX_CODE(0x64, 0x67, 0xc5, 0xf8, 0x91, 0x03); /* kmovw fs:[ebx], k0 */
	emulates(EMULATE_FAILED, 0);
	assert_nothing_raised();
}

/* The hardware (an emulator) says that it has met the operand, of what no manual calls valid. */
static void test_no_instruction_at_all(void **state)
{
	static const uint8_t codes[][4] = {
		{ 0xf0, 0x89, 0x03 },       /* lock mov [rbx], eax */
		{ 0xc7, 0x4b, 0x00, 0x00 }, /* c7 /1 */
		{ 0xff, 0x3b },             /* ff /7 */
		{ 0x8f, 0x2b },             /* 8f /5 */
		{ 0xf3, 0x0f, 0xae, 0x03 }, /* f3 before FXSAVE */
		{ 0xf0, 0x62, 0xf1, 0x7c }, /* LOCK before EVEX */
	};

	(void)state;
	GPR[RBX] = WINDOW;
	fx.vcpu.exit.kind = EXIT_NESTED_FAULT;
	fx.vcpu.exit.nested.write = true;
	fx.vcpu.exit.nested.gpa = GPA(DEVICE_A);
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		fx_code(codes[i], sizeof(codes[i]));
		emulates(EMULATE_FAULT, 0);
		assert_raised(VEC_UD, 0);
		assert_untouched();
		fx.vcpu.events.pending.kind = EVENT_NONE;
	}
}

/* --- what the exit says about the access --- */

static void test_exit_address_is_believed(void **state)
{
	(void)state;
	FX_CODE(0x89, 0x03); /* mov [rbx], eax */
	GPR[RBX] = WINDOW + 0x10;
	fx.vcpu.exit.kind = EXIT_NESTED_FAULT;
	fx.vcpu.exit.nested.write = true;
	fx.vcpu.exit.nested.gpa = GPA(DEVICE_B + 0x10); /* the tables say A */
	emulates(EMULATE_DONE, 2);
	assert_int_equal(fx.dev[1].writes, 1);
}

static void test_exit_address_is_not_believed(void **state)
{
	(void)state;
	FX_CODE(0x89, 0x03);
	GPR[RBX] = WINDOW + 0x10;
	fx.vcpu.exit.kind = EXIT_NESTED_FAULT;
	fx.vcpu.exit.nested.gpa = GPA(DEVICE_B + 0x10);
	emulates(EMULATE_DONE, 2); /* that was a read */
	fx.vcpu.regs.rip = CODE;
	fx.vcpu.exit.nested.write = true;
	fx.vcpu.exit.nested.gpa = GPA(DEVICE_B + 0x14);
	emulates(EMULATE_DONE, 2); /* another place in the page */
	fx.vcpu.regs.rip = CODE;
	fx.vcpu.exit.nested.gpa = GPA(DEVICE_B + 0x10);
	fx.vcpu.exit.nested.table_walk = true;
	emulates(EMULATE_DONE, 2);
	assert_int_equal(fx.dev[0].writes, 3);
	assert_int_equal(fx.dev[1].writes, 0);
}

static void test_decode_assist(void **state)
{
	static const uint8_t mov[] = { 0xc7, 0x03, 0x44, 0x33, 0x22, 0x11 };

	(void)state;
	fx_code(mov, sizeof(mov));
	GPR[RBX] = WINDOW;
	/* Bytes that the hardware gave are used, and completed from memory when too few. */
	for (unsigned n = 1; n <= sizeof(mov); n++) {
		fx.vcpu.regs.rip = CODE;
		fx.vcpu.exit.nr_bytes = (uint8_t)n;
		memcpy(fx.vcpu.exit.bytes, mov, n);
		emulates(EMULATE_DONE, 6);
	}
	assert_int_equal(fx.dev[0].last_val, 0x11223344);
	memset(fx.ram + CODE_PA, 0xff, 16);
	fx.vcpu.regs.rip = CODE;
	emulates(EMULATE_DONE, 6);
	assert_int_equal(fx.dev[0].writes, 7);
}

/* --- segmentation --- */

static void legacy_case(const char *what, unsigned vector)
{
	fx.vcpu.regs.rip = CODE_PA;
	fx.vcpu.events.pending.kind = EVENT_NONE;
	print_message("  %s\n", what);
	if (vector) {
		emulates(EMULATE_FAULT, 0);
		assert_raised(vector, 0);
	} else {
		emulates(EMULATE_DONE, 2);
		assert_nothing_raised();
	}
}

static void test_protected_mode_segments(void **state)
{
	(void)state;
	fx_mode_32();
	FX_CODE(0x89, 0x03);           /* mov [ebx], eax */
	GPR[RBX] = 0x300000 | BIT(40); /* the upper half of registers counts for nothing */
	legacy_case("flat", 0);
	fx.seg[SEG_DS].base = 0xfffff000;
	GPR[RBX] = 0x301000;
	GPR[RAX] = 0x51;
	legacy_case("base wraps at 4 GiB", 0);
	assert_int_equal(fx.ram[0x300000], 0x51);
	fx.seg[SEG_DS].base = 0;
	fx.seg[SEG_DS].limit = 0x301002;
	legacy_case("last byte beyond the limit", VEC_GP);
	fx.seg[SEG_DS].limit = 0x301003;
	legacy_case("last byte at the limit", 0);
	fx.seg[SEG_DS].attr = 0xc91;
	legacy_case("read-only data", VEC_GP);
	fx.seg[SEG_DS].attr = 0xc9b;
	legacy_case("code is never written", VEC_GP);
	fx.seg[SEG_DS].attr = 0;
	legacy_case("null selector", VEC_GP);
	fx.seg[SEG_DS].attr = 0xc97; /* expand-down, 32-bit */
	legacy_case("expand-down, below", VEC_GP);
	fx.seg[SEG_DS].limit = 0x300fff;
	legacy_case("expand-down, above", 0);
	fx.vcpu.regs.rip = CODE_PA;
	FX_CODE(0x8b, 0x03); /* mov eax, [ebx] */
	fx.seg[SEG_DS] = (struct segment){ .attr = 0xc99, .limit = 0xffffffff };
	legacy_case("execute-only code is not read", VEC_GP);
	FX_CODE(0x89, 0x04, 0x24); /* mov [esp], eax */
	GPR[RSP] = 0x10;
	fx.seg[SEG_SS].limit = 0xf;
	legacy_case("stack segment", VEC_SS);
}

static void test_real_mode(void **state)
{
	(void)state;
	fx_mode_16();
	fx.seg[SEG_DS].base = 0x40000;
	fx.seg[SEG_CS].attr = 0x9b;
	FX_CODE(0x88, 0x40, 0x10, /* mov [bx+si+16], al */
		0x2e, 0x88, 0x07, /* mov cs:[bx], al: allowed here */
		0x89, 0x07);      /* mov [bx], ax */
	GPR[RBX] = 0xfff8;
	GPR[RSI] = 0x10;
	GPR[RAX] = 0x77;
	emulates(EMULATE_DONE, 3); /* the offset wraps to 0x18 */
	assert_int_equal(fx.ram[0x40018], 0x77);
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fx.ram[CODE_PA + 0xfff8], 0x77);
	GPR[RBX] = 0xffff;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_GP, 0);
}

/* FS and GS alone have a base in 64-bit code, and no segment a limit. */
static void test_64_bit_segments(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		fx.seg[i].base = 0x100;
		fx.seg[i].limit = 0;
		fx.seg[i].attr = i == SEG_CS ? 0xa9b : 0;
	}
	FX_CODE(0x88, 0x03, 0x65, 0x88, 0x03, 0x2e, 0x88, 0x03);
	GPR[RBX] = WINDOW;
	emulates(EMULATE_DONE, 2);
	assert_int_equal(fx.dev[0].last_off, 0);
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fx.dev[0].last_off, 0x100);
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fx.dev[0].last_off, 0);
}

/* --- lengths --- */

static void assert_length(enum vm_exit_kind kind, unsigned want)
{
	fx.vcpu.exit.kind = kind;
	assert_int_equal(emulate_insn_length(&fx.vcpu), want);
	/* And again, from what is remembered. */
	assert_int_equal(emulate_insn_length(&fx.vcpu), want);
}

static void test_lengths(void **state)
{
	(void)state;
	FX_CODE(0x0f, 0xa2);
	assert_length(EXIT_CPUID, 2);
	FX_CODE(0x48, 0x0f, 0xa2);
	assert_length(EXIT_CPUID, 3); /* a useless prefix */
	FX_CODE(0xf4);
	assert_length(EXIT_HLT, 1);
	FX_CODE(0x0f, 0x32);
	assert_length(EXIT_RDMSR, 2);
	FX_CODE(0x0f, 0x30);
	assert_length(EXIT_WRMSR, 2);
	FX_CODE(0xf3, 0x90);
	assert_length(EXIT_PAUSE, 2);
	FX_CODE(0x0f, 0x31);
	assert_length(EXIT_RDTSC, 2);
	FX_CODE(0x0f, 0x01, 0xf9);
	assert_length(EXIT_RDTSC, 3);
	FX_CODE(0x0f, 0x01, 0xd9);
	assert_length(EXIT_HYPERCALL, 3);
	FX_CODE(0x0f, 0x01, 0xc8);
	assert_length(EXIT_MONITOR, 3);
	FX_CODE(0x0f, 0x01, 0xd1);
	assert_length(EXIT_XSETBV, 3);
	FX_CODE(0x0f, 0x09);
	assert_length(EXIT_WBINVD, 2);
	FX_CODE(0x41, 0x0f, 0x01, 0x3c, 0x24); /* invlpg [r12] */
	assert_length(EXIT_INVLPG, 5);
	fx.vcpu.exit.insn_len = 7; /* the hardware knows */
	assert_length(EXIT_INVLPG, 7);
	assert_nothing_raised();
}

static void test_length_over_a_page(void **state)
{
	(void)state;
	fx.vcpu.regs.rip = CODE + 4095;
	FX_CODE(0x0f, 0xa2);
	assert_length(EXIT_CPUID, 2);
}

/* Another page has come to the same address since the last time. */
static void test_length_after_remapping(void **state)
{
	(void)state;
	FX_CODE(0x0f, 0xa2);
	assert_length(EXIT_CPUID, 2);
	memcpy(fx.ram + 0x280000, "\xf3\x0f\xa2", 3);
	memset(fx.ram + CODE_PA, 0x90, 16);
	pte_set(PT_WINDOW, 256, 0x280000 | rw);
	assert_length(EXIT_CPUID, 3);
}

/* Other tables have other code at the same address; the old page is still as it was. */
static void test_length_under_another_cr3(void **state)
{
	const uint64_t root = TABLES + 0x8000;

	(void)state;
	FX_CODE(0x0f, 0xa2);
	assert_length(EXIT_CPUID, 2);
	memcpy(fx.ram + 0x280000, "\x48\x0f\xa2", 3);
	pte_set(root, 0, (root + 0x1000) | rw);
	pte_set(root + 0x1000, 1, (root + 0x2000) | rw);
	pte_set(root + 0x2000, 0, (root + 0x3000) | rw);
	pte_set(root + 0x3000, 256, 0x280000 | rw);
	fx.reg[REG_CR3] = root;
	assert_length(EXIT_CPUID, 3);
	fx.reg[REG_CR3] = TABLES;
	assert_length(EXIT_CPUID, 2);
}

static void test_length_of_nothing(void **state)
{
	(void)state;
	fx.vcpu.regs.rip = CODE + 2 * 4096;
	fx.vcpu.exit.kind = EXIT_CPUID;
	assert_int_equal(emulate_insn_length(&fx.vcpu), 0);
	assert_raised(VEC_PF, PF_I);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.vcpu.regs.rip = WINDOW;
	assert_int_equal(emulate_insn_length(&fx.vcpu), 0);
	assert_raised(VEC_UD, 0);
	assert_untouched();
}

/* --- control registers, text --- */

static void test_decode_cr(void **state)
{
	struct cr_insn cr;

	(void)state;
	FX_CODE(0x44, 0x0f, 0x22, 0xc1); /* mov cr8, rcx */
	GPR[RCX] = 0x123456789;
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.op, CR_INSN_MOV_TO);
	assert_int_equal(cr.nr, 8);
	assert_int_equal(cr.gpr, RCX);
	assert_int_equal(cr.len, 4);
	assert_int_equal(cr.value, 0x123456789);
	FX_CODE(0x0f, 0x20, 0xe2); /* mov rdx, cr4 */
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.op, CR_INSN_MOV_FROM);
	assert_int_equal(cr.nr, 4);
	assert_int_equal(cr.gpr, RDX);
	FX_CODE(0x0f, 0x06);
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.op, CR_INSN_CLTS);
	assert_int_equal(cr.len, 2);
	FX_CODE(0x0f, 0x01, 0xf1); /* lmsw cx */
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.op, CR_INSN_LMSW);
	assert_int_equal(cr.value, 0x6789);
	FX_CODE(0x66, 0x0f, 0x01, 0xe3); /* smsw bx */
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.op, CR_INSN_SMSW);
	assert_int_equal(cr.gpr, RBX);
	assert_int_equal(cr.size, 2);
	FX_CODE(0x0f, 0x22, 0xc1); /* in 32-bit code, 32 bits count */
	fx_mode_32();
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.value, 0x23456789);
	assert_nothing_raised();
}

static void test_smsw_to_memory(void **state)
{
	struct cr_insn cr;

	(void)state;
	FX_CODE(0x0f, 0x01, 0x23); /* smsw [rbx] */
	GPR[RBX] = 0x300fff;
	memset(fx.ram + 0x300ffe, 0xee, 4);
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.op, CR_INSN_SMSW);
	assert_int_equal(cr.gpr, INSN_NO_REG);
	assert_true(emulate_store_smsw(&fx.vcpu, 0x1234));
	assert_memory_equal(fx.ram + 0x300ffe, "\xee\x34\x12\xee", 4);
	assert_int_equal(fx.vcpu.regs.rip, CODE); /* the caller retires it */
	window_map(0, 0, 0);
	GPR[RBX] = WINDOW;
	assert_false(emulate_store_smsw(&fx.vcpu, 0x1234));
	assert_raised(VEC_PF, PF_W);
}

static void test_lmsw_from_memory(void **state)
{
	struct cr_insn cr;

	(void)state;
	FX_CODE(0x0f, 0x01, 0x33); /* lmsw [rbx] */
	GPR[RBX] = 0x300000;
	fx.ram[0x300000] = 0x0b;
	assert_true(emulate_decode_cr(&fx.vcpu, &cr));
	assert_int_equal(cr.value, 0x0b);
	assert_int_equal(cr.len, 3);
	GPR[RBX] = WINDOW + 5 * 4096;
	assert_false(emulate_decode_cr(&fx.vcpu, &cr));
	assert_raised(VEC_PF, 0);
}

static void test_decode_cr_something_else(void **state)
{
	struct cr_insn cr;

	(void)state;
	FX_CODE(0x0f, 0x23, 0xc0); /* mov dr0, rax */
	assert_false(emulate_decode_cr(&fx.vcpu, &cr));
	assert_nothing_raised();
	FX_CODE(0xff, 0xff);
	assert_false(emulate_decode_cr(&fx.vcpu, &cr));
	assert_raised(VEC_UD, 0);
}

static void test_disassemble(void **state)
{
	char buf[32];

	(void)state;
	FX_CODE(0x0f, 0x10, 0x03);
	emulate_disassemble(&fx.vcpu, buf, sizeof(buf));
	assert_string_equal(buf, "movups xmm0, [rbx]");
	emulate_disassemble(&fx.vcpu, buf, 7);
	assert_string_equal(buf, "movups");
	fx.vcpu.regs.rip = WINDOW + 6 * 4096;
	emulate_disassemble(&fx.vcpu, buf, sizeof(buf));
	assert_string_equal(buf, "?");
	fx.vcpu.regs.rip = WINDOW;
	emulate_disassemble(&fx.vcpu, buf, sizeof(buf));
	assert_string_equal(buf, "?");
	assert_nothing_raised();
}

/* --- retirement --- */

static void test_trap_flag(void **state)
{
	(void)state;
	FX_CODE(0x88, 0x03);
	GPR[RBX] = WINDOW;
	fx.vcpu.regs.rflags |= RFLAGS_TF;
	emulates(EMULATE_DONE, 2);
	assert_raised(VEC_DB, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(test_device_sees_one_access),
		T(test_rmw_is_one_read_one_write),
		T(test_no_stray_reads),
		T(test_nowhere_and_rom),
		T(test_write_fault_comes_before_the_read),
		T(test_second_page_fault),
		T(test_non_canonical),
		T(test_wide_canonical_with_la57),
		T(test_protection_keys),
		T(test_code_that_is_not_there),
		T(test_what_is_not_emulated),
		T(test_no_instruction_at_all),
		T(test_exit_address_is_believed),
		T(test_exit_address_is_not_believed),
		T(test_decode_assist),
		T(test_protected_mode_segments),
		T(test_real_mode),
		T(test_64_bit_segments),
		T(test_lengths),
		T(test_length_over_a_page),
		T(test_length_after_remapping),
		T(test_length_under_another_cr3),
		T(test_length_of_nothing),
		T(test_decode_cr),
		T(test_smsw_to_memory),
		T(test_lmsw_from_memory),
		T(test_decode_cr_something_else),
		T(test_disassemble),
		T(test_trap_flag),
		T(test_locked_over_two_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
