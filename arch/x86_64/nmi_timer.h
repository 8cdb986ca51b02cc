/* An NMI every so often, for the first CPU: the HPET's timer 0 has the 8254's input of the I/O
 * APIC, whose entry makes NMIs of it. */
#ifndef UMBRA_NMI_TIMER_H
#define UMBRA_NMI_TIMER_H

#include <stdbool.h>
#include <stdint.h>

/* One in so many nanoseconds, at most 10 s. The TSC's clock runs. False: there is no HPET that can.
 */
bool nmi_timer_start(uint64_t period_ns);

/* For the NMI's handler, on the CPU that gets them: is it the timer's, whose time has passed? The
 * next one is as far away again, then. */
bool nmi_timer_again(void);

#endif
