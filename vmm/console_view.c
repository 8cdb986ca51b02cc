#include "vmm/console_view.h"

#include <stdarg.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/timer.h"

/* Bytes given to the line ahead of what it has sent: little, so that a banner follows a key at
 * once, and enough for it never to pause. */
#define AHEAD 512
#define AHEAD_LOW 256
/* The monitor's is on the line at once, in its order with the log's: more. */
#define AHEAD_MONITOR 8192
#define DRAIN 15360 /* of the line's ring, at a VM's end */
#define BANNER_MAX 200

#define QUIET_NS (NS_PER_SEC / 4)       /* after which an unfinished line may be broken */
#define LOG_WAIT_NS NS_PER_SEC          /* so long it is not for a line of Umbra's, */
#define FOLLOW_WAIT_NS (2 * NS_PER_SEC) /* or another VM's, */
#define FOLLOW_LINE 512                 /* for which it may not be longer either */
#define FOLLOW_OLD 4096                 /* of what was said before following began */

static uint8_t monitor_said[KEPT_BYTES];
struct speaker speakers[SPEAKERS] = { { .name = "monitor", .out.buf = monitor_said } };

static struct speaker *shown = &speakers[0]; /* whose banner was asked for last */
static struct speaker *seen;                 /* whose banner has gone out last */
static bool follow;
static bool following; /* the last banner said so */
static bool banner_due;
static bool reset_due;   /* the terminal was left odd, */
static uint64_t odd_due; /* with these modes */
static uint64_t gone;    /* bytes of shown's that are not kept */
static void (*on_arrival)(void);

static struct speaker *writer; /* followed: whose line is open */
static unsigned line_length;
static uint64_t line_ns; /* when it was begun */
static struct timer quiet;

static bool log_waits;      /* lines of Umbra's wait for the end of a guest's, */
static uint64_t log_ns;     /* and since when */
static unsigned log_lines;  /* how many were found */
static bool last_words_due; /* some speaker's */

static bool follows(void)
{
	return follow && shown->vm;
}

/* --- lines of the console's own --- */

static void end_line(void)
{
	if (console_line_open())
		console_write("\n", 1);
}

static void put_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void put_vline(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void put_vline(const char *fmt, va_list ap)
{
	char text[BANNER_MAX];

	kvsnprintf(text, sizeof(text), fmt, ap);
	console_write("--- ", 4);
	console_write(text, strlen(text));
	console_write(" ---\n", 5);
}

static void put_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_vline(fmt, ap);
	va_end(ap);
}

void view_say(const char *fmt, ...)
{
	va_list ap;

	end_line();
	va_start(ap, fmt);
	put_vline(fmt, ap);
	va_end(ap);
}

/* --- all of them, a line at a time --- */

static int next_followed(struct speaker *s)
{
	return kept_next(&s->out, s != shown);
}

static bool is_quiet(const struct speaker *s)
{
	return clock_ns() - s->out_ns >= QUIET_NS;
}

/* Has s something that may begin a line now? */
static bool may_begin(struct speaker *s)
{
	if (next_followed(s) < 0)
		return false;
	return s == shown || kept_has_line(&s->out) || kept_unseen(&s->out) >= FOLLOW_LINE ||
	       s->ends || is_quiet(s);
}

/* Whose turn is it to begin a line? After the last one, round. */
static struct speaker *next_beginner(bool *later)
{
	unsigned first = writer ? (unsigned)(writer - speakers) : 0;

	for (unsigned i = 1; i <= SPEAKERS; i++) {
		struct speaker *s = &speakers[(first + i) % SPEAKERS];

		if (!s->vm || s == writer)
			continue;
		if (may_begin(s))
			return s;
		*later |= kept_unseen(&s->out) > 0;
	}
	return writer && may_begin(writer) ? writer : NULL;
}

/* Has the line that is open been so for too long? Since the last pause, not while nobody typed. */
static bool is_too_long(void)
{
	return line_length >= FOLLOW_LINE ||
	       clock_ns() - MAX(line_ns, writer->on_ns) >= FOLLOW_WAIT_NS;
}

static struct speaker *next_writer(void)
{
	bool open = console_line_open() && writer && !is_too_long(), later = false;
	struct speaker *s;

	if (open && next_followed(writer) >= 0)
		return writer;
	if (open && !is_quiet(writer) && !writer->ends) {
		timer_arm(&quiet, writer->out_ns + QUIET_NS);
		return NULL;
	}
	s = next_beginner(&later);
	if (!s && later)
		timer_arm(&quiet, clock_ns() + QUIET_NS);
	return s;
}

static void begin_line(struct speaker *s)
{
	console_write(s->name, strlen(s->name));
	console_write("| ", 2);
	writer = s;
}

/* One byte of s's. A line's end is always \r\n; a lone \r has the name put anew. */
static void put_followed(struct speaker *s, uint8_t c)
{
	bool open = console_line_open();

	if (open && writer != s) {
		end_line();
		open = false;
	}
	if (!open) {
		line_length = 0;
		line_ns = clock_ns();
	}
	line_length++;
	if (c == '\r') {
		s->returned = open;
		return;
	}
	if (c != '\n' && s->returned && open) {
		console_write("\r", 1);
		open = false;
	}
	s->returned = false;
	if (!open)
		begin_line(s);
	console_write((const char *)&c, 1);
}

/* Will the line that s writes soon have its end? */
static bool goes_on(struct speaker *s)
{
	return console_line_open() && (next_followed(s) >= 0 || !is_quiet(s));
}

/* Is such a line being written? A banner waits for its end. */
static bool in_line(void)
{
	return follows() && writer && goes_on(writer) && !is_too_long();
}

/* All that s has said. */
static void put_last_words(struct speaker *s)
{
	int c;

	s->last_words = false;
	while (console_queued() < DRAIN && (c = next_followed(s)) >= 0) {
		put_followed(s, (uint8_t)c);
		kept_advance(&s->out);
	}
	if (writer == s) /* nothing more will come of its line */
		writer = NULL;
}

/* --- Umbra's own --- */

static void say_held(void)
{
	for (unsigned i = 1; last_words_due && i < SPEAKERS; i++)
		if (speakers[i].last_words)
			put_last_words(&speakers[i]);
	last_words_due = false;
	log_waits = false;
	log_lines = 0;
	log_send_held();
}

/* What guests have said up to now comes before lines of Umbra's that were logged up to now; but not
 * what is shown again, or late, to somebody who comes. */
static void mark_said(void)
{
	for (unsigned i = 1; i < SPEAKERS; i++) {
		struct speaker *s = &speakers[i];
		bool late = !follows() && kept_unseen(&s->out) > 1;

		if (s->seen)
			s->log_at = s->said.tail + (late ? 0 : ring_used(&s->said));
	}
}

/* Has s said something before Umbra's line that is not shown yet? */
static bool is_before_log(const struct speaker *s)
{
	int32_t left = (int32_t)(s->log_at - s->said.tail);

	return left > 0 || (!left && !follows() && kept_unseen(&s->out) == 1);
}

static bool is_log_next(void)
{
	for (unsigned i = 1; i < SPEAKERS; i++)
		if (speakers[i].seen && is_before_log(&speakers[i]))
			return false;
	return true;
}

/* Must they wait for the guest's line that is open? Its end comes soon, or its quiet. */
static bool log_must_wait(void)
{
	struct speaker *s = follows() ? writer : shown;

	if (clock_ns() - log_ns >= LOG_WAIT_NS)
		return false;
	return !is_log_next() || (s && s->vm && goes_on(s));
}

/* Lines of Umbra's do not tear a guest's that is being written. */
static void look_for_log(void)
{
	unsigned lines = log_held();

	if (!lines && !last_words_due)
		return;
	if (!log_waits)
		log_ns = clock_ns();
	if (!log_waits || lines != log_lines)
		mark_said();
	log_waits = true;
	log_lines = lines;
	if (!log_must_wait())
		say_held();
}

/* Come by again when they have waited long enough. */
static void await_quiet(void)
{
	const struct speaker *s = follows() ? writer : shown;

	uint64_t until = log_ns + LOG_WAIT_NS;

	if (log_waits && s)
		timer_arm(&quiet, is_quiet(s) ? until : MIN(s->out_ns + QUIET_NS, until));
}

/* --- banners --- */

static const char *state_of(const struct vm *vm)
{
	if (vm->state == VM_STOPPED)
		return vm->restart.armed ? "restarting" : "stopped";
	return vm->state == VM_RUNNING ? "running" : "paused";
}

/* As whoever was in front has left it. */
static void reset_terminal(void)
{
	char text[TERM_TEXT_MAX];

	if (reset_due)
		console_write(text, term_leave(odd_due, text));
	reset_due = false;
	odd_due = 0;
}

/* As who is in front now has had it. */
static void return_terminal(void)
{
	char text[TERM_TEXT_MAX];

	console_write(text, term_return(shown->out.term.odd, text));
}

static void put_banner(void)
{
	unsigned messages = 0;

	banner_due = false;
	say_held();
	end_line();
	reset_terminal();
	if (!shown->vm) {
		messages = log_take_unsent();
		put_line("monitor; Ctrl-] 1 to 9: a VM, Ctrl-] ?: help");
	} else if (follow) {
		put_line("all VMs; keys go to %s (%u, %s); Ctrl-] ?: help", shown->name,
			 shown->vm->id + 1, state_of(shown->vm));
	} else {
		put_line("%s (%u, %s); Ctrl-] ?: help", shown->name, shown->vm->id + 1,
			 state_of(shown->vm));
	}
	if (gone)
		put_line("%llu bytes before this are not kept", (unsigned long long)gone);
	gone = 0;
	if (messages)
		put_line("%u new messages of Umbra's: command log", messages);
	return_terminal();
	seen = shown;
	following = follows();
	if (!following)
		writer = NULL;
	if (on_arrival)
		on_arrival();
}

static void quiet_over(void *ctx)
{
	(void)ctx; /* that the run loop comes by is enough */
}

void view_set_arrived(void (*arrived)(void))
{
	on_arrival = arrived;
	banner_due = true;
	timer_setup(&quiet, quiet_over, NULL, NULL);
}

/* --- what there is room for --- */

/* The monitor's, a piece at a time: an interrupt for each byte would be too many. */
static void show_text(struct speaker *s, size_t room)
{
	char text[128];
	size_t n = 1;
	int c;

	while (n && console_queued() < room) {
		for (n = 0; n < sizeof(text) && (c = kept_next(&s->out, false)) >= 0; n++) {
			text[n] = (char)c;
			kept_advance(&s->out);
		}
		console_write(text, n);
	}
}

static void show(struct speaker *s, size_t room)
{
	int c;

	if (!s->vm) {
		show_text(s, room);
		return;
	}
	while (console_queued() < room && (c = kept_next(&s->out, false)) >= 0) {
		if (!console_try_putc((uint8_t)c))
			break;
		kept_advance(&s->out);
		if (c == '\n' && log_waits && is_log_next())
			say_held();
	}
}

static void show_all(size_t room)
{
	struct speaker *s;

	while (console_queued() < room && (s = next_writer())) {
		int c = next_followed(s);

		if (banner_due && !in_line()) {
			put_banner();
			continue;
		}
		put_followed(s, (uint8_t)c);
		kept_advance(&s->out);
		if (c == '\n' && log_waits && is_log_next())
			say_held();
	}
}

/* --- who is seen --- */

bool view_shows(const struct speaker *s)
{
	return s == shown || (follows() && s->vm);
}

void view_added(struct speaker *s)
{
	__atomic_store_n(&s->seen, view_shows(s), __ATOMIC_SEQ_CST);
}

/* The terminal of whoever leaves may be in the middle of anything. */
static void leave(const struct speaker *s)
{
	reset_due |= s->out.escapes;
	odd_due |= s->out.term.odd;
}

void view_ended(struct speaker *s)
{
	s->out.term = (struct term){ 0 };
}

void view_set(struct speaker *s, bool all)
{
	if (s == shown && all == follow)
		return;
	if (following && !all)
		say_held();
	/* A command that gives the console away has been answered. */
	if (!shown->vm)
		view_drain(shown);
	leave(shown);
	shown = s;
	follow = all;
	banner_due = true;
	gone = 0;
	for (unsigned i = 1; i < SPEAKERS; i++)
		view_added(&speakers[i]);
	console_tell(AHEAD_LOW); /* the run loop comes by */
	if (!follows()) {
		if (s->vm && (s != seen || following))
			gone = kept_replay(&s->out);
		return;
	}
	for (unsigned i = 1; i < SPEAKERS && !following; i++)
		kept_pass_over(&speakers[i].out, FOLLOW_OLD);
}

static size_t ahead(void)
{
	return shown->vm ? AHEAD : AHEAD_MONITOR;
}

void view_pump(void)
{
	look_for_log();
	if (console_queued() >= ahead()) {
		console_tell(AHEAD_LOW);
		return;
	}
	if (banner_due && !in_line())
		put_banner();
	if (follows())
		show_all(AHEAD);
	else
		show(shown, ahead());
	await_quiet();
	if (console_queued() >= ahead())
		console_tell(AHEAD_LOW);
}

void view_drain(struct speaker *s)
{
	if (!view_shows(s) || banner_due)
		return;
	if (!follows())
		show(s, DRAIN);
	else if (writer != s && in_line())
		last_words_due = s->last_words = true;
	else
		put_last_words(s);
}

bool view_may_say(const struct speaker *s)
{
	if (s->ends || !view_shows(s))
		return true;
	return kept_unseen(&s->out) < (follows() && s != shown ? KEPT_BYTES : 1);
}

void view_said(struct speaker *s, uint8_t c)
{
	uint64_t now = clock_ns();

	if (now - s->out_ns >= QUIET_NS)
		s->on_ns = now;
	s->out_ns = now;
	kept_put(&s->out, c);
	if (view_shows(s))
		view_pump();
}
