/* bzImage by the boot protocol: good ones, and every way to lie in the header. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "tests/host/load_fixture.h"

#define SETUP_SIZE 1024 /* boot sector and one more */
#define CODE_SIZE 2048
#define IMAGE_SIZE (SETUP_SIZE + CODE_SIZE)
#define PREF MIB(16)
#define INIT_SIZE MIB(4)

static struct load_fixture f;
static uint8_t image[IMAGE_SIZE];

static struct setup_header *header(void)
{
	return (struct setup_header *)(image + SETUP_HEADER_OFFSET);
}

/* A bzImage of protocol 2.15 as Linux makes it; its code counts bytes up. */
static void make_image(void)
{
	memset(image, 0x90, SETUP_SIZE);
	for (unsigned i = 0; i < CODE_SIZE; i++)
		image[SETUP_SIZE + i] = (uint8_t)(i * 3 + (i >> 8));
	*header() = (struct setup_header){
		.setup_sects = SETUP_SIZE / 512 - 1,
		.syssize = CODE_SIZE / 16,
		.vid_mode = 0xffff,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.magic = SETUP_MAGIC,
		.version = 0x20f,
		.loadflags = 1,
		.code32_start = 0x100000,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.min_alignment = 21,
		.xloadflags = 0x7f,
		.cmdline_size = 2047,
		.payload_offset = 0x300,
		.payload_length = CODE_SIZE - 0x300 - 4,
		.setup_data = 0xbad,
		.pref_address = PREF,
		.init_size = INIT_SIZE,
	};
}

static int setup(void **state)
{
	*state = &f;
	make_image();
	fixture_init(&f, MIB(32));
	f.src.cmdline = "console=ttyS0";
	f.src.rsdp = GPA(0xf0010);
	return 0;
}

static int load(void)
{
	return fixture_load_exact(&f, image, IMAGE_SIZE);
}

static void assert_loads(void)
{
	fixture_assert_loads(&f, image, IMAGE_SIZE);
}

static void assert_refused(int err, const char *text)
{
	fixture_assert_refused(&f, image, IMAGE_SIZE, err, text);
}

static void test_image_64(void **state)
{
	const struct boot_params *bp;

	(void)state;
	assert_loads();
	assert_memory_equal(f.ram + PREF, image + SETUP_SIZE, CODE_SIZE);
	assert_int_equal(f.ram[PREF + CODE_SIZE], 0xcc);
	assert_int_equal(f.vcpu.regs.rip, PREF + 0x200);
	assert_int_equal(f.vcpu.regs.rflags, 2);
	assert_int_equal(f.vcpu.regs.gpr[RBX], 0);
	bp = fixture_boot_params(&f);
	assert_int_equal(bp->hdr.magic, SETUP_MAGIC);
	assert_int_equal(bp->hdr.version, 0x20f);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->hdr.code32_start, PREF);
	assert_int_equal(bp->hdr.setup_data, 0);
	assert_int_equal(bp->hdr.ramdisk_image, 0);
	assert_int_equal(bp->hdr.ramdisk_size, 0);
	assert_int_equal(bp->acpi_rsdp_addr, 0xf0010);
	assert_int_equal(bp->screen_info[0], 0);
	assert_int_equal(((const uint8_t *)bp)[0x1ef], 0); /* the sentinel */
	assert_string_equal(fixture_cmdline(&f), "console=ttyS0");
}

static void test_state_64(void **state)
{
	const uint64_t *gdt, *table;

	(void)state;
	assert_loads();
	assert_int_equal(fixture_reg[REG_EFER], EFER_LME | EFER_LMA);
	assert_int_equal(fixture_reg[REG_CR4], CR4_PAE);
	assert_int_equal(fixture_reg[REG_CR0] & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
	assert_true(fixture_position(REG_CR3) < fixture_position(REG_CR0));
	assert_true(fixture_position(REG_CR4) < fixture_position(REG_CR0));
	assert_true(fixture_position(REG_EFER) < fixture_position(REG_CR0));
	assert_int_equal(fixture_seg[SEG_CS].selector, 0x10);
	assert_int_equal(fixture_seg[SEG_CS].attr, 0xa9b);
	assert_int_equal(fixture_seg[SEG_DS].selector, 0x18);
	assert_int_equal(fixture_seg[SEG_SS].attr, 0xc93);
	assert_int_equal(fixture_seg[SEG_TR].attr, 0x08b);
	assert_int_equal(fixture_seg[SEG_GDTR].limit, 31);
	gdt = (const uint64_t *)(f.ram + fixture_seg[SEG_GDTR].base);
	assert_int_equal(gdt[0], 0);
	assert_int_equal(gdt[2], 0x00af9b000000ffff);
	assert_int_equal(gdt[3], 0x00cf93000000ffff);
	/* Each of the first 4 GiB leads to itself; nothing else is mapped. */
	for (uint64_t gpa = 0; gpa < GIB(4); gpa += MIB(2)) {
		table = (const uint64_t *)(f.ram + fixture_reg[REG_CR3]);
		assert_int_equal(table[0] & 0xfff, 3);
		table = (const uint64_t *)(f.ram + (table[0] & ~0xfffULL));
		assert_int_equal(table[gpa >> 30] & 0xfff, 3);
		table = (const uint64_t *)(f.ram + (table[gpa >> 30] & ~0xfffULL));
		assert_int_equal(table[gpa >> 21 & 511], gpa | 0x83);
	}
	table = (const uint64_t *)(f.ram + fixture_reg[REG_CR3]);
	for (unsigned i = 1; i < 512; i++)
		assert_int_equal(table[i], 0);
	for (unsigned i = 4; i < 512; i++)
		assert_int_equal(table[512 + i], 0);
}

static void test_image_32(void **state)
{
	const uint64_t *gdt;

	(void)state;
	header()->xloadflags &= 0xfffe;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, PREF);
	assert_int_equal(fixture_reg[REG_CR0] & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(fixture_reg[REG_EFER], 0);
	assert_int_equal(fixture_seg[SEG_CS].attr, 0xc9b);
	assert_int_equal(fixture_seg[SEG_CS].limit, 0xffffffff);
	gdt = (const uint64_t *)(f.ram + fixture_seg[SEG_GDTR].base);
	assert_int_equal(gdt[2], 0x00cf9b000000ffff);
	assert_int_equal(fixture_boot_params(&f)->hdr.magic, SETUP_MAGIC);
}

static void test_e820(void **state)
{
	static const struct e820_entry want[] = {
		{ 0, 0x9fc00, 1 },
		{ 0x9fc00, 0x400, 2 },
		{ 0xf0000, 0x10000, 2 },
		{ 0x100000, MIB(31), 1 },
	};
	const struct boot_params *bp;

	(void)state;
	assert_loads();
	bp = fixture_boot_params(&f);
	assert_int_equal(bp->e820_entries, 4);
	assert_memory_equal(bp->e820, want, sizeof(want));
}

/* One region from 0 up, and one above 4 GiB: the same holes, and all of the memory. */
static void test_e820_one_region(void **state)
{
	const struct region high = { .start = GPA(GIB(4)),
				     .size = MIB(2),
				     .kind = REGION_MEM,
				     .frames = ptr_to_hpa(f.ram) };
	const struct boot_params *bp;

	(void)state;
	memmap_init(&f.vm.mem);
	fixture_map(&f, 0, MIB(16), REGION_MEM);
	fixture_map(&f, MIB(16), MIB(8), REGION_MEM);
	assert_int_equal(memmap_add(&f.vm.mem, &high), 0);
	assert_loads();
	bp = fixture_boot_params(&f);
	assert_int_equal(bp->e820_entries, 5);
	assert_int_equal(bp->e820[0].size, 0x9fc00);
	assert_int_equal(bp->e820[3].addr, 0x100000);
	assert_int_equal(bp->e820[3].size, MIB(23)); /* neighbours merged */
	assert_int_equal(bp->e820[4].addr, GIB(4));
	assert_int_equal(bp->e820[4].size, MIB(2));
}

/* ROM that is not the BIOS' is no gap for devices. */
static void test_e820_rom(void **state)
{
	const struct region rom = { .start = GPA(0xfeffc000),
				    .size = 0x1000,
				    .kind = REGION_ROM,
				    .frames = ptr_to_hpa(f.ram) };
	const struct boot_params *bp;

	(void)state;
	assert_int_equal(memmap_add(&f.vm.mem, &rom), 0);
	assert_loads();
	bp = fixture_boot_params(&f);
	assert_int_equal(bp->e820_entries, 5);
	assert_int_equal(bp->e820[4].addr, 0xfeffc000);
	assert_int_equal(bp->e820[4].size, 0x1000);
	assert_int_equal(bp->e820[4].type, 2);
}

static void test_initrd(void **state)
{
	static uint8_t initrd[5000];
	const struct boot_params *bp;

	(void)state;
	memset(initrd, 0x42, sizeof(initrd));
	f.src.initrd = initrd;
	f.src.initrd_size = sizeof(initrd);
	assert_loads();
	bp = fixture_boot_params(&f);
	assert_int_equal(bp->hdr.ramdisk_size, sizeof(initrd));
	assert_int_equal(bp->hdr.ramdisk_image, MIB(32) - 8192);
	assert_memory_equal(f.ram + MIB(32) - 8192, initrd, sizeof(initrd));
	/* Its last byte must not be above initrd_addr_max. */
	header()->initrd_addr_max = MIB(24) + 4998;
	assert_loads();
	assert_int_equal(fixture_boot_params(&f)->hdr.ramdisk_image, MIB(24) - 4096);
	header()->initrd_addr_max = MIB(24) + 4999;
	assert_loads();
	assert_int_equal(fixture_boot_params(&f)->hdr.ramdisk_image, MIB(24));
	/* Below the kernel when it can only be there, never in it. */
	header()->initrd_addr_max = PREF + INIT_SIZE - 1;
	assert_loads();
	assert_int_equal(fixture_boot_params(&f)->hdr.ramdisk_image, PREF - 8192);
	header()->initrd_addr_max = 0xfffff;
	assert_refused(-EFBIG, "initrd: ");
	header()->initrd_addr_max = UINT32_MAX;
	assert_loads();
}

static void test_initrd_too_large(void **state)
{
	uint8_t *initrd = calloc(1, MIB(16));

	(void)state;
	f.src.initrd = initrd;
	/* 15 MiB below the kernel, 12 above it. */
	f.src.initrd_size = MIB(15);
	assert_loads();
	assert_int_equal(fixture_boot_params(&f)->hdr.ramdisk_image, MIB(1));
	f.src.initrd_size = MIB(15) + 1;
	assert_refused(-EFBIG,
		       "initrd: its 15728641 bytes find no room in guest memory below 0x80000000 "
		       "beside the kernel's 4194304");
	f.src.initrd_size = UINT64_MAX;
	assert_refused(-EFBIG, "initrd: ");
	f.src.initrd_size = UINT64_MAX - 4095;
	assert_refused(-EFBIG, "initrd: ");
	f.src.initrd_size = 0;
	assert_loads();
	assert_int_equal(fixture_boot_params(&f)->hdr.ramdisk_image, 0);
	free(initrd);
}

static void test_cmdline_tsc(void **state)
{
	(void)state;
	f.src.tsc_khz = 2400000;
	assert_loads();
	assert_string_equal(fixture_cmdline(&f), "console=ttyS0 tsc_early_khz=2400000");
	f.src.cmdline = "";
	assert_loads();
	assert_string_equal(fixture_cmdline(&f), "tsc_early_khz=2400000");
	f.src.cmdline = NULL;
	assert_loads();
	assert_string_equal(fixture_cmdline(&f), "tsc_early_khz=2400000");
	f.src.cmdline = "tsc_early_khz=1 quiet";
	assert_loads();
	assert_string_equal(fixture_cmdline(&f), "tsc_early_khz=1 quiet");
	f.src.cmdline = "xtsc_early_khz=1";
	assert_loads();
	assert_string_equal(fixture_cmdline(&f), "xtsc_early_khz=1 tsc_early_khz=2400000");
}

static void test_cmdline_length(void **state)
{
	char line[300];

	(void)state;
	memset(line, 'x', sizeof(line));
	line[100] = '\0';
	f.src.cmdline = line;
	f.src.tsc_khz = 2400000;
	header()->cmdline_size = 100;
	assert_loads(); /* fits exactly; what would be added does not and is left away */
	assert_string_equal(fixture_cmdline(&f), line);
	header()->cmdline_size = 121;
	assert_loads();
	assert_int_equal(strlen(fixture_cmdline(&f)), 100);
	header()->cmdline_size = 122;
	assert_loads();
	assert_int_equal(strlen(fixture_cmdline(&f)), 122);
	header()->cmdline_size = 99;
	assert_refused(-E2BIG, "command line: 100 characters, and the kernel takes 99");
	header()->cmdline_size = UINT32_MAX;
	assert_loads();
}

/* A line longer than the place there is for it is refused, whatever the kernel says. */
static void test_cmdline_huge(void **state)
{
	char *line = malloc(600000);

	(void)state;
	memset(line, 'x', 599999);
	line[599999] = '\0';
	f.src.cmdline = line;
	header()->cmdline_size = UINT32_MAX;
	assert_refused(-E2BIG, "command line: 599999 characters");
	free(line);
}

static void test_old_protocols(void **state)
{
	(void)state;
	/* 2.06: no preferred address yet, 1 MiB; 32-bit entry only. */
	header()->version = 0x206;
	header()->jump = 0x3aeb;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, MIB(2)); /* it can be moved: aligned as it wants */
	header()->relocatable_kernel = 0;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, MIB(1));
	assert_memory_equal(f.ram + MIB(1), image + SETUP_SIZE, CODE_SIZE);
	/* What lies behind its header's end is not its header. */
	assert_int_equal(fixture_boot_params(&f)->hdr.pref_address, 0);
	header()->version = 0x20a;
	header()->jump = 0x62eb;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, PREF);
	header()->version = 0x20c;
	header()->jump = 0x66eb;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, PREF + 0x200);
	header()->version = 0x205;
	assert_refused(-ENOEXEC, "version: boot protocol 2.05, and 2.06 is the oldest");
}

static void test_setup_sects_zero_means_four(void **state)
{
	static uint8_t big[5 * 512 + CODE_SIZE];

	(void)state;
	header()->setup_sects = 0;
	memcpy(big, image, SETUP_SIZE);
	memcpy(big + 5 * 512, image + SETUP_SIZE, CODE_SIZE);
	assert_int_equal(fixture_load_exact(&f, big, sizeof(big)), 0);
	assert_memory_equal(f.ram + PREF, image + SETUP_SIZE, CODE_SIZE);
}

static void test_relocation(void **state)
{
	(void)state;
	/* RAM begins above the preferred address: the kernel is moved to the next that fits. */
	memmap_init(&f.vm.mem);
	fixture_map(&f, 0, 0xa0000, REGION_MEM);
	fixture_map(&f, MIB(17), MIB(15), REGION_MEM);
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, MIB(18) + 0x200);
	assert_int_equal(fixture_boot_params(&f)->hdr.code32_start, MIB(18));
	header()->relocatable_kernel = 0;
	assert_refused(-EFBIG, "init_size: the kernel needs 4096 KiB of memory from 0x1000000 up");
	header()->relocatable_kernel = 1;
	header()->kernel_alignment = MIB(32);
	assert_refused(-EFBIG, "init_size: ");
}

static void test_too_little_memory(void **state)
{
	(void)state;
	fixture_free(&f);
	fixture_init(&f, MIB(19));
	assert_refused(-EFBIG,
		       "init_size: the kernel needs 4096 KiB of memory from 0x1000000 up, the "
		       "guest has less");
	fixture_free(&f);
	fixture_init(&f, MIB(20));
	assert_loads();
	fixture_free(&f);
	fixture_init(&f, MIB(1));
	assert_refused(-EFBIG, "init_size: ");
	/* No memory below 640 KiB. */
	fixture_free(&f);
	fixture_init(&f, MIB(32));
	assert_int_equal(memmap_remove(&f.vm.mem, GPA(0)), 0);
	assert_int_equal(load(), -EFBIG);
}

/* Memory in pieces of a page each, scattered on the host. */
static void test_scattered_memory(void **state)
{
	uint64_t avail;
	const uint64_t *pdpt;

	(void)state;
	memmap_init(&f.vm.mem);
	for (uint64_t gpa = 0; gpa < 0x40000; gpa += 4096) {
		const struct region r = { .start = GPA(gpa),
					  .size = 4096,
					  .kind = REGION_MEM,
					  .frames = ptr_to_hpa(f.ram + 0x40000 - 4096 - gpa) };

		assert_int_equal(memmap_add(&f.vm.mem, &r), 0);
	}
	fixture_map(&f, MIB(1), MIB(31), REGION_MEM);
	assert_loads();
	pdpt = memmap_ptr(&f.vm.mem, GPA(fixture_reg[REG_CR3] + 4096), false, &avail);
	assert_int_equal(pdpt[3], (fixture_reg[REG_CR3] + 5 * 4096) | 3);
	pdpt = memmap_ptr(&f.vm.mem, GPA(fixture_reg[REG_CR3] + 5 * 4096), false, &avail);
	assert_int_equal(pdpt[1], (GIB(3) + MIB(2)) | 0x83);
}

/* One lie at a time. */
static void test_lies(void **state)
{
	static const struct {
		unsigned offset, size;
		uint64_t value;
		int err;
		const char *why;
	} lies[] = {
		{ 0x1f1, 1, 255, -ENOEXEC, "setup_sects: 255 sectors" },
		{ 0x1f1, 1, 5, -ENOEXEC, "setup_sects: 5 sectors" },
		{ 0x1f1, 1, 2, -ENOEXEC, "syssize: 2048 bytes of code, but the file has 1536" },
		{ 0x1f4, 4, 0, -EINVAL, "syssize: 0" },
		{ 0x1f4, 4, CODE_SIZE / 16 + 1, -ENOEXEC, "syssize: 2064 bytes" },
		{ 0x1f4, 4, UINT32_MAX, -ENOEXEC, "syssize: 68719476720 bytes" },
		{ 0x1f4, 4, 0x10000080, -ENOEXEC,
		  "syssize: " }, /* 16 times it is more than 32 bits */
		{ 0x1fe, 2, 0x1234, -ENOEXEC, "boot_flag: 0x1234" },
		{ 0x201, 1, 0x39, -EINVAL, "jump: " },
		{ 0x201, 1, 0x69, -EINVAL, "jump: " },
		{ 0x201, 1, 0xff, -EINVAL, "jump: " },
		{ 0x202, 4, 0, -ENOEXEC, "neither a bzImage" },
		{ 0x206, 2, 0, -ENOEXEC, "version: " },
		{ 0x206, 2, 0x0105, -ENOEXEC, "version: " },
		{ 0x211, 1, 0, -ENOEXEC, "loadflags: LOADED_HIGH is clear" },
		{ 0x22c, 4, 0, 0, "" }, /* initrd_addr_max matters only with an initrd */
		{ 0x230, 4, 0, -EINVAL, "kernel_alignment: 0 is no power of two" },
		{ 0x230, 4, 0x300000, -EINVAL, "kernel_alignment: " },
		{ 0x230, 4, 16, -EINVAL, "kernel_alignment: " },
		{ 0x230, 4, 0x80000000, -EINVAL, "kernel_alignment: " },
		{ 0x238, 4, 12, -E2BIG, "cmdline_size" },
		{ 0x238, 4, 0, -E2BIG, "cmdline_size" },
		{ 0x248, 4, CODE_SIZE, -EINVAL, "payload_offset, payload_length: " },
		{ 0x248, 4, UINT32_MAX, -EINVAL, "payload_offset, payload_length: " },
		{ 0x24c, 4, UINT32_MAX, -EINVAL, "payload_offset, payload_length: " },
		{ 0x258, 8, 0, -EINVAL, "pref_address: 0 is not between" },
		{ 0x258, 8, 0xfffff, -EINVAL, "pref_address: " },
		{ 0x258, 8, UINT64_MAX, -EINVAL, "pref_address: " },
		{ 0x258, 8, GIB(4), -EINVAL, "pref_address: 0x100000000" },
		{ 0x258, 8, MIB(31), -EFBIG, "init_size: " },
		{ 0x258, 8, GIB(4) - 4096, -EFBIG, "init_size: " },
		{ 0x260, 4, CODE_SIZE - 1, -EINVAL,
		  "init_size: 0x7ff is less than the code's 0x800" },
		{ 0x260, 4, UINT32_MAX, -EFBIG, "init_size: " },
		{ 0x260, 4, MIB(16) + 1, -EFBIG, "init_size: " },
		{ 0x260, 4, MIB(16), 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		int err;

		make_image();
		memcpy(image + lies[i].offset, &lies[i].value, lies[i].size);
		err = load();
		if (err != lies[i].err || (err && !strstr(f.why, lies[i].why)))
			fail_msg("%#llx at %#x: expected %d \"%s\", got %d \"%s\"",
				 (unsigned long long)lies[i].value, lies[i].offset, lies[i].err,
				 lies[i].why, err, err ? f.why : "");
	}
}

static void test_64_bit_entry_outside(void **state)
{
	(void)state;
	/* Code of 512 bytes: the 64-bit entry would lie behind it. */
	header()->syssize = 512 / 16;
	header()->payload_offset = header()->payload_length = 0;
	assert_int_equal(fixture_load_exact(&f, image, SETUP_SIZE + 512), -EINVAL);
	assert_non_null(strstr(f.why, "xloadflags: XLF_KERNEL_64"));
	assert_int_equal(fixture_load_exact(&f, image, SETUP_SIZE + 513), 0);
}

/* Cut at every length: always refused, with a reason, and nothing read behind the end. */
static void test_truncated(void **state)
{
	(void)state;
	for (uint64_t size = 0; size < IMAGE_SIZE; size++) {
		int err = fixture_load_exact(&f, image, size);

		if (err != -ENOEXEC || !f.why[0] || strlen(f.why) >= sizeof(f.why))
			fail_msg("a file of %llu bytes: %d", (unsigned long long)size, err);
	}
	assert_loads();
}

/* why[] may be of any size. */
static void test_why_is_cut(void **state)
{
	char small[8] = "#######";

	(void)state;
	f.src.kernel = image;
	f.src.kernel_size = 100;
	assert_int_equal(load_kernel(&f.vm, &f.vcpu, &f.src, small, 5), -ENOEXEC);
	assert_string_equal(small, "kern");
	assert_int_equal(small[5], '#');
	assert_int_equal(load_kernel(&f.vm, &f.vcpu, &f.src, NULL, 0), -ENOEXEC);
}

static void make_spoilt(void)
{
	int flips = rand() % 4 + 1;

	make_image();
	while (flips--)
		image[SETUP_HEADER_OFFSET + (unsigned)rand() % 0x7b] = (uint8_t)rand();
}

static void test_fuzz(void **state)
{
	(void)state;
	f.src.initrd = image;
	f.src.initrd_size = 1000;
	fixture_fuzz(&f, 7, make_spoilt, image, IMAGE_SIZE);
}

/* Debian's kernel, where scripts/fetch-guests has put it. */
static void test_real_image(void **state)
{
	uint64_t size;
	uint8_t *file = fixture_read_file("deps/guests/vmlinuz-amd64", &size);

	(void)state;
	if (!file)
		skip();
	fixture_free(&f);
	fixture_init(&f, MIB(128));
	f.src.cmdline = "console=ttyS0";
	assert_int_equal(fixture_load_exact(&f, file, size), 0);
	assert_int_equal(f.vcpu.regs.rip, MIB(16) + 0x200);
	assert_int_equal(fixture_load_exact(&f, file, size - 10000), -ENOEXEC);
	free(file);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_image_64),
		T(test_state_64),
		T(test_image_32),
		T(test_e820),
		T(test_e820_one_region),
		T(test_e820_rom),
		T(test_initrd),
		T(test_initrd_too_large),
		T(test_cmdline_tsc),
		T(test_cmdline_length),
		T(test_cmdline_huge),
		T(test_old_protocols),
		T(test_setup_sects_zero_means_four),
		T(test_relocation),
		T(test_too_little_memory),
		T(test_scattered_memory),
		T(test_lies),
		T(test_64_bit_entry_outside),
		T(test_truncated),
		T(test_why_is_cut),
		T(test_fuzz),
		T(test_real_image),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
