/* Registers, memory, code, and the hardware's own words of a guest. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/reg_flags.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/backend.h"
#include "vmm/config.h"
#include "vmm/dr.h"
#include "vmm/monitor/address.h"
#include "vmm/monitor/backtrace.h"
#include "vmm/monitor/command.h"
#include "vmm/monitor/examine.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define DIS_COUNT 10

typedef unsigned long long ull;

static const struct printer printer = { .line = monitor_print_line, .name_width = 6 };

/* --- regs --- */

static void print_head(const struct vcpu *vcpu)
{
	static const char *const states[] = {
		[VM_RUNNING] = "running",
		[VM_PAUSED] = "paused",
		[VM_STOPPED] = "stopped",
	};
	const struct vm_exit *exit = &vcpu->exit;

	monitor_printf("%s vcpu %u: %s, %u-bit code, cpl %u, last exit %s (%s)\n",
		       vcpu->vm->cfg->name, vcpu->id, states[vcpu->vm->state],
		       8 * vcpu_code_size(vcpu), vcpu_cpl(vcpu), vm_exit_name(exit->kind),
		       exit->hw_name ? exit->hw_name : "none");
}

static void print_general(const struct vcpu *vcpu)
{
	static const uint8_t order[GPRS] = { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP,
					     R8,  R9,  R10, R11, R12, R13, R14, R15 };

	for (unsigned i = 0; i < GPRS; i++)
		monitor_printf("  %-3s %016llx%s", vcpu_gpr_names[order[i]],
			       (ull)vcpu->regs.gpr[order[i]], i % 3 == 2 ? "\n" : "");
	monitor_printf("  rip %016llx\n", (ull)vcpu->regs.rip);
	printer_value(&printer, "rflags", 8, vcpu->regs.rflags, &flags_rflags);
}

/* What a descriptor's attributes say. APM vol. 2, 4.7, 4.8; SDM vol. 3, 3.4.5.1, 3.5. */
static void describe_segment(uint16_t attr, char *buf, size_t size)
{
	static const char *const system[16] = {
		[1] = "tss16",           [2] = "ldt",
		[3] = "tss16 busy",      [4] = "call gate16",
		[5] = "task gate",       [6] = "interrupt gate16",
		[7] = "trap gate16",     [9] = "tss",
		[11] = "tss busy",       [12] = "call gate",
		[14] = "interrupt gate", [15] = "trap gate",
	};
	static const char *const kinds[8] = { "r", "rw", "r down", "rw down",
					      "x", "rx", "x conf", "rx conf" };
	unsigned type = attr & SEG_ATTR_TYPE, dpl = (attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
	const char *width = attr & SEG_ATTR_L ? "64" : attr & SEG_ATTR_DB ? "32" : "16";

	if (!(attr & SEG_ATTR_P))
		str_copy(buf, "absent", size);
	else if (!(attr & SEG_ATTR_S))
		str_copy(buf, system[type] ? system[type] : "reserved", size);
	else
		ksnprintf(buf, size, "%s %s dpl%u", kinds[type >> 1], width, dpl);
}

static void print_segments(const struct vcpu *vcpu)
{
	static const char names[SEG_REGS][5] = { "es", "cs",   "ss", "ds",   "fs",
						 "gs", "ldtr", "tr", "gdtr", "idtr" };

	for (unsigned i = 0; i < SEG_REGS; i++) {
		struct segment seg = { 0 };
		char text[32];

		vcpu->vm->backend->get_seg(vcpu, (enum seg_reg)i, &seg);
		if (i >= SEG_GDTR) {
			monitor_printf("  %-6s       base %016llx  limit %08x\n", names[i],
				       (ull)seg.base, seg.limit);
			continue;
		}
		describe_segment(seg.attr, text, sizeof(text));
		monitor_printf("  %-6s %04x  base %016llx  limit %08x  attr %03x %s\n", names[i],
			       seg.selector, (ull)seg.base, seg.limit, seg.attr, text);
	}
}

static void print_control(const struct vcpu *vcpu)
{
	static const struct {
		char name[7];
		uint8_t reg, digits;
		const struct flag_set *flags;
	} regs[] = {
		{ "cr0", REG_CR0, 8, &flags_cr0 },
		{ "cr2", REG_CR2, 16, NULL },
		{ "cr3", REG_CR3, 16, NULL },
		{ "cr4", REG_CR4, 8, &flags_cr4 },
		{ "cr8", REG_CR8, 8, NULL },
		{ "efer", REG_EFER, 8, &flags_efer },
		{ "pat", REG_PAT, 16, NULL },
		{ "star", REG_STAR, 16, NULL },
		{ "lstar", REG_LSTAR, 16, NULL },
		{ "cstar", REG_CSTAR, 16, NULL },
		{ "sfmask", REG_SFMASK, 8, &flags_rflags },
		{ "kgs", REG_KERNEL_GS_BASE, 16, NULL },
		{ "se_cs", REG_SYSENTER_CS, 8, NULL },
		{ "se_esp", REG_SYSENTER_ESP, 16, NULL },
		{ "se_eip", REG_SYSENTER_EIP, 16, NULL },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		printer_value(&printer, regs[i].name, regs[i].digits,
			      vcpu->vm->backend->get_reg(vcpu, (enum vcpu_reg)regs[i].reg),
			      regs[i].flags);
	printer_value(&printer, "xcr0", 8, vcpu->xcr0, &flags_xcr0);
	for (unsigned i = 0; i < 4; i += 2)
		monitor_printf("  dr%u    %016llx  dr%u    %016llx\n", i, (ull)dr_read(vcpu, i),
			       i + 1, (ull)dr_read(vcpu, i + 1));
	printer_value(&printer, "dr6", 8, dr_read(vcpu, 6), &flags_dr6);
	printer_value(&printer, "dr7", 8, dr_read(vcpu, 7), &flags_dr7);
}

static bool cmd_regs(const struct monitor_args *args)
{
	const struct vcpu *vcpu = monitor_vcpu(args, 0);

	if (!vcpu)
		return false;
	print_head(vcpu);
	print_general(vcpu);
	print_segments(vcpu);
	print_control(vcpu);
	return true;
}

/* --- x, dis, bt --- */

/* The vCPU that word 0 names, and the word behind it. The machine's memory needs none: such an
 * address may stand there itself, and the vCPU is NULL then. */
static bool take_vcpu(const struct monitor_args *args, const struct vcpu **vcpu, unsigned *next)
{
	*next = !monitor_is_host_address(args->word[0]);
	*vcpu = *next ? monitor_vcpu(args, 0) : NULL;
	return *vcpu || !*next;
}

static bool cmd_x(const struct monitor_args *args)
{
	const struct vcpu *vcpu;
	struct examine_format format;
	struct address at;
	unsigned next;

	if (!take_vcpu(args, &vcpu, &next))
		return false;
	if (args->count != next + 1)
		return monitor_wrong(next ? "an address is missing" : "too many words");
	if (!examine_parse(args->format, &format) || !monitor_address(args, next, vcpu, &at))
		return false;
	examine(&at, &format);
	return true;
}

static bool cmd_dis(const struct monitor_args *args)
{
	const struct vcpu *vcpu;
	uint64_t count = DIS_COUNT;
	struct address at;
	unsigned next;

	if (!take_vcpu(args, &vcpu, &next))
		return false;
	if (args->count > next + 2)
		return monitor_wrong("too many words");
	if (args->count > next) {
		if (!monitor_address(args, next, vcpu, &at))
			return false;
	} else {
		at = (struct address){ .vcpu = vcpu, .at = address_pc(vcpu) };
	}
	if (args->count > next + 1) {
		if (!monitor_number(args, next + 1, &count))
			return false;
		if (!count || count > EXAMINE_MAX)
			return monitor_wrong("a COUNT is from 1 to %u", EXAMINE_MAX);
	}
	examine_code(&at, (unsigned)count);
	return true;
}

static bool cmd_bt(const struct monitor_args *args)
{
	const struct vcpu *vcpu = monitor_vcpu(args, 0);

	if (!vcpu)
		return false;
	backtrace_print(vcpu);
	return true;
}

/* --- vmcb, vmcs --- */

static bool dump(const struct monitor_args *args, const char *kind)
{
	const struct vcpu *vcpu = monitor_vcpu(args, 0);
	const struct vmm_backend *backend;

	if (!vcpu)
		return false;
	backend = vcpu->vm->backend;
	if (strcmp(backend->name, kind) != 0)
		monitor_printf("this machine has %s: %s shows the state of its guests\n",
			       backend->name, strcmp(backend->name, "SVM") ? "vmcs" : "vmcb");
	else
		backend->dump(vcpu, &printer);
	return true;
}

static bool cmd_vmcb(const struct monitor_args *args)
{
	return dump(args, "SVM");
}

static bool cmd_vmcs(const struct monitor_args *args)
{
	return dump(args, "VMX");
}

static const struct monitor_command commands[] = {
	{ .name = "regs",
	  .args = "NAME",
	  .help = "all registers, with the names of their flags",
	  .example = "regs deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_regs },
	{ .name = "x",
	  .args = "NAME ADDR | hpa:ADDR",
	  .help = "memory; ADDR: $rsp+8, gpa:0x7c00, hpa:0x1000000",
	  .example = "x/4gx deb64 $rsp",
	  .words_min = 1,
	  .words_max = 2,
	  .word = { WORD_VM },
	  .format = "[COUNT][x d u o c s i][b h w g], as gdb has it; i: instructions",
	  .run = cmd_x },
	{ .name = "dis",
	  .args = "NAME [ADDR [COUNT]] | hpa:ADDR [COUNT]",
	  .help = "instructions, from the next one on",
	  .example = "dis deb64 $rip 20",
	  .words_min = 1,
	  .words_max = 3,
	  .word = { WORD_VM },
	  .run = cmd_dis },
	{ .name = "bt",
	  .args = "NAME",
	  .help = "callers, by frame pointers or the stack (?)",
	  .example = "bt deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_bt },
	{ .name = "vmcb",
	  .args = "NAME",
	  .help = "SVM's control block, field by field",
	  .example = "vmcb deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_vmcb },
	{ .name = "vmcs",
	  .args = "NAME",
	  .help = "VMX's control structure, field by field",
	  .example = "vmcs deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_vmcs },
};

const struct monitor_family monitor_inspect_family = {
	.title = "Looking inside",
	.commands = commands,
	.count = ARRAY_SIZE(commands),
};
