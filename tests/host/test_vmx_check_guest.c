/* The rules of VM entry on the guest's state, as test_vmx_check.c has the others. */
#include "tests/host/vmx_image.h"

/* --- 26.3.1.1 and 26.3.1.3 --- */

static void test_guest_control_registers(void **state)
{
	(void)state;
	real_mode();
	BREAKS(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) & ~CR0_NE, FIXED);
	BREAKS(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) | BIT(32), FIXED);
	BREAKS(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) | CR0_PG, "PG without PE");
	PASSES(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) | CR0_CD | CR0_NW);
	PASSES(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) | CR0_PE);
	BREAKS(VMCS_GUEST_CR4, 0, FIXED);
	BREAKS(VMCS_GUEST_CR4, CR4_VMXE | BIT(19), FIXED);
	BREAKS(VMCS_GUEST_CR4, CR4_VMXE | CR4_CET, "CET without CR0.WP");
	BREAKS(VMCS_GUEST_CR4, CR4_VMXE | CR4_PCIDE, "PCIDE outside IA-32e mode");
	BREAKS(VMCS_GUEST_CR3, BIT(PHYS), "beyond physical memory");
	PASSES(VMCS_GUEST_CR3, BITS(PHYS - 1, 0));
	protected_32();
	without_ug();
	BREAKS(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) & ~CR0_PG, FIXED);
	BREAKS(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) & ~CR0_PE, FIXED);
	long_mode();
	BREAKS(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) & ~CR0_PG, "no PG in an IA-32e mode guest");
	BREAKS(VMCS_GUEST_CR4, CR4_VMXE, "no PAE in an IA-32e mode guest");
}

static void test_guest_msrs(void **state)
{
	uint64_t efer, entry;

	(void)state;
	long_mode();
	efer = GET(VMCS_GUEST_EFER);
	entry = GET(VMCS_ENTRY_CONTROLS);
	BREAKS(VMCS_GUEST_DEBUGCTL, BIT(3), "a reserved bit is set");
	BREAKS(VMCS_GUEST_DEBUGCTL, BIT(16), "a reserved bit is set");
	PASSES(VMCS_GUEST_DEBUGCTL, BIT(0) | BIT(1) | BIT(11));
	BREAKS(VMCS_GUEST_DR7, DR7_INIT | BIT(32), "bits 63:32 are not zero");
	BREAKS(VMCS_GUEST_SYSENTER_ESP, NOT_CANONICAL, CANON);
	BREAKS(VMCS_GUEST_SYSENTER_EIP, NOT_CANONICAL, CANON);
	BREAKS(VMCS_GUEST_PAT, UINT64_C(3) << 32, "an undefined type");
	BREAKS(VMCS_GUEST_EFER, efer | EFER_FFXSR, "a reserved bit is set");
	BREAKS(VMCS_GUEST_EFER, efer & ~EFER_LMA, "LMA is not the IA-32e mode guest control");
	BREAKS(VMCS_GUEST_EFER, efer & ~EFER_LME, "LME is not LMA, with paging on");
	SET(VMCS_ENTRY_CONTROLS, entry & ~(ENTRY_CTL_LOAD_EFER | ENTRY_CTL_LOAD_PAT));
	PASSES(VMCS_GUEST_EFER, BIT(1));
	PASSES(VMCS_GUEST_PAT, 2);
	SET(VMCS_ENTRY_CONTROLS, entry & ~ENTRY_CTL_LOAD_DEBUG);
	PASSES(VMCS_GUEST_DEBUGCTL, BIT(3));
	PASSES(VMCS_GUEST_DR7, BIT(32));
	real_mode();
	PASSES(VMCS_GUEST_EFER, EFER_LME); /* not active without paging */
	BREAKS(VMCS_GUEST_EFER, EFER_LMA, "LMA is not the IA-32e mode guest control");
	protected_32();
	BREAKS(VMCS_GUEST_EFER, EFER_LME, "LME is not LMA, with paging on");
}

static void test_descriptor_tables(void **state)
{
	(void)state;
	long_mode();
	BREAKS(VMCS_GUEST_GDTR_BASE, NOT_CANONICAL, CANON);
	BREAKS(VMCS_GUEST_IDTR_BASE, NOT_CANONICAL, CANON);
	BREAKS(VMCS_GUEST_GDTR_LIMIT, 0x10000, "bits 31:16 are not zero");
	BREAKS(VMCS_GUEST_IDTR_LIMIT, 0x10000, "bits 31:16 are not zero");
	/* Wider linear addresses make it canonical. */
	lim.linear_bits = 57;
	PASSES(VMCS_GUEST_GDTR_BASE, NOT_CANONICAL);
	BREAKS(VMCS_GUEST_GDTR_BASE, BIT(57), CANON);
}

/* --- 26.3.1.2 --- */

static void test_virtual_8086_segments(void **state)
{
	(void)state;
	virtual_8086();
	for (unsigned reg = SEG_ES; reg <= SEG_GS; reg++) {
		BREAKS_SEG(reg, SEG_BASE, 0x12341,
			   "not 16 times the selector in virtual-8086 mode");
		BREAKS_SEG(reg, SEG_BASE, 0, "not 16 times the selector in virtual-8086 mode");
		BREAKS_SEG(reg, SEG_LIMIT, 0xfffff, "not 64 KiB in virtual-8086 mode");
		BREAKS_SEG(reg, SEG_RIGHTS, 0x93, "not those of virtual-8086 mode");
		BREAKS_SEG(reg, SEG_RIGHTS, UNUSABLE | 0xf3, "not those of virtual-8086 mode");
	}
}

static void test_selectors(void **state)
{
	(void)state;
	long_mode();
	BREAKS_SEG(SEG_TR, SEG_SELECTOR, 0x2c, "TI is set");
	BREAKS_SEG(SEG_LDTR, SEG_SELECTOR, 0x24, "TI is set");
	SEG(SEG_LDTR, SEG_RIGHTS) |= UNUSABLE;
	PASSES_SEG(SEG_LDTR, SEG_SELECTOR, 0x24);
	PASSES_SEG(SEG_SS, SEG_SELECTOR, 0x13);
	without_ug();
	BREAKS_SEG(SEG_SS, SEG_SELECTOR, 0x13, "RPL is not that of CS");
}

static void test_bases(void **state)
{
	static const unsigned wide[] = { SEG_FS, SEG_GS, SEG_TR, SEG_LDTR };
	static const unsigned narrow[] = { SEG_CS, SEG_SS, SEG_DS, SEG_ES };

	(void)state;
	long_mode();
	for (unsigned i = 0; i < ARRAY_SIZE(wide); i++) {
		BREAKS_SEG(wide[i], SEG_BASE, NOT_CANONICAL, CANON);
		PASSES_SEG(wide[i], SEG_BASE, UINT64_C(0xffff800000000000));
		if (wide[i] == SEG_TR)
			continue;
		SEG(wide[i], SEG_RIGHTS) |= UNUSABLE;
		if (wide[i] == SEG_LDTR)
			PASSES_SEG(wide[i], SEG_BASE, NOT_CANONICAL);
		else
			BREAKS_SEG(wide[i], SEG_BASE, NOT_CANONICAL, CANON);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(narrow); i++) {
		BREAKS_SEG(narrow[i], SEG_BASE, BIT(32), "bits 63:32 are not zero");
		PASSES_SEG(narrow[i], SEG_BASE, BITS(31, 0));
	}
}

/* Type, S, P and the reserved bits of the registers that a descriptor fills. */
static void test_rights(void **state)
{
	(void)state;
	long_mode();
	for (unsigned reg = SEG_ES; reg <= SEG_TR; reg++) {
		uint64_t rights = SEG(reg, SEG_RIGHTS);
		const char *s = reg >= SEG_LDTR ? "S is set" : "S is clear";

		BREAKS_SEG(reg, SEG_RIGHTS, rights ^ SEG_ATTR_S, s);
		BREAKS_SEG(reg, SEG_RIGHTS, rights & ~(uint64_t)SEG_ATTR_P, "P is clear");
		BREAKS_SEG(reg, SEG_RIGHTS, rights | BIT(8), "a reserved bit is set");
		BREAKS_SEG(reg, SEG_RIGHTS, rights | BIT(11), "a reserved bit is set");
		BREAKS_SEG(reg, SEG_RIGHTS, rights | BIT(17), "a reserved bit is set");
		BREAKS_SEG(reg, SEG_RIGHTS, rights | BIT(31), "a reserved bit is set");
		PASSES_SEG(reg, SEG_RIGHTS, rights | BIT(12));
	}
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, RIGHTS_CODE64 | BIT(14),
		   "L and D/B both set in IA-32e mode");
	BREAKS_SEG(SEG_TR, SEG_RIGHTS, UNUSABLE | 0x8b, "unusable");
	SEG(SEG_CS, SEG_RIGHTS) |= UNUSABLE; /* which means nothing for CS */
	SOUND();
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, UNUSABLE, "a type that CS cannot have");
}

static void test_types(void **state)
{
	static const unsigned data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	const char *bad = "not accessed, or not readable";

	(void)state;
	protected_32();
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		BREAKS_SEG(data[i], SEG_RIGHTS, 0xc092, bad); /* not accessed */
		BREAKS_SEG(data[i], SEG_RIGHTS, 0xc099, bad); /* execute only */
		PASSES_SEG(data[i], SEG_RIGHTS, 0xc091);
		PASSES_SEG(data[i], SEG_RIGHTS, 0xc09b);
		PASSES_SEG(data[i], SEG_RIGHTS, 0xc09f);
	}
	BREAKS_SEG(SEG_SS, SEG_RIGHTS, 0xc091, "a type that SS cannot have");
	BREAKS_SEG(SEG_SS, SEG_RIGHTS, 0xc09b, "a type that SS cannot have");
	PASSES_SEG(SEG_SS, SEG_RIGHTS, 0xc097);
	PASSES_SEG(SEG_SS, SEG_RIGHTS, UNUSABLE);
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, 0xc09a, "a type that CS cannot have");
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, 0xc091, "a type that CS cannot have");
	PASSES_SEG(SEG_CS, SEG_RIGHTS, 0xc099);
	PASSES_SEG(SEG_CS, SEG_RIGHTS, 0xc093); /* as real mode has it */
	without_ug();
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, 0xc093, "a type that CS cannot have");
}

static void test_privilege(void **state)
{
	const char *code = "a DPL that does not fit the type and SS";
	const char *stack = "a DPL that does not fit the RPL, CS or CR0.PE";
	static const unsigned data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	(void)state;
	protected_32();
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, 0xc0bb, code);
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, 0xc0bf, code); /* conforming: not above SS */
	BREAKS_SEG(SEG_CS, SEG_RIGHTS, 0xc0b3, code); /* data: 0 */
	PASSES_SEG(SEG_CS, SEG_RIGHTS, 0xc09f);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		PASSES_SEG(data[i], SEG_SELECTOR, 0x13);
	without_ug();
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		unsigned reg = data[i];

		SEG(reg, SEG_SELECTOR) = 0x12;
		BREAKS_SEG(reg, SEG_RIGHTS, 0xc0b3, "a DPL less than the RPL");
		PASSES_SEG(reg, SEG_RIGHTS, 0xc0d3);
		PASSES_SEG(reg, SEG_RIGHTS, 0xc09f); /* conforming */
		PASSES_SEG(reg, SEG_RIGHTS, UNUSABLE);
		SEG(reg, SEG_SELECTOR) = 0x10;
	}
	/* A conforming CS lets SS have any DPL, but SS's own RPL. */
	SEG(SEG_CS, SEG_RIGHTS) = 0xc09f;
	BREAKS_SEG(SEG_SS, SEG_RIGHTS, 0xc0f3, stack);
	BREAKS_SEG(SEG_SS, SEG_RIGHTS, UNUSABLE | 0x60, stack);
	real_mode();
	SEG(SEG_CS, SEG_RIGHTS) = 0x9f;
	BREAKS_SEG(SEG_SS, SEG_RIGHTS, 0xf3, stack);
	SET(VMCS_GUEST_CR0, GET(VMCS_GUEST_CR0) | CR0_PE);
	PASSES_SEG(SEG_SS, SEG_RIGHTS, 0xf3);
	SEG(SEG_CS, SEG_RIGHTS) = 0x93;
	BREAKS_SEG(SEG_SS, SEG_RIGHTS, 0xf3, stack);
}

static void test_system_segments(void **state)
{
	(void)state;
	protected_32();
	PASSES_SEG(SEG_TR, SEG_RIGHTS, 0x83);
	BREAKS_SEG(SEG_TR, SEG_RIGHTS, 0x89, "no busy TSS");
	BREAKS_SEG(SEG_LDTR, SEG_RIGHTS, 0x83, "no LDT");
	long_mode();
	BREAKS_SEG(SEG_TR, SEG_RIGHTS, 0x83, "no busy TSS");
	virtual_8086(); /* which does not change these two */
	BREAKS_SEG(SEG_TR, SEG_RIGHTS, 0x89, "no busy TSS");
	BREAKS_SEG(SEG_LDTR, SEG_RIGHTS, 0x83, "no LDT");
	SEG(SEG_TR, SEG_LIMIT) = 0x100000;
	BREAKS_SEG(SEG_TR, SEG_RIGHTS, 0x8b, "G does not fit the limit");
}

/* A rule on the rights; the limit is what is spoiled, or the bit. */
static void breaks_granularity(unsigned reg, uint64_t limit, uint64_t rights)
{
	SEG(reg, SEG_LIMIT) = limit;
	BREAKS_SEG(reg, SEG_RIGHTS, rights, "G does not fit the limit");
}

static void test_granularity(void **state)
{
	(void)state;
	protected_32();
	for (unsigned reg = SEG_ES; reg <= SEG_TR; reg++) {
		uint64_t rights = SEG(reg, SEG_RIGHTS) & ~BIT(15);

		breaks_granularity(reg, 0xffffe, rights | BIT(15));
		breaks_granularity(reg, 0xfff0fff, rights);
		SEG(reg, SEG_LIMIT) = 0xfffff; /* both ways say this */
		PASSES_SEG(reg, SEG_RIGHTS, rights);
		PASSES_SEG(reg, SEG_RIGHTS, rights | BIT(15));
		SEG(reg, SEG_RIGHTS) = rights;
	}
}

/* --- 26.3.1.4 --- */

static void test_rip_rflags(void **state)
{
	const char *high = "bits 63:32 are not zero outside 64-bit code";
	const char *reserved = "a reserved bit is another";

	(void)state;
	protected_32();
	BREAKS(VMCS_GUEST_RIP, BIT(32), high);
	long_mode();
	BREAKS(VMCS_GUEST_RIP, NOT_CANONICAL, "beyond linear addresses");
	PASSES(VMCS_GUEST_RIP, BIT(47)); /* not canonical, and yet let through */
	PASSES(VMCS_GUEST_RIP, BITS(63, 48));
	BREAKS(VMCS_GUEST_RFLAGS, 0, reserved);
	BREAKS(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | BIT(3), reserved);
	BREAKS(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | BIT(5), reserved);
	BREAKS(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | BIT(15), reserved);
	BREAKS(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | BIT(22), reserved);
	BREAKS(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | BIT(63), reserved);
	PASSES(VMCS_GUEST_RFLAGS, BITS(21, 0) & ~(BIT(17) | BIT(15) | BIT(5) | BIT(3)));
	SEG(SEG_CS, SEG_RIGHTS) = RIGHTS_CODE32; /* compatibility mode */
	SEG(SEG_CS, SEG_LIMIT) = 0xffffffff;
	BREAKS(VMCS_GUEST_RIP, BIT(32), high);
	PASSES(VMCS_GUEST_RIP, BITS(31, 0));
	SET(VMCS_GUEST_RIP, 0);
	SET(VMCS_ENTRY_INTR_INFO, VALID | 0x30);
	BREAKS(VMCS_GUEST_RFLAGS, RFLAGS_FIXED, "an external interrupt is injected with IF clear");
	PASSES(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
}

static void test_virtual_8086_flag(void **state)
{
	static void (*const modes[])(void) = { real_mode, long_mode };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		modes[i]();
		for (unsigned reg = SEG_ES; reg <= SEG_GS; reg++)
			set_seg(reg, 0x1234, 0x12340, 0xffff, RIGHTS_V86_SEG);
		SET(VMCS_GUEST_RIP, 0);
		BREAKS(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_VM,
		       "VM in IA-32e mode or without CR0.PE");
	}
}

/* --- 26.3.1.5 --- */

static void test_activity(void **state)
{
	const char *event = "an event is injected that does not end this state";

	(void)state;
	long_mode();
	BREAKS(VMCS_GUEST_ACTIVITY, 4, "an undefined state");
	for (uint64_t a = 1; a <= 3; a++)
		PASSES(VMCS_GUEST_ACTIVITY, a);
	SEG(SEG_SS, SEG_RIGHTS) = SEG(SEG_DS, SEG_RIGHTS) | SEG_ATTR_DPL;
	SEG(SEG_CS, SEG_RIGHTS) |= SEG_ATTR_DPL;
	BREAKS(VMCS_GUEST_ACTIVITY, 1, "halted with a DPL of SS that is not 0");
	long_mode();
	SET(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS);
	BREAKS(VMCS_GUEST_ACTIVITY, 2, "not active, in the shadow of STI or MOV SS");
	long_mode();
	SET(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
	static const struct {
		uint64_t info;
		bool wakes[4];
	} rows[] = {
		{ VALID | 0x030, { true, true, false, false } },
		{ VALID | 0x202, { true, true, true, false } },
		{ VALID | 0x301, { true, true, false, false } },
		{ VALID | 0x312, { true, true, true, false } },
		{ VALID | 0x306, { true, false, false, false } },
		{ VALID | 0x700, { true, true, false, false } },
		{ VALID | 0x401, { true, false, false, false } },
	};
	SET(VMCS_ENTRY_INSN_LEN, 2);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		SET(VMCS_ENTRY_INTR_INFO, rows[i].info);
		for (uint64_t a = 0; a <= 3; a++)
			if (rows[i].wakes[a])
				PASSES(VMCS_GUEST_ACTIVITY, a);
			else
				BREAKS(VMCS_GUEST_ACTIVITY, a, event);
	}
}

static void test_interruptibility(void **state)
{
	const uint64_t sti = INTERRUPTIBILITY_STI, mov_ss = INTERRUPTIBILITY_MOV_SS;

	(void)state;
	long_mode();
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, BIT(5), "a reserved bit is set");
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, BIT(31), "a reserved bit is set");
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, sti, "blocking by STI with IF clear");
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_SMI, "blocking by SMI outside SMM");
	PASSES(VMCS_GUEST_INTERRUPTIBILITY, mov_ss);
	PASSES(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
	SET(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
	PASSES(VMCS_GUEST_INTERRUPTIBILITY, sti);
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, sti | mov_ss, "blocking by STI and by MOV SS");
	SET(VMCS_ENTRY_INTR_INFO, VALID | 0x30);
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, sti, "an interrupt is injected into a shadow");
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, mov_ss, "an interrupt is injected into a shadow");
	SET(VMCS_ENTRY_INTR_INFO, VALID | 0x202);
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, mov_ss, "an NMI is injected behind MOV SS");
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, sti,
	       "an NMI is injected behind STI, which some processors refuse");
	BREAKS(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI,
	       "an NMI is injected while NMIs are blocked");
	SET(VMCS_PIN_CONTROLS, GET(VMCS_PIN_CONTROLS) & ~PIN_VIRTUAL_NMIS);
	PASSES(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
}

static void test_pending_debug(void **state)
{
	const char *reserved = "a reserved bit is set";
	const char *step = "BS is not what RFLAGS.TF says, in a shadow";
	const uint64_t bs = PENDING_DEBUG_BS;

	(void)state;
	long_mode();
	for (unsigned bit = 4; bit < 64; bit++)
		if (bit != 12 && bit != 14 && bit != 16)
			BREAKS(VMCS_GUEST_PENDING_DEBUG, BIT(bit), reserved);
	PASSES(VMCS_GUEST_PENDING_DEBUG, bs); /* no shadow */
	SET(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS);
	BREAKS(VMCS_GUEST_PENDING_DEBUG, bs, step);
	SET(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
	BREAKS(VMCS_GUEST_PENDING_DEBUG, 0, step);
	PASSES(VMCS_GUEST_PENDING_DEBUG, bs);
	SET(VMCS_GUEST_DEBUGCTL, BIT(1)); /* branches, not steps */
	BREAKS(VMCS_GUEST_PENDING_DEBUG, bs, step);
	PASSES(VMCS_GUEST_PENDING_DEBUG, 0);
	long_mode();
	SET(VMCS_GUEST_ACTIVITY, 1);
	BREAKS(VMCS_GUEST_PENDING_DEBUG, bs, step);
	long_mode();
	BREAKS(VMCS_GUEST_PENDING_DEBUG, BIT(16), "RTM with other bits than bit 12");
	BREAKS(VMCS_GUEST_PENDING_DEBUG, BIT(16) | BIT(12) | 1, "RTM with other bits than bit 12");
	PASSES(VMCS_GUEST_PENDING_DEBUG, BIT(16) | BIT(12));
}

static void test_link_pointer(void **state)
{
	const char *words = "neither all ones nor the address of a VMCS";

	(void)state;
	long_mode();
	BREAKS(VMCS_LINK_POINTER, 0x1001, words);
	BREAKS(VMCS_LINK_POINTER, BIT(PHYS), words);
	PASSES(VMCS_LINK_POINTER, 0x1000);
}

static void test_pdptes(void **state)
{
	static const enum vmcs_index pdptes[] = { INDEX_VMCS_GUEST_PDPTE0, INDEX_VMCS_GUEST_PDPTE1,
						  INDEX_VMCS_GUEST_PDPTE2,
						  INDEX_VMCS_GUEST_PDPTE3 };

	(void)state;
	pae();
	for (unsigned i = 0; i < ARRAY_SIZE(pdptes); i++) {
		breaks_at(__LINE__, pdptes[i], 1 | BIT(1), "a reserved bit is set");
		breaks_at(__LINE__, pdptes[i], 1 | BIT(5), "a reserved bit is set");
		breaks_at(__LINE__, pdptes[i], 1 | BIT(PHYS), "a reserved bit is set");
		breaks_at(__LINE__, pdptes[i], 1 | BIT(63), "a reserved bit is set");
		passes_at(__LINE__, pdptes[i], BITS(PHYS - 1, 9) | BIT(3) | BIT(4) | 1);
		passes_at(__LINE__, pdptes[i], BIT(1));
	}
	SET(VMCS_PROC2_CONTROLS, PROC2_VPID); /* a shadow: they are in memory */
	passes_at(__LINE__, pdptes[0], 3);
	long_mode();
	passes_at(__LINE__, pdptes[0], 3);
}

/* Runs last: each rule was broken, for each register that it is for. */
static void test_every_rule_was_broken(void **state)
{
	const struct vmx_seg_rule *rule = vmx_seg_rules.rule;

	(void)state;
	all_were_broken(&vmx_guest_rules);
	for (unsigned i = 0; i < vmx_seg_rules.n; i++)
		for (unsigned reg = SEG_ES; reg <= SEG_TR; reg++)
			if ((rule[i].regs & BIT(reg)) &&
			    !was_found(vmx_seg_index(reg, rule[i].field), rule[i].words))
				fail_msg("never broken for register %u: %s", reg, rule[i].words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_control_registers),
		cmocka_unit_test(test_guest_msrs),
		cmocka_unit_test(test_descriptor_tables),
		cmocka_unit_test(test_virtual_8086_segments),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_bases),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_privilege),
		cmocka_unit_test(test_system_segments),
		cmocka_unit_test(test_granularity),
		cmocka_unit_test(test_rip_rflags),
		cmocka_unit_test(test_virtual_8086_flag),
		cmocka_unit_test(test_activity),
		cmocka_unit_test(test_interruptibility),
		cmocka_unit_test(test_pending_debug),
		cmocka_unit_test(test_link_pointer),
		cmocka_unit_test(test_pdptes),
		cmocka_unit_test(test_every_rule_was_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
