/* A device's write to the local APICs' addresses. SDM vol. 3, 11.11. */
#ifndef UMBRA_VMM_MSI_H
#define UMBRA_VMM_MSI_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/apic_msg.h"

#define MSI_BASE UINT64_C(0xfee00000)

/* What a write of data to addr says. False: no local APIC is there. */
static inline bool msi_decode(uint64_t addr, uint32_t data, struct apic_msg *msg)
{
	*msg = (struct apic_msg){
		.dest = addr >> 12 & 0xff,
		.logical = addr >> 2 & 1,
		.mode = (enum apic_delivery)(data >> 8 & 7),
		.vector = (uint8_t)data,
		.level = data >> 15 & 1,
	};
	return addr >> 20 == MSI_BASE >> 20;
}

#endif
