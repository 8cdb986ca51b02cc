/* VMX's exit reasons and the information that comes with them, as neutral exits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/fault.h"
#include "vmx/exit.h"

#define VALID 0x80000000u

static struct vmx_exit_info info;
static struct vm_exit out;

/* Decode an exit with this reason and qualification; the rest of info as it is. */
static void decode_with(uint32_t reason, uint64_t qualification, bool insn_info_io)
{
	memset(&out, 0xa5, sizeof(out));
	info.reason = reason;
	info.qualification = qualification;
	vmx_exit_decode(&info, insn_info_io, &out);
}

static void decode(uint32_t reason, uint64_t qualification)
{
	decode_with(reason, qualification, true);
}

static int setup(void **state)
{
	(void)state;
	info = (struct vmx_exit_info){ .insn_len = 2 };
	return 0;
}

#define Q VMX_NEEDS_QUALIFICATION
#define I VMX_NEEDS_INSN_INFO
#define G VMX_NEEDS_GPA

/* What is expected of each reason: its length counts when len is set. */
static const struct row {
	unsigned reason;
	const char *name;
	enum vm_exit_kind kind;
	unsigned needs;
	bool len;
} rows[] = {
	{ 0, "EXCEPTION_NMI", EXIT_EXCEPTION, Q | VMX_NEEDS_INTR_INFO, false },
	{ 1, "EXTERNAL_INTERRUPT", EXIT_INTR, VMX_NEEDS_INTR_INFO, false },
	{ 2, "TRIPLE_FAULT", EXIT_SHUTDOWN, 0, false },
	{ 3, "INIT", EXIT_INIT, 0, false },
	{ 4, "SIPI", EXIT_UNKNOWN, Q, false },
	{ 5, "IO_SMI", EXIT_SMI, Q, false },
	{ 6, "OTHER_SMI", EXIT_SMI, 0, false },
	{ 7, "INTERRUPT_WINDOW", EXIT_INTR_WINDOW, 0, false },
	{ 8, "NMI_WINDOW", EXIT_NMI_WINDOW, 0, false },
	{ 9, "TASK_SWITCH", EXIT_TASK_SWITCH, Q, true },
	{ 10, "CPUID", EXIT_CPUID, 0, true },
	{ 11, "GETSEC", EXIT_VIRT_INSN, 0, true },
	{ 12, "HLT", EXIT_HLT, 0, true },
	{ 13, "INVD", EXIT_INVD, 0, true },
	{ 14, "INVLPG", EXIT_INVLPG, Q, true },
	{ 15, "RDPMC", EXIT_RDPMC, 0, true },
	{ 16, "RDTSC", EXIT_RDTSC, 0, true },
	{ 17, "RSM", EXIT_VIRT_INSN, 0, true },
	{ 18, "VMCALL", EXIT_HYPERCALL, 0, true },
	{ 19, "VMCLEAR", EXIT_VIRT_INSN, Q | I, true },
	{ 20, "VMLAUNCH", EXIT_VIRT_INSN, 0, true },
	{ 21, "VMPTRLD", EXIT_VIRT_INSN, Q | I, true },
	{ 22, "VMPTRST", EXIT_VIRT_INSN, Q | I, true },
	{ 23, "VMREAD", EXIT_VIRT_INSN, Q | I, true },
	{ 24, "VMRESUME", EXIT_VIRT_INSN, 0, true },
	{ 25, "VMWRITE", EXIT_VIRT_INSN, Q | I, true },
	{ 26, "VMXOFF", EXIT_VIRT_INSN, 0, true },
	{ 27, "VMXON", EXIT_VIRT_INSN, Q | I, true },
	{ 28, "CR_ACCESS", EXIT_CR_WRITE, Q, true },
	{ 29, "MOV_DR", EXIT_DR, Q, true },
	{ 30, "IO", EXIT_IO, Q | I, true },
	{ 31, "RDMSR", EXIT_RDMSR, 0, true },
	{ 32, "WRMSR", EXIT_WRMSR, 0, true },
	{ 33, "ENTRY_FAILED_GUEST_STATE", EXIT_INVALID_STATE, Q, false },
	{ 34, "ENTRY_FAILED_MSR_LOADING", EXIT_INVALID_STATE, Q, false },
	{ 35, "?", EXIT_UNKNOWN, 0, false },
	{ 36, "MWAIT", EXIT_MWAIT, Q, true },
	{ 37, "MONITOR_TRAP_FLAG", EXIT_UNKNOWN, 0, false },
	{ 38, "?", EXIT_UNKNOWN, 0, false },
	{ 39, "MONITOR", EXIT_MONITOR, 0, true },
	{ 40, "PAUSE", EXIT_PAUSE, 0, true },
	{ 41, "ENTRY_FAILED_MACHINE_CHECK", EXIT_INVALID_STATE, 0, false },
	{ 42, "?", EXIT_UNKNOWN, 0, false },
	{ 43, "TPR_BELOW_THRESHOLD", EXIT_INTR_WINDOW, 0, false },
	{ 44, "APIC_ACCESS", EXIT_NESTED_FAULT, Q, false },
	{ 45, "VIRTUALIZED_EOI", EXIT_APIC_EOI, Q, false },
	{ 46, "GDTR_IDTR_ACCESS", EXIT_UNKNOWN, Q | I, true },
	{ 47, "LDTR_TR_ACCESS", EXIT_UNKNOWN, Q | I, true },
	{ 48, "EPT_VIOLATION", EXIT_NESTED_FAULT, Q | G, false },
	{ 49, "EPT_MISCONFIGURATION", EXIT_UNKNOWN, G, false },
	{ 50, "INVEPT", EXIT_VIRT_INSN, Q | I, true },
	{ 51, "RDTSCP", EXIT_RDTSC, 0, true },
	{ 52, "PREEMPTION_TIMER", EXIT_TIMER, 0, false },
	{ 53, "INVVPID", EXIT_VIRT_INSN, Q | I, true },
	{ 54, "WBINVD", EXIT_WBINVD, 0, true },
	{ 55, "XSETBV", EXIT_XSETBV, 0, true },
	{ 56, "APIC_WRITE", EXIT_APIC_WRITE, Q, false },
	{ 57, "RDRAND", EXIT_UNKNOWN, I, true },
	{ 58, "INVPCID", EXIT_INVPCID, Q | I, true },
	{ 59, "VMFUNC", EXIT_VIRT_INSN, 0, true },
	{ 60, "ENCLS", EXIT_UNKNOWN, 0, true },
	{ 61, "RDSEED", EXIT_UNKNOWN, I, true },
	{ 62, "PAGE_MODIFICATION_LOG_FULL", EXIT_UNKNOWN, Q, false },
	{ 63, "XSAVES", EXIT_UNKNOWN, Q | I, true },
	{ 64, "XRSTORS", EXIT_UNKNOWN, Q | I, true },
	{ 65, "PCONFIG", EXIT_UNKNOWN, 0, true },
	{ 66, "SPP_EVENT", EXIT_UNKNOWN, Q | G, false },
	{ 67, "UMWAIT", EXIT_UNKNOWN, I, true },
	{ 68, "TPAUSE", EXIT_UNKNOWN, I, true },
	{ 69, "LOADIWKEY", EXIT_UNKNOWN, I, true },
	{ 70, "?", EXIT_UNKNOWN, 0, false },
	{ 0xffff, "?", EXIT_UNKNOWN, 0, false },
};

static void test_reasons(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		decode(rows[i].reason, 0);
		assert_string_equal(out.hw_name, rows[i].name);
		assert_int_equal(out.kind, rows[i].kind);
		assert_int_equal(out.insn_len, rows[i].len ? 2 : 0);
		assert_int_equal(out.nr_bytes, 0);
		assert_int_equal(out.interrupted.kind, EVENT_NONE);
		assert_string_equal(vmx_exit_name(rows[i].reason), rows[i].name);
		assert_int_equal(vmx_exit_needs(rows[i].reason), rows[i].needs);
	}
	/* Bits above the basic reason do not change it. */
	decode(BIT(27) | 10, 0);
	assert_int_equal(out.kind, EXIT_CPUID);
}

/* Reasons 0 to 69 are all in the list, one after the other. */
static void test_no_reason_left_out(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 70; i++)
		assert_int_equal(rows[i].reason, i);
}

static void test_raw_words(void **state)
{
	(void)state;
	info.intr_info = 0x111;
	info.vectoring_info = 0x222;
	info.insn_info = 0x333;
	decode(BIT(29) | 12, 0x444);
	assert_int_equal(out.raw[0], BIT(29) | 12);
	assert_int_equal(out.raw[1], 0x444);
	assert_int_equal(out.raw[2], 0x111);
	assert_int_equal(out.raw[3], 0x222);
	assert_int_equal(out.raw[4], 0x333);
}

/* No exit of the guest's: nothing was delivered, and what vectoring information holds is old. */
static void test_failed_entry(void **state)
{
	static const unsigned reasons[] = { 33, 34, 41, 10, 48, 99 };

	(void)state;
	info.vectoring_info = VALID | 0x30;
	for (unsigned i = 0; i < ARRAY_SIZE(reasons); i++) {
		decode((uint32_t)(BIT(31) | reasons[i]), 2);
		assert_int_equal(out.kind, EXIT_INVALID_STATE);
		assert_string_equal(out.hw_name, vmx_exit_name(reasons[i]));
		assert_int_equal(out.interrupted.kind, EVENT_NONE);
		assert_int_equal(out.insn_len, 0);
		assert_int_equal(out.raw[0], BIT(31) | reasons[i]);
	}
}

static void test_insn_len(void **state)
{
	(void)state;
	info.insn_len = 15;
	decode(10, 0);
	assert_int_equal(out.insn_len, 15);
	info.insn_len = 16; /* no instruction is that long */
	decode(10, 0);
	assert_int_equal(out.insn_len, 0);
	info.insn_len = 0x102;
	decode(10, 0);
	assert_int_equal(out.insn_len, 0);
}

static void test_exceptions(void **state)
{
	(void)state;
	info.intr_info = VALID | 0x202;
	decode(0, 0);
	assert_int_equal(out.kind, EXIT_NMI);
	info.intr_info = VALID | 0xb0d;
	info.intr_error = 0x58;
	decode(0, 0);
	assert_int_equal(out.kind, EXIT_EXCEPTION);
	assert_int_equal(out.exception.vector, VEC_GP);
	assert_int_equal(out.exception.error, 0x58);
	assert_int_equal(out.insn_len, 0);
	/* Without an error code the field holds an older one. */
	info.intr_info = VALID | 0x312;
	decode(0, 0);
	assert_int_equal(out.exception.vector, VEC_MC);
	assert_int_equal(out.exception.error, 0);
	/* A machine check may well have vector 2 as a hardware exception's: type decides. */
	info.intr_info = VALID | 0x302;
	decode(0, 0);
	assert_int_equal(out.kind, EXIT_EXCEPTION);
	/* INT1 and INT3: their length counts. */
	info.insn_len = 1;
	info.intr_info = VALID | 0x501;
	decode(0, 0);
	assert_int_equal(out.kind, EXIT_EXCEPTION);
	assert_int_equal(out.exception.vector, VEC_DB);
	assert_int_equal(out.insn_len, 1);
	info.intr_info = VALID | 0x603;
	decode(0, 0);
	assert_int_equal(out.exception.vector, VEC_BP);
	assert_int_equal(out.insn_len, 1);
}

static void test_page_fault(void **state)
{
	(void)state;
	info.intr_info = VALID | 0xb0e;
	info.intr_error = PF_P | PF_W;
	info.vectoring_info = VALID | 0x021;
	decode(0, 0xffff800000001234);
	assert_int_equal(out.kind, EXIT_PAGE_FAULT);
	assert_int_equal(out.page_fault.gva.v, 0xffff800000001234);
	assert_int_equal(out.page_fault.error, PF_P | PF_W);
	assert_int_equal(out.insn_len, 0);
	assert_int_equal(out.interrupted.kind, EVENT_INTR);
	assert_int_equal(out.interrupted.vector, 0x21);
}

static void test_interrupted(void **state)
{
	(void)state;
	info.vectoring_info = VALID | 0xb0e;
	info.vectoring_error = 6;
	decode(48, BIT(0));
	assert_int_equal(out.interrupted.kind, EVENT_EXCEPTION);
	assert_int_equal(out.interrupted.vector, VEC_PF);
	assert_int_equal(out.interrupted.error, 6);
	/* INT n: the length is for its delivery; the exit has none. */
	info.vectoring_info = VALID | 0x480;
	info.insn_len = 3;
	decode(48, BIT(0));
	assert_int_equal(out.interrupted.kind, EVENT_SOFT_INT);
	assert_int_equal(out.interrupted.insn_len, 3);
	assert_int_equal(out.insn_len, 0);
}

static void test_io(void **state)
{
	(void)state;
	decode(30, 0x3f8 << 16); /* OUT DX, AL */
	assert_int_equal(out.io.port, 0x3f8);
	assert_int_equal(out.io.size, 1);
	assert_false(out.io.in);
	assert_false(out.io.string);
	assert_false(out.io.rep);
	assert_int_equal(out.io.addr_size, 0);
	assert_int_equal(out.io.seg, 0xff);
	decode(30, 0xcfcull << 16 | BIT(6) | BIT(3) | 3); /* IN EAX, imm8 */
	assert_int_equal(out.io.port, 0xcfc);
	assert_int_equal(out.io.size, 4);
	assert_true(out.io.in);
	decode(30, 0xffffull << 16 | 1);
	assert_int_equal(out.io.port, 0xffff);
	assert_int_equal(out.io.size, 2);
}

static void test_io_string(void **state)
{
	(void)state;
	/* REP OUTSW from FS, 64-bit addresses. */
	info.insn_info = 2 << 7 | 4 << 15;
	decode(30, 0x1f0 << 16 | BIT(5) | BIT(4) | 1);
	assert_true(out.io.string);
	assert_true(out.io.rep);
	assert_int_equal(out.io.addr_size, 8);
	assert_int_equal(out.io.seg, SEG_FS);
	/* INSB with 16-bit addresses: ES, whatever the field holds. */
	info.insn_info = 0 << 7 | 5 << 15;
	decode(30, 0x1f0 << 16 | BIT(4) | BIT(3));
	assert_int_equal(out.io.addr_size, 2);
	assert_int_equal(out.io.seg, SEG_ES);
	info.insn_info = 1 << 7 | 3 << 15;
	decode(30, 0x1f0 << 16 | BIT(4));
	assert_int_equal(out.io.addr_size, 4);
	assert_int_equal(out.io.seg, SEG_DS);
	info.insn_info = 3 << 7; /* reserved */
	decode(30, 0x1f0 << 16 | BIT(4));
	assert_int_equal(out.io.addr_size, 0);
	/* A CPU that does not tell. */
	info.insn_info = 2 << 7 | 4 << 15;
	decode_with(30, 0x1f0 << 16 | BIT(4), false);
	assert_int_equal(out.io.addr_size, 0);
	assert_int_equal(out.io.seg, 0xff);
	decode_with(30, 0x1f0 << 16 | BIT(4) | BIT(3), false);
	assert_int_equal(out.io.addr_size, 0);
	assert_int_equal(out.io.seg, SEG_ES);
	/* Nor is there anything to tell of a plain one. */
	decode(30, 0x1f0 << 16);
	assert_int_equal(out.io.addr_size, 0);
	assert_int_equal(out.io.seg, 0xff);
}

static void test_cr(void **state)
{
	(void)state;
	decode(28, 10 << 8 | 0 << 4 | 4); /* MOV CR4, R10 */
	assert_int_equal(out.kind, EXIT_CR_WRITE);
	assert_int_equal(out.cr.nr, 4);
	assert_int_equal(out.cr.gpr, 10);
	assert_false(out.cr.clts);
	decode(28, 1 << 4 | 3); /* MOV RAX, CR3 */
	assert_int_equal(out.kind, EXIT_CR_READ);
	assert_int_equal(out.cr.nr, 3);
	assert_int_equal(out.cr.gpr, 0);
	assert_false(out.cr.clts);
	decode(28, 15 << 8 | 8);
	assert_int_equal(out.cr.nr, 8);
	assert_int_equal(out.cr.gpr, 15);
	decode(28, 2 << 4);
	assert_int_equal(out.kind, EXIT_CR_WRITE);
	assert_int_equal(out.cr.nr, 0);
	assert_true(out.cr.clts);
	assert_int_equal(out.insn_len, 2);
	decode(28, 0xfeedull << 16 | BIT(6) | 3 << 4); /* LMSW from memory */
	assert_int_equal(out.kind, EXIT_CR_WRITE);
	assert_int_equal(out.cr.nr, 0);
	assert_int_equal(out.cr.gpr, VM_EXIT_GPR_UNKNOWN);
	assert_false(out.cr.clts);
}

static void test_task_instructions(void **state)
{
	(void)state;
	info.insn_len = 7;
	decode(9, 0x28); /* CALL */
	assert_int_equal(out.kind, EXIT_TASK_SWITCH);
	assert_int_equal(out.task.selector, 0x28);
	assert_false(out.task.iret);
	assert_false(out.task.jmp);
	assert_false(out.task.rf);
	assert_false(out.task.has_error);
	assert_int_equal(out.insn_len, 7);
	decode(9, 1ull << 30 | 0xfff0); /* IRET */
	assert_int_equal(out.task.selector, 0xfff0);
	assert_true(out.task.iret);
	assert_false(out.task.jmp);
	decode(9, 2ull << 30 | 0x30); /* JMP */
	assert_false(out.task.iret);
	assert_true(out.task.jmp);
	assert_int_equal(out.insn_len, 7);
}

static void test_task_gates(void **state)
{
	(void)state;
	info.insn_len = 2;
	info.rf = true;
	info.vectoring_info = VALID | 0xb0d;
	info.vectoring_error = 0x50;
	decode(9, 3ull << 30 | 0x30); /* #GP */
	assert_false(out.task.iret);
	assert_false(out.task.jmp);
	assert_true(out.task.rf);
	assert_true(out.task.has_error);
	assert_int_equal(out.task.error, 0x50);
	assert_int_equal(out.insn_len, 0);
	assert_int_equal(out.interrupted.kind, EVENT_EXCEPTION);
	info.vectoring_info = VALID | 0x202; /* NMI */
	decode(9, 3ull << 30 | 0x30);
	assert_false(out.task.has_error);
	assert_int_equal(out.insn_len, 0);
	info.vectoring_info = VALID | 0x480; /* INT n */
	decode(9, 3ull << 30 | 0x30);
	assert_false(out.task.has_error);
	assert_int_equal(out.insn_len, 2);
	assert_int_equal(out.interrupted.kind, EVENT_SOFT_INT);
	info.vectoring_info = VALID | 0x603; /* INT3 */
	info.insn_len = 1;
	decode(9, 3ull << 30 | 0x30);
	assert_int_equal(out.insn_len, 1);
	assert_int_equal(out.interrupted.kind, EVENT_SOFT_EXC);
}

static void test_ept_violation(void **state)
{
	(void)state;
	info.gpa = 0xfee00040;
	decode(48, BIT(8) | BIT(7) | BIT(1));
	assert_int_equal(out.nested.gpa.v, 0xfee00040);
	assert_false(out.nested.read);
	assert_true(out.nested.write);
	assert_false(out.nested.fetch);
	assert_false(out.nested.present);
	assert_false(out.nested.table_walk);
	decode(48, BIT(8) | BIT(7) | BIT(0));
	assert_true(out.nested.read);
	assert_false(out.nested.write);
	decode(48, BIT(8) | BIT(7) | BIT(2));
	assert_true(out.nested.fetch);
	/* Each right alone is a translation that is there. */
	for (unsigned bit = 3; bit <= 5; bit++) {
		decode(48, BIT(bit) | BIT(1));
		assert_true(out.nested.present);
	}
	decode(48, BIT(6) | BIT(2) | BIT(1) | BIT(0));
	assert_false(out.nested.present);
	/* On the walk of the guest's own tables. */
	decode(48, BIT(7) | BIT(0));
	assert_true(out.nested.table_walk);
	/* No linear address: bit 8 means nothing. A load of PDPTEs. */
	decode(48, BIT(0));
	assert_false(out.nested.table_walk);
}

/* Data, code, an event's delivery; the guest's own tables. SDM vol. 3, table 27-6. */
static void test_apic_access(void **state)
{
	static const struct {
		unsigned type;
		bool read, write, fetch, walk;
	} rows_of_types[] = {
		{ 0, true, false, false, false },  { 1, false, true, false, false },
		{ 2, false, false, true, false },  { 3, true, false, false, false },
		{ 10, false, false, false, true }, { 15, false, false, false, true },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows_of_types); i++) {
		decode(44, 0xffff0000 | rows_of_types[i].type << 12 | 0x3e0);
		assert_int_equal(out.nested.gpa.v, 0xfee003e0);
		assert_int_equal(out.nested.read, rows_of_types[i].read);
		assert_int_equal(out.nested.write, rows_of_types[i].write);
		assert_int_equal(out.nested.fetch, rows_of_types[i].fetch);
		assert_int_equal(out.nested.table_walk, rows_of_types[i].walk);
		assert_false(out.nested.present);
	}
}

static void test_apic_traps(void **state)
{
	(void)state;
	decode(45, 0xe5);
	assert_int_equal(out.apic.vector, 0xe5);
	decode(56, 0x300);
	assert_int_equal(out.apic.off, 0x300);
}

static void test_small_kinds(void **state)
{
	(void)state;
	decode(14, 0xffff800000001000);
	assert_true(out.invlpg.known);
	assert_int_equal(out.invlpg.gva.v, 0xffff800000001000);
	decode(58, 0x5000);
	assert_int_equal(out.invpcid.gva.v, 0);
	assert_int_equal(out.invpcid.type, 0);
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_reasons),     CASE(test_no_reason_left_out),
		CASE(test_raw_words),   CASE(test_failed_entry),
		CASE(test_insn_len),    CASE(test_exceptions),
		CASE(test_page_fault),  CASE(test_interrupted),
		CASE(test_io),          CASE(test_io_string),
		CASE(test_cr),          CASE(test_task_instructions),
		CASE(test_task_gates),  CASE(test_ept_violation),
		CASE(test_small_kinds), CASE(test_apic_access),
		CASE(test_apic_traps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
