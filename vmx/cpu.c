/* The machine and its CPUs: what VMX they have, and turning it on. */
#include "arch/x86_64/cpu.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "vmm/cpuid.h"
#include "vmx/insn.h"
#include "vmx/state.h"
#include "vmx/vmx.h"

#define VMX_MAX_CPUS 256
/* So often a guest with IF clear is left, at least. */
#define DEAF_PER_SEC 1000
#define EPT_WALK_BITS 48u /* what four levels translate */
#define BOCHS_REVISION 0x2bu

struct vmx_machine vmx_machine;

static uint32_t features_mask = ~0u;
static struct vmx_cap_msrs first_caps; /* of the CPU that booted */
static char features_text[256];
static struct vmx_cpu *cpus[VMX_MAX_CPUS]; /* by cpu->id; NULL: not enabled */

void vmx_mask_features(uint32_t mask)
{
	features_mask = mask;
}

static void describe_features(uint32_t features)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} names[] = {
#define X(bit, name) { bit, name },
		VMX_FEATURES(X)
#undef X
	};
	int n = ksnprintf(features_text, sizeof(features_text), "VMCS %x",
			  (unsigned)vmx_machine.vmx.revision);

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if ((features & names[i].bit) && n >= 0 && n < (int)sizeof(features_text))
			n += ksnprintf(features_text + n, sizeof(features_text) - (size_t)n, " %s",
				       names[i].name);
}

/* Has the firmware turned VMX off, and locked it so? SDM vol. 3, 23.7. */
static bool disabled_by_firmware(void)
{
	uint64_t control;

	return rdmsr_safe(MSR_FEATURE_CONTROL, &control) && (control & FEATURE_CONTROL_LOCK) &&
	       !(control & FEATURE_CONTROL_VMX);
}

/* VMXON wants it locked; firmware that leaves it open leaves that to us. */
static void lock_feature_control(void)
{
	uint64_t control;

	if (rdmsr_safe(MSR_FEATURE_CONTROL, &control) && !(control & FEATURE_CONTROL_LOCK))
		wrmsr_safe(MSR_FEATURE_CONTROL,
			   control | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
}

static uint64_t read_cap(uint32_t msr)
{
	uint64_t val;

	return rdmsr_safe(msr, &val) ? val : 0;
}

/* SDM vol. 3, appendix A says which of these there are. */
static void read_caps(struct vmx_cap_msrs *m)
{
	bool tell_true;

	m->basic = read_cap(MSR_VMX_BASIC);
	tell_true =
		(m->basic & VMX_BASIC_TRUE_CONTROLS) && (features_mask & VMX_FEATURE_TRUE_CONTROLS);
	m->pin = read_cap(tell_true ? MSR_VMX_TRUE_PIN_CONTROLS : MSR_VMX_PIN_CONTROLS);
	m->proc = read_cap(tell_true ? MSR_VMX_TRUE_PROC_CONTROLS : MSR_VMX_PROC_CONTROLS);
	m->exit = read_cap(tell_true ? MSR_VMX_TRUE_EXIT_CONTROLS : MSR_VMX_EXIT_CONTROLS);
	m->entry = read_cap(tell_true ? MSR_VMX_TRUE_ENTRY_CONTROLS : MSR_VMX_ENTRY_CONTROLS);
	m->misc = read_cap(MSR_VMX_MISC);
	m->cr0_fixed0 = read_cap(MSR_VMX_CR0_FIXED0);
	m->cr0_fixed1 = read_cap(MSR_VMX_CR0_FIXED1);
	m->cr4_fixed0 = read_cap(MSR_VMX_CR4_FIXED0);
	m->cr4_fixed1 = read_cap(MSR_VMX_CR4_FIXED1);
	if (m->proc >> 32 & PROC_SECONDARY)
		m->proc2 = read_cap(MSR_VMX_PROC2_CONTROLS);
	if (m->proc2 >> 32 & (PROC2_EPT | PROC2_VPID))
		m->ept_vpid = read_cap(MSR_VMX_EPT_VPID_CAP);
}

/* The VMCS's revision is Bochs' own, and there is no microcode, which every processor of Intel's
 * has. SDM vol. 3, 9.11.7.1. */
static bool runs_on_bochs(uint32_t revision)
{
	uint64_t microcode = 0;

	if (revision != BOCHS_REVISION)
		return false;
	wrmsr_safe(MSR_BIOS_SIGN_ID, 0);
	cpuid(1, 0);
	return !rdmsr_safe(MSR_BIOS_SIGN_ID, &microcode) || !(microcode >> 32);
}

/*
 * Bochs: an external interrupt that comes while a virtual one waits for IF alone makes the
 * processor deliver that one, with IF clear; and an exit in the middle of a virtual interrupt's
 * delivery tells of whatever event came before it. A mask of the user's is taken at its word.
 */
static uint32_t features_wanted(uint64_t basic)
{
	if (features_mask != UINT32_MAX || !runs_on_bochs((uint32_t)basic))
		return features_mask;
	return features_mask & (uint32_t)~VMX_FEATURE_VIRTUAL_INTERRUPTS;
}

int vmx_probe(void)
{
	const struct cpu_features *cpu = cpu_features();
	const struct vmx_caps *caps = &vmx_machine.vmx;
	const char *missing;

	if (!cpu->vmx) {
		log_debug("VMX: CPUID does not offer it");
		return -ENODEV;
	}
	if (disabled_by_firmware()) {
		log_err("VMX: turned off by the firmware (IA32_FEATURE_CONTROL): enable it in its "
			"setup");
		return -EPERM;
	}
	first_caps = (struct vmx_cap_msrs){ 0 };
	read_caps(&first_caps);
	missing = vmx_caps_fold(&first_caps, features_wanted(first_caps.basic), &vmx_machine.vmx);
	if (missing) {
		log_err("VMX: the processor has no %s", missing);
		return -ENODEV;
	}
	vmx_machine.deaf_ticks =
		(uint32_t)MIN(clock_tsc_hz() / DEAF_PER_SEC >> caps->timer_shift, UINT32_MAX);
	describe_features(caps->features);
	vmx_machine.caps = (struct backend_caps){
		.nested_paging = caps->ept,
		.nested_kind = NESTED_EPT,
		.nested_1g = caps->ept_1g,
		.nested_phys_bits = MIN(cpu->maxphyaddr, EPT_WALK_BITS),
		.nested_unpaged = caps->unrestricted_guest,
		.identity_map = caps->ept && !caps->unrestricted_guest,
		.preemption_timer = caps->preemption_timer,
		.real_mode = caps->unrestricted_guest,
		.apic_page = caps->apic_accesses,
		.virtual_interrupts = caps->virtual_interrupts,
		.posted_interrupts = caps->posted_interrupts,
		/* It exits along with INVLPG only, which the guest may have under shadow paging. */
		.invpcid_exits = false,
		.features = features_text,
	};
	return 0;
}

const struct backend_caps *vmx_caps(void)
{
	return &vmx_machine.caps;
}

/* Addresses are as wide as the processor can have them, whatever CR4.LA57 says now. */
struct vmx_limits vmx_limits(void)
{
	return (struct vmx_limits){
		.caps = &vmx_machine.vmx,
		.maxphyaddr = cpu_features()->maxphyaddr,
		.linear_bits = cpuid_policy()->la57 ? 57 : 48,
	};
}

struct vmx_cpu *vmx_this_cpu(void)
{
	return cpus[this_cpu()->id];
}

/* The bits that VMX operation fixes. SDM vol. 3, 23.8. */
static bool fix_control_registers(void)
{
	const struct vmx_caps *caps = &vmx_machine.vmx;
	uint64_t cr0 = read_cr0() | CR0_NE;
	uint64_t cr4 = read_cr4() | CR4_VMXE;

	if ((~cr0 & caps->cr0_fixed0) || (cr0 & ~caps->cr0_fixed1)) {
		log_err("VMX: CR0 is %llx, VMX fixes %llx to 1 and all but %llx to 0",
			(unsigned long long)cr0, (unsigned long long)caps->cr0_fixed0,
			(unsigned long long)caps->cr0_fixed1);
		return false;
	}
	if ((~cr4 & caps->cr4_fixed0) || (cr4 & ~caps->cr4_fixed1)) {
		log_err("VMX: CR4 is %llx, VMX fixes %llx to 1 and all but %llx to 0",
			(unsigned long long)cr4, (unsigned long long)caps->cr4_fixed0,
			(unsigned long long)caps->cr4_fixed1);
		return false;
	}
	write_cr0(cr0);
	write_cr4(cr4);
	return true;
}

/* Has this CPU what the one has for which the controls were chosen? */
static bool is_like_first(void)
{
	struct vmx_cap_msrs msrs = { 0 };

	read_caps(&msrs);
	return !memcmp(&msrs, &first_caps, sizeof(msrs));
}

static int turn_on(hpa_t vmxon)
{
	if (disabled_by_firmware())
		return trace_error(-EPERM);
	if (!is_like_first())
		return trace_error(-ENODEV);
	if (!fix_control_registers())
		return trace_error(-EIO);
	lock_feature_control();
	*(uint32_t *)hpa_to_ptr(vmxon) = vmx_machine.vmx.revision;
	if (!vmx_vmxon(vmxon)) {
		log_err("VMX: VMXON failed");
		return trace_error(-EIO);
	}
	/* What an earlier user of VMX may have left. */
	vmx_tlb_forget_all();
	return 0;
}

int vmx_cpu_enable(void)
{
	unsigned id = this_cpu()->id;
	struct vmx_cpu *cpu;
	int err = -ENOMEM;

	if (id >= VMX_MAX_CPUS)
		return trace_error(-ENOSPC);
	cpu = kalloc(sizeof(*cpu));
	if (!cpu)
		return trace_error(-ENOMEM);
	cpu->id = id;
	cpu->vpid_generation = 1;
	cpu->next_vpid = 1;
	cpu->vmxon = frame_alloc_zeroed(0, FRAME_HYPERVISOR);
	if (cpu->vmxon.v)
		err = turn_on(cpu->vmxon);
	if (!err) {
		cpus[id] = cpu;
		return 0;
	}
	if (cpu->vmxon.v)
		frame_free(cpu->vmxon, 0, FRAME_HYPERVISOR);
	kfree(cpu, sizeof(*cpu));
	return trace_error(err);
}
