/* GDB's stub with a target of 64 KiB, process 3, and 5 to be attached to; and a GDB's packets. */
#ifndef UMBRA_TESTS_GDB_FIXTURE_H
#define UMBRA_TESTS_GDB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "vmm/gdb/stub.h"

#define MEMORY_BASE 0xffffffff81000000u
#define THREADS 2
#define PROCESS 3
#define OTHER 5 /* of one thread; its registers and memory are the first's */

static struct gdb_stub stub;
static uint8_t memory[65536];
static uint8_t reg[THREADS][GDB_REGS][GDB_REG_BYTES];
static unsigned threads;
static enum gdb_arch arch;
static bool running, other, other_gone;
static char calls[1024]; /* what the target was asked to do */
static int point_error, resume_error;

static void called(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void called(const char *fmt, ...)
{
	size_t n = strlen(calls);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(calls + n, sizeof(calls) - n, fmt, ap);
	va_end(ap);
}

static void expect_calls(const char *want)
{
	assert_string_equal(calls, want);
	calls[0] = '\0';
}

static bool fake_look(unsigned process, const char **name, const char **state)
{
	*name = process == PROCESS ? "first" : "other";
	*state = other ? "paused" : "running";
	return process == PROCESS || process == OTHER;
}

static unsigned fake_attached(unsigned process)
{
	if (process < PROCESS)
		return PROCESS;
	return process < OTHER && other ? OTHER : 0;
}

static unsigned fake_threads(unsigned process)
{
	if (process == OTHER)
		return other && !other_gone;
	return process == PROCESS ? threads : 0;
}

static void fake_name(unsigned thread, char *buf, size_t size)
{
	snprintf(buf, size, "guest %u", GDB_NUMBER_OF(thread));
}

static enum gdb_arch fake_arch(unsigned process)
{
	return process == OTHER ? GDB_I386 : arch;
}

static bool fake_running(unsigned process)
{
	return process == PROCESS && running;
}

/* Which of reg[] that is. */
static unsigned index_of(unsigned thread)
{
	if (GDB_PROCESS_OF(thread) == OTHER)
		return 0;
	assert_int_equal(GDB_PROCESS_OF(thread), PROCESS);
	assert_in_range(GDB_NUMBER_OF(thread), 1, threads);
	return GDB_NUMBER_OF(thread) - 1;
}

static bool fake_get(unsigned thread, enum gdb_reg r, uint8_t val[GDB_REG_BYTES])
{
	assert_true(r < GDB_REGS);
	if (r == GDB_CR8)
		return false;
	memcpy(val, reg[index_of(thread)][r], GDB_REG_BYTES);
	return true;
}

static bool fake_set(unsigned thread, enum gdb_reg r, const uint8_t val[GDB_REG_BYTES])
{
	if (r == GDB_CR0)
		return false;
	called("set%u:%u ", GDB_NUMBER_OF(thread), r);
	memcpy(reg[index_of(thread)][r], val, GDB_REG_BYTES);
	return true;
}

static size_t present(uint64_t at, size_t n)
{
	if (at < MEMORY_BASE || at - MEMORY_BASE >= sizeof(memory))
		return 0;
	return MIN(n, sizeof(memory) - (size_t)(at - MEMORY_BASE));
}

static size_t fake_read(unsigned thread, uint64_t at, void *buf, size_t n)
{
	index_of(thread);
	n = present(at, n);
	if (n)
		memcpy(buf, memory + (at - MEMORY_BASE), n);
	return n;
}

static size_t fake_write(unsigned thread, uint64_t at, const void *buf, size_t n)
{
	index_of(thread);
	n = present(at, n);
	if (n)
		memcpy(memory + (at - MEMORY_BASE), buf, n);
	return n;
}

static int fake_set_point(unsigned process, enum gdb_point kind, uint64_t at, unsigned size)
{
	if (process == OTHER)
		called("other:");
	called("Z%u,%llx,%u ", kind, (unsigned long long)at, size);
	return point_error;
}

static int fake_clear_point(unsigned process, enum gdb_point kind, uint64_t at, unsigned size)
{
	if (process == OTHER)
		called("other:");
	called("z%u,%llx,%u ", kind, (unsigned long long)at, size);
	return point_error;
}

static void fake_begin(void)
{
	called("begin ");
}

static int fake_attach(unsigned process)
{
	called("attach%u ", process);
	if (process != OTHER)
		return process == PROCESS ? -EEXIST : -ENODEV;
	other = true;
	return 0;
}

static int fake_resume(unsigned process)
{
	if (!fake_threads(process))
		return -ENODEV;
	called(process == OTHER ? "resume-other " : "resume ");
	if (process == PROCESS)
		running = !resume_error;
	return resume_error;
}

static int fake_step(unsigned thread)
{
	if (!fake_threads(GDB_PROCESS_OF(thread)))
		return -ENODEV;
	called(GDB_PROCESS_OF(thread) == OTHER ? "step-other%u " : "step%u ",
	       GDB_NUMBER_OF(thread));
	running = !resume_error;
	return resume_error;
}

static void fake_interrupt(unsigned process)
{
	called("interrupt%u ", process);
}

static void fake_detach(unsigned process)
{
	called("detach%u ", process);
	if (process == OTHER)
		other = false;
}

static int fake_kill(unsigned process)
{
	called("kill%u ", process);
	return 0;
}

#define LONG 20000 /* the letters that a long command says, before "end" */

static bool fake_command(const char *line, char *buf, size_t size)
{
	if (!strcmp(line, "quiet"))
		return true;
	snprintf(buf, size, "<%s>", line);
	if (!strcmp(line, "long")) {
		memset(buf, 'x', LONG);
		strcpy(buf + LONG, "end");
	}
	return true;
}

static const struct gdb_target target = {
	.look = fake_look,
	.attached = fake_attached,
	.threads = fake_threads,
	.thread_name = fake_name,
	.arch = fake_arch,
	.running = fake_running,
	.get_reg = fake_get,
	.set_reg = fake_set,
	.read = fake_read,
	.write = fake_write,
	.set_point = fake_set_point,
	.clear_point = fake_clear_point,
	.begin = fake_begin,
	.attach = fake_attach,
	.resume = fake_resume,
	.step = fake_step,
	.interrupt = fake_interrupt,
	.detach = fake_detach,
	.kill = fake_kill,
	.command = fake_command,
};

static void send(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (gdb_stub_take(&stub, (uint8_t)bytes[i]))
			gdb_stub_run(&stub);
}

/* What the stub has to say now, less the + before it. */
static const char *sent(void)
{
	static char text[2 * GDB_PACKET_MAX];
	size_t n = 0;
	int c;

	while ((c = gdb_stub_next(&stub)) >= 0 && n < sizeof(text) - 1)
		if (n || c != '+')
			text[n++] = (char)c;
	text[n] = '\0';
	return text;
}

static void ask_bytes(const char *payload, size_t n)
{
	uint8_t sum = 0;
	char tail[4];

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + (uint8_t)payload[i]);
	snprintf(tail, sizeof(tail), "#%02x", sum);
	send("$", 1);
	send(payload, n);
	send(tail, 3);
}

/* The payload of the stub's reply, with its checksum looked at; NULL: none. */
static const char *reply(void)
{
	static char text[2 * GDB_PACKET_MAX];
	uint8_t sum = 0;
	char *end;
	unsigned said;

	memcpy(text, sent(), sizeof(text));
	if (!text[0])
		return NULL;
	assert_int_equal(text[0], '$');
	end = strchr(text, '#');
	assert_non_null(end);
	for (const char *p = text + 1; p < end; p++)
		sum = (uint8_t)(sum + (uint8_t)*p);
	assert_int_equal(sscanf(end + 1, "%2x", &said), 1);
	assert_int_equal(said, sum);
	assert_int_equal(strlen(end), 3);
	*end = '\0';
	send("+", 1);
	return text + 1;
}

static const char *ask(const char *payload)
{
	ask_bytes(payload, strlen(payload));
	return reply();
}

#define EXPECT(payload, want) assert_string_equal(ask(payload), want)

static int setup(void **state)
{
	(void)state;
	threads = THREADS;
	arch = GDB_AMD64;
	running = other = other_gone = false;
	point_error = resume_error = 0;
	calls[0] = '\0';
	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i * 7);
	for (unsigned t = 0; t < THREADS; t++)
		for (unsigned r = 0; r < GDB_REGS; r++)
			memset(reg[t][r], (int)(r + 100 * t), GDB_REG_BYTES);
	gdb_stub_init(&stub, &target);
	return 0;
}

static void begin(void)
{
	const char *said = ask("qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386");

	assert_non_null(strstr(said, "PacketSize=1000;"));
	assert_non_null(strstr(said, "qXfer:features:read+"));
	expect_calls("begin ");
}

#endif
