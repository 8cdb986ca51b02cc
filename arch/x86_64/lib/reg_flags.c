/* APM vol. 2, 3.1, 13.1; SDM vol. 3, 2.3, 2.5, 17.2. */
#include "arch/x86_64/lib/reg_flags.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"

static const struct flag rflags[] = {
	FLAG(0, "CF"),
	FLAG(2, "PF"),
	FLAG(4, "AF"),
	FLAG(6, "ZF"),
	FLAG(7, "SF"),
	FLAG(8, "TF"),
	FLAG(9, "IF"),
	FLAG(10, "DF"),
	FLAG(11, "OF"),
	FLAG(14, "NT"),
	FLAG(16, "RF"),
	FLAG(17, "VM"),
	FLAG(18, "AC"),
	FLAG(19, "VIF"),
	FLAG(20, "VIP"),
	FLAG(21, "ID"),
	FLAG_FIELD(13, 12, "IOPL"),
};
const struct flag_set flags_rflags = FLAG_SET(rflags, RFLAGS_FIXED);

static const struct flag cr0[] = {
	FLAG(0, "PE"),  FLAG(1, "MP"),  FLAG(2, "EM"),  FLAG(3, "TS"),
	FLAG(4, "ET"),  FLAG(5, "NE"),  FLAG(16, "WP"), FLAG(18, "AM"),
	FLAG(29, "NW"), FLAG(30, "CD"), FLAG(31, "PG"),
};
const struct flag_set flags_cr0 = FLAG_SET(cr0, 0);

static const struct flag cr4[] = {
	FLAG(0, "VME"),    FLAG(1, "PVI"),      FLAG(2, "TSD"),         FLAG(3, "DE"),
	FLAG(4, "PSE"),    FLAG(5, "PAE"),      FLAG(6, "MCE"),         FLAG(7, "PGE"),
	FLAG(8, "PCE"),    FLAG(9, "OSFXSR"),   FLAG(10, "OSXMMEXCPT"), FLAG(11, "UMIP"),
	FLAG(12, "LA57"),  FLAG(13, "VMXE"),    FLAG(14, "SMXE"),       FLAG(16, "FSGSBASE"),
	FLAG(17, "PCIDE"), FLAG(18, "OSXSAVE"), FLAG(20, "SMEP"),       FLAG(21, "SMAP"),
	FLAG(22, "PKE"),   FLAG(23, "CET"),     FLAG(24, "PKS"),
};
const struct flag_set flags_cr4 = FLAG_SET(cr4, 0);

static const struct flag efer[] = {
	FLAG(0, "SCE"),   FLAG(8, "LME"),    FLAG(10, "LMA"),   FLAG(11, "NXE"),
	FLAG(12, "SVME"), FLAG(13, "LMSLE"), FLAG(14, "FFXSR"), FLAG(15, "TCE"),
};
const struct flag_set flags_efer = FLAG_SET(efer, 0);

static const struct flag xcr0[] = {
	FLAG(0, "X87"),       FLAG(1, "SSE"),      FLAG(2, "AVX"),
	FLAG(3, "BNDREG"),    FLAG(4, "BNDCSR"),   FLAG(5, "OPMASK"),
	FLAG(6, "ZMM_HI256"), FLAG(7, "HI16_ZMM"), FLAG(9, "PKRU"),
};
const struct flag_set flags_xcr0 = FLAG_SET(xcr0, 0);

static const struct flag dr6[] = {
	FLAG(0, "B0"),  FLAG(1, "B1"),  FLAG(2, "B2"),  FLAG(3, "B3"),
	FLAG(13, "BD"), FLAG(14, "BS"), FLAG(15, "BT"),
};
const struct flag_set flags_dr6 = FLAG_SET(dr6, DR6_INIT);

static const struct flag dr7[] = {
	FLAG(0, "L0"),
	FLAG(1, "G0"),
	FLAG(2, "L1"),
	FLAG(3, "G1"),
	FLAG(4, "L2"),
	FLAG(5, "G2"),
	FLAG(6, "L3"),
	FLAG(7, "G3"),
	FLAG(8, "LE"),
	FLAG(9, "GE"),
	FLAG(13, "GD"),
	FLAG_FIELD(17, 16, "RW0"),
	FLAG_FIELD(19, 18, "LEN0"),
	FLAG_FIELD(21, 20, "RW1"),
	FLAG_FIELD(23, 22, "LEN1"),
	FLAG_FIELD(25, 24, "RW2"),
	FLAG_FIELD(27, 26, "LEN2"),
	FLAG_FIELD(29, 28, "RW3"),
	FLAG_FIELD(31, 30, "LEN3"),
};
const struct flag_set flags_dr7 = FLAG_SET(dr7, DR7_INIT);

static const struct flag page_fault[] = {
	FLAG(0, "P"), FLAG(1, "W"), FLAG(2, "U"), FLAG(3, "RSVD"), FLAG(4, "I"), FLAG(5, "PK"),
};
const struct flag_set flags_page_fault = FLAG_SET(page_fault, 0);

static const struct flag exceptions[] = {
	FLAG(0, "#DE"),  FLAG(1, "#DB"),  FLAG(2, "NMI"),  FLAG(3, "#BP"),  FLAG(4, "#OF"),
	FLAG(5, "#BR"),  FLAG(6, "#UD"),  FLAG(7, "#NM"),  FLAG(8, "#DF"),  FLAG(10, "#TS"),
	FLAG(11, "#NP"), FLAG(12, "#SS"), FLAG(13, "#GP"), FLAG(14, "#PF"), FLAG(16, "#MF"),
	FLAG(17, "#AC"), FLAG(18, "#MC"), FLAG(19, "#XF"), FLAG(21, "#CP"), FLAG(30, "#SX"),
};
const struct flag_set flags_exceptions = FLAG_SET(exceptions, 0);
