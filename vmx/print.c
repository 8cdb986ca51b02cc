/* The VMCS as text: every field that this processor has, and what its bits mean. SDM vol. 3, ch.
 * 24. */
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/lib/reg_flags.h"
#include "arch/x86_64/lib/string.h"
#include "vmx/exit.h"
#include "vmx/state.h"

#define NAME_WIDTH 22
#define NAME_PREFIX (sizeof("VMCS_") - 1)

/* --- the words of bits; what must be 1 and has no name is silent --- */

static const struct flag pin[] = {
	FLAG(0, "external-interrupt"), FLAG(3, "NMI"),
	FLAG(5, "virtual-NMIs"),       FLAG(6, "preemption-timer"),
	FLAG(7, "posted-interrupts"),
};
static const struct flag proc[] = {
	FLAG(2, "interrupt-window"),
	FLAG(3, "TSC-offsetting"),
	FLAG(7, "HLT"),
	FLAG(9, "INVLPG"),
	FLAG(10, "MWAIT"),
	FLAG(11, "RDPMC"),
	FLAG(12, "RDTSC"),
	FLAG(15, "CR3-load"),
	FLAG(16, "CR3-store"),
	FLAG(17, "tertiary"),
	FLAG(19, "CR8-load"),
	FLAG(20, "CR8-store"),
	FLAG(21, "TPR-shadow"),
	FLAG(22, "NMI-window"),
	FLAG(23, "MOV-DR"),
	FLAG(24, "unconditional-IO"),
	FLAG(25, "IO-bitmaps"),
	FLAG(27, "monitor-trap-flag"),
	FLAG(28, "MSR-bitmaps"),
	FLAG(29, "MONITOR"),
	FLAG(30, "PAUSE"),
	FLAG(31, "secondary"),
};
static const struct flag proc2[] = {
	FLAG(0, "virtualize-APIC"),
	FLAG(1, "EPT"),
	FLAG(2, "descriptor-tables"),
	FLAG(3, "RDTSCP"),
	FLAG(4, "virtualize-x2APIC"),
	FLAG(5, "VPID"),
	FLAG(6, "WBINVD"),
	FLAG(7, "unrestricted-guest"),
	FLAG(8, "APIC-registers"),
	FLAG(9, "virtual-interrupts"),
	FLAG(10, "PAUSE-loop"),
	FLAG(11, "RDRAND"),
	FLAG(12, "INVPCID"),
	FLAG(13, "VMFUNC"),
	FLAG(14, "VMCS-shadowing"),
	FLAG(15, "ENCLS"),
	FLAG(16, "RDSEED"),
	FLAG(17, "PML"),
	FLAG(18, "EPT-violation-#VE"),
	FLAG(19, "conceal-from-PT"),
	FLAG(20, "XSAVES"),
	FLAG(22, "mode-based-EPT"),
	FLAG(23, "SPP"),
	FLAG(25, "TSC-scaling"),
};
static const struct flag exit_controls[] = {
	FLAG(2, "save-debug"),     FLAG(9, "host-64-bit"), FLAG(12, "load-PERF_GLOBAL"),
	FLAG(15, "ack-interrupt"), FLAG(18, "save-PAT"),   FLAG(19, "load-PAT"),
	FLAG(20, "save-EFER"),     FLAG(21, "load-EFER"),  FLAG(22, "save-timer"),
};
static const struct flag entry_controls[] = {
	FLAG(2, "load-debug"),    FLAG(9, "IA-32e-mode"),       FLAG(10, "SMM"),
	FLAG(11, "dual-monitor"), FLAG(13, "load-PERF_GLOBAL"), FLAG(14, "load-PAT"),
	FLAG(15, "load-EFER"),
};
static const struct flag intr_info[] = {
	FLAG_FIELD(7, 0, "vector"), FLAG_FIELD(10, 8, "type"), FLAG(11, "error-code"),
	FLAG(12, "NMI-unblocked"),  FLAG(31, "valid"),
};
static const struct flag interruptibility[] = {
	FLAG(0, "STI"),
	FLAG(1, "MOV-SS"),
	FLAG(2, "SMI"),
	FLAG(3, "NMI"),
};
static const struct flag pending_debug[] = {
	FLAG(0, "B0"),  FLAG(1, "B1"), FLAG(2, "B2"), FLAG(3, "B3"), FLAG(12, "enabled-breakpoint"),
	FLAG(14, "BS"),
};
static const struct flag activity[] = { FLAG(0, "HLT"), FLAG(1, "shutdown") };
static const struct flag eptp[] = {
	FLAG_FIELD(2, 0, "type"),
	FLAG_FIELD(5, 3, "walk-1"),
	FLAG(6, "accessed-dirty"),
};
static const struct flag reason[] = {
	FLAG_FIELD(15, 0, "basic"),
	FLAG(31, "entry-failed"),
};

static const struct flag_set flags_pin = FLAG_SET(pin, 0x16),
			     flags_proc = FLAG_SET(proc, 0x4006172),
			     flags_proc2 = FLAG_SET(proc2, 0),
			     flags_exit_controls = FLAG_SET(exit_controls, 0x36dfb),
			     flags_entry_controls = FLAG_SET(entry_controls, 0x11fb),
			     flags_intr_info = FLAG_SET(intr_info, 0),
			     flags_interruptibility = FLAG_SET(interruptibility, 0),
			     flags_pending_debug = FLAG_SET(pending_debug, 0),
			     flags_activity = FLAG_SET(activity, 0),
			     flags_eptp = FLAG_SET(eptp, BITS(51, 12)),
			     flags_reason = FLAG_SET(reason, 0);

static const struct flag_set *const flags_of[VMCS_INDEXES] = {
	[INDEX_VMCS_PIN_CONTROLS] = &flags_pin,
	[INDEX_VMCS_PROC_CONTROLS] = &flags_proc,
	[INDEX_VMCS_PROC2_CONTROLS] = &flags_proc2,
	[INDEX_VMCS_EXIT_CONTROLS] = &flags_exit_controls,
	[INDEX_VMCS_ENTRY_CONTROLS] = &flags_entry_controls,
	[INDEX_VMCS_EXCEPTION_BITMAP] = &flags_exceptions,
	[INDEX_VMCS_PF_ERROR_MASK] = &flags_page_fault,
	[INDEX_VMCS_PF_ERROR_MATCH] = &flags_page_fault,
	[INDEX_VMCS_ENTRY_INTR_INFO] = &flags_intr_info,
	[INDEX_VMCS_EXIT_REASON] = &flags_reason,
	[INDEX_VMCS_EXIT_INTR_INFO] = &flags_intr_info,
	[INDEX_VMCS_IDT_VECTORING_INFO] = &flags_intr_info,
	[INDEX_VMCS_EPT_POINTER] = &flags_eptp,
	[INDEX_VMCS_CR0_MASK] = &flags_cr0,
	[INDEX_VMCS_CR0_READ_SHADOW] = &flags_cr0,
	[INDEX_VMCS_CR4_MASK] = &flags_cr4,
	[INDEX_VMCS_CR4_READ_SHADOW] = &flags_cr4,
	[INDEX_VMCS_GUEST_CR0] = &flags_cr0,
	[INDEX_VMCS_GUEST_CR4] = &flags_cr4,
	[INDEX_VMCS_GUEST_EFER] = &flags_efer,
	[INDEX_VMCS_GUEST_DR7] = &flags_dr7,
	[INDEX_VMCS_GUEST_RFLAGS] = &flags_rflags,
	[INDEX_VMCS_GUEST_INTERRUPTIBILITY] = &flags_interruptibility,
	[INDEX_VMCS_GUEST_PENDING_DEBUG] = &flags_pending_debug,
	[INDEX_VMCS_GUEST_ACTIVITY] = &flags_activity,
	[INDEX_VMCS_HOST_CR0] = &flags_cr0,
	[INDEX_VMCS_HOST_CR4] = &flags_cr4,
	[INDEX_VMCS_HOST_EFER] = &flags_efer,
};

/* --- the fields --- */

/* An encoding's parts. SDM vol. 3, 24.11.2. */
#define ENCODING_TYPE_SHIFT 10
#define ENCODING_WIDTH_SHIFT 13

/* The order that they are printed in. */
static const struct {
	unsigned type;
	const char *heading;
} groups[] = {
	{ 1, " exit information" },
	{ 0, " controls" },
	{ 2, " guest state" },
	{ 3, " host state" },
};

struct segment_fields {
	char name[5];
	uint8_t base, limit;
	uint8_t selector, rights; /* 0: it has none */
};
static_assert(VMCS_INDEXES < 256, "an index fits into a byte");

#define SEGMENT(name, reg)                                                                         \
	{                                                                                          \
		name, INDEX_VMCS_GUEST_##reg##_BASE, INDEX_VMCS_GUEST_##reg##_LIMIT,               \
			INDEX_VMCS_GUEST_##reg##_SELECTOR, INDEX_VMCS_GUEST_##reg##_RIGHTS         \
	}
static const struct segment_fields segments[] = {
	SEGMENT("es", ES),
	SEGMENT("cs", CS),
	SEGMENT("ss", SS),
	SEGMENT("ds", DS),
	SEGMENT("fs", FS),
	SEGMENT("gs", GS),
	SEGMENT("ldtr", LDTR),
	SEGMENT("tr", TR),
	{ "gdtr", INDEX_VMCS_GUEST_GDTR_BASE, INDEX_VMCS_GUEST_GDTR_LIMIT, 0, 0 },
	{ "idtr", INDEX_VMCS_GUEST_IDTR_BASE, INDEX_VMCS_GUEST_IDTR_LIMIT, 0, 0 },
};

static bool is_segments(unsigned index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		const struct segment_fields *s = &segments[i];

		if (index == s->base || index == s->limit ||
		    (s->selector && (index == s->selector || index == s->rights)))
			return true;
	}
	return false;
}

static void print_field(const struct printer *p, const struct vmcs_image *v, unsigned index)
{
	static const uint8_t digits[] = { 4, 16, 8, 16 };
	const struct vmcs_field_info *info = vmx_field_info(index);
	const char *name = info->name + NAME_PREFIX;
	unsigned n = digits[info->encoding >> ENCODING_WIDTH_SHIFT & 3];
	uint64_t val = v->field[index];

	if (index == INDEX_VMCS_EXIT_REASON && !(val & EXIT_REASON_ENTRY_FAILED))
		printer_note(p, name, n, val, vmx_exit_name((uint32_t)val));
	else if (index == INDEX_VMCS_INSTRUCTION_ERROR && val)
		printer_note(p, name, n, val, vmx_error_text((uint32_t)val));
	else
		printer_value(p, name, n, val, flags_of[index]);
}

static void print_segments(const struct printer *p, const struct vmcs_image *v)
{
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		const struct segment_fields *s = &segments[i];

		printer_line(p, "  %-4s %04llx  base %016llx  limit %08llx  rights %05llx", s->name,
			     s->selector ? (unsigned long long)v->field[s->selector] : 0,
			     (unsigned long long)v->field[s->base],
			     (unsigned long long)v->field[s->limit],
			     s->selector ? (unsigned long long)v->field[s->rights] : 0);
	}
}

static void print_group(const struct printer *p, const struct vmcs_image *v, unsigned type)
{
	for (unsigned i = 0; i < VMCS_INDEXES; i++)
		if ((vmx_field_info(i)->encoding >> ENCODING_TYPE_SHIFT & 3) == type &&
		    vmx_field_there(i, &vmx_machine.vmx) && !is_segments(i))
			print_field(p, v, i);
}

void vmx_dump(const struct vcpu *vcpu, const struct printer *to)
{
	struct vmx_limits lim = vmx_limits();
	struct vmx_violation found;
	struct vmcs_image image;
	struct printer p = *to;

	p.name_width = NAME_WIDTH;
	vmx_use(vcpu);
	vmx_read_image(&image);
	found = vmx_check_vmcs(&image, &lim);
	printer_line(&p, "VMCS at 0x%llx: %s%s%s", (unsigned long long)vmx_vcpu(vcpu)->vmcs.v,
		     found.field ? found.field : "consistent", found.field ? ": " : "",
		     found.field ? found.words : "");
	for (unsigned i = 0; i < ARRAY_SIZE(groups); i++) {
		printer_line(&p, "%s", groups[i].heading);
		if (groups[i].type == 2)
			print_segments(&p, &image);
		print_group(&p, &image, groups[i].type);
	}
}
