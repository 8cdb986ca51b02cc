/* Starting the other processors: INIT, STARTUP, and what each does until it is one of us. */
#include "boot/ap.h"

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/trap.h"
#include "arch/x86_64/tsc_sync.h"

#define MS (NS_PER_SEC / 1000)
#define INIT_NS (10 * MS)         /* from INIT to STARTUP. SDM vol. 3, 9.4.4.1 */
#define SECOND_NS (MS)            /* from there to the second STARTUP, at the latest */
#define COME_NS (NS_PER_SEC)      /* for the first instructions */
#define JOIN_NS (30 * NS_PER_SEC) /* for all the rest, on a busy emulator */

#define PTE_P_RW 0x03u
#define PTE_P 0x01u
#define ENTRIES 512u

/* The start of ap.asm's page. */
struct ap_page {
	uint8_t jump[8];
	uint32_t cr3;
	uint32_t ticket;
	uint64_t cpu;
	uint64_t entry;
	uint32_t protected_ptr;
	uint16_t protected_cs, reserved0;
	uint32_t long_ptr;
	uint16_t long_cs, reserved1;
	uint16_t gdt_limit;
	uint32_t gdt_base;
} __attribute__((packed));
static_assert(offsetof(struct ap_page, protected_ptr) == 32, "ap.asm: protected_ptr");
static_assert(offsetof(struct ap_page, gdt_base) == 50, "ap.asm: gdtr");

extern const uint8_t ap_page[], ap_page_end[];
void ap_entry(void);

uint64_t ap_cr3;
/* The processor's C part: ap.asm jumps here, on its own stack, its GS base set. */
_Noreturn void ap_main(struct cpu *cpu);

static const struct ap_config *config;

/* --- on the processor that comes --- */

/* What keeps it from being used; NULL: nothing. */
static const char *join(void)
{
	const char *why = cpu_init_other();

	if (!why && !mtrr_init_other())
		why = "its MTRRs differ, and do not take the first one's values";
	if (!why && !lapic_init_other())
		why = "another APIC id answers";
	if (!why)
		why = tsc_sync_other();
	if (!why && config->enable())
		why = "virtualization cannot be turned on there";
	return why;
}

_Noreturn void ap_main(struct cpu *cpu)
{
	gdt_init();
	trap_init_other();
	cpu->why = join();
	if (cpu->why) {
		__atomic_store_n(&cpu->state, CPU_LEFT_OUT, __ATOMIC_RELEASE);
		cpu_halt();
	}
	timer_init_other();
	cpu->online_tsc = rdtsc();
	__atomic_store_n(&cpu->state, CPU_ONLINE, __ATOMIC_RELEASE);
	irq_enable();
	smp_loop();
}

/* --- the page below 1 MiB, and the tables that hold it --- */

enum { PML4, PDPT, PD, PT, TABLES };
static hpa_t table[TABLES];

static uint64_t *entries(unsigned t)
{
	return hpa_to_ptr(table[t]);
}

static void free_tables(void)
{
	for (unsigned t = 0; t < TABLES; t++)
		if (table[t].v)
			frame_free(table[t], 0, FRAME_PAGE_TABLE);
}

/* The host's own, and the page at its own address, to be read and executed only. */
static bool make_tables(uint64_t page)
{
	for (unsigned t = 0; t < TABLES; t++)
		table[t] = frame_alloc_low(0, FRAME_PAGE_TABLE);
	for (unsigned t = 0; t < TABLES; t++)
		if (!table[t].v)
			return false;
	memcpy(entries(PML4) + ENTRIES / 2, (uint64_t *)hpa_to_ptr(config->root) + ENTRIES / 2,
	       PAGE_SIZE / 2);
	entries(PML4)[0] = table[PDPT].v | PTE_P_RW;
	entries(PDPT)[0] = table[PD].v | PTE_P_RW;
	entries(PD)[0] = table[PT].v | PTE_P_RW;
	entries(PT)[page >> PAGE_SHIFT] = page | PTE_P;
	return true;
}

static volatile struct ap_page *make_page(uint64_t page)
{
	struct ap_page *p = hpa_to_ptr(HPA(page));

	memcpy(p, ap_page, (size_t)(ap_page_end - ap_page));
	p->cr3 = (uint32_t)table[PML4].v;
	p->entry = (uintptr_t)ap_entry;
	p->protected_ptr += (uint32_t)page;
	p->long_ptr += (uint32_t)page;
	p->gdt_base += (uint32_t)page;
	return p;
}

/* --- on the processor that booted --- */

static bool ticket_left(volatile struct ap_page *p, uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	while (p->ticket && clock_ns() < end)
		cpu_relax();
	return p->ticket;
}

/* False: it has not come. */
static bool call_up(struct cpu *cpu, volatile struct ap_page *p, uint64_t page)
{
	p->cpu = (uintptr_t)cpu;
	__atomic_store_n(&p->ticket, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 2; i++) {
		lapic_send_startup(cpu->apic_id, (unsigned)(page >> PAGE_SHIFT));
		if (!ticket_left(p, i ? COME_NS : SECOND_NS))
			return true;
	}
	if (!__atomic_exchange_n(&p->ticket, 0, __ATOMIC_ACQ_REL))
		return true;
	lapic_send_init(cpu->apic_id);
	return false;
}

static void start(struct cpu *cpu, volatile struct ap_page *p, uint64_t page)
{
	uint64_t end;

	tsc_sync_prepare();
	cpu->state = CPU_STARTING;
	if (!call_up(cpu, p, page)) {
		cpu->state = CPU_ABSENT;
		log_warn("cpu %u (APIC id %u) does not come: no answer to INIT and STARTUP within "
			 "%llu ms",
			 cpu->id, cpu->apic_id, (unsigned long long)(COME_NS / MS));
		return;
	}
	end = clock_ns() + JOIN_NS;
	while (cpu->state == CPU_STARTING && clock_ns() < end)
		tsc_sync_meet(cpu->id);
	if (cpu->state == CPU_ONLINE)
		log_debug("cpu %u: APIC id %u", cpu->id, cpu->apic_id);
	else if (cpu->state == CPU_LEFT_OUT)
		log_warn("cpu %u (APIC id %u) is left out: %s", cpu->id, cpu->apic_id, cpu->why);
	else
		log_warn("cpu %u (APIC id %u) has come, and does not get any further", cpu->id,
			 cpu->apic_id);
}

/* Those that are to be started get their number, in the MADT's order. */
static bool add(uint32_t apic_id)
{
	struct cpu_memory m;

	if (apic_id > LAPIC_XAPIC_ID_MAX && !lapic_is_x2apic()) {
		log_warn("a processor's APIC id is %u, and this one has no x2APIC mode: it is left "
			 "out",
			 apic_id);
		return true;
	}
	if (!smp_add(apic_id, &m)) {
		log_warn("no memory for all processors: %u are used", smp_count());
		return false;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(m.guard); i++)
		if (!config->guard(m.guard[i]))
			log_warn("cpu %u: a stack has no guard page", m.cpu->id);
	return true;
}

static void add_all(void)
{
	const struct acpi_info *acpi = acpi_info();
	unsigned room = config->max - 1, beyond = acpi->cpus_dropped;

	if (config->absent && room) {
		room--;
		add(config->absent);
	}
	for (unsigned i = 0; i < acpi->nr_cpus; i++) {
		uint32_t id = acpi->cpu_apic_id[i];

		if (id == this_cpu()->apic_id)
			continue;
		if (!room || smp_count() == CPU_MAX)
			beyond++;
		else if (add(id))
			room--;
		else
			return;
	}
	if (beyond)
		log_info("%u processors are not used", beyond);
}

/* x2APIC mode, before any of them runs, if one has an id that needs it. */
static void choose_mode(void)
{
	const struct acpi_info *acpi = acpi_info();
	bool needed = config->x2apic;

	for (unsigned i = 0; i < acpi->nr_cpus; i++)
		needed |= acpi->cpu_apic_id[i] > LAPIC_XAPIC_ID_MAX;
	if (!needed || lapic_is_x2apic())
		return;
	if (!cpu_features()->x2apic) {
		log_warn("the processor has no x2APIC mode");
		return;
	}
	lapic_enter_x2apic();
	log_debug("local APICs: x2APIC mode");
}

/* A late one finds no ticket, then a page that halts it. */
static void start_at(uint64_t page)
{
	volatile struct ap_page *p = make_page(page);

	for (unsigned id = 1; id < smp_count(); id++)
		lapic_send_init(smp_cpu(id)->apic_id);
	clock_delay_ns(INIT_NS);
	for (unsigned id = 1; id < smp_count(); id++)
		start(smp_cpu(id), p, page);
}

void ap_start_all(const struct ap_config *cfg)
{
	uint64_t page = frame_startup_page(cfg->boot).v;

	config = cfg;
	if (config->max > 1)
		choose_mode();
	add_all();
	if (smp_count() == 1)
		return;
	ap_cr3 = config->root.v;
	mtrr_note();
	if (!page)
		log_warn("no page below 1 MiB is free: the other processors cannot start");
	else if (make_tables(page))
		start_at(page);
	else
		log_warn("no memory to start the other processors with");
	free_tables();
	log_info("%u of %u processors are running", smp_online(), smp_count());
}
