/* The guest's code and its event handlers, looked at without an effect on the guest. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/debug_core.h"
#include "vmm/desc.h"
#include "vmm/inspect.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define INSN_INT3 0xccu

gva_t debug_rip(const struct vcpu *vcpu)
{
	struct segment cs;

	if (vcpu_code_size(vcpu) == 8)
		return GVA(vcpu->regs.rip);
	vcpu->vm->backend->get_seg(vcpu, SEG_CS, &cs);
	return GVA((cs.base + vcpu->regs.rip) & BITS(31, 0));
}

static bool is_prefix(uint8_t byte, bool long_mode)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return long_mode && (byte & 0xf0) == 0x40; /* REX */
	}
}

/* The opcode and the byte behind it. False: they cannot be read. */
static bool read_opcode(const struct vcpu *vcpu, uint8_t opcode[2])
{
	uint8_t bytes[VM_EXIT_MAX_INSN];
	size_t n = inspect_read_gva(vcpu, debug_rip(vcpu), bytes, sizeof(bytes)), i = 0;
	bool long_mode = vcpu_code_size(vcpu) == 8;

	while (i < n && is_prefix(bytes[i], long_mode))
		i++;
	if (i >= n)
		return false;
	opcode[0] = bytes[i];
	opcode[1] = i + 1 < n ? bytes[i + 1] : 0;
	return true;
}

enum debug_insn debug_insn_at_rip(const struct vcpu *vcpu)
{
	uint8_t opcode[2];

	if (!read_opcode(vcpu, opcode))
		return DEBUG_INSN_PLAIN;
	switch (opcode[0]) {
	case 0x9c:
		return DEBUG_INSN_PUSHF;
	case 0x9d:
	case 0xcf:
		return DEBUG_INSN_LOADS_FLAGS;
	case 0xcd:
		return DEBUG_INSN_INT;
	case 0x0f:
		if (opcode[1] == 0x05)
			return DEBUG_INSN_SYSCALL;
		return opcode[1] == 0x07 ? DEBUG_INSN_SYSRET : DEBUG_INSN_PLAIN;
	default:
		return DEBUG_INSN_PLAIN;
	}
}

unsigned debug_int3_len(const struct vcpu *vcpu)
{
	uint8_t bytes[VM_EXIT_MAX_INSN];
	size_t n = inspect_read_gva(vcpu, debug_rip(vcpu), bytes, sizeof(bytes)), i = 0;
	bool long_mode = vcpu_code_size(vcpu) == 8;

	while (i < n && is_prefix(bytes[i], long_mode))
		i++;
	return i < n && bytes[i] == INSN_INT3 ? (unsigned)i + 1 : 1;
}

/* The base of the code segment that a gate names. */
static bool code_base(const struct vcpu *vcpu, uint16_t selector, uint64_t *base)
{
	struct segment table;
	uint64_t raw;

	vcpu->vm->backend->get_seg(vcpu, selector & SEL_TI ? SEG_LDTR : SEG_GDTR, &table);
	if (inspect_read_gva(vcpu, GVA(table.base + (selector & SEL_INDEX)), &raw, sizeof(raw)) !=
	    sizeof(raw))
		return false;
	*base = (raw >> 16 & BITS(23, 0)) | (raw >> 32 & BITS(31, 24));
	return true;
}

/* Real mode: SDM vol. 3, 20.1.4. */
static bool real_handler(const struct vcpu *vcpu, uint64_t table, unsigned vector, gva_t *handler)
{
	uint32_t entry;

	if (inspect_read_gva(vcpu, GVA(table + vector * sizeof(entry)), &entry, sizeof(entry)) !=
	    sizeof(entry))
		return false;
	*handler = GVA((uint64_t)(entry >> 16 << 4) + (entry & BITS(15, 0)));
	return true;
}

/* A gate of 8 or 16 bytes: SDM vol. 3, 6.11 and 6.14.1. */
#define GATE_TYPE(raw) ((unsigned)((raw) >> 40 & 0x1f))
#define GATE_TYPE_TASK 0x5u
#define GATE_TYPE_32BIT 0x8u

#define GATE_DPL(raw) ((unsigned)((raw) >> 45 & 3))

/* The first half of an IDT entry. False: there is none. */
static bool read_gate(const struct vcpu *vcpu, unsigned vector, size_t size, uint64_t *gate)
{
	struct segment idt;

	vcpu->vm->backend->get_seg(vcpu, SEG_IDTR, &idt);
	return (vector + 1) * size - 1 <= idt.limit &&
	       inspect_read_gva(vcpu, GVA(idt.base + vector * size), gate, sizeof(*gate)) ==
		       sizeof(*gate);
}

/* Of a gate that cannot be read the delivery says what is wrong. */
bool debug_gate_refuses(const struct vcpu *vcpu, unsigned vector)
{
	size_t size = vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA ? 16 : 8;
	uint64_t gate;

	return (vcpu_hot_reg(vcpu, REG_CR0) & CR0_PE) && read_gate(vcpu, vector, size, &gate) &&
	       vcpu_cpl(vcpu) > GATE_DPL(gate);
}

bool debug_handler(const struct vcpu *vcpu, unsigned vector, gva_t *handler)
{
	bool wide = vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA;
	size_t size = wide ? 16 : 8;
	uint64_t gate[2] = { 0 }, base = 0, offset;
	struct segment idt;

	vcpu->vm->backend->get_seg(vcpu, SEG_IDTR, &idt);
	if (!(vcpu_hot_reg(vcpu, REG_CR0) & CR0_PE))
		return real_handler(vcpu, idt.base, vector, handler);
	if ((vector + 1) * size - 1 > idt.limit ||
	    inspect_read_gva(vcpu, GVA(idt.base + vector * size), gate, size) != size ||
	    GATE_TYPE(gate[0]) == GATE_TYPE_TASK)
		return false;
	offset = gate[0] & BITS(15, 0);
	if (GATE_TYPE(gate[0]) & GATE_TYPE_32BIT)
		offset |= gate[0] >> 32 & BITS(31, 16);
	if (wide) {
		*handler = GVA(offset | gate[1] << 32);
		return true;
	}
	if (!code_base(vcpu, (uint16_t)(gate[0] >> 16), &base))
		return false;
	*handler = GVA((base + offset) & BITS(31, 0));
	return true;
}

/*
 * Virtual-8086 mode's INT n goes to a handler of its own, as in real mode, unless its bit is set in
 * the map that ends where the TSS's I/O map begins: SDM vol. 3, 20.3.3.
 */
#define TSS_IO_MAP 0x66u
#define INT_MAP_SIZE 32u

static bool is_redirected(const struct vcpu *vcpu, unsigned vector)
{
	struct segment tss;
	uint16_t io_map;
	uint8_t bits;

	if (!(vcpu->regs.rflags & RFLAGS_VM) || !(vcpu_hot_reg(vcpu, REG_CR4) & CR4_VME))
		return false;
	vcpu->vm->backend->get_seg(vcpu, SEG_TR, &tss);
	return inspect_read_gva(vcpu, GVA(tss.base + TSS_IO_MAP), &io_map, sizeof(io_map)) ==
		       sizeof(io_map) &&
	       inspect_read_gva(vcpu, GVA(tss.base + io_map - INT_MAP_SIZE + vector / 8), &bits,
				1) == 1 &&
	       !(bits >> vector % 8 & 1);
}

bool debug_int_handler(const struct vcpu *vcpu, gva_t *handler)
{
	uint8_t opcode[2];

	if (!read_opcode(vcpu, opcode))
		return false;
	if (is_redirected(vcpu, opcode[1]))
		return real_handler(vcpu, 0, opcode[1], handler);
	return debug_handler(vcpu, opcode[1], handler);
}
