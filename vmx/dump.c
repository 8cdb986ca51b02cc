/* The VMCS in the log: all of it in lines, and why it was refused. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "vmm/vm.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/state.h"

typedef unsigned long long ull;

void vmx_read_image(struct vmcs_image *image)
{
	for (unsigned i = 0; i < VMCS_INDEXES; i++)
		image->field[i] = vmx_field_there(i, &vmx_machine.vmx)
					  ? vmx_vmread(vmx_field_info(i)->encoding)
					  : 0;
}

/* --- a refused entry --- */

/* SDM vol. 3, 30.4. */
static const char *const instruction_errors[] = {
	[1] = "VMCALL executed in VMX root operation",
	[2] = "VMCLEAR with invalid physical address",
	[3] = "VMCLEAR with VMXON pointer",
	[4] = "VMLAUNCH with non-clear VMCS",
	[5] = "VMRESUME with non-launched VMCS",
	[6] = "VMRESUME after VMXOFF",
	[7] = "VM entry with invalid control field(s)",
	[8] = "VM entry with invalid host-state field(s)",
	[9] = "VMPTRLD with invalid physical address",
	[10] = "VMPTRLD with VMXON pointer",
	[11] = "VMPTRLD with incorrect VMCS revision identifier",
	[12] = "VMREAD/VMWRITE from/to unsupported VMCS component",
	[13] = "VMWRITE to read-only VMCS component",
	[15] = "VMXON executed in VMX root operation",
	[16] = "VM entry with invalid executive-VMCS pointer",
	[17] = "VM entry with non-launched executive VMCS",
	[18] = "VM entry with executive-VMCS pointer not VMXON pointer",
	[19] = "VMCALL with non-clear VMCS",
	[20] = "VMCALL with invalid VM-exit control fields",
	[22] = "VMCALL with incorrect MSEG revision identifier",
	[23] = "VMXOFF under dual-monitor treatment of SMIs and SMM",
	[24] = "VMCALL with invalid SMM-monitor features",
	[25] = "VM entry with invalid VM-execution control fields in executive VMCS",
	[26] = "VM entry with events blocked by MOV SS",
	[28] = "invalid operand to INVEPT/INVVPID",
};

static const char *error_text(uint32_t error)
{
	if (!error)
		return "no current VMCS";
	if (error < ARRAY_SIZE(instruction_errors) && instruction_errors[error])
		return instruction_errors[error];
	return "an unknown error";
}

/* What the qualification says of invalid guest state. SDM vol. 3, 26.8. */
static const char *guest_state_text(uint64_t qualification)
{
	switch (qualification) {
	case 2:
		return "invalid guest state: loading the PDPTEs";
	case 3:
		return "invalid guest state: an NMI is injected into a shadow";
	case 4:
		return "invalid guest state: the VMCS link pointer";
	default:
		return "invalid guest state";
	}
}

static void explain_exit(uint32_t reason, uint64_t qualification)
{
	switch (reason & EXIT_REASON_BASIC) {
	case VMX_EXIT_INVALID_GUEST_STATE:
		log_err("VMX: VM entry failed: %s", guest_state_text(qualification));
		break;
	case VMX_EXIT_MSR_LOADING:
		log_err("VMX: VM entry failed: loading of MSRs, entry %llu of the list",
			(ull)qualification);
		break;
	case VMX_EXIT_MACHINE_CHECK_ON_ENTRY:
		log_err("VMX: VM entry failed: machine check");
		break;
	default:
		log_err("VMX: VM entry failed: exit reason 0x%x", reason);
	}
}

/* The lines that say which field the auditor finds wrong, if any. */
static void explain_fields(void)
{
	struct vmx_limits lim = vmx_limits();
	struct vmx_violation found;
	struct vmcs_image image;

	vmx_read_image(&image);
	found = vmx_check_vmcs(&image, &lim);
	if (found.field)
		log_err("VMX: %s: %s (value 0x%llx)", found.field, found.words, (ull)found.value);
	else
		log_err("VMX: no field of the VMCS breaks a rule that Umbra knows");
}

void vmx_explain_failure(uint32_t error, uint32_t reason, uint64_t qualification)
{
	if (reason & EXIT_REASON_ENTRY_FAILED)
		explain_exit(reason, qualification);
	else
		log_err("VMX: VM entry failed: %s", error_text(error));
	explain_fields();
}

/* --- the whole of it --- */

#define F(field_name) ((ull)v->field[INDEX_##field_name])

static void dump_exit(const struct vmcs_image *v)
{
	uint32_t reason = (uint32_t)F(VMCS_EXIT_REASON);

	log_info("  exit %x %s qual %llx intr %llx/%llx vectoring %llx/%llx", reason,
		 vmx_exit_name(reason), F(VMCS_EXIT_QUALIFICATION), F(VMCS_EXIT_INTR_INFO),
		 F(VMCS_EXIT_INTR_ERROR), F(VMCS_IDT_VECTORING_INFO), F(VMCS_IDT_VECTORING_ERROR));
	log_info("  insn len %llu info %llx linear %llx gpa %llx error %llu", F(VMCS_EXIT_INSN_LEN),
		 F(VMCS_EXIT_INSN_INFO), F(VMCS_GUEST_LINEAR_ADDRESS),
		 F(VMCS_GUEST_PHYSICAL_ADDRESS), F(VMCS_INSTRUCTION_ERROR));
}

static void dump_controls(const struct vmcs_image *v)
{
	log_info("  pin %08llx proc %08llx proc2 %08llx exit %08llx entry %08llx",
		 F(VMCS_PIN_CONTROLS), F(VMCS_PROC_CONTROLS), F(VMCS_PROC2_CONTROLS),
		 F(VMCS_EXIT_CONTROLS), F(VMCS_ENTRY_CONTROLS));
	log_info("  exceptions %08llx pf mask %llx match %llx io %llx %llx msr %llx",
		 F(VMCS_EXCEPTION_BITMAP), F(VMCS_PF_ERROR_MASK), F(VMCS_PF_ERROR_MATCH),
		 F(VMCS_IO_BITMAP_A), F(VMCS_IO_BITMAP_B), F(VMCS_MSR_BITMAP));
	log_info("  inject %llx error %llx len %llu tsc_offset %llx timer %llx eptp %llx vpid %llu",
		 F(VMCS_ENTRY_INTR_INFO), F(VMCS_ENTRY_EXCEPTION_ERROR), F(VMCS_ENTRY_INSN_LEN),
		 F(VMCS_TSC_OFFSET), F(VMCS_PREEMPTION_TIMER), F(VMCS_EPT_POINTER), F(VMCS_VPID));
	log_info("  cr0 mask %llx shadow %llx cr4 mask %llx shadow %llx", F(VMCS_CR0_MASK),
		 F(VMCS_CR0_READ_SHADOW), F(VMCS_CR4_MASK), F(VMCS_CR4_READ_SHADOW));
}

static void dump_registers(const struct vmcs_image *v)
{
	log_info("  cr0 %llx cr3 %llx cr4 %llx efer %llx pat %llx", F(VMCS_GUEST_CR0),
		 F(VMCS_GUEST_CR3), F(VMCS_GUEST_CR4), F(VMCS_GUEST_EFER), F(VMCS_GUEST_PAT));
	log_info("  pdpte %llx %llx %llx %llx", F(VMCS_GUEST_PDPTE0), F(VMCS_GUEST_PDPTE1),
		 F(VMCS_GUEST_PDPTE2), F(VMCS_GUEST_PDPTE3));
	log_info("  rip %llx rsp %llx rflags %llx dr7 %llx debugctl %llx", F(VMCS_GUEST_RIP),
		 F(VMCS_GUEST_RSP), F(VMCS_GUEST_RFLAGS), F(VMCS_GUEST_DR7),
		 F(VMCS_GUEST_DEBUGCTL));
	log_info("  activity %llu blocking %llx pending debug %llx link %llx",
		 F(VMCS_GUEST_ACTIVITY), F(VMCS_GUEST_INTERRUPTIBILITY),
		 F(VMCS_GUEST_PENDING_DEBUG), F(VMCS_LINK_POINTER));
	log_info("  sysenter cs %llx esp %llx eip %llx", F(VMCS_GUEST_SYSENTER_CS),
		 F(VMCS_GUEST_SYSENTER_ESP), F(VMCS_GUEST_SYSENTER_EIP));
}

static void dump_seg(const char *name, uint64_t selector, uint64_t base, uint64_t limit,
		     uint64_t rights)
{
	log_info("  %-4s %04llx base %016llx limit %08llx rights %05llx", name, (ull)selector,
		 (ull)base, (ull)limit, (ull)rights);
}

#define DUMP_SEG(name, reg)                                                                        \
	dump_seg(name, F(VMCS_GUEST_##reg##_SELECTOR), F(VMCS_GUEST_##reg##_BASE),                 \
		 F(VMCS_GUEST_##reg##_LIMIT), F(VMCS_GUEST_##reg##_RIGHTS))

static void dump_segments(const struct vmcs_image *v)
{
	DUMP_SEG("cs", CS);
	DUMP_SEG("ss", SS);
	DUMP_SEG("ds", DS);
	DUMP_SEG("es", ES);
	DUMP_SEG("fs", FS);
	DUMP_SEG("gs", GS);
	DUMP_SEG("ldtr", LDTR);
	DUMP_SEG("tr", TR);
	dump_seg("gdtr", 0, F(VMCS_GUEST_GDTR_BASE), F(VMCS_GUEST_GDTR_LIMIT), 0);
	dump_seg("idtr", 0, F(VMCS_GUEST_IDTR_BASE), F(VMCS_GUEST_IDTR_LIMIT), 0);
}

static void dump_host(const struct vmcs_image *v)
{
	log_info("  host cr0 %llx cr3 %llx cr4 %llx efer %llx pat %llx", F(VMCS_HOST_CR0),
		 F(VMCS_HOST_CR3), F(VMCS_HOST_CR4), F(VMCS_HOST_EFER), F(VMCS_HOST_PAT));
	log_info("  host rip %llx rsp %llx cs %llx ss %llx tr %llx", F(VMCS_HOST_RIP),
		 F(VMCS_HOST_RSP), F(VMCS_HOST_CS_SELECTOR), F(VMCS_HOST_SS_SELECTOR),
		 F(VMCS_HOST_TR_SELECTOR));
	log_info("  host fs %llx gs %llx tr %llx gdtr %llx idtr %llx", F(VMCS_HOST_FS_BASE),
		 F(VMCS_HOST_GS_BASE), F(VMCS_HOST_TR_BASE), F(VMCS_HOST_GDTR_BASE),
		 F(VMCS_HOST_IDTR_BASE));
}

void vmx_dump(const struct vcpu *vcpu)
{
	struct vmx_limits lim = vmx_limits();
	struct vmx_violation found;
	struct vmcs_image image;

	vmx_use(vcpu);
	vmx_read_image(&image);
	found = vmx_check_vmcs(&image, &lim);
	log_info("VMCS at %llx: %s%s%s", (ull)vmx_vcpu(vcpu)->vmcs.v,
		 found.field ? found.field : "consistent", found.field ? ": " : "",
		 found.field ? found.words : "");
	dump_exit(&image);
	dump_controls(&image);
	dump_registers(&image);
	dump_segments(&image);
	dump_host(&image);
}

/* --- a last look, in debug builds. Bochs: some states pass that the manual refuses. --- */

#ifdef UMBRA_DEBUG
static void corrupt(struct vcpu *vcpu, const struct vm_corrupt *c)
{
	for (unsigned i = 0; i < VMCS_INDEXES; i++) {
		const struct vmcs_field_info *info = vmx_field_info(i);

		if (!strcmp(info->name, c->field) && vmx_field_there(i, &vmx_machine.vmx)) {
			vmx_vmwrite(info->encoding, c->value);
			return;
		}
	}
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "corrupt=: this VMCS has no %s", c->field);
}

void vmx_last_look(struct vcpu *vcpu)
{
	const struct vm_corrupt *c = vm_corrupt_now(vcpu->vm);
	struct vmx_limits lim = vmx_limits();
	struct vmx_violation found;
	struct vmcs_image image;

	if (c) {
		corrupt(vcpu, c);
		return;
	}
	vmx_read_image(&image);
	found = vmx_check_vmcs(&image, &lim);
	if (found.field)
		vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "%s is 0x%llx: %s", found.field,
				(ull)found.value, found.words);
}
#endif
