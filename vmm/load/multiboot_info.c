/* The information that a multiboot kernel is entered with, in the guest's low memory. */
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/load/load.h"
#include "vmm/load/multiboot.h"
#include "vmm/memmap.h"
#include "vmm/vm.h"

#define LOADER_NAME "Umbra"

/* Bytes of the RSDP: revision 0, and from 2 on (ACPI 6.4, 5.2.5.3). */
#define RSDP_REVISION 15u
#define RSDP_OLD 20u
#define RSDP_NEW 36u

/* Where the next byte of the information goes. */
struct writer {
	struct load *load;
	uint64_t at;
	int err; /* the first; nothing is written after it */
};

static void put(struct writer *w, const void *from, uint64_t size)
{
	if (w->err)
		return;
	if (size > PLACE_CMDLINE_END - w->at)
		w->err = load_refuse(w->load, -E2BIG,
				     "command line: with the modules' it exceeds the %u KiB that "
				     "there are for boot information",
				     (PLACE_CMDLINE_END - PLACE_CMDLINE) >> 10);
	else
		w->err = load_bytes(w->load, w->at, from, size);
	if (!w->err)
		w->at += size;
}

static void put_align(struct writer *w)
{
	static const uint8_t zeros[8];

	put(w, zeros, ALIGN_UP(w->at, 8) - w->at);
}

/* Returns its address. */
static uint32_t put_string(struct writer *w, const char *s)
{
	uint64_t at = w->at;

	put(w, s, strlen(s) + 1);
	return (uint32_t)at;
}

static const char *kernel_line(const struct load *load)
{
	return load->src->cmdline ? load->src->cmdline : "";
}

/* KiB from 0 up, and from 1 MiB up, without a gap. */
static void memory_sizes(const struct ram_map *ram, uint32_t *lower, uint32_t *upper)
{
	*lower = *upper = 0;
	for (unsigned i = 0; i < ram->nr; i++) {
		const struct ram_range *r = &ram->range[i];

		if (r->start == 0)
			*lower = (uint32_t)(MIN(r->end, KIB(640)) >> 10);
		if (r->start == PLACE_HIGH)
			*upper = (uint32_t)((MIN(r->end, PLACE_4G) - r->start) >> 10);
	}
}

/* --- multiboot 1: tables first, then the structure that points to them --- */

static void put_mods_1(struct writer *w, struct mb1_info *info,
		       const struct multiboot_module *module, unsigned nr)
{
	uint32_t string[LOAD_MODULES + 1];

	for (unsigned i = 0; i < nr; i++)
		string[i] = put_string(w, module[i].string);
	put_align(w);
	info->mods_count = nr;
	info->mods_addr = (uint32_t)w->at;
	for (unsigned i = 0; i < nr; i++) {
		struct mb1_module m = { module[i].start, module[i].end, string[i], 0 };

		put(w, &m, sizeof(m));
	}
}

static void put_mmap_1(struct writer *w, struct mb1_info *info)
{
	struct e820_entry e820[E820_MAX];
	unsigned n = ram_map_e820(&w->load->ram, e820);

	put_align(w);
	info->mmap_addr = (uint32_t)w->at;
	info->mmap_length = n * (uint32_t)sizeof(struct mb1_mmap_entry);
	for (unsigned i = 0; i < n; i++) {
		struct mb1_mmap_entry e = { sizeof(e) - sizeof(e.size), e820[i] };

		put(w, &e, sizeof(e));
	}
}

static uint64_t put_info_1(struct writer *w, const struct multiboot_module *module, unsigned nr)
{
	struct mb1_info info = { .flags = MB1_INFO_MEMORY | MB1_INFO_CMDLINE | MB1_INFO_MODS |
					  MB1_INFO_MMAP | MB1_INFO_LOADER };
	uint64_t at;

	memory_sizes(&w->load->ram, &info.mem_lower, &info.mem_upper);
	info.cmdline = put_string(w, kernel_line(w->load));
	info.boot_loader_name = put_string(w, LOADER_NAME);
	put_mods_1(w, &info, module, nr);
	put_mmap_1(w, &info);
	put_align(w);
	at = w->at;
	put(w, &info, sizeof(info));
	return at;
}

/* --- multiboot 2: a head and tags, one behind the other --- */

static void put_string_tag(struct writer *w, uint32_t type, const char *s)
{
	struct mb2_tag tag = { type, (uint32_t)(sizeof(tag) + strlen(s) + 1) };

	put(w, &tag, sizeof(tag));
	put_string(w, s);
	put_align(w);
}

static void put_module_tag(struct writer *w, const struct multiboot_module *m)
{
	struct mb2_module_tag t = {
		{ MB2_INFO_MODULE, (uint32_t)(sizeof(t) + strlen(m->string) + 1) }, m->start, m->end
	};

	put(w, &t, sizeof(t));
	put_string(w, m->string);
	put_align(w);
}

static void put_memory_tags(struct writer *w)
{
	struct mb2_memory_tag basic = { .tag = { MB2_INFO_MEMORY, sizeof(basic) } };
	struct mb2_mmap_tag map = { .entry_size = sizeof(struct mb2_mmap_entry) };
	struct e820_entry e820[E820_MAX];
	unsigned n = ram_map_e820(&w->load->ram, e820);

	memory_sizes(&w->load->ram, &basic.mem_lower, &basic.mem_upper);
	put(w, &basic, sizeof(basic));
	map.tag = (struct mb2_tag){ MB2_INFO_MMAP, (uint32_t)sizeof(map) + n * map.entry_size };
	put(w, &map, sizeof(map));
	for (unsigned i = 0; i < n; i++) {
		struct mb2_mmap_entry e = { e820[i], 0 };

		put(w, &e, sizeof(e));
	}
}

static void put_acpi_tag(struct writer *w)
{
	gpa_t at = w->load->src->rsdp;
	uint8_t rsdp[RSDP_NEW];
	struct mb2_tag tag = { MB2_INFO_ACPI_OLD, sizeof(tag) + RSDP_OLD };

	if (!at.v || !memmap_read(&w->load->vm->mem, at, rsdp, RSDP_OLD))
		return;
	if (rsdp[RSDP_REVISION] >= 2 && memmap_read(&w->load->vm->mem, at, rsdp, RSDP_NEW))
		tag = (struct mb2_tag){ MB2_INFO_ACPI_NEW, sizeof(tag) + RSDP_NEW };
	put(w, &tag, sizeof(tag));
	put(w, rsdp, tag.size - sizeof(tag));
	put_align(w);
}

static uint64_t put_info_2(struct writer *w, const struct multiboot *mb,
			   const struct multiboot_module *module, unsigned nr)
{
	struct mb2_load_base_tag base = { { MB2_INFO_LOAD_BASE, sizeof(base) }, mb->load_base };
	struct mb2_tag end = { MB2_INFO_END, sizeof(end) };
	uint64_t at = w->at;
	uint32_t head[2] = { 0, 0 }; /* total_size, reserved */

	put(w, head, sizeof(head));
	put_string_tag(w, MB2_INFO_CMDLINE, kernel_line(w->load));
	put_string_tag(w, MB2_INFO_LOADER, LOADER_NAME);
	for (unsigned i = 0; i < nr; i++)
		put_module_tag(w, &module[i]);
	put_memory_tags(w);
	put_acpi_tag(w);
	if (mb->relocatable) {
		put(w, &base, sizeof(base));
		put_align(w);
	}
	put(w, &end, sizeof(end));
	head[0] = (uint32_t)(w->at - at);
	if (!w->err)
		w->err = load_bytes(w->load, at, head, sizeof(head));
	return at;
}

int multiboot_info(struct load *load, const struct multiboot *mb,
		   const struct multiboot_module *module, unsigned nr, uint64_t *at)
{
	struct writer w = { .load = load, .at = PLACE_CMDLINE };

	*at = mb->version == 2 ? put_info_2(&w, mb, module, nr) : put_info_1(&w, module, nr);
	return w.err;
}
