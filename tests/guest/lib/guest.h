/*
 * What guests in C have in common, of 32 and of 64 bits: ports, gates, words on COM1, their command
 * line, and how they stop. guest.inc is the same for those in assembly.
 */
#ifndef UMBRA_TESTS_GUEST_LIB_GUEST_H
#define UMBRA_TESTS_GUEST_LIB_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COM1 0x3f8

/* --- the processor --- */

static inline uint8_t inb(uint16_t port)
{
	uint8_t val;

	__asm__ volatile("inb %w1, %b0" : "=a"(val) : "Nd"(port));
	return val;
}

static inline void outb(uint16_t port, uint8_t val)
{
	__asm__ volatile("outb %b0, %w1" : : "a"(val), "Nd"(port));
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t val)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)val), "d"((uint32_t)(val >> 32))
			 : "memory");
}

static inline void cpuid(uint32_t leaf, uint32_t reg[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(reg[0]), "=b"(reg[1]), "=c"(reg[2]), "=d"(reg[3])
			 : "a"(leaf), "c"(0));
}

/* IDTR's, and the like. */
struct __attribute__((packed)) table_register {
	uint16_t limit;
	uintptr_t base;
};

static inline void load_idt(const void *idt, size_t size)
{
	struct table_register idtr = { (uint16_t)(size - 1), (uintptr_t)idt };

	__asm__ volatile("lidt %0" : : "m"(idtr));
}

/* Type and P; DPL is at GATE_DPL, IST the lowest three bits. */
#define GATE_INTERRUPT 0x8e00u
#define GATE_DPL(dpl) ((uint32_t)(dpl) << 13)

/* A gate for 32-bit code. */
static inline void set_gate32(uint32_t gate[2], unsigned selector, uint64_t to, uint32_t type)
{
	gate[0] = (uint32_t)(selector << 16 | (to & 0xffff));
	gate[1] = (uint32_t)((to & 0xffff0000) | type);
}

/* And for 64-bit code. */
static inline void set_gate64(uint32_t gate[4], unsigned selector, uint64_t to, uint32_t type)
{
	set_gate32(gate, selector, to, type);
	gate[2] = (uint32_t)(to >> 32);
	gate[3] = 0;
}

/* --- the machine --- */

/* On COM1. A port that is never ready is taken for broken. */
void put_text(const char *text);
void put_number(unsigned long val);
/* As many digits as it takes. */
void put_hex(uint64_t val);
/* The local APIC's timer, divided by 1: how often it counts in so many microseconds. By CPUID's
 * leaf 40000010; without it as QEMU's own does. */
uint32_t apic_counts(uint32_t us);
/* By the debug-exit port: has all been as it must be? */
void stop(bool good) __attribute__((noreturn));
/* A register of the real-time clock; 0: the seconds. */
uint8_t rtc_read(uint8_t reg);

/* --- the command line --- */

/* Of PVH's hvm_start_info. */
const char *pvh_command_line(uint32_t start_info);
/* What follows this word in the text, wherever it stands; NULL: it is not there. */
const char *find(const char *text, const char *word);
/* The decimal number that text begins with; 0: none. */
unsigned long parse_number(const char *text);

/* What gcc calls by itself. */
void *memset(void *dst, int c, size_t n);
void *memcpy(void *restrict dst, const void *restrict src, size_t n);

#endif
