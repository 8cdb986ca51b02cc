#include "paging/print.h"

#include <stdarg.h>

#include "arch/x86_64/lib/printf.h"
#include "paging/entry.h"
#include "paging/guest.h"

struct text {
	unsigned len;
	char buf[192];
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = kvsnprintf(t->buf + t->len, sizeof(t->buf) - t->len, fmt, ap);
	va_end(ap);
	t->len = MIN(t->len + (unsigned)MAX(n, 0), (unsigned)sizeof(t->buf) - 1);
}

const char *pt_table_name(const struct pt_format *f, unsigned level)
{
	static const char *const name[PT_MAX_LEVELS] = { "pt", "pd", "pdp", "pml4", "pml5" };

	return level < f->levels ? name[level] : "none";
}

const char *pt_page_name(unsigned shift)
{
	switch (shift) {
	case 12:
		return "4K";
	case 21:
		return "2M";
	case 22:
		return "4M";
	case 30:
		return "1G";
	default:
		return "none";
	}
}

static void add_rights(struct text *t, const struct pt_format *f, unsigned attrs)
{
	add(t, " %c%c%c", attrs & PT_R ? 'r' : '-', attrs & PT_W ? 'w' : '-',
	    attrs & PT_X ? 'x' : '-');
	if (f->u)
		add(t, "%c", attrs & PT_U ? 'u' : '-');
}

static void add_type(struct text *t, const struct pt_format *f, uint64_t e)
{
	uint64_t type = e & f->type_mask;

	if (type == f->type_wb)
		add(t, " wb");
	else if (type == f->type_uc)
		add(t, " uc");
	else
		add(t, " type %lu", type >> __builtin_ctzll(f->type_mask));
}

static void add_entry(struct text *t, const struct pt_format *f, unsigned level, uint64_t e)
{
	const struct pt_level *l = &f->level[level];
	bool leaf = entry_is_leaf(f, level, e);
	unsigned attrs = entry_attrs(f, level, e);

	add(t, "%0*lx ", f->entry_size * 2, e);
	if (!entry_present(f, e)) {
		add(t, "absent");
		return;
	}
	if (e & l->rsvd[leaf]) {
		add(t, "reserved bits %lx", e & l->rsvd[leaf]);
		return;
	}
	if (entry_is_bad(f, level, e)) {
		add(t, "misconfigured");
		return;
	}
	if (leaf)
		add(t, "-> %s page %lx", pt_page_name(l->shift), leaf_target(f, level, e));
	else
		add(t, "-> %s %lx", pt_table_name(f, level - 1), e & l->table_addr);
	add_rights(t, f, attrs);
	if (f->accessed & ~l->keep)
		add(t, " %c", attrs & PT_A ? 'A' : '-');
	if (!leaf)
		return;
	if (f->dirty)
		add(t, "%c", attrs & PT_D ? 'D' : '-');
	if (f->global)
		add(t, "%c", attrs & PT_G ? 'G' : '-');
	add_type(t, f, e);
	if (e & f->pkey)
		add(t, " key %lu", (e & f->pkey) >> __builtin_ctzll(f->pkey));
}

enum pt_status pt_print_entry(const struct pt_format *f, unsigned level, uint64_t entry,
			      pt_line_fn *line, void *ctx)
{
	struct text t = { 0 };

	if (!f || !line || level >= f->levels)
		return PT_BAD_ARG;
	add(&t, "%s ", pt_table_name(f, level));
	add_entry(&t, f, level, entry);
	line(ctx, t.buf);
	return PT_OK;
}

/* Where the tree begins. */
static void add_root(struct text *t, const struct pt_tree *tree)
{
	if (tree->root == GUEST_PDPTES)
		add(t, "%s, from the PDPTEs", tree->fmt->name);
	else
		add(t, "%s, root %lx", tree->fmt->name, tree->root);
}

static void add_outcome(struct text *t, const struct pt_format *f, const struct pt_walk *w)
{
	const char *where = pt_table_name(f, w->level);

	switch (w->status) {
	case PT_OK:
		add(t, "= %lx", w->out);
		add_rights(t, f, w->rights);
		add(t, " in a %s page", pt_page_name(w->page_shift));
		break;
	case PT_NOT_PRESENT:
		add(t, "= absent in the %s", where);
		break;
	case PT_RESERVED:
		add(t, "= reserved bits set in the %s", where);
		break;
	default:
		add(t, "= no memory at the %s", where);
		break;
	}
}

enum pt_status pt_print_path(const struct pt_tree *t, uint64_t addr, pt_line_fn *line, void *ctx)
{
	struct pt_walk w;
	struct text text = { 0 };

	if (!line || !tree_ok(t) || !pt_addr_ok(t->fmt, addr))
		return PT_BAD_ARG;
	pt_walk(t, addr, &w);
	add(&text, "%lx by ", addr);
	add_root(&text, t);
	line(ctx, text.buf);
	for (unsigned i = w.top + 1u; i-- > w.level;) {
		const struct pt_level *l = &t->fmt->level[i];

		if (i == w.level && w.status == PT_BAD_TABLE)
			break;
		text.len = 0;
		add(&text, "  %s[%lu] ", pt_table_name(t->fmt, i),
		    addr >> l->shift & l->index_mask);
		add_entry(&text, t->fmt, i, w.entry[i]);
		line(ctx, text.buf);
	}
	text.len = 0;
	add_outcome(&text, t->fmt, &w);
	line(ctx, text.buf);
	return w.status;
}

/* Printing a tree: the range that is being put together, and the rights on the way to it. */
struct tree_print {
	const struct pt_tree *t;
	pt_line_fn *line;
	void *ctx;
	unsigned lines_left;
	unsigned rights[PT_MAX_LEVELS + 1]; /* of the entries down to this level */
	bool open;
	uint64_t start, last, pa;
	unsigned attrs;
	uint64_t type;  /* bits of type_mask */
	unsigned sizes; /* levels whose pages are in it */
};

static bool put_line(struct tree_print *p, const struct text *t)
{
	if (!p->lines_left)
		return false;
	p->lines_left--;
	p->line(p->ctx, t->buf);
	return true;
}

static bool close_range(struct tree_print *p)
{
	const struct pt_format *f = p->t->fmt;
	struct text t = { 0 };

	if (!p->open)
		return true;
	p->open = false;
	add(&t, "  %016lx-%016lx -> %lx", p->start, p->last, p->pa);
	add_rights(&t, f, p->attrs);
	if (f->global)
		add(&t, "%c", p->attrs & PT_G ? 'G' : '-');
	add_type(&t, f, p->type);
	for (unsigned i = f->levels; i-- > 0;)
		if (p->sizes & BIT(i))
			add(&t, " %s", pt_page_name(f->level[i].shift));
	return put_line(p, &t);
}

static bool tree_page(struct tree_print *p, const struct pt_visit *v)
{
	const struct pt_format *f = p->t->fmt;
	unsigned attrs = (v->attrs & p->rights[v->level + 1]) | (v->attrs & PT_G);
	uint64_t type = v->entry & f->type_mask;

	if (!p->open || v->addr != p->last + 1 || attrs != p->attrs || type != p->type ||
	    v->pa != p->pa + (v->addr - p->start)) {
		if (!close_range(p))
			return false;
		p->open = true;
		p->start = v->addr;
		p->pa = v->pa;
		p->attrs = attrs;
		p->type = type;
		p->sizes = 0;
	}
	p->last = v->addr + (level_span(f, v->level) - 1);
	p->sizes |= 1u << v->level;
	return true;
}

static bool tree_visit(void *ctx, const struct pt_visit *v)
{
	struct tree_print *p = ctx;
	const struct pt_format *f = p->t->fmt;
	struct text t = { 0 };
	uint64_t e;

	if (v->level == f->levels)
		return true;
	if (v->leaf && !v->bad)
		return tree_page(p, v);
	p->rights[v->level] = v->attrs & p->rights[v->level + 1];
	if (!v->bad && entry_read(p->t, v->pa, &e))
		return true;
	if (!close_range(p))
		return false;
	add(&t, "  %016lx %s entry ", v->addr, pt_table_name(f, v->level));
	add_entry(&t, f, v->level, v->entry);
	if (!v->bad)
		add(&t, ": no memory there");
	return put_line(p, &t);
}

enum pt_status pt_print_tree(const struct pt_tree *t, uint64_t *budget, unsigned max_lines,
			     pt_line_fn *line, void *ctx)
{
	struct tree_print p = { .t = t, .line = line, .ctx = ctx, .lines_left = max_lines };
	struct text text = { 0 };
	enum pt_status status;
	uint64_t e;

	if (!line || !budget || !tree_ok(t))
		return PT_BAD_ARG;
	p.rights[t->fmt->levels] = PT_RIGHTS;
	add_root(&text, t);
	if (!entry_read(t, t->root, &e))
		add(&text, ": no memory there");
	line(ctx, text.buf);
	status = pt_visit(t, budget, tree_visit, &p);
	if (!close_range(&p))
		status = PT_STOPPED;
	if (status == PT_STOPPED)
		line(ctx, "  ... stopped here");
	return status;
}
