#include "vmx/caps.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/panic.h"
#include "vmx/vmcs.h"

/* IA32_VMX_BASIC. SDM vol. 3, A.1. */
#define BASIC_REVISION BITS(30, 0)
#define BASIC_BELOW_4G BIT(48)
#define BASIC_MEMORY_TYPE BITS(53, 50)
#define BASIC_WRITE_BACK (UINT64_C(6) << 50)
#define BASIC_INSN_INFO_IO BIT(54)

/* IA32_VMX_MISC. A.6. */
#define MISC_TIMER_SHIFT BITS(4, 0)
#define MISC_ENTRY_LEN0 BIT(30)

/* IA32_VMX_EPT_VPID_CAP. A.10. */
#define CAP_EPT_WALK_4 BIT(6)
#define CAP_EPT_WRITE_BACK BIT(14)
#define CAP_EPT_2M BIT(16)
#define CAP_EPT_1G BIT(17)
#define CAP_INVEPT BIT(20)
#define CAP_EPT_ACCESSED_DIRTY BIT(21)
#define CAP_INVEPT_CONTEXT BIT(25)
#define CAP_INVEPT_ALL BIT(26)
#define CAP_INVVPID BIT(32)
#define CAP_INVVPID_ADDRESS BIT(40)
#define CAP_INVVPID_CONTEXT BIT(41)
#define CAP_INVVPID_ALL BIT(42)

#define CAP_EPT_NEEDED                                                                             \
	(CAP_EPT_WALK_4 | CAP_EPT_WRITE_BACK | CAP_EPT_2M | CAP_INVEPT | CAP_INVEPT_ALL)
#define CAP_VPID_NEEDED (CAP_INVVPID | CAP_INVVPID_ALL)

#define EXIT_CTL_EFER (EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER)
#define EXIT_CTL_PAT (EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT)

static bool has_all(uint64_t word, uint64_t bits)
{
	return (word & bits) == bits;
}

/* A.2: the low half's bits must be 1, the high half's may. */
static struct vmx_control control(uint64_t msr)
{
	return (struct vmx_control){ .must = (uint32_t)msr, .may = (uint32_t)(msr >> 32) };
}

struct need {
	uint64_t bit;
	const char *words;
};

static const struct need pin_needs[] = {
	{ PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting" },
	{ PIN_NMI, "NMI exiting" },
	{ PIN_VIRTUAL_NMIS, "virtual NMIs" },
};

static const struct need proc_needs[] = {
	{ PROC_INTERRUPT_WINDOW, "interrupt-window exiting" },
	{ PROC_TSC_OFFSETTING, "TSC offsetting" },
	{ PROC_HLT, "HLT exiting" },
	{ PROC_INVLPG, "INVLPG exiting" },
	{ PROC_MWAIT, "MWAIT exiting" },
	{ PROC_RDPMC, "RDPMC exiting" },
	{ PROC_CR3_LOAD, "CR3-load exiting" },
	{ PROC_CR3_STORE, "CR3-store exiting" },
	{ PROC_CR8_LOAD, "CR8-load exiting" },
	{ PROC_CR8_STORE, "CR8-store exiting" },
	{ PROC_NMI_WINDOW, "NMI-window exiting" },
	{ PROC_MOV_DR, "MOV-DR exiting" },
	{ PROC_IO_BITMAPS, "I/O bitmaps" },
	{ PROC_MSR_BITMAPS, "MSR bitmaps" },
	{ PROC_MONITOR, "MONITOR exiting" },
};

static const struct need exit_needs[] = {
	{ EXIT_CTL_SAVE_DEBUG, "saving of debug controls" },
	{ EXIT_CTL_HOST_LONG_MODE, "64-bit host" },
	{ EXIT_CTL_ACK_INTERRUPT, "acknowledging of interrupts" },
};

static const struct need entry_needs[] = {
	{ ENTRY_CTL_LOAD_DEBUG, "loading of debug controls" },
	{ ENTRY_CTL_LONG_MODE, "IA-32e mode guest" },
};

static const char *missing(const struct vmx_control *c, const struct need *needs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!(c->may & needs[i].bit))
			return needs[i].words;
	return NULL;
}

/* The first thing that Umbra cannot do without, or NULL. */
static const char *check_needs(uint64_t basic, const struct vmx_caps *caps)
{
	const struct {
		const struct vmx_control *control;
		const struct need *needs;
		unsigned n;
	} words[] = {
		{ &caps->pin, pin_needs, ARRAY_SIZE(pin_needs) },
		{ &caps->proc, proc_needs, ARRAY_SIZE(proc_needs) },
		{ &caps->exit, exit_needs, ARRAY_SIZE(exit_needs) },
		{ &caps->entry, entry_needs, ARRAY_SIZE(entry_needs) },
	};

	/* A processor with long mode has no such limit, A.1. */
	if (basic & BASIC_BELOW_4G)
		return "VMCS above 4 GiB";
	if ((basic & BASIC_MEMORY_TYPE) != BASIC_WRITE_BACK)
		return "VMCS in write-back memory";
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		const char *words_missing = missing(words[i].control, words[i].needs, words[i].n);

		if (words_missing)
			return words_missing;
	}
	return NULL;
}

/* EPT is of use with the tables that paging/nested.h makes, with a way to drop what the processor
 * keeps of them, and with the guest's own EFER and PAT in the VMCS, which it pages by. */
static void fold_ept(uint64_t cap, uint32_t mask, struct vmx_caps *caps)
{
	caps->ept = (mask & VMX_FEATURE_EPT) && (caps->proc2.may & PROC2_EPT) &&
		    has_all(cap, CAP_EPT_NEEDED) && caps->load_efer && caps->load_pat;
	if (!caps->ept)
		return;
	caps->ept_1g = (cap & CAP_EPT_1G) && (mask & VMX_FEATURE_EPT_1G);
	caps->ept_accessed_dirty = cap & CAP_EPT_ACCESSED_DIRTY;
	caps->invept_context = (cap & CAP_INVEPT_CONTEXT) && (mask & VMX_FEATURE_INVEPT_CONTEXT);
	caps->unrestricted_guest = (caps->proc2.may & PROC2_UNRESTRICTED_GUEST) &&
				   (mask & VMX_FEATURE_UNRESTRICTED_GUEST);
}

static void fold_vpid(uint64_t cap, uint32_t mask, struct vmx_caps *caps)
{
	caps->vpid = (mask & VMX_FEATURE_VPID) && (caps->proc2.may & PROC2_VPID) &&
		     has_all(cap, CAP_VPID_NEEDED);
	if (!caps->vpid)
		return;
	caps->invvpid_address = cap & CAP_INVVPID_ADDRESS;
	caps->invvpid_context = (cap & CAP_INVVPID_CONTEXT) && (mask & VMX_FEATURE_INVVPID_CONTEXT);
}

/* All of these want the TPR shadow. SDM vol. 3, 26.2.1.1. */
static void fold_apic(uint32_t mask, struct vmx_caps *caps)
{
	const uint32_t proc2 = caps->proc2.may;

	caps->tpr_shadow = (caps->proc.may & PROC_TPR_SHADOW) && (mask & VMX_FEATURE_TPR_SHADOW);
	if (!caps->tpr_shadow)
		return;
	caps->apic_accesses = (proc2 & PROC2_APIC_ACCESSES) && (mask & VMX_FEATURE_APIC_ACCESSES);
	caps->x2apic_mode = (proc2 & PROC2_X2APIC_MODE) && (mask & VMX_FEATURE_X2APIC_MODE);
	caps->apic_registers =
		(proc2 & PROC2_APIC_REGISTERS) && (mask & VMX_FEATURE_APIC_REGISTERS);
	caps->virtual_interrupts =
		(proc2 & PROC2_VIRTUAL_INTERRUPTS) && (mask & VMX_FEATURE_VIRTUAL_INTERRUPTS);
	caps->posted_interrupts = caps->virtual_interrupts &&
				  (caps->pin.may & PIN_POSTED_INTERRUPTS) &&
				  (mask & VMX_FEATURE_POSTED_INTERRUPTS);
}

static uint32_t features_of(const struct vmx_caps *caps, bool true_controls)
{
	const struct {
		bool have;
		uint32_t feature;
	} rows[] = {
		{ caps->ept, VMX_FEATURE_EPT },
		{ caps->vpid, VMX_FEATURE_VPID },
		{ caps->unrestricted_guest, VMX_FEATURE_UNRESTRICTED_GUEST },
		{ caps->preemption_timer, VMX_FEATURE_PREEMPTION_TIMER },
		{ caps->ept_1g, VMX_FEATURE_EPT_1G },
		{ caps->pause_loop, VMX_FEATURE_PAUSE_LOOP },
		{ caps->invvpid_context, VMX_FEATURE_INVVPID_CONTEXT },
		{ caps->invept_context, VMX_FEATURE_INVEPT_CONTEXT },
		{ true_controls, VMX_FEATURE_TRUE_CONTROLS },
		{ caps->tpr_shadow, VMX_FEATURE_TPR_SHADOW },
		{ caps->apic_accesses, VMX_FEATURE_APIC_ACCESSES },
		{ caps->x2apic_mode, VMX_FEATURE_X2APIC_MODE },
		{ caps->apic_registers, VMX_FEATURE_APIC_REGISTERS },
		{ caps->virtual_interrupts, VMX_FEATURE_VIRTUAL_INTERRUPTS },
		{ caps->posted_interrupts, VMX_FEATURE_POSTED_INTERRUPTS },
	};
	uint32_t features = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].have)
			features |= rows[i].feature;
	return features;
}

const char *vmx_caps_fold(const struct vmx_cap_msrs *msrs, uint32_t features_mask,
			  struct vmx_caps *caps)
{
	const char *missing_words;

	*caps = (struct vmx_caps){
		.revision = (uint32_t)(msrs->basic & BASIC_REVISION),
		.insn_info_io = msrs->basic & BASIC_INSN_INFO_IO,
		.pin = control(msrs->pin),
		.proc = control(msrs->proc),
		.exit = control(msrs->exit),
		.entry = control(msrs->entry),
		.cr0_fixed0 = msrs->cr0_fixed0,
		.cr0_fixed1 = msrs->cr0_fixed1,
		.cr4_fixed0 = msrs->cr4_fixed0,
		.cr4_fixed1 = msrs->cr4_fixed1,
		.timer_shift = (unsigned)(msrs->misc & MISC_TIMER_SHIFT),
		.entry_len0 = msrs->misc & MISC_ENTRY_LEN0,
	};
	missing_words = check_needs(msrs->basic, caps);
	if (missing_words)
		return missing_words;
	if (caps->proc.may & PROC_SECONDARY)
		caps->proc2 = control(msrs->proc2);
	caps->load_efer =
		has_all(caps->exit.may, EXIT_CTL_EFER) && (caps->entry.may & ENTRY_CTL_LOAD_EFER);
	caps->load_pat =
		has_all(caps->exit.may, EXIT_CTL_PAT) && (caps->entry.may & ENTRY_CTL_LOAD_PAT);
	fold_ept(msrs->ept_vpid, features_mask, caps);
	fold_vpid(msrs->ept_vpid, features_mask, caps);
	caps->preemption_timer = (caps->pin.may & PIN_PREEMPTION_TIMER) &&
				 (features_mask & VMX_FEATURE_PREEMPTION_TIMER);
	caps->pause_loop =
		(caps->proc2.may & PROC2_PAUSE_LOOP) && (features_mask & VMX_FEATURE_PAUSE_LOOP);
	fold_apic(features_mask, caps);
	caps->rdtscp = caps->proc2.may & PROC2_RDTSCP;
	caps->invpcid = caps->proc2.may & PROC2_INVPCID;
	caps->wbinvd = caps->proc2.may & PROC2_WBINVD;
	caps->features = features_of(caps, (msrs->basic & VMX_BASIC_TRUE_CONTROLS) &&
						   (features_mask & VMX_FEATURE_TRUE_CONTROLS));
	return NULL;
}

uint32_t vmx_control_word(const struct vmx_control *c, uint32_t wanted)
{
	kassert(!(wanted & ~c->may));
	return wanted | c->must;
}
