/* The VMCS read as a whole, and why it was refused. */
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

const char *vmx_error_text(uint32_t error)
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
		log_err("VMX: VM entry failed: %s", vmx_error_text(error));
	explain_fields();
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
