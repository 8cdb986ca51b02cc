/* Looking into a guest from outside: without an effect, and as far as there is something. */
#include "tests/host/emu_fixture.h"
#include "vmm/inspect.h"

#define DISK UINT64_C(0x800000)
#define DISK_PAGES 3

static const uint64_t rw = PTE_P | PTE_W | PTE_U;
static uint64_t disk_page[DISK_PAGES];
static uint8_t *disk_frame; /* of its second page; the others have not come in */

static bool bring_in(void *ctx, struct region *r, uint64_t page)
{
	(void)ctx;
	(void)r;
	fail_msg("page %llu of the disk is brought in", (unsigned long long)page);
	return false;
}

static int setup(void **state)
{
	struct region r = { .start = GPA(DISK),
			    .size = DISK_PAGES * PAGE_SIZE,
			    .kind = REGION_DISK,
			    .page = disk_page };
	hpa_t frame = frame_alloc_zeroed(0, FRAME_VM0);

	if (fx_setup(state) || !frame.v || memmap_add(&fx.vm.mem, &r))
		return -1;
	disk_frame = hpa_to_ptr(frame);
	disk_page[1] = frame.v;
	fx.vm.mem.bring_in = bring_in;
	return 0;
}

static int teardown(void **state)
{
	frame_free(ptr_to_hpa(disk_frame), 0, FRAME_VM0);
	return fx_teardown(state);
}

/* No device was asked, no bit set in the tables, nothing raised. */
static void expect_no_effect(void)
{
	assert_int_equal(fx.dev[0].reads + fx.dev[0].writes, 0);
	assert_int_equal(fx.dev[1].reads + fx.dev[1].writes, 0);
	assert_int_equal(pte_get(TABLES, 0) & PTE_A, 0);
	assert_int_equal(pte_get(TABLES + 0x1000, 1) & PTE_A, 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pte_get(PT_WINDOW, i) & (PTE_A | PTE_D), 0);
	assert_nothing_raised();
}

static size_t read_gva(uint64_t gva, void *buf, size_t n)
{
	return inspect_read_gva(&fx.vcpu, GVA(gva), buf, n);
}

static size_t write_gva(uint64_t gva, const void *buf, size_t n)
{
	return inspect_write_gva(&fx.vcpu, GVA(gva), buf, n);
}

static void test_ram(void **state)
{
	char buf[8] = "";

	(void)state;
	assert_int_equal(inspect_write_gpa(&fx.vm, GPA(0x300ffd), "umbra", 6), 6);
	assert_string_equal((char *)fx.ram + 0x300ffd, "umbra");
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(0x300ffd), buf, 6), 6);
	assert_string_equal(buf, "umbra");
	/* Up to the end of memory. */
	fx.ram[RAM_SIZE - 1] = 'z';
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(RAM_SIZE - 1), buf, 6), 1);
	assert_int_equal(buf[0], 'z');
	assert_int_equal(inspect_write_gpa(&fx.vm, GPA(RAM_SIZE - 2), "abcd", 4), 2);
	assert_int_equal(fx.ram[RAM_SIZE - 1], 'b');
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(NOWHERE), buf, 6), 0);
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(UINT64_MAX), buf, 6), 0);
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(0), buf, 0), 0);
}

static void test_rom_is_written(void **state)
{
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(inspect_write_gpa(&fx.vm, GPA(ROM_PA + 5), "\xcc", 1), 1);
	assert_int_equal(fx.rom[5], 0xcc);
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(ROM_PA + 5), &byte, 1), 1);
	assert_int_equal(byte, 0xcc);
}

/* Memory whose writes are hooked reads, and is written, as it lies there; behind a full hook is a
 * device. */
static void test_hooks(void **state)
{
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(memmap_hook(&fx.vm.mem, GPA(0x200000), 4096, REGION_HOOK_WRITE), 0);
	assert_int_equal(memmap_hook(&fx.vm.mem, GPA(0x202000), 4096, REGION_HOOK), 0);
	assert_int_equal(inspect_write_gpa(&fx.vm, GPA(0x200010), "h", 1), 1);
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(0x200010), &byte, 1), 1);
	assert_int_equal(byte, 'h');
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(0x202000), &byte, 1), 0);
	assert_int_equal(inspect_write_gpa(&fx.vm, GPA(0x201ffe), "abcd", 4), 2);
	assert_int_equal(fx.ram[0x202000], 0);
	expect_no_effect();
}

static void test_disk(void **state)
{
	char buf[8] = "";

	(void)state;
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(DISK), buf, 8), 0);
	assert_int_equal(inspect_write_gpa(&fx.vm, GPA(DISK + 2 * PAGE_SIZE), "x", 1), 0);
	assert_int_equal(inspect_write_gpa(&fx.vm, GPA(DISK + 2 * PAGE_SIZE - 2), "abcd", 4), 2);
	assert_memory_equal(disk_frame + PAGE_SIZE - 2, "ab", 2);
	assert_int_equal(inspect_read_gpa(&fx.vm, GPA(DISK + 2 * PAGE_SIZE - 2), buf, 4), 2);
	/* A table on the disk leads nowhere. */
	pte_set(TABLES + 0x3000, 1, DISK | rw);
	assert_int_equal(read_gva(WINDOW + MIB(2), buf, 1), 0);
	pte_set(TABLES + 0x3000, 1, (DISK + PAGE_SIZE) | rw);
	assert_int_equal(read_gva(WINDOW + MIB(2), buf, 1), 0);
	((uint64_t *)disk_frame)[0] = 0x300000 | rw;
	fx.ram[0x300000] = 'd';
	assert_int_equal(read_gva(WINDOW + MIB(2), buf, 1), 1);
	assert_int_equal(buf[0], 'd');
}

/* Rights do not matter, nor does who runs. */
static void test_virtual(void **state)
{
	char buf[16] = "";
	gpa_t gpa;

	(void)state;
	fx_user();
	window_map(0, 0x300000, PTE_P); /* the kernel's, read-only */
	window_map(1, 0x2ff000, rw);
	window_map(2, 0, 0);
	window_map(3, DEVICE_A, rw);
	assert_int_equal(write_gva(WINDOW + PAGE_SIZE - 2, "virtual", 8), 8);
	assert_memory_equal(fx.ram + 0x300ffe, "vi", 2);
	assert_string_equal((char *)fx.ram + 0x2ff000, "rtual");
	assert_int_equal(read_gva(WINDOW + PAGE_SIZE - 2, buf, 8), 8);
	assert_string_equal(buf, "virtual");
	assert_int_equal(read_gva(WINDOW + 2 * PAGE_SIZE - 3, buf, 8), 3);
	assert_int_equal(read_gva(WINDOW + 2 * PAGE_SIZE, buf, 8), 0);
	assert_int_equal(read_gva(WINDOW + 3 * PAGE_SIZE, buf, 8), 0);
	assert_true(inspect_translate(&fx.vcpu, GVA(WINDOW + 3 * PAGE_SIZE + 7), &gpa));
	assert_int_equal(gpa.v, DEVICE_A + 7);
	assert_false(inspect_translate(&fx.vcpu, GVA(WINDOW + 2 * PAGE_SIZE), &gpa));
	expect_no_effect();
}

static void test_not_canonical(void **state)
{
	char buf[8];
	gpa_t gpa;

	(void)state;
	assert_true(inspect_translate(&fx.vcpu, GVA(0x1000), &gpa));
	assert_false(inspect_translate(&fx.vcpu, GVA(BIT(48) | 0x1000), &gpa));
	assert_false(inspect_translate(&fx.vcpu, GVA(BIT(63) | 0x1000), &gpa));
	assert_int_equal(read_gva(BITS(46, 0), buf, 8), 0);
}

/* Outside long mode addresses are 32 bits wide, and wrap. */
static void test_narrow(void **state)
{
	uint8_t buf[4];
	gpa_t gpa;

	(void)state;
	fx_mode_32();
	assert_true(inspect_translate(&fx.vcpu, GVA(BIT(32) | 0x1234), &gpa));
	assert_int_equal(gpa.v, 0x1234);
	fx.reg[REG_CR0] |= CR0_PG;
	fx.reg[REG_CR4] = CR4_PSE;
	fx.reg[REG_CR3] = TABLES;
	memset(fx.ram + TABLES, 0, PAGE_SIZE);
	((uint32_t *)(fx.ram + TABLES))[0] = PTE_P | PTE_PS;
	((uint32_t *)(fx.ram + TABLES))[1023] = PTE_P | PTE_PS;
	memcpy(fx.ram + MIB(4) - 2, "ab", 2);
	memcpy(fx.ram, "cd", 2);
	assert_int_equal(read_gva(0xfffffffe, buf, 4), 4);
	assert_memory_equal(buf, "abcd", 4);
}

/* PAE's PDPTEs lie where CR3 points; or on a disk, where they stay. */
static void test_pae(void **state)
{
	gpa_t gpa;

	(void)state;
	fx_mode_32();
	fx.reg[REG_CR0] |= CR0_PG;
	fx.reg[REG_CR4] = CR4_PAE;
	fx.reg[REG_CR3] = TABLES + 0x1020;
	pte_set(TABLES + 0x1020, 1, (TABLES + 0x3000) | PTE_P);
	assert_true(inspect_translate(&fx.vcpu, GVA(CODE + 3), &gpa));
	assert_int_equal(gpa.v, CODE_PA + 3);
	assert_false(inspect_translate(&fx.vcpu, GVA(3), &gpa));
	fx.reg[REG_CR3] = DISK;
	assert_false(inspect_translate(&fx.vcpu, GVA(CODE + 3), &gpa));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ram),     TEST(test_rom_is_written), TEST(test_hooks),  TEST(test_disk),
		TEST(test_virtual), TEST(test_not_canonical),  TEST(test_narrow), TEST(test_pae),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
