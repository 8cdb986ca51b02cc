/* SVM's exit codes and information words, event words, permission maps, VMRUN's rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/include/msr.h"
#include "svm/check.h"
#include "svm/event.h"
#include "svm/exit.h"
#include "svm/features.h"
#include "svm/perm.h"

#define ALL_FEATURES (~0u)

static struct vmcb vmcb;
static struct vm_exit out;

/* Decode an exit with this code and information, RIP at 0x1000. */
static void decode(uint64_t code, uint64_t info1, uint64_t info2, uint32_t features)
{
	memset(&vmcb, 0, sizeof(vmcb));
	memset(&out, 0xa5, sizeof(out));
	vmcb.exit_code = code;
	vmcb.exit_info1 = info1;
	vmcb.exit_info2 = info2;
	vmcb.rip = 0x1000;
	vmcb.nrip = 0x1002;
	svm_exit_decode(&vmcb, features, &out);
}

static void test_codes(void **state)
{
	static const struct {
		uint64_t code;
		enum vm_exit_kind kind;
		const char *name;
	} rows[] = {
		{ 0x000, EXIT_CR_READ, "VMEXIT_CR0_READ" },
		{ 0x018, EXIT_CR_WRITE, "VMEXIT_CR8_WRITE" },
		{ 0x02f, EXIT_DR, "VMEXIT_DR15_READ" },
		{ 0x04e, EXIT_PAGE_FAULT, "VMEXIT_EXCP14" },
		{ 0x05f, EXIT_EXCEPTION, "VMEXIT_EXCP31" },
		{ 0x060, EXIT_INTR, "VMEXIT_INTR" },
		{ 0x061, EXIT_NMI, "VMEXIT_NMI" },
		{ 0x062, EXIT_SMI, "VMEXIT_SMI" },
		{ 0x063, EXIT_INIT, "VMEXIT_INIT" },
		{ 0x064, EXIT_INTR_WINDOW, "VMEXIT_VINTR" },
		{ 0x06e, EXIT_RDTSC, "VMEXIT_RDTSC" },
		{ 0x06f, EXIT_RDPMC, "VMEXIT_RDPMC" },
		{ 0x072, EXIT_CPUID, "VMEXIT_CPUID" },
		{ 0x074, EXIT_NMI_WINDOW, "VMEXIT_IRET" },
		{ 0x076, EXIT_INVD, "VMEXIT_INVD" },
		{ 0x077, EXIT_PAUSE, "VMEXIT_PAUSE" },
		{ 0x078, EXIT_HLT, "VMEXIT_HLT" },
		{ 0x079, EXIT_INVLPG, "VMEXIT_INVLPG" },
		{ 0x07a, EXIT_VIRT_INSN, "VMEXIT_INVLPGA" },
		{ 0x07b, EXIT_IO, "VMEXIT_IOIO" },
		{ 0x07d, EXIT_TASK_SWITCH, "VMEXIT_TASK_SWITCH" },
		{ 0x07f, EXIT_SHUTDOWN, "VMEXIT_SHUTDOWN" },
		{ 0x080, EXIT_VIRT_INSN, "VMEXIT_VMRUN" },
		{ 0x081, EXIT_HYPERCALL, "VMEXIT_VMMCALL" },
		{ 0x086, EXIT_VIRT_INSN, "VMEXIT_SKINIT" },
		{ 0x087, EXIT_RDTSC, "VMEXIT_RDTSCP" },
		{ 0x089, EXIT_WBINVD, "VMEXIT_WBINVD" },
		{ 0x08a, EXIT_MONITOR, "VMEXIT_MONITOR" },
		{ 0x08b, EXIT_MWAIT, "VMEXIT_MWAIT" },
		{ 0x08d, EXIT_XSETBV, "VMEXIT_XSETBV" },
		{ 0x090, EXIT_UNKNOWN, "VMEXIT_?" },
		{ 0x0a2, EXIT_INVPCID, "VMEXIT_INVPCID" },
		{ 0x0a3, EXIT_UNKNOWN, "VMEXIT_?" },
		{ 0x3ff, EXIT_UNKNOWN, "VMEXIT_?" },
		{ 0x400, EXIT_NESTED_FAULT, "VMEXIT_NPF" },
		{ 0x401, EXIT_UNKNOWN, "VMEXIT_?" },
		{ UINT64_MAX, EXIT_INVALID_STATE, "VMEXIT_INVALID" },
		{ 0x00000000ffffffff, EXIT_INVALID_STATE, "VMEXIT_INVALID" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		decode(rows[i].code, 0, 0, ALL_FEATURES);
		assert_string_equal(out.hw_name, rows[i].name);
		assert_int_equal(out.kind, rows[i].kind);
		assert_int_equal(out.raw[0], rows[i].code);
		assert_string_equal(svm_exit_name(rows[i].code), rows[i].name);
	}
	/* Every code below the table's end has a name. */
	for (uint64_t code = 0; code < SVM_EXIT_TABLE; code++)
		assert_non_null(svm_exit_name(code));
}

static void test_io(void **state)
{
	(void)state;
	/* OUT DX, AL to 3f8h; the instruction at 0x1000 is one byte long. */
	decode(0x7b, 0x3f8 << 16 | BIT(4), 0x1001, 0);
	assert_int_equal(out.io.port, 0x3f8);
	assert_int_equal(out.io.size, 1);
	assert_false(out.io.in);
	assert_false(out.io.string);
	assert_false(out.io.rep);
	assert_int_equal(out.io.seg, 0xff);
	assert_int_equal(out.insn_len, 1);
	/* IN EAX, DX from cfch. */
	decode(0x7b, 0xcfcull << 16 | BIT(6) | BIT(0), 0x1001, 0);
	assert_int_equal(out.io.size, 4);
	assert_true(out.io.in);
	assert_int_equal(out.io.addr_size, 0);
	/* REP INSW, 64-bit addresses, port ffffh: ES, known even without decode assists. */
	decode(0x7b, 0xffffull << 16 | BIT(9) | BIT(5) | BIT(3) | BIT(2) | BIT(0), 0x1002, 0);
	assert_int_equal(out.io.port, 0xffff);
	assert_int_equal(out.io.size, 2);
	assert_true(out.io.string);
	assert_true(out.io.rep);
	assert_int_equal(out.io.addr_size, 8);
	assert_int_equal(out.io.seg, SEG_ES);
	/* OUTSB from FS with decode assists, 32- and 16-bit addresses. */
	decode(0x7b, 0x80 << 16 | (uint64_t)SEG_FS << 10 | BIT(8) | BIT(4) | BIT(2), 0x1003,
	       ALL_FEATURES);
	assert_int_equal(out.io.seg, SEG_FS);
	assert_int_equal(out.io.addr_size, 4);
	decode(0x7b, 0x80 << 16 | BIT(7) | BIT(4) | BIT(2), 0x1003, 0);
	assert_int_equal(out.io.addr_size, 2);
	/* A next RIP that cannot be: the length is not known. */
	decode(0x7b, 0x80 << 16 | BIT(4), 0x1010, 0);
	assert_int_equal(out.insn_len, 0);
	decode(0x7b, 0x80 << 16 | BIT(4), 0xfff, 0);
	assert_int_equal(out.insn_len, 0);
}

static void test_nested_fault(void **state)
{
	(void)state;
	/* A write to an absent page, final access. */
	decode(0x400, BIT(32) | PF_U | PF_W, 0xfee00300, 0);
	assert_int_equal(out.nested.gpa.v, 0xfee00300);
	assert_true(out.nested.write);
	assert_false(out.nested.read);
	assert_false(out.nested.fetch);
	assert_false(out.nested.present);
	assert_false(out.nested.table_walk);
	assert_int_equal(out.nr_bytes, 0);
	/* A fetch from a page without X, by the guest's table walk. */
	decode(0x400, BIT(33) | PF_U | PF_I | PF_P, 0x5000, 0);
	assert_true(out.nested.fetch);
	assert_true(out.nested.present);
	assert_true(out.nested.table_walk);
	assert_false(out.nested.read);
	/* A read that met a reserved bit. QEMU: it is reported without P. */
	decode(0x400, BIT(32) | PF_RSVD | PF_U, 0x5000, 0);
	assert_true(out.nested.read);
	assert_true(out.nested.present);
	/* There is no instruction length, and bytes only with decode assists. */
	assert_int_equal(out.insn_len, 0);
	vmcb.nr_bytes = 15;
	vmcb.bytes[0] = 0x89;
	vmcb.bytes[14] = 0x90;
	svm_exit_decode(&vmcb, 0, &out);
	assert_int_equal(out.nr_bytes, 0);
	svm_exit_decode(&vmcb, SVM_FEATURE_DECODE_ASSISTS, &out);
	assert_int_equal(out.nr_bytes, 15);
	assert_int_equal(out.bytes[0], 0x89);
	assert_int_equal(out.bytes[14], 0x90);
	/* At any other exit they may still be those of an instruction long past. */
	vmcb.exit_code = 0x72;
	svm_exit_decode(&vmcb, SVM_FEATURE_DECODE_ASSISTS, &out);
	assert_int_equal(out.nr_bytes, 0);
	vmcb.exit_code = SVM_EXIT_EXCEPTION + VEC_PF;
	svm_exit_decode(&vmcb, SVM_FEATURE_DECODE_ASSISTS, &out);
	assert_int_equal(out.nr_bytes, 15);
}

static void test_cr(void **state)
{
	(void)state;
	/* MOV CR4, R10 with decode assists, and without. */
	decode(0x14, BIT(63) | 10, 0, ALL_FEATURES);
	assert_int_equal(out.cr.nr, 4);
	assert_int_equal(out.cr.gpr, 10);
	decode(0x14, 10, 0, ALL_FEATURES & ~(uint32_t)SVM_FEATURE_DECODE_ASSISTS);
	assert_int_equal(out.cr.gpr, VM_EXIT_GPR_UNKNOWN);
	/* LMSW or CLTS: bit 63 says that it is no MOV. */
	decode(0x10, 0, 0, ALL_FEATURES);
	assert_int_equal(out.cr.nr, 0);
	assert_int_equal(out.cr.gpr, VM_EXIT_GPR_UNKNOWN);
}

static void test_small_kinds(void **state)
{
	(void)state;
	decode(0x7c, 0, 0, 0);
	assert_int_equal(out.kind, EXIT_RDMSR);
	decode(0x7c, 1, 0, 0);
	assert_int_equal(out.kind, EXIT_WRMSR);
	decode(0x4d, 0x1234, 0xdead000, 0);
	assert_int_equal(out.kind, EXIT_EXCEPTION);
	assert_int_equal(out.exception.vector, 13);
	assert_int_equal(out.exception.error, 0x1234);
	decode(0x4e, PF_W | PF_U, 0xdead000, 0);
	assert_int_equal(out.kind, EXIT_PAGE_FAULT);
	assert_int_equal(out.page_fault.error, PF_W | PF_U);
	assert_int_equal(out.page_fault.gva.v, 0xdead000);
	/* Reserved bits are found in entries that are present. QEMU: says otherwise. */
	decode(0x4e, PF_RSVD | PF_W, 0xdead000, 0);
	assert_int_equal(out.page_fault.error, PF_RSVD | PF_W | PF_P);
	decode(0xa2, 0x7008, 2, ALL_FEATURES);
	assert_int_equal(out.invpcid.gva.v, 0x7008);
	assert_int_equal(out.invpcid.type, 2);
	decode(0x79, 0x7000, 0, ALL_FEATURES);
	assert_true(out.invlpg.known);
	assert_int_equal(out.invlpg.gva.v, 0x7000);
	decode(0x79, 0x7000, 0, 0);
	assert_false(out.invlpg.known);
	decode(0x7d, 0x28, BIT(36), 0);
	assert_int_equal(out.task.selector, 0x28);
	assert_true(out.task.iret);
	assert_false(out.task.jmp);
	assert_false(out.task.has_error);
	assert_false(out.task.rf);
	decode(0x7d, 0x30, BIT(38) | BIT(44) | BIT(48) | 0x1234, 0);
	assert_true(out.task.jmp);
	assert_true(out.task.rf);
	assert_true(out.task.has_error);
	assert_int_equal(out.task.error, 0x1234);
}

static void test_next_rip(void **state)
{
	(void)state;
	decode(0x72, 0, 0, SVM_FEATURE_NRIPS);
	assert_int_equal(out.insn_len, 2);
	decode(0x72, 0, 0, 0);
	assert_int_equal(out.insn_len, 0);
	/* Not an instruction's exit: whatever NRIP holds is not used. */
	decode(0x60, 0, 0, SVM_FEATURE_NRIPS);
	assert_int_equal(out.insn_len, 0);
	decode(0x72, 0, 0, 0);
	vmcb.nrip = 0x1010;
	svm_exit_decode(&vmcb, SVM_FEATURE_NRIPS, &out);
	assert_int_equal(out.insn_len, 0);
	vmcb.nrip = 0;
	svm_exit_decode(&vmcb, SVM_FEATURE_NRIPS, &out);
	assert_int_equal(out.insn_len, 0);
}

static void test_interrupted(void **state)
{
	struct vm_event ev;

	(void)state;
	decode(0x60, 0, 0, 0);
	assert_int_equal(out.interrupted.kind, EVENT_NONE);
	vmcb.exit_int_info = EVENT_V | 0x30;
	svm_exit_decode(&vmcb, 0, &out);
	assert_int_equal(out.interrupted.kind, EVENT_INTR);
	assert_int_equal(out.interrupted.vector, 0x30);

	ev = svm_event_decode(EVENT_V | EVENT_TYPE_NMI << 8 | 2);
	assert_int_equal(ev.kind, EVENT_NMI);
	ev = svm_event_decode(EVENT_V | EVENT_EV | EVENT_TYPE_EXCEPTION << 8 | 14 | 7ull << 32);
	assert_int_equal(ev.kind, EVENT_EXCEPTION);
	assert_int_equal(ev.vector, 14);
	assert_true(ev.has_error);
	assert_int_equal(ev.error, 7);
	/* No error code without EV, whatever stands there. */
	ev = svm_event_decode(EVENT_V | EVENT_TYPE_EXCEPTION << 8 | 6 | 7ull << 32);
	assert_false(ev.has_error);
	assert_int_equal(ev.error, 0);
	ev = svm_event_decode(EVENT_V | EVENT_TYPE_EXCEPTION << 8 | 3);
	assert_int_equal(ev.kind, EVENT_SOFT_EXC);
	assert_int_equal(ev.insn_len, 1);
	ev = svm_event_decode(EVENT_V | EVENT_TYPE_SOFT << 8 | 0x80);
	assert_int_equal(ev.kind, EVENT_SOFT_INT);
	assert_int_equal(ev.vector, 0x80);
	assert_int_equal(ev.insn_len, 2);
	/* Reserved types, and a word that is not valid. */
	assert_int_equal(svm_event_decode(EVENT_V | 1 << 8).kind, EVENT_NONE);
	assert_int_equal(svm_event_decode(EVENT_V | 7 << 8).kind, EVENT_NONE);
	assert_int_equal(svm_event_decode(EVENT_TYPE_EXCEPTION << 8 | 14).kind, EVENT_NONE);
}

static void test_event_words(void **state)
{
	struct vm_event gp = {
		.kind = EVENT_EXCEPTION, .vector = 13, .has_error = true, .error = 0x1234
	};
	struct vm_event ev = { .kind = EVENT_INTR, .vector = 0xff };

	(void)state;
	assert_int_equal(svm_event_encode(&ev, true), 0x800000ff);
	ev.kind = EVENT_NMI;
	assert_int_equal(svm_event_encode(&ev, true), 0x80000202);
	assert_int_equal(svm_event_encode(&gp, true), 0x0000123480000b0d);
	/* Real mode pushes no error codes. */
	assert_int_equal(svm_event_encode(&gp, false), 0x8000030d);
	/* Software interrupts come from running their instruction again. */
	ev.kind = EVENT_SOFT_INT;
	assert_int_equal(svm_event_encode(&ev, true), 0);
	ev.kind = EVENT_SOFT_EXC;
	assert_int_equal(svm_event_encode(&ev, true), 0);
	ev.kind = EVENT_NONE;
	assert_int_equal(svm_event_encode(&ev, true), 0);
}

static uint8_t map[IOPM_SIZE];

static unsigned count_clear(const uint8_t *m, unsigned size)
{
	unsigned n = 0;

	for (unsigned i = 0; i < size * 8; i++)
		n += !(m[i / 8] >> (i % 8) & 1);
	return n;
}

static void test_iopm(void **state)
{
	(void)state;
	svm_iopm_init(map);
	assert_int_equal(count_clear(map, IOPM_SIZE), 0);
	svm_iopm_set(map, 0x3f8, 8, false);
	assert_int_equal(map[0x3f8 / 8], 0);
	assert_int_equal(count_clear(map, IOPM_SIZE), 8);
	svm_iopm_set(map, 0x3fd, 1, true);
	assert_int_equal(map[0x3f8 / 8], 0x20);
	/* Only the two ports that there are; what an access past ffffh reads stays set. */
	svm_iopm_init(map);
	svm_iopm_set(map, 0xfffe, 100000, false);
	assert_int_equal(map[8191], 0x3f);
	assert_int_equal(map[8192], 0xff);
	assert_int_equal(count_clear(map, IOPM_SIZE), 2);
	svm_iopm_set(map, 0x80, 0, false);
	assert_int_equal(count_clear(map, IOPM_SIZE), 2);
}

static void test_msrpm(void **state)
{
	(void)state;
	svm_msrpm_init(map);
	/* Ten MSRs that VMLOAD and VMSAVE switch, reads and writes; EFER, PAT, TSC are not. */
	assert_int_equal(count_clear(map, MSRPM_SIZE), 20);
	assert_int_equal(map[0x800 + 0x80 / 4] & 3, 3);  /* EFER */
	assert_int_equal(map[0x800 + 0x80 / 4] >> 2, 0); /* STAR, LSTAR, CSTAR */
	assert_int_equal(map[0x800 + 0x84 / 4] & 3, 0);  /* SFMASK */
	assert_int_equal(map[0x800 + 0x100 / 4], 0xc0);  /* not TSC_AUX */
	assert_int_equal(map[0x174 / 4], 0xff & ~0x3f);  /* SYSENTER_* */
	assert_int_equal(map[MSR_PAT / 4] >> (MSR_PAT % 4 * 2) & 3, 3);
	assert_int_equal(map[MSR_TSC / 4] & 3, 3);

	/* Read is the lower bit of the two. */
	assert_true(svm_msrpm_set(map, MSR_TSC, false, true));
	assert_int_equal(map[4] & 3, 2);
	assert_true(svm_msrpm_set(map, MSR_TSC, true, false));
	assert_int_equal(map[4] & 3, 1);
	/* The ends of the three ranges. */
	assert_true(svm_msrpm_set(map, 0x1fff, false, false));
	assert_int_equal(map[0x7ff], 0x3f);
	assert_true(svm_msrpm_set(map, 0xc0001fff, false, false));
	assert_int_equal(map[0xfff], 0x3f);
	assert_true(svm_msrpm_set(map, 0xc0010000, false, false));
	assert_int_equal(map[0x1000], 0xfc);
	assert_true(svm_msrpm_set(map, 0xc0011fff, false, false));
	assert_int_equal(map[0x17ff], 0x3f);
	/* Outside them there are no bits, and nothing is touched. */
	svm_msrpm_init(map);
	assert_false(svm_msrpm_set(map, 0x2000, false, false));
	assert_false(svm_msrpm_set(map, 0xbfffffff, false, false));
	assert_false(svm_msrpm_set(map, 0xc0002000, false, false));
	assert_false(svm_msrpm_set(map, 0xc0012000, false, false));
	assert_false(svm_msrpm_set(map, 0xffffffff, false, false));
	assert_int_equal(count_clear(map, MSRPM_SIZE), 20);
}

static const struct svm_limits limits = {
	.maxphyaddr = 40,
	.cr4_valid = CR4_PAE | CR4_PGE | CR4_PSE | CR4_CET,
};

/* A VMCB that VMRUN takes: 64-bit mode under nested paging. */
static void good_vmcb(struct vmcb *v)
{
	memset(v, 0, sizeof(*v));
	v->efer = EFER_SVME | EFER_LME | EFER_LMA | EFER_NXE;
	v->cr0 = CR0_PE | CR0_PG | CR0_WP;
	v->cr4 = CR4_PAE;
	v->cs.attrib = 0xa9b;
	v->asid = 1;
	v->np_control = VMCB_NP_ENABLE;
	v->n_cr3 = 0x1000;
	v->g_pat = PAT_RESET;
	vmcb_set_intercept(v, INTERCEPT_VMRUN, true);
}

static void expect_broken(const char *words)
{
	const char *got = svm_check_vmcb(&vmcb, &limits);

	assert_string_equal(got ? got : "nothing", words);
	good_vmcb(&vmcb);
}

static void test_check_registers(void **state)
{
	(void)state;
	good_vmcb(&vmcb);
	assert_null(svm_check_vmcb(&vmcb, &limits));
	vmcb.efer &= ~EFER_SVME;
	expect_broken("EFER.SVME is clear");
	vmcb.cr0 |= CR0_NW;
	expect_broken("CR0.NW is set without CD");
	vmcb.cr0 |= CR0_NW | CR0_CD;
	assert_null(svm_check_vmcb(&vmcb, &limits));
	vmcb.cr0 |= BIT(32);
	expect_broken("CR0[63:32] are not zero");
	vmcb.cr3 = BIT(40);
	expect_broken("a reserved bit of CR3 is set");
	vmcb.cr4 |= CR4_SMEP;
	expect_broken("a reserved bit of CR4 is set");
	vmcb.dr6 = BIT(32);
	expect_broken("DR6[63:32] are not zero");
	vmcb.dr7 = BIT(63);
	expect_broken("DR7[63:32] are not zero");
	vmcb.efer |= BIT(9);
	expect_broken("a reserved bit of EFER is set");
	vmcb.cr4 &= ~CR4_PAE;
	expect_broken("EFER.LME and CR0.PG without CR4.PAE");
	vmcb.cr0 &= ~CR0_PE;
	expect_broken("EFER.LME and CR0.PG without CR0.PE");
	vmcb.cs.attrib |= SEG_ATTR_DB;
	expect_broken("CS.L and CS.D both set in long mode");
	vmcb.cr4 |= CR4_CET;
	vmcb.cr0 &= ~CR0_WP;
	expect_broken("CR4.CET is set without CR0.WP");
}

static void test_check_control(void **state)
{
	(void)state;
	good_vmcb(&vmcb);
	vmcb_set_intercept(&vmcb, INTERCEPT_VMRUN, false);
	expect_broken("the VMRUN intercept is clear");
	vmcb.iopm_base_pa = BIT(40) - IOPM_SIZE;
	assert_null(svm_check_vmcb(&vmcb, &limits));
	vmcb.iopm_base_pa += PAGE_SIZE;
	expect_broken("the IOPM ends beyond physical memory");
	vmcb.msrpm_base_pa = BIT(40) - MSRPM_SIZE + PAGE_SIZE;
	expect_broken("the MSRPM ends beyond physical memory");
	vmcb.asid = 0;
	expect_broken("ASID is zero");
	vmcb.n_cr3 = BIT(40);
	expect_broken("a reserved bit of nCR3 is set");
	vmcb.g_pat = PAT_RESET | 2;
	assert_null(svm_check_vmcb(&vmcb, &limits)); /* 6 | 2 is still write-back */
	vmcb.g_pat = (PAT_RESET & ~0xffull) | 3;
	expect_broken("G_PAT holds an undefined type");
	vmcb.g_pat = 8;
	expect_broken("G_PAT holds an undefined type");
	vmcb.event_inj = EVENT_V | EVENT_TYPE_EXCEPTION << 8 | VEC_NMI;
	expect_broken("EVENTINJ holds no valid event");
	vmcb.event_inj = EVENT_V | EVENT_TYPE_EXCEPTION << 8 | 32;
	expect_broken("EVENTINJ holds no valid event");
	vmcb.event_inj = EVENT_V | 1 << 8;
	expect_broken("EVENTINJ holds no valid event");
	vmcb.event_inj = EVENT_V | EVENT_TYPE_INTR << 8 | 0xff;
	assert_null(svm_check_vmcb(&vmcb, &limits));
}

static void test_clean_bits(void **state)
{
	(void)state;
	good_vmcb(&vmcb);
	vmcb.clean = CLEAN_ALL;
	vmcb_set_intercept(&vmcb, INTERCEPT_VMRUN, true);
	assert_int_equal(vmcb.clean, CLEAN_ALL); /* no change, nothing to read again */
	vmcb_set_intercept(&vmcb, INTERCEPT_VINTR, true);
	assert_int_equal(vmcb.intercept[3], 1u << 4);
	assert_int_equal(vmcb.clean, CLEAN_ALL & ~CLEAN_I);
	vmcb.clean = CLEAN_ALL;
	vmcb_set_n_cr3(&vmcb, 0x2000);
	assert_int_equal(vmcb.clean, CLEAN_ALL & ~CLEAN_NP);
	vmcb_set_cr0(&vmcb, CR0_PE);
	vmcb_set_dr7(&vmcb, DR7_INIT);
	assert_int_equal(vmcb.clean, CLEAN_ALL & ~(CLEAN_NP | CLEAN_CRX | CLEAN_DRX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_nested_fault),
		cmocka_unit_test(test_cr),
		cmocka_unit_test(test_small_kinds),
		cmocka_unit_test(test_next_rip),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_event_words),
		cmocka_unit_test(test_iopm),
		cmocka_unit_test(test_msrpm),
		cmocka_unit_test(test_check_registers),
		cmocka_unit_test(test_check_control),
		cmocka_unit_test(test_clean_bits),
	};

	return cmocka_run_group_tests_name("svm_exit", tests, NULL, NULL);
}
