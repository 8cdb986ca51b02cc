/* The local APIC of the calling CPU, by MMIO or, where firmware or an id above 254 wants it, by
 * x2APIC MSRs: all CPUs alike. */
#ifndef UMBRA_LAPIC_H
#define UMBRA_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#define LAPIC_XAPIC_ID_MAX 0xfeu /* what MMIO can name */

/* Enable it with everything masked; the 8259 pair is moved out of the way and masked. */
void lapic_init(void);
/* Are MSRs used? */
bool lapic_is_x2apic(void);
/* Use MSRs from now on. On the CPU that booted, before others come; the processor has it. */
void lapic_enter_x2apic(void);
/* As lapic_init(), on another CPU, in the mode of the first. False: this is not the CPU that
 * this_cpu()->apic_id says. */
bool lapic_init_other(void);
/* End the interrupt in service. */
void lapic_eoi(void);

/* Have it tell the processor anew of what waits in it: for emulators that may forget. */
void lapic_show_pending(void);

/* What other CPUs get: an interrupt of this vector, an NMI, an INIT, a start at page << 12. From
 * any context but an NMI's that may have come between. */
void lapic_send(uint32_t apic_id, unsigned vector);
void lapic_send_nmi(uint32_t apic_id);
void lapic_send_init(uint32_t apic_id);
void lapic_send_startup(uint32_t apic_id, unsigned page);

/* The same for this CPU itself. In an NMI's context too. */
void lapic_send_self(unsigned vector);

/* One interrupt of vector TRAP_TIMER after so many ticks; 0 stops it. */
void lapic_timer_start(uint32_t ticks);
/* Ticks to go; 0: it has fired, or was stopped. */
uint32_t lapic_timer_left(void);
/* With TSC_DEADLINE in CPUID: from now on lapic_timer_deadline() alone says when. */
void lapic_timer_use_deadline(void);
/* One interrupt of vector TRAP_TIMER once the TSC is there; 0: none. */
void lapic_timer_deadline(uint64_t tsc);

#endif
