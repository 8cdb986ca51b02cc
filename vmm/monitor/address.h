/* Addresses as an operator writes them, and the memory there. */
#ifndef UMBRA_VMM_MONITOR_ADDRESS_H
#define UMBRA_VMM_MONITOR_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/monitor/command.h"

enum space {
	SPACE_VIRTUAL, /* the vCPU's linear addresses */
	SPACE_GUEST,   /* gpa: the VM's memory */
	SPACE_HOST,    /* hpa: the machine's, to be read only */
};

struct address {
	const struct vcpu *vcpu; /* NULL: none, of an hpa: address */
	enum space space;
	uint64_t at;
};

/*
 * Word i: [gpa:|hpa:] and numbers and $registers, added and subtracted: 0x1000, $rsp+8, gpa:0x7c00.
 * Registers are the vCPU's; $pc and $sp are linear addresses, and a segment register's or
 * table's name stands for its base. Without a vCPU there are hpa: addresses alone, and no
 * registers. False: it is none, and said.
 */
bool monitor_address(const struct monitor_args *args, unsigned i, const struct vcpu *vcpu,
		     struct address *out);

/* Is it written as one of the machine's, hpa:? */
bool monitor_is_host_address(const char *word);

/* The linear address of the next instruction. */
uint64_t address_pc(const struct vcpu *vcpu);

/* Copy what lies there; the count of bytes, up to where there is no memory. */
size_t address_read(const struct address *a, void *buf, size_t n);
/* Addresses of this kind have so many digits. */
unsigned address_digits(const struct address *a);
/* Why the byte at the address can't be read. */
const char *address_lack(const struct address *a);

#endif
