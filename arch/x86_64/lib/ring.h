/*
 * A ring of bytes between one writer and one reader. The size is a power of two; head
 * and tail count on for ever, so full and empty need no spare byte.
 */
#ifndef UMBRA_RING_H
#define UMBRA_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
	uint8_t *buf;
	uint32_t size; /* a power of two */
	uint32_t head; /* bytes put so far */
	uint32_t tail; /* bytes got so far */
};

#define RING_INIT(array)                                                                           \
	{                                                                                          \
		.buf = (array), .size = sizeof(array)                                              \
	}

/* Bytes that wait to be read. For either of the two; anybody else has a number that was so lately.
 */
static inline uint32_t ring_used(const struct ring *r)
{
	return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) -
	       __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
}

/* Bytes that there is room for. */
static inline uint32_t ring_space(const struct ring *r)
{
	return r->size - ring_used(r);
}

/* Does none wait? */
static inline bool ring_empty(const struct ring *r)
{
	return !ring_used(r);
}

/* False: full, not taken. */
static inline bool ring_put(struct ring *r, uint8_t c)
{
	if (!ring_space(r))
		return false;
	r->buf[r->head & (r->size - 1)] = c;
	__atomic_store_n(&r->head, r->head + 1, __ATOMIC_RELEASE);
	return true;
}

/* The oldest byte, or -1 when empty. */
static inline int ring_get(struct ring *r)
{
	uint8_t c;

	if (__atomic_load_n(&r->head, __ATOMIC_ACQUIRE) == r->tail)
		return -1;
	c = r->buf[r->tail & (r->size - 1)];
	__atomic_store_n(&r->tail, r->tail + 1, __ATOMIC_RELEASE);
	return c;
}

#endif
