#include "vmm/dev/debug.h"

static uint32_t post_in(void *dev, uint16_t port, unsigned size)
{
	const struct debug_ports *d = dev;

	(void)port;
	(void)size;
	return d->post;
}

static void post_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct debug_ports *d = dev;

	(void)port;
	(void)size;
	d->post = (uint8_t)val;
}

/* Reading gives the port's own number: that is how programs know that it is there. */
static uint32_t print_in(void *dev, uint16_t port, unsigned size)
{
	(void)dev;
	(void)port;
	(void)size;
	return DEBUG_PORT_PRINT;
}

static void print_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct debug_ports *d = dev;

	(void)port;
	(void)size;
	d->print(d->ctx, (uint8_t)val);
}

static uint32_t exit_in(void *dev, uint16_t port, unsigned size)
{
	(void)dev;
	(void)port;
	(void)size;
	return 0;
}

static void exit_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct debug_ports *d = dev;

	(void)port;
	d->exit(d->ctx, size < 4 ? val & ((UINT32_C(1) << (8 * size)) - 1) : val);
}

const struct io_ops debug_post_ops = { .in = post_in, .out = post_out };
const struct io_ops debug_print_ops = { .in = print_in, .out = print_out };
const struct io_ops debug_exit_ops = { .in = exit_in, .out = exit_out };
