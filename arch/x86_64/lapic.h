/* The local APIC of the calling CPU, by MMIO or, where firmware chose so, x2APIC MSRs. */
#ifndef UMBRA_LAPIC_H
#define UMBRA_LAPIC_H

#include <stdint.h>

/* Enable it with everything masked; the 8259 pair is moved out of the way and masked. */
void lapic_init(void);
/* End the interrupt in service. */
void lapic_eoi(void);

/* One interrupt of vector TRAP_TIMER after so many ticks; 0 stops it. */
void lapic_timer_start(uint32_t ticks);
/* Ticks to go; 0: it has fired, or was stopped. */
uint32_t lapic_timer_left(void);

#endif
