/* bzImage: Linux's own compressed image, by the x86 boot protocol 2.06 and later. */
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/load/enter.h"
#include "vmm/load/load.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define VERSION_OLDEST 0x206u    /* cmdline_size */
#define VERSION_PAYLOAD 0x208u   /* payload_offset, payload_length */
#define VERSION_INIT_SIZE 0x20au /* pref_address, init_size, min_alignment */
#define VERSION_XLOADFLAGS 0x20cu
#define LOAD_ADDRESS_OLD 0x100000u
#define ENTRY_64_OFFSET 0x200u
#define ALIGNMENT_MAX GIB(1)

/* The image's header and what was concluded from it. */
struct bzimage {
	struct setup_header hdr;
	uint64_t setup_size; /* boot sector and setup; the protected-mode code follows */
	uint64_t code_size;  /* from there to the end of the file */
	uint64_t run_size;   /* memory the kernel needs before it can look at its memory map */
	uint64_t at;         /* where the protected-mode code goes */
};

bool is_bzimage(const uint8_t *file, uint64_t size)
{
	static const uint8_t magic[4] = { 'H', 'd', 'r', 'S' };

	return size >= SETUP_MAGIC_OFFSET + sizeof(magic) &&
	       !memcmp(file + SETUP_MAGIC_OFFSET, magic, sizeof(magic));
}

/* Where the header of a version ends at the least: behind its last field. */
static uint64_t header_end_needed(unsigned version)
{
	static const struct {
		unsigned version, end;
	} ends[] = {
		{ 0x20f, 0x26c }, { 0x20b, 0x268 }, { 0x20a, 0x264 }, { 0x209, 0x258 },
		{ 0x208, 0x250 }, { 0x207, 0x248 }, { 0x206, 0x23c },
	};
	size_t i = 0;

	while (ends[i].version > version)
		i++;
	return ends[i].end;
}

/* Copy the header, as much of it as the file's version has. */
static int read_header(struct load *load, struct bzimage *bz)
{
	const uint8_t *file = load->src->kernel;
	uint64_t size = load->src->kernel_size;
	uint64_t end = SETUP_HEADER_END_BASE + file[SETUP_JUMP_OFFSET];
	unsigned version;

	if (size < SETUP_VERSION_OFFSET + 2)
		return load_refuse(load, -ENOEXEC, "the file ends within its header");
	version = file[SETUP_VERSION_OFFSET] | (unsigned)file[SETUP_VERSION_OFFSET + 1] << 8;
	if (version < VERSION_OLDEST)
		return load_refuse(load, -ENOEXEC,
				   "version: boot protocol %u.%02u, and 2.06 is the oldest "
				   "that is loaded",
				   version >> 8, version & 0xff);
	if (end > SETUP_HEADER_END_MAX || end < header_end_needed(version))
		return load_refuse(load, -EINVAL,
				   "jump: the header ends at %#x, wrong for boot protocol "
				   "%u.%02u",
				   (unsigned)end, version >> 8, version & 0xff);
	if (end > size)
		return load_refuse(load, -ENOEXEC, "the file ends within its header");
	end = MIN(end, SETUP_HEADER_OFFSET + sizeof(bz->hdr));
	memcpy(&bz->hdr, file + SETUP_HEADER_OFFSET, end - SETUP_HEADER_OFFSET);
	if (bz->hdr.boot_flag != SETUP_BOOT_FLAG)
		return load_refuse(load, -ENOEXEC, "boot_flag: %#x instead of 0xaa55",
				   bz->hdr.boot_flag);
	if (!(bz->hdr.loadflags & LOADFLAGS_LOADED_HIGH))
		return load_refuse(load, -ENOEXEC,
				   "loadflags: LOADED_HIGH is clear, a zImage is not loaded");
	return 0;
}

/* Sizes in the header against the size of the file. */
static int check_sizes(struct load *load, struct bzimage *bz)
{
	const struct setup_header *h = &bz->hdr;
	uint64_t size = load->src->kernel_size;
	uint64_t sectors = h->setup_sects ? h->setup_sects : 4;
	uint64_t payload_end = (uint64_t)h->payload_offset + h->payload_length;

	bz->setup_size = (sectors + 1) * SETUP_SECTOR;
	if (bz->setup_size >= size)
		return load_refuse(
			load, -ENOEXEC,
			"setup_sects: %llu sectors of setup, but the file has %llu bytes",
			(unsigned long long)sectors, (unsigned long long)size);
	bz->code_size = size - bz->setup_size;
	if (!h->syssize)
		return load_refuse(load, -EINVAL, "syssize: 0");
	if ((uint64_t)h->syssize * 16 > bz->code_size)
		return load_refuse(load, -ENOEXEC,
				   "syssize: %llu bytes of code, but the file has %llu: cut short?",
				   (unsigned long long)h->syssize * 16,
				   (unsigned long long)bz->code_size);
	if (h->version >= VERSION_PAYLOAD && payload_end > bz->code_size)
		return load_refuse(load, -EINVAL,
				   "payload_offset, payload_length: the payload ends at %#llx, the "
				   "code at %#llx",
				   (unsigned long long)payload_end,
				   (unsigned long long)bz->code_size);
	bz->run_size = bz->code_size;
	if (h->version < VERSION_INIT_SIZE)
		return 0;
	if (h->init_size < (uint64_t)h->syssize * 16)
		return load_refuse(load, -EINVAL, "init_size: %#x is less than the code's %#llx",
				   h->init_size, (unsigned long long)h->syssize * 16);
	bz->run_size = MAX(bz->code_size, h->init_size);
	return 0;
}

/* Where the kernel would be, and where it can be in this guest's memory. */
static int choose_address(struct load *load, struct bzimage *bz)
{
	const struct setup_header *h = &bz->hdr;
	uint64_t want = LOAD_ADDRESS_OLD, align = h->kernel_alignment;

	if (h->version >= VERSION_INIT_SIZE)
		want = h->pref_address;
	if (h->relocatable_kernel &&
	    (!align || (align & (align - 1)) || align < PAGE_SIZE || align > ALIGNMENT_MAX))
		return load_refuse(load, -EINVAL,
				   "kernel_alignment: %#llx is no power of two from 4 KiB to 1 GiB",
				   (unsigned long long)align);
	if (want < PLACE_HIGH || want >= PLACE_4G)
		return load_refuse(load, -EINVAL,
				   "pref_address: %#llx is not between 1 MiB and 4 GiB",
				   (unsigned long long)want);
	bz->at = want;
	if ((!h->relocatable_kernel || IS_ALIGNED(want, align)) &&
	    ram_holds(&load->ram, want, bz->run_size) && want + bz->run_size <= PLACE_4G)
		return 0;
	/* The kernel moves itself up to pref_address when it is loaded below. */
	if (h->relocatable_kernel &&
	    ram_place_low(&load->ram, bz->run_size, align, want, PLACE_4G, &bz->at))
		return 0;
	return load_refuse(
		load, -EFBIG,
		"init_size: the kernel needs %llu KiB of memory from %#llx up, the guest "
		"has less",
		(unsigned long long)(bz->run_size + 1023) >> 10, (unsigned long long)want);
}

static int enter(struct load *load, const struct bzimage *bz)
{
	bool wide = bz->hdr.version >= VERSION_XLOADFLAGS && (bz->hdr.xloadflags & XLF_KERNEL_64);
	bool ok;

	if (wide && bz->code_size <= ENTRY_64_OFFSET)
		return load_refuse(load, -EINVAL,
				   "xloadflags: XLF_KERNEL_64 is set, but the code ends "
				   "before the 64-bit entry at 0x200");
	ok = wide ? enter_long(load->vcpu, bz->at + ENTRY_64_OFFSET)
		  : enter_protected(load->vcpu, (uint32_t)bz->at);
	if (!ok)
		return load_refuse(load, -EFBIG,
				   "no guest memory below 640 KiB for the boot tables");
	load->vcpu->regs.gpr[RSI] = PLACE_BOOT_PARAMS;
	return 0;
}

int load_bzimage(struct load *load)
{
	struct bzimage bz = { 0 };
	int err;

	if ((err = read_header(load, &bz)) || (err = check_sizes(load, &bz)) ||
	    (err = choose_address(load, &bz)))
		return err;
	load->kernel = (struct ram_range){ bz.at, bz.at + bz.run_size };
	bz.hdr.code32_start = (uint32_t)bz.at;
	if ((err = load_bytes(load, bz.at, load->src->kernel + bz.setup_size, bz.code_size)) ||
	    (err = load_initrd(load, bz.hdr.initrd_addr_max)) ||
	    (err = load_cmdline(load, bz.hdr.cmdline_size, true)) ||
	    (err = load_boot_params(load, &bz.hdr)))
		return err;
	return enter(load, &bz);
}
