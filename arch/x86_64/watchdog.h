/*
 * Is a processor stuck with interrupts off? Each looks after the next one: every few seconds it
 * sees whether that one has taken an interrupt since, and sends it one if not. Who has taken none
 * the time after is looked at by NMI, and where it is goes into the log. An idle one is let be. One
 * that is alone does the same in NMIs of a timer's.
 */
#ifndef UMBRA_WATCHDOG_H
#define UMBRA_WATCHDOG_H

/* Begin, once all CPUs are there. Nothing with one and no HPET. */
void watchdog_start(void);

#endif
