/*
 * The fixed power-management registers of ACPI. The machine starts in ACPI mode (there
 * is no SMI command); its only sleeping state is S5, off. The SCI is level-triggered.
 */
#ifndef UMBRA_VMM_DEV_ACPI_PM_H
#define UMBRA_VMM_DEV_ACPI_PM_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/timer.h"
#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define ACPI_PM_BASE 0x600 /* +0 status, +2 enable, +4 control, +8 timer */
#define ACPI_PM_PORTS 12
#define ACPI_SCI 9
#define ACPI_PM_TIMER_HZ 3579545

struct acpi_pm {
	uint16_t status, enable, control; /* PM1a */
	uint64_t carry_seen; /* toggles of the PM timer's highest bit that status knows of */
	struct irq_line sci;
	void (*power_off)(void *ctx);
	void *power_off_ctx;
	struct timer timer; /* armed only while the guest asks for the timer's interrupt */
};

extern const struct io_ops acpi_pm_ops; /* ACPI_PM_PORTS from ACPI_PM_BASE; dev: acpi_pm */

/* power_off: the guest went to S5. guard: its timer's. */
void acpi_pm_init(struct acpi_pm *pm, struct irq_line sci, void (*power_off)(void *ctx),
		  void *power_off_ctx, struct owned_lock *guard);
/* Disarm its timer. */
void acpi_pm_destroy(struct acpi_pm *pm);
/* Somebody pressed the power button: a guest with ACPI shuts itself down. */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
