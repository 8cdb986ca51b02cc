#include "vmm/vcpu_apic.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/lookahead.h"
#include "vmm/vm.h"

/* --- what it does to the processor --- */

static void raise_nmi(void *ctx)
{
	vcpu_raise_nmi(ctx);
}

static void init_signal(void *ctx)
{
	vcpu_init_signal(ctx);
}

static void startup(void *ctx, uint8_t vector)
{
	vcpu_startup(ctx, vector);
}

static void kick(void *ctx)
{
	vcpu_kick(ctx);
}

static void notify(void *ctx)
{
	vcpu_notify(ctx);
}

static void tpr_changed(void *ctx, uint8_t tpr)
{
	struct vcpu *vcpu = ctx;

	vcpu->vm->backend->set_reg(vcpu, REG_CR8, tpr >> 4);
}

static uint64_t guest_tsc(void *ctx)
{
	const struct vcpu *vcpu = ctx;

	return rdtsc() + vcpu->vm->backend->get_reg(vcpu, REG_TSC_OFFSET);
}

static const struct lapic_cpu processor = {
	.nmi = raise_nmi,
	.init = init_signal,
	.startup = startup,
	.kick = kick,
	.notify = notify,
	.tpr_changed = tpr_changed,
	.tsc = guest_tsc,
};

void vcpu_apic_init(struct vcpu *vcpu)
{
	struct lapic *l = &vcpu->lapic;

	lapic_setup(l, &vcpu->vm->lapics, &processor, vcpu);
	if (!vcpu->vm->cfg->apic)
		lapic_write_base(l, 0, cpuid_policy()->maxphyaddr);
	else if (l->bsp)
		lapic_virtual_wire(l);
}

/* --- registers in memory --- */

/* An entry is looked for and counted in without the VM's lock: at worst a count is lost, or another
 * entry's that has just taken this one's place. */
static struct touch *touch(struct vcpu *vcpu, gpa_t gpa)
{
	struct vm *vm = vcpu->vm;
	struct touch *t = touches_find(&vm->touches, TOUCH_MEMORY, gpa.v);

	if (t)
		return t;
	owned_lock(&vm->lock);
	t = touches_find(&vm->touches, TOUCH_MEMORY, gpa.v);
	if (!t)
		t = touches_new(&vm->touches, TOUCH_MEMORY, gpa.v, "lapic");
	owned_unlock(&vm->lock);
	return t;
}

void vcpu_apic_read(struct vcpu *vcpu, gpa_t gpa, uint8_t *bytes, unsigned size)
{
	unsigned off = gpa.v & (PAGE_SIZE - 1), n;

	touch(vcpu, gpa)->in++;
	for (unsigned i = 0; i < size; i += n) {
		uint64_t val;

		n = MIN(size - i, sizeof(val));
		val = lapic_mmio_read(&vcpu->lapic, off + i, n);
		memcpy(bytes + i, &val, n);
	}
}

void vcpu_apic_write(struct vcpu *vcpu, gpa_t gpa, const uint8_t *bytes, unsigned size)
{
	unsigned off = gpa.v & (PAGE_SIZE - 1), n;

	touch(vcpu, gpa)->out++;
	for (unsigned i = 0; i < size; i += n) {
		uint64_t val = 0;

		n = MIN(size - i, sizeof(val));
		memcpy(&val, bytes + i, n);
		lapic_mmio_write(&vcpu->lapic, off + i, n, val);
	}
}

/* --- the plain MOV --- */

#define MOV_STORE 0x89u
#define MOV_LOAD 0x8bu
#define MOV_IMMEDIATE 0xc7u
#define MOV_BYTES 12 /* the longest: REX, opcode, ModRM, SIB, displacement, immediate */

/* One with no prefix but a REX without W. APM vol. 3, 1.2 to 1.5. */
struct mov {
	uint8_t op, reg, len;
	uint32_t imm;
};

/* The length of what follows ModRM, SIB and displacement with addresses of 32 or 64 bits. */
static unsigned address_length(uint8_t modrm, uint8_t sib)
{
	unsigned mod = modrm >> 6, base = modrm & 7, len = 0;

	if (base == 4) {
		base = sib & 7;
		len = 1;
	}
	if (mod == 1)
		return len + 1;
	return mod == 2 || base == 5 ? len + 4 : len;
}

static bool decode_mov(const uint8_t *code, bool code_64, struct mov *mov)
{
	unsigned rex = code_64 && (code[0] & 0xf8) == 0x40;
	uint8_t modrm = code[rex + 1];

	mov->op = code[rex];
	mov->reg = (modrm >> 3 & 7) | (rex ? (code[0] & 4) << 1 : 0);
	if ((mov->op != MOV_STORE && mov->op != MOV_LOAD &&
	     (mov->op != MOV_IMMEDIATE || (modrm & 0x38))) ||
	    modrm >> 6 == 3)
		return false;
	mov->len = (uint8_t)(rex + 2 + address_length(modrm, code[rex + 2]));
	if (mov->op == MOV_IMMEDIATE) {
		memcpy(&mov->imm, code + mov->len, sizeof(mov->imm));
		mov->len += sizeof(mov->imm);
	}
	return true;
}

bool vcpu_apic_mov(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	unsigned size = vcpu_code_size(vcpu), off = exit->nested.gpa.v & (PAGE_SIZE - 1);
	const uint8_t *code;
	uint64_t avail;
	struct mov mov;

	if (exit->interrupted.kind != EVENT_NONE || exit->nested.fetch || exit->nested.table_walk ||
	    vcpu->debug.on || size < 4 || off > PAGE_SIZE - 4)
		return false;
	code = lookahead_code(vcpu, &avail);
	if (!code || avail < MOV_BYTES || !decode_mov(code, size == 8, &mov) ||
	    exit->nested.write == (mov.op == MOV_LOAD))
		return false;
	if (mov.op == MOV_LOAD) {
		touch(vcpu, exit->nested.gpa)->in++;
		vcpu->regs.gpr[mov.reg] = lapic_mmio_read(&vcpu->lapic, off, 4);
	} else {
		touch(vcpu, exit->nested.gpa)->out++;
		lapic_mmio_write(&vcpu->lapic, off, 4,
				 mov.op == MOV_IMMEDIATE ? mov.imm
							 : (uint32_t)vcpu->regs.gpr[mov.reg]);
	}
	vcpu_retire_insn(vcpu, mov.len);
	return true;
}

/* --- what the processor leaves to do --- */

static gpa_t register_at(const struct vcpu *vcpu, unsigned off)
{
	return GPA(ALIGN_DOWN(vcpu->lapic.last_byte, PAGE_SIZE) | off);
}

void vcpu_apic_written(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;

	if (vcpu->lapic.last_byte)
		touch(vcpu, register_at(vcpu, exit->apic.off))->out++;
	lapic_written(&vcpu->lapic, exit->apic.page, exit->apic.off);
}

void vcpu_apic_ended(struct vcpu *vcpu)
{
	struct lapic *l = &vcpu->lapic;

	if (lapic_has_posted(l))
		lapic_fold(l);
	lapic_ended(l, vcpu->exit.apic.vector);
}

/* --- where they are --- */

static bool another_has(const struct vcpu *vcpu, uint64_t last_byte)
{
	const struct lapic_set *set = &vcpu->vm->lapics;

	for (unsigned i = 0; i < set->nr; i++)
		if (set->lapic[i] != &vcpu->lapic && set->lapic[i]->last_byte == last_byte)
			return true;
	return false;
}

/* For the VM's other vCPUs the memory is still there: their accesses come one at a time, with the
 * VM's lock held. dev: where the page is. */
static uint64_t memory_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	memcpy(&val, (const uint8_t *)dev + off, size);
	return val;
}

static void memory_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	memcpy((uint8_t *)dev + off, &val, size);
}

static const struct mmio_ops memory_ops = { .read = memory_read, .write = memory_write };

static_assert(BUS_MMIO_RANGES >= LAPIC_MAX + 32 && MEMMAP_MAX_REGIONS >= 2 * LAPIC_MAX + 64,
	      "all of them may be moved over memory, each to a page of its own");

/* The registers hide what memory there is. */
static void hook(struct vcpu *vcpu, uint64_t last_byte)
{
	uint64_t page = ALIGN_DOWN(last_byte, PAGE_SIZE), avail;
	struct vm *vm = vcpu->vm;
	const struct region *r = memmap_find(&vm->mem, GPA(page));
	void *memory;
	int err;

	/* The processor itself may need the one page, and finds it there whatever the guest does.
	 */
	if (!r || r->hooked || (vm->identity_map.v && page == vm->identity_map.v))
		return;
	memory = r->kind == REGION_MEM ? memmap_ptr(&vm->mem, GPA(page), true, &avail) : NULL;
	err = vm_hook(vm, GPA(page), PAGE_SIZE, REGION_HOOK);
	if (!err && memory)
		err = bus_register_mmio(&vm->bus, GPA(page), PAGE_SIZE, "memory", &memory_ops,
					memory);
	if (err)
		vm_request_stop(vm, VM_STOP_ERROR, 0, "no %s to move its local APIC",
				err == -ENOMEM ? "free memory" : "room in its memory map");
}

static void unhook(struct vcpu *vcpu, uint64_t last_byte)
{
	uint64_t page = ALIGN_DOWN(last_byte, PAGE_SIZE);
	struct vm *vm = vcpu->vm;
	const struct region *r = memmap_find(&vm->mem, GPA(page));

	if (!r || !r->hooked || another_has(vcpu, last_byte))
		return;
	bus_unregister_mmio(&vm->bus, GPA(page));
	vm_unhook(vm, GPA(page), PAGE_SIZE);
}

bool vcpu_apic_read_base(const struct vcpu *vcpu, uint64_t *val)
{
	*val = vcpu->lapic.base;
	return vcpu->vm->cfg->apic;
}

static bool write_base(struct vcpu *vcpu, uint64_t val)
{
	struct lapic *l = &vcpu->lapic;
	uint64_t old = l->last_byte;

	if (!lapic_write_base(l, val, cpuid_policy()->maxphyaddr))
		return false;
	if (l->last_byte == old)
		return true;
	vm_drop_apic_page(vcpu->vm);
	if (old)
		unhook(vcpu, old);
	if (l->last_byte)
		hook(vcpu, l->last_byte);
	return true;
}

bool vcpu_apic_write_base(struct vcpu *vcpu, uint64_t val)
{
	bool ok;

	if (!vcpu->vm->cfg->apic)
		return false;
	owned_lock(&vcpu->vm->lock);
	ok = write_base(vcpu, val);
	owned_unlock(&vcpu->vm->lock);
	return ok;
}
