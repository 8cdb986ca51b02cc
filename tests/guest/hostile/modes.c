/* Code at random, and what uses descriptors at random, in every mode and at CPL 0 and 3. */
#include "tests/guest/hostile/hostile.h"

#include <string.h>

#define REG_SP 4

/* --- code --- */

static uint64_t odd_register(void)
{
	switch (below(6)) {
	case 0:
		return odd_number();
	case 1:
		return odd_port();
	case 2:
		return odd_msr();
	case 3:
		return WILD_DATA + (rnd() & 0xfff8);
	default:
		return odd_address();
	}
}

/* Registers at random, flags that let it end, and a stack. */
static void set_registers(bool user)
{
	for (unsigned i = 0; i < 16; i++)
		wild()->reg[i] = odd_register();
	if (!one_in(16))
		wild()->reg[1] = one_in(2) ? below(32) : odd_msr();
	if (!one_in(16))
		wild()->reg[REG_SP] = WILD_DATA + 0x8000 + (rnd() & 0xff8);
	wild()->rflags = 2 | (rnd() & 0x8d5);
	wild()->steps = 0;
	if (one_in(3)) {
		wild()->rflags |= FLAG_TF;
		wild()->steps = below(8);
	}
	if (user || !one_in(100))
		wild()->rflags |= FLAG_IF;
	if (one_in(8))
		wild()->rflags |= 0x40000; /* AC */
	if (one_in(16))
		wild()->rflags |= 0x4000; /* NT */
	if (one_in(4))
		wild()->rflags |= 0x3000; /* IOPL */
	if (one_in(8))
		wild()->rflags |= 0x400; /* DF */
	if (!user || (wild()->rflags & 0x3000))
		this_cpu()->devices_spoiled = one_in(4) || this_cpu()->devices_spoiled;
	if (!user) {
		this_cpu()->msrs_spoiled = true;
		this_cpu()->apic_spoiled = one_in(4) || this_cpu()->apic_spoiled;
	}
}

void run_at(uint64_t rip)
{
	bool user = one_in(2);

	set_registers(user);
	wild()->mode = WILD_64;
	wild()->rip = rip;
	wild()->cs = user ? UCODE64 | 3 : CODE64;
	wild()->ss = user ? UDATA | 3 : DATA;
	wild_run();
}

/* Where code at random starts; now and then it runs into a second page that is anything. */
static uint32_t place_code(unsigned bits)
{
	uint32_t at = one_in(3) ? PAGE - 1 - below(24) : below(PAGE / 2);
	uint8_t *code = (uint8_t *)(uintptr_t)(WILD_CODE + at);

	make_code(code, 256, bits);
	if (one_in(6)) {
		mine(code_pt)[1] = one_in(3) ? odd_entry()
					     : (odd_address() & 0xfffff000) | PTE_U | PTE_W | PTE_P;
		if (one_in(2))
			__asm__ volatile("invlpg (%0)" : : "r"((uintptr_t)WILD_CODE + PAGE));
	}
	return at;
}

void try_code64(void)
{
	run_at(WILD_CODE + place_code(64));
}

void try_device_code(void)
{
	static const uint32_t places[] = { 0xfee00000, 0xfec00000, 0xfed00000, 0xa0000 };
	uint32_t at = place_code(64);
	bool user = one_in(8);

	set_registers(user);
	for (unsigned i = 3; i < 8; i++) /* what operands at random often name */
		if (i != REG_SP && !one_in(4))
			wild()->reg[i] =
				places[below(4)] + below(0x400) / (one_in(4) ? 1 : 16) * 16;
	wild()->mode = WILD_64;
	wild()->rip = WILD_CODE + at;
	wild()->cs = user ? UCODE64 | 3 : CODE64;
	wild()->ss = user ? UDATA | 3 : DATA;
	this_cpu()->devices_spoiled = this_cpu()->apic_spoiled = true;
	wild_run();
}

void try_compat(void)
{
	bool user = one_in(2), is16 = one_in(2);
	uint32_t at = place_code(is16 ? 16 : 32);

	set_registers(user);
	wild()->mode = is16 ? WILD_COMPAT16 : WILD_COMPAT32;
	wild()->rip = is16 ? at : WILD_CODE + at;
	wild()->cs = is16 ? (user ? UCODE16 | 3 : WILD_CODE16) : user ? UCODE32 | 3 : CODE32;
	wild()->ss = user ? UDATA | 3 : DATA;
	wild_run();
}

/* The controls for a mode without EFER.LME: paged in one of two ways, or not at all. */
static void set_legacy_controls(void)
{
	wild()->cr0 = 0x33;
	wild()->cr4 = CR4_GOOD & ~CR4_PAE;
	wild()->cr3 = (uint32_t)rnd();
	if (one_in(8))
		wild()->cr0 |= (uint32_t)rnd() & 0x6005000e;
	if (one_in(3))
		wild()->cr4 |= 3; /* PVI, VME */
	if (one_in(3))
		return;
	wild()->cr0 |= CR0_PG | (one_in(2) ? CR0_WP : 0);
	if (one_in(2)) {
		wild()->cr4 |= CR4_PAE;
		wild()->cr3 = (uint32_t)(uintptr_t)pdpt_pae;
	} else {
		wild()->cr4 |= CR4_PSE;
		wild()->cr3 = (uint32_t)(uintptr_t)pd32;
		for (unsigned n = below(4); n; n--)
			mine(pd32)[512 + below(512)] = (uint32_t)odd_entry();
	}
}

void try_legacy(void)
{
	bool user = one_in(2), is16 = one_in(2);
	uint32_t at = place_code(is16 ? 16 : 32);

	set_registers(user);
	set_legacy_controls();
	wild()->mode = is16 ? WILD_16 : WILD_32;
	wild()->rip = is16 ? at : WILD_CODE + at;
	wild()->cs = is16 ? (user ? UCODE16 | 3 : WILD_CODE16) : user ? UCODE32 | 3 : CODE32;
	wild()->ss = user ? UDATA | 3 : DATA;
	wild_run();
}

static uint16_t odd_segment(uint16_t plain)
{
	return one_in(4) ? (uint16_t)rnd() : plain;
}

void try_v86(void)
{
	uint32_t at = one_in(8) ? 0xfff0 + below(16) : below(0x8000);

	make_code((uint8_t *)(uintptr_t)(REAL_CODE + at), 256, 16);
	set_registers(true);
	set_legacy_controls();
	if (wild()->cr0 & CR0_PG) {
		wild()->cr4 = (wild()->cr4 & ~CR4_PAE) | CR4_PSE;
		wild()->cr3 = (uint32_t)(uintptr_t)pd32;
	}
	wild()->mode = WILD_V86;
	wild()->rflags |= FLAG_VM;
	wild()->rip = at;
	wild()->cs = REAL_CODE >> 4;
	wild()->ss = REAL_DATA >> 4;
	wild()->reg[REG_SP] = 0xfff0;
	for (unsigned i = 8; i < 12; i++)
		wild()->reg[i] = odd_segment(REAL_DATA >> 4);
	wild_run();
}

static void set_low_word(const uint8_t *at, uint16_t val)
{
	memcpy((void *)(uintptr_t)(LOW_CODE + (uint32_t)(at - low_code)), &val, sizeof(val));
}

void try_real(void)
{
	uint32_t at = one_in(8) ? 0xfff0 + below(16) : below(0x8000);
	uint32_t back = LOW_CODE + (uint32_t)(low_back - low_code);

	memcpy((void *)(uintptr_t)LOW_CODE, low_code, (size_t)(low_code_end - low_code));
	for (uint32_t i = 0; i < 256; i++)
		*(volatile uint32_t *)(uintptr_t)(4 * i) = back;
	make_code((uint8_t *)(uintptr_t)(REAL_CODE + at), 256, 16);
	set_registers(false);
	wild()->mode = WILD_REAL;
	/* What low_code pushes: flags, CS, IP. */
	set_low_word(low_frame + 1, (uint16_t)wild()->rflags);
	set_low_word(low_frame + 4, REAL_CODE >> 4);
	set_low_word(low_frame + 7, (uint16_t)at);
	wild_run();
}

/* --- descriptors --- */

uint64_t odd_descriptor(void)
{
	uint64_t d = one_in(4) ? rnd() : (uint64_t)below(16) << 52 | (rnd() & 0xf0000);
	uint64_t base = one_in(2) ? WILD_DATA : odd_address();
	uint64_t access = one_in(2) ? rnd() & 0x1f : 0x10 | below(16);

	if (one_in(2))
		d |= (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56 | 0xffff;
	access |= (one_in(8) ? 0u : 0x80u) | (one_in(3) ? 0x60u : 0u);
	if (options.no_tasks && !(access & 0x10) && (access & 7) != 4)
		access = (access & ~(uint64_t)15) | 2;
	return (d & ~((uint64_t)0xff << 40)) | access << 40;
}

/* Code that uses such a selector in one of the ways there are. */
static void make_selector_code(uint8_t *to, uint16_t selector)
{
	static const uint8_t loads[] = { 0xd8, 0xc0, 0xd0, 0xe0, 0xe8 };
	unsigned n = 0;

	to[n++] = 0x66; /* MOV AX, imm16: in 16-bit code it takes the next instruction with it */
	to[n++] = 0xb8;
	to[n++] = (uint8_t)selector;
	to[n++] = (uint8_t)(selector >> 8);
	switch (below(6)) {
	case 0:
		to[n++] = 0x8e; /* MOV segment, AX */
		to[n++] = loads[below(5)];
		break;
	case 1:
		to[n++] = 0x0f; /* SLDT, STR, LLDT, LTR, VERR, VERW; LAR, LSL */
		to[n++] = (uint8_t)below(4) & 3;
		to[n++] = (uint8_t)(0xc0 | below(8) << 3);
		break;
	case 2:
	case 3:
		to[n++] = one_in(2) ? 0xea : 0x9a; /* JMP, CALL far */
		for (unsigned i = 0; i < 4; i++)
			to[n++] = (uint8_t)((WILD_CODE + 0x800) >> 8 * i);
		to[n++] = (uint8_t)selector;
		to[n++] = (uint8_t)(selector >> 8);
		break;
	case 4:
		to[n++] = 0x50; /* PUSH AX; PUSH AX; RETF or IRET */
		to[n++] = 0x50;
		to[n++] = one_in(2) ? 0xcb : 0xcf;
		break;
	default:
		to[n++] = 0xcd; /* INT */
		to[n++] = 0x50;
	}
	to[n++] = 0x8a; /* a byte through it */
	to[n++] = 0x06;
	to[n++] = 0x0f;
	to[n++] = 0x0b;
}

/* Descriptors, gates and task states at random, and what uses them, at CPL 0 and 3. */
void try_descriptors(void)
{
	uint32_t at = PAGE / 2;
	uint16_t selector;
	bool user = one_in(3), legacy = one_in(2);

	for (unsigned i = WILD_DESC / 8; i < NR_DESC; i++)
		this_cpu()->gdt[i] = odd_descriptor();
	selector = (uint16_t)(WILD_DESC + 8 * below(NR_DESC - WILD_DESC / 8)) | (uint16_t)below(4);
	for (unsigned i = 0; i < 26; i++)
		((volatile uint32_t *)(uintptr_t)WILD_DATA)[i] =
			one_in(2) ? DATA : (uint32_t)odd_register();
	if (!options.no_tasks && one_in(2)) /* a task that can run */
		memcpy((void *)(uintptr_t)WILD_DATA, this_cpu()->tss_df,
		       sizeof(this_cpu()->tss_df));
	make_selector_code((uint8_t *)(uintptr_t)(WILD_CODE + at), selector);
	mine(idt32)[0x50][0] = (uint32_t)selector << 16;
	mine(idt32)[0x50][1] = (options.no_tasks ? 0xee00 : 0xe000) | below(16) << 8;
	set_registers(user);
	set_legacy_controls();
	wild()->mode = legacy ? WILD_32 : WILD_COMPAT32;
	wild()->rip = WILD_CODE + at;
	wild()->cs = user ? UCODE32 | 3 : CODE32;
	wild()->ss = user ? UDATA | 3 : DATA;
	wild_run();
}

/* --- hypercalls --- */

void try_hypercalls(void)
{
	uint8_t *code = (uint8_t *)(uintptr_t)WILD_CODE;

	for (unsigned n = 0; n < 4; n++, code += 3) {
		code[0] = 0x0f;
		code[1] = 0x01;
		code[2] = one_in(2) ? 0xc1 : 0xd9;
	}
	code[0] = 0xcc;
	set_registers(one_in(4));
	wild()->mode = WILD_64;
	wild()->rip = WILD_CODE;
	wild()->cs = CODE64;
	wild()->ss = DATA;
	wild_run();
}
