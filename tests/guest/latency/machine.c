/* Gates, the page tables' one change. */
#include "tests/guest/latency/latency.h"

#define CODE64 0x08
#define EXCEPTIONS 32
#define PAGE 4096u

extern uint64_t flat_pdpt[512];
extern const uint64_t exception_stubs[EXCEPTIONS];
uint8_t stacks[CPUS_MAX * STACK_SIZE] __attribute__((aligned(PAGE)));

static uint32_t idt[256][4];
extern const struct table_register idtr;
const struct table_register idtr = { sizeof(idt) - 1, (uintptr_t)idt };

static uint64_t window_pd[512] __attribute__((aligned(PAGE)));
static volatile uint64_t window_pt[512] __attribute__((aligned(PAGE)));
static uint32_t pages[2][PAGE / 4] __attribute__((aligned(PAGE)));

void on_exception(unsigned vector, uint64_t error, uint64_t rip) __attribute__((noreturn));

void on_exception(unsigned vector, uint64_t error, uint64_t rip)
{
	put_text("WRONG: exception ");
	put_number(vector);
	put_text(", error code ");
	put_number(error);
	put_text(", rip ");
	put_hex(rip);
	put_text("\n");
	stop(false);
}

void set_gate(unsigned vector, interrupt_fn handler)
{
	if (!idt[0][1]) {
		for (unsigned i = 0; i < EXCEPTIONS; i++)
			set_gate64(idt[i], CODE64, exception_stubs[i], GATE_INTERRUPT);
		__asm__ volatile("lidt %0" : : "m"(idtr));
	}
	set_gate64(idt[vector], CODE64, (uintptr_t)handler, GATE_INTERRUPT);
}

void window_init(void)
{
	pages[1][0] = 1;
	window_pd[0] = (uintptr_t)window_pt | 3;
	flat_pdpt[WINDOW >> 30] = (uintptr_t)window_pd | 3;
	window_map(0);
}

void window_map(unsigned which)
{
	window_pt[0] = (uintptr_t)pages[which] | 3;
	__asm__ volatile("invlpg (%0)" : : "r"((uintptr_t)WINDOW) : "memory");
}
