#include "vmm/gdb/stub.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"

#define CHUNK 64    /* memory is moved through buffers of this size */
#define NAME_MAX 64 /* of a thread */
#define ANY_THREAD UINT64_MAX

/* What is read of a packet, a piece at a time. */
struct reader {
	const char *at, *end;
};

/* --- reading --- */

static bool take_char(struct reader *r, char c)
{
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

static bool take_text(struct reader *r, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(r->end - r->at) < n || memcmp(r->at, text, n) != 0)
		return false;
	r->at += n;
	return true;
}

static bool at_end(const struct reader *r)
{
	return r->at == r->end;
}

/* Hexadecimal digits, 16 at most. */
static bool take_number(struct reader *r, uint64_t *val)
{
	unsigned n;

	*val = 0;
	for (n = 0; r->at < r->end && gdb_hex_digit(*r->at) >= 0; n++, r->at++) {
		if (n == 16)
			return false;
		*val = *val << 4 | (unsigned)gdb_hex_digit(*r->at);
	}
	return n > 0;
}

/* Two digits a byte. */
static bool take_bytes(struct reader *r, uint8_t *bytes, size_t n)
{
	for (; n--; bytes++, r->at += 2) {
		int high, low;

		if (r->end - r->at < 2)
			return false;
		high = gdb_hex_digit(r->at[0]);
		low = gdb_hex_digit(r->at[1]);
		if (high < 0 || low < 0)
			return false;
		*bytes = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool take_pair(struct reader *r, uint64_t *a, uint64_t *b)
{
	return take_number(r, a) && take_char(r, ',') && take_number(r, b);
}

/* THREAD or pPROCESS.THREAD, where -1 is all and 0 any: ANY_THREAD. */
static bool take_id(struct reader *r, uint64_t *id)
{
	if (take_text(r, "-1")) {
		*id = ANY_THREAD;
		return true;
	}
	if (!take_number(r, id))
		return false;
	if (!*id)
		*id = ANY_THREAD;
	return true;
}

static bool take_thread(struct gdb_stub *s, struct reader *r, uint64_t *thread)
{
	uint64_t process;

	if (take_char(r, 'p')) {
		if (!take_id(r, &process))
			return false;
		if (process != ANY_THREAD && process != s->target->process())
			return false;
		*thread = ANY_THREAD;
		if (!take_char(r, '.'))
			return true;
	}
	return take_id(r, thread) && (*thread == ANY_THREAD || *thread <= s->target->threads());
}

/* --- replies --- */

static void reply(struct gdb_stub *s, const char *text)
{
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, text);
	gdb_put_end(&s->link);
}

static void reply_status(struct gdb_stub *s, int err)
{
	uint8_t number = (uint8_t)-err;

	if (!err) {
		reply(s, "OK");
		return;
	}
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "E");
	gdb_put_hex(&s->link, &number, 1);
	gdb_put_end(&s->link);
}

static void reply_wrong(struct gdb_stub *s)
{
	reply_status(s, -EINVAL);
}

static void put_thread(struct gdb_stub *s, unsigned thread)
{
	if (s->multiprocess) {
		gdb_put_text(&s->link, "p");
		gdb_put_number(&s->link, s->target->process());
		gdb_put_text(&s->link, ".");
	}
	gdb_put_number(&s->link, thread);
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

static void reply_stop(struct gdb_stub *s)
{
	const struct gdb_stop *stop = &s->last;
	uint8_t status = stop->ended ? stop->signal : 0;

	s->answer_stop = false;
	if (stop->ended || !s->target->threads()) {
		gdb_put_begin(&s->link);
		gdb_put_text(&s->link, stop->ended && stop->signal ? "X" : "W");
		gdb_put_hex(&s->link, &status, 1);
		if (s->multiprocess) {
			gdb_put_text(&s->link, ";process:");
			gdb_put_number(&s->link, s->target->process());
		}
		gdb_put_end(&s->link);
		return;
	}
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "T");
	gdb_put_hex(&s->link, &stop->signal, 1);
	put_reason(s, stop);
	gdb_put_text(&s->link, "thread:");
	put_thread(s, stop->thread);
	gdb_put_text(&s->link, ";");
	gdb_put_end(&s->link);
}

/* --- registers --- */

static void put_register(struct gdb_stub *s, const struct gdb_reg_info *info)
{
	uint8_t val[GDB_REG_BYTES];

	memset(val, 0, sizeof(val));
	if (s->target->get_reg(s->thread, (enum gdb_reg)info->reg, val)) {
		gdb_put_hex(&s->link, val, info->size);
		return;
	}
	for (unsigned i = 0; i < info->size; i++)
		gdb_put_text(&s->link, "xx");
}

static bool has_thread(struct gdb_stub *s)
{
	if (s->thread && s->thread <= s->target->threads())
		return true;
	reply_status(s, -ENODEV);
	return false;
}

static void read_registers(struct gdb_stub *s, struct reader *r)
{
	const struct gdb_reg_info *info;

	(void)r;
	if (!has_thread(s))
		return;
	gdb_put_begin(&s->link);
	for (unsigned i = 0; (info = gdb_reg_info(s->arch, i)); i++)
		put_register(s, info);
	gdb_put_end(&s->link);
}

/* Only what differs is written: most are as they were read, some cannot be written. */
static bool write_register(struct gdb_stub *s, const struct gdb_reg_info *info,
			   const uint8_t *bytes)
{
	uint8_t val[GDB_REG_BYTES];

	memset(val, 0, sizeof(val));
	if (!s->target->get_reg(s->thread, (enum gdb_reg)info->reg, val))
		return false;
	if (!memcmp(val, bytes, info->size))
		return true;
	memcpy(val, bytes, info->size);
	return s->target->set_reg(s->thread, (enum gdb_reg)info->reg, val);
}

static void write_registers(struct gdb_stub *s, struct reader *r)
{
	const struct gdb_reg_info *info;
	uint8_t val[GDB_REG_BYTES];
	bool ok = true;

	if (!has_thread(s))
		return;
	for (unsigned i = 0; (info = gdb_reg_info(s->arch, i)) && !at_end(r); i++) {
		if (take_text(r, "xx")) {
			for (unsigned n = 1; n < info->size; n++)
				take_text(r, "xx");
			continue;
		}
		if (!take_bytes(r, val, info->size)) {
			reply_wrong(s);
			return;
		}
		ok = write_register(s, info, val) && ok;
	}
	reply_status(s, ok ? 0 : -EINVAL);
}

static void read_register(struct gdb_stub *s, struct reader *r)
{
	const struct gdb_reg_info *info = NULL;
	uint64_t number;

	if (!has_thread(s))
		return;
	if (take_number(r, &number) && at_end(r) && number < UINT8_MAX)
		info = gdb_reg_info(s->arch, (unsigned)number);
	if (!info) {
		reply_wrong(s);
		return;
	}
	gdb_put_begin(&s->link);
	put_register(s, info);
	gdb_put_end(&s->link);
}

static void write_one_register(struct gdb_stub *s, struct reader *r)
{
	const struct gdb_reg_info *info = NULL;
	uint8_t val[GDB_REG_BYTES];
	uint64_t number;

	if (!has_thread(s))
		return;
	if (take_number(r, &number) && take_char(r, '=') && number < UINT8_MAX)
		info = gdb_reg_info(s->arch, (unsigned)number);
	if (info && take_bytes(r, val, info->size) && at_end(r) && write_register(s, info, val))
		reply(s, "OK");
	else
		reply_wrong(s);
}

/* --- memory --- */

static void read_memory(struct gdb_stub *s, struct reader *r)
{
	uint64_t at, wanted;
	uint8_t buf[CHUNK];
	size_t done = 0, n, got;

	if (!take_pair(r, &at, &wanted) || !at_end(r)) {
		reply_wrong(s);
		return;
	}
	if (!has_thread(s))
		return;
	wanted = MIN(wanted, GDB_PACKET_MAX / 2 - 1u);
	gdb_put_begin(&s->link);
	do {
		n = (size_t)MIN(wanted - done, sizeof(buf));
		got = s->target->read(s->thread, at + done, buf, n);
		gdb_put_hex(&s->link, buf, got);
		done += got;
	} while (got == n && done < wanted);
	gdb_put_end(&s->link);
	if (wanted && !done)
		reply_status(s, -EFAULT);
}

static void write_memory(struct gdb_stub *s, struct reader *r)
{
	uint64_t at, left;
	uint8_t buf[CHUNK];

	if (!take_pair(r, &at, &left) || !take_char(r, ':') ||
	    left != (uint64_t)(r->end - r->at) / 2) {
		reply_wrong(s);
		return;
	}
	if (!has_thread(s))
		return;
	while (left) {
		size_t n = (size_t)MIN(left, sizeof(buf));

		if (!take_bytes(r, buf, n)) {
			reply_wrong(s);
			return;
		}
		if (s->target->write(s->thread, at, buf, n) < n) {
			reply_status(s, -EFAULT);
			return;
		}
		at += n;
		left -= n;
	}
	reply(s, "OK");
}

/* The bytes as they are. With none, GDB asks whether the command is there. */
static void write_binary(struct gdb_stub *s, struct reader *r)
{
	uint64_t at, n;

	if (!take_pair(r, &at, &n) || !take_char(r, ':') || n != (uint64_t)(r->end - r->at)) {
		reply_wrong(s);
		return;
	}
	if (has_thread(s))
		reply_status(s, s->target->write(s->thread, at, r->at, n) == n ? 0 : -EFAULT);
}

/* --- points --- */

static void change_point(struct gdb_stub *s, struct reader *r, bool set)
{
	uint64_t kind, at, size;
	int err, as_wanted = set ? -EEXIST : -ENOENT;

	if (!take_number(r, &kind) || !take_char(r, ',') || !take_pair(r, &at, &size) ||
	    size > UINT32_MAX) {
		reply_wrong(s);
		return;
	}
	err = -EOPNOTSUPP;
	if (kind < GDB_POINTS)
		err = (set ? s->target->set_point : s->target->clear_point)((enum gdb_point)kind,
									    at, (unsigned)size);
	/* Both may be sent again. */
	if (err == -EOPNOTSUPP)
		reply(s, "");
	else
		reply_status(s, err == as_wanted ? 0 : err);
}

static void insert_point(struct gdb_stub *s, struct reader *r)
{
	change_point(s, r, true);
}

static void remove_point(struct gdb_stub *s, struct reader *r)
{
	change_point(s, r, false);
}

/* --- running --- */

/* From here on GDB waits for the stop, which may come at once. */
static void go_on(struct gdb_stub *s, unsigned step)
{
	int err;

	s->answer_stop = true;
	err = step ? s->target->step(step) : s->target->resume();
	if (!err)
		return;
	s->answer_stop = false;
	if (err == -EOPNOTSUPP)
		reply(s, "E.nothing runs here any more");
	else
		reply_status(s, err);
}

/* An address to go on at may follow. */
static void go_on_at(struct gdb_stub *s, struct reader *r, bool step)
{
	uint8_t val[GDB_REG_BYTES];
	uint64_t at;

	if (!has_thread(s))
		return;
	if (!at_end(r)) {
		memset(val, 0, sizeof(val));
		if (!take_number(r, &at) || !at_end(r)) {
			reply_wrong(s);
			return;
		}
		memcpy(val, &at, sizeof(at));
		if (!s->target->set_reg(s->thread, GDB_RIP, val)) {
			reply_wrong(s);
			return;
		}
	}
	go_on(s, step ? s->thread : 0);
}

static void cmd_continue(struct gdb_stub *s, struct reader *r)
{
	go_on_at(s, r, false);
}

static void cmd_step(struct gdb_stub *s, struct reader *r)
{
	go_on_at(s, r, true);
}

/* The signal, which no processor takes, and perhaps an address. */
static void skip_signal(struct reader *r)
{
	uint64_t signal;

	take_number(r, &signal);
	take_char(r, ';');
}

static void cmd_continue_signal(struct gdb_stub *s, struct reader *r)
{
	skip_signal(r);
	go_on_at(s, r, false);
}

static void cmd_step_signal(struct gdb_stub *s, struct reader *r)
{
	skip_signal(r);
	go_on_at(s, r, true);
}

/* c, Csignal, s or Ssignal, and perhaps :thread. *step: the thread it steps, else 0. */
static bool take_action(struct gdb_stub *s, struct reader *r, unsigned *step)
{
	bool steps = take_char(r, 's');
	uint64_t thread = ANY_THREAD, signal;

	if (!steps && !take_char(r, 'c')) {
		steps = take_char(r, 'S');
		if ((!steps && !take_char(r, 'C')) || !take_number(r, &signal))
			return false;
	}
	if (take_char(r, ':') && !take_thread(s, r, &thread))
		return false;
	*step = !steps ? 0 : thread == ANY_THREAD ? s->thread : (unsigned)thread;
	return true;
}

/* `;s:1;c`: an action for each thread named, one for the others. A thread that steps does it
 * alone. */
static void cmd_vcont(struct gdb_stub *s, struct reader *r)
{
	unsigned step = 0, one;

	while (!at_end(r)) {
		if (!take_char(r, ';') || !take_action(s, r, &one)) {
			reply_wrong(s);
			return;
		}
		if (!step)
			step = one;
	}
	if (has_thread(s))
		go_on(s, step);
}

static void cmd_why(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	s->thread = 1;
	if (!s->target->running()) {
		reply_stop(s);
		return;
	}
	s->answer_stop = true;
	s->target->interrupt();
}

static void cmd_detach(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	s->target->detach();
	reply(s, "OK");
}

/* Kill has no reply. */
static void cmd_kill(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	s->target->kill();
	s->answer_stop = false;
}

static void cmd_vkill(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	reply_status(s, s->target->kill());
	s->answer_stop = false;
}

/* --- threads --- */

static void choose_thread(struct gdb_stub *s, struct reader *r)
{
	uint64_t thread;
	bool registers = take_char(r, 'g');

	if ((!registers && !take_char(r, 'c')) || !take_thread(s, r, &thread)) {
		reply_status(s, -ENODEV);
		return;
	}
	if (registers)
		s->thread = thread == ANY_THREAD ? 1 : (unsigned)thread;
	reply(s, "OK");
}

static void cmd_alive(struct gdb_stub *s, struct reader *r)
{
	uint64_t thread;

	reply_status(s, take_thread(s, r, &thread) && s->target->threads() ? 0 : -ENODEV);
}

static void list_threads(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, s->target->threads() ? "m" : "l");
	for (unsigned i = 1; i <= s->target->threads(); i++) {
		if (i > 1)
			gdb_put_text(&s->link, ",");
		put_thread(s, i);
	}
	gdb_put_end(&s->link);
}

static void end_list(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	reply(s, "l");
}

static void thread_info(struct gdb_stub *s, struct reader *r)
{
	char name[NAME_MAX] = "";
	uint64_t thread;

	if (!take_char(r, ',') || !take_thread(s, r, &thread) || thread == ANY_THREAD) {
		reply_status(s, -ENODEV);
		return;
	}
	s->target->thread_name((unsigned)thread, name, sizeof(name));
	gdb_put_begin(&s->link);
	gdb_put_hex(&s->link, name, strlen(name));
	gdb_put_end(&s->link);
}

static void current_thread(struct gdb_stub *s, struct reader *r)
{
	if (!at_end(r)) { /* qCRC */
		reply(s, "");
		return;
	}
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "QC");
	put_thread(s, s->thread);
	gdb_put_end(&s->link);
}

/* --- queries --- */

/* The first command of every session. */
static void cmd_supported(struct gdb_stub *s, struct reader *r)
{
	s->answer_stop = false;
	s->multiprocess = s->swbreak = s->hwbreak = false;
	while (!at_end(r)) {
		s->multiprocess |= take_text(r, "multiprocess+");
		s->swbreak |= take_text(r, "swbreak+");
		s->hwbreak |= take_text(r, "hwbreak+");
		if (!at_end(r))
			r->at++;
	}
	s->target->begin();
	s->thread = 1;
	s->last = (struct gdb_stop){ .signal = GDB_SIGTRAP, .thread = 1 };
	s->arch = s->target->arch();
	gdb_put_begin(&s->link);
	gdb_put_text(&s->link, "PacketSize=");
	gdb_put_number(&s->link, GDB_PACKET_MAX);
	gdb_put_text(&s->link, ";qXfer:features:read+;multiprocess+;swbreak+;hwbreak+;"
			       "vContSupported+");
	gdb_put_end(&s->link);
}

static void put_described(void *ctx, uint8_t c)
{
	gdb_put_byte(ctx, c);
}

/* GDB begins with the description: it is made for the mode of now. */
static void read_description(struct gdb_stub *s, struct reader *r)
{
	uint64_t offset, n, length;

	if (!take_pair(r, &offset, &n) || !at_end(r)) {
		reply_wrong(s);
		return;
	}
	if (!offset)
		s->arch = s->target->arch();
	/* Every byte may need an escape. */
	n = MIN(n, (GDB_PACKET_MAX - 1) / 2u);
	gdb_put_begin(&s->link);
	length = gdb_describe(s->arch, 0, 0, put_described, &s->link);
	gdb_put_text(&s->link, offset + n < length ? "m" : "l");
	gdb_describe(s->arch, (size_t)offset, (size_t)n, put_described, &s->link);
	gdb_put_end(&s->link);
}

static void run_command(struct gdb_stub *s, struct reader *r)
{
	static char text[(GDB_PACKET_MAX - 1) / 2]; /* the stub runs on one CPU */
	char line[128];
	size_t n = (size_t)(r->end - r->at) / 2;

	if (n >= sizeof(line) || !take_bytes(r, (uint8_t *)line, n) || !at_end(r)) {
		reply_wrong(s);
		return;
	}
	line[n] = '\0';
	text[0] = '\0';
	if (!s->target->command || !s->target->command(line, text, sizeof(text))) {
		reply(s, "");
	} else if (!text[0]) {
		reply(s, "OK");
	} else {
		gdb_put_begin(&s->link);
		gdb_put_hex(&s->link, text, strlen(text));
		gdb_put_end(&s->link);
	}
}

static void cmd_attached(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	reply(s, "1");
}

static void cmd_no_acks(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	reply(s, "OK");
	gdb_link_end_acks(&s->link);
}

static void say_vcont(struct gdb_stub *s, struct reader *r)
{
	(void)r;
	reply(s, "vCont;c;C;s;S");
}

/* --- commands --- */

/* By their beginning: the first that fits. What fits none gets an empty reply. */
static const struct {
	const char *name;
	void (*run)(struct gdb_stub *s, struct reader *r);
} commands[] = {
	{ "?", cmd_why },
	{ "g", read_registers },
	{ "G", write_registers },
	{ "p", read_register },
	{ "P", write_one_register },
	{ "m", read_memory },
	{ "M", write_memory },
	{ "X", write_binary },
	{ "c", cmd_continue },
	{ "C", cmd_continue_signal },
	{ "s", cmd_step },
	{ "S", cmd_step_signal },
	{ "Z", insert_point },
	{ "z", remove_point },
	{ "vCont?", say_vcont },
	{ "vCont", cmd_vcont },
	{ "vKill", cmd_vkill },
	{ "H", choose_thread },
	{ "T", cmd_alive },
	{ "D", cmd_detach },
	{ "k", cmd_kill },
	{ "qSupported", cmd_supported },
	{ "qXfer:features:read:target.xml:", read_description },
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
	struct reader r = { s->link.in, s->link.in + s->link.in_len };

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (take_text(&r, commands[i].name)) {
			commands[i].run(s, &r);
			return;
		}
	}
	reply(s, "");
}

void gdb_stub_init(struct gdb_stub *s, const struct gdb_target *target)
{
	memset(s, 0, sizeof(*s));
	gdb_link_init(&s->link);
	s->target = target;
	s->thread = 1;
	s->last = (struct gdb_stop){ .signal = GDB_SIGTRAP, .thread = 1 };
	s->arch = target->arch();
}

void gdb_stub_take(struct gdb_stub *s, uint8_t c)
{
	switch (gdb_link_take(&s->link, c)) {
	case GDB_PACKET:
		run_packet(s);
		break;
	case GDB_OVERLONG:
		reply_status(s, -E2BIG);
		break;
	case GDB_INTERRUPT:
		if (s->answer_stop)
			s->target->interrupt();
		break;
	default:
		break;
	}
}

int gdb_stub_next(struct gdb_stub *s)
{
	return gdb_link_next(&s->link);
}

void gdb_stub_stopped(struct gdb_stub *s, const struct gdb_stop *stop)
{
	s->last = *stop;
	if (s->answer_stop)
		reply_stop(s);
}
