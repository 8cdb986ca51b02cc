/*
 * The x87's instructions with an operand in memory, carried out by the processor. APM vol. 5; SDM
 * vol. 2, appendix A, tables.
 */
#ifndef UMBRA_X87_H
#define UMBRA_X87_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define X87_FSW_ES 0x80u     /* an exception waits for the next instruction that looks */
#define X87_EXCEPTIONS 0x3fu /* those in the status word, and the control word's masks of them */
#define X87_PRECISION 0x20u  /* the one that comes after the store, which the others prevent */

/* What FOP has of an instruction: its opcode's low three bits, and ModRM. */
#define X87_FOP(opcode, modrm) ((((opcode)&7u) << 8) | (modrm))
/* Which of the 64 forms it is: opcode and ModRM.reg. */
#define X87_FORM(fop) (((fop) >> 5 & 070u) | ((fop) >> 3 & 7u))

/* Does that form write its operand? */
static inline bool x87_stores(unsigned fop)
{
	switch (X87_FORM(fop)) {
	case 012: /* FST, FSTP m32fp */
	case 013:
	case 016: /* FNSTENV */
	case 031: /* FISTTP, FIST, FISTP m32int */
	case 032:
	case 033:
	case 037: /* FSTP m80fp */
	case 051: /* FISTTP m64int, FST, FSTP m64fp */
	case 052:
	case 053:
	case 056: /* FNSAVE */
	case 071: /* FISTTP, FIST, FISTP m16int */
	case 072:
	case 073:
	case 076: /* FBSTP, FISTP m64int */
	case 077:
		return true;
	default:
		return false;
	}
}

/* Those that only control the x87 leave the pointers of the last other one. SDM vol. 1, 8.1.8. */
static inline bool x87_controls(unsigned fop)
{
	unsigned form = X87_FORM(fop);

	return form == 015 || form == 017 || form == 057; /* FLDCW, FNSTCW, FNSTSW */
}

/* The operand is of 10 bytes at most; no exception waits. One that it raises waits for the next. */
static inline void x87_run(unsigned fop, void *operand)
{
#define X(form, insn)                                                                              \
	case form:                                                                                 \
		__asm__ volatile(insn " (%0)" ::"r"(operand) : "memory");                          \
		break;
#define ARITHMETIC(d, i, s)                                                                        \
	X(d, i "add" s)                                                                            \
	X(d + 1, i "mul" s)                                                                        \
	X(d + 2, i "com" s)                                                                        \
	X(d + 3, i "comp" s)                                                                       \
	X(d + 4, i "sub" s)                                                                        \
	X(d + 5, i "subr" s)                                                                       \
	X(d + 6, i "div" s)                                                                        \
	X(d + 7, i "divr" s)

	switch (X87_FORM(fop)) {
		ARITHMETIC(0, "f", "s")
		X(010, "flds")
		X(012, "fsts")
		X(013, "fstps")
		X(015, "fldcw")
		ARITHMETIC(020, "fi", "l")
		X(030, "fildl")
		X(031, "fisttpl")
		X(032, "fistl")
		X(033, "fistpl")
		X(035, "fldt")
		X(037, "fstpt")
		ARITHMETIC(040, "f", "l")
		X(050, "fldl")
		X(051, "fisttpll")
		X(052, "fstl")
		X(053, "fstpl")
		ARITHMETIC(060, "fi", "s")
		X(070, "filds")
		X(071, "fisttps")
		X(072, "fists")
		X(073, "fistps")
		X(074, "fbld")
		X(075, "fildll")
		X(076, "fbstp")
		X(077, "fistpll")
	}
#undef ARITHMETIC
#undef X
}

/* FNSAVE's operand, and FNSTENV's without the registers, as they are in protected mode with
 * operands of 32 bits. SDM vol. 1, figures 8-9 and 8-13. */
#define X87_ENV_BYTES 28u
#define X87_STATE_BYTES 108u
enum { X87_FCW, X87_FSW, X87_FTW, X87_FIP, X87_FCS_FOP, X87_FDP, X87_FDS, X87_ENV_WORDS };
struct x87_state {
	uint32_t env[X87_ENV_WORDS];
	uint8_t st[80];
};
static_assert(sizeof(struct x87_state) == X87_STATE_BYTES, "FNSAVE's");

/* FLDENV, FNSTENV, FRSTOR, FNSAVE. Of the first and the third no exception waits before. */
static inline void x87_run_state(unsigned fop, struct x87_state *s)
{
	switch (X87_FORM(fop)) {
	case 014:
		__asm__ volatile("fldenv %0" ::"m"(s->env));
		break;
	case 016:
		__asm__ volatile("fnstenv %0" : "=m"(s->env));
		break;
	case 054:
		__asm__ volatile("frstor %0" ::"m"(*s));
		break;
	case 056:
		__asm__ volatile("fnsave %0" : "=m"(*s));
		break;
	}
}

#endif
