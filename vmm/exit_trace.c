#include "vmm/exit_trace.h"

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/log.h"
#include "vmm/vcpu.h"

#define TRACE_BYTES (EXIT_TRACE_RECORDS * sizeof(struct exit_record))
static_assert(sizeof(struct exit_record) == 32, "the ring fills whole frames");

#define KIND_SHIFT 56
#define TSC_MASK BITS(55, 0)

/* info of EXIT_IO */
#define IO_PORT BITS(15, 0)
#define IO_SIZE(info) ((info) >> 16 & 7)
#define IO_IN BIT(24)
#define IO_STRING BIT(25)
#define IO_REP BIT(26)

/* info of EXIT_NESTED_FAULT */
#define NESTED_READ BIT(0)
#define NESTED_WRITE BIT(1)
#define NESTED_FETCH BIT(2)
#define NESTED_WALK BIT(3)

/* info of EXIT_CR_WRITE: the register's number, and whether detail is what it gets */
#define CR_NR BITS(7, 0)
#define CR_VALUE BIT(8)

int exit_trace_on(struct exit_trace *t)
{
	if (t->records)
		return -EBUSY;
	t->records = kalloc(TRACE_BYTES);
	t->total = 0;
	return t->records ? 0 : trace_error(-ENOMEM);
}

void exit_trace_off(struct exit_trace *t)
{
	kfree(t->records, TRACE_BYTES);
	*t = (struct exit_trace){ 0 };
}

/* --- recording --- */

static void record_io(struct exit_record *r, const struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;

	r->info = exit->io.port | (uint32_t)exit->io.size << 16;
	if (exit->io.in)
		r->info |= IO_IN;
	if (exit->io.string)
		r->info |= IO_STRING;
	if (exit->io.rep)
		r->info |= IO_REP;
	r->detail = vcpu->regs.gpr[RAX] & BITS(8 * exit->io.size - 1, 0);
}

static void record_nested(struct exit_record *r, const struct vm_exit *exit)
{
	r->detail = exit->nested.gpa.v;
	if (exit->nested.read)
		r->info |= NESTED_READ;
	if (exit->nested.write)
		r->info |= NESTED_WRITE;
	if (exit->nested.fetch)
		r->info |= NESTED_FETCH;
	if (exit->nested.table_walk)
		r->info |= NESTED_WALK;
}

static void record_cr(struct exit_record *r, const struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;

	r->info = exit->cr.nr;
	if (exit->kind == EXIT_CR_WRITE && !exit->cr.clts && exit->cr.gpr < GPRS) {
		r->info |= CR_VALUE;
		r->detail = vcpu->regs.gpr[exit->cr.gpr];
	}
}

static uint64_t edx_eax(const struct vcpu *vcpu)
{
	return vcpu->regs.gpr[RDX] << 32 | (uint32_t)vcpu->regs.gpr[RAX];
}

/* The instructions that tell by registers what they are about. */
static void record_registers(struct exit_record *r, const struct vcpu *vcpu)
{
	const uint64_t *gpr = vcpu->regs.gpr;

	switch (vcpu->exit.kind) {
	case EXIT_CPUID:
		r->info = (uint32_t)gpr[RAX];
		r->detail = (uint32_t)gpr[RCX];
		break;
	case EXIT_RDMSR:
	case EXIT_RDPMC:
		r->info = (uint32_t)gpr[RCX];
		break;
	case EXIT_WRMSR:
	case EXIT_XSETBV:
		r->info = (uint32_t)gpr[RCX];
		r->detail = edx_eax(vcpu);
		break;
	case EXIT_HYPERCALL:
		r->detail = gpr[RAX];
		break;
	default:
		r->detail = vcpu->exit.raw[0];
		break;
	}
}

static void record_exit(struct exit_record *r, const struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;

	switch (exit->kind) {
	case EXIT_IO:
		record_io(r, vcpu);
		break;
	case EXIT_NESTED_FAULT:
		record_nested(r, exit);
		break;
	case EXIT_PAGE_FAULT:
		r->detail = exit->page_fault.gva.v;
		r->info = exit->page_fault.error;
		break;
	case EXIT_EXCEPTION:
		r->detail = exit->exception.error;
		r->info = exit->exception.vector;
		break;
	case EXIT_CR_READ:
	case EXIT_CR_WRITE:
		record_cr(r, vcpu);
		break;
	case EXIT_APIC_WRITE:
		r->info = exit->apic.off;
		r->detail = exit->apic.page[exit->apic.off / sizeof(uint32_t)];
		break;
	case EXIT_APIC_EOI:
		r->info = exit->apic.vector;
		break;
	case EXIT_INVLPG:
		r->detail = exit->invlpg.gva.v;
		r->info = exit->invlpg.known;
		break;
	case EXIT_TASK_SWITCH:
		r->info = exit->task.selector;
		break;
	default:
		record_registers(r, vcpu);
		break;
	}
}

void exit_trace_add(struct exit_trace *t, const struct vcpu *vcpu, uint64_t tsc)
{
	struct exit_record *r = &t->records[t->total++ % EXIT_TRACE_RECORDS];

	*r = (struct exit_record){
		.kind_tsc = (tsc & TSC_MASK) | (uint64_t)vcpu->exit.kind << KIND_SHIFT,
		.rip = vcpu->regs.rip,
	};
	record_exit(r, vcpu);
}

void exit_trace_cost(struct exit_trace *t, uint64_t ticks)
{
	if (t->total)
		t->records[(t->total - 1) % EXIT_TRACE_RECORDS].ticks =
			(uint32_t)MIN(ticks, (uint64_t)UINT32_MAX);
}

/* --- reading --- */

unsigned exit_trace_count(const struct exit_trace *t)
{
	return t->records ? (unsigned)MIN(t->total, (uint64_t)EXIT_TRACE_RECORDS) : 0;
}

const struct exit_record *exit_trace_record(const struct exit_trace *t, unsigned index)
{
	uint64_t oldest = t->total - exit_trace_count(t);

	return &t->records[(oldest + index) % EXIT_TRACE_RECORDS];
}

enum vm_exit_kind exit_record_kind(const struct exit_record *r)
{
	return (enum vm_exit_kind)(r->kind_tsc >> KIND_SHIFT);
}

uint64_t exit_record_tsc(const struct exit_record *r)
{
	return r->kind_tsc & TSC_MASK;
}

static void io_detail(const struct exit_record *r, char *text, size_t size)
{
	const char *way = r->info & IO_IN ? "in" : "out";
	unsigned port = r->info & IO_PORT, bytes = IO_SIZE(r->info);

	if (r->info & IO_STRING)
		ksnprintf(text, size, "%ss %x %u%s", way, port, bytes,
			  r->info & IO_REP ? " rep" : "");
	else if (r->info & IO_IN)
		ksnprintf(text, size, "%s %x %u", way, port, bytes);
	else
		ksnprintf(text, size, "%s %x %u %llx", way, port, bytes,
			  (unsigned long long)r->detail);
}

static void nested_detail(const struct exit_record *r, char *text, size_t size)
{
	ksnprintf(text, size, "%llx %s%s%s%s", (unsigned long long)r->detail,
		  r->info & NESTED_READ ? "r" : "", r->info & NESTED_WRITE ? "w" : "",
		  r->info & NESTED_FETCH ? "x" : "", r->info & NESTED_WALK ? " walk" : "");
}

void exit_trace_detail(const struct exit_record *r, char *text, size_t size)
{
	unsigned long long detail = r->detail;

	switch (exit_record_kind(r)) {
	case EXIT_IO:
		io_detail(r, text, size);
		break;
	case EXIT_NESTED_FAULT:
		nested_detail(r, text, size);
		break;
	case EXIT_PAGE_FAULT:
		ksnprintf(text, size, "%llx error %x", detail, r->info);
		break;
	case EXIT_EXCEPTION:
		ksnprintf(text, size, "vector %u error %llx", r->info, detail);
		break;
	case EXIT_CPUID:
		ksnprintf(text, size, "leaf %x.%llx", r->info, detail);
		break;
	case EXIT_RDMSR:
	case EXIT_RDPMC:
		ksnprintf(text, size, "%x", r->info);
		break;
	case EXIT_WRMSR:
	case EXIT_XSETBV:
		ksnprintf(text, size, "%x=%llx", r->info, detail);
		break;
	case EXIT_CR_READ:
	case EXIT_CR_WRITE:
		if (r->info & CR_VALUE)
			ksnprintf(text, size, "cr%u=%llx", (unsigned)(r->info & CR_NR), detail);
		else
			ksnprintf(text, size, "cr%u", (unsigned)(r->info & CR_NR));
		break;
	case EXIT_APIC_WRITE:
		ksnprintf(text, size, "%x=%llx", r->info, detail);
		break;
	case EXIT_APIC_EOI:
		ksnprintf(text, size, "%x", r->info);
		break;
	case EXIT_INVLPG:
		if (r->info)
			ksnprintf(text, size, "%llx", detail);
		else
			ksnprintf(text, size, "-");
		break;
	case EXIT_TASK_SWITCH:
		ksnprintf(text, size, "selector %x", r->info);
		break;
	case EXIT_HYPERCALL:
		ksnprintf(text, size, "rax %llx", detail);
		break;
	default:
		ksnprintf(text, size, "code %llx", detail);
		break;
	}
}

static void put_line(const struct exit_record *r, const char *cost, char *text, size_t size)
{
	char detail[EXIT_TRACE_DETAIL];

	exit_trace_detail(r, detail, sizeof(detail));
	ksnprintf(text, size, "%*llu %016llx %-12s %s%s", EXIT_TRACE_TSC,
		  (unsigned long long)exit_record_tsc(r), (unsigned long long)r->rip,
		  vm_exit_name(exit_record_kind(r)), cost, detail);
}

void exit_trace_line(const struct exit_record *r, char *text, size_t size)
{
	char cost[16];

	ksnprintf(cost, sizeof(cost), "%8u ", r->ticks);
	put_line(r, cost, text, size);
}

void exit_trace_tail(const struct exit_trace *t, void (*line)(const char *text))
{
	unsigned n = exit_trace_count(t);
	char text[96];

	for (unsigned i = n - MIN(n, EXIT_TRACE_TAIL); i < n; i++) {
		put_line(exit_trace_record(t, i), "", text, sizeof(text));
		line(text);
	}
}
