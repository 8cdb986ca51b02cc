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
	INSN_MOV,   /* general registers, memory, immediates; MOVNTI too */
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
	INSN_MOVS,
	INSN_STOS,
	INSN_LODS,
	INSN_CMPS,
	INSN_SCAS,
	INSN_INS,
	INSN_OUTS,
	INSN_MOV_TO_CR,
	INSN_MOV_FROM_CR,
	INSN_CLTS,
	INSN_LMSW,
	INSN_SMSW,
	INSN_OPS,
};

enum operand_kind {
	OPERAND_NONE,
	OPERAND_REG,   /* general register */
	OPERAND_HIGH8, /* AH, CH, DH, BH: reg is the register that holds it */
	OPERAND_CR,
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

struct insn {
	uint8_t op; /* enum insn_op */
	uint8_t len;
	uint8_t addr_size; /* bytes */
	uint8_t size;      /* string operations: bytes of an element */
	bool lock, rep, repne;
	struct operand operand[2];
	/* The memory operand; of a string operation only seg, for the side at rSI. */
	uint8_t seg; /* enum seg_reg, default and override applied */
	uint8_t base, index, scale;
	int64_t disp; /* or the whole address of a moffs form */
	uint64_t imm; /* sign-extended where the encoding says so */
};

enum decode_status {
	DECODE_OK,
	DECODE_TRUNCATED, /* valid so far, but more bytes are needed */
	DECODE_INVALID,   /* #UD */
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
