/* Every instruction that is emulated: a function on its operands' values, or one that does all
 * of it. The table is at the end. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"

/* v[] are the values of the operands: those read come in, those written go out. False: e->fault,
 * and nothing has changed. */
typedef bool value_fn(struct emu *e, uint64_t v[INSN_OPERANDS]);

static unsigned dst_size(const struct emu *e)
{
	return e->insn->operand[0].size;
}

static unsigned src_size(const struct emu *e)
{
	return e->insn->operand[1].size;
}

static enum insn_op op_of(const struct emu *e)
{
	return (enum insn_op)e->insn->op;
}

/* --- moves --- */

static bool do_mov(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	(void)e;
	v[0] = v[1];
	return true;
}

static bool do_movzx(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_cut(v[1], src_size(e));
	return true;
}

static bool do_movsx(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_sign_extend(v[1], src_size(e));
	return true;
}

static bool do_movbe(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = __builtin_bswap64(v[1]) >> (64 - 8 * dst_size(e));
	return true;
}

/* Of 16 bits: undefined; here as processors do. */
static bool do_bswap(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	unsigned size = dst_size(e);

	v[0] = size < 4 ? 0 : __builtin_bswap64(v[0]) >> (64 - 8 * size);
	return true;
}

static bool do_xchg(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t t = v[0];

	(void)e;
	v[0] = v[1];
	v[1] = t;
	return true;
}

static bool do_cmov(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	if (alu_condition(e->insn->cond, e->flags))
		v[0] = v[1];
	return true;
}

static bool do_setcc(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_condition(e->insn->cond, e->flags);
	return true;
}

/* --- arithmetic --- */

static bool do_binary(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_binary(op_of(e), v[0], v[1], dst_size(e), &e->flags);
	return true;
}

static bool do_unary(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_unary(op_of(e), v[0], dst_size(e), &e->flags);
	return true;
}

static bool do_bit(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_bit(op_of(e), v[0], v[1], dst_size(e), &e->flags);
	return true;
}

static bool do_shift(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_shift(op_of(e), v[0], v[1] & 0xff, dst_size(e), &e->flags);
	return true;
}

static bool do_shift_double(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	v[0] = alu_shift_double(op_of(e), v[0], v[1], v[2] & 0xff, dst_size(e), &e->flags);
	return true;
}

/* Without a bit that is set, the destination stays as it is. */
static bool do_scan(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t src = alu_cut(v[1], src_size(e));

	if (!src) {
		e->flags |= RFLAGS_ZF;
		return true;
	}
	e->flags &= ~RFLAGS_ZF;
	v[0] = (unsigned)(op_of(e) == INSN_BSF ? __builtin_ctzll(src) : 63 - __builtin_clzll(src));
	return true;
}

/* The destination is written in either case (APM vol. 3, CMPXCHG). */
static bool do_cmpxchg(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	unsigned size = dst_size(e);
	uint64_t old = alu_cut(v[0], size);

	alu_binary(INSN_CMP, e->vcpu->regs.gpr[RAX], old, size, &e->flags);
	if (e->flags & RFLAGS_ZF)
		v[0] = v[1];
	else
		emu_set_reg(e, RAX, size, old);
	return true;
}

static bool do_xadd(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t old = v[0];

	v[0] = alu_binary(INSN_ADD, v[0], v[1], dst_size(e), &e->flags);
	v[1] = old;
	return true;
}

static bool do_imul2(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t high;

	v[0] = alu_mul(v[0], v[1], dst_size(e), true, &high, &e->flags);
	return true;
}

static bool do_imul3(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t high;

	v[0] = alu_mul(v[1], v[2], dst_size(e), true, &high, &e->flags);
	return true;
}

/* AH and AL are the halves when operands are bytes, rDX and rAX else. */
static void set_halves(struct emu *e, uint64_t high, uint64_t low)
{
	unsigned size = dst_size(e);

	if (size == 1) {
		emu_set_reg(e, RAX, 2, high << 8 | low);
		return;
	}
	emu_set_reg(e, RAX, size, low);
	emu_set_reg(e, RDX, size, high);
}

static bool do_mul(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t high, low = alu_mul(e->vcpu->regs.gpr[RAX], v[0], dst_size(e),
				     op_of(e) == INSN_IMUL, &high, &e->flags);

	set_halves(e, high, low);
	return true;
}

static bool do_div(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	unsigned size = dst_size(e);
	uint64_t ax = e->vcpu->regs.gpr[RAX], quotient, remainder;
	uint64_t high = size == 1 ? ax >> 8 : e->vcpu->regs.gpr[RDX];

	if (!alu_div(high, ax, v[0], size, op_of(e) == INSN_IDIV, &quotient, &remainder))
		return emu_refuse(e, VEC_DE);
	set_halves(e, remainder, quotient);
	return true;
}

static bool do_cbw(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	unsigned size = e->insn->op_size;

	(void)v;
	emu_set_reg(e, RAX, size, alu_sign_extend(e->vcpu->regs.gpr[RAX], size / 2));
	return true;
}

static bool do_cwd(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	unsigned size = e->insn->op_size;

	(void)v;
	emu_set_reg(e, RDX, size,
		    alu_sign_extend(e->vcpu->regs.gpr[RAX], size) >> 63 ? ~UINT64_C(0) : 0);
	return true;
}

static bool do_decimal(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	(void)v;
	emu_set_reg(e, RAX, 2, alu_decimal(op_of(e), (uint16_t)emu_reg(e, RAX, 2), &e->flags));
	return true;
}

static bool do_aam(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t al = emu_reg(e, RAX, 1), base = v[0] & 0xff;

	if (!base)
		return emu_refuse(e, VEC_DE);
	emu_set_reg(e, RAX, 2, (al / base) << 8 | al % base);
	e->flags &= ~ALU_FLAGS;
	alu_result_flags(al % base, 1, &e->flags);
	return true;
}

static bool do_aad(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	uint64_t ax = emu_reg(e, RAX, 2), al = (ax + (ax >> 8) * v[0]) & 0xff;

	emu_set_reg(e, RAX, 2, al);
	e->flags &= ~ALU_FLAGS;
	alu_result_flags(al, 1, &e->flags);
	return true;
}

static bool do_salc(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	(void)v;
	emu_set_reg(e, RAX, 1, e->flags & RFLAGS_CF ? 0xff : 0);
	return true;
}

/* --- flags, and nothing --- */

static bool do_flags(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	const uint64_t in_ah = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF;
	uint64_t ax = emu_reg(e, RAX, 2);

	(void)v;
	switch (op_of(e)) {
	case INSN_CLC:
		e->flags &= ~RFLAGS_CF;
		break;
	case INSN_STC:
		e->flags |= RFLAGS_CF;
		break;
	case INSN_CMC:
		e->flags ^= RFLAGS_CF;
		break;
	case INSN_CLD:
		e->flags &= ~RFLAGS_DF;
		break;
	case INSN_STD:
		e->flags |= RFLAGS_DF;
		break;
	case INSN_SAHF:
		e->flags = (e->flags & ~in_ah) | (ax >> 8 & in_ah);
		break;
	case INSN_LAHF:
		emu_set_reg(e, RAX, 2, (ax & 0xff) | ((e->flags & in_ah) | RFLAGS_FIXED) << 8);
		break;
	default:
		break;
	}
	return true;
}

static bool do_nop(struct emu *e, uint64_t v[INSN_OPERANDS])
{
	(void)e;
	(void)v;
	return true;
}

/* --- instructions that look after their operands themselves --- */

static enum emulate_result exec_lea(struct emu *e)
{
	emu_operand_write(e, 0, NULL, emu_offset(e));
	return emu_retire(e);
}

static enum emulate_result exec_xlat(struct emu *e)
{
	uint64_t offset = e->vcpu->regs.gpr[RBX] + emu_reg(e, RAX, 1);
	struct emu_span span;

	if (!emu_span(e, e->insn->seg, alu_cut(offset, e->insn->addr_size), 1, false, &span))
		return emu_fault(e);
	emu_set_reg(e, RAX, 1, emu_span_read(e, &span));
	return emu_retire(e);
}

static enum emulate_result exec_bound(struct emu *e)
{
	unsigned size = dst_size(e);
	int64_t index = (int64_t)alu_sign_extend(emu_operand_read(e, 0, NULL), size);
	uint64_t limits;

	if (!emu_value(e, 1, &limits))
		return emu_fault(e);
	if (index < (int64_t)alu_sign_extend(limits, size) ||
	    index > (int64_t)alu_sign_extend(limits >> 8 * size, size)) {
		emu_refuse(e, VEC_BR);
		return emu_fault(e);
	}
	return emu_retire(e);
}

/* --- the table --- */

#define OP0 1u
#define OP1 2u
#define OP2 4u

#define PRIVILEGED 1u /* CPL 0, or #GP(0) */
#define PROTECTED 2u  /* #UD in real and in virtual-8086 mode */

static const struct row {
	value_fn *run;
	uint8_t reads, writes; /* which operands */
	uint8_t flags;
	emu_exec *exec; /* instead of run */
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
	[INSN_ROL] = { do_shift, OP0 | OP1, OP0 },
	[INSN_ROR] = { do_shift, OP0 | OP1, OP0 },
	[INSN_RCL] = { do_shift, OP0 | OP1, OP0 },
	[INSN_RCR] = { do_shift, OP0 | OP1, OP0 },
	[INSN_SHL] = { do_shift, OP0 | OP1, OP0 },
	[INSN_SHR] = { do_shift, OP0 | OP1, OP0 },
	[INSN_SAR] = { do_shift, OP0 | OP1, OP0 },
	[INSN_SHLD] = { do_shift_double, OP0 | OP1 | OP2, OP0 },
	[INSN_SHRD] = { do_shift_double, OP0 | OP1 | OP2, OP0 },
	[INSN_BSF] = { do_scan, OP0 | OP1, OP0 },
	[INSN_BSR] = { do_scan, OP0 | OP1, OP0 },
	[INSN_BSWAP] = { do_bswap, OP0, OP0 },
	[INSN_CMOV] = { do_cmov, OP0 | OP1, OP0 },
	[INSN_SETCC] = { do_setcc, 0, OP0 },
	[INSN_LEA] = { .exec = exec_lea },
	[INSN_IMUL2] = { do_imul2, OP0 | OP1, OP0 },
	[INSN_IMUL3] = { do_imul3, OP1 | OP2, OP0 },
	[INSN_MUL] = { do_mul, OP0, 0 },
	[INSN_IMUL] = { do_mul, OP0, 0 },
	[INSN_DIV] = { do_div, OP0, 0 },
	[INSN_IDIV] = { do_div, OP0, 0 },
	[INSN_CMPXCHG8B] = { .exec = emu_cmpxchg8b },
	[INSN_CBW] = { do_cbw, 0, 0 },
	[INSN_CWD] = { do_cwd, 0, 0 },
	[INSN_AAA] = { do_decimal, 0, 0 },
	[INSN_AAS] = { do_decimal, 0, 0 },
	[INSN_AAM] = { do_aam, OP0, 0 },
	[INSN_AAD] = { do_aad, OP0, 0 },
	[INSN_DAA] = { do_decimal, 0, 0 },
	[INSN_DAS] = { do_decimal, 0, 0 },
	[INSN_SALC] = { do_salc, 0, 0 },
	[INSN_XLAT] = { .exec = exec_xlat },
	[INSN_LAHF] = { do_flags, 0, 0 },
	[INSN_SAHF] = { do_flags, 0, 0 },
	[INSN_BOUND] = { .exec = exec_bound },
	[INSN_ARPL] = { .exec = emu_arpl, .flags = PROTECTED },
	[INSN_MOVS] = { .exec = emu_string },
	[INSN_STOS] = { .exec = emu_string },
	[INSN_LODS] = { .exec = emu_string },
	[INSN_CMPS] = { .exec = emu_string },
	[INSN_SCAS] = { .exec = emu_string },
	[INSN_INS] = { .exec = emu_string_port },
	[INSN_OUTS] = { .exec = emu_string_port },
	[INSN_CLC] = { do_flags, 0, 0 },
	[INSN_STC] = { do_flags, 0, 0 },
	[INSN_CMC] = { do_flags, 0, 0 },
	[INSN_CLD] = { do_flags, 0, 0 },
	[INSN_STD] = { do_flags, 0, 0 },
	[INSN_CLI] = { .exec = emu_cli },
	[INSN_STI] = { .exec = emu_sti },
	[INSN_PUSH] = { .exec = emu_push },
	[INSN_POP] = { .exec = emu_pop },
	[INSN_PUSHA] = { .exec = emu_pusha },
	[INSN_POPA] = { .exec = emu_popa },
	[INSN_PUSHF] = { .exec = emu_pushf },
	[INSN_POPF] = { .exec = emu_popf },
	[INSN_ENTER] = { .exec = emu_enter },
	[INSN_LEAVE] = { .exec = emu_leave },
	[INSN_JCC] = { .exec = emu_jcc },
	[INSN_JMP] = { .exec = emu_jmp },
	[INSN_CALL] = { .exec = emu_call },
	[INSN_RET] = { .exec = emu_ret },
	[INSN_LOOP] = { .exec = emu_loop },
	[INSN_LOOPE] = { .exec = emu_loop },
	[INSN_LOOPNE] = { .exec = emu_loop },
	[INSN_JCXZ] = { .exec = emu_jcxz },
	[INSN_JMP_FAR] = { .exec = emu_jmp_far },
	[INSN_CALL_FAR] = { .exec = emu_call_far },
	[INSN_RET_FAR] = { .exec = emu_ret_far },
	[INSN_INT] = { .exec = emu_int },
	[INSN_INT3] = { .exec = emu_int },
	[INSN_INTO] = { .exec = emu_int },
	[INSN_IRET] = { .exec = emu_iret },
	[INSN_MOV_TO_SEG] = { .exec = emu_mov_to_seg },
	[INSN_MOV_FROM_SEG] = { .exec = emu_mov_from_seg },
	[INSN_LES] = { .exec = emu_load_far },
	[INSN_LSS] = { .exec = emu_load_far },
	[INSN_LDS] = { .exec = emu_load_far },
	[INSN_LFS] = { .exec = emu_load_far },
	[INSN_LGS] = { .exec = emu_load_far },
	[INSN_LGDT] = { .exec = emu_load_table, .flags = PRIVILEGED },
	[INSN_LIDT] = { .exec = emu_load_table, .flags = PRIVILEGED },
	[INSN_SGDT] = { .exec = emu_store_table },
	[INSN_SIDT] = { .exec = emu_store_table },
	[INSN_LLDT] = { .exec = emu_lldt, .flags = PROTECTED | PRIVILEGED },
	[INSN_LTR] = { .exec = emu_ltr, .flags = PROTECTED | PRIVILEGED },
	[INSN_SLDT] = { .exec = emu_store_selector, .flags = PROTECTED },
	[INSN_STR] = { .exec = emu_store_selector, .flags = PROTECTED },
	[INSN_VERR] = { .exec = emu_verify, .flags = PROTECTED },
	[INSN_VERW] = { .exec = emu_verify, .flags = PROTECTED },
	[INSN_LAR] = { .exec = emu_verify, .flags = PROTECTED },
	[INSN_LSL] = { .exec = emu_verify, .flags = PROTECTED },
	[INSN_MOV_TO_CR] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_MOV_FROM_CR] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_MOV_TO_DR] = { .exec = emu_mov_dr, .flags = PRIVILEGED },
	[INSN_MOV_FROM_DR] = { .exec = emu_mov_dr, .flags = PRIVILEGED },
	[INSN_CLTS] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_LMSW] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_SMSW] = { .exec = emu_smsw },
	[INSN_IN] = { .exec = emu_port },
	[INSN_OUT] = { .exec = emu_port },
	[INSN_NOP] = { do_nop, 0, 0 },
	[INSN_PAUSE] = { .exec = emu_as_exit },
	[INSN_HLT] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_CPUID] = { .exec = emu_as_exit },
	[INSN_RDMSR] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_WRMSR] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_RDTSC] = { .exec = emu_as_exit },
	[INSN_RDTSCP] = { .exec = emu_as_exit },
	[INSN_RDPMC] = { .exec = emu_as_exit },
	[INSN_INVD] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_WBINVD] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_INVLPG] = { .exec = emu_as_exit, .flags = PRIVILEGED },
	[INSN_XSETBV] = { .exec = emu_as_exit },
	[INSN_UD] = { .exec = emu_ud },
	[INSN_FNINIT] = { .exec = emu_fpu },
	[INSN_FNCLEX] = { .exec = emu_fpu },
	[INSN_FNSTCW] = { .exec = emu_fpu },
	[INSN_FNSTSW] = { .exec = emu_fpu },
	[INSN_FWAIT] = { .exec = emu_fpu },
	[INSN_X87] = { .exec = emu_x87 },
	[INSN_X87_STATE] = { .exec = emu_x87_state },
	[INSN_XMM] = { .exec = emu_xmm },
	[INSN_XMM_LOW] = { .exec = emu_xmm },
	[INSN_XMM_HIGH] = { .exec = emu_xmm },
	[INSN_MMX] = { .exec = emu_mmx },
};

/* Are the operands what the table's functions work on? */
static bool operands_plain(const struct insn *insn)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++) {
		const struct operand *op = &insn->operand[i];

		if (!((table[insn->op].reads | table[insn->op].writes) >> i & 1))
			continue;
		if ((op->kind != OPERAND_REG && op->kind != OPERAND_HIGH8 &&
		     op->kind != OPERAND_MEM && op->kind != OPERAND_IMM) ||
		    !op->size || op->size > 8)
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

	e->one_access = true;
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (e->insn->operand[i].kind == OPERAND_MEM &&
		    !emu_span(e, e->insn->seg, emu_offset(e), 1, false, &span))
			return emu_fault(e);
	return EMULATE_FAILED;
}

/* The memory operand is checked whole, for the strongest access, before anything is read, and
 * written before any register. */
static enum emulate_result run_on_values(struct emu *e, const struct row *row)
{
	uint64_t v[INSN_OPERANDS] = { 0 }, was[INSN_OPERANDS];
	bool locked = emu_is_locked(e);
	struct vcpu_regs regs;
	struct emu_span span;

	e->one_access = true;
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (((row->reads | row->writes) >> i & 1) &&
		    !emu_locate(e, i, row->writes >> i & 1, &span))
			return emu_fault(e);
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (row->reads >> i & 1)
			v[i] = emu_operand_read(e, i, &span);
	if (locked) {
		memcpy(was, v, sizeof(was));
		regs = e->vcpu->regs;
	}
	if (!row->run(e, v))
		return emu_fault(e);
	for (unsigned i = 0; i < INSN_OPERANDS; i++) {
		if (!(row->writes >> i & 1))
			continue;
		if (!locked) {
			emu_operand_write(e, i, &span, v[i]);
		} else if (!emu_write_locked(e, i, &span, was[i], v[i])) {
			e->vcpu->regs = regs;
			return EMULATE_DONE; /* and again: RIP stays */
		}
	}
	return emu_retire(e);
}

enum emulate_result emu_execute(struct emu *e)
{
	const struct row *row = &table[e->insn->op];

	if ((row->flags & PROTECTED) && !emu_protected(e)) {
		emu_refuse(e, VEC_UD);
		return emu_fault(e);
	}
	if ((row->flags & PRIVILEGED) && vcpu_cpl(e->vcpu) != 0) {
		emu_refuse_error(e, VEC_GP, 0);
		return emu_fault(e);
	}
	if (row->exec)
		return row->exec(e);
	if (!row->run || !operands_plain(e->insn))
		return unsupported(e);
	return run_on_values(e, row);
}
