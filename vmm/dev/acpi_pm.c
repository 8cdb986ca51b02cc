#include "vmm/dev/acpi_pm.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"

/* ACPI 5.1, 4.8.3.1 "PM1 Event Grouping" to 4.8.3.3 "Power Management Timer". */
#define PM1_TMR BIT(0)
#define PM1_GBL BIT(5)
#define PM1_PWRBTN BIT(8)
#define PM1_SLPBTN BIT(9)
#define PM1_RTC BIT(10)
#define PM1_WAK BIT(15)
#define PM1_STATUS_BITS (PM1_WAK | PM1_ENABLE_BITS | BIT(4))
#define PM1_ENABLE_BITS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC)

#define PM1_CNT_SCI_EN BIT(0)
#define PM1_CNT_BM_RLD BIT(1)
#define PM1_CNT_SLP_TYP(val) ((val) >> 10 & 7)
#define PM1_CNT_SLP_TYP_MASK BITS(12, 10)
#define PM1_CNT_SLP_EN BIT(13)
#define ACPI_S5_TYPE 5 /* \_S5 in vmm/dev/dsdt.asl */

/* Offsets from ACPI_PM_BASE. */
#define REG_ENABLE 2
#define REG_CONTROL 4
#define REG_TIMER 8

#define TIMER_CARRY_BIT 31

static uint64_t pm_ticks(void)
{
	return mul_div64(clock_ns(), ACPI_PM_TIMER_HZ, NS_PER_SEC);
}

/* The clock_ns() at which the timer's highest bit changes for the n-th time. */
static uint64_t pm_carry_ns(uint64_t n)
{
	return mul_div64(n << TIMER_CARRY_BIT, NS_PER_SEC, ACPI_PM_TIMER_HZ) + 1;
}

static void pm_update(void *ctx)
{
	struct acpi_pm *pm = ctx;
	uint64_t carries = pm_ticks() >> TIMER_CARRY_BIT;

	if (carries != pm->carry_seen)
		pm->status |= PM1_TMR;
	pm->carry_seen = carries;
	irq_line_set(&pm->sci, pm->status & pm->enable & PM1_ENABLE_BITS);
	if ((pm->enable & PM1_TMR) && !(pm->status & PM1_TMR))
		timer_arm(&pm->timer, pm_carry_ns(carries + 1));
	else
		timer_cancel(&pm->timer);
}

/* SLP_EN is a button: it starts the transition and reads as 0. */
static void pm_write_control(struct acpi_pm *pm, uint16_t val)
{
	pm->control = (val & (PM1_CNT_SLP_TYP_MASK | PM1_CNT_BM_RLD)) | PM1_CNT_SCI_EN;
	if ((val & PM1_CNT_SLP_EN) && PM1_CNT_SLP_TYP(val) == ACPI_S5_TYPE)
		pm->power_off(pm->power_off_ctx);
}

/* The eight bytes of event and control registers as one word. */
static uint64_t pm_registers(const struct acpi_pm *pm)
{
	return pm->status | (uint64_t)pm->enable << (8 * REG_ENABLE) |
	       (uint64_t)pm->control << (8 * REG_CONTROL);
}

static uint32_t pm_in(void *dev, uint16_t port, unsigned size)
{
	struct acpi_pm *pm = dev;
	unsigned off = port - ACPI_PM_BASE;

	(void)size;
	if (off >= REG_TIMER)
		return (uint32_t)pm_ticks() >> (8 * (off - REG_TIMER));
	if (off < REG_ENABLE)
		pm_update(pm);
	return (uint32_t)(pm_registers(pm) >> (8 * off));
}

/* Bytes that the access does not reach keep their value; of status they write 0. */
static void pm_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct acpi_pm *pm = dev;
	unsigned off = port - ACPI_PM_BASE;
	uint64_t lanes, bits, next;

	if (off >= REG_TIMER)
		return;
	lanes = (~UINT64_C(0) >> (64 - 8 * size)) << (8 * off);
	bits = ((uint64_t)val << (8 * off)) & lanes;
	next = (pm_registers(pm) & ~lanes) | bits;

	pm_update(pm);
	pm->status &= ~(bits & PM1_STATUS_BITS);
	pm->enable = (uint16_t)(next >> (8 * REG_ENABLE)) & PM1_ENABLE_BITS;
	pm_update(pm);
	if (lanes >> (8 * REG_CONTROL))
		pm_write_control(pm, (uint16_t)(next >> (8 * REG_CONTROL)));
}

static void pm_describe(const void *dev, char *text, size_t size)
{
	const struct acpi_pm *pm = dev;

	ksnprintf(text, size, "pm1 status %04x enable %04x control %04x", pm->status, pm->enable,
		  pm->control);
}

const struct io_ops acpi_pm_ops = { .in = pm_in, .out = pm_out, .describe = pm_describe };

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->status |= PM1_PWRBTN;
	pm_update(pm);
}

void acpi_pm_init(struct acpi_pm *pm, struct irq_line sci, void (*power_off)(void *ctx),
		  void *power_off_ctx, struct owned_lock *guard)
{
	*pm = (struct acpi_pm){
		.control = PM1_CNT_SCI_EN,
		.carry_seen = pm_ticks() >> TIMER_CARRY_BIT,
		.sci = sci,
		.power_off = power_off,
		.power_off_ctx = power_off_ctx,
	};
	timer_setup(&pm->timer, pm_update, pm, guard);
}

void acpi_pm_destroy(struct acpi_pm *pm)
{
	timer_cancel(&pm->timer);
}
