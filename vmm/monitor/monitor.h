/* The operator's prompt on the serial console, used while no VM has the console. */
#ifndef UMBRA_VMM_MONITOR_H
#define UMBRA_VMM_MONITOR_H

#include <stdint.h>

/* Show the prompt; a line begun before is forgotten. */
void monitor_enter(void);
/* One typed byte: edits the line, or carries out its command at CR or LF. */
void monitor_input(uint8_t c);

#endif
