#include "vmm/gdb/regs.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"

#define EIGHT(X) X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7)
#define HIGH_EIGHT(X) X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15)
#define R(n)                                                                                       \
	{                                                                                          \
		"r" #n, "int64", GDB_RAX + (n), 8                                                  \
	}
#define SEGS                                                                                       \
	{ "cs", "int32", GDB_ES + 1, 4 }, { "ss", "int32", GDB_ES + 2, 4 },                        \
		{ "ds", "int32", GDB_ES + 3, 4 }, { "es", "int32", GDB_ES, 4 },                    \
		{ "fs", "int32", GDB_ES + 4, 4 },                                                  \
	{                                                                                          \
		"gs", "int32", GDB_ES + 5, 4                                                       \
	}
#define ST(n)                                                                                      \
	{                                                                                          \
		"st" #n, "i387_ext", GDB_ST0 + (n), 10                                             \
	}
#define X87                                                                                        \
	{ "fctrl", "int", GDB_FCTRL, 4 }, { "fstat", "int", GDB_FSTAT, 4 },                        \
		{ "ftag", "int", GDB_FTAG, 4 }, { "fiseg", "int", GDB_FISEG, 4 },                  \
		{ "fioff", "int", GDB_FIOFF, 4 }, { "foseg", "int", GDB_FOSEG, 4 },                \
		{ "fooff", "int", GDB_FOOFF, 4 },                                                  \
	{                                                                                          \
		"fop", "int", GDB_FOP, 4                                                           \
	}
#define XMM(n)                                                                                     \
	{                                                                                          \
		"xmm" #n, "vec128", GDB_XMM0 + (n), 16                                             \
	}

/* The features in GDB's order, each with its registers in GDB's order. */
static const struct gdb_reg_info amd64_core[] = {
	{ "rax", "int64", GDB_RAX, 8 },
	{ "rbx", "int64", GDB_RAX + 3, 8 },
	{ "rcx", "int64", GDB_RAX + 1, 8 },
	{ "rdx", "int64", GDB_RAX + 2, 8 },
	{ "rsi", "int64", GDB_RAX + 6, 8 },
	{ "rdi", "int64", GDB_RAX + 7, 8 },
	{ "rbp", "data_ptr", GDB_RAX + 5, 8 },
	{ "rsp", "data_ptr", GDB_RAX + 4, 8 },
	HIGH_EIGHT(R),
	{ "rip", "code_ptr", GDB_RIP, 8 },
	{ "eflags", "i386_eflags", GDB_RFLAGS, 4 },
	SEGS,
	EIGHT(ST),
	X87,
};
static const struct gdb_reg_info amd64_sse[] = {
	EIGHT(XMM),
	HIGH_EIGHT(XMM),
	{ "mxcsr", "i386_mxcsr", GDB_MXCSR, 4 },
};
static const struct gdb_reg_info amd64_segments[] = {
	{ "fs_base", "int", GDB_FS_BASE, 8 },
	{ "gs_base", "int", GDB_GS_BASE, 8 },
};
static const struct gdb_reg_info amd64_system[] = {
	{ "k_gs_base", "uint64", GDB_K_GS_BASE, 8 },
	{ "cr0", "uint64", GDB_CR0, 8 },
	{ "cr2", "uint64", GDB_CR2, 8 },
	{ "cr3", "uint64", GDB_CR3, 8 },
	{ "cr4", "uint64", GDB_CR4, 8 },
	{ "cr8", "uint64", GDB_CR8, 8 },
	{ "efer", "uint64", GDB_EFER, 8 },
};
static const struct gdb_reg_info i386_core[] = {
	{ "eax", "int32", GDB_RAX, 4 },
	{ "ecx", "int32", GDB_RAX + 1, 4 },
	{ "edx", "int32", GDB_RAX + 2, 4 },
	{ "ebx", "int32", GDB_RAX + 3, 4 },
	{ "esp", "data_ptr", GDB_RAX + 4, 4 },
	{ "ebp", "data_ptr", GDB_RAX + 5, 4 },
	{ "esi", "int32", GDB_RAX + 6, 4 },
	{ "edi", "int32", GDB_RAX + 7, 4 },
	{ "eip", "code_ptr", GDB_RIP, 4 },
	{ "eflags", "i386_eflags", GDB_RFLAGS, 4 },
	SEGS,
	EIGHT(ST),
	X87,
};
static const struct gdb_reg_info i386_sse[] = {
	EIGHT(XMM),
	{ "mxcsr", "i386_mxcsr", GDB_MXCSR, 4 },
};
static const struct gdb_reg_info i386_system[] = {
	{ "cr0", "uint32", GDB_CR0, 4 },   { "cr2", "uint32", GDB_CR2, 4 },
	{ "cr3", "uint32", GDB_CR3, 4 },   { "cr4", "uint32", GDB_CR4, 4 },
	{ "efer", "uint32", GDB_EFER, 4 },
};

static const char core_types[] =
	"<flags id=\"i386_eflags\" size=\"4\">"
	"<field name=\"\" start=\"22\" end=\"31\"/>"
	"<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
	"<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
	"<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
	"<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
	"<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
	"<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
	"<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
	"<field name=\"VIF\" start=\"19\" end=\"19\"/>"
	"<field name=\"VIP\" start=\"20\" end=\"20\"/>"
	"<field name=\"ID\" start=\"21\" end=\"21\"/></flags>";

static const char sse_types[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
	"<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
	"<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
	"<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
	"<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
	"<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
	"<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/>"
	"</union><flags id=\"i386_mxcsr\" size=\"4\">"
	"<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>"
	"<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
	"<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>"
	"<field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" start=\"7\" end=\"7\"/>"
	"<field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/>"
	"<field name=\"OM\" start=\"10\" end=\"10\"/><field name=\"UM\" start=\"11\" end=\"11\"/>"
	"<field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" start=\"15\" end=\"15\"/>"
	"</flags>";

struct feature {
	const char *name, *types;
	const struct gdb_reg_info *regs;
	unsigned count;
};

#define FEATURE(name, types, regs)                                                                 \
	{                                                                                          \
		name, types, regs, ARRAY_SIZE(regs)                                                \
	}
#define FEATURES_MAX 4

/*
 * i386 names no architecture: then GDB's `set architecture i8086` is heeded. amd64 must, or GDB
 * takes the processor for an i386.
 */
static const struct {
	const char *architecture;
	struct feature feature[FEATURES_MAX];
} description[] = {
	[GDB_AMD64] = { "<architecture>i386:x86-64</architecture>",
			{ FEATURE("org.gnu.gdb.i386.core", core_types, amd64_core),
			  FEATURE("org.gnu.gdb.i386.sse", sse_types, amd64_sse),
			  FEATURE("org.gnu.gdb.i386.segments", "", amd64_segments),
			  FEATURE("org.umbra.system", "", amd64_system) } },
	[GDB_I386] = { "",
		       { FEATURE("org.gnu.gdb.i386.core", core_types, i386_core),
			 FEATURE("org.gnu.gdb.i386.sse", sse_types, i386_sse),
			 FEATURE("org.umbra.system", "", i386_system) } },
};

const struct gdb_reg_info *gdb_reg_info(enum gdb_arch arch, unsigned number)
{
	for (unsigned i = 0; i < FEATURES_MAX; i++) {
		const struct feature *f = &description[arch].feature[i];

		if (number < f->count)
			return &f->regs[number];
		number -= f->count;
	}
	return NULL;
}

/* --- the description --- */

/* Text, of which only a part is wanted. */
struct window {
	size_t at, offset, n;
	void (*put)(void *ctx, uint8_t c);
	void *ctx;
};

static void put_text(struct window *w, const char *text)
{
	for (; *text; text++, w->at++)
		if (w->at >= w->offset && w->at - w->offset < w->n)
			w->put(w->ctx, (uint8_t)*text);
}

static void put_feature(struct window *w, const struct feature *f)
{
	char line[128];

	put_text(w, "<feature name=\"");
	put_text(w, f->name);
	put_text(w, "\">");
	put_text(w, f->types);
	for (unsigned i = 0; i < f->count; i++) {
		ksnprintf(line, sizeof(line), "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>",
			  f->regs[i].name, f->regs[i].size * 8, f->regs[i].type);
		put_text(w, line);
	}
	put_text(w, "</feature>");
}

size_t gdb_describe(enum gdb_arch arch, size_t offset, size_t n, void (*put)(void *ctx, uint8_t c),
		    void *ctx)
{
	struct window w = { 0, offset, n, put, ctx };

	put_text(&w, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>");
	put_text(&w, description[arch].architecture);
	for (unsigned i = 0; i < FEATURES_MAX && description[arch].feature[i].name; i++)
		put_feature(&w, &description[arch].feature[i]);
	put_text(&w, "</target>");
	return w.at;
}

/* --- FXSAVE's image --- */

#define FX_FCW 0
#define FX_FSW 2
#define FX_FTW 4 /* bit n: register n is not empty */
#define FX_FOP 6
#define FX_FIP 8
#define FX_FDP 16
#define FX_MXCSR 24
#define FX_ST 32 /* 16 bytes each, by their distance from the top */
#define FX_XMM 160
#define ST_BYTES 10
#define MXCSR_BITS 0xffffu
#define FOP_BITS 0x7ffu
#define TAG_VALID 0u
#define TAG_ZERO 1u
#define TAG_SPECIAL 2u
#define TAG_EMPTY 3u

/* Where the registers with a place of their own have it. */
static const struct {
	uint8_t at, size;
} fx_place[] = {
	[0] = { FX_FCW, 2 },
	[GDB_FSTAT - GDB_FCTRL] = { FX_FSW, 2 },
	[GDB_FISEG - GDB_FCTRL] = { FX_FIP + 4, 2 },
	[GDB_FIOFF - GDB_FCTRL] = { FX_FIP, 4 },
	[GDB_FOSEG - GDB_FCTRL] = { FX_FDP + 4, 2 },
	[GDB_FOOFF - GDB_FCTRL] = { FX_FDP, 4 },
	[GDB_FOP - GDB_FCTRL] = { FX_FOP, 2 },
};

static unsigned tag_of(const uint8_t image[512], unsigned reg)
{
	unsigned top = image[FX_FSW + 1] >> 3 & 7;
	const uint8_t *st = image + FX_ST + ((reg - top) & 7) * 16;
	uint64_t mantissa;
	unsigned exponent = st[8] | (st[9] & 0x7fu) << 8;

	if (!(image[FX_FTW] & 1u << reg))
		return TAG_EMPTY;
	memcpy(&mantissa, st, sizeof(mantissa));
	if (!exponent && !mantissa)
		return TAG_ZERO;
	return exponent && exponent != 0x7fff && mantissa >> 63 ? TAG_VALID : TAG_SPECIAL;
}

static unsigned full_tags(const uint8_t image[512])
{
	unsigned tags = 0;

	for (unsigned reg = 0; reg < 8; reg++)
		tags |= tag_of(image, reg) << 2 * reg;
	return tags;
}

static uint8_t short_tags(unsigned tags)
{
	uint8_t bits = 0;

	for (unsigned reg = 0; reg < 8; reg++)
		if ((tags >> 2 * reg & 3) != TAG_EMPTY)
			bits |= (uint8_t)(1u << reg);
	return bits;
}

/* Where and how large the register is in the image; false: nowhere, as it is. */
static bool find_place(enum gdb_reg reg, unsigned *at, unsigned *size)
{
	if (reg >= GDB_ST0 && reg < GDB_ST0 + 8) {
		*at = FX_ST + (reg - GDB_ST0) * 16;
		*size = ST_BYTES;
	} else if (reg >= GDB_XMM0 && reg < GDB_XMM0 + 16) {
		*at = FX_XMM + (reg - GDB_XMM0) * 16;
		*size = 16;
	} else if (reg >= GDB_FCTRL && reg <= GDB_FOP && reg != GDB_FTAG) {
		*at = fx_place[reg - GDB_FCTRL].at;
		*size = fx_place[reg - GDB_FCTRL].size;
	} else {
		return false;
	}
	return true;
}

bool gdb_fx_get(const uint8_t image[512], enum gdb_reg reg, uint8_t val[GDB_REG_BYTES])
{
	unsigned at, size, tags;

	memset(val, 0, GDB_REG_BYTES);
	if (reg == GDB_FTAG) {
		tags = full_tags(image);
		memcpy(val, &tags, sizeof(tags));
		return true;
	}
	if (reg == GDB_MXCSR) {
		memcpy(val, image + FX_MXCSR, 4);
		return true;
	}
	if (!find_place(reg, &at, &size))
		return false;
	memcpy(val, image + at, size);
	return true;
}

bool gdb_fx_set(uint8_t image[512], enum gdb_reg reg, const uint8_t val[GDB_REG_BYTES])
{
	unsigned at, size;
	uint32_t word;
	uint16_t fop;

	memcpy(&word, val, sizeof(word));
	if (reg == GDB_FTAG) {
		image[FX_FTW] = short_tags(word);
		return true;
	}
	if (reg == GDB_MXCSR) {
		word &= MXCSR_BITS & ~0x40u; /* DAZ: old processors have none */
		memcpy(image + FX_MXCSR, &word, sizeof(word));
		return true;
	}
	if (reg == GDB_FOP) {
		fop = (uint16_t)(word & FOP_BITS);
		memcpy(image + FX_FOP, &fop, sizeof(fop));
		return true;
	}
	if (!find_place(reg, &at, &size))
		return false;
	memcpy(image + at, val, size);
	return true;
}
