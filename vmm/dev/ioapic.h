/*
 * The I/O APIC of PCI chipsets: an 82093AA with 24 inputs that, as version 20h, has an EOI
 * register. Inputs are wires with a level of their own; an entry's polarity says which level
 * is active. An edge on a masked input is lost, as on hardware.
 */
#ifndef UMBRA_VMM_DEV_IOAPIC_H
#define UMBRA_VMM_DEV_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/apic_msg.h"
#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define IOAPIC_BASE UINT64_C(0xfec00000)
#define IOAPIC_SIZE 0x1000
#define IOAPIC_PINS 24
#define IOAPIC_IDS 16 /* its register has four bits */
#define IOAPIC_VERSION 0x20

struct ioapic {
	struct apic_wire wire;
	uint8_t id, arb; /* below IOAPIC_IDS */
	uint8_t index;   /* IOREGSEL */
	uint32_t lines;  /* the inputs' levels as they are now */
	uint64_t entry[IOAPIC_PINS];
	uint64_t raised[IOAPIC_PINS], taken[IOAPIC_PINS]; /* for ioapic_look() alone */
};

extern const struct mmio_ops ioapic_ops; /* dev: struct ioapic */

/* The state after power-on: all masked, all inputs low. Messages go to wire. */
void ioapic_setup(struct ioapic *io, uint8_t id, struct apic_wire wire);
/* The wire to input `pin`, below IOAPIC_PINS. */
struct irq_line ioapic_line(struct ioapic *io, unsigned pin);
/* A local APIC has ended a level-triggered interrupt: those inputs that sent it may send again. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);
/* Has the guest turned input `pin` off? */
bool ioapic_masked(const struct ioapic *io, unsigned pin);
/* The vector in its entry. */
uint8_t ioapic_vector(const struct ioapic *io, unsigned pin);
/* All of an input but its device's name. False: there is no such input. */
bool ioapic_look(const struct ioapic *io, unsigned pin, struct irq_state *state);

#endif
