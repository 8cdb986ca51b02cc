/* Kernels that are ELF files: the zero page, PVH, and files that contradict themselves. */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef PF_W /* of a segment; below it is of a page fault */

#include "arch/x86_64/include/cr.h"
#include "tests/host/load_fixture.h"
#include "vmm/load/pvh.h"

#define TEXT_OFFSET 0x200
#define TEXT_SIZE 0x100
#define DATA_OFFSET 0x300
#define DATA_SIZE 0x40
#define NOTE_OFFSET 0x340
#define FILE_SIZE 0x400
#define TEXT_AT MIB(16)
#define DATA_AT (MIB(16) + 0x2000)
#define DATA_MEM 0x5000
#define VIRT UINT64_C(0xffffffff80000000)

static struct load_fixture f;

/* Headers at their usual places, then text, data and notes. */
static union {
	uint8_t byte[FILE_SIZE];
	struct {
		Elf64_Ehdr eh;
		Elf64_Phdr ph[3];
	} e64;
	struct {
		Elf32_Ehdr eh;
		Elf32_Phdr ph[3];
	} e32;
} file;

/* Append a note; returns the offset behind it. */
static unsigned put_note(unsigned at, const char *name, uint32_t type, const void *desc,
			 uint32_t size)
{
	Elf64_Nhdr n = { (Elf64_Word)strlen(name) + 1, size, type };

	memcpy(file.byte + at, &n, sizeof(n));
	memcpy(file.byte + at + sizeof(n), name, n.n_namesz);
	at += (unsigned)ALIGN_UP(sizeof(n) + n.n_namesz, 4);
	memcpy(file.byte + at, desc, size);
	return at + (unsigned)ALIGN_UP(size, 4);
}

/* Which notes: PVH's entry at pvh when not 0, and Linux's own. */
static unsigned put_notes(uint64_t pvh, bool linux_note)
{
	unsigned at = NOTE_OFFSET;

	memset(file.byte + at, 0, FILE_SIZE - NOTE_OFFSET);
	if (linux_note)
		at = put_note(at, "Linux", 0x100, "", 0);
	if (pvh)
		at = put_note(at, "Xen", 18, &pvh, 8);
	return at - NOTE_OFFSET;
}

static void fill_content(void)
{
	memset(&file, 0, sizeof(file));
	for (unsigned i = 0; i < TEXT_SIZE + DATA_SIZE; i++)
		file.byte[TEXT_OFFSET + i] = (uint8_t)(i + 1);
}

static void make_elf64(uint64_t pvh, bool linux_note)
{
	unsigned notes;

	fill_content();
	notes = put_notes(pvh, linux_note);
	file.e64.eh = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', 2, 1, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = 1,
		.e_entry = TEXT_AT + 0x20,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	/* Data before text: order in the file is not order in memory. */
	file.e64.ph[0] = (Elf64_Phdr){ PT_LOAD, 6,         DATA_OFFSET, VIRT + DATA_AT,
				       DATA_AT, DATA_SIZE, DATA_MEM,    4096 };
	file.e64.ph[1] = (Elf64_Phdr){ PT_LOAD, 5,         TEXT_OFFSET, VIRT + TEXT_AT,
				       TEXT_AT, TEXT_SIZE, TEXT_SIZE,   4096 };
	file.e64.ph[2] = (Elf64_Phdr){ PT_NOTE, 4, NOTE_OFFSET, 0, 0, notes, notes, 4 };
}

static void make_elf32(uint64_t pvh, bool linux_note)
{
	unsigned notes;

	fill_content();
	notes = put_notes(pvh, linux_note);
	file.e32.eh = (Elf32_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', 1, 1, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_version = 1,
		.e_entry = TEXT_AT + 0x20,
		.e_phoff = sizeof(Elf32_Ehdr),
		.e_ehsize = sizeof(Elf32_Ehdr),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 3,
	};
	file.e32.ph[0] = (Elf32_Phdr){ PT_LOAD, TEXT_OFFSET, 0xc0000000 + TEXT_AT,
				       TEXT_AT, TEXT_SIZE,   TEXT_SIZE,
				       5,       4096 };
	file.e32.ph[1] = (Elf32_Phdr){ PT_LOAD, DATA_OFFSET, 0xc0000000 + DATA_AT,
				       DATA_AT, DATA_SIZE,   DATA_MEM,
				       6,       4096 };
	file.e32.ph[2] = (Elf32_Phdr){ PT_NOTE, NOTE_OFFSET, 0, 0, notes, notes, 4, 4 };
}

static int setup(void **state)
{
	*state = &f;
	fixture_init(&f, MIB(32));
	f.src.cmdline = "console=ttyS0";
	f.src.rsdp = GPA(0xf0010);
	f.src.tsc_khz = 1000;
	make_elf64(0, true);
	return 0;
}

static int load(void)
{
	return fixture_load_exact(&f, file.byte, FILE_SIZE);
}

static void assert_loads(void)
{
	fixture_assert_loads(&f, file.byte, FILE_SIZE);
	assert_memory_equal(f.ram + TEXT_AT, file.byte + TEXT_OFFSET, TEXT_SIZE);
	assert_int_equal(f.ram[TEXT_AT + TEXT_SIZE], 0xcc);
	assert_memory_equal(f.ram + DATA_AT, file.byte + DATA_OFFSET, DATA_SIZE);
	/* .bss is cleared, to its end and not further. */
	for (unsigned i = DATA_SIZE; i < DATA_MEM; i++)
		assert_int_equal(f.ram[DATA_AT + i], 0);
	assert_int_equal(f.ram[DATA_AT + DATA_MEM], 0xcc);
}

static void assert_refused(int err, const char *text)
{
	fixture_assert_refused(&f, file.byte, FILE_SIZE, err, text);
}

static void test_zero_page(void **state)
{
	const struct boot_params *bp;

	(void)state;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, TEXT_AT + 0x20);
	assert_int_equal(fixture_reg[REG_EFER], EFER_LME | EFER_LMA);
	bp = fixture_boot_params(&f);
	assert_int_equal(bp->hdr.boot_flag, 0xaa55);
	assert_int_equal(bp->hdr.magic, SETUP_MAGIC);
	assert_int_equal(bp->hdr.version, 0x20f);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->hdr.loadflags, 1);
	assert_int_equal(bp->acpi_rsdp_addr, 0xf0010);
	assert_int_equal(bp->e820_entries, 4);
	assert_string_equal(fixture_cmdline(&f), "console=ttyS0 tsc_early_khz=1000");
}

static void test_initrd(void **state)
{
	static uint8_t initrd[5000];

	(void)state;
	memset(initrd, 0x42, sizeof(initrd));
	f.src.initrd = initrd;
	f.src.initrd_size = sizeof(initrd);
	assert_loads();
	assert_int_equal(fixture_boot_params(&f)->hdr.ramdisk_image, MIB(32) - 8192);
	assert_int_equal(fixture_boot_params(&f)->hdr.ramdisk_size, sizeof(initrd));
	assert_memory_equal(f.ram + MIB(32) - 8192, initrd, sizeof(initrd));
	f.src.initrd_size = MIB(16);
	assert_refused(-EFBIG, "initrd: ");
}

static void test_entry(void **state)
{
	(void)state;
	/* By its virtual address. */
	file.e64.eh.e_entry = VIRT + TEXT_AT + 0x30;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, TEXT_AT + 0x30);
	file.e64.eh.e_entry = TEXT_AT + TEXT_SIZE;
	assert_refused(-ENOEXEC, "e_entry: it lies in no segment");
	file.e64.eh.e_entry = 0;
	assert_refused(-ENOEXEC, "e_entry: ");
	file.e64.eh.e_entry = UINT64_MAX;
	assert_refused(-ENOEXEC, "e_entry: ");
	file.e64.eh.e_entry = DATA_AT + DATA_SIZE; /* in .bss there is nothing to run */
	assert_refused(-ENOEXEC, "e_entry: ");
}

static void assert_pvh(uint64_t entry)
{
	const struct hvm_start_info *info;
	const struct hvm_memmap_entry *map;

	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, entry);
	assert_int_equal(fixture_reg[REG_CR0] & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(fixture_reg[REG_EFER], 0);
	assert_int_equal(fixture_seg[SEG_CS].attr, 0xc9b);
	assert_int_equal(fixture_seg[SEG_TR].attr, 0x8b);
	assert_int_equal(fixture_seg[SEG_TR].limit, 0x67);
	info = (const struct hvm_start_info *)(f.ram + f.vcpu.regs.gpr[RBX]);
	assert_int_equal(info->magic, 0x336ec578);
	assert_int_equal(info->version, 1);
	assert_int_equal(info->rsdp_paddr, 0xf0010);
	assert_int_equal(info->memmap_entries, 4);
	map = (const struct hvm_memmap_entry *)(f.ram + info->memmap_paddr);
	assert_int_equal(map[0].addr, 0);
	assert_int_equal(map[0].size, 0x9fc00);
	assert_int_equal(map[0].type, 1);
	assert_int_equal(map[2].type, 2);
	assert_int_equal(map[3].addr, 0x100000);
	assert_int_equal(map[3].size, MIB(31));
}

static const char *pvh_cmdline(void)
{
	const struct hvm_start_info *info = (const void *)(f.ram + f.vcpu.regs.gpr[RBX]);

	return (const char *)f.ram + info->cmdline_paddr;
}

static void test_pvh(void **state)
{
	static const uint8_t initrd[100] = { 1, 2, 3 };
	const struct hvm_start_info *info;
	const struct hvm_modlist_entry *module;

	(void)state;
	make_elf64(TEXT_AT + 0x40, false);
	assert_pvh(TEXT_AT + 0x40);
	assert_string_equal(pvh_cmdline(), "console=ttyS0"); /* not Linux: nothing is added */
	info = (const void *)(f.ram + f.vcpu.regs.gpr[RBX]);
	assert_int_equal(info->nr_modules, 0);
	f.src.initrd = initrd;
	f.src.initrd_size = sizeof(initrd);
	assert_pvh(TEXT_AT + 0x40);
	assert_int_equal(info->nr_modules, 1);
	module = (const void *)(f.ram + info->modlist_paddr);
	assert_int_equal(module->size, sizeof(initrd));
	assert_memory_equal(f.ram + module->paddr, initrd, sizeof(initrd));
}

static void test_which_entry(void **state)
{
	(void)state;
	/* Linux with a PVH note: the zero page all the same. */
	make_elf64(TEXT_AT + 0x40, true);
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, TEXT_AT + 0x20);
	assert_int_equal(fixture_reg[REG_EFER], EFER_LME | EFER_LMA);
	/* Linux whose 64-bit entry is of no use: PVH, and Linux's own parameter. */
	file.e64.eh.e_entry = 0;
	assert_pvh(TEXT_AT + 0x40);
	assert_string_equal(pvh_cmdline(), "console=ttyS0 tsc_early_khz=1000");
	/* Nothing known about it: the zero page. */
	make_elf64(0, false);
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, TEXT_AT + 0x20);
}

static void test_xen_guest_os_note(void **state)
{
	uint64_t entry = TEXT_AT + 0x40;
	unsigned at;

	(void)state;
	make_elf64(entry, false);
	at = put_note(NOTE_OFFSET, "Xen", 6, "linux", 6);
	at = put_note(at, "Xen", 18, &entry, 4); /* 4 bytes will do as well */
	file.e64.ph[2].p_filesz = at - NOTE_OFFSET;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, TEXT_AT + 0x20);
	put_note(NOTE_OFFSET, "Xen", 6, "other", 6);
	assert_pvh(entry);
}

static void test_elf32(void **state)
{
	(void)state;
	make_elf32(TEXT_AT + 0x40, false);
	assert_pvh(TEXT_AT + 0x40);
	make_elf32(TEXT_AT + 0x40, true);
	assert_pvh(TEXT_AT + 0x40);
	/* 32-bit Linux without PVH: the 32-bit boot protocol. */
	make_elf32(0, true);
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, TEXT_AT + 0x20);
	assert_int_equal(fixture_reg[REG_EFER], 0);
	assert_int_equal(fixture_boot_params(&f)->hdr.magic, SETUP_MAGIC);
	make_elf32(0, false);
	assert_refused(-ENOEXEC, "a 32-bit ELF file without a PVH entry note");
}

static void test_bad_pvh_notes(void **state)
{
	uint64_t entry = TEXT_AT + 0x40;

	(void)state;
	make_elf64(DATA_AT + DATA_SIZE, false);
	assert_refused(-EINVAL, "XEN_ELFNOTE_PHYS32_ENTRY: 0x1002040 lies in no segment");
	make_elf64(GIB(4), false);
	assert_refused(-EINVAL, "XEN_ELFNOTE_PHYS32_ENTRY: 0x100000000 is above 4 GiB");
	make_elf64(entry, false);
	put_note(NOTE_OFFSET, "Xen", 18, &entry, 2);
	file.e64.ph[2].p_filesz = 20;
	assert_refused(-EINVAL, "XEN_ELFNOTE_PHYS32_ENTRY: 2 bytes");
	/* A note that says it is larger than its segment. */
	make_elf64(entry, false);
	*(uint32_t *)(void *)(file.byte + NOTE_OFFSET + 4) = 0xffffffff;
	assert_refused(-EINVAL, "segment 2: a note ends outside it");
	*(uint32_t *)(void *)(file.byte + NOTE_OFFSET) = 0xffffffff;
	assert_refused(-EINVAL, "segment 2: a note ends outside it");
	make_elf64(entry, false);
	file.e64.ph[2].p_offset = UINT64_MAX - 4;
	assert_refused(-EINVAL, "segment 2: the notes' p_offset");
	/* "Xenon" is not Xen, and a name without its terminator neither. */
	make_elf64(0, false);
	put_note(NOTE_OFFSET, "Xenon", 18, &entry, 8);
	file.e64.ph[2].p_filesz = 28;
	assert_loads();
	assert_int_equal(f.vcpu.regs.rip, TEXT_AT + 0x20);
}

#define EH(field) offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field)
#define PH(field) sizeof(Elf64_Ehdr) + offsetof(Elf64_Phdr, field), sizeof(((Elf64_Phdr *)0)->field)

static void test_lies(void **state)
{
	static const struct {
		size_t offset, size;
		uint64_t value;
		int err;
		const char *why;
	} lies[] = {
		{ 0, 1, 0x7e, -ENOEXEC, "nor an ELF file" },
		{ 4, 1, 3, -ENOEXEC, "e_ident: class 3" },
		{ 4, 1, 1, -ENOEXEC, "e_machine: 62" },
		{ 5, 1, 2, -ENOEXEC, "e_ident: not little-endian" },
		{ EH(e_type), ET_REL, -ENOEXEC, "e_type: 1 is no executable" },
		{ EH(e_type), ET_DYN, 0, "" },
		{ EH(e_machine), EM_386, -ENOEXEC, "e_machine: 3" },
		{ EH(e_phentsize), 0, -EINVAL, "e_phentsize: 0" },
		{ EH(e_phentsize), 57, -EINVAL, "e_phentsize: 57" },
		{ EH(e_phnum), 0, -EINVAL, "e_phnum: 0" },
		{ EH(e_phnum), 65, -EINVAL, "e_phnum: 65" },
		{ EH(e_phnum), 0xffff, -EINVAL, "e_phnum: 65535" },
		{ EH(e_phoff), FILE_SIZE - 167, -ENOEXEC, "e_phoff: " },
		{ EH(e_phoff), UINT64_MAX, -ENOEXEC, "e_phoff: " },
		{ EH(e_phoff), UINT64_MAX - 100, -ENOEXEC, "e_phoff: " },
		{ PH(p_offset), FILE_SIZE - DATA_SIZE, 0, "" },
		{ PH(p_offset), FILE_SIZE - DATA_SIZE + 1, -ENOEXEC, "segment 0: p_offset" },
		{ PH(p_offset), UINT64_MAX, -ENOEXEC, "segment 0: p_offset" },
		{ PH(p_filesz), UINT64_MAX, -ENOEXEC, "segment 0: p_offset" },
		{ PH(p_filesz), FILE_SIZE, -ENOEXEC, "p_filesz 0x400 end outside" },
		{ PH(p_memsz), DATA_SIZE - 1, -EINVAL, "segment 0: p_filesz 0x40 is more than" },
		{ PH(p_memsz), UINT64_MAX, -EINVAL, "segment 0: p_memsz" },
		{ PH(p_memsz), MIB(16), -EFBIG, "bytes at 0x1002000 are not all guest memory" },
		{ PH(p_memsz), GIB(4), -EINVAL, "p_memsz 0x100000000 wraps" },
		{ PH(p_paddr), TEXT_AT, -EINVAL, "overlaps another segment" },
		{ PH(p_paddr), TEXT_AT + TEXT_SIZE - 1, -EINVAL, "overlaps another segment" },
		{ PH(p_paddr), TEXT_AT - DATA_MEM + 1, -EINVAL, "overlaps another segment" },
		{ PH(p_paddr), 0x8000, -EFBIG, "p_paddr, p_memsz: " },
		{ PH(p_paddr), 0xff000, -EFBIG, "p_paddr, p_memsz: " },
		{ PH(p_paddr), MIB(32), -EFBIG, "p_paddr, p_memsz: " },
		{ PH(p_paddr), MIB(32) - 0x4fff, -EFBIG, "p_paddr, p_memsz: " },
		{ PH(p_paddr), UINT64_MAX, -EINVAL, "wraps" },
		{ PH(p_vaddr), UINT64_MAX, -EINVAL, "wraps" },
		{ PH(p_type), PT_NULL, 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		int err;

		make_elf64(0, true);
		memcpy(file.byte + lies[i].offset, &lies[i].value, lies[i].size);
		err = load();
		if (err != lies[i].err || (err && !strstr(f.why, lies[i].why)))
			fail_msg("%#llx at %#zx: expected %d \"%s\", got %d \"%s\"",
				 (unsigned long long)lies[i].value, lies[i].offset, lies[i].err,
				 lies[i].why, err, err ? f.why : "");
	}
}

/* There is memory above 4 GiB, but nothing maps it at the entry. */
static void test_segment_above_4g(void **state)
{
	const struct region high = { .start = GPA(GIB(4)),
				     .size = MIB(1),
				     .kind = REGION_MEM,
				     .frames = ptr_to_hpa(f.ram) };

	(void)state;
	assert_int_equal(memmap_add(&f.vm.mem, &high), 0);
	file.e64.ph[0].p_paddr = GIB(4);
	assert_refused(-EFBIG, "p_paddr, p_memsz: ");
}

static void test_no_segments(void **state)
{
	(void)state;
	file.e64.eh.e_phnum = 1;
	file.e64.ph[0].p_type = PT_NULL;
	assert_refused(-ENOEXEC, "no segment to load");
	file.e64.ph[0].p_type = PT_LOAD;
	file.e64.ph[0].p_filesz = file.e64.ph[0].p_memsz = 0;
	assert_refused(-ENOEXEC, "no segment to load");
}

static void test_too_many_segments(void **state)
{
	static uint8_t big[sizeof(Elf64_Ehdr) + 33 * sizeof(Elf64_Phdr)];
	Elf64_Phdr ph = { .p_type = PT_LOAD, .p_memsz = 4096 };

	(void)state;
	file.e64.eh.e_phnum = 33;
	memcpy(big, &file.e64.eh, sizeof(file.e64.eh));
	for (unsigned i = 0; i < 33; i++) {
		ph.p_paddr = ph.p_vaddr = MIB(2) + i * 4096;
		memcpy(big + sizeof(Elf64_Ehdr) + i * sizeof(ph), &ph, sizeof(ph));
	}
	assert_int_equal(fixture_load_exact(&f, big, sizeof(big)), -EINVAL);
	assert_non_null(strstr(f.why, "more than 32 segments"));
}

static void test_truncated(void **state)
{
	(void)state;
	make_elf64(TEXT_AT + 0x40, true);
	/* Everything that is used ends with the notes. */
	for (uint64_t size = 0; size < NOTE_OFFSET + file.e64.ph[2].p_filesz; size++) {
		int err = fixture_load_exact(&f, file.byte, size);

		if ((err != -ENOEXEC && err != -EINVAL) || !f.why[0])
			fail_msg("a file of %llu bytes: %d", (unsigned long long)size, err);
	}
	make_elf32(TEXT_AT + 0x40, true);
	for (uint64_t size = 0; size < NOTE_OFFSET + file.e32.ph[2].p_filesz; size++)
		assert_true(fixture_load_exact(&f, file.byte, size) < 0);
}

static void make_spoilt(void)
{
	int flips = rand() % 4 + 1;

	if (rand() & 1)
		make_elf64(rand() & 1 ? TEXT_AT + 0x40 : 0, rand() & 1);
	else
		make_elf32(rand() & 1 ? TEXT_AT + 0x40 : 0, rand() & 1);
	while (flips--) {
		unsigned at = (unsigned)rand() % (0xe8 + 0x40);

		file.byte[at < 0xe8 ? at : NOTE_OFFSET + at - 0xe8] = (uint8_t)rand();
	}
}

static void test_fuzz(void **state)
{
	(void)state;
	f.src.initrd = file.byte;
	f.src.initrd_size = 100;
	fixture_fuzz(&f, 11, make_spoilt, file.byte, FILE_SIZE);
}

/* Debian's kernel as scripts/extract-vmlinux takes it out of the bzImage. */
static void test_real_vmlinux(void **state)
{
	uint64_t size;
	uint8_t *data = fixture_read_file("deps/guests/vmlinux-amd64", &size);

	(void)state;
	if (!data)
		skip();
	fixture_free(&f);
	fixture_init(&f, MIB(128));
	assert_int_equal(fixture_load_exact(&f, data, size), 0);
	assert_int_equal(f.vcpu.regs.rip, MIB(16));
	assert_int_equal(fixture_reg[REG_EFER], EFER_LME | EFER_LMA);
	free(data);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_zero_page),    T(test_initrd),
		T(test_entry),        T(test_pvh),
		T(test_which_entry),  T(test_xen_guest_os_note),
		T(test_elf32),        T(test_bad_pvh_notes),
		T(test_lies),         T(test_segment_above_4g),
		T(test_no_segments),  T(test_too_many_segments),
		T(test_truncated),    T(test_fuzz),
		T(test_real_vmlinux),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
