/*
 * A QEMU TCG plugin (API version 1, QEMU 4.2 to 8) that counts executed instructions and
 * world switches, phase by phase:
 *
 *   guest       natively everything; else from VMRUN to the instruction after VMRUN
 *   hypervisor  the rest, from the first VMRUN on
 *   exits       executions of VMRUN
 *
 * A program marks the start of phase n with the instruction 0f 1f 80 'P' 'M' 'K' n, a nop;
 * a phase may come again. Phase 0 starts at the first VMRUN, or where start= says.
 *
 * Arguments: out=FILE for the result; start=ADDR: the first execution at ADDR starts
 * phase 0; count=off: no instruction counts, which leaves nearly the natural speed;
 * stores=FROM:TO: where the hypervisor's instructions at these addresses store, and how often.
 * Of the function that counts exits by kind these are the counters: how often each went up.
 * blocks=on: how often the hypervisor has begun each block of instructions that QEMU translated.
 *
 * Instructions of several virtual CPUs are counted right only where QEMU runs them in turns, as it
 * does with -icount; all else always. Result, a line a phase: phase N guest hypervisor exits
 * nanoseconds; then a line an address stored to: store ADDRESS, its number for each phase; then
 * one a block: block ADDRESS, its instructions, its number for each phase.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- the part of QEMU's plugin interface that is used here; Debian ships no header for it --- */

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

struct qemu_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
	struct {
		int smp_vcpus, max_vcpus;
	} system;
};

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W };
typedef uint32_t qemu_plugin_meminfo_t;

bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);

extern int qemu_plugin_version;
int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *),
				    void *user);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*cb)(unsigned vcpu, void *user),
					  enum qemu_plugin_cb_flags flags, void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned vcpu, void *user),
					    enum qemu_plugin_cb_flags flags, void *user);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
						enum qemu_plugin_op op, void *ptr, uint64_t imm);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*cb)(unsigned vcpu, qemu_plugin_meminfo_t info,
						 uint64_t vaddr, void *user),
				      enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw,
				      void *user);

int qemu_plugin_version = 1;

/* --- what is counted --- */

#define PHASES 32
#define VMRUNS 16
#define STORES 1024
#define VCPUS 64

static struct phase {
	uint64_t guest, hypervisor, exits;
	int64_t ns;
} phases[PHASES];

static struct store {
	uint64_t at, times[PHASES];
} stores[STORES];

/* Each translation is one, so that an address may have several. */
struct block {
	struct block *next;
	uint64_t at, instructions, times[PHASES];
};

static struct block *blocks;

static struct timespec since; /* when the phase began */
static unsigned phase;
static bool running;         /* phase 0 has begun */
static bool in_guest[VCPUS]; /* between VMRUN and the instruction after it */
static unsigned current;     /* the virtual CPU that executes */
static bool several;         /* there are others */
static uint64_t executed;    /* all instructions; QEMU adds to it */
static uint64_t counted;     /* what of them is in phases[] already */

static bool counting = true;
static bool by_block;
static uint64_t start_at, stores_from, stores_to;
static const char *out_path;
static uint64_t after_vmrun[VMRUNS]; /* addresses behind the VMRUNs that were translated */
static unsigned nr_after;

/* Put what was executed since the last call where it belongs. */
static void settle(void)
{
	uint64_t n = executed - counted;

	counted = executed;
	if (!running)
		return;
	if (in_guest[current])
		phases[phase].guest += n;
	else
		phases[phase].hypervisor += n;
}

/* Each of several virtual CPUs has its turn. */
static void on_block(unsigned vcpu, void *user)
{
	(void)user;
	if (vcpu == current)
		return;
	settle();
	current = vcpu;
}

static void on_hypervisor_block(unsigned vcpu, void *user)
{
	struct block *b = user;

	if (running && !in_guest[vcpu])
		__atomic_fetch_add(&b->times[phase], 1, __ATOMIC_RELAXED);
}

static void begin(void)
{
	settle();
	running = true;
	clock_gettime(CLOCK_MONOTONIC, &since);
}

static void on_start(unsigned vcpu, void *user)
{
	(void)vcpu;
	(void)user;
	if (running)
		return;
	begin();
	memset(in_guest, true, sizeof(in_guest));
}

static void on_vmrun(unsigned vcpu, void *user)
{
	(void)user;
	if (!running)
		begin();
	settle();
	in_guest[vcpu] = true;
	__atomic_fetch_add(&phases[phase].exits, 1, __ATOMIC_RELAXED);
}

static void on_after_vmrun(unsigned vcpu, void *user)
{
	(void)user;
	settle();
	in_guest[vcpu] = false;
}

static void end_phase(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	phases[phase].ns +=
		(now.tv_sec - since.tv_sec) * INT64_C(1000000000) + (now.tv_nsec - since.tv_nsec);
	since = now;
}

static void on_mark(unsigned vcpu, void *user)
{
	unsigned n = (unsigned)(uintptr_t)user;

	(void)vcpu;
	if (!running || n >= PHASES)
		return;
	settle();
	end_phase();
	phase = n;
}

/* An address whose place in stores[] is taken counts from the next free one; beyond, not at all. */
static void on_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *user)
{
	(void)user;
	/* The guest may have instructions at the same addresses. */
	if (in_guest[vcpu] || !qemu_plugin_mem_is_store(info))
		return;
	for (unsigned n = 0; n < STORES; n++) {
		struct store *s = &stores[(vaddr / 8 + n) % STORES];
		uint64_t at = 0;

		if (!__atomic_compare_exchange_n(&s->at, &at, vaddr, false, __ATOMIC_RELAXED,
						 __ATOMIC_RELAXED) &&
		    at != vaddr)
			continue;
		__atomic_fetch_add(&s->times[phase], 1, __ATOMIC_RELAXED);
		return;
	}
}

static void add_vmrun(uint64_t after)
{
	for (unsigned i = 0; i < nr_after; i++)
		if (after_vmrun[i] == after)
			return;
	if (nr_after < VMRUNS)
		after_vmrun[nr_after++] = after;
}

static void watch(struct qemu_plugin_insn *insn)
{
	static const uint8_t vmrun[] = { 0x0f, 0x01, 0xd8 };
	static const uint8_t mark[] = { 0x0f, 0x1f, 0x80, 'P', 'M', 'K' };
	const uint8_t *bytes = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn);
	uint64_t at = qemu_plugin_insn_vaddr(insn);

	for (unsigned i = 0; i < nr_after; i++)
		if (after_vmrun[i] == at)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_after_vmrun,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
	if (size == sizeof(vmrun) && !memcmp(bytes, vmrun, sizeof(vmrun))) {
		add_vmrun(at + size);
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vmrun, QEMU_PLUGIN_CB_NO_REGS,
						       NULL);
	}
	if (size == sizeof(mark) + 1 && !memcmp(bytes, mark, sizeof(mark)))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS,
						       (void *)(uintptr_t)bytes[sizeof(mark)]);
	if (start_at && at == start_at && !running)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_start, QEMU_PLUGIN_CB_NO_REGS,
						       NULL);
	if (at >= stores_from && at < stores_to)
		qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_W, NULL);
	if (counting)
		qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							   &executed, 1);
}

static void watch_block(struct qemu_plugin_tb *tb)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b) {
		perror("count");
		exit(1);
	}
	b->at = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	b->instructions = qemu_plugin_tb_n_insns(tb);
	b->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&blocks, &b->next, b, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_hypervisor_block, QEMU_PLUGIN_CB_NO_REGS, b);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	if (counting && several)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, NULL);
	if (by_block)
		watch_block(tb);
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		watch(qemu_plugin_tb_get_insn(tb, i));
}

static void write_times(FILE *out, const uint64_t times[PHASES])
{
	for (unsigned n = 0; n < PHASES; n++)
		fprintf(out, " %" PRIu64, times[n]);
	fprintf(out, "\n");
}

static void write_stores(FILE *out)
{
	for (unsigned i = 0; i < STORES; i++) {
		if (!stores[i].at)
			continue;
		fprintf(out, "store %#" PRIx64, stores[i].at);
		write_times(out, stores[i].times);
	}
}

static void write_blocks(FILE *out)
{
	for (const struct block *b = blocks; b; b = b->next) {
		fprintf(out, "block %#" PRIx64 " %" PRIu64, b->at, b->instructions);
		write_times(out, b->times);
	}
}

static void write_result(qemu_plugin_id_t id, void *user)
{
	FILE *out = fopen(out_path, "w");

	(void)id;
	(void)user;
	if (!out) {
		perror(out_path);
		return;
	}
	if (running) {
		settle();
		end_phase();
	}
	for (unsigned i = 0; i < PHASES; i++) {
		const struct phase *p = &phases[i];

		if (p->ns)
			fprintf(out, "phase %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 "\n",
				i, p->guest, p->hypervisor, p->exits, p->ns);
	}
	write_stores(out);
	write_blocks(out);
	fclose(out);
}

static bool parse_range(const char *text, uint64_t *from, uint64_t *to)
{
	char *end;

	*from = strtoull(text, &end, 0);
	if (*end != ':')
		return false;
	*to = strtoull(end + 1, &end, 0);
	return !*end;
}

/* One of the arguments; false: it is none. */
static bool parse_arg(const char *arg)
{
	if (!strncmp(arg, "out=", 4)) {
		out_path = strdup(arg + 4);
		return true;
	}
	if (!strncmp(arg, "start=", 6)) {
		start_at = strtoull(arg + 6, NULL, 0);
		return true;
	}
	if (!strncmp(arg, "stores=", 7))
		return parse_range(arg + 7, &stores_from, &stores_to);
	if (!strncmp(arg, "blocks=", 7)) {
		by_block = !strcmp(arg + 7, "on");
		return true;
	}
	if (!strncmp(arg, "count=", 6)) {
		counting = strcmp(arg + 6, "off");
		return true;
	}
	return false;
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	if (info->system.max_vcpus > VCPUS) {
		fprintf(stderr, "count: more than %d virtual CPUs\n", VCPUS);
		return -1;
	}
	several = info->system.max_vcpus > 1;
	for (int i = 0; i < argc; i++)
		if (!parse_arg(argv[i])) {
			fprintf(stderr, "count: argument %s is not understood\n", argv[i]);
			return -1;
		}
	if (!out_path) {
		fprintf(stderr, "count: out=FILE is missing\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, write_result, NULL);
	return 0;
}
