/* An NMI every so often, for a machine with one CPU: the HPET's timer 0 has the 8254's input of the
 * I/O APIC, whose entry makes NMIs of it. */
#ifndef UMBRA_NMI_TIMER_H
#define UMBRA_NMI_TIMER_H

#include <stdbool.h>
#include <stdint.h>

/* Every so many nanoseconds from now on, at most 10 s. The TSC's clock runs. False: there is no
 * HPET that can. */
bool nmi_timer_start(uint64_t period_ns);

#endif
