#include "arch/x86_64/vga.h"

#include <stdint.h>

#include "arch/x86_64/mm.h"

#define VGA_TEXT_PA 0xb8000
#define COLUMNS 80
#define ROWS 25
#define BLANK 0x0720 /* light grey on black */

static bool on;
static unsigned row, column;

static volatile uint16_t *screen(void)
{
	return hpa_to_ptr(HPA(VGA_TEXT_PA));
}

static void next_row(void)
{
	column = 0;
	if (row < ROWS - 1) {
		row++;
		return;
	}
	for (unsigned i = 0; i < (ROWS - 1) * COLUMNS; i++)
		screen()[i] = screen()[i + COLUMNS];
	for (unsigned i = 0; i < COLUMNS; i++)
		screen()[(ROWS - 1) * COLUMNS + i] = BLANK;
}

static void put(const char *s)
{
	for (; *s; s++) {
		if (column == COLUMNS)
			next_row();
		screen()[row * COLUMNS + column++] = (uint16_t)((BLANK & 0xff00) | (uint8_t)*s);
	}
}

void vga_init(bool present)
{
	on = present;
}

void vga_line(const char *prefix, const char *text)
{
	static bool used;

	if (!on)
		return;
	if (used)
		next_row();
	for (unsigned i = 0; !used && i < ROWS * COLUMNS; i++)
		screen()[i] = BLANK;
	used = true;
	put(prefix);
	put(text);
}
