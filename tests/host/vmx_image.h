/*
 * VMCSs to spoil, for the tests of vmx/check*.c: a sound one of each mode, and means to change
 * one field and see it named.
 */
#ifndef UMBRA_TESTS_VMX_IMAGE_H
#define UMBRA_TESTS_VMX_IMAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/desc.h"
#include "vmx/check_rules.h"

#define VALID UINT64_C(0x80000000)
#define UNUSABLE UINT64_C(0x10000)
#define PHYS 40
#define NOT_CANONICAL UINT64_C(0x0001000000000000)

/* Words that several rules have. */
#define FIXED "a bit that VMX fixes is another"
#define CANON "not canonical"

/* A CPU with nearly everything, as true controls show it. */
static struct vmx_caps caps;
static struct vmx_limits lim;
static struct vmcs_image img;

static inline void make_caps(void)
{
	caps = (struct vmx_caps){
		.pin = { 0x16, 0xff },
		.proc = { 0x04006172, 0xfff9fffe },
		.proc2 = { 0, 0xffffff },
		.exit = { 0x36dfb, 0xffffff },
		.entry = { 0x11fb, 0xffff },
		.cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG,
		.cr0_fixed1 = BITS(31, 0),
		.cr4_fixed0 = CR4_VMXE,
		.cr4_fixed1 = BITS(24, 0) & ~BIT(19),
		.ept = true,
		.ept_accessed_dirty = true,
		.vpid = true,
		.unrestricted_guest = true,
		.preemption_timer = true,
		.pause_loop = true,
		.tpr_shadow = true,
		.apic_accesses = true,
		.virtual_interrupts = true,
		.posted_interrupts = true,
		.load_efer = true,
		.load_pat = true,
	};
	lim = (struct vmx_limits){ .caps = &caps, .maxphyaddr = PHYS, .linear_bits = 48 };
}

#define SET(name, val) (img.field[INDEX_##name] = (val))
#define GET(name) (img.field[INDEX_##name])

/* --- sound images --- */

#define RIGHTS_CODE16 UINT64_C(0x009b)
#define RIGHTS_DATA16 UINT64_C(0x0093)
#define RIGHTS_CODE32 UINT64_C(0xc09b)
#define RIGHTS_DATA32 UINT64_C(0xc093)
#define RIGHTS_CODE64 UINT64_C(0xa09b)
#define RIGHTS_V86_SEG UINT64_C(0xf3)

static inline void set_seg(unsigned reg, uint64_t selector, uint64_t base, uint64_t limit,
			   uint64_t rights)
{
	img.field[vmx_seg_index(reg, SEG_SELECTOR)] = selector;
	img.field[vmx_seg_index(reg, SEG_BASE)] = base;
	img.field[vmx_seg_index(reg, SEG_LIMIT)] = limit;
	img.field[vmx_seg_index(reg, SEG_RIGHTS)] = rights;
}

static inline void set_six(uint64_t limit, uint64_t code, uint64_t data)
{
	for (unsigned reg = SEG_ES; reg <= SEG_GS; reg++)
		set_seg(reg, 0x10, 0, limit, data);
	set_seg(SEG_CS, 0x08, 0, limit, code);
}

static inline void host_state(void)
{
	SET(VMCS_HOST_CR0, CR0_PE | CR0_NE | CR0_WP | CR0_PG);
	SET(VMCS_HOST_CR3, 0x1000);
	SET(VMCS_HOST_CR4, CR4_PAE | CR4_VMXE);
	SET(VMCS_HOST_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	SET(VMCS_HOST_PAT, UINT64_C(0x0007040600070406));
	SET(VMCS_HOST_CS_SELECTOR, 0x08);
	SET(VMCS_HOST_SS_SELECTOR, 0x10);
	SET(VMCS_HOST_TR_SELECTOR, 0x18);
	SET(VMCS_HOST_GS_BASE, UINT64_C(0xffffffff80010000));
	SET(VMCS_HOST_TR_BASE, UINT64_C(0xffffffff80020000));
	SET(VMCS_HOST_GDTR_BASE, UINT64_C(0xffffffff80030000));
	SET(VMCS_HOST_IDTR_BASE, UINT64_C(0xffffffff80040000));
	SET(VMCS_HOST_RSP, UINT64_C(0xffffffff80051000));
	SET(VMCS_HOST_RIP, UINT64_C(0xffffffff80000000));
}

static inline void controls(void)
{
	SET(VMCS_PIN_CONTROLS, caps.pin.must | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS);
	SET(VMCS_PROC_CONTROLS,
	    caps.proc.must | PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY);
	SET(VMCS_PROC2_CONTROLS, PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED_GUEST);
	SET(VMCS_EXIT_CONTROLS,
	    caps.exit.must | EXIT_CTL_HOST_LONG_MODE | EXIT_CTL_LOAD_EFER | EXIT_CTL_LOAD_PAT);
	SET(VMCS_ENTRY_CONTROLS,
	    caps.entry.must | ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_EFER | ENTRY_CTL_LOAD_PAT);
	SET(VMCS_IO_BITMAP_A, 0x2000);
	SET(VMCS_IO_BITMAP_B, 0x3000);
	SET(VMCS_MSR_BITMAP, 0x4000);
	SET(VMCS_EPT_POINTER, 0x5000 | 3 << EPTP_WALK_SHIFT | EPTP_WRITE_BACK);
	SET(VMCS_VPID, 1);
	SET(VMCS_LINK_POINTER, UINT64_MAX);
}

static inline void guest_state(void)
{
	SET(VMCS_GUEST_CR0, CR0_NE | CR0_ET);
	SET(VMCS_GUEST_CR4, CR4_VMXE);
	SET(VMCS_GUEST_PAT, UINT64_C(0x0007040600070406));
	SET(VMCS_GUEST_DR7, DR7_INIT);
	SET(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
	SET(VMCS_GUEST_RIP, 0x7c00);
	SET(VMCS_GUEST_GDTR_LIMIT, 0xffff);
	SET(VMCS_GUEST_IDTR_LIMIT, 0xffff);
	set_seg(SEG_LDTR, 0x20, 0, 0xffff, 0x82);
	set_seg(SEG_TR, 0x28, 0, 0x67, 0x8b);
}

/* As after RESET: real mode in an unrestricted guest. */
static inline void real_mode(void)
{
	make_caps();
	memset(&img, 0, sizeof(img));
	controls();
	host_state();
	guest_state();
	set_six(0xffff, RIGHTS_CODE16, RIGHTS_DATA16);
	set_seg(SEG_CS, 0xf000, 0xffff0000, 0xffff, RIGHTS_CODE16);
}

static inline void without_ug(void)
{
	SET(VMCS_PROC2_CONTROLS, GET(VMCS_PROC2_CONTROLS) & ~PROC2_UNRESTRICTED_GUEST);
}

/* Paging through tables of 32 bits; an unrestricted guest still. */
static inline void protected_32(void)
{
	real_mode();
	SET(VMCS_GUEST_CR0, CR0_PE | CR0_NE | CR0_PG);
	SET(VMCS_GUEST_CR3, 0x6000);
	set_six(0xffffffff, RIGHTS_CODE32, RIGHTS_DATA32);
}

static inline void protected_16(void)
{
	protected_32();
	set_six(0xffff, RIGHTS_CODE16, RIGHTS_DATA16);
	set_seg(SEG_TR, 0x28, 0, 0x2b, 0x83);
}

static inline void virtual_8086(void)
{
	protected_32();
	without_ug();
	SET(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_VM);
	for (unsigned reg = SEG_ES; reg <= SEG_GS; reg++)
		set_seg(reg, 0x1234, 0x12340, 0xffff, RIGHTS_V86_SEG);
}

static inline void pae(void)
{
	protected_32();
	SET(VMCS_GUEST_CR4, CR4_VMXE | CR4_PAE);
	SET(VMCS_GUEST_PDPTE0, 0x7001);
	SET(VMCS_GUEST_PDPTE1, ~BIT(0)); /* not present: anything goes */
}

static inline void long_mode(void)
{
	protected_32();
	SET(VMCS_ENTRY_CONTROLS, GET(VMCS_ENTRY_CONTROLS) | ENTRY_CTL_LONG_MODE);
	SET(VMCS_GUEST_CR4, CR4_VMXE | CR4_PAE | CR4_PCIDE);
	SET(VMCS_GUEST_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	SET(VMCS_GUEST_RIP, UINT64_C(0xffffffff81000000));
	img.field[INDEX_VMCS_GUEST_CS_RIGHTS] = RIGHTS_CODE64;
}

/* --- corruption --- */

/* What has been found so far. */
#define MAX_FOUND 512
static struct {
	enum vmcs_index field;
	const char *words;
} found_so_far[MAX_FOUND];
static unsigned nr_found;

static inline bool was_found(enum vmcs_index field, const char *words)
{
	for (unsigned i = 0; i < nr_found; i++)
		if (found_so_far[i].field == field && !strcmp(found_so_far[i].words, words))
			return true;
	return false;
}

static inline void note(enum vmcs_index field, const char *words)
{
	if (was_found(field, words))
		return;
	assert_true(nr_found < MAX_FOUND);
	found_so_far[nr_found].field = field;
	found_so_far[nr_found++].words = words;
}

static inline void all_were_broken(const struct vmx_rules *rules)
{
	for (unsigned i = 0; i < rules->n; i++)
		if (!was_found(rules->rule[i].field, rules->rule[i].words))
			fail_msg("never broken: %s: %s", vmx_field_info(rules->rule[i].field)->name,
				 rules->rule[i].words);
}

static inline void sound_at(int line)
{
	struct vmx_violation found = vmx_check_vmcs(&img, &lim);

	if (found.field)
		fail_msg("line %d: %s: %s (0x%llx), expected none", line, found.field, found.words,
			 (unsigned long long)found.value);
}

/* With this value in this field, the field is named with these words. */
static inline void breaks_at(int line, enum vmcs_index field, uint64_t val, const char *words)
{
	const char *name = vmx_field_info(field)->name;
	struct vmcs_image bad = img;
	struct vmx_violation found;

	bad.field[field] = val;
	found = vmx_check_vmcs(&bad, &lim);
	if (!found.field)
		fail_msg("line %d: nothing found, expected %s: %s", line, name, words);
	if (strcmp(found.field, name) || strcmp(found.words, words))
		fail_msg("line %d: %s: %s, expected %s: %s", line, found.field, found.words, name,
			 words);
	assert_int_equal(found.value, val);
	note(field, words);
}

static inline void passes_at(int line, enum vmcs_index field, uint64_t val)
{
	struct vmcs_image saved = img;

	img.field[field] = val;
	sound_at(line);
	img = saved;
}

#define SOUND() sound_at(__LINE__)
#define BREAKS(name, val, words) breaks_at(__LINE__, INDEX_##name, val, words)
#define PASSES(name, val) passes_at(__LINE__, INDEX_##name, val)
#define BREAKS_SEG(reg, part, val, words) breaks_at(__LINE__, vmx_seg_index(reg, part), val, words)
#define PASSES_SEG(reg, part, val) passes_at(__LINE__, vmx_seg_index(reg, part), val)
#define SEG(reg, part) (img.field[vmx_seg_index(reg, part)])

#endif
