#include "paging/nested.h"

#include "arch/x86_64/include/errno.h"

#define NESTED_RIGHTS (PT_R | PT_W | PT_X)
/* Every guest access is a user's to an NPT; nobody reads the accessed and dirty bits. */
#define NESTED_ATTRS (PT_U | PT_A | PT_D)

struct pt_tree nested_tree(const struct nested *n)
{
	return (struct pt_tree){ .fmt = &n->fmt, .mem = n->mem, .root = n->root.v };
}

static int error_of(enum pt_status status)
{
	switch (status) {
	case PT_OK:
		return 0;
	case PT_NO_MEMORY:
		return -ENOMEM;
	case PT_BAD_ARG:
		return -EINVAL;
	default:
		return -EIO;
	}
}

int nested_init(struct nested *n, enum nested_kind kind, const struct pt_caps *caps,
		const struct pt_mem *mem, bool (*may_map)(void *ctx, hpa_t, uint64_t),
		void *may_map_ctx)
{
	struct pt_tree t;
	enum pt_status status;

	if (!may_map)
		return -EINVAL;
	*n = (struct nested){
		.mem = mem, .may_map = may_map, .may_map_ctx = may_map_ctx, .left = PT_FLUSH_NONE
	};
	pt_format_init(&n->fmt, kind == NESTED_EPT ? PT_EPT : PT_NPT, caps);
	status = pt_create(&t, &n->fmt, mem);
	if (status == PT_OK)
		n->root = HPA(t.root);
	return error_of(status);
}

void nested_destroy(struct nested *n)
{
	struct pt_tree t = nested_tree(n);

	nested_release(n);
	if (t.root)
		pt_destroy(&t);
	n->root = HPA(0);
}

int nested_map(struct nested *n, gpa_t gpa, hpa_t pa, uint64_t size, unsigned rights)
{
	struct pt_tree t = nested_tree(n);

	if (!rights || (rights & ~NESTED_RIGHTS) || !size || !IS_ALIGNED(pa.v | size, PAGE_SIZE) ||
	    pa.v + size < pa.v)
		return -EINVAL;
	if (!n->may_map(n->may_map_ctx, pa, size))
		return -EACCES;
	return error_of(pt_map(&t, gpa.v, pa.v, size, rights | NESTED_ATTRS, &n->left));
}

int nested_unmap(struct nested *n, gpa_t gpa, uint64_t size)
{
	struct pt_tree t = nested_tree(n);

	return error_of(pt_unmap(&t, gpa.v, size, &n->left));
}

int nested_protect(struct nested *n, gpa_t gpa, uint64_t size, unsigned rights)
{
	struct pt_tree t = nested_tree(n);

	if (!rights || (rights & ~NESTED_RIGHTS))
		return -EINVAL;
	return error_of(pt_protect(&t, gpa.v, size, PT_RIGHTS, rights | PT_U, &n->left));
}

void nested_release(struct nested *n)
{
	struct pt_tree t = nested_tree(n);

	if (n->left.freed)
		pt_release(&t, &n->left);
	n->left.start = UINT64_MAX;
	n->left.last = 0;
}

bool nested_lookup(const struct nested *n, gpa_t gpa, hpa_t *pa, unsigned *rights,
		   uint64_t *page_size)
{
	struct pt_tree t = nested_tree(n);
	struct pt_walk w;

	if (!pt_addr_ok(t.fmt, gpa.v) || pt_walk(&t, gpa.v, &w) != PT_OK)
		return false;
	*pa = HPA(w.out);
	*rights = w.rights & NESTED_RIGHTS;
	*page_size = BIT(w.page_shift);
	return true;
}
