/* From boot.asm to the run loop: brings the machine up, a part at a time. */
#include <stdarg.h>
#include <stdint.h>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/version.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/ioapic.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/serial_line.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/trap.h"
#include "arch/x86_64/vga.h"
#include "arch/x86_64/watchdog.h"
#include "boot/ap.h"
#include "boot/multiboot2.h"
#include "paging/host.h"
#include "svm/svm.h"
#include "vmm/backend.h"
#include "vmm/config.h"
#include "vmm/gdb/gdb.h"
#include "vmm/run.h"
#include "vmx/vmx.h"

#define MEMORY_MIN MIB(16) /* free, for Umbra and the smallest guests */

/* Called by boot.asm with the boot information's address and the image's. */
_Noreturn void umbra_main(uint64_t info_pa, uint64_t image_pa);

static const struct vmm_backend *const backends[] = { &svm_backend, &vmx_backend };

static struct boot_info boot_info;
static struct umbra_config config;
static char com1[64];

static _Noreturn void cannot_start(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* One line on the console and on the text screen, and halt. */
static _Noreturn void cannot_start(const char *fmt, ...)
{
	char reason[160];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	log_err("cannot start: %s", reason);
	vga_line("umbra: cannot start: ", reason);
	console_flush();
	smp_stop_others(false);
	cpu_halt();
}

/* What is said before config_parse() has read the whole line. */
static void early_loglevel(void)
{
	static const char *const names[] = {
		[LOG_ERR] = "err",
		[LOG_WARN] = "warn",
		[LOG_INFO] = "info",
		[LOG_DEBUG] = "debug",
	};
	char word[8];

	if (!config_early_value(boot_info.cmdline, "loglevel", word, sizeof(word)))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(word, names[i]))
			log_set_level((enum log_level)i);
}

/* The boot information, and somewhere to say what is wrong with it. */
static void start_console(uint64_t info_pa, uint64_t image_pa)
{
	const char *wrong;

	wrong = multiboot2_parse(hpa_to_ptr(HPA(info_pa)), GIB(4) - info_pa, HPA(info_pa),
				 &boot_info);
	boot_info.image_start = HPA(image_pa);
	boot_info.image_end = image_to_hpa(__image_end);
	vga_init(boot_info.vga_text);
	if (!config_early_value(boot_info.cmdline, "com1", com1, sizeof(com1)))
		com1[0] = '\0';
	early_loglevel();
	console_init(com1);
	log_info("Umbra " UMBRA_VERSION ", loaded at 0x%llx by %s", (unsigned long long)image_pa,
		 *boot_info.loader ? boot_info.loader : "an unnamed boot loader");
	if (wrong)
		cannot_start("%s", wrong);
}

static void start_cpu(void)
{
	const struct cpu_features *cpu = cpu_features();

	cpu_init();
	log_debug("CPU: %s, %u physical address bits, XCR0 0x%llx", cpu->vendor, cpu->maxphyaddr,
		  (unsigned long long)cpu->xcr0_mask);
	if (!cpu->apic)
		cannot_start("the processor has no local APIC, or the firmware has disabled it");
}

/* Only now can registers be mapped, and RAM above 4 GiB be told from them. */
static void open_mmio_console(void)
{
	uint64_t bytes;
	hpa_t pa;

	if (console_wants_mmio(&pa, &bytes))
		console_open_mmio(host_map_mmio(pa, bytes));
}

static void start_memory(void)
{
	frame_init(&boot_info);
	if (frame_bytes_free() < MEMORY_MIN)
		cannot_start("%llu MiB of free memory, Umbra needs %llu",
			     (unsigned long long)(frame_bytes_free() >> 20),
			     (unsigned long long)(MEMORY_MIN >> 20));
	if (host_paging_init(&boot_info))
		cannot_start("no memory for the page tables");
	frame_init_high(&boot_info);
	serial_line_set_mapper(host_map_mmio);
	open_mmio_console();
	if (host_paging_audit())
		cannot_start("the page tables give away a right they must not");
	log_info("memory: %llu MiB, %llu MiB of it free",
		 (unsigned long long)(frame_bytes_total() >> 20),
		 (unsigned long long)(frame_bytes_free() >> 20));
}

static void start_devices(void)
{
	acpi_init(&boot_info);
	lapic_init();
	smp_init();
	ioapic_init();
	if (!clock_init())
		cannot_start("no timer of known rate counts: no ACPI PM timer, HPET or PIT");
	timer_init();
	console_start_interrupts();
	irq_enable();
}

/* The first backend that this machine has. */
static const struct vmm_backend *start_backend(void)
{
	const struct cpu_features *cpu = cpu_features();
	int err = -ENODEV;

	if (!cpu->svm && !cpu->vmx)
		cannot_start("the processor has neither SVM nor VMX, or the firmware hides it");
	for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
		const struct vmm_backend *b = backends[i];
		int result = b->probe();

		if (result == -EPERM)
			err = result;
		if (result)
			continue;
		if (b->cpu_enable())
			cannot_start("%s cannot be turned on", b->name);
		log_info("%s: %s", b->name, b->caps()->features);
		return b;
	}
	if (err == -EPERM)
		cannot_start("virtualization is turned off by the firmware: enable it there");
	cannot_start("the processor has no %s that Umbra can use", cpu->vmx ? "VMX" : "SVM");
}

static void start_others(const struct vmm_backend *backend)
{
	const struct ap_config ap = {
		.boot = &boot_info,
		.max = config.maxcpus,
		.x2apic = config.x2apic,
		.absent = config.absent_cpu,
		.root = HPA(host_pt_tree().root),
		.enable = backend->cpu_enable,
		.guard = host_unmap_guard,
	};

	ap_start_all(&ap);
	watchdog_start();
}

_Noreturn void umbra_main(uint64_t info_pa, uint64_t image_pa)
{
	const struct vmm_backend *backend;

	gdt_init();
	trap_init();
	start_console(info_pa, image_pa);
	start_cpu();
	start_memory();
	start_devices();
	config_parse(&config, &boot_info);
	log_set_level(config.loglevel);
	svm_mask_features(config.svm_features);
	vmx_mask_features(config.vmx_features);
	backend = start_backend();
	start_others(backend);
	if (vmm_init(&config, backend))
		cannot_start("no memory for the VMs");
	gdb_init(config.gdb);
	vga_line("Umbra " UMBRA_VERSION " is running; its console is the serial port.", "");
	vmm_run();
}
