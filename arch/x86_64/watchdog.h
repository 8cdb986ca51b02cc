/*
 * Is a processor stuck, with interrupts off or on? Each looks after the next one: every few seconds
 * it sees whether that one's loop has gone round since, or a guest of its has exited, and sends it
 * an interrupt if not. Who has got no further the time after is looked at by NMI, and where it is
 * goes into the log. An idle one is let be. The first does the same for itself in NMIs of a
 * timer's, for when it is alone, or nobody else gets on either.
 */
#ifndef UMBRA_WATCHDOG_H
#define UMBRA_WATCHDOG_H

/* Begin, once all CPUs are there. On the first of them. */
void watchdog_start(void);

#endif
