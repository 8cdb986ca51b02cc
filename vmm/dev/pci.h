/*
 * PCI bus 0 by configuration mechanism #1: ports cf8-cff, with the reset control
 * register of Intel's chipsets at cf9. Function 0:0.0 is a host bridge; other devices
 * add themselves. What is not there reads as all ones.
 */
#ifndef UMBRA_VMM_DEV_PCI_H
#define UMBRA_VMM_DEV_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"

#define PCI_CONFIG_SIZE 256
#define PCI_FUNCTIONS 256 /* of one bus: device * 8 + function */
#define PCI_DEVFN(dev, fn) ((dev) << 3 | (fn))

/* Offsets in a type 0 header (PCI Local Bus 3.0, 6.1). */
#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_STATUS 0x06
#define PCI_REVISION 0x08
#define PCI_CLASS_PROG 0x09
#define PCI_CLASS_DEVICE 0x0a
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_CAPABILITIES 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d

/* One function's configuration space. A device fills config and writable, then adds it. */
struct pci_function {
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that the guest may change */
	/* After the guest has written config[off .. off + size); may be NULL. */
	void (*written)(void *dev, unsigned off, unsigned size);
	void *dev;
};

struct pci {
	uint32_t address;      /* CONFIG_ADDRESS */
	uint8_t reset_control; /* cf9 */
	void (*reset)(void *ctx);
	void *reset_ctx;
	struct pci_function *function[PCI_FUNCTIONS];
	struct pci_function host_bridge;
};

extern const struct io_ops pci_ops; /* ports cf8-cff; dev: struct pci */

/* A bus with its host bridge. reset: the guest asked for one at cf9. */
void pci_init(struct pci *pci, void (*reset)(void *ctx), void *reset_ctx);
/* fn stays the caller's. 0, -EINVAL (no such number) or -EEXIST (taken). */
int pci_add_function(struct pci *pci, unsigned devfn, struct pci_function *fn);
/* Little-endian 16- and 32-bit fields of a configuration space. */
void pci_set16(uint8_t *space, unsigned off, uint16_t val);
void pci_set32(uint8_t *space, unsigned off, uint32_t val);

#endif
