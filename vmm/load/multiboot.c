/* Multiboot kernels: the header found and checked, image and modules put in place. */
#include "vmm/load/multiboot.h"

#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/load/elf.h"
#include "vmm/load/enter.h"
#include "vmm/load/load.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* load_addr: the image is the file from its first byte. */
#define LOAD_ADDR_FILE_START UINT32_MAX

/* The information that these tags ask for exists, or could. */
#define INFO_TAG_MAX MB2_INFO_LOAD_BASE

static uint32_t word(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The offset of the first good magic number, checksum included. */
static bool find_header(const uint8_t *file, uint64_t size, unsigned version, uint64_t *offset)
{
	uint64_t end = MIN(size, version == 2 ? MB2_SEARCH : MB1_SEARCH);
	uint64_t length = version == 2 ? sizeof(struct mb2_header) : MB1_HEADER_MIN;
	unsigned step = version == 2 ? MB2_ALIGN : MB1_ALIGN;

	for (uint64_t at = 0; at + length <= end; at += step) {
		const uint8_t *p = file + at;
		uint32_t sum = word(p) + word(p + 4) + word(p + 8);

		if (version == 2)
			sum += word(p + 12);
		if (word(p) != (version == 2 ? MB2_MAGIC : MB1_MAGIC) || sum)
			continue;
		*offset = at;
		return true;
	}
	return false;
}

bool is_multiboot(const uint8_t *file, uint64_t size)
{
	uint64_t offset;

	return find_header(file, size, 2, &offset) || find_header(file, size, 1, &offset);
}

/* --- multiboot 1's header --- */

static int read_header_1(struct load *load, struct multiboot *mb)
{
	const struct load_source *src = load->src;
	uint64_t room = MIN(src->kernel_size, MB1_SEARCH) - mb->offset;
	struct mb1_header h = { 0 };

	memcpy(&h, src->kernel + mb->offset, MB1_HEADER_MIN);
	if (h.flags & MB1_FLAG_VIDEO)
		return load_refuse(load, -ENOEXEC,
				   "multiboot flags: %#x wants a video mode, and guests have "
				   "no display",
				   h.flags);
	if (h.flags & BITS(15, 3))
		return load_refuse(load, -ENOEXEC,
				   "multiboot flags: %#x has requirements that are not known",
				   h.flags);
	if (!(h.flags & MB1_FLAG_ADDRESSES))
		return 0;
	if (room < sizeof(h))
		return load_refuse(load, -ENOEXEC,
				   "multiboot flags: %#x announces addresses, but the file, or the "
				   "first 8 KiB, end before them",
				   h.flags);
	memcpy(&h, src->kernel + mb->offset, sizeof(h));
	mb->has_addresses = mb->has_entry = true;
	mb->header_addr = h.header_addr;
	mb->load_addr = h.load_addr;
	mb->load_end_addr = h.load_end_addr;
	mb->bss_end_addr = h.bss_end_addr;
	mb->entry = h.entry_addr;
	return 0;
}

/* --- multiboot 2's header --- */

/* What must be there for this tag's fields. */
static uint32_t tag_size_needed(unsigned type)
{
	switch (type) {
	case MB2_HEADER_ADDRESS:
		return sizeof(struct mb2_address_tag);
	case MB2_HEADER_ENTRY:
	case MB2_HEADER_CONSOLE:
		return sizeof(struct mb2_header_tag_head) + 4;
	case MB2_HEADER_RELOCATABLE:
		return sizeof(struct mb2_relocatable_tag);
	default:
		return sizeof(struct mb2_header_tag_head);
	}
}

static int take_address_tag(struct multiboot *mb, const uint8_t *p)
{
	struct mb2_address_tag t;

	memcpy(&t, p, sizeof(t));
	mb->has_addresses = true;
	mb->header_addr = t.header_addr;
	mb->load_addr = t.load_addr;
	mb->load_end_addr = t.load_end_addr;
	mb->bss_end_addr = t.bss_end_addr;
	return 0;
}

static int take_relocatable_tag(struct load *load, struct multiboot *mb, const uint8_t *p)
{
	struct mb2_relocatable_tag t;

	memcpy(&t, p, sizeof(t));
	if (!t.align || (t.align & (t.align - 1)))
		return load_refuse(load, -EINVAL,
				   "multiboot relocatable tag: align %#x is no power of two",
				   t.align);
	mb->relocatable = true;
	mb->min = t.min_addr;
	mb->max = t.max_addr;
	mb->align = t.align;
	return 0;
}

static int take_info_request(struct load *load, const uint8_t *p, uint32_t size)
{
	for (uint32_t at = sizeof(struct mb2_header_tag_head); at + 4 <= size; at += 4)
		if (word(p + at) > INFO_TAG_MAX)
			return load_refuse(load, -ENOEXEC,
					   "multiboot information request tag: type %u is not "
					   "known",
					   word(p + at));
	return 0;
}

/* A tag that the kernel does not run without. */
static int take_required_tag(struct load *load, const struct mb2_header_tag_head *head,
			     const uint8_t *p)
{
	switch (head->type) {
	case MB2_HEADER_INFO_REQUEST:
		return take_info_request(load, p, head->size);
	case MB2_HEADER_CONSOLE:
		if (!(word(p + sizeof(*head)) & MB2_CONSOLE_REQUIRED))
			return 0;
		return load_refuse(load, -ENOEXEC,
				   "multiboot console tag: a console is required, and guests have "
				   "no display");
	case MB2_HEADER_FRAMEBUFFER:
		return load_refuse(load, -ENOEXEC,
				   "multiboot framebuffer tag: it is not optional, and guests have "
				   "no display");
	case MB2_HEADER_MODULE_ALIGN: /* they always are */
	case MB2_HEADER_EFI_BS:       /* what it could do besides, and where */
	case MB2_HEADER_EFI_ENTRY_32:
	case MB2_HEADER_EFI_ENTRY_64:
		return 0;
	default:
		return load_refuse(load, -ENOEXEC,
				   "multiboot header tag: type %u is not known and not optional",
				   head->type);
	}
}

static int take_tag(struct load *load, struct multiboot *mb, const struct mb2_header_tag_head *head,
		    const uint8_t *p)
{
	if (head->size < tag_size_needed(head->type))
		return load_refuse(load, -EINVAL, "multiboot header tag: type %u has size %u",
				   head->type, head->size);
	switch (head->type) {
	case MB2_HEADER_ADDRESS:
		return take_address_tag(mb, p);
	case MB2_HEADER_ENTRY:
		mb->has_entry = true;
		mb->entry = word(p + sizeof(*head));
		return 0;
	case MB2_HEADER_RELOCATABLE:
		return take_relocatable_tag(load, mb, p);
	default:
		return head->flags & MB2_TAG_OPTIONAL ? 0 : take_required_tag(load, head, p);
	}
}

static int read_header_2(struct load *load, struct multiboot *mb)
{
	const uint8_t *p = load->src->kernel + mb->offset;
	uint64_t room = MIN(load->src->kernel_size, MB2_SEARCH) - mb->offset;
	uint32_t length = word(p + offsetof(struct mb2_header, header_length));
	uint64_t at = sizeof(struct mb2_header);
	int err;

	if (word(p + 4) != MB2_ARCH_I386)
		return load_refuse(load, -ENOEXEC,
				   "multiboot architecture: %u is not for this processor",
				   word(p + 4));
	if (length > room)
		return load_refuse(load, -ENOEXEC,
				   "multiboot header_length: %u bytes end outside the file, or its "
				   "first 32 KiB",
				   length);
	while (at + sizeof(struct mb2_header_tag_head) <= length) {
		struct mb2_header_tag_head head;

		memcpy(&head, p + at, sizeof(head));
		if (head.size < sizeof(head) || head.size > length - at)
			return load_refuse(load, -EINVAL,
					   "multiboot header tag: type %u has size %u", head.type,
					   head.size);
		if (head.type == MB2_HEADER_END)
			return 0;
		err = take_tag(load, mb, &head, p + at);
		if (err)
			return err;
		at = ALIGN_UP(at + head.size, MB2_ALIGN);
	}
	return load_refuse(load, -EINVAL, "multiboot header_length: %u bytes have no end tag",
			   length);
}

static int read_header(struct load *load, struct multiboot *mb)
{
	const struct load_source *src = load->src;

	if (find_header(src->kernel, src->kernel_size, 2, &mb->offset)) {
		mb->version = 2;
		return read_header_2(load, mb);
	}
	if (find_header(src->kernel, src->kernel_size, 1, &mb->offset)) {
		mb->version = 1;
		return read_header_1(load, mb);
	}
	return load_refuse(load, -ENOEXEC, "no multiboot header");
}

/* --- the image --- */

/* The one segment that the header's addresses describe. */
static int image_by_addresses(struct load *load, const struct multiboot *mb, struct elf_image *img)
{
	uint64_t size = load->src->kernel_size;
	uint64_t load_addr = mb->load_addr, before, from, filesz, memsz;

	if (load_addr == LOAD_ADDR_FILE_START && mb->version == 2)
		load_addr = (uint64_t)mb->header_addr - mb->offset;
	before = mb->header_addr - load_addr;
	if (load_addr > mb->header_addr || before > mb->offset)
		return load_refuse(load, -EINVAL,
				   "multiboot load_addr: %#llx, with header_addr %#x, is outside "
				   "the file",
				   (unsigned long long)load_addr, mb->header_addr);
	from = mb->offset - before;
	filesz = mb->load_end_addr ? mb->load_end_addr - load_addr : size - from;
	if (mb->load_end_addr && (mb->load_end_addr <= load_addr || filesz > size - from))
		return load_refuse(load, -ENOEXEC,
				   "multiboot load_end_addr: %#x is not between load_addr and the "
				   "file's end: cut short?",
				   mb->load_end_addr);
	memsz = mb->bss_end_addr ? mb->bss_end_addr - load_addr : filesz;
	if (mb->bss_end_addr && mb->bss_end_addr < load_addr + filesz)
		return load_refuse(load, -EINVAL,
				   "multiboot bss_end_addr: %#x is below the end of the data",
				   mb->bss_end_addr);
	*img = (struct elf_image){ .entry = mb->entry, .nr = 1 };
	img->seg[0] = (struct elf_segment){ from, filesz, load_addr, load_addr, memsz };
	return 0;
}

static int read_image(struct load *load, const struct multiboot *mb, struct elf_image *img)
{
	const struct load_source *src = load->src;
	int err;

	if (mb->has_addresses && !mb->has_entry)
		return load_refuse(load, -EINVAL,
				   "multiboot address tag: there is no entry address tag with it");
	if (mb->has_addresses)
		return image_by_addresses(load, mb, img);
	if (!is_elf(src->kernel, src->kernel_size))
		return load_refuse(load, -ENOEXEC,
				   "multiboot: neither load addresses in the header nor an ELF "
				   "file");
	err = elf_read(src->kernel, src->kernel_size, img, load->why, load->why_size);
	if (!err && mb->has_entry)
		img->entry = mb->entry;
	return err;
}

/* Where the first instruction is, in physical memory. */
static int find_entry(struct load *load, const struct multiboot *mb, const struct elf_image *img,
		      uint64_t *entry)
{
	bool ok = mb->has_entry ? elf_holds(img, img->entry) : elf_physical_entry(img, entry);

	if (mb->has_entry)
		*entry = img->entry;
	if (ok)
		return 0;
	return load_refuse(load, -EINVAL, "%s: %#llx lies in no segment's file part",
			   mb->has_entry ? "multiboot entry_addr" : "e_entry",
			   (unsigned long long)img->entry);
}

/* Move a relocatable image that cannot stay where it was linked for. */
static int relocate(struct load *load, struct multiboot *mb, struct elf_image *img, uint64_t *entry)
{
	const struct elf_segment *last = &img->seg[img->nr - 1];
	uint64_t base = img->seg[0].paddr, size = last->paddr + last->memsz - base;
	uint64_t at = base, end = MIN((uint64_t)mb->max + 1, PLACE_4G);

	if (mb->relocatable &&
	    (base < mb->min || base >= end || size > end - base || !IS_ALIGNED(base, mb->align) ||
	     !ram_holds(&load->ram, base, size)) &&
	    !ram_place_low(&load->ram, size, MAX(mb->align, (uint32_t)PAGE_SIZE),
			   MAX((uint64_t)mb->min, PLACE_HIGH), end, &at))
		return load_refuse(load, -EFBIG,
				   "multiboot relocatable tag: %llu bytes find no room from "
				   "min_addr %#x to max_addr %#x",
				   (unsigned long long)size, mb->min, mb->max);
	for (unsigned i = 0; i < img->nr; i++)
		img->seg[i].paddr += at - base;
	*entry += at - base;
	mb->load_base = (uint32_t)at;
	return 0;
}

/* --- modules --- */

static int place_module(struct load *load, const struct load_module *m, uint64_t *next,
			struct multiboot_module *out)
{
	uint64_t at = *next;

	if (m->size && !ram_place_low(&load->ram, m->size, PAGE_SIZE, *next, PLACE_4G, &at))
		return load_refuse(load, -EFBIG,
				   "module: its %llu bytes find no room in guest memory between "
				   "%#llx and 4 GiB",
				   (unsigned long long)m->size, (unsigned long long)*next);
	*out = (struct multiboot_module){ (uint32_t)at, (uint32_t)(at + m->size), m->cmdline };
	*next = ALIGN_UP(at + m->size, PAGE_SIZE);
	return load_bytes(load, at, m->data, m->size);
}

/* Behind the kernel, page-aligned, in order; an initrd is the first. */
static int place_modules(struct load *load, struct multiboot_module *out, unsigned *nr)
{
	const struct load_source *src = load->src;
	const struct load_module initrd = { src->initrd, src->initrd_size, "" };
	uint64_t next = ALIGN_UP(load->kernel.end, PAGE_SIZE);
	int err = 0;

	*nr = 0;
	if (src->initrd)
		err = place_module(load, &initrd, &next, &out[(*nr)++]);
	for (unsigned i = 0; !err && i < src->nr_modules; i++)
		err = place_module(load, &src->module[i], &next, &out[(*nr)++]);
	return err;
}

int load_multiboot(struct load *load)
{
	struct multiboot mb = { 0 };
	struct multiboot_module module[LOAD_MODULES + 1];
	struct elf_image img = { 0 };
	uint64_t entry = 0, info = 0;
	unsigned nr;
	int err;

	if ((err = read_header(load, &mb)) || (err = read_image(load, &mb, &img)) ||
	    (err = find_entry(load, &mb, &img, &entry)) ||
	    (err = relocate(load, &mb, &img, &entry)) ||
	    (err = load_segments(load, &img,
				 mb.has_addresses ? "multiboot load_addr, bss_end_addr"
						  : "p_paddr, p_memsz")) ||
	    (err = place_modules(load, module, &nr)) ||
	    (err = multiboot_info(load, &mb, module, nr, &info)))
		return err;
	if (!enter_protected(load->vcpu, (uint32_t)entry))
		return load_refuse(load, -EFBIG,
				   "no guest memory below 640 KiB for the boot tables");
	load->vcpu->regs.gpr[RAX] = mb.version == 2 ? MB2_ENTRY_EAX : MB1_ENTRY_EAX;
	load->vcpu->regs.gpr[RBX] = info;
	return 0;
}
