/*
 * Instructions in a neutral form. decode.c alone knows that Zydis does the work.
 */
#ifndef UMBRA_VMM_DECODE_H
#define UMBRA_VMM_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"

/* What an instruction does, as far as anyone here asks. */
enum insn_op {
	INSN_OTHER, /* a valid instruction of no further interest */
	/* On the values of their operands. */
	INSN_MOV, /* general registers, memory, immediates; MOVNTI too */
	INSN_MOVZX,
	INSN_MOVSX, /* MOVSXD too */
	INSN_MOVBE,
	INSN_XCHG,
	INSN_ADD,
	INSN_OR,
	INSN_ADC,
	INSN_SBB,
	INSN_AND,
	INSN_SUB,
	INSN_XOR,
	INSN_CMP,
	INSN_TEST,
	INSN_NOT,
	INSN_NEG,
	INSN_INC,
	INSN_DEC,
	INSN_BT,
	INSN_BTS,
	INSN_BTR,
	INSN_BTC,
	INSN_CMPXCHG,
	INSN_XADD,
	INSN_ROL, /* the operand's and the count's */
	INSN_ROR,
	INSN_RCL,
	INSN_RCR,
	INSN_SHL,
	INSN_SHR,
	INSN_SAR,
	INSN_SHLD,
	INSN_SHRD,
	INSN_BSF,
	INSN_BSR,
	INSN_BSWAP,
	INSN_CMOV,
	INSN_SETCC,
	INSN_LEA,
	INSN_IMUL2, /* with two operands, and with three */
	INSN_IMUL3,
	/* On the accumulator besides. */
	INSN_MUL,
	INSN_IMUL,
	INSN_DIV,
	INSN_IDIV,
	INSN_CMPXCHG8B, /* CMPXCHG16B too */
	INSN_CBW,       /* CWDE, CDQE too */
	INSN_CWD,       /* CDQ, CQO too */
	INSN_AAA,
	INSN_AAS,
	INSN_AAM,
	INSN_AAD,
	INSN_DAA,
	INSN_DAS,
	INSN_SALC,
	INSN_XLAT,
	INSN_LAHF,
	INSN_SAHF,
	INSN_BOUND,
	INSN_ARPL,
	/* Strings. */
	INSN_MOVS,
	INSN_STOS,
	INSN_LODS,
	INSN_CMPS,
	INSN_SCAS,
	INSN_INS,
	INSN_OUTS,
	/* Flags. */
	INSN_CLC,
	INSN_STC,
	INSN_CMC,
	INSN_CLD,
	INSN_STD,
	INSN_CLI,
	INSN_STI,
	/* The stack. */
	INSN_PUSH,
	INSN_POP,
	INSN_PUSHA,
	INSN_POPA,
	INSN_PUSHF,
	INSN_POPF,
	INSN_ENTER,
	INSN_LEAVE,
	/* Transfers of control. */
	INSN_JCC,
	INSN_JMP,
	INSN_CALL,
	INSN_RET,
	INSN_LOOP,
	INSN_LOOPE,
	INSN_LOOPNE,
	INSN_JCXZ,
	INSN_JMP_FAR,
	INSN_CALL_FAR,
	INSN_RET_FAR,
	INSN_INT,
	INSN_INT3,
	INSN_INTO,
	INSN_IRET,
	/* Segments and tables. */
	INSN_MOV_TO_SEG,
	INSN_MOV_FROM_SEG,
	INSN_LES, /* in the order of enum seg_reg; no LCS */
	INSN_LSS,
	INSN_LDS,
	INSN_LFS,
	INSN_LGS,
	INSN_LGDT,
	INSN_LIDT,
	INSN_SGDT,
	INSN_SIDT,
	INSN_LLDT,
	INSN_LTR,
	INSN_SLDT,
	INSN_STR,
	INSN_VERR,
	INSN_VERW,
	INSN_LAR,
	INSN_LSL,
	/* The machine. */
	INSN_MOV_TO_CR,
	INSN_MOV_FROM_CR,
	INSN_MOV_TO_DR,
	INSN_MOV_FROM_DR,
	INSN_CLTS,
	INSN_LMSW,
	INSN_SMSW,
	INSN_IN,
	INSN_OUT,
	INSN_NOP, /* prefetches too */
	INSN_PAUSE,
	INSN_HLT,
	INSN_CPUID,
	INSN_RDMSR,
	INSN_WRMSR,
	INSN_RDTSC,
	INSN_RDTSCP,
	INSN_RDPMC,
	INSN_INVD,
	INSN_WBINVD,
	INSN_INVLPG,
	INSN_XSETBV,
	INSN_UD, /* UD0, UD1, UD2, and what no guest's processor has */
	INSN_FNINIT,
	INSN_FNCLEX,
	INSN_FNSTCW,
	INSN_FNSTSW,
	INSN_FWAIT,
	INSN_X87,       /* on an operand in memory of up to 10 bytes */
	INSN_X87_STATE, /* FLDENV, FNSTENV, FRSTOR, FNSAVE */
	/* Vector registers and memory. */
	INSN_XMM,      /* a load clears what it does not load */
	INSN_XMM_LOW,  /* it stays; the lower half is meant, */
	INSN_XMM_HIGH, /* or the upper one */
	INSN_MMX,
	INSN_OPS,
};

enum operand_kind {
	OPERAND_NONE,
	OPERAND_REG,   /* general register */
	OPERAND_HIGH8, /* AH, CH, DH, BH: reg is the register that holds it */
	OPERAND_CR,
	OPERAND_DR,
	OPERAND_SEG, /* reg is enum seg_reg */
	OPERAND_XMM,
	OPERAND_MMX,
	OPERAND_MEM, /* at the instruction's memory address */
	OPERAND_IMM, /* the instruction's immediate */
	OPERAND_OTHER,
};

struct operand {
	uint8_t kind;
	uint8_t size; /* bytes */
	uint8_t reg;  /* ModRM order */
};

#define INSN_NO_REG 0xff
#define INSN_RIP 0xfe /* base: the address of the next instruction */

#define INSN_OPERANDS 3

struct insn {
	uint8_t op; /* enum insn_op */
	uint8_t len;
	uint8_t addr_size; /* bytes */
	uint8_t op_size;   /* bytes, of operands that the prefixes choose */
	uint8_t size;      /* string operations: bytes of an element */
	uint8_t cond;      /* Jcc, SETcc, CMOVcc: the opcode's low four bits */
	bool lock, rep, repne;
	uint16_t fop; /* INSN_X87, INSN_X87_STATE: X87_FOP() */
	bool aligned; /* INSN_XMM: the memory operand has to be */
	struct operand operand[INSN_OPERANDS];
	/* The memory operand; of a string operation only seg, for the side at rSI. */
	uint8_t seg; /* enum seg_reg, default and override applied */
	uint8_t base, index, scale;
	int64_t disp;  /* or the whole address of a moffs form */
	uint64_t imm;  /* sign-extended where the encoding says so; near branches: the distance */
	uint16_t imm2; /* far pointers: the selector; ENTER: the level */
};

enum decode_status {
	DECODE_OK,
	DECODE_TRUNCATED, /* valid so far, but more bytes are needed */
	DECODE_INVALID,   /* #UD */
	DECODE_UNKNOWN,   /* AVX-512 perhaps, which is not decoded; or #UD */
	DECODE_TOO_LONG,  /* #GP: it does not end with the 15th byte */
};

/* Decode the instruction in bytes[n] (n <= 15), in 16-, 32- or 64-bit code: code_size 2, 4, 8. */
enum decode_status decode_insn(struct insn *out, const uint8_t *bytes, unsigned n,
			       unsigned code_size);

/*
 * Decoding depends on nothing but the bytes of the instruction and the mode. So an entry
 * that holds the same bytes is right whatever has happened meanwhile to the guest's tables;
 * RIP only chooses where to look. All zero: empty.
 */
#define DECODE_CACHE_ENTRIES 16
struct decode_cache {
	struct decode_cache_entry {
		uint8_t code_size;
		uint8_t bytes[VM_EXIT_MAX_INSN];
		struct insn insn;
	} entry[DECODE_CACHE_ENTRIES];
};

/* As decode_insn; *out stays valid until the next call. */
enum decode_status decode_cached(struct decode_cache *cache, uint64_t rip, const uint8_t *bytes,
				 unsigned n, unsigned code_size, const struct insn **out);

/* The instruction as text in Intel's syntax, cut to size; false: no valid instruction. */
bool decode_format(const uint8_t *bytes, unsigned n, unsigned code_size, uint64_t rip, char *buf,
		   unsigned size);

#endif
