/* What an input of the I/O APIC can be made to send, and to whom; by the HPET's timer 0 on
 * input 20. The local APICs are in the flat model. */
#include "tests/guest/pc/pc.h"

#define INPUT 20u
#define VECTOR (VEC_FIRST + 2)
#define VEC_NMI 2u
#define LOWEST 0x100u
#define NMI 0x400u
#define LOGICAL 0x800u
#define ACTIVE_LOW 0x2000u
#define REMOTE_IRR 0x4000u
#define LEVEL 0x8000u
#define NO_BROADCAST 0x1000u

#define HPET_CONFIG 0x10u
#define HPET_STATUS 0x20u
#define HPET_COUNTER 0xf0u
#define HPET_TIMER0 0x100u
#define HPET_COMPARATOR0 0x108u
#define TIMER_LEVEL 2u

static volatile uint32_t *io(uint32_t offset)
{
	return (volatile uint32_t *)(uintptr_t)(0xfec00000u + offset);
}

static volatile uint32_t *hpet(uint32_t offset)
{
	return (volatile uint32_t *)(uintptr_t)(0xfed00000u + offset);
}

static void set_entry(uint32_t dest, uint32_t val)
{
	*io(0) = 0x11 + 2 * INPUT;
	*io(0x10) = dest << 24;
	*io(0) = 0x10 + 2 * INPUT;
	*io(0x10) = val;
}

static uint32_t entry(void)
{
	*io(0) = 0x10 + 2 * INPUT;
	return *io(0x10);
}

/* Once, 10 us from now; by level until the status is cleared. */
static void fire(bool level)
{
	*hpet(HPET_CONFIG) = 0;
	*hpet(HPET_TIMER0) = INPUT << 9 | 0x104 | (level ? TIMER_LEVEL : 0);
	*hpet(HPET_COMPARATOR0) = *hpet(HPET_COUNTER) + 1000;
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

static void let_in(uint64_t us)
{
	uint64_t from = rdtsc();

	interrupts_on();
	while (us_since(from) < us)
		pause();
	interrupts_off();
}

/* An edge goes to each of these, a bit each. */
static void edge_to(uint32_t dest, uint32_t val, uint32_t cpus)
{
	bool nmi = (val & 0x700) == NMI;

	set_entry(dest, val | (nmi ? 0 : VECTOR));
	note();
	fire(false);
	for (unsigned i = 0; i < nr_cpus; i++)
		while ((cpus >> i & 1) && !since(i, nmi))
			let_in(10);
	let_in(1000);
	for (unsigned i = 0; i < nr_cpus; i++) {
		expect("how often the edge has come", since(i, nmi), cpus >> i & 1);
		expect("how often it has come otherwise", since(i, !nmi), 0);
	}
	expect("remote IRR of an edge", entry() & REMOTE_IRR, 0);
}

static void lowest(void)
{
	uint32_t sum = 0;

	set_entry(0xff, LOGICAL | LOWEST | VECTOR);
	note();
	fire(false);
	while (!sum) {
		let_in(1000);
		for (unsigned i = 0; i < nr_cpus; i++)
			sum += since(i, false);
	}
	expect("how many have had it", sum, 1);
}

/* Without the broadcast of its EOI the input waits for the EOI register. */
static void directed(void)
{
	reg_write(REG_SVR, SVR_ON | NO_BROADCAST);
	set_entry(0, LEVEL | ACTIVE_LOW | VECTOR);
	note();
	fire(true);
	while (!since(0, false))
		let_in(10);
	let_in(1000);
	expect("how often a level has come", since(0, false), 1);
	expect("remote IRR after the local APIC's EOI", entry() & REMOTE_IRR, REMOTE_IRR);
	*io(0x40) = VECTOR + 1;
	expect("remote IRR after another vector's EOI", entry() & REMOTE_IRR, REMOTE_IRR);
	*io(0x40) = VECTOR;
	let_in(1000);
	expect("how often it has come after the EOI register", since(0, false), 2);
	*hpet(HPET_STATUS) = 1;
	*io(0x40) = VECTOR;
	let_in(1000);
	expect("how often it has come in all", since(0, false), 2);
	expect("remote IRR in the end", entry() & REMOTE_IRR, 0);
	/* An entry that is made an edge's has nothing in service. */
	fire(true);
	while (!(entry() & REMOTE_IRR))
		pause();
	*hpet(HPET_STATUS) = 1;
	set_entry(0, LVT_MASKED | VECTOR);
	set_entry(0, LVT_MASKED | LEVEL | ACTIVE_LOW | VECTOR);
	expect("remote IRR after a turn as an edge", entry() & REMOTE_IRR, 0);
	let_in(1000);
	reg_write(REG_SVR, SVR_ON);
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
	set_entry(0, LVT_MASKED);
	*hpet(HPET_TIMER0) = 0;
}
