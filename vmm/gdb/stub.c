#include "vmm/gdb/stub.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/gdb/reader.h"
#include "vmm/gdb/stub_core.h"

#define NAME_MAX 64 /* of a thread */
#define LIST_MAX 16384
#define SAID_MAX 65536    /* of what a command says */
#define SAID_PIECE 512    /* a packet that a slow line brings before GDB loses patience */
#define GO_ON 0xffffffffu /* an action; others: nothing, or the thread that steps */

/* --- threads --- */

/* That there is now. */
static bool is_there(const struct gdb_stub *s, unsigned thread)
{
	return GDB_NUMBER_OF(thread) &&
	       GDB_NUMBER_OF(thread) <= s->target->threads(GDB_PROCESS_OF(thread));
}

/* 0: GDB is attached to none. */
static unsigned first_thread(const struct gdb_stub *s)
{
	unsigned process = s->target->attached(0);

	return process ? GDB_THREAD(process, 1) : 0;
}

/* Of a process and a thread as GDB named them, the one that is meant; 0: there is none. */
static unsigned find_thread(const struct gdb_stub *s, uint64_t process, uint64_t number)
{
	if (process == GDB_ANY)
		process = GDB_PROCESS_OF(is_there(s, s->thread) ? s->thread : first_thread(s));
	if (number == GDB_ANY)
		number = 1;
	if (!process || process >= GDB_PROCESSES || !number ||
	    number > s->target->threads((unsigned)process))
		return 0;
	return GDB_THREAD((unsigned)process, (unsigned)number);
}

static unsigned take_thread(const struct gdb_stub *s, struct gdb_reader *r)
{
	uint64_t process, number;

	return gdb_take_thread(r, &process, &number) ? find_thread(s, process, number) : 0;
}

/* The process that a packet ends with, or the one at hand; 0: neither. */
static unsigned take_process(const struct gdb_stub *s, struct gdb_reader *r)
{
	uint64_t process;

	if (gdb_at_end(r))
		return GDB_PROCESS_OF(s->thread);
	if (!gdb_take_number(r, &process) || !gdb_at_end(r) || process >= GDB_PROCESSES)
		return 0;
	return (unsigned)process;
}

/* --- replies --- */

void gdb_reply(struct gdb_stub *s, const char *text)
{
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, text);
	gdb_put_end(&s->link);
}

void gdb_reply_status(struct gdb_stub *s, int err)
{
	uint8_t number = (uint8_t)-err;

	if (!err) {
		gdb_reply(s, "OK");
		return;
	}
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "E");
	gdb_put_hex(&s->link, &number, 1);
	gdb_put_end(&s->link);
}

void gdb_reply_wrong(struct gdb_stub *s)
{
	gdb_reply_status(s, -EINVAL);
}

static void put_thread(struct gdb_stub *s, unsigned thread)
{
	if (s->multiprocess) {
		gdb_put_text(&s->link, "p");
		gdb_put_number(&s->link, GDB_PROCESS_OF(thread));
		gdb_put_text(&s->link, ".");
	}
	gdb_put_number(&s->link, GDB_NUMBER_OF(thread));
}

/* Why the thread stopped, if GDB knows how that is said. */
static void put_reason(struct gdb_stub *s, const struct gdb_stop *stop)
{
	static const char *const watch[GDB_POINTS] = {
		[GDB_POINT_WRITE] = "watch:",
		[GDB_POINT_READ] = "rwatch:",
		[GDB_POINT_ACCESS] = "awatch:",
	};

	if (!stop->at_point)
		return;
	if (watch[stop->point]) {
		gdb_put_text(&s->link, watch[stop->point]);
		gdb_put_number(&s->link, stop->at);
		gdb_put_text(&s->link, ";");
	} else if (stop->point == GDB_POINT_SOFTWARE && s->swbreak) {
		gdb_put_text(&s->link, "swbreak:;");
	} else if (stop->point == GDB_POINT_HARDWARE && s->hwbreak) {
		gdb_put_text(&s->link, "hwbreak:;");
	}
}

static void reply_end(struct gdb_stub *s, const struct gdb_stop *stop)
{
	uint8_t status = stop->ended ? stop->signal : 0;

	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, status ? "X" : "W");
	gdb_put_hex(&s->link, &status, 1);
	if (s->multiprocess) {
		gdb_put_text(&s->link, ";process:");
		gdb_put_number(&s->link, GDB_PROCESS_OF(stop->thread));
	}
	gdb_put_end(&s->link);
}

static void reply_stop(struct gdb_stub *s)
{
	const struct gdb_stop *stop = &s->last;

	s->answer_stop = false;
	if (stop->ended || !is_there(s, stop->thread)) {
		reply_end(s, stop);
		return;
	}
	s->thread = stop->thread; /* GDB takes that for granted */
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "T");
	gdb_put_hex(&s->link, &stop->signal, 1);
	put_reason(s, stop);
	gdb_put_text(&s->link, "thread:");
	put_thread(s, stop->thread);
	gdb_put_text(&s->link, ";");
	gdb_put_end(&s->link);
}

/* Nothing has happened yet that GDB could be told of this one. */
static void forget_stop(struct gdb_stub *s)
{
	s->last = (struct gdb_stop){ .signal = GDB_SIGTRAP,
				     .thread = s->thread ? s->thread : GDB_THREAD(1u, 1) };
}

bool gdb_has_thread(struct gdb_stub *s)
{
	if (is_there(s, s->thread))
		return true;
	gdb_reply_status(s, -ENODEV);
	return false;
}

/* --- points --- */

static void change_point(struct gdb_stub *s, struct gdb_reader *r, bool set)
{
	uint64_t kind, at, size;
	int err, as_wanted = set ? -EEXIST : -ENOENT;

	if (!gdb_take_number(r, &kind) || !gdb_take_char(r, ',') || !gdb_take_pair(r, &at, &size) ||
	    !gdb_at_end(r) || size > UINT32_MAX) {
		gdb_reply_wrong(s);
		return;
	}
	err = -EOPNOTSUPP;
	if (kind < GDB_POINTS)
		err = (set ? s->target->set_point : s->target->clear_point)(
			GDB_PROCESS_OF(s->thread), (enum gdb_point)kind, at, (unsigned)size);
	/* Both may be sent again. */
	if (err == -EOPNOTSUPP)
		gdb_reply(s, "");
	else
		gdb_reply_status(s, err == as_wanted ? 0 : err);
}

static void insert_point(struct gdb_stub *s, struct gdb_reader *r)
{
	change_point(s, r, true);
}

static void remove_point(struct gdb_stub *s, struct gdb_reader *r)
{
	change_point(s, r, false);
}

/* --- running --- */

/* GDB waits for the stop from here on. It may come at once, and then no more go on. */
static void go_on(struct gdb_stub *s, const unsigned action[GDB_PROCESSES])
{
	unsigned last = GDB_PROCESS_OF(s->last.thread);
	int err = -ENODEV, one;

	s->answer_stop = true;
	/* The one that stopped last is the last to go on: where all come to points, each gets
	 * there. */
	for (unsigned i = 1; i <= GDB_PROCESSES && s->answer_stop; i++) {
		unsigned p = (last + i) % GDB_PROCESSES;

		if (!p || !action[p])
			continue;
		one = action[p] == GO_ON ? s->target->resume(p) : s->target->step(action[p]);
		if (err)
			err = one;
		if (one == -ENODEV) {
			s->last = (struct gdb_stop){ .ended = true, .thread = GDB_THREAD(p, 1) };
			reply_stop(s);
		}
	}
	if (!err || !s->answer_stop)
		return;
	s->answer_stop = false;
	if (err == -ENODEV)
		reply_end(s, &s->last);
	else if (err == -EOPNOTSUPP)
		gdb_reply(s, "E.nothing runs here any more");
	else
		gdb_reply_status(s, err);
}

/* An address to go on at may follow. */
static void go_on_at(struct gdb_stub *s, struct gdb_reader *r, bool step)
{
	unsigned action[GDB_PROCESSES] = { 0 };
	uint8_t val[GDB_REG_BYTES];
	uint64_t at;

	if (!gdb_has_thread(s))
		return;
	if (!gdb_at_end(r)) {
		memset(val, 0, sizeof(val));
		if (!gdb_take_number(r, &at) || !gdb_at_end(r)) {
			gdb_reply_wrong(s);
			return;
		}
		memcpy(val, &at, sizeof(at));
		if (!s->target->set_reg(s->thread, GDB_RIP, val)) {
			gdb_reply_wrong(s);
			return;
		}
	}
	action[GDB_PROCESS_OF(s->thread)] = step ? s->thread : GO_ON;
	go_on(s, action);
}

static void cmd_continue(struct gdb_stub *s, struct gdb_reader *r)
{
	go_on_at(s, r, false);
}

static void cmd_step(struct gdb_stub *s, struct gdb_reader *r)
{
	go_on_at(s, r, true);
}

/* The signal, which no processor takes, and perhaps an address. */
static void skip_signal(struct gdb_reader *r)
{
	uint64_t signal;

	gdb_take_number(r, &signal);
	gdb_take_char(r, ';');
}

static void cmd_continue_signal(struct gdb_stub *s, struct gdb_reader *r)
{
	skip_signal(r);
	go_on_at(s, r, false);
}

static void cmd_step_signal(struct gdb_stub *s, struct gdb_reader *r)
{
	skip_signal(r);
	go_on_at(s, r, true);
}

/* The action's process and thread, where `any` is the thread at hand if it steps. False: there is
 * no such thread. */
static bool take_subject(const struct gdb_stub *s, struct gdb_reader *r, bool steps,
			 uint64_t *process, uint64_t *number)
{
	uint64_t threads;

	*process = *number = GDB_ANY;
	if (gdb_take_char(r, ':') && !gdb_take_thread(r, process, number))
		return false;
	if (*process == GDB_ANY && (steps || *number != GDB_ANY))
		*process = GDB_PROCESS_OF(s->thread);
	if (*process == GDB_ANY)
		return true;
	if (*process >= GDB_PROCESSES)
		return false;
	/* One that has ended since is told of; any other is none of GDB's. */
	if (!s->had[*process] && s->target->attached((unsigned)*process - 1) != *process)
		return false;
	threads = s->target->threads((unsigned)*process);
	if (*number != GDB_ANY && *number > (threads ? threads : 1))
		return false;
	if (*number == GDB_ANY && steps)
		*number = GDB_PROCESS_OF(s->thread) == *process ? GDB_NUMBER_OF(s->thread) : 1;
	return true;
}

/*
 * c, Csignal, s or Ssignal, and perhaps :thread. The first for a process counts, but that a thread
 * that steps does it alone there.
 */
static bool take_action(const struct gdb_stub *s, struct gdb_reader *r,
			unsigned action[GDB_PROCESSES])
{
	bool steps = gdb_take_char(r, 's');
	uint64_t process, number, signal;

	if (!steps && !gdb_take_char(r, 'c')) {
		steps = gdb_take_char(r, 'S');
		if ((!steps && !gdb_take_char(r, 'C')) || !gdb_take_number(r, &signal))
			return false;
	}
	if (!take_subject(s, r, steps, &process, &number))
		return false;
	for (unsigned p = 1; p < GDB_PROCESSES; p++) {
		if (process == GDB_ANY ? s->target->attached(p - 1) != p : process != p)
			continue;
		if (steps)
			action[p] = GDB_THREAD(p, (unsigned)number);
		else if (!action[p])
			action[p] = GO_ON;
	}
	return true;
}

/* `;s:1;c`: an action for each thread named, one for the others. */
static void cmd_vcont(struct gdb_stub *s, struct gdb_reader *r)
{
	unsigned action[GDB_PROCESSES] = { 0 };

	do {
		if (!gdb_take_char(r, ';') || !take_action(s, r, action)) {
			gdb_reply_wrong(s);
			return;
		}
	} while (!gdb_at_end(r));
	go_on(s, action);
}

/* Say why the thread at hand has stopped, once it has. */
static void stop_and_say(struct gdb_stub *s)
{
	if (!s->thread || !s->target->running(GDB_PROCESS_OF(s->thread))) {
		reply_stop(s);
		return;
	}
	s->answer_stop = true;
	s->target->interrupt(GDB_PROCESS_OF(s->thread));
}

static void cmd_why(struct gdb_stub *s, struct gdb_reader *r)
{
	(void)r;
	if (!is_there(s, s->last.thread))
		s->thread = first_thread(s);
	else
		s->thread = s->last.thread;
	stop_and_say(s);
}

static void cmd_attach(struct gdb_stub *s, struct gdb_reader *r)
{
	unsigned process = gdb_at_end(r) ? 0 : take_process(s, r);
	int err = process && s->target->attach ? s->target->attach(process) : -ENODEV;

	if (err) {
		gdb_reply(s, err == -EEXIST ? "E.attached to it already" : "E.no such VM runs");
		return;
	}
	s->thread = GDB_THREAD(process, 1);
	s->arch[process] = s->target->arch(process);
	s->had[process] = true;
	forget_stop(s);
	stop_and_say(s);
}

/* D or D;process. One that has ended by itself is let go as well. */
static void cmd_detach(struct gdb_stub *s, struct gdb_reader *r)
{
	bool named = gdb_take_char(r, ';');
	bool right = named != gdb_at_end(r);
	unsigned process = right ? take_process(s, r) : 0;
	const char *name, *state;

	if (!right || (named && !s->target->look(process, &name, &state))) {
		gdb_reply_wrong(s);
		return;
	}
	if (process)
		s->target->detach(process);
	s->had[process] = false;
	gdb_reply(s, "OK");
}

static int kill_process(struct gdb_stub *s, unsigned process)
{
	if (!process)
		return -ENODEV;
	s->answer_stop = false;
	return s->target->kill(process);
}

/* Kill has no reply. */
static void cmd_kill(struct gdb_stub *s, struct gdb_reader *r)
{
	if (gdb_at_end(r))
		kill_process(s, GDB_PROCESS_OF(s->thread));
	else
		gdb_reply_wrong(s);
}

static void cmd_vkill(struct gdb_stub *s, struct gdb_reader *r)
{
	bool named = gdb_take_char(r, ';') && !gdb_at_end(r);

	gdb_reply_status(s, kill_process(s, named ? take_process(s, r) : 0));
}

/* --- threads --- */

static void choose_thread(struct gdb_stub *s, struct gdb_reader *r)
{
	bool registers = gdb_take_char(r, 'g');
	uint64_t process, number;
	unsigned thread;

	if ((!registers && !gdb_take_char(r, 'c')) || !gdb_take_thread(r, &process, &number) ||
	    !gdb_at_end(r)) {
		gdb_reply_status(s, -ENODEV);
		return;
	}
	thread = find_thread(s, process, number);
	if (!thread && (process != GDB_ANY || number != GDB_ANY)) {
		gdb_reply_status(s, -ENODEV);
		return;
	}
	if (registers)
		s->thread = thread;
	gdb_reply(s, "OK");
}

static void cmd_alive(struct gdb_stub *s, struct gdb_reader *r)
{
	gdb_reply_status(s, take_thread(s, r) ? 0 : -ENODEV);
}

static void list_threads(struct gdb_stub *s, struct gdb_reader *r)
{
	char before = 'm';

	(void)r;
	gdb_put_begin(&s->link);
	for (unsigned p = s->target->attached(0); p; p = s->target->attached(p))
		for (unsigned i = 1; i <= s->target->threads(p); i++, before = ',') {
			gdb_put_byte(&s->link, (uint8_t)before);
			put_thread(s, GDB_THREAD(p, i));
		}
	if (before == 'm')
		gdb_put_text(&s->link, "l");
	gdb_put_end(&s->link);
}

static void end_list(struct gdb_stub *s, struct gdb_reader *r)
{
	(void)r;
	gdb_reply(s, "l");
}

static void thread_info(struct gdb_stub *s, struct gdb_reader *r)
{
	char name[NAME_MAX] = "";
	unsigned thread = gdb_take_char(r, ',') ? take_thread(s, r) : 0;

	if (!thread) {
		gdb_reply_status(s, -ENODEV);
		return;
	}
	s->target->thread_name(thread, name, sizeof(name));
	gdb_put_begin(&s->link);
	gdb_put_hex(&s->link, name, strlen(name));
	gdb_put_end(&s->link);
}

static void current_thread(struct gdb_stub *s, struct gdb_reader *r)
{
	if (!gdb_at_end(r)) { /* qCRC */
		gdb_reply(s, "");
		return;
	}
	if (!gdb_has_thread(s))
		return;
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "QC");
	put_thread(s, s->thread);
	gdb_put_end(&s->link);
}

/* --- queries --- */

/* The first command of every session. */
static void cmd_supported(struct gdb_stub *s, struct gdb_reader *r)
{
	s->answer_stop = false;
	s->multiprocess = s->swbreak = s->hwbreak = false;
	while (!gdb_at_end(r)) {
		s->multiprocess |= gdb_take_text(r, "multiprocess+");
		s->swbreak |= gdb_take_text(r, "swbreak+");
		s->hwbreak |= gdb_take_text(r, "hwbreak+");
		if (!gdb_at_end(r))
			r->at++;
	}
	s->target->begin();
	s->thread = first_thread(s);
	memset(s->had, 0, sizeof(s->had));
	s->had[GDB_PROCESS_OF(s->thread)] = true;
	forget_stop(s);
	s->arch[GDB_PROCESS_OF(s->thread)] = s->target->arch(GDB_PROCESS_OF(s->thread));
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "PacketSize=");
	gdb_put_number(&s->link, GDB_PACKET_MAX);
	gdb_put_text(&s->link, ";qXfer:features:read+;qXfer:osdata:read+;multiprocess+;"
			       "swbreak+;hwbreak+;vContSupported+");
	gdb_put_end(&s->link);
}

static void put_described(void *ctx, uint8_t c)
{
	gdb_put_byte(ctx, c);
}

/* GDB begins with the description: it is made for the mode of now. */
static void read_description(struct gdb_stub *s, struct gdb_reader *r)
{
	unsigned process = GDB_PROCESS_OF(s->thread);
	uint64_t offset, n, length;

	if (!gdb_take_pair(r, &offset, &n) || !gdb_at_end(r)) {
		gdb_reply_wrong(s);
		return;
	}
	if (!offset)
		s->arch[process] = s->target->arch(process);
	/* Every byte may need an escape. */
	n = MIN(n, (GDB_PACKET_MAX - 1) / 2u);
	gdb_put_begin(&s->link);
	length = gdb_describe(s->arch[process], 0, 0, put_described, &s->link);
	gdb_put_text(&s->link, offset + n < length ? "m" : "l");
	gdb_describe(s->arch[process], (size_t)offset, (size_t)n, put_described, &s->link);
	gdb_put_end(&s->link);
}

static size_t write_list(const struct gdb_target *target, char *buf, size_t size)
{
	size_t len = 0;
	const char *name, *state;

	len += (size_t)ksnprintf(buf, size, "<?xml version=\"1.0\"?><osdata type=\"processes\">");
	for (unsigned p = 1; p < GDB_PROCESSES; p++)
		if (target->look(p, &name, &state))
			len += (size_t)ksnprintf(buf + len, size - len,
						 "<item><column name=\"pid\">%u</column>"
						 "<column name=\"VM\">%s</column>"
						 "<column name=\"state\">%s</column></item>",
						 p, name, state);
	len += (size_t)ksnprintf(buf + len, size - len, "</osdata>");
	return len;
}

/* `info os processes`: what there is to attach to. */
static void list_processes(struct gdb_stub *s, struct gdb_reader *r)
{
	static char text[LIST_MAX]; /* the stub runs on one CPU */
	uint64_t offset, n;
	size_t length;

	if (!gdb_take_pair(r, &offset, &n) || !gdb_at_end(r)) {
		gdb_reply_wrong(s);
		return;
	}
	length = write_list(s->target, text, sizeof(text));
	offset = MIN(offset, length);
	n = MIN(MIN(n, (GDB_PACKET_MAX - 1) / 2u), length - offset);
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, offset + n < length ? "m" : "l");
	while (n--)
		gdb_put_byte(&s->link, (uint8_t)text[offset++]);
	gdb_put_end(&s->link);
}

/* What is left of a command's text, a piece in each packet: the last one is the reply. */
static void put_said(struct gdb_stub *s)
{
	size_t n = MIN(s->said_left, SAID_PIECE);

	gdb_put_begin(&s->link);
	if (n < s->said_left)
		gdb_put_text(&s->link, "O");
	gdb_put_hex(&s->link, s->said, n);
	gdb_put_end(&s->link);
	s->said += n;
	s->said_left -= n;
}

static void run_command(struct gdb_stub *s, struct gdb_reader *r)
{
	static char text[SAID_MAX]; /* the stub runs on one CPU */
	char line[GDB_COMMAND_MAX + 1];
	size_t n = (size_t)(r->end - r->at) / 2;
	bool fits = n < sizeof(line);

	if (fits && (!gdb_take_bytes(r, (uint8_t *)line, n) || !gdb_at_end(r))) {
		gdb_reply_wrong(s);
		return;
	}
	text[0] = '\0';
	if (fits)
		line[n] = '\0';
	else
		ksnprintf(text, sizeof(text), "a line has %u characters at most\n",
			  GDB_COMMAND_MAX);
	if (fits && (!s->target->command || !s->target->command(line, text, sizeof(text)))) {
		gdb_reply(s, "");
	} else if (!text[0]) {
		gdb_reply(s, "OK");
	} else {
		s->said = text;
		s->said_left = strlen(text);
		put_said(s);
	}
}

static void cmd_attached(struct gdb_stub *s, struct gdb_reader *r)
{
	(void)r;
	gdb_reply(s, "1");
}

static void cmd_no_acks(struct gdb_stub *s, struct gdb_reader *r)
{
	(void)r;
	gdb_reply(s, "OK");
	gdb_link_end_acks(&s->link);
}

/* A session that goes on without a process. */
static void cmd_extended(struct gdb_stub *s, struct gdb_reader *r)
{
	(void)r;
	gdb_reply(s, "OK");
}

static void say_vcont(struct gdb_stub *s, struct gdb_reader *r)
{
	(void)r;
	gdb_reply(s, "vCont;c;C;s;S");
}

/* --- commands --- */

/* By their beginning: the first that fits. What fits none gets an empty reply. */
static const struct {
	const char *name;
	void (*run)(struct gdb_stub *s, struct gdb_reader *r);
} commands[] = {
	{ "?", cmd_why },
	{ "g", gdb_cmd_registers },
	{ "G", gdb_cmd_set_registers },
	{ "p", gdb_cmd_register },
	{ "P", gdb_cmd_set_register },
	{ "m", gdb_cmd_read },
	{ "M", gdb_cmd_write },
	{ "X", gdb_cmd_write_binary },
	{ "c", cmd_continue },
	{ "C", cmd_continue_signal },
	{ "s", cmd_step },
	{ "S", cmd_step_signal },
	{ "Z", insert_point },
	{ "z", remove_point },
	{ "vCont?", say_vcont },
	{ "vCont", cmd_vcont },
	{ "vKill", cmd_vkill },
	{ "vAttach;", cmd_attach },
	{ "!", cmd_extended },
	{ "H", choose_thread },
	{ "T", cmd_alive },
	{ "D", cmd_detach },
	{ "k", cmd_kill },
	{ "qSupported", cmd_supported },
	{ "qXfer:features:read:target.xml:", read_description },
	{ "qXfer:osdata:read:processes:", list_processes },
	{ "qfThreadInfo", list_threads },
	{ "qsThreadInfo", end_list },
	{ "qThreadExtraInfo", thread_info },
	{ "qC", current_thread },
	{ "qAttached", cmd_attached },
	{ "qRcmd,", run_command },
	{ "QStartNoAckMode", cmd_no_acks },
};

static void run_packet(struct gdb_stub *s)
{
	struct gdb_reader r = { s->link.in, s->link.in + s->link.in_len };

	s->said_left = 0;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (gdb_take_text(&r, commands[i].name)) {
			commands[i].run(s, &r);
			return;
		}
	}
	gdb_reply(s, "");
}

void gdb_stub_init(struct gdb_stub *s, const struct gdb_target *target)
{
	memset(s, 0, sizeof(*s));
	gdb_link_init(&s->link);
	s->target = target;
	gdb_stub_leave(s);
}

void gdb_stub_leave(struct gdb_stub *s)
{
	if (s->answer_stop) {
		s->last = (struct gdb_stop){ .ended = true,
					     .signal = GDB_SIGABRT,
					     .thread = s->last.thread };
		reply_stop(s);
	}
	s->thread = first_thread(s);
	forget_stop(s);
	s->arch[GDB_PROCESS_OF(s->thread)] = s->target->arch(GDB_PROCESS_OF(s->thread));
}

bool gdb_stub_take(struct gdb_stub *s, uint8_t c)
{
	/* A GDB that waits sends nothing else: a packet that has begun is noise. */
	if (s->answer_stop && c == GDB_BREAK)
		gdb_link_drop(&s->link);
	s->event = gdb_link_take(&s->link, c);
	if (s->event == GDB_INTERRUPT && !s->answer_stop)
		s->event = GDB_NOTHING;
	return s->event != GDB_NOTHING;
}

void gdb_stub_run(struct gdb_stub *s)
{
	switch (s->event) {
	case GDB_PACKET:
		run_packet(s);
		break;
	case GDB_OVERLONG:
		s->said_left = 0;
		gdb_reply_status(s, -E2BIG);
		break;
	case GDB_INTERRUPT:
		s->target->interrupt(0);
		break;
	default:
		break;
	}
}

int gdb_stub_next(struct gdb_stub *s)
{
	if (s->said_left && gdb_link_is_idle(&s->link))
		put_said(s);
	return gdb_link_next(&s->link);
}

void gdb_stub_stopped(struct gdb_stub *s, const struct gdb_stop *stop)
{
	s->last = *stop;
	if (s->answer_stop)
		reply_stop(s);
}
