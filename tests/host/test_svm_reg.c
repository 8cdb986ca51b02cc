/* Registers and intercepts in the VMCB, as the guest and as the processor have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/include/msr.h"
#include "svm/exit.h"
#include "svm/perm.h"
#include "svm/state.h"
#include "svm/svm.h"
#include "tests/host/fakes.h"
#include "tests/host/svm_fixture.h"

static void test_registers(void **state)
{
	struct segment tr = { .selector = 0x40, .attr = 0x8b, .limit = 0x67, .base = 0x1234 };
	struct segment ss = { .selector = 0x2b, .attr = 0xcf3, .limit = ~0u };
	struct segment got;

	(void)state;
	/* CD and NW are the guest's to see and never the hardware's; then reads exit. */
	svm_set_reg(&vcpu, REG_CR0, CR0_PE | CR0_CD | CR0_NW);
	assert_int_equal(svm_get_reg(&vcpu, REG_CR0), CR0_PE | CR0_ET | CR0_CD | CR0_NW);
	assert_int_equal(v->cr0, CR0_PE | CR0_ET);
	assert_true(vmcb_intercepts(v, INTERCEPT_CR_READ + 0));
	svm_set_reg(&vcpu, REG_CR0, CR0_PE);
	assert_false(vmcb_intercepts(v, INTERCEPT_CR_READ + 0));
	/* LMA follows LME and PG; SVME is hidden. */
	svm_set_reg(&vcpu, REG_EFER, EFER_LME | EFER_SCE);
	assert_int_equal(svm_get_reg(&vcpu, REG_EFER), EFER_LME | EFER_SCE);
	assert_int_equal(v->efer, EFER_LME | EFER_SCE | EFER_SVME);
	svm_set_reg(&vcpu, REG_CR4, CR4_PAE);
	svm_set_reg(&vcpu, REG_CR0, CR0_PE | CR0_PG);
	assert_int_equal(vcpu_hot_reg(&vcpu, REG_EFER), EFER_LME | EFER_LMA | EFER_SCE);
	svm_set_reg(&vcpu, REG_CR0, CR0_PE);
	assert_int_equal(svm_get_reg(&vcpu, REG_EFER), EFER_LME | EFER_SCE);
	svm_set_reg(&vcpu, REG_CR8, 9);
	assert_int_equal(svm_get_reg(&vcpu, REG_CR8), 9);
	assert_true(v->v_intr & V_INTR_MASKING);
	/* QEMU: must not find a busy TSS. The guest always does; SS says the CPL. */
	svm_set_seg(&vcpu, SEG_TR, &tr);
	assert_int_equal(v->tr.attrib, 0x89);
	svm_get_seg(&vcpu, SEG_TR, &got);
	assert_memory_equal(&got, &tr, sizeof(tr));
	svm_set_seg(&vcpu, SEG_SS, &ss);
	assert_int_equal(svm_get_reg(&vcpu, REG_CPL), 3);
	v->ss.attrib = 0;
	svm_get_seg(&vcpu, SEG_SS, &got);
	assert_int_equal(got.attr & SEG_ATTR_DPL, SEG_ATTR_DPL);
}

static bool flushes(enum vcpu_reg reg, uint64_t val)
{
	sv->flush = false;
	svm_set_reg(&vcpu, reg, val);
	return sv->flush;
}

static void test_what_flushes(void **state)
{
	(void)state;
	assert_true(flushes(REG_CR3, 0x1000));
	assert_true(flushes(REG_CR0, CR0_PE | CR0_PG));
	assert_false(flushes(REG_CR0, CR0_PE | CR0_PG | CR0_WP | CR0_TS));
	assert_true(flushes(REG_CR4, CR4_PAE | CR4_PGE));
	assert_false(flushes(REG_CR4, CR4_PAE | CR4_PGE | CR4_OSFXSR));
	assert_true(flushes(REG_CR4, CR4_PAE | CR4_OSFXSR));
	assert_true(flushes(REG_EFER, EFER_NXE));
	assert_false(flushes(REG_EFER, EFER_NXE | EFER_SCE));
	assert_false(flushes(REG_CR2, 1));
	sv->flush = false;
	svm_backend.set_root(&vcpu, HPA(0x7000), ROOT_SHADOW);
	assert_true(sv->flush);
	assert_int_equal(v->n_cr3, 0x7000);
}

/* --- shadow paging: the guest's registers, and the VMCB's --- */

static void hardware_has(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	assert_int_equal(v->cr0, cr0);
	assert_int_equal(v->cr4, cr4);
	assert_int_equal(v->efer, efer | EFER_SVME | EFER_NXE);
	assert_null(svm_check_vmcb(v, &svm_machine.limits));
}

static void guest_has(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	assert_int_equal(svm_get_reg(&vcpu, REG_CR0), cr0);
	assert_int_equal(svm_get_reg(&vcpu, REG_CR4), cr4);
	assert_int_equal(svm_get_reg(&vcpu, REG_EFER), efer);
	assert_int_equal(vmcb_intercepts(v, INTERCEPT_CR_READ + 0), v->cr0 != cr0);
	assert_int_equal(vmcb_intercepts(v, INTERCEPT_CR_READ + 4), v->cr4 != cr4);
}

static void test_shadow_registers(void **state)
{
	const uint64_t rights = CR4_SMEP | CR4_SMAP | CR4_PKE;

	(void)state;
	v->iopm_base_pa = v->msrpm_base_pa = 0; /* they lie where the host's memory happens to be */
	vmcb_set_asid(v, 1);
	/* Paged real mode, after RESET and with PE. */
	svm_set_reg(&vcpu, REG_CR0, CR0_CD | CR0_NW);
	hardware_has(CR0_ET | CR0_PG | CR0_WP, CR4_PAE, 0);
	guest_has(CR0_ET | CR0_CD | CR0_NW, 0, 0);
	svm_set_reg(&vcpu, REG_CR0, CR0_PE);
	svm_set_reg(&vcpu, REG_CR4, rights);
	svm_set_reg(&vcpu, REG_EFER, EFER_LME);
	hardware_has(CR0_PE | CR0_ET | CR0_PG | CR0_WP, CR4_PAE | CR4_PKE, 0);
	guest_has(CR0_PE | CR0_ET, rights, EFER_LME);
	/* Long mode, with nothing to hide. */
	svm_set_reg(&vcpu, REG_CR4, rights | CR4_PAE);
	svm_set_reg(&vcpu, REG_CR0, CR0_PE | CR0_PG | CR0_WP);
	svm_set_reg(&vcpu, REG_EFER, EFER_LME | EFER_NXE);
	hardware_has(CR0_PE | CR0_ET | CR0_PG | CR0_WP, CR4_PAE | rights, EFER_LME | EFER_LMA);
	guest_has(CR0_PE | CR0_ET | CR0_PG | CR0_WP, CR4_PAE | rights,
		  EFER_LME | EFER_LMA | EFER_NXE);
	assert_false(vmcb_intercepts(v, INTERCEPT_CR_READ + 0));
	assert_false(vmcb_intercepts(v, INTERCEPT_CR_READ + 4));
	/* WP and PCIDE are the guest's alone. */
	svm_set_reg(&vcpu, REG_CR0, CR0_PE | CR0_PG);
	svm_set_reg(&vcpu, REG_CR4, CR4_PAE | CR4_PCIDE);
	hardware_has(CR0_PE | CR0_ET | CR0_PG | CR0_WP, CR4_PAE, EFER_LME | EFER_LMA);
	guest_has(CR0_PE | CR0_ET | CR0_PG, CR4_PAE | CR4_PCIDE, EFER_LME | EFER_LMA | EFER_NXE);
	/* 32-bit paging, on PAE tables. */
	svm_set_reg(&vcpu, REG_CR0, CR0_PE);
	svm_set_reg(&vcpu, REG_EFER, 0);
	svm_set_reg(&vcpu, REG_CR4, CR4_PSE | CR4_SMEP);
	svm_set_reg(&vcpu, REG_CR0, CR0_PE | CR0_PG | CR0_WP);
	hardware_has(CR0_PE | CR0_ET | CR0_PG | CR0_WP, CR4_PSE | CR4_PAE | CR4_SMEP, 0);
	guest_has(CR0_PE | CR0_ET | CR0_PG | CR0_WP, CR4_PSE | CR4_SMEP, 0);
}

/* Machine checks are the host's to take, whatever the guest makes of MCE. */
static void test_host_takes_machine_checks(void **state)
{
	(void)state;
	svm_machine.host_cr4 = CR4_MCE;
	svm_set_reg(&vcpu, REG_CR4, CR4_PSE);
	assert_int_equal(v->cr4, CR4_PSE | CR4_MCE);
	assert_int_equal(svm_get_reg(&vcpu, REG_CR4), CR4_PSE);
	assert_true(vmcb_intercepts(v, INTERCEPT_CR_READ + 4));
	svm_set_reg(&vcpu, REG_CR4, CR4_PSE | CR4_MCE);
	assert_int_equal(v->cr4, CR4_PSE | CR4_MCE);
	assert_int_equal(svm_get_reg(&vcpu, REG_CR4), CR4_PSE | CR4_MCE);
	assert_false(vmcb_intercepts(v, INTERCEPT_CR_READ + 4));
	svm_machine.host_cr4 = 0;
}

static void test_shadow_cr3(void **state)
{
	(void)state;
	svm_backend.set_root(&vcpu, HPA(0x7000), ROOT_SHADOW);
	assert_int_equal(v->cr3, 0x7000);
	assert_true(sv->flush);
	svm_set_reg(&vcpu, REG_CR3, 0x1000);
	assert_int_equal(svm_get_reg(&vcpu, REG_CR3), 0x1000);
	assert_int_equal(v->cr3, 0x7000);
	assert_int_equal(v->n_cr3, 0);
}

static void test_shadow_intercepts(void **state)
{
	(void)state;
	assert_false(v->np_control & VMCB_NP_ENABLE);
	assert_true(vmcb_intercepts(v, INTERCEPT_CR_READ + 3));
	assert_true(vmcb_intercepts(v, INTERCEPT_CR_WRITE + 3));
	assert_true(vmcb_intercepts(v, INTERCEPT_EXCEPTION + VEC_PF));
	assert_false(vmcb_intercepts(v, INTERCEPT_INVLPG));
	assert_false(vmcb_intercepts(v, INTERCEPT_INVPCID));
	svm_backend.set_intercept_exception(&vcpu, VEC_PF, false);
	assert_true(vmcb_intercepts(v, INTERCEPT_EXCEPTION + VEC_PF));
	svm_backend.set_intercept_invlpg(&vcpu, true);
	assert_true(vmcb_intercepts(v, INTERCEPT_INVLPG));
	svm_backend.set_intercept_invlpg(&vcpu, false);
	assert_false(vmcb_intercepts(v, INTERCEPT_INVLPG));
	svm_backend.vcpu_destroy(&vcpu);
	svm_machine.invpcid = true;
	assert_int_equal(svm_backend.vcpu_init(&vcpu), 0);
	assert_true(vmcb_intercepts(svm_vcpu(&vcpu)->vmcb, INTERCEPT_INVPCID));
}

static void test_debug_registers_intercepted(void **state)
{
	(void)state;
	for (int on = 1; on >= 0; on--) {
		svm_backend.set_intercept_dr(&vcpu, on);
		for (unsigned i = 0; i < 16; i++) {
			assert_int_equal(vmcb_intercepts(v, INTERCEPT_DR_READ + i), on);
			assert_int_equal(vmcb_intercepts(v, INTERCEPT_DR_WRITE + i), on);
		}
	}
}

static void test_debug_exception_clears_gd(void **state)
{
	struct vm_event db = { .kind = EVENT_EXCEPTION, .vector = VEC_DB };

	(void)state;
	svm_set_reg(&vcpu, REG_DR7, DR7_INIT | BIT(13));
	svm_inject(&vcpu, &db);
	assert_int_equal(svm_get_reg(&vcpu, REG_DR7), DR7_INIT);
	v->event_inj = 0;
}

static void play_cr2_is_there(struct vmcb *p)
{
	assert_int_equal(cr2_now, 0xabc000);
	assert_int_equal(p->cr2, 0xabc000);
	p->exit_code = SVM_EXIT_INTR;
}

/* There is a VMRUN that does not load CR2: what changed is written, and nothing else. */
static void test_cr2(void **state)
{
	static const play_fn plays[] = { play_cr2_is_there, NULL };

	(void)state;
	svm_set_reg(&vcpu, REG_CR2, 0xabc000);
	cr2_writes = 0;
	run(plays, 1);
	run(plays, 1);
	assert_int_equal(cr2_writes, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define SHADOW(fn) cmocka_unit_test_setup_teardown(fn, setup_shadow, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_registers),
		TEST(test_what_flushes),
		SHADOW(test_shadow_registers),
		TEST(test_host_takes_machine_checks),
		SHADOW(test_shadow_cr3),
		SHADOW(test_shadow_intercepts),
		TEST(test_debug_registers_intercepted),
		TEST(test_debug_exception_clears_gd),
		TEST(test_cr2),
	};

	return cmocka_run_group_tests_name("svm_reg", tests, NULL, NULL);
}
