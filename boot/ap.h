/* Starting the other processors. */
#ifndef UMBRA_BOOT_AP_H
#define UMBRA_BOOT_AP_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

struct boot_info;

/* What the floors above have to say in it. */
struct ap_config {
	const struct boot_info *boot;
	unsigned max;    /* processors to use, with this one */
	bool x2apic;     /* x2APIC mode although no id needs it */
	uint32_t absent; /* an APIC id that is started as if the firmware had named it; 0: none */
	hpa_t root;      /* of the host's page tables */
	int (*enable)(void);             /* turn on the backend on the calling CPU: 0 */
	bool (*guard)(const void *page); /* take that page of the direct map away */
};

/*
 * Start those that the MADT names as enabled, one after the other, and leave them in smp_loop().
 * Each that does not come, or is not like this one, is a warning, and is left out. On the CPU that
 * booted, with interrupts on, its backend turned on.
 */
void ap_start_all(const struct ap_config *cfg);

#endif
