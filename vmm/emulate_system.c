/* The machine: what has an exit of its own goes to that exit's handler; ports, flags that
 * privilege guards, debug registers. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/dr.h"
#include "vmm/emulate_core.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"

/* SDM vol. 3, 17.2.3 and 17.2.4. */
#define DR6_SETTABLE (BITS(3, 0) | BITS(15, 13))
#define DR6_BD BIT(13)
#define DR7_SETTABLE (BITS(31, 16) | BIT(13) | BITS(9, 0))

/* --- as an exit --- */

/* vcpu->exit becomes one of this kind; the caller fills in what that needs. */
static struct vm_exit *turn_into(struct emu *e, enum vm_exit_kind kind)
{
	struct vm_exit *exit = &e->vcpu->exit;

	*exit = (struct vm_exit){ .kind = kind,
				  .insn_len = e->insn->len,
				  .hw_name = exit->hw_name };
	return exit;
}

/* Let its handler do the instruction. */
static enum emulate_result hand_over(struct emu *e)
{
	struct vcpu *vcpu = e->vcpu;
	uint64_t rip = vcpu->regs.rip;

	vm_exit_dispatch(vcpu);
	return vcpu->events.pending.kind == EVENT_EXCEPTION && vcpu->regs.rip == rip ? EMULATE_FAULT
										     : EMULATE_DONE;
}

enum emulate_result emu_as_exit(struct emu *e)
{
	static const uint8_t kinds[INSN_OPS] = {
		[INSN_MOV_TO_CR] = EXIT_CR_WRITE,
		[INSN_MOV_FROM_CR] = EXIT_CR_READ,
		[INSN_CLTS] = EXIT_CR_WRITE,
		[INSN_LMSW] = EXIT_CR_WRITE,
		[INSN_SMSW] = EXIT_CR_READ,
		[INSN_PAUSE] = EXIT_PAUSE,
		[INSN_HLT] = EXIT_HLT,
		[INSN_CPUID] = EXIT_CPUID,
		[INSN_RDMSR] = EXIT_RDMSR,
		[INSN_WRMSR] = EXIT_WRMSR,
		[INSN_RDTSC] = EXIT_RDTSC,
		[INSN_RDTSCP] = EXIT_RDTSC,
		[INSN_RDPMC] = EXIT_RDPMC,
		[INSN_INVD] = EXIT_INVD,
		[INSN_WBINVD] = EXIT_WBINVD,
		[INSN_INVLPG] = EXIT_INVLPG,
		[INSN_XSETBV] = EXIT_XSETBV,
	};
	const struct operand *op = e->insn->operand;
	struct vm_exit *exit = turn_into(e, (enum vm_exit_kind)kinds[e->insn->op]);

	switch (e->insn->op) {
	case INSN_MOV_TO_CR:
		exit->cr.nr = op[0].reg;
		exit->cr.gpr = op[1].reg;
		break;
	case INSN_MOV_FROM_CR:
		exit->cr.nr = op[1].reg;
		exit->cr.gpr = op[0].reg;
		break;
	case INSN_CLTS:
	case INSN_LMSW:
	case INSN_SMSW:
		exit->cr.gpr = VM_EXIT_GPR_UNKNOWN;
		break;
	default:
		break;
	}
	return hand_over(e);
}

enum emulate_result emu_smsw(struct emu *e)
{
	if (vcpu_cpl(e->vcpu) != 0 && (vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_UMIP)) {
		emu_refuse_error(e, VEC_GP, 0);
		return emu_fault(e);
	}
	return emu_as_exit(e);
}

enum emulate_result emu_ud(struct emu *e)
{
	emu_refuse(e, VEC_UD);
	return emu_fault(e);
}

/* --- ports --- */

/* The bitmap in the task state segment: SDM vol. 1, 19.5.2. */
static bool bitmap_allows(struct emu *e, unsigned port, unsigned size)
{
	static const struct guest_access implicit = { .implicit = true };
	struct vcpu *vcpu = e->vcpu;
	struct segment tr;
	uint16_t map, bits;

	vcpu->vm->backend->get_seg(vcpu, SEG_TR, &tr);
	if (!(tr.attr & SEG_ATTR_P) || !(tr.attr & DESC_TYPE_32BIT) || tr.limit < 0x67)
		return emu_refuse_error(e, VEC_GP, 0);
	if (!gmem_read(vcpu, GVA(tr.base + 0x66), &map, sizeof(map), implicit, &e->fault))
		return false;
	/* Two bytes are read always. */
	if ((uint64_t)map + port / 8 + 1 > tr.limit)
		return emu_refuse_error(e, VEC_GP, 0);
	if (!gmem_read(vcpu, GVA(tr.base + map + port / 8), &bits, sizeof(bits), implicit,
		       &e->fault))
		return false;
	if (bits >> (port & 7) & BITS(size - 1, 0))
		return emu_refuse_error(e, VEC_GP, 0);
	return true;
}

static bool port_allowed(struct emu *e, unsigned port, unsigned size)
{
	if (!emu_v86(e) && vcpu_cpl(e->vcpu) <= emu_iopl(e))
		return true;
	return bitmap_allows(e, port, size);
}

/* IN and OUT of the accumulator. */
enum emulate_result emu_port(struct emu *e)
{
	bool in = e->insn->op == INSN_IN;
	unsigned size = e->insn->operand[in ? 0 : 1].size;
	uint16_t port = (uint16_t)emu_operand_read(e, in ? 1 : 0, NULL);
	struct vm_exit *exit;

	if (!port_allowed(e, port, size))
		return emu_fault(e);
	exit = turn_into(e, EXIT_IO);
	exit->io.port = port;
	exit->io.size = (uint8_t)size;
	exit->io.in = in;
	return hand_over(e);
}

/* INS and OUTS. */
enum emulate_result emu_string_port(struct emu *e)
{
	const struct insn *insn = e->insn;
	uint16_t port = (uint16_t)e->vcpu->regs.gpr[RDX];
	struct vm_exit *exit;

	if (!port_allowed(e, port, insn->size))
		return emu_fault(e);
	exit = turn_into(e, EXIT_IO);
	exit->io.port = port;
	exit->io.size = insn->size;
	exit->io.in = insn->op == INSN_INS;
	exit->io.string = true;
	exit->io.rep = insn->rep || insn->repne;
	exit->io.addr_size = insn->addr_size;
	exit->io.seg = insn->seg;
	return hand_over(e);
}

/* --- CLI and STI: SDM vol. 2; VIF stands in for IF where IOPL keeps that --- */

/* Which of the two flags the instruction is about; 0: e->fault. */
static uint64_t interrupt_flag(struct emu *e)
{
	uint64_t cr4 = vcpu_hot_reg(e->vcpu, REG_CR4);
	unsigned cpl = vcpu_cpl(e->vcpu);

	if (emu_v86(e) ? emu_iopl(e) == 3 : cpl <= emu_iopl(e))
		return RFLAGS_IF;
	if (emu_v86(e) ? cr4 & CR4_VME : cpl == 3 && (cr4 & CR4_PVI))
		return RFLAGS_VIF;
	emu_refuse_error(e, VEC_GP, 0);
	return 0;
}

enum emulate_result emu_cli(struct emu *e)
{
	uint64_t flag = interrupt_flag(e);

	if (!flag)
		return emu_fault(e);
	e->flags &= ~flag;
	return emu_retire(e);
}

enum emulate_result emu_sti(struct emu *e)
{
	uint64_t flag = interrupt_flag(e);
	bool was_on = e->flags & RFLAGS_IF;

	if (flag == RFLAGS_VIF && (e->flags & RFLAGS_VIP)) {
		emu_refuse_error(e, VEC_GP, 0);
		flag = 0;
	}
	if (!flag)
		return emu_fault(e);
	e->flags |= flag;
	return flag == RFLAGS_IF && !was_on ? emu_retire_shadowed(e, false) : emu_retire(e);
}

/* --- debug registers --- */

static bool write_debug(struct emu *e, unsigned nr, uint64_t val)
{
	if (nr >= 4 && val >> 32)
		return emu_refuse_error(e, VEC_GP, 0);
	if (nr == 6)
		val = (val & DR6_SETTABLE) | DR6_INIT;
	else if (nr == 7)
		val = (val & DR7_SETTABLE) | DR7_INIT;
	dr_write(e->vcpu, nr, val);
	return true;
}

/* MOV to and from DRn; 4 and 5 are 6 and 7 unless CR4.DE says that they are nothing. */
enum emulate_result emu_mov_dr(struct emu *e)
{
	bool write = e->insn->op == INSN_MOV_TO_DR;
	unsigned nr = e->insn->operand[write ? 0 : 1].reg;

	if (nr == 4 || nr == 5) {
		if (vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_DE)
			return emu_ud(e);
		nr += 2;
	}
	if (dr_read(e->vcpu, 7) & DR7_GD) {
		dr_write(e->vcpu, 6, dr_read(e->vcpu, 6) | DR6_BD);
		emu_refuse(e, VEC_DB);
		return emu_fault(e);
	}
	if (!write)
		emu_operand_write(e, 0, NULL, dr_read(e->vcpu, nr));
	else if (!write_debug(e, nr, emu_operand_read(e, 1, NULL)))
		return emu_fault(e);
	return emu_retire(e);
}
