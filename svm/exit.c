#include "svm/exit.h"

#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/lib/string.h"
#include "svm/event.h"
#include "svm/features.h"

typedef void (*decode_fn)(const struct vmcb *v, uint32_t features, struct vm_exit *exit);

/* IOIO EXITINFO1. APM vol. 2, 15.10.2. */
#define IOIO_IN BIT(0)
#define IOIO_STRING BIT(2)
#define IOIO_REP BIT(3)
#define IOIO_SIZE_SHIFT 4 /* 6:4, one bit each for 1, 2, 4 bytes: the size itself */
#define IOIO_ADDR_SHIFT 7 /* 9:7, one bit each for 16, 32, 64 bits: half the bytes */
#define IOIO_SEG_SHIFT 10 /* 12:10, with decode assists, of OUTS */
#define IOIO_PORT_SHIFT 16

static void decode_io(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	uint64_t info = v->exit_info1, len = v->exit_info2 - v->rip;

	exit->io.port = (uint16_t)(info >> IOIO_PORT_SHIFT);
	exit->io.size = info >> IOIO_SIZE_SHIFT & 7;
	exit->io.in = info & IOIO_IN;
	exit->io.string = info & IOIO_STRING;
	exit->io.rep = info & IOIO_REP;
	exit->io.addr_size = (info >> IOIO_ADDR_SHIFT & 7) * 2;
	if (exit->io.in)
		exit->io.seg = SEG_ES;
	else if (features & SVM_FEATURE_DECODE_ASSISTS)
		exit->io.seg = info >> IOIO_SEG_SHIFT & 7;
	else
		exit->io.seg = 0xff;
	/* EXITINFO2 is the next RIP, with NRIP save or without. */
	exit->insn_len = len <= VM_EXIT_MAX_INSN ? (uint8_t)len : 0;
}

/* Nested fault, EXITINFO1. APM vol. 2, 15.25.6. */
#define NPF_TABLE_WALK BIT(33)

static void decode_npf(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	uint64_t info = v->exit_info1;

	(void)features;
	exit->nested.gpa = GPA(v->exit_info2);
	exit->nested.write = info & PF_W;
	exit->nested.fetch = info & PF_I;
	exit->nested.read = !(info & (PF_W | PF_I));
	/* QEMU: a fault for a reserved bit comes without P. */
	exit->nested.present = info & (PF_P | PF_RSVD);
	exit->nested.table_walk = info & NPF_TABLE_WALK;
}

static void decode_page_fault(const struct vmcb *v, struct vm_exit *exit)
{
	exit->kind = EXIT_PAGE_FAULT;
	exit->page_fault.gva = GVA(v->exit_info2);
	exit->page_fault.error = (uint32_t)v->exit_info1;
	/* QEMU: as with nested faults. */
	if (exit->page_fault.error & PF_RSVD)
		exit->page_fault.error |= PF_P;
}

static void decode_exception(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	(void)features;
	if (v->exit_code == SVM_EXIT_EXCEPTION + VEC_PF) {
		decode_page_fault(v, exit);
		return;
	}
	exit->exception.vector = (uint8_t)(v->exit_code - SVM_EXIT_EXCEPTION);
	/* INT3 and INTO, one byte each: RIP is still at them. */
	if (exit->exception.vector == VEC_BP || exit->exception.vector == VEC_OF)
		exit->insn_len = 1;
	exit->exception.error = (uint32_t)v->exit_info1;
	exit->exception.cr2 = v->exit_info2;
}

#define CR_INFO_MOV BIT(63) /* decode assists: a MOV, EXITINFO1 3:0 its register */

/* Both directions: codes 000h to 01Fh. APM vol. 2, 15.8.1. */
static void decode_cr(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	bool known = (features & SVM_FEATURE_DECODE_ASSISTS) && (v->exit_info1 & CR_INFO_MOV);

	exit->cr.nr = v->exit_code & 15;
	exit->cr.gpr = known ? v->exit_info1 & 15 : VM_EXIT_GPR_UNKNOWN;
	exit->cr.clts = false;
}

static void decode_msr(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	(void)features;
	exit->kind = v->exit_info1 & 1 ? EXIT_WRMSR : EXIT_RDMSR;
}

static void decode_invlpg(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	exit->invlpg.known = features & SVM_FEATURE_DECODE_ASSISTS;
	exit->invlpg.gva = GVA(exit->invlpg.known ? v->exit_info1 : 0);
}

static void decode_invpcid(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	(void)features;
	exit->invpcid.gva = GVA(v->exit_info1);
	exit->invpcid.type = v->exit_info2;
}

/* EXITINFO2 of a task switch. APM vol. 2, 15.14.1. */
#define TASK_JMP BIT(38)
#define TASK_ERROR BIT(44)
#define TASK_RF BIT(48)

static void decode_task(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	(void)features;
	exit->task.selector = (uint16_t)v->exit_info1;
	exit->task.iret = v->exit_info2 & SVM_TASK_IRET;
	exit->task.jmp = v->exit_info2 & TASK_JMP;
	exit->task.rf = v->exit_info2 & TASK_RF;
	exit->task.has_error = v->exit_info2 & TASK_ERROR;
	exit->task.error = (uint32_t)v->exit_info2;
}

struct exit_row {
	const char *name;
	enum vm_exit_kind kind;
	decode_fn decode; /* NULL: the kind says it all */
	bool insn;        /* an instruction intercept: the next RIP is its end */
};

#define CR_READ(n) [0x00 + (n)] = { "VMEXIT_CR" #n "_READ", EXIT_CR_READ, decode_cr, true }
#define CR_WRITE(n) [0x10 + (n)] = { "VMEXIT_CR" #n "_WRITE", EXIT_CR_WRITE, decode_cr, true }
#define DR_READ(n) [0x20 + (n)] = { "VMEXIT_DR" #n "_READ", EXIT_DR, NULL, true }
#define DR_WRITE(n) [0x30 + (n)] = { "VMEXIT_DR" #n "_WRITE", EXIT_DR, NULL, true }
#define EXCEPTION(n)                                                                               \
	[SVM_EXIT_EXCEPTION + (n)] = { "VMEXIT_EXCP" #n, EXIT_EXCEPTION, decode_exception, false }
#define SIXTEEN(X)                                                                                 \
	X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13),    \
		X(14), X(15)
#define SIXTEEN_MORE(X)                                                                            \
	X(16), X(17), X(18), X(19), X(20), X(21), X(22), X(23), X(24), X(25), X(26), X(27), X(28), \
		X(29), X(30), X(31)

/* APM vol. 2, App. C. What is never intercepted is EXIT_UNKNOWN with its name. */
static const struct exit_row rows[SVM_EXIT_TABLE] = {
	SIXTEEN(CR_READ),
	SIXTEEN(CR_WRITE),
	SIXTEEN(DR_READ),
	SIXTEEN(DR_WRITE),
	SIXTEEN(EXCEPTION),
	SIXTEEN_MORE(EXCEPTION),
	[0x60] = { "VMEXIT_INTR", EXIT_INTR, NULL, false },
	[0x61] = { "VMEXIT_NMI", EXIT_NMI, NULL, false },
	[0x62] = { "VMEXIT_SMI", EXIT_SMI, NULL, false },
	[0x63] = { "VMEXIT_INIT", EXIT_INIT, NULL, false },
	[0x64] = { "VMEXIT_VINTR", EXIT_INTR_WINDOW, NULL, false },
	[0x65] = { "VMEXIT_CR0_SEL_WRITE", EXIT_UNKNOWN, NULL, true },
	[0x66] = { "VMEXIT_IDTR_READ", EXIT_UNKNOWN, NULL, true },
	[0x67] = { "VMEXIT_GDTR_READ", EXIT_UNKNOWN, NULL, true },
	[0x68] = { "VMEXIT_LDTR_READ", EXIT_UNKNOWN, NULL, true },
	[0x69] = { "VMEXIT_TR_READ", EXIT_UNKNOWN, NULL, true },
	[0x6a] = { "VMEXIT_IDTR_WRITE", EXIT_UNKNOWN, NULL, true },
	[0x6b] = { "VMEXIT_GDTR_WRITE", EXIT_UNKNOWN, NULL, true },
	[0x6c] = { "VMEXIT_LDTR_WRITE", EXIT_UNKNOWN, NULL, true },
	[0x6d] = { "VMEXIT_TR_WRITE", EXIT_UNKNOWN, NULL, true },
	/* QEMU: RDTSCP comes with this code too; the core looks at the instruction. */
	[0x6e] = { "VMEXIT_RDTSC", EXIT_RDTSC, NULL, true },
	[0x6f] = { "VMEXIT_RDPMC", EXIT_RDPMC, NULL, true },
	[0x70] = { "VMEXIT_PUSHF", EXIT_UNKNOWN, NULL, true },
	[0x71] = { "VMEXIT_POPF", EXIT_UNKNOWN, NULL, true },
	[0x72] = { "VMEXIT_CPUID", EXIT_CPUID, NULL, true },
	[0x73] = { "VMEXIT_RSM", EXIT_VIRT_INSN, NULL, true },
	[0x74] = { "VMEXIT_IRET", EXIT_NMI_WINDOW, NULL, false },
	[0x75] = { "VMEXIT_SWINT", EXIT_SOFT_INT, NULL, true },
	[0x76] = { "VMEXIT_INVD", EXIT_INVD, NULL, true },
	[0x77] = { "VMEXIT_PAUSE", EXIT_PAUSE, NULL, true },
	[0x78] = { "VMEXIT_HLT", EXIT_HLT, NULL, true },
	[0x79] = { "VMEXIT_INVLPG", EXIT_INVLPG, decode_invlpg, true },
	[0x7a] = { "VMEXIT_INVLPGA", EXIT_VIRT_INSN, NULL, true },
	[0x7b] = { "VMEXIT_IOIO", EXIT_IO, decode_io, false },
	[0x7c] = { "VMEXIT_MSR", EXIT_RDMSR, decode_msr, true },
	[0x7d] = { "VMEXIT_TASK_SWITCH", EXIT_TASK_SWITCH, decode_task, false },
	[0x7e] = { "VMEXIT_FERR_FREEZE", EXIT_UNKNOWN, NULL, false },
	[0x7f] = { "VMEXIT_SHUTDOWN", EXIT_SHUTDOWN, NULL, false },
	[0x80] = { "VMEXIT_VMRUN", EXIT_VIRT_INSN, NULL, true },
	[0x81] = { "VMEXIT_VMMCALL", EXIT_HYPERCALL, NULL, true },
	[0x82] = { "VMEXIT_VMLOAD", EXIT_VIRT_INSN, NULL, true },
	[0x83] = { "VMEXIT_VMSAVE", EXIT_VIRT_INSN, NULL, true },
	[0x84] = { "VMEXIT_STGI", EXIT_VIRT_INSN, NULL, true },
	[0x85] = { "VMEXIT_CLGI", EXIT_VIRT_INSN, NULL, true },
	[0x86] = { "VMEXIT_SKINIT", EXIT_VIRT_INSN, NULL, true },
	[0x87] = { "VMEXIT_RDTSCP", EXIT_RDTSC, NULL, true },
	[0x88] = { "VMEXIT_ICEBP", EXIT_UNKNOWN, NULL, true },
	[0x89] = { "VMEXIT_WBINVD", EXIT_WBINVD, NULL, true },
	[0x8a] = { "VMEXIT_MONITOR", EXIT_MONITOR, NULL, true },
	[0x8b] = { "VMEXIT_MWAIT", EXIT_MWAIT, NULL, true },
	[0x8c] = { "VMEXIT_MWAIT_CONDITIONAL", EXIT_MWAIT, NULL, true },
	[0x8d] = { "VMEXIT_XSETBV", EXIT_XSETBV, NULL, true },
	[0x8e] = { "VMEXIT_RDPRU", EXIT_VIRT_INSN, NULL, true },
	[0x8f] = { "VMEXIT_EFER_WRITE_TRAP", EXIT_UNKNOWN, NULL, false },
	[0xa2] = { "VMEXIT_INVPCID", EXIT_INVPCID, decode_invpcid, true },
};

static const struct exit_row row_npf = { "VMEXIT_NPF", EXIT_NESTED_FAULT, decode_npf, false };
static const struct exit_row row_invalid = { "VMEXIT_INVALID", EXIT_INVALID_STATE, NULL, false };
static const struct exit_row row_unknown = { "VMEXIT_?", EXIT_UNKNOWN, NULL, false };

static const struct exit_row *exit_row(uint64_t code)
{
	if (code < ARRAY_SIZE(rows) && rows[code].name)
		return &rows[code];
	if (code == SVM_EXIT_NPF)
		return &row_npf;
	return svm_exit_is_invalid(code) ? &row_invalid : &row_unknown;
}

const char *svm_exit_name(uint64_t code)
{
	return exit_row(code)->name;
}

/* Does the exit come with the instruction's bytes? APM vol. 2, 15.8.4. */
static bool has_bytes(uint64_t code)
{
	return code == SVM_EXIT_NPF || code == SVM_EXIT_EXCEPTION + VEC_PF;
}

static void copy_bytes(const struct vmcb *v, struct vm_exit *exit)
{
	exit->nr_bytes = v->nr_bytes & 15;
	memcpy(exit->bytes, v->bytes, sizeof(exit->bytes));
}

void svm_exit_decode(const struct vmcb *v, uint32_t features, struct vm_exit *exit)
{
	const struct exit_row *row = exit_row(v->exit_code);
	uint64_t len = 0;

	exit->kind = row->kind;
	exit->hw_name = row->name;
	exit->raw[0] = v->exit_code;
	exit->raw[1] = v->exit_info1;
	exit->raw[2] = v->exit_info2;
	exit->raw[3] = v->exit_int_info;
	exit->raw[4] = v->nrip;
	if (row->insn && (features & SVM_FEATURE_NRIPS))
		len = v->nrip - v->rip;
	exit->insn_len = len <= VM_EXIT_MAX_INSN ? (uint8_t)len : 0;
	exit->nr_bytes = 0;
	if ((features & SVM_FEATURE_DECODE_ASSISTS) && has_bytes(v->exit_code))
		copy_bytes(v, exit);
	if (v->exit_int_info & EVENT_V)
		exit->interrupted = svm_event_decode(v->exit_int_info);
	else
		exit->interrupted.kind = EVENT_NONE;
	if (row->decode)
		row->decode(v, features, exit);
}
