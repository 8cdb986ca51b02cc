/* GDB's stub: whatever comes over the line, its replies are whole packets with good checksums, and
 * the target is asked for nothing that it does not have. */
#include <string.h>

#include "arch/x86_64/include/errno.h"
#include "tests/fuzz/world.h"
#include "vmm/gdb/stub.h"

#define PROCESSES 2 /* the first is attached to, the other can be */
#define THREADS 3
#define MEMORY_BASE 0x1000u

static struct gdb_stub stub;
static uint8_t memory[256], reg[THREADS][GDB_REGS][GDB_REG_BYTES];
static bool running, attached[PROCESSES + 1];
static struct gdb_link reader; /* as GDB reads the replies */

static bool look(unsigned process, const char **name, const char **state)
{
	*name = "a";
	*state = "b";
	return process && process <= PROCESSES;
}

static unsigned next_attached(unsigned process)
{
	while (++process <= PROCESSES)
		if (attached[process])
			return process;
	return 0;
}

static unsigned get_threads(unsigned process)
{
	return process && process <= PROCESSES && attached[process] ? THREADS : 0;
}

static bool is_thread(unsigned thread)
{
	return GDB_NUMBER_OF(thread) &&
	       GDB_NUMBER_OF(thread) <= get_threads(GDB_PROCESS_OF(thread));
}

static void get_name(unsigned thread, char *buf, size_t size)
{
	expect(is_thread(thread) && size > 1);
	memcpy(buf, "a", 2);
}

static enum gdb_arch get_arch(unsigned process)
{
	expect(process < GDB_PROCESSES);
	return memory[0] & 1 ? GDB_I386 : GDB_AMD64;
}

static bool is_running(unsigned process)
{
	return running && get_threads(process);
}

static bool get_reg(unsigned thread, enum gdb_reg r, uint8_t val[GDB_REG_BYTES])
{
	expect(is_thread(thread) && r < GDB_REGS);
	memcpy(val, reg[GDB_NUMBER_OF(thread) - 1][r], GDB_REG_BYTES);
	return r != GDB_CR8;
}

static bool set_reg(unsigned thread, enum gdb_reg r, const uint8_t val[GDB_REG_BYTES])
{
	expect(is_thread(thread) && r < GDB_REGS);
	memcpy(reg[GDB_NUMBER_OF(thread) - 1][r], val, GDB_REG_BYTES);
	return true;
}

static size_t clip(uint64_t at, size_t n)
{
	if (at < MEMORY_BASE || at - MEMORY_BASE >= sizeof(memory))
		return 0;
	at -= MEMORY_BASE;
	return n < sizeof(memory) - at ? n : sizeof(memory) - (size_t)at;
}

static size_t read_memory(unsigned thread, uint64_t at, void *buf, size_t n)
{
	expect(is_thread(thread) && n <= GDB_PACKET_MAX);
	n = clip(at, n);
	if (n)
		memcpy(buf, memory + (at - MEMORY_BASE), n);
	return n;
}

static size_t write_memory(unsigned thread, uint64_t at, const void *buf, size_t n)
{
	expect(is_thread(thread) && n <= GDB_PACKET_MAX);
	n = clip(at, n);
	if (n)
		memcpy(memory + (at - MEMORY_BASE), buf, n);
	return n;
}

static int change_point(unsigned process, enum gdb_point kind, uint64_t at, unsigned size)
{
	expect(process < GDB_PROCESSES);
	expect(kind < GDB_POINTS);
	return at > size ? 0 : -1;
}

static void begin(void)
{
	attached[2] = false;
}

static int attach(unsigned process)
{
	expect(process && process < GDB_PROCESSES);
	if (process > PROCESSES)
		return -1;
	attached[process] = true;
	return 0;
}

static void interrupt(unsigned process)
{
	expect(process < GDB_PROCESSES);
}

static int resume(unsigned process)
{
	expect(process && process < GDB_PROCESSES);
	running |= get_threads(process) > 0;
	return get_threads(process) ? 0 : -ENODEV;
}

static int step(unsigned thread)
{
	expect(thread < GDB_THREAD(GDB_PROCESSES, 0));
	running |= is_thread(thread);
	return is_thread(thread) ? 0 : -ENODEV;
}

static void detach(unsigned process)
{
	expect(process && process < GDB_PROCESSES);
	if (process <= PROCESSES)
		attached[process] = false;
}

static int kill(unsigned process)
{
	detach(process);
	return 0;
}

static bool command(const char *line, char *buf, size_t size)
{
	size_t n = strlen(line);

	if (n >= size)
		n = size - 1;
	memcpy(buf, line, n);
	buf[n] = '\0';
	return n != 1;
}

static const struct gdb_target target = {
	.look = look,
	.attached = next_attached,
	.threads = get_threads,
	.thread_name = get_name,
	.arch = get_arch,
	.running = is_running,
	.get_reg = get_reg,
	.set_reg = set_reg,
	.read = read_memory,
	.write = write_memory,
	.set_point = change_point,
	.clear_point = change_point,
	.begin = begin,
	.attach = attach,
	.resume = resume,
	.step = step,
	.interrupt = interrupt,
	.detach = detach,
	.kill = kill,
	.command = command,
};

static void read_replies(void)
{
	int c;

	while ((c = gdb_stub_next(&stub)) >= 0) {
		expect(reader.state != GDB_BETWEEN || c == '+' || c == '-' || c == '$');
		expect(gdb_link_take(&reader, (uint8_t)c) != GDB_OVERLONG);
	}
	expect(reader.state == GDB_BETWEEN);
	/* It never had to ask for one again. */
	while ((c = gdb_link_next(&reader)) >= 0)
		expect(c == '+');
}

static void take_in(uint8_t c)
{
	if (gdb_stub_take(&stub, c))
		gdb_stub_run(&stub);
}

/* The fuzzer finds no checksums: a newline stands for # and the right ones. */
static void take_byte(uint8_t c)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sum = stub.link.sum;

	if (c != '\n') {
		take_in(c);
		return;
	}
	take_in('#');
	take_in((uint8_t)digits[sum >> 4]);
	take_in((uint8_t)digits[sum & 0xf]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gdb_stop stop = { .signal = GDB_SIGTRAP,
				 .thread = GDB_THREAD(1, 1),
				 .at_point = true };

	memset(memory, 0, sizeof(memory));
	memset(reg, 0, sizeof(reg));
	running = false;
	attached[1] = true;
	attached[2] = false;
	gdb_stub_init(&stub, &target);
	gdb_link_init(&reader);
	for (size_t i = 0; i < size; i++) {
		take_byte(data[i]);
		if (running && data[i] == 0xff) {
			running = false;
			stop.point = (enum gdb_point)(i % GDB_POINTS);
			gdb_stub_stopped(&stub, &stop);
		}
		read_replies();
	}
	return 0;
}
