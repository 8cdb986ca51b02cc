/*
 * INIT and STARTUP: how one processor resets and starts another. Whoever sends one marks the vCPU;
 * its registers change when the run loop takes the mark, with the vCPU out of the guest and its
 * last exit handled. SDM vol. 3, 8.4, 10.6.1; APM vol. 2, 16.5.
 */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/dr.h"
#include "vmm/lookahead.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* vcpu->signals: what has been sent and not yet taken. */
#define SIGNAL_INIT BIT(8)
#define SIGNAL_STARTUP BIT(9)
#define SIGNAL_NMI BIT(10)       /* behind the STARTUP */
#define SIGNAL_VECTOR BITS(7, 0) /* of the STARTUP */

static void set_nmi(struct vcpu *vcpu, bool due)
{
	__atomic_store_n(&vcpu->events.nmi, due, __ATOMIC_SEQ_CST);
}

/* A BSP that gets an INIT goes to the firmware, which on a PC makes the machine anew, as it does
 * when the keyboard's controller or port 92h sends it one. */
void vcpu_init_signal(struct vcpu *vcpu)
{
	if (!vcpu->id) {
		vm_request_stop(vcpu->vm, VM_STOP_RESET, 0, "reset by the guest");
		return;
	}
	/* What was to start it before is lost. */
	__atomic_store_n(&vcpu->signals, (uint32_t)SIGNAL_INIT, __ATOMIC_SEQ_CST);
	vcpu_kick(vcpu);
}

void vcpu_startup(struct vcpu *vcpu, uint8_t vector)
{
	uint32_t old = __atomic_load_n(&vcpu->signals, __ATOMIC_ACQUIRE), new;

	do {
		bool waits = (old & SIGNAL_INIT) || vcpu->state == VCPU_WAIT_SIPI;

		if (!waits || (old & SIGNAL_STARTUP))
			return;
		new = old | (uint32_t)SIGNAL_STARTUP | vector;
	} while (!__atomic_compare_exchange_n(&vcpu->signals, &old, new, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	vcpu_kick(vcpu);
}

void vcpu_raise_nmi(struct vcpu *vcpu)
{
	uint32_t old = __atomic_load_n(&vcpu->signals, __ATOMIC_ACQUIRE);

	while (old & SIGNAL_STARTUP)
		if (__atomic_compare_exchange_n(&vcpu->signals, &old, old | (uint32_t)SIGNAL_NMI,
						false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return;
	set_nmi(vcpu, true);
}

static void init_control(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	uint64_t cr0 = backend->get_reg(vcpu, REG_CR0);

	backend->set_reg(vcpu, REG_CR0, (cr0 & (CR0_CD | CR0_NW)) | CR0_ET);
	backend->set_reg(vcpu, REG_CR4, 0);
	backend->set_reg(vcpu, REG_CR3, 0);
	backend->set_reg(vcpu, REG_EFER, 0);
	backend->set_reg(vcpu, REG_CR2, 0);
	backend->set_reg(vcpu, REG_CR8, 0);
	if (vcpu->vm->shadow)
		vcpu->stale |= VCPU_STALE_ROOT;
}

/* SDM vol. 3, table 9-1: FPU, XCR0, MTRRs, the TSC and most other MSRs stay. */
static void init(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;

	lapic_init_signal(&vcpu->lapic);
	init_control(vcpu);
	for (unsigned i = 0; i < SEG_REGS; i++)
		backend->set_seg(vcpu, (enum seg_reg)i, vcpu_reset_seg((enum seg_reg)i));
	vcpu->regs = (struct vcpu_regs){ .rip = 0xfff0, .rflags = RFLAGS_FIXED };
	vcpu->regs.gpr[RDX] = cpuid_guest(vcpu, 1, 0).eax;
	backend->set_reg(vcpu, REG_INTR_SHADOW, 0);
	backend->set_reg(vcpu, REG_NMI_BLOCKED, 0);
	vcpu->stale |= VCPU_STALE_DR; /* whatever the processor has */
	for (unsigned i = 0; i < 4; i++)
		dr_write(vcpu, i, 0);
	dr_write(vcpu, 6, DR6_INIT);
	dr_write(vcpu, 7, DR7_INIT);
	/* One may wait in the backend for an entry that did not come about. */
	backend->inject(vcpu, &(struct vm_event){ .kind = EVENT_NONE });
	vcpu->events.pending.kind = EVENT_NONE;
	set_nmi(vcpu, false);
	vcpu->yield = false;
	lookahead_forget(vcpu);
	vcpu->state = VCPU_WAIT_SIPI;
}

static void start(struct vcpu *vcpu, uint8_t vector)
{
	struct segment cs = *vcpu_reset_seg(SEG_CS);

	cs.selector = (uint16_t)(vector << 8);
	cs.base = (uint64_t)vector << 12;
	vcpu->vm->backend->set_seg(vcpu, SEG_CS, &cs);
	vcpu->regs.rip = 0;
	vcpu->state = VCPU_RUNNABLE;
}

/*
 * The mark of an INIT stays until it is done: a STARTUP that comes meanwhile counts. So does that
 * of the STARTUP until what NMI there is, which did not reach a processor that waited, is gone: who
 * sends one after the STARTUP finds either the mark, or a vCPU that takes it.
 */
void vcpu_take_signals(struct vcpu *vcpu)
{
	uint32_t signals = __atomic_load_n(&vcpu->signals, __ATOMIC_ACQUIRE);
	bool starts;

	do {
		if ((signals & SIGNAL_INIT) && vcpu->state != VCPU_STOPPED)
			init(vcpu);
		starts = (signals & SIGNAL_STARTUP) && vcpu->state == VCPU_WAIT_SIPI;
		if (starts)
			set_nmi(vcpu, false);
	} while (!__atomic_compare_exchange_n(&vcpu->signals, &signals, 0, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	if (starts)
		start(vcpu, (uint8_t)(signals & SIGNAL_VECTOR));
	if (signals & SIGNAL_NMI)
		set_nmi(vcpu, true);
}
