/*
 * Instructions on devices that move vectors, or that use more than their one operand.
 */
#include <sys/mman.h>

#include "arch/x86_64/include/x87.h"
#include "tests/host/emu_fixture.h"

#define GPR fx.vcpu.regs.gpr

static int setup(void **state)
{
	int err = fx_setup(state);

	fx.reg[REG_CR4] |= CR4_OSFXSR;
	GPR[RBX] = WINDOW + 0x20;
	for (unsigned i = 0; i < 16; i++)
		fx.dev[0].mem[0x20 + i] = (uint8_t)(i + 1);
	fake_fpu_status = 0;
	return err;
}

struct move {
	const char *text;
	uint8_t code[6], len;
	uint8_t reg;
	uint8_t first, n; /* bytes of the register that are moved */
	bool clears;      /* a load: the others */
};

static const struct move loads[] = {
	{ "movups xmm1, [rbx]", { 0x0f, 0x10, 0x0b }, 3, 1, 0, 16, false },
	{ "movapd xmm1, [rbx]", { 0x66, 0x0f, 0x28, 0x0b }, 4, 1, 0, 16, false },
	{ "movdqa xmm9, [rbx]", { 0x66, 0x44, 0x0f, 0x6f, 0x0b }, 5, 9, 0, 16, false },
	{ "movdqu xmm1, [rbx]", { 0xf3, 0x0f, 0x6f, 0x0b }, 4, 1, 0, 16, false },
	{ "movss xmm1, [rbx]", { 0xf3, 0x0f, 0x10, 0x0b }, 4, 1, 0, 4, true },
	{ "movsd xmm1, [rbx]", { 0xf2, 0x0f, 0x10, 0x0b }, 4, 1, 0, 8, true },
	{ "movd xmm1, [rbx]", { 0x66, 0x0f, 0x6e, 0x0b }, 4, 1, 0, 4, true },
	{ "movq xmm1, [rbx]", { 0xf3, 0x0f, 0x7e, 0x0b }, 4, 1, 0, 8, true },
	{ "movlps xmm1, [rbx]", { 0x0f, 0x12, 0x0b }, 3, 1, 0, 8, false },
	{ "movhpd xmm1, [rbx]", { 0x66, 0x0f, 0x16, 0x0b }, 4, 1, 8, 8, false },
};

static const struct move stores[] = {
	{ "movups [rbx], xmm1", { 0x0f, 0x11, 0x0b }, 3, 1, 0, 16, false },
	{ "movntdq [rbx], xmm1", { 0x66, 0x0f, 0xe7, 0x0b }, 4, 1, 0, 16, false },
	{ "movss [rbx], xmm1", { 0xf3, 0x0f, 0x11, 0x0b }, 4, 1, 0, 4, false },
	{ "movq [rbx], xmm1", { 0x66, 0x0f, 0xd6, 0x0b }, 4, 1, 0, 8, false },
	{ "movlpd [rbx], xmm1", { 0x66, 0x0f, 0x13, 0x0b }, 4, 1, 0, 8, false },
	{ "movhps [rbx], xmm1", { 0x0f, 0x17, 0x0b }, 3, 1, 8, 8, false },
};

static void begin(const struct move *m)
{
	fx.vcpu.regs.rip = CODE;
	fx_code(m->code, m->len);
	emulates(EMULATE_DONE, m->len);
	assert_nothing_raised();
}

static void test_loads(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(loads); i++) {
		const struct move *m = &loads[i];
		uint8_t want[16];

		memset(fake_xmm[m->reg], 0xee, 16);
		memset(want, m->clears ? 0 : 0xee, 16);
		memcpy(want + m->first, fx.dev[0].mem + 0x20, m->n);
		begin(m);
		if (memcmp(fake_xmm[m->reg], want, 16))
			fail_msg("%s: another register is loaded, or other bytes", m->text);
	}
}

static void test_stores(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(stores); i++) {
		const struct move *m = &stores[i];
		uint8_t want[32];

		for (unsigned b = 0; b < 16; b++)
			fake_xmm[1][b] = (uint8_t)(0x40 + b);
		memset(fx.dev[0].mem + 0x20, 0xee, 32);
		memset(want, 0xee, 32);
		memcpy(want, fake_xmm[1] + m->first, m->n);
		begin(m);
		if (memcmp(fx.dev[0].mem + 0x20, want, 32))
			fail_msg("%s: other bytes are stored", m->text);
	}
}

/* A device is asked for at most eight bytes a time. */
static void test_device_is_asked_twice(void **state)
{
	(void)state;
	begin(&loads[0]);
	assert_int_equal(fx.dev[0].reads, 2);
	assert_int_equal(fx.dev[0].last_size, 8);
}

static void test_alignment(void **state)
{
	unsigned reads;

	(void)state;
	GPR[RBX] = WINDOW + 0x28;
	begin(&loads[0]); /* MOVUPS does not mind */
	reads = fx.dev[0].reads;
	fx.vcpu.regs.rip = CODE;
	FX_CODE(0x0f, 0x28, 0x0b); /* movaps xmm1, [rbx] */
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_GP, 0);
	assert_int_equal(fx.dev[0].reads, reads);
}

static void test_mmx(void **state)
{
	uint64_t val;

	(void)state;
	/* movq [rbx], mm3; movd mm4, [rbx]; movntq [rbx], mm4 */
	FX_CODE(0x0f, 0x7f, 0x1b, 0x0f, 0x6e, 0x23, 0x0f, 0xe7, 0x23);
	fake_mmx[3] = 0xb3b3b3b3b3b3b3b3;
	emulates(EMULATE_DONE, 3);
	memcpy(&val, fx.dev[0].mem + 0x20, 8);
	assert_int_equal(val, 0xb3b3b3b3b3b3b3b3);
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fake_mmx[4], 0xb3b3b3b3);
	emulates(EMULATE_DONE, 3);
	memcpy(&val, fx.dev[0].mem + 0x20, 8);
	assert_int_equal(val, 0xb3b3b3b3);
	fx.vcpu.regs.rip = CODE;
	fake_fpu_status = 0x80; /* an x87 exception waits: as IRQ 13 */
	emulates(EMULATE_FAILED, 0);
	fx.reg[REG_CR0] |= CR0_NE;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_MF, 0);
}

/* --- x87 --- */

#define CW_MASKED 0x37fu
#define CW_OPEN 0x340u /* no exception is masked */

struct x87 {
	uint8_t image[108]; /* FNSAVE's */
	uint8_t memory[16];
};

/* The x87 has 3.7 and 1e300, its stack's top, in its registers. */
static void x87_begin(uint16_t control)
{
	static const double values[] = { 3.7, 1e300 };

	__asm__ volatile("fninit; fldl %0; fldl %1; fldcw %2" ::"m"(values[0]), "m"(values[1]),
			 "m"(control));
	fake_fpu_control = control;
	fake_fpu_status = 0;
}

/* But for the pointers, and what is reserved. */
static void x87_end(struct x87 *x, const uint8_t *memory)
{
	__asm__ volatile("fnsave %0" : "=m"(x->image)); /* FNINIT too */
	memset(x->image + 12, 0, 16);
	memcpy(x->memory, memory, sizeof(x->memory));
}

/* The processor does it: the form's opcode with [rdi]. */
static void x87_native(unsigned form, uint8_t *memory)
{
	static uint8_t *page;
	void (*run)(uint8_t * memory);

	if (!page)
		page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(page, MAP_FAILED);
	page[0] = (uint8_t)(0xd8 | form >> 3);
	page[1] = (uint8_t)((form & 7) << 3 | 7);
	page[2] = 0xc3;
	memcpy(&run, &page, sizeof(run));
	run(memory);
}

/* Not assigned, or of the whole environment; what has a row of its own is another test's. */
static bool is_no_x87(unsigned form)
{
	static const uint8_t forms[] = { 011, 014, 016, 017, 034, 036, 054, 055, 056, 057 };

	return memchr(forms, (int)form, sizeof(forms));
}

/* Each form on a device is what the processor does in memory, with these bytes there. */
static void x87_forms(uint16_t control, const uint8_t bytes[16])
{
	for (unsigned form = 0; form < 64; form++) {
		uint8_t code[] = { (uint8_t)(0xd8 | form >> 3), (uint8_t)((form & 7) << 3 | 7) };
		struct x87 want, got;
		uint8_t memory[16];

		if (is_no_x87(form))
			continue;
		memcpy(memory, bytes, 16);
		x87_begin(control);
		x87_native(form, memory);
		x87_end(&want, memory);
		memcpy(fx.dev[0].mem + 0x20, bytes, 16);
		fx.vcpu.regs.rip = CODE;
		GPR[RDI] = WINDOW + 0x20;
		fx_code(code, sizeof(code));
		x87_begin(control);
		emulates(EMULATE_DONE, sizeof(code));
		x87_end(&got, fx.dev[0].mem + 0x20);
		assert_nothing_raised();
		if (memcmp(&want, &got, sizeof(got)))
			fail_msg("%02x /%u, control %x: not what the processor does", code[0],
				 form & 7, control);
		assert_int_equal(fake_fpu_ip, CODE);
		assert_int_equal(fake_fpu_dp, WINDOW + 0x20);
	}
}

static void test_x87(void **state)
{
	static const uint8_t bytes[][16] = {
		{ 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x40 },                   /* any */
		{ 0, 0, 0x80, 0x3f, 0, 0, 0xf0, 0x3f, 0xff, 0x3f },    /* 1.0 */
		{ 1, 0, 0x80, 0x7f, 0, 0, 0xf1, 0x7f, 0xff, 0x7f },    /* signalling NaNs */
		{ 0 },                                                 /* division by zero */
		{ 0x99, 0x99, 0x80, 0x80, 0, 0, 0, 0x80, 0x12, 0x80 }, /* denormal, decimal */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bytes); i++) {
		x87_forms(CW_MASKED, bytes[i]);
		x87_forms(CW_MASKED | 0xc00, bytes[i]); /* rounding towards zero */
		x87_forms(CW_OPEN, bytes[i]);
		x87_forms(CW_OPEN | 0x20, bytes[i]); /* but precision */
	}
	__asm__ volatile("fninit");
}

static void test_x87_refused(void **state)
{
	(void)state;
	GPR[RDI] = WINDOW + 0x20;
	FX_CODE(0xdd, 0x07); /* fld qword [rdi] */
	fx.reg[REG_CR0] |= CR0_TS;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_NM, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.reg[REG_CR0] &= ~CR0_TS;
	fake_fpu_status = 0x80;
	emulates(EMULATE_FAILED, 0);
	fx.reg[REG_CR0] |= CR0_NE;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_MF, 0);
	FX_CODE(0xdd, 0x27); /* frstor [rdi] */
	fx.vcpu.events.pending.kind = EVENT_NONE;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_MF, 0);
	assert_int_equal(fx.dev[0].reads, 0);
	FX_CODE(0xd9, 0x37); /* fnstenv [rdi]: it does not wait */
	fx.vcpu.events.pending.kind = EVENT_NONE;
	emulates(EMULATE_DONE, 2);
	assert_nothing_raised();
	FX_CODE(0xd9, 0x37);
	fx.reg[REG_CR0] |= CR0_EM;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_NM, 0);
}

/* The state as FNSAVE has it, but for the pointers, which the registers of a test's processor may
 * lack. */
static void native_save(struct x87_state *s)
{
	__asm__ volatile("fnsave %0" : "=m"(*s));
	memset(&s->env[X87_FIP], 0, 16);
}

/* Over two devices, as it is, and back. */
static void test_x87_state(void **state)
{
	static const struct {
		uint8_t save[3], load[3];
		unsigned size;
	} cases[] = {
		{ { 0xdd, 0x37 }, { 0xdd, 0x27 }, 108 }, /* fnsave, frstor */
		{ { 0x66, 0xdd, 0x37 }, { 0x66, 0xdd, 0x27 }, 94 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned len = i ? 3 : 2, first = 50;
		struct x87_state want, got;
		uint8_t image[108];

		x87_begin(CW_MASKED | 0xc00);
		native_save(&want);
		x87_begin(CW_MASKED | 0xc00);
		GPR[RDI] = WINDOW + 4096 - first;
		fx.vcpu.regs.rip = CODE;
		fx_code(cases[i].save, sizeof(cases[i].save));
		emulates(EMULATE_DONE, len);
		memcpy(image, fx.dev[0].mem + 4096 - first, first);
		memcpy(image + first, fx.dev[1].mem, cases[i].size - first);
		assert_memory_equal(image + cases[i].size - 80, want.st, 80);
		assert_int_equal(image[0] | image[1] << 8, CW_MASKED | 0xc00);
		assert_int_equal(fx.dev[1].mem[cases[i].size - first], 0);
		native_save(&got); /* it was left as FNINIT does */
		assert_int_equal(got.env[X87_FCW] & 0xffff, 0x37f);
		assert_int_equal(got.env[X87_FTW] & 0xffff, 0xffff);
		fx.vcpu.regs.rip = CODE;
		fx_code(cases[i].load, sizeof(cases[i].load));
		emulates(EMULATE_DONE, len);
		native_save(&got);
		assert_memory_equal(&got, &want, sizeof(got));
	}
}

/* One environment in each of its forms, of 7 words. */
static const struct env_form {
	bool real;
	uint8_t prefix;
	unsigned each; /* bytes */
	uint32_t env[X87_ENV_WORDS];
	uint32_t ip, fop, dp;
} env_forms[] = {
	{ false,
	  0,
	  4,
	  { 0x37f, 0x1800, 0xd5ff, 0x12345, 0x5d90000, 0x6789a },
	  0x12345,
	  0x5d9,
	  0x6789a },
	{ false, 0x66, 2, { 0x37f, 0x1800, 0xd5ff, 0x2345, 0, 0x789a }, 0x2345, 0, 0x789a },
	{ true,
	  0x66,
	  4,
	  { 0x37f, 0x1800, 0xd5ff, 0x2345, 0xabc15d9, 0x789a, 0xdef6000 },
	  0xabc12345,
	  0x5d9,
	  0xdef6789a },
	{ true,
	  0,
	  2,
	  { 0x37f, 0x1800, 0xd5ff, 0x2345, 0x15d9, 0x789a, 0x6000 },
	  0x12345,
	  0x5d9,
	  0x6789a },
};

/* On the device at DI; the x87 has zeros. */
static void env_begin(const struct env_form *f)
{
	if (f->real)
		fx_mode_16();
	fx.seg[SEG_DS].base = f->real ? DEVICE_A : 0;
	GPR[RDI] = GPR[RBX] = f->real ? 0x20 : WINDOW + 0x20;
	__asm__ volatile("fninit");
	for (unsigned reg = 0; reg < 8; reg++)
		__asm__ volatile("fldz");
	memset(fx.dev[0].mem, 0x55, 64);
	for (unsigned w = 0; w < X87_ENV_WORDS; w++)
		memcpy(fx.dev[0].mem + 0x20 + (size_t)w * f->each, &f->env[w], f->each);
}

/* d9 /4 or /6 with [rdi], or [bx]. */
static void env_emulate(const struct env_form *f, uint8_t modrm)
{
	uint8_t code[] = { f->prefix, 0xd9, modrm };
	unsigned skip = !f->prefix;

	fx.vcpu.regs.rip = f->real ? 0 : CODE;
	fx_code(code + skip, sizeof(code) - skip);
	emulates(EMULATE_DONE, sizeof(code) - skip);
}

static void env_loaded(const struct env_form *f)
{
	struct x87_state now;

	__asm__ volatile("fnstenv %0" : "=m"(now.env));
	assert_int_equal(now.env[X87_FCW] & 0xffff, 0x37f);
	assert_int_equal(now.env[X87_FSW] & 0xffff, 0x1800);
	assert_int_equal(now.env[X87_FTW] & 0xffff, 0xd5ff);
	assert_int_equal(now.env[X87_FIP], f->ip);
	assert_int_equal(now.env[X87_FCS_FOP] >> 16, f->fop);
	assert_int_equal(now.env[X87_FDP], f->dp);
}

/* But for what is reserved. */
static void env_stored(const struct env_form *f)
{
	for (unsigned w = 0; w < X87_ENV_WORDS; w++) {
		uint32_t got = 0;

		memcpy(&got, fx.dev[0].mem + 0x20 + (size_t)w * f->each, f->each);
		if (w < X87_FIP || (w == X87_FDS && !f->real))
			got &= 0xffff;
		assert_int_equal(got, f->env[w]);
	}
	assert_int_equal(fx.dev[0].mem[0x20 + X87_ENV_WORDS * f->each], 0x55);
}

static void test_x87_environment(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(env_forms); i++) {
		env_begin(&env_forms[i]);
		env_emulate(&env_forms[i], 0x27);
		env_loaded(&env_forms[i]);
		memset(fx.dev[0].mem, 0x55, 64);
		env_emulate(&env_forms[i], 0x37);
		env_stored(&env_forms[i]);
	}
	__asm__ volatile("fninit");
}

static void test_turned_off(void **state)
{
	(void)state;
	FX_CODE(0x0f, 0x10, 0x0b);
	fx.reg[REG_CR0] |= CR0_TS;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_NM, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.reg[REG_CR0] |= CR0_EM;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_UD, 0);
	fx.vcpu.events.pending.kind = EVENT_NONE;
	fx.reg[REG_CR0] &= ~(CR0_EM | CR0_TS);
	fx.reg[REG_CR4] &= ~CR4_OSFXSR;
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_UD, 0);
	assert_int_equal(fx.dev[0].reads, 0);
}

/* Both pages are judged before anything is stored. */
static void test_page_fault(void **state)
{
	(void)state;
	FX_CODE(0x0f, 0x11, 0x0b);
	GPR[RBX] = WINDOW + 4090;
	window_map(1, DEVICE_B, PTE_P);
	emulates(EMULATE_FAULT, 0);
	assert_raised(VEC_PF, PF_P | PF_W);
	assert_int_equal(fx.reg[REG_CR2], WINDOW + 4096);
	assert_int_equal(fx.dev[0].writes, 0);
}

static void test_device_and_stack(void **state)
{
	uint64_t val;

	(void)state;
	GPR[RSP] = 0x3000;
	/* push [rbx]; pop [rbx + 8]; setz [rbx]; call [rbx] */
	FX_CODE(0xff, 0x33, 0x8f, 0x43, 0x08, 0x0f, 0x94, 0x03, 0xff, 0x13);
	emulates(EMULATE_DONE, 2);
	assert_int_equal(GPR[RSP], 0x2ff8);
	memcpy(&val, fx.ram + 0x2ff8, 8);
	assert_int_equal(val, 0x0807060504030201);
	emulates(EMULATE_DONE, 3);
	assert_memory_equal(fx.dev[0].mem + 0x28, fx.dev[0].mem + 0x20, 8);
	fx.vcpu.regs.rflags |= RFLAGS_ZF;
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fx.dev[0].mem[0x20], 1);
	memset(fx.dev[0].mem + 0x20, 0, 8);
	fx.dev[0].mem[0x21] = 0x12;
	assert_int_equal(emulate_mmio(&fx.vcpu), EMULATE_DONE);
	assert_int_equal(fx.vcpu.regs.rip, 0x1200);
	memcpy(&val, fx.ram + 0x2ff8, 8);
	assert_int_equal(val, CODE + 10);
}

/* The stack itself in a device. */
static void test_stack_in_a_device(void **state)
{
	(void)state;
	GPR[RSP] = WINDOW + 0x100;
	GPR[RAX] = 0x1122334455667788;
	FX_CODE(0x50, 0x5a); /* push rax; pop rdx */
	emulates(EMULATE_DONE, 1);
	assert_int_equal(fx.dev[0].writes, 1);
	assert_int_equal(fx.dev[0].last_off, 0xf8);
	emulates(EMULATE_DONE, 1);
	assert_int_equal(GPR[RDX], 0x1122334455667788);
	assert_int_equal(GPR[RSP], WINDOW + 0x100);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_loads),
		T(test_stores),
		T(test_device_is_asked_twice),
		T(test_alignment),
		T(test_mmx),
		T(test_x87),
		T(test_x87_refused),
		T(test_x87_state),
		T(test_x87_environment),
		T(test_turned_off),
		T(test_page_fault),
		T(test_device_and_stack),
		T(test_stack_in_a_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
