/* What makes interrupts and keeps time: local APICs, I/O APIC, clocks; and what ends or resets it
 * all. */
#include "tests/guest/hostile/hostile.h"

#define APIC 0xfee00000u
#define IOAPIC 0xfec00000u
#define HPET 0xfed00000u

#define MSR_TSC 0x10u
#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_ADJUST 0x3bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC 0x800u
#define MSR_KVM_WALL_CLOCK 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME 0x4b564d01u

#define BASE_BSP 0x100u
#define BASE_EXTD 0x400u
#define BASE_ENABLE 0x800u

#define REG_TPR 0x80u
#define REG_EOI 0xb0u
#define REG_SVR 0xf0u
#define REG_ISR 0x100u
#define REG_ICR 0x300u
#define REG_ICR_HIGH 0x310u
#define REG_TIMER 0x320u
#define REG_LINT0 0x350u
#define REG_INITIAL 0x380u
#define REG_DIVIDE 0x3e0u

#define WATCHDOG 0x30000u /* its vector is 0x21, periodic */
#define WATCHDOG_US 1000u

static volatile uint32_t *at(uint32_t address)
{
	return (volatile uint32_t *)(uintptr_t)address;
}

/* --- as it should be --- */

void mend_apic(struct cpu *me)
{
	uint64_t base = rdmsr(MSR_APIC_BASE), want = APIC | BASE_ENABLE | (base & BASE_BSP);

	me->apic_spoiled = false;
	if (base & BASE_EXTD)
		wrmsr(MSR_APIC_BASE, want & ~(uint64_t)BASE_ENABLE);
	if (base != want)
		wrmsr(MSR_APIC_BASE, want);
	*at(APIC + REG_SVR) = 0x1ff;
	*at(APIC + REG_TPR) = 0;
	*at(APIC + REG_LINT0) = me->nr ? 0x10000 : 0x700;
	*at(APIC + REG_TIMER) = 0x20021;
	*at(APIC + REG_DIVIDE) = 0xb;
	*at(APIC + REG_INITIAL) = apic_counts(WATCHDOG_US);
	for (unsigned word = 0; word < 8; word++)
		for (unsigned n = 0; n < 32 && *at(APIC + REG_ISR + 16 * word); n++)
			*at(APIC + REG_EOI) = 0;
}

void send_ipi(unsigned to, uint32_t command)
{
	*at(APIC + REG_ICR_HIGH) = to << 24;
	*at(APIC + REG_ICR) = command;
}

/* Most often one of the commands that do something to another processor. A start leads into the
 * program, and INIT of the first one ends this life. */
static uint32_t odd_command(void)
{
	static const uint32_t modes[] = { 0, 1, 2, 3, 4, 4, 5, 6, 6, 7 };
	uint32_t command = modes[below(10)] << 8 | (rnd() & 0xc800), mode;

	if (one_in(2))
		command |= 0x4000; /* assert */
	if (one_in(3))
		command |= below(4) << 18; /* to himself, all, all others */
	if (one_in(8))
		command = (uint32_t)rnd();
	mode = command >> 8 & 7;
	command = (command & ~0xffu) | (mode == 6   ? START_CODE >> 12
					: one_in(8) ? below(256)
						    : 0x20 + below(0xe0));
	if (mode == 5 && !one_in(200) && (command >> 18 & 3) != 3)
		command &= ~0x800u; /* who gets it is asked for by id */
	return command;
}

static uint32_t odd_destination(uint32_t command)
{
	if ((command >> 8 & 7) == 5 && !one_in(200))
		return 1 + below(MAX_CPUS - 1);
	return one_in(4) ? (uint32_t)rnd() & 0xff : below(options.cpus + 1);
}

void try_ipis(void)
{
	bool by_msr = rdmsr(MSR_APIC_BASE) & BASE_EXTD;

	this_cpu()->apic_spoiled = true;
	for (unsigned n = 1 + below(one_in(4) ? 200 : 10); n; n--) {
		uint32_t command = odd_command(), to = odd_destination(command);

		/* All but this one are reset: and if that is not the first one, it is the first. */
		if ((command >> 8 & 7) == 5 && (command >> 18 & 3) && this_cpu()->nr &&
		    !one_in(200))
			continue;
		if (by_msr)
			wrmsr(MSR_X2APIC + (REG_ICR >> 4), (uint64_t)to << 32 | command);
		else
			send_ipi(to, command);
		if (one_in(16))
			__asm__ volatile("sti; nop; nop; cli");
	}
}

static uint32_t odd_apic_value(void)
{
	return one_in(4)   ? (uint32_t)odd_number()
	       : one_in(2) ? below(256) | below(8) << 8 | (uint32_t)(rnd() & 0x7f000)
			   : (uint32_t)rnd() & 0xff0000ff;
}

/* The local APIC's registers in any order and of any size; most often its timer keeps on. */
void try_apic(void)
{
	bool by_msr = rdmsr(MSR_APIC_BASE) & BASE_EXTD;

	this_cpu()->apic_spoiled = true;
	for (unsigned n = 1 + below(one_in(8) ? 200 : 20); n; n--) {
		uint32_t reg = below(0x40) << 4, val = odd_apic_value();

		if (reg == REG_ICR || (reg == REG_TIMER && !one_in(8)))
			continue;
		if (one_in(4))
			reg = REG_EOI;
		if (by_msr && one_in(2))
			wrmsr(MSR_X2APIC + (reg >> 4), one_in(4) ? odd_number() : val);
		else if (by_msr)
			(void)rdmsr(MSR_X2APIC + (reg >> 4));
		else if (one_in(16))
			*(volatile uint16_t *)at(APIC + reg + below(16)) = (uint16_t)val;
		else if (one_in(4))
			(void)*at(APIC + reg + (one_in(8) ? below(16) : 0));
		else
			*at(APIC + reg) = val;
		if (one_in(8))
			__asm__ volatile("sti; nop; nop; cli");
	}
}

/* Its page goes elsewhere, over memory and other devices, while others use what is there. */
void try_apic_base(void)
{
	static const uint32_t places[] = { APIC,      APIC,       APIC + PAGE, IOAPIC, HPET,
					   WILD_CODE, WILD_DATA,  WILD_TABLES, 0,      REAL_CODE,
					   REAL_DATA, MEMORY_END, 0xa0000,     0xf0000 };
	uint64_t bsp = rdmsr(MSR_APIC_BASE) & BASE_BSP;

	this_cpu()->apic_spoiled = true;
	for (unsigned n = 1 + below(6); n; n--) {
		uint64_t page = places[below(sizeof(places) / sizeof(places[0]))] +
				(uint64_t)below(one_in(4) ? 16 : 2) * PAGE;
		uint64_t flags = one_in(8)   ? rnd() & 0xfff
				 : one_in(4) ? (uint64_t)below(4) << 10
					     : BASE_ENABLE;

		if (one_in(32))
			page = odd_number() & ~(uint64_t)(PAGE - 1);
		wrmsr(MSR_APIC_BASE, page | flags | (one_in(16) ? 0 : bsp));
		for (unsigned k = below(20); k && page < MEMORY_END; k--) {
			uint32_t reg = (uint32_t)page + (below(0x40) << 4);

			if (one_in(2))
				(void)*at(reg);
			else if (page >= WILD_CODE)
				*at(reg) = odd_apic_value();
		}
	}
}

void try_ioapic(void)
{
	this_cpu()->devices_spoiled = true;
	for (unsigned n = 1 + below(60); n; n--) {
		uint32_t low = (uint32_t)rnd() & (one_in(8) ? ~0u : 0x1afff);

		if (one_in(2))
			low &= ~0x10000u;
		if ((low >> 8 & 7) == 5 && !one_in(200)) /* INIT */
			low ^= 0x100;
		switch (below(8)) {
		case 0:
			*at(IOAPIC + 0x40) = below(256);
			break;
		case 1: /* the RTC's, the keyboard's, the 8254's pin changes */
			out(0x70, 1, 0xb);
			out(0x71, 1, (uint32_t)rnd() & 0x7f);
			out(0x70, 1, 0xc);
			in(0x71, 1);
			break;
		case 2:
			out(0x43, 1, below(8) << 1 | 0x30);
			out(0x40, 1, below(256));
			out(0x40, 1, below(4));
			break;
		case 3:
			out(COM1 + 1, 1, below(16));
			break;
		default:
			*at(IOAPIC) = 0x10 + below(one_in(8) ? 256 : 48);
			if (one_in(2))
				*at(IOAPIC) = 0x10 + 2 * below(12);
			*at(IOAPIC + 0x10) = one_in(4) ? below(256) << 24 : low;
		}
	}
}

static void write_hpet(void)
{
	static const uint16_t regs[] = {
		0x10, 0x20, 0xf0, 0x100, 0x108, 0x120, 0x128, 0x140, 0x148
	};
	uint32_t reg = HPET + (one_in(8) ? below(0x400) : regs[below(9)]);

	if (one_in(4))
		(void)*at(reg);
	else if (one_in(2))
		*at(reg) = (uint32_t)odd_number();
	else
		*(volatile uint64_t *)at(reg) = one_in(2) ? below(0x10000) : odd_number();
}

/* Every clock there is, by all at the same time. */
void try_timers(void)
{
	this_cpu()->devices_spoiled = this_cpu()->apic_spoiled = true;
	for (unsigned n = 1 + below(40); n; n--) {
		switch (below(8)) {
		case 0:
			out((uint16_t)(0x40 + below(4)), 1, below(256));
			in((uint16_t)(0x40 + below(4)), 1);
			break;
		case 1:
			out(0x70, 1, below(0x80));
			out(0x71, 1, one_in(2) ? (uint32_t)rnd() : below(0x60));
			break;
		case 2:
			wrmsr(one_in(2) ? MSR_TSC : MSR_TSC_ADJUST, odd_number());
			break;
		case 3:
			*at(APIC + REG_TIMER) = 0x40021;
			wrmsr(MSR_TSC_DEADLINE,
			      one_in(2) ? odd_number() : rdmsr(MSR_TSC) + below(1000000));
			break;
		case 4:
			wrmsr(one_in(4) ? MSR_KVM_WALL_CLOCK : MSR_KVM_SYSTEM_TIME,
			      (one_in(2) ? WILD_DATA + below(0x10000) : odd_address()) | 1);
			break;
		default:
			write_hpet();
		}
	}
}

/* Ports that reset the machine or put it to sleep; seldom with what does it. */
void try_resets(void)
{
	static const uint16_t ports[] = { 0xcf9, 0x92, 0x64, 0x600, 0x602, 0x604, 0x605 };

	this_cpu()->devices_spoiled = true;
	for (unsigned n = 1 + below(8); n; n--) {
		uint16_t port = ports[below(7)];
		uint32_t val = (uint32_t)rnd();

		if (port_ends_it(port, 1, val) && !one_in(100))
			in(port, 1);
		else
			out(port, 1, val);
	}
}
