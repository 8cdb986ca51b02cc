/* Decoding (by Zydis) and emulating the guest's instructions. */
#ifndef UMBRA_VMM_EMULATE_H
#define UMBRA_VMM_EMULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "vmm/decode.h"

struct vcpu;

/* What a vCPU remembers of the code it exits from. All zero: nothing yet. */
struct emulate_cache {
	struct decode_cache decode;
};

enum emulate_result {
	EMULATE_DONE,   /* retired, or one step of a REP with RIP left in place */
	EMULATE_FAULT,  /* a fault was raised for the guest */
	EMULATE_FAILED, /* not an instruction that is emulated: stop the VM */
};

/*
 * The length of the instruction that caused vcpu->exit. Exits that the hardware names
 * exactly (CPUID, HLT, RDMSR...) are answered by comparing the bytes at RIP with that
 * opcode; anything else by decoding. 0: the bytes could not be fetched or decoded; a
 * fault has been raised.
 */
unsigned emulate_insn_length(struct vcpu *vcpu);

/*
 * MOV to or from CRn, LMSW, SMSW, or CLTS at RIP, for hardware that does not say which
 * register.
 */
struct cr_insn {
	enum {
		CR_INSN_MOV_TO,
		CR_INSN_MOV_FROM,
		CR_INSN_CLTS,
		CR_INSN_LMSW,
		CR_INSN_SMSW,
	} op;
	uint8_t nr;   /* MOV: control register */
	uint8_t gpr;  /* MOV, SMSW: ModRM order; SMSW: INSN_NO_REG: to memory */
	uint8_t size; /* SMSW: bytes of gpr to write, 2, 4 or 8 */
	uint8_t len;
	uint64_t value; /* MOV_TO: the register's value; LMSW: the low 16 bits */
};
/* False: something else stands there, or a fault was raised. */
bool emulate_decode_cr(struct vcpu *vcpu, struct cr_insn *out);
/* INT n or INT3 at RIP, for hardware that does not say which. False: something else stands there,
 * or a fault was raised. */
bool emulate_decode_int(struct vcpu *vcpu, uint8_t *vector, uint8_t *len, bool *int3);
/* The linear address that INVLPG at RIP names, and its length. False: a fault was raised, or
 * something else stands there, which does not exit as INVLPG. */
bool emulate_decode_invlpg(struct vcpu *vcpu, gva_t *gva, unsigned *len);
/* The store of an SMSW to memory at RIP, which is not retired. False: a fault was raised, or
 * something else stands there by now. */
bool emulate_store_smsw(struct vcpu *vcpu, uint16_t msw);

/* Emulate the instruction at RIP whose memory operand met no RAM. */
enum emulate_result emulate_mmio(struct vcpu *vcpu);
/* The one instruction at CS:RIP, as the guest's processor would execute it; of a repeated one a
 * bounded number of iterations. */
enum emulate_result emulate_step(struct vcpu *vcpu);
/* Deliver the event in real mode, where the processor does not (caps.real_mode), or in a state of
 * protected mode that it does not take. A fault on the way is raised, with ev cut off by it; what
 * cannot be done (a change of privilege, tasks, long mode) stops the VM. */
void emulate_deliver(struct vcpu *vcpu, const struct vm_event *ev);
/* INS and OUTS (vcpu->exit.io describes the port side). */
enum emulate_result emulate_string_io(struct vcpu *vcpu);
/* The instruction at RIP as text, for messages; "?" when it can't be read. */
void emulate_disassemble(struct vcpu *vcpu, char *buf, unsigned size);

#endif
