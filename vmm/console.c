#include "vmm/console.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"
#include "vmm/console_view.h"
#include "vmm/dev/pc.h"

#define CTRL_BRACKET 0x1d
#define TYPED_BYTES 4096   /* what may be typed ahead of a VM */
#define MONITOR_AHEAD 4096 /* little, so that ^C ends a long output at once */
#define MONITOR_LOW 1024
/* So long after the last key that he typed at the monitor the operator is still there. */
#define OPERATOR_NS (600 * NS_PER_SEC)
/* A VM that has taken nothing for so long while its queue is full has lost what comes next; and no
 * command keeps a Ctrl-] behind it for longer. */
#define DEAF_NS NS_PER_SEC
/* And for so long the operator is kept, whatever was pasted. */
#define PATIENCE_NS (10 * NS_PER_SEC)

static const struct console_operator *operator;
static struct speaker *front = &speakers[0];
static struct speaker *last; /* the VM that was in front last */
static bool begun;           /* the run loop runs: guests may speak */
static bool follow;
static bool log_always;
static bool stays;          /* the operator went to the monitor himself, */
static uint64_t monitor_ns; /* and when he typed at it last */
static bool after_escape;   /* Ctrl-] was typed: the next key is for the console, */
static uint64_t escape_ns;  /* and when */
static bool pressed;        /* a Ctrl-] may wait behind what is held back, */
static uint64_t pressed_ns; /* and since when */
static struct timer deaf;
static uint64_t tied; /* bit n: VM n has a port of the machine */
/* Bit n, atomic: VM n has said something, and the first CPU is going to look at it; had a byte
 * refused; has input queued. */
static uint64_t spoke, waiting, fed;
static uint64_t log_seen; /* log_sent() when the monitor's prompt was whole */
static_assert(VM_MAX <= 64, "one bit a VM");

static struct speaker *const monitor = &speakers[0];

static struct speaker *speaker_of(const struct vm *vm)
{
	return &speakers[vm->id + 1];
}

static uint64_t bit_of(const struct speaker *s)
{
	return BIT(s->vm->id);
}

static bool is_stopped(const struct speaker *s)
{
	return s->vm->state == VM_STOPPED && !s->vm->restart.armed;
}

/* --- what VMs say --- */

/* Take what s has said, as far as there is room for it to be shown. */
static void take(struct speaker *s)
{
	uint32_t n;

	/* The mark first: what is said from here on sets it again. */
	__atomic_fetch_and(&spoke, ~bit_of(s), __ATOMIC_SEQ_CST);
	for (n = ring_used(&s->said); n; n--) {
		if (!view_may_say(s))
			view_pump();
		if (!view_may_say(s)) {
			/* The line's room or a pause's end makes us come by, not each byte. */
			__atomic_fetch_or(&spoke, bit_of(s), __ATOMIC_SEQ_CST);
			return;
		}
		view_said(s, (uint8_t)ring_get(&s->said));
	}
}

static void take_all(void)
{
	for (unsigned i = 1; i < SPEAKERS; i++)
		if (speakers[i].vm)
			take(&speakers[i]);
}

/* Has one that was held back room by now, as another's line has ended? */
static void look_again(void)
{
	uint64_t left = __atomic_load_n(&spoke, __ATOMIC_RELAXED);

	for (; left; left &= left - 1) {
		if (!view_may_say(&speakers[__builtin_ctzll(left) + 1]))
			continue;
		cpu_kick(&boot_cpu);
		return;
	}
}

static uint32_t said_max(const struct speaker *s)
{
	return __atomic_load_n(&s->seen, __ATOMIC_SEQ_CST) ? SAID_AHEAD : SAID_BYTES;
}

static bool put_said(struct speaker *s, uint8_t c)
{
	return ring_used(&s->said) < said_max(s) && ring_put(&s->said, c);
}

/* Have the first CPU take it: at once if that is seen, else when it has become much. */
static void tell_said(const struct speaker *s, bool full)
{
	/* The byte is there before it is looked whether anybody wants to see it. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!full && said_max(s) == SAID_BYTES && ring_used(&s->said) < SAID_BYTES / 2)
		return;
	if (!(__atomic_fetch_or(&spoke, bit_of(s), __ATOMIC_SEQ_CST) & bit_of(s)))
		cpu_kick(&boot_cpu);
}

bool console_vm_tx(struct vm *vm, uint8_t c)
{
	struct speaker *s = speaker_of(vm);
	bool here = smp_on_boot_cpu(), said;

	if (!s->vm)
		return true;
	said = put_said(s, c);
	if (!said) {
		if (here)
			take(s);
		/* The mark first: if there is room by now, it may not be seen. */
		__atomic_fetch_or(&waiting, bit_of(s), __ATOMIC_SEQ_CST);
		said = put_said(s, c);
	}
	if (here) {
		take(s);
		look_again();
	}
	if (!here || !said)
		tell_said(s, !said);
	return said;
}

/* Those who were refused a byte, and have room again. */
static void tell_waiting(void)
{
	uint64_t told;

	/* What was taken is taken before it is looked who has marked that he waits. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	told = __atomic_load_n(&waiting, __ATOMIC_RELAXED);
	for (; told; told &= told - 1) {
		struct speaker *s = &speakers[__builtin_ctzll(told) + 1];

		if (ring_used(&s->said) > said_max(s) / 2)
			continue;
		__atomic_fetch_and(&waiting, ~bit_of(s), __ATOMIC_SEQ_CST);
		pc_console_ready(s->vm);
	}
}

/* --- who is in front --- */

static void arrived(void)
{
	log_set_line(log_always || !front->vm);
	log_hold(begun && front->vm);
	log_seen = log_sent();
	if (!front->vm && operator)
		operator->enter();
}

static void set_view(struct speaker *s)
{
	take_all(); /* what was said before is not news for who comes now */
	view_set(s, follow);
	/* They need not have told of what they said when they were not seen. */
	for (unsigned i = 1; i < SPEAKERS; i++)
		if (speakers[i].seen)
			__atomic_fetch_or(&spoke, bit_of(&speakers[i]), __ATOMIC_SEQ_CST);
}

static void go(struct speaker *s)
{
	if (front == s)
		return;
	front = s;
	if (s->vm) {
		last = s;
		stays = false;
	} else {
		log_set_line(true);
	}
	set_view(s);
}

void console_set_front(struct vm *vm)
{
	go(vm ? speaker_of(vm) : monitor);
}

struct vm *console_front(void)
{
	return front->vm;
}

bool console_operator_stays(void)
{
	return stays;
}

uint64_t console_operator_until(void)
{
	uint64_t until = monitor_ns + OPERATOR_NS;

	return stays && clock_ns() < until ? until : 0;
}

int console_add(struct vm *vm)
{
	struct speaker *s = speaker_of(vm);
	uint8_t *buf = s->out.buf ? s->out.buf : kalloc(KEPT_BYTES + TYPED_BYTES + SAID_BYTES);

	if (!buf)
		return trace_error(-ENOMEM);
	*s = (struct speaker){
		.vm = vm,
		.name = vm->cfg->name,
		.out.buf = buf,
		.in = { .buf = buf + KEPT_BYTES, .size = TYPED_BYTES },
		.said = { .buf = buf + KEPT_BYTES + TYPED_BYTES, .size = SAID_BYTES },
	};
	view_added(s);
	return 0;
}

void console_tie(struct vm *vm)
{
	if (speaker_of(vm)->vm)
		tied |= BIT(vm->id);
}

/* The next one that runs, after the one in front; NULL: none. */
static struct speaker *next_vm(const struct speaker *after)
{
	unsigned first = after ? (unsigned)(after - speakers) : 0;

	for (unsigned i = 1; i <= SPEAKERS; i++) {
		struct speaker *s = &speakers[(first + i) % SPEAKERS];

		if (s->vm && !is_stopped(s))
			return s;
	}
	return NULL;
}

void console_follow(bool on)
{
	struct speaker *s = front;

	follow = on;
	if (on && !s->vm)
		s = last && !is_stopped(last) ? last : next_vm(NULL);
	if (s && s != front)
		go(s);
	else
		set_view(front);
}

void console_show_log(bool always)
{
	log_always = always;
	log_set_line(always || !begun || !front->vm);
}

/* --- what is typed --- */

static void feed(struct speaker *s)
{
	struct ring *in = &s->in;

	while (!ring_empty(in)) {
		if (!pc_console_input(s->vm, in->buf[in->tail & (in->size - 1)]))
			return;
		ring_get(in);
		s->in_ns = clock_ns();
	}
	__atomic_fetch_and(&fed, ~bit_of(s), __ATOMIC_RELAXED);
}

/* Whoever was refused a byte, with the VM's lock held, has marked before that there are more. */
void console_vm_listens(struct vm *vm)
{
	if (__atomic_load_n(&fed, __ATOMIC_RELAXED) & BIT(vm->id))
		cpu_kick(&boot_cpu);
}

static void type(uint8_t c)
{
	struct speaker *s = front;

	if (!s->vm) {
		monitor_ns = clock_ns();
		if (operator)
			operator->input(c);
		view_pump();
		log_seen = log_sent();
		return;
	}
	if (is_stopped(s))
		return;
	if (ring_empty(&s->in))
		s->in_ns = clock_ns();
	ring_put(&s->in, c);
	__atomic_fetch_or(&fed, bit_of(s), __ATOMIC_RELAXED);
	feed(s);
}

static void help(void)
{
	view_say("Ctrl-] m: the monitor");
	view_say("Ctrl-] 1 to 9, n: the VM of this number, the next one that runs");
	view_say("Ctrl-] f: all VMs' output with names, or one's alone");
	view_say("Ctrl-] ]: Ctrl-] itself    Ctrl-] ?: this");
}

static void go_to_number(unsigned number)
{
	if (speakers[number].vm)
		go(&speakers[number]);
	else
		view_say("there is no VM %u", number);
}

static void command_key(uint8_t c)
{
	struct speaker *s;

	if (c == ']' || c == CTRL_BRACKET) {
		type(CTRL_BRACKET);
	} else if (c == 'm' || c == 'M') {
		go(monitor);
		stays = true;
		monitor_ns = clock_ns();
	} else if (c >= '1' && c <= '9') {
		go_to_number(c - '0');
	} else if (c == 'n' || c == 'N') {
		s = next_vm(front->vm ? front : last);
		if (s)
			go(s);
		else
			view_say("no VM runs");
	} else if (c == 'f' || c == 'F') {
		console_follow(!follow || !front->vm);
	} else {
		help();
	}
}

static void deaf_time(void *ctx)
{
	(void)ctx; /* the run loop comes by */
}

static void look_for_keys(void)
{
	bool may = console_may_hold(CTRL_BRACKET);

	if (may && !pressed)
		pressed_ns = clock_ns();
	pressed = may;
}

/* Must the key behind a Ctrl-] wait until the monitor has looked at what was typed before? */
static bool waits_for_monitor(void)
{
	uint64_t since = after_escape && operator&& operator->behind ? operator->behind() : 0;
	uint64_t until = MIN(MAX(since, escape_ns) + DEAF_NS, escape_ns + PATIENCE_NS);

	if (!since || clock_ns() >= until)
		return false;
	timer_arm(&deaf, until);
	return true;
}

/*
 * Must what is typed wait in the line's own ring? While a VM is slow to take it; but when it seems
 * to listen no more, or takes a byte now and then, it must not keep the operator's keys from us:
 * what finds no room is lost then, as it would be in a UART.
 */
static bool must_wait(struct speaker *s)
{
	uint64_t until = (pressed ? MIN(s->in_ns, pressed_ns) : s->in_ns) + DEAF_NS;

	if (!s->vm)
		return waits_for_monitor();
	if (ring_space(&s->in) || after_escape || clock_ns() >= until)
		return false;
	timer_arm(&deaf, until);
	return true;
}

static void carry_input(void)
{
	int c;

	look_for_keys();
	while (!must_wait(front) && (c = console_getc()) >= 0) {
		if (after_escape) {
			after_escape = pressed = false;
			command_key((uint8_t)c);
			look_for_keys();
		} else if (c == CTRL_BRACKET) {
			after_escape = true;
			escape_ns = clock_ns();
		} else {
			type((uint8_t)c);
		}
	}
}

/* --- a VM's end --- */

void console_forget(struct vm *vm)
{
	struct speaker *s = speaker_of(vm);

	if (!s->vm)
		return;
	__atomic_fetch_and(&fed, ~bit_of(s), __ATOMIC_RELAXED);
	s->in.tail = s->in.head;
	s->ends = true;
	take(s);
	__atomic_fetch_and(&waiting, ~bit_of(s), __ATOMIC_SEQ_CST);
	pc_console_ready(vm);
	view_drain(s);
	s->ends = false;
	if (front == s)
		go(monitor);
	view_ended(s);
}

/* --- the monitor --- */

void console_set_operator(const struct console_operator *op)
{
	operator= op;
	timer_setup(&deaf, deaf_time, NULL, NULL);
	view_set_arrived(arrived);
	view_set(front, follow);
}

size_t console_monitor_space(void)
{
	uint64_t before = console_queued() + kept_unseen(&monitor->out);

	if (before >= MONITOR_AHEAD / 2)
		console_tell(MONITOR_LOW);
	return before < MONITOR_AHEAD ? MONITOR_AHEAD - before : 0;
}

size_t console_monitor_write(const char *s, size_t n)
{
	size_t taken = 0;

	for (; taken < n && kept_unseen(&monitor->out) < KEPT_BYTES; taken++)
		kept_put(&monitor->out, (uint8_t)s[taken]);
	if (front == monitor && (begun || !operator))
		view_pump();
	return taken;
}

void console_monitor_fresh_line(void)
{
	const struct kept *k = &monitor->out;
	bool open = kept_unseen(k) ? k->line_end != k->end : console_line_open();

	if (open)
		console_monitor_write("\n", 1);
}

void console_monitor_ready(void)
{
	if (front == monitor && after_escape)
		cpu_kick(&boot_cpu);
}

/* A line of the log has come behind the prompt. */
static void redraw(void)
{
	if (front->vm || log_seen == log_sent() || kept_unseen(&monitor->out))
		return;
	if (operator&& operator->redraw)
		operator->redraw();
	log_seen = log_sent();
}

/* --- run loop --- */

void console_work(void)
{
	uint64_t left;

	begun = true;
	carry_input();
	for (left = __atomic_load_n(&fed, __ATOMIC_RELAXED); left; left &= left - 1)
		feed(&speakers[__builtin_ctzll(left) + 1]);
	for (left = __atomic_load_n(&spoke, __ATOMIC_SEQ_CST); left; left &= left - 1)
		take(&speakers[__builtin_ctzll(left) + 1]);
	view_pump();
	look_again();
	tell_waiting();
	for (left = tied; left; left &= left - 1)
		pc_line_work(speakers[__builtin_ctzll(left) + 1].vm);
	redraw();
}
