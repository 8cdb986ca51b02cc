/* What of a vCPU's translations the processor may still have: VPIDs, INVVPID, INVEPT. */
#include "arch/x86_64/panic.h"
#include "vmx/insn.h"
#include "vmx/state.h"

#define VPIDS 0x10000u /* 0 is the host's */

uint64_t vmx_eptp(hpa_t root)
{
	/* Nothing here reads accessed and dirty flags, and with them each walk of the guest's own
	 * tables counts as a write to them. SDM vol. 3, 28.2.4. */
	return root.v | EPTP_WRITE_BACK | 3u << EPTP_WALK_SHIFT;
}

static void invvpid(uint64_t type, uint16_t vpid)
{
	const struct vmx_inv_descriptor d = { .first = vpid };

	if (!vmx_invvpid(type, &d))
		panic("VMX: INVVPID %u of VPID %u failed", (unsigned)type, vpid);
}

static void invept(uint64_t type, uint64_t eptp)
{
	const struct vmx_inv_descriptor d = { .first = eptp };

	if (!vmx_invept(type, &d))
		panic("VMX: INVEPT %u of 0x%llx failed", (unsigned)type, (unsigned long long)eptp);
}

void vmx_tlb_forget_all(void)
{
	if (vmx_machine.vmx.ept)
		invept(INVEPT_ALL, 0);
	if (vmx_machine.vmx.vpid)
		invvpid(INVVPID_ALL, 0);
}

/*
 * A VPID that no vCPU has had in this generation, and so with no translations. When they run out
 * all are dropped, and every other vCPU of this CPU takes a new one at its own next entry.
 */
static void give_vpid(struct vmx_vcpu *vv)
{
	struct vmx_cpu *cpu = vv->cpu;

	if (cpu->next_vpid >= VPIDS) {
		cpu->vpid_generation++;
		cpu->next_vpid = 1;
		invvpid(INVVPID_ALL, 0);
	}
	vv->vpid_generation = cpu->vpid_generation;
	vv->vpid = (uint16_t)cpu->next_vpid++;
	vmwrite16(VMCS_VPID, vv->vpid);
}

void vmx_tlb_prepare(struct vmx_vcpu *vv)
{
	const struct vmx_caps *caps = &vmx_machine.vmx;

	/* Without VPIDs each entry and exit drops them. SDM vol. 3, 28.3.3.1. */
	if (caps->vpid) {
		if (vv->vpid_generation != vv->cpu->vpid_generation)
			give_vpid(vv);
		else if (vv->flush_guest || vv->flush_nested)
			invvpid(caps->invvpid_context ? INVVPID_CONTEXT : INVVPID_ALL, vv->vpid);
	}
	/* Of the tables that give way to a shadow only everything at once is known. */
	if (vv->flush_nested && caps->ept) {
		if (caps->invept_context && vv->root_kind == ROOT_NESTED)
			invept(INVEPT_CONTEXT, vmx_eptp(vv->root));
		else
			invept(INVEPT_ALL, 0);
	}
	vv->flush_guest = false;
	vv->flush_nested = false;
}
