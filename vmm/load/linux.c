#include "vmm/load/linux.h"

#include <stdarg.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/parse.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/load/elf.h"
#include "vmm/load/load.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

int load_refuse(struct load *load, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(load->why, load->why_size, fmt, ap);
	va_end(ap);
	return err;
}

int load_bytes(struct load *load, uint64_t at, const void *from, uint64_t size)
{
	if (memmap_write(&load->vm->mem, GPA(at), from, size))
		return 0;
	return load_refuse(load, -EFBIG, "no guest memory for %llu bytes at %#llx",
			   (unsigned long long)size, (unsigned long long)at);
}

/* Clear guest memory, as load_bytes(). */
static int load_zeros(struct load *load, uint64_t at, uint64_t size)
{
	while (size) {
		uint64_t avail;
		void *to = memmap_ptr(&load->vm->mem, GPA(at), true, &avail);

		if (!to)
			return load_refuse(load, -EFBIG, "no guest memory at %#llx",
					   (unsigned long long)at);
		avail = MIN(avail, size);
		memset(to, 0, avail);
		at += avail;
		size -= avail;
	}
	return 0;
}

int load_segments(struct load *load, const struct elf_image *img, const char *field)
{
	const struct elf_segment *last = &img->seg[img->nr - 1];

	for (unsigned i = 0; i < img->nr; i++) {
		const struct elf_segment *s = &img->seg[i];
		int err;

		if (!ram_holds(&load->ram, s->paddr, s->memsz) || s->paddr + s->memsz > PLACE_4G)
			return load_refuse(
				load, -EFBIG,
				"%s: %#llx bytes at %#llx are not all guest memory from 1 MiB up",
				field, (unsigned long long)s->memsz, (unsigned long long)s->paddr);
		if ((err = load_bytes(load, s->paddr, load->src->kernel + s->offset, s->filesz)) ||
		    (err = load_zeros(load, s->paddr + s->filesz, s->memsz - s->filesz)))
			return err;
	}
	load->kernel = (struct ram_range){ img->seg[0].paddr, last->paddr + last->memsz };
	return 0;
}

int load_initrd(struct load *load, uint64_t addr_max)
{
	const struct load_source *src = load->src;
	uint64_t end = MIN(addr_max, PLACE_4G - 1) + 1;

	load->initrd_at = 0;
	if (!src->initrd || !src->initrd_size)
		return 0;
	if (!ram_place_high(&load->ram, src->initrd_size, PLACE_HIGH, end, load->kernel,
			    &load->initrd_at))
		return load_refuse(
			load, -EFBIG,
			"initrd: its %llu bytes find no room in guest memory below %#llx "
			"beside the kernel's %llu",
			(unsigned long long)src->initrd_size, (unsigned long long)end,
			(unsigned long long)(load->kernel.end - load->kernel.start));
	return load_bytes(load, load->initrd_at, src->initrd, src->initrd_size);
}

static bool has_parameter(const char *line, const char *key)
{
	struct token tok, val;

	while (parse_token(&line, &tok))
		if (token_value(&tok, key, &val))
			return true;
	return false;
}

int load_cmdline(struct load *load, uint64_t max, bool tell_tsc)
{
	const char *line = load->src->cmdline ? load->src->cmdline : "";
	uint64_t len = strlen(line), most = MIN(max, PLACE_CMDLINE_END - PLACE_CMDLINE - 1);
	char suffix[40];
	int n, err;

	if (len > most)
		return load_refuse(load, -E2BIG,
				   "command line: %llu characters, and the kernel takes %llu "
				   "(cmdline_size)",
				   (unsigned long long)len, (unsigned long long)most);
	n = ksnprintf(suffix, sizeof(suffix), "%stsc_early_khz=%u", len ? " " : "",
		      load->src->tsc_khz);
	if (!tell_tsc || !load->src->tsc_khz || len + (uint64_t)n > most ||
	    has_parameter(line, "tsc_early_khz"))
		suffix[n = 0] = '\0';
	err = load_bytes(load, PLACE_CMDLINE, line, len);
	return err ? err : load_bytes(load, PLACE_CMDLINE + len, suffix, (uint64_t)n + 1);
}

int load_boot_params(struct load *load, const struct setup_header *hdr)
{
	struct boot_params *bp = kalloc(sizeof(*bp));
	int err;

	if (!bp)
		return load_refuse(load, -ENOMEM, "no hypervisor memory for the boot parameters");
	memset(bp, 0, sizeof(*bp));
	bp->hdr = *hdr;
	bp->hdr.type_of_loader = LOADER_TYPE_UNDEFINED;
	bp->hdr.cmd_line_ptr = PLACE_CMDLINE;
	bp->hdr.ramdisk_image = (uint32_t)load->initrd_at;
	bp->hdr.ramdisk_size = load->initrd_at ? (uint32_t)load->src->initrd_size : 0;
	bp->hdr.setup_data = 0;
	bp->acpi_rsdp_addr = load->src->rsdp.v;
	bp->e820_entries = (uint8_t)ram_map_e820(&load->ram, bp->e820);
	err = load_bytes(load, PLACE_BOOT_PARAMS, bp, sizeof(*bp));
	kfree(bp, sizeof(*bp));
	return err;
}

/* Linux says so itself, also when it carries another header. */
static bool is_multiboot_kernel(const struct load_source *src)
{
	struct elf_image img;
	char why[4];

	if (is_bzimage(src->kernel, src->kernel_size) ||
	    !is_multiboot(src->kernel, src->kernel_size))
		return false;
	return !is_elf(src->kernel, src->kernel_size) ||
	       elf_read(src->kernel, src->kernel_size, &img, why, sizeof(why)) || !img.is_linux;
}

int load_kernel(struct vm *vm, struct vcpu *vcpu, const struct load_source *src, char *why,
		size_t size)
{
	struct load load = { .vm = vm, .vcpu = vcpu, .src = src, .why = why, .why_size = size };

	if (size)
		why[0] = '\0';
	ram_map_fill(&load.ram, &vm->mem);
	if (is_multiboot_kernel(src))
		return load_multiboot(&load);
	if (src->nr_modules)
		return load_refuse(&load, -ENOEXEC,
				   "module: only a multiboot kernel is given modules");
	if (is_elf(src->kernel, src->kernel_size))
		return load_elf(&load);
	if (is_bzimage(src->kernel, src->kernel_size))
		return load_bzimage(&load);
	return load_refuse(
		&load, -ENOEXEC,
		"kernel: neither a bzImage (no \"HdrS\" at 0x202) nor an ELF file, and no "
		"multiboot header");
}
