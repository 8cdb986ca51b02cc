/* The guest's memory map and everybody's page tables, as the paging engine prints them. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/lib/reg_flags.h"
#include "arch/x86_64/lib/string.h"
#include "paging/guest.h"
#include "paging/host.h"
#include "paging/nested.h"
#include "paging/print.h"
#include "paging/shadow.h"
#include "vmm/backend.h"
#include "vmm/config.h"
#include "vmm/inspect.h"
#include "vmm/memmap.h"
#include "vmm/monitor/address.h"
#include "vmm/monitor/command.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_shadow.h"

/* What tables prints, and how many entries it reads, at most. */
#define TREE_LINES 2000
#define TREE_ENTRIES (UINT64_C(1) << 20)

typedef unsigned long long ull;

static const struct printer printer = { .line = monitor_print_line, .name_width = 8 };

/* --- maps --- */

static const char *const kinds[] = {
	[REGION_MEM] = "memory",  [REGION_ROM] = "ROM",
	[REGION_HOOK] = "device", [REGION_HOOK_WRITE] = "writes hooked",
	[REGION_DISK] = "disk",   [REGION_APIC] = "local APIC",
};

/* Does b go on where a ends, as more of the same? */
static bool goes_on(const struct region *a, const struct region *b)
{
	bool frames = a->kind != REGION_HOOK && !a->page && !b->page;

	return a->kind == b->kind && a->start.v + a->size == b->start.v && a->hooked == b->hooked &&
	       (!a->page == !b->page) && (!frames || a->frames.v + a->size == b->frames.v);
}

static uint64_t pages_in(const struct region *r)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < r->size >> PAGE_SHIFT; i++)
		n += r->page[i] != 0;
	return n;
}

static void print_region(const struct region *r, uint64_t pages)
{
	uint64_t last = r->start.v + (r->size - 1);

	monitor_printf("%016llx-%016llx %9lluK  %s", (ull)r->start.v, (ull)last,
		       (ull)(r->size >> 10), kinds[r->kind]);
	if (r->page)
		monitor_printf(", %llu pages in\n", (ull)pages);
	else if (r->kind != REGION_HOOK)
		monitor_printf(" at %llx\n", (ull)r->frames.v);
	else
		monitor_printf("\n");
}

static bool cmd_maps(const struct monitor_args *args)
{
	const struct vm *vm = monitor_vm(args, 0);
	const struct memmap *map;
	unsigned i = 0;

	if (!vm)
		return false;
	map = &vm->mem;
	if (!map->nr)
		monitor_printf("%s has no memory now\n", vm->cfg->name);
	while (i < map->nr) {
		struct region r = map->region[i];
		uint64_t pages = r.page ? pages_in(&r) : 0;

		while (++i < map->nr && goes_on(&r, &map->region[i])) {
			r.size += map->region[i].size;
			pages += r.page ? pages_in(&map->region[i]) : 0;
		}
		print_region(&r, pages);
	}
	return true;
}

/* --- verdicts --- */

static void print_error(const char *what, uint32_t error)
{
	static const struct {
		uint32_t bit;
		char name[5];
	} names[] = { { PF_P, "P" },       { PF_W, "W" }, { PF_U, "U" },
		      { PF_RSVD, "RSVD" }, { PF_I, "I" }, { PF_PK, "PK" } };
	char text[40] = "";
	size_t len = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!(error & names[i].bit))
			continue;
		text[len++] = ' ';
		len += str_copy(text + len, names[i].name, sizeof(text) - len);
	}
	monitor_printf("%s error 0x%x%s", what, error, text);
}

/* A line for each kind of access, by a walk's rights, as supervisor and as user. */
static void print_verdict(const struct pt_policy *policy, const struct pt_walk *w, bool ac)
{
	static const struct {
		char name[8];
		unsigned access;
	} rows[] = { { "read", 0 }, { "write", PT_ACC_WRITE }, { "execute", PT_ACC_FETCH } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned user = 0; user < 2; user++) {
			unsigned access = rows[i].access | (user ? PT_ACC_USER : 0) |
					  (ac ? PT_ACC_NO_SMAP : 0);
			uint32_t error = 0;

			monitor_printf(user ? "; user: " : "  %-7s supervisor: ", rows[i].name);
			if (pt_judge(policy, w, access, &error))
				monitor_printf("passes");
			else
				print_error("#PF", error);
		}
		monitor_printf("\n");
	}
}

/* --- walk --- */

/* The guest's own tables. False: they lead nowhere; else *gpa. */
static bool walk_guest(const struct vcpu *vcpu, const struct guest_paging *gp, uint64_t addr,
		       gpa_t *gpa)
{
	const struct pt_mem mem = inspect_pt_mem(vcpu->vm);
	struct guest_view view;
	struct pt_policy policy;
	struct pt_mem open_bus;
	struct pt_walk w;

	if (!guest_view_init(&view, gp, &mem)) {
		monitor_printf("the guest does not page: linear addresses are physical\n");
		*gpa = GPA(addr & UINT32_MAX);
		return true;
	}
	monitor_printf("the guest's tables:\n");
	if (pt_print_path(&view.tree, addr, monitor_print_line, NULL) == PT_BAD_ARG) {
		monitor_printf("%llx is not canonical: #GP or #SS\n", (ull)addr);
		return false;
	}
	/* A table where nothing is reads as ones for hardware. */
	guest_open_bus(&open_bus, &mem);
	view.under = &open_bus;
	pt_walk(&view.tree, addr, &w);
	pt_policy_init(&policy, gp->cr0, gp->cr4, gp->efer, gp->pkru);
	print_verdict(&policy, &w, gp->rflags & RFLAGS_AC);
	*gpa = GPA(w.out);
	return w.status == PT_OK;
}

/* Hardware's state under shadow paging: paging/shadow.h. */
static void walk_shadow(const struct vcpu *vcpu, const struct guest_paging *gp, uint64_t addr)
{
	uint64_t cr4 = gp->cr0 & CR0_PG ? gp->cr4 & (CR4_SMEP | CR4_SMAP | CR4_PKE) : 0;
	struct pt_policy policy;
	struct pt_tree tree;
	struct pt_walk w;

	if (!shadow_tree(&vcpu->shadow, host_pt_mem(), &tree)) {
		monitor_printf("the shadow has no root yet\n");
		return;
	}
	monitor_printf("the shadow, which hardware walks:\n");
	pt_print_path(&tree, addr, monitor_print_line, NULL);
	pt_walk(&tree, addr, &w);
	pt_policy_init(&policy, CR0_PG | CR0_WP, cr4 | CR4_PAE, gp->efer | EFER_NXE, gp->pkru);
	print_verdict(&policy, &w, gp->rflags & RFLAGS_AC);
}

static const char *exits_unless(bool right)
{
	return right ? "passes" : "exits";
}

static void walk_nested(const struct vm *vm, gpa_t gpa)
{
	struct pt_tree tree = nested_tree(&vm->nested);
	uint64_t size;
	unsigned rights = 0;
	hpa_t pa;

	monitor_printf("the nested tables, which hardware walks:\n");
	if (pt_print_path(&tree, gpa.v, monitor_print_line, NULL) == PT_BAD_ARG)
		monitor_printf("%llx is beyond what they translate\n", (ull)gpa.v);
	if (!nested_lookup(&vm->nested, gpa, &pa, &rights, &size))
		rights = 0;
	monitor_printf("  read %s; write %s; execute %s\n", exits_unless(rights & PT_R),
		       exits_unless(rights & PT_W), exits_unless(rights & PT_X));
}

static void print_place(struct vm *vm, gpa_t gpa)
{
	const struct region *r = memmap_find(&vm->mem, gpa);
	uint64_t avail, at;

	monitor_printf("gpa %llx is ", (ull)gpa.v);
	if (!r) {
		monitor_printf("nothing in the memory map\n");
		return;
	}
	if (r->kind == REGION_HOOK || r->kind == REGION_APIC) {
		monitor_printf(r->kind == REGION_HOOK ? "a device's\n" : "the local APIC's\n");
		return;
	}
	if (!memmap_peek(&vm->mem, gpa, &avail)) {
		monitor_printf("on the disk still\n");
		return;
	}
	at = r->page ? memmap_disk_page(r, gpa) + (gpa.v & (PAGE_SIZE - 1))
		     : r->frames.v + (gpa.v - r->start.v);
	monitor_printf("%s at hpa %llx\n", kinds[r->kind], (ull)at);
}

static bool cmd_walk(const struct monitor_args *args)
{
	const struct vcpu *vcpu = monitor_vcpu(args, 0);
	struct guest_paging gp;
	struct address a;
	bool leads = true;
	gpa_t gpa;

	if (!vcpu || !monitor_address(args, 1, vcpu, &a))
		return false;
	if (a.space == SPACE_HOST)
		return monitor_wrong("hpa: no guest's tables lead from there; see tables host");
	vcpu_peek_paging(vcpu, &gp);
	gpa = GPA(a.at);
	if (a.space == SPACE_VIRTUAL) {
		if (!(gp.efer & EFER_LMA))
			a.at &= UINT32_MAX;
		leads = walk_guest(vcpu, &gp, a.at, &gpa);
	}
	if (vm_shadow_translates(vcpu) && a.space == SPACE_VIRTUAL)
		walk_shadow(vcpu, &gp, a.at);
	else if (!vm_shadow_translates(vcpu) && leads)
		walk_nested(vcpu->vm, gpa);
	if (leads)
		print_place(vcpu->vm, gpa);
	return true;
}

/* --- tables --- */

static void print_tree(const struct pt_tree *t)
{
	uint64_t budget = TREE_ENTRIES;

	if (pt_print_tree(t, &budget, TREE_LINES, monitor_print_line, NULL) == PT_BAD_ARG)
		monitor_printf("there are none\n");
}

static bool tables_guest(const struct vcpu *vcpu)
{
	const struct pt_mem mem = inspect_pt_mem(vcpu->vm);
	struct guest_paging gp;
	struct guest_view view;

	vcpu_peek_paging(vcpu, &gp);
	if (guest_view_init(&view, &gp, &mem))
		print_tree(&view.tree);
	else
		monitor_printf("the guest does not page\n");
	return true;
}

static bool tables_shadow(const struct vcpu *vcpu)
{
	struct pt_tree tree;

	if (!vcpu->vm->shadow)
		monitor_printf("%s has no shadow\n", vcpu->vm->cfg->name);
	else if (!shadow_tree(&vcpu->shadow, host_pt_mem(), &tree))
		monitor_printf("the shadow has no root now\n");
	else
		print_tree(&tree);
	return true;
}

static bool tables_nested(const struct vcpu *vcpu)
{
	struct pt_tree tree = nested_tree(&vcpu->vm->nested);

	if (!vcpu->vm->has_nested)
		monitor_printf("%s has no nested tables\n", vcpu->vm->cfg->name);
	else
		print_tree(&tree);
	return true;
}

static bool cmd_tables(const struct monitor_args *args)
{
	const char *which = args->count > 1 ? args->word[1] : "guest";
	const struct vcpu *vcpu;
	struct pt_tree host;

	if (args->count == 1 && !strcmp(args->word[0], "host")) {
		host = host_pt_tree();
		print_tree(&host);
		return true;
	}
	vcpu = monitor_vcpu(args, 0);
	if (!vcpu)
		return false;
	if (!strcmp(which, "guest"))
		return tables_guest(vcpu);
	if (!strcmp(which, "shadow"))
		return tables_shadow(vcpu);
	if (!strcmp(which, "nested"))
		return tables_nested(vcpu);
	return monitor_wrong("%s: no such tables; there are guest, shadow and nested", which);
}

/* --- paging --- */

static void print_guest_mode(const struct vcpu *vcpu)
{
	const struct pt_mem mem = inspect_pt_mem(vcpu->vm);
	struct guest_paging gp;
	struct guest_view view;

	vcpu_peek_paging(vcpu, &gp);
	if (!guest_view_init(&view, &gp, &mem))
		monitor_printf("guest: does not page\n");
	else if (view.tree.root == GUEST_PDPTES)
		monitor_printf("guest: pages by pae, from the PDPTEs, %u physical bits\n",
			       gp.caps.maxphyaddr);
	else
		monitor_printf("guest: pages by %s, root %llx, %u physical bits%s\n", view.fmt.name,
			       (ull)view.tree.root, gp.caps.maxphyaddr,
			       view.fmt.levels >= 4 && gp.caps.page_1g ? ", 1G pages" : "");
	printer_value(&printer, "cr0", 8, gp.cr0, &flags_cr0);
	printer_value(&printer, "cr3", 16, gp.cr3, NULL);
	printer_value(&printer, "cr4", 8, gp.cr4, &flags_cr4);
	printer_value(&printer, "efer", 8, gp.efer, &flags_efer);
	if ((gp.cr0 & CR0_PG) && guest_paging_kind(&gp) == PT_PAE)
		for (unsigned i = 0; i < 4; i++)
			monitor_printf("  pdpte%u   %016llx\n", i, (ull)gp.pdpte[i]);
	if (gp.pkru)
		printer_value(&printer, "pkru", 8, gp.pkru, NULL);
}

static void print_shadow(const struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;
	const struct shadow_stats *stats = shadow_stats(vm->shadow);
	struct pt_tree tree;
	unsigned n = 0;

	if (shadow_tree(&vcpu->shadow, host_pt_mem(), &tree))
		monitor_printf("shadow: %s, root %llx, ", tree.fmt->name, (ull)tree.root);
	else
		monitor_printf("shadow: no root now, ");
	monitor_printf("%lluK of %lluK in use\n", (ull)(shadow_bytes(vm->shadow) >> 10),
		       (ull)(vm_shadow_limit(vm->cfg) >> 10));
#define X(field, name)                                                                             \
	monitor_printf("  %-11s %12llu%s", name, (ull)stats->field, ++n % 3 ? "" : "\n");
	SHADOW_COUNTERS(X)
#undef X
	monitor_printf("  %-11s %12llu%s", "interrupts", (ull)vm->tables.driven_out,
		       ++n % 3 ? "" : "\n");
	if (n % 3)
		monitor_printf("\n");
}

static void audit_line(void *ctx, const char *why)
{
	(void)ctx;
	monitor_printf("%s\n", why);
}

static bool audit(const struct monitor_args *args)
{
	const struct vcpu *vcpu = monitor_vcpu(args, 1);
	unsigned wrong;

	if (!vcpu)
		return false;
	if (!vcpu->vm->shadow) {
		monitor_printf("%s has no shadow: nested tables translate for it\n",
			       vcpu->vm->cfg->name);
		return true;
	}
	wrong = shadow_audit_all(vcpu->vm->shadow, audit_line, NULL);
	if (wrong)
		monitor_printf("%u wrong\n", wrong);
	else
		monitor_printf("OK: all %lluK of the shadow\n",
			       (ull)(shadow_bytes(vcpu->vm->shadow) >> 10));
	return true;
}

static bool cmd_paging(const struct monitor_args *args)
{
	const struct vcpu *vcpu;

	if (args->count == 2) {
		if (strcmp(args->word[0], "audit") != 0)
			return monitor_wrong("%s is not audit", args->word[0]);
		return audit(args);
	}
	vcpu = monitor_vcpu(args, 0);
	if (!vcpu)
		return false;
	monitor_printf("%s: hardware walks the %s tables\n", vcpu->vm->cfg->name,
		       vm_shadow_translates(vcpu) ? "shadow's" : "nested");
	print_guest_mode(vcpu);
	if (vcpu->vm->has_nested)
		monitor_printf("nested: %s, root %llx\n", vcpu->vm->nested.fmt.name,
			       (ull)vcpu->vm->nested.root.v);
	if (vcpu->vm->shadow)
		print_shadow(vcpu);
	return true;
}

static const struct monitor_command commands[] = {
	{ .name = "maps",
	  .args = "NAME",
	  .help = "what lies at which guest-physical address",
	  .example = "maps deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_maps },
	{ .name = "walk",
	  .args = "NAME ADDR",
	  .help = "the way of an address, table by table",
	  .example = "walk deb64 $rip",
	  .words_min = 2,
	  .words_max = 2,
	  .word = { WORD_VM },
	  .run = cmd_walk },
	{ .name = "tables",
	  .args = "NAME [guest|shadow|nested]",
	  .help = "page tables, folded; of NAME host: Umbra's own",
	  .example = "tables deb64 nested",
	  .words_min = 1,
	  .words_max = 2,
	  .word = { WORD_VM },
	  .run = cmd_tables },
	{ .name = "paging",
	  .args = "[audit] NAME",
	  .help = "mode, roots, counters; audit: check the shadow",
	  .example = "paging audit deb64",
	  .words_min = 1,
	  .words_max = 2,
	  .word = { WORD_VM, WORD_VM },
	  .run = cmd_paging },
};

const struct monitor_family monitor_paging_family = {
	.title = "Paging",
	.commands = commands,
	.count = ARRAY_SIZE(commands),
};
