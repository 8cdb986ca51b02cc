/*
 * What each kind of exit asks for. The table at the end leads
 * from the kind to its handler. A guest's mistake gets what hardware would give it; what Umbra
 * cannot emulate stops that VM with a line that says why.
 */
#include "vmm/exit.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/log.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/debug_core.h"
#include "vmm/emulate.h"
#include "vmm/exit_stats.h"
#include "vmm/kvm_clock.h"
#include "vmm/lookahead.h"
#include "vmm/memmap.h"
#include "vmm/msr.h"
#include "vmm/task.h"
#include "vmm/vcpu.h"
#include "vmm/vcpu_apic.h"
#include "vmm/vm.h"
#include "vmm/vm_shadow.h"
#include "vmm/vm_tables.h"

#define ERROR_IDT 2u /* of #GP: its selector is a vector */

/* Length of the exiting instruction; 0: it could not be read, a fault was raised. */
static unsigned insn_len(struct vcpu *vcpu)
{
	return vcpu->exit.insn_len ? vcpu->exit.insn_len : emulate_insn_length(vcpu);
}

static void retire(struct vcpu *vcpu)
{
	unsigned len = insn_len(vcpu);

	if (len)
		vcpu_retire_insn(vcpu, len);
}

/* EDX:EAX, the pair that RDMSR and its like use. */
static uint64_t get_edx_eax(const struct vcpu *vcpu)
{
	return vcpu->regs.gpr[RDX] << 32 | (uint32_t)vcpu->regs.gpr[RAX];
}

static void set_edx_eax(struct vcpu *vcpu, uint64_t val)
{
	vcpu_set_gpr(vcpu, RAX, val, 4);
	vcpu_set_gpr(vcpu, RDX, val >> 32, 4);
}

static void stop_at_insn(struct vcpu *vcpu, const char *what)
{
	char insn[64];

	emulate_disassemble(vcpu, insn, sizeof(insn));
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "%s at rip 0x%llx: %s", what,
			(unsigned long long)vcpu->regs.rip, insn);
}

void vm_exit_cannot_emulate(struct vcpu *vcpu)
{
	stop_at_insn(vcpu, "cannot emulate");
}

/* --- what the hardware reports of itself --- */

static void handle_unknown(struct vcpu *vcpu)
{
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "exit 0x%llx (%s) is not handled, rip 0x%llx",
			(unsigned long long)vcpu->exit.raw[0],
			vcpu->exit.hw_name ? vcpu->exit.hw_name : "unknown",
			(unsigned long long)vcpu->regs.rip);
}

static void handle_invalid_state(struct vcpu *vcpu)
{
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0,
			"the processor refused the guest's state, rip 0x%llx",
			(unsigned long long)vcpu->regs.rip);
}

/* A host interrupt or NMI was taken by the host; a window has opened, and the next entry
 * looks for what waits to go through it. */
static void handle_nothing(struct vcpu *vcpu)
{
	(void)vcpu;
}

/* --- memory --- */

/*
 * The guest ran into an address where no memory is. A PC reads all ones from nothing,
 * and ff ff is no instruction.
 */
static void fetch_from_nowhere(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	if (!(vm->notices & VM_NOTICE_FETCH))
		log_info("vm %s: runs where no memory is, at gpa 0x%llx, rip 0x%llx", vm->cfg->name,
			 (unsigned long long)vcpu->exit.nested.gpa.v,
			 (unsigned long long)vcpu->regs.rip);
	vm->notices |= VM_NOTICE_FETCH;
	vcpu_raise_vector(vcpu, VEC_UD);
}

/*
 * An event finds its gate, a descriptor or the tables where nothing is: what it reads is all
 * ones and faults, and so do the exceptions that follow. What it writes, to its stack, a PC
 * would lose, and go on.
 */
static void delivery_cut_off(struct vcpu *vcpu, bool reads_nothing)
{
	const struct vm_exit *exit = &vcpu->exit;

	vm_request_stop(vcpu->vm, reads_nothing ? VM_STOP_TRIPLE : VM_STOP_ERROR, 0,
			"%sevent %u is delivered through gpa 0x%llx, which is no memory",
			reads_nothing ? "triple fault: " : "", exit->interrupted.vector,
			(unsigned long long)exit->nested.gpa.v);
}

/* A walk of the guest's tables counts as a write: it sets accessed and dirty. */
static bool needs_write(const struct vm_exit *exit)
{
	return exit->nested.write || exit->nested.table_walk;
}

static unsigned needed_rights(const struct vm_exit *exit)
{
	if (exit->nested.table_walk)
		return PT_R | PT_W;
	return (exit->nested.read ? PT_R : 0) | (exit->nested.write ? PT_W : 0) |
	       (exit->nested.fetch ? PT_X : 0);
}

/*
 * Under nested paging all RAM is mapped from the start but disks' pages that nobody has touched
 * yet: such a one comes in, and the guest tries again; so it does when the page has come in
 * meanwhile, or when another vCPU had hidden it and does no more, be it the guest's own tables that
 * lie there. Each try is an entry of its own, before which its turn may end. False: this is no
 * fault on memory. A shadow finds its memory itself, and hands over only what is to be emulated.
 */
static bool fault_on_memory(struct vcpu *vcpu, const struct region *r)
{
	const struct vm_exit *exit = &vcpu->exit;
	struct vm *vm = vcpu->vm;

	if (vm_shadow_translates(vcpu) || !r)
		return false;
	if (r->page && memmap_is_plain(r, needs_write(exit)))
		vm_disk_fault(vm, exit->nested.gpa);
	else if (!memmap_is_plain(r, needs_write(exit)))
		return false;
	else if (vm_tables_allow(vm, exit->nested.gpa, needed_rights(exit)))
		return true;
	else if (exit->nested.table_walk)
		return false;
	else
		vm_request_stop(
			vm, VM_STOP_ERROR, 0, "nested fault on memory at gpa 0x%llx, rip 0x%llx",
			(unsigned long long)exit->nested.gpa.v, (unsigned long long)vcpu->regs.rip);
	return true;
}

/*
 * What is no memory is a device, ROM or a write hook written to, or nothing; or the guest's own
 * page tables lie in such a place, which the emulator finds out when it walks them for the same
 * instruction.
 */
void vm_exit_nested_fault(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	const struct region *r;

	if (vcpu_apic_at(vcpu, exit->nested.gpa) && vcpu_apic_mov(vcpu))
		return;
	r = memmap_find(&vcpu->vm->mem, exit->nested.gpa);
	if (r && r->kind == REGION_APIC)
		r = NULL;
	if (fault_on_memory(vcpu, r))
		return;
	if (exit->interrupted.kind != EVENT_NONE)
		delivery_cut_off(vcpu, !r && (exit->nested.read || exit->nested.table_walk));
	else if (exit->nested.fetch && !exit->nested.table_walk)
		fetch_from_nowhere(vcpu);
	else if (emulate_mmio(vcpu) == EMULATE_FAILED)
		vm_exit_cannot_emulate(vcpu);
}

/* The event that the processor could not deliver either comes first; else the instruction is done
 * here. */
static void handle_emulate(struct vcpu *vcpu)
{
	struct vm_event ev = vcpu->events.pending;

	if (ev.kind != EVENT_NONE) {
		vcpu_event_delivered(vcpu);
		emulate_deliver(vcpu, &ev);
	} else if (vcpu->debug.on && debug_stops_at(vcpu)) {
		return;
	} else if (emulate_step(vcpu) == EMULATE_FAILED) {
		vm_exit_cannot_emulate(vcpu);
	}
}

/* What a debugger has asked for. False: it is the guest's own. */
static bool is_debuggers(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;

	if (exit->exception.vector == VEC_BP)
		return debug_breakpoint(vcpu);
	if (exit->exception.vector != VEC_DB || exit->insn_len)
		return false;
	debug_trap(vcpu);
	return true;
}

/*
 * INT1, INT3, INTO. SVM knows no prefixes, and what it injects it delivers whatever the gate's DPL
 * (APM vol. 2, 15.20): a debugged guest's INT3 is looked at here.
 */
static void handle_soft_exception(struct vcpu *vcpu)
{
	struct vm_event ev = { .kind = EVENT_SOFT_EXC,
			       .vector = vcpu->exit.exception.vector,
			       .insn_len = vcpu->exit.insn_len };

	if (vcpu->debug.on && ev.vector == VEC_BP) {
		if (debug_gate_refuses(vcpu, VEC_BP)) {
			vcpu_raise_error(vcpu, VEC_GP, VEC_BP << 3 | ERROR_IDT);
			return;
		}
		ev.insn_len = (uint8_t)debug_int3_len(vcpu);
	}
	vcpu_requeue(vcpu, &ev);
}

/* An intercepted exception that is the guest's own after all; one with a length is an
 * instruction's doing: INT1, INT3, INTO. */
static void handle_exception(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	struct guest_fault fault = { .vector = exit->exception.vector,
				     .has_error = fault_has_error(exit->exception.vector),
				     .error = exit->exception.error,
				     .cr2 = exit->exception.cr2 };

	if (vcpu->debug.on && is_debuggers(vcpu))
		return;
	if (fault.vector == VEC_MC)
		vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "machine check, rip 0x%llx",
				(unsigned long long)vcpu->regs.rip);
	else if (exit->insn_len)
		handle_soft_exception(vcpu);
	else
		vcpu_raise(vcpu, &fault);
}

/* INT n or INT3, which is to be delivered after all. */
static void handle_soft_int(struct vcpu *vcpu)
{
	struct vm_event ev = { .kind = EVENT_SOFT_INT };
	bool int3;

	if (!emulate_decode_int(vcpu, &ev.vector, &ev.insn_len, &int3))
		return;
	if (int3)
		ev.kind = EVENT_SOFT_EXC;
	if (!int3 || !vcpu->debug.on || !debug_breakpoint(vcpu))
		vcpu_requeue(vcpu, &ev);
}

static void handle_hypercall(struct vcpu *vcpu)
{
	unsigned len;

	if (vcpu->vm->cfg->pv != PV_KVM) {
		vcpu_raise_vector(vcpu, VEC_UD);
		return;
	}
	len = insn_len(vcpu);
	if (!len)
		return;
	vcpu_set_gpr(vcpu, RAX, (uint64_t)kvm_hypercall(vcpu_cpl(vcpu)),
		     vcpu_code_size(vcpu) == 8 ? 8 : 4);
	vcpu_retire_insn(vcpu, len);
}

/* --- CPUID and MSRs --- */

static void handle_cpuid(struct vcpu *vcpu)
{
	uint64_t *gpr = vcpu->regs.gpr;
	struct cpuid_regs r = cpuid_guest(vcpu, (uint32_t)gpr[RAX], (uint32_t)gpr[RCX]);
	unsigned len = insn_len(vcpu);

	if (!len)
		return;
	gpr[RAX] = r.eax;
	gpr[RBX] = r.ebx;
	gpr[RCX] = r.ecx;
	gpr[RDX] = r.edx;
	vcpu_retire_insn(vcpu, len);
}

static void handle_rdmsr(struct vcpu *vcpu)
{
	unsigned len = insn_len(vcpu);
	uint64_t val;

	if (!len)
		return;
	if (!msr_read(vcpu, (uint32_t)vcpu->regs.gpr[RCX], &val)) {
		vcpu_raise_error(vcpu, VEC_GP, 0);
		return;
	}
	set_edx_eax(vcpu, val);
	vcpu_retire_insn(vcpu, len);
}

static void handle_wrmsr(struct vcpu *vcpu)
{
	unsigned len = insn_len(vcpu);

	if (!len)
		return;
	if (!msr_write(vcpu, (uint32_t)vcpu->regs.gpr[RCX], get_edx_eax(vcpu)))
		vcpu_raise_error(vcpu, VEC_GP, 0);
	else
		vcpu_retire_insn(vcpu, len);
}

/* --- control registers --- */

/*
 * MOV to or from CR0 to CR7 with no prefix but one REX that names the general register:
 * 0f 20 or 22, and ModRM, whose mod is not looked at (APM vol. 3, MOV CRn).
 */
static bool plain_mov_cr(struct vcpu *vcpu, struct cr_insn *insn)
{
	uint64_t avail;
	const uint8_t *code = lookahead_code(vcpu, &avail);
	unsigned rex;

	if (!code || avail < 4)
		return false;
	rex = (code[0] & 0xfe) == 0x40 && vcpu_code_size(vcpu) == 8;
	if (code[rex] != 0x0f || (code[rex + 1] & 0xfd) != 0x20)
		return false;
	insn->op = code[rex + 1] & 2 ? CR_INSN_MOV_TO : CR_INSN_MOV_FROM;
	insn->nr = code[rex + 2] >> 3 & 7;
	insn->gpr = (uint8_t)((code[rex + 2] & 7) | (rex ? (code[0] & 1) << 3 : 0));
	insn->value = vcpu->regs.gpr[insn->gpr];
	insn->len = (uint8_t)(rex + 3);
	return true;
}

/*
 * The code was read after the exit: another vCPU, or a disk, may have written another instruction
 * there. All that the processor checks before it exits, privilege above all, it has checked of the
 * one that was there first. Of the four SMSW alone is also the user's.
 */
static bool is_that_of_exit(const struct vcpu *vcpu, const struct cr_insn *insn)
{
	bool read = insn->op == CR_INSN_MOV_FROM || insn->op == CR_INSN_SMSW;

	return read == (vcpu->exit.kind == EXIT_CR_READ) && insn->nr == vcpu->exit.cr.nr &&
	       (insn->op == CR_INSN_SMSW || vcpu_cpl(vcpu) == 0);
}

/* So often in a row it may be another one: then it is this decoder that does not know it. */
#define MAX_CODE_LOST 1000

static bool cr_insn_from_code(struct vcpu *vcpu, struct cr_insn *insn)
{
	bool is_cr = plain_mov_cr(vcpu, insn) || emulate_decode_cr(vcpu, insn);

	if (is_cr && is_that_of_exit(vcpu, insn)) {
		vcpu->code_lost = 0;
		return true;
	}
	if ((is_cr || vcpu->events.pending.kind == EVENT_NONE) && ++vcpu->code_lost > MAX_CODE_LOST)
		stop_at_insn(vcpu, "not the control register instruction that exited");
	return false;
}

/* Which register and which way; from the hardware, or from the instruction itself. False: a fault
 * was raised, or the guest is to execute what is there now. */
static bool cr_insn(struct vcpu *vcpu, struct cr_insn *insn)
{
	const struct vm_exit *exit = &vcpu->exit;

	if (exit->cr.clts) {
		insn->op = CR_INSN_CLTS;
		insn->len = (uint8_t)insn_len(vcpu);
		return insn->len != 0;
	}
	if (exit->cr.gpr == VM_EXIT_GPR_UNKNOWN)
		return cr_insn_from_code(vcpu, insn);
	insn->op = exit->kind == EXIT_CR_WRITE ? CR_INSN_MOV_TO : CR_INSN_MOV_FROM;
	insn->nr = exit->cr.nr;
	insn->gpr = exit->cr.gpr & 0xf;
	insn->value = vcpu->regs.gpr[insn->gpr];
	insn->len = (uint8_t)insn_len(vcpu);
	return insn->len != 0;
}

static uint64_t cr_mask(const struct vcpu *vcpu)
{
	return vcpu_code_size(vcpu) == 8 ? ~UINT64_C(0) : BITS(31, 0);
}

/*
 * Kernels flush the TLB by writing back to CR3 what they have just read from it. Without nested
 * paging each would exit: the write is done in the exit of the read when it stands behind it.
 */
static void cr3_write_ahead(struct vcpu *vcpu)
{
	struct cr_insn next;

	if (lookahead_allowed(vcpu) && lookahead_may_go_on(vcpu) && plain_mov_cr(vcpu, &next) &&
	    next.op == CR_INSN_MOV_TO && next.nr == 3 &&
	    cr_write(vcpu, 3, next.value & cr_mask(vcpu)))
		vcpu_retire_insn(vcpu, next.len);
}

static void handle_cr(struct vcpu *vcpu)
{
	struct cr_insn insn;
	uint64_t mask;
	bool ok = true;

	if (!cr_insn(vcpu, &insn))
		return;
	mask = cr_mask(vcpu);
	switch (insn.op) {
	case CR_INSN_MOV_TO:
		ok = cr_write(vcpu, insn.nr, insn.value & mask);
		break;
	case CR_INSN_MOV_FROM:
		vcpu->regs.gpr[insn.gpr & 0xf] = cr_read(vcpu, insn.nr) & mask;
		break;
	case CR_INSN_SMSW:
		if (insn.gpr == INSN_NO_REG)
			ok = emulate_store_smsw(vcpu, (uint16_t)cr_read(vcpu, 0));
		else
			vcpu_set_gpr(vcpu, insn.gpr, cr_read(vcpu, 0), insn.size);
		break;
	case CR_INSN_CLTS:
		ok = cr_clts(vcpu);
		break;
	case CR_INSN_LMSW:
		ok = cr_write_lmsw(vcpu, (uint16_t)insn.value);
		break;
	}
	if (!ok)
		return;
	vcpu_retire_insn(vcpu, insn.len);
	if (insn.op == CR_INSN_MOV_FROM && insn.nr == 3)
		cr3_write_ahead(vcpu);
}

/* --- instructions --- */

/* Has every vCPU of the VM stopped for ever, but for an NMI? */
static bool nothing_wakes(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		const struct vcpu *vcpu = vm->vcpu[i];

		if (vcpu_is_signalled(vcpu) ||
		    (vcpu->state != VCPU_WAIT_SIPI &&
		     (vcpu->state != VCPU_HALTED || (vcpu->regs.rflags & RFLAGS_IF))))
			return false;
	}
	return true;
}

/* Say so, once; unless another one may still end it. */
static void halted_for_ever(const struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	owned_lock(&vm->lock);
	if (!(vm->notices & VM_NOTICE_HALT) && nothing_wakes(vm)) {
		vm->notices |= VM_NOTICE_HALT;
		log_info("vm %s: halted with interrupts off, rip 0x%llx", vm->cfg->name,
			 (unsigned long long)vcpu->regs.rip);
	}
	owned_unlock(&vm->lock);
}

static void handle_hlt(struct vcpu *vcpu)
{
	unsigned len = insn_len(vcpu);

	if (!len)
		return;
	vcpu_retire_insn(vcpu, len);
	if (vcpu_has_wakeup(vcpu))
		return;
	vcpu->state = VCPU_HALTED;
	if (!(vcpu->regs.rflags & RFLAGS_IF))
		halted_for_ever(vcpu);
}

static void handle_pause(struct vcpu *vcpu)
{
	retire(vcpu);
	vcpu->yield = vcpu->pauses++ >= vcpu->pauses_borne;
}

static void handle_xsetbv(struct vcpu *vcpu)
{
	unsigned len = insn_len(vcpu);

	if (len && cr_write_xcr(vcpu, (uint32_t)vcpu->regs.gpr[RCX], get_edx_eax(vcpu)))
		vcpu_retire_insn(vcpu, len);
}

/* RDTSC is two bytes long, RDTSCP three; some hardware reports both alike. */
static void handle_rdtsc(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	unsigned len = insn_len(vcpu);

	if (!len)
		return;
	if ((vcpu_hot_reg(vcpu, REG_CR4) & CR4_TSD) && vcpu_cpl(vcpu) != 0) {
		vcpu_raise_error(vcpu, VEC_GP, 0);
		return;
	}
	set_edx_eax(vcpu, rdtsc() + backend->get_reg(vcpu, REG_TSC_OFFSET));
	if (len == 3)
		vcpu_set_gpr(vcpu, RCX, vcpu->msrs.tsc_aux, 4);
	vcpu_retire_insn(vcpu, len);
}

static void handle_invlpg(struct vcpu *vcpu)
{
	if (vm_shadow_translates(vcpu)) {
		vm_exit_invlpg(vcpu);
		return;
	}
	vcpu->vm->backend->flush(vcpu, FLUSH_GUEST);
	retire(vcpu);
}

/* Under nested paging too, should the processor report one: it is the guest's own. */
static void handle_page_fault(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	struct guest_fault fault = { .vector = VEC_PF,
				     .has_error = true,
				     .error = exit->page_fault.error,
				     .cr2 = exit->page_fault.gva.v };

	if (vm_shadow_translates(vcpu))
		vm_exit_page_fault(vcpu);
	else
		vcpu_raise(vcpu, &fault);
}

static void handle_invpcid(struct vcpu *vcpu)
{
	if (vcpu->vm->shadow)
		vm_exit_invpcid(vcpu);
	else
		vcpu_raise_vector(vcpu, VEC_UD);
}

static void handle_dr(struct vcpu *vcpu)
{
	if (emulate_mmio(vcpu) == EMULATE_FAILED)
		vm_exit_cannot_emulate(vcpu);
}

static void handle_gp(struct vcpu *vcpu)
{
	vcpu_raise_error(vcpu, VEC_GP, 0);
}

static void handle_ud(struct vcpu *vcpu)
{
	vcpu_raise_vector(vcpu, VEC_UD);
}

/* --- the table --- */

static const char *const names[EXIT_KINDS] = {
#define X(constant, name) [constant] = (name),
	VM_EXIT_KINDS(X)
#undef X
};

static void (*const handlers[EXIT_KINDS])(struct vcpu *vcpu) = {
	[EXIT_UNKNOWN] = handle_unknown,
	[EXIT_INVALID_STATE] = handle_invalid_state,
	[EXIT_INTR] = handle_nothing,
	[EXIT_NMI] = handle_nothing,
	[EXIT_INTR_WINDOW] = handle_nothing,
	[EXIT_NMI_WINDOW] = handle_nothing,
	[EXIT_TIMER] = handle_nothing,
	[EXIT_IO] = vm_exit_io,
	[EXIT_NESTED_FAULT] = vm_exit_nested_fault,
	[EXIT_PAGE_FAULT] = handle_page_fault,
	[EXIT_EXCEPTION] = handle_exception,
	[EXIT_CPUID] = handle_cpuid,
	[EXIT_APIC_WRITE] = vcpu_apic_written,
	[EXIT_APIC_EOI] = vcpu_apic_ended,
	[EXIT_RDMSR] = handle_rdmsr,
	[EXIT_WRMSR] = handle_wrmsr,
	[EXIT_CR_READ] = handle_cr,
	[EXIT_CR_WRITE] = handle_cr,
	[EXIT_DR] = handle_dr,
	[EXIT_SOFT_INT] = handle_soft_int,
	[EXIT_HLT] = handle_hlt,
	[EXIT_PAUSE] = handle_pause,
	[EXIT_MONITOR] = handle_ud, /* CPUID says that it is not there */
	[EXIT_MWAIT] = handle_ud,
	[EXIT_INVD] = retire, /* the caches hold other VMs' data as well: nothing is thrown away */
	[EXIT_WBINVD] = retire,
	[EXIT_XSETBV] = handle_xsetbv,
	[EXIT_RDTSC] = handle_rdtsc,
	[EXIT_RDPMC] = handle_gp, /* no counters */
	[EXIT_INVLPG] = handle_invlpg,
	[EXIT_INVPCID] = handle_invpcid,
	[EXIT_TASK_SWITCH] = task_switch,
	[EXIT_HYPERCALL] = handle_hypercall,
	[EXIT_VIRT_INSN] = handle_ud,
	[EXIT_SHUTDOWN] = vcpu_triple_fault,
	[EXIT_EMULATE] = handle_emulate,
	[EXIT_INIT] = handle_nothing,
	[EXIT_SMI] = handle_nothing,
};

const char *vm_exit_name(enum vm_exit_kind kind)
{
	return (unsigned)kind < EXIT_KINDS ? names[kind] : "?";
}

void vm_exit_dispatch(struct vcpu *vcpu)
{
	handlers[vcpu->exit.kind](vcpu);
}

/* Those whose handlers touch nothing that is not the vCPU's own, or take the lock for it. The
 * length of an instruction that the hardware does not tell is found in the guest's memory. */
#define PRIVATE_KINDS                                                                              \
	(BIT(EXIT_INTR) | BIT(EXIT_NMI) | BIT(EXIT_TIMER) | BIT(EXIT_INTR_WINDOW) |                \
	 BIT(EXIT_NMI_WINDOW) | BIT(EXIT_APIC_WRITE) | BIT(EXIT_APIC_EOI))
#define PRIVATE_INSNS                                                                              \
	(BIT(EXIT_CPUID) | BIT(EXIT_HLT) | BIT(EXIT_PAUSE) | BIT(EXIT_RDTSC) | BIT(EXIT_WBINVD))

#define PRIVATE_MSRS (BIT(EXIT_RDMSR) | BIT(EXIT_WRMSR))

/* Of the local APIC's registers, without where it is. */
static bool is_apic_msr(uint32_t msr)
{
	return (msr & ~0xffu) == MSR_X2APIC_BASE || msr == MSR_TSC_DEADLINE;
}

static bool is_private(const struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	uint64_t kind = BIT(exit->kind);

	if (vcpu->debug.on || __atomic_load_n(&vcpu->vm->audit_left, __ATOMIC_RELAXED))
		return false;
	if ((kind & PRIVATE_MSRS) && is_apic_msr((uint32_t)vcpu->regs.gpr[RCX]))
		return exit->insn_len;
	return (kind & PRIVATE_KINDS) || ((kind & PRIVATE_INSNS) && exit->insn_len);
}

/* Has the exit been the last one before the next audit? Several vCPUs count at a time. */
static bool audit_is_due(struct vm *vm)
{
	uint64_t left = __atomic_load_n(&vm->audit_left, __ATOMIC_RELAXED);

	while (left && !__atomic_compare_exchange_n(&vm->audit_left, &left, left - 1, false,
						    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return left == 1;
}

static void count_for_audit(struct vm *vm)
{
	if (!audit_is_due(vm))
		return;
	__atomic_store_n(&vm->audit_left, vm->cfg->audit, __ATOMIC_RELAXED);
	vm_shadow_audit(vm);
}

void vm_exit_handle(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	struct exit_stats *stats = vcpu->exits;
	struct vm *vm = vcpu->vm;

	exit_stats_count(stats, exit->kind);
	if (__builtin_expect(stats->trace.records != NULL, 0))
		exit_trace_add(&stats->trace, vcpu, stats->since);
	if (vcpu->debug.on) {
		owned_lock(&vm->lock);
		debug_after_exit(vcpu);
		owned_unlock(&vm->lock);
	}
	if (exit->interrupted.kind != EVENT_NONE)
		vcpu_requeue(vcpu, &exit->interrupted);
	if (is_private(vcpu)) {
		vm_exit_dispatch(vcpu);
		return;
	}
	if (exit->kind == EXIT_PAGE_FAULT && !vcpu->debug.on && vm_exit_page_fault_shared(vcpu)) {
		count_for_audit(vm);
		return;
	}
	owned_lock(&vm->lock);
	vm_exit_dispatch(vcpu);
	if (vcpu->debug.on)
		debug_handled(vcpu);
	count_for_audit(vm);
	owned_unlock(&vm->lock);
}
