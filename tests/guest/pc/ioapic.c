/* What an input of the I/O APIC can be made to send, and to whom; by the HPET's timer 0 on
 * input 20. The local APICs are in the flat model. */
#include "tests/guest/pc/pc.h"

#define INPUT 20u
#define VECTOR (VEC_FIRST + 2)
#define VEC_NMI 2u
#define LOWEST 0x100u
#define NMI 0x400u
#define INIT 0x500u
#define LOGICAL 0x800u

static volatile uint32_t *io(uint32_t offset)
{
	return (volatile uint32_t *)(uintptr_t)(0xfec00000u + offset);
}

void input_set(unsigned input, uint32_t dest, uint32_t val)
{
	*io(0) = 0x11 + 2 * input;
	*io(0x10) = dest << 24;
	*io(0) = 0x10 + 2 * input;
	*io(0x10) = val;
}

uint32_t input_get(unsigned input)
{
	*io(0) = 0x10 + 2 * input;
	return *io(0x10);
}

void input_eoi(unsigned vector)
{
	*io(0x40) = vector;
}

/* Once, 10 us from now; by level until the status is cleared. */
static void fire(bool level)
{
	*hpet(HPET_CONFIG) = 0;
	*hpet(HPET_TIMER(0)) = TIMER_INPUT(INPUT) | TIMER_32 | TIMER_ON | (level ? TIMER_LEVEL : 0);
	*hpet(HPET_COMPARATOR(0)) = *hpet(HPET_COUNTER) + 1000;
	*hpet(HPET_CONFIG) = 1;
}

static uint32_t before[CPUS_MAX][2];

static void note(void)
{
	for (unsigned i = 0; i < nr_cpus; i++) {
		before[i][0] = came[i][VECTOR];
		before[i][1] = came[i][VEC_NMI];
	}
}

/* How many have come to this one since note(). */
static uint32_t since(unsigned cpu, bool nmi)
{
	return came[cpu][nmi ? VEC_NMI : VECTOR] - before[cpu][nmi];
}

/* An edge goes to each of these, a bit each. */
static void edge_to(uint32_t dest, uint32_t val, uint32_t cpus)
{
	bool nmi = (val & 0x700) == NMI;

	input_set(INPUT, dest, val | (nmi ? 0 : VECTOR));
	note();
	fire(false);
	for (unsigned i = 0; i < nr_cpus; i++)
		while ((cpus >> i & 1) && !since(i, nmi))
			pass(10);
	pass(1000);
	for (unsigned i = 0; i < nr_cpus; i++) {
		expect("how often the edge has come", since(i, nmi), cpus >> i & 1);
		expect("how often it has come otherwise", since(i, !nmi), 0);
	}
	expect("remote IRR of an edge", input_get(INPUT) & REMOTE_IRR, 0);
}

static void lowest(void)
{
	uint32_t sum = 0;

	input_set(INPUT, 0xff, LOGICAL | LOWEST | VECTOR);
	note();
	fire(false);
	while (!sum) {
		pass(1000);
		for (unsigned i = 0; i < nr_cpus; i++)
			sum += since(i, false);
	}
	expect("how many have had it", sum, 1);
}

/* Without the broadcast of its EOI the input waits for the EOI register. */
static void directed(void)
{
	reg_write(REG_SVR, SVR_ON | SVR_NO_BROADCAST);
	input_set(INPUT, 0, LEVEL | ACTIVE_LOW | VECTOR);
	note();
	fire(true);
	while (!since(0, false))
		pass(10);
	pass(1000);
	expect("how often a level has come", since(0, false), 1);
	expect("remote IRR after the local APIC's EOI", input_get(INPUT) & REMOTE_IRR, REMOTE_IRR);
	input_eoi(VECTOR + 1);
	expect("remote IRR after another vector's EOI", input_get(INPUT) & REMOTE_IRR, REMOTE_IRR);
	input_eoi(VECTOR);
	pass(1000);
	expect("how often it has come after the EOI register", since(0, false), 2);
	*hpet(HPET_STATUS) = 1;
	input_eoi(VECTOR);
	pass(1000);
	expect("how often it has come in all", since(0, false), 2);
	expect("remote IRR in the end", input_get(INPUT) & REMOTE_IRR, 0);
	/* An entry that is made an edge's has nothing in service. */
	fire(true);
	while (!(input_get(INPUT) & REMOTE_IRR))
		pause();
	*hpet(HPET_STATUS) = 1;
	input_set(INPUT, 0, LVT_MASKED | VECTOR);
	input_set(INPUT, 0, LVT_MASKED | LEVEL | ACTIVE_LOW | VECTOR);
	expect("remote IRR after a turn as an edge", input_get(INPUT) & REMOTE_IRR, 0);
	pass(1000);
	reg_write(REG_SVR, SVR_ON);
}

/* By x2APIC MSRs restart() has no way. */
static void init(void)
{
	unsigned cpu = nr_cpus - 1;

	if (!cpu || use_x2apic)
		return;
	input_set(INPUT, cpu, INIT | LEVEL);
	fire(false);
	expect_init(cpu);
	expect("remote IRR of an INIT", input_get(INPUT), INIT | LEVEL);
}

void ioapic(void)
{
	uint32_t all = (1u << nr_cpus) - 1;

	for (unsigned i = 0; i < nr_cpus; i++)
		edge_to(i, 0, 1u << i);
	edge_to(0xff, 0, all);
	edge_to(6, LOGICAL, 6 & all);
	edge_to(nr_cpus - 1, NMI, 1u << (nr_cpus - 1));
	edge_to(5, LOGICAL | NMI, 5 & all);
	lowest();
	directed();
	init();
	input_set(INPUT, 0, LVT_MASKED);
	*hpet(HPET_TIMER(0)) = 0;
}
