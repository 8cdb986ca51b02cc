#include "vmm/decode.h"

#include <Zydis/Decoder.h>
#include <Zydis/Formatter.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/include/x87.h"
#include "arch/x86_64/lib/string.h"

/* clang-format off */
/* X(name): Zydis and insn_op call it alike. */
#define SAME_NAME(X)										\
	X(MOV) X(MOVZX) X(MOVSX) X(MOVBE) X(XCHG) X(ADD) X(OR) X(ADC) X(SBB) X(AND) X(SUB)	\
	X(XOR) X(CMP) X(TEST) X(NOT) X(NEG) X(INC) X(DEC) X(BT) X(BTS) X(BTR) X(BTC)		\
	X(CMPXCHG) X(XADD) X(ROL) X(ROR) X(RCL) X(RCR) X(SHL) X(SHR) X(SAR) X(SHLD) X(SHRD)	\
	X(BSF) X(BSR) X(BSWAP) X(LEA) X(MUL) X(IMUL) X(DIV) X(IDIV) X(CMPXCHG8B) X(CBW)		\
	X(CWD) X(AAA) X(AAS) X(AAM) X(AAD) X(DAA) X(DAS) X(SALC) X(XLAT) X(LAHF) X(SAHF)	\
	X(BOUND) X(ARPL) X(CLC) X(STC) X(CMC) X(CLD) X(STD) X(CLI) X(STI) X(PUSH) X(POP)	\
	X(PUSHA) X(POPA) X(PUSHF) X(POPF) X(ENTER) X(LEAVE) X(JMP) X(CALL) X(RET) X(LOOP)	\
	X(LOOPE) X(LOOPNE) X(JCXZ) X(INT) X(INT3) X(INTO) X(IRET) X(LES) X(LSS) X(LDS)		\
	X(LFS) X(LGS) X(LGDT) X(LIDT) X(SGDT) X(SIDT) X(LLDT) X(LTR) X(SLDT) X(STR) X(VERR)	\
	X(VERW) X(LAR) X(LSL) X(CLTS) X(LMSW) X(SMSW) X(IN) X(OUT) X(NOP) X(PAUSE) X(HLT)	\
	X(CPUID) X(RDMSR) X(WRMSR) X(RDTSC) X(RDTSCP) X(RDPMC) X(INVD) X(WBINVD) X(INVLPG)	\
	X(XSETBV) X(FNINIT) X(FNCLEX) X(FNSTCW) X(FNSTSW) X(FWAIT)
/* X(mnemonic, op) (SSE has a MOVSD and a CMPSD too: see decode_insn()) */
#define OTHER_NAME(X)										\
	X(MOVNTI, MOV) X(MOVSXD, MOVSX) X(MOVSB, MOVS) X(MOVSW, MOVS) X(MOVSD, MOVS)		\
	X(MOVSQ, MOVS) X(STOSB, STOS) X(STOSW, STOS) X(STOSD, STOS) X(STOSQ, STOS)		\
	X(LODSB, LODS) X(LODSW, LODS) X(LODSD, LODS) X(LODSQ, LODS) X(CMPSB, CMPS)		\
	X(CMPSW, CMPS) X(CMPSD, CMPS) X(CMPSQ, CMPS) X(SCASB, SCAS) X(SCASW, SCAS)		\
	X(SCASD, SCAS) X(SCASQ, SCAS) X(INSB, INS) X(INSW, INS) X(INSD, INS) X(OUTSB, OUTS)	\
	X(OUTSW, OUTS) X(OUTSD, OUTS) X(CMPXCHG16B, CMPXCHG8B) X(CWDE, CBW) X(CDQE, CBW)	\
	X(CDQ, CWD) X(CQO, CWD) X(PUSHAD, PUSHA) X(POPAD, POPA) X(PUSHFD, PUSHF)		\
	X(PUSHFQ, PUSHF) X(POPFD, POPF) X(POPFQ, POPF) X(JECXZ, JCXZ) X(JRCXZ, JCXZ)		\
	X(IRETD, IRET) X(IRETQ, IRET) X(PREFETCHT0, NOP) X(PREFETCHT1, NOP)			\
	X(PREFETCHT2, NOP) X(PREFETCHNTA, NOP) X(PREFETCHW, NOP) X(PREFETCH, NOP)		\
	X(UD0, UD) X(UD1, UD) X(UD2, UD) X(MONITOR, UD) X(MWAIT, UD) X(VMCALL, UD)		\
	X(VMMCALL, UD) X(VMXON, UD) X(VMXOFF, UD) X(VMLAUNCH, UD) X(VMRESUME, UD)		\
	X(VMREAD, UD) X(VMWRITE, UD) X(VMPTRLD, UD) X(VMPTRST, UD) X(VMCLEAR, UD)		\
	X(VMRUN, UD) X(VMLOAD, UD) X(VMSAVE, UD) X(STGI, UD) X(CLGI, UD) X(SKINIT, UD)		\
	X(INVLPGA, UD) X(GETSEC, UD) X(RSM, UD) X(MOVUPS, XMM) X(MOVUPD, XMM)			\
	X(MOVDQU, XMM) X(LDDQU, XMM) X(MOVAPS, XMM) X(MOVAPD, XMM) X(MOVDQA, XMM)		\
	X(MOVNTPS, XMM) X(MOVNTPD, XMM) X(MOVNTDQ, XMM) X(MOVNTDQA, XMM) X(MOVSS, XMM)		\
	X(MOVD, XMM) X(MOVQ, XMM) X(MOVLPS, XMM_LOW) X(MOVLPD, XMM_LOW)				\
	X(MOVHPS, XMM_HIGH) X(MOVHPD, XMM_HIGH) X(MOVNTQ, MMX)
/* clang-format on */

static const uint8_t op_of_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define X(name) [ZYDIS_MNEMONIC_##name] = INSN_##name,
	SAME_NAME(X)
#undef X
#define X(mnemonic, op) [ZYDIS_MNEMONIC_##mnemonic] = INSN_##op,
		OTHER_NAME(X)
#undef X
};

static bool init_decoder(ZydisDecoder *decoder, unsigned code_size)
{
	static const struct {
		ZydisMachineMode mode;
		ZydisStackWidth width;
	} modes[] = {
		[2] = { ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16 },
		[4] = { ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32 },
		[8] = { ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64 },
	};

	return ZYAN_SUCCESS(
		ZydisDecoderInit(decoder, modes[code_size].mode, modes[code_size].width));
}

/* The number of a general register, or INSN_RIP, or INSN_NO_REG. */
static uint8_t address_reg(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return (uint8_t)ZydisRegisterGetId(reg);
	case ZYDIS_REGCLASS_IP:
		return INSN_RIP;
	default:
		return INSN_NO_REG;
	}
}

static uint8_t segment_reg(ZydisRegister reg)
{
	return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_SEGMENT
		       ? (uint8_t)ZydisRegisterGetId(reg)
		       : SEG_DS;
}

static void convert_reg(struct operand *out, ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		out->kind = OPERAND_REG;
		if (reg >= ZYDIS_REGISTER_SPL) {
			out->reg = (uint8_t)(reg - ZYDIS_REGISTER_SPL + 4);
		} else if (reg >= ZYDIS_REGISTER_AH) {
			out->kind = OPERAND_HIGH8;
			out->reg = (uint8_t)(reg - ZYDIS_REGISTER_AH);
		} else {
			out->reg = (uint8_t)(reg - ZYDIS_REGISTER_AL);
		}
		break;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		out->kind = OPERAND_REG;
		out->reg = (uint8_t)ZydisRegisterGetId(reg);
		break;
	case ZYDIS_REGCLASS_CONTROL:
		out->kind = OPERAND_CR;
		out->reg = (uint8_t)ZydisRegisterGetId(reg);
		break;
	case ZYDIS_REGCLASS_DEBUG:
		out->kind = OPERAND_DR;
		out->reg = (uint8_t)ZydisRegisterGetId(reg);
		break;
	case ZYDIS_REGCLASS_SEGMENT:
		out->kind = OPERAND_SEG;
		out->reg = (uint8_t)ZydisRegisterGetId(reg);
		break;
	case ZYDIS_REGCLASS_XMM:
		out->kind = OPERAND_XMM;
		out->reg = (uint8_t)ZydisRegisterGetId(reg);
		break;
	case ZYDIS_REGCLASS_MMX:
		out->kind = OPERAND_MMX;
		out->reg = (uint8_t)ZydisRegisterGetId(reg);
		break;
	default:
		out->kind = OPERAND_OTHER;
		break;
	}
}

static void convert_mem(struct insn *insn, struct operand *out, const ZydisDecodedOperandMem *mem)
{
	if (mem->type != ZYDIS_MEMOP_TYPE_MEM &&
	    (mem->type != ZYDIS_MEMOP_TYPE_AGEN || insn->op != INSN_LEA)) {
		out->kind = OPERAND_OTHER;
		return;
	}
	out->kind = OPERAND_MEM;
	insn->seg = segment_reg(mem->segment);
	insn->base = address_reg(mem->base);
	insn->index = address_reg(mem->index);
	insn->scale = mem->scale ? mem->scale : 1;
	insn->disp = mem->disp.has_displacement ? mem->disp.value : 0;
}

static void convert_operands(struct insn *insn, const ZydisDecodedOperand *z, unsigned n)
{
	for (unsigned i = 0; i < n && i < ARRAY_SIZE(insn->operand); i++) {
		struct operand *out = &insn->operand[i];

		out->size = (uint8_t)(z[i].size / 8);
		switch (z[i].type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			convert_reg(out, z[i].reg.value);
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			convert_mem(insn, out, &z[i].mem);
			break;
		case ZYDIS_OPERAND_TYPE_POINTER:
			out->kind = OPERAND_IMM;
			insn->imm = z[i].ptr.offset;
			insn->imm2 = z[i].ptr.segment;
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			out->kind = OPERAND_IMM;
			if (insn->op == INSN_ENTER && i)
				insn->imm2 = (uint16_t)z[i].imm.value.u;
			else
				insn->imm = z[i].imm.value.u;
			break;
		default:
			out->kind = OPERAND_OTHER;
			break;
		}
	}
}

/* XLAT's operand is at DS:rBX, or another segment there. */
static void convert_xlat(struct insn *insn, const ZydisDecodedOperand *z, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (z[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			insn->seg = segment_reg(z[i].mem.segment);
}

/* The element's size, and the segment of the side that rSI points to. */
static void convert_string(struct insn *insn, const ZydisDecodedOperand *z, unsigned n)
{
	insn->seg = SEG_DS;
	for (unsigned i = 0; i < n; i++) {
		if (z[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		insn->size = (uint8_t)(z[i].size / 8);
		if (address_reg(z[i].mem.base) == 6)
			insn->seg = segment_reg(z[i].mem.segment);
	}
}

/* The last of the two repeat prefixes counts. */
static void convert_prefixes(struct insn *insn, const ZydisDecodedInstruction *z)
{
	insn->lock = z->attributes & ZYDIS_ATTRIB_HAS_LOCK;
	for (unsigned i = 0; i < z->raw.prefix_count; i++) {
		if (z->raw.prefixes[i].value == 0xf3 || z->raw.prefixes[i].value == 0xf2) {
			insn->rep = z->raw.prefixes[i].value == 0xf3;
			insn->repne = !insn->rep;
		}
	}
}

/* MOV names moves of control, debug and segment registers as well. */
static uint8_t classify_mov(const struct insn *insn)
{
	static const uint8_t to[] = { [OPERAND_CR] = INSN_MOV_TO_CR,
				      [OPERAND_DR] = INSN_MOV_TO_DR,
				      [OPERAND_SEG] = INSN_MOV_TO_SEG,
				      [OPERAND_OTHER] = INSN_OTHER };
	static const uint8_t from[] = { [OPERAND_CR] = INSN_MOV_FROM_CR,
					[OPERAND_DR] = INSN_MOV_FROM_DR,
					[OPERAND_SEG] = INSN_MOV_FROM_SEG,
					[OPERAND_OTHER] = INSN_OTHER };
	unsigned dst = insn->operand[0].kind, src = insn->operand[1].kind;

	if (dst == OPERAND_OTHER || src == OPERAND_OTHER)
		return INSN_OTHER;
	if (to[dst])
		return to[dst];
	return from[src] ? from[src] : INSN_MOV;
}

/* Jcc, SETcc and CMOVcc: sixteen opcodes each. */
static uint8_t classify_conditional(const ZydisDecodedInstruction *z)
{
	unsigned row = z->opcode >> 4;

	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return INSN_OTHER;
	if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
		return row == 7 ? INSN_JCC : INSN_OTHER;
	if (z->opcode_map != ZYDIS_OPCODE_MAP_0F)
		return INSN_OTHER;
	return row == 4 ? INSN_CMOV : row == 8 ? INSN_JCC : row == 9 ? INSN_SETCC : INSN_OTHER;
}

/* Of the loads and stores of whole registers, those that do not say U. */
static bool needs_alignment(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
		return true;
	default:
		return false;
	}
}

/* Opcodes d8 to df with an operand in memory. */
static uint8_t classify_x87(const struct insn *insn, const ZydisDecodedInstruction *z)
{
	if (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT ||
	    z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || (z->opcode & 0xf8) != 0xd8)
		return classify_conditional(z);
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->operand[i].kind == OPERAND_MEM)
			return insn->operand[i].size <= 10 ? INSN_X87 : INSN_X87_STATE;
	return INSN_OTHER;
}

/* What one mnemonic stands for, by its operands; and what has too many mnemonics. */
static uint8_t classify(const struct insn *insn, const ZydisDecodedInstruction *z)
{
	bool far = z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

	switch (insn->op) {
	case INSN_OTHER:
		return classify_x87(insn, z);
	case INSN_MOV:
		return classify_mov(insn);
	case INSN_IMUL:
		if (insn->operand[2].kind != OPERAND_NONE)
			return INSN_IMUL3;
		return insn->operand[1].kind != OPERAND_NONE ? INSN_IMUL2 : INSN_IMUL;
	case INSN_JMP:
		return far ? INSN_JMP_FAR : INSN_JMP;
	case INSN_CALL:
		return far ? INSN_CALL_FAR : INSN_CALL;
	case INSN_RET:
		return far ? INSN_RET_FAR : INSN_RET;
	case INSN_XMM:
		return insn->operand[0].kind == OPERAND_MMX || insn->operand[1].kind == OPERAND_MMX
			       ? INSN_MMX
			       : INSN_XMM;
	default:
		return insn->op;
	}
}

/* EVEX: none but these come before it. */
static bool may_be_avx512(const uint8_t *bytes, unsigned n)
{
	static const uint8_t before[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67 };

	while (n && memchr(before, *bytes, sizeof(before))) {
		bytes++;
		n--;
	}
	return n && *bytes == 0x62;
}

static enum decode_status failure(ZyanStatus status, const uint8_t *bytes, unsigned n)
{
	if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return DECODE_TOO_LONG;
	if (status != ZYDIS_STATUS_NO_MORE_DATA)
		return may_be_avx512(bytes, n) ? DECODE_UNKNOWN : DECODE_INVALID;
	return n < VM_EXIT_MAX_INSN ? DECODE_TRUNCATED : DECODE_TOO_LONG;
}

enum decode_status decode_insn(struct insn *out, const uint8_t *bytes, unsigned n,
			       unsigned code_size)
{
	ZydisDecoder decoder;
	ZydisDecoderContext context;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	unsigned nr_operands;
	ZyanStatus status;
	bool string, hidden;

	if (!init_decoder(&decoder, code_size))
		return DECODE_INVALID;
	status = ZydisDecoderDecodeInstruction(&decoder, &context, bytes, n, &z);
	if (ZYAN_FAILED(status))
		return failure(status, bytes, n);

	*out = (struct insn){ .op = op_of_mnemonic[z.mnemonic],
			      .len = z.length,
			      .addr_size = (uint8_t)(z.address_width / 8),
			      .op_size = (uint8_t)(z.operand_width / 8),
			      .cond = z.opcode & 0xf,
			      .seg = SEG_DS,
			      .base = INSN_NO_REG,
			      .index = INSN_NO_REG,
			      .scale = 1 };
	string = out->op >= INSN_MOVS && out->op <= INSN_OUTS;
	if (string && z.meta.category != ZYDIS_CATEGORY_STRINGOP &&
	    z.meta.category != ZYDIS_CATEGORY_IOSTRINGOP) {
		out->op = z.mnemonic == ZYDIS_MNEMONIC_MOVSD ? INSN_XMM : INSN_OTHER;
		string = false;
	}
	convert_prefixes(out, &z);

	hidden = string || out->op == INSN_XLAT;
	nr_operands = hidden ? z.operand_count : z.operand_count_visible;
	status = ZydisDecoderDecodeOperands(&decoder, &context, &z, operands, (ZyanU8)nr_operands);
	if (ZYAN_FAILED(status))
		return DECODE_INVALID;
	if (string)
		convert_string(out, operands, nr_operands);
	else if (out->op == INSN_XLAT)
		convert_xlat(out, operands, nr_operands);
	else
		convert_operands(out, operands, nr_operands);
	out->op = classify(out, &z);
	out->aligned = needs_alignment(z.mnemonic);
	if (out->op == INSN_X87 || out->op == INSN_X87_STATE)
		out->fop = (uint16_t)X87_FOP(z.opcode, z.raw.modrm.mod << 6 | z.raw.modrm.reg << 3 |
							       z.raw.modrm.rm);
	return DECODE_OK;
}

enum decode_status decode_cached(struct decode_cache *cache, uint64_t rip, const uint8_t *bytes,
				 unsigned n, unsigned code_size, const struct insn **out)
{
	struct decode_cache_entry *e =
		&cache->entry[(rip ^ rip >> 4 ^ rip >> 8) % DECODE_CACHE_ENTRIES];
	enum decode_status status;

	*out = &e->insn;
	if (e->insn.len && e->code_size == code_size && n >= e->insn.len &&
	    !memcmp(e->bytes, bytes, e->insn.len))
		return DECODE_OK;

	status = decode_insn(&e->insn, bytes, n, code_size);
	if (status != DECODE_OK) {
		e->insn.len = 0;
		return status;
	}
	e->code_size = (uint8_t)code_size;
	memcpy(e->bytes, bytes, e->insn.len);
	return DECODE_OK;
}

bool decode_format(const uint8_t *bytes, unsigned n, unsigned code_size, uint64_t rip, char *buf,
		   unsigned size)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter formatter;
	char text[128];

	if (!init_decoder(&decoder, code_size) ||
	    ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, n, &z, operands)) ||
	    ZYAN_FAILED(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)) ||
	    ZYAN_FAILED(ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE,
						  ZYAN_FALSE)) ||
	    ZYAN_FAILED(ZydisFormatterFormatInstruction(&formatter, &z, operands,
							z.operand_count_visible, text, sizeof(text),
							rip, ZYAN_NULL)))
		return false;
	str_copy(buf, text, size);
	return true;
}
