/*
 * The rules of VM entry on controls and on the host's state. A sound VMCS of each mode breaks none;
 * then one field at a time is spoiled, and that field is named. In the end every rule was broken.
 */
#include "tests/host/fake_random.h"
#include "tests/host/vmx_image.h"

/* --- the modes --- */

static void test_sound(void **state)
{
	static void (*const modes[])(void) = { real_mode,    protected_16, protected_32,
					       virtual_8086, pae,          long_mode };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		modes[i]();
		SOUND();
		/* Data segments and LDTR may be unusable, with anything else in them. */
		if (GET(VMCS_GUEST_RFLAGS) & RFLAGS_VM)
			continue;
		for (unsigned reg = SEG_ES; reg <= SEG_GS; reg++)
			if (reg != SEG_CS && reg != SEG_SS)
				set_seg(reg, 3, 0x123, 0x12345678, UNUSABLE | 0xfff);
		set_seg(SEG_LDTR, 7, 1, 0, UNUSABLE);
		SOUND();
	}
	protected_32();
	without_ug();
	SOUND();
	pae();
	without_ug();
	SOUND();
	long_mode();
	without_ug();
	SOUND();
	/* Compatibility mode, ring 3. */
	set_six(0xffffffff, 0xc0fb, 0xc0f3);
	for (unsigned reg = SEG_ES; reg <= SEG_GS; reg++)
		SEG(reg, SEG_SELECTOR) |= 3;
	SET(VMCS_GUEST_RIP, 0x401000);
	SOUND();
}

static void test_real_needs_unrestricted_guest(void **state)
{
	(void)state;
	real_mode();
	without_ug();
	BREAKS(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0), "a bit that VMX fixes is another");
	real_mode();
	BREAKS(VMCS_PROC2_CONTROLS, PROC2_VPID | PROC2_UNRESTRICTED_GUEST,
	       "a control that needs EPT, without EPT");
}

/* --- 26.2.1 --- */

#define ONE "a bit that must be 1 is 0"
#define ZERO "a bit that must be 0 is 1"

static void test_control_words(void **state)
{
	(void)state;
	long_mode();
	BREAKS(VMCS_PIN_CONTROLS, GET(VMCS_PIN_CONTROLS) & ~BIT(1), ONE);
	BREAKS(VMCS_PIN_CONTROLS, GET(VMCS_PIN_CONTROLS) | BIT(8), ZERO);
	BREAKS(VMCS_PROC_CONTROLS, GET(VMCS_PROC_CONTROLS) & ~BIT(1), ONE);
	BREAKS(VMCS_PROC_CONTROLS, GET(VMCS_PROC_CONTROLS) | BIT(17), ZERO);
	BREAKS(VMCS_EXIT_CONTROLS, GET(VMCS_EXIT_CONTROLS) & ~BIT(0), ONE);
	BREAKS(VMCS_EXIT_CONTROLS, GET(VMCS_EXIT_CONTROLS) | BIT(24), ZERO);
	BREAKS(VMCS_ENTRY_CONTROLS, GET(VMCS_ENTRY_CONTROLS) & ~BIT(0), ONE);
	BREAKS(VMCS_ENTRY_CONTROLS, GET(VMCS_ENTRY_CONTROLS) | BIT(16), ZERO);
	BREAKS(VMCS_PROC2_CONTROLS, GET(VMCS_PROC2_CONTROLS) | BIT(24), ZERO);
	caps.proc2.must = BIT(3);
	BREAKS(VMCS_PROC2_CONTROLS, GET(VMCS_PROC2_CONTROLS), ONE);
	/* Without secondary controls theirs do not count. */
	protected_32();
	SET(VMCS_PROC_CONTROLS, GET(VMCS_PROC_CONTROLS) & ~PROC_SECONDARY);
	PASSES(VMCS_PROC2_CONTROLS, UINT32_MAX);
}

static void test_control_dependencies(void **state)
{
	uint64_t pin, proc, proc2;

	(void)state;
	long_mode();
	pin = GET(VMCS_PIN_CONTROLS);
	proc = GET(VMCS_PROC_CONTROLS);
	proc2 = GET(VMCS_PROC2_CONTROLS);
	BREAKS(VMCS_PIN_CONTROLS, pin & ~PIN_NMI, "virtual NMIs without NMI exiting");
	PASSES(VMCS_PIN_CONTROLS, pin & ~(PIN_NMI | PIN_VIRTUAL_NMIS));
	PASSES(VMCS_PROC_CONTROLS, proc | PROC_NMI_WINDOW);
	SET(VMCS_PIN_CONTROLS, pin & ~PIN_VIRTUAL_NMIS);
	BREAKS(VMCS_PROC_CONTROLS, proc | PROC_NMI_WINDOW,
	       "NMI-window exiting without virtual NMIs");
	SET(VMCS_PIN_CONTROLS, pin);
	for (unsigned bit = 4; bit <= 9; bit++)
		if (bit == 4 || bit >= 8)
			BREAKS(VMCS_PROC2_CONTROLS, proc2 | BIT(bit),
			       "APIC virtualization without TPR shadow");
	BREAKS(VMCS_PIN_CONTROLS, pin | BIT(7),
	       "posted interrupts without virtual-interrupt delivery or acknowledgement on exit");
	BREAKS(VMCS_PROC2_CONTROLS, proc2 & ~PROC2_EPT, "a control that needs EPT, without EPT");
	without_ug();
	for (unsigned bit = 17; bit <= 23; bit++)
		if (bit == 17 || bit >= 22)
			BREAKS(VMCS_PROC2_CONTROLS, PROC2_VPID | BIT(bit),
			       "a control that needs EPT, without EPT");
	PASSES(VMCS_PROC2_CONTROLS, PROC2_VPID);
	BREAKS(VMCS_EXIT_CONTROLS, GET(VMCS_EXIT_CONTROLS) | EXIT_CTL_SAVE_TIMER,
	       "the preemption timer is saved but not on");
	SET(VMCS_PIN_CONTROLS, pin | PIN_PREEMPTION_TIMER);
	PASSES(VMCS_EXIT_CONTROLS, GET(VMCS_EXIT_CONTROLS) | EXIT_CTL_SAVE_TIMER);
	BREAKS(VMCS_ENTRY_CONTROLS, GET(VMCS_ENTRY_CONTROLS) | ENTRY_CTL_SMM,
	       "entry to SMM, or out of dual-monitor treatment");
	BREAKS(VMCS_ENTRY_CONTROLS, GET(VMCS_ENTRY_CONTROLS) | ENTRY_CTL_DUAL_MONITOR,
	       "entry to SMM, or out of dual-monitor treatment");
}

static void test_apic_controls(void **state)
{
	uint64_t pin, proc2;

	(void)state;
	long_mode();
	pin = GET(VMCS_PIN_CONTROLS);
	proc2 = GET(VMCS_PROC2_CONTROLS);
	SET(VMCS_PROC_CONTROLS, GET(VMCS_PROC_CONTROLS) | PROC_TPR_SHADOW);
	SET(VMCS_TPR_THRESHOLD, 15);
	SOUND();
	BREAKS(VMCS_TPR_THRESHOLD, 16, "bits 31:4 are not zero");
	BREAKS(VMCS_VIRTUAL_APIC_ADDR, 0x6008, "not the address of a page");
	PASSES(VMCS_APIC_ACCESS_ADDR, 0x6008);
	PASSES(VMCS_PROC2_CONTROLS, proc2 | PROC2_X2APIC_MODE);
	PASSES(VMCS_PROC2_CONTROLS, proc2 | PROC2_APIC_ACCESSES);
	BREAKS(VMCS_PROC2_CONTROLS, proc2 | PROC2_X2APIC_MODE | PROC2_APIC_ACCESSES,
	       "x2APIC mode and APIC accesses both virtualized");
	SET(VMCS_PROC2_CONTROLS, proc2 | PROC2_APIC_ACCESSES);
	PASSES(VMCS_APIC_ACCESS_ADDR, 0x6000);
	BREAKS(VMCS_APIC_ACCESS_ADDR, 0x6008, "not the address of a page");
	BREAKS(VMCS_APIC_ACCESS_ADDR, BIT(PHYS), "not the address of a page");
	SET(VMCS_PROC2_CONTROLS, proc2);
	PASSES(VMCS_PROC2_CONTROLS, proc2 | BIT(9));
	PASSES(VMCS_POSTED_INTERRUPT_VECTOR, 0x100);
	PASSES(VMCS_POSTED_INTERRUPT_DESCRIPTOR, 0x6020);
	SET(VMCS_PROC2_CONTROLS, proc2 | BIT(9));
	SET(VMCS_PIN_CONTROLS, pin | BIT(7));
	BREAKS(VMCS_PIN_CONTROLS, pin | BIT(7),
	       "posted interrupts without virtual-interrupt delivery or acknowledgement on exit");
	SET(VMCS_EXIT_CONTROLS, GET(VMCS_EXIT_CONTROLS) | EXIT_CTL_ACK_INTERRUPT);
	PASSES(VMCS_POSTED_INTERRUPT_VECTOR, 0xff);
	BREAKS(VMCS_POSTED_INTERRUPT_VECTOR, 0x100, "bits 15:8 are not zero");
	PASSES(VMCS_POSTED_INTERRUPT_DESCRIPTOR, 0x6040);
	BREAKS(VMCS_POSTED_INTERRUPT_DESCRIPTOR, 0x6020, "not aligned to 64 bytes, or no memory");
	BREAKS(VMCS_POSTED_INTERRUPT_DESCRIPTOR, BIT(PHYS),
	       "not aligned to 64 bytes, or no memory");
	SET(VMCS_PIN_CONTROLS, pin);
	SET(VMCS_PROC2_CONTROLS, proc2);
	SET(VMCS_PIN_CONTROLS, GET(VMCS_PIN_CONTROLS) & ~PIN_EXTERNAL_INTERRUPT);
	BREAKS(VMCS_PROC2_CONTROLS, proc2 | BIT(9),
	       "virtual-interrupt delivery without external-interrupt exiting");
}

static void test_addresses(void **state)
{
	static const enum vmcs_index pages[] = { INDEX_VMCS_IO_BITMAP_A, INDEX_VMCS_IO_BITMAP_B,
						 INDEX_VMCS_MSR_BITMAP };
	const struct {
		enum vmcs_index addr, count;
	} areas[] = {
		{ INDEX_VMCS_EXIT_MSR_STORE_ADDR, INDEX_VMCS_EXIT_MSR_STORE_COUNT },
		{ INDEX_VMCS_EXIT_MSR_LOAD_ADDR, INDEX_VMCS_EXIT_MSR_LOAD_COUNT },
		{ INDEX_VMCS_ENTRY_MSR_LOAD_ADDR, INDEX_VMCS_ENTRY_MSR_LOAD_COUNT },
	};
	const char *page = "not the address of a page",
		   *area = "no aligned area of physical memory";

	(void)state;
	long_mode();
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
		breaks_at(__LINE__, pages[i], 0x2001, page);
		breaks_at(__LINE__, pages[i], 0x2800, page);
		breaks_at(__LINE__, pages[i], BIT(PHYS), page);
		passes_at(__LINE__, pages[i], BIT(PHYS) - PAGE_SIZE);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(areas); i++) {
		passes_at(__LINE__, areas[i].addr, 1); /* none to load or store */
		img.field[areas[i].count] = 2;
		SOUND();
		breaks_at(__LINE__, areas[i].addr, 0x1008, area);
		breaks_at(__LINE__, areas[i].addr, BIT(PHYS) - 16, area);
		breaks_at(__LINE__, areas[i].addr, BIT(PHYS), area);
		passes_at(__LINE__, areas[i].addr, BIT(PHYS) - 32);
	}
	SET(VMCS_PROC_CONTROLS, GET(VMCS_PROC_CONTROLS) & ~(PROC_IO_BITMAPS | PROC_MSR_BITMAPS));
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		passes_at(__LINE__, pages[i], 1);
}

static void test_ept_vpid(void **state)
{
	const char *words = "no type, walk length or address that EPT has";
	uint64_t eptp;

	(void)state;
	long_mode();
	eptp = GET(VMCS_EPT_POINTER);
	BREAKS(VMCS_VPID, 0, "zero");
	BREAKS(VMCS_CR3_TARGET_COUNT, 5, "more than four CR3-target values");
	PASSES(VMCS_CR3_TARGET_COUNT, 4);
	BREAKS(VMCS_EPT_POINTER, (eptp & ~UINT64_C(7)) | 1, words);
	PASSES(VMCS_EPT_POINTER, eptp & ~UINT64_C(7)); /* uncacheable */
	BREAKS(VMCS_EPT_POINTER, (eptp & ~BITS(5, 3)) | 2 << EPTP_WALK_SHIFT, words);
	BREAKS(VMCS_EPT_POINTER, eptp | BIT(7), words);
	BREAKS(VMCS_EPT_POINTER, eptp | BIT(11), words);
	BREAKS(VMCS_EPT_POINTER, eptp | BIT(PHYS), words);
	PASSES(VMCS_EPT_POINTER, eptp | EPTP_ACCESSED_DIRTY);
	caps.ept_accessed_dirty = false;
	BREAKS(VMCS_EPT_POINTER, eptp | EPTP_ACCESSED_DIRTY,
	       "accessed and dirty flags, which EPT has not here");
	SET(VMCS_PROC2_CONTROLS, 0);
	PASSES(VMCS_VPID, 0);
	PASSES(VMCS_EPT_POINTER, 1);
}

static void test_event_fields(void **state)
{
	const char *type = "a type of event that there is not";
	const char *vector = "a vector that its type has not";
	const char *error = "an error code where none is due, or the reverse";

	(void)state;
	long_mode();
	SET(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
	PASSES(VMCS_ENTRY_INTR_INFO, 0x7fffffff); /* not valid */
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x130, type);
	PASSES(VMCS_ENTRY_INTR_INFO, VALID | 0x700);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x701, vector);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x203, vector);
	PASSES(VMCS_ENTRY_INTR_INFO, VALID | 0x202);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x320, vector);
	PASSES(VMCS_ENTRY_INTR_INFO, VALID | 0x31f);
	PASSES(VMCS_ENTRY_INTR_INFO, VALID | 0x0ff);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x30d, error);
	PASSES(VMCS_ENTRY_INTR_INFO, VALID | 0xb0d);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0xb06, error);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x82e, error);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x02e | BIT(12), "bits 30:12 are not zero");
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x02e | BIT(30), "bits 30:12 are not zero");
	SET(VMCS_ENTRY_INTR_INFO, VALID | 0xb0e);
	PASSES(VMCS_ENTRY_EXCEPTION_ERROR, 0xffff);
	BREAKS(VMCS_ENTRY_EXCEPTION_ERROR, 0x10000, "bits 31:16 are not zero");
	caps.proc.may &= (uint32_t)~PROC_MONITOR_TRAP;
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0x700, type);
	real_mode(); /* no error codes there */
	PASSES(VMCS_ENTRY_INTR_INFO, VALID | 0x30d);
	BREAKS(VMCS_ENTRY_INTR_INFO, VALID | 0xb0d, error);
}

static void test_event_len(void **state)
{
	(void)state;
	long_mode();
	for (uint64_t type = 4; type <= 6; type++) {
		SET(VMCS_ENTRY_INTR_INFO, VALID | type << 8 | 3);
		BREAKS(VMCS_ENTRY_INSN_LEN, 0, "no length of an instruction");
		BREAKS(VMCS_ENTRY_INSN_LEN, 16, "no length of an instruction");
		PASSES(VMCS_ENTRY_INSN_LEN, 1);
		PASSES(VMCS_ENTRY_INSN_LEN, 15);
		caps.entry_len0 = true;
		PASSES(VMCS_ENTRY_INSN_LEN, 0);
		BREAKS(VMCS_ENTRY_INSN_LEN, 16, "no length of an instruction");
		caps.entry_len0 = false;
	}
	SET(VMCS_ENTRY_INTR_INFO, VALID | 0x306);
	PASSES(VMCS_ENTRY_INSN_LEN, 0);
}

/* --- 26.2.2 to 26.2.4 --- */

static void test_host_registers(void **state)
{
	uint64_t cr4;

	(void)state;
	long_mode();
	cr4 = GET(VMCS_HOST_CR4);
	BREAKS(VMCS_HOST_CR0, GET(VMCS_HOST_CR0) & ~CR0_NE, FIXED);
	BREAKS(VMCS_HOST_CR0, GET(VMCS_HOST_CR0) | BIT(32), FIXED);
	PASSES(VMCS_HOST_CR0, GET(VMCS_HOST_CR0) | CR0_CD | CR0_NW);
	caps.cr0_fixed1 &= ~(CR0_CD | CR0_NW);
	PASSES(VMCS_HOST_CR0, GET(VMCS_HOST_CR0) | CR0_CD | CR0_NW);
	BREAKS(VMCS_HOST_CR4, cr4 & ~CR4_VMXE, FIXED);
	BREAKS(VMCS_HOST_CR4, cr4 | BIT(25), FIXED);
	BREAKS(VMCS_HOST_CR4, cr4 & ~CR4_PAE, "PAE is clear in a 64-bit host");
	PASSES(VMCS_HOST_CR4, cr4 | CR4_CET);
	SET(VMCS_HOST_CR0, GET(VMCS_HOST_CR0) & ~CR0_WP);
	BREAKS(VMCS_HOST_CR4, cr4 | CR4_CET, "CET without CR0.WP");
	BREAKS(VMCS_HOST_CR3, BIT(PHYS), "beyond physical memory");
	BREAKS(VMCS_HOST_CR3, BIT(63), "beyond physical memory");
	BREAKS(VMCS_HOST_SYSENTER_ESP, NOT_CANONICAL, CANON);
	BREAKS(VMCS_HOST_SYSENTER_EIP, NOT_CANONICAL, CANON);
	BREAKS(VMCS_HOST_RIP, NOT_CANONICAL, CANON);
	BREAKS(VMCS_HOST_FS_BASE, NOT_CANONICAL, CANON);
	BREAKS(VMCS_HOST_GS_BASE, NOT_CANONICAL, CANON);
	BREAKS(VMCS_HOST_TR_BASE, NOT_CANONICAL, CANON);
	BREAKS(VMCS_HOST_GDTR_BASE, NOT_CANONICAL, CANON);
	BREAKS(VMCS_HOST_IDTR_BASE, BIT(63), CANON);
}

static void test_host_msrs(void **state)
{
	const char *mode = "LMA or LME does not fit the host's address-space size";
	uint64_t exit;

	(void)state;
	long_mode();
	BREAKS(VMCS_HOST_PAT, 0x02, "an undefined type");
	BREAKS(VMCS_HOST_PAT, UINT64_C(8) << 56, "an undefined type");
	BREAKS(VMCS_HOST_EFER, GET(VMCS_HOST_EFER) | BIT(1), "a reserved bit is set");
	BREAKS(VMCS_HOST_EFER, GET(VMCS_HOST_EFER) | EFER_SVME, "a reserved bit is set");
	BREAKS(VMCS_HOST_EFER, GET(VMCS_HOST_EFER) & ~EFER_LMA, mode);
	BREAKS(VMCS_HOST_EFER, GET(VMCS_HOST_EFER) & ~EFER_LME, mode);
	exit = GET(VMCS_EXIT_CONTROLS) & ~(EXIT_CTL_LOAD_EFER | EXIT_CTL_LOAD_PAT);
	SET(VMCS_EXIT_CONTROLS, exit);
	PASSES(VMCS_HOST_PAT, 0x02);
	PASSES(VMCS_HOST_EFER, BIT(1));
	BREAKS(VMCS_EXIT_CONTROLS, exit & ~EXIT_CTL_HOST_LONG_MODE,
	       "the host's address-space size is not that of long mode");
}

static void test_host_selectors(void **state)
{
	static const enum vmcs_index selectors[] = {
		INDEX_VMCS_HOST_ES_SELECTOR, INDEX_VMCS_HOST_CS_SELECTOR,
		INDEX_VMCS_HOST_SS_SELECTOR, INDEX_VMCS_HOST_DS_SELECTOR,
		INDEX_VMCS_HOST_FS_SELECTOR, INDEX_VMCS_HOST_GS_SELECTOR,
		INDEX_VMCS_HOST_TR_SELECTOR,
	};

	(void)state;
	long_mode();
	for (unsigned i = 0; i < ARRAY_SIZE(selectors); i++)
		for (unsigned bit = 0; bit <= 2; bit++)
			breaks_at(__LINE__, selectors[i], 0x18 | BIT(bit), "TI or RPL is not zero");
	BREAKS(VMCS_HOST_CS_SELECTOR, 0, "null");
	BREAKS(VMCS_HOST_TR_SELECTOR, 0, "null");
	PASSES(VMCS_HOST_SS_SELECTOR, 0);
	SET(VMCS_EXIT_CONTROLS,
	    GET(VMCS_EXIT_CONTROLS) & ~(EXIT_CTL_HOST_LONG_MODE | EXIT_CTL_LOAD_EFER));
	BREAKS(VMCS_HOST_SS_SELECTOR, 0, "null, in a 32-bit host");
}

/* --- the tables --- */

/* Whatever a VMCS holds, the auditor comes to an end. */
static void test_anything(void **state)
{
	uint64_t seed = 1;

	(void)state;
	make_caps();
	for (unsigned n = 0; n < 2000; n++) {
		for (unsigned i = 0; i < VMCS_INDEXES; i++) {
			img.field[i] = fake_random64(&seed);
		}
		assert_non_null(vmx_check_vmcs(&img, &lim).field);
	}
}

static void test_fields(void **state)
{
	static const enum vmcs_index optional[] = {
		INDEX_VMCS_VPID,
		INDEX_VMCS_EPT_POINTER,
		INDEX_VMCS_GUEST_PHYSICAL_ADDRESS,
		INDEX_VMCS_GUEST_PDPTE0,
		INDEX_VMCS_GUEST_PDPTE3,
		INDEX_VMCS_PLE_GAP,
		INDEX_VMCS_PLE_WINDOW,
		INDEX_VMCS_PROC2_CONTROLS,
		INDEX_VMCS_MSR_BITMAP,
		INDEX_VMCS_TPR_THRESHOLD,
		INDEX_VMCS_VIRTUAL_APIC_ADDR,
		INDEX_VMCS_APIC_ACCESS_ADDR,
		INDEX_VMCS_GUEST_INTERRUPT_STATUS,
		INDEX_VMCS_EOI_EXIT_BITMAP0,
		INDEX_VMCS_EOI_EXIT_BITMAP3,
		INDEX_VMCS_POSTED_INTERRUPT_VECTOR,
		INDEX_VMCS_POSTED_INTERRUPT_DESCRIPTOR,
		INDEX_VMCS_PREEMPTION_TIMER,
		INDEX_VMCS_GUEST_PAT,
		INDEX_VMCS_GUEST_EFER,
		INDEX_VMCS_HOST_PAT,
		INDEX_VMCS_HOST_EFER,
	};
	static const struct vmx_caps none;
	unsigned absent = 0;

	(void)state;
	make_caps();
	assert_string_equal(vmx_field_info(INDEX_VMCS_GUEST_CS_RIGHTS)->name,
			    "VMCS_GUEST_CS_RIGHTS");
	assert_int_equal(vmx_field_info(INDEX_VMCS_GUEST_CS_RIGHTS)->encoding, 0x4816);
	for (unsigned i = 0; i < ARRAY_SIZE(optional); i++) {
		assert_true(vmx_field_there(optional[i], &caps));
		assert_false(vmx_field_there(optional[i], &none));
	}
	for (unsigned i = 0; i < VMCS_INDEXES; i++)
		absent += !vmx_field_there(i, &none);
	assert_int_equal(absent, ARRAY_SIZE(optional) + 4); /* PDPTE1 and 2, two bitmaps */
}

/* Runs last. */
static void test_every_rule_was_broken(void **state)
{
	(void)state;
	all_were_broken(&vmx_control_rules);
	all_were_broken(&vmx_host_rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_real_needs_unrestricted_guest),
		cmocka_unit_test(test_control_words),
		cmocka_unit_test(test_control_dependencies),
		cmocka_unit_test(test_apic_controls),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_ept_vpid),
		cmocka_unit_test(test_event_fields),
		cmocka_unit_test(test_event_len),
		cmocka_unit_test(test_host_registers),
		cmocka_unit_test(test_host_msrs),
		cmocka_unit_test(test_host_selectors),
		cmocka_unit_test(test_anything),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_every_rule_was_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
