/* How a processor takes what its local APIC has: one in another, the trigger mode of what it
 * serves, NMIs, and what a HLT sleeps through. SDM vol. 3, 6.7, 11.8. */
#include "tests/guest/pc/pc.h"

#define VEC_LOW 0x60u
#define VEC_BESIDE 0x6fu /* of the same class */
#define VEC_ABOVE 0x70u
#define VEC_HELD VEC_FIRST
#define VEC_RETURN 0x74u
#define INPUT 20u
#define TO_SELF 0x40000u
#define NMI 0x400u

static bool is_set(uint32_t reg, unsigned vector)
{
	return reg_read(reg + (vector >> 5) * 16) >> (vector & 31) & 1;
}

static void let_in(void)
{
	__asm__ volatile("sti; nop; nop; cli" : : : "memory");
}

/* --- one in another --- */

static uint8_t order[8];
static volatile unsigned nr;

static void note(unsigned vector)
{
	if (nr < sizeof(order))
		order[nr] = (uint8_t)vector;
	nr++;
}

static bool sends;

/* It is open for others, and for itself. */
INTERRUPT static void on_low(struct interrupt_frame *frame)
{
	(void)frame;
	note(VEC_LOW);
	expect("PPR while it is served", reg_read(REG_PPR), VEC_LOW & 0xf0);
	expect("its bit of ISR", is_set(REG_ISR, VEC_LOW), true);
	expect("its bit of IRR", is_set(REG_IRR, VEC_LOW), false);
	if (sends) {
		sends = false;
		reg_write(REG_ICR, TO_SELF | VEC_LOW);
		reg_write(REG_ICR, TO_SELF | VEC_BESIDE);
		reg_write(REG_ICR, TO_SELF | VEC_ABOVE);
		let_in();
		expect("its bit of IRR, sent anew", is_set(REG_IRR, VEC_LOW), true);
		expect("one of its class", is_set(REG_IRR, VEC_BESIDE), true);
		expect("one above", is_set(REG_IRR, VEC_ABOVE), false);
		note(0);
	}
	apic_eoi();
}

INTERRUPT static void on_beside(struct interrupt_frame *frame)
{
	(void)frame;
	note(VEC_BESIDE);
	apic_eoi();
}

INTERRUPT static void on_above(struct interrupt_frame *frame)
{
	(void)frame;
	note(VEC_ABOVE);
	expect("PPR while two are served", reg_read(REG_PPR), VEC_ABOVE & 0xf0);
	expect("the other one's bit of ISR", is_set(REG_ISR, VEC_LOW), true);
	apic_eoi();
	expect("PPR after its end", reg_read(REG_PPR), VEC_LOW & 0xf0);
}

static void one_in_another(void)
{
	static const uint8_t want[] = { VEC_LOW, VEC_ABOVE, 0, VEC_BESIDE, VEC_LOW };

	set_gate(VEC_LOW, on_low);
	set_gate(VEC_BESIDE, on_beside);
	set_gate(VEC_ABOVE, on_above);
	nr = 0;
	sends = true;
	reg_write(REG_ICR, TO_SELF | VEC_LOW);
	for (unsigned i = 0; i < 3; i++)
		let_in();
	expect("how many have come", nr, sizeof(want));
	for (unsigned i = 0; i < sizeof(want); i++)
		expect("their order", order[i], want[i]);
	expect("PPR in the end", reg_read(REG_PPR), 0);
}

/* --- by level --- */

INTERRUPT static void on_level(struct interrupt_frame *frame)
{
	(void)frame;
	note(is_set(REG_TMR, VEC_LOW));
	*hpet(HPET_STATUS) = 1;
	apic_eoi();
}

/* The HPET's timer 0, by level, and then the same vector from itself. */
static void trigger_mode(void)
{
	set_gate(VEC_LOW, on_level);
	nr = 0;
	input_set(INPUT, 0, LEVEL | ACTIVE_LOW | VEC_LOW);
	*hpet(HPET_CONFIG) = 0;
	*hpet(HPET_TIMER(0)) = TIMER_INPUT(INPUT) | TIMER_32 | TIMER_ON | TIMER_LEVEL;
	*hpet(HPET_COMPARATOR(0)) = *hpet(HPET_COUNTER) + 1000;
	*hpet(HPET_CONFIG) = 1;
	while (!nr)
		pass(10);
	pass(1000);
	expect("how often a level has come", nr, 1);
	expect("TMR of a level", order[0], true);
	reg_write(REG_ICR, TO_SELF | VEC_LOW);
	let_in();
	expect("how often it has come", nr, 2);
	expect("TMR of an edge", order[1], false);
	input_set(INPUT, 0, LVT_MASKED);
	*hpet(HPET_TIMER(0)) = 0;
}

/* --- NMIs --- */

static volatile unsigned depth;
static bool by_iret; /* another handler's IRET lets the next one in */

INTERRUPT static void on_return(struct interrupt_frame *frame)
{
	(void)frame;
}

static void send_nmi(void)
{
	if (use_x2apic) {
		wrmsr(0x830, NMI);
		return;
	}
	reg_write(REG_ICR_HIGH, 0);
	reg_write(REG_ICR, NMI);
}

/* The first one sends two more, of which there will be one, when it has ended. */
static void in_nmi(void)
{
	note(++depth);
	if (nr == 1) {
		send_nmi();
		send_nmi();
		if (by_iret)
			__asm__ volatile("int %0" : : "i"(VEC_RETURN) : "memory");
	}
	depth--;
}

static void nmis(void)
{
	set_gate(VEC_RETURN, on_return);
	nmi_does = in_nmi;
	for (unsigned i = 0; i < 2; i++) {
		nr = 0;
		by_iret = i;
		send_nmi();
		pass(1000);
		expect("how many NMIs have come", nr, 2);
		expect("handlers in the first one", order[0], 1);
		expect("handlers in the second one", order[1], by_iret ? 2 : 1);
	}
	nmi_does = NULL;
}

/* --- HLT --- */

static volatile unsigned step;

static void await_step(unsigned n)
{
	while (step != n)
		pass(10);
}

static void sleep_under_tpr(void)
{
	interrupts_off();
	reg_write(REG_TPR, VEC_HELD | 0xf);
	step = 1;
	halt();
	step = 2;
	reg_write(REG_TPR, 0);
	interrupts_on();
}

static void sleep_without_if(void)
{
	interrupts_off();
	step = 1;
	__asm__ volatile("hlt" : : : "memory");
	step = 2;
	interrupts_on();
}

/* What it does not take does not wake it, and waits. */
static void sleeps(unsigned cpu, void (*how)(void), unsigned waker)
{
	uint32_t had = came[cpu][VEC_HELD];

	step = 0;
	begin_on(cpu, how);
	await_step(1);
	pass(2000);
	apic_send(cpu, VEC_HELD);
	pass(20000);
	expect("one that sleeps", step, 1);
	expect("what it was sent", came[cpu][VEC_HELD] - had, 0);
	apic_send(cpu, waker);
	await_step(2);
	end_on(cpu);
	while (came[cpu][VEC_HELD] == had)
		pass(10);
	expect("what it was sent, in the end", came[cpu][VEC_HELD] - had, 1);
}

void taking(void)
{
	one_in_another();
	trigger_mode();
	nmis();
	for (unsigned i = 1; i < nr_cpus; i++) {
		sleeps(i, sleep_under_tpr, VEC_BESIDE);
		sleeps(i, sleep_without_if, NMI);
	}
}
