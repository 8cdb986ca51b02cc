#include "vmm/bus.h"

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"

static_assert(BUS_IO_RANGES <= 256, "port_owner[] holds an index in a byte");

/* All ones in the low size bytes, size 1 to 8. */
static uint64_t ones(unsigned size)
{
	return ~UINT64_C(0) >> (64 - 8 * size);
}

int bus_init(struct bus *bus)
{
	memset(bus, 0, sizeof(*bus));
	bus->port_owner = kalloc(BUS_IO_PORTS);
	return bus->port_owner ? 0 : trace_error(-ENOMEM);
}

void bus_destroy(struct bus *bus)
{
	if (bus->port_owner)
		kfree(bus->port_owner, BUS_IO_PORTS);
	memset(bus, 0, sizeof(*bus));
}

/* --- ports --- */

/* A slot of io[] that no range uses, or 0. */
static unsigned free_io_slot(const struct bus *bus)
{
	for (unsigned i = 1; i < BUS_IO_RANGES; i++)
		if (!bus->io[i].count)
			return i;
	return 0;
}

int bus_register_io(struct bus *bus, uint16_t base, uint32_t count, const char *name,
		    const struct io_ops *ops, void *dev)
{
	unsigned slot = free_io_slot(bus);

	if (!count || count > BUS_IO_PORTS - (uint32_t)base)
		return trace_error(-EINVAL);
	for (uint32_t p = base; p < base + count; p++)
		if (bus->port_owner[p])
			return trace_error(-EEXIST);
	if (!slot)
		return trace_error(-ENOSPC);
	bus->io[slot] = (struct io_range){ base, count, name, ops, dev };
	memset(bus->port_owner + base, (int)slot, count);
	bus->nr_io++;
	return 0;
}

void bus_unregister_io(struct bus *bus, uint16_t base)
{
	unsigned slot = bus->port_owner[base];

	if (!slot || bus->io[slot].base != base)
		return;
	memset(bus->port_owner + base, 0, bus->io[slot].count);
	memset(&bus->io[slot], 0, sizeof(bus->io[slot]));
	bus->nr_io--;
}

/* The range that holds port; io[0], which has no ports, when nobody does. */
static inline const struct io_range *io_at(const struct bus *bus, uint16_t port)
{
	return &bus->io[bus->port_owner[port]];
}

/* io[0] holds nothing: count is 0 there, and size at least 1. */
static inline bool io_holds(const struct io_range *r, uint16_t port, unsigned size)
{
	return (uint32_t)port - r->base + size <= r->count;
}

static __attribute__((noinline)) uint32_t bus_in_bytes(struct bus *bus, uint32_t port,
						       unsigned size)
{
	uint32_t val = 0;

	for (unsigned i = 0; i < size; i++) {
		uint32_t p = port + i;
		uint32_t byte = 0xff;

		if (p < BUS_IO_PORTS && bus->port_owner[p]) {
			const struct io_range *r = io_at(bus, (uint16_t)p);

			byte = r->ops->in(r->dev, (uint16_t)p, 1) & 0xff;
		}
		val |= byte << (8 * i);
	}
	return val;
}

static __attribute__((noinline)) void bus_out_bytes(struct bus *bus, uint32_t port, unsigned size,
						    uint32_t val)
{
	for (unsigned i = 0; i < size; i++) {
		uint32_t p = port + i;

		if (p < BUS_IO_PORTS && bus->port_owner[p]) {
			const struct io_range *r = io_at(bus, (uint16_t)p);

			r->ops->out(r->dev, (uint16_t)p, 1, val >> (8 * i) & 0xff);
		}
	}
}

/* The guest's first access to the port: its entry is made, and the access comes again. */
static __attribute__((noinline)) uint32_t bus_in_first(struct bus *bus, uint16_t port,
						       unsigned size)
{
	touches_new(bus->touches, TOUCH_PORT, port, io_at(bus, port)->name);
	return bus_in(bus, port, size);
}

static __attribute__((noinline)) void bus_out_first(struct bus *bus, uint16_t port, unsigned size,
						    uint32_t val)
{
	touches_new(bus->touches, TOUCH_PORT, port, io_at(bus, port)->name);
	bus_out(bus, port, size, val);
}

uint32_t bus_in(struct bus *bus, uint16_t port, unsigned size)
{
	const struct io_range *r = io_at(bus, port);

	if (bus->touches) {
		struct touch *t = touches_find(bus->touches, TOUCH_PORT, port);

		if (!t)
			return bus_in_first(bus, port, size);
		t->in++;
	}
	if (__builtin_expect(io_holds(r, port, size), 1))
		return r->ops->in(r->dev, port, size) & (uint32_t)ones(size);
	return bus_in_bytes(bus, port, size);
}

void bus_out(struct bus *bus, uint16_t port, unsigned size, uint32_t val)
{
	const struct io_range *r = io_at(bus, port);

	if (bus->touches) {
		struct touch *t = touches_find(bus->touches, TOUCH_PORT, port);

		if (!t) {
			bus_out_first(bus, port, size, val);
			return;
		}
		t->out++;
	}
	if (__builtin_expect(io_holds(r, port, size), 1))
		r->ops->out(r->dev, port, size, val & (uint32_t)ones(size));
	else
		bus_out_bytes(bus, port, size, val);
}

/* --- memory-mapped registers --- */

/* The first range that ends above addr, or nr_mmio. */
static unsigned mmio_index(const struct bus *bus, uint64_t addr)
{
	unsigned lo = 0, hi = bus->nr_mmio;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct mmio_range *r = &bus->mmio[mid];

		if (r->base.v + (r->size - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_register_mmio(struct bus *bus, gpa_t base, uint64_t size, const char *name,
		      const struct mmio_ops *ops, void *dev)
{
	unsigned at;

	if (!size || base.v + (size - 1) < base.v)
		return trace_error(-EINVAL);
	at = mmio_index(bus, base.v);
	if (at < bus->nr_mmio && bus->mmio[at].base.v <= base.v + (size - 1))
		return trace_error(-EEXIST);
	if (bus->nr_mmio == BUS_MMIO_RANGES)
		return trace_error(-ENOSPC);
	memmove(&bus->mmio[at + 1], &bus->mmio[at], (bus->nr_mmio - at) * sizeof(bus->mmio[0]));
	bus->mmio[at] = (struct mmio_range){ base, size, name, ops, dev };
	bus->nr_mmio++;
	return 0;
}

void bus_unregister_mmio(struct bus *bus, gpa_t base)
{
	unsigned at = mmio_index(bus, base.v);

	if (at == bus->nr_mmio || bus->mmio[at].base.v != base.v)
		return;
	bus->nr_mmio--;
	memmove(&bus->mmio[at], &bus->mmio[at + 1], (bus->nr_mmio - at) * sizeof(bus->mmio[0]));
}

/* The range that holds addr, or NULL. */
static const struct mmio_range *mmio_at(const struct bus *bus, uint64_t addr)
{
	unsigned i = mmio_index(bus, addr);

	return i < bus->nr_mmio && bus->mmio[i].base.v <= addr ? &bus->mmio[i] : NULL;
}

static bool mmio_holds(const struct mmio_range *r, uint64_t addr, unsigned size)
{
	return r && size <= r->size && addr - r->base.v <= r->size - size;
}

static uint64_t mmio_read(struct bus *bus, uint64_t addr, unsigned size)
{
	const struct mmio_range *r = mmio_at(bus, addr);
	uint64_t val = 0;

	if (mmio_holds(r, addr, size))
		return r->ops->read(r->dev, addr - r->base.v, size) & ones(size);
	if (size == 1)
		return 0xff;
	for (unsigned i = 0; i < size; i++)
		val |= mmio_read(bus, addr + i, 1) << (8 * i);
	return val;
}

static void mmio_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t val)
{
	const struct mmio_range *r = mmio_at(bus, addr);

	if (mmio_holds(r, addr, size)) {
		r->ops->write(r->dev, addr - r->base.v, size, val & ones(size));
		return;
	}
	if (size == 1)
		return;
	for (unsigned i = 0; i < size; i++)
		mmio_write(bus, addr + i, 1, val >> (8 * i) & 0xff);
}

static struct touch *touch_memory(struct bus *bus, uint64_t addr)
{
	struct touch *t = touches_find(bus->touches, TOUCH_MEMORY, addr);
	const struct mmio_range *r;

	if (t)
		return t;
	r = mmio_at(bus, addr);
	return touches_new(bus->touches, TOUCH_MEMORY, addr, r ? r->name : NULL);
}

uint64_t bus_mmio_read(struct bus *bus, gpa_t gpa, unsigned size)
{
	if (bus->touches)
		touch_memory(bus, gpa.v)->in++;
	return mmio_read(bus, gpa.v, size);
}

void bus_mmio_write(struct bus *bus, gpa_t gpa, unsigned size, uint64_t val)
{
	if (bus->touches)
		touch_memory(bus, gpa.v)->out++;
	mmio_write(bus, gpa.v, size, val);
}
