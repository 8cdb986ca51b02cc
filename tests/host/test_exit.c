/* vmm/exit.c: each kind's handler, on a backend without hardware. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/exit.h"
#include "vmm/msr.h"

static struct {
	uint32_t in_value, out_value;
	unsigned out_size, outs;
	uint16_t port;
} dev;

static uint32_t dev_in(void *ctx, uint16_t port, unsigned size)
{
	(void)ctx;
	(void)size;
	dev.port = port;
	return dev.in_value;
}

static void dev_out(void *ctx, uint16_t port, unsigned size, uint32_t val)
{
	(void)ctx;
	dev.port = port;
	dev.out_size = size;
	dev.out_value = val;
	dev.outs++;
}

static int setup(void **state)
{
	static const struct io_ops ops = { .in = dev_in, .out = dev_out };

	(void)state;
	memset(&dev, 0, sizeof(dev));
	fake_vm_reset();
	fake_log_reset();
	cpuid_init(fake_cpuid_amd, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	msr_reset(&fake_vcpu);
	assert_int_equal(bus_init(&fake_vm.bus), 0);
	assert_int_equal(bus_register_io(&fake_vm.bus, 0x60, 8, "test", &ops, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bus_destroy(&fake_vm.bus);
	return 0;
}

static struct vm_exit *next_exit(enum vm_exit_kind kind, unsigned len)
{
	fake_vcpu.exit = (struct vm_exit){ .kind = kind, .insn_len = (uint8_t)len };
	return &fake_vcpu.exit;
}

static void handle(void)
{
	vm_exit_handle(&fake_vcpu);
}

static void expect_retired(unsigned len)
{
	assert_int_equal(fake_vcpu.regs.rip, 0x1000 + len);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
}

static void expect_fault(unsigned vector)
{
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_EXCEPTION);
	assert_int_equal(fake_vcpu.events.pending.vector, vector);
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
}

static void io(uint16_t port, unsigned size, bool in)
{
	struct vm_exit *e = next_exit(EXIT_IO, 2);

	e->io.port = port;
	e->io.size = (uint8_t)size;
	e->io.in = in;
	handle();
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < EXIT_KINDS; i++) {
		assert_non_null(vm_exit_name((enum vm_exit_kind)i));
		assert_true(strlen(vm_exit_name((enum vm_exit_kind)i)) > 1);
	}
	assert_string_equal(vm_exit_name(EXIT_IO), "io");
	assert_string_equal(vm_exit_name(EXIT_KINDS), "?");
}

/* 8 and 16 bits keep the rest of RAX, 32 bits clear the upper half. */
static void test_in_merges_rax(void **state)
{
	static const struct {
		unsigned size;
		uint64_t want;
	} cases[] = {
		{ 1, 0x11223344556677a4 },
		{ 2, 0x112233445566a3a4 },
		{ 4, 0x00000000a1a2a3a4 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_vcpu.regs.rip = 0x1000;
		fake_vcpu.regs.gpr[RAX] = UINT64_C(0x1122334455667788);
		dev.in_value = 0xa1a2a3a4;
		io(0x64, cases[i].size, true);
		assert_int_equal(fake_vcpu.regs.gpr[RAX], cases[i].want);
		assert_int_equal(dev.port, 0x64);
		expect_retired(2);
	}
	assert_int_equal(fake_vm.exits[0]->count[EXIT_IO], 3);
}

static void test_in_from_nobody(void **state)
{
	(void)state;
	fake_vcpu.regs.gpr[RAX] = UINT64_C(0x1122334455667788);
	io(0x1234, 2, true);
	assert_int_equal(fake_vcpu.regs.gpr[RAX], UINT64_C(0x112233445566ffff));
	expect_retired(2);
}

static void test_out_cuts_rax(void **state)
{
	static const uint32_t want[] = { 0, 0x88, 0x7788, 0, 0x55667788 };

	(void)state;
	for (unsigned size = 1; size <= 4; size *= 2) {
		fake_vcpu.regs.rip = 0x1000;
		fake_vcpu.regs.gpr[RAX] = UINT64_C(0x1122334455667788);
		io(0x60, size, false);
		assert_int_equal(dev.out_value, want[size]);
		assert_int_equal(dev.out_size, size);
		expect_retired(2);
	}
	assert_int_equal(dev.outs, 3);
}

static void test_cpuid_clears_upper_halves(void **state)
{
	(void)state;
	for (unsigned i = RAX; i <= RBX; i++)
		fake_vcpu.regs.gpr[i] = ~UINT64_C(0);
	fake_vcpu.regs.gpr[RAX] = UINT64_C(0xffffffff40000000);
	next_exit(EXIT_CPUID, 2);
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RAX], 0x40000010);
	assert_int_equal(fake_vcpu.regs.gpr[RBX], 0x72626d55); /* "Umbr" */
	expect_retired(2);
}

static void test_msrs(void **state)
{
	(void)state;
	fake_vcpu.regs.gpr[RCX] = UINT64_C(0xdead00000000) | MSR_LSTAR;
	fake_vcpu.regs.gpr[RDX] = UINT64_C(0x55555555ffffffff);
	fake_vcpu.regs.gpr[RAX] = UINT64_C(0x7777777781234567);
	next_exit(EXIT_WRMSR, 2);
	handle();
	assert_int_equal(fake_hw.reg[REG_LSTAR], UINT64_C(0xffffffff81234567));
	expect_retired(2);
	fake_vcpu.regs.rip = 0x1000;
	next_exit(EXIT_RDMSR, 2);
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RAX], 0x81234567);
	assert_int_equal(fake_vcpu.regs.gpr[RDX], 0xffffffff);
	expect_retired(2);
}

static void test_unknown_msrs_fault(void **state)
{
	(void)state;
	fake_vcpu.regs.gpr[RCX] = 0x12345;
	fake_vcpu.regs.gpr[RAX] = 7;
	next_exit(EXIT_RDMSR, 2);
	handle();
	expect_fault(VEC_GP);
	assert_true(fake_vcpu.events.pending.has_error);
	assert_int_equal(fake_vcpu.regs.gpr[RAX], 7);
	fake_vcpu.events.pending.kind = EVENT_NONE;
	next_exit(EXIT_WRMSR, 2);
	handle();
	expect_fault(VEC_GP);
}

static void test_cr_write(void **state)
{
	struct vm_exit *e = next_exit(EXIT_CR_WRITE, 3);

	(void)state;
	e->cr.nr = 4;
	e->cr.gpr = R9;
	fake_vcpu.regs.gpr[R9] = CR4_PAE | CR4_PGE;
	handle();
	assert_int_equal(fake_hw.reg[REG_CR4], CR4_PAE | CR4_PGE);
	expect_retired(3);

	fake_vcpu.regs.rip = 0x1000;
	fake_vcpu.regs.gpr[R9] = CR4_VMXE;
	next_exit(EXIT_CR_WRITE, 3)->cr.nr = 4;
	fake_vcpu.exit.cr.gpr = R9;
	handle();
	expect_fault(VEC_GP);
	assert_int_equal(fake_hw.reg[REG_CR4], CR4_PAE | CR4_PGE);
}

/* Outside 64-bit mode the register's upper half does not count. */
static void test_cr_write_32bit(void **state)
{
	(void)state;
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
	fake_vcpu.regs.gpr[RBX] = BIT(40) | 7;
	next_exit(EXIT_CR_WRITE, 3)->cr.nr = 8;
	fake_vcpu.exit.cr.gpr = RBX;
	handle();
	assert_int_equal(fake_hw.reg[REG_CR8], 7);
	expect_retired(3);
}

/* The hardware tells that it is CLTS: the instruction is not looked at, whatever is there. */
static void test_clts(void **state)
{
	struct vm_exit *e = next_exit(EXIT_CR_WRITE, 2);

	(void)state;
	e->cr.clts = true;
	e->cr.gpr = VM_EXIT_GPR_UNKNOWN;
	fake_hw.reg[REG_CR0] |= CR0_TS;
	handle();
	assert_int_equal(fake_hw.reg[REG_CR0] & CR0_TS, 0);
	expect_retired(2);
}

static void test_cr_read(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR8] = 9;
	fake_vcpu.regs.gpr[RSI] = ~UINT64_C(0);
	next_exit(EXIT_CR_READ, 4)->cr.nr = 8;
	fake_vcpu.exit.cr.gpr = RSI;
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RSI], 9);
	expect_retired(4);
}

static void test_hlt(void **state)
{
	(void)state;
	fake_hw.reg[REG_INTR_SHADOW] = 1;
	next_exit(EXIT_HLT, 1);
	handle();
	assert_int_equal(fake_vcpu.state, VCPU_HALTED);
	assert_int_equal(fake_hw.reg[REG_INTR_SHADOW], 0);
	expect_retired(1);
	assert_string_equal(fake_log, "");
}

static void test_hlt_with_interrupt_waiting(void **state)
{
	(void)state;
	fake_hw.intr_pending = true;
	next_exit(EXIT_HLT, 1);
	handle();
	assert_int_equal(fake_vcpu.state, VCPU_RUNNABLE);
	expect_retired(1);
}

/* For ever, as on a PC; said once. */
static void test_hlt_with_interrupts_off(void **state)
{
	(void)state;
	fake_vcpu.regs.rflags &= ~RFLAGS_IF;
	fake_hw.intr_pending = true;
	for (unsigned i = 0; i < 3; i++) {
		next_exit(EXIT_HLT, 1);
		handle();
		assert_int_equal(fake_vcpu.state, VCPU_HALTED);
	}
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	assert_string_equal(fake_log, "vm test: halted with interrupts off, rip 0x1001\n");
}

static void test_ignored_instructions(void **state)
{
	static const enum vm_exit_kind kinds[] = { EXIT_INVD, EXIT_WBINVD, EXIT_INVLPG,
						   EXIT_PAUSE };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		fake_vcpu.regs.rip = 0x1000;
		next_exit(kinds[i], 2);
		handle();
		expect_retired(2);
	}
	assert_int_equal(fake_hw.flushes, 1);
	assert_true(fake_vcpu.yield);
}

/* Where each PAUSE exits, some of them are not spinning. */
static void test_pauses_borne(void **state)
{
	(void)state;
	fake_vcpu.pauses = 0;
	fake_vcpu.pauses_borne = 3;
	for (unsigned i = 0; i < 4; i++) {
		fake_vcpu.yield = true;
		fake_vcpu.regs.rip = 0x1000;
		next_exit(EXIT_PAUSE, 2);
		handle();
		expect_retired(2);
		assert_int_equal(fake_vcpu.yield, i == 3);
	}
	fake_vcpu.pauses_borne = 0;
}

static void test_absent_instructions(void **state)
{
	static const enum vm_exit_kind kinds[] = { EXIT_MONITOR, EXIT_MWAIT, EXIT_HYPERCALL,
						   EXIT_VIRT_INSN };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		fake_vcpu.events.pending.kind = EVENT_NONE;
		next_exit(kinds[i], 3);
		handle();
		expect_fault(VEC_UD);
		assert_false(fake_vcpu.events.pending.has_error);
	}
	fake_vcpu.events.pending.kind = EVENT_NONE;
	next_exit(EXIT_RDPMC, 2);
	handle();
	expect_fault(VEC_GP);
}

/* With KVM's signature there are hypercalls, and none of a number that is asked for. */
static void test_kvm_hypercall(void **state)
{
	static const struct vm_config kvm = { .name = "kvm", .pv = PV_KVM };

	(void)state;
	fake_vm.cfg = &kvm;
	fake_vcpu.regs.gpr[RAX] = 9; /* clock pairing */
	next_exit(EXIT_HYPERCALL, 3);
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RAX], -1000);
	expect_retired(3);
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
	next_exit(EXIT_HYPERCALL, 3);
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RAX], (uint32_t)-1000);
	fake_hw.reg[REG_CPL] = 3; /* not from user code */
	next_exit(EXIT_HYPERCALL, 3);
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RAX], (uint32_t)-1);
}

static void test_rdtsc(void **state)
{
	(void)state;
	fake_hw.reg[REG_TSC_OFFSET] = 0;
	fake_vcpu.msrs.tsc_aux = 5;
	fake_vcpu.regs.gpr[RCX] = ~UINT64_C(0);
	next_exit(EXIT_RDTSC, 2);
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RCX], ~UINT64_C(0));
	expect_retired(2);
	fake_vcpu.regs.rip = 0x1000;
	next_exit(EXIT_RDTSC, 3); /* RDTSCP */
	handle();
	assert_int_equal(fake_vcpu.regs.gpr[RCX], 5);
	expect_retired(3);
	fake_vcpu.regs.rip = 0x1000;
	fake_hw.reg[REG_CR4] |= CR4_TSD;
	fake_hw.reg[REG_CPL] = 3;
	next_exit(EXIT_RDTSC, 2);
	handle();
	expect_fault(VEC_GP);
}

static void test_xsetbv(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR4] |= CR4_OSXSAVE;
	fake_vcpu.regs.gpr[RAX] = 7;
	next_exit(EXIT_XSETBV, 3);
	handle();
	assert_int_equal(fake_vcpu.xcr0, 7);
	expect_retired(3);
	fake_vcpu.regs.rip = 0x1000;
	fake_vcpu.regs.gpr[RAX] = 6;
	next_exit(EXIT_XSETBV, 3);
	handle();
	expect_fault(VEC_GP);
	assert_int_equal(fake_vcpu.xcr0, 7);
}

/* INT1 goes to its handler as what it is, with the address behind it. */
static void test_int1_is_passed_on(void **state)
{
	const struct vm_event *pending = &fake_vcpu.events.pending;

	(void)state;
	next_exit(EXIT_EXCEPTION, 1)->exception.vector = VEC_DB;
	handle();
	assert_int_equal(pending->kind, EVENT_SOFT_EXC);
	assert_int_equal(pending->vector, VEC_DB);
	assert_int_equal(pending->insn_len, 1);
	assert_false(pending->has_error);
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
}

static void test_exception_is_passed_on(void **state)
{
	struct vm_exit *e = next_exit(EXIT_EXCEPTION, 0);

	(void)state;
	e->exception.vector = VEC_PF;
	e->exception.error = PF_U | PF_W;
	e->exception.cr2 = 0x7000;
	handle();
	expect_fault(VEC_PF);
	assert_int_equal(fake_vcpu.events.pending.error, PF_U | PF_W);
	assert_int_equal(fake_hw.reg[REG_CR2], 0x7000);
}

/* A fault while another one was being delivered. */
static void test_interrupted_delivery(void **state)
{
	struct vm_exit *e = next_exit(EXIT_EXCEPTION, 0);

	(void)state;
	e->exception.vector = VEC_GP;
	e->interrupted = (struct vm_event){ .kind = EVENT_EXCEPTION, .vector = VEC_PF };
	handle();
	expect_fault(VEC_DF);
	assert_int_equal(fake_vcpu.events.pending.error, 0);

	fake_vcpu.events.pending.kind = EVENT_NONE;
	next_exit(EXIT_INTR, 0)->interrupted =
		(struct vm_event){ .kind = EVENT_INTR, .vector = 0x30 };
	handle();
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_INTR);
	assert_int_equal(fake_vcpu.events.pending.vector, 0x30);
}

static void expect_stopped(enum vm_stop_reason reason, const char *text)
{
	assert_int_equal(fake_vm.stop_reason, reason);
	if (!strstr(fake_vm.stop_text, text))
		fail_msg("stop text \"%s\" lacks \"%s\"", fake_vm.stop_text, text);
	fake_vm.stop_reason = VM_STOP_NONE;
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
}

static void test_stops(void **state)
{
	(void)state;
	next_exit(EXIT_SHUTDOWN, 0);
	fake_hw.reg[REG_CR3] = 0x5000;
	handle();
	expect_stopped(VM_STOP_TRIPLE, "triple fault at rip 0x1000, cr3 0x5000");
	next_exit(EXIT_UNKNOWN, 0)->raw[0] = 0x99;
	handle();
	expect_stopped(VM_STOP_ERROR, "exit 0x99");
	next_exit(EXIT_INVALID_STATE, 0);
	handle();
	expect_stopped(VM_STOP_ERROR, "refused");
	next_exit(EXIT_EXCEPTION, 0)->exception.vector = VEC_MC;
	handle();
	expect_stopped(VM_STOP_ERROR, "machine check");
}

static void test_first_stop_reason_wins(void **state)
{
	(void)state;
	vm_stop_requested();
	vm_request_stop(&fake_vm, VM_STOP_DEBUG_EXIT, 33, "status %d", 33);
	vm_request_stop(&fake_vm, VM_STOP_TRIPLE, 0, "later");
	assert_int_equal(fake_vm.stop_reason, VM_STOP_DEBUG_EXIT);
	assert_int_equal(fake_vm.stop_status, 33);
	assert_string_equal(fake_vm.stop_text, "status 33");
	assert_true(vm_stop_requested());
	assert_false(vm_stop_requested());
}

/* Running where there is no memory reads ff ff there: no instruction. Said once. */
static void test_fetch_from_nowhere(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vm_exit *e = next_exit(EXIT_NESTED_FAULT, 0);

		fake_vcpu.events.pending.kind = EVENT_NONE;
		e->nested.gpa = GPA(0xd0000000);
		e->nested.fetch = e->nested.read = true;
		handle();
		expect_fault(VEC_UD);
	}
	assert_string_equal(fake_log, "vm test: runs where no memory is, at gpa 0xd0000000, "
				      "rip 0x1000\n");
}

static void test_nested_fault_on_ram_stops(void **state)
{
	struct vm_exit *e = next_exit(EXIT_NESTED_FAULT, 0);

	(void)state;
	e->nested.gpa = GPA(0x2000);
	e->nested.write = true;
	handle();
	expect_stopped(VM_STOP_ERROR, "0x2000");
}

static void test_delivery_through_nowhere_stops(void **state)
{
	struct vm_exit *e = next_exit(EXIT_NESTED_FAULT, 0);

	(void)state;
	e->nested.gpa = GPA(0xd0000000);
	e->nested.write = true;
	e->interrupted = (struct vm_event){ .kind = EVENT_EXCEPTION, .vector = VEC_GP };
	handle();
	expect_stopped(VM_STOP_ERROR, "event 13");
}

/* What is read there is all ones: no gate, descriptor or table entry, for #DF neither. */
static void test_delivery_reads_nowhere(void **state)
{
	(void)state;
	for (unsigned walk = 0; walk < 2; walk++) {
		struct vm_exit *e = next_exit(EXIT_NESTED_FAULT, 0);

		fake_vm.stop_reason = VM_STOP_NONE;
		e->nested.gpa = GPA(0xd0000000);
		e->nested.table_walk = walk;
		e->nested.write = walk; /* to mark it accessed */
		e->nested.read = !walk;
		e->interrupted = (struct vm_event){ .kind = EVENT_INTR, .vector = 0x30 };
		handle();
		expect_stopped(VM_STOP_TRIPLE, "triple fault: event 48 is delivered through gpa "
					       "0xd0000000");
	}
}

static void test_quiet_kinds(void **state)
{
	static const enum vm_exit_kind kinds[] = { EXIT_INTR,       EXIT_NMI,  EXIT_INTR_WINDOW,
						   EXIT_NMI_WINDOW, EXIT_INIT, EXIT_SMI };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		next_exit(kinds[i], 0);
		handle();
		expect_retired(0);
		assert_int_equal(fake_vm.exits[0]->count[kinds[i]], 1);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_names),
		CASE(test_in_merges_rax),
		CASE(test_in_from_nobody),
		CASE(test_out_cuts_rax),
		CASE(test_cpuid_clears_upper_halves),
		CASE(test_msrs),
		CASE(test_unknown_msrs_fault),
		CASE(test_cr_write),
		CASE(test_cr_write_32bit),
		CASE(test_clts),
		CASE(test_cr_read),
		CASE(test_hlt),
		CASE(test_hlt_with_interrupt_waiting),
		CASE(test_hlt_with_interrupts_off),
		CASE(test_ignored_instructions),
		CASE(test_pauses_borne),
		CASE(test_absent_instructions),
		CASE(test_kvm_hypercall),
		CASE(test_rdtsc),
		CASE(test_xsetbv),
		CASE(test_int1_is_passed_on),
		CASE(test_exception_is_passed_on),
		CASE(test_interrupted_delivery),
		CASE(test_stops),
		CASE(test_first_stop_reason_wins),
		CASE(test_fetch_from_nowhere),
		CASE(test_nested_fault_on_ram_stops),
		CASE(test_delivery_through_nowhere_stops),
		CASE(test_delivery_reads_nowhere),
		CASE(test_quiet_kinds),
	};

	return cmocka_run_group_tests_name("exit", tests, NULL, NULL);
}
