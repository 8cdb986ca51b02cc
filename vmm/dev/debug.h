/*
 * Ports for test programs and firmware: e9 prints a byte (as Bochs), f4 ends the VM with
 * a status (as QEMU's isa-debug-exit), 80 shows power-on self-test codes to nobody.
 */
#ifndef UMBRA_VMM_DEV_DEBUG_H
#define UMBRA_VMM_DEV_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"

#define DEBUG_PORT_POST 0x80
#define DEBUG_PORT_PRINT 0xe9
#define DEBUG_PORT_EXIT 0xf4
#define DEBUG_EXIT_PORTS 4

struct debug_ports {
	bool (*print)(void *ctx, uint8_t byte); /* false: lost */
	void (*exit)(void *ctx, uint32_t value);
	void *ctx;
	uint8_t post;
};

/* For DEBUG_PORT_POST, _PRINT and _EXIT; dev: struct debug_ports. */
extern const struct io_ops debug_post_ops;
extern const struct io_ops debug_print_ops;
extern const struct io_ops debug_exit_ops;

#endif
