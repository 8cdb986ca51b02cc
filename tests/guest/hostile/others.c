/* What processors do to each other: changes of what another one uses just now, and help. */
#include "tests/guest/hostile/hostile.h"

#define NMI 0x4400u
#define INIT 0x4500u
#define STARTUP 0x4600u
#define LOOK_EVERY 8  /* tries */
#define MISSED_NMI 12 /* looks at which it has not got on */
#define MISSED_INIT 24

static struct cpu *another(void)
{
	return &cpus[below(options.cpus)];
}

static void put_byte(uint64_t at)
{
	*(volatile uint8_t *)(uintptr_t)at = (uint8_t)rnd();
}

/* Where it runs, as far as that is known. */
static uint64_t code_of(const struct cpu *cpu)
{
	uint64_t at = cpu->wild.rip;

	if (cpu->wild.mode == WILD_REAL || cpu->wild.mode == WILD_V86)
		return REAL_CODE + (at & 0x7fff);
	return WILD_CODE + (at & (2 * PAGE - 1));
}

/* A gate or a stack of its, for a moment: what then comes may well end this life. */
static void spoil_for_a_moment(struct cpu *cpu)
{
	volatile uint32_t *word = one_in(2) ? &mine(idt64)[below(256)][below(4)]
				  : one_in(2)
					  ? &cpu->tss64[one_in(2) ? 9 : 1]
					  : (volatile uint32_t *)&cpu->gdt[below(WILD_DESC / 8)];
	uint32_t was = *word;

	*word = one_in(2) ? was ^ 1u << below(32) : (uint32_t)odd_address();
	for (unsigned n = below(100); n; n--)
		__asm__ volatile("pause");
	*word = was;
}

static void spoil(struct cpu *cpu)
{
	switch (below(12)) {
	case 0:
		mine(code_pt)[below(4)] =
			one_in(2) ? odd_entry()
				  : (WILD_CODE + below(4) * PAGE) | PTE_U | PTE_W | PTE_P;
		break;
	case 1:
	case 2:
		wild_table(below(NR_WILD_TABLES))[below(8)] = odd_entry();
		break;
	case 3:
		mine(pd32)[512 + below(512)] = (uint32_t)odd_entry();
		break;
	case 4:
		cpu->gdt[WILD_DESC / 8 + below(NR_DESC - WILD_DESC / 8)] = odd_descriptor();
		break;
	case 5:
		mine(idt32)[0x50][0] = (uint32_t)(WILD_DESC + 8 * below(NR_DESC - WILD_DESC / 8))
				       << 16;
		mine(idt32)[0x50][1] = (options.no_tasks ? 0xee00 : 0xe000) | below(16) << 8;
		break;
	case 6: /* a task state */
		((volatile uint32_t *)(uintptr_t)WILD_DATA)[below(26)] =
			one_in(2) ? DATA : (uint32_t)odd_address();
		break;
	case 7:
		if (one_in(500))
			spoil_for_a_moment(cpu);
		break;
	default:
		put_byte(code_of(cpu) + below(16));
	}
}

void try_spoil(void)
{
	struct cpu *cpu = another();

	for (unsigned n = 50 + below(500); n; n--) {
		spoil(cpu);
		if (one_in(64))
			cpu = another();
	}
}

/* --- their lives --- */

static void start(unsigned nr)
{
	make_start_code();
	send_ipi(nr, INIT);
	send_ipi(nr, STARTUP | START_CODE >> 12);
}

void start_others(void)
{
	for (unsigned nr = 1; nr < options.cpus; nr++)
		start(nr);
}

static void look_after(struct cpu *me, unsigned nr)
{
	uint64_t now = cpus[nr].tries;

	if (me->seen[nr] != now) {
		me->seen[nr] = now;
		me->missed[nr] = 0;
		return;
	}
	if (++me->missed[nr] == MISSED_NMI) {
		send_ipi(nr, NMI);
	} else if (me->missed[nr] >= MISSED_INIT) {
		me->missed[nr] = 0;
		if (nr)
			start(nr);
	}
}

void look_after_others(void)
{
	struct cpu *me = this_cpu();
	unsigned nr = below(options.cpus);

	if (me->tries % LOOK_EVERY == 0 && nr != me->nr)
		look_after(me, nr);
}
