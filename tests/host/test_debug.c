/* Points, steps, and the debug registers that the guest believes in. */
#include "arch/x86_64/include/errno.h"
#include "tests/host/emu_fixture.h"
#include "vmm/debug.h"
#include "vmm/debug_core.h"
#include "vmm/dr.h"
#include "vmm/exit.h"

#define POINT (CODE + 0x100)
#define POINT_PA (CODE_PA + 0x100)
#define DATA UINT64_C(0x200000)
#define IDT UINT64_C(0x210000)
#define HANDLER (CODE + 0x800)
#define HANDLER_PA (CODE_PA + 0x800)
#define STACK UINT64_C(0x220000)
#define DR7_POINT_0 UINT64_C(0x402) /* G0, code */

static int setup(void **state)
{
	if (fx_setup(state))
		return -1;
	fx.reg[REG_DR7] = DR7_INIT;
	fx.vcpu.regs.gpr[RSP] = STACK;
	fx.vm.nr_vcpus = 1;
	fx.seg[SEG_IDTR] = (struct segment){ .base = IDT, .limit = 0xfff };
	memset(fx.ram + CODE_PA, 0x90, 2 * PAGE_SIZE);
	return 0;
}

static int set_point(enum debug_kind kind, uint64_t at, unsigned size)
{
	return debug_set_point(&fx.vm, &(struct debug_point){ kind, GVA(at), size });
}

static int clear_point(enum debug_kind kind, uint64_t at, unsigned size)
{
	return debug_clear_point(&fx.vm, &(struct debug_point){ kind, GVA(at), size });
}

/* The guest leaves with an exception. */
static void exits_with(unsigned vector, uint64_t dr6, unsigned insn_len)
{
	fx.reg[REG_DR6] = DR6_INIT | dr6;
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_EXCEPTION,
					 .insn_len = (uint8_t)insn_len,
					 .exception = { .vector = (uint8_t)vector } };
	vm_exit_handle(&fx.vcpu);
}

static void asserts_stop(enum debug_reason reason)
{
	if (!fx.vm.pause_requested)
		fail_msg("expected the VM to be asked to pause");
	assert_int_equal(debug_last_stop(&fx.vm)->reason, reason);
	assert_ptr_equal(debug_last_stop(&fx.vm)->vcpu, &fx.vcpu);
}

static void asserts_no_stop(void)
{
	if (fx.vm.pause_requested)
		fail_msg("expected no stop, seen reason %d", debug_last_stop(&fx.vm)->reason);
}

/* As debug_step() has it, whose VM would run. */
static void begin_step(void)
{
	fx.vcpu.debug.step = true;
	debug_update(&fx.vcpu);
	vcpu_inject_pending(&fx.vcpu);
}

/* --- points --- */

static void test_points_are_judged(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_WRITE, DATA + 2, 4), -EINVAL);
	assert_int_equal(set_point(DEBUG_WRITE, DATA, 3), -EINVAL);
	assert_int_equal(set_point(DEBUG_ACCESS, DATA, 16), -EINVAL);
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 2), -EINVAL);
	assert_int_equal(set_point(DEBUG_EXEC_INT3, NOWHERE, 1), -EFAULT);
	/* A kernel's address of 64 bits, before the guest has such: its lower half is another
	 * place. */
	fx_mode_32();
	assert_int_equal(set_point(DEBUG_EXEC_INT3, UINT64_C(0xffffffff00000000) | CODE_PA, 1),
			 -EFAULT);
	assert_int_equal(set_point(DEBUG_EXEC_INT3, CODE_PA, 1), 0);
	assert_int_equal(clear_point(DEBUG_EXEC_INT3, CODE_PA, 1), 0);
	fx_mode_64();
	assert_null(debug_point(&fx.vm, 0));
	assert_false(fx.vcpu.debug.on);
	for (unsigned i = 0; i < DEBUG_HARDWARE_POINTS; i++)
		assert_int_equal(set_point(DEBUG_EXEC, POINT + i, 1), 0);
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 1), -EEXIST);
	assert_int_equal(set_point(DEBUG_EXEC, POINT + 8, 1), -ENOSPC);
	assert_int_equal(set_point(DEBUG_EXEC_INT3, POINT + 8, 1), 0);
	assert_int_equal(debug_point(&fx.vm, 4)->kind, DEBUG_EXEC_INT3);
	assert_int_equal(clear_point(DEBUG_WRITE, DATA, 4), -ENOENT);
	assert_int_equal(clear_point(DEBUG_EXEC, POINT, 1), 0);
	assert_int_equal(debug_point(&fx.vm, 0)->at.v, POINT + 1);
}

static void test_guest_keeps_its_registers(void **state)
{
	(void)state;
	fx.vcpu.dr[0] = 0x1234;
	fx.reg[REG_DR7] = 0xd0402; /* its own: a write of 4 bytes there, by DR0 */
	fx.reg[REG_DR6] = 0xffff0ff4;
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	assert_true(fx.intercept_dr);
	assert_int_equal(dr_read(&fx.vcpu, 0), 0x1234);
	assert_int_equal(dr_read(&fx.vcpu, 7), 0xd0402);
	assert_int_equal(dr_read(&fx.vcpu, 6), 0xffff0ff4);
	assert_int_equal(dr_hardware(&fx.vcpu)[0], 0x1234);
	assert_int_equal(dr_hardware(&fx.vcpu)[1], POINT);
	assert_int_equal(fx.reg[REG_DR7], 0xd040a);
	assert_true(fx.vcpu.stale & VCPU_STALE_DR);
	assert_int_equal(clear_point(DEBUG_EXEC, POINT, 1), 0);
	assert_false(fx.intercept_dr);
	assert_int_equal(fx.reg[REG_DR7], 0xd0402);
	assert_int_equal(fx.reg[REG_DR6], 0xffff0ff4);
	assert_int_equal(dr_hardware(&fx.vcpu)[1], 0);
}

static void test_guest_moves_to_dr(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 1), 0);
	fx.vcpu.regs.gpr[RAX] = 0x5678;
	FX_CODE(0x0f, 0x23, 0xc8); /* mov dr1, rax */
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_DR, .insn_len = 3 };
	vm_exit_handle(&fx.vcpu);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 3);
	fx.vcpu.regs.gpr[RAX] = 0x408;
	fx.vcpu.regs.rip = CODE;
	FX_CODE(0x0f, 0x23, 0xf8); /* mov dr7, rax */
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_DR, .insn_len = 3 };
	vm_exit_handle(&fx.vcpu);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(dr_read(&fx.vcpu, 7), 0x408);
	assert_int_equal(dr_hardware(&fx.vcpu)[1], 0x5678);
	assert_int_equal(dr_hardware(&fx.vcpu)[0], POINT);
	assert_int_equal(fx.reg[REG_DR7], 0x40a);
	fx.vcpu.regs.rip = CODE;
	FX_CODE(0x0f, 0x21, 0xc2); /* mov rdx, dr0: its own, not the point */
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_DR, .insn_len = 3 };
	vm_exit_handle(&fx.vcpu);
	assert_int_equal(fx.vcpu.regs.gpr[RDX], 0);
}

/* Too many: the points stay, what does not fit of the guest's is out, and comes back. */
static void test_guest_gives_way(void **state)
{
	(void)state;
	fx.reg[REG_DR7] = DR7_INIT | 0xaa; /* all four on code */
	for (unsigned i = 0; i < 4; i++)
		fx.vcpu.dr[i] = 0x100 * (i + 1);
	assert_int_equal(set_point(DEBUG_WRITE, DATA, 8), 0);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(dr_hardware(&fx.vcpu)[0], DATA);
	assert_int_equal(dr_hardware(&fx.vcpu)[1], 0x200);
	assert_int_equal(fx.reg[REG_DR7], DR7_INIT | 0xaa | 0x90000);
	debug_clear(&fx.vm);
	assert_int_equal(dr_hardware(&fx.vcpu)[0], 0x100);
	assert_int_equal(fx.reg[REG_DR7], DR7_INIT | 0xaa);
}

/* What may meet a range is left out, whosever it is. */
static void test_kept_from_a_range(void **state)
{
	(void)state;
	fx.vcpu.dr[0] = 0x1000;
	fx.vcpu.dr[1] = 0x1fff;
	fx.vcpu.dr[2] = 0x2000;
	fx.vcpu.dr[3] = 0xff8;
	assert_int_equal(dr_without(&fx.vcpu, 0xfff004ff, 0x1000, 0x2000), 0xfff004f0);
	fx.vcpu.dr[3] = 0xff9;
	assert_int_equal(dr_without(&fx.vcpu, 0xfff004ff, 0x1000, 0x2000), 0xfff00430);
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(dr_without(&fx.vcpu, DR7_POINT_0, POINT, POINT + 1), DR7_INIT);
}

/* --- #DB --- */

static void test_db_of_a_point(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.reg[REG_DR7], DR7_POINT_0);
	fx.vcpu.regs.rip = POINT;
	exits_with(VEC_DB, 1, 0);
	assert_nothing_raised();
	asserts_stop(DEBUG_POINT);
	assert_int_equal(debug_last_stop(&fx.vm)->point.at.v, POINT);
	assert_int_equal(dr_read(&fx.vcpu, 6), DR6_INIT);
}

static void test_db_of_the_guest(void **state)
{
	(void)state;
	fx.reg[REG_DR7] = 0xd00404; /* DR1 */
	fx.vcpu.dr[1] = DATA;
	assert_int_equal(set_point(DEBUG_WRITE, DATA, 4), 0);
	vcpu_inject_pending(&fx.vcpu);
	exits_with(VEC_DB, 2, 0);
	asserts_no_stop();
	assert_raised(VEC_DB, 0);
	assert_int_equal(dr_read(&fx.vcpu, 6), DR6_INIT | 2);
	/* Both at once. */
	vcpu_event_delivered(&fx.vcpu);
	exits_with(VEC_DB, 3, 0);
	asserts_stop(DEBUG_POINT);
	assert_raised(VEC_DB, 0);
}

/* A guest's own single steps, and INT1, of which DR6 says nothing. */
static void test_db_without_points_hit(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	exits_with(VEC_DB, DR6_BS, 0);
	asserts_no_stop();
	assert_raised(VEC_DB, 0);
	assert_int_equal(dr_read(&fx.vcpu, 6), DR6_INIT | DR6_BS);
	vcpu_event_delivered(&fx.vcpu);
	exits_with(VEC_DB, 0, 1);
	assert_int_equal(fx.vcpu.events.pending.kind, EVENT_SOFT_EXC);
}

/* --- INT3 --- */

static void test_int3(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC_INT3, POINT, 1), 0);
	assert_int_equal(fx.ram[POINT_PA], 0x90);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.ram[POINT_PA], 0xcc);
	assert_true(fx.intercepted >> VEC_BP & 1);
	fx.vcpu.regs.rip = POINT;
	exits_with(VEC_BP, 0, 1);
	assert_nothing_raised();
	asserts_stop(DEBUG_POINT);
	assert_int_equal(fx.vcpu.regs.rip, POINT);
	debug_paused(&fx.vm);
	assert_int_equal(fx.ram[POINT_PA], 0x90);
	if (!strstr(fake_log, "break, rip 0x"))
		fail_msg("expected a line for the operator, seen \"%s\"", fake_log);
	/* He waits for it: it is not among what a quiet log leaves out. */
	assert_int_equal(fake_log_level, LOG_WARN);
	/* Of several vCPUs he is told which. */
	fx.vm.nr_vcpus = 2;
	fx.vcpu.id = 1;
	debug_say_stop(&fx.vm, debug_last_stop(&fx.vm));
	fx.vm.nr_vcpus = 1;
	fx.vcpu.id = 0;
	if (!strstr(fake_log, ": vcpu 1: break, rip 0x"))
		fail_msg("expected the vCPU's number, seen \"%s\"", fake_log);
	/* On from there: the instruction runs with no INT3 in memory, by a step of its own. */
	fx.vm.pause_requested = false;
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.ram[POINT_PA], 0x90);
	assert_true(fx.vcpu.regs.rflags & RFLAGS_TF);
	fx.vcpu.regs.rip = POINT + 1;
	exits_with(VEC_DB, DR6_BS, 0);
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
	assert_nothing_raised();
	asserts_no_stop();
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.ram[POINT_PA], 0xcc);
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
}

static void test_int3_of_the_guest(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC_INT3, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	exits_with(VEC_BP, 0, 1);
	asserts_no_stop();
	assert_int_equal(fx.vcpu.events.pending.kind, EVENT_SOFT_EXC);
	assert_int_equal(fx.vcpu.events.pending.insn_len, 1);
	vcpu_event_delivered(&fx.vcpu);
	/* With prefixes, of which SVM says nothing. */
	FX_CODE(0x66, 0xf2, 0xcc);
	exits_with(VEC_BP, 0, 1);
	asserts_no_stop();
	assert_int_equal(fx.vcpu.events.pending.insn_len, 3);
	vcpu_event_delivered(&fx.vcpu);
	/* As the hardware that has but INT n's exit tells it; and INT n itself. */
	FX_CODE(0xcc);
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_SOFT_INT };
	vm_exit_handle(&fx.vcpu);
	assert_int_equal(fx.vcpu.events.pending.kind, EVENT_SOFT_EXC);
	vcpu_event_delivered(&fx.vcpu);
	FX_CODE(0xcd, 0x80);
	vm_exit_handle(&fx.vcpu);
	assert_int_equal(fx.vcpu.events.pending.kind, EVENT_SOFT_INT);
	assert_int_equal(fx.vcpu.events.pending.vector, 0x80);
	assert_int_equal(fx.vcpu.events.pending.insn_len, 2);
}

/* Its gate is not for user code. */
static void test_int3_refused(void **state)
{
	uint64_t gate = UINT64_C(0x8e) << 40; /* DPL 0 */

	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC_INT3, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	memcpy(fx.ram + IDT + 16 * VEC_BP, &gate, sizeof(gate));
	fx.reg[REG_CPL] = 3;
	exits_with(VEC_BP, 0, 1);
	asserts_no_stop();
	assert_raised(VEC_GP, VEC_BP << 3 | 2);
	vcpu_event_delivered(&fx.vcpu);
	gate |= UINT64_C(3) << 45;
	memcpy(fx.ram + IDT + 16 * VEC_BP, &gate, sizeof(gate));
	exits_with(VEC_BP, 0, 1);
	assert_int_equal(fx.vcpu.events.pending.kind, EVENT_SOFT_EXC);
}

static void test_int3_overwritten(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC_INT3, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	fx.ram[POINT_PA] = 0xc3;
	debug_lift(&fx.vm);
	assert_int_equal(fx.ram[POINT_PA], 0xc3);
}

/* --- steps --- */

static void test_step(void **state)
{
	(void)state;
	fx.reg[REG_INTR_SHADOW] = 1;
	begin_step();
	assert_true(fx.vcpu.regs.rflags & RFLAGS_TF);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 0);
	assert_int_equal(fx.intercepted | 1 << VEC_NMI, 0xffffffff);
	fx.vcpu.regs.rip++;
	exits_with(VEC_DB, DR6_BS, 0);
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
	assert_nothing_raised();
	asserts_stop(DEBUG_STEPPED);
	assert_int_equal(fx.intercepted, 0);
	assert_int_equal(fx.reg[REG_DR6], DR6_INIT);
	assert_false(fx.vcpu.debug.on);
}

/* The guest steps itself meanwhile: it gets its own trap. */
static void test_step_of_a_step(void **state)
{
	(void)state;
	fx.vcpu.regs.rflags |= RFLAGS_TF;
	begin_step();
	fx.vcpu.regs.rip++;
	exits_with(VEC_DB, DR6_BS, 0);
	asserts_stop(DEBUG_STEPPED);
	assert_true(fx.vcpu.regs.rflags & RFLAGS_TF);
	assert_raised(VEC_DB, 0);
	assert_int_equal(fx.reg[REG_DR6], DR6_INIT | DR6_BS);
}

static void test_step_interrupted(void **state)
{
	(void)state;
	fx.reg[REG_INTR_SHADOW] = 1;
	begin_step();
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_INTR };
	vm_exit_handle(&fx.vcpu);
	asserts_no_stop();
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
	assert_int_equal(fx.reg[REG_INTR_SHADOW], 1);
	assert_true(fx.vcpu.debug.step);
}

static void test_step_of_what_exits(void **state)
{
	(void)state;
	begin_step();
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_CPUID, .insn_len = 2 };
	vm_exit_handle(&fx.vcpu);
	asserts_stop(DEBUG_STEPPED);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 2);
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
	assert_nothing_raised();
}

static void test_step_of_pushf(void **state)
{
	uint64_t image;

	(void)state;
	FX_CODE(0x9c);
	begin_step();
	asserts_stop(DEBUG_STEPPED);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 1);
	memcpy(&image, fx.ram + STACK - 8, 8);
	assert_int_equal(image & RFLAGS_TF, 0);
	assert_int_equal(fx.vcpu.regs.gpr[RSP], STACK - 8);
}

static void test_step_of_popf(void **state)
{
	(void)state;
	FX_CODE(0x9d);
	begin_step();
	fx.vcpu.regs.rip++;
	fx.vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_TF; /* what it has popped */
	exits_with(VEC_DB, DR6_BS, 0);
	asserts_stop(DEBUG_STEPPED);
	assert_true(fx.vcpu.regs.rflags & RFLAGS_TF);
	assert_nothing_raised();
}

static void test_step_of_syscall(void **state)
{
	(void)state;
	fx.reg[REG_SFMASK] = 0x47700;
	FX_CODE(0x0f, 0x05);
	begin_step();
	assert_int_equal(fx.reg[REG_SFMASK], 0x47600);
	fx.vcpu.regs.gpr[R11] = fx.vcpu.regs.rflags;
	fx.vcpu.regs.rip = HANDLER;
	exits_with(VEC_DB, DR6_BS, 0);
	asserts_stop(DEBUG_STEPPED);
	assert_int_equal(fx.reg[REG_SFMASK], 0x47700);
	assert_int_equal(fx.vcpu.regs.gpr[R11] & RFLAGS_TF, 0);
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
}

/* An exception in a step: it is delivered, and the handler's first instruction is where it ends. */
static void test_step_of_a_fault(void **state)
{
	uint64_t gate[2] = { (HANDLER & 0xffff) | 0x8e0000080000 | (HANDLER & 0xffff0000) << 32,
			     HANDLER >> 32 };

	(void)state;
	memcpy(fx.ram + IDT + VEC_UD * 16, gate, sizeof(gate));
	begin_step();
	exits_with(VEC_UD, 0, 0);
	asserts_no_stop();
	assert_raised(VEC_UD, 0);
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
	vcpu_inject_pending(&fx.vcpu);
	assert_int_equal(fx.injected, 1);
	assert_int_equal(fx.ram[HANDLER_PA], 0xcc);
	assert_false(fx.vcpu.regs.rflags & RFLAGS_TF);
	fx.vcpu.regs.rip = HANDLER;
	exits_with(VEC_BP, 0, 1);
	asserts_stop(DEBUG_STEPPED);
	assert_nothing_raised();
	assert_int_equal(fx.ram[HANDLER_PA], 0x90);
}

/* A point is where emulated code is, too; and a watch sees what is emulated. */
/* INT n of virtual-8086 mode, which VME leads past the IDT or not. */
static void test_step_of_redirected_int(void **state)
{
	static const uint16_t io_map = 0x88;
	static const uint32_t entry = 0x12340056;
	gva_t handler;

	(void)state;
	fx_mode_32();
	FX_CODE(0x66, 0xcd, 0x80);
	fx.vcpu.regs.rflags |= RFLAGS_VM;
	fx.reg[REG_CR4] = CR4_VME;
	fx.seg[SEG_TR] = (struct segment){ .base = 0x3000, .limit = 0xfff };
	fx.seg[SEG_IDTR].limit = 0;
	memcpy(fx.ram + 0x3066, &io_map, sizeof(io_map));
	memset(fx.ram + 0x3068, 0, 32);
	memcpy(fx.ram + 0x80 * 4, &entry, sizeof(entry));
	assert_true(debug_int_handler(&fx.vcpu, &handler));
	assert_int_equal(handler.v, 0x12396);
	fx.ram[0x3068 + 0x80 / 8] = 1;
	assert_false(debug_int_handler(&fx.vcpu, &handler));
	fx.ram[0x3068 + 0x80 / 8] = 0;
	fx.reg[REG_CR4] = 0;
	assert_false(debug_int_handler(&fx.vcpu, &handler));
}

static void test_emulated(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC, CODE, 1), 0);
	assert_int_equal(set_point(DEBUG_WRITE, DATA, 4), 0);
	fx.vcpu.regs.gpr[RBX] = DATA;
	FX_CODE(0x89, 0x03); /* mov [rbx], eax */
	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_EMULATE };
	vm_exit_handle(&fx.vcpu);
	asserts_stop(DEBUG_POINT);
	assert_int_equal(fx.vcpu.regs.rip, CODE);
	debug_paused(&fx.vm);
	fx.vm.pause_requested = false;
	vcpu_inject_pending(&fx.vcpu);
	vm_exit_handle(&fx.vcpu);
	asserts_stop(DEBUG_POINT);
	assert_int_equal(debug_last_stop(&fx.vm)->point.kind, DEBUG_WRITE);
	assert_int_equal(fx.vcpu.regs.rip, CODE + 2);
}

/* --- the VM's ends --- */

static void test_forget(void **state)
{
	(void)state;
	assert_int_equal(set_point(DEBUG_EXEC, POINT, 1), 0);
	assert_int_equal(set_point(DEBUG_EXEC_INT3, POINT, 1), 0);
	vcpu_inject_pending(&fx.vcpu);
	debug_ended(&fx.vm, false);
	assert_int_equal(fx.ram[POINT_PA], 0x90);
	assert_int_equal(debug_last_stop(&fx.vm)->reason, DEBUG_VM_ENDED);
	debug_forget(&fx.vm);
	assert_int_equal(debug_point(&fx.vm, 0)->kind, DEBUG_EXEC);
	assert_null(debug_point(&fx.vm, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_points_are_judged),
		TEST(test_guest_keeps_its_registers),
		TEST(test_guest_moves_to_dr),
		TEST(test_guest_gives_way),
		TEST(test_kept_from_a_range),
		TEST(test_db_of_a_point),
		TEST(test_db_of_the_guest),
		TEST(test_db_without_points_hit),
		TEST(test_int3),
		TEST(test_int3_of_the_guest),
		TEST(test_int3_refused),
		TEST(test_int3_overwritten),
		TEST(test_step),
		TEST(test_step_of_a_step),
		TEST(test_step_interrupted),
		TEST(test_step_of_what_exits),
		TEST(test_step_of_pushf),
		TEST(test_step_of_popf),
		TEST(test_step_of_syscall),
		TEST(test_step_of_a_fault),
		TEST(test_step_of_redirected_int),
		TEST(test_emulated),
		TEST(test_forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
