/* Debug builds: a word of the VMCB spoiled on purpose, for the tests of what VMRUN refuses, and the
 * auditor before each VMRUN. */
#include "svm/state.h"

#ifdef UMBRA_DEBUG

#include "arch/x86_64/lib/string.h"
#include "vmm/vm.h"

/* The words that VMRUN's rules look at. */
#define FIELD(name, member)                                                                        \
	{                                                                                          \
		name, offsetof(struct vmcb, member), sizeof(((struct vmcb *)0)->member)            \
	}
static const struct {
	const char *name;
	size_t offset, size;
} fields[] = {
	FIELD("efer", efer),
	FIELD("cr0", cr0),
	FIELD("cr3", cr3),
	FIELD("cr4", cr4),
	FIELD("dr6", dr6),
	FIELD("dr7", dr7),
	FIELD("cs.attrib", cs.attrib),
	FIELD("intercept4", intercept[INTERCEPT_VMRUN / 32]),
	FIELD("iopm_base_pa", iopm_base_pa),
	FIELD("msrpm_base_pa", msrpm_base_pa),
	FIELD("event_inj", event_inj),
	FIELD("asid", asid),
	FIELD("n_cr3", n_cr3),
	FIELD("g_pat", g_pat),
};

static void corrupt(struct vcpu *vcpu, struct vmcb *v, const struct vm_corrupt *c)
{
	v->clean = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!strcmp(fields[i].name, c->field)) {
			memcpy((uint8_t *)v + fields[i].offset, &c->value, fields[i].size);
			return;
		}
	}
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "corrupt=: no word %s of the VMCB", c->field);
}

void svm_last_look(struct vcpu *vcpu)
{
	const struct vm_corrupt *c = vm_corrupt_now(vcpu->vm);
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (c)
		corrupt(vcpu, sv->vmcb, c);
	sv->broken = svm_check_vmcb(sv->vmcb, &svm_machine.limits);
}

#endif
