#include "boot/multiboot2.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"

struct mb2_info {
	uint32_t total_size, reserved;
};

struct mb2_tag {
	uint32_t type, size; /* size: without the padding to 8 */
};

enum {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_LOADER = 2,
	TAG_MODULE = 3,
	TAG_MMAP = 6,
	TAG_FRAMEBUFFER = 8,
	TAG_EFI32 = 11,
	TAG_EFI64 = 12,
	TAG_ACPI_OLD = 14,
	TAG_ACPI_NEW = 15,
};

struct mb2_module {
	struct mb2_tag tag;
	uint32_t start, end;
	char cmdline[];
};
static_assert(sizeof(struct mb2_module) == 16, "module tag");

struct mb2_mmap {
	struct mb2_tag tag;
	uint32_t entry_size, entry_version;
};

struct mb2_mmap_entry {
	uint64_t base, size;
	uint32_t type, reserved;
};
static_assert(sizeof(struct mb2_mmap_entry) == 24, "memory map entry");
#define MMAP_AVAILABLE 1

struct mb2_framebuffer {
	struct mb2_tag tag;
	uint64_t addr;
	uint32_t pitch, width, height;
	uint8_t bpp, type;
	uint16_t reserved;
};
static_assert(offsetof(struct mb2_framebuffer, type) == 29, "framebuffer tag");
#define FRAMEBUFFER_EGA_TEXT 2

#define RSDP_OLD_BYTES 20
#define RSDP_NEW_BYTES 36

struct parse {
	struct boot_info *bi;
	const uint8_t *info;
	hpa_t info_pa;
	bool efi, framebuffer, mmap, new_rsdp;
};

/* The text from at to the tag's end, NULL when it does not end in there. */
static const char *tag_text(const struct mb2_tag *tag, size_t at)
{
	const char *s = (const char *)tag + at;

	if (tag->size <= at || !memchr(s, '\0', tag->size - at))
		return NULL;
	return s;
}

static const char *take_module(struct parse *p, const struct mb2_tag *tag)
{
	const struct mb2_module *m = (const struct mb2_module *)tag;
	const char *text = tag_text(tag, sizeof(*m));

	if (!text)
		return "a module's line has no end";
	if (m->end < m->start)
		return "a module ends before it begins";
	if (p->bi->nr_modules == BOOT_MAX_MODULES) {
		p->bi->modules_dropped++;
		return NULL;
	}
	p->bi->module[p->bi->nr_modules++] = (struct boot_module){
		.start = HPA(m->start),
		.size = m->end - m->start,
		.cmdline = text,
	};
	return NULL;
}

static const char *take_range(struct boot_info *bi, const struct mb2_mmap_entry *e)
{
	bool available = e->type == MMAP_AVAILABLE;
	struct boot_range *last = bi->nr_ranges ? &bi->range[bi->nr_ranges - 1] : NULL;
	uint64_t size = MIN(e->size, UINT64_MAX - e->base);

	if (!size)
		return NULL;
	if (last && last->available == available && last->base + last->size == e->base) {
		last->size += size;
		return NULL;
	}
	if (bi->nr_ranges == BOOT_MAX_RANGES)
		return "the memory map has more than 128 ranges";
	bi->range[bi->nr_ranges++] = (struct boot_range){ e->base, size, available };
	return NULL;
}

static const char *take_mmap(struct parse *p, const struct mb2_tag *tag)
{
	const struct mb2_mmap *m = (const struct mb2_mmap *)tag;
	const char *wrong;

	if (tag->size < sizeof(*m) || m->entry_size < sizeof(struct mb2_mmap_entry) ||
	    m->entry_size % 8)
		return "the memory map's entries have a wrong size";
	if (p->mmap)
		return "a second memory map";
	p->mmap = true;
	for (size_t at = sizeof(*m); tag->size - at >= m->entry_size; at += m->entry_size) {
		wrong = take_range(p->bi,
				   (const struct mb2_mmap_entry *)((const uint8_t *)tag + at));
		if (wrong)
			return wrong;
	}
	return NULL;
}

static void take_rsdp(struct parse *p, const struct mb2_tag *tag, bool new)
{
	size_t bytes = new ? RSDP_NEW_BYTES : RSDP_OLD_BYTES;

	if (tag->size < sizeof(*tag) + bytes || (p->new_rsdp && !new))
		return;
	p->new_rsdp = new;
	p->bi->rsdp = HPA(p->info_pa.v + (uint64_t)((const uint8_t *)tag - p->info) + sizeof(*tag));
}

static void take_framebuffer(struct parse *p, const struct mb2_tag *tag)
{
	const struct mb2_framebuffer *fb = (const struct mb2_framebuffer *)tag;

	if (tag->size < sizeof(*fb))
		return;
	p->framebuffer = true;
	p->bi->vga_text = fb->type == FRAMEBUFFER_EGA_TEXT;
}

static const char *take_text(const struct mb2_tag *tag, const char **text)
{
	*text = tag_text(tag, sizeof(*tag));
	if (*text)
		return NULL;
	*text = "";
	return "a text has no end";
}

static const char *take_tag(struct parse *p, const struct mb2_tag *tag)
{
	switch (tag->type) {
	case TAG_CMDLINE:
		return take_text(tag, &p->bi->cmdline);
	case TAG_LOADER:
		return take_text(tag, &p->bi->loader);
	case TAG_MODULE:
		return take_module(p, tag);
	case TAG_MMAP:
		return take_mmap(p, tag);
	case TAG_FRAMEBUFFER:
		take_framebuffer(p, tag);
		return NULL;
	case TAG_EFI32:
	case TAG_EFI64:
		p->efi = true;
		return NULL;
	case TAG_ACPI_OLD:
	case TAG_ACPI_NEW:
		take_rsdp(p, tag, tag->type == TAG_ACPI_NEW);
		return NULL;
	default:
		return NULL;
	}
}

static void begin(struct parse *p)
{
	p->bi->cmdline = p->bi->loader = "";
	p->bi->nr_ranges = p->bi->nr_modules = p->bi->modules_dropped = 0;
	p->bi->rsdp = HPA(0);
	p->bi->vga_text = false;
}

const char *multiboot2_parse(const void *info, size_t limit, hpa_t info_pa, struct boot_info *bi)
{
	const struct mb2_info *head = info;
	struct parse p = { .bi = bi, .info = info, .info_pa = info_pa };
	const char *wrong = NULL;
	size_t at = sizeof(*head), total;

	begin(&p);
	if (limit < sizeof(*head) || head->total_size < sizeof(*head) || head->total_size > limit)
		return "the boot information has a wrong size";
	total = head->total_size;
	bi->info_start = info_pa;
	bi->info_end = HPA(info_pa.v + total);
	while (!wrong && total - at >= sizeof(struct mb2_tag)) {
		const struct mb2_tag *tag = (const struct mb2_tag *)(p.info + at);

		if (tag->type == TAG_END)
			break;
		if (tag->size < sizeof(*tag) || tag->size > total - at)
			return "a tag of the boot information has a wrong size";
		wrong = take_tag(&p, tag);
		at += MIN(ALIGN_UP(tag->size, 8), total - at);
	}
	if (!wrong && !p.mmap)
		wrong = "the boot loader gave no memory map";
	if (!p.framebuffer)
		bi->vga_text = !p.efi;
	return wrong;
}
