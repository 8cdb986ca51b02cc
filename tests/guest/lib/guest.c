#include "tests/guest/lib/guest.h"

#define DEBUG_EXIT 0xf4
#define EXIT_OK 0x10
#define EXIT_WRONG 0x20
#define RTC 0x70
#define LOOKS 1000000u /* at a port that is not ready */
#define START_INFO_CMDLINE 24
#define LEAF_NAME 0x40000000
#define LEAF_TIMING 0x40000010 /* EBX: the APIC timer's kHz */
#define QEMU_APIC_KHZ 1000000

void *memset(void *dst, int c, size_t n)
{
	uint8_t *to = dst;

	while (n--)
		*to++ = (uint8_t)c;
	return dst;
}

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	uint8_t *to = dst;
	const uint8_t *from = src;

	while (n--)
		*to++ = *from++;
	return dst;
}

void put_text(const char *text)
{
	for (; *text; text++) {
		for (unsigned n = 0; !(inb(COM1 + 5) & 0x20) && n < LOOKS; n++)
			;
		outb(COM1, (uint8_t)*text);
	}
}

void put_number(unsigned long val)
{
	char text[21] = "";
	unsigned at = sizeof(text) - 1;

	do {
		text[--at] = (char)('0' + val % 10);
		val /= 10;
	} while (val);
	put_text(text + at);
}

void put_hex(uint64_t val)
{
	char text[17] = "";
	unsigned digits = 1;

	while (digits < 16 && val >> 4 * digits)
		digits++;
	for (unsigned i = 0; i < digits; i++)
		text[i] = "0123456789abcdef"[val >> 4 * (digits - 1 - i) & 15];
	put_text(text);
}

/* A processor without a hypervisor answers for leaves that it has not with another's. */
static bool tells_timing(void)
{
	uint32_t r[4];

	cpuid(1, r);
	if (!(r[2] >> 31))
		return false;
	cpuid(LEAF_NAME, r);
	return r[0] >= LEAF_TIMING;
}

uint32_t apic_counts(uint32_t us)
{
	uint32_t r[4], khz = QEMU_APIC_KHZ;

	if (tells_timing()) {
		cpuid(LEAF_TIMING, r);
		khz = r[1];
	}
	return (uint32_t)((uint64_t)us * khz / 1000);
}

void stop(bool good)
{
	outb(DEBUG_EXIT, good ? EXIT_OK : EXIT_WRONG);
	for (;;)
		__asm__ volatile("cli; hlt");
}

uint8_t rtc_read(uint8_t reg)
{
	outb(RTC, reg);
	return inb(RTC + 1);
}

const char *pvh_command_line(uint32_t start_info)
{
	return (const char *)*(const uintptr_t *)(uintptr_t)(start_info + START_INFO_CMDLINE);
}

const char *find(const char *text, const char *word)
{
	for (; *text; text++) {
		unsigned n = 0;

		while (word[n] && text[n] == word[n])
			n++;
		if (!word[n])
			return text + n;
	}
	return NULL;
}

unsigned long parse_number(const char *text)
{
	unsigned long val = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		val = val * 10 + (unsigned long)(*text - '0');
	return val;
}
