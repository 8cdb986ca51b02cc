/* Instructions with one memory operand: each is a function on the operands' values. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"

/* v[] are the values of the operands: those read come in, those written go out. */
typedef void insn_fn(struct emu *e, uint64_t v[2]);

static unsigned dst_size(const struct emu *e)
{
	return e->insn->operand[0].size;
}

static unsigned src_size(const struct emu *e)
{
	return e->insn->operand[1].size;
}

static void do_mov(struct emu *e, uint64_t v[2])
{
	(void)e;
	v[0] = v[1];
}

static void do_movzx(struct emu *e, uint64_t v[2])
{
	v[0] = alu_cut(v[1], src_size(e));
}

static void do_movsx(struct emu *e, uint64_t v[2])
{
	v[0] = alu_sign_extend(v[1], src_size(e));
}

static void do_movbe(struct emu *e, uint64_t v[2])
{
	v[0] = __builtin_bswap64(v[1]) >> (64 - 8 * dst_size(e));
}

static void do_xchg(struct emu *e, uint64_t v[2])
{
	uint64_t t = v[0];

	(void)e;
	v[0] = v[1];
	v[1] = t;
}

static void do_binary(struct emu *e, uint64_t v[2])
{
	v[0] = alu_binary((enum insn_op)e->insn->op, v[0], v[1], dst_size(e), &e->flags);
}

static void do_unary(struct emu *e, uint64_t v[2])
{
	v[0] = alu_unary((enum insn_op)e->insn->op, v[0], dst_size(e), &e->flags);
}

static void do_bit(struct emu *e, uint64_t v[2])
{
	v[0] = alu_bit((enum insn_op)e->insn->op, v[0], v[1], dst_size(e), &e->flags);
}

/* The destination is written in either case (APM vol. 3, CMPXCHG). */
static void do_cmpxchg(struct emu *e, uint64_t v[2])
{
	unsigned size = dst_size(e);
	uint64_t old = alu_cut(v[0], size);

	alu_binary(INSN_CMP, e->vcpu->regs.gpr[RAX], old, size, &e->flags);
	if (e->flags & RFLAGS_ZF)
		v[0] = v[1];
	else
		emu_set_reg(e, RAX, size, old);
}

static void do_xadd(struct emu *e, uint64_t v[2])
{
	uint64_t old = v[0];

	v[0] = alu_binary(INSN_ADD, v[0], v[1], dst_size(e), &e->flags);
	v[1] = old;
}

#define OP0 1u
#define OP1 2u

static const struct {
	insn_fn *run;
	uint8_t reads, writes; /* which operands */
} table[INSN_OPS] = {
	[INSN_MOV] = { do_mov, OP1, OP0 },
	[INSN_MOVZX] = { do_movzx, OP1, OP0 },
	[INSN_MOVSX] = { do_movsx, OP1, OP0 },
	[INSN_MOVBE] = { do_movbe, OP1, OP0 },
	[INSN_XCHG] = { do_xchg, OP0 | OP1, OP0 | OP1 },
	[INSN_ADD] = { do_binary, OP0 | OP1, OP0 },
	[INSN_OR] = { do_binary, OP0 | OP1, OP0 },
	[INSN_ADC] = { do_binary, OP0 | OP1, OP0 },
	[INSN_SBB] = { do_binary, OP0 | OP1, OP0 },
	[INSN_AND] = { do_binary, OP0 | OP1, OP0 },
	[INSN_SUB] = { do_binary, OP0 | OP1, OP0 },
	[INSN_XOR] = { do_binary, OP0 | OP1, OP0 },
	[INSN_CMP] = { do_binary, OP0 | OP1, 0 },
	[INSN_TEST] = { do_binary, OP0 | OP1, 0 },
	[INSN_NOT] = { do_unary, OP0, OP0 },
	[INSN_NEG] = { do_unary, OP0, OP0 },
	[INSN_INC] = { do_unary, OP0, OP0 },
	[INSN_DEC] = { do_unary, OP0, OP0 },
	[INSN_BT] = { do_bit, OP0 | OP1, 0 },
	[INSN_BTS] = { do_bit, OP0 | OP1, OP0 },
	[INSN_BTR] = { do_bit, OP0 | OP1, OP0 },
	[INSN_BTC] = { do_bit, OP0 | OP1, OP0 },
	[INSN_CMPXCHG] = { do_cmpxchg, OP0 | OP1, OP0 },
	[INSN_XADD] = { do_xadd, OP0 | OP1, OP0 | OP1 },
};

/*
 * A bit number in a register is signed and reaches beyond the operand: the element that
 * holds it is the one accessed (APM vol. 3, BT).
 */
static uint64_t bit_offset(const struct emu *e, uint64_t offset)
{
	const struct operand *bit = &e->insn->operand[1];
	unsigned shift = (unsigned)__builtin_ctz(8 * dst_size(e));
	int64_t index;

	if (bit->kind != OPERAND_REG)
		return offset;
	index = (int64_t)alu_sign_extend(e->vcpu->regs.gpr[bit->reg], bit->size) >> shift;
	return alu_cut(offset + (uint64_t)index * dst_size(e), e->insn->addr_size);
}

/* Check and translate the memory operand, if there is one. False: e->fault. */
static bool locate(struct emu *e, struct emu_span *span)
{
	const struct insn *insn = e->insn;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t offset;

		if (insn->operand[i].kind != OPERAND_MEM)
			continue;
		offset = emu_offset(e);
		if (insn->op >= INSN_BT && insn->op <= INSN_BTC)
			offset = bit_offset(e, offset);
		return emu_span(e, insn->seg, offset, insn->operand[i].size,
				table[insn->op].writes >> i & 1, span);
	}
	return true;
}

static uint64_t operand_read(struct emu *e, const struct operand *op, const struct emu_span *span)
{
	switch (op->kind) {
	case OPERAND_MEM:
		return emu_span_read(e, span);
	case OPERAND_IMM:
		return e->insn->imm;
	case OPERAND_HIGH8:
		return emu_reg(e, op->reg, 2) >> 8;
	default:
		return emu_reg(e, op->reg, op->size);
	}
}

static void operand_write(struct emu *e, const struct operand *op, const struct emu_span *span,
			  uint64_t val)
{
	switch (op->kind) {
	case OPERAND_MEM:
		emu_span_write(e, span, val);
		break;
	case OPERAND_HIGH8:
		emu_set_reg(e, op->reg, 2, emu_reg(e, op->reg, 1) | alu_cut(val, 1) << 8);
		break;
	default:
		emu_set_reg(e, op->reg, op->size, val);
		break;
	}
}

/* Are the operands what the table's functions work on? */
static bool operands_plain(const struct insn *insn)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct operand *op = &insn->operand[i];

		if (!((table[insn->op].reads | table[insn->op].writes) >> i & 1))
			continue;
		if (op->kind == OPERAND_NONE || op->kind == OPERAND_CR ||
		    op->kind == OPERAND_OTHER || !op->size || op->size > 8)
			return false;
	}
	return true;
}

/*
 * An instruction that is not emulated. If its operand cannot even be translated (the
 * guest's tables may lie where there is no memory), that fault comes first.
 */
static enum emulate_result unsupported(struct emu *e)
{
	struct emu_span span;

	for (unsigned i = 0; i < 2; i++)
		if (e->insn->operand[i].kind == OPERAND_MEM &&
		    !emu_span(e, e->insn->seg, emu_offset(e), 1, false, &span))
			return emu_fault(e);
	return EMULATE_FAILED;
}

enum emulate_result emulate_mmio(struct vcpu *vcpu)
{
	enum emulate_result result;
	struct emu_span span;
	uint64_t v[2] = { 0 };
	struct emu e;

	result = emu_begin(&e, vcpu);
	if (result != EMULATE_DONE)
		return result;
	if (e.insn->op >= INSN_MOVS && e.insn->op <= INSN_SCAS)
		return emu_string(&e);
	if (!table[e.insn->op].run || !operands_plain(e.insn))
		return unsupported(&e);
	if (!locate(&e, &span))
		return emu_fault(&e);

	for (unsigned i = 0; i < 2; i++)
		if (table[e.insn->op].reads >> i & 1)
			v[i] = operand_read(&e, &e.insn->operand[i], &span);
	table[e.insn->op].run(&e, v);
	for (unsigned i = 0; i < 2; i++)
		if (table[e.insn->op].writes >> i & 1)
			operand_write(&e, &e.insn->operand[i], &span, v[i]);
	return emu_retire(&e);
}
