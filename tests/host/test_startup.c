/* vmm/startup.c: INIT and STARTUP, and what becomes of a vCPU that gets them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/cpuid.h"
#include "vmm/vcpu.h"

static struct cpu elsewhere;

/* A vCPU that is no BSP, somewhere in a guest's kernel. */
static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	fake_log_reset();
	cpuid_init(fake_cpuid_amd, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	fake_vcpu.home = &elsewhere;
	fake_cpu_kicks = 0;
	fake_vcpu.id = 1;
	fake_vcpu.xcr0 = XCR0_X87 | XCR0_SSE;
	for (unsigned i = 0; i < GPRS; i++)
		fake_vcpu.regs.gpr[i] = i + 1;
	fake_hw.reg[REG_CR3] = 0x5000;
	fake_hw.reg[REG_CR8] = 5;
	fake_hw.reg[REG_LSTAR] = 0x1234;
	fake_hw.reg[REG_DR7] = 0x401;
	fake_hw.reg[REG_INTR_SHADOW] = fake_hw.reg[REG_NMI_BLOCKED] = 1;
	fake_vcpu.dr[2] = 0x7000;
	fake_vcpu.msrs.mtrr_def_type = 0xc06;
	vcpu_raise_nmi(&fake_vcpu);
	vcpu_raise_vector(&fake_vcpu, VEC_UD);
	return 0;
}

static void wait_for_startup(void)
{
	fake_cpu_kicks = 0;
	vcpu_init_signal(&fake_vcpu);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_WAIT_SIPI);
	assert_int_equal(fake_cpu_kicks, 1);
}

/* Nothing of it changes while its exit is handled, which may be its own doing. */
static void test_init(void **state)
{
	(void)state;
	vcpu_init_signal(&fake_vcpu);
	assert_int_equal(fake_cpu_kicks, 1);
	assert_true(vcpu_is_signalled(&fake_vcpu));
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	fake_hw.reg[REG_CR0] |= CR0_CD;
	vcpu_take_signals(&fake_vcpu);
	assert_false(vcpu_is_signalled(&fake_vcpu));
	assert_int_equal(fake_vcpu.state, VCPU_WAIT_SIPI);
	assert_int_equal(fake_vcpu.regs.rip, 0xfff0);
	assert_int_equal(fake_vcpu.regs.rflags, RFLAGS_FIXED);
	for (unsigned i = 0; i < GPRS; i++)
		assert_int_equal(fake_vcpu.regs.gpr[i],
				 i == RDX ? cpuid_guest(&fake_vcpu, 1, 0).eax : 0);
	assert_int_equal(fake_hw.reg[REG_CR0], CR0_CD | CR0_ET);
	assert_int_equal(fake_hw.reg[REG_CR3] | fake_hw.reg[REG_CR4] | fake_hw.reg[REG_EFER], 0);
	assert_int_equal(fake_hw.reg[REG_CR8], 0);
	assert_int_equal(fake_hw.reg[REG_INTR_SHADOW] | fake_hw.reg[REG_NMI_BLOCKED], 0);
	assert_int_equal(fake_hw.reg[REG_DR6], DR6_INIT);
	assert_int_equal(fake_hw.reg[REG_DR7], DR7_INIT);
	assert_int_equal(fake_vcpu.dr[2], 0);
	assert_int_equal(fake_hw.seg[SEG_CS].selector, 0xf000);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0xffff0000);
	assert_int_equal(fake_hw.seg[SEG_IDTR].limit, 0xffff);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_false(fake_vcpu.events.nmi);
	/* What INIT leaves alone. */
	assert_int_equal(fake_hw.reg[REG_LSTAR], 0x1234);
	assert_int_equal(fake_vcpu.xcr0, XCR0_X87 | XCR0_SSE);
	assert_int_equal(fake_vcpu.msrs.mtrr_def_type, 0xc06);
	assert_int_equal(fake_hw.sets[REG_TSC_OFFSET], 0);
	/* What was to be delivered at the next entry is not. */
	assert_int_equal(fake_hw.nr_injected, 1);
	assert_int_equal(fake_hw.injected[0].kind, EVENT_NONE);
}

static void test_startup(void **state)
{
	(void)state;
	wait_for_startup();
	vcpu_raise_nmi(&fake_vcpu);
	vcpu_startup(&fake_vcpu, 0x9a);
	assert_int_equal(fake_cpu_kicks, 2);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	assert_int_equal(fake_hw.seg[SEG_CS].selector, 0x9a00);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0x9a000);
	assert_int_equal(fake_hw.seg[SEG_CS].limit, 0xffff);
	assert_int_equal(fake_vcpu.regs.rip, 0);
	assert_false(fake_vcpu.events.nmi);
	/* The second one of the usual two is nothing to it. */
	fake_vcpu.regs.rip = 0x77;
	vcpu_startup(&fake_vcpu, 0x10);
	assert_false(vcpu_is_signalled(&fake_vcpu));
	assert_int_equal(fake_cpu_kicks, 2);
}

/* What comes before the vCPU has looked: in the order in which it came. */
static void test_order(void **state)
{
	(void)state;
	vcpu_startup(&fake_vcpu, 0x10); /* it runs */
	assert_false(vcpu_is_signalled(&fake_vcpu));
	vcpu_init_signal(&fake_vcpu);
	vcpu_startup(&fake_vcpu, 0x20);
	vcpu_startup(&fake_vcpu, 0x30);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0x20000);
	wait_for_startup();
	vcpu_startup(&fake_vcpu, 0x40);
	vcpu_init_signal(&fake_vcpu);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_WAIT_SIPI);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0xffff0000);
	fake_vcpu.state = VCPU_HALTED;
	vcpu_init_signal(&fake_vcpu);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_WAIT_SIPI);
}

static void begun(void *ctx, uint8_t tpr)
{
	(void)tpr;
	vcpu_startup(ctx, 0x55);
}

/* Another CPU's STARTUP comes while the INIT before it is being done: its vCPU's local APIC tells
 * of its own reset. */
static void test_startup_meanwhile(void **state)
{
	static const struct lapic_cpu processor = { .tpr_changed = begun };

	(void)state;
	lapic_setup(&fake_vcpu.lapic, &fake_vm.lapics, &processor, &fake_vcpu);
	vcpu_init_signal(&fake_vcpu);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0x55000);
	assert_int_equal(fake_hw.reg[REG_CR3], 0);
}

/* An NMI counts from the STARTUP on, whether the vCPU has looked or not. */
static void test_nmi_order(void **state)
{
	(void)state;
	wait_for_startup();
	vcpu_startup(&fake_vcpu, 0x10);
	vcpu_raise_nmi(&fake_vcpu);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0x10000);
	assert_true(fake_vcpu.events.nmi);
	vcpu_init_signal(&fake_vcpu);
	vcpu_raise_nmi(&fake_vcpu); /* it waits already */
	vcpu_startup(&fake_vcpu, 0x20);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	assert_false(fake_vcpu.events.nmi);
	vcpu_init_signal(&fake_vcpu);
	vcpu_startup(&fake_vcpu, 0x20);
	vcpu_raise_nmi(&fake_vcpu);
	vcpu_take_signals(&fake_vcpu);
	assert_true(fake_vcpu.events.nmi);
	vcpu_init_signal(&fake_vcpu);
	vcpu_startup(&fake_vcpu, 0x20);
	vcpu_raise_nmi(&fake_vcpu);
	vcpu_init_signal(&fake_vcpu);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_WAIT_SIPI);
	assert_false(fake_vcpu.events.nmi);
}

static void set_seg_meanwhile(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg)
{
	vcpu_raise_nmi(vcpu);
	fake_backend_ops.set_seg(vcpu, reg, seg);
}

/* Another CPU's NMI comes while the STARTUP before it is being done. */
static void test_nmi_meanwhile(void **state)
{
	struct vmm_backend backend = fake_backend_ops;

	(void)state;
	wait_for_startup();
	vcpu_startup(&fake_vcpu, 0x10);
	backend.set_seg = set_seg_meanwhile;
	fake_vm.backend = &backend;
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	assert_true(fake_vcpu.events.nmi);
}

/* A second STARTUP that came while the first was being done takes no NMI away. */
static void test_nmi_before_second_startup(void **state)
{
	(void)state;
	wait_for_startup();
	vcpu_startup(&fake_vcpu, 0x10);
	vcpu_take_signals(&fake_vcpu);
	vcpu_raise_nmi(&fake_vcpu);
	fake_vcpu.state = VCPU_WAIT_SIPI;
	vcpu_startup(&fake_vcpu, 0x20);
	fake_vcpu.state = VCPU_RUNNABLE;
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_hw.seg[SEG_CS].base, 0x10000);
	assert_true(fake_vcpu.events.nmi);
}

static void test_stopped(void **state)
{
	(void)state;
	fake_vcpu.state = VCPU_STOPPED;
	vcpu_init_signal(&fake_vcpu);
	vcpu_startup(&fake_vcpu, 0x10);
	vcpu_take_signals(&fake_vcpu);
	assert_int_equal(fake_vcpu.state, VCPU_STOPPED);
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_false(vcpu_is_signalled(&fake_vcpu));
}

static void test_bsp(void **state)
{
	(void)state;
	fake_vcpu.id = 0;
	vcpu_init_signal(&fake_vcpu);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_RESET);
	assert_false(vcpu_is_signalled(&fake_vcpu));
}

/* What is posted to one that is in the guest may be taken there; else it is told as of anything. */
static void test_notify(void **state)
{
	(void)state;
	fake_cpu_kicks = fake_cpu_notes = 0;
	fake_posted_interrupts = true;
	fake_vcpu.in_guest = true;
	vcpu_notify(&fake_vcpu);
	assert_int_equal(fake_cpu_notes, 1);
	assert_int_equal(fake_cpu_kicks, 0);
	fake_vcpu.in_guest = false;
	vcpu_notify(&fake_vcpu);
	assert_int_equal(fake_cpu_notes, 1);
	assert_int_equal(fake_cpu_kicks, 1);
	fake_vcpu.in_guest = true;
	fake_vcpu.home = NULL;
	vcpu_notify(&fake_vcpu);
	fake_vcpu.home = &elsewhere;
	fake_posted_interrupts = false;
	vcpu_notify(&fake_vcpu);
	assert_int_equal(fake_cpu_notes, 1);
	assert_int_equal(fake_cpu_kicks, 2);
	fake_vcpu.in_guest = false;
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_init),
		TEST(test_startup),
		TEST(test_order),
		TEST(test_startup_meanwhile),
		TEST(test_nmi_order),
		TEST(test_nmi_meanwhile),
		TEST(test_nmi_before_second_startup),
		TEST(test_stopped),
		TEST(test_bsp),
		TEST(test_notify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
