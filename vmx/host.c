/* The host's state in the VMCS: what VM exit loads. SDM vol. 3, 24.5, 27.5. */
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "vmx/insn.h"
#include "vmx/state.h"

/* The base in a 64-bit TSS descriptor. SDM vol. 3, 7.2.3. */
static uint64_t tss_base(const uint64_t *desc)
{
	return (desc[0] >> 16 & BITS(23, 0)) | (desc[0] >> 56) << 24 | desc[1] << 32;
}

/* FS is not used; GS leads to this CPU's state. A null selector leaves the base
 * to be loaded. */
static void write_segments(void)
{
	uint64_t gdt = vmx_gdt_base();

	vmwrite16(VMCS_HOST_CS_SELECTOR, SEL_CODE);
	vmwrite16(VMCS_HOST_SS_SELECTOR, SEL_DATA);
	vmwrite16(VMCS_HOST_DS_SELECTOR, SEL_DATA);
	vmwrite16(VMCS_HOST_ES_SELECTOR, SEL_DATA);
	vmwrite16(VMCS_HOST_FS_SELECTOR, 0);
	vmwrite16(VMCS_HOST_GS_SELECTOR, 0);
	vmwrite16(VMCS_HOST_TR_SELECTOR, SEL_TSS);
	vmwriten(VMCS_HOST_FS_BASE, 0);
	vmwriten(VMCS_HOST_GS_BASE, rdmsr(MSR_GS_BASE));
	vmwriten(VMCS_HOST_TR_BASE, tss_base((const uint64_t *)(gdt + SEL_TSS)));
	vmwriten(VMCS_HOST_GDTR_BASE, gdt);
	vmwriten(VMCS_HOST_IDTR_BASE, vmx_idt_base());
}

void vmx_write_host_state(void)
{
	vmwriten(VMCS_HOST_CR0, read_cr0());
	vmwriten(VMCS_HOST_CR3, read_cr3());
	vmwriten(VMCS_HOST_CR4, read_cr4());
	write_segments();
	/* The host makes no system calls. */
	vmwrite32(VMCS_HOST_SYSENTER_CS, 0);
	vmwriten(VMCS_HOST_SYSENTER_ESP, 0);
	vmwriten(VMCS_HOST_SYSENTER_EIP, 0);
	if (vmx_machine.vmx.load_pat)
		vmwrite64(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	if (vmx_machine.vmx.load_efer)
		vmwrite64(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwriten(VMCS_HOST_RIP, (uintptr_t)vmx_exit_point);
}
