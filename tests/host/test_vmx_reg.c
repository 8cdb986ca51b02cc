/*
 * The VMX backend's registers: the guest's, what the VMCS holds of them under nested paging, with
 * an identity map and under shadow paging, and which accesses exit. A state that VM entry would
 * not take fails at once: each table here is entered with.
 */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/mm.h"
#include "tests/host/vmx_fixture.h"

/* A processor like Penryn: shadow paging, no VPID, and neither EFER nor PAT in the VMCS. */
static int setup_bare(void **state)
{
	const uint64_t exit_ctl =
		EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT | EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER;
	const uint64_t entry_ctl = ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER;

	(void)state;
	fake_vmx_reset();
	fake_msr_set(MSR_VMX_TRUE_EXIT_CONTROLS,
		     fake_msr(MSR_VMX_TRUE_EXIT_CONTROLS) & ~(exit_ctl << 32));
	fake_msr_set(MSR_VMX_TRUE_ENTRY_CONTROLS,
		     fake_msr(MSR_VMX_TRUE_ENTRY_CONTROLS) & ~(entry_ctl << 32));
	fake_msr_set(MSR_VMX_TRUE_PROC_CONTROLS,
		     fake_msr(MSR_VMX_TRUE_PROC_CONTROLS) & ~(PROC_SECONDARY << 32));
	vmx_mask_features(UINT32_MAX);
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_cpu_enable(), 0);
	return make_vm((struct shadow *)&vm);
}

/* EPT, and CR3's exits cannot be turned off. */
static int setup_old_controls(void **state)
{
	(void)state;
	return setup_vm(~(uint32_t)VMX_FEATURE_TRUE_CONTROLS, NULL);
}

/* EPT, and nothing else of the secondary controls. */
static int setup_ept_alone(void **state)
{
	(void)state;
	fake_vmx_reset();
	fake_msr_set(MSR_VMX_PROC2_CONTROLS, PROC2_EPT << 32);
	vmx_mask_features(UINT32_MAX);
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_cpu_enable(), 0);
	return make_vm(NULL);
}

#define EPT_ALONE(fn) cmocka_unit_test_setup_teardown(fn, setup_ept_alone, teardown)
#define BARE(fn) cmocka_unit_test_setup_teardown(fn, setup_bare, teardown)
#define OLD_CONTROLS(fn) cmocka_unit_test_setup_teardown(fn, setup_old_controls, teardown)

/* VM entry takes what there is now. */
static void entered(void)
{
	run_one(play_intr);
	assert_int_equal(exit_info.kind, EXIT_INTR);
}

/* --- after RESET --- */

static void segment_is(enum seg_reg reg, uint16_t selector, uint32_t attr, uint32_t limit,
		       uint64_t base)
{
	struct segment seg;

	memset(&seg, 0xa5, sizeof(seg));
	vmx_backend.get_seg(&vcpu, reg, &seg);
	if (seg.selector != selector || seg.attr != attr || seg.limit != limit || seg.base != base)
		fail_msg("segment %d: %04x base %llx limit %x attr %x", (int)reg, seg.selector,
			 (unsigned long long)seg.base, seg.limit, seg.attr);
}

/* SDM vol. 3, table 9-1. */
static void test_reset_state(void **state)
{
	(void)state;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		if (i != SEG_CS)
			segment_is((enum seg_reg)i, 0, 0x93, 0xffff, 0);
	segment_is(SEG_CS, 0xf000, 0x9b, 0xffff, 0xffff0000);
	segment_is(SEG_LDTR, 0, 0x82, 0xffff, 0);
	segment_is(SEG_TR, 0, 0x8b, 0xffff, 0);
	segment_is(SEG_GDTR, 0, 0, 0xffff, 0);
	segment_is(SEG_IDTR, 0, 0, 0xffff, 0);
	assert_int_equal(get(REG_CR0), CR0_CD | CR0_NW | CR0_ET);
	assert_int_equal(get(REG_CR3), 0);
	assert_int_equal(get(REG_CR4), 0);
	assert_int_equal(get(REG_EFER), 0);
	assert_int_equal(get(REG_CR2), 0);
	assert_int_equal(get(REG_CR8), 0);
	assert_int_equal(get(REG_DR6), DR6_INIT);
	assert_int_equal(get(REG_DR7), DR7_INIT);
	assert_int_equal(get(REG_PAT), PAT_RESET);
	for (unsigned reg = REG_STAR; reg <= REG_TSC_OFFSET; reg++)
		assert_int_equal(get((enum vcpu_reg)reg), 0);
	assert_int_equal(get(REG_CPL), 0);
	assert_int_equal(get(REG_CS_ATTR), 0x9b);
	assert_int_equal(get(REG_INTR_SHADOW), 0);
	assert_int_equal(get(REG_NMI_BLOCKED), 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_DEBUGCTL), 0);
	assert_int_equal(fake_vmcs_get(VMCS_LINK_POINTER), UINT64_MAX);
	entered();
}

static void test_host_state(void **state)
{
	(void)state;
	assert_int_equal(fake_vmcs_get(VMCS_HOST_CR0), fake_cpu.cr0);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_CR3), 0x1000000);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_CR4), CR4_PAE | CR4_VMXE);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_EFER), EFER_LME | EFER_LMA | EFER_NXE);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_PAT), PAT_RESET);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_RIP), (uintptr_t)vmx_exit_point);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_GS_BASE), 0xffffffff80a03000);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_FS_BASE), 0);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_TR_BASE), FAKE_TSS_BASE);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_GDTR_BASE), (uintptr_t)fake_gdt);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_IDTR_BASE), FAKE_IDT_BASE);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_CS_SELECTOR), 0x8);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_SS_SELECTOR), 0x10);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_GS_SELECTOR), 0);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_SYSENTER_CS), 0);
}

static bool has(uint32_t field, uint64_t bits)
{
	return (fake_vmcs_get(field) & bits) == bits;
}

static bool has_any(uint32_t field, uint64_t bits)
{
	return fake_vmcs_get(field) & bits;
}

static void test_controls(void **state)
{
	(void)state;
	assert_int_equal(fake_vmcs_get(VMCS_PIN_CONTROLS), 0x16 | PIN_EXTERNAL_INTERRUPT | PIN_NMI |
								   PIN_VIRTUAL_NMIS |
								   PIN_PREEMPTION_TIMER);
	assert_int_equal(fake_vmcs_get(VMCS_PROC_CONTROLS),
			 0x04006172 | PROC_HLT | PROC_MWAIT | PROC_MONITOR | PROC_RDPMC |
				 PROC_TPR_SHADOW | PROC_TSC_OFFSETTING | PROC_IO_BITMAPS |
				 PROC_MSR_BITMAPS | PROC_SECONDARY);
	assert_int_equal(fake_vmcs_get(VMCS_PROC2_CONTROLS),
			 PROC2_VPID | PROC2_RDTSCP | PROC2_INVPCID | PROC2_WBINVD |
				 PROC2_PAUSE_LOOP | PROC2_EPT | PROC2_UNRESTRICTED_GUEST);
	assert_true(has(VMCS_EXIT_CONTROLS, EXIT_CTL_SAVE_DEBUG | EXIT_CTL_HOST_LONG_MODE |
						    EXIT_CTL_LOAD_EFER | EXIT_CTL_LOAD_PAT));
	/* It tells the interrupt that it is for, as posted interrupts want it. */
	assert_true(has(VMCS_EXIT_CONTROLS, EXIT_CTL_ACK_INTERRUPT));
	assert_true(has(VMCS_ENTRY_CONTROLS,
			ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_EFER | ENTRY_CTL_LOAD_PAT));
	assert_int_equal(fake_vmcs_get(VMCS_PLE_GAP), 128);
	assert_int_equal(fake_vmcs_get(VMCS_PLE_WINDOW), 131072);
	assert_int_equal(fake_vmcs_get(VMCS_PF_ERROR_MASK) | fake_vmcs_get(VMCS_PF_ERROR_MATCH), 0);
	assert_int_equal(fake_vmcs_get(VMCS_IO_BITMAP_B),
			 fake_vmcs_get(VMCS_IO_BITMAP_A) + PAGE_SIZE);
	assert_int_equal(fake_vmcs_get(VMCS_EPT_POINTER), NESTED_ROOT | 0x1e);
}

/* A processor that has no secondary controls is asked for none. */
static void test_bare_controls(void **state)
{
	(void)state;
	assert_int_equal(fake_vmcs_writes(VMCS_PROC2_CONTROLS), 0);
	assert_false(has_any(VMCS_PROC_CONTROLS, PROC_SECONDARY));
	protected_mode();
	entered();
}

static void test_ept_alone(void **state)
{
	(void)state;
	assert_int_equal(fake_vmcs_get(VMCS_PROC2_CONTROLS), PROC2_EPT);
	protected_mode();
	entered();
}

/* --- registers one by one --- */

static void round_trip(enum vcpu_reg reg, uint64_t val)
{
	vmx_backend.set_reg(&vcpu, reg, val);
	if (get(reg) != val)
		fail_msg("register %d: 0x%llx, expected 0x%llx", (int)reg,
			 (unsigned long long)get(reg), (unsigned long long)val);
}

static void round_trips(void)
{
	static const enum vcpu_reg regs[] = {
		REG_CR2,          REG_DR6,          REG_DR7,    REG_STAR,
		REG_LSTAR,        REG_CSTAR,        REG_SFMASK, REG_KERNEL_GS_BASE,
		REG_SYSENTER_ESP, REG_SYSENTER_EIP, REG_PAT,    REG_TSC_OFFSET,
		REG_SYSENTER_CS,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		round_trip(regs[i], 0x1000 + i);
	round_trip(REG_CR8, 9);
	/* None is another's: once more, from the end. */
	for (unsigned i = ARRAY_SIZE(regs); i-- > 0;)
		round_trip(regs[i], 0x1000 + i);
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		assert_int_equal(get(regs[i]), 0x1000 + i);
	assert_int_equal(get(REG_CR8), 9);
	vmx_backend.set_reg(&vcpu, REG_CR8, 0x12);
	assert_int_equal(get(REG_CR8), 2);
	assert_int_equal(get(REG_DR6), 0x1001);
	/* Read only. */
	vmx_backend.set_reg(&vcpu, REG_CPL, 3);
	vmx_backend.set_reg(&vcpu, REG_CS_ATTR, 0);
	assert_int_equal(get(REG_CPL), 0);
	assert_int_equal(get(REG_CS_ATTR), 0x9b);
}

static void test_registers(void **state)
{
	(void)state;
	round_trips();
	assert_int_equal(fake_cpu.cr2, 0x1000);
	assert_int_equal(fake_cpu.dr6, 0x1001);
	assert_int_equal(fake_msr(MSR_STAR), 0x1003);
	assert_int_equal(fake_msr(MSR_KERNEL_GS_BASE), 0x1007);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_SYSENTER_ESP), 0x1008);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_SYSENTER_EIP), 0x1009);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PAT), 0x100a);
	assert_int_equal(fake_vmcs_get(VMCS_TSC_OFFSET), 0x100b);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_SYSENTER_CS), 0x100c);
}

/* Off the CPU none of it reaches the CPU, until the load; what is there at the put is kept. */
static void test_kept_registers(void **state)
{
	(void)state;
	vmx_backend.vcpu_put(&vcpu);
	fake_cpu.cr2 = 0xabc;
	fake_cpu.msr_writes = 0;
	round_trips();
	assert_int_equal(fake_cpu.cr2, 0xabc);
	assert_int_equal(fake_cpu.msr_writes, 0);
	vmx_backend.vcpu_load(&vcpu);
	assert_int_equal(fake_cpu.cr2, 0x1000);
	assert_int_equal(fake_cpu.dr6, 0x1001);
	assert_int_equal(fake_msr(MSR_STAR), 0x1003);
	assert_int_equal(fake_msr(MSR_LSTAR), 0x1004);
	assert_int_equal(fake_msr(MSR_CSTAR), 0x1005);
	assert_int_equal(fake_msr(MSR_SFMASK), 0x1006);
	assert_int_equal(fake_msr(MSR_KERNEL_GS_BASE), 0x1007);
	/* The guest itself writes them, unseen. */
	fake_msr_set(MSR_LSTAR, 0x2222);
	fake_cpu.cr2 = 0x3333;
	fake_cpu.dr6 = 0x4444;
	assert_int_equal(get(REG_LSTAR), 0x2222);
	vmx_backend.vcpu_put(&vcpu);
	fake_msr_set(MSR_LSTAR, 0);
	fake_cpu.cr2 = fake_cpu.dr6 = 0;
	assert_int_equal(get(REG_LSTAR), 0x2222);
	assert_int_equal(get(REG_CR2), 0x3333);
	assert_int_equal(get(REG_DR6), 0x4444);
	vmx_backend.vcpu_load(&vcpu);
	assert_int_equal(fake_msr(MSR_LSTAR), 0x2222);
}

static void test_segments(void **state)
{
	static const struct segment set[] = {
		{ 0x2b, 0xaf3, UINT32_MAX, 0x12340000 }, /* accessed, G, L, DPL 3 */
		{ 0x10, 0x493, 0x1234, 0 },              /* not whole pages: no G */
	};
	struct segment got;

	(void)state;
	for (unsigned reg = SEG_ES; reg <= SEG_LDTR; reg++)
		for (unsigned i = 0; i < ARRAY_SIZE(set); i++) {
			vmx_backend.set_seg(&vcpu, (enum seg_reg)reg, &set[i]);
			vmx_backend.get_seg(&vcpu, (enum seg_reg)reg, &got);
			assert_memory_equal(&got, &set[i], sizeof(got));
		}
	set_segment(SEG_GDTR, 0, 0, 0x7f, 0xfffff000);
	segment_is(SEG_GDTR, 0, 0, 0x7f, 0xfffff000);
	/* The four upper attributes are four bits further up in the VMCS: 24.4.1. */
	set_segment(SEG_DS, 0x10, 0xd93, UINT32_MAX, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_DS_RIGHTS), 0xd093);
	/* G agrees with the limit: 26.3.1.2. */
	set_segment(SEG_DS, 0x10, 0xc93, 0xffffe, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_DS_RIGHTS), 0x4093);
	set_segment(SEG_DS, 0x10, 0x493, UINT32_MAX, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_DS_RIGHTS), 0xc093);
	set_segment(SEG_DS, 0x10, 0xc93, 0xfff, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_DS_RIGHTS), 0xc093);
	/* What is not present is unusable; of SS the DPL is kept, which is the CPL. */
	set_segment(SEG_ES, 0, 0, 0, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_ES_RIGHTS), BIT(16));
	fake_vmcs_set(VMCS_GUEST_ES_RIGHTS, BIT(16) | 0xc093);
	segment_is(SEG_ES, 0, 0, 0, 0);
	set_segment(SEG_SS, 3, 0x60, 0, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_SS_RIGHTS), BIT(16) | 0x60);
	fake_vmcs_set(VMCS_GUEST_SS_RIGHTS, BIT(16) | 0xc0f3);
	segment_is(SEG_SS, 3, 0x60, 0, 0);
	assert_int_equal(get(REG_CPL), 3);
	/* TR is busy always. */
	set_segment(SEG_TR, 0x40, 0x89, 0x67, 0x1234);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_TR_RIGHTS), 0x8b);
	set_segment(SEG_CS, 8, 0xa9b, UINT32_MAX, 0);
	assert_int_equal(get(REG_CS_ATTR), 0xa9b);
}

/* --- control registers under nested paging --- */

#define FIXED_CR0 CR0_NE /* of an unrestricted guest */

static void hardware_has(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR0), cr0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR3), cr3);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR4), cr4 | CR4_VMXE);
	if (vmx_machine.vmx.load_efer)
		assert_int_equal(fake_vmcs_get(VMCS_GUEST_EFER), efer);
	assert_int_equal(has_any(VMCS_ENTRY_CONTROLS, ENTRY_CTL_LONG_MODE), (efer & EFER_LMA) != 0);
	entered();
}

static void guest_has(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
	assert_int_equal(get(REG_CR0), cr0);
	assert_int_equal(get(REG_CR3), cr3);
	assert_int_equal(get(REG_CR4), cr4);
	assert_int_equal(get(REG_EFER), efer);
	for (unsigned reg = 0; reg < VCPU_HOT_REGS; reg++)
		assert_int_equal(vcpu_hot_reg(&vcpu, reg), get((enum vcpu_reg)reg));
	/* What it reads: its own bits are the hardware's. */
	assert_int_equal((fake_vmcs_get(VMCS_CR0_READ_SHADOW) ^ cr0) & fake_vmcs_get(VMCS_CR0_MASK),
			 0);
	assert_int_equal((fake_vmcs_get(VMCS_CR4_READ_SHADOW) ^ cr4) & fake_vmcs_get(VMCS_CR4_MASK),
			 0);
}

static bool cr3_exits(void)
{
	bool exits = has(VMCS_PROC_CONTROLS, PROC_CR3_LOAD | PROC_CR3_STORE);

	assert_int_equal(has_any(VMCS_PROC_CONTROLS, PROC_CR3_LOAD | PROC_CR3_STORE), exits);
	return exits;
}

static void long_mode(void)
{
	set_cr(REG_EFER, EFER_LME | EFER_NXE);
	set_cr(REG_CR4, CR4_PAE);
	set_cr(REG_CR0, CR0_PE | CR0_PG | CR0_WP);
	set_segment(SEG_CS, 0x8, 0xa9b, UINT32_MAX, 0);
}

static void test_nested_registers(void **state)
{
	const uint64_t paging = CR0_PE | CR0_PG | CR0_WP | CR0_ET;

	(void)state;
	/* CD and NW are the guest's to see and never the hardware's. */
	hardware_has(CR0_ET | FIXED_CR0, 0, 0, 0);
	guest_has(CR0_ET | CR0_CD | CR0_NW, 0, 0, 0);
	assert_false(cr3_exits());
	protected_mode();
	set_cr(REG_EFER, EFER_LME);
	set_cr(REG_CR3, 0x5000);
	hardware_has(CR0_PE | CR0_ET | FIXED_CR0, 0x5000, 0, EFER_LME);
	guest_has(CR0_PE | CR0_ET, 0x5000, 0, EFER_LME);
	/* LMA follows LME and PG. */
	long_mode();
	hardware_has(paging | FIXED_CR0, 0x5000, CR4_PAE, EFER_LME | EFER_LMA | EFER_NXE);
	guest_has(paging, 0x5000, CR4_PAE, EFER_LME | EFER_LMA | EFER_NXE);
	set_cr(REG_CR4, CR4_PAE | CR4_PCIDE | CR4_SMEP);
	hardware_has(paging | FIXED_CR0, 0x5000, CR4_PAE | CR4_PCIDE | CR4_SMEP,
		     EFER_LME | EFER_LMA | EFER_NXE);
	assert_false(cr3_exits());
	set_cr(REG_CR4, CR4_PAE);
	set_segment(SEG_CS, 0x8, 0xc9b, UINT32_MAX, 0);
	set_cr(REG_CR0, CR0_PE);
	hardware_has(CR0_PE | CR0_ET | FIXED_CR0, 0x5000, CR4_PAE, EFER_LME | EFER_NXE);
	guest_has(CR0_PE | CR0_ET, 0x5000, CR4_PAE, EFER_LME | EFER_NXE);
	/* What software writes to LMA counts for nothing. */
	set_cr(REG_EFER, EFER_LMA);
	assert_int_equal(get(REG_EFER), 0);
}

/* Machine checks are the host's to take, whatever the guest makes of MCE. */
static void test_host_takes_machine_checks(void **state)
{
	(void)state;
	fake_cpu.cr4 |= CR4_MCE;
	protected_mode();
	set_cr(REG_CR4, CR4_PSE);
	hardware_has(CR0_PE | CR0_ET | FIXED_CR0, 0, CR4_PSE | CR4_MCE, 0);
	guest_has(CR0_PE | CR0_ET, 0, CR4_PSE, 0);
	set_cr(REG_CR4, CR4_PSE | CR4_MCE);
	guest_has(CR0_PE | CR0_ET, 0, CR4_PSE | CR4_MCE, 0);
}

#define OWNED_CR4 (CR4_TSD | CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT)

static void owned(uint64_t cr0, uint64_t cr4)
{
	assert_int_equal(fake_vmcs_get(VMCS_CR0_MASK), ~cr0);
	assert_int_equal(fake_vmcs_get(VMCS_CR4_MASK), ~cr4);
}

/* Bits that the guest changes without an exit; all others read as it knows them. */
static void test_owned_bits(void **state)
{
	(void)state;
	owned(CR0_TS | CR0_MP | CR0_EM, OWNED_CR4);
	long_mode();
	owned(CR0_TS | CR0_MP | CR0_EM, OWNED_CR4 | CR4_PGE);
	/* Of those that its CPUID does not have each change exits, and is #GP. */
	cpuid_init(fake_cpuid_amd, XCR0_X87);
	set_cr(REG_CR4, CR4_PAE | CR4_DE);
	owned(CR0_TS | CR0_MP | CR0_EM, (OWNED_CR4 | CR4_PGE) & cpuid_policy()->cr4);
}

static uint64_t carry_cr0, carry_cr3, carry_cr4;

static void play_changes_registers(void)
{
	fake_vmcs_set(VMCS_GUEST_CR0, carry_cr0);
	fake_vmcs_set(VMCS_GUEST_CR3, carry_cr3);
	fake_vmcs_set(VMCS_GUEST_CR4, carry_cr4);
}

/* What it changes is seen after the exit, and nothing that is the hardware's. */
static void test_registers_carried_out(void **state)
{
	(void)state;
	long_mode();
	carry_cr0 = fake_vmcs_get(VMCS_GUEST_CR0) | CR0_TS | CR0_EM;
	carry_cr3 = 0x6000;
	carry_cr4 = fake_vmcs_get(VMCS_GUEST_CR4) | CR4_PGE | CR4_TSD;
	run_one(play_changes_registers);
	assert_int_equal(get(REG_CR0), CR0_PE | CR0_ET | CR0_PG | CR0_WP | CR0_TS | CR0_EM);
	assert_int_equal(get(REG_CR3), 0x6000);
	assert_int_equal(get(REG_CR4), CR4_PAE | CR4_PGE | CR4_TSD);
	assert_int_equal(vcpu_hot_reg(&vcpu, REG_CR3), 0x6000);
	/* And goes back in with whatever is changed next. */
	set_cr(REG_EFER, EFER_LME | EFER_NXE | EFER_SCE);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR3), 0x6000);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR0), carry_cr0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR4), carry_cr4);
	carry_cr0 &= ~(uint64_t)CR0_TS;
	carry_cr4 &= ~(uint64_t)CR4_PGE;
	run_one(play_changes_registers);
	assert_int_equal(get(REG_CR0), CR0_PE | CR0_ET | CR0_PG | CR0_WP | CR0_EM);
	assert_int_equal(get(REG_CR4), CR4_PAE | CR4_TSD);
}

/* --- PDPTEs --- */

static void play_loads_cr3(void)
{
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(fake_vmcs_get(VMCS_GUEST_PDPTE0 + 2 * i), 0x10001 + 0x1000 * i);
	fake_vmcs_set(VMCS_GUEST_CR3, 0x8000);
	for (unsigned i = 0; i < 4; i++)
		fake_vmcs_set(VMCS_GUEST_PDPTE0 + 2 * i, 0x20001 + 0x1000 * i);
}

static void test_pdptes(void **state)
{
	uint64_t pdpte[4];

	(void)state;
	protected_mode();
	for (unsigned i = 0; i < 4; i++)
		vcpu.pdpte[i] = 0x10001 + 0x1000 * i;
	set_cr(REG_CR4, CR4_PAE);
	assert_int_equal(fake_vmcs_writes(VMCS_GUEST_PDPTE0), 0);
	set_cr(REG_CR0, CR0_PE | CR0_PG);
	run_one(play_loads_cr3);
	/* The core has them for whatever it sets next, which loads none. */
	assert_int_equal(vcpu.pdpte[3], 0x23001);
	vmx_backend.get_pdptes(&vcpu, pdpte);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pdpte[i], 0x20001 + 0x1000 * i);
	set_cr(REG_CR0, CR0_PE | CR0_PG | CR0_WP);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PDPTE3), 0x23001);
	/* In long mode and without PAE these fields are nobody's. */
	set_cr(REG_CR0, CR0_PE);
	long_mode();
	fake_vmcs_set(VMCS_GUEST_PDPTE3, 0x555);
	entered();
	set_cr(REG_CR0, CR0_PE | CR0_PG | CR0_WP | CR0_TS);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PDPTE3), 0x555);
	assert_int_equal(vcpu.pdpte[3], 0x23001);
}

/* --- without unrestricted guest --- */

static void test_identity_map(void **state)
{
	const uint64_t paging = CR0_PE | CR0_PG | CR0_ET;
	const uint64_t rights = CR4_SMEP | CR4_SMAP;

	(void)state;
	protected_mode();
	set_cr(REG_CR3, 0x5000);
	set_cr(REG_CR4, CR4_PAE | rights | CR4_PGE);
	set_cr(REG_EFER, EFER_LME | EFER_SCE);
	hardware_has(paging | FIXED_CR0, IDENTITY_MAP, CR4_PSE | CR4_PGE, EFER_SCE);
	guest_has(CR0_PE | CR0_ET, 0x5000, CR4_PAE | rights | CR4_PGE, EFER_LME | EFER_SCE);
	assert_true(cr3_exits());
	owned(CR0_TS | CR0_MP | CR0_EM, OWNED_CR4);
	assert_false(has_any(VMCS_PROC2_CONTROLS, PROC2_UNRESTRICTED_GUEST));
	assert_true(has(VMCS_PROC2_CONTROLS, PROC2_EPT));
	assert_int_equal(fake_vmcs_writes(VMCS_GUEST_PDPTE0), 0);
	/* Then it pages. */
	set_cr(REG_CR4, CR4_PAE | CR4_SMEP);
	set_cr(REG_CR0, CR0_PE | CR0_PG);
	hardware_has(paging | FIXED_CR0, 0x5000, CR4_PAE | CR4_SMEP,
		     EFER_LME | EFER_LMA | EFER_SCE);
	assert_false(cr3_exits());
	owned(CR0_TS | CR0_MP | CR0_EM, OWNED_CR4 | CR4_PGE);
}

/* --- without TRUE controls --- */

static void test_cr3_exits_always(void **state)
{
	(void)state;
	assert_true(cr3_exits());
	protected_mode();
	set_cr(REG_CR3, 0x5000);
	carry_cr0 = fake_vmcs_get(VMCS_GUEST_CR0);
	carry_cr4 = fake_vmcs_get(VMCS_GUEST_CR4);
	carry_cr3 = 0x7777000;
	vmx_backend.request_window(&vcpu, EVENT_INTR, true);
	vmx_backend.request_window(&vcpu, EVENT_INTR, false);
	assert_int_equal(fake_vmcs_get(VMCS_PROC_CONTROLS) & 0x0401e172, 0x0401e172);
	run_one(play_changes_registers);
	assert_int_equal(get(REG_CR3), 0x5000);
}

/* --- under shadow paging --- */

static void shadow_registers(void)
{
	const uint64_t paging = CR0_PE | CR0_PG | CR0_WP | CR0_ET | FIXED_CR0;
	const uint64_t rights = CR4_SMEP;

	protected_mode();
	set_cr(REG_CR3, 0x5000);
	set_cr(REG_CR4, rights);
	set_cr(REG_EFER, EFER_LME);
	hardware_has(paging, SHADOW_ROOT, CR4_PAE, EFER_NXE);
	guest_has(CR0_PE | CR0_ET, 0x5000, rights, EFER_LME);
	assert_true(cr3_exits());
	owned(CR0_TS | CR0_MP | CR0_EM, OWNED_CR4);
	/* Long mode; WP, NXE and PCIDE are the guest's alone. */
	set_cr(REG_CR4, CR4_PAE | rights);
	set_cr(REG_CR0, CR0_PE | CR0_PG);
	set_segment(SEG_CS, 0x8, 0xa9b, UINT32_MAX, 0);
	set_cr(REG_CR4, CR4_PAE | CR4_PCIDE | rights);
	hardware_has(paging, SHADOW_ROOT, CR4_PAE | rights, EFER_LME | EFER_LMA | EFER_NXE);
	guest_has(CR0_PE | CR0_ET | CR0_PG, 0x5000, CR4_PAE | CR4_PCIDE | rights,
		  EFER_LME | EFER_LMA);
	owned(CR0_TS | CR0_MP | CR0_EM, OWNED_CR4);
	/* Paging of 32 bits runs through tables of PAE's, which are no PDPTEs of the guest's. */
	set_cr(REG_CR4, rights);
	set_cr(REG_CR0, CR0_PE);
	set_segment(SEG_CS, 0x8, 0xc9b, UINT32_MAX, 0);
	set_cr(REG_EFER, 0);
	set_cr(REG_CR0, CR0_PE | CR0_PG | CR0_WP);
	hardware_has(paging, SHADOW_ROOT, CR4_PAE | rights, EFER_NXE);
	/* The root is no CR3 of its own. */
	carry_cr0 = fake_vmcs_get(VMCS_GUEST_CR0) | CR0_TS;
	carry_cr4 = fake_vmcs_get(VMCS_GUEST_CR4) | CR4_PGE | CR4_DE;
	carry_cr3 = SHADOW_ROOT;
	run_one(play_changes_registers);
	guest_has(CR0_PE | CR0_ET | CR0_PG | CR0_WP | CR0_TS, 0x5000, rights | CR4_DE, 0);
}

static void test_shadow_registers(void **state)
{
	(void)state;
	/* The guest's PAT counts for tables of its own alone. */
	set_cr(REG_PAT, 0x0606060606060606);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PAT), PAT_RESET);
	set_cr(REG_CR0, CR0_PE);
	assert_int_equal(get(REG_PAT), 0x0606060606060606);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PAT), PAT_RESET);
	assert_false(
		has_any(VMCS_PROC2_CONTROLS, PROC2_EPT | PROC2_UNRESTRICTED_GUEST | PROC2_INVPCID));
	vcpu.pdpte[0] = 0x1111;
	shadow_registers();
	/* Nor are the processor's PDPTEs the guest's, when it has such paging too. */
	set_cr(REG_CR4, CR4_PAE);
	entered();
	assert_int_equal(vcpu.pdpte[0], 0x1111);
}

static void test_bare_registers(void **state)
{
	(void)state;
	shadow_registers();
}

/* SCE is all of EFER that is the guest's there, and it is on the CPU while the guest is. */
static void test_bare_efer(void **state)
{
	(void)state;
	fake_msr_set(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	fake_cpu.msr_writes = 0;
	set_cr(REG_EFER, EFER_SCE);
	assert_int_equal(fake_msr(MSR_EFER), EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE);
	set_cr(REG_CR3, 0x1000);
	assert_int_equal(fake_cpu.msr_writes, 1);
	set_cr(REG_EFER, EFER_LME);
	assert_int_equal(fake_msr(MSR_EFER), EFER_LME | EFER_LMA | EFER_NXE);
	vmx_backend.vcpu_put(&vcpu);
	set_cr(REG_EFER, EFER_SCE);
	assert_int_equal(fake_msr(MSR_EFER), EFER_LME | EFER_LMA | EFER_NXE);
	vmx_backend.vcpu_load(&vcpu);
	assert_int_equal(fake_msr(MSR_EFER), EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE);
	/* And PAT is nobody's but the host's. */
	set_cr(REG_PAT, 0x0606060606060606);
	assert_int_equal(get(REG_PAT), 0x0606060606060606);
	assert_int_equal(fake_msr(MSR_PAT), PAT_RESET);
}

static void test_shadow_invlpg(void **state)
{
	(void)state;
	assert_false(has_any(VMCS_PROC_CONTROLS, PROC_INVLPG));
	vmx_backend.set_intercept_invlpg(&vcpu, true);
	assert_true(has_any(VMCS_PROC_CONTROLS, PROC_INVLPG));
	/* Not while the guest runs through the nested tables. */
	vmx_backend.set_root(&vcpu, HPA(NESTED_ROOT), ROOT_NESTED);
	assert_false(has_any(VMCS_PROC_CONTROLS, PROC_INVLPG));
	vmx_backend.set_intercept_invlpg(&vcpu, false);
	vmx_backend.set_intercept_invlpg(&vcpu, true);
	assert_false(has_any(VMCS_PROC_CONTROLS, PROC_INVLPG));
	vmx_backend.set_root(&vcpu, HPA(SHADOW_ROOT), ROOT_SHADOW);
	assert_true(has_any(VMCS_PROC_CONTROLS, PROC_INVLPG));
	vmx_backend.set_intercept_invlpg(&vcpu, false);
	assert_false(has_any(VMCS_PROC_CONTROLS, PROC_INVLPG));
}

/* --- exceptions --- */

static void exits_on(uint32_t exceptions)
{
	assert_int_equal(fake_vmcs_get(VMCS_EXCEPTION_BITMAP), exceptions);
}

static void test_exceptions(void **state)
{
	const uint32_t own = BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC);

	(void)state;
	exits_on(own);
	vmx_backend.set_intercept_exception(&vcpu, VEC_UD, true);
	vmx_backend.set_intercept_exception(&vcpu, VEC_NM, true);
	exits_on(own | BIT(VEC_UD) | BIT(VEC_NM));
	vmx_backend.set_intercept_exception(&vcpu, VEC_NM, false);
	exits_on(own | BIT(VEC_UD));
	/* A guest must not be able to loop in the delivery of these: never off. */
	vmx_backend.set_intercept_exception(&vcpu, VEC_DB, false);
	vmx_backend.set_intercept_exception(&vcpu, VEC_UD, false);
	exits_on(own);
}

static void test_shadow_exceptions(void **state)
{
	const uint32_t own = BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC);

	(void)state;
	protected_mode();
	entered();
	exits_on(own | BIT(VEC_PF));
	vmx_backend.set_intercept_exception(&vcpu, VEC_PF, false);
	exits_on(own | BIT(VEC_PF));
	vmx_backend.set_root(&vcpu, HPA(NESTED_ROOT), ROOT_NESTED);
	exits_on(own);
}

/* As it is made, before there is a root. */
static void test_made_for_a_shadow(void **state)
{
	struct vcpu other;

	(void)state;
	make_vcpu(&vm, &other);
	exits_on(BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC) | BIT(VEC_PF));
	assert_true(cr3_exits());
	assert_int_equal(vmx_vcpu(&other)->root_kind, ROOT_SHADOW);
	assert_int_equal(fake_vmcs_get(VMCS_CR0_READ_SHADOW), CR0_CD | CR0_NW | CR0_ET);
	vmx_backend.vcpu_destroy(&other);
}

/* --- roots, and what is dropped --- */

static bool flushes(enum vcpu_reg reg, uint64_t val)
{
	vv->flush_guest = false;
	vmx_set_reg(&vcpu, reg, val);
	return vv->flush_guest;
}

static void test_what_flushes(void **state)
{
	static const uint64_t cr4[] = { CR4_PSE,  CR4_PGE,  CR4_LA57, CR4_PCIDE,
					CR4_SMEP, CR4_SMAP, CR4_PKE };

	(void)state;
	assert_true(flushes(REG_CR3, 0x1000));
	assert_true(flushes(REG_CR3, 0x1000));
	assert_true(flushes(REG_CR0, CR0_PE | CR0_PG));
	assert_false(flushes(REG_CR0, CR0_PE | CR0_PG | CR0_WP | CR0_TS));
	assert_true(flushes(REG_CR0, CR0_PE));
	assert_true(flushes(REG_CR4, CR4_PAE));
	for (unsigned i = 0; i < ARRAY_SIZE(cr4); i++) {
		assert_true(flushes(REG_CR4, CR4_PAE | cr4[i]));
		assert_true(flushes(REG_CR4, CR4_PAE));
	}
	assert_false(flushes(REG_CR4, CR4_PAE | CR4_OSFXSR | CR4_TSD));
	assert_true(flushes(REG_EFER, EFER_NXE));
	assert_false(flushes(REG_EFER, EFER_NXE | EFER_SCE));
	assert_true(flushes(REG_EFER, EFER_NXE | EFER_SCE | EFER_LME));
	assert_false(flushes(REG_CR2, 1));
	assert_false(flushes(REG_PAT, 1));
}

/* How much the next entry drops. */
static void drops(unsigned invvpids, unsigned invepts)
{
	fake_vmx.invvpid.count = fake_vmx.invept.count = 0;
	entered();
	assert_int_equal(fake_vmx.invvpid.count, invvpids);
	assert_int_equal(fake_vmx.invept.count, invepts);
}

static void test_flush(void **state)
{
	(void)state;
	protected_mode();
	drops(0, 1);
	drops(0, 0);
	vmx_backend.flush(&vcpu, FLUSH_GUEST);
	drops(1, 0);
	assert_int_equal(fake_vmx.invvpid.first, vv->vpid);
	vmx_backend.flush(&vcpu, FLUSH_NESTED);
	vmx_backend.flush(&vcpu, FLUSH_GUEST);
	drops(1, 1);
	assert_int_equal(fake_vmx.invept.first, NESTED_ROOT | 0x1e);
	vmx_backend.set_root(&vcpu, HPA(0xb000), ROOT_NESTED);
	assert_int_equal(fake_vmcs_get(VMCS_EPT_POINTER), 0xb01e);
	drops(1, 1);
	assert_int_equal(fake_vmx.invept.first, 0xb01e);
	drops(0, 0);
	/* Back on a CPU that it has not left nothing is lost. */
	vmx_backend.vcpu_put(&vcpu);
	vmx_backend.vcpu_load(&vcpu);
	drops(0, 0);
	/* On another one there may be anything. */
	vv->cpu = NULL;
	vmx_backend.vcpu_load(&vcpu);
	drops(0, 1);
	assert_ptr_equal(vv->cpu, vmx_this_cpu());
}

/* A guest with a shadow, unpaged in the nested tables, and back. */
static void test_root_kinds(void **state)
{
	(void)state;
	set_cr(REG_PAT, 0x0606060606060606);
	vmx_backend.set_root(&vcpu, HPA(NESTED_ROOT), ROOT_NESTED);
	hardware_has(CR0_ET | FIXED_CR0, 0, 0, 0);
	assert_true(has(VMCS_PROC2_CONTROLS, PROC2_EPT | PROC2_UNRESTRICTED_GUEST));
	assert_false(cr3_exits());
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PAT), 0x0606060606060606);
	protected_mode();
	hardware_has(CR0_PE | CR0_ET | FIXED_CR0, 0, 0, 0);
	vmx_backend.set_root(&vcpu, HPA(SHADOW_ROOT), ROOT_SHADOW);
	hardware_has(CR0_PE | CR0_PG | CR0_WP | CR0_ET | FIXED_CR0, SHADOW_ROOT, CR4_PAE, EFER_NXE);
	assert_int_equal(fake_vmcs_get(VMCS_PROC2_CONTROLS),
			 PROC2_VPID | PROC2_RDTSCP | PROC2_WBINVD | PROC2_PAUSE_LOOP);
	assert_true(cr3_exits());
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PAT), PAT_RESET);
	vmx_backend.set_root(&vcpu, HPA(0xd000), ROOT_SHADOW);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR3), 0xd000);
	drops(1, 0);
}

/* --- permission maps --- */

static void test_permission_maps(void **state)
{
	const uint8_t *io = hpa_to_ptr(HPA(fake_vmcs_get(VMCS_IO_BITMAP_A)));
	const uint8_t *msr = hpa_to_ptr(HPA(fake_vmcs_get(VMCS_MSR_BITMAP)));

	(void)state;
	assert_int_equal(io[0x80 / 8], 0xff);
	vmx_backend.set_intercept_io(&vm, 0x81, 2, false);
	assert_int_equal(io[0x80 / 8], 0xf9);
	vmx_backend.set_intercept_io(&vm, 0x81, 1, true);
	assert_int_equal(io[0x80 / 8], 0xfb);
	assert_int_equal(msr[0x10 / 8], 0xff);
	vmx_backend.set_intercept_msr(&vm, MSR_TSC, false, true);
	assert_int_equal(msr[0x10 / 8], 0xfe);
	assert_int_equal(msr[2048 + 0x10 / 8], 0xff);
}

/* --- nothing is lost when something is missing --- */

static void test_no_memory(void **state)
{
	struct vm other = { 0 };
	struct vcpu none = { .vm = &vm };
	uint64_t used = fake_frame_bytes;

	(void)state;
	fake_frame_limit = used;
	assert_int_equal(vmx_backend.vm_init(&other), -ENOMEM);
	assert_null(other.hw);
	assert_int_equal(vmx_backend.vcpu_init(&none), -ENOMEM);
	assert_null(none.hw);
	/* For the VMCS, and not for the virtual-APIC page. */
	fake_frame_limit = used + PAGE_SIZE;
	assert_int_equal(vmx_backend.vcpu_init(&none), -ENOMEM);
	assert_null(none.hw);
	assert_int_equal(fake_frame_bytes, used);
	/* Enough for the I/O maps and not for the MSR map. */
	fake_frame_limit = used + 2 * PAGE_SIZE;
	assert_int_equal(vmx_backend.vm_init(&other), -ENOMEM);
	assert_null(other.hw);
	assert_int_equal(fake_frame_bytes, used);
	fake_frame_limit = UINT64_MAX;
	entered();
}

/* VMCLEAR refuses the VMXON region's own address: here every frame's. */
static void test_vmclear_fails(void **state)
{
	struct vcpu none = { .vm = &vm };
	uint64_t used = fake_frame_bytes;

	(void)state;
	fake_vmx.vmclear_fails = true;
	assert_int_equal(vmx_backend.vcpu_init(&none), -EIO);
	fake_vmx.vmclear_fails = false;
	assert_null(none.hw);
	assert_int_equal(fake_frame_bytes, used);
	entered();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reset_state),
		TEST(test_host_state),
		TEST(test_controls),
		BARE(test_bare_controls),
		EPT_ALONE(test_ept_alone),
		TEST(test_registers),
		TEST(test_kept_registers),
		TEST(test_segments),
		TEST(test_nested_registers),
		TEST(test_host_takes_machine_checks),
		TEST(test_owned_bits),
		TEST(test_registers_carried_out),
		TEST(test_pdptes),
		IDENTITY(test_identity_map),
		OLD_CONTROLS(test_cr3_exits_always),
		SHADOW(test_shadow_registers),
		BARE(test_bare_registers),
		BARE(test_bare_efer),
		SHADOW(test_shadow_invlpg),
		TEST(test_exceptions),
		SHADOW(test_shadow_exceptions),
		SHADOW(test_made_for_a_shadow),
		TEST(test_what_flushes),
		TEST(test_flush),
		SHADOW(test_root_kinds),
		TEST(test_permission_maps),
		TEST(test_no_memory),
		TEST(test_vmclear_fails),
	};

	return cmocka_run_group_tests_name("vmx_reg", tests, NULL, NULL);
}
