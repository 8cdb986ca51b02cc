/* The operator's prompt on the serial console, used while no VM has the console. */
#ifndef UMBRA_VMM_MONITOR_H
#define UMBRA_VMM_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

/* The monitor is in front, or something else was written while it was: show prompt and line, or
 * the page, as they were left. */
void monitor_enter(void);
/* One typed byte. It waits while a command's output waits for room on the line. */
void monitor_input(uint8_t c);
/* The time, of clock_ns(), when the command was begun for which other typed bytes wait; 0: none do.
 */
uint64_t monitor_behind(void);

/*
 * Commands parted by ';', to be carried out by monitor_work() as if typed one by one, with no
 * pager. The text stays the caller's.
 */
void monitor_script(const char *commands);
/* Go on with output, script and typed bytes as far as the console has room. True: the script has
 * come to its end, just now. Run loop only. */
bool monitor_work(void);
/* No VM runs. True: the script is not at its end: what is to follow waits for it. */
bool monitor_idle(void);

#endif
