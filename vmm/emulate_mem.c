/* Operands: registers, effective addresses, segmentation, memory. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/emulate_alu.h"
#include "vmm/emulate_core.h"
#include "vmm/gmem.h"
#include "vmm/vcpu_apic.h"
#include "vmm/vm.h"
#include "vmm/vm_tables.h"

uint64_t emu_reg(const struct emu *e, unsigned reg, unsigned size)
{
	return alu_cut(e->vcpu->regs.gpr[reg], size);
}

void emu_set_reg(struct emu *e, unsigned reg, unsigned size, uint64_t val)
{
	uint64_t *r = &e->vcpu->regs.gpr[reg];

	if (size >= 4)
		*r = alu_cut(val, size);
	else
		*r = (*r & ~alu_cut(~UINT64_C(0), size)) | alu_cut(val, size);
}

uint64_t emu_offset(const struct emu *e)
{
	const struct insn *insn = e->insn;
	uint64_t addr = (uint64_t)insn->disp;

	if (insn->base == INSN_RIP)
		addr += e->vcpu->regs.rip + insn->len;
	else if (insn->base != INSN_NO_REG)
		addr += e->vcpu->regs.gpr[insn->base];
	if (insn->index < GPRS)
		addr += e->vcpu->regs.gpr[insn->index] * insn->scale;
	return alu_cut(addr, insn->addr_size);
}

static bool segment_fault(struct emu *e, unsigned seg)
{
	return emu_refuse_error(e, seg == SEG_SS ? VEC_SS : VEC_GP, 0);
}

static const struct guest_paging *paging_state(struct emu *e)
{
	if (!e->have_paging)
		vcpu_guest_paging(e->vcpu, &e->paging);
	e->have_paging = true;
	return &e->paging;
}

/* 64-bit code: FS and GS have bases, nothing has a limit (APM vol. 2, 4.5.3). */
static bool linear_64(struct emu *e, unsigned seg, uint64_t offset, unsigned size, gva_t *out)
{
	struct segment s = { 0 };
	uint64_t first, last;

	if (seg == SEG_FS || seg == SEG_GS)
		e->vcpu->vm->backend->get_seg(e->vcpu, (enum seg_reg)seg, &s);
	first = s.base + offset;
	last = first + size - 1;
	*out = GVA(first);
	if (addr_is_canonical(first, 48) && addr_is_canonical(last, 48))
		return true;
	if ((paging_state(e)->cr4 & CR4_LA57) && addr_is_canonical(first, 57) &&
	    addr_is_canonical(last, 57))
		return true;
	return segment_fault(e, seg);
}

/* May this segment be read, or written, at all? (APM vol. 2, 4.7 and 4.8) */
static bool segment_type_allows(const struct segment *s, bool write)
{
	unsigned type = s->attr & SEG_ATTR_TYPE;

	if (!(s->attr & SEG_ATTR_P))
		return false;
	if (type & 8) /* code: bit 1 means readable */
		return !write && (type & 2);
	return !write || (type & 2);
}

static bool segment_limit_allows(const struct segment *s, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;

	if ((s->attr & (SEG_ATTR_S | 0xc)) == (SEG_ATTR_S | 0x4)) /* data, expand-down */
		return offset > s->limit &&
		       last <= (s->attr & SEG_ATTR_DB ? BITS(31, 0) : BITS(15, 0));
	return last <= s->limit;
}

static bool linear_legacy(struct emu *e, unsigned seg, uint64_t offset, unsigned size, bool write,
			  gva_t *out)
{
	struct segment s;

	e->vcpu->vm->backend->get_seg(e->vcpu, (enum seg_reg)seg, &s);
	*out = GVA((s.base + offset) & BITS(31, 0));
	if ((emu_protected(e) && !segment_type_allows(&s, write)) ||
	    !segment_limit_allows(&s, offset, size))
		return segment_fault(e, seg);
	return true;
}

/*
 * Hardware has just translated the operand's address itself, and passed it, when the exit
 * was for a data access of the same kind at the same place in its page: believe it, if the
 * operation has no other access to memory.
 */
static bool exit_knows(const struct emu *e, uint64_t addr, bool write, gpa_t *out)
{
	const struct vm_exit *exit = &e->vcpu->exit;

	if (exit->kind != EXIT_NESTED_FAULT || exit->nested.table_walk || exit->nested.fetch ||
	    exit->nested.write != write || !e->one_access ||
	    ((exit->nested.gpa.v ^ addr) & (PAGE_SIZE - 1)))
		return false;
	*out = exit->nested.gpa;
	return true;
}

static bool translate(struct emu *e, uint64_t addr, bool write, gpa_t *out)
{
	uint64_t page = ALIGN_DOWN(addr, PAGE_SIZE);
	uint64_t tag = page | EMU_PAGE_VALID | (write ? EMU_PAGE_WRITE : 0);
	struct emu_page *p = &e->page[(page >> PAGE_SHIFT & 1) * 2 + write];
	struct guest_access access = { .write = write, .user = e->user };
	struct guest_xlat xlat;

	if (p->tag != tag) {
		if (!guest_translate(paging_state(e), gmem_pt_mem(e->vcpu->vm), GVA(addr), access,
				     &xlat, &e->fault))
			return false;
		p->tag = tag;
		p->gpa = GPA(ALIGN_DOWN(xlat.gpa.v, PAGE_SIZE));
	}
	*out = GPA(p->gpa.v | (addr & (PAGE_SIZE - 1)));
	return true;
}

bool emu_span(struct emu *e, unsigned seg, uint64_t offset, unsigned size, bool write,
	      struct emu_span *span)
{
	unsigned rest;
	uint64_t next;
	gva_t gva;

	if (e->code_size == 8 ? !linear_64(e, seg, offset, size, &gva)
			      : !linear_legacy(e, seg, offset, size, write, &gva))
		return false;
	if (e->vcpu->debug.on)
		debug_access(e->vcpu, gva, size, write);
	rest = (unsigned)(PAGE_SIZE - (gva.v & (PAGE_SIZE - 1)));
	span->size = (uint8_t)size;
	span->first = (uint8_t)MIN(size, rest);
	if (span->first == size && exit_knows(e, gva.v, write, &span->gpa[0]))
		return true;
	if (!translate(e, gva.v, write, &span->gpa[0]))
		return false;
	if (span->first == size)
		return true;
	next = gva.v + rest;
	if (e->code_size != 8)
		next &= BITS(31, 0);
	return translate(e, next, write, &span->gpa[1]);
}

/* What is physical memory to all, but for the vCPU's own local APIC. */
static void load_part(struct emu *e, gpa_t gpa, uint8_t *bytes, unsigned size)
{
	if (vcpu_apic_at(e->vcpu, gpa))
		vcpu_apic_read(e->vcpu, gpa, bytes, size);
	else
		gmem_phys_read(e->vcpu->vm, gpa, bytes, size);
}

static void store_part(struct emu *e, gpa_t gpa, const uint8_t *bytes, unsigned size)
{
	if (vcpu_apic_at(e->vcpu, gpa))
		vcpu_apic_write(e->vcpu, gpa, bytes, size);
	else
		gmem_phys_write(e->vcpu->vm, gpa, bytes, size);
}

void emu_span_load(struct emu *e, const struct emu_span *span, uint8_t *bytes)
{
	load_part(e, span->gpa[0], bytes, span->first);
	if (span->first != span->size)
		load_part(e, span->gpa[1], bytes + span->first, span->size - span->first);
}

void emu_span_store(struct emu *e, const struct emu_span *span, const uint8_t *bytes)
{
	store_part(e, span->gpa[0], bytes, span->first);
	if (span->first != span->size)
		store_part(e, span->gpa[1], bytes + span->first, span->size - span->first);
}

static bool is_ram(const struct emu *e, gpa_t gpa)
{
	uint64_t avail;

	return !vcpu_apic_at(e->vcpu, gpa) && memmap_ptr(&e->vcpu->vm->mem, gpa, true, &avail);
}

/* Nobody is in the guest meanwhile, the VM's lock keeps others from emulating, and the tables' from
 * marking entries. */
static bool replace_parts(struct emu *e, const struct emu_span *span, const uint8_t *old,
			  const uint8_t *bytes)
{
	uint8_t now[EMU_SPAN_MAX];
	bool same;

	vm_tables_close(e->vcpu->vm);
	vm_tables_lock(e->vcpu->vm);
	emu_span_load(e, span, now);
	same = !memcmp(now, old, span->size);
	if (same)
		emu_span_store(e, span, bytes);
	vm_tables_unlock(e->vcpu->vm);
	vm_tables_open(e->vcpu->vm);
	return same;
}

bool emu_span_replace(struct emu *e, const struct emu_span *span, const uint8_t *old,
		      const uint8_t *bytes)
{
	bool one = span->first == span->size;

	if (one && !vcpu_apic_at(e->vcpu, span->gpa[0]))
		return gmem_phys_replace(e->vcpu->vm, span->gpa[0], old, bytes, span->size);
	if (!one && is_ram(e, span->gpa[0]) && is_ram(e, span->gpa[1]))
		return replace_parts(e, span, old, bytes);
	emu_span_store(e, span, bytes);
	return true;
}

uint64_t emu_span_read(struct emu *e, const struct emu_span *span)
{
	uint8_t bytes[8] = { 0 };
	uint64_t val;

	emu_span_load(e, span, bytes);
	memcpy(&val, bytes, sizeof(val));
	return val;
}

void emu_span_write(struct emu *e, const struct emu_span *span, uint64_t val)
{
	uint8_t bytes[8];

	memcpy(bytes, &val, sizeof(val));
	emu_span_store(e, span, bytes);
}

/* --- the instruction's operands --- */

/*
 * A bit number in a register is signed and reaches beyond the operand: the element that
 * holds it is the one accessed (APM vol. 3, BT).
 */
static uint64_t bit_offset(const struct emu *e, uint64_t offset)
{
	const struct operand *bit = &e->insn->operand[1];
	unsigned size = e->insn->operand[0].size;
	unsigned shift = (unsigned)__builtin_ctz(8 * size);
	int64_t index;

	if (bit->kind != OPERAND_REG)
		return offset;
	index = (int64_t)alu_sign_extend(e->vcpu->regs.gpr[bit->reg], bit->size) >> shift;
	return alu_cut(offset + (uint64_t)index * size, e->insn->addr_size);
}

bool emu_locate(struct emu *e, unsigned n, bool write, struct emu_span *span)
{
	const struct insn *insn = e->insn;
	uint64_t offset;

	if (insn->operand[n].kind != OPERAND_MEM)
		return true;
	offset = emu_offset(e);
	if (insn->op >= INSN_BT && insn->op <= INSN_BTC)
		offset = bit_offset(e, offset);
	return emu_span(e, insn->seg, offset, insn->operand[n].size, write, span);
}

uint64_t emu_operand_read(struct emu *e, unsigned n, const struct emu_span *span)
{
	const struct operand *op = &e->insn->operand[n];

	switch (op->kind) {
	case OPERAND_MEM:
		return emu_span_read(e, span);
	case OPERAND_IMM:
		return e->insn->imm;
	case OPERAND_HIGH8:
		return emu_reg(e, op->reg, 2) >> 8;
	default:
		return emu_reg(e, op->reg, op->size);
	}
}

void emu_operand_write(struct emu *e, unsigned n, const struct emu_span *span, uint64_t val)
{
	const struct operand *op = &e->insn->operand[n];

	switch (op->kind) {
	case OPERAND_MEM:
		emu_span_write(e, span, val);
		break;
	case OPERAND_HIGH8:
		emu_set_reg(e, op->reg, 2, emu_reg(e, op->reg, 1) | alu_cut(val, 1) << 8);
		break;
	default:
		emu_set_reg(e, op->reg, op->size, val);
		break;
	}
}

bool emu_value(struct emu *e, unsigned n, uint64_t *val)
{
	struct emu_span span;

	if (!emu_locate(e, n, false, &span))
		return false;
	*val = emu_operand_read(e, n, &span);
	return true;
}
