#include "vmm/dev/pc.h"

#include <stddef.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/serial_line.h"
#include "arch/x86_64/smp.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/dev/acpi.h"
#include "vmm/dev/acpi_pm.h"
#include "vmm/dev/debug.h"
#include "vmm/dev/hpet.h"
#include "vmm/dev/ioapic.h"
#include "vmm/dev/mptable.h"
#include "vmm/dev/pci.h"
#include "vmm/dev/pic.h"
#include "vmm/dev/pit.h"
#include "vmm/dev/ps2.h"
#include "vmm/dev/rtc.h"
#include "vmm/dev/serial.h"
#include "vmm/vm.h"

struct pc {
	struct vm *vm;
	struct pic pic;
	struct ioapic ioapic; /* this and the HPET: unless apic=off */
	struct hpet hpet;
	struct pit pit;
	struct rtc rtc;
	struct ps2 ps2;
	struct serial com[2];
	struct serial_line *line; /* the machine's port at the other end of com[1]; NULL: none */
	struct pci pci;
	struct acpi_pm pm;
	struct debug_ports debug;
	bool covered[2]; /* the 8254's and the RTC's outputs, while the HPET has their wires */
};

/* Which device answers at which ports. */
#define DEVICE(member) offsetof(struct pc, member)
static const struct pc_ports {
	uint16_t base, count;
	const char *name;
	const struct io_ops *ops;
	size_t device;
} board[] = {
	{ 0x20, 2, "pic", &pic_ops, DEVICE(pic) },
	{ 0x40, 4, "pit", &pit_ops, DEVICE(pit) },
	{ 0x60, 1, "ps2", &ps2_ops, DEVICE(ps2) },
	{ 0x61, 1, "port61", &pit_port61_ops, DEVICE(pit) },
	{ 0x64, 1, "ps2", &ps2_ops, DEVICE(ps2) },
	{ 0x70, 2, "rtc", &rtc_ops, DEVICE(rtc) },
	{ DEBUG_PORT_POST, 1, "post", &debug_post_ops, DEVICE(debug) },
	{ 0x92, 1, "port92", &ps2_port92_ops, DEVICE(ps2) },
	{ 0xa0, 2, "pic", &pic_ops, DEVICE(pic) },
	{ DEBUG_PORT_PRINT, 1, "debug-print", &debug_print_ops, DEVICE(debug) },
	{ 0x2f8, SERIAL_PORTS, "com2", &serial_ops, DEVICE(com[1]) },
	{ 0x3f8, SERIAL_PORTS, "com1", &serial_ops, DEVICE(com[0]) },
	{ 0x4d0, 2, "elcr", &pic_elcr_ops, DEVICE(pic) },
	{ ACPI_PM_BASE, ACPI_PM_PORTS, "acpi", &acpi_pm_ops, DEVICE(pm) },
	{ 0xcf8, 8, "pci", &pci_ops, DEVICE(pci) },
};

static const struct pc_registers {
	uint64_t base, size;
	const char *name;
	const struct mmio_ops *ops;
	size_t device;
} apic_board[] = {
	{ IOAPIC_BASE, IOAPIC_SIZE, "ioapic", &ioapic_ops, DEVICE(ioapic) },
	{ HPET_BASE, HPET_SIZE, "hpet", &hpet_ops, DEVICE(hpet) },
};

/* On which wires of the ISA bus: an 8259's input each, and the I/O APIC's of the same number, but
 * for the 8254's. */
enum { IRQ_PIT = 0, IRQ_KBD = 1, IRQ_CASCADE = 2, IRQ_COM2 = 3, IRQ_COM1 = 4, IRQ_RTC = 8 };
#define PIT_PIN 2
#define INTR_PIN 0 /* what the 8259s say; for an entry in ExtINT mode */
/* The I/O APIC's inputs from here on are PCI's wires: active is low. */
#define PCI_PIN PIC_PINS

/* Who drives them. */
static const char *const wires[IOAPIC_PINS] = {
	[IRQ_PIT] = "pit",   [IRQ_KBD] = "ps2",   [IRQ_CASCADE] = "cascade",
	[IRQ_COM2] = "com2", [IRQ_COM1] = "com1", [IRQ_RTC] = "rtc",
	[ACPI_SCI] = "acpi", [20] = "hpet",       [21] = "hpet",
	[22] = "hpet",       [23] = "hpet",
};

/* --- what devices ask of the VM --- */

static void pc_power_off(void *ctx)
{
	struct pc *pc = ctx;

	vm_request_stop(pc->vm, VM_STOP_POWEROFF, 0, "powered off");
}

static void pc_reset(void *ctx)
{
	struct pc *pc = ctx;

	vm_request_stop(pc->vm, VM_STOP_RESET, 0, "reset by the guest");
}

static void pc_debug_exit(void *ctx, uint32_t value)
{
	struct pc *pc = ctx;
	int status = (int)(value << 1 | 1);

	vm_request_stop(pc->vm, VM_STOP_DEBUG_EXIT, status, "debug-exit status %d", status);
}

static bool pc_print(void *ctx, uint8_t byte)
{
	struct pc *pc = ctx;

	return console_vm_tx(pc->vm, byte);
}

static void pc_com1_listens(void *ctx)
{
	struct pc *pc = ctx;

	console_vm_listens(pc->vm);
}

/* The first CPU carries it. */
static void pc_com2_listens(void *ctx)
{
	struct pc *pc = ctx;

	if (pc->line && serial_line_has_input(pc->line))
		cpu_kick(&boot_cpu);
}

/* What the guest may have sent before the line has: its UART waits for the rest. */
#define LINE_AHEAD 64
#define LINE_AHEAD_LOW 16

static bool pc_line_tx(void *ctx, uint8_t byte)
{
	struct pc *pc = ctx;

	if (serial_line_queued(pc->line) >= LINE_AHEAD) {
		serial_line_tell(pc->line, LINE_AHEAD_LOW);
		return false;
	}
	return serial_line_try_putc(pc->line, byte);
}

/* --- wires --- */

static bool has_apic(const struct pc *pc)
{
	return pc->vm->cfg->apic;
}

/* The 8259s' INT leads to LINT0 of all processors, and to the I/O APIC. */
static void pc_set_intr(void *ctx, unsigned pin, bool level)
{
	struct pc *pc = ctx;
	struct lapic_set *set = &pc->vm->lapics;
	struct irq_line ioapic = ioapic_line(&pc->ioapic, INTR_PIN);

	(void)pin;
	for (unsigned i = 0; i < set->nr; i++)
		lapic_set_lint(set->lapic[i], 0, level);
	if (!has_apic(pc))
		return;
	if (!level)
		lapic_bus_extint_over(set);
	irq_line_set(&ioapic, level);
}

/* A wire of the ISA bus leads to both controllers. */
static void pc_set_isa(void *ctx, unsigned irq, bool level)
{
	struct pc *pc = ctx;
	struct irq_line pic = pic_line(&pc->pic, irq);
	struct irq_line ioapic = ioapic_line(&pc->ioapic, irq == IRQ_PIT ? PIT_PIN : irq);

	irq_line_set(&pic, level);
	if (has_apic(pc))
		irq_line_set(&ioapic, level);
}

static struct irq_line isa_line(struct pc *pc, unsigned irq)
{
	return (struct irq_line){ .set = pc_set_isa, .ctx = pc, .pin = irq };
}

/* IRQ 0 and 8, which the HPET may have for itself. */
static void pc_set_covered(void *ctx, unsigned irq, bool level)
{
	struct pc *pc = ctx;

	pc->covered[irq == IRQ_RTC] = level;
	if (!pc->hpet.legacy)
		pc_set_isa(pc, irq, level);
}

static struct irq_line covered_line(struct pc *pc, unsigned irq)
{
	return (struct irq_line){ .set = pc_set_covered, .ctx = pc, .pin = irq };
}

static void pc_hpet_takes(void *ctx, bool on)
{
	struct pc *pc = ctx;

	pc_set_isa(pc, IRQ_PIT, !on && pc->covered[0]);
	pc_set_isa(pc, IRQ_RTC, !on && pc->covered[1]);
}

static void pc_set_pci(void *ctx, unsigned pin, bool active)
{
	struct pc *pc = ctx;
	struct irq_line ioapic = ioapic_line(&pc->ioapic, pin);

	irq_line_set(&ioapic, !active);
}

static struct irq_line pci_line(struct pc *pc, unsigned pin)
{
	return (struct irq_line){ .set = pc_set_pci, .ctx = pc, .pin = pin };
}

/* On its processor's CPU, from an access to its local APIC, which needs no lock itself. */
static void pc_apic_eoi(void *ctx, uint8_t vector)
{
	struct pc *pc = ctx;

	owned_lock(&pc->vm->lock);
	ioapic_eoi(&pc->ioapic, vector);
	owned_unlock(&pc->vm->lock);
}

/* --- IRQ 0, the 8254's or the HPET's, and who takes it --- */

static void timer_taken(struct pc *pc)
{
	if (pc->hpet.legacy)
		hpet_irq_acked(&pc->hpet);
	else
		pit_irq_acked(&pc->pit);
}

static void pc_irq_acked(void *ctx, unsigned irq)
{
	if (irq == IRQ_PIT)
		timer_taken(ctx);
}

static bool by_ioapic(const struct pc *pc)
{
	return has_apic(pc) && !ioapic_masked(&pc->ioapic, PIT_PIN);
}

static bool is_timers(const struct pc *pc, uint8_t vector)
{
	return by_ioapic(pc) && vector == ioapic_vector(&pc->ioapic, PIT_PIN);
}

/* Of every interrupt: those that are not the timer's are to cost no lock. */
static void pc_vector_taken(void *ctx, uint8_t vector)
{
	struct pc *pc = ctx;

	if (!is_timers(pc, vector))
		return;
	owned_lock(&pc->vm->lock);
	if (is_timers(pc, vector))
		timer_taken(pc);
	owned_unlock(&pc->vm->lock);
}

static uint8_t pc_awaited_vector(void *ctx)
{
	const struct pc *pc = ctx;

	return by_ioapic(pc) ? ioapic_vector(&pc->ioapic, PIT_PIN) : 0;
}

static bool pc_irq0_masked(void *ctx)
{
	const struct pc *pc = ctx;

	return pic_masked(&pc->pic, IRQ_PIT) && !by_ioapic(pc);
}

static bool pc_irq0_requested(void *ctx)
{
	const struct pc *pc = ctx;

	if (by_ioapic(pc))
		return lapic_bus_waits(&pc->vm->lapics, ioapic_vector(&pc->ioapic, PIT_PIN));
	return pic_requested(&pc->pic, IRQ_PIT);
}

static bool pc_timer_masked(void *ctx)
{
	const struct pc *pc = ctx;

	return pc->hpet.legacy || pc_irq0_masked(ctx);
}

/* --- for the operator --- */

static const char *wire_name(const struct pc *pc, unsigned irq)
{
	return pc->hpet.legacy && (irq == IRQ_PIT || irq == IRQ_RTC) ? "hpet" : wires[irq];
}

/* The 8259s' inputs, then the I/O APIC's. */
static bool pc_look_irq(void *ctx, unsigned irq, struct irq_state *state)
{
	const struct pc *pc = container_of(ctx, struct pc, pic);
	unsigned pin = irq - PIC_PINS;

	if (irq < PIC_PINS) {
		pic_look(&pc->pic, irq, state);
		state->device = wire_name(pc, irq);
		state->input = irq;
		return true;
	}
	if (!has_apic(pc) || !ioapic_look(&pc->ioapic, pin, state))
		return false;
	state->device = pin == INTR_PIN ? "pic" : wire_name(pc, pin == PIT_PIN ? IRQ_PIT : pin);
	state->ioapic = true;
	state->input = pin;
	return true;
}

/* --- the board --- */

/* Where its register has room for an id that no processor's local APIC has; else 0, as QEMU's
 * firmware tells it of every machine. */
static uint8_t ioapic_id(const struct vm *vm)
{
	return vm->cfg->vcpus < IOAPIC_IDS ? (uint8_t)vm->cfg->vcpus : 0;
}

/* What there is beside the old PC. */
static void pc_init_apic(struct pc *pc)
{
	struct lapic_set *set = &pc->vm->lapics;
	const struct apic_wire wire = { .send = lapic_bus_send, .ctx = set };
	struct hpet_wires hpet = {
		.legacy = { isa_line(pc, IRQ_PIT), isa_line(pc, IRQ_RTC) },
		.msi = wire,
		.take = pc_hpet_takes,
		.masked = pc_irq0_masked,
		.requested = pc_irq0_requested,
		.ctx = pc,
	};

	ioapic_setup(&pc->ioapic, ioapic_id(pc->vm), wire);
	if (!has_apic(pc))
		return;
	set->eoi = pc_apic_eoi;
	set->taken = pc_vector_taken;
	set->awaited = pc_awaited_vector;
	set->eoi_ctx = pc;
	for (unsigned pin = PCI_PIN; pin < IOAPIC_PINS; pin++)
		pc_set_pci(pc, pin, false);
	for (unsigned i = 0; i < HPET_PINS; i++)
		hpet.pin[i] = pci_line(pc, HPET_PIN_FIRST + i);
	hpet_init(&pc->hpet, &hpet, &pc->vm->lock);
}

static void pc_init_devices(struct pc *pc)
{
	uint64_t memory = pc->vm->cfg->memory, low = MIN(memory, VM_PCI_HOLE);

	pic_init(&pc->pic);
	pc->pic.out = (struct irq_line){ .set = pc_set_intr, .ctx = pc };
	pc->pic.acked = pc_irq_acked;
	pc->pic.acked_ctx = pc;
	pc_init_apic(pc);
	pit_init(&pc->pit, covered_line(pc, IRQ_PIT),
		 (struct pit_controller){ pc_timer_masked, pc_irq0_requested, pc }, &pc->vm->lock);
	rtc_init(&pc->rtc, covered_line(pc, IRQ_RTC), low, memory - low, &pc->vm->lock);
	ps2_init(&pc->ps2, isa_line(pc, IRQ_KBD), pc_reset, pc);
	serial_init(&pc->com[0], isa_line(pc, IRQ_COM1), pc_print, pc);
	serial_init(&pc->com[1], isa_line(pc, IRQ_COM2), pc->line ? pc_line_tx : NULL, pc);
	pc->com[0].listens = pc_com1_listens;
	pc->com[1].listens = pc_com2_listens;
	pci_init(&pc->pci, pc_reset, pc);
	acpi_pm_init(&pc->pm, isa_line(pc, ACPI_SCI), pc_power_off, pc, &pc->vm->lock);
	pc->debug = (struct debug_ports){ .print = pc_print, .exit = pc_debug_exit, .ctx = pc };
}

static int pc_plug(struct pc *pc)
{
	struct bus *bus = &pc->vm->bus;
	int err = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(board) && !err; i++)
		err = bus_register_io(bus, board[i].base, board[i].count, board[i].name,
				      board[i].ops, (char *)pc + board[i].device);
	if (!err && pc->vm->cfg->debug_exit)
		err = bus_register_io(bus, DEBUG_PORT_EXIT, DEBUG_EXIT_PORTS, "debug-exit",
				      &debug_exit_ops, &pc->debug);
	for (unsigned i = 0; i < ARRAY_SIZE(apic_board) && !err && has_apic(pc); i++)
		err = bus_register_mmio(bus, GPA(apic_board[i].base), apic_board[i].size,
					apic_board[i].name, apic_board[i].ops,
					(char *)pc + apic_board[i].device);
	return err;
}

static void pc_unplug(struct pc *pc)
{
	for (unsigned i = 0; i < ARRAY_SIZE(board); i++)
		bus_unregister_io(&pc->vm->bus, board[i].base);
	if (pc->vm->cfg->debug_exit)
		bus_unregister_io(&pc->vm->bus, DEBUG_PORT_EXIT);
	for (unsigned i = 0; i < ARRAY_SIZE(apic_board) && has_apic(pc); i++)
		bus_unregister_mmio(&pc->vm->bus, GPA(apic_board[i].base));
}

static bool pc_open_line(struct pc *pc)
{
	const char *why;

	pc->line = serial_line_open(pc->vm->cfg->com2, pc->vm, pc->vm->cfg->name, &why);
	if (pc->line)
		console_tie(pc->vm);
	return pc->line;
}

int pc_create(struct vm *vm)
{
	struct pc *pc = kalloc(sizeof(*pc));
	int err;

	if (!pc)
		return trace_error(-ENOMEM);
	pc->vm = vm;
	if (vm->cfg->com2[0] && !pc_open_line(pc)) {
		kfree(pc, sizeof(*pc));
		return trace_error(-ENODEV);
	}
	pc_init_devices(pc);
	vm->pc = pc;
	vm->intr = (struct vm_intr_source){
		.pending = pic_pending, .ack = pic_ack, .look = pc_look_irq, .ctx = &pc->pic
	};
	err = pc_plug(pc);
	if (err)
		pc_destroy(vm);
	return err;
}

void pc_destroy(struct vm *vm)
{
	struct pc *pc = vm->pc;

	if (!pc)
		return;
	pc_unplug(pc);
	if (pc->line)
		serial_line_close(pc->line);
	pit_destroy(&pc->pit);
	rtc_destroy(&pc->rtc);
	acpi_pm_destroy(&pc->pm);
	if (has_apic(pc))
		hpet_destroy(&pc->hpet);
	vm->lapics.eoi = vm->lapics.taken = NULL;
	vm->lapics.awaited = NULL;
	vm->intr = (struct vm_intr_source){ 0 };
	vm->pc = NULL;
	kfree(pc, sizeof(*pc));
}

static bool write_mptable(struct vm *vm, uint8_t *rom, uint64_t room, uint64_t at)
{
	struct cpuid_regs one = cpuid_guest(vm->vcpu[0], 1, 0);
	const struct mp_machine machine = { .vcpus = vm->nr_vcpus,
					    .ioapic_id = ioapic_id(vm),
					    .signature = one.eax,
					    .features = one.edx };

	return at < room && mptable_write(rom + at, room - at, GPA(VM_BIOS_ROM + at), &machine);
}

gpa_t pc_write_tables(struct vm *vm)
{
	const struct acpi_machine machine = { .vcpus = vm->nr_vcpus,
					      .apic = vm->cfg->apic,
					      .ioapic_id = ioapic_id(vm) };
	uint64_t room;
	uint8_t *rom = memmap_ptr(&vm->mem, GPA(VM_BIOS_ROM), false, &room);
	size_t used = rom ? acpi_write_tables(rom, room, GPA(VM_BIOS_ROM), &machine) : 0;

	if (!used || (vm->cfg->apic && !write_mptable(vm, rom, room, ALIGN_UP(used, 16))))
		return GPA(0);
	return GPA(VM_BIOS_ROM);
}

bool pc_console_input(struct vm *vm, uint8_t c)
{
	bool taken;

	owned_lock(&vm->lock);
	taken = vm->pc && serial_rx(&vm->pc->com[0], c);
	owned_unlock(&vm->lock);
	return taken;
}

void pc_power_button(struct vm *vm)
{
	owned_lock(&vm->lock);
	if (vm->pc)
		acpi_pm_power_button(&vm->pc->pm);
	owned_unlock(&vm->lock);
}

void pc_console_ready(struct vm *vm)
{
	owned_lock(&vm->lock);
	if (vm->pc)
		serial_tx_ready(&vm->pc->com[0]);
	owned_unlock(&vm->lock);
}

void pc_line_work(struct vm *vm)
{
	struct pc *pc = vm->pc;
	int c;

	if (!pc || !pc->line)
		return;
	owned_lock(&vm->lock);
	while (serial_rx_room(&pc->com[1]) && (c = serial_line_getc(pc->line)) >= 0)
		serial_rx(&pc->com[1], (uint8_t)c);
	if (serial_line_overrun(pc->line))
		serial_rx_lost(&pc->com[1]);
	serial_tx_ready(&pc->com[1]);
	owned_unlock(&vm->lock);
}
