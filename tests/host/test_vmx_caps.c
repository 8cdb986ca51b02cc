/* What Umbra makes of VMX's capability MSRs: every gap that it lives with or cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "vmx/caps.h"
#include "vmx/vmcs.h"

#define ALL_FEATURES UINT32_MAX

/* A Haswell's, with the TRUE controls. */
static const struct vmx_cap_msrs haswell = {
	.basic = 0x00da040000000012,
	.pin = 0x0000007f00000016,
	.proc = 0xfff9fffe04006172,
	.exit = 0x007fffff00036dfb,
	.entry = 0x0000ffff000011fb,
	.proc2 = 0x00007cff00000000,
	.misc = 0x00000000300481e5,
	.cr0_fixed0 = 0x80000021,
	.cr0_fixed1 = 0xffffffff,
	.cr4_fixed0 = 0x2000,
	.cr4_fixed1 = 0x1767ff,
	.ept_vpid = 0x00000f0106734141,
};

/* A Penryn's: no TRUE controls, no EPT, no EFER and PAT in the VMCS. */
static const struct vmx_cap_msrs penryn = {
	.basic = 0x005a08000000000d,
	.pin = 0x0000003f00000016,
	.proc = 0xf7f9fffe0401e172,
	.exit = 0x0003ffff00036dff,
	.entry = 0x00003fff000011ff,
	.proc2 = 0x0000004100000000,
	.misc = 0x00000000000403c0,
	.cr0_fixed0 = 0x80000021,
	.cr0_fixed1 = 0xffffffff,
	.cr4_fixed0 = 0x2000,
	.cr4_fixed1 = 0x67ff,
};

static struct vmx_cap_msrs msrs;
static struct vmx_caps caps;

static const char *fold(uint32_t mask)
{
	memset(&caps, 0xa5, sizeof(caps));
	return vmx_caps_fold(&msrs, mask, &caps);
}

static int setup(void **state)
{
	(void)state;
	msrs = haswell;
	return 0;
}

static void test_haswell(void **state)
{
	(void)state;
	assert_null(fold(ALL_FEATURES));
	assert_int_equal(caps.revision, 0x12);
	assert_true(caps.insn_info_io);
	assert_int_equal(caps.pin.must, 0x16);
	assert_int_equal(caps.pin.may, 0x7f);
	assert_int_equal(caps.proc.must, 0x04006172);
	assert_int_equal(caps.proc.may, 0xfff9fffe);
	assert_int_equal(caps.proc2.must, 0);
	assert_int_equal(caps.proc2.may, 0x7cff);
	assert_int_equal(caps.exit.must, 0x00036dfb);
	assert_int_equal(caps.exit.may, 0x007fffff);
	assert_int_equal(caps.entry.must, 0x000011fb);
	assert_int_equal(caps.entry.may, 0x0000ffff);
	assert_int_equal(caps.cr0_fixed0, 0x80000021);
	assert_int_equal(caps.cr0_fixed1, 0xffffffff);
	assert_int_equal(caps.cr4_fixed0, 0x2000);
	assert_int_equal(caps.cr4_fixed1, 0x1767ff);
	assert_int_equal(caps.timer_shift, 5);
	assert_false(caps.entry_len0);
	assert_true(caps.ept && caps.ept_1g && caps.ept_accessed_dirty && caps.invept_context);
	assert_true(caps.vpid && caps.invvpid_address && caps.invvpid_context);
	assert_true(caps.unrestricted_guest);
	assert_true(caps.preemption_timer);
	assert_true(caps.pause_loop && caps.rdtscp && caps.invpcid && caps.wbinvd);
	assert_true(caps.load_efer && caps.load_pat);
	assert_true(caps.apic_accesses && caps.x2apic_mode);
	assert_false(caps.apic_registers || caps.virtual_interrupts);
	assert_int_equal(caps.features, BITS(11, 0));
}

static void test_penryn(void **state)
{
	(void)state;
	msrs = penryn;
	assert_null(fold(ALL_FEATURES));
	assert_int_equal(caps.revision, 0xd);
	assert_true(caps.insn_info_io);
	assert_false(caps.ept || caps.ept_1g || caps.ept_accessed_dirty || caps.invept_context);
	assert_false(caps.vpid || caps.invvpid_address || caps.invvpid_context);
	assert_false(caps.unrestricted_guest || caps.preemption_timer || caps.pause_loop);
	assert_false(caps.rdtscp || caps.invpcid);
	assert_true(caps.wbinvd && caps.tpr_shadow);
	assert_false(caps.load_efer || caps.load_pat);
	assert_false(caps.entry_len0);
	assert_int_equal(caps.features, BIT(9) | BIT(10));
}

/* A control that is missing is named, one that is there is not. */
static void test_needs(void **state)
{
	static const struct {
		size_t member;
		unsigned bit;
		const char *words;
	} rows[] = {
#define PIN offsetof(struct vmx_cap_msrs, pin)
#define PROC offsetof(struct vmx_cap_msrs, proc)
#define EXIT offsetof(struct vmx_cap_msrs, exit)
#define ENTRY offsetof(struct vmx_cap_msrs, entry)
		{ PIN, 0, "external-interrupt exiting" },
		{ PIN, 3, "NMI exiting" },
		{ PIN, 5, "virtual NMIs" },
		{ PROC, 2, "interrupt-window exiting" },
		{ PROC, 3, "TSC offsetting" },
		{ PROC, 7, "HLT exiting" },
		{ PROC, 9, "INVLPG exiting" },
		{ PROC, 10, "MWAIT exiting" },
		{ PROC, 11, "RDPMC exiting" },
		{ PROC, 15, "CR3-load exiting" },
		{ PROC, 16, "CR3-store exiting" },
		{ PROC, 19, "CR8-load exiting" },
		{ PROC, 20, "CR8-store exiting" },
		{ PROC, 22, "NMI-window exiting" },
		{ PROC, 25, "I/O bitmaps" },
		{ PROC, 28, "MSR bitmaps" },
		{ PROC, 29, "MONITOR exiting" },
		{ PROC, 23, "MOV-DR exiting" },
		{ EXIT, 2, "saving of debug controls" },
		{ EXIT, 9, "64-bit host" },
		{ EXIT, 15, "acknowledging of interrupts" },
		{ ENTRY, 2, "loading of debug controls" },
		{ ENTRY, 9, "IA-32e mode guest" },
	};
	const char *words;

	(void)state;
	for (size_t m = PIN; m <= ENTRY; m += sizeof(uint64_t)) {
		for (unsigned bit = 0; bit < 32; bit++) {
			const char *expected = NULL;

			for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
				if (rows[i].member == m && rows[i].bit == bit)
					expected = rows[i].words;
			msrs = haswell;
			*(uint64_t *)((char *)&msrs + m) &= ~BIT(32 + bit);
			words = fold(ALL_FEATURES);
			if (!expected && words)
				fail_msg("word %zu, bit %u: refused for %s", m, bit, words);
			if (!expected)
				continue;
			assert_non_null(words);
			assert_string_equal(words, expected);
		}
	}
}

static void test_needs_of_the_vmcs(void **state)
{
	static const struct {
		uint64_t clear, set;
		const char *words;
	} rows[] = {
		{ 0, BIT(48), "VMCS above 4 GiB" },
		{ BITS(53, 50), 0, "VMCS in write-back memory" },
		{ BITS(53, 50), BITS(52, 50), "VMCS in write-back memory" },
		{ BITS(54, 54), 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *words;

		msrs = haswell;
		msrs.basic = (msrs.basic & ~rows[i].clear) | rows[i].set;
		words = fold(ALL_FEATURES);
		if (!rows[i].words) {
			assert_null(words);
			assert_false(caps.insn_info_io);
			continue;
		}
		assert_non_null(words);
		assert_string_equal(words, rows[i].words);
	}
	memset(&msrs, 0, sizeof(msrs)); /* MSRs that are not there */
	assert_non_null(fold(ALL_FEATURES));
}

static void assert_no_ept(void)
{
	assert_null(fold(ALL_FEATURES));
	assert_false(caps.ept || caps.ept_1g || caps.invept_context || caps.unrestricted_guest);
	assert_true(caps.vpid);
	msrs = haswell;
}

/* Everything that EPT is of no use without. */
static void test_ept(void **state)
{
	static const unsigned cap_bits[] = { 6, 14, 16, 20, 26 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cap_bits); i++) {
		msrs.ept_vpid &= ~BIT(cap_bits[i]);
		assert_no_ept();
	}
	for (unsigned bit = 18; bit <= 21; bit++) { /* save and load PAT, save and load EFER */
		msrs.exit &= ~BIT(32 + bit);
		assert_no_ept();
	}
	for (unsigned bit = 14; bit <= 15; bit++) {
		msrs.entry &= ~BIT(32 + bit);
		assert_no_ept();
	}
	msrs.proc2 &= ~BIT(32 + 1);
	assert_no_ept();
}

static void test_ept_parts(void **state)
{
	(void)state;
	msrs.ept_vpid &= ~(BIT(17) | BIT(21) | BIT(25));
	assert_null(fold(ALL_FEATURES));
	assert_true(caps.ept && caps.unrestricted_guest);
	assert_false(caps.ept_1g || caps.ept_accessed_dirty || caps.invept_context);
	msrs = haswell;
	msrs.proc2 &= ~BIT(32 + 7);
	assert_null(fold(ALL_FEATURES));
	assert_true(caps.ept);
	assert_false(caps.unrestricted_guest);
}

static void test_vpid(void **state)
{
	static const unsigned cap_bits[] = { 32, 42 };

	(void)state;
	for (size_t i = 0; i <= ARRAY_SIZE(cap_bits); i++) {
		msrs = haswell;
		if (i < ARRAY_SIZE(cap_bits))
			msrs.ept_vpid &= ~BIT(cap_bits[i]);
		else
			msrs.proc2 &= ~BIT(32 + 5);
		assert_null(fold(ALL_FEATURES));
		assert_false(caps.vpid || caps.invvpid_address || caps.invvpid_context);
		assert_true(caps.ept);
	}
	msrs = haswell;
	msrs.ept_vpid &= ~(BIT(40) | BIT(41));
	assert_null(fold(ALL_FEATURES));
	assert_true(caps.vpid);
	assert_false(caps.invvpid_address || caps.invvpid_context);
}

/* Without the secondary controls none of them is there, whatever their MSR seems to say. */
static void test_no_secondary(void **state)
{
	(void)state;
	msrs.proc &= ~BIT(63);
	assert_null(fold(ALL_FEATURES));
	assert_int_equal(caps.proc2.may, 0);
	assert_false(caps.ept || caps.vpid || caps.unrestricted_guest || caps.pause_loop);
	assert_false(caps.rdtscp || caps.invpcid || caps.wbinvd);
}

static void test_other_gaps(void **state)
{
	(void)state;
	msrs.pin &= ~BIT(32 + 6);
	msrs.proc2 &= ~(BIT(32 + 10) | BIT(32 + 3) | BIT(32 + 12) | BIT(32 + 6));
	msrs.misc = 0x4000001f;
	assert_null(fold(ALL_FEATURES));
	assert_false(caps.preemption_timer || caps.pause_loop);
	assert_false(caps.rdtscp || caps.invpcid || caps.wbinvd);
	assert_true(caps.entry_len0);
	assert_int_equal(caps.timer_shift, 31);
	assert_int_equal(caps.features, BITS(11, 0) & ~(BIT(3) | BIT(5)));
}

/* vmx-features=: a bit that is left out, and what goes with it. */
static void test_mask(void **state)
{
	static const uint32_t lost[] = {
		BIT(0) | BIT(2) | BIT(4) | BIT(7), /* EPT */
		BIT(1) | BIT(6),                   /* VPID */
		BIT(2),
		BIT(3),
		BIT(4),
		BIT(5),
		BIT(6),
		BIT(7),
		BIT(8),
		BITS(14, 9), /* TPR shadow */
		BIT(10),
		BIT(11),
		BIT(12),
		BITS(14, 13), /* virtual interrupts */
		BIT(14),
	};

	(void)state;
	msrs.proc2 |= BITS(41, 40); /* APIC registers, virtual interrupts: bits 8 and 9 */
	msrs.pin |= BIT(39);        /* posted interrupts: bit 7 */
	for (unsigned i = 0; i < ARRAY_SIZE(lost); i++) {
		assert_null(fold(~(uint32_t)BIT(i)));
		assert_int_equal(caps.features, BITS(14, 0) & ~lost[i]);
		assert_int_equal(caps.ept, i != 0);
		assert_int_equal(caps.vpid, i != 1);
		assert_int_equal(caps.unrestricted_guest, i != 0 && i != 2);
		assert_int_equal(caps.preemption_timer, i != 3);
		assert_int_equal(caps.ept_1g, i != 0 && i != 4);
		assert_int_equal(caps.pause_loop, i != 5);
		assert_int_equal(caps.invvpid_context, i != 1 && i != 6);
		assert_int_equal(caps.invept_context, i != 0 && i != 7);
		assert_int_equal(caps.tpr_shadow, i != 9);
		assert_int_equal(caps.apic_accesses, i != 9 && i != 10);
		assert_int_equal(caps.x2apic_mode, i != 9 && i != 11);
		assert_int_equal(caps.apic_registers, i != 9 && i != 12);
		assert_int_equal(caps.virtual_interrupts, i != 9 && i != 13);
		assert_int_equal(caps.posted_interrupts, i != 9 && i < 13);
	}
	assert_null(fold(0));
	assert_int_equal(caps.features, 0);
}

static void test_control_word(void **state)
{
	(void)state;
	assert_null(fold(ALL_FEATURES));
	assert_int_equal(vmx_control_word(&caps.pin, 0), 0x16);
	assert_int_equal(vmx_control_word(&caps.pin, PIN_NMI | PIN_EXTERNAL_INTERRUPT), 0x1f);
	assert_int_equal(vmx_control_word(&caps.proc, PROC_SECONDARY), 0x84006172);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_haswell, setup),
		cmocka_unit_test_setup(test_penryn, setup),
		cmocka_unit_test_setup(test_needs, setup),
		cmocka_unit_test_setup(test_needs_of_the_vmcs, setup),
		cmocka_unit_test_setup(test_ept, setup),
		cmocka_unit_test_setup(test_ept_parts, setup),
		cmocka_unit_test_setup(test_vpid, setup),
		cmocka_unit_test_setup(test_no_secondary, setup),
		cmocka_unit_test_setup(test_other_gaps, setup),
		cmocka_unit_test_setup(test_mask, setup),
		cmocka_unit_test_setup(test_control_word, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
