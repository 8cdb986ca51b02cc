#include "vmx/exit.h"

#include "arch/x86_64/include/fault.h"
#include "vmm/lapic.h"
#include "vmx/event.h"
#include "vmx/vmcs.h"

typedef void (*decode_fn)(const struct vmx_exit_info *info, struct vm_exit *exit);

static unsigned intr_type(uint32_t intr_info)
{
	return (intr_info & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT;
}

/* INT1, INT3, INTO and INT n have a length, which no other event has. SDM vol. 3, 27.2.5. */
static bool is_software(uint32_t intr_info)
{
	return (intr_info & INTR_INFO_VALID) && intr_type(intr_info) >= INTR_TYPE_SOFT_INT;
}

static void set_insn_len(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	exit->insn_len = info->insn_len <= VM_EXIT_MAX_INSN ? (uint8_t)info->insn_len : 0;
}

/* A page fault's address is the qualification; CR2 is the guest's still. SDM vol. 3, 27.2.1. */
static void decode_exception(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	uint8_t vector = (uint8_t)(info->intr_info & INTR_INFO_VECTOR);
	uint32_t error = info->intr_info & INTR_INFO_ERROR ? info->intr_error : 0;

	if (intr_type(info->intr_info) == INTR_TYPE_NMI) {
		exit->kind = EXIT_NMI;
		return;
	}
	if (is_software(info->intr_info))
		set_insn_len(info, exit);
	if (vector == VEC_PF) {
		exit->kind = EXIT_PAGE_FAULT;
		exit->page_fault.gva = GVA(info->qualification);
		exit->page_fault.error = error;
		return;
	}
	exit->exception.vector = vector;
	exit->exception.error = error;
	exit->exception.cr2 = 0;
}

/* SDM vol. 3, table 27-5, and 27-10 for what INS and OUTS add. */
#define QUAL_IO_SIZE BITS(2, 0) /* less 1 */
#define QUAL_IO_IN BIT(3)
#define QUAL_IO_STRING BIT(4)
#define QUAL_IO_REP BIT(5)
#define QUAL_IO_PORT_SHIFT 16
#define INSN_INFO_ADDR_SHIFT 7 /* 9:7: 0, 1, 2 for 16, 32, 64 bits */
#define INSN_INFO_SEG_SHIFT 15 /* 17:15: enum seg_reg; of OUTS */

static void decode_io(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	uint64_t qual = info->qualification;

	exit->io.port = (uint16_t)(qual >> QUAL_IO_PORT_SHIFT);
	exit->io.size = (uint8_t)((qual & QUAL_IO_SIZE) + 1);
	exit->io.in = qual & QUAL_IO_IN;
	exit->io.string = qual & QUAL_IO_STRING;
	exit->io.rep = qual & QUAL_IO_REP;
	exit->io.addr_size = 0;
	exit->io.seg = exit->io.in ? SEG_ES : 0xff;
}

static void decode_io_string(uint32_t insn_info, struct vm_exit *exit)
{
	unsigned addr = insn_info >> INSN_INFO_ADDR_SHIFT & 7;

	exit->io.addr_size = addr <= 2 ? (uint8_t)(2u << addr) : 0;
	if (!exit->io.in)
		exit->io.seg = insn_info >> INSN_INFO_SEG_SHIFT & 7;
}

/* SDM vol. 3, table 27-3. */
#define QUAL_CR_NR BITS(3, 0)
#define QUAL_CR_ACCESS_SHIFT 4 /* 5:4 */
#define QUAL_CR_GPR_SHIFT 8    /* 11:8, in ModRM order */
enum { CR_MOV_TO, CR_MOV_FROM, CR_CLTS, CR_LMSW };

static void decode_cr(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	uint64_t qual = info->qualification;
	unsigned access = qual >> QUAL_CR_ACCESS_SHIFT & 3;

	exit->kind = access == CR_MOV_FROM ? EXIT_CR_READ : EXIT_CR_WRITE;
	exit->cr.nr = qual & QUAL_CR_NR;
	exit->cr.gpr = qual >> QUAL_CR_GPR_SHIFT & 15;
	exit->cr.clts = access == CR_CLTS;
	/* LMSW has its operand anywhere. */
	if (access == CR_CLTS || access == CR_LMSW) {
		exit->cr.nr = 0;
		exit->cr.gpr = VM_EXIT_GPR_UNKNOWN;
	}
}

static void decode_invlpg(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	exit->invlpg.gva = GVA(info->qualification);
	exit->invlpg.known = true;
}

/* Its exit is not asked for: INVPCID goes by what the guest's CPUID says, and is #UD. */
static void decode_invpcid(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	(void)info;
	exit->invpcid.gva = GVA(0);
	exit->invpcid.type = 0;
}

/* SDM vol. 3, table 27-2. */
#define QUAL_TASK_SOURCE_SHIFT 30 /* 31:30 */
enum { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };

static void decode_task(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	unsigned source = info->qualification >> QUAL_TASK_SOURCE_SHIFT & 3;

	exit->task.selector = (uint16_t)info->qualification;
	exit->task.iret = source == TASK_IRET;
	exit->task.jmp = source == TASK_JMP;
	/* RF is saved as the old TSS is to have it: SDM vol. 3, 27.3.3. */
	exit->task.rf = info->rf;
	exit->task.has_error = source == TASK_GATE && exit->interrupted.has_error;
	exit->task.error = exit->task.has_error ? exit->interrupted.error : 0;
	if (source != TASK_GATE || is_software(info->vectoring_info))
		set_insn_len(info, exit);
}

/* SDM vol. 3, table 27-7. */
#define QUAL_EPT_READ BIT(0)
#define QUAL_EPT_WRITE BIT(1)
#define QUAL_EPT_FETCH BIT(2)
#define QUAL_EPT_RIGHTS BITS(5, 3) /* what the tables let through */
#define QUAL_EPT_LINEAR BIT(7)     /* the access has a linear address */
#define QUAL_EPT_FINAL BIT(8)      /* and is to what it translates to, not on the walk there */

static void decode_ept_violation(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	uint64_t qual = info->qualification;

	exit->nested.gpa = GPA(info->gpa);
	exit->nested.read = qual & QUAL_EPT_READ;
	exit->nested.write = qual & QUAL_EPT_WRITE;
	exit->nested.fetch = qual & QUAL_EPT_FETCH;
	exit->nested.present = qual & QUAL_EPT_RIGHTS;
	exit->nested.table_walk = (qual & QUAL_EPT_LINEAR) && !(qual & QUAL_EPT_FINAL);
}

/* SDM vol. 3, table 27-6. */
#define QUAL_APIC_OFFSET BITS(11, 0)
#define QUAL_APIC_TYPE_SHIFT 12 /* 15:12 */
enum {
	APIC_READ,
	APIC_WRITE,
	APIC_FETCH,
	APIC_DELIVERY,            /* of an event; which way, it does not tell */
	APIC_GUEST_PHYSICAL = 10, /* and beyond: to the guest's tables, offset unknown */
};

/* It is the page where every local APIC is that the processor answers for: vm->apic_page. */
static void decode_apic_access(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	unsigned type = info->qualification >> QUAL_APIC_TYPE_SHIFT & 15;

	exit->nested.gpa = GPA(LAPIC_BASE | (info->qualification & QUAL_APIC_OFFSET));
	exit->nested.read = type == APIC_READ || type == APIC_DELIVERY;
	exit->nested.write = type == APIC_WRITE;
	exit->nested.fetch = type == APIC_FETCH;
	exit->nested.present = false;
	exit->nested.table_walk = type >= APIC_GUEST_PHYSICAL;
}

static void decode_apic_eoi(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	exit->apic.vector = (uint8_t)info->qualification;
}

static void decode_apic_write(const struct vmx_exit_info *info, struct vm_exit *exit)
{
	exit->apic.off = info->qualification & QUAL_APIC_OFFSET;
	exit->apic.page = NULL; /* vmx_run() knows it */
}

#define QUAL VMX_NEEDS_QUALIFICATION
#define INTR VMX_NEEDS_INTR_INFO
#define GPADDR VMX_NEEDS_GPA
#define INSN_INFO VMX_NEEDS_INSN_INFO

struct exit_row {
	const char *name;
	enum vm_exit_kind kind;
	decode_fn decode; /* NULL: the kind says it all */
	uint8_t needs;
	bool insn; /* an instruction's own exit, with its length: SDM vol. 3, 27.2.5 */
};

/* SDM vol. 3, appendix C. What is never asked to exit is EXIT_UNKNOWN with its name. */
static const struct exit_row rows[] = {
	[0] = { "EXCEPTION_NMI", EXIT_EXCEPTION, decode_exception, QUAL | INTR, false },
	[1] = { "EXTERNAL_INTERRUPT", EXIT_INTR, NULL, INTR, false },
	[2] = { "TRIPLE_FAULT", EXIT_SHUTDOWN, NULL, 0, false },
	[3] = { "INIT", EXIT_INIT, NULL, 0, false },
	[4] = { "SIPI", EXIT_UNKNOWN, NULL, QUAL, false },
	[5] = { "IO_SMI", EXIT_SMI, NULL, QUAL, false },
	[6] = { "OTHER_SMI", EXIT_SMI, NULL, 0, false },
	[7] = { "INTERRUPT_WINDOW", EXIT_INTR_WINDOW, NULL, 0, false },
	[8] = { "NMI_WINDOW", EXIT_NMI_WINDOW, NULL, 0, false },
	[9] = { "TASK_SWITCH", EXIT_TASK_SWITCH, decode_task, QUAL, false },
	[10] = { "CPUID", EXIT_CPUID, NULL, 0, true },
	[11] = { "GETSEC", EXIT_VIRT_INSN, NULL, 0, true },
	[12] = { "HLT", EXIT_HLT, NULL, 0, true },
	[13] = { "INVD", EXIT_INVD, NULL, 0, true },
	[14] = { "INVLPG", EXIT_INVLPG, decode_invlpg, QUAL, true },
	[15] = { "RDPMC", EXIT_RDPMC, NULL, 0, true },
	[16] = { "RDTSC", EXIT_RDTSC, NULL, 0, true },
	[17] = { "RSM", EXIT_VIRT_INSN, NULL, 0, true },
	[18] = { "VMCALL", EXIT_HYPERCALL, NULL, 0, true },
	[19] = { "VMCLEAR", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[20] = { "VMLAUNCH", EXIT_VIRT_INSN, NULL, 0, true },
	[21] = { "VMPTRLD", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[22] = { "VMPTRST", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[23] = { "VMREAD", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[24] = { "VMRESUME", EXIT_VIRT_INSN, NULL, 0, true },
	[25] = { "VMWRITE", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[26] = { "VMXOFF", EXIT_VIRT_INSN, NULL, 0, true },
	[27] = { "VMXON", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[28] = { "CR_ACCESS", EXIT_CR_WRITE, decode_cr, QUAL, true },
	[29] = { "MOV_DR", EXIT_DR, NULL, QUAL, true },
	[30] = { "IO", EXIT_IO, decode_io, QUAL | INSN_INFO, true },
	[31] = { "RDMSR", EXIT_RDMSR, NULL, 0, true },
	[32] = { "WRMSR", EXIT_WRMSR, NULL, 0, true },
	[33] = { "ENTRY_FAILED_GUEST_STATE", EXIT_INVALID_STATE, NULL, QUAL, false },
	[34] = { "ENTRY_FAILED_MSR_LOADING", EXIT_INVALID_STATE, NULL, QUAL, false },
	[36] = { "MWAIT", EXIT_MWAIT, NULL, QUAL, true },
	[37] = { "MONITOR_TRAP_FLAG", EXIT_UNKNOWN, NULL, 0, false },
	[39] = { "MONITOR", EXIT_MONITOR, NULL, 0, true },
	[40] = { "PAUSE", EXIT_PAUSE, NULL, 0, true },
	[41] = { "ENTRY_FAILED_MACHINE_CHECK", EXIT_INVALID_STATE, NULL, 0, false },
	[43] = { "TPR_BELOW_THRESHOLD", EXIT_INTR_WINDOW, NULL, 0, false },
	[44] = { "APIC_ACCESS", EXIT_NESTED_FAULT, decode_apic_access, QUAL, false },
	[45] = { "VIRTUALIZED_EOI", EXIT_APIC_EOI, decode_apic_eoi, QUAL, false },
	[46] = { "GDTR_IDTR_ACCESS", EXIT_UNKNOWN, NULL, QUAL | INSN_INFO, true },
	[47] = { "LDTR_TR_ACCESS", EXIT_UNKNOWN, NULL, QUAL | INSN_INFO, true },
	[48] = { "EPT_VIOLATION", EXIT_NESTED_FAULT, decode_ept_violation, QUAL | GPADDR, false },
	[49] = { "EPT_MISCONFIGURATION", EXIT_UNKNOWN, NULL, GPADDR, false },
	[50] = { "INVEPT", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[51] = { "RDTSCP", EXIT_RDTSC, NULL, 0, true },
	[52] = { "PREEMPTION_TIMER", EXIT_TIMER, NULL, 0, false },
	[53] = { "INVVPID", EXIT_VIRT_INSN, NULL, QUAL | INSN_INFO, true },
	[54] = { "WBINVD", EXIT_WBINVD, NULL, 0, true },
	[55] = { "XSETBV", EXIT_XSETBV, NULL, 0, true },
	[56] = { "APIC_WRITE", EXIT_APIC_WRITE, decode_apic_write, QUAL, false },
	[57] = { "RDRAND", EXIT_UNKNOWN, NULL, INSN_INFO, true },
	[58] = { "INVPCID", EXIT_INVPCID, decode_invpcid, QUAL | INSN_INFO, true },
	[59] = { "VMFUNC", EXIT_VIRT_INSN, NULL, 0, true },
	[60] = { "ENCLS", EXIT_UNKNOWN, NULL, 0, true },
	[61] = { "RDSEED", EXIT_UNKNOWN, NULL, INSN_INFO, true },
	[62] = { "PAGE_MODIFICATION_LOG_FULL", EXIT_UNKNOWN, NULL, QUAL, false },
	[63] = { "XSAVES", EXIT_UNKNOWN, NULL, QUAL | INSN_INFO, true },
	[64] = { "XRSTORS", EXIT_UNKNOWN, NULL, QUAL | INSN_INFO, true },
	[65] = { "PCONFIG", EXIT_UNKNOWN, NULL, 0, true },
	[66] = { "SPP_EVENT", EXIT_UNKNOWN, NULL, QUAL | GPADDR, false },
	[67] = { "UMWAIT", EXIT_UNKNOWN, NULL, INSN_INFO, true },
	[68] = { "TPAUSE", EXIT_UNKNOWN, NULL, INSN_INFO, true },
	[69] = { "LOADIWKEY", EXIT_UNKNOWN, NULL, INSN_INFO, true },
};

static const struct exit_row row_unknown = { "?", EXIT_UNKNOWN, NULL, 0, false };

static const struct exit_row *exit_row(uint32_t reason)
{
	unsigned basic = reason & EXIT_REASON_BASIC;

	return basic < ARRAY_SIZE(rows) && rows[basic].name ? &rows[basic] : &row_unknown;
}

unsigned vmx_exit_needs(uint32_t reason)
{
	return exit_row(reason)->needs;
}

const char *vmx_exit_name(uint32_t reason)
{
	return exit_row(reason)->name;
}

void vmx_exit_decode(const struct vmx_exit_info *info, bool insn_info_io, struct vm_exit *exit)
{
	const struct exit_row *row = exit_row(info->reason);

	exit->kind = row->kind;
	exit->hw_name = row->name;
	exit->raw[0] = info->reason;
	exit->raw[1] = info->qualification;
	exit->raw[2] = info->intr_info;
	exit->raw[3] = info->vectoring_info;
	exit->raw[4] = info->insn_info;
	exit->nr_bytes = 0;
	exit->insn_len = 0;
	if (info->reason & EXIT_REASON_ENTRY_FAILED) {
		/* Nothing of the guest was begun, and the event is as it was. */
		exit->kind = EXIT_INVALID_STATE;
		exit->interrupted = (struct vm_event){ .kind = EVENT_NONE };
		return;
	}
	if (row->insn)
		set_insn_len(info, exit);
	exit->interrupted =
		vmx_event_decode(info->vectoring_info, info->vectoring_error, info->insn_len);
	if (row->decode)
		row->decode(info, exit);
	if (exit->kind == EXIT_IO && exit->io.string && insn_info_io)
		decode_io_string(info->insn_info, exit);
}
