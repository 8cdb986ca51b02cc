/*
 * Do the TSCs of two CPUs agree, so that time never runs backwards from one to the other? Both look
 * in turns, each at what the other one read just before. One that does not agree is set by the
 * difference, and looked at again.
 */
#ifndef UMBRA_TSC_SYNC_H
#define UMBRA_TSC_SYNC_H

/* On the CPU that booted, before another one is called up. */
void tsc_sync_prepare(void);
/* On the CPU that booted: its part of the test, if the other one waits for it. id: in messages. */
void tsc_sync_meet(unsigned id);
/* On the other one. NULL: it agrees now; or why it does not. */
const char *tsc_sync_other(void);

#endif
