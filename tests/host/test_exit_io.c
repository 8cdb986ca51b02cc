/* vmm/exit_io.c: port exits, and the accesses behind them that one exit does as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/bus.h"
#include "vmm/exit.h"

#define CODE 0x1000u
#define PML4 0x4000u
#define PDPT 0x5000u
#define PD 0x6000u
#define PT 0x7000u
#define OTHER_CODE 0x8000u
#define ENTRY 0x23u /* P, W, A */

static struct {
	unsigned ins, outs;
	uint16_t port;
	uint32_t out_value;
	unsigned raise_at; /* the IN after which an interrupt is pending */
	unsigned stop_at;  /* the IN after which the VM is to stop */
} dev;

static uint32_t dev_in(void *ctx, uint16_t port, unsigned size)
{
	(void)ctx;
	(void)size;
	dev.port = port;
	dev.ins++;
	if (dev.ins == dev.raise_at)
		fake_hw.intr_pending = true;
	if (dev.ins == dev.stop_at)
		vm_request_stop(&fake_vm, VM_STOP_RESET, 0, "by the device");
	return dev.ins;
}

static void dev_out(void *ctx, uint16_t port, unsigned size, uint32_t val)
{
	(void)ctx;
	(void)size;
	dev.port = port;
	dev.out_value = val;
	dev.outs++;
}

static void put_entry(uint64_t pa, uint64_t entry)
{
	memcpy(fake_ram + pa, &entry, sizeof(entry));
}

static void put_code(uint64_t pa, const char *bytes, size_t n)
{
	memcpy(fake_ram + pa, bytes, n);
}

static int setup(void **state)
{
	static const struct io_ops ops = { .in = dev_in, .out = dev_out };

	(void)state;
	memset(&dev, 0, sizeof(dev));
	fake_vm_reset();
	fake_log_reset();
	assert_int_equal(bus_init(&fake_vm.bus), 0);
	assert_int_equal(bus_register_io(&fake_vm.bus, 0x40, 8, "test", &ops, NULL), 0);
	fake_hw.reg[REG_CR3] = PML4;
	put_entry(PML4, PDPT | ENTRY);
	put_entry(PDPT, PD | ENTRY);
	put_entry(PD, PT | ENTRY);
	put_entry(PT + 8 * (CODE / 0x1000), CODE | ENTRY);
	/* in al, 42h; in al, 42h; nop */
	put_code(CODE, "\xe4\x42\xe4\x42\x90", 5);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bus_destroy(&fake_vm.bus);
	return 0;
}

/* The guest leaves at rip for an IN of one byte from 42h that is two bytes long. */
static void leave_at(uint64_t rip)
{
	fake_vcpu.regs.rip = rip;
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_IO,
					   .insn_len = 2,
					   .io = { .port = 0x42, .size = 1, .in = true } };
	vm_exit_handle(&fake_vcpu);
}

static void expect(unsigned ins, uint64_t rip)
{
	assert_int_equal(dev.ins, ins);
	assert_int_equal(fake_vcpu.regs.rip, rip);
}

static void test_polling(void **state)
{
	(void)state;
	fake_vcpu.regs.gpr[RAX] = 0x1234567800;
	leave_at(CODE);
	expect(2, CODE + 4);
	assert_int_equal(fake_vcpu.regs.gpr[RAX], 0x1234567802);
	leave_at(CODE);
	expect(4, CODE + 4);
	assert_int_equal(fake_vm.exits[0]->count[EXIT_IO], 2);
}

/* Where nothing followed, nothing is looked for again. */
static void test_barren(void **state)
{
	(void)state;
	leave_at(CODE + 2);
	expect(1, CODE + 4);
	put_code(CODE + 4, "\xe4\x42", 2);
	leave_at(CODE + 2);
	expect(2, CODE + 4);
	leave_at(CODE);
	expect(5, CODE + 6);
}

/* The processor has fetched from the page of the exit; of the next nobody has asked. */
static void test_next_page(void **state)
{
	(void)state;
	put_entry(PT + 8 * (OTHER_CODE / 0x1000), OTHER_CODE | ENTRY | BIT(63));
	put_entry(PT + 8 * (OTHER_CODE / 0x1000 - 1), CODE | ENTRY);
	fake_hw.reg[REG_EFER] |= EFER_NXE;
	put_code(OTHER_CODE, "\xe4\x42", 2);
	leave_at(OTHER_CODE - 2);
	expect(1, OTHER_CODE);
}

static void test_forms(void **state)
{
	(void)state;
	/* in al,42h; out 41h,al; mov edx would be next: in eax,dx; out dx,eax; nop */
	put_code(CODE, "\xe4\x42\xe6\x41\xed\xef\xe5\x44\xec\x90", 10);
	fake_vcpu.regs.gpr[RDX] = 0xffff00000043;
	fake_vcpu.regs.gpr[RAX] = ~UINT64_C(0);
	leave_at(CODE);
	/* the exit's own, in eax,dx, in eax,44h, in al,dx */
	expect(4, CODE + 9);
	assert_int_equal(dev.outs, 2);
	assert_int_equal(dev.port, 0x43);
	assert_int_equal(dev.out_value, 2);
	assert_int_equal(fake_vcpu.regs.gpr[RAX], 4);
}

static void test_prefix_is_not_taken(void **state)
{
	(void)state;
	put_code(CODE, "\xe4\x42\x66\xed\x90", 5);
	leave_at(CODE);
	expect(1, CODE + 2);
}

/* A page full of INs: at most eight ahead, and none beyond the page. */
static void test_bounds(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 0x1000; i += 2)
		put_code(CODE + i, "\xe4\x42", 2);
	leave_at(CODE);
	expect(9, CODE + 18);
	dev.ins = 0;
	leave_at(CODE + 0xffc);
	expect(2, CODE + 0x1000);
	dev.ins = 0;
	put_code(CODE + 0xffb, "\xe4\x42\x90\xe4\x42", 5);
	leave_at(CODE + 0xffd);
	expect(1, CODE + 0xfff);
}

/* What must come between the accesses does. */
static void test_interrupt(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 18; i += 2)
		put_code(CODE + i, "\xe4\x42", 2);
	dev.raise_at = 3;
	leave_at(CODE);
	expect(3, CODE + 6);
	fake_vcpu.regs.rflags &= ~RFLAGS_IF;
	leave_at(CODE);
	expect(12, CODE + 18);
}

static void test_stop(void **state)
{
	(void)state;
	dev.stop_at = 2;
	leave_at(CODE);
	expect(2, CODE + 4);
	leave_at(CODE);
	expect(3, CODE + 2);
}

static void test_single_step(void **state)
{
	(void)state;
	fake_vcpu.regs.rflags |= RFLAGS_TF;
	leave_at(CODE);
	expect(1, CODE + 2);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_DB);
}

static void test_breakpoints(void **state)
{
	(void)state;
	fake_hw.reg[REG_DR7] = 0x401;
	leave_at(CODE);
	expect(1, CODE + 2);
}

/* At CPL 3 the port's permission is the TSS's to give, access by access. */
static void test_user(void **state)
{
	(void)state;
	fake_hw.reg[REG_CPL] = 3;
	leave_at(CODE);
	expect(1, CODE + 2);
}

static void test_compatibility_mode(void **state)
{
	(void)state;
	fake_hw.seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_L;
	fake_hw.seg[SEG_CS].attr |= SEG_ATTR_DB;
	fake_hw.seg[SEG_CS].limit = ~0u;
	leave_at(CODE);
	expect(2, CODE + 4);
}

/* 32-bit code is found through its segment, and no further than that goes. */
static void test_segment(void **state)
{
	(void)state;
	fake_hw.seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_L;
	fake_hw.seg[SEG_CS].attr |= SEG_ATTR_DB;
	fake_hw.seg[SEG_CS].base = CODE - 0x20;
	fake_hw.seg[SEG_CS].limit = 0x23;
	leave_at(0x20);
	expect(2, 0x24);
	memset(&fake_vcpu.io_barren, 0, sizeof(fake_vcpu.io_barren));
	fake_hw.seg[SEG_CS].limit = 0x22;
	leave_at(0x20);
	expect(3, 0x22);
}

/* Without paging, and with tables of 32-bit entries. */
static void test_legacy_paging(void **state)
{
	const uint32_t dir = PT | 3, page = CODE | 3;

	(void)state;
	fake_hw.seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_L;
	fake_hw.seg[SEG_CS].attr |= SEG_ATTR_DB;
	fake_hw.seg[SEG_CS].limit = ~0u;
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.reg[REG_CR4] = 0;
	fake_hw.reg[REG_CR0] &= ~CR0_PG;
	leave_at(CODE);
	expect(2, CODE + 4);
	fake_hw.reg[REG_CR0] |= CR0_PG;
	fake_hw.reg[REG_CR3] = PD;
	put_code(PD + 4 * 3, (const char *)&dir, 4);
	put_code(PT + 4 * 7, (const char *)&page, 4);
	leave_at(0xc07000 + CODE % 0x1000);
	expect(4, 0xc07004 + CODE % 0x1000);
}

static void test_16_bit_code(void **state)
{
	(void)state;
	fake_hw.seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_L;
	fake_hw.seg[SEG_CS].limit = ~0u;
	leave_at(CODE);
	expect(1, CODE + 2);
}

static void forget(void)
{
	memset(&fake_vcpu.io_barren, 0, sizeof(fake_vcpu.io_barren));
}

/* The code page is looked up in the tables as they are now, at every level. */
static void test_remapped(void **state)
{
	static const uint64_t tables[] = { PML4, PDPT, PD, PT + 8 * (CODE / 0x1000) };

	(void)state;
	put_code(OTHER_CODE, "\xe4\x42\x90\x90\x90", 5);
	leave_at(CODE);
	expect(2, CODE + 4);
	put_entry(PT + 8 * (CODE / 0x1000), OTHER_CODE | ENTRY);
	leave_at(CODE);
	expect(3, CODE + 2);
	put_entry(PT + 8 * (CODE / 0x1000), CODE | ENTRY);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t entry;

		forget();
		leave_at(CODE);
		assert_int_equal(fake_vcpu.regs.rip, CODE + 4);
		memcpy(&entry, fake_ram + tables[i], sizeof(entry));
		put_entry(tables[i], 0);
		leave_at(CODE);
		assert_int_equal(fake_vcpu.regs.rip, CODE + 2);
		put_entry(tables[i], entry);
	}
	forget();
	leave_at(CODE);
	fake_hw.reg[REG_CR3] = 0x9000; /* no tables there */
	leave_at(CODE);
	assert_int_equal(fake_vcpu.regs.rip, CODE + 2);
}

/*
 * Another address space: found through its own top table, whether the rest is shared or not, and
 * again through the first one's. PCIDs in CR3 are no part of the address.
 */
static void test_other_address_space(void **state)
{
	const uint64_t other = 0xa000, other_pdpt = 0xb000, other_pd = 0xc000, other_pt = 0xd000;

	(void)state;
	put_code(OTHER_CODE, "\xe4\x42\x90\x90\x90", 5);
	put_entry(other, PDPT | ENTRY);
	leave_at(CODE);
	expect(2, CODE + 4);
	fake_hw.reg[REG_CR3] = other | 7;
	leave_at(CODE);
	expect(4, CODE + 4);
	put_entry(PT + 8 * (CODE / 0x1000), OTHER_CODE | ENTRY);
	leave_at(CODE);
	expect(5, CODE + 2);
	put_entry(PT + 8 * (CODE / 0x1000), CODE | ENTRY);
	forget();
	leave_at(CODE);
	expect(7, CODE + 4);
	/* All of its tables its own, and the code elsewhere. */
	put_entry(other, other_pdpt | ENTRY);
	put_entry(other_pdpt, other_pd | ENTRY);
	put_entry(other_pd, other_pt | ENTRY);
	put_entry(other_pt + 8 * (CODE / 0x1000), OTHER_CODE | ENTRY);
	leave_at(CODE);
	expect(8, CODE + 2);
	forget();
	fake_hw.reg[REG_CR3] = PML4;
	leave_at(CODE);
	expect(10, CODE + 4);
}

/* Accessed and dirty bits come and go, and lead nowhere else. */
static void test_accessed_bits(void **state)
{
	(void)state;
	leave_at(CODE);
	expect(2, CODE + 4);
	put_entry(PT + 8 * (CODE / 0x1000), (CODE | ENTRY | BIT(6)) & ~BIT(5));
	leave_at(CODE);
	expect(4, CODE + 4);
	assert_int_equal(fake_vcpu.lookahead.page[CODE / 0x1000].entry[3].val, CODE | ENTRY);
}

static void code_of_32_bits(void)
{
	fake_hw.seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_L;
	fake_hw.seg[SEG_CS].attr |= SEG_ATTR_DB;
	fake_hw.seg[SEG_CS].limit = ~0u;
	fake_hw.reg[REG_EFER] = 0;
}

/* 32-bit tables: each entry counts, and the directory is CR3's. */
static void test_legacy_remapped(void **state)
{
	const uint32_t page = CODE | 3, elsewhere = OTHER_CODE | 3;
	uint32_t dir = PT | 3;

	(void)state;
	code_of_32_bits();
	fake_hw.reg[REG_CR4] = 0;
	fake_hw.reg[REG_CR3] = PD;
	put_code(OTHER_CODE, "\xe4\x42\x90\x90\x90", 5);
	put_code(PD, (const char *)&dir, 4);
	put_code(PT + 4 * (CODE / 0x1000), (const char *)&page, 4);
	leave_at(CODE);
	expect(2, CODE + 4);
	put_code(PT + 4 * (CODE / 0x1000), (const char *)&elsewhere, 4);
	leave_at(CODE);
	expect(3, CODE + 2);
	put_code(PT + 4 * (CODE / 0x1000), (const char *)&page, 4);
	forget();
	leave_at(CODE);
	expect(5, CODE + 4);
	fake_hw.reg[REG_CR3] = PML4;
	dir = 0xa000 | 3;
	put_code(PML4, (const char *)&dir, 4);
	put_code(0xa000 + 4 * (CODE / 0x1000), (const char *)&elsewhere, 4);
	leave_at(CODE);
	expect(6, CODE + 2);
}

static void pae_tables(void)
{
	code_of_32_bits();
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = PDPT;
	put_entry(PDPT, PD | 1);
	put_code(OTHER_CODE, "\xe4\x42\x90\x90\x90", 5);
	put_entry(0xa000, 0xb000 | ENTRY);
	put_entry(0xb000 + 8 * (CODE / 0x1000), OTHER_CODE | ENTRY);
}

/* Under nested paging the PDPTEs are those in memory. */
static void test_pae_nested(void **state)
{
	(void)state;
	pae_tables();
	leave_at(CODE);
	expect(2, CODE + 4);
	put_entry(PDPT, 0xa000 | 1);
	leave_at(CODE);
	expect(3, CODE + 2);
}

/* Without it they are those that were loaded, until others are. */
static void test_pae_shadow(void **state)
{
	(void)state;
	pae_tables();
	fake_vm.shadow = (struct shadow *)&fake_vm;
	fake_vcpu.pdpte[0] = PD | 1;
	leave_at(CODE);
	expect(2, CODE + 4);
	put_entry(PDPT, 0xa000 | 1);
	leave_at(CODE);
	expect(4, CODE + 4);
	fake_vcpu.pdpte[0] = 0xa000 | 1;
	leave_at(CODE);
	expect(5, CODE + 2);
	fake_vm.shadow = NULL;
}

/* A processor that holds them is asked each time: nobody sees the guest load others. */
static void test_pae_nested_held(void **state)
{
	(void)state;
	pae_tables();
	fake_vm.backend = &fake_backend_pdptes_ops;
	fake_hw.pdpte[0] = fake_vcpu.pdpte[0] = PD | 1; /* a load that was seen */
	leave_at(CODE);
	expect(2, CODE + 4);
	put_entry(PDPT, 0xa000 | 1);
	leave_at(CODE);
	expect(4, CODE + 4);
	fake_hw.pdpte[0] = 0xa000 | 1;
	leave_at(CODE);
	expect(5, CODE + 2);
	fake_hw.pdpte[0] = PD | 1;
	forget();
	leave_at(CODE);
	expect(7, CODE + 4);
}

/* What was found in memory is not looked for where that has gone. */
static void test_memory_gone(void **state)
{
	(void)state;
	leave_at(CODE);
	expect(2, CODE + 4);
	assert_int_equal(memmap_hook(&fake_vm.mem, GPA(CODE), 0x1000, REGION_HOOK), 0);
	leave_at(CODE);
	expect(3, CODE + 2);
	assert_int_equal(memmap_unhook(&fake_vm.mem, GPA(CODE), 0x1000), 0);
	forget();
	leave_at(CODE);
	expect(5, CODE + 4);
	assert_int_equal(memmap_remove(&fake_vm.mem, GPA(0)), 0);
	forget();
	leave_at(CODE);
	expect(6, CODE + 2);
}

/* Code in no memory, and a table in none. */
static void test_nowhere(void **state)
{
	(void)state;
	put_entry(PT + 8 * (CODE / 0x1000), 0xfee00000 | ENTRY);
	leave_at(CODE);
	expect(1, CODE + 2);
	put_entry(PD, 0xfee00000 | ENTRY);
	forget();
	leave_at(CODE);
	expect(2, CODE + 2);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_polling),
		TEST(test_barren),
		TEST(test_forms),
		TEST(test_polling),
		TEST(test_next_page),
		TEST(test_forms),
		TEST(test_bounds),
		TEST(test_interrupt),
		TEST(test_prefix_is_not_taken),
		TEST(test_stop),
		TEST(test_single_step),
		TEST(test_breakpoints),
		TEST(test_user),
		TEST(test_remapped),
		TEST(test_compatibility_mode),
		TEST(test_segment),
		TEST(test_legacy_paging),
		TEST(test_16_bit_code),
		TEST(test_nowhere),
		TEST(test_other_address_space),
		TEST(test_memory_gone),
		TEST(test_accessed_bits),
		TEST(test_legacy_remapped),
		TEST(test_pae_nested),
		TEST(test_pae_shadow),
		TEST(test_pae_nested_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
