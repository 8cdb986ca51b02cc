/*
 * Port I/O exits. Drivers make port accesses that stand right behind one another (the two
 * bytes of an 8254's count, a CMOS index and its data): one exit does them all.
 */
#include "arch/x86_64/include/bits.h"
#include "vmm/bus.h"
#include "vmm/emulate.h"
#include "vmm/exit.h"
#include "vmm/lookahead.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Port accesses that are done ahead in one exit. */
#define AHEAD_MAX 8

struct port_access {
	uint16_t port;
	uint8_t size;
	bool in;
};

static void access_port(struct vcpu *vcpu, const struct port_access *a)
{
	struct bus *bus = &vcpu->vm->bus;
	uint64_t rax = vcpu->regs.gpr[RAX];

	if (a->in)
		vcpu_set_gpr(vcpu, RAX, bus_in(bus, a->port, a->size), a->size);
	else
		bus_out(bus, a->port, a->size, (uint32_t)(rax & BITS(8 * a->size - 1, 0)));
}

/*
 * The access that these bytes of 32- or 64-bit code are, IN and OUT of AL and EAX without
 * prefixes; its length, 0 when they are something else.
 */
static unsigned decode_access(const struct vcpu *vcpu, const uint8_t *bytes, struct port_access *a)
{
	unsigned opcode = bytes[0];
	bool immediate = (opcode & 0xfc) == 0xe4;

	if (!immediate && (opcode & 0xfc) != 0xec)
		return 0;
	a->in = !(opcode & 2);
	a->size = opcode & 1 ? 4 : 1;
	a->port = immediate ? bytes[1] : (uint16_t)vcpu->regs.gpr[RDX];
	return immediate ? 2 : 1;
}

/* The slot of io_barren[] that would hold this RIP. */
static uint64_t *barren_slot(struct vcpu *vcpu, uint64_t rip)
{
	return &vcpu->io_barren[(rip ^ rip >> 6) % VCPU_IO_BARREN];
}

/* Do the port accesses that stand at RIP; how many. */
static unsigned do_ahead(struct vcpu *vcpu)
{
	uint64_t avail;
	const uint8_t *code = lookahead_code(vcpu, &avail);
	unsigned done;

	for (done = 0; code && done < AHEAD_MAX && avail >= 2 && lookahead_may_go_on(vcpu);
	     done++) {
		struct port_access a;
		unsigned len = decode_access(vcpu, code, &a);

		if (!len)
			break;
		access_port(vcpu, &a);
		vcpu_retire_insn(vcpu, len);
		code += len;
		avail -= len;
	}
	return done;
}

void vm_exit_io(struct vcpu *vcpu)
{
	const struct vm_exit *exit = &vcpu->exit;
	const struct port_access a = {
		.port = exit->io.port,
		.size = exit->io.size,
		.in = exit->io.in,
	};
	uint64_t rip = vcpu->regs.rip, *barren = barren_slot(vcpu, rip);
	unsigned len;

	if (exit->io.string) {
		if (emulate_string_io(vcpu) == EMULATE_FAILED)
			vm_exit_cannot_emulate(vcpu);
		return;
	}
	len = emulate_insn_length(vcpu);
	if (!len)
		return;
	access_port(vcpu, &a);
	vcpu_retire_insn(vcpu, len);
	/* What the processor would say to a fetch from the next page is not looked at. */
	if (*barren == rip || (rip ^ vcpu->regs.rip) >> PAGE_SHIFT || !lookahead_allowed(vcpu) ||
	    !lookahead_may_go_on(vcpu))
		return;
	if (!do_ahead(vcpu))
		*barren = rip;
}
