/* The physical machine as a whole. */
#ifndef UMBRA_MACHINE_H
#define UMBRA_MACHINE_H

/* Both halt all other CPUs first. */

/* ACPI S5; if that does not work, a line on the console and halt. */
_Noreturn void machine_poweroff(void);
/* ACPI reset register, then port 0xcf9, the keyboard controller, a triple fault. */
_Noreturn void machine_reboot(void);

#endif
