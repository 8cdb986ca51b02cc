/* Firmware tables as bytes: what stands where, and what they add up to. */
#ifndef UMBRA_TESTS_TABLE_BYTES_H
#define UMBRA_TESTS_TABLE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The number of size bytes at that offset. */
static inline uint64_t field(const uint8_t *table, unsigned off, unsigned size)
{
	uint64_t val = 0;

	memcpy(&val, table + off, size);
	return val;
}

/* 0 for a table whose checksum is right. */
static inline uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

#endif
