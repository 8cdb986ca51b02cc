/* The 8259's interrupts by LINT0, by the I/O APIC's input 0, and by neither. */
#include "tests/guest/pc/pc.h"

#define EXTINT 0x700u
#define PIT_HZ 1193182u
#define HERTZ 1000u

void start_pic(void)
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

/* How many come in so long. */
static uint32_t come_in(uint64_t us)
{
	uint32_t before = came[0][VEC_PIC];

	pass(us);
	return came[0][VEC_PIC] - before;
}

static void await(uint32_t n)
{
	while (n > 0) {
		uint32_t some = come_in(100);

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
	expect("interrupts by a masked LINT0", come_in(20000), 0);
	/* The edge that has come meanwhile is lost: the request is there, and has to be taken. */
	reg_write(REG_LVT_LINT0, EXTINT);
	input_set(0, 0, EXTINT);
	await(1);
	reg_write(REG_LVT_LINT0, LVT_MASKED | EXTINT);
	await(20);
	input_set(0, 0, LVT_MASKED | EXTINT);
	pass(5000); /* one may be under way */
	expect("interrupts by neither", come_in(20000), 0);
	outb(0x21, 0xff);
	outb(0x43, 0x30);
}
