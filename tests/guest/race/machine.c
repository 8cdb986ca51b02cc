/* Processors, their interrupts and exceptions. */
#include "tests/guest/race/race.h"

#define CODE64 0x08
#define MSR_GS_BASE 0xc0000101u

#define APIC 0xfee00000u
#define APIC_ID 0x20u
#define APIC_EOI 0xb0u
#define APIC_LDR 0xd0u
#define APIC_DFR 0xe0u
#define APIC_SVR 0xf0u
#define APIC_ICR 0x300u
#define APIC_ICR_HIGH 0x310u
#define APIC_LVT_TIMER 0x320u
#define APIC_TIMER_COUNT 0x380u
#define APIC_TIMER_DIVIDE 0x3e0u
#define DIVIDE_BY_16 3u
#define TIMER_PERIODIC 0x20000u
#define TIMER_PERIOD 160000u /* in microseconds: so that no sleep is for ever */
#define ICR_BUSY 0x1000u
#define ICR_LOGICAL 0x800u
#define ICR_INIT_OTHERS 0xc4500u
#define ICR_STARTUP_OTHERS (0xc4600u | LOW_CODE >> 12)
#define ICR_OTHERS 0xc0000u
#define VECTOR_SERVE 0x40u
#define VECTOR_WAKE 0x41u
#define VECTOR_TIMER 0x42u
#define VECTOR_SPURIOUS 0xffu
#define VECTOR_PF 14u

struct cpu cpus[MAX_CPUS];
unsigned nr_cpus = 1;
static volatile uint32_t arrived = 1;
static uint32_t idt[256][4];
static volatile uint32_t wrong_lock;

static volatile uint32_t *apic(uint32_t reg)
{
	return (volatile uint32_t *)(uintptr_t)(APIC + reg);
}

/* --- what is wrong --- */

void wrong_begin(const char *what)
{
	struct cpu *me = this_cpu();

	stopped = true;
	__asm__ volatile("cli");
	if (__atomic_exchange_n(&wrong_lock, 1, __ATOMIC_SEQ_CST)) /* the first one is told */
		for (;;)
			__asm__ volatile("hlt");
	put_text("\nWRONG ");
	put_text(what);
	put_text(": cpu=");
	put_number(me->nr);
	put_text(" space=");
	put_number(me->space);
	put_text(" seed=");
	put_number(options.seed);
}

void wrong_value(const char *name, uint64_t val)
{
	put_text(" ");
	put_text(name);
	put_text("=0x");
	put_hex(val);
}

void wrong_end(void)
{
	put_text("\n");
	stop(false);
}

/* --- exceptions and interrupts --- */

static void wrong_trap(const struct frame *f, uint64_t cr2)
{
	const struct cpu *me = this_cpu();

	wrong_begin("an exception");
	wrong_value("vector", f->vector);
	wrong_value("error", f->error);
	wrong_value("rip", f->rip);
	wrong_value("cr2", cr2);
	wrong_value("probe", me->probe);
	wrong_value("probe_va", me->probe_va);
	wrong_end();
}

/* A page fault: is it the probe's? A fetch may fault at either of its two instructions. */
static void on_page_fault(struct cpu *me, struct frame *f)
{
	uint64_t cr2, rip = f->rip, want = me->probe_va;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	if (me->probe == PROBE_FETCH) {
		if (rip != want && rip != want + 5)
			wrong_trap(f, cr2);
		want = rip;
	} else if (rip != (uintptr_t)(me->probe == PROBE_READ ? probe_read_at : probe_write_at)) {
		wrong_trap(f, cr2);
	}
	if (me->probe == PROBE_NONE || cr2 != want)
		wrong_trap(f, cr2);
	me->faulted = true;
	me->error = (uint32_t)f->error;
	f->rip = (uintptr_t)probe_ret;
}

void on_trap(struct frame *f)
{
	struct cpu *me = this_cpu();
	uint64_t cr2;

	if (f->vector == VECTOR_PF) {
		on_page_fault(me, f);
	} else if (f->vector == VECTOR_SERVE) {
		/* First, so that a request that comes while others are served asks again. */
		*apic(APIC_EOI) = 0;
		serve(me);
	} else if (f->vector == VECTOR_WAKE || f->vector == VECTOR_TIMER) {
		*apic(APIC_EOI) = 0;
		if (f->vector == VECTOR_WAKE)
			me->woken = true;
	} else if (f->vector != VECTOR_SPURIOUS) {
		__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
		wrong_trap(f, cr2);
	}
}

/* --- the local APIC --- */

/* An interrupt handler may do it as well. */
static void send(uint32_t to, uint32_t command)
{
	uint64_t flags;

	__asm__ volatile("pushfq; pop %0; cli" : "=r"(flags) : : "memory");
	while (*apic(APIC_ICR) & ICR_BUSY)
		pause();
	*apic(APIC_ICR_HIGH) = to << 24;
	*apic(APIC_ICR) = command;
	__asm__ volatile("push %0; popfq" : : "r"(flags) : "memory", "cc");
}

void send_wake(const struct cpu *to)
{
	send(to->apic_id, VECTOR_WAKE);
}

void send_shootdown(struct cpu *me, uint32_t to)
{
	uint32_t others = ((1u << nr_cpus) - 1) & ~(1u << me->nr);

	if (!to)
		return;
	if (to == others && one_in(me, 3)) {
		send(0, ICR_OTHERS | VECTOR_SERVE);
	} else if (one_in(me, 2)) {
		send(to, ICR_LOGICAL | VECTOR_SERVE);
	} else {
		for (unsigned i = 0; i < nr_cpus; i++)
			if (to >> i & 1)
				send(cpus[i].apic_id, VECTOR_SERVE);
	}
}

static void set_self(unsigned nr)
{
	struct cpu *me = &cpus[nr];

	me->self = me;
	me->nr = nr;
	wrmsr(MSR_GS_BASE, (uintptr_t)me);
}

void machine_init(void)
{
	const uint8_t words[4][2] = { { 3, 0x83 }, { 0, 1 }, { 3, 3 }, { 2, 7 } };

	for (unsigned i = 0; i < 4; i++)
		outb(COM1 + words[i][0], words[i][1]);
	set_self(0);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	for (unsigned i = 0; i < 256; i++)
		set_gate64(idt[i], CODE64, idt_stubs[i], GATE_INTERRUPT);
	for (unsigned i = 0; i < (size_t)(low_code_end - low_code); i++)
		((volatile uint8_t *)(uintptr_t)LOW_CODE)[i] = low_code[i];
}

void cpu_init(unsigned nr)
{
	struct cpu *me = &cpus[nr];

	set_self(nr);
	me->random = options.seed * 0x9e3779b97f4a7c15u + nr + 1;
	me->probe = PROBE_NONE;
	load_idt(idt, sizeof(idt));
	enter_space(me, 0);
	me->apic_id = *apic(APIC_ID) >> 24;
	*apic(APIC_DFR) = 0xffffffff;
	*apic(APIC_LDR) = 1u << (24 + nr);
	*apic(APIC_SVR) = 0x100 | VECTOR_SPURIOUS;
	*apic(APIC_TIMER_DIVIDE) = DIVIDE_BY_16;
	*apic(APIC_LVT_TIMER) = TIMER_PERIODIC | VECTOR_TIMER;
	*apic(APIC_TIMER_COUNT) = apic_counts(TIMER_PERIOD) / 16;
	__asm__ volatile("sti");
	if (nr)
		__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
}

/* Two ticks of the RTC are enough for all to come, where their number is not told. */
unsigned start_others(unsigned wanted)
{
	struct wait wait = { 0 };
	uint8_t last = rtc_read(0);

	send(0, ICR_INIT_OTHERS);
	for (unsigned i = 0; i < 1000; i++)
		pause();
	send(0, ICR_STARTUP_OTHERS);
	send(0, ICR_STARTUP_OTHERS);
	for (unsigned ticks = 0; wanted ? arrived < wanted : ticks < 2;) {
		uint8_t now = rtc_read(0);

		ticks += now != last;
		last = now;
		wait_more(&wait, "a processor that does not start");
	}
	return arrived;
}
