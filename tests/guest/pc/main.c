/* The order of things, processors and their work, interrupts that are counted. */
#include "tests/guest/pc/pc.h"

#define VEC_GP 13
#define VEC_NMI 2

unsigned nr_cpus;
volatile uint32_t came[CPUS_MAX][256];
volatile uint8_t rtc_flags;
void (*volatile nmi_does)(void);
static volatile uint32_t faults;
static void (*volatile work[CPUS_MAX])(void);
static volatile bool here[CPUS_MAX];
volatile bool resting;

extern volatile uint32_t next_number;
extern uint8_t stacks[CPUS_MAX * STACK_SIZE];
void guest_main(uint32_t start_info);
void other_main(unsigned number) __attribute__((noreturn));

/* --- what is wrong --- */

void expect_between(const char *what, uint64_t seen, uint64_t least, uint64_t most)
{
	if (seen >= least && seen <= most)
		return;
	put_text("WRONG: ");
	put_text(what);
	put_text(": seen 0x");
	put_hex(seen);
	put_text(", expected 0x");
	put_hex(least);
	if (most != least) {
		put_text(" to 0x");
		put_hex(most);
	}
	put_text(", processor ");
	put_number(cpu_number());
	put_text("\n");
	stop(false);
}

void expect(const char *what, uint64_t seen, uint64_t want)
{
	expect_between(what, seen, want, want);
}

/* --- time --- */

uint64_t tsc_khz(void)
{
	static uint64_t khz;
	uint32_t reg[4];

	if (!khz) {
		cpuid(0x40000010, reg);
		khz = reg[0];
	}
	return khz;
}

uint64_t us_since(uint64_t from)
{
	return (rdtsc() - from) * 1000 / tsc_khz();
}

void pass(uint64_t us)
{
	uint64_t from = rdtsc();

	interrupts_on();
	while (us_since(from) < us)
		pause();
	interrupts_off();
}

/* --- MSRs --- */

/* Each is of two bytes. */
INTERRUPT static void on_gp(struct interrupt_frame *frame, uint64_t error)
{
	(void)error;
	faults++;
	frame->rip += 2;
}

bool read_faults(uint32_t msr, uint64_t *val)
{
	uint32_t before = faults;

	*val = rdmsr(msr);
	return faults != before;
}

bool write_faults(uint32_t msr, uint64_t val)
{
	uint32_t before = faults;

	wrmsr(msr, val);
	return faults != before;
}

/* --- processors --- */

unsigned cpu_number(void)
{
	uintptr_t sp;

	__asm__ volatile("mov %%rsp, %0" : "=r"(sp));
	return (unsigned)((sp - 1 - (uintptr_t)stacks) / STACK_SIZE);
}

/* Its local APIC is as INIT has left it. */
void other_main(unsigned number)
{
	note_after_init(number);
	apic_init();
	here[number] = true;
	interrupts_on();
	for (;;) {
		void (*fn)(void) = work[number];

		if (!fn) {
			interrupts_off();
			if (resting)
				halt();
			interrupts_on();
			pause();
			continue;
		}
		fn();
		work[number] = NULL;
	}
}

void begin_on(unsigned cpu, void (*fn)(void))
{
	work[cpu] = fn;
}

void end_on(unsigned cpu)
{
	while (work[cpu])
		pause();
}

void on_cpu(unsigned cpu, void (*fn)(void))
{
	if (cpu == cpu_number()) {
		fn();
		return;
	}
	begin_on(cpu, fn);
	end_on(cpu);
}

void on_each(void (*fn)(void))
{
	for (unsigned i = 0; i < nr_cpus; i++)
		on_cpu(i, fn);
}

void on_all(void (*fn)(void))
{
	for (unsigned i = 1; i < nr_cpus; i++)
		begin_on(i, fn);
	fn();
	for (unsigned i = 1; i < nr_cpus; i++)
		end_on(i);
}

void restart(unsigned cpu)
{
	here[cpu] = false;
	next_number = cpu;
	reg_write(REG_ICR_HIGH, cpu << 24);
	reg_write(REG_ICR, 0x600 | TRAMPOLINE >> 12);
	while (!here[cpu])
		pause();
}

static void start_others(void)
{
	for (unsigned i = 1; i < nr_cpus; i++) {
		apic_start(i);
		while (!here[i])
			pause();
	}
}

/* --- interrupts --- */

#define COUNTER(vector)                                                                            \
	INTERRUPT static void on_##vector(struct interrupt_frame *frame)                           \
	{                                                                                          \
		(void)frame;                                                                       \
		came[cpu_number()][vector]++;                                                      \
		apic_eoi();                                                                        \
	}
COUNTER(0x50)
COUNTER(0x51)
COUNTER(0x52)
COUNTER(0x53)

INTERRUPT static void on_nmi(struct interrupt_frame *frame)
{
	(void)frame;
	came[cpu_number()][VEC_NMI]++;
	if (nmi_does)
		nmi_does();
}

INTERRUPT static void on_spurious(struct interrupt_frame *frame)
{
	(void)frame;
	came[cpu_number()][VEC_SPURIOUS]++;
}

INTERRUPT static void on_rtc(struct interrupt_frame *frame)
{
	(void)frame;
	came[cpu_number()][VEC_RTC]++;
	outb(0x70, 0x0c);
	rtc_flags |= inb(0x71);
	apic_eoi();
}

INTERRUPT static void on_pic(struct interrupt_frame *frame)
{
	(void)frame;
	came[cpu_number()][VEC_PIC]++;
	outb(0x20, 0x20);
}

static void set_gates(void)
{
	set_gate(0x50, on_0x50);
	set_gate(0x51, on_0x51);
	set_gate(0x52, on_0x52);
	set_gate(0x53, on_0x53);
	set_gate(VEC_NMI, on_nmi);
	set_gate(VEC_SPURIOUS, on_spurious);
	set_gate(VEC_RTC, on_rtc);
	set_gate(VEC_PIC, on_pic);
	set_gate(VEC_GP, (interrupt_fn)(void (*)(void))on_gp);
	/* The 8259s have their own chapter. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

static void say(const char *what)
{
	put_text(what);
	put_text("\n");
}

/* More than eight. */
static void many(void)
{
	start_others();
	many_ipis();
	say("IPIs");
	x2apic_on();
	x2apic_clusters();
	say("x2APIC");
	say("the PC is right");
	stop(true);
}

void guest_main(uint32_t start_info)
{
	(void)start_info;
	set_gates();
	nr_cpus = tables();
	say("tables");
	apic_init();
	if (nr_cpus > 8)
		many();
	lapic_registers();
	lapic_timer();
	say("local APIC");
	start_others();
	check_after_init();
	memory_types();
	say("MTRRs and PAT");
	tsc();
	say("TSC");
	kvm_clock();
	say("KVM's clock");
	apic_base();
	say("IA32_APIC_BASE");
	ipis();
	say("IPIs");
	taking();
	say("interrupts");
	ioapic();
	say("I/O APIC");
	hpet_timers();
	say("HPET");
	pit();
	say("8254");
	pic();
	say("8259");
	lint();
	say("LINT0");
	rtc();
	say("RTC");
	x2apic_registers();
	lapic_timer();
	x2apic_ipis();
	taking();
	ioapic();
	say("x2APIC");
	say("the PC is right");
	stop(true);
}
