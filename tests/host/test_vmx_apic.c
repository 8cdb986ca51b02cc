/* What the processor does of a local APIC: the controls, the virtual-APIC page, EOIs. */
#include "arch/x86_64/mm.h"
#include "arch/x86_64/trap.h"
#include "tests/host/vmx_fixture.h"
#include "vmm/lapic_core.h"

#define APIC_PAGE UINT64_C(0x5000)
#define PROC2_ALL (UINT64_C(0x7fff) << 32) /* a Haswell's, and bits 8 and 9 */
#define PIN_ALL (UINT64_C(0xff) << 32 | 0x16)
#define VIRTUALIZED                                                                                \
	(PROC2_APIC_ACCESSES | PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS)

static struct lapic_set lapics;
static uint8_t taken[4], ended[4];
static unsigned nr_taken, nr_ended;

static void on_taken(void *ctx, uint8_t vector)
{
	(void)ctx;
	taken[nr_taken++] = vector;
}

static void on_eoi(void *ctx, uint8_t vector)
{
	(void)ctx;
	ended[nr_ended++] = vector;
}

static void on_kick(void *ctx)
{
	(void)ctx;
}

static void on_tpr(void *ctx, uint8_t tpr)
{
	vmx_backend.set_reg(ctx, REG_CR8, tpr >> 4);
}

static const struct lapic_cpu processor = {
	.kick = on_kick,
	.notify = on_kick,
	.tpr_changed = on_tpr,
};

static int setup_with(uint32_t features)
{
	fake_vmx_reset();
	fake_msr_set(MSR_VMX_PROC2_CONTROLS, PROC2_ALL);
	fake_msr_set(MSR_VMX_TRUE_PIN_CONTROLS, PIN_ALL);
	vmx_mask_features(features);
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_cpu_enable(), 0);
	make_vm(NULL);
	vm.apic_page = HPA(vmx_caps()->apic_page ? APIC_PAGE : 0);
	lapics = (struct lapic_set){ .taken = on_taken, .eoi = on_eoi };
	lapic_setup(&vcpu.lapic, &lapics, &processor, &vcpu);
	vcpu.lapic.svr |= (uint32_t)SVR_ENABLE;
	nr_taken = nr_ended = 0;
	if (vmx_caps()->virtual_interrupts)
		vmx_backend.set_virtual_interrupts(&vcpu, true);
	return 0;
}

static int setup_all(void **state)
{
	(void)state;
	return setup_with(UINT32_MAX);
}

static uint32_t *page_at(unsigned off)
{
	return (uint32_t *)hpa_to_ptr(HPA(fake_vmcs_get(VMCS_VIRTUAL_APIC_ADDR))) + off / 4;
}

static uint32_t *vector_word(unsigned base, uint8_t vector)
{
	return page_at(base + vector / 32 * 16);
}

static void post(uint8_t vector, bool level)
{
	lapic_post(&vcpu.lapic, vector, level, false);
	lapic_fold(&vcpu.lapic);
}

static uint64_t controls(void)
{
	return fake_vmcs_get(VMCS_PROC2_CONTROLS) & VIRTUALIZED;
}

static void to_x2apic(void)
{
	assert_true(lapic_write_base(&vcpu.lapic, vcpu.lapic.base | APIC_BASE_X2APIC,
				     fake_cpu_features.maxphyaddr));
}

/* --- the processor's part --- */

static void set_status(uint8_t rvi, uint8_t svi)
{
	fake_vmcs_set(VMCS_GUEST_INTERRUPT_STATUS, svi << 8 | rvi);
}

static void deliver(uint8_t vector)
{
	*vector_word(0x200, vector) &= ~(1u << vector % 32);
	*vector_word(0x100, vector) |= 1u << vector % 32;
}

static void play_deliver(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPT_STATUS), 0x0093);
	assert_int_equal(*vector_word(0x200, 0x93), 1 << 19);
	assert_int_equal(*vector_word(0x200, 0x41), 1 << 1);
	deliver(0x93);
	*vector_word(0x100, 0x93) = 0;
	deliver(0x41);
	set_status(0, 0x41);
}

/* What other CPUs post meanwhile: SDM vol. 3, 29.6. */
static void take_posted(void)
{
	struct lapic_inbox *inbox =
		hpa_to_ptr(HPA(fake_vmcs_get(VMCS_POSTED_INTERRUPT_DESCRIPTOR)));

	inbox->news &= ~1u;
	for (unsigned n = 0; n < 8; n++) {
		*page_at(0x200 + 16 * n) |= inbox->posted[n];
		inbox->posted[n] = 0;
	}
}

static void play_posted(void)
{
	assert_true(fake_vmcs_get(VMCS_PIN_CONTROLS) & PIN_POSTED_INTERRUPTS);
	assert_int_equal(fake_vmcs_get(VMCS_POSTED_INTERRUPT_VECTOR), TRAP_POSTED);
	lapic_post(&vcpu.lapic, 0x41, false, true);
	lapic_post(&vcpu.lapic, 0x93, false, true);
	assert_int_equal(lapic_apr(&vcpu.lapic), 0x90);
	take_posted();
	assert_int_equal(lapic_apr(&vcpu.lapic), 0x90);
	deliver(0x93);
	set_status(0x41, 0x93);
	*vector_word(0x100, 0x93) = 0;
	assert_int_equal(lapic_apr(&vcpu.lapic), 0x40);
	set_status(0x41, 0);
	lapic_post(&vcpu.lapic, 0x52, false, true);
	play_intr();
}

static void play_posted_served(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPT_STATUS), 0x0052);
	assert_int_equal(*vector_word(0x200, 0x41), 1 << 1 | 1 << 18);
	play_intr();
}

static void play_without(void)
{
	assert_false(fake_vmcs_get(VMCS_PIN_CONTROLS) & PIN_POSTED_INTERRUPTS);
	play_intr();
}

/* One that came, and has its end, without an exit; one that waits on the page then; and one that is
 * still where it was posted. */
static void test_posted(void **state)
{
	(void)state;
	assert_true(vmx_caps()->posted_interrupts);
	run_one(play_posted);
	assert_int_equal(vcpu.lapic.irr.word[2], 1 << 1);
	assert_int_equal(vcpu.lapic.isr.used | vcpu.lapic.irr.word[4], 0);
	assert_int_equal(lapic_next(&vcpu.lapic), 0x52);
	lapic_tell_taken(&vcpu.lapic);
	assert_int_equal(nr_taken, 0); /* nobody waited for it */
	run_one(play_posted_served);
	vmx_backend.set_virtual_interrupts(&vcpu, false);
	run_one(play_without);
	vmx_backend.set_virtual_interrupts(&vcpu, true);
	run_one(play_posted_served);
}

static int setup_not_posted(void **state)
{
	(void)state;
	return setup_with(~(uint32_t)VMX_FEATURE_POSTED_INTERRUPTS);
}

static void test_not_posted(void **state)
{
	(void)state;
	assert_true(vmx_caps()->virtual_interrupts);
	assert_false(vmx_caps()->posted_interrupts);
	run_one(play_without);
}

/* Whoever looks for the lowest priority meanwhile finds what the guest has written. */
static void play_tpr_meanwhile(void)
{
	*vector_word(0x80, 0) = 0x40;
	assert_int_equal(lapic_apr(&vcpu.lapic), 0x40);
	*vector_word(0x80, 0) = 0x20;
}

static void test_lowest_by_page(void **state)
{
	(void)state;
	run_one(play_tpr_meanwhile);
	assert_int_equal(vcpu.lapic.tpr, 0x20);
	*vector_word(0x80, 0) = 0x70; /* nobody looks there any more */
	assert_int_equal(lapic_apr(&vcpu.lapic), 0x20);
}

static void play_served(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPT_STATUS), 0x4100);
	assert_int_equal(*vector_word(0x100, 0x41), 1 << 1);
	assert_int_equal(*vector_word(0x200, 0x41), 0);
}

static void test_delivery(void **state)
{
	(void)state;
	assert_true(vmx_caps()->apic_page && vmx_caps()->virtual_interrupts);
	post(0x41, false);
	post(0x93, false);
	run_one(play_deliver);
	assert_int_equal(controls(),
			 PROC2_APIC_ACCESSES | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	assert_int_equal(nr_taken, 0); /* not while it counts as in the guest */
	assert_true(vcpu.lapic.has_taken);
	lapic_tell_taken(&vcpu.lapic);
	assert_int_equal(nr_taken, 2);
	assert_int_equal(vcpu.lapic.isr.word[2], 1 << 1);
	assert_int_equal(vcpu.lapic.isr.word[4] | vcpu.lapic.irr.word[4], 0);
	assert_int_equal(vcpu.lapic.ppr, 0x40);
	run_one(play_served);
	/* Nothing has changed: nothing is written. */
	lapic_show(&vcpu.lapic, page_at(0));
	assert_int_equal(vcpu.lapic.unshown, 0);
	fake_vmcs_set(VMCS_GUEST_INTERRUPT_STATUS, 0x4100);
	assert_int_equal(fake_vmcs_writes(VMCS_GUEST_INTERRUPT_STATUS), 3);
	run_one(play_served);
	assert_int_equal(fake_vmcs_writes(VMCS_GUEST_INTERRUPT_STATUS), 3);
}

#define EXTERNAL_INTERRUPT(vector) (0x80000000 | (vector)) /* a VMCS's word for an event */

static void play_cut_off(void)
{
	deliver(0x93);
	set_status(0x41, 0x93);
	set_exit(48, 1);
	fake_vmcs_set(VMCS_IDT_VECTORING_INFO, EXTERNAL_INTERRUPT(0x93));
}

static void play_again(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_ENTRY_INTR_INFO), EXTERNAL_INTERRUPT(0x93));
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPT_STATUS), 0x9341);
	assert_int_equal(*vector_word(0x100, 0x93), 1 << 19);
	assert_int_equal(*vector_word(0x200, 0x93), 0);
	fake_vmcs_set(VMCS_IDT_VECTORING_INFO, 0);
}

/* One whose way through the IDT meets a page that is not there: taken, and delivered once more. */
static void test_cut_off(void **state)
{
	(void)state;
	post(0x41, false);
	post(0x93, false);
	run_one(play_cut_off);
	assert_int_equal(exit_info.kind, EXIT_NESTED_FAULT);
	assert_int_equal(exit_info.interrupted.kind, EVENT_INTR);
	assert_int_equal(exit_info.interrupted.vector, 0x93);
	assert_int_equal(vcpu.lapic.next, 0);
	vmx_backend.inject(&vcpu, &exit_info.interrupted);
	run_one(play_again);
	lapic_tell_taken(&vcpu.lapic);
	assert_int_equal(nr_taken, 1);
	assert_int_equal(taken[0], 0x93);
}

static void play_level(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_EOI_EXIT_BITMAP1), BIT(0x65 - 64));
	assert_int_equal(fake_vmcs_get(VMCS_EOI_EXIT_BITMAP0), 0);
	assert_int_equal(fake_vmcs_get(VMCS_EOI_EXIT_BITMAP2), 0);
	deliver(0x65);
	*vector_word(0x100, 0x65) = 0;
	set_status(0, 0);
	set_exit(45, 0x65);
}

static void test_eoi(void **state)
{
	(void)state;
	post(0x65, true);
	run_one(play_level);
	assert_int_equal(exit_info.kind, EXIT_APIC_EOI);
	assert_int_equal(exit_info.apic.vector, 0x65);
	assert_int_equal(vcpu.lapic.isr.used | vcpu.lapic.irr.used, 0);
	assert_int_equal(nr_ended, 0);
	lapic_ended(&vcpu.lapic, exit_info.apic.vector);
	assert_int_equal(nr_ended, 1);
	assert_int_equal(ended[0], 0x65);
}

static void play_write_svr(void)
{
	assert_int_equal(*page_at(0xf0), 0x1ff);
	assert_int_equal(*page_at(0x30), 0x01050014);
	*page_at(0xf0) = 0xffff13a0;
	*page_at(0x310) = 0x05000000;
	*page_at(0x80) = 0x53;
	set_exit(56, 0xf0);
}

static void play_see_svr(void)
{
	assert_int_equal(*page_at(0xf0), 0x13a0);
	assert_int_equal(*page_at(0x310), 0x05000000);
	assert_int_equal(*page_at(0x80), 0x53);
}

static void test_write(void **state)
{
	(void)state;
	run_one(play_write_svr);
	assert_int_equal(exit_info.kind, EXIT_APIC_WRITE);
	assert_int_equal(exit_info.apic.off, 0xf0);
	assert_ptr_equal(exit_info.apic.page, page_at(0));
	assert_int_equal(get(REG_CR8), 5);
	assert_int_equal(vcpu.lapic.tpr, 0x53);
	lapic_written(&vcpu.lapic, exit_info.apic.page, exit_info.apic.off);
	assert_int_equal(vcpu.lapic.svr, 0x13a0);
	assert_int_equal(vcpu.lapic.icr[1], 0x05000000);
	run_one(play_see_svr);
	assert_int_equal(vcpu.lapic.tpr, 0x53);
}

static const uint8_t *msr_bitmap(void)
{
	return hpa_to_ptr(HPA(fake_vmcs_get(VMCS_MSR_BITMAP)));
}

static bool writes_exit(uint32_t msr)
{
	return msr_bitmap()[0x800 + msr / 8] >> msr % 8 & 1;
}

static void test_x2apic(void **state)
{
	(void)state;
	run_one(play_intr);
	assert_true(writes_exit(0x80b));
	fake_vmx.invept.count = 0;
	to_x2apic();
	run_one(play_intr);
	assert_int_equal(controls(),
			 PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS);
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_false(writes_exit(0x80b));
	assert_true(writes_exit(0x830));
	/* EOI would be the processor's own. */
	vmx_backend.set_virtual_interrupts(&vcpu, false);
	run_one(play_intr);
	assert_int_equal(controls(), PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS);
	assert_true(writes_exit(0x80b));
	assert_true(lapic_write_base(&vcpu.lapic, LAPIC_BASE, fake_cpu_features.maxphyaddr));
	run_one(play_intr);
	assert_int_equal(controls(), 0);
	assert_true(writes_exit(0x808));
}

/* What is turned on again finds it all as it has become. */
static void test_on_and_off(void **state)
{
	(void)state;
	run_one(play_intr);
	vmx_backend.set_virtual_interrupts(&vcpu, false);
	run_one(play_intr);
	post(0x41, false);
	post(0x93, false);
	run_one(play_intr);
	assert_int_equal(vcpu.lapic.next, 0x93);
	vmx_backend.set_virtual_interrupts(&vcpu, true);
	run_one(play_deliver);
	assert_int_equal(vcpu.lapic.next, 0);
}

static int setup_accesses(void **state)
{
	(void)state;
	return setup_with(~(uint32_t)(VMX_FEATURE_APIC_REGISTERS | VMX_FEATURE_VIRTUAL_INTERRUPTS));
}

static void play_tpr(void)
{
	assert_int_equal(*page_at(0x80), 0x35);
	*page_at(0x80) = 0x41;
	set_exit(44, 1u << 12 | 0xb0);
}

static void test_accesses_only(void **state)
{
	(void)state;
	vcpu.lapic.tpr = 0x35;
	run_one(play_tpr);
	assert_int_equal(controls(), PROC2_APIC_ACCESSES);
	assert_int_equal(vcpu.lapic.tpr, 0x41);
	assert_int_equal(exit_info.kind, EXIT_NESTED_FAULT);
	assert_int_equal(exit_info.nested.gpa.v, 0xfee000b0);
	assert_true(exit_info.nested.write);
	/* Its qualification says nothing of NMIs. */
	assert_int_equal(get(REG_NMI_BLOCKED), 0);
	/* An x2APIC's EOI exits, its TPR does not. */
	to_x2apic();
	run_one(play_intr);
	assert_int_equal(controls(), PROC2_X2APIC_MODE);
	assert_false(writes_exit(0x808));
	assert_true(writes_exit(0x80b));
}

static int setup_none(void **state)
{
	(void)state;
	return setup_with(~(uint32_t)VMX_FEATURE_TPR_SHADOW);
}

static void test_none(void **state)
{
	(void)state;
	assert_false(vmx_caps()->apic_page || vmx_caps()->virtual_interrupts);
	post(0x41, false);
	run_one(play_intr);
	assert_int_equal(controls(), 0);
	to_x2apic();
	run_one(play_intr);
	assert_int_equal(controls(), 0);
	assert_true(writes_exit(0x808));
}

/* Every vCPU of a VM has the same APIC-access page. */
static void test_access_page(void **state)
{
	struct vcpu other;

	(void)state;
	make_vcpu(&vm, &other);
	vmx_use(&other);
	assert_int_equal(fake_vmcs_get(VMCS_APIC_ACCESS_ADDR), APIC_PAGE);
	vmx_backend.vcpu_destroy(&other);
}

#define ALL(fn) cmocka_unit_test_setup_teardown(fn, setup_all, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(test_lowest_by_page),
		ALL(test_delivery),
		ALL(test_posted),
		cmocka_unit_test_setup_teardown(test_not_posted, setup_not_posted, teardown),
		ALL(test_cut_off),
		ALL(test_eoi),
		ALL(test_write),
		ALL(test_x2apic),
		ALL(test_on_and_off),
		cmocka_unit_test_setup_teardown(test_accesses_only, setup_accesses, teardown),
		cmocka_unit_test_setup_teardown(test_none, setup_none, teardown),
		ALL(test_access_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
