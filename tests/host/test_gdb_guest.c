/* A guest as GDB's target: registers, points, stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
/* What it calls is stood in for; the others of its part are as they are. */
#define debug_set_point fake_debug_set_point
#define debug_clear_point fake_debug_clear_point
#define debug_set_listener fake_debug_set_listener
#define debug_pause fake_debug_pause
#define debug_continue fake_debug_continue
#define debug_step fake_debug_step
#define debug_clear fake_debug_clear
#define vmm_kill_vm fake_vmm_kill_vm
#define vmm_vm fake_vmm_vm
#define debug_hold_restart fake_debug_hold_restart
#define inspect_read_gva fake_inspect_read_gva
#define inspect_write_gva fake_inspect_write_gva
#define dispatch_aside fake_dispatch_aside
#define gdb_send fake_gdb_send
#include "vmm/debug.h"
#include "vmm/gdb/target.h"
#include "vmm/inspect.h"
#include "vmm/monitor/dispatch.h"
#include "vmm/run.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#include "vmm/gdb/target_guest.c"

#define POINTS 4

static struct vm_config cfg = { .name = "guest" }, second_cfg = { .name = "second" };
static struct vm guest, second;
static struct vcpu vcpu, second_vcpu;
#define P 5u /* its number */
#define THREAD GDB_THREAD(P, 1)
static struct segment seg[SEG_REGS];
static uint64_t reg[VCPU_REGS];
static struct gdb_stub gdb;
static const struct gdb_target *const t = &gdb_guest_target;

/* --- stand-ins --- */

static struct debug_point points[POINTS];
static unsigned nr_points;
static void (*listener)(struct vm *vm, const struct debug_stop *stop);
static char calls[256];

static void called(const char *what)
{
	strcat(calls, what);
	strcat(calls, " ");
}

static void expect_calls(const char *want)
{
	assert_string_equal(calls, want);
	calls[0] = '\0';
}

static unsigned find(const struct debug_point *p)
{
	unsigned i = 0;

	while (i < nr_points && (points[i].kind != p->kind || points[i].at.v != p->at.v ||
				 points[i].size != p->size))
		i++;
	return i;
}

int debug_set_point(struct vm *v, const struct debug_point *point)
{
	assert_ptr_equal(v, &guest);
	assert_true(point->size <= 8 && IS_ALIGNED(point->at.v, point->size));
	if (find(point) < nr_points)
		return -EEXIST;
	if (nr_points == POINTS)
		return -ENOSPC;
	points[nr_points++] = *point;
	return 0;
}

int debug_clear_point(struct vm *v, const struct debug_point *point)
{
	unsigned i = find(point);

	assert_ptr_equal(v, &guest);
	if (i == nr_points)
		return -ENOENT;
	points[i] = points[--nr_points];
	return 0;
}

void debug_set_listener(struct vm *v, void (*stopped)(struct vm *vm, const struct debug_stop *stop))
{
	if (v == &guest)
		listener = stopped;
}

static struct debug_stop second_stop = { .reason = DEBUG_ASKED, .vcpu = &second_vcpu };

/* It stops at once; the second for what is in second_stop. */
int debug_pause(struct vm *v)
{
	called(v == &guest ? "pause" : "pause-second");
	v->state = VM_PAUSED;
	if (v == &second)
		guest_stopped(v, &second_stop);
	return 0;
}

void debug_hold_restart(struct vm *v, bool on)
{
	if (v->debug.held != on)
		called(on ? "hold" : "release");
	v->debug.held = on;
}

struct vm *vmm_vm(unsigned index)
{
	return index == 4 ? &guest : index == 6 ? &second : NULL;
}

int debug_continue(struct vm *v)
{
	called(v == &guest ? "continue" : "continue-second");
	v->state = VM_RUNNING;
	return 0;
}

int debug_step(struct vcpu *v)
{
	assert_ptr_equal(v, &vcpu);
	called("step");
	return 0;
}

void debug_clear(struct vm *v)
{
	called(v == &guest ? "clear" : "clear-second");
	if (v != &guest)
		return;
	nr_points = 0;
	listener = NULL;
}

int vmm_kill_vm(struct vm *v)
{
	assert_ptr_equal(v, &guest);
	called("kill");
	return 0;
}

size_t inspect_read_gva(const struct vcpu *v, gva_t gva, void *buf, size_t n)
{
	assert_ptr_equal(v, &vcpu);
	memset(buf, (int)gva.v, n);
	return n;
}

size_t inspect_write_gva(struct vcpu *v, gva_t gva, const void *buf, size_t n)
{
	(void)v;
	(void)gva;
	(void)buf;
	return n;
}

void dispatch_aside(const char *line, char *buf, size_t size)
{
	memset(buf, *line, size - 1);
	buf[size - 1] = '\0';
}

void gdb_send(void)
{
	called("send");
}

static uint64_t get_reg(const struct vcpu *v, enum vcpu_reg r)
{
	assert_ptr_equal(v, &vcpu);
	return reg[r];
}

static void set_reg(struct vcpu *v, enum vcpu_reg r, uint64_t val)
{
	assert_ptr_equal(v, &vcpu);
	reg[r] = val;
}

static void get_seg(const struct vcpu *v, enum seg_reg r, struct segment *s)
{
	assert_ptr_equal(v, &vcpu);
	*s = seg[r];
}

static void set_seg(struct vcpu *v, enum seg_reg r, const struct segment *s)
{
	assert_ptr_equal(v, &vcpu);
	seg[r] = *s;
}

static const struct vmm_backend backend = {
	.get_reg = get_reg,
	.set_reg = set_reg,
	.get_seg = get_seg,
	.set_seg = set_seg,
};

static int setup(void **state)
{
	(void)state;
	memset(&vcpu, 0, sizeof(vcpu));
	memset(reg, 0, sizeof(reg));
	memset(seg, 0, sizeof(seg));
	nr_points = 0;
	calls[0] = '\0';
	guest = (struct vm){ .id = 4, .cfg = &cfg, .backend = &backend, .nr_vcpus = 1 };
	guest.state = VM_PAUSED;
	guest.vcpu[0] = &vcpu;
	vcpu.vm = &guest;
	vcpu.hot = reg;
	reg[REG_EFER] = EFER_LMA | EFER_LME;
	reg[REG_CS_ATTR] = SEG_ATTR_L;
	second = (struct vm){ .id = 6, .cfg = &second_cfg, .backend = &backend, .nr_vcpus = 1 };
	second.vcpu[0] = &second_vcpu;
	second_vcpu.vm = &second;
	memset(debuggees, 0, sizeof(debuggees));
	gdb_guest_choose(&gdb, &guest);
	adopt(&guest);
	gdb_stub_init(&gdb, t);
	calls[0] = '\0';
	return 0;
}

/* --- tests --- */

static bool set(enum gdb_reg r, uint64_t val)
{
	uint8_t bytes[GDB_REG_BYTES] = { 0 };

	memcpy(bytes, &val, sizeof(val));
	return t->set_reg(THREAD, r, bytes);
}

static uint64_t get(enum gdb_reg r)
{
	uint8_t bytes[GDB_REG_BYTES];
	uint64_t val;

	assert_true(t->get_reg(THREAD, r, bytes));
	memcpy(&val, bytes, sizeof(val));
	return val;
}

static void test_registers(void **state)
{
	(void)state;
	vcpu.regs.gpr[RSP] = 0x1122334455667788;
	vcpu.regs.rip = 0x1000;
	reg[REG_CR3] = 0x5000;
	reg[REG_CR8] = 7;
	reg[REG_KERNEL_GS_BASE] = 0x77;
	seg[SEG_GS] = (struct segment){ .selector = 0x2b, .base = 0xffff888000000000 };
	assert_int_equal(get(GDB_RAX + 4), 0x1122334455667788);
	assert_int_equal(get(GDB_RIP), 0x1000);
	assert_int_equal(get(GDB_CR3), 0x5000);
	assert_int_equal(get(GDB_CR8), 7);
	assert_int_equal(get(GDB_K_GS_BASE), 0x77);
	assert_int_equal(get(GDB_ES + 5), 0x2b);
	assert_int_equal(get(GDB_GS_BASE), 0xffff888000000000);
	assert_true(set(GDB_RAX + 15, 5));
	assert_int_equal(vcpu.regs.gpr[R15], 5);
	assert_true(set(GDB_FS_BASE, 0x1234));
	assert_int_equal(seg[SEG_FS].base, 0x1234);
	/* What the processor would refuse, or what more hangs on. */
	assert_false(set(GDB_FS_BASE, 0x8000000000000000));
	assert_false(set(GDB_CR0, 0));
	assert_false(set(GDB_EFER, 0));
	assert_false(set(GDB_ES + 1, 0));
	assert_false(t->get_reg(GDB_THREAD(P, 2), GDB_RIP, (uint8_t[GDB_REG_BYTES]){ 0 }));
	assert_false(t->set_reg(0, GDB_RIP, (uint8_t[GDB_REG_BYTES]){ 0 }));
}

static void test_rip(void **state)
{
	(void)state;
	reg[REG_INTR_SHADOW] = 1;
	vcpu.state = VCPU_HALTED;
	assert_true(set(GDB_RIP, 0xffffffff81000000));
	assert_int_equal(vcpu.state, VCPU_RUNNABLE);
	assert_int_equal(reg[REG_INTR_SHADOW], 0);
	assert_false(set(GDB_RIP, 0x0000800000000000));
	assert_int_equal(vcpu.regs.rip, 0xffffffff81000000);
	reg[REG_CR4] = CR4_LA57;
	assert_true(set(GDB_RIP, 0x0000800000000000));
	reg[REG_EFER] = 0;
	reg[REG_CS_ATTR] = SEG_ATTR_DB;
	assert_false(set(GDB_RIP, 0x100000000));
	assert_true(set(GDB_RIP, 0xffffffff));
	/* No bit of RFLAGS that would change the mode. */
	vcpu.regs.rflags = RFLAGS_FIXED;
	assert_true(set(GDB_RFLAGS, UINT64_MAX));
	assert_int_equal(vcpu.regs.rflags & (RFLAGS_VM | RFLAGS_VIP | RFLAGS_IOPL), 0);
	assert_true(vcpu.regs.rflags & RFLAGS_IF);
	assert_true(set(GDB_RFLAGS, 0));
	assert_int_equal(vcpu.regs.rflags, RFLAGS_FIXED);
}

static void test_mode(void **state)
{
	(void)state;
	assert_int_equal(t->arch(P), GDB_AMD64);
	reg[REG_EFER] = 0;
	assert_int_equal(t->arch(P), GDB_I386);
	gdb_guest_leave();
	gdb_guest_choose(&gdb, NULL);
	expect_calls("clear continue ");
	assert_int_equal(t->attached(0), 0);
	assert_int_equal(t->threads(P), 0);
	assert_int_equal(t->arch(P), GDB_AMD64);
	assert_int_equal(t->set_point(P, GDB_POINT_WRITE, 0, 8), -ENODEV);
	assert_int_equal(t->resume(P), -ENODEV);
	assert_int_equal(t->resume(0), -ENODEV);
	assert_int_equal(t->resume(100), -ENODEV);
	assert_int_equal(t->step(THREAD), -ENODEV);
	assert_int_equal(t->kill(P), -ENODEV);
	t->begin();
	t->detach(P);
	t->interrupt(0);
	expect_calls("");
}

static void test_fpu(void **state)
{
	uint8_t val[GDB_REG_BYTES];

	(void)state;
	for (int loaded = 0; loaded < 2; loaded++) {
		vcpu.loaded = loaded;
		memset(val, 0x40 + loaded, sizeof(val));
		assert_true(t->set_reg(THREAD, GDB_XMM0 + 3, val));
		memset(val, 0, sizeof(val));
		assert_true(t->get_reg(THREAD, GDB_XMM0 + 3, val));
		assert_int_equal(val[15], 0x40 + loaded);
	}
}

/* Areas of any size and place are watched by aligned pieces; all of them or none. */
static void test_watch(void **state)
{
	(void)state;
	assert_int_equal(t->set_point(P, GDB_POINT_WRITE, 0x1003, 9), 0);
	assert_int_equal(nr_points, 3); /* 1, 4, 4 */
	assert_int_equal(points[0].at.v, 0x1003);
	assert_int_equal(points[0].size, 1);
	assert_int_equal(points[2].at.v, 0x1008);
	assert_int_equal(points[2].size, 4);
	assert_int_equal(t->set_point(P, GDB_POINT_WRITE, 0x2000, 16), -ENOSPC);
	assert_int_equal(nr_points, 3);
	assert_int_equal(t->clear_point(P, GDB_POINT_WRITE, 0x1003, 9), 0);
	assert_int_equal(nr_points, 0);
	assert_int_equal(t->clear_point(P, GDB_POINT_WRITE, 0x1003, 9), -ENOENT);
	assert_int_equal(t->set_point(P, GDB_POINT_READ, 0x2000, 32), 0);
	assert_int_equal(points[3].kind, DEBUG_ACCESS);
	assert_int_equal(t->clear_point(P, GDB_POINT_READ, 0x2000, 32), 0);
	assert_int_equal(t->set_point(P, GDB_POINT_WRITE, 0x2000, 33), -ENOSPC);
	assert_int_equal(t->set_point(P, GDB_POINT_WRITE, 0x2000, UINT32_MAX), -ENOSPC);
	assert_int_equal(t->set_point(P, GDB_POINT_WRITE, 0x2000, 0), -EINVAL);
	assert_int_equal(t->clear_point(P, GDB_POINT_WRITE, 0x2000, UINT32_MAX), -ENOENT);
	/* The size of an instruction is nothing to a breakpoint. */
	assert_int_equal(t->set_point(P, GDB_POINT_HARDWARE, 0x1001, 15), 0);
	assert_int_equal(t->set_point(P, GDB_POINT_SOFTWARE, 0x1001, 1), 0);
	assert_int_equal(points[0].kind, DEBUG_EXEC);
	assert_int_equal(points[1].kind, DEBUG_EXEC_INT3);
	assert_int_equal(points[1].size, 1);
}

/* The reply that the stub sends for this stop. */
static const char *told(const struct debug_stop *stop)
{
	static char text[256];
	size_t n = 0;
	int c;

	gdb.answer_stop = true;
	guest_stopped(&guest, stop);
	assert_non_null(strstr(calls, "send "));
	calls[0] = '\0';
	while ((c = gdb_stub_next(&gdb)) >= 0)
		text[n++] = (char)c;
	text[n] = '\0';
	assert_non_null(strchr(text, '#'));
	*strchr(text, '#') = '\0';
	return text + 1;
}

static void test_stops(void **state)
{
	(void)state;
	t->begin();
	expect_calls("clear ");
	assert_non_null(listener);
	gdb.swbreak = gdb.hwbreak = true;
	assert_string_equal(told(&(struct debug_stop){ .reason = DEBUG_ASKED, .vcpu = &vcpu }),
			    "T02thread:1;");
	assert_string_equal(told(&(struct debug_stop){ .reason = DEBUG_STEPPED, .vcpu = &vcpu }),
			    "T05thread:1;");
	assert_string_equal(
		told(&(struct debug_stop){ .reason = DEBUG_POINT,
					   .vcpu = &vcpu,
					   .point = { DEBUG_EXEC_INT3, GVA(0x10), 1 } }),
		"T05swbreak:;thread:1;");
	assert_string_equal(told(&(struct debug_stop){ .reason = DEBUG_POINT,
						       .vcpu = &vcpu,
						       .point = { DEBUG_EXEC, GVA(0x10), 1 } }),
			    "T05hwbreak:;thread:1;");
	assert_string_equal(told(&(struct debug_stop){ .reason = DEBUG_POINT,
						       .vcpu = &vcpu,
						       .point = { DEBUG_WRITE, GVA(0x10), 8 } }),
			    "T05watch:10;thread:1;");
	/* A crash leaves it to be looked at; a power-off does not. */
	guest.stop_reason = VM_STOP_TRIPLE;
	assert_string_equal(told(&(struct debug_stop){ .reason = DEBUG_VM_ENDED, .vcpu = &vcpu }),
			    "T0bthread:1;");
	assert_string_equal(told(&(struct debug_stop){ .reason = DEBUG_VM_ENDED }), "X0b");
	adopt(&guest);
	guest.stop_reason = VM_STOP_POWEROFF;
	assert_string_equal(told(&(struct debug_stop){ .reason = DEBUG_VM_ENDED, .vcpu = &vcpu }),
			    "W00");
}

/* What GDB had set would stop the VM's next life, and nobody would be told. */
static void test_end_of_the_vm(void **state)
{
	(void)state;
	t->begin();
	t->set_point(P, GDB_POINT_HARDWARE, 0x1000, 1);
	guest.stop_reason = VM_STOP_RESET;
	told(&(struct debug_stop){ .reason = DEBUG_VM_ENDED });
	assert_int_equal(nr_points, 0);
	assert_null(listener);
	gdb_guest_leave();
	expect_calls("");
}

static void test_leave(void **state)
{
	(void)state;
	t->begin();
	t->set_point(P, GDB_POINT_HARDWARE, 0x1000, 1);
	gdb_guest_leave();
	expect_calls("clear clear continue ");
	assert_int_equal(nr_points, 0);
	gdb_guest_leave();
	expect_calls("");
	t->begin();
	assert_int_equal(t->kill(P), 0);
	expect_calls("clear clear kill ");
}

/* What the stub has said, without the checksum; "": nothing. */
static const char *said(void)
{
	static char text[256];
	size_t n = 0;
	int c;

	while ((c = gdb_stub_next(&gdb)) >= 0)
		text[n++] = (char)c;
	text[n] = '\0';
	if (strchr(text, '#'))
		*strchr(text, '#') = '\0';
	return text;
}

static void attach_second(void)
{
	gdb.multiprocess = true;
	second.state = VM_PAUSED;
	assert_int_equal(t->attach(7), 0);
	expect_calls("clear-second ");
}

static void test_two(void **state)
{
	const char *name, *text;

	(void)state;
	assert_int_equal(t->attach(5), -EEXIST);
	assert_int_equal(t->attach(6), -ENODEV);
	assert_int_equal(t->attach(0), -ENODEV);
	assert_int_equal(t->threads(7), 0);
	attach_second();
	assert_int_equal(t->attached(0), 5);
	assert_int_equal(t->attached(5), 7);
	assert_int_equal(t->attached(7), 0);
	assert_true(t->look(7, &name, &text));
	assert_string_equal(name, "second");
	assert_string_equal(text, "paused");
	assert_false(t->look(6, &name, &text));
	/* When one stops so do all, of which no more is said. */
	assert_int_equal(t->resume(5) | t->resume(7), 0);
	gdb.answer_stop = true;
	guest.state = VM_PAUSED;
	guest_stopped(&guest, &(struct debug_stop){ .reason = DEBUG_STEPPED, .vcpu = &vcpu });
	expect_calls("continue continue-second pause-second send ");
	assert_string_equal(said(), "$T05thread:p5.1;");
	/* But what the other has come to meanwhile is, once it is to go on. */
	assert_int_equal(t->resume(5) | t->resume(7), 0);
	second_stop = (struct debug_stop){ .reason = DEBUG_POINT,
					   .vcpu = &second_vcpu,
					   .point = { DEBUG_WRITE, GVA(8), 8 } };
	gdb.answer_stop = true;
	t->interrupt(5);
	guest_stopped(&guest, &(struct debug_stop){ .reason = DEBUG_ASKED, .vcpu = &vcpu });
	second_stop = (struct debug_stop){ .reason = DEBUG_ASKED, .vcpu = &second_vcpu };
	assert_string_equal(said(), "$T02thread:p5.1;");
	gdb.answer_stop = true;
	calls[0] = '\0';
	assert_int_equal(t->step(GDB_THREAD(7u, 1)), 0);
	expect_calls("send ");
	assert_string_equal(said(), "$T05watch:8;thread:p7.1;");
	/* Another session begins with the one that was chosen alone. */
	t->begin();
	expect_calls("clear clear-second continue-second ");
	assert_int_equal(t->attached(5), 0);
}

/* A VM that is made anew stops before it begins; one that crashed waits to be looked at. */
static void test_restart(void **state)
{
	struct debug_stop end = { .reason = DEBUG_VM_ENDED, .again = true };
	const struct debug_stop started = { .reason = DEBUG_VM_STARTED, .vcpu = &vcpu };

	(void)state;
	gdb.answer_stop = true;
	guest.state = VM_STOPPED;
	guest.stop_reason = VM_STOP_RESET;
	guest_stopped(&guest, &end);
	assert_string_equal(said(), "");
	guest.state = VM_PAUSED;
	guest_stopped(&guest, &started);
	assert_string_equal(said(), "$T05thread:1;");
	expect_calls("send ");
	/* It crashes. */
	gdb.answer_stop = true;
	guest.state = VM_STOPPED;
	guest.stop_reason = VM_STOP_TRIPLE;
	end.vcpu = &vcpu;
	guest_stopped(&guest, &end);
	assert_string_equal(said(), "$T0bthread:1;");
	expect_calls("hold send ");
	guest.restart.armed = true;
	gdb.answer_stop = true;
	assert_int_equal(t->resume(P), 0);
	expect_calls("release ");
	/* And cannot be started. */
	guest.restart.armed = false;
	guest.nr_vcpus = 0;
	guest.stop_reason = VM_STOP_NONE;
	guest_stopped(&guest, &(struct debug_stop){ .reason = DEBUG_VM_ENDED });
	assert_string_equal(said(), "$X06");
	expect_calls("clear send ");
	assert_int_equal(t->threads(P), 0);
}

/* An end that GDB did not wait for is told when it has the VM go on. */
static void test_end_unseen(void **state)
{
	(void)state;
	guest.state = VM_STOPPED;
	guest.stop_reason = VM_STOP_KILLED;
	guest.nr_vcpus = 0;
	guest_stopped(&guest, &(struct debug_stop){ .reason = DEBUG_VM_ENDED });
	assert_string_equal(said(), "");
	gdb.answer_stop = true;
	assert_int_equal(t->resume(P), 0);
	assert_string_equal(said(), "$W00");
	assert_int_equal(t->resume(P), -ENODEV);
}

/* Nor of one that the operator has had followed by a new life: that one goes on. */
static void test_started_unseen(void **state)
{
	(void)state;
	guest.state = VM_STOPPED;
	guest.stop_reason = VM_STOP_KILLED;
	guest.nr_vcpus = 0;
	guest_stopped(&guest, &(struct debug_stop){ .reason = DEBUG_VM_ENDED });
	guest.state = VM_PAUSED;
	guest.nr_vcpus = 1;
	guest_stopped(&guest, &(struct debug_stop){ .reason = DEBUG_VM_STARTED, .vcpu = &vcpu });
	calls[0] = '\0';
	gdb.answer_stop = true;
	assert_int_equal(t->resume(P), 0);
	assert_string_equal(said(), "");
	expect_calls("continue ");
}

/* The operator's `resume` behind GDB's back: GDB waits for it, or has it stop, and hears of no
 * error. */
static void test_resumed_by_another(void **state)
{
	(void)state;
	guest.state = VM_RUNNING;
	assert_int_equal(t->resume(P), 0);
	expect_calls("");
	assert_int_equal(t->step(THREAD), 0);
	expect_calls("pause ");
	guest.state = VM_PAUSED;
	assert_int_equal(t->step(THREAD), 0);
	expect_calls("step ");
	assert_int_equal(t->resume(P), 0);
	expect_calls("continue ");
}

static void test_rest(void **state)
{
	char text[64];

	(void)state;
	t->thread_name(THREAD, text, sizeof(text));
	assert_string_equal(text, "guest vCPU 0");
	vcpu.state = VCPU_WAIT_SIPI;
	t->thread_name(THREAD, text, sizeof(text));
	assert_string_equal(text, "guest vCPU 0, offline");
	vcpu.state = VCPU_RUNNABLE;
	assert_false(t->running(P));
	guest.state = VM_RUNNING;
	assert_true(t->running(P));
	assert_true(t->command("vms", text, sizeof(text)));
	assert_int_equal(strlen(text), sizeof(text) - 1);
	assert_int_equal(t->read(THREAD, 0x41, text, 4), 4);
	assert_int_equal(t->read(GDB_THREAD(P, 2), 0x41, text, 4), 0);
	assert_int_equal(t->write(GDB_THREAD(P, 2), 0x41, text, 4), 0);
	assert_ptr_equal(gdb_guest_vm(), &guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_registers, setup),
		cmocka_unit_test_setup(test_rip, setup),
		cmocka_unit_test_setup(test_mode, setup),
		cmocka_unit_test_setup(test_fpu, setup),
		cmocka_unit_test_setup(test_watch, setup),
		cmocka_unit_test_setup(test_stops, setup),
		cmocka_unit_test_setup(test_end_of_the_vm, setup),
		cmocka_unit_test_setup(test_leave, setup),
		cmocka_unit_test_setup(test_two, setup),
		cmocka_unit_test_setup(test_restart, setup),
		cmocka_unit_test_setup(test_end_unseen, setup),
		cmocka_unit_test_setup(test_started_unseen, setup),
		cmocka_unit_test_setup(test_resumed_by_another, setup),
		cmocka_unit_test_setup(test_rest, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
