/*
 * A QEMU TCG plugin (API version 1, QEMU 4.2 to 8) that counts executed instructions and
 * world switches, phase by phase:
 *
 *   guest       natively everything; else from VMRUN to the instruction after VMRUN
 *   hypervisor  the rest, from the first VMRUN on
 *   exits       executions of VMRUN
 *
 * A program marks the start of phase n with the instruction 0f 1f 80 'P' 'M' 'K' n, a nop.
 * Phase 0 starts at the first VMRUN, or where start= says.
 *
 * Arguments: out=FILE for the result; start=ADDR: the first execution at ADDR starts
 * phase 0; count=off: no instruction counts, which leaves nearly the natural speed.
 *
 * For one virtual CPU. Result, a line a phase: phase guest hypervisor exits nanoseconds.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- the part of QEMU's plugin interface that is used here; Debian ships no header for it --- */

typedef uint64_t qemu_plugin_id_t;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

extern int qemu_plugin_version;
int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *),
				    void *user);
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

int qemu_plugin_version = 1;

/* --- what is counted --- */

#define PHASES 16
#define VMRUNS 16

static struct phase {
	uint64_t guest, hypervisor, exits;
	struct timespec end;
	bool ended;
} phases[PHASES];

static struct timespec started;
static unsigned phase;
static bool running;      /* phase 0 has begun */
static bool in_guest;     /* between VMRUN and the instruction after it */
static uint64_t executed; /* all instructions; QEMU adds to it */
static uint64_t counted;  /* what of them is in phases[] already */

static bool counting = true;
static uint64_t start_at;
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
	if (in_guest)
		phases[phase].guest += n;
	else
		phases[phase].hypervisor += n;
}

static void begin(void)
{
	settle();
	running = true;
	clock_gettime(CLOCK_MONOTONIC, &started);
}

static void on_start(unsigned vcpu, void *user)
{
	(void)vcpu;
	(void)user;
	if (running)
		return;
	begin();
	in_guest = true;
}

static void on_vmrun(unsigned vcpu, void *user)
{
	(void)vcpu;
	(void)user;
	if (!running)
		begin();
	settle();
	in_guest = true;
	phases[phase].exits++;
}

static void on_after_vmrun(unsigned vcpu, void *user)
{
	(void)vcpu;
	(void)user;
	settle();
	in_guest = false;
}

static void on_mark(unsigned vcpu, void *user)
{
	unsigned n = (unsigned)(uintptr_t)user;

	(void)vcpu;
	settle();
	if (!running || n <= phase || n >= PHASES)
		return;
	clock_gettime(CLOCK_MONOTONIC, &phases[phase].end);
	phases[phase].ended = true;
	phase = n;
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
	if (counting)
		qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							   &executed, 1);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		watch(qemu_plugin_tb_get_insn(tb, i));
}

static void write_result(qemu_plugin_id_t id, void *user)
{
	struct timespec from = started;
	FILE *out = fopen(out_path, "w");

	(void)id;
	(void)user;
	if (!out) {
		perror(out_path);
		return;
	}
	for (unsigned i = 0; i < PHASES && phases[i].ended; i++) {
		const struct phase *p = &phases[i];
		int64_t ns = (p->end.tv_sec - from.tv_sec) * INT64_C(1000000000) +
			     (p->end.tv_nsec - from.tv_nsec);

		fprintf(out, "%u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 "\n", i, p->guest,
			p->hypervisor, p->exits, ns);
		from = p->end;
	}
	fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4)) {
			out_path = strdup(argv[i] + 4);
		} else if (!strncmp(argv[i], "start=", 6)) {
			start_at = strtoull(argv[i] + 6, NULL, 0);
		} else if (!strcmp(argv[i], "count=off")) {
			counting = false;
		} else if (strcmp(argv[i], "count=on")) {
			fprintf(stderr, "count: unknown argument %s\n", argv[i]);
			return -1;
		}
	}
	if (!out_path) {
		fprintf(stderr, "count: out=FILE is missing\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, write_result, NULL);
	return 0;
}
