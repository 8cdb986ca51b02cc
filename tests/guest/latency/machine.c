/* Console, gates, the page tables' one change. */
#include "tests/guest/latency/latency.h"

#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define EXIT_OK 0x10
#define EXIT_WRONG 0x20
#define CODE64 0x08
#define EXCEPTIONS 32
#define PAGE 4096u

extern uint64_t pdpt[512];
extern const uint64_t exception_stubs[EXCEPTIONS];
uint8_t stacks[CPUS_MAX * STACK_SIZE] __attribute__((aligned(PAGE)));

static struct __attribute__((packed)) gate {
	uint16_t low, selector, type, middle;
	uint32_t high, reserved;
} idt[256];

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};
extern const struct table_register idtr;
const struct table_register idtr = { sizeof(idt) - 1, (uintptr_t)idt };

static uint64_t window_pd[512] __attribute__((aligned(PAGE)));
static volatile uint64_t window_pt[512] __attribute__((aligned(PAGE)));
static uint32_t pages[2][PAGE / 4] __attribute__((aligned(PAGE)));

void *memset(void *dst, int c, size_t n);
void on_exception(unsigned vector, uint64_t first, uint64_t second) __attribute__((noreturn));

void *memset(void *dst, int c, size_t n)
{
	uint8_t *to = dst;

	while (n--)
		*to++ = (uint8_t)c;
	return dst;
}

static void outb(uint16_t port, uint8_t val)
{
	__asm__ volatile("outb %b0, %w1" : : "a"(val), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
	uint8_t val;

	__asm__ volatile("inb %w1, %b0" : "=a"(val) : "Nd"(port));
	return val;
}

void put_text(const char *text)
{
	for (; *text; text++) {
		while (!(inb(COM1 + 5) & 0x20))
			pause();
		outb(COM1, (uint8_t)*text);
	}
}

void put_number(uint64_t n)
{
	char digits[21];
	char *at = digits + sizeof(digits);

	*--at = 0;
	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put_text(at);
}

void stop(bool good)
{
	for (;;) {
		outb(DEBUG_EXIT, good ? EXIT_OK : EXIT_WRONG);
		__asm__ volatile("cli; hlt");
	}
}

/* first, second: what the stack has; with an error code that is first, and second RIP. */
void on_exception(unsigned vector, uint64_t first, uint64_t second)
{
	put_text("WRONG: exception ");
	put_number(vector);
	put_text(", on its stack ");
	put_number(first);
	put_text(" ");
	put_number(second);
	put_text("\n");
	stop(false);
}

static void set_entry(unsigned vector, uint64_t to)
{
	idt[vector] = (struct gate){ .low = (uint16_t)to,
				     .selector = CODE64,
				     .type = 0x8e00,
				     .middle = (uint16_t)(to >> 16),
				     .high = (uint32_t)(to >> 32) };
}

void set_gate(unsigned vector, interrupt_fn handler)
{
	if (!idt[0].type) {
		for (unsigned i = 0; i < EXCEPTIONS; i++)
			set_entry(i, exception_stubs[i]);
		__asm__ volatile("lidt %0" : : "m"(idtr));
	}
	set_entry(vector, (uintptr_t)handler);
}

void window_init(void)
{
	pages[1][0] = 1;
	window_pd[0] = (uintptr_t)window_pt | 3;
	pdpt[WINDOW >> 30] = (uintptr_t)window_pd | 3;
	window_map(0);
}

void window_map(unsigned which)
{
	window_pt[0] = (uintptr_t)pages[which] | 3;
	__asm__ volatile("invlpg (%0)" : : "r"((uintptr_t)WINDOW) : "memory");
}
