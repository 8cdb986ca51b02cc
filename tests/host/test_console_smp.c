/*
 * Threads as CPUs: guests speak and read at their serial ports while the first CPU's loop, which
 * comes by only when it is kicked or the line has room, shows what they say and carries what is
 * typed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/smp.h"
#include "tests/host/fakes.h"
#include "vmm/console.h"
#include "vmm/console_view.h"
#include "vmm/dev/pc.h"
#include "vmm/vm.h"

#define VMS 3
#define VCPUS 2
#define LINES 1500
#define LINE_LEN 9 /* a digit each of the VM's and the sum's, five of the number, \r\n */
#define COM1 0x3f8
#define LSR_READY 0x01
#define LSR_THRE 0x20
#define STUCK_S 60
#define FAST 50000 /* the line's room, that of what shows it */

static struct vm_config cfg[VMS] = { { .name = "one", .memory = MIB(16) },
				     { .name = "two", .memory = MIB(16) },
				     { .name = "three", .memory = MIB(16) } };
static struct vm vm[VMS];
static uint64_t said[VMS]; /* bytes; guarded by vm->lock */
static unsigned over;      /* atomic; vCPUs that have done all */

/* What VM n says: byte i. */
static char text_at(unsigned n, uint64_t i)
{
	char line[16];

	snprintf(line, sizeof(line), "%u%05u%u\r\n", n, (unsigned)(i / LINE_LEN),
		 (unsigned)(i / LINE_LEN % 7));
	return line[i % LINE_LEN];
}

/* --- vCPUs --- */

/* A byte more, if the port takes it. False: all is said. */
static bool speak(struct vm *v)
{
	bool more, ready;

	owned_lock(&v->lock);
	more = said[v->id] < LINES * LINE_LEN;
	ready = bus_in(&v->bus, COM1 + 5, 1) & LSR_THRE;
	if (more && ready) {
		bus_out(&v->bus, COM1, 1, (uint8_t)text_at(v->id, said[v->id]));
		said[v->id]++;
	}
	owned_unlock(&v->lock);
	if (!ready)
		sched_yield();
	return more;
}

static void *run_speaker(void *arg)
{
	fake_other_cpu = true;
	while (speak(arg))
		;
	__atomic_fetch_add(&over, 1, __ATOMIC_SEQ_CST);
	cpu_kick(&boot_cpu); /* for the test: it looks who has done */
	return NULL;
}

#define TYPED 20000

static char heard[VMS][TYPED];
static size_t nr_heard[VMS]; /* guarded by vm->lock */

/* Another byte that was typed, if there is one. False: all are there. */
static bool listen(struct vm *v)
{
	size_t *n = &nr_heard[v->id];
	bool more, ready;

	owned_lock(&v->lock);
	more = *n < TYPED;
	ready = bus_in(&v->bus, COM1 + 5, 1) & LSR_READY;
	if (more && ready)
		heard[v->id][(*n)++] = (char)bus_in(&v->bus, COM1, 1);
	owned_unlock(&v->lock);
	if (!ready)
		sched_yield();
	return more;
}

static void *run_listener(void *arg)
{
	fake_other_cpu = true;
	while (listen(arg))
		;
	__atomic_fetch_add(&over, 1, __ATOMIC_SEQ_CST);
	cpu_kick(&boot_cpu);
	return NULL;
}

/* --- the line --- */

static char *shown; /* all that has been */
static size_t shown_len;

/* Have room for it again. The last byte stays: a line may be open. */
static void collect(void)
{
	static bool again;
	size_t from = again;

	if (fake_console_len <= from)
		return;
	shown = realloc(shown, shown_len + fake_console_len + 1);
	memcpy(shown + shown_len, fake_console_out + from, fake_console_len - from);
	shown_len += fake_console_len - from;
	shown[shown_len] = '\0';
	fake_console_out[0] = fake_console_out[fake_console_len - 1];
	fake_console_out[1] = '\0';
	fake_console_len = 1;
	again = true;
}

static void forget_shown(void)
{
	collect();
	shown_len = 0;
	shown[0] = '\0';
}

/* --- the first CPU --- */

static void enter(void)
{
}

static void input(uint8_t c)
{
	(void)c;
}

static const struct console_operator nobody = { .enter = enter, .input = input };

static void setup_console(bool all)
{
	static bool once;

	fake_timers_reset();
	fake_clock_advance(10 * NS_PER_SEC);
	fake_console_room = FAST;
	fake_console_type("");
	over = 0;
	for (unsigned i = 0; i < VMS; i++) {
		memset(&vm[i], 0, sizeof(vm[i]));
		owned_lock_init(&vm[i].lock, LOCK_VM);
		vm[i].id = i;
		vm[i].cfg = &cfg[i];
		vm[i].state = VM_RUNNING;
		said[i] = 0;
		memmap_init(&vm[i].mem);
		assert_int_equal(bus_init(&vm[i].bus), 0);
		assert_int_equal(pc_create(&vm[i]), 0);
		bus_out(&vm[i].bus, COM1 + 2, 1, 1); /* with its FIFO */
		assert_int_equal(console_add(&vm[i]), 0);
	}
	if (!once)
		console_set_operator(&nobody);
	once = true;
	console_follow(false);
	console_set_front(NULL);
	console_work();
	console_follow(all);
	console_set_front(&vm[0]);
	console_work();
	forget_shown();
}

static void teardown_console(void)
{
	for (unsigned i = 0; i < VMS; i++) {
		console_forget(&vm[i]);
		pc_destroy(&vm[i]);
		bus_destroy(&vm[i].bus);
	}
}

static bool is_kicked(void)
{
	return __atomic_exchange_n(&boot_cpu.work_pending, false, __ATOMIC_SEQ_CST);
}

/* Look after the console as the loop does, until all vCPUs have done. room: bytes that the line
 * takes before the loop comes by; FAST: it comes by for kicks alone. each: done between. */
static void run_loop(unsigned vcpus, size_t room, void (*each)(void))
{
	time_t end = time(NULL) + STUCK_S;

	while (__atomic_load_n(&over, __ATOMIC_SEQ_CST) < vcpus) {
		if (time(NULL) > end)
			fail_msg("nobody goes on: %llu %llu %llu bytes are said",
				 (unsigned long long)said[0], (unsigned long long)said[1],
				 (unsigned long long)said[2]);
		if (!is_kicked() && room == FAST && fake_console_room) {
			sched_yield();
			continue;
		}
		fake_console_room = room;
		console_work();
		if (each)
			each();
		collect();
	}
	for (unsigned i = 0; i < 100; i++) {
		fake_console_room = FAST;
		console_work();
		collect();
	}
}

static void run_all(size_t room, void (*each)(void))
{
	pthread_t thread[VMS * VCPUS];

	for (unsigned i = 0; i < VMS * VCPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_speaker, &vm[i % VMS]), 0);
	run_loop(VMS * VCPUS, room, each);
	for (unsigned i = 0; i < VMS * VCPUS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
}

/* --- tests --- */

/* Is that all of what VM n has said? */
static void assert_said(unsigned n, const char *text, size_t len)
{
	for (size_t i = 0; i < len && i < LINES * LINE_LEN; i++)
		if (text[i] != text_at(n, i))
			fail_msg("VM %u: at byte %zu expected line %zu, seen \"%.20s\"", n, i,
				 i / LINE_LEN, text + i - i % LINE_LEN);
	assert_int_equal(len, LINES * LINE_LEN);
}

/* One is seen; of the others all is kept, and there when they come to the front. */
static void check_each(void)
{
	assert_said(0, shown, shown_len);
	for (unsigned i = 1; i < VMS; i++) {
		const char *text;

		forget_shown();
		fake_console_room = FAST;
		console_set_front(&vm[i]);
		console_work();
		collect();
		text = strchr(shown, '\n') + 1; /* behind the banner */
		assert_said(i, text, strlen(text));
	}
}

/* Nothing but the guests' kicks makes the loop come by. */
static void test_fast_line(void **state)
{
	(void)state;
	setup_console(false);
	run_all(FAST, NULL);
	check_each();
	teardown_console();
}

/* The one that is seen has to wait again and again, the others hardly ever. */
static void test_slow_line(void **state)
{
	(void)state;
	setup_console(false);
	run_all(64, NULL);
	check_each();
	teardown_console();
}

static void log_something(void)
{
	static unsigned n;

	fake_log_reset();
	if (log_held() < 3)
		log_info("a line of its own %u", n++ % 10);
}

/* All are followed: lines of guests and of Umbra's are whole, and each one's in order. */
static void check_lines(bool with_log)
{
	static const char *const names[VMS] = { "one| ", "two| ", "three| " };
	unsigned next[VMS] = { 0 }, logged = 0;

	for (char *at = shown, *end; *at; at = end + 1) {
		unsigned n = 0;

		end = strchr(at, '\n');
		if (!end)
			fail_msg("a line has no end: %.40s", at);
		if (!strncmp(at, "umbra: a line of its own ", 25) && end - at == 26) {
			logged++;
			continue;
		}
		while (n < VMS && strncmp(at, names[n], strlen(names[n])) != 0)
			n++;
		if (n == VMS || end - at != (ptrdiff_t)strlen(names[n]) + LINE_LEN - 2)
			fail_msg("not a line of anybody's: %.40s", at);
		at += strlen(names[n]);
		for (unsigned i = 0; i < LINE_LEN - 2; i++)
			if (at[i] != text_at(n, (uint64_t)next[n] * LINE_LEN + i))
				fail_msg("VM %u: expected line %u, seen %.20s", n, next[n], at);
		next[n]++;
	}
	for (unsigned n = 0; n < VMS; n++)
		assert_int_equal(next[n], LINES);
	assert_int_equal(logged > 0, with_log);
}

static void test_follow(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		bool with_log = i & 1;

		setup_console(true);
		console_show_log(with_log);
		fake_log_shown = with_log;
		run_all(i & 2 ? 700 : FAST, with_log ? log_something : NULL);
		check_lines(with_log);
		fake_log_shown = false;
		console_show_log(false);
		teardown_console();
	}
}

static unsigned looks;

static void go_round(void)
{
	if (++looks % 16 == 0)
		console_set_front(&vm[looks / 16 % VMS]);
}

/* Who is seen changes all the time: each one's text is whole all the same. */
static void test_switching(void **state)
{
	(void)state;
	setup_console(false);
	run_all(FAST, go_round);
	for (unsigned i = 0; i < VMS; i++) {
		forget_shown();
		/* The whole text is looked for where the VM's own ring has it. */
		console_set_front(&vm[i]);
		console_work();
		collect();
		assert_int_equal(speakers[i + 1].out.end, LINES * LINE_LEN);
		assert_said(i, (const char *)speakers[i + 1].out.buf, LINES * LINE_LEN);
		assert_int_equal(kept_unseen(&speakers[i + 1].out), 0);
	}
	teardown_console();
}

/* What is typed reaches a guest that reads slowly or fast: its reading is what carries the rest. */
static void test_input(void **state)
{
	static char text[VMS * (TYPED + 2) + 1];
	pthread_t thread[VMS * VCPUS];
	char *at = text;

	(void)state;
	setup_console(false);
	for (unsigned n = 0; n < VMS; n++) {
		*at++ = '\x1d';
		*at++ = (char)('1' + n);
		for (unsigned i = 0; i < TYPED; i++)
			*at++ = (char)('!' + (i * (n + 3) + i / 90) % 90);
		nr_heard[n] = 0;
	}
	for (unsigned i = 0; i < VMS * VCPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_listener, &vm[i % VMS]), 0);
	fake_console_type(text);
	cpu_kick(&boot_cpu);
	run_loop(VMS * VCPUS, FAST, NULL);
	for (unsigned i = 0; i < VMS * VCPUS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	for (unsigned n = 0; n < VMS; n++)
		assert_memory_equal(heard[n], text + n * (TYPED + 2) + 2, TYPED);
	teardown_console();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fast_line), cmocka_unit_test(test_slow_line),
		cmocka_unit_test(test_follow),    cmocka_unit_test(test_switching),
		cmocka_unit_test(test_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
