#include "vmm/vcpu.h"

#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/dr.h"
#include "vmm/memmap.h"
#include "vmm/msr.h"
#include "vmm/vcpu_apic.h"
#include "vmm/vm.h"
#include "vmm/vm_shadow.h"

int vcpu_create(struct vm *vm, unsigned id, struct vcpu **out)
{
	struct vcpu *vcpu = kalloc(sizeof(*vcpu));
	int err;

	if (!vcpu)
		return trace_error(-ENOMEM);
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->exits = vm->exits[id];
	sched_entity_init(&vcpu->sched, &vm->sched, &vm->cfg->cpus);
	vcpu->fpu = fpu_area_alloc();
	if (!vcpu->fpu) {
		kfree(vcpu, sizeof(*vcpu));
		return trace_error(-ENOMEM);
	}
	err = vm->shadow ? vm_shadow_vcpu_init(vcpu) : 0;
	if (!err)
		err = vm->backend->vcpu_init(vcpu);
	if (err) {
		fpu_area_free(vcpu->fpu);
		kfree(vcpu, sizeof(*vcpu));
		return err;
	}
	vcpu_apic_init(vcpu);
	/* APM vol. 2, table 14-1: the first instruction is at 0xfffffff0; EDX says who. */
	vcpu->regs = (struct vcpu_regs){ .rip = 0xfff0, .rflags = RFLAGS_FIXED };
	vcpu->regs.gpr[RDX] = cpuid_guest(vcpu, 1, 0).eax;
	vcpu->xcr0 = XCR0_X87;
	vcpu->state = id ? VCPU_WAIT_SIPI : VCPU_STARTING;
	msr_reset(vcpu);
	debug_attach(vcpu);
	*out = vcpu;
	return 0;
}

const struct segment *vcpu_reset_seg(enum seg_reg reg)
{
	static const struct segment code = { 0xf000, 0x9b, 0xffff, 0xffff0000 };
	static const struct segment data = { 0, 0x93, 0xffff, 0 };
	static const struct segment ldt = { 0, 0x82, 0xffff, 0 };
	static const struct segment tss = { 0, 0x8b, 0xffff, 0 };
	static const struct segment table = { 0, 0, 0xffff, 0 };
	static const struct segment *const segs[SEG_REGS] = {
		[SEG_ES] = &data,    [SEG_CS] = &code,    [SEG_SS] = &data,  [SEG_DS] = &data,
		[SEG_FS] = &data,    [SEG_GS] = &data,    [SEG_LDTR] = &ldt, [SEG_TR] = &tss,
		[SEG_GDTR] = &table, [SEG_IDTR] = &table,
	};

	return segs[reg];
}

void vcpu_destroy(struct vcpu *vcpu)
{
	lapic_destroy(&vcpu->lapic);
	vcpu->vm->backend->vcpu_destroy(vcpu);
	fpu_area_free(vcpu->fpu);
	kfree(vcpu, sizeof(*vcpu));
}

void vcpu_set_gpr(struct vcpu *vcpu, enum gpr reg, uint64_t val, unsigned size)
{
	uint64_t mask = BITS(8 * size - 1, 0);
	uint64_t *gpr = &vcpu->regs.gpr[reg & 0xf];

	*gpr = size >= 4 ? val & mask : (*gpr & ~mask) | (val & mask);
}

/* What follows every instruction, and every iteration of a repeated one. */
static void end_of_step(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;

	backend->set_reg(vcpu, REG_INTR_SHADOW, 0);
	vcpu->debug.retired = true;
	if (vcpu->regs.rflags & RFLAGS_TF) {
		dr_write(vcpu, 6, dr_read(vcpu, 6) | DR6_BS);
		vcpu_raise_vector(vcpu, VEC_DB);
	}
}

void vcpu_retire_insn(struct vcpu *vcpu, unsigned len)
{
	uint64_t old = vcpu->regs.rip, rip = old + len;

	/* IP and EIP wrap at their own width; nothing to cut unless a carry leaves bit 15. */
	if ((old ^ rip) >> 16) {
		unsigned size = vcpu_code_size(vcpu);

		if (size < 8)
			rip &= size == 4 ? BITS(31, 0) : BITS(15, 0);
	}
	vcpu->regs.rip = rip;
	vcpu->regs.rflags &= ~RFLAGS_RF;
	end_of_step(vcpu);
}

void vcpu_retire_jump(struct vcpu *vcpu, uint64_t rip)
{
	vcpu->regs.rip = rip;
	vcpu->regs.rflags &= ~RFLAGS_RF;
	end_of_step(vcpu);
}

void vcpu_retire_iteration(struct vcpu *vcpu)
{
	/* The same instruction follows: its breakpoint has had its turn. */
	if (vcpu->regs.rflags & RFLAGS_TF)
		vcpu->regs.rflags |= RFLAGS_RF;
	end_of_step(vcpu);
}

/*
 * The four PDPTEs of PAE paging. A VM with a shadow has them from the load, which cr.c did. Else
 * the processor loads them at MOV CR3, which is not seen here: it is asked, or they are read where
 * CR3 points now; their 32 bytes lie in one page.
 */
static void read_pdptes(const struct vcpu *vcpu, struct guest_paging *gp, bool touch)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	struct memmap *mem = &vcpu->vm->mem;
	gpa_t at = GPA(gp->cr3 & CR3_ADDR_PAE);
	const void *from;
	uint64_t avail;

	if (vcpu->vm->shadow) {
		memcpy(gp->pdpte, vcpu->pdpte, sizeof(gp->pdpte));
		return;
	}
	if (backend->get_pdptes) {
		backend->get_pdptes(vcpu, gp->pdpte);
		return;
	}
	from = touch ? memmap_ptr(mem, at, false, &avail) : memmap_peek(mem, at, &avail);
	if (from)
		memcpy(gp->pdpte, from, sizeof(gp->pdpte));
}

struct pt_caps vcpu_pt_caps(void)
{
	const struct cpuid_policy *policy = cpuid_policy();

	return (struct pt_caps){
		.maxphyaddr = (uint8_t)policy->maxphyaddr,
		.page_1g = policy->page_1g,
		.pse36 = policy->pse36,
		.nonleaf_g_rsvd = policy->amd,
	};
}

uint32_t vcpu_pkru(const struct vcpu *vcpu)
{
	if (!(vcpu_hot_reg(vcpu, REG_CR4) & CR4_PKE) || !(vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA))
		return 0;
	return vcpu->loaded ? fpu_pkru() : fpu_area_pkru(vcpu->fpu);
}

static void guest_paging(const struct vcpu *vcpu, struct guest_paging *gp, bool touch)
{
	gp->cr0 = vcpu_hot_reg(vcpu, REG_CR0);
	gp->cr3 = vcpu_hot_reg(vcpu, REG_CR3);
	gp->cr4 = vcpu_hot_reg(vcpu, REG_CR4);
	gp->efer = vcpu_hot_reg(vcpu, REG_EFER);
	gp->rflags = vcpu->regs.rflags;
	gp->caps = vcpu_pt_caps();
	gp->pkru = vcpu_pkru(vcpu);
	for (unsigned i = 0; i < ARRAY_SIZE(gp->pdpte); i++)
		gp->pdpte[i] = 0;
	if ((gp->cr0 & CR0_PG) && (gp->cr4 & CR4_PAE) && !(gp->efer & EFER_LMA))
		read_pdptes(vcpu, gp, touch);
}

void vcpu_guest_paging(const struct vcpu *vcpu, struct guest_paging *gp)
{
	guest_paging(vcpu, gp, true);
}

void vcpu_peek_paging(const struct vcpu *vcpu, struct guest_paging *gp)
{
	guest_paging(vcpu, gp, false);
}

unsigned vcpu_code_size(const struct vcpu *vcpu)
{
	uint64_t attr = vcpu->vm->backend->get_reg(vcpu, REG_CS_ATTR);

	if ((attr & SEG_ATTR_L) && (vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA))
		return 8;
	/* Real mode keeps the segment's D bit too: a 32-bit "unreal" CS is possible. */
	return attr & SEG_ATTR_DB ? 4 : 2;
}

unsigned vcpu_cpl(const struct vcpu *vcpu)
{
	return (unsigned)vcpu->vm->backend->get_reg(vcpu, REG_CPL);
}

static void dump_segments(const struct vcpu *vcpu)
{
	static const char names[SEG_REGS][4] = { "es", "cs",  "ss", "ds",  "fs",
						 "gs", "ldt", "tr", "gdt", "idt" };

	for (unsigned i = 0; i < SEG_REGS; i++) {
		struct segment seg = { 0 };

		vcpu->vm->backend->get_seg(vcpu, (enum seg_reg)i, &seg);
		log_info("  %-3s %04x base %016llx limit %08x attr %03x", names[i], seg.selector,
			 (unsigned long long)seg.base, seg.limit, seg.attr);
	}
}

const char vcpu_gpr_names[GPRS][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
				       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

uint64_t vcpu_seg_base(const struct vcpu *vcpu, enum seg_reg reg)
{
	struct segment seg = { 0 };

	vcpu->vm->backend->get_seg(vcpu, reg, &seg);
	return seg.base;
}

void vcpu_dump(const struct vcpu *vcpu)
{
	const char(*names)[4] = vcpu_gpr_names;
	const struct vmm_backend *backend = vcpu->vm->backend;
	const uint64_t *gpr = vcpu->regs.gpr;

	log_info("vm %s: vcpu %u, last exit %s (%s)", vcpu->vm->cfg->name, vcpu->id,
		 vm_exit_name(vcpu->exit.kind), vcpu->exit.hw_name ? vcpu->exit.hw_name : "?");
	for (unsigned i = 0; i < GPRS; i += 2)
		log_info("  %-3s %016llx  %-3s %016llx", names[i], (unsigned long long)gpr[i],
			 names[i + 1], (unsigned long long)gpr[i + 1]);
	log_info("  rip %016llx  rflags %08llx  cpl %u", (unsigned long long)vcpu->regs.rip,
		 (unsigned long long)vcpu->regs.rflags, vcpu_cpl(vcpu));
	log_info("  cr2 %016llx  cr3 %016llx", (unsigned long long)backend->get_reg(vcpu, REG_CR2),
		 (unsigned long long)backend->get_reg(vcpu, REG_CR3));
	log_info("  cr0 %08llx  cr4 %08llx  efer %04llx",
		 (unsigned long long)backend->get_reg(vcpu, REG_CR0),
		 (unsigned long long)backend->get_reg(vcpu, REG_CR4),
		 (unsigned long long)backend->get_reg(vcpu, REG_EFER));
	dump_segments(vcpu);
}
