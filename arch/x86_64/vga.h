/* The 80x25 text screen, for the few lines that must be seen without a serial line. */
#ifndef UMBRA_VGA_H
#define UMBRA_VGA_H

#include <stdbool.h>

/* present: is there a text screen? Until told so, vga_line() does nothing. */
void vga_init(bool present);
/* Print prefix and text as a line; clears the screen before the first one. */
void vga_line(const char *prefix, const char *text);

#endif
