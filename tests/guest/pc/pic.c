/* The 8259's interrupts by LINT0, by the I/O APIC's input 0, and by neither. */
#include "tests/guest/pc/pc.h"

#define IOAPIC 0xfec00000u
#define EXTINT 0x700u
#define PIT_HZ 1193182u
#define HERTZ 1000u

static void start_pic(void)
{
	outb(0x20, 0x11);
	outb(0x21, VEC_PIC);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0x21, 0xfe);
}

static void start_pit(void)
{
	outb(0x43, 0x34);
	outb(0x40, (PIT_HZ / HERTZ) & 0xff);
	outb(0x40, (PIT_HZ / HERTZ) >> 8);
}

static void input_0(uint32_t val)
{
	volatile uint32_t *ioapic = (volatile uint32_t *)(uintptr_t)IOAPIC;

	ioapic[0] = 0x11;
	ioapic[4] = 0;
	ioapic[0] = 0x10;
	ioapic[4] = val;
}

static uint32_t pass(uint64_t us)
{
	uint32_t before = came[0][VEC_PIC];
	uint64_t from = rdtsc();

	interrupts_on();
	while (us_since(from) < us)
		pause();
	interrupts_off();
	return came[0][VEC_PIC] - before;
}

static void await(uint32_t n)
{
	while (n > 0) {
		uint32_t some = pass(100);

		n -= some < n ? some : n;
	}
}

void pic(void)
{
	start_pic();
	start_pit();
	reg_write(REG_LVT_LINT0, EXTINT);
	await(20);
	reg_write(REG_LVT_LINT0, LVT_MASKED | EXTINT);
	expect("interrupts by a masked LINT0", pass(20000), 0);
	/* The edge that has come meanwhile is lost: the request is there, and has to be taken. */
	reg_write(REG_LVT_LINT0, EXTINT);
	input_0(EXTINT);
	await(1);
	reg_write(REG_LVT_LINT0, LVT_MASKED | EXTINT);
	await(20);
	input_0(LVT_MASKED | EXTINT);
	pass(5000); /* one may be under way */
	expect("interrupts by neither", pass(20000), 0);
	outb(0x21, 0xff);
	outb(0x43, 0x30);
}
