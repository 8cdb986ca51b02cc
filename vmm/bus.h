/*
 * The guest's I/O ports and memory-mapped registers. Devices register ranges; the
 * core asks. What no device answers reads as all ones and swallows writes (a master
 * abort).
 */
#ifndef UMBRA_VMM_BUS_H
#define UMBRA_VMM_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "vmm/touches.h"

/* size: 1, 2 or 4. port is the absolute port; it lies in the registered range. */
struct io_ops {
	uint32_t (*in)(void *dev, uint16_t port, unsigned size);
	void (*out)(void *dev, uint16_t port, unsigned size, uint32_t val);
	/* How the device stands, in a few words for the operator; NULL: it has none. */
	void (*describe)(const void *dev, char *text, size_t size);
};

/* size: 1, 2, 4 or 8. off: from the start of the registered range. */
struct mmio_ops {
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t val);
};

struct io_range {
	uint16_t base;
	uint32_t count;
	const char *name;
	const struct io_ops *ops;
	void *dev;
};

struct mmio_range {
	gpa_t base;
	uint64_t size;
	const char *name;
	const struct mmio_ops *ops;
	void *dev;
};

#define BUS_IO_RANGES 64
#define BUS_MMIO_RANGES 96
#define BUS_IO_PORTS 65536

struct bus {
	unsigned nr_io, nr_mmio;
	struct io_range io[BUS_IO_RANGES];       /* io[0] is unused: index 0 means nobody */
	struct mmio_range mmio[BUS_MMIO_RANGES]; /* sorted by base */
	uint8_t *port_owner;                     /* [BUS_IO_PORTS] index into io[] */
	struct touches *touches;                 /* where accesses are counted; NULL: nowhere */
};

/* An empty bus. 0 or -ENOMEM. */
int bus_init(struct bus *bus);
/* Give its memory back; harmless on one that is all zero. */
void bus_destroy(struct bus *bus);

/* 0, -EEXIST (overlaps a range), -ENOSPC, -EINVAL (empty, wraps). */
int bus_register_io(struct bus *bus, uint16_t base, uint32_t count, const char *name,
		    const struct io_ops *ops, void *dev);
int bus_register_mmio(struct bus *bus, gpa_t base, uint64_t size, const char *name,
		      const struct mmio_ops *ops, void *dev);
/* Forget the range that starts at base; harmless when there is none. */
void bus_unregister_io(struct bus *bus, uint16_t base);
void bus_unregister_mmio(struct bus *bus, gpa_t base);

/*
 * One access of the guest; ports: size 1, 2 or 4; memory: 1, 2, 4 or 8. One that does not
 * lie in a single range is split into bytes, each answered by its own owner; what has none
 * reads as ones.
 */
uint32_t bus_in(struct bus *bus, uint16_t port, unsigned size);
void bus_out(struct bus *bus, uint16_t port, unsigned size, uint32_t val);
uint64_t bus_mmio_read(struct bus *bus, gpa_t gpa, unsigned size);
void bus_mmio_write(struct bus *bus, gpa_t gpa, unsigned size, uint64_t val);

#endif
