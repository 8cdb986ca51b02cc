#include <stddef.h>

#include "arch/x86_64/fpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "vmm/debug.h"
#include "vmm/gdb/target.h"
#include "vmm/inspect.h"
#include "vmm/monitor/dispatch.h"
#include "vmm/monitor/line.h"
#include "vmm/run.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define FX_IMAGE 512
#define WATCH_MAX 8 /* bytes of a watch point */

/* What a session keeps of a VM. */
struct debuggee {
	bool attached;
	bool pending; /* it stopped while the others were stopped: GDB is yet to be told */
	struct gdb_stop stop;
};

static struct gdb_stub *stub;
static struct vm *chosen; /* that a session begins with; NULL: none */
static struct debuggee debuggees[VM_MAX];
static bool halting; /* GDB is told of one stop: the others' are not its own */

/* --- VMs and vCPUs --- */

/* The VM whose number that is; NULL: none. */
static struct vm *process_vm(unsigned process)
{
	return process ? vmm_vm(process - 1) : NULL;
}

static struct debuggee *debuggee(const struct vm *vm)
{
	return &debuggees[vm->id];
}

/* The same, if GDB is attached to it. */
static struct vm *attached_vm(unsigned process)
{
	struct vm *vm = process_vm(process);

	return vm && debuggee(vm)->attached ? vm : NULL;
}

static struct vcpu *thread_vcpu(unsigned thread)
{
	const struct vm *vm = attached_vm(GDB_PROCESS_OF(thread));
	unsigned number = GDB_NUMBER_OF(thread);

	return vm && number && number <= vm->nr_vcpus ? vm->vcpu[number - 1] : NULL;
}

static unsigned thread_of(const struct vm *vm, const struct vcpu *vcpu)
{
	return GDB_THREAD(vm->id + 1, vcpu ? vcpu->id + 1 : 1);
}

static bool guest_look(unsigned process, const char **name, const char **state)
{
	static const char *const states[] = {
		[VM_RUNNING] = "running",
		[VM_PAUSED] = "paused",
		[VM_STOPPED] = "stopped",
	};
	const struct vm *vm = process_vm(process);

	if (!vm)
		return false;
	*name = vm->cfg->name;
	*state = vm->state == VM_STOPPED && vm->nr_vcpus ? "crashed" : states[vm->state];
	return true;
}

static unsigned guest_attached(unsigned process)
{
	while (++process <= VM_MAX)
		if (attached_vm(process))
			return process;
	return 0;
}

static unsigned guest_threads(unsigned process)
{
	const struct vm *vm = attached_vm(process);

	return vm ? vm->nr_vcpus : 0;
}

static void guest_thread_name(unsigned thread, char *buf, size_t size)
{
	const struct vcpu *vcpu = thread_vcpu(thread);
	const char *state = "";

	if (!vcpu)
		return;
	if (vcpu->vm->state == VM_STOPPED)
		state = ", crashed";
	else if (vcpu->state == VCPU_HALTED)
		state = ", halted";
	else if (vcpu->state == VCPU_WAIT_SIPI)
		state = ", offline";
	ksnprintf(buf, size, "%s vCPU %u%s", vcpu->vm->cfg->name, vcpu->id, state);
}

static bool guest_running(unsigned process)
{
	const struct vm *vm = attached_vm(process);

	return vm && vm->state == VM_RUNNING;
}

static enum gdb_arch guest_arch(unsigned process)
{
	const struct vcpu *vcpu = thread_vcpu(GDB_THREAD(process, 1));

	return !vcpu || (vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA) ? GDB_AMD64 : GDB_I386;
}

/* --- registers --- */

static void read_image(const struct vcpu *vcpu, uint8_t image[FX_IMAGE])
{
	if (vcpu->loaded)
		fpu_image_read(image);
	else
		fpu_area_image_read(vcpu->fpu, image);
}

static void write_image(struct vcpu *vcpu, const uint8_t image[FX_IMAGE])
{
	if (vcpu->loaded)
		fpu_image_write(image);
	else
		fpu_area_image_write(vcpu->fpu, image);
}

static uint64_t selector(const struct vcpu *vcpu, enum seg_reg reg)
{
	struct segment seg;

	vcpu->vm->backend->get_seg(vcpu, reg, &seg);
	return seg.selector;
}

/* What the backend keeps under a number of its own. */
static bool backend_reg(enum gdb_reg reg, enum vcpu_reg *number)
{
	static const enum vcpu_reg numbers[] = {
		[0] = REG_KERNEL_GS_BASE,
		[GDB_CR0 - GDB_K_GS_BASE] = REG_CR0,
		[GDB_CR2 - GDB_K_GS_BASE] = REG_CR2,
		[GDB_CR3 - GDB_K_GS_BASE] = REG_CR3,
		[GDB_CR4 - GDB_K_GS_BASE] = REG_CR4,
		[GDB_CR8 - GDB_K_GS_BASE] = REG_CR8,
		[GDB_EFER - GDB_K_GS_BASE] = REG_EFER,
	};

	if (reg < GDB_K_GS_BASE || reg >= GDB_REGS)
		return false;
	*number = numbers[reg - GDB_K_GS_BASE];
	return true;
}

static bool read_word(const struct vcpu *vcpu, enum gdb_reg reg, uint64_t *word)
{
	enum vcpu_reg number;

	if (reg < GDB_RIP)
		*word = vcpu->regs.gpr[reg - GDB_RAX];
	else if (reg == GDB_RIP)
		*word = vcpu->regs.rip;
	else if (reg == GDB_RFLAGS)
		*word = vcpu->regs.rflags;
	else if (reg < GDB_ST0)
		*word = selector(vcpu, (enum seg_reg)(SEG_ES + reg - GDB_ES));
	else if (reg == GDB_FS_BASE)
		*word = vcpu_seg_base(vcpu, SEG_FS);
	else if (reg == GDB_GS_BASE)
		*word = vcpu_seg_base(vcpu, SEG_GS);
	else if (backend_reg(reg, &number))
		*word = vcpu->vm->backend->get_reg(vcpu, number);
	else
		return false;
	return true;
}

static bool guest_get_reg(unsigned thread, enum gdb_reg reg, uint8_t val[GDB_REG_BYTES])
{
	const struct vcpu *vcpu = thread_vcpu(thread);
	uint8_t image[FX_IMAGE];
	uint64_t word;

	if (!vcpu)
		return false;
	if (!read_word(vcpu, reg, &word)) {
		read_image(vcpu, image);
		return gdb_fx_get(image, reg, val);
	}
	memset(val, 0, GDB_REG_BYTES);
	memcpy(val, &word, sizeof(word));
	return true;
}

static bool canonical(const struct vcpu *vcpu, uint64_t addr)
{
	return addr_is_canonical(addr, vcpu_hot_reg(vcpu, REG_CR4) & CR4_LA57 ? 57 : 48);
}

/* The processor refuses a RIP that its mode cannot have. */
static bool write_rip(struct vcpu *vcpu, uint64_t rip)
{
	const struct vmm_backend *be = vcpu->vm->backend;

	if (vcpu_code_size(vcpu) == 8 ? !canonical(vcpu, rip) : rip > UINT32_MAX)
		return false;
	vcpu->regs.rip = rip;
	be->set_reg(vcpu, REG_INTR_SHADOW, 0);
	if (vcpu->state == VCPU_HALTED)
		vcpu->state = VCPU_RUNNABLE;
	return true;
}

#define RFLAGS_OPEN                                                                                \
	(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_IF |       \
	 RFLAGS_DF | RFLAGS_OF | RFLAGS_AC | RFLAGS_ID)

static bool write_base(struct vcpu *vcpu, enum seg_reg reg, uint64_t base)
{
	struct segment seg;

	if (!canonical(vcpu, base))
		return false;
	vcpu->vm->backend->get_seg(vcpu, reg, &seg);
	seg.base = base;
	vcpu->vm->backend->set_seg(vcpu, reg, &seg);
	return true;
}

/* Selectors and control registers cannot be written: what hangs on them would not follow. */
static bool guest_set_reg(unsigned thread, enum gdb_reg reg, const uint8_t val[GDB_REG_BYTES])
{
	struct vcpu *vcpu = thread_vcpu(thread);
	uint8_t image[FX_IMAGE];
	uint64_t word;

	if (!vcpu)
		return false;
	memcpy(&word, val, sizeof(word));
	if (reg < GDB_RIP) {
		vcpu->regs.gpr[reg - GDB_RAX] = word;
		return true;
	}
	if (reg == GDB_RIP)
		return write_rip(vcpu, word);
	if (reg == GDB_RFLAGS) {
		vcpu->regs.rflags =
			(vcpu->regs.rflags & ~(uint64_t)RFLAGS_OPEN) | (word & RFLAGS_OPEN);
		return true;
	}
	if (reg == GDB_FS_BASE || reg == GDB_GS_BASE)
		return write_base(vcpu, reg == GDB_FS_BASE ? SEG_FS : SEG_GS, word);
	read_image(vcpu, image);
	if (!gdb_fx_set(image, reg, val))
		return false;
	write_image(vcpu, image);
	return true;
}

/* --- memory --- */

static size_t guest_read(unsigned thread, uint64_t at, void *buf, size_t n)
{
	const struct vcpu *vcpu = thread_vcpu(thread);

	return vcpu ? inspect_read_gva(vcpu, GVA(at), buf, n) : 0;
}

static size_t guest_write(unsigned thread, uint64_t at, const void *buf, size_t n)
{
	struct vcpu *vcpu = thread_vcpu(thread);

	return vcpu ? inspect_write_gva(vcpu, GVA(at), buf, n) : 0;
}

/* --- points --- */

static const enum debug_kind point_kind[GDB_POINTS] = {
	[GDB_POINT_SOFTWARE] = DEBUG_EXEC_INT3, [GDB_POINT_HARDWARE] = DEBUG_EXEC,
	[GDB_POINT_WRITE] = DEBUG_WRITE,        [GDB_POINT_READ] = DEBUG_ACCESS,
	[GDB_POINT_ACCESS] = DEBUG_ACCESS,
};

/* The largest aligned piece at the start of an area to be watched. */
static unsigned first_piece(uint64_t at, unsigned left)
{
	unsigned size = WATCH_MAX;

	while (size > left || !IS_ALIGNED(at, size))
		size /= 2;
	return size;
}

static int clear_pieces(struct vm *vm, enum gdb_point kind, uint64_t at, unsigned size)
{
	int result = 0;

	for (unsigned done = 0, n; done < size; done += n) {
		struct debug_point point = { point_kind[kind], GVA(at + done), 1 };
		int err;

		n = point.size = first_piece(at + done, size - done);
		err = debug_clear_point(vm, &point);
		if (err)
			result = err;
	}
	return result;
}

static bool is_watch(enum gdb_point kind)
{
	return kind >= GDB_POINT_WRITE;
}

static int guest_clear_point(unsigned process, enum gdb_point kind, uint64_t at, unsigned size)
{
	struct vm *vm = attached_vm(process);
	const struct debug_point point = { point_kind[kind], GVA(at), 1 };

	if (!vm)
		return -ENODEV;
	if (!is_watch(kind))
		return debug_clear_point(vm, &point);
	return size <= DEBUG_HARDWARE_POINTS * WATCH_MAX ? clear_pieces(vm, kind, at, size)
							 : -ENOENT;
}

/* A debug register watches 8 aligned bytes at most: several watch a larger area. */
static int guest_set_point(unsigned process, enum gdb_point kind, uint64_t at, unsigned size)
{
	struct vm *vm = attached_vm(process);
	struct debug_point point = { point_kind[kind], GVA(at), 1 };
	int err = 0;

	if (!vm)
		return -ENODEV;
	if (!is_watch(kind))
		return debug_set_point(vm, &point);
	if (!size || size > DEBUG_HARDWARE_POINTS * WATCH_MAX)
		return size ? -ENOSPC : -EINVAL;
	for (unsigned done = 0; done < size; done += point.size) {
		point.at = GVA(at + done);
		point.size = first_piece(at + done, size - done);
		err = debug_set_point(vm, &point);
		if (err) {
			clear_pieces(vm, kind, at, done);
			return err;
		}
	}
	return 0;
}

/* --- running --- */

static bool crashed(const struct vm *v)
{
	return v->stop_reason == VM_STOP_TRIPLE || v->stop_reason == VM_STOP_ERROR;
}

static void describe(struct vm *vm, const struct debug_stop *from, struct gdb_stop *to)
{
	static const enum gdb_point kinds[] = {
		[DEBUG_EXEC] = GDB_POINT_HARDWARE,
		[DEBUG_EXEC_INT3] = GDB_POINT_SOFTWARE,
		[DEBUG_WRITE] = GDB_POINT_WRITE,
		[DEBUG_ACCESS] = GDB_POINT_ACCESS,
	};

	*to = (struct gdb_stop){ .signal = GDB_SIGTRAP, .thread = thread_of(vm, from->vcpu) };
	switch (from->reason) {
	case DEBUG_ASKED:
		to->signal = GDB_SIGINT;
		break;
	case DEBUG_STEPPED:
	case DEBUG_VM_STARTED:
		break;
	case DEBUG_POINT:
		to->at_point = true;
		to->point = kinds[from->point.kind];
		to->at = from->point.at.v;
		break;
	case DEBUG_VM_ENDED:
		/* One that crashed is there to be looked at. */
		to->ended = !crashed(vm) || !from->vcpu;
		to->signal = crashed(vm) ? GDB_SIGSEGV : 0;
		if (vm->stop_reason == VM_STOP_NONE) /* it could not be started */
			to->signal = GDB_SIGABRT;
		break;
	}
}

static void forget(struct vm *vm)
{
	debug_clear(vm);
	debug_hold_restart(vm, false);
	*debuggee(vm) = (struct debuggee){ 0 };
}

/* For GDB all stop when one does. What one of them stops for meanwhile is told when it is to go on
 * again. */
static void halt_others(const struct vm *but)
{
	halting = true;
	for (unsigned p = guest_attached(0); p; p = guest_attached(p))
		if (process_vm(p) != but && guest_running(p))
			debug_pause(process_vm(p));
	halting = false;
}

static void tell(struct vm *vm, const struct gdb_stop *stop)
{
	halt_others(vm);
	/* GDB says no more of it: the VM's next life must not stop where nobody listens. */
	if (stop->ended)
		forget(vm);
	gdb_stub_stopped(stub, stop);
	gdb_send();
}

static void guest_stopped(struct vm *vm, const struct debug_stop *stop)
{
	struct debuggee *d = debuggee(vm);
	struct gdb_stop told;

	if (!d->attached)
		return;
	describe(vm, stop, &told);
	/* An end that was not told yet is over. */
	if (stop->reason == DEBUG_VM_STARTED)
		d->pending = false;
	/* GDB learns of the new start; one that crashed can be looked at before. */
	if (stop->reason == DEBUG_VM_ENDED && stop->again) {
		if (told.ended)
			return;
		debug_hold_restart(vm, true);
	}
	if (halting || (told.ended && !gdb_stub_waits(stub))) {
		d->pending |= stop->reason != DEBUG_ASKED;
		d->stop = told;
		return;
	}
	tell(vm, &told);
}

/* The session sees to this VM. */
static void adopt(struct vm *vm)
{
	debug_clear(vm);
	debug_set_listener(vm, guest_stopped);
	*debuggee(vm) = (struct debuggee){ .attached = true };
}

/* True: GDB is told now of what it was not yet. */
static bool tell_pending(struct vm *vm)
{
	struct debuggee *d = debuggee(vm);
	struct gdb_stop stop = d->stop;

	if (!d->pending)
		return false;
	d->pending = false;
	tell(vm, &stop);
	return true;
}

static int guest_resume(unsigned process)
{
	struct vm *vm = attached_vm(process);

	if (!vm)
		return -ENODEV;
	if (tell_pending(vm))
		return 0;
	debug_hold_restart(vm, false);
	if (vm->restart.armed)
		return 0;
	if (!vm->nr_vcpus) {
		forget(vm);
		return -ENODEV;
	}
	if (guest_running(process)) /* the operator has let it go on already */
		return 0;
	return debug_continue(vm);
}

static int guest_step(unsigned thread)
{
	struct vm *vm = attached_vm(GDB_PROCESS_OF(thread));
	struct vcpu *vcpu = thread_vcpu(thread);

	if (!vcpu || vm->restart.armed)
		return guest_resume(GDB_PROCESS_OF(thread));
	if (tell_pending(vm))
		return 0;
	if (guest_running(GDB_PROCESS_OF(thread))) { /* by the operator: it stops where it is */
		debug_pause(vm);
		return 0;
	}
	return debug_step(vcpu);
}

static void guest_interrupt(unsigned process)
{
	if (!process)
		for (process = guest_attached(0); process && !guest_running(process);)
			process = guest_attached(process);
	if (guest_running(process))
		debug_pause(process_vm(process));
}

static void guest_detach(unsigned process)
{
	struct vm *vm = attached_vm(process);

	if (!vm)
		return;
	forget(vm);
	debug_continue(vm);
}

static void detach_all(void)
{
	for (unsigned p = guest_attached(0); p; p = guest_attached(p))
		guest_detach(p);
}

/* The chosen VM stays as it is, the others of another session go on. */
static void guest_begin(void)
{
	if (chosen)
		adopt(chosen);
	for (unsigned p = guest_attached(0); p; p = guest_attached(p))
		if (process_vm(p) != chosen)
			guest_detach(p);
}

static int guest_attach(unsigned process)
{
	struct vm *vm = process_vm(process);

	if (!vm || !vm->nr_vcpus)
		return -ENODEV;
	if (debuggee(vm)->attached)
		return -EEXIST;
	adopt(vm);
	return 0;
}

static int guest_kill(unsigned process)
{
	struct vm *vm = attached_vm(process);

	if (!vm)
		return -ENODEV;
	forget(vm);
	log_info("vm %s: gdb kills it", vm->cfg->name);
	return vmm_kill_vm(vm);
}

static_assert(GDB_COMMAND_MAX == LINE_TEXT_MAX, "GDB's lines are as long as typed ones");

static bool guest_command(const char *line, char *buf, size_t size)
{
	dispatch_aside(line, buf, size);
	return true;
}

const struct gdb_target gdb_guest_target = {
	.look = guest_look,
	.attached = guest_attached,
	.threads = guest_threads,
	.thread_name = guest_thread_name,
	.arch = guest_arch,
	.running = guest_running,
	.get_reg = guest_get_reg,
	.set_reg = guest_set_reg,
	.read = guest_read,
	.write = guest_write,
	.set_point = guest_set_point,
	.clear_point = guest_clear_point,
	.begin = guest_begin,
	.attach = guest_attach,
	.resume = guest_resume,
	.step = guest_step,
	.interrupt = guest_interrupt,
	.detach = guest_detach,
	.kill = guest_kill,
	.command = guest_command,
};

/* --- which one --- */

void gdb_guest_leave(void)
{
	detach_all();
}

void gdb_guest_choose(struct gdb_stub *s, struct vm *vm)
{
	stub = s;
	chosen = vm;
}

struct vm *gdb_guest_vm(void)
{
	return chosen;
}

bool gdb_guest_is_attached(const struct vm *vm)
{
	return debuggee(vm)->attached;
}
