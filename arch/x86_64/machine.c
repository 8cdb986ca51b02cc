#include "arch/x86_64/machine.h"

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/smp.h"

/* PM1 control. ACPI 6.4, 4.8.3.2.1. */
#define PM1_SCI_EN BIT(0)
#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_TYP BITS(12, 10)
#define PM1_SLP_EN BIT(13)

#define MODE_SWITCH_NS NS_PER_SEC
#define EFFECT_NS (NS_PER_SEC / 2) /* how long to wait for what should end us */

#define RESET_CONTROL 0xcf9
#define RESET_CONTROL_HARD 0x02
#define RESET_CONTROL_FULL 0x06 /* hard, and now */
#define KBC_STATUS 0x64
#define KBC_STATUS_BUSY 0x02
#define KBC_COMMAND 0x64
#define KBC_PULSE_RESET 0xfe

static _Noreturn void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Take the power registers over from the firmware, where it still has them. */
static void acpi_mode(const struct acpi_info *acpi)
{
	uint64_t end = clock_ns() + MODE_SWITCH_NS;

	if ((inw(acpi->pm1a_cnt) & PM1_SCI_EN) || !acpi->smi_cmd || !acpi->acpi_enable ||
	    acpi->smi_cmd > 0xffff)
		return;
	outb((uint16_t)acpi->smi_cmd, acpi->acpi_enable);
	while (!(inw(acpi->pm1a_cnt) & PM1_SCI_EN) && clock_ns() < end)
		cpu_relax();
}

static void sleep_write(uint16_t port, unsigned typ, unsigned enable)
{
	uint16_t val;

	if (!port)
		return;
	val = (uint16_t)(inw(port) & ~(PM1_SLP_TYP | PM1_SLP_EN));
	outw(port, (uint16_t)(val | typ << PM1_SLP_TYP_SHIFT | enable));
}

/* Both halves learn the type before either is told to go: some hardware needs it so. */
static void enter_s5(const struct acpi_info *acpi)
{
	sleep_write(acpi->pm1a_cnt, acpi->s5_typ_a, 0);
	sleep_write(acpi->pm1b_cnt, acpi->s5_typ_b, 0);
	sleep_write(acpi->pm1a_cnt, acpi->s5_typ_a, PM1_SLP_EN);
	sleep_write(acpi->pm1b_cnt, acpi->s5_typ_b, PM1_SLP_EN);
}

_Noreturn void machine_poweroff(void)
{
	const struct acpi_info *acpi = acpi_info();

	console_flush();
	smp_stop_others(false);
	if (acpi->s5 && acpi->pm1a_cnt) {
		acpi_mode(acpi);
		enter_s5(acpi);
		clock_delay_ns(EFFECT_NS);
	}
	log_err("this machine cannot be powered off by software; it is halted");
	console_flush();
	halt();
}

static void reset_by_acpi(const struct acpi_info *acpi)
{
	if (!acpi->reset_reg)
		return;
	if (acpi->reset_space == ACPI_SPACE_IO && acpi->reset_addr <= 0xffff)
		outb((uint16_t)acpi->reset_addr, acpi->reset_value);
	else if (acpi->reset_space == ACPI_SPACE_MEMORY && acpi->reset_addr < GIB(4))
		*(volatile uint8_t *)hpa_to_ptr(HPA(acpi->reset_addr)) = acpi->reset_value;
	clock_delay_ns(EFFECT_NS);
}

_Noreturn void machine_reboot(void)
{
	const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_idt = { 0, 0 };

	console_flush();
	smp_stop_others(false);
	reset_by_acpi(acpi_info());
	outb(RESET_CONTROL, RESET_CONTROL_HARD);
	outb(RESET_CONTROL, RESET_CONTROL_FULL);
	clock_delay_ns(EFFECT_NS);
	for (unsigned i = 0; i < 10000 && (inb(KBC_STATUS) & KBC_STATUS_BUSY); i++)
		cpu_relax();
	outb(KBC_COMMAND, KBC_PULSE_RESET);
	clock_delay_ns(EFFECT_NS);
	__asm__ volatile("lidt %0; ud2" ::"m"(no_idt));
	halt();
}
