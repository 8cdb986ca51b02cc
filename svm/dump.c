/* The VMCB as text: every field by name, and what its bits mean. APM vol. 2, App. B. */
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/lib/reg_flags.h"
#include "arch/x86_64/lib/string.h"
#include "svm/exit.h"
#include "svm/state.h"

#define NAME_WIDTH 18

/* --- the words of bits --- */

static const struct flag cr[] = {
	FLAG(0, "CR0.r"),   FLAG(1, "CR1.r"),   FLAG(2, "CR2.r"),   FLAG(3, "CR3.r"),
	FLAG(4, "CR4.r"),   FLAG(5, "CR5.r"),   FLAG(6, "CR6.r"),   FLAG(7, "CR7.r"),
	FLAG(8, "CR8.r"),   FLAG(9, "CR9.r"),   FLAG(10, "CR10.r"), FLAG(11, "CR11.r"),
	FLAG(12, "CR12.r"), FLAG(13, "CR13.r"), FLAG(14, "CR14.r"), FLAG(15, "CR15.r"),
	FLAG(16, "CR0.w"),  FLAG(17, "CR1.w"),  FLAG(18, "CR2.w"),  FLAG(19, "CR3.w"),
	FLAG(20, "CR4.w"),  FLAG(21, "CR5.w"),  FLAG(22, "CR6.w"),  FLAG(23, "CR7.w"),
	FLAG(24, "CR8.w"),  FLAG(25, "CR9.w"),  FLAG(26, "CR10.w"), FLAG(27, "CR11.w"),
	FLAG(28, "CR12.w"), FLAG(29, "CR13.w"), FLAG(30, "CR14.w"), FLAG(31, "CR15.w"),
};
static const struct flag dr[] = {
	FLAG(0, "DR0.r"),   FLAG(1, "DR1.r"),   FLAG(2, "DR2.r"),   FLAG(3, "DR3.r"),
	FLAG(4, "DR4.r"),   FLAG(5, "DR5.r"),   FLAG(6, "DR6.r"),   FLAG(7, "DR7.r"),
	FLAG(8, "DR8.r"),   FLAG(9, "DR9.r"),   FLAG(10, "DR10.r"), FLAG(11, "DR11.r"),
	FLAG(12, "DR12.r"), FLAG(13, "DR13.r"), FLAG(14, "DR14.r"), FLAG(15, "DR15.r"),
	FLAG(16, "DR0.w"),  FLAG(17, "DR1.w"),  FLAG(18, "DR2.w"),  FLAG(19, "DR3.w"),
	FLAG(20, "DR4.w"),  FLAG(21, "DR5.w"),  FLAG(22, "DR6.w"),  FLAG(23, "DR7.w"),
	FLAG(24, "DR8.w"),  FLAG(25, "DR9.w"),  FLAG(26, "DR10.w"), FLAG(27, "DR11.w"),
	FLAG(28, "DR12.w"), FLAG(29, "DR13.w"), FLAG(30, "DR14.w"), FLAG(31, "DR15.w"),
};
static const struct flag word3[] = {
	FLAG(0, "INTR"),         FLAG(1, "NMI"),         FLAG(2, "SMI"),
	FLAG(3, "INIT"),         FLAG(4, "VINTR"),       FLAG(5, "CR0_SEL_WRITE"),
	FLAG(6, "IDTR_READ"),    FLAG(7, "GDTR_READ"),   FLAG(8, "LDTR_READ"),
	FLAG(9, "TR_READ"),      FLAG(10, "IDTR_WRITE"), FLAG(11, "GDTR_WRITE"),
	FLAG(12, "LDTR_WRITE"),  FLAG(13, "TR_WRITE"),   FLAG(14, "RDTSC"),
	FLAG(15, "RDPMC"),       FLAG(16, "PUSHF"),      FLAG(17, "POPF"),
	FLAG(18, "CPUID"),       FLAG(19, "RSM"),        FLAG(20, "IRET"),
	FLAG(21, "INTN"),        FLAG(22, "INVD"),       FLAG(23, "PAUSE"),
	FLAG(24, "HLT"),         FLAG(25, "INVLPG"),     FLAG(26, "INVLPGA"),
	FLAG(27, "IOIO_PROT"),   FLAG(28, "MSR_PROT"),   FLAG(29, "TASK_SWITCH"),
	FLAG(30, "FERR_FREEZE"), FLAG(31, "SHUTDOWN"),
};
static const struct flag word4[] = {
	FLAG(0, "VMRUN"),        FLAG(1, "VMMCALL"), FLAG(2, "VMLOAD"),   FLAG(3, "VMSAVE"),
	FLAG(4, "STGI"),         FLAG(5, "CLGI"),    FLAG(6, "SKINIT"),   FLAG(7, "RDTSCP"),
	FLAG(8, "ICEBP"),        FLAG(9, "WBINVD"),  FLAG(10, "MONITOR"), FLAG(11, "MWAIT"),
	FLAG(12, "MWAIT_ARMED"), FLAG(13, "XSETBV"), FLAG(14, "RDPRU"),
};
static const struct flag word5[] = {
	FLAG(0, "INVLPGB"), FLAG(1, "INVLPGB_ILLEGAL"), FLAG(2, "INVPCID"),
	FLAG(3, "MCOMMIT"), FLAG(4, "TLBSYNC"),
};
static const struct flag v_intr[] = {
	FLAG_FIELD(7, 0, "V_TPR"), FLAG(8, "V_IRQ"),           FLAG_FIELD(19, 16, "V_INTR_PRIO"),
	FLAG(20, "V_IGN_TPR"),     FLAG(24, "V_INTR_MASKING"), FLAG_FIELD(39, 32, "V_INTR_VECTOR"),
};
static const struct flag shadow[] = { FLAG(0, "INTERRUPT_SHADOW"),
				      FLAG(1, "GUEST_INTERRUPT_MASK") };
static const struct flag event[] = {
	FLAG_FIELD(7, 0, "vector"),  FLAG_FIELD(10, 8, "type"), FLAG(11, "EV"), FLAG(31, "V"),
	FLAG_FIELD(63, 32, "error"),
};
static const struct flag np[] = { FLAG(0, "NP_ENABLE"), FLAG(1, "SEV"), FLAG(2, "SEV_ES") };
static const struct flag lbr[] = { FLAG(0, "LBR"), FLAG(1, "VMSAVE_VMLOAD") };
static const struct flag clean[] = {
	FLAG(0, "I"),   FLAG(1, "IOPM"), FLAG(2, "ASID"), FLAG(3, "TPR"),
	FLAG(4, "NP"),  FLAG(5, "CRX"),  FLAG(6, "DRX"),  FLAG(7, "DT"),
	FLAG(8, "SEG"), FLAG(9, "CR2"),  FLAG(10, "LBR"),
};
/* EXITINFO1 of a nested fault goes on above the error code. APM vol. 2, 15.25.6. */
static const struct flag nested_fault[] = {
	FLAG(0, "P"), FLAG(1, "W"),      FLAG(2, "U"),           FLAG(3, "RSVD"),
	FLAG(4, "I"), FLAG(32, "final"), FLAG(33, "table-walk"),
};

static const struct flag_set flags_cr = FLAG_SET(cr, 0), flags_dr = FLAG_SET(dr, 0),
			     flags_word3 = FLAG_SET(word3, 0), flags_word4 = FLAG_SET(word4, 0),
			     flags_word5 = FLAG_SET(word5, 0), flags_v_intr = FLAG_SET(v_intr, 0),
			     flags_shadow = FLAG_SET(shadow, 0), flags_event = FLAG_SET(event, 0),
			     flags_np = FLAG_SET(np, 0), flags_lbr = FLAG_SET(lbr, 0),
			     flags_clean = FLAG_SET(clean, 0),
			     flags_nested_fault = FLAG_SET(nested_fault, 0);

/* --- the fields --- */

struct field {
	const char *name;
	uint16_t offset;
	uint8_t size;
	const struct flag_set *flags;
};
#define FIELD_AS(name, field, flags)                                                               \
	{                                                                                          \
		name, offsetof(struct vmcb, field), sizeof(((struct vmcb *)0)->field), flags       \
	}
#define FIELD(field, flags) FIELD_AS(#field, field, flags)

static const struct field of_exit[] = {
	FIELD(exit_info2, NULL),
	FIELD(exit_int_info, &flags_event),
	FIELD(nrip, NULL),
	FIELD(nr_bytes, NULL),
};

static const struct field of_control[] = {
	FIELD_AS("intercept_cr", intercept[0], &flags_cr),
	FIELD_AS("intercept_dr", intercept[1], &flags_dr),
	FIELD_AS("intercept_vectors", intercept[2], &flags_exceptions),
	FIELD_AS("intercept_3", intercept[3], &flags_word3),
	FIELD_AS("intercept_4", intercept[4], &flags_word4),
	FIELD_AS("intercept_5", intercept[5], &flags_word5),
	FIELD_AS("pause_threshold", pause_filter_threshold, NULL),
	FIELD_AS("pause_count", pause_filter_count, NULL),
	FIELD(iopm_base_pa, NULL),
	FIELD(msrpm_base_pa, NULL),
	FIELD(tsc_offset, NULL),
	FIELD(asid, NULL),
	FIELD(tlb_control, NULL),
	FIELD(v_intr, &flags_v_intr),
	FIELD(interrupt_shadow, &flags_shadow),
	FIELD(event_inj, &flags_event),
	FIELD(np_control, &flags_np),
	FIELD(n_cr3, NULL),
	FIELD(lbr_control, &flags_lbr),
	FIELD(clean, &flags_clean),
};

static const struct field of_state[] = {
	FIELD(cpl, NULL),
	FIELD(rip, NULL),
	FIELD(rsp, NULL),
	FIELD(rax, NULL),
	FIELD(rflags, &flags_rflags),
	FIELD(cr0, &flags_cr0),
	FIELD(cr2, NULL),
	FIELD(cr3, NULL),
	FIELD(cr4, &flags_cr4),
	FIELD(efer, &flags_efer),
	FIELD(dr6, &flags_dr6),
	FIELD(dr7, &flags_dr7),
	FIELD(g_pat, NULL),
	FIELD(star, NULL),
	FIELD(lstar, NULL),
	FIELD(cstar, NULL),
	FIELD(sfmask, &flags_rflags),
	FIELD(kernel_gs_base, NULL),
	FIELD(sysenter_cs, NULL),
	FIELD(sysenter_esp, NULL),
	FIELD(sysenter_eip, NULL),
	FIELD(s_cet, NULL),
	FIELD(ssp, NULL),
	FIELD(isst_addr, NULL),
	FIELD(dbgctl, NULL),
	FIELD(br_from, NULL),
	FIELD(br_to, NULL),
	FIELD(last_excp_from, NULL),
	FIELD(last_excp_to, NULL),
};

static void print_fields(const struct printer *p, const struct vmcb *v, const struct field *f,
			 size_t count)
{
	for (; count--; f++) {
		uint64_t val = 0;

		memcpy(&val, (const uint8_t *)v + f->offset, f->size);
		printer_value(p, f->name, 2u * f->size, val, f->flags);
	}
}

static void print_exit(const struct printer *p, const struct vmcb *v)
{
	const struct flag_set *info = NULL;

	if (v->exit_code == SVM_EXIT_NPF)
		info = &flags_nested_fault;
	else if (v->exit_code == SVM_EXIT_EXCEPTION + VEC_PF)
		info = &flags_page_fault;
	printer_note(p, "exit_code", 16, v->exit_code, svm_exit_name(v->exit_code));
	printer_value(p, "exit_info1", 16, v->exit_info1, info);
	print_fields(p, v, of_exit, ARRAY_SIZE(of_exit));
}

static void print_segments(const struct printer *p, const struct vmcb *v)
{
	const struct {
		const char *name;
		const struct vmcb_seg *seg;
	} segs[] = {
		{ "es", &v->es },     { "cs", &v->cs }, { "ss", &v->ss },     { "ds", &v->ds },
		{ "fs", &v->fs },     { "gs", &v->gs }, { "gdtr", &v->gdtr }, { "ldtr", &v->ldtr },
		{ "idtr", &v->idtr }, { "tr", &v->tr },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++)
		printer_line(p, "  %-*s %04x base %016llx limit %08x attr %03x", NAME_WIDTH,
			     segs[i].name, segs[i].seg->selector,
			     (unsigned long long)segs[i].seg->base, segs[i].seg->limit,
			     segs[i].seg->attrib);
}

void svm_dump(const struct vcpu *vcpu, const struct printer *to)
{
	const struct svm_vcpu *sv = svm_vcpu(vcpu);
	const struct vmcb *v = sv->vmcb;
	const char *broken = svm_check_vmcb(v, &svm_machine.limits);
	struct printer p = *to;

	p.name_width = NAME_WIDTH;
	printer_line(&p, "VMCB at 0x%llx: %s", (unsigned long long)sv->vmcb_pa.v,
		     broken ? broken : "consistent");
	print_exit(&p, v);
	print_fields(&p, v, of_control, ARRAY_SIZE(of_control));
	print_segments(&p, v);
	print_fields(&p, v, of_state, ARRAY_SIZE(of_state));
}
