/* A vCPU and its local APIC: instructions on its page, MSRs, CPUID, CR8, what is taken first. */
#include "arch/x86_64/include/msr.h"
#include "tests/host/emu_fixture.h"
#include "vmm/cr.h"
#include "vmm/msr.h"
#include "vmm/vcpu_apic.h"

#define GPR fx.vcpu.regs.gpr
#define APIC_PAGE 3 /* of the window */

static bool pic_intr;
static unsigned pic_acks;

static bool pic_pending(void *ctx)
{
	(void)ctx;
	return pic_intr;
}

static int pic_ack(void *ctx)
{
	(void)ctx;
	assert_true(owned_lock_held(&fx.vm.lock)); /* others may be at it */
	pic_acks++;
	pic_intr = false;
	return 0x28;
}

static int begin(void **state, bool apic)
{
	int err = fx_setup(state);

	fake_timers_reset();
	pic_intr = false;
	pic_acks = 0;
	fx.cfg.apic = apic;
	fx.vm.intr = (struct vm_intr_source){ .pending = pic_pending, .ack = pic_ack };
	vcpu_apic_init(&fx.vcpu);
	window_map(APIC_PAGE, LAPIC_BASE, PTE_P | PTE_W);
	return err;
}

static int setup(void **state)
{
	return begin(state, true);
}

static int setup_off(void **state)
{
	return begin(state, false);
}

static uint64_t get_msr(uint32_t msr)
{
	uint64_t val = 0;

	if (!msr_read(&fx.vcpu, msr, &val))
		fail_msg("RDMSR %x is #GP", msr);
	return val;
}

static void set_msr(uint32_t msr, uint64_t val)
{
	if (!msr_write(&fx.vcpu, msr, val))
		fail_msg("WRMSR %x of %llx is #GP", msr, (unsigned long long)val);
}

static bool take(uint8_t vector)
{
	const struct apic_msg msg = { .vector = vector };

	return lapic_bus_send(&fx.vm.lapics, &msg);
}

/* mov [WINDOW + APIC_PAGE + off], eax */
static void store(uint32_t off, uint32_t val)
{
	fx.vcpu.regs.rip = CODE;
	GPR[RBX] = WINDOW + APIC_PAGE * PAGE_SIZE + off;
	GPR[RAX] = val;
	FX_CODE(0x89, 0x03);
	emulates(EMULATE_DONE, 2);
}

static uint32_t load(uint32_t off)
{
	fx.vcpu.regs.rip = CODE;
	GPR[RBX] = WINDOW + APIC_PAGE * PAGE_SIZE + off;
	GPR[RAX] = 0xdeadbeef;
	FX_CODE(0x8b, 0x03);
	emulates(EMULATE_DONE, 2);
	return (uint32_t)GPR[RAX];
}

static void test_page(void **state)
{
	(void)state;
	assert_int_equal(load(0x30), 0x01050014);
	store(0x80, 0x40);
	assert_int_equal(load(0x80), 0x40);
	assert_int_equal(fx.reg[REG_CR8], 4);
	assert_int_equal(touches_find(&fx.vm.touches, TOUCH_MEMORY, LAPIC_BASE + 0x80)->in, 1);
	assert_int_equal(touches_find(&fx.vm.touches, TOUCH_MEMORY, LAPIC_BASE + 0x80)->out, 1);
	/* Half in the page, half behind it, where nothing is. */
	window_map(APIC_PAGE + 1, NOWHERE, PTE_P | PTE_W);

	fx.vcpu.regs.rip = CODE;
	GPR[RBX] = WINDOW + APIC_PAGE * PAGE_SIZE + 0xffc;
	FX_CODE(0x48, 0x8b, 0x03); /* mov rax, [rbx] */
	emulates(EMULATE_DONE, 3);
	assert_int_equal(GPR[RAX], UINT64_C(0xffffffff00000000));
}

static void test_vectors_on_page(void **state)
{
	(void)state;
	fx.reg[REG_CR4] |= CR4_OSFXSR;
	fx.vcpu.regs.rip = CODE;
	GPR[RBX] = WINDOW + APIC_PAGE * PAGE_SIZE + 0x30;
	memset(fake_xmm[1], 0xee, 16);
	FX_CODE(0x0f, 0x10, 0x0b); /* movups xmm1, [rbx] */
	emulates(EMULATE_DONE, 3);
	assert_int_equal(fake_xmm[1][0], 0x14);
	assert_int_equal(fake_xmm[1][3], 1);
	assert_int_equal(fake_xmm[1][8], 0);
}

/* An instruction that kernels use, as it comes after the processor's own translation. */
static const struct {
	const char *text;
	uint8_t code[12], len;
	bool write, plain;
	uint8_t reg; /* a load's */
} movs[] = {
	{ "mov [rbx], eax", { 0x89, 0x03 }, 2, true, true, 0 },
	{ "mov [rbx+0], eax", { 0x89, 0x43, 0 }, 3, true, true, 0 },
	{ "mov [rbx+dword 0], eax", { 0x89, 0x83, 0, 0, 0, 0 }, 6, true, true, 0 },
	{ "mov [rbx+rcx], eax", { 0x89, 0x04, 0x0b }, 3, true, true, 0 },
	{ "mov [rcx+rbx+0], r9d", { 0x44, 0x89, 0x4c, 0x19, 0 }, 5, true, true, 0 },
	{ "mov [dword], eax", { 0x89, 0x04, 0x25, 0x80, 0x30, 0, 0x40 }, 7, true, true, 0 },
	{ "mov dword [rbx], 0x50", { 0xc7, 0x03, 0x50, 0, 0, 0 }, 6, true, true, 0 },
	{ "mov dword [dword], 0x50",
	  { 0xc7, 0x04, 0x25, 0x80, 0x30, 0, 0x40, 0x50, 0, 0, 0 },
	  11,
	  true,
	  true,
	  0 },
	{ "mov eax, [rbx]", { 0x8b, 0x03 }, 2, false, true, RAX },
	{ "mov r10d, [rbx+0]", { 0x44, 0x8b, 0x53, 0 }, 4, false, true, R10 },
	{ "mov edx, [dword]", { 0x8b, 0x14, 0x25, 0x80, 0x30, 0, 0x40 }, 7, false, true, RDX },
	{ "xchg [rbx], eax", { 0x87, 0x03 }, 2, true, false, 0 },
	{ "or eax, [rbx]", { 0x0b, 0x03 }, 2, false, false, RAX },
	{ "ds mov [rbx], eax", { 0x3e, 0x89, 0x03 }, 3, true, false, 0 },
};

static void test_mov(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(movs); i++) {
		unsigned n = i / 2;

		fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_NESTED_FAULT };
		fx.vcpu.exit.nested.gpa = GPA(LAPIC_BASE + 0x80);
		fx.vcpu.exit.nested.write = movs[n].write;
		fx.vcpu.exit.nested.read = !movs[n].write;
		fx.vcpu.regs.rip = CODE;
		GPR[RBX] = WINDOW + APIC_PAGE * PAGE_SIZE + 0x80;
		GPR[RCX] = 0;
		GPR[RAX] = movs[n].write ? 0x50 : 0xffffffff00000000;
		GPR[R9] = 0x50;
		GPR[RDX] = GPR[R10] = ~UINT64_C(0);
		lapic_mmio_write(&fx.vcpu.lapic, 0x80, 4, movs[n].write ? 0 : 0x50);
		fx_code(movs[n].code, movs[n].len);
		if (i % 2) /* by the emulator */
			assert_int_equal(emulate_mmio(&fx.vcpu), EMULATE_DONE);
		else if (vcpu_apic_mov(&fx.vcpu) != movs[n].plain)
			fail_msg("%s: %s", movs[n].text, movs[n].plain ? "not done" : "done");
		else if (!movs[n].plain)
			continue;
		if (fx.vcpu.regs.rip != CODE + movs[n].len)
			fail_msg("%s: rip %llx", movs[n].text,
				 (unsigned long long)fx.vcpu.regs.rip - CODE);
		if (lapic_mmio_read(&fx.vcpu.lapic, 0x80, 4) != 0x50 ||
		    (!movs[n].write && (uint32_t)GPR[movs[n].reg] != 0x50))
			fail_msg("%s: not the value", movs[n].text);
	}
}

/* A write that exits for reading, a fetch, a walk: none of them is this MOV's own access. */
static void test_mov_not_its_own(void **state)
{
	struct vm_exit *exit = &fx.vcpu.exit;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		*exit = (struct vm_exit){ .kind = EXIT_NESTED_FAULT };
		exit->nested.gpa = GPA(LAPIC_BASE + 0x80);
		exit->nested.write = i != 0;
		exit->nested.fetch = i == 1;
		exit->nested.table_walk = i == 2;
		exit->interrupted.kind = i == 3 ? EVENT_INTR : EVENT_NONE;
		fx.vcpu.debug.on = i == 4;
		fx.vcpu.regs.rip = i == 5 ? CODE + 2 * PAGE_SIZE - 3 : CODE;
		GPR[RAX] = 0x50;
		FX_CODE(0x89, 0x03);
		assert_false(vcpu_apic_mov(&fx.vcpu));
		assert_int_equal(fx.reg[REG_CR8], 0);
	}
	fx.vcpu.debug.on = false;
}

static void test_cr8(void **state)
{
	(void)state;
	assert_true(cr_write(&fx.vcpu, 8, 9));
	assert_int_equal(load(0x80), 0x90);
	assert_int_equal(cr_read(&fx.vcpu, 8), 9);
	take(0x95);
	assert_false(vcpu_intr_pending(&fx.vcpu));
	store(0x80, 0x8f);
	assert_int_equal(cr_read(&fx.vcpu, 8), 8);
	assert_true(vcpu_intr_pending(&fx.vcpu));
	assert_int_equal(vcpu_intr_ack(&fx.vcpu), 0x95);
	assert_int_equal(load(0x140), 0x200000);
}

/* The local APIC's comes first; the 8259's is taken whatever has priority. */
static void test_who_is_first(void **state)
{
	(void)state;
	pic_intr = true;
	assert_true(vcpu_intr_pending(&fx.vcpu));
	take(0x50);
	assert_int_equal(vcpu_intr_ack(&fx.vcpu), 0x50);
	assert_int_equal(pic_acks, 0);
	assert_int_equal(vcpu_intr_ack(&fx.vcpu), 0x28);
	assert_int_equal(pic_acks, 1);
	assert_false(vcpu_intr_pending(&fx.vcpu));
	pic_intr = true;
	store(0x350, 0x10700);
	assert_false(vcpu_intr_pending(&fx.vcpu));
	fx.vcpu.regs.rflags |= RFLAGS_IF;
	assert_false(vcpu_has_wakeup(&fx.vcpu));
	store(0xb0, 0);
	take(0x51);
	assert_true(vcpu_has_wakeup(&fx.vcpu));
}

static void test_nmi(void **state)
{
	(void)state;
	store(0x310, 0);
	store(0x300, 0x400);
	assert_true(fx.vcpu.events.nmi);
	assert_int_equal(fx.vm.stop_reason, VM_STOP_NONE);
	fx.vcpu.events.nmi = false;
	lapic_set_lint(&fx.vcpu.lapic, 1, true); /* wakes one with IF clear */
	fx.vcpu.regs.rflags &= ~RFLAGS_IF;
	assert_true(vcpu_has_wakeup(&fx.vcpu));
	store(0x300, 0x600); /* STARTUP: nobody waits for it */
	store(0x300, 0x4500);
	assert_int_equal(fx.vm.stop_reason, VM_STOP_RESET);
}

/* INIT is sent from whatever CPU; the registers change on the vCPU's own, when it takes it. */
static void test_init_waits(void **state)
{
	const struct apic_msg init = { .mode = APIC_INIT };

	(void)state;
	fx.vcpu.id = 1;
	fx.vcpu.lapic.bsp = false;
	store(0xd0, 0x01000000);
	store(0x80, 0x20);
	assert_true(lapic_bus_send(&fx.vm.lapics, &init));
	assert_true(vcpu_is_signalled(&fx.vcpu));
	assert_int_equal(fx.vcpu.lapic.ldr, 0x01000000);
	assert_int_equal(fx.vcpu.lapic.tpr, 0x20);
	assert_int_equal(fx.reg[REG_CR8], 2);
	take(0x55);
	vcpu_take_signals(&fx.vcpu);
	assert_int_equal(fx.vcpu.state, VCPU_WAIT_SIPI);
	assert_int_equal(fx.vcpu.lapic.ldr, 0);
	assert_int_equal(fx.vcpu.lapic.tpr, 0);
	assert_int_equal(fx.reg[REG_CR8], 0);
	assert_false(vcpu_intr_pending(&fx.vcpu));
	assert_false(take(0x55)); /* off by software */
}

/* --- IA32_APIC_BASE --- */

static void test_base_and_cpuid(void **state)
{
	(void)state;
	assert_int_equal(get_msr(MSR_APIC_BASE), 0xfee00900);
	assert_true(cpuid_guest(&fx.vcpu, 1, 0).edx & BIT(9));
	assert_true(cpuid_guest(&fx.vcpu, 1, 0).ecx & BIT(21));
	assert_true(cpuid_guest(&fx.vcpu, 1, 0).ecx & BIT(24));
	assert_false(msr_write(&fx.vcpu, MSR_APIC_BASE, 0xfee00500));
	assert_false(msr_write(&fx.vcpu, MSR_X2APIC_BASE + 8, 0));
	set_msr(MSR_APIC_BASE, 0xfee00d00);
	assert_int_equal(get_msr(MSR_X2APIC_BASE + 2), 0);
	set_msr(MSR_X2APIC_BASE + 8, 0x30);
	assert_int_equal(fx.reg[REG_CR8], 3);
	assert_false(msr_write(&fx.vcpu, MSR_X2APIC_BASE + 0xff, 0));
	assert_int_equal(load(0x30), 0xffffffff); /* the page is gone */
	set_msr(MSR_APIC_BASE, 0xfee00000);
	assert_false(cpuid_guest(&fx.vcpu, 1, 0).edx & BIT(9));
	assert_int_equal(fx.reg[REG_CR8], 0);
	pic_intr = true;
	assert_true(vcpu_intr_pending(&fx.vcpu));
	set_msr(MSR_APIC_BASE, 0xfee00900);
	assert_true(cpuid_guest(&fx.vcpu, 1, 0).edx & BIT(9));
	assert_int_equal(load(0x30), 0x01050014);
}

/* What the processor answers for is dropped as soon as one of them is elsewhere. */
static void test_page_dropped(void **state)
{
	static const uint64_t elsewhere[] = { 0xd0000900, 0xfee00100, 0xfee00d00 };
	const struct region page = { .start = GPA(LAPIC_BASE),
				     .size = PAGE_SIZE,
				     .kind = REGION_APIC };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(elsewhere); i++) {
		assert_int_equal(memmap_add(&fx.vm.mem, &page), 0);
		set_msr(MSR_APIC_BASE, 0xfee00900);
		assert_non_null(memmap_find(&fx.vm.mem, GPA(LAPIC_BASE)));
		assert_int_equal(load(0x30), 0x01050014);
		set_msr(MSR_APIC_BASE, elsewhere[i]);
		assert_null(memmap_find(&fx.vm.mem, GPA(LAPIC_BASE)));
		assert_int_equal(load(0x30), 0xffffffff);
		set_msr(MSR_APIC_BASE, 0xfee00100);
		set_msr(MSR_APIC_BASE, 0xfee00900);
		assert_int_equal(load(0x30), 0x01050014);
	}
}

/* EXIT_APIC_WRITE and EXIT_APIC_EOI. */
static void test_traps(void **state)
{
	static uint32_t page[1024];

	(void)state;
	lapic_show(&fx.vcpu.lapic, page);
	page[0x80 / 4] = 0x40;
	page[0x350 / 4] = 0x8045;
	fx.vcpu.exit =
		(struct vm_exit){ .kind = EXIT_APIC_WRITE, .apic = { .off = 0x350, .page = page } };
	vm_exit_handle(&fx.vcpu);
	assert_int_equal(load(0x350), 0x8045);
	lapic_set_lint(&fx.vcpu.lapic, 0, true);
	assert_int_equal(vcpu_intr_ack(&fx.vcpu), 0x45);
	assert_int_equal(load(0x350), 0xc045);
	lapic_set_lint(&fx.vcpu.lapic, 0, false);
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_APIC_EOI, .apic = { .vector = 0x45 } };
	vm_exit_handle(&fx.vcpu);
	assert_int_equal(load(0x350), 0x8045);
}

/* It lies over RAM as well, which is back when it has gone. */
static void test_moved(void **state)
{
	(void)state;
	fx.ram[0x200030] = 0x77;
	set_msr(MSR_APIC_BASE, 0xd0000900);
	assert_int_equal(load(0x30), 0xffffffff);
	window_map(APIC_PAGE, 0xd0000000, PTE_P | PTE_W);
	assert_int_equal(load(0x30), 0x01050014);
	set_msr(MSR_APIC_BASE, 0x200900);
	assert_int_equal(load(0x30), 0xffffffff);
	assert_int_equal(memmap_find(&fx.vm.mem, GPA(0x200030))->kind, REGION_HOOK);
	window_map(APIC_PAGE, 0x200000, PTE_P | PTE_W);
	assert_int_equal(load(0x30), 0x01050014);
	store(0x80, 0x20);
	assert_int_equal(fx.ram[0x200080], 0);
	set_msr(MSR_APIC_BASE, 0x300900);
	assert_int_equal(memmap_find(&fx.vm.mem, GPA(0x200030))->kind, REGION_MEM);
	assert_int_equal(load(0x30) & 0xff, 0x77);
	set_msr(MSR_APIC_BASE, 0x300100);
	assert_int_equal(memmap_find(&fx.vm.mem, GPA(0x300030))->kind, REGION_MEM);
	set_msr(MSR_APIC_BASE, 0x000900); /* its first page */
	assert_int_equal(memmap_find(&fx.vm.mem, GPA(0))->kind, REGION_HOOK);
	window_map(APIC_PAGE, 0, PTE_P | PTE_W);
	assert_int_equal(load(0x30), 0x01050014);
	set_msr(MSR_APIC_BASE, 0xfee00900);
	assert_int_equal(fx.vm.mem.nr, 2);
}

/* What the other vCPUs find where one has put its registers: the memory that it always was. */
static void test_others_see_memory(void **state)
{
	unsigned ranges = fx.vm.bus.nr_mmio;
	uint32_t val;

	(void)state;
	memcpy(fx.ram + 0x200080, "abcd", 4);
	set_msr(MSR_APIC_BASE, 0x200900);
	gmem_phys_read(&fx.vm, GPA(0x200080), &val, sizeof(val));
	assert_memory_equal(&val, "abcd", 4);
	gmem_phys_write(&fx.vm, GPA(0x200082), "xy", 2);
	assert_memory_equal(fx.ram + 0x200080, "abxy", 4);
	assert_int_equal(fx.vcpu.lapic.tpr, 0);
	set_msr(MSR_APIC_BASE, 0xfee00900);
	assert_int_equal(fx.vm.bus.nr_mmio, ranges);
	gmem_phys_read(&fx.vm, GPA(0x200080), &val, sizeof(val));
	assert_memory_equal(&val, "abxy", 4);
}

#define MOVED_TO(i) (0x200000 + UINT64_C(0x2000) * (i))

/* Each over a page of memory of its own, and the others find it there. */
static void test_all_moved(void **state)
{
	static struct vcpu movers[LAPIC_MAX - 1];
	unsigned ranges = fx.vm.bus.nr_mmio, regions = fx.vm.mem.nr;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(movers); i++) {
		movers[i] = (struct vcpu){ .vm = &fx.vm };
		vcpu_apic_init(&movers[i]);
		assert_true(vcpu_apic_write_base(&movers[i], MOVED_TO(i) | 0x800));
	}
	set_msr(MSR_APIC_BASE, MOVED_TO(ARRAY_SIZE(movers)) | 0x900);
	assert_int_equal(fx.vm.stop_reason, VM_STOP_NONE);
	for (unsigned i = 0; i < LAPIC_MAX; i++) {
		uint32_t val = 0x1234 + i;

		gmem_phys_write(&fx.vm, GPA(MOVED_TO(i) + 0x80), &val, sizeof(val));
		assert_memory_equal(fx.ram + MOVED_TO(i) + 0x80, &val, sizeof(val));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(movers); i++)
		assert_true(vcpu_apic_write_base(&movers[i], LAPIC_BASE | 0x800));
	set_msr(MSR_APIC_BASE, 0xfee00900);
	assert_int_equal(fx.vm.bus.nr_mmio, ranges);
	assert_int_equal(fx.vm.mem.nr, regions);
}

/* Where others would not find their memory any more the VM does not go on. */
static void test_no_room(void **state)
{
	struct bus *bus = &fx.vm.bus;

	(void)state;
	for (uint64_t at = UINT64_C(1) << 35; bus->nr_mmio < BUS_MMIO_RANGES; at += PAGE_SIZE)
		assert_int_equal(bus_register_mmio(bus, GPA(at), PAGE_SIZE, "", NULL, NULL), 0);
	set_msr(MSR_APIC_BASE, 0x200900);
	assert_int_equal(fx.vm.stop_reason, VM_STOP_ERROR);
}

static void test_deadline(void **state)
{
	uint64_t tsc;

	(void)state;
	store(0x320, 0x40055);
	tsc = get_msr(MSR_TSC);
	set_msr(MSR_TSC_DEADLINE, tsc + (UINT64_C(1) << 60));
	assert_in_range(get_msr(MSR_TSC_DEADLINE), tsc, tsc + (UINT64_C(1) << 60));
	fake_clock_advance(1000000000);
	assert_false(vcpu_intr_pending(&fx.vcpu));
	set_msr(MSR_TSC, tsc + (UINT64_C(1) << 60)); /* which brings it */
	fake_clock_advance(1);
	assert_int_equal(vcpu_intr_ack(&fx.vcpu), 0x55);
	assert_int_equal(get_msr(MSR_TSC_DEADLINE), 0);
}

/* --- apic=off --- */

static void test_off(void **state)
{
	uint64_t val;

	(void)state;
	assert_false(msr_read(&fx.vcpu, MSR_APIC_BASE, &val));
	assert_false(msr_write(&fx.vcpu, MSR_APIC_BASE, 0xfee00900));
	assert_false(msr_read(&fx.vcpu, MSR_TSC_DEADLINE, &val));
	assert_false(msr_write(&fx.vcpu, MSR_TSC_DEADLINE, 0));
	assert_false(msr_read(&fx.vcpu, MSR_X2APIC_BASE + 2, &val));
	assert_int_equal(load(0x30), 0xffffffff);
	assert_int_equal(cpuid_guest(&fx.vcpu, 1, 0).edx & BIT(9), 0);
	assert_int_equal(cpuid_guest(&fx.vcpu, 1, 0).ecx & (BIT(21) | BIT(24)), 0);
	assert_int_equal(cpuid_guest(&fx.vcpu, 0xb, 0).ecx, 0);
	pic_intr = true;
	assert_int_equal(vcpu_intr_ack(&fx.vcpu), 0x28);
	assert_true(cr_write(&fx.vcpu, 8, 15));
	pic_intr = true;
	assert_true(vcpu_intr_pending(&fx.vcpu));
	assert_false(take(0x50));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_page, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_vectors_on_page, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_mov, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_mov_not_its_own, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_cr8, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_who_is_first, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_nmi, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_init_waits, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_base_and_cpuid, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_page_dropped, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_traps, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_moved, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_others_see_memory, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_all_moved, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_deadline, setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_off, setup_off, fx_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
