#include "tests/host/fake_backend.h"

#include <string.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/mm.h"

struct fake_backend fake_hw;
struct vm fake_vm;
struct vcpu fake_vcpu;
_Alignas(4096) uint8_t fake_ram[FAKE_RAM_SIZE];

static uint64_t get_reg(const struct vcpu *vcpu, enum vcpu_reg reg)
{
	(void)vcpu;
	return reg == REG_CS_ATTR ? fake_hw.seg[SEG_CS].attr : fake_hw.reg[reg];
}

static void set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val)
{
	memcpy(fake_hw.pdpte_when_set, vcpu->pdpte, sizeof(vcpu->pdpte));
	fake_hw.reg[reg] = val;
	fake_hw.sets[reg]++;
}

static void get_seg(const struct vcpu *vcpu, enum seg_reg reg, struct segment *seg)
{
	(void)vcpu;
	*seg = fake_hw.seg[reg];
}

static void set_seg(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg)
{
	(void)vcpu;
	fake_hw.seg[reg] = *seg;
}

static bool can_inject(const struct vcpu *vcpu, enum vm_event_kind kind)
{
	(void)vcpu;
	return kind == EVENT_NMI ? fake_hw.can_inject_nmi : fake_hw.can_inject_intr;
}

static void inject(struct vcpu *vcpu, const struct vm_event *ev)
{
	(void)vcpu;
	if (fake_hw.nr_injected < ARRAY_SIZE(fake_hw.injected))
		fake_hw.injected[fake_hw.nr_injected] = *ev;
	fake_hw.nr_injected++;
}

static void request_window(struct vcpu *vcpu, enum vm_event_kind kind, bool on)
{
	(void)vcpu;
	fake_hw.window_calls++;
	if (kind == EVENT_NMI)
		fake_hw.window_nmi = on;
	else
		fake_hw.window_intr = on;
}

static void set_tpr_threshold(struct vcpu *vcpu, unsigned class)
{
	(void)vcpu;
	fake_hw.tpr_threshold = class;
	fake_hw.tpr_threshold_calls++;
}

static void set_virtual_interrupts(struct vcpu *vcpu, bool on)
{
	(void)vcpu;
	fake_hw.virtual_interrupts = on;
	fake_hw.virtual_interrupts_calls++;
}

static void flush(struct vcpu *vcpu, enum flush_scope scope)
{
	(void)vcpu;
	fake_hw.flushes++;
	fake_hw.nested_flushes += scope == FLUSH_NESTED;
}

bool fake_has_nested = true, fake_invpcid_exits = true, fake_real_mode = true;
bool fake_nested_unpaged, fake_identity_map, fake_preemption_timer;
bool fake_apic_page, fake_virtual_interrupts, fake_posted_interrupts;

static const struct backend_caps *caps(void)
{
	static struct backend_caps c = { .nested_kind = NESTED_NPT,
					 .nested_1g = true,
					 .nested_phys_bits = 48,
					 .real_mode = true,
					 .features = "" };

	c.nested_paging = fake_has_nested;
	c.real_mode = fake_real_mode;
	c.invpcid_exits = fake_invpcid_exits;
	c.nested_unpaged = fake_nested_unpaged;
	c.identity_map = fake_identity_map;
	c.preemption_timer = fake_preemption_timer;
	c.apic_page = fake_apic_page;
	c.virtual_interrupts = fake_virtual_interrupts;
	c.posted_interrupts = fake_posted_interrupts;
	return &c;
}

static int vm_init(struct vm *vm)
{
	(void)vm;
	if (!fake_hw.vm_init_error)
		fake_hw.vms++;
	return fake_hw.vm_init_error;
}

static void vm_destroy(struct vm *vm)
{
	(void)vm;
	fake_hw.vms--;
}

static int vcpu_init(struct vcpu *vcpu)
{
	vcpu->hot = fake_hw.reg;
	if (!fake_hw.vcpu_init_error)
		fake_hw.vcpus++;
	return fake_hw.vcpu_init_error;
}

static void vcpu_destroy_hw(struct vcpu *vcpu)
{
	(void)vcpu;
	fake_hw.vcpus--;
}

static void set_intercept_dr(struct vcpu *vcpu, bool on)
{
	(void)vcpu;
	fake_hw.intercept_dr = on;
}

static void set_intercept_exception(struct vcpu *vcpu, unsigned vector, bool on)
{
	(void)vcpu;
	fake_hw.intercept_exceptions &= ~(uint32_t)BIT(vector);
	if (on)
		fake_hw.intercept_exceptions |= (uint32_t)BIT(vector);
}

static void set_intercept_invlpg(struct vcpu *vcpu, bool on)
{
	(void)vcpu;
	fake_hw.intercept_invlpg = on;
}

static void set_root(struct vcpu *vcpu, hpa_t root, enum root_kind kind)
{
	(void)vcpu;
	fake_hw.root = root;
	fake_hw.root_kind = kind;
	fake_hw.roots_set++;
}

static void get_pdptes(const struct vcpu *vcpu, uint64_t pdpte[4])
{
	(void)vcpu;
	memcpy(pdpte, fake_hw.pdpte, sizeof(fake_hw.pdpte));
}

static void dump(const struct vcpu *vcpu, const struct printer *p)
{
	(void)vcpu;
	fake_hw.dumps++;
	printer_line(p, "the fake hardware's words");
}

#define OPS                                                                                        \
	.name = "fake", .caps = caps, .vm_init = vm_init, .vm_destroy = vm_destroy,                \
	.vcpu_init = vcpu_init, .vcpu_destroy = vcpu_destroy_hw,                                   \
	.set_intercept_dr = set_intercept_dr, .set_intercept_exception = set_intercept_exception,  \
	.set_intercept_invlpg = set_intercept_invlpg, .set_root = set_root, .dump = dump,          \
	.get_reg = get_reg, .set_reg = set_reg, .get_seg = get_seg, .set_seg = set_seg,            \
	.can_inject = can_inject, .inject = inject, .request_window = request_window,              \
	.set_tpr_threshold = set_tpr_threshold, .set_virtual_interrupts = set_virtual_interrupts,  \
	.flush = flush

const struct vmm_backend fake_backend_ops = { OPS };
const struct vmm_backend fake_backend_pdptes_ops = { OPS, .get_pdptes = get_pdptes };

static bool intr_pending(void *ctx)
{
	(void)ctx;
	return fake_hw.intr_pending;
}

static int intr_ack(void *ctx)
{
	(void)ctx;
	fake_hw.acks++;
	fake_hw.intr_pending = false;
	return fake_hw.intr_vector;
}

static const struct vm_config config = { .name = "test" };
static struct exit_stats exits;

void fake_vm_reset(void)
{
	fake_hw = (struct fake_backend){ .can_inject_intr = true, .can_inject_nmi = true };
	fake_hw.reg[REG_CR0] = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_EFER] = EFER_LME | EFER_LMA | EFER_SCE;
	fake_hw.reg[REG_DR6] = DR6_INIT;
	fake_hw.reg[REG_PAT] = UINT64_C(0x0007040600070406);
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_L | 0xb;
	memset(fake_ram, 0, sizeof(fake_ram));
	memset(&fake_vm, 0, sizeof(fake_vm));
	memset(&fake_vcpu, 0, sizeof(fake_vcpu));
	fake_vm.cfg = &config;
	fake_vm.tsc_offset = -rdtsc();
	fake_vm.backend = &fake_backend_ops;
	fake_vm.intr = (struct vm_intr_source){ .pending = intr_pending, .ack = intr_ack };
	fake_vm.nr_vcpus = 1;
	fake_vm.vcpu[0] = &fake_vcpu;
	fake_vm.mem.nr = 1;
	fake_vm.mem.region[0] = (struct region){ .size = FAKE_RAM_SIZE,
						 .kind = REGION_MEM,
						 .frames = ptr_to_hpa(fake_ram) };
	fake_vcpu.vm = &fake_vm;
	fake_vcpu.hot = fake_hw.reg;
	memset(&exits, 0, sizeof(exits));
	fake_vcpu.exits = fake_vm.exits[0] = &exits;
	fake_vcpu.xcr0 = XCR0_X87;
	fake_vcpu.regs.rip = 0x1000;
	fake_vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_IF;
}

struct cpuid_regs fake_cpuid_all_ones(uint32_t leaf, uint32_t subleaf)
{
	(void)subleaf;
	if (leaf == 0 || leaf == 0x80000000)
		return (struct cpuid_regs){ leaf | 0xffff, ~0u, ~0u, ~0u };
	return (struct cpuid_regs){ ~0u, ~0u, ~0u, ~0u };
}

struct cpuid_regs fake_cpuid_amd(uint32_t leaf, uint32_t subleaf)
{
	switch (leaf) {
	case 0: /* AuthenticAMD */
		return (struct cpuid_regs){ 0xd, 0x68747541, 0x444d4163, 0x69746e65 };
	case 1:
		return (struct cpuid_regs){ 0x800f12, 0x03040800, ~0u, ~0u };
	case 7:
		return (struct cpuid_regs){ 0, ~0u, ~0u, ~0u };
	case 0xd:
		if (subleaf == 0)
			return (struct cpuid_regs){ 0x207, 832, 2696, 0 };
		if (subleaf == 1)
			return (struct cpuid_regs){ 0xf, 832, 0, 0 };
		if (subleaf == 2)
			return (struct cpuid_regs){ 256, 576, 0, 0 };
		if (subleaf == 9)
			return (struct cpuid_regs){ 8, 2688, 0, 0 };
		return (struct cpuid_regs){ 0 };
	case 0x80000000:
		return (struct cpuid_regs){ 0x8000001f, 0x68747541, 0x444d4163, 0x69746e65 };
	case 0x80000001:
		return (struct cpuid_regs){ 0x800f12, 0, ~0u, ~0u };
	case 0x80000008:
		return (struct cpuid_regs){ 0x3028, ~0u, 0x7007, 0 };
	default:
		return (struct cpuid_regs){ 0 };
	}
}
