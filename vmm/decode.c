#include "vmm/decode.h"

#include <Zydis/Decoder.h>
#include <Zydis/Formatter.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/lib/string.h"

static const uint8_t op_of_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	[ZYDIS_MNEMONIC_MOV] = INSN_MOV,         [ZYDIS_MNEMONIC_MOVNTI] = INSN_MOV,
	[ZYDIS_MNEMONIC_MOVZX] = INSN_MOVZX,     [ZYDIS_MNEMONIC_MOVSX] = INSN_MOVSX,
	[ZYDIS_MNEMONIC_MOVSXD] = INSN_MOVSX,    [ZYDIS_MNEMONIC_MOVBE] = INSN_MOVBE,
	[ZYDIS_MNEMONIC_XCHG] = INSN_XCHG,       [ZYDIS_MNEMONIC_ADD] = INSN_ADD,
	[ZYDIS_MNEMONIC_OR] = INSN_OR,           [ZYDIS_MNEMONIC_ADC] = INSN_ADC,
	[ZYDIS_MNEMONIC_SBB] = INSN_SBB,         [ZYDIS_MNEMONIC_AND] = INSN_AND,
	[ZYDIS_MNEMONIC_SUB] = INSN_SUB,         [ZYDIS_MNEMONIC_XOR] = INSN_XOR,
	[ZYDIS_MNEMONIC_CMP] = INSN_CMP,         [ZYDIS_MNEMONIC_TEST] = INSN_TEST,
	[ZYDIS_MNEMONIC_NOT] = INSN_NOT,         [ZYDIS_MNEMONIC_NEG] = INSN_NEG,
	[ZYDIS_MNEMONIC_INC] = INSN_INC,         [ZYDIS_MNEMONIC_DEC] = INSN_DEC,
	[ZYDIS_MNEMONIC_BT] = INSN_BT,           [ZYDIS_MNEMONIC_BTS] = INSN_BTS,
	[ZYDIS_MNEMONIC_BTR] = INSN_BTR,         [ZYDIS_MNEMONIC_BTC] = INSN_BTC,
	[ZYDIS_MNEMONIC_CMPXCHG] = INSN_CMPXCHG, [ZYDIS_MNEMONIC_XADD] = INSN_XADD,
	[ZYDIS_MNEMONIC_MOVSB] = INSN_MOVS,      [ZYDIS_MNEMONIC_MOVSW] = INSN_MOVS,
	[ZYDIS_MNEMONIC_MOVSD] = INSN_MOVS, /* SSE has a MOVSD and a CMPSD too: see below */
	[ZYDIS_MNEMONIC_MOVSQ] = INSN_MOVS,      [ZYDIS_MNEMONIC_STOSB] = INSN_STOS,
	[ZYDIS_MNEMONIC_STOSW] = INSN_STOS,      [ZYDIS_MNEMONIC_STOSD] = INSN_STOS,
	[ZYDIS_MNEMONIC_STOSQ] = INSN_STOS,      [ZYDIS_MNEMONIC_LODSB] = INSN_LODS,
	[ZYDIS_MNEMONIC_LODSW] = INSN_LODS,      [ZYDIS_MNEMONIC_LODSD] = INSN_LODS,
	[ZYDIS_MNEMONIC_LODSQ] = INSN_LODS,      [ZYDIS_MNEMONIC_CMPSB] = INSN_CMPS,
	[ZYDIS_MNEMONIC_CMPSW] = INSN_CMPS,      [ZYDIS_MNEMONIC_CMPSD] = INSN_CMPS,
	[ZYDIS_MNEMONIC_CMPSQ] = INSN_CMPS,      [ZYDIS_MNEMONIC_SCASB] = INSN_SCAS,
	[ZYDIS_MNEMONIC_SCASW] = INSN_SCAS,      [ZYDIS_MNEMONIC_SCASD] = INSN_SCAS,
	[ZYDIS_MNEMONIC_SCASQ] = INSN_SCAS,      [ZYDIS_MNEMONIC_INSB] = INSN_INS,
	[ZYDIS_MNEMONIC_INSW] = INSN_INS,        [ZYDIS_MNEMONIC_INSD] = INSN_INS,
	[ZYDIS_MNEMONIC_OUTSB] = INSN_OUTS,      [ZYDIS_MNEMONIC_OUTSW] = INSN_OUTS,
	[ZYDIS_MNEMONIC_OUTSD] = INSN_OUTS,      [ZYDIS_MNEMONIC_CLTS] = INSN_CLTS,
	[ZYDIS_MNEMONIC_LMSW] = INSN_LMSW,       [ZYDIS_MNEMONIC_SMSW] = INSN_SMSW,
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
	default:
		out->kind = OPERAND_OTHER;
		break;
	}
}

static void convert_mem(struct insn *insn, struct operand *out, const ZydisDecodedOperandMem *mem)
{
	if (mem->type != ZYDIS_MEMOP_TYPE_MEM) {
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
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			out->kind = OPERAND_IMM;
			insn->imm = z[i].imm.value.u;
			break;
		default:
			out->kind = OPERAND_OTHER;
			break;
		}
	}
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
	if (insn->operand[0].kind == OPERAND_CR)
		return INSN_MOV_TO_CR;
	if (insn->operand[1].kind == OPERAND_CR)
		return INSN_MOV_FROM_CR;
	if (insn->operand[0].kind == OPERAND_OTHER || insn->operand[1].kind == OPERAND_OTHER)
		return INSN_OTHER;
	return INSN_MOV;
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
	bool string;

	if (!init_decoder(&decoder, code_size))
		return DECODE_INVALID;
	status = ZydisDecoderDecodeInstruction(&decoder, &context, bytes, n, &z);
	if (ZYAN_FAILED(status))
		return status == ZYDIS_STATUS_NO_MORE_DATA && n < VM_EXIT_MAX_INSN
			       ? DECODE_TRUNCATED
			       : DECODE_INVALID;

	*out = (struct insn){ .op = op_of_mnemonic[z.mnemonic],
			      .len = z.length,
			      .addr_size = (uint8_t)(z.address_width / 8),
			      .seg = SEG_DS,
			      .base = INSN_NO_REG,
			      .index = INSN_NO_REG,
			      .scale = 1 };
	string = out->op >= INSN_MOVS && out->op <= INSN_OUTS;
	if (string && z.meta.category != ZYDIS_CATEGORY_STRINGOP &&
	    z.meta.category != ZYDIS_CATEGORY_IOSTRINGOP) {
		out->op = INSN_OTHER;
		string = false;
	}
	convert_prefixes(out, &z);

	nr_operands = string ? z.operand_count : z.operand_count_visible;
	status = ZydisDecoderDecodeOperands(&decoder, &context, &z, operands, (ZyanU8)nr_operands);
	if (ZYAN_FAILED(status))
		return DECODE_INVALID;
	if (string)
		convert_string(out, operands, nr_operands);
	else
		convert_operands(out, operands, nr_operands);
	if (out->op == INSN_MOV)
		out->op = classify_mov(out);
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
	    ZYAN_FAILED(ZydisFormatterFormatInstruction(&formatter, &z, operands,
							z.operand_count_visible, text, sizeof(text),
							rip, ZYAN_NULL)))
		return false;
	str_copy(buf, text, size);
	return true;
}
