/* An interrupt message: what an I/O APIC, an MSI, an HPET timer or an ICR sends to local APICs.
 * SDM vol. 3, 11.6, 11.11. */
#ifndef UMBRA_VMM_APIC_MSG_H
#define UMBRA_VMM_APIC_MSG_H

#include <stdbool.h>
#include <stdint.h>

enum apic_delivery {
	APIC_FIXED,
	APIC_LOWEST,
	APIC_SMI,
	APIC_RESERVED,
	APIC_NMI,
	APIC_INIT,
	APIC_STARTUP,
	APIC_EXTINT
};

struct apic_msg {
	uint32_t dest; /* APIC id or logical destination; 8 bits from an I/O APIC or an MSI, 0xff:
			* all */
	bool logical;  /* destination mode */
	enum apic_delivery mode;
	uint8_t vector;
	bool level; /* trigger mode */
};

/* Where messages go. */
struct apic_wire {
	bool (*send)(void *ctx, const struct apic_msg *msg); /* false: nobody took it */
	void *ctx;
};

#endif
