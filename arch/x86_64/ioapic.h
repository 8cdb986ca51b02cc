/* The I/O APICs, as the MADT describes them. */
#ifndef UMBRA_IOAPIC_H
#define UMBRA_IOAPIC_H

/* Mask every input of every I/O APIC, but the firmware's SMIs. After acpi_init(). */
void ioapic_init(void);

/*
 * Deliver ISA interrupt irq (0 to 15) to the CPU that booted, as this vector, honouring the
 * MADT's overrides. 0, or -ENODEV when no I/O APIC has that input or can name this CPU.
 */
int ioapic_route_isa(unsigned irq, unsigned vector);
/* The same as an NMI, at each edge. */
int ioapic_route_isa_nmi(unsigned irq);

#endif
