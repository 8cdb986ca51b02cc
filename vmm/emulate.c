#include "vmm/emulate.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/gmem.h"
#include "vmm/lookahead.h"
#include "vmm/memmap.h"
#include "vmm/vm.h"

/* --- from exit to instruction --- */

/* The instruction's bytes, from the hardware's decode assist or from memory. */
static unsigned fetch(struct vcpu *vcpu, uint8_t *bytes, struct guest_fault *fault)
{
	unsigned n = MIN(vcpu->exit.nr_bytes, VM_EXIT_MAX_INSN);
	const uint8_t *code;
	uint64_t avail;

	if (n) {
		memcpy(bytes, vcpu->exit.bytes, n);
		return n;
	}
	code = lookahead_code(vcpu, &avail);
	if (!code || avail < VM_EXIT_MAX_INSN)
		return gmem_fetch(vcpu, bytes, VM_EXIT_MAX_INSN, fault);
	memcpy(bytes, code, VM_EXIT_MAX_INSN);
	return VM_EXIT_MAX_INSN;
}

/* No valid instruction. When the hardware has met its operand, and it may be one that the decoder
 * does not know, it was that; but some emulators take what no processor takes (LOCK MOV). */
static enum emulate_result undefined(struct vcpu *vcpu, enum decode_status status)
{
	if (status == DECODE_UNKNOWN && vcpu->exit.kind == EXIT_NESTED_FAULT &&
	    !vcpu->exit.nested.fetch)
		return EMULATE_FAILED;
	vcpu_raise_vector(vcpu, VEC_UD);
	return EMULATE_FAULT;
}

/* The instruction goes on beyond the n bytes that could be fetched: what keeps the next one? If
 * nothing does any more, the guest tries again. */
static enum emulate_result cut_short(struct vcpu *vcpu, unsigned n)
{
	struct guest_fault fault;

	if (!gmem_fetch_allowed(vcpu, n, &fault))
		vcpu_raise(vcpu, &fault);
	return EMULATE_FAULT;
}

/* EMULATE_DONE: *out is the instruction at RIP. Otherwise why not. */
static enum emulate_result decode(struct vcpu *vcpu, unsigned code_size, const struct insn **out)
{
	uint8_t bytes[VM_EXIT_MAX_INSN];
	struct guest_fault fault;
	unsigned n = fetch(vcpu, bytes, &fault);
	enum decode_status status = DECODE_TRUNCATED;

	if (n)
		status = decode_cached(&vcpu->emulate.decode, vcpu->regs.rip, bytes, n, code_size,
				       out);
	/* The hardware gave too few bytes: look in memory. */
	if (status == DECODE_TRUNCATED && vcpu->exit.nr_bytes) {
		n = gmem_fetch(vcpu, bytes, VM_EXIT_MAX_INSN, &fault);
		if (n)
			status = decode_cached(&vcpu->emulate.decode, vcpu->regs.rip, bytes, n,
					       code_size, out);
	}
	if (!n) {
		vcpu_raise(vcpu, &fault);
		return EMULATE_FAULT;
	}
	if (status == DECODE_TRUNCATED)
		return cut_short(vcpu, n);
	if (status == DECODE_TOO_LONG) {
		vcpu_raise_error(vcpu, VEC_GP, 0);
		return EMULATE_FAULT;
	}
	return status == DECODE_OK ? EMULATE_DONE : undefined(vcpu, status);
}

void emu_init(struct emu *e, struct vcpu *vcpu)
{
	*e = (struct emu){ .vcpu = vcpu,
			   .code_size = vcpu_code_size(vcpu),
			   .user = vcpu_cpl(vcpu) == 3,
			   .flags = vcpu->regs.rflags };
	e->insn = &e->own;
}

enum emulate_result emu_begin(struct emu *e, struct vcpu *vcpu)
{
	emu_init(e, vcpu);
	return decode(vcpu, e->code_size, &e->insn);
}

bool emu_protected(const struct emu *e)
{
	return (vcpu_hot_reg(e->vcpu, REG_CR0) & CR0_PE) && !(e->vcpu->regs.rflags & RFLAGS_VM);
}

bool emu_v86(const struct emu *e)
{
	return (vcpu_hot_reg(e->vcpu, REG_CR0) & CR0_PE) && (e->vcpu->regs.rflags & RFLAGS_VM);
}

unsigned emu_iopl(const struct emu *e)
{
	return (e->vcpu->regs.rflags & RFLAGS_IOPL) >> 12;
}

/* --- how an instruction ends --- */

enum emulate_result emu_fault(struct emu *e)
{
	if (e->failed)
		return EMULATE_FAILED;
	vcpu_raise(e->vcpu, &e->fault);
	return EMULATE_FAULT;
}

/* The TF that an instruction loads counts from the next one on. */
static void commit_flags(struct emu *e, uint64_t tf)
{
	e->vcpu->regs.rflags = (e->flags & ~RFLAGS_TF) | (tf & RFLAGS_TF);
}

static enum emulate_result retired(struct emu *e)
{
	uint64_t *rflags = &e->vcpu->regs.rflags;

	*rflags = (*rflags & ~RFLAGS_TF) | (e->flags & RFLAGS_TF);
	return EMULATE_DONE;
}

enum emulate_result emu_retire(struct emu *e)
{
	commit_flags(e, e->vcpu->regs.rflags);
	vcpu_retire_insn(e->vcpu, e->insn->len);
	return retired(e);
}

enum emulate_result emu_retire_at(struct emu *e, uint64_t rip)
{
	commit_flags(e, e->vcpu->regs.rflags);
	vcpu_retire_jump(e->vcpu, rip);
	return retired(e);
}

enum emulate_result emu_retire_shadowed(struct emu *e, bool hold_trap)
{
	struct vcpu *vcpu = e->vcpu;

	commit_flags(e, hold_trap ? 0 : vcpu->regs.rflags);
	vcpu_retire_insn(vcpu, e->insn->len);
	vcpu->vm->backend->set_reg(vcpu, REG_INTR_SHADOW, 1);
	return retired(e);
}

/* --- one instruction --- */

enum emulate_result emulate_mmio(struct vcpu *vcpu)
{
	struct emu e;
	enum emulate_result result = emu_begin(&e, vcpu);

	return result == EMULATE_DONE ? emu_execute(&e) : result;
}

/* No processor has fetched it: whether it may be is judged here. */
enum emulate_result emulate_step(struct vcpu *vcpu)
{
	bool paging = vcpu_hot_reg(vcpu, REG_CR0) & CR0_PG;
	enum emulate_result result;
	struct emu e;

	vcpu->exit.nr_bytes = 0;
	emu_init(&e, vcpu);
	if (paging && !gmem_fetch_allowed(vcpu, 0, &e.fault))
		return emu_fault(&e);
	result = emu_begin(&e, vcpu);
	if (result != EMULATE_DONE)
		return result;
	if (paging && !gmem_fetch_allowed(vcpu, e.insn->len - 1u, &e.fault))
		return emu_fault(&e);
	return emu_execute(&e);
}

/* --- instruction length --- */

/* Exits that only these instructions cause, each unless it bears prefixes. */
struct opcode {
	uint8_t len, bytes[3];
};

#define MAX_OPCODES 2
static const struct opcode exact[EXIT_KINDS][MAX_OPCODES] = {
	[EXIT_CPUID] = { { 2, { 0x0f, 0xa2 } } },
	[EXIT_RDMSR] = { { 2, { 0x0f, 0x32 } } },
	[EXIT_WRMSR] = { { 2, { 0x0f, 0x30 } } },
	[EXIT_HLT] = { { 1, { 0xf4 } } },
	[EXIT_PAUSE] = { { 2, { 0xf3, 0x90 } } },
	[EXIT_MONITOR] = { { 3, { 0x0f, 0x01, 0xc8 } }, { 3, { 0x0f, 0x01, 0xfa } } },
	[EXIT_MWAIT] = { { 3, { 0x0f, 0x01, 0xc9 } }, { 3, { 0x0f, 0x01, 0xfb } } },
	[EXIT_INVD] = { { 2, { 0x0f, 0x08 } } },
	[EXIT_WBINVD] = { { 2, { 0x0f, 0x09 } } },
	[EXIT_XSETBV] = { { 3, { 0x0f, 0x01, 0xd1 } } },
	[EXIT_RDTSC] = { { 2, { 0x0f, 0x31 } }, { 3, { 0x0f, 0x01, 0xf9 } } },
	[EXIT_RDPMC] = { { 2, { 0x0f, 0x33 } } },
	[EXIT_HYPERCALL] = { { 3, { 0x0f, 0x01, 0xd9 } }, { 3, { 0x0f, 0x01, 0xc1 } } },
};

/* 0: not one of the exact opcodes, or not this way. */
static unsigned exact_length(struct vcpu *vcpu)
{
	const struct opcode *op = exact[vcpu->exit.kind];
	const uint8_t *bytes;
	uint64_t avail;

	if (!op[0].len)
		return 0;
	bytes = lookahead_code(vcpu, &avail);
	if (!bytes || avail < sizeof(op->bytes))
		return 0;
	for (unsigned i = 0; i < MAX_OPCODES; i++)
		if (op[i].len && bytes[0] == op[i].bytes[0] &&
		    !memcmp(bytes, op[i].bytes, op[i].len))
			return op[i].len;
	return 0;
}

unsigned emulate_insn_length(struct vcpu *vcpu)
{
	const struct insn *insn;
	unsigned len = vcpu->exit.insn_len;

	if (!len)
		len = exact_length(vcpu);
	if (len)
		return len;
	return decode(vcpu, vcpu_code_size(vcpu), &insn) == EMULATE_DONE ? insn->len : 0;
}

/* --- control registers --- */

/* The 16 bits that LMSW loads. */
static bool lmsw_operand(struct emu *e, uint64_t *val)
{
	const struct operand *src = &e->insn->operand[0];
	struct emu_span span;

	if (src->kind == OPERAND_REG) {
		*val = emu_reg(e, src->reg, 2);
		return true;
	}
	if (!emu_span(e, e->insn->seg, emu_offset(e), 2, false, &span)) {
		emu_fault(e);
		return false;
	}
	*val = emu_span_read(e, &span);
	return true;
}

bool emulate_decode_cr(struct vcpu *vcpu, struct cr_insn *out)
{
	const struct operand *dst, *src;
	struct emu e;

	if (emu_begin(&e, vcpu) != EMULATE_DONE)
		return false;
	dst = &e.insn->operand[0];
	src = &e.insn->operand[1];
	*out = (struct cr_insn){ .len = e.insn->len };
	switch (e.insn->op) {
	case INSN_MOV_TO_CR:
		out->op = CR_INSN_MOV_TO;
		out->nr = dst->reg;
		out->gpr = src->reg;
		out->value = emu_reg(&e, src->reg, src->size);
		return true;
	case INSN_MOV_FROM_CR:
		out->op = CR_INSN_MOV_FROM;
		out->nr = src->reg;
		out->gpr = dst->reg;
		return true;
	case INSN_CLTS:
		out->op = CR_INSN_CLTS;
		return true;
	case INSN_LMSW:
		out->op = CR_INSN_LMSW;
		return lmsw_operand(&e, &out->value);
	case INSN_SMSW:
		out->op = CR_INSN_SMSW;
		out->gpr = dst->kind == OPERAND_REG ? dst->reg : INSN_NO_REG;
		out->size = dst->size;
		return true;
	default:
		return false;
	}
}

bool emulate_decode_int(struct vcpu *vcpu, uint8_t *vector, uint8_t *len, bool *int3)
{
	struct emu e;

	if (emu_begin(&e, vcpu) != EMULATE_DONE)
		return false;
	*int3 = e.insn->op == INSN_INT3;
	*vector = *int3 ? VEC_BP : (uint8_t)e.insn->imm;
	*len = e.insn->len;
	return *int3 || e.insn->op == INSN_INT;
}

/* No limit is checked, and no access made (APM vol. 3, INVLPG). */
bool emulate_decode_invlpg(struct vcpu *vcpu, gva_t *gva, unsigned *len)
{
	struct segment seg = { 0 };
	struct emu e;

	if (emu_begin(&e, vcpu) != EMULATE_DONE)
		return false;
	if (e.insn->operand[0].kind != OPERAND_MEM) {
		vcpu_raise_vector(vcpu, VEC_UD);
		return false;
	}
	if (e.code_size != 8 || e.insn->seg == SEG_FS || e.insn->seg == SEG_GS)
		vcpu->vm->backend->get_seg(vcpu, (enum seg_reg)e.insn->seg, &seg);
	gva->v = seg.base + emu_offset(&e);
	if (e.code_size != 8)
		gva->v &= BITS(31, 0);
	*len = e.insn->len;
	return true;
}

bool emulate_store_smsw(struct vcpu *vcpu, uint16_t msw)
{
	struct emu_span span;
	struct emu e;

	if (emu_begin(&e, vcpu) != EMULATE_DONE)
		return false;
	if (e.insn->op != INSN_SMSW || e.insn->operand[0].kind == OPERAND_REG)
		return false;
	if (!emu_span(&e, e.insn->seg, emu_offset(&e), sizeof(msw), true, &span)) {
		emu_fault(&e);
		return false;
	}
	emu_span_write(&e, &span, msw);
	return true;
}

/* --- text --- */

void emulate_disassemble(struct vcpu *vcpu, char *buf, unsigned size)
{
	uint8_t bytes[VM_EXIT_MAX_INSN];
	struct guest_fault fault;
	unsigned n = gmem_fetch(vcpu, bytes, sizeof(bytes), &fault);

	if (!n || !decode_format(bytes, n, vcpu_code_size(vcpu), vcpu->regs.rip, buf, size))
		str_copy(buf, "?", size);
}
