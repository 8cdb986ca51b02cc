/* What must come of an access, and what came. */
#include "tests/guest/paging/paging.h"

#include <stddef.h>

#define MAX_SHOWN 8 /* differences that are described */

struct deviations deviation;
unsigned nr_cases, nr_wrong;
entry_t *slots[TESTED_TOP + 1];

static const struct {
	const char *name;
	uint16_t offset; /* in the page */
	bool writes;
} kinds[ACCESS_KINDS] = {
	[READ] = { "read", READ_AT, false },  [WRITE] = { "write", WRITE_AT, true },
	[FETCH] = { "fetch", 0, false },      [IMPLICIT] = { "implicit read", LDT_AT, false },
	[OUTS] = { "OUTS", READ_AT, false },  [INS] = { "INS", WRITE_AT, true },
	[LOAD_CR3] = { "MOV CR3", 0, false }, [LOAD_CR4] = { "MOV CR4", 0, false },
};

static void ask(uintptr_t va, struct oracle_access a, bool honours_ac, struct oracle_result *res)
{
	struct oracle_cpu now = cpu;

	if (a.implicit && cpu.ac && honours_ac)
		now.smap = false;
#if PAGING == 57
	oracle_5level(&now, va, a, res);
#elif PAGING == 64
	oracle_4level(&now, va, a, res);
#elif PAGING == 36
	oracle_pae(&now, va, a, res);
#else
	oracle_32(&now, va, a, res);
#endif
	if (!res->ok && deviation.rsvd_without_p && (res->error & 8))
		res->error &= ~1u;
}

void ask_oracle(uintptr_t va, struct oracle_access a, struct oracle_result *res)
{
	ask(va, a, deviation.implicit_honours_ac, res);
}

static void put_difference(const struct tree *t, enum access_kind kind, bool user,
			   const struct oracle_result *res, const char *what)
{
	put_text("WRONG: ");
	put_text(what);
	put_text(user ? ": user " : ": supervisor ");
	put_text(kinds[kind].name);
	put_text(cpu.ac ? ", AC" : "");
	put_text(cpu.wp ? ", WP" : "");
	put_text(cpu.nxe ? ", NXE" : "");
	put_text(cpu.smep ? ", SMEP" : "");
	put_text(cpu.smap ? ", SMAP" : "");
	put_text("; entries");
	for (unsigned level = TESTED_TOP; level >= t->leaf; level--) {
		put_field(" ", t->entry[level]);
		put_field("->", *slots[level]);
	}
	put_field("; expected vector ", res->ok ? DONE : PF);
	put_field(" code ", res->ok ? 0 : res->error);
	put_field("; seen ", io.vector);
	put_field(" code ", io.error);
	put_field(" CR2 ", io.cr2);
	put_field(" value ", io.value);
	put_text("\n");
}

/* The level whose entry ends the walk that *res came of. */
static unsigned end_of_walk(const struct tree *t, const struct oracle_result *res)
{
	for (unsigned level = TESTED_TOP; level > t->leaf; level--) {
		entry_t e = t->entry[level];
		bool reserved = level == t->defect || (HAS_NX && (e & NX) && !cpu.nxe);

		if (!(e & P) || ((res->error & 8) && reserved))
			return level;
	}
	return t->leaf;
}

/* May A, which is clear in this level's entry, have been set by the access that faulted? */
static bool may_set_a(const struct tree *t, const struct oracle_result *res, unsigned level)
{
	unsigned end = end_of_walk(t, res);

	if (deviation.eager_a_1g && level == 3 && end == 3)
		return (t->entry[3] & (P | PS)) == (P | PS);
	return deviation.walk_sets_a && level > end;
}

/* What is wrong with the entries after the access; NULL: nothing. */
static const char *wrong_entries(const struct tree *t, const struct oracle_result *res)
{
	for (unsigned level = t->leaf; level <= TESTED_TOP; level++) {
		entry_t want = t->entry[level], now = *slots[level];

		for (unsigned i = 0; i < res->nr_writes; i++)
			if (res->write[i].pa == (uintptr_t)slots[level])
				want = (entry_t)res->write[i].val;
		if (now != want && !res->ok && may_set_a(t, res, level))
			now &= ~(entry_t)A | want;
		if (now != want)
			return (now ^ want) & ~(entry_t)(A | D) ? "an entry" : "accessed or dirty";
	}
	return NULL;
}

/* What is wrong with the outcome in io; NULL: nothing. */
static const char *wrong_outcome(enum access_kind kind, uintptr_t at,
				 const struct oracle_result *res)
{
	bool is_data = res->pa >= DATA_FRAMES && res->pa < DATA_END;

	if (!res->ok) {
		if (io.vector != PF)
			return "the fault";
		return io.error != res->error ? "the error code" : io.cr2 != at ? "CR2" : NULL;
	}
	if (io.vector != DONE)
		return "the fault";
	if (kind != READ)
		return NULL;
	if (is_data)
		return io.value == res->pa / FRAME ? NULL : "the address";
	return io.value >= DATA_FRAMES / FRAME && io.value < DATA_END / FRAME ? "the address"
									      : NULL;
}

static void count(const struct tree *t, enum access_kind kind, bool user,
		  const struct oracle_result *res, const char *what)
{
	nr_cases++;
	if (!what)
		return;
	if (nr_wrong++ < MAX_SHOWN)
		put_difference(t, kind, user, res, what);
}

void place(const struct tree *t)
{
	for (unsigned level = t->leaf; level <= TESTED_TOP; level++)
		*slots[level] = t->entry[level];
	machine_invlpg(TEST_VA);
}

/* The access, judged; the tree is what is in the tables. */
static void judge(const struct tree *t, enum access_kind kind, bool user, bool ac)
{
	struct oracle_access a = { .write = kinds[kind].writes,
				   .fetch = kind == FETCH,
				   .user = user,
				   .implicit = kind == IMPLICIT };
	uintptr_t at = TEST_VA + t->offset + kinds[kind].offset;
	struct oracle_result res, if_cached;
	const char *what;

	cpu.ac = ac;
	ask_oracle(at, a, &res);
	ask(at, a, deviation.cached_honours_ac, &if_cached);
	machine_access(kind, user, ac, TEST_VA + t->offset);
	if (deviation.cached_honours_ac && io.vector == DONE)
		res = if_cached;
	what = wrong_outcome(kind, at, &res);
	count(t, kind, user, &res, what ? what : wrong_entries(t, &res));
}

void try_access(const struct tree *t, enum access_kind kind, bool user, bool ac)
{
	place(t);
	judge(t, kind, user, ac);
}

void try_next(struct tree *t, enum access_kind kind, bool user, bool ac)
{
	for (unsigned level = t->leaf; level <= TESTED_TOP; level++)
		t->entry[level] = *slots[level];
	judge(t, kind, user, ac);
}

bool count_case(const char *wrong)
{
	nr_cases++;
	if (!wrong || nr_wrong++ >= MAX_SHOWN)
		return false;
	put_text("WRONG: ");
	put_text(wrong);
	return true;
}

void expect_word(const char *what, uintptr_t va, uint32_t word)
{
	bool good;

	machine_access(READ, false, false, va);
	good = io.vector == DONE && (uint32_t)io.value == word;
	if (!count_case(good ? NULL : what))
		return;
	put_field(" at ", va);
	put_field(": expected ", word);
	put_field("; seen ", io.value);
	put_field(", vector ", io.vector);
	put_field(" code ", io.error);
	put_text("\n");
}

void expect_at(const char *what, enum access_kind kind, uintptr_t va, unsigned vector,
	       unsigned error, uintptr_t cr2)
{
	bool good;

	machine_access(kind, false, false, va);
	good = io.vector == vector && (vector == DONE || io.error == error) &&
	       (vector != PF || io.cr2 == cr2);
	if (!count_case(good ? NULL : what))
		return;
	put_field(": expected vector ", vector);
	put_field(" code ", error);
	put_field(" CR2 ", cr2);
	put_field("; seen ", io.vector);
	put_field(" code ", io.error);
	put_field(" CR2 ", io.cr2);
	put_text("\n");
}

void expect(const char *what, enum access_kind kind, uintptr_t va, unsigned vector, unsigned error)
{
	expect_at(what, kind, va, vector, error, va + kinds[kind].offset);
}
