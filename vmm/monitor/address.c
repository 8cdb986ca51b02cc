#include "vmm/monitor/address.h"

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/mm.h"
#include "vmm/backend.h"
#include "vmm/dr.h"
#include "vmm/inspect.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define MAX_TERM 40 /* characters of a number */

/* --- registers --- */

static bool is_name(const char *name, size_t len, const char *want)
{
	return strlen(want) == len && !memcmp(name, want, len);
}

static bool general(const struct vcpu *vcpu, const char *name, size_t len, uint64_t *val)
{
	for (unsigned i = 0; i < GPRS; i++) {
		if (is_name(name, len, vcpu_gpr_names[i])) {
			*val = vcpu->regs.gpr[i];
			return true;
		}
		/* EAX to EDI. */
		if (i <= RDI && len == 3 && name[0] == 'e' &&
		    !memcmp(name + 1, vcpu_gpr_names[i] + 1, 2)) {
			*val = vcpu->regs.gpr[i] & BITS(31, 0);
			return true;
		}
	}
	return false;
}

static bool kept(const struct vcpu *vcpu, const char *name, size_t len, uint64_t *val)
{
	static const struct {
		char name[15];
		uint8_t reg;
	} regs[] = {
		{ "cr0", REG_CR0 },
		{ "cr2", REG_CR2 },
		{ "cr3", REG_CR3 },
		{ "cr4", REG_CR4 },
		{ "cr8", REG_CR8 },
		{ "efer", REG_EFER },
		{ "star", REG_STAR },
		{ "lstar", REG_LSTAR },
		{ "cstar", REG_CSTAR },
		{ "kernel_gs_base", REG_KERNEL_GS_BASE },
		{ "sysenter_esp", REG_SYSENTER_ESP },
		{ "sysenter_eip", REG_SYSENTER_EIP },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		if (is_name(name, len, regs[i].name)) {
			*val = vcpu->vm->backend->get_reg(vcpu, (enum vcpu_reg)regs[i].reg);
			return true;
		}
	}
	return false;
}

static bool base(const struct vcpu *vcpu, const char *name, size_t len, uint64_t *val)
{
	static const char names[SEG_REGS][5] = { "es", "cs",   "ss", "ds",   "fs",
						 "gs", "ldtr", "tr", "gdtr", "idtr" };

	for (unsigned i = 0; i < SEG_REGS; i++) {
		if (is_name(name, len, names[i])) {
			*val = vcpu_seg_base(vcpu, (enum seg_reg)i);
			return true;
		}
	}
	return false;
}

/* Segments of 64-bit code count for FS and GS alone. */
static uint64_t linear(const struct vcpu *vcpu, enum seg_reg reg, uint64_t offset)
{
	if (vcpu_code_size(vcpu) == 8)
		return offset;
	return (vcpu_seg_base(vcpu, reg) + (offset & BITS(31, 0))) & BITS(31, 0);
}

uint64_t address_pc(const struct vcpu *vcpu)
{
	return linear(vcpu, SEG_CS, vcpu->regs.rip);
}

/* The linear address of the stack's top. */
static uint64_t address_sp(const struct vcpu *vcpu)
{
	struct segment ss = { 0 };
	uint64_t rsp = vcpu->regs.gpr[RSP];

	vcpu->vm->backend->get_seg(vcpu, SEG_SS, &ss);
	if (vcpu_code_size(vcpu) != 8 && !(ss.attr & SEG_ATTR_DB))
		rsp &= BITS(15, 0);
	return linear(vcpu, SEG_SS, rsp);
}

/* The register of this name, without '$'. False: none. */
static bool address_register(const struct vcpu *vcpu, const char *name, size_t len, uint64_t *val)
{
	if (is_name(name, len, "pc"))
		*val = address_pc(vcpu);
	else if (is_name(name, len, "sp"))
		*val = address_sp(vcpu);
	else if (is_name(name, len, "rip") || is_name(name, len, "eip"))
		*val = vcpu->regs.rip;
	else if (is_name(name, len, "rflags") || is_name(name, len, "eflags"))
		*val = vcpu->regs.rflags;
	else if (len == 3 && name[0] == 'd' && name[1] == 'r' && strchr("012367", name[2]))
		*val = dr_read(vcpu, (unsigned)(name[2] - '0'));
	else
		return general(vcpu, name, len, val) || kept(vcpu, name, len, val) ||
		       base(vcpu, name, len, val);
	return true;
}

/* --- what was typed --- */

static bool parse_term(const struct vcpu *vcpu, const char *text, size_t len, uint64_t *val)
{
	struct monitor_args one = { .count = 1 };
	char word[MAX_TERM + 1];

	if (!len)
		return monitor_wrong("an address lacks a number or $REGISTER");
	if (text[0] == '$' && !vcpu)
		return monitor_wrong("registers are a VM's: its name is missing");
	if (text[0] == '$') {
		if (address_register(vcpu, text + 1, len - 1, val))
			return true;
		return monitor_wrong("%.*s is no register", (int)MIN(len, MAX_TERM), text);
	}
	if (len > MAX_TERM)
		return monitor_wrong("%.*s... is too long", MAX_TERM, text);
	memcpy(word, text, len);
	word[len] = '\0';
	one.word[0] = word;
	return monitor_number(&one, 0, val);
}

bool monitor_is_host_address(const char *word)
{
	return !strncmp(word, "hpa:", 4);
}

bool monitor_address(const struct monitor_args *args, unsigned i, const struct vcpu *vcpu,
		     struct address *out)
{
	const char *text = args->word[i];
	char sign = '+';

	*out = (struct address){ .vcpu = vcpu };
	if (!strncmp(text, "gpa:", 4))
		out->space = SPACE_GUEST;
	else if (monitor_is_host_address(text))
		out->space = SPACE_HOST;
	if (out->space != SPACE_VIRTUAL)
		text += 4;
	for (;;) {
		size_t len = 0;
		uint64_t val = 0;

		while (text[len] && text[len] != '+' && text[len] != '-')
			len++;
		if (!parse_term(vcpu, text, len, &val))
			return false;
		out->at = sign == '+' ? out->at + val : out->at - val;
		if (!text[len])
			return true;
		sign = text[len];
		text += len + 1;
	}
}

/* --- what lies there --- */

static size_t read_host(uint64_t at, uint8_t *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		hpa_t pa = HPA(at + done);
		size_t part = MIN(n - done, PAGE_SIZE - (pa.v & (PAGE_SIZE - 1)));

		if (frame_owner_of(pa) == FRAME_NONE)
			break;
		memcpy(buf + done, hpa_to_ptr(pa), part);
		done += part;
	}
	return done;
}

size_t address_read(const struct address *a, void *buf, size_t n)
{
	if (a->space == SPACE_HOST)
		return read_host(a->at, buf, n);
	if (a->space == SPACE_GUEST)
		return inspect_read_gpa(a->vcpu->vm, GPA(a->at), buf, n);
	return inspect_read_gva(a->vcpu, GVA(a->at), buf, n);
}

unsigned address_digits(const struct address *a)
{
	bool narrow = a->space == SPACE_VIRTUAL ? !(vcpu_hot_reg(a->vcpu, REG_EFER) & EFER_LMA)
						: !(a->at >> 32);

	return narrow && !(a->at >> 32) ? 8 : 16;
}

const char *address_lack(const struct address *a)
{
	gpa_t gpa;

	if (a->space == SPACE_HOST)
		return "no RAM of this machine";
	if (a->space == SPACE_VIRTUAL && !inspect_translate(a->vcpu, GVA(a->at), &gpa))
		return "not mapped";
	return "no memory";
}
