/* What local APICs send each other: destinations, shorthands, delivery modes. SDM vol. 3, 11.6. */
#include "tests/guest/pc/pc.h"

#define LOGICAL 0x800u
#define LOWEST 0x100u
#define SMI 0x200u
#define NMI 0x400u
#define INIT 0x500u
#define EXTINT 0x700u
#define TO_SELF 0x40000u
#define TO_ALL 0x80000u
#define TO_OTHERS 0xc0000u
#define VECTOR (VEC_FIRST + 2)
#define VEC_NMI 2u
#define LAST_VECTOR VEC_FIRST /* after VECTOR, if both wait */

static uint32_t before[CPUS_MAX][2];

static void send(uint32_t dest, uint32_t command)
{
	if (use_x2apic) {
		wrmsr(0x830, (uint64_t)dest << 32 | command);
		return;
	}
	reg_write(REG_ICR_HIGH, dest << 24);
	reg_write(REG_ICR, command);
}

static void note(void)
{
	for (unsigned i = 0; i < nr_cpus; i++) {
		before[i][0] = came[i][VECTOR];
		before[i][1] = came[i][VEC_NMI];
	}
}

/* What each has had since note(), a bit each, when another message to all has been taken after it.
 */
static uint32_t taken(unsigned which)
{
	uint32_t mark[CPUS_MAX], cpus = 0;

	for (unsigned i = 0; i < nr_cpus; i++)
		mark[i] = came[i][LAST_VECTOR];
	send(0, TO_ALL | LAST_VECTOR);
	interrupts_on();
	for (unsigned i = 0; i < nr_cpus; i++)
		while (came[i][LAST_VECTOR] == mark[i])
			pause();
	interrupts_off();
	for (unsigned i = 0; i < nr_cpus; i++) {
		uint32_t n = came[i][which ? VEC_NMI : VECTOR] - before[i][which];

		expect_between("how often one has come", n, 0, 1);
		cpus |= n << i;
	}
	return cpus;
}

/* They are so many that it takes long until each has had its turn at doing nothing. */
static void rest(void)
{
	resting = true;
}

static void wake(void)
{
	resting = false;
	taken(0);
}

static void sent(uint32_t dest, uint32_t command, uint32_t cpus)
{
	bool nmi = (command & 0x700) == NMI;

	note();
	send(dest, nmi ? command : command | VECTOR);
	expect(nmi ? "who has had the NMI" : "who has had it", taken(nmi), cpus);
	if (!nmi)
		expect("who has had an NMI", taken(1), 0);
}

static uint32_t all(void)
{
	return (1u << nr_cpus) - 1;
}

/* --- xAPIC --- */

static void flat(void)
{
	reg_write(REG_DFR, UINT32_MAX);
	reg_write(REG_LDR, 1u << cpu_number() << 24);
}

/* Two processors a cluster. */
static void cluster(void)
{
	unsigned cpu = cpu_number();

	reg_write(REG_DFR, 0x0fffffff);
	reg_write(REG_LDR, ((cpu / 2) << 4 | 1u << cpu % 2) << 24);
}

static void physical(void)
{
	for (unsigned i = 0; i < nr_cpus; i++)
		sent(i, 0, 1u << i);
	sent(nr_cpus, 0, 0);
	sent(0xff, 0, all());
}

static void logical(void)
{
	on_each(flat);
	for (uint32_t dest = 0; dest < 16; dest++)
		sent(dest, LOGICAL, dest & all());
	sent(0xff, LOGICAL, all());
	on_each(cluster);
	for (uint32_t id = 0; id < 3; id++)
		for (uint32_t dest = 0; dest < 4; dest++)
			sent(id << 4 | dest, LOGICAL, (dest << 2 * id) & all());
	sent(0xf1, LOGICAL, 0x55 & all());
	sent(0xff, LOGICAL, all());
	on_each(flat);
}

static void shorthands(void)
{
	sent(0, TO_SELF, 1);
	sent(0, TO_ALL, all());
	sent(0, TO_OTHERS, all() & ~1u);
	sent(0, TO_OTHERS | NMI, all() & ~1u);
	sent(nr_cpus - 1, NMI, 1u << (nr_cpus - 1));
	sent(0, NMI, 1);
	/* What there is not. */
	sent(0, TO_SELF | NMI, 0);
	sent(0, TO_ALL | NMI, 0);
	sent(0, TO_SELF | LOWEST, 0);
	sent(0, TO_ALL | LOWEST, 0);
	sent(0, TO_SELF | INIT, 0);
	sent(0, TO_ALL | INIT, 0);
	sent(0, TO_OTHERS | EXTINT, 0);
	sent(0, TO_OTHERS | 0x300, 0);
	sent(0, TO_OTHERS | SMI, 0);
}

/* --- lowest priority --- */

static void raise_tpr(void)
{
	reg_write(REG_TPR, 0x10);
}

static void lower_tpr(void)
{
	reg_write(REG_TPR, 0);
}

/* It goes to one of those that are meant: the only one with nothing to do, or any. */
static void lowest(void)
{
	uint32_t dest = use_x2apic ? all() : 0xff;

	on_each(raise_tpr);
	for (unsigned i = 0; i < nr_cpus; i++) {
		on_cpu(i, lower_tpr);
		sent(dest, LOGICAL | LOWEST, 1u << i);
		if (i)
			sent(1, LOGICAL | LOWEST, 1); /* it alone is meant */
		on_cpu(i, raise_tpr);
	}
	on_each(lower_tpr);
	for (unsigned i = 0; i < 2 * nr_cpus; i++) {
		uint32_t cpus;

		note();
		send(dest, LOGICAL | LOWEST | VECTOR);
		cpus = taken(0);
		expect("how many have had it", cpus & (cpus - 1), 0);
		expect_between("who has had it", cpus, 1, all());
	}
}

/* One that is off takes neither, but an NMI. */
static void switch_off(void)
{
	reg_write(REG_SVR, SVR_ON & ~0x100u);
}

static void switch_on(void)
{
	reg_write(REG_SVR, SVR_ON);
}

static volatile bool go_on;

static void off_for_a_while(void)
{
	switch_off();
	go_on = false;
	while (!go_on)
		pause();
	switch_on();
}

static void software_off(void)
{
	unsigned cpu = nr_cpus - 1;
	uint32_t had, nmis;

	if (!cpu)
		return;
	had = came[cpu][VECTOR];
	nmis = came[cpu][VEC_NMI];
	go_on = true;
	begin_on(cpu, off_for_a_while);
	while (go_on)
		pause();
	send(cpu, VECTOR);
	send(1u << cpu, LOGICAL | LOWEST | VECTOR);
	send(cpu, NMI);
	while (came[cpu][VEC_NMI] == nmis)
		pause();
	go_on = true;
	end_on(cpu);
	sent(cpu, 0, 1u << cpu);
	expect("what came while it was off", came[cpu][VECTOR] - had, 1);
}

void ipis(void)
{
	physical();
	logical();
	shorthands();
	lowest();
	software_off();
}

/* --- x2APIC --- */

/* Sixteen processors a cluster, which their ids are made of: SDM vol. 3, 11.12.10.2. */
static void check_ldr(void)
{
	unsigned cpu = cpu_number();

	expect("LDR", rdmsr(0x80d), (cpu / 16) << 16 | 1u << cpu % 16);
}

void x2apic_clusters(void)
{
	uint32_t upper = all() & ~0xffffu;

	on_all(check_ldr);
	rest();
	for (unsigned i = 0; i < nr_cpus; i++) {
		sent(i, 0, 1u << i);
		sent((i / 16) << 16 | 1u << i % 16, LOGICAL, 1u << i);
	}
	sent(nr_cpus, 0, 0);
	sent(0xffff, LOGICAL, all() & 0xffff);
	sent(0x1ffff, LOGICAL, upper);
	sent(0x15555, LOGICAL, upper & 0x55550000);
	sent(0x1000f, LOGICAL | NMI, upper & 0xf0000);
	sent(0x10000, LOGICAL, 0);
	sent(0x2ffff, LOGICAL, 0);
	sent(0xf000f, LOGICAL, 0);
	sent(UINT32_MAX, LOGICAL, all());
	for (unsigned i = 0; i < 8; i++) {
		uint32_t cpus;

		note();
		send(0x1ffff, LOGICAL | LOWEST | VECTOR);
		cpus = taken(0);
		expect("how many have had it", cpus & (cpus - 1), 0);
		expect_between("who has had it", cpus, 0x10000, upper);
	}
	wake();
}

/* Ids of 4 bits are too few: clusters of two processors. */
void many_ipis(void)
{
	on_all(cluster);
	rest();
	physical();
	for (uint32_t id = 0; id < 15; id++)
		sent(id << 4 | 3, LOGICAL, (uint32_t)((3ull << 2 * id) & all()));
	sent(0xf2, LOGICAL, 0xaaaaaaaa & all());
	wake();
}

void x2apic_ipis(void)
{
	for (unsigned i = 0; i < nr_cpus; i++)
		sent(i, 0, 1u << i);
	sent(0xff, 0, 0);
	sent(UINT32_MAX, 0, all());
	for (uint32_t dest = 0; dest < 16; dest++)
		sent(dest, LOGICAL, dest & all());
	sent(0x1000f, LOGICAL, 0); /* another cluster */
	sent(UINT32_MAX, LOGICAL, all());
	note();
	wrmsr(0x83f, VECTOR);
	expect("SELF IPI", taken(0), 1);
	shorthands();
	lowest();
	software_off();
}
