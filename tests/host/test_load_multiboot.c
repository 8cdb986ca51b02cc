/* Multiboot kernels, version 1 and 2: what they are given, and headers that lie. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "tests/host/load_fixture.h"
#include "vmm/load/multiboot.h"

/* The file: an ELF header or nothing, the multiboot header, code. */
#define HEADER 0x80
#define CODE 0x200
#define CODE_SIZE 0x100
#define FILE_SIZE (CODE + CODE_SIZE)
#define AT MIB(2)
#define BSS 0x3000
#define ENTRY (AT + 0x10)

static struct load_fixture f;
static uint8_t file[FILE_SIZE];

static void put32(unsigned at, uint32_t v)
{
	memcpy(file + at, &v, 4);
}

static void put16(unsigned at, uint16_t v)
{
	memcpy(file + at, &v, 2);
}

static uint32_t get32(uint64_t at)
{
	uint32_t v;

	memcpy(&v, f.ram + at, 4);
	return v;
}

static uint64_t get64(uint64_t at)
{
	uint64_t v;

	memcpy(&v, f.ram + at, 8);
	return v;
}

static void fill(void)
{
	memset(file, 0, sizeof(file));
	for (unsigned i = 0; i < CODE_SIZE; i++)
		file[CODE + i] = (uint8_t)(i * 7 + 1);
}

/* An ELF32 file with one segment; its header and program header end before HEADER. */
static void put_elf32(void)
{
	static const uint8_t ident[7] = { 0x7f, 'E', 'L', 'F', 1, 1, 1 };

	memcpy(file, ident, sizeof(ident));
	put16(16, 2); /* e_type */
	put16(18, 3); /* e_machine */
	put32(24, ENTRY);
	put32(28, 52); /* e_phoff */
	put16(42, 32); /* e_phentsize */
	put16(44, 1);  /* e_phnum */
	put32(52, 1);  /* PT_LOAD */
	put32(56, CODE);
	put32(60, AT);
	put32(64, AT);
	put32(68, CODE_SIZE);
	put32(72, CODE_SIZE + BSS);
}

static void put_elf64(void)
{
	static const uint8_t ident[7] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };

	memcpy(file, ident, sizeof(ident));
	put16(16, 2);
	put16(18, 62);
	put32(24, ENTRY);
	put32(32, 64); /* e_phoff: its 56 bytes end at 0x78 */
	put16(54, 56);
	put16(56, 1);
	put32(64, 1);
	put32(72, CODE);
	put32(80, AT);
	put32(88, AT);
	put32(96, CODE_SIZE);
	put32(104, CODE_SIZE + BSS);
}

static void put_header_1(uint32_t flags)
{
	put32(HEADER, MB1_MAGIC);
	put32(HEADER + 4, flags);
	put32(HEADER + 8, 0 - MB1_MAGIC - flags);
}

/* No ELF file: 0x40 bytes before the header, and what follows up to 0x200 bytes, are the image. */
static void make_kludge_1(void)
{
	fill();
	put_header_1(MB1_FLAG_ADDRESSES);
	put32(HEADER + 12, AT);
	put32(HEADER + 16, AT - 0x40);
	put32(HEADER + 20, AT - 0x40 + 0x200);
	put32(HEADER + 24, AT - 0x40 + 0x200 + BSS);
	put32(HEADER + 28, ENTRY);
}

static void make_elf_1(void)
{
	fill();
	put_elf32();
	put_header_1(MB1_FLAG_PAGE_ALIGN | MB1_FLAG_MEMORY);
}

static unsigned header_end;

static void begin_header_2(void)
{
	header_end = HEADER + 16;
}

static void put_tag(uint16_t type, uint16_t flags, uint32_t size)
{
	put16(header_end, type);
	put16(header_end + 2, flags);
	put32(header_end + 4, size);
	header_end += (unsigned)ALIGN_UP(size, 8);
}

static void seal_header_2(void)
{
	uint32_t length = header_end - HEADER;

	put32(HEADER, MB2_MAGIC);
	put32(HEADER + 4, 0);
	put32(HEADER + 8, length);
	put32(HEADER + 12, 0 - MB2_MAGIC - length);
}

static void end_header_2(void)
{
	put_tag(MB2_HEADER_END, 0, 8);
	seal_header_2();
}

static void make_elf_2(void)
{
	fill();
	put_elf32();
	begin_header_2();
	end_header_2();
}

static void make_kludge_2(void)
{
	fill();
	begin_header_2();
	put32(header_end + 8, AT);
	put32(header_end + 12, AT - 0x40);
	put32(header_end + 16, AT - 0x40 + 0x200);
	put32(header_end + 20, AT - 0x40 + 0x200 + BSS);
	put_tag(MB2_HEADER_ADDRESS, 0, 24);
	put32(header_end + 8, ENTRY);
	put_tag(MB2_HEADER_ENTRY, 0, 12);
	end_header_2();
}

static int setup(void **state)
{
	*state = &f;
	fixture_init(&f, MIB(8));
	f.src.cmdline = "kernel line";
	f.src.tsc_khz = 1000;
	return 0;
}

static int load(void)
{
	return fixture_load_exact(&f, file, FILE_SIZE);
}

static void assert_loads(uint32_t eax)
{
	fixture_assert_loads(&f, file, FILE_SIZE);
	assert_int_equal(f.vcpu.regs.gpr[RAX], eax);
	assert_int_equal(f.vcpu.regs.rip, ENTRY);
	assert_int_equal(fixture_reg[REG_CR0] & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(fixture_reg[REG_EFER], 0);
	assert_int_equal(fixture_seg[SEG_CS].attr, 0xc9b);
	assert_int_equal(f.vcpu.regs.rflags & (RFLAGS_IF | RFLAGS_VM), 0);
}

static void assert_refused(int err, const char *text)
{
	fixture_assert_refused(&f, file, FILE_SIZE, err, text);
}

/* The segment and its bss, and nothing behind. */
static void assert_image(uint64_t at, unsigned offset, unsigned size)
{
	assert_memory_equal(f.ram + at, file + offset, size);
	for (unsigned i = 0; i < BSS; i++)
		assert_int_equal(f.ram[at + size + i], 0);
	assert_int_equal(f.ram[at + size + BSS], 0xcc);
}

static const uint8_t one[5000] = { 1, 1, 1 }, two[3] = { 2, 2, 2 };
static const struct load_module modules[] = {
	{ one, sizeof(one), "first module" },
	{ two, sizeof(two), "" },
	{ two, 0, "empty" },
};

static void give_modules(void)
{
	f.src.module = modules;
	f.src.nr_modules = ARRAY_SIZE(modules);
}

static void test_elf_1(void **state)
{
	const struct mb1_info *info;
	const struct mb1_module *m;
	const struct mb1_mmap_entry *e;

	(void)state;
	give_modules();
	make_elf_1();
	assert_loads(0x2badb002);
	assert_image(AT, CODE, CODE_SIZE);
	info = (const void *)(f.ram + f.vcpu.regs.gpr[RBX]);
	assert_int_equal(info->flags, BIT(0) | BIT(2) | BIT(3) | BIT(6) | BIT(9));
	assert_int_equal(info->mem_lower, 639);
	assert_int_equal(info->mem_upper, 7 * 1024);
	assert_string_equal((char *)f.ram + info->cmdline, "kernel line");
	assert_string_equal((char *)f.ram + info->boot_loader_name, "Umbra");
	assert_int_equal(info->mods_count, 3);
	m = (const void *)(f.ram + info->mods_addr);
	assert_int_equal(m[0].start, AT + 0x4000);
	assert_int_equal(m[0].end, AT + 0x4000 + sizeof(one));
	assert_string_equal((char *)f.ram + m[0].string, "first module");
	assert_memory_equal(f.ram + m[0].start, one, sizeof(one));
	assert_int_equal(m[1].start, AT + 0x6000);
	assert_int_equal(m[1].end, AT + 0x6003);
	assert_string_equal((char *)f.ram + m[1].string, "");
	assert_int_equal(m[2].start, m[2].end);
	assert_string_equal((char *)f.ram + m[2].string, "empty");
	assert_int_equal(info->mmap_length, 4 * 24);
	e = (const void *)(f.ram + info->mmap_addr);
	assert_int_equal(e[0].size, 20);
	assert_int_equal(e[0].range.size, 0x9fc00);
	assert_int_equal(e[0].range.type, 1);
	assert_int_equal(e[2].range.addr, 0xf0000);
	assert_int_equal(e[2].range.type, 2);
	assert_int_equal(e[3].range.addr, MIB(1));
	assert_int_equal(e[3].range.size, MIB(7));
}

static void test_kludge_1(void **state)
{
	(void)state;
	make_kludge_1();
	assert_loads(0x2badb002);
	assert_image(AT - 0x40, HEADER - 0x40, 0x200);
	/* load_end_addr 0: to the file's end; bss_end_addr 0: nothing behind. */
	put32(HEADER + 20, 0);
	put32(HEADER + 24, 0);
	fixture_free(&f);
	fixture_init(&f, MIB(8));
	assert_loads(0x2badb002);
	assert_memory_equal(f.ram + AT - 0x40, file + HEADER - 0x40, FILE_SIZE - HEADER + 0x40);
	assert_int_equal(f.ram[AT + FILE_SIZE - HEADER], 0xcc);
}

/* Addresses in the header come before an ELF file's own. */
static void test_kludge_wins(void **state)
{
	(void)state;
	make_kludge_1();
	put_elf32();
	put32(24, 0xdead0000);
	assert_loads(0x2badb002);
	assert_image(AT - 0x40, HEADER - 0x40, 0x200);
}

static void test_lies_1(void **state)
{
	static const struct {
		unsigned offset;
		uint32_t value;
		int err;
		const char *why;
	} lies[] = {
		{ 12, AT - 0x41, -EINVAL, "multiboot load_addr: " }, /* header_addr */
		{ 12, 0, -EINVAL, "multiboot load_addr: " },
		{ 12, UINT32_MAX, -EINVAL, "multiboot load_addr: " },
		{ 16, AT + 1, -EINVAL, "multiboot load_addr: " },
		{ 16, AT - 0x81, -EINVAL, "multiboot load_addr: " },
		{ 16, 0, -EINVAL, "multiboot load_addr: " },
		{ 16, UINT32_MAX, -EINVAL, "multiboot load_addr: " },
		{ 20, AT - 0x40, -ENOEXEC, "multiboot load_end_addr: " },
		{ 20, 1, -ENOEXEC, "multiboot load_end_addr: " },
		{ 20, UINT32_MAX, -ENOEXEC, "multiboot load_end_addr: " },
		{ 20, AT - 0x40 + FILE_SIZE - 0x40, 0, "" },
		{ 20, AT - 0x40 + FILE_SIZE - 0x3f, -ENOEXEC, "multiboot load_end_addr: " },
		{ 24, AT - 0x40 + 0x1ff, -EINVAL, "multiboot bss_end_addr: " },
		{ 24, 1, -EINVAL, "multiboot bss_end_addr: " },
		{ 24, UINT32_MAX, -EFBIG, "multiboot load_addr, bss_end_addr: " },
		{ 24, MIB(8), 0, "" },
		{ 24, MIB(8) + 1, -EFBIG, "multiboot load_addr, bss_end_addr: " },
		{ 28, AT - 0x41, -EINVAL, "multiboot entry_addr: " },
		{ 28, AT - 0x40 + 0x200, -EINVAL, "multiboot entry_addr: " },
		{ 28, 0, -EINVAL, "multiboot entry_addr: " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		int err;

		make_kludge_1();
		put32(HEADER + lies[i].offset, lies[i].value);
		err = load();
		if (err != lies[i].err || (err && !strstr(f.why, lies[i].why)))
			fail_msg("%#x at %u: expected %d \"%s\", got %d \"%s\"", lies[i].value,
				 lies[i].offset, lies[i].err, lies[i].why, err, err ? f.why : "");
	}
}

static void test_flags_1(void **state)
{
	(void)state;
	make_elf_1();
	put_header_1(BIT(2));
	assert_refused(-ENOEXEC, "multiboot flags: 0x4 wants a video mode");
	for (unsigned bit = 3; bit < 16; bit++) {
		put_header_1((uint32_t)BIT(bit));
		assert_refused(-ENOEXEC, "has requirements that are not known");
	}
	put_header_1(0xfffe0003); /* not requirements, and no addresses */
	assert_loads(0x2badb002);
	/* A wrong checksum is no header. */
	put32(HEADER + 8, 0);
	assert_refused(-ENOEXEC, "a 32-bit ELF file without a PVH entry note");
}

/* Where a header may be: aligned, in the first 8 KiB, or 32 KiB, whole. */
static void test_search(void **state)
{
	static const struct {
		unsigned version, at;
		bool found;
	} places[] = {
		{ 1, 0, true },          { 1, 4, true },          { 1, 6, false },
		{ 1, 8192 - 12, true },  { 1, 8192 - 8, false },  { 1, 8192, false },
		{ 2, 0, true },          { 2, 4, false },         { 2, 8, true },
		{ 2, 32768 - 16, true }, { 2, 32768 - 8, false }, { 2, 32768, false },
	};
	static uint8_t big[40000];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		uint32_t h1[3] = { MB1_MAGIC, 0, 0 - MB1_MAGIC };
		uint32_t h2[4] = { MB2_MAGIC, 0, 16, 0 - MB2_MAGIC - 16 };
		bool got;

		memset(big, 0, sizeof(big));
		if (places[i].version == 1)
			memcpy(big + places[i].at, h1, sizeof(h1));
		else
			memcpy(big + places[i].at, h2, sizeof(h2));
		fixture_load_exact(&f, big, sizeof(big));
		got = !strstr(f.why, "no multiboot header");
		if (got != places[i].found)
			fail_msg("version %u at %u: %s", places[i].version, places[i].at, f.why);
	}
}

/* The tag of a type in the information; NULL: not there. Checks that the tags add up. */
static const struct mb2_tag *find_tag(uint32_t type, unsigned which)
{
	uint64_t info = f.vcpu.regs.gpr[RBX], at = info + 8, end = info + get32(info);
	const struct mb2_tag *found = NULL;

	assert_int_equal(info % 8, 0);
	for (;;) {
		const struct mb2_tag *t = (const void *)(f.ram + at);

		assert_true(at + 8 <= end && t->size >= 8);
		if (t->type == type && which-- == 0)
			found = t;
		if (t->type == MB2_INFO_END)
			break;
		at += ALIGN_UP(t->size, 8);
	}
	assert_int_equal(at + 8, end);
	return found;
}

static void test_elf_2(void **state)
{
	const struct mb2_module_tag *m;
	const struct mb2_memory_tag *basic;
	uint64_t map;

	(void)state;
	give_modules();
	memcpy(f.ram + 0xf0010, "RSD PTR \0\0\0\0\0\0\0\2", 16);
	f.src.rsdp = GPA(0xf0010);
	make_elf_2();
	assert_loads(0x36d76289);
	assert_image(AT, CODE, CODE_SIZE);
	assert_string_equal((const char *)(find_tag(MB2_INFO_CMDLINE, 0) + 1), "kernel line");
	assert_int_equal(find_tag(MB2_INFO_CMDLINE, 0)->size, 8 + 12);
	assert_string_equal((const char *)(find_tag(MB2_INFO_LOADER, 0) + 1), "Umbra");
	m = (const void *)find_tag(MB2_INFO_MODULE, 0);
	assert_int_equal(m->start, AT + 0x4000);
	assert_int_equal(m->end, AT + 0x4000 + sizeof(one));
	assert_int_equal(m->tag.size, 16 + 13);
	assert_string_equal((const char *)(m + 1), "first module");
	assert_memory_equal(f.ram + m->start, one, sizeof(one));
	m = (const void *)find_tag(MB2_INFO_MODULE, 1);
	assert_memory_equal(f.ram + m->start, two, sizeof(two));
	m = (const void *)find_tag(MB2_INFO_MODULE, 2);
	assert_int_equal(m->start, m->end);
	assert_null(find_tag(MB2_INFO_MODULE, 3));
	basic = (const void *)find_tag(MB2_INFO_MEMORY, 0);
	assert_int_equal(basic->mem_lower, 639);
	assert_int_equal(basic->mem_upper, 7 * 1024);
	assert_int_equal(find_tag(MB2_INFO_MMAP, 0)->size, 16 + 4 * 24);
	map = (uint64_t)((const uint8_t *)find_tag(MB2_INFO_MMAP, 0) - f.ram);
	assert_int_equal(get32(map + 8), 24);
	assert_int_equal(get64(map + 16 + 8), 0x9fc00);
	assert_int_equal(get32(map + 16 + 16), 1);
	assert_int_equal(get64(map + 16 + 72), MIB(1));
	assert_int_equal(find_tag(MB2_INFO_ACPI_NEW, 0)->size, 8 + 36);
	assert_memory_equal(find_tag(MB2_INFO_ACPI_NEW, 0) + 1, "RSD PTR ", 8);
	assert_null(find_tag(MB2_INFO_ACPI_OLD, 0));
	assert_null(find_tag(MB2_INFO_LOAD_BASE, 0));
	/* ACPI 1.0 has the short one. */
	f.ram[0xf001f] = 0;
	assert_loads(0x36d76289);
	assert_int_equal(find_tag(MB2_INFO_ACPI_OLD, 0)->size, 8 + 20);
	assert_null(find_tag(MB2_INFO_ACPI_NEW, 0));
}

static void test_elf64(void **state)
{
	(void)state;
	fill();
	put_elf64();
	put_header_1(0);
	assert_loads(0x2badb002);
	assert_image(AT, CODE, CODE_SIZE);
}

static void test_kludge_2(void **state)
{
	unsigned tag = HEADER + 16;

	(void)state;
	make_kludge_2();
	assert_loads(0x36d76289);
	assert_image(AT - 0x40, HEADER - 0x40, 0x200);
	/* load_addr -1: the file from its start. */
	put32(tag + 12, UINT32_MAX);
	put32(tag + 16, 0);
	put32(tag + 20, 0);
	assert_loads(0x36d76289);
	assert_memory_equal(f.ram + AT - HEADER, file, FILE_SIZE);
	put32(tag + 8, HEADER - 1);
	assert_refused(-EINVAL, "multiboot load_addr: ");
	put32(tag + 8, AT);
	/* No entry tag. */
	put16(tag + 24, MB2_HEADER_EFI_BS);
	assert_refused(-EINVAL, "multiboot address tag: there is no entry address tag");
	put32(tag + 4, 16); /* shorter than its fields */
	assert_refused(-EINVAL, "multiboot header tag: type 2 has size 16");
}

static void test_entry_tag_with_elf(void **state)
{
	(void)state;
	make_elf_2();
	begin_header_2();
	put32(header_end + 8, ENTRY);
	put_tag(MB2_HEADER_ENTRY, 0, 12);
	end_header_2();
	put32(24, 0); /* e_entry is not asked for */
	assert_loads(0x36d76289);
	put32(HEADER + 16 + 8, AT + CODE_SIZE);
	assert_refused(-EINVAL, "multiboot entry_addr: 0x200100 lies in no segment");
}

static void test_tags(void **state)
{
	static const struct {
		uint16_t type, flags;
		uint32_t word;
		int err;
		const char *why;
	} tags[] = {
		{ MB2_HEADER_INFO_REQUEST, 0, 21, 0, "" },
		{ MB2_HEADER_INFO_REQUEST, 0, 22, -ENOEXEC, "information request tag: type 22" },
		{ MB2_HEADER_INFO_REQUEST, 1, 22, 0, "" },
		{ MB2_HEADER_CONSOLE, 0, 1, -ENOEXEC, "multiboot console tag" },
		{ MB2_HEADER_CONSOLE, 0, 2, 0, "" },
		{ MB2_HEADER_CONSOLE, 1, 3, 0, "" },
		{ MB2_HEADER_FRAMEBUFFER, 0, 0, -ENOEXEC, "multiboot framebuffer tag" },
		{ MB2_HEADER_FRAMEBUFFER, 1, 0, 0, "" },
		{ MB2_HEADER_MODULE_ALIGN, 0, 0, 0, "" },
		{ MB2_HEADER_EFI_BS, 0, 0, 0, "" },
		{ MB2_HEADER_EFI_ENTRY_64, 0, 0, 0, "" },
		{ 11, 0, 0, -ENOEXEC, "type 11 is not known and not optional" },
		{ 11, 1, 0, 0, "" },
		{ 0xffff, 0, 0, -ENOEXEC, "type 65535 is not known" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		int err;

		make_elf_2();
		begin_header_2();
		put32(header_end + 8, tags[i].word);
		put_tag(tags[i].type, tags[i].flags, 12);
		end_header_2();
		err = load();
		if (err != tags[i].err || (err && !strstr(f.why, tags[i].why)))
			fail_msg("tag %zu: expected %d \"%s\", got %d \"%s\"", i, tags[i].err,
				 tags[i].why, err, err ? f.why : "");
	}
}

static void test_lies_2(void **state)
{
	(void)state;
	make_elf_2();
	put32(HEADER + 4, 4); /* MIPS */
	put32(HEADER + 12, 0 - MB2_MAGIC - 4 - 24);
	assert_refused(-ENOEXEC, "multiboot architecture: 4");
	header_end = FILE_SIZE + 1;
	seal_header_2();
	assert_refused(-ENOEXEC, "multiboot header_length: ");
	header_end = HEADER + 0xfffffff0u;
	seal_header_2();
	assert_refused(-ENOEXEC, "multiboot header_length: ");
	header_end = HEADER + 16; /* the end tag is behind it */
	seal_header_2();
	assert_refused(-EINVAL, "have no end tag");
	header_end = HEADER + 4;
	seal_header_2();
	assert_refused(-EINVAL, "have no end tag");
	/* Sizes that stand still, go back, or leave the header. */
	static const uint32_t sizes[] = { 0, 1, 7, 17, 0xfffffff0, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		begin_header_2();
		put_tag(MB2_HEADER_EFI_BS, 0, 8);
		end_header_2();
		put32(HEADER + 16 + 4, sizes[i]);
		assert_refused(-EINVAL, "multiboot header tag: type 7 has size ");
	}
}

static void make_relocatable(uint32_t min, uint32_t max, uint32_t align)
{
	make_elf_2();
	begin_header_2();
	put32(header_end + 8, min);
	put32(header_end + 12, max);
	put32(header_end + 16, align);
	put32(header_end + 20, 0);
	put_tag(MB2_HEADER_RELOCATABLE, 0, 24);
	end_header_2();
}

static uint32_t load_base(void)
{
	return ((const struct mb2_load_base_tag *)(const void *)find_tag(MB2_INFO_LOAD_BASE, 0))
		->addr;
}

static void test_relocatable(void **state)
{
	(void)state;
	/* It may stay where it is. */
	make_relocatable(MIB(1), UINT32_MAX, 4096);
	assert_loads(0x36d76289);
	assert_int_equal(load_base(), AT);
	/* It must move. */
	make_relocatable(MIB(5) + 1, UINT32_MAX, 0x10000);
	assert_int_equal(load(), 0);
	assert_int_equal(f.vcpu.regs.rip, MIB(5) + 0x10010);
	assert_int_equal(load_base(), MIB(5) + 0x10000);
	assert_image(MIB(5) + 0x10000, CODE, CODE_SIZE);
	/* Linked for where there is no memory. */
	make_relocatable(0, UINT32_MAX, 1);
	put32(24, MIB(64) + 0x10);
	put32(60, MIB(64));
	put32(64, MIB(64));
	assert_int_equal(load(), 0);
	assert_int_equal(load_base(), MIB(1));
	assert_int_equal(f.vcpu.regs.rip, MIB(1) + 0x10);
	make_relocatable(MIB(4), MIB(4) + 0x30fe, 4096);
	assert_refused(-EFBIG, "multiboot relocatable tag: 12544 bytes find no room");
	make_relocatable(MIB(4), MIB(4) + 0x30ff, 4096);
	assert_int_equal(load(), 0);
	make_relocatable(MIB(4), MIB(1), 4096);
	assert_refused(-EFBIG, "multiboot relocatable tag: ");
	make_relocatable(MIB(1), UINT32_MAX, 0);
	assert_refused(-EINVAL, "multiboot relocatable tag: align 0");
	make_relocatable(MIB(1), UINT32_MAX, 0x3000);
	assert_refused(-EINVAL, "multiboot relocatable tag: align 0x3000");
}

/* Disk regions are told of, as no RAM, at their place by address. */
static void test_disk_in_mmap(void **state)
{
	static uint64_t page[2];
	const struct region disk = {
		.start = GPA(MIB(64)), .size = KIB(8), .kind = REGION_DISK, .page = page
	};
	const struct region high = { .start = GPA(GIB(1)),
				     .size = MIB(1),
				     .frames = ptr_to_hpa(f.ram) };
	const struct mb1_mmap_entry *e;

	(void)state;
	assert_int_equal(memmap_add(&f.vm.mem, &disk), 0);
	assert_int_equal(memmap_add(&f.vm.mem, &high), 0);
	make_elf_1();
	assert_loads(0x2badb002);
	assert_int_equal(get32(f.vcpu.regs.gpr[RBX] + 44), 6 * 24);
	e = (const void *)(f.ram + get32(f.vcpu.regs.gpr[RBX] + 48));
	assert_int_equal(e[3].range.addr, MIB(1));
	assert_int_equal(e[4].range.addr, MIB(64));
	assert_int_equal(e[4].range.size, KIB(8));
	assert_int_equal(e[4].range.type, E820_RESERVED);
	assert_int_equal(e[5].range.addr, GIB(1));
	assert_int_equal(e[5].range.type, E820_RAM);
}

/* Version 2 before 1; both before a PVH note; Linux before all of them. */
static void test_precedence(void **state)
{
	static const uint32_t pvh[5] = { 4, 4, 18, 0x6e6558, ENTRY };
	static const uint32_t linux_note[5] = { 6, 0, 0x100, 0x756e694c, 0x78 };

	(void)state;
	make_elf_1();
	put16(44, 2); /* the second program header is the notes: it ends at 0x74 */
	put32(84, 4);
	put32(88, CODE + 0x40);
	put32(100, sizeof(pvh));
	memcpy(file + CODE + 0x40, pvh, sizeof(pvh));
	assert_loads(0x2badb002);
	memmove(file + 0xc0, file + HEADER, 12);
	begin_header_2();
	end_header_2();
	assert_loads(0x36d76289);
	memcpy(file + CODE + 0x40, linux_note, sizeof(linux_note));
	assert_int_equal(load(), 0);
	assert_int_equal(fixture_boot_params(&f)->hdr.magic, SETUP_MAGIC);
	make_kludge_1();
	memcpy(file + 0x202, "HdrS", 4);
	assert_refused(-EINVAL, "jump: ");
}

static void test_modules_are_for_multiboot(void **state)
{
	(void)state;
	make_elf_1();
	put32(HEADER, 0);
	give_modules();
	assert_refused(-ENOEXEC, "module: only a multiboot kernel is given modules");
}

/* An initrd's line counts as the first module. */
static void test_initrd(void **state)
{
	const struct mb1_module *m;

	(void)state;
	f.src.initrd = two;
	f.src.initrd_size = sizeof(two);
	give_modules();
	make_elf_1();
	assert_loads(0x2badb002);
	m = (const void *)(f.ram + get32(f.vcpu.regs.gpr[RBX] + 24));
	assert_int_equal(get32(f.vcpu.regs.gpr[RBX] + 20), 4);
	assert_memory_equal(f.ram + m[0].start, two, sizeof(two));
	assert_memory_equal(f.ram + m[1].start, one, sizeof(one));
}

static void test_no_room(void **state)
{
	static uint8_t big[MIB(6)];
	static char line[500000];
	const struct load_module large = { big, sizeof(big), "" };

	(void)state;
	f.src.module = &large;
	f.src.nr_modules = 1;
	make_elf_1();
	assert_refused(-EFBIG, "module: its 6291456 bytes find no room");
	f.src.nr_modules = 0;
	memset(line, 'x', sizeof(line) - 1);
	f.src.cmdline = line;
	assert_refused(-E2BIG, "command line: ");
	make_elf_2();
	assert_refused(-E2BIG, "command line: ");
	line[100000] = '\0';
	assert_loads(0x36d76289);
	assert_int_equal(find_tag(MB2_INFO_CMDLINE, 0)->size, 8 + 100001);
}

static void (*const kinds[])(void) = { make_elf_1, make_elf_2, make_kludge_1, make_kludge_2 };

/* A file that ends anywhere is refused, and not read beyond its end. */
static void test_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		/* Up to the end of what is loaded; a kludge loads 0x200 bytes. */
		uint64_t end = i < 2 ? FILE_SIZE : HEADER - 0x40 + 0x200;

		kinds[i]();
		for (uint64_t size = 0; size < end; size++) {
			int err = fixture_load_exact(&f, file, size);

			if ((err != -ENOEXEC && err != -EINVAL) || !f.why[0])
				fail_msg("kind %zu, %llu bytes: %d %s", i, (unsigned long long)size,
					 err, f.why);
		}
		assert_int_equal(fixture_load_exact(&f, file, end), 0);
	}
}

static void make_spoilt(void)
{
	unsigned kind = (unsigned)rand() % ARRAY_SIZE(kinds);
	int flips = rand() % 4;

	kinds[kind]();
	while (flips--)
		file[(unsigned)rand() % 0xd8] = (uint8_t)rand();
	/* Most flips would break the checksum: mend it. */
	if (kind & 1)
		put32(HEADER + 12, 0 - MB2_MAGIC - *(uint32_t *)(void *)(file + HEADER + 4) -
					   *(uint32_t *)(void *)(file + HEADER + 8));
	else
		put32(HEADER + 8, 0 - MB1_MAGIC - *(uint32_t *)(void *)(file + HEADER + 4));
}

static void test_fuzz(void **state)
{
	(void)state;
	give_modules();
	fixture_fuzz(&f, 12, make_spoilt, file, FILE_SIZE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_elf_1),       T(test_kludge_1),
		T(test_kludge_wins), T(test_lies_1),
		T(test_flags_1),     T(test_search),
		T(test_elf_2),       T(test_elf64),
		T(test_kludge_2),    T(test_entry_tag_with_elf),
		T(test_tags),        T(test_lies_2),
		T(test_relocatable), T(test_disk_in_mmap),
		T(test_precedence),  T(test_modules_are_for_multiboot),
		T(test_initrd),      T(test_no_room),
		T(test_truncated),   T(test_fuzz),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
