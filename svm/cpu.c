/* The machine and its CPUs: what SVM they have, turning it on, ASIDs. */
#include "arch/x86_64/cpu.h"

#include "arch/x86_64/frame.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "svm/insn.h"
#include "svm/state.h"
#include "svm/svm.h"

#define SVM_MAX_CPUS 256

#define CPUID_EXT_SIZES 0x80000008u
#define CPUID_SIZES_EBX_RDPRU BIT(4)
#define CPUID_SVM 0x8000000au
#define CPUID_1_ECX_HYPERVISOR BIT(31)
#define CPUID_HYPERVISOR 0x40000000u
#define SIGNATURE_TCGT 0x54474354u
#define CPUID_7_EBX_INVPCID BIT(10)

struct svm_machine svm_machine;

static uint32_t features_mask = ~0u;
static char features_text[160];
static struct svm_cpu *cpus[SVM_MAX_CPUS]; /* by cpu->id; NULL: not enabled */

void svm_mask_features(uint32_t mask)
{
	features_mask = mask;
}

/* CR4 bits that CPUID offers, for judging a refused VMCB. APM vol. 2, 3.1.3. */
static uint64_t cr4_valid_bits(void)
{
	struct cpuid_regs one = cpuid(1, 0), seven = { 0 };
	uint64_t valid = CR4_PCE;

	if (cpuid(0, 0).eax >= 7)
		seven = cpuid(7, 0);
	const struct {
		uint32_t have;
		uint64_t bits;
	} rows[] = {
		{ one.edx & BIT(1), CR4_VME | CR4_PVI }, { one.edx & BIT(2), CR4_DE },
		{ one.edx & BIT(3), CR4_PSE },           { one.edx & BIT(4), CR4_TSD },
		{ one.edx & BIT(6), CR4_PAE },           { one.edx & BIT(7), CR4_MCE },
		{ one.edx & BIT(13), CR4_PGE },          { one.edx & BIT(24), CR4_OSFXSR },
		{ one.edx & BIT(25), CR4_OSXMMEXCPT },   { one.ecx & BIT(17), CR4_PCIDE },
		{ one.ecx & BIT(26), CR4_OSXSAVE },      { seven.ebx & BIT(0), CR4_FSGSBASE },
		{ seven.ebx & BIT(7), CR4_SMEP },        { seven.ebx & BIT(20), CR4_SMAP },
		{ seven.ecx & BIT(2), CR4_UMIP },        { seven.ecx & BIT(3), CR4_PKE },
		{ seven.ecx & BIT(7), CR4_CET },         { seven.ecx & BIT(16), CR4_LA57 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].have)
			valid |= rows[i].bits;
	return valid;
}

static bool has_rdpru(void)
{
	return cpuid(CPUID_EXT_SIZES, 0).ebx & CPUID_SIZES_EBX_RDPRU;
}

static bool has_invpcid(void)
{
	return cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & CPUID_7_EBX_INVPCID);
}

static void describe_features(uint32_t features)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} names[] = {
#define X(bit, name) { bit, name },
		SVM_FEATURES(X)
#undef X
	};
	int n = ksnprintf(features_text, sizeof(features_text), "%u ASIDs", svm_machine.nr_asids);

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if ((features & names[i].bit) && n >= 0 && n < (int)sizeof(features_text))
			n += ksnprintf(features_text + n, sizeof(features_text) - (size_t)n, " %s",
				       names[i].name);
}

/* Has this CPU what the one has on which it was all found? */
static bool is_like_first(void)
{
	struct cpuid_regs svm = cpuid(CPUID_SVM, 0);

	return (svm.edx & features_mask) == svm_machine.features &&
	       svm.ebx == svm_machine.nr_asids && has_rdpru() == svm_machine.rdpru &&
	       has_invpcid() == svm_machine.invpcid &&
	       (read_cr4() & CR4_MCE) == svm_machine.host_cr4;
}

/* Firmware may have turned SVM off for good, or for whoever does not unlock it. */
static bool disabled_by_firmware(void)
{
	uint64_t vm_cr;

	/* Bochs: VM_CR is #GP, and SVM works. */
	if (!rdmsr_safe(MSR_VM_CR, &vm_cr))
		return false;
	if (!(vm_cr & VM_CR_SVMDIS))
		return false;
	if (vm_cr & VM_CR_LOCK)
		return true;
	return !wrmsr_safe(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS);
}

/*
 * QEMU's emulation, as its leaves say. QEMU: an FXRSTOR, XRSTOR or FLDENV on any processor writes
 * to the word of the first one in which it notes whether that is in a guest, and not atomically:
 * the first one may go on in the guest without nested paging, or in the host with it.
 */
static bool runs_on_tcg(void)
{
	return (cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) &&
	       cpuid(CPUID_HYPERVISOR, 0).ebx == SIGNATURE_TCGT;
}

int svm_probe(void)
{
	const struct cpu_features *cpu = cpu_features();
	bool tcg = runs_on_tcg();
	struct cpuid_regs svm;

	if (!cpu->svm) {
		log_debug("SVM: CPUID does not offer it");
		return -ENODEV;
	}
	if (disabled_by_firmware()) {
		log_err("SVM: turned off by the firmware (VM_CR.SVMDIS): enable it in its setup");
		return -EPERM;
	}
	svm = cpuid(CPUID_SVM, 0);
	if (svm.ebx < 2) {
		log_err("SVM: CPUID offers %u ASIDs, a guest needs the second", svm.ebx);
		return -ENODEV;
	}
	svm_machine.features = svm.edx & features_mask;
	svm_machine.clean_mask = svm_machine.features & SVM_FEATURE_CLEAN ? CLEAN_ALL : 0;
	svm_machine.nr_asids = svm.ebx;
	svm_machine.rdpru = has_rdpru();
	svm_machine.invpcid = has_invpcid();
	svm_machine.arms_dr7 = svm_machine.loose_cr8 = svm_machine.loses_interrupts = tcg;
	svm_machine.vague_cr3 = tcg;
	svm_machine.host_cr4 = read_cr4() & CR4_MCE;
	svm_machine.image_start = (uintptr_t)__image_start;
	svm_machine.image_end = (uintptr_t)__image_end;
	svm_machine.limits.maxphyaddr = cpu->maxphyaddr;
	svm_machine.limits.cr4_valid = cr4_valid_bits();
	describe_features(svm_machine.features);
	svm_machine.caps = (struct backend_caps){
		.nested_paging = svm_machine.features & SVM_FEATURE_NP,
		.nested_kind = NESTED_NPT,
		.nested_1g = cpu->page_1g,
		.nested_phys_bits = cpu->maxphyaddr,
		/* The exit tells the operands, as the other decode assists do. */
		.invpcid_exits =
			svm_machine.invpcid && (svm_machine.features & SVM_FEATURE_DECODE_ASSISTS),
		.real_mode = true,
		.spares_boot_cpu = tcg,
		.features = features_text,
	};
	return 0;
}

const struct backend_caps *svm_caps(void)
{
	return &svm_machine.caps;
}

struct svm_cpu *svm_this_cpu(void)
{
	return cpus[this_cpu()->id];
}

int svm_cpu_enable(void)
{
	unsigned id = this_cpu()->id;
	struct svm_cpu *cpu;

	if (id >= SVM_MAX_CPUS)
		return trace_error(-ENOSPC);
	if (disabled_by_firmware())
		return trace_error(-EPERM);
	if (!is_like_first())
		return trace_error(-ENODEV);
	cpu = kalloc(sizeof(*cpu));
	if (!cpu)
		return trace_error(-ENOMEM);
	cpu->id = id;
	cpu->asid_generation = 1;
	/* None is left: the first entry begins a generation, and flushes what an earlier user
	 * of the ASIDs may have left in the TLB. */
	cpu->next_asid = svm_machine.nr_asids;
	cpu->host_vmcb = frame_alloc_zeroed(0, FRAME_HYPERVISOR);
	cpu->hsave = frame_alloc_zeroed(0, FRAME_HYPERVISOR);
	if (!cpu->host_vmcb.v || !cpu->hsave.v) {
		if (cpu->host_vmcb.v)
			frame_free(cpu->host_vmcb, 0, FRAME_HYPERVISOR);
		if (cpu->hsave.v)
			frame_free(cpu->hsave, 0, FRAME_HYPERVISOR);
		kfree(cpu, sizeof(*cpu));
		return trace_error(-ENOMEM);
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, cpu->hsave.v);
	svm_vmsave(cpu->host_vmcb);
	cpus[id] = cpu;
	return 0;
}

/*
 * With flush-by-ASID a flush keeps the ASID; without, a fresh ASID, which has no
 * translations, does the same. When the ASIDs run out a new generation begins: this
 * entry flushes them all, and every other vCPU of this CPU takes a new one at its own.
 */
void svm_asid_renew(struct svm_vcpu *sv)
{
	struct svm_cpu *cpu = sv->cpu;
	struct vmcb *v = sv->vmcb;

	sv->flush = false;
	if (sv->asid_generation == cpu->asid_generation &&
	    (svm_machine.features & SVM_FEATURE_FLUSH_BY_ASID)) {
		v->tlb_control = TLB_CONTROL_FLUSH_ASID;
		return;
	}
	if (cpu->next_asid >= svm_machine.nr_asids) {
		cpu->asid_generation++;
		cpu->next_asid = 1;
		v->tlb_control = TLB_CONTROL_FLUSH_ALL;
	}
	sv->asid_generation = cpu->asid_generation;
	vmcb_set_asid(v, cpu->next_asid++);
}
