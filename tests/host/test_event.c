/* vmm/event.c: what is injected when, and what two exceptions become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_backend.h"
#include "vmm/lapic_core.h"
#include "vmm/vcpu.h"

static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	return 0;
}

static void expect_injected(unsigned nth, enum vm_event_kind kind, unsigned vector)
{
	assert_true(fake_hw.nr_injected > nth);
	assert_int_equal(fake_hw.injected[nth].kind, kind);
	assert_int_equal(fake_hw.injected[nth].vector, vector);
}

/* An exception whose delivery was cut off by another one. */
static void raise_during(unsigned first, unsigned second)
{
	fake_vm_reset();
	vcpu_requeue(&fake_vcpu, &(struct vm_event){ .kind = EVENT_EXCEPTION,
						     .vector = (uint8_t)first,
						     .has_error = fault_has_error(first),
						     .error = 0x55 });
	vcpu_raise(&fake_vcpu, &(struct guest_fault){ .vector = (uint8_t)second,
						      .has_error = fault_has_error(second),
						      .error = 0x66,
						      .cr2 = 0xdead000 });
}

/* Every pair of exceptions, against APM vol. 2, table 8-4. */
static void test_double_fault_table(void **state)
{
	static const unsigned vectors[] = { VEC_DE, VEC_DB, VEC_BP, VEC_OF, VEC_BR, VEC_UD,
					    VEC_NM, VEC_TS, VEC_NP, VEC_SS, VEC_GP, VEC_PF,
					    VEC_MF, VEC_AC, VEC_XF, VEC_CP };
	static const uint32_t contributory = 1u << VEC_DE | 1u << VEC_TS | 1u << VEC_NP |
					     1u << VEC_SS | 1u << VEC_GP | 1u << VEC_CP;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(vectors); j++) {
			bool c1 = contributory >> vectors[i] & 1, p1 = vectors[i] == VEC_PF;
			bool c2 = contributory >> vectors[j] & 1, p2 = vectors[j] == VEC_PF;
			bool df = (c1 && c2) || (p1 && (c2 || p2));
			const struct vm_event *ev = &fake_vcpu.events.pending;

			raise_during(vectors[i], vectors[j]);
			assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
			if (ev->vector != (df ? VEC_DF : vectors[j]))
				fail_msg("#%u during #%u gave #%u", vectors[j], vectors[i],
					 ev->vector);
			assert_int_equal(ev->has_error, df || fault_has_error(vectors[j]));
			if (ev->has_error)
				assert_int_equal(ev->error, df ? 0 : 0x66);
		}
	}
}

static void test_triple_fault(void **state)
{
	(void)state;
	raise_during(VEC_DF, VEC_PF);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_TRIPLE);
	raise_during(VEC_DF, VEC_GP);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_TRIPLE);
	raise_during(VEC_DF, VEC_UD);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_UD);
}

static void test_exception_over_interrupt(void **state)
{
	(void)state;
	vcpu_requeue(&fake_vcpu, &(struct vm_event){ .kind = EVENT_INTR, .vector = 0x30 });
	vcpu_raise_error(&fake_vcpu, VEC_GP, 0x182);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	expect_injected(0, EVENT_EXCEPTION, VEC_GP);
	assert_int_equal(fake_hw.injected[0].error, 0x182);
}

static void test_page_fault_sets_cr2_and_rf(void **state)
{
	(void)state;
	vcpu_raise(&fake_vcpu,
		   &(struct guest_fault){
			   .vector = VEC_PF, .has_error = true, .error = PF_W, .cr2 = 0x12345678 });
	assert_int_equal(fake_hw.reg[REG_CR2], 0x12345678);
	assert_true(fake_vcpu.regs.rflags & RFLAGS_RF);

	fake_vm_reset();
	vcpu_raise_vector(&fake_vcpu, VEC_DB);
	assert_false(fake_vcpu.regs.rflags & RFLAGS_RF);
	assert_int_equal(fake_hw.sets[REG_CR2], 0);
}

static void test_nothing_to_do(void **state)
{
	(void)state;
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 0);
	assert_int_equal(fake_hw.window_calls, 0);
	assert_false(vcpu_has_wakeup(&fake_vcpu));
}

static void test_interrupt_goes_in(void **state)
{
	(void)state;
	fake_hw.intr_pending = true;
	fake_hw.intr_vector = 0x31;
	assert_true(vcpu_has_wakeup(&fake_vcpu));
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	expect_injected(0, EVENT_INTR, 0x31);
	assert_int_equal(fake_hw.acks, 1);
	assert_false(fake_hw.window_intr);
}

/* An interrupt that cannot go in is not acknowledged; a window is asked for, once, and
 * withdrawn after the interrupt has gone. */
static void test_interrupt_waits_for_window(void **state)
{
	(void)state;
	fake_hw.intr_pending = true;
	fake_hw.can_inject_intr = false;
	vcpu_inject_pending(&fake_vcpu);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 0);
	assert_int_equal(fake_hw.acks, 0);
	assert_true(fake_hw.window_intr);
	assert_int_equal(fake_hw.window_calls, 1);

	fake_hw.can_inject_intr = true;
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	assert_false(fake_hw.window_intr);
	assert_int_equal(fake_hw.window_calls, 2);
}

/* The backend is told of the class that CR8 keeps out, when that changes. */
static void test_interrupt_waits_for_tpr(void **state)
{
	struct lapic *l = &fake_vcpu.lapic;

	(void)state;
	l->set = &fake_vm.lapics;
	fake_hw.can_inject_intr = true;
	lapic_write_cr8(l, 9);
	lapic_take(l, 0x52, false);
	vcpu_inject_pending(&fake_vcpu);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.tpr_threshold, 5);
	assert_int_equal(fake_hw.tpr_threshold_calls, 1);
	lapic_take(l, 0x71, false);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.tpr_threshold, 7);
	assert_int_equal(fake_hw.nr_injected, 0);
	assert_false(fake_hw.window_intr);
	/* One of them can go in; the other waits for its EOI. */
	lapic_write_cr8(l, 4);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	expect_injected(0, EVENT_INTR, 0x71);
	assert_int_equal(fake_hw.tpr_threshold, 0);
	assert_int_equal(fake_hw.tpr_threshold_calls, 3);
}

#define SVR_ON 0x1ffu

/* The vCPU's local APIC, switched on, in a VM whose backend delivers what it has. */
static struct lapic *with_virtual_interrupts(void)
{
	struct lapic *l = &fake_vcpu.lapic;

	fake_vm.virtual_interrupts = true;
	l->set = &fake_vm.lapics;
	l->mode = LAPIC_XAPIC;
	l->svr = SVR_ON;
	return l;
}

/* The backend delivers what the local APIC has; what the 8259 has is injected all the same. */
static void test_backend_delivers(void **state)
{
	struct lapic *l = with_virtual_interrupts();

	(void)state;
	lapic_write_cr8(l, 6);
	lapic_take(l, 0x52, false);
	lapic_take(l, 0x93, false);
	vcpu_inject_pending(&fake_vcpu);
	assert_true(fake_hw.virtual_interrupts);
	assert_int_equal(fake_hw.nr_injected, 0);
	assert_false(fake_hw.window_intr);
	assert_int_equal(fake_hw.tpr_threshold_calls, 0);
	assert_int_equal(lapic_next(l), 0x93);
	assert_true(vcpu_has_wakeup(&fake_vcpu));
	fake_hw.intr_pending = true;
	fake_hw.intr_vector = 0x30;
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	expect_injected(0, EVENT_INTR, 0x30);
	assert_false(fake_hw.window_intr);
	assert_int_equal(lapic_next(l), 0x93);
	assert_int_equal(fake_hw.virtual_interrupts_calls, 1);
}

/* What another vCPU does while this one looks at the 8259 without the lock. */
static void (*meanwhile)(void);

static bool look(void *ctx)
{
	bool pending = fake_hw.intr_pending;

	(void)ctx;
	if (meanwhile)
		meanwhile();
	meanwhile = NULL;
	return pending;
}

/* The 8259's interrupt has come by a message of an I/O APIC's; LINT0 is masked. */
static struct lapic *with_extint(void (*what)(void))
{
	struct lapic *l = &fake_vcpu.lapic;

	l->set = &fake_vm.lapics;
	l->mode = LAPIC_XAPIC;
	l->svr = SVR_ON;
	l->lvt[LVT_LINT0] = LVT_MASKED;
	l->extint_blocked = true;
	lapic_post_extint(l, false);
	fake_hw.intr_pending = true;
	fake_hw.intr_vector = 0x31;
	fake_vm.intr.pending = look;
	meanwhile = what;
	return l;
}

static void take_it(void)
{
	fake_hw.intr_pending = false;
	lapic_post_extint_over(&fake_vcpu.lapic);
}

/* The 8259 is masked, then the I/O APIC's entry, then the 8259 is unmasked: it has an interrupt,
 * for whoever it comes to now. */
static void mask_its_way(void)
{
	lapic_post_extint_over(&fake_vcpu.lapic);
}

static void mask_and_send_anew(void)
{
	lapic_post_extint_over(&fake_vcpu.lapic);
	lapic_post_extint(&fake_vcpu.lapic, false);
}

static void test_extint_meanwhile(void **state)
{
	static void (*const gone[])(void) = { take_it, mask_its_way };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(gone); i++) {
		fake_vm_reset();
		with_extint(gone[i]);
		vcpu_inject_pending(&fake_vcpu);
		assert_null(meanwhile);
		assert_int_equal(fake_hw.acks, 0);
		assert_int_equal(fake_hw.nr_injected, 0);
		assert_false(fake_hw.window_intr);
	}
	fake_vm_reset();
	with_extint(mask_and_send_anew);
	vcpu_inject_pending(&fake_vcpu);
	expect_injected(0, EVENT_INTR, 0x31);
	assert_int_equal(fake_hw.acks, 1);
}

/* Of its own local APIC's the one that was seen first goes in, and the 8259's waits. */
static void test_extint_gone_behind_another(void **state)
{
	struct lapic *l = with_extint(take_it);

	(void)state;
	lapic_take(l, 0x93, false);
	vcpu_inject_pending(&fake_vcpu);
	expect_injected(0, EVENT_INTR, 0x93);
	fake_vcpu.events.pending.kind = EVENT_NONE;
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	assert_int_equal(fake_hw.acks, 0);
	assert_false(fake_hw.window_intr);
}

/* What waits in a local APIC that is switched off goes in; what the guest sends itself must not. */
static void test_switched_off(void **state)
{
	struct lapic *l = with_virtual_interrupts();

	(void)state;
	vcpu_inject_pending(&fake_vcpu);
	assert_true(fake_hw.virtual_interrupts);
	lapic_take(l, 0x93, false);
	l->svr = 0xff;
	vcpu_inject_pending(&fake_vcpu);
	assert_false(fake_hw.virtual_interrupts);
	expect_injected(0, EVENT_INTR, 0x93);
}

/* In real mode that the processor does not run, the core delivers. */
static void test_core_takes_over(void **state)
{
	struct lapic *l = with_virtual_interrupts();

	(void)state;
	vcpu_inject_pending(&fake_vcpu);
	assert_true(fake_hw.virtual_interrupts);
	fake_real_mode = false;
	fake_hw.reg[REG_CR0] &= ~(CR0_PE | CR0_PG);
	fake_hw.can_inject_intr = false;
	lapic_take(l, 0x93, false);
	vcpu_inject_pending(&fake_vcpu);
	assert_false(fake_hw.virtual_interrupts);
	assert_true(fake_hw.window_intr);
	fake_real_mode = true;
	vcpu_inject_pending(&fake_vcpu);
	assert_true(fake_hw.virtual_interrupts);
	assert_false(fake_hw.window_intr);
}

static void test_exception_goes_before_interrupt(void **state)
{
	(void)state;
	fake_hw.intr_pending = true;
	vcpu_raise_nmi(&fake_vcpu);
	vcpu_raise_vector(&fake_vcpu, VEC_UD);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	expect_injected(0, EVENT_EXCEPTION, VEC_UD);
	assert_int_equal(fake_hw.acks, 0);
	assert_true(fake_hw.window_intr);
	assert_true(fake_hw.window_nmi);

	vcpu_inject_pending(&fake_vcpu);
	expect_injected(1, EVENT_NMI, VEC_NMI);
	assert_false(fake_hw.window_nmi);
	assert_int_equal(fake_hw.acks, 0);

	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.injected[2].kind, EVENT_INTR);
	assert_int_equal(fake_hw.nr_injected, 3);
}

/* What was cut off goes in again, whatever the flags say now. */
static void test_requeued_interrupt(void **state)
{
	(void)state;
	fake_hw.can_inject_intr = false;
	vcpu_requeue(&fake_vcpu, &(struct vm_event){ .kind = EVENT_INTR, .vector = 0x40 });
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
	expect_injected(0, EVENT_INTR, 0x40);
	assert_int_equal(fake_hw.acks, 0);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 1);
}

static void test_nmi_blocked(void **state)
{
	(void)state;
	fake_hw.can_inject_nmi = false;
	vcpu_raise_nmi(&fake_vcpu);
	vcpu_inject_pending(&fake_vcpu);
	assert_int_equal(fake_hw.nr_injected, 0);
	assert_true(fake_hw.window_nmi);
}

static void test_wakeup(void **state)
{
	(void)state;
	fake_vcpu.regs.rflags &= ~RFLAGS_IF;
	fake_hw.intr_pending = true;
	assert_false(vcpu_has_wakeup(&fake_vcpu));
	vcpu_raise_nmi(&fake_vcpu);
	assert_true(vcpu_has_wakeup(&fake_vcpu));
}

static void test_retire(void **state)
{
	(void)state;
	fake_hw.reg[REG_INTR_SHADOW] = 1;
	fake_vcpu.regs.rflags |= RFLAGS_RF;
	vcpu_retire_insn(&fake_vcpu, 2);
	assert_int_equal(fake_vcpu.regs.rip, 0x1002);
	assert_int_equal(fake_hw.reg[REG_INTR_SHADOW], 0);
	assert_false(fake_vcpu.regs.rflags & RFLAGS_RF);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
}

static void test_retire_single_step(void **state)
{
	(void)state;
	fake_vcpu.regs.rflags |= RFLAGS_TF;
	vcpu_retire_insn(&fake_vcpu, 3);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_EXCEPTION);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_DB);
	assert_true(fake_hw.reg[REG_DR6] & DR6_BS);
}

/* IP wraps at 16 bits, EIP at 32, RIP runs on. */
static void test_retire_wraps(void **state)
{
	static const struct {
		uint16_t attr;
		uint64_t efer, rip, want;
	} cases[] = {
		{ 0, 0, 0xffff, 0x1 },
		{ SEG_ATTR_DB, 0, 0xffff, 0x10001 },
		{ SEG_ATTR_DB, 0, 0xffffffff, 0x1 },
		{ SEG_ATTR_L, EFER_LMA, 0xffffffff, 0x100000001 },
		{ SEG_ATTR_L, 0, 0xffff, 0x1 }, /* L counts in long mode only */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_hw.seg[SEG_CS].attr = cases[i].attr;
		fake_hw.reg[REG_EFER] = cases[i].efer;
		fake_vcpu.regs.rip = cases[i].rip;
		vcpu_retire_insn(&fake_vcpu, 2);
		assert_int_equal(fake_vcpu.regs.rip, cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_double_fault_table, setup),
		cmocka_unit_test_setup(test_triple_fault, setup),
		cmocka_unit_test_setup(test_exception_over_interrupt, setup),
		cmocka_unit_test_setup(test_page_fault_sets_cr2_and_rf, setup),
		cmocka_unit_test_setup(test_nothing_to_do, setup),
		cmocka_unit_test_setup(test_interrupt_goes_in, setup),
		cmocka_unit_test_setup(test_interrupt_waits_for_window, setup),
		cmocka_unit_test_setup(test_interrupt_waits_for_tpr, setup),
		cmocka_unit_test_setup(test_backend_delivers, setup),
		cmocka_unit_test_setup(test_extint_meanwhile, setup),
		cmocka_unit_test_setup(test_extint_gone_behind_another, setup),
		cmocka_unit_test_setup(test_switched_off, setup),
		cmocka_unit_test_setup(test_core_takes_over, setup),
		cmocka_unit_test_setup(test_exception_goes_before_interrupt, setup),
		cmocka_unit_test_setup(test_requeued_interrupt, setup),
		cmocka_unit_test_setup(test_nmi_blocked, setup),
		cmocka_unit_test_setup(test_wakeup, setup),
		cmocka_unit_test_setup(test_retire, setup),
		cmocka_unit_test_setup(test_retire_single_step, setup),
		cmocka_unit_test_setup(test_retire_wraps, setup),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
