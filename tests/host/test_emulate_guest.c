/*
 * Whole guests, interpreted from their first instruction to their last one: the same that run on
 * the processor in tests/boot. Nothing but the interpreter executes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/mm.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/emulate.h"
#include "vmm/load/elf.h"

#define RAM_ORDER 12 /* 16 MiB */
#define RAM_SIZE (PAGE_SIZE << RAM_ORDER)
#define ROM_BASE VM_BIOS_ROM
#define ROM_SIZE KIB(64)
#define COM1 0x3f8
#define LSR 5
#define LSR_EMPTY 0x60
#define DEBUG_EXIT 0xf4
#define EXIT_OK 0x10

struct guest {
	const char *name;
	const uint8_t *image, *end;
};

/* build/guest/NAME.elf, as the Makefile has made it. */
#define GUEST(id)                                                                                  \
	__asm__(".pushsection .rodata\n"                                                           \
		"image_" #id ": .incbin \"build/guest/" #id ".elf\"\n"                             \
		"end_" #id ": .popsection\n");                                                     \
	extern const uint8_t image_##id[], end_##id[];                                             \
	static const struct guest id = { #id, image_##id, end_##id };
GUEST(hello)
GUEST(bad_opcode_handled)
GUEST(real_mode)
GUEST(rom_write)

static uint8_t *ram;
static char text[4096];
static size_t text_len;
static int status;

static uint32_t port_read(void *dev, uint16_t port, unsigned size)
{
	(void)dev;
	(void)size;
	return port == COM1 + LSR ? LSR_EMPTY : 0xff;
}

static void port_write(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	(void)dev;
	(void)size;
	if (port == DEBUG_EXIT)
		status = (int)val;
	else if (port == COM1 && text_len < sizeof(text) - 1)
		text[text_len++] = (char)val;
}

static const struct io_ops ports = { .in = port_read, .out = port_write };

static void add_region(uint64_t start, uint64_t size, enum region_kind kind)
{
	const struct region r = {
		.start = GPA(start), .size = size, .kind = kind, .frames = ptr_to_hpa(ram + start)
	};

	assert_int_equal(memmap_add(&fake_vm.mem, &r), 0);
}

static int setup(void **state)
{
	hpa_t frames = frame_alloc_zeroed(RAM_ORDER, FRAME_VM0);

	(void)state;
	if (!frames.v)
		return -1;
	fake_vm_reset();
	fake_real_mode = false;
	cpuid_init(fake_cpuid_amd, XCR0_X87);
	ram = hpa_to_ptr(frames);
	text_len = 0;
	status = 0;
	memmap_init(&fake_vm.mem);
	add_region(0, ROM_BASE, REGION_MEM);
	add_region(ROM_BASE, ROM_SIZE, REGION_ROM);
	add_region(VM_HIGH_RAM, RAM_SIZE - VM_HIGH_RAM, REGION_MEM);
	if (bus_init(&fake_vm.bus) ||
	    bus_register_io(&fake_vm.bus, COM1, 8, "com1", &ports, NULL) ||
	    bus_register_io(&fake_vm.bus, DEBUG_EXIT, 4, "exit", &ports, NULL))
		return -1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bus_destroy(&fake_vm.bus);
	frame_free(ptr_to_hpa(ram), RAM_ORDER, FRAME_VM0);
	fake_real_mode = true;
	return 0;
}

static void load_elf(const struct guest *guest)
{
	uint64_t size = (uint64_t)(guest->end - guest->image);
	struct elf_image elf;
	char why[64];

	if (elf_read(guest->image, size, &elf, why, sizeof(why)))
		fail_msg("%s: %s", guest->name, why);
	for (unsigned i = 0; i < elf.nr; i++) {
		const struct elf_segment *s = &elf.seg[i];

		assert_in_range(s->paddr + s->memsz, VM_HIGH_RAM, RAM_SIZE);
		memcpy(ram + s->paddr, guest->image + s->offset, s->filesz);
	}
	assert_true(elf.has_pvh);
	fake_vcpu.regs.rip = elf.pvh_entry;
}

/* PVH's entry: 32-bit protected mode, flat, no paging. */
static void pvh_entry(void)
{
	const struct segment data = { .attr = 0xc93, .limit = 0xffffffff };

	memset(fake_vcpu.regs.gpr, 0, sizeof(fake_vcpu.regs.gpr));
	fake_vcpu.regs.rflags = RFLAGS_FIXED;
	fake_hw.reg[REG_CR0] = CR0_PE | CR0_ET;
	fake_hw.reg[REG_CR4] = fake_hw.reg[REG_EFER] = fake_hw.reg[REG_CPL] = 0;
	for (unsigned i = 0; i < SEG_LDTR; i++)
		fake_hw.seg[i] = data;
	fake_hw.seg[SEG_CS].attr = 0xc9b;
	fake_hw.seg[SEG_TR] = (struct segment){ .attr = 0x8b, .limit = 0x67 };
}

/* An event that the backend was handed: it would have the processor deliver it. */
static void deliver_injected(void)
{
	if (!fake_hw.nr_injected)
		return;
	fake_hw.nr_injected = 0;
	emulate_deliver(&fake_vcpu, &fake_hw.injected[0]);
}

static void run_guest(const struct guest *guest, unsigned long budget, const char *said)
{
	load_elf(guest);
	pvh_entry();
	while (!status && budget--) {
		char insn[64];

		vcpu_inject_pending(&fake_vcpu);
		deliver_injected();
		fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_EMULATE };
		vm_exit_handle(&fake_vcpu);
		if (fake_vm.stop_reason != VM_STOP_NONE) {
			emulate_disassemble(&fake_vcpu, insn, sizeof(insn));
			fail_msg("stopped: %s, at %llx: %s; it said: %s", fake_vm.stop_text,
				 (unsigned long long)fake_vcpu.regs.rip, insn, text);
		}
	}
	text[text_len] = 0;
	if (status != EXIT_OK)
		fail_msg("expected exit status 0x%x, seen 0x%x at rip 0x%llx; it said: %s", EXIT_OK,
			 status, (unsigned long long)fake_vcpu.regs.rip, text);
	assert_string_equal(text, said);
}

static void test_hello(void **state)
{
	(void)state;
	run_guest(&hello, 10000, "hello from a tiny guest\n");
}

static void test_protected_fault(void **state)
{
	(void)state;
	run_guest(&bad_opcode_handled, 10000, "invalid opcode handled\n");
}

static void test_rom(void **state)
{
	(void)state;
	run_guest(&rom_write, 10000, "the ROM did not change\n");
}

/* Real mode, big real mode, and the ways in and out; paging on and off. */
static void test_real_mode(void **state)
{
	(void)state;
	run_guest(&real_mode, 100000,
		  "real mode: segments, INT, a fault, 4 GiB limits\npaging on and off\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hello, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protected_fault, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_real_mode, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
