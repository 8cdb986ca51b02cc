#include "vmm/vm_crash.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "vmm/backend.h"
#include "vmm/inspect.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* No line has more than 80 columns with the log's own word before it, whatever the VM's name is:
 * the first one names it, those below it are indented. */
#define WHERE_SIZE 48

static unsigned long long reg(const struct vcpu *vcpu, enum vcpu_reg which)
{
	return vcpu->vm->backend->get_reg(vcpu, which);
}

static void log_registers(const struct vcpu *vcpu)
{
	log_info("vm %s: vCPU %u, exit %s, cpl %u", vcpu->vm->cfg->name, vcpu->id,
		 vm_exit_name(vcpu->exit.kind), vcpu_cpl(vcpu));
	log_info("  rip %016llx  rsp %016llx  rflags %08llx", (unsigned long long)vcpu->regs.rip,
		 (unsigned long long)vcpu->regs.gpr[RSP], (unsigned long long)vcpu->regs.rflags);
	log_info("  cr2 %016llx  cr3 %016llx", reg(vcpu, REG_CR2), reg(vcpu, REG_CR3));
	log_info("  cr0 %08llx  cr4 %08llx  efer %04llx", reg(vcpu, REG_CR0), reg(vcpu, REG_CR4),
		 reg(vcpu, REG_EFER));
}

/* Do the nested tables, if it runs by them, lead where the memory map says? */
static bool nested_is_right(struct vm *vm, gpa_t gpa)
{
	uint64_t avail, page;
	unsigned rights;
	hpa_t pa;
	const void *mem = memmap_peek(&vm->mem, gpa, &avail);

	if (vm->shadow || !mem)
		return true;
	return nested_lookup(&vm->nested, gpa, &pa, &rights, &page) && hpa_to_ptr(pa) == mem;
}

/* A table without which no event is delivered: where it lies, and whether anything is there. */
static void log_table(const struct vcpu *vcpu, const char *what, enum seg_reg which)
{
	struct segment seg = { 0 };
	char where[WHERE_SIZE] = "not mapped";
	gpa_t gpa;

	vcpu->vm->backend->get_seg(vcpu, which, &seg);
	if (inspect_translate(vcpu, GVA(seg.base), &gpa))
		ksnprintf(where, sizeof(where), "at gpa 0x%llx%s", (unsigned long long)gpa.v,
			  nested_is_right(vcpu->vm, gpa) ? "" : ", nested wrong");
	log_info("  %s %016llx limit %08x, %s", what, (unsigned long long)seg.base, seg.limit,
		 where);
}

/* What leads to the handler of the event that it was given last. */
static void log_gate(const struct vcpu *vcpu)
{
	const struct vcpu_events *events = &vcpu->events;
	bool wide = reg(vcpu, REG_EFER) & EFER_LMA, protected = reg(vcpu, REG_CR0) & CR0_PE;
	size_t size = wide ? 16 : protected ? 8 : 4;
	const struct vm_event *ev;
	uint64_t gate[2] = { 0 };

	if (!events->nr_given)
		return;
	ev = &events->given[(events->nr_given - 1) % VCPU_EVENTS_KEPT].event;
	if (inspect_read_gva(vcpu, GVA(vcpu_seg_base(vcpu, SEG_IDTR) + size * ev->vector), gate,
			     size) == size)
		log_info("  gate %u is %016llx %016llx", ev->vector, (unsigned long long)gate[0],
			 (unsigned long long)gate[1]);
}

static void log_event(const char *when, const struct vm_event *ev)
{
	static const char *const kinds[] = {
		[EVENT_NONE] = "nothing", [EVENT_INTR] = "interrupt",
		[EVENT_NMI] = "NMI",      [EVENT_EXCEPTION] = "exception",
		[EVENT_SOFT_INT] = "INT", [EVENT_SOFT_EXC] = "INT3 or INTO,",
	};
	char error[WHERE_SIZE] = "";

	if (ev->has_error)
		ksnprintf(error, sizeof(error), " error 0x%x", ev->error);
	log_info("  %s %s %u%s", when, kinds[ev->kind], ev->vector, error);
}

static void log_events(const struct vcpu *vcpu)
{
	const struct vcpu_events *events = &vcpu->events;
	unsigned kept = MIN(events->nr_given, (unsigned)VCPU_EVENTS_KEPT);
	char when[WHERE_SIZE];

	for (unsigned i = events->nr_given - kept; i != events->nr_given; i++) {
		const struct given_event *given = &events->given[i % VCPU_EVENTS_KEPT];

		ksnprintf(when, sizeof(when), "at rip %016llx it was given",
			  (unsigned long long)given->rip);
		log_event(when, &given->event);
	}
	if (vcpu->exit.interrupted.kind != EVENT_NONE)
		log_event("being delivered:", &vcpu->exit.interrupted);
}

static void log_record(const char *text)
{
	log_info("%s", text);
}

static void log_traces(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		const struct exit_trace *trace = &vm->exits[i]->trace;

		if (exit_trace_count(trace) && vm->nr_vcpus > 1)
			log_info("vm %s: the last exits of vCPU %u:", vm->cfg->name, i);
		else if (exit_trace_count(trace))
			log_info("vm %s: its last exits:", vm->cfg->name);
		exit_trace_tail(trace, log_record);
	}
}

static void log_text(void *ctx, const char *text)
{
	(void)ctx;
	log_info("%s", text);
}

static void log_all(const struct vm *vm)
{
	const struct printer to_log = { .line = log_text };

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpu[i]->state == VCPU_WAIT_SIPI)
			continue;
		vcpu_dump(vm->vcpu[i]);
		vm->backend->dump(vm->vcpu[i], &to_log);
	}
}

void vm_crash_tell(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		const struct vcpu *vcpu = vm->vcpu[i];

		if (vcpu != vm->stopped_by)
			continue;
		log_registers(vcpu);
		log_table(vcpu, "idt", SEG_IDTR);
		log_table(vcpu, "gdt", SEG_GDTR);
		log_table(vcpu, "tss", SEG_TR);
		log_events(vcpu);
		log_gate(vcpu);
	}
	if (!vm_wants_restart(vm) && log_level() >= LOG_DEBUG)
		log_all(vm);
	log_traces(vm);
}
