#include "tests/host/fake_vmx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/mm.h"
#include "tests/host/fakes.h"
#include "vmx/state.h"
#include "vmx/vmx.h"

/* --- the processor --- */

struct fake_cpu fake_cpu;
static struct cpu cpu[FAKE_CPUS];
static unsigned cpu_id;

#define FAKE_MSRS 64
static struct fake_msrs {
	struct {
		bool there;
		uint32_t msr;
		uint64_t val;
	} at[FAKE_MSRS];
} msrs;

struct cpu *fake_this_cpu(void)
{
	cpu[cpu_id].id = cpu_id;
	return &cpu[cpu_id];
}

/* What each has to itself, while another one is the one that runs. */
static struct {
	struct fake_cpu cpu;
	struct fake_msrs msrs;
	hpa_t vmxon;
	struct fake_vmcs *current;
} saved[FAKE_CPUS];

void fake_cpu_switch(unsigned id)
{
	saved[cpu_id].cpu = fake_cpu;
	saved[cpu_id].msrs = msrs;
	saved[cpu_id].vmxon = fake_vmx.vmxon;
	saved[cpu_id].current = fake_vmx.current;
	cpu_id = id;
	fake_cpu = saved[id].cpu;
	msrs = saved[id].msrs;
	fake_vmx.vmxon = saved[id].vmxon;
	fake_vmx.current = saved[id].current;
}

/* Its place; FAKE_MSRS: the processor does not have it. */
static unsigned find_msr(uint32_t msr)
{
	unsigned i;

	for (i = 0; i < FAKE_MSRS; i++)
		if (msrs.at[i].there && msrs.at[i].msr == msr)
			break;
	return i;
}

void fake_msr_set(uint32_t msr, uint64_t val)
{
	unsigned i = find_msr(msr);

	if (i == FAKE_MSRS)
		for (i = 0; i < FAKE_MSRS && msrs.at[i].there; i++)
			;
	assert_true(i < FAKE_MSRS);
	msrs.at[i].there = true;
	msrs.at[i].msr = msr;
	msrs.at[i].val = val;
}

void fake_msr_remove(uint32_t msr)
{
	unsigned i = find_msr(msr);

	if (i < FAKE_MSRS)
		msrs.at[i].there = false;
}

bool fake_rdmsr_safe(uint32_t msr, uint64_t *val)
{
	unsigned i = find_msr(msr);

	if (i == FAKE_MSRS)
		return false;
	*val = msrs.at[i].val;
	return true;
}

bool fake_wrmsr_safe(uint32_t msr, uint64_t val)
{
	unsigned i = find_msr(msr);

	if (i == FAKE_MSRS)
		return false;
	msrs.at[i].val = val;
	fake_cpu.msr_writes++;
	return true;
}

struct cpuid_regs fake_vmx_cpuid(uint32_t leaf, uint32_t subleaf)
{
	unsigned i = find_msr(MSR_BIOS_SIGN_ID);

	(void)subleaf;
	if (leaf == 1 && i < FAKE_MSRS)
		msrs.at[i].val = (uint64_t)fake_cpu.microcode << 32;
	return (struct cpuid_regs){ 0 };
}

uint64_t fake_msr(uint32_t msr)
{
	uint64_t val = 0;

	if (!fake_rdmsr_safe(msr, &val))
		fail_msg("MSR 0x%x is read, and is not there", msr);
	return val;
}

void fake_wrmsr(uint32_t msr, uint64_t val)
{
	if (!fake_wrmsr_safe(msr, val))
		fail_msg("MSR 0x%x is written, and is not there", msr);
}

void fake_write_cr2(uint64_t val)
{
	fake_cpu.cr2 = val;
	fake_cpu.cr2_writes++;
}

void fake_write_cr4(uint64_t val)
{
	fake_cpu.cr4 = val;
	fake_cpu.cr4_writes++;
}

void fake_write_dr6(uint64_t val)
{
	fake_cpu.dr6 = val;
	fake_cpu.dr6_writes++;
}

/* --- VMX --- */

struct fake_vmx fake_vmx;

#define FAKE_VMCSS 8
static struct fake_vmcs vmcss[FAKE_VMCSS];

static const struct {
	const char *name;
	uint32_t encoding;
} fields[VMCS_INDEXES] = {
#define X(constant, encoding) [INDEX_##constant] = { #constant, encoding },
	VMCS_FIELDS_16(X) VMCS_FIELDS_32(X) VMCS_FIELDS_64(X) VMCS_FIELDS_N(X)
#undef X
};

/* What an encoding says of its field. SDM vol. 3, 24.11.2. */
enum { TYPE_CONTROL, TYPE_READ_ONLY, TYPE_GUEST, TYPE_HOST };

static unsigned type_of(uint32_t field)
{
	return field >> 10 & 3;
}

static uint64_t width_mask(uint32_t field)
{
	static const uint64_t masks[] = { BITS(15, 0), BITS(63, 0), BITS(31, 0), BITS(63, 0) };

	return masks[field >> 13 & 3];
}

/* The host's side of a world switch: never run. */
void vmx_exit_point(void)
{
	fail_msg("vmx_exit_point() is the processor's to call");
}

/* Code, data, TSS: as arch/x86_64/gdt.h has them. */
const uint64_t fake_gdt[8] = {
	[SEL_CODE / 8] = 0x00209b0000000000,
	[SEL_DATA / 8] = 0x00c0930000000000,
	[SEL_TSS / 8] = 0x67 | (FAKE_TSS_BASE & BITS(23, 0)) << 16 | UINT64_C(0x8b) << 40 |
			(FAKE_TSS_BASE >> 24 & BITS(7, 0)) << 56,
	[SEL_TSS / 8 + 1] = FAKE_TSS_BASE >> 32,
};

static const struct {
	uint32_t msr;
	uint64_t val;
} haswell[] = {
	{ MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX },
	{ MSR_VMX_BASIC, 0x00da040000000012 },
	{ MSR_VMX_PIN_CONTROLS, 0x0000007f00000016 },
	{ MSR_VMX_PROC_CONTROLS, 0xfff9fffe0401e172 },
	{ MSR_VMX_EXIT_CONTROLS, 0x007fffff00036dff },
	{ MSR_VMX_ENTRY_CONTROLS, 0x0000ffff000011ff },
	{ MSR_VMX_MISC, 0x00000000300481e5 },
	{ MSR_VMX_CR0_FIXED0, 0x80000021 },
	{ MSR_VMX_CR0_FIXED1, 0xffffffff },
	{ MSR_VMX_CR4_FIXED0, 0x2000 },
	{ MSR_VMX_CR4_FIXED1, 0x1767ff },
	{ MSR_VMX_PROC2_CONTROLS, 0x00007cff00000000 },
	{ MSR_VMX_EPT_VPID_CAP, 0x00000f0106734141 },
	{ MSR_VMX_TRUE_PIN_CONTROLS, 0x0000007f00000016 },
	{ MSR_VMX_TRUE_PROC_CONTROLS, 0xfff9fffe04006172 },
	{ MSR_VMX_TRUE_EXIT_CONTROLS, 0x007fffff00036dfb },
	{ MSR_VMX_TRUE_ENTRY_CONTROLS, 0x0000ffff000011fb },
	{ MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE },
	{ MSR_PAT, PAT_RESET },
	{ MSR_FS_BASE, 0 },
	{ MSR_GS_BASE, 0xffffffff80a03000 },
	{ MSR_KERNEL_GS_BASE, 0 },
	{ MSR_STAR, 0 },
	{ MSR_LSTAR, 0 },
	{ MSR_CSTAR, 0 },
	{ MSR_SFMASK, 0 },
	{ MSR_SYSENTER_CS, 0 },
	{ MSR_SYSENTER_ESP, 0 },
	{ MSR_SYSENTER_EIP, 0 },
};

void fake_vmx_reset(void)
{
	memset(&fake_vmx, 0, sizeof(fake_vmx));
	memset(&fake_cpu, 0, sizeof(fake_cpu));
	memset(vmcss, 0, sizeof(vmcss));
	cpu_id = 0;
	memset(&msrs, 0, sizeof(msrs));
	for (size_t i = 0; i < ARRAY_SIZE(haswell); i++)
		fake_msr_set(haswell[i].msr, haswell[i].val);
	fake_cpu.cr0 = CR0_PE | CR0_ET | CR0_WP | CR0_PG;
	fake_cpu.cr3 = 0x1000000;
	fake_cpu.cr4 = CR4_PAE;
	fake_cpu.dr6 = DR6_INIT;
	for (unsigned i = 1; i < FAKE_CPUS; i++) {
		saved[i].cpu = fake_cpu;
		saved[i].msrs = msrs;
		saved[i].vmxon = HPA(0);
		saved[i].current = NULL;
	}
	fake_cpu_features = (struct cpu_features){
		.intel = true,
		.vmx = true,
		.nx = true,
		.page_1g = true,
		.maxphyaddr = 48, /* the frames are the host's memory */
	};
}

void fake_vmx_start(uint32_t mask)
{
	fake_vmx_reset();
	vmx_mask_features(mask);
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_cpu_enable(), 0);
	memset(&fake_vmx.invept, 0, sizeof(fake_vmx.invept));
	memset(&fake_vmx.invvpid, 0, sizeof(fake_vmx.invvpid));
}

void fake_vmx_stop(void)
{
	struct vmx_cpu *enabled = vmx_this_cpu();

	frame_free(enabled->vmxon, 0, FRAME_HYPERVISOR);
	kfree(enabled, sizeof(*enabled));
	fake_vmx.vmxon = HPA(0);
}

/* Of the fields that Umbra names, the processor has those of the controls it has. */
static bool has_field(uint32_t field)
{
	const struct vmx_caps *caps = &vmx_machine.vmx;

	switch (field) {
	case VMCS_VPID:
		return caps->vpid;
	case VMCS_EPT_POINTER:
	case VMCS_GUEST_PHYSICAL_ADDRESS:
	case VMCS_GUEST_PDPTE0:
	case VMCS_GUEST_PDPTE1:
	case VMCS_GUEST_PDPTE2:
	case VMCS_GUEST_PDPTE3:
		return caps->ept;
	case VMCS_GUEST_EFER:
	case VMCS_HOST_EFER:
		return caps->load_efer;
	case VMCS_GUEST_PAT:
	case VMCS_HOST_PAT:
		return caps->load_pat;
	case VMCS_PREEMPTION_TIMER:
		return caps->preemption_timer;
	case VMCS_PROC2_CONTROLS:
		return caps->proc.may & PROC_SECONDARY;
	case VMCS_PLE_GAP:
	case VMCS_PLE_WINDOW:
		return caps->pause_loop;
	case VMCS_TPR_THRESHOLD:
	case VMCS_VIRTUAL_APIC_ADDR:
		return caps->tpr_shadow;
	case VMCS_APIC_ACCESS_ADDR:
		return caps->apic_accesses;
	case VMCS_GUEST_INTERRUPT_STATUS:
	case VMCS_EOI_EXIT_BITMAP0:
	case VMCS_EOI_EXIT_BITMAP1:
	case VMCS_EOI_EXIT_BITMAP2:
	case VMCS_EOI_EXIT_BITMAP3:
		return caps->virtual_interrupts;
	case VMCS_POSTED_INTERRUPT_VECTOR:
	case VMCS_POSTED_INTERRUPT_DESCRIPTOR:
		return caps->posted_interrupts;
	default:
		return true;
	}
}

static unsigned index_of(uint32_t field)
{
	unsigned i;

	for (i = 0; i < VMCS_INDEXES; i++)
		if (fields[i].encoding == field)
			return i;
	fail_msg("0x%x is no field", field);
	return 0;
}

/* An access by instruction. */
static unsigned access_field(uint32_t field)
{
	unsigned i = index_of(field);

	if (!fake_vmx.current)
		fail_msg("%s, and no VMCS is current", fields[i].name);
	if (!has_field(field))
		fail_msg("%s, which this processor does not have", fields[i].name);
	return i;
}

uint64_t vmx_vmread(uint32_t field)
{
	unsigned i = access_field(field);

	fake_vmx.vmreads++;
	return fake_vmx.current->image.field[i];
}

void vmx_vmwrite(uint32_t field, uint64_t val)
{
	unsigned i = access_field(field);

	if (type_of(field) == TYPE_READ_ONLY)
		fail_msg("%s is written, which is read-only", fields[i].name);
	fake_vmx.vmwrites++;
	fake_vmx.writes[i]++;
	fake_vmx.current->image.field[i] = val & width_mask(field);
}

uint64_t fake_vmcs_get(uint32_t field)
{
	assert_non_null(fake_vmx.current);
	return fake_vmx.current->image.field[index_of(field)];
}

void fake_vmcs_set(uint32_t field, uint64_t val)
{
	assert_non_null(fake_vmx.current);
	fake_vmx.current->image.field[index_of(field)] = val & width_mask(field);
}

unsigned fake_vmcs_writes(uint32_t field)
{
	return fake_vmx.writes[index_of(field)];
}

/* Does what software puts into a region before the processor owns it hold? */
static bool region_ok(hpa_t pa)
{
	return pa.v && IS_ALIGNED(pa.v, PAGE_SIZE) &&
	       *(const uint32_t *)hpa_to_ptr(pa) == vmx_machine.vmx.revision;
}

bool vmx_vmxon(hpa_t pa)
{
	assert_true(fake_cpu.cr4 & CR4_VMXE);
	assert_true(fake_cpu.cr0 & CR0_NE);
	if (fake_vmx.vmxon_fails || fake_vmx.vmxon.v || !region_ok(pa))
		return false;
	fake_vmx.vmxon = pa;
	return true;
}

static struct fake_vmcs *find_vmcs(hpa_t pa)
{
	for (unsigned i = 0; i < FAKE_VMCSS; i++)
		if (vmcss[i].pa.v == pa.v)
			return &vmcss[i];
	return NULL;
}

/* The processor need not read a VMCS' fields from its region, nor are zeros there zeros to it. */
static struct fake_vmcs *new_vmcs(hpa_t pa)
{
	struct fake_vmcs *v = find_vmcs(HPA(0));

	assert_non_null(v);
	v->pa = pa;
	for (unsigned i = 0; i < VMCS_INDEXES; i++)
		v->image.field[i] = UINT64_C(0xa5a5a5a5a5a5a5a5) & width_mask(fields[i].encoding);
	return v;
}

/* SDM vol. 3, 24.11.1: it must not be active on two. */
static void only_active_here(const struct fake_vmcs *v, const char *insn)
{
	if (v->active && v->active_on != cpu_id)
		fail_msg("%s of a VMCS that is active on CPU %u, here on CPU %u", insn,
			 v->active_on, cpu_id);
}

bool vmx_vmclear(hpa_t pa)
{
	struct fake_vmcs *v;

	assert_true(fake_vmx.vmxon.v);
	if (fake_vmx.vmclear_fails || !pa.v || !IS_ALIGNED(pa.v, PAGE_SIZE) ||
	    pa.v == fake_vmx.vmxon.v)
		return false;
	v = find_vmcs(pa);
	if (!v)
		v = new_vmcs(pa);
	only_active_here(v, "VMCLEAR");
	v->launched = v->active = false;
	if (fake_vmx.current == v)
		fake_vmx.current = NULL;
	fake_vmx.vmclears++;
	return true;
}

bool vmx_vmptrld(hpa_t pa)
{
	assert_true(fake_vmx.vmxon.v);
	if (!region_ok(pa) || pa.v == fake_vmx.vmxon.v)
		return false;
	if (!find_vmcs(pa))
		fail_msg("VMPTRLD of a VMCS without a VMCLEAR before");
	fake_vmx.current = find_vmcs(pa);
	only_active_here(fake_vmx.current, "VMPTRLD");
	fake_vmx.current->active = true;
	fake_vmx.current->active_on = cpu_id;
	fake_vmx.vmptrlds++;
	return true;
}

void fake_vmx_entered(bool resume)
{
	assert_non_null(fake_vmx.current);
	assert_int_equal(fake_vmx.current->launched, resume);
	fake_vmx.current->launched = true;
}

static void note_inv(struct fake_inv *inv, uint64_t type, const struct vmx_inv_descriptor *d)
{
	assert_true(fake_vmx.vmxon.v);
	inv->count++;
	inv->type = type;
	inv->first = d->first;
	inv->second = d->second;
}

bool vmx_invept(uint64_t type, const struct vmx_inv_descriptor *d)
{
	const struct vmx_caps *caps = &vmx_machine.vmx;

	note_inv(&fake_vmx.invept, type, d);
	if (!caps->ept || d->second)
		return false;
	return type == INVEPT_ALL || (type == INVEPT_CONTEXT && caps->invept_context);
}

bool vmx_invvpid(uint64_t type, const struct vmx_inv_descriptor *d)
{
	const struct vmx_caps *caps = &vmx_machine.vmx;

	note_inv(&fake_vmx.invvpid, type, d);
	if (!caps->vpid || d->first > UINT16_MAX)
		return false;
	switch (type) {
	case INVVPID_ADDRESS:
		return caps->invvpid_address && d->first;
	case INVVPID_CONTEXT:
		return caps->invvpid_context && d->first;
	default:
		return type == INVVPID_ALL;
	}
}

void vmx_take_nmi(void)
{
	fake_vmx.nmis++;
}

void trap_take(unsigned vector)
{
	fake_vmx.interrupts++;
	fake_vmx.vector = vector;
}

void vmx_take_machine_check(void)
{
	fake_vmx.machine_checks++;
}
