#include "vmm/gdb/gdb.h"

#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/serial_line.h"
#include "vmm/config.h"
#include "vmm/gdb/stub.h"
#include "vmm/gdb/target.h"
#include "vmm/run.h"

#define LINE_DEFAULT "com2"

static struct serial_line *line; /* NULL: none is open */
static char line_spec[CONFIG_GDB_MAX];
static struct gdb_stub stub;
static int unsent = -1; /* the stub's last byte, that the line had no room for */
static bool serving;    /* what GDB has sent is being carried out: its answer needs the line */

/* --- a guest --- */

/* What the line has no room for now goes when it marks work. */
void gdb_send(void)
{
	for (;;) {
		if (unsent < 0)
			unsent = gdb_stub_next(&stub);
		if (unsent < 0 || !serial_line_try_putc(line, (uint8_t)unsent))
			return;
		unsent = -1;
	}
}

/* What GDB says may be about any VM. */
static void hold_all(bool on)
{
	struct vm *vm;

	for (unsigned i = 0; (vm = vmm_vm(i)); i++) {
		if (on)
			vmm_hold_vm(vm);
		else
			vmm_let_vm(vm);
	}
}

/* The guests are held for a whole packet, not for noise. */
static void take_byte(uint8_t c)
{
	if (gdb_stub_take(&stub, c)) {
		hold_all(true);
		serving = true;
		gdb_stub_run(&stub);
		serving = false;
		hold_all(false);
	}
	gdb_send();
}

/* False: all that has come is taken. */
static bool take_input(void)
{
	unsigned n = 0;
	int c;

	while ((c = serial_line_getc(line)) >= 0) {
		take_byte((uint8_t)c);
		if (++n == SERIAL_LINE_RX)
			return true;
	}
	return false;
}

void gdb_work(void)
{
	bool more;

	if (!line)
		return;
	more = take_input();
	gdb_send();
	if (more) /* in the next round */
		serial_line_tell(line, SERIAL_LINE_TX);
}

/* --- Umbra itself --- */

/* A guest's session ends: GDB learns of it if it waits, and comes back with Umbra's symbols. */
static void serve_panic(const struct trap_frame *tf)
{
	const struct gdb_stop ended = { .ended = true, .signal = GDB_SIGABRT };

	serial_line_panic(line);
	gdb_stub_stopped(&stub, &ended);
	gdb_send();
	gdb_host_choose(tf);
	gdb_stub_init(&stub, &gdb_host_target);
	for (;;) {
		int c = serial_line_getc(line);

		if (c < 0) {
			cpu_relax();
			continue;
		}
		if (gdb_stub_take(&stub, (uint8_t)c))
			gdb_stub_run(&stub);
		gdb_send();
	}
}

/* --- opening --- */

static const char not_by_gdb[] = "gdb's own line is taken away at Umbra's prompt only";

/* A session that waits for a guest hears that there is nothing to wait for. */
static void close_line(void)
{
	gdb_guest_leave();
	gdb_stub_leave(&stub);
	gdb_send();
	serial_line_close(line);
	line = NULL;
}

static const char *open_line(const char *spec)
{
	const char *why = NULL;
	struct serial_line *other;

	if (line && !*spec)
		return NULL;
	other = serial_line_open(*spec ? spec : LINE_DEFAULT, &stub, "gdb", &why);
	if (!other)
		return why;
	if (line == other)
		return NULL;
	if (serving) {
		serial_line_close(other);
		return not_by_gdb;
	}
	if (line)
		close_line();
	gdb_stub_init(&stub, &gdb_guest_target);
	unsent = -1;
	line = other;
	str_copy(line_spec, *spec ? spec : LINE_DEFAULT, sizeof(line_spec));
	panic_set_debugger(serve_panic);
	return NULL;
}

const char *gdb_attach(struct vm *vm, const char *spec)
{
	const char *why;

	hold_all(true);
	why = open_line(spec);
	if (!why) {
		gdb_guest_leave();
		gdb_guest_choose(&stub, vm);
		gdb_stub_leave(&stub);
	}
	hold_all(false);
	return why;
}

void gdb_init(const char *spec)
{
	const char *why;

	if (!*spec)
		return;
	why = gdb_attach(vmm_vm(0), spec);
	if (why)
		log_err("error: Umbra's line: \"gdb=%s\": %s; ignored", spec, why);
}

void gdb_off(void)
{
	if (!line)
		return;
	hold_all(true);
	gdb_guest_leave();
	gdb_guest_choose(&stub, NULL);
	gdb_stub_leave(&stub);
	hold_all(false);
}

const char *gdb_close(void)
{
	if (serving)
		return not_by_gdb;
	if (!line)
		return NULL;
	hold_all(true);
	close_line();
	gdb_guest_choose(&stub, NULL);
	hold_all(false);
	panic_set_debugger(NULL);
	return NULL;
}

const char *gdb_line(void)
{
	return line ? line_spec : NULL;
}

struct vm *gdb_vm(void)
{
	return gdb_guest_vm();
}

bool gdb_is_attached(const struct vm *vm)
{
	return gdb_guest_is_attached(vm);
}
