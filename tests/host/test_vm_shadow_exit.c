/* vmm/vm_shadow.c: the exits that drive a shadow, its audits and its counters. */
#include <pthread.h>
#include <sched.h>

#include "tests/host/vm_shadow_fixture.h"

/* --- exits --- */

static void code(const char *bytes, size_t n)
{
	fake_hw.reg[REG_CR0] &= ~CR0_PG;
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.seg[SEG_CS] = (struct segment){ .attr = 0xc9b, .limit = UINT32_MAX };
	fake_hw.seg[SEG_DS] = (struct segment){ .attr = 0xc93, .limit = UINT32_MAX };
	memcpy(fake_ram + 0x1000, bytes, n);
}

static void page_fault(uint64_t gva, uint32_t error)
{
	fake_vcpu.exit =
		(struct vm_exit){ .kind = EXIT_PAGE_FAULT, .page_fault = { GVA(gva), error } };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.gva.v, gva);
	assert_int_equal(seen.error, error);
}

static void test_fault_is_filled(void **state)
{
	(void)state;
	fake_hw.reg[REG_CPL] = 3;
	page_fault(0x7fff0000, PF_U | PF_W);
	assert_int_equal(seen.cpl, 3);
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_int_equal(fake_vm.exits[0]->count[EXIT_PAGE_FAULT], 1);
}

static void test_fault_is_the_guests(void **state)
{
	(void)state;
	seen.result = SHADOW_REFLECT;
	seen.outcome.fault = (struct guest_fault){
		.vector = VEC_PF, .has_error = true, .error = PF_U, .cr2 = 0x7fff0000
	};
	page_fault(0x7fff0000, PF_U | PF_P);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_PF);
	assert_int_equal(fake_vcpu.events.pending.error, PF_U);
	assert_int_equal(fake_hw.reg[REG_CR2], 0x7fff0000);
}

static void test_fault_on_a_device(void **state)
{
	(void)state;
	code("\xa3\x10\x00\x00\xe0", 5); /* mov [e0000010h], eax */
	fake_vcpu.regs.gpr[RAX] = 0x12345678;
	seen.result = SHADOW_DEVICE;
	seen.outcome.gpa = GPA(DEVICE + 0x10);
	page_fault(DEVICE + 0x10, PF_W);
	assert_int_equal(dev_value, 0x12345678);
	assert_int_equal(fake_vcpu.regs.rip, 0x1005);
	assert_int_equal(fake_vm.exits[0]->count[EXIT_NESTED_FAULT], 0);
}

/* No entry lets it through, and it is memory nevertheless. */
static void test_fault_is_emulated_on_memory(void **state)
{
	(void)state;
	code("\xa3\x10\x50\x00\x00", 5); /* mov [5010h], eax */
	fake_vcpu.regs.gpr[RAX] = 0x12345678;
	seen.result = SHADOW_DEVICE;
	seen.outcome.gpa = GPA(0x5010);
	page_fault(0x5010, PF_W | PF_P);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	assert_memory_equal(fake_ram + 0x5010, "\x78\x56\x34\x12", 4);
	assert_int_equal(fake_vcpu.regs.rip, 0x1005);
	assert_int_equal(seen.begins, 1);
}

static void test_fault_on_a_fetch_from_nowhere(void **state)
{
	(void)state;
	seen.result = SHADOW_DEVICE;
	seen.outcome.gpa = GPA(DEVICE);
	page_fault(0x1000, PF_I);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_UD);
}

static void test_no_memory_stops(void **state)
{
	(void)state;
	seen.result = SHADOW_NO_MEMORY;
	page_fault(0x1000, PF_W);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_ERROR);
	assert_string_equal(fake_vm.stop_text, "no free memory for its shadow, rip 0x1000");
}

/* --- beside others --- */

static unsigned step; /* atomic */

static void *be_in_a_device(void *arg)
{
	(void)arg;
	owned_lock(&fake_vm.lock);
	__atomic_store_n(&step, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&step, __ATOMIC_ACQUIRE) < 2)
		sched_yield();
	owned_unlock(&fake_vm.lock);
	return NULL;
}

/* Another vCPU's exit is being handled all the while, by a device say. */
static void test_fault_beside_a_device(void **state)
{
	pthread_t other;

	(void)state;
	step = 0;
	fake_vm.nr_vcpus = 2;
	seen.shares = true;
	assert_int_equal(pthread_create(&other, NULL, be_in_a_device, NULL), 0);
	while (__atomic_load_n(&step, __ATOMIC_ACQUIRE) < 1)
		sched_yield();
	page_fault(0x7fff0000, PF_U | PF_W);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	seen.result = SHADOW_REFLECT;
	seen.outcome.fault = (struct guest_fault){
		.vector = VEC_PF, .has_error = true, .error = PF_U, .cr2 = 0x7fff0000
	};
	page_fault(0x7fff0000, PF_U);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_PF);
	assert_int_equal(seen.shared, 2);
	/* Neither for a new root. */
	seen.root = HPA(0x7000);
	assert_true(vm_shadow_load(&fake_vcpu));
	__atomic_store_n(&step, 2, __ATOMIC_RELEASE);
	pthread_join(other, NULL);
	fake_vm.nr_vcpus = 1;
}

/* A device is asked with the VM's lock held, and the shadow once. */
static void test_device_beside_others(void **state)
{
	(void)state;
	fake_vm.nr_vcpus = 2;
	seen.shares = true;
	test_fault_on_a_device(state);
	assert_int_equal(seen.shared, 1);
	assert_int_equal(seen.faults, 1);
	assert_false(owned_lock_held(&fake_vm.lock));
	fake_vm.nr_vcpus = 1;
}

/* An event whose delivery failed is judged by the memory map as it is with the lock held. */
static void test_delivery_is_looked_at_again(void **state)
{
	(void)state;
	fake_vm.nr_vcpus = 2;
	seen.shares = true;
	seen.result = SHADOW_DEVICE;
	seen.outcome.gpa = GPA(DEVICE);
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_PAGE_FAULT,
					   .page_fault = { GVA(DEVICE), PF_W },
					   .interrupted = { .kind = EVENT_INTR, .vector = 0x30 } };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.shared, 1);
	assert_int_equal(seen.faults, 2);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_ERROR);
	fake_vm.nr_vcpus = 1;
}

/* What is not for that is done alone; of a single vCPU all is. */
static void test_fault_alone(void **state)
{
	(void)state;
	page_fault(0x1000, PF_W);
	assert_int_equal(seen.shared, 0);
	fake_vm.nr_vcpus = 2;
	page_fault(0x1000, PF_W);
	assert_int_equal(seen.shared, 1);
	assert_int_equal(seen.faults, 2);
	fake_vm.nr_vcpus = 1;
}

/* Faults beside others count for the auditor, too. */
static void test_audit_beside_others(void **state)
{
	(void)state;
	fake_vm.nr_vcpus = 2;
	seen.shares = true;
	fake_vm.audit_left = cfg.audit = 3;
	for (unsigned i = 0; i < 7; i++)
		page_fault(0x1000, PF_W);
	assert_int_equal(seen.audits, 2);
	assert_int_equal(seen.shared, 7);
	fake_vm.nr_vcpus = 1;
}

static void test_invlpg(void **state)
{
	(void)state;
	code("\x0f\x01\x7b\x10", 4); /* invlpg [ebx+10h] */
	fake_vcpu.regs.gpr[RBX] = 0xfffffff8;
	fake_hw.seg[SEG_DS].base = 0x300000;
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INVLPG };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.invlpgs, 1);
	assert_int_equal(seen.gva.v, 0x300008);
	assert_int_equal(fake_vcpu.regs.rip, 0x1004);
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INVLPG,
					   .insn_len = 3,
					   .invlpg = { GVA(0x7000), true } };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.invlpgs, 2);
	assert_int_equal(seen.gva.v, 0x7000);
	assert_int_equal(fake_vcpu.regs.rip, 0x1007);
}

/* 0: done; else the vector that was raised. */
static unsigned invpcid(uint64_t type, uint64_t pcid, uint64_t gva)
{
	const uint64_t descriptor[2] = { pcid, gva };

	code("", 0);
	memcpy(fake_ram + 0x2000, descriptor, sizeof(descriptor));
	fake_vcpu.regs.rip = 0x1000;
	fake_vcpu.stale = 0;
	fake_vcpu.events.pending.kind = EVENT_NONE;
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INVPCID,
					   .insn_len = 5,
					   .invpcid = { GVA(0x2000), type } };
	vm_exit_handle(&fake_vcpu);
	if (fake_vcpu.regs.rip == 0x1005 && (fake_vcpu.stale & VCPU_STALE_ROOT))
		return 0;
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_int_equal(fake_vcpu.stale, 0);
	return fake_vcpu.events.pending.vector;
}

static void test_invpcid(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 4; type++)
		assert_int_equal(invpcid(type, 0, 0x5000), 0);
	assert_int_equal(invpcid(4, 0, 0x5000), VEC_GP);
	assert_int_equal(invpcid(UINT64_MAX, 0, 0x5000), VEC_GP);
	assert_int_equal(invpcid(0, 7, 0x5000), VEC_GP);
	assert_int_equal(invpcid(1, 7, 0x5000), VEC_GP);
	assert_int_equal(invpcid(2, 7, 0x5000), 0);
	assert_int_equal(invpcid(3, BIT(12), 0x5000), VEC_GP);
	assert_int_equal(invpcid(0, 0, BIT(47)), VEC_GP);
	assert_int_equal(invpcid(1, 0, BIT(47)), 0);
	fake_hw.reg[REG_CR4] |= CR4_PCIDE;
	assert_int_equal(invpcid(0, 7, 0x5000), 0);
	fake_hw.reg[REG_CPL] = 3;
	assert_int_equal(invpcid(2, 0, 0), VEC_GP);
	fake_hw.reg[REG_CPL] = 0;
	fake_invpcid_exits = false;
	assert_int_equal(invpcid(2, 0, 0), VEC_UD);
}

/* --- an instruction that another vCPU has written over --- */

static void cr_exit(enum vm_exit_kind kind, uint8_t nr)
{
	fake_vcpu.exit =
		(struct vm_exit){ .kind = kind, .cr = { .nr = nr, .gpr = VM_EXIT_GPR_UNKNOWN } };
	fake_vcpu.regs.rip = 0x1000;
	vm_exit_handle(&fake_vcpu);
}

static void expect_left_alone(void)
{
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_int_equal(fake_vcpu.vm->stop_reason, VM_STOP_NONE);
}

/* A user's SMSW has exited, and the kernel's MOV stands there by now. */
static void test_smsw_becomes_mov(void **state)
{
	uint64_t cr0;

	(void)state;
	code("\x0f\x22\xc0\x90\x90\x90\x90\x90\x90\x90", 10); /* mov cr0, eax */
	cr0 = fake_hw.reg[REG_CR0];
	fake_hw.reg[REG_CPL] = 3;
	fake_vcpu.regs.gpr[RAX] = CR0_PE;
	cr_exit(EXIT_CR_READ, 0);
	assert_int_equal(fake_hw.reg[REG_CR0], cr0);
	expect_left_alone();
	fake_hw.reg[REG_CR3] = 0x5000;
	code("\x0f\x20\xd8\x90\x90\x90\x90\x90\x90\x90", 10); /* mov eax, cr3 */
	cr_exit(EXIT_CR_READ, 3);
	assert_int_equal(fake_vcpu.regs.gpr[RAX], CR0_PE);
	expect_left_alone();
	code("\x0f\x01\xe0\x90\x90\x90\x90\x90\x90\x90", 10); /* smsw eax */
	cr_exit(EXIT_CR_READ, 0);
	assert_int_equal(fake_vcpu.regs.gpr[RAX], cr0);
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
}

/* The kernel's own: the other way, another register, none at all. */
static void test_cr_insn_becomes_another(void **state)
{
	uint64_t cr4 = fake_hw.reg[REG_CR4];

	(void)state;
	fake_vcpu.regs.gpr[RAX] = cr4 ^ CR4_PGE;
	code("\x0f\x22\xe0\x90\x90\x90\x90\x90\x90\x90", 10); /* mov cr4, eax */
	cr_exit(EXIT_CR_READ, 4);
	expect_left_alone();
	cr_exit(EXIT_CR_WRITE, 0);
	expect_left_alone();
	assert_int_equal(fake_hw.reg[REG_CR4], cr4);
	cr_exit(EXIT_CR_WRITE, 4);
	assert_int_equal(fake_hw.reg[REG_CR4], cr4 ^ CR4_PGE);
	code("\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90", 10);
	for (unsigned i = 0; i < 1000; i++)
		cr_exit(EXIT_CR_WRITE, 4);
	expect_left_alone();
	cr_exit(EXIT_CR_WRITE, 4);
	assert_int_equal(fake_vcpu.vm->stop_reason, VM_STOP_ERROR);
}

/* --- CR3 read and written back --- */

static void cr3_read(void)
{
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_CR_READ,
					   .cr = { .nr = 3, .gpr = VM_EXIT_GPR_UNKNOWN } };
	fake_vcpu.regs.rip = 0x1000;
	vm_exit_handle(&fake_vcpu);
}

static void test_cr3_written_back_in_one_exit(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR3] = 0x5000;
	code("\x0f\x20\xd8\x0f\x22\xd8\x90\x90\x90\x90", 10); /* mov eax, cr3; mov cr3, eax */
	loads_root();
	cr3_read();
	assert_int_equal(fake_vcpu.regs.gpr[RAX], 0x5000);
	assert_int_equal(fake_vcpu.regs.rip, 0x1006);
	assert_true(loads_root());
	/* Something else behind it, TF, an interrupt that is due: the read alone. */
	fake_hw.intr_pending = true;
	cr3_read();
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
	fake_hw.intr_pending = false;
	fake_vcpu.regs.rflags |= RFLAGS_TF;
	cr3_read();
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
	fake_vcpu.regs.rflags &= ~RFLAGS_TF;
	fake_vcpu.events.pending.kind = EVENT_NONE;
	memcpy(fake_ram + 0x1003, "\x0f\x22\xe0", 3); /* mov cr4, eax */
	cr3_read();
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
	assert_false(loads_root());
}

/* Another register, and what it holds is refused: the fault is the second instruction's. */
static void test_cr3_write_ahead_faults(void **state)
{
	(void)state;
	code("\x0f\x20\xd8\x0f\x22\xd9\x90\x90\x90\x90", 10); /* mov eax, cr3; mov cr3, ecx */
	pae();
	fake_hw.reg[REG_CR0] &= ~CR0_PG;
	fake_hw.seg[SEG_CS].limit = UINT32_MAX;
	fake_vcpu.regs.gpr[RCX] = 0x4000;
	cr3_read();
	assert_int_equal(fake_hw.reg[REG_CR3], 0x4000);
	assert_int_equal(fake_vcpu.regs.rip, 0x1006);
}

/* --- audits, counters --- */

static void exit_once(void)
{
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INTR };
	vm_exit_handle(&fake_vcpu);
}

static void test_audit(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		exit_once();
	assert_int_equal(seen.audits, 0);
	vm_tables_destroy(&fake_vm);
	cfg.audit = 3;
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	for (unsigned i = 0; i < 10; i++)
		exit_once();
	assert_int_equal(seen.audits, 3);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	seen.wrong = true;
	exit_once();
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	exit_once();
	assert_int_equal(fake_vm.stop_reason, VM_STOP_ERROR);
	assert_string_equal(fake_vm.stop_text, "the shadow is wrong: entry 7");
}

static void test_counters(void **state)
{
	(void)state;
	fake_vm.tables.driven_out = 9;
	vm_shadow_print(&fake_vm);
	expect_log("vm test: shadow faults             12345\n");
	expect_log("vm test: shadow emulated             678\n");
	expect_log("vm test: shadow interrupts             9\n");
	expect_log("vm test: shadow KiB                   40\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fault_is_filled),
		TEST(test_fault_is_the_guests),
		TEST(test_fault_on_a_device),
		TEST(test_fault_is_emulated_on_memory),
		TEST(test_fault_on_a_fetch_from_nowhere),
		TEST(test_no_memory_stops),
		TEST(test_fault_beside_a_device),
		TEST(test_device_beside_others),
		TEST(test_delivery_is_looked_at_again),
		TEST(test_fault_alone),
		TEST(test_audit_beside_others),
		TEST(test_invlpg),
		TEST(test_invpcid),
		TEST(test_smsw_becomes_mov),
		TEST(test_cr_insn_becomes_another),
		TEST(test_cr3_written_back_in_one_exit),
		TEST(test_cr3_write_ahead_faults),
		TEST(test_audit),
		TEST(test_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
