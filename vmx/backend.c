/* VMX's entries of the backend table, and those of them that are a few lines.
 */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "vmm/vm.h"
#include "vmx/insn.h"
#include "vmx/perm.h"
#include "vmx/state.h"
#include "vmx/vmx.h"

/* The two I/O bitmaps lie one behind the other. */
#define IO_BITMAPS_ORDER 1
static_assert(IO_BITMAPS_SIZE == PAGE_SIZE << IO_BITMAPS_ORDER, "I/O bitmaps");
static_assert(MSR_BITMAP_SIZE == PAGE_SIZE, "MSR bitmap");

static void vm_destroy(struct vm *vm)
{
	struct vmx_vm *xm = vm->hw;

	if (xm->io_bitmaps.v)
		frame_free(xm->io_bitmaps, IO_BITMAPS_ORDER, FRAME_HYPERVISOR);
	if (xm->msr_bitmap.v)
		frame_free(xm->msr_bitmap, 0, FRAME_HYPERVISOR);
	if (xm->x2apic_msr_bitmap.v)
		frame_free(xm->x2apic_msr_bitmap, 0, FRAME_HYPERVISOR);
	kfree(xm, sizeof(*xm));
	vm->hw = NULL;
}

static int init_x2apic_bitmap(const struct vm *vm, struct vmx_vm *xm)
{
	const struct vmx_caps *caps = &vmx_machine.vmx;

	if (!caps->x2apic_mode)
		return 0;
	xm->x2apic_msr_bitmap = frame_alloc(0, FRAME_HYPERVISOR);
	if (!xm->x2apic_msr_bitmap.v)
		return trace_error(-ENOMEM);
	vmx_msr_bitmap_init(hpa_to_ptr(xm->x2apic_msr_bitmap));
	vmx_msr_bitmap_pass_x2apic(hpa_to_ptr(xm->x2apic_msr_bitmap), caps->apic_registers,
				   vm->virtual_interrupts);
	return 0;
}

static int vm_init(struct vm *vm)
{
	struct vmx_vm *xm = kalloc(sizeof(*xm));

	if (!xm)
		return trace_error(-ENOMEM);
	vm->hw = xm;
	xm->io_bitmaps = frame_alloc(IO_BITMAPS_ORDER, FRAME_HYPERVISOR);
	xm->msr_bitmap = frame_alloc(0, FRAME_HYPERVISOR);
	if (!xm->io_bitmaps.v || !xm->msr_bitmap.v || init_x2apic_bitmap(vm, xm)) {
		vm_destroy(vm);
		return trace_error(-ENOMEM);
	}
	vmx_io_bitmaps_init(hpa_to_ptr(xm->io_bitmaps));
	vmx_msr_bitmap_init(hpa_to_ptr(xm->msr_bitmap));
	return 0;
}

/* What a VMCS points to must not change while a CPU runs by it. SDM vol. 3, 24.11.4. */
static void set_intercept_io(struct vm *vm, uint16_t port, unsigned count, bool on)
{
	struct vmx_vm *xm = vm->hw;

	vmx_io_bitmaps_set(hpa_to_ptr(xm->io_bitmaps), port, count, on);
}

static void set_intercept_msr(struct vm *vm, uint32_t msr, bool read, bool write)
{
	struct vmx_vm *xm = vm->hw;

	vmx_msr_bitmap_set(hpa_to_ptr(xm->msr_bitmap), msr, read, write);
	if (xm->x2apic_msr_bitmap.v)
		vmx_msr_bitmap_set(hpa_to_ptr(xm->x2apic_msr_bitmap), msr, read, write);
}

static void set_intercept_exception(struct vcpu *vcpu, unsigned vector, bool on)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	uint32_t bit = (uint32_t)BIT(vector & 31);

	vv->core_exceptions = on ? vv->core_exceptions | bit : vv->core_exceptions & ~bit;
	vmx_use(vcpu);
	vmx_update_exceptions(vv);
}

static void set_intercept_dr(struct vcpu *vcpu, bool on)
{
	vmx_use(vcpu);
	vmx_set_proc(vmx_vcpu(vcpu), PROC_MOV_DR, on);
}

static void set_intercept_invlpg(struct vcpu *vcpu, bool on)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vv->intercept_invlpg = on;
	vmx_use(vcpu);
	vmx_set_proc(vv, PROC_INVLPG, on && vv->root_kind == ROOT_SHADOW);
}

static void flush(struct vcpu *vcpu, enum flush_scope scope)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vv->flush_guest = true;
	vv->flush_nested |= scope == FLUSH_NESTED;
}

static void set_deadline(struct vcpu *vcpu, uint64_t tsc)
{
	vmx_vcpu(vcpu)->deadline = tsc;
}

const struct vmm_backend vmx_backend = {
	.name = "VMX",
	.probe = vmx_probe,
	.cpu_enable = vmx_cpu_enable,
	.caps = vmx_caps,
	.vm_init = vm_init,
	.vm_destroy = vm_destroy,
	.vcpu_init = vmx_vcpu_init,
	.vcpu_destroy = vmx_vcpu_destroy,
	.vcpu_load = vmx_vcpu_load,
	.vcpu_put = vmx_vcpu_put,
	.vcpu_release = vmx_vcpu_release,
	.run = vmx_run,
	.get_reg = vmx_get_reg,
	.set_reg = vmx_set_reg,
	.get_seg = vmx_get_seg,
	.set_seg = vmx_set_seg,
	.can_inject = vmx_can_inject,
	.inject = vmx_inject,
	.request_window = vmx_request_window,
	.set_tpr_threshold = vmx_set_tpr_threshold,
	.set_virtual_interrupts = vmx_set_virtual_interrupts,
	.set_intercept_io = set_intercept_io,
	.set_intercept_msr = set_intercept_msr,
	.set_intercept_exception = set_intercept_exception,
	.set_intercept_dr = set_intercept_dr,
	.set_intercept_invlpg = set_intercept_invlpg,
	.set_root = vmx_set_root,
	.get_pdptes = vmx_get_pdptes,
	.set_deadline = set_deadline,
	.flush = flush,
	.dump = vmx_dump,
};
