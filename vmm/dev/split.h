/* Wide accesses to devices whose registers are one byte: the ISA bus cuts them into bytes. */
#ifndef UMBRA_VMM_DEV_SPLIT_H
#define UMBRA_VMM_DEV_SPLIT_H

#include <stdint.h>

#include "vmm/bus.h"

/* Byte by byte, lowest port first, through the device's own ops. */
static inline uint32_t io_split_in(const struct io_ops *ops, void *dev, uint16_t port,
				   unsigned size)
{
	uint32_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (ops->in(dev, (uint16_t)(port + i), 1) & 0xff) << (8 * i);
	return val;
}

static inline void io_split_out(const struct io_ops *ops, void *dev, uint16_t port, unsigned size,
				uint32_t val)
{
	for (unsigned i = 0; i < size; i++)
		ops->out(dev, (uint16_t)(port + i), 1, (val >> (8 * i)) & 0xff);
}

#endif
