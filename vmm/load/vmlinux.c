/* Kernels that are ELF files: Linux by the zero page, others by PVH. */
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/load/elf.h"
#include "vmm/load/enter.h"
#include "vmm/load/load.h"
#include "vmm/load/pvh.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define LINUX_CMDLINE_MAX 2047u /* COMMAND_LINE_SIZE less the terminator */
#define INITRD_MAX_64 UINT32_C(0x7fffffff)
#define INITRD_MAX_32 UINT32_C(0x37ffffff)
#define MODLIST (PLACE_START_INFO + sizeof(struct hvm_start_info))

static int no_low_memory(struct load *load)
{
	return load_refuse(load, -EFBIG, "no guest memory below 640 KiB for the boot tables");
}

/* The zero page that the decompressor of a bzImage would have handed on. */
static int enter_zero_page(struct load *load, const struct elf_image *img, uint64_t entry)
{
	struct setup_header hdr = {
		.boot_flag = SETUP_BOOT_FLAG,
		.magic = SETUP_MAGIC,
		.version = 0x20f,
		.loadflags = LOADFLAGS_LOADED_HIGH,
		.vid_mode = 0xffff, /* "normal" */
		.kernel_alignment = MIB(16),
		.initrd_addr_max = img->is_64 ? INITRD_MAX_64 : INITRD_MAX_32,
		.cmdline_size = LINUX_CMDLINE_MAX,
	};
	int err;

	if ((err = load_initrd(load, hdr.initrd_addr_max)) ||
	    (err = load_cmdline(load, hdr.cmdline_size, true)) ||
	    (err = load_boot_params(load, &hdr)))
		return err;
	if (!(img->is_64 ? enter_long(load->vcpu, entry)
			 : enter_protected(load->vcpu, (uint32_t)entry)))
		return no_low_memory(load);
	load->vcpu->regs.gpr[RSI] = PLACE_BOOT_PARAMS;
	return 0;
}

static int write_pvh_memmap(struct load *load, uint32_t *entries)
{
	struct e820_entry e820[E820_MAX];
	unsigned n = ram_map_e820(&load->ram, e820);
	int err = 0;

	static_assert(PLACE_PVH_MEMMAP + E820_MAX * sizeof(struct hvm_memmap_entry) <=
			      PLACE_PAGE_TABLES,
		      "the memory map has a page");
	for (unsigned i = 0; !err && i < n; i++) {
		struct hvm_memmap_entry e = { e820[i].addr, e820[i].size, e820[i].type, 0 };

		err = load_bytes(load, PLACE_PVH_MEMMAP + i * sizeof(e), &e, sizeof(e));
	}
	*entries = n;
	return err;
}

static int enter_pvh(struct load *load, const struct elf_image *img)
{
	struct hvm_start_info info = {
		.magic = HVM_START_MAGIC,
		.version = HVM_START_VERSION,
		.cmdline_paddr = PLACE_CMDLINE,
		.rsdp_paddr = load->src->rsdp.v,
		.memmap_paddr = PLACE_PVH_MEMMAP,
	};
	struct hvm_modlist_entry module;
	int err;

	if (!elf_holds(img, img->pvh_entry))
		return load_refuse(load, -EINVAL,
				   "XEN_ELFNOTE_PHYS32_ENTRY: %#x lies in no segment's file part",
				   img->pvh_entry);
	if ((err = load_initrd(load, INITRD_MAX_64)) ||
	    (err = load_cmdline(load, UINT32_MAX, img->is_linux)) ||
	    (err = write_pvh_memmap(load, &info.memmap_entries)))
		return err;
	if (load->initrd_at) {
		info.nr_modules = 1;
		info.modlist_paddr = MODLIST;
	}
	module = (struct hvm_modlist_entry){ .paddr = load->initrd_at,
					     .size = load->src->initrd_size };
	if ((err = load_bytes(load, PLACE_START_INFO, &info, sizeof(info))) ||
	    (err = load_bytes(load, MODLIST, &module, sizeof(module))))
		return err;
	if (!enter_protected(load->vcpu, img->pvh_entry))
		return no_low_memory(load);
	load->vcpu->regs.gpr[RBX] = PLACE_START_INFO;
	return 0;
}

int load_elf(struct load *load)
{
	struct elf_image img;
	uint64_t entry;
	bool direct;
	int err;

	err = elf_read(load->src->kernel, load->src->kernel_size, &img, load->why, load->why_size);
	if (err)
		return err;
	/* A kernel that has PVH and is not Linux does not know Linux's zero page. */
	direct = img.is_64 ? !img.has_pvh || img.is_linux : !img.has_pvh && img.is_linux;
	direct = direct && elf_physical_entry(&img, &entry);
	if (!direct && !img.has_pvh)
		return load_refuse(load, -ENOEXEC,
				   img.is_64 || img.is_linux
					   ? "e_entry: it lies in no segment's file part"
					   : "a 32-bit ELF file without a PVH entry note");
	err = load_segments(load, &img, "p_paddr, p_memsz");
	if (err)
		return err;
	return direct ? enter_zero_page(load, &img, entry) : enter_pvh(load, &img);
}
