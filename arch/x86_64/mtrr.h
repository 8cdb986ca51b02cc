/* The memory types that the firmware has given to physical addresses: the same on every CPU, or
 * one would keep in its cache what another one does not look for there. */
#ifndef UMBRA_MTRR_H
#define UMBRA_MTRR_H

#include <stdbool.h>

/* Note those of the calling CPU, with which the others' are compared. */
void mtrr_note(void);
/* Give the calling CPU those that were noted, if it has others. False: it does not take them. QEMU:
 * an INIT takes them away; they are to stay (SDM vol. 3, table 10-1). */
bool mtrr_init_other(void);

#endif
