/*
 * The registers that GDB is shown, and their description (target.xml) for it: as GDB wants an
 * amd64 or i386 processor, and a feature of Umbra's own with the system registers.
 */
#ifndef UMBRA_VMM_GDB_REGS_H
#define UMBRA_VMM_GDB_REGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gdb_reg {
	GDB_RAX, /* to R15: ModRM order */
	GDB_RIP = GDB_RAX + 16,
	GDB_RFLAGS,
	GDB_ES,               /* to GS: ModRM order */
	GDB_ST0 = GDB_ES + 6, /* to ST7 */
	GDB_FCTRL = GDB_ST0 + 8,
	GDB_FSTAT,
	GDB_FTAG,
	GDB_FISEG,
	GDB_FIOFF,
	GDB_FOSEG,
	GDB_FOOFF,
	GDB_FOP,
	GDB_XMM0, /* to XMM15 */
	GDB_MXCSR = GDB_XMM0 + 16,
	GDB_FS_BASE,
	GDB_GS_BASE,
	GDB_K_GS_BASE,
	GDB_CR0,
	GDB_CR2,
	GDB_CR3,
	GDB_CR4,
	GDB_CR8,
	GDB_EFER,
	GDB_REGS,
};

#define GDB_REG_BYTES 16 /* of the largest */

/* How the processor is described: by the mode that it is in when GDB attaches. */
enum gdb_arch { GDB_AMD64, GDB_I386 };

struct gdb_reg_info {
	const char *name;
	const char *type; /* of the description */
	uint8_t reg;      /* enum gdb_reg */
	uint8_t size;     /* bytes */
};

/* GDB's register of this number; NULL: it has no such one. */
const struct gdb_reg_info *gdb_reg_info(enum gdb_arch arch, unsigned number);

/* What of the description lies at [offset, offset + n), given to put a byte at a time. Returns
 * the description's whole length. */
size_t gdb_describe(enum gdb_arch arch, size_t offset, size_t n, void (*put)(void *ctx, uint8_t c),
		    void *ctx);

/*
 * The FPU's registers (ST0 to FOP, XMM0 to MXCSR) in FXSAVE's image of 512 bytes, its 64-bit
 * form. False: reg is none of them. APM vol. 2, 11.4.4; SDM vol. 1, 10.5.1.
 */
bool gdb_fx_get(const uint8_t image[512], enum gdb_reg reg, uint8_t val[GDB_REG_BYTES]);
/* FTAG: only which registers are empty. No value makes the image one that FXRSTOR refuses. */
bool gdb_fx_set(uint8_t image[512], enum gdb_reg reg, const uint8_t val[GDB_REG_BYTES]);

#endif
