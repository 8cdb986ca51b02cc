#include "vmm/load/elf.h"

#include <stdarg.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"

/* System V ABI, object files: ELF header, program header, notes. */
#define EI_CLASS 4
#define EI_DATA 5
#define CLASS_32 1
#define CLASS_64 2
#define DATA_LSB 1
#define TYPE_EXEC 2
#define TYPE_DYN 3
#define MACHINE_386 3
#define MACHINE_X86_64 62
#define PT_LOAD 1
#define PT_NOTE 4

#define PHDRS_MAX 64
#define NOTES_MAX MIB(1)

struct elf64_ehdr {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf32_ehdr {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint32_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf64_phdr {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf32_phdr {
	uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

struct elf_note {
	uint32_t namesz, descsz, type;
};

static_assert(sizeof(struct elf64_ehdr) == 64, "Elf64_Ehdr");
static_assert(sizeof(struct elf32_ehdr) == 52, "Elf32_Ehdr");
static_assert(sizeof(struct elf64_phdr) == 56, "Elf64_Phdr");
static_assert(sizeof(struct elf32_phdr) == 32, "Elf32_Phdr");

/* Xen: xen/include/public/elfnote.h. */
#define XEN_ELFNOTE_GUEST_OS 6
#define XEN_ELFNOTE_PHYS32_ENTRY 18

/* The file while it is read. */
struct reader {
	const uint8_t *file;
	uint64_t size;
	struct elf_image *img;
	uint64_t phoff;
	unsigned phentsize, phnum;
	char *why;
	size_t why_size;
};

static __attribute__((format(printf, 3, 4))) int refuse(struct reader *r, int err, const char *fmt,
							...)
{
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(r->why, r->why_size, fmt, ap);
	va_end(ap);
	return err;
}

static bool in_file(const struct reader *r, uint64_t offset, uint64_t n)
{
	return offset <= r->size && n <= r->size - offset;
}

bool is_elf(const uint8_t *file, uint64_t size)
{
	static const uint8_t magic[4] = { 0x7f, 'E', 'L', 'F' };

	return size >= 16 && !memcmp(file, magic, sizeof(magic));
}

/* The fields wanted of either class's header, in the 64-bit form. */
static int read_ehdr(struct reader *r)
{
	struct elf64_ehdr e;
	bool wide = r->file[EI_CLASS] == CLASS_64;

	if (!wide && r->file[EI_CLASS] != CLASS_32)
		return refuse(r, -ENOEXEC, "e_ident: class %u", r->file[EI_CLASS]);
	if (r->file[EI_DATA] != DATA_LSB)
		return refuse(r, -ENOEXEC, "e_ident: not little-endian");
	if (!in_file(r, 0, wide ? sizeof(e) : sizeof(struct elf32_ehdr)))
		return refuse(r, -ENOEXEC, "the file ends within its ELF header");
	if (wide) {
		memcpy(&e, r->file, sizeof(e));
	} else {
		struct elf32_ehdr n;

		memcpy(&n, r->file, sizeof(n));
		e = (struct elf64_ehdr){ .type = n.type,
					 .machine = n.machine,
					 .entry = n.entry,
					 .phoff = n.phoff,
					 .phentsize = n.phentsize,
					 .phnum = n.phnum };
	}
	if (e.machine != (wide ? MACHINE_X86_64 : MACHINE_386))
		return refuse(r, -ENOEXEC, "e_machine: %u is not for this processor", e.machine);
	if (e.type != TYPE_EXEC && e.type != TYPE_DYN)
		return refuse(r, -ENOEXEC, "e_type: %u is no executable", e.type);
	if (e.phentsize != (wide ? sizeof(struct elf64_phdr) : sizeof(struct elf32_phdr)))
		return refuse(r, -EINVAL, "e_phentsize: %u", e.phentsize);
	if (!e.phnum || e.phnum > PHDRS_MAX)
		return refuse(r, -EINVAL, "e_phnum: %u is not between 1 and %u", e.phnum,
			      PHDRS_MAX);
	if (!in_file(r, e.phoff, (uint64_t)e.phnum * e.phentsize))
		return refuse(r, -ENOEXEC, "e_phoff: the program headers end outside the file");
	r->img->is_64 = wide;
	r->img->entry = e.entry;
	r->phoff = e.phoff;
	r->phentsize = e.phentsize;
	r->phnum = e.phnum;
	return 0;
}

static void read_phdr(const struct reader *r, unsigned i, struct elf64_phdr *p)
{
	const uint8_t *at = r->file + r->phoff + i * r->phentsize;
	struct elf32_phdr n;

	if (r->img->is_64) {
		memcpy(p, at, sizeof(*p));
		return;
	}
	memcpy(&n, at, sizeof(n));
	*p = (struct elf64_phdr){ .type = n.type,
				  .flags = n.flags,
				  .offset = n.offset,
				  .vaddr = n.vaddr,
				  .paddr = n.paddr,
				  .filesz = n.filesz,
				  .memsz = n.memsz,
				  .align = n.align };
}

/* Put the segment where it belongs by address; its neighbours must not overlap it. */
static int insert_segment(struct reader *r, unsigned i, const struct elf_segment *s)
{
	struct elf_image *img = r->img;
	unsigned at = img->nr;

	if (img->nr == ELF_SEGMENTS)
		return refuse(r, -EINVAL, "e_phnum: more than %u segments to load", ELF_SEGMENTS);
	while (at > 0 && img->seg[at - 1].paddr > s->paddr)
		at--;
	if ((at < img->nr && img->seg[at].paddr - s->paddr < s->memsz) ||
	    (at > 0 && s->paddr - img->seg[at - 1].paddr < img->seg[at - 1].memsz))
		return refuse(r, -EINVAL, "segment %u: p_paddr %#llx overlaps another segment", i,
			      (unsigned long long)s->paddr);
	memmove(&img->seg[at + 1], &img->seg[at], (img->nr - at) * sizeof(img->seg[0]));
	img->seg[at] = *s;
	img->nr++;
	return 0;
}

static int read_segment(struct reader *r, unsigned i, const struct elf64_phdr *p)
{
	struct elf_segment s = { p->offset, p->filesz, p->paddr, p->vaddr, p->memsz };

	if (!in_file(r, p->offset, p->filesz))
		return refuse(r, -ENOEXEC,
			      "segment %u: p_offset %#llx and p_filesz %#llx end outside the file: "
			      "cut short?",
			      i, (unsigned long long)p->offset, (unsigned long long)p->filesz);
	if (p->filesz > p->memsz)
		return refuse(r, -EINVAL, "segment %u: p_filesz %#llx is more than p_memsz %#llx",
			      i, (unsigned long long)p->filesz, (unsigned long long)p->memsz);
	if (!p->memsz)
		return 0;
	if (p->paddr + (p->memsz - 1) < p->paddr || p->vaddr + (p->memsz - 1) < p->vaddr)
		return refuse(r, -EINVAL, "segment %u: p_memsz %#llx wraps around", i,
			      (unsigned long long)p->memsz);
	return insert_segment(r, i, &s);
}

static bool note_is(const uint8_t *name, uint64_t len, const char *wanted)
{
	uint64_t n = strlen(wanted);

	return len == n + 1 && !memcmp(name, wanted, n + 1);
}

static int take_note(struct reader *r, const struct elf_note *n, const uint8_t *name,
		     const uint8_t *desc)
{
	uint64_t entry = 0;

	if (note_is(name, n->namesz, "Linux"))
		r->img->is_linux = true;
	if (!note_is(name, n->namesz, "Xen"))
		return 0;
	if (n->type == XEN_ELFNOTE_GUEST_OS && n->descsz >= 5 && !memcmp(desc, "linux", 5))
		r->img->is_linux = true;
	if (n->type != XEN_ELFNOTE_PHYS32_ENTRY)
		return 0;
	if (n->descsz != 4 && n->descsz != 8)
		return refuse(r, -EINVAL, "XEN_ELFNOTE_PHYS32_ENTRY: %u bytes", n->descsz);
	memcpy(&entry, desc, n->descsz);
	if (entry > UINT32_MAX)
		return refuse(r, -EINVAL, "XEN_ELFNOTE_PHYS32_ENTRY: %#llx is above 4 GiB",
			      (unsigned long long)entry);
	r->img->has_pvh = true;
	r->img->pvh_entry = (uint32_t)entry;
	return 0;
}

static int read_notes(struct reader *r, unsigned i, const struct elf64_phdr *p)
{
	uint64_t at = 0, align = p->align == 8 ? 8 : 4;
	const uint8_t *notes;

	if (!in_file(r, p->offset, p->filesz) || p->filesz > NOTES_MAX)
		return refuse(r, -EINVAL, "segment %u: the notes' p_offset and p_filesz", i);
	notes = r->file + p->offset;
	while (p->filesz - at >= sizeof(struct elf_note)) {
		struct elf_note n;
		uint64_t desc, end;
		int err;

		memcpy(&n, notes + at, sizeof(n));
		desc = ALIGN_UP(at + sizeof(n) + n.namesz, align);
		end = desc + n.descsz;
		if (end > p->filesz)
			return refuse(r, -EINVAL, "segment %u: a note ends outside it", i);
		err = take_note(r, &n, notes + at + sizeof(n), notes + desc);
		if (err)
			return err;
		at = MIN(ALIGN_UP(end, align), p->filesz);
	}
	return 0;
}

int elf_read(const uint8_t *file, uint64_t size, struct elf_image *img, char *why, size_t why_size)
{
	struct reader r = {
		.file = file, .size = size, .img = img, .why = why, .why_size = why_size
	};
	int err;

	memset(img, 0, sizeof(*img));
	err = read_ehdr(&r);
	for (unsigned i = 0; !err && i < r.phnum; i++) {
		struct elf64_phdr p;

		read_phdr(&r, i, &p);
		if (p.type == PT_LOAD)
			err = read_segment(&r, i, &p);
		else if (p.type == PT_NOTE)
			err = read_notes(&r, i, &p);
	}
	if (!err && !img->nr)
		err = refuse(&r, -ENOEXEC, "e_phnum: no segment to load");
	return err;
}

bool elf_holds(const struct elf_image *img, uint64_t paddr)
{
	for (unsigned i = 0; i < img->nr; i++)
		if (paddr - img->seg[i].paddr < img->seg[i].filesz)
			return true;
	return false;
}

bool elf_physical_entry(const struct elf_image *img, uint64_t *entry)
{
	*entry = img->entry;
	if (elf_holds(img, img->entry))
		return true;
	for (unsigned i = 0; i < img->nr; i++) {
		const struct elf_segment *s = &img->seg[i];

		if (img->entry - s->vaddr >= s->filesz)
			continue;
		*entry = img->entry - s->vaddr + s->paddr;
		return true;
	}
	return false;
}
