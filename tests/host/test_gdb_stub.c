/* What GDB's commands do: sessions with a target of the test's own. */
#include "tests/host/gdb_fixture.h"

static void test_begin(void **state)
{
	(void)state;
	begin();
	EXPECT("vMustReplyEmpty", "");
	EXPECT("!", "OK");
	EXPECT("?", "T05thread:p3.1;");
	EXPECT("qC", "QCp3.1");
	EXPECT("qCRC:0,1", "");
	EXPECT("qAttached:3", "1");
	EXPECT("qfThreadInfo", "mp3.1,p3.2");
	EXPECT("qsThreadInfo", "l");
	EXPECT("qThreadExtraInfo,p3.2", "67756573742032");
	EXPECT("qThreadExtraInfo,p3.3", "E13");
	EXPECT("qThreadExtraInfo,p2.1", "E13");
	EXPECT("Hgp3.2", "OK");
	EXPECT("qC", "QCp3.2");
	EXPECT("Hgp0.0", "OK");
	EXPECT("qC", "QCp3.1");
	EXPECT("Hgp3.9", "E13");
	EXPECT("Hc-1", "OK");
	EXPECT("Tp3.2", "OK");
	EXPECT("Tp3.4", "E13");
	expect_calls("");
	/* One that does not know processes. */
	ask("qSupported:swbreak+");
	EXPECT("qfThreadInfo", "m1,2");
	EXPECT("?", "T05thread:1;");
}

/* One byte as it is said in a reply of all registers. */
static void test_registers(void **state)
{
	const char *all;

	(void)state;
	begin();
	all = ask("g");
	/* core: 16 * 8 + 8 + 4 + 6 * 4 + 8 * 10 + 8 * 4; sse: 16 * 16 + 4; segments, system. */
	assert_int_equal(strlen(all), 2 * (276 + 260 + 16 + 56));
	assert_memory_equal(all,
			    "0000000000000000"
			    "0303030303030303",
			    32);
	assert_non_null(strstr(all, "xxxxxxxxxxxxxxxx"));
	EXPECT("p0", "0000000000000000");
	EXPECT("p1", "0303030303030303");
	EXPECT("p10", "1010101010101010"); /* rip */
	EXPECT("p11", "11111111");         /* eflags */
	EXPECT("p12", "13131313");         /* cs */
	EXPECT("p18", "18181818181818181818");
	EXPECT("p28", "28282828282828282828282828282828");
	EXPECT("p40", "xxxxxxxxxxxxxxxx"); /* cr8 */
	EXPECT("p41", "4141414141414141");
	EXPECT("p42", "E16");
	EXPECT("pfffffff0", "E16");
	EXPECT("p", "E16");
	EXPECT("P0=0102030405060708", "OK");
	expect_calls("set1:0 ");
	assert_memory_equal(reg[0][GDB_RAX], "\1\2\3\4\5\6\7\10\0", 9);
	EXPECT("P0=0102030405060708", "OK"); /* as it is already */
	expect_calls("");
	EXPECT("P0=01020304050607", "E16");
	EXPECT("P0=010203040506070809", "E16");
	EXPECT("P0=01020304050607zz", "E16");
	EXPECT("P3c=0102030405060708", "E16"); /* cr0 */
	EXPECT("Hgp3.2", "OK");
	EXPECT("p0", "6464646464646464");
	expect_calls("");
	/* A mode of 32 bits. */
	arch = GDB_I386;
	begin();
	EXPECT("p8", "10101010");
	assert_int_equal(strlen(ask("g")), 2 * (8 * 4 + 4 + 4 + 24 + 80 + 32 + 8 * 16 + 4 + 20));
}

static void test_all_registers(void **state)
{
	char line[2 * 1024];

	(void)state;
	begin();
	snprintf(line, sizeof(line), "G%s", ask("g"));
	EXPECT(line, "OK");
	expect_calls("");
	memcpy(line + 1 + 16, "ffffffffffffffff", 16);
	EXPECT(line, "OK");
	expect_calls("set1:3 ");
	EXPECT("G00", "E16");
}

static void test_memory(void **state)
{
	char line[GDB_PACKET_MAX + 64];
	size_t n;

	(void)state;
	begin();
	EXPECT("mffffffff81000000,4", "00070e15");
	EXPECT("mffffffff81000000,0", "");
	EXPECT("mffffffff8100fffe,10", "f2f9"); /* what there is of it */
	EXPECT("m1000,4", "E0e");
	EXPECT("m", "E16");
	EXPECT("m1000", "E16");
	EXPECT("m11111111111111111,1", "E16");
	assert_int_equal(strlen(ask("mffffffff81000000,ffffffffffffffff")), GDB_PACKET_MAX - 2);
	EXPECT("Mffffffff81000000,3:aabbcc", "OK");
	assert_memory_equal(memory, "\xaa\xbb\xcc\x15", 4);
	EXPECT("Mffffffff81000000,4:aabbcc", "E16");
	EXPECT("Mffffffff81000000,2:aabx", "E16");
	EXPECT("M1000,1:aa", "E0e");
	EXPECT("Xffffffff81000000,0:", "OK");
	n = (size_t)sprintf(line, "Xffffffff81000004,4:") + 5;
	memcpy(line + n - 5, "\x03}\x03\0+", 5); /* 03, an escaped #, 00, + */
	ask_bytes(line, n);
	assert_string_equal(reply(), "OK");
	assert_memory_equal(memory + 4, "\x03#\0+", 4);
	EXPECT("Xffffffff81000000,2:a", "E16");
	EXPECT("X1000,1:a", "E0e");
}

static void test_points(void **state)
{
	(void)state;
	begin();
	EXPECT("Z0,ffffffff81000000,1", "OK");
	EXPECT("Z1,ffffffff81000000,1", "OK");
	EXPECT("Z2,10,8", "OK");
	EXPECT("z4,10,8", "OK");
	expect_calls("Z0,ffffffff81000000,1 Z1,ffffffff81000000,1 Z2,10,8 z4,10,8 ");
	EXPECT("Z5,10,8", "");
	EXPECT("Z2,10", "E16");
	EXPECT("Z", "E16");
	expect_calls("");
	point_error = -ENOSPC;
	EXPECT("Z1,10,1", "E1c");
	point_error = -EEXIST;
	EXPECT("Z1,10,1", "OK");
	EXPECT("z1,10,1", "E11");
	point_error = -ENOENT;
	EXPECT("z1,10,1", "OK");
	EXPECT("Z1,10,1", "E02");
	point_error = -EOPNOTSUPP;
	EXPECT("Z1,10,1", "");
}

static void stopped(enum gdb_point point, uint64_t at)
{
	const struct gdb_stop stop = {
		.signal = GDB_SIGTRAP,
		.thread = GDB_THREAD(PROCESS, 2),
		.at_point = true,
		.point = point,
		.at = at,
	};

	running = false;
	gdb_stub_stopped(&stub, &stop);
}

static void test_running(void **state)
{
	(void)state;
	begin();
	EXPECT("vCont?", "vCont;c;C;s;S");
	assert_null(ask("vCont;c"));
	expect_calls("resume ");
	assert_true(gdb_stub_waits(&stub));
	stopped(GDB_POINT_SOFTWARE, 0);
	assert_string_equal(reply(), "T05swbreak:;thread:p3.2;");
	assert_null(ask("c"));
	stopped(GDB_POINT_HARDWARE, 0);
	assert_string_equal(reply(), "T05hwbreak:;thread:p3.2;");
	assert_null(ask("vCont;s:p3.2;c"));
	stopped(GDB_POINT_WRITE, 0xffffffff81000008);
	assert_string_equal(reply(), "T05watch:ffffffff81000008;thread:p3.2;");
	assert_null(ask("vCont;S05:p3.2;c:p3.-1"));
	stopped(GDB_POINT_ACCESS, 0x10);
	assert_string_equal(reply(), "T05awatch:10;thread:p3.2;");
	/* The thread that stopped is the one at hand. */
	assert_null(ask("s"));
	expect_calls("resume step2 step2 step2 ");
	stopped(GDB_POINT_READ, 0x10);
	assert_string_equal(reply(), "T05rwatch:10;thread:p3.2;");
	assert_null(ask("C05;1234"));
	expect_calls("set2:16 resume ");
	assert_memory_equal(reg[1][GDB_RIP], "\x34\x12\0\0\0\0\0\0", 8);
	/* 0x03 counts while it runs. */
	send("\x03", 1);
	expect_calls("interrupt0 ");
	stopped(GDB_POINT_SOFTWARE, 0);
	assert_string_equal(reply(), "T05swbreak:;thread:p3.2;");
	send("\x03", 1);
	expect_calls("");
	EXPECT("vCont;x", "E16");
	EXPECT("vCont;s:p3.9", "E16");
	EXPECT("c12g", "E16");
	resume_error = -EINVAL;
	EXPECT("c", "E16");
	assert_false(gdb_stub_waits(&stub));
	expect_calls("resume ");
	/* A stop that nobody waits for is told when it is asked for. */
	stopped(GDB_POINT_WRITE, 0x20);
	assert_null(reply());
	EXPECT("?", "T05watch:20;thread:p3.2;");
}

/* A GDB of before these reasons were said. */
static void test_old_reasons(void **state)
{
	(void)state;
	ask("qSupported");
	ask("c");
	stopped(GDB_POINT_SOFTWARE, 0);
	assert_string_equal(reply(), "T05thread:2;");
}

static void test_attach_running(void **state)
{
	const struct gdb_stop asked = { .signal = GDB_SIGINT, .thread = GDB_THREAD(PROCESS, 1) };

	(void)state;
	running = true;
	begin();
	assert_null(ask("?"));
	expect_calls("interrupt3 ");
	running = false;
	gdb_stub_stopped(&stub, &asked);
	assert_string_equal(reply(), "T02thread:p3.1;");
}

/* GDB is killed in mid-packet while the target runs; another one comes. */
static void test_killed(void **state)
{
	const struct gdb_stop asked = { .signal = GDB_SIGINT, .thread = GDB_THREAD(PROCESS, 1) };

	(void)state;
	begin();
	ask("QStartNoAckMode");
	assert_null(ask("vCont;c"));
	send("$mffffffff", 10);
	send("+", 1); /* the other one: its hello is lost in the packet */
	expect_calls("resume ");
	ask("qSupported:multiprocess+");
	expect_calls("begin ");
	assert_null(ask("?"));
	running = false;
	gdb_stub_stopped(&stub, &asked);
	assert_string_equal(reply(), "T02thread:p3.1;");
	EXPECT("mffffffff81000000,1", "00");
}

static void test_acks_come_back(void **state)
{
	(void)state;
	begin();
	EXPECT("QStartNoAckMode", "OK");
	send("$qC#b4", 6);
	assert_int_equal(gdb_stub_next(&stub), '$');
	sent();
	send("+$qSupported#37", 15);
	assert_int_equal(gdb_stub_next(&stub), '+');
}

static void test_end(void **state)
{
	const struct gdb_stop off = { .ended = true, .thread = GDB_THREAD(PROCESS, 1) }, dead = {
		.ended = true, .signal = GDB_SIGABRT, .thread = GDB_THREAD(PROCESS, 1)
	};

	(void)state;
	begin();
	ask("c");
	gdb_stub_stopped(&stub, &off);
	assert_string_equal(reply(), "W00;process:3");
	ask("c");
	gdb_stub_stopped(&stub, &dead);
	assert_string_equal(reply(), "X06;process:3");
	expect_calls("resume resume ");
	/* The operator ends a session that waits, and one that does not. */
	ask("c");
	gdb_stub_leave(&stub);
	assert_string_equal(reply(), "X06;process:3");
	assert_false(gdb_stub_waits(&stub));
	gdb_stub_leave(&stub);
	assert_int_equal(gdb_stub_next(&stub), -1);
	expect_calls("resume ");
	begin();
	threads = 0;
	running = false;
	EXPECT("g", "E13");
	EXPECT("p0", "E13");
	EXPECT("P0=00", "E13");
	EXPECT("mffffffff81000000,1", "E13");
	EXPECT("Mffffffff81000000,1:00", "E13");
	EXPECT("Xffffffff81000000,0:", "E13");
	EXPECT("c", "E13");
	EXPECT("vCont;s", "W00;process:3");
	EXPECT("vCont;c:p3.-1", "W00;process:3");
	EXPECT("vCont;c", "W00;process:3");
	EXPECT("qfThreadInfo", "l");
	begin();
	EXPECT("?", "W00;process:3");
	threads = 1;
	EXPECT("D;3", "OK");
	expect_calls("detach3 ");
	assert_null(ask("k"));
	EXPECT("vKill;3", "OK");
	expect_calls("kill3 kill3 ");
}

/* Two processes in one session. */
static void test_processes(void **state)
{
	struct gdb_stop stop = { .signal = GDB_SIGTRAP, .thread = GDB_THREAD(OTHER, 1) };
	const char *list;

	(void)state;
	begin();
	list = ask("qXfer:osdata:read:processes:0,1000");
	assert_non_null(strstr(list, "<column name=\"pid\">5</column><column name=\"VM\">other<"));
	assert_non_null(strstr(list, "<column name=\"state\">running</column></item></osdata>"));
	EXPECT("qXfer:osdata:read:processes:2,4", "mxml ");
	EXPECT("qXfer:osdata:read:processes:ffffffffffffffff,10", "l");
	EXPECT("qXfer:osdata:read:processes:z", "E16");
	EXPECT("vAttach;4", "E.no such VM runs");
	EXPECT("vAttach;3", "E.attached to it already");
	EXPECT("vAttach;", "E.no such VM runs");
	EXPECT("vAttach;fffff", "E.no such VM runs");
	EXPECT("Hgp5.1", "E13");
	calls[0] = '\0';
	EXPECT("vAttach;5", "T05thread:p5.1;");
	expect_calls("attach5 ");
	EXPECT("qC", "QCp5.1");
	EXPECT("qfThreadInfo", "mp3.1,p3.2,p5.1");
	EXPECT("p8", "10101010"); /* eip: it is in 32 bits */
	EXPECT("Z0,10,1", "OK");
	EXPECT("Hgp3.2", "OK");
	EXPECT("p10", "7474747474747474"); /* rip */
	EXPECT("z0,10,1", "OK");
	EXPECT("Hgp5.2", "E13");
	EXPECT("Hgp5.0", "OK");
	EXPECT("qC", "QCp5.1");
	expect_calls("other:Z0,10,1 z0,10,1 ");
	/* One, the other, both. */
	assert_null(ask("vCont;c:p5.-1"));
	expect_calls("resume-other ");
	gdb_stub_stopped(&stub, &stop);
	assert_string_equal(reply(), "T05thread:p5.1;");
	assert_null(ask("vCont;s:p3.1;c:p3.-1"));
	expect_calls("step1 ");
	stop.thread = GDB_THREAD(PROCESS, 1);
	gdb_stub_stopped(&stub, &stop);
	assert_string_equal(reply(), "T05thread:p3.1;");
	assert_null(ask("vCont;s:p5.1;c"));
	expect_calls("step-other1 resume ");
	stop.ended = true;
	stop.signal = 0;
	gdb_stub_stopped(&stub, &stop);
	assert_string_equal(reply(), "W00;process:3");
	/* One has gone while GDB did not wait. */
	other_gone = true;
	EXPECT("vCont;c:p5.-1", "W00;process:5");
	expect_calls("");
	EXPECT("vKill;5", "OK");
	other = false; /* the target has forgotten it: GDB hears the same */
	EXPECT("vCont;c:p5.-1", "W00;process:5");
	EXPECT("D;5", "OK");
	EXPECT("vCont;c:p5.-1", "E16");
	expect_calls("kill5 detach5 ");
	EXPECT("qfThreadInfo", "mp3.1,p3.2");
}

/* What asks for nothing is not to be carried out, so that no guest stops for it. */
static void test_noise(void **state)
{
	static const char noise[] = "\xff\x00zz+-+\x03vCont#$g$c#00$#zz}";

	(void)state;
	begin();
	for (unsigned i = 0; i < sizeof(noise); i++)
		assert_false(gdb_stub_take(&stub, (uint8_t)noise[i]));
	for (const char *p = "$g#6"; *p; p++)
		assert_false(gdb_stub_take(&stub, (uint8_t)*p));
	assert_true(gdb_stub_take(&stub, '7'));
	expect_calls("");
	assert_string_equal(sent(), "--+");
	/* A $ of noise hides no Ctrl-C from a GDB that waits, and none else is one. */
	assert_null(ask("c"));
	send("$noise\x03", 7);
	expect_calls("resume interrupt0 ");
	stopped(GDB_POINT_SOFTWARE, 0);
	assert_string_equal(reply(), "T05swbreak:;thread:p3.2;");
	ask_bytes("Xffffffff81000000,1:\x03", 22 - 1);
	assert_string_equal(reply(), "OK");
	assert_int_equal(memory[0], 3);
	expect_calls("");
}

/* A packet that cannot be read changes nothing. */
static void test_malformed(void **state)
{
	static const char *const wrong[] = {
		"G",        "G00",      "Gxx",          "P0=",          "P0=0000",
		"Z1,10",    "Z1,10,1g", "z1,10,1,2",    "D;",           "D;99",
		"Dzz",      "D3",       "D;3z",         "vKill",        "vKill;",
		"vKill;z",  "vKill;3z", "k1",           "vCont",        "vContc",
		"vCont;",   "vCont;c;", "vCont;c:p5.1", "vCont;s:p5.1", "vCont;c:p3.1z",
		"vCont;c:", "c1z",      "s1z",          "Cz",           "C05;z",
		"Hg1z",     "Hgp5.1",   "vAttach;",     "vAttach;5z",   "X1000,1:",
		"qRcmd,7",  "qRcmd,7z",
	};
	uint8_t regs[sizeof(reg)];
	char line[2048];

	(void)state;
	begin();
	memcpy(regs, reg, sizeof(reg));
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		const char *said = ask(wrong[i]);

		if (!said || said[0] != 'E' || calls[0] || stub.answer_stop || stub.thread != 0x301)
			fail_msg("%s: answer \"%s\", did \"%s\"", wrong[i], said ? said : "none",
				 calls);
	}
	/* Its last register is wrong, or it is cut off, or too long. */
	snprintf(line, sizeof(line), "G%s", ask("g"));
	memset(line + 1, '5', 32);
	line[strlen(line) - 1] = 'y';
	EXPECT(line, "E16");
	line[strlen(line) - 40] = '\0';
	EXPECT(line, "E16");
	line[1 + 32] = '\0';
	EXPECT(line, "E16");
	snprintf(line, sizeof(line), "G%s00", ask("g"));
	EXPECT(line, "E16");
	expect_calls("");
	assert_memory_equal(regs, reg, sizeof(reg));
	/* The last of many bytes. */
	strcpy(line, "Mffffffff81000000,c8:");
	memset(line + strlen(line), 0, 500);
	memset(line + strlen(line), '5', 399);
	strcat(line, "y");
	EXPECT(line, "E16");
	line[strlen(line) - 1] = '\0';
	EXPECT(line, "E16");
	strcat(line, "555");
	EXPECT(line, "E16");
	for (size_t i = 0; i < sizeof(memory); i++)
		assert_int_equal(memory[i], (uint8_t)(i * 7));
}

static void test_commands(void **state)
{
	char line[6 + 2 * (GDB_COMMAND_MAX + 1) + 1];

	(void)state;
	begin();
	EXPECT("qRcmd,766d73", "3c766d733e"); /* <vms> */
	EXPECT("qRcmd,7175696574", "OK");     /* quiet */
	EXPECT("qRcmd,7", "E16");
	memset(line, '6', sizeof(line) - 1);
	memcpy(line, "qRcmd,", 6);
	line[sizeof(line) - 1] = '\0';
	assert_memory_equal(ask(line), "61206c696e652068617320353131", 28); /* a line has 511 */
	line[sizeof(line) - 3] = '\0';
	assert_memory_equal(ask(line), "O3c666666", 9); /* <fff */
	line[sizeof(line) - 4] = '\0';
	EXPECT(line, "E16");
}

/* What a command says comes in as many packets as it takes, each when GDB has the one before. */
static void test_long_command(void **state)
{
	static char whole[4 * LONG];
	const char *piece;

	(void)state;
	begin();
	piece = ask("qRcmd,6c6f6e67");
	while (piece && piece[0] == 'O') {
		assert_in_range(strlen(piece), 2, 1500); /* not for long on a slow line */
		strcat(whole, piece + 1);
		piece = reply();
	}
	assert_non_null(piece);
	strcat(whole, piece);
	assert_int_equal(strlen(whole), 2 * LONG + 6);
	assert_int_equal(strspn(whole, "78"), 2 * LONG);
	assert_string_equal(whole + 2 * LONG, "656e64");
	assert_null(reply());
	/* Without the +, no more comes, and what was spoiled comes again. */
	ask("qRcmd,6c6f6e67");
	piece = sent();
	assert_int_equal(piece[0], '$');
	assert_string_equal(sent(), "");
	send("-", 1);
	assert_int_equal(sent()[1], 'O');
	/* A GDB that asks for something else, as a new one does, hears of that alone. */
	EXPECT("qC", "QCp3.1");
	assert_null(reply());
}

static void test_overlong(void **state)
{
	static char line[GDB_PACKET_MAX + 2];

	(void)state;
	memset(line, 'm', sizeof(line) - 1);
	EXPECT(line, "E07");
}

/* The description comes whole, however it is cut, and has every register. */
static void test_description(void **state)
{
	static char whole[32768];
	unsigned pieces[] = { 1000, 4000, 37 };

	(void)state;
	for (unsigned a = 0; a < 2; a++) {
		size_t length = 0;

		arch = a ? GDB_I386 : GDB_AMD64;
		begin();
		for (size_t p = 0; p < ARRAY_SIZE(pieces); p++) {
			static char again[32768];
			size_t n = 0;
			char line[80];
			const char *part;

			do {
				snprintf(line, sizeof(line),
					 "qXfer:features:read:target.xml:%zx,%x", n, pieces[p]);
				part = ask(line);
				assert_true(*part == 'm' || *part == 'l');
				assert_true(n + strlen(part + 1) < sizeof(again));
				strcpy(again + n, part + 1);
				n += strlen(part + 1);
			} while (*part == 'm');
			if (p)
				assert_string_equal(again, whole);
			strcpy(whole, again);
			length = n;
		}
		assert_true(length > 4000);
		assert_string_equal(whole + length - 9, "</target>");
		for (unsigned i = 0; gdb_reg_info(arch, i); i++) {
			char name[32];

			snprintf(name, sizeof(name), "<reg name=\"%s\" bitsize=\"%u\"",
				 gdb_reg_info(arch, i)->name, gdb_reg_info(arch, i)->size * 8u);
			assert_non_null(strstr(whole, name));
		}
	}
	EXPECT("qXfer:features:read:target.xml:fffff,100", "l");
	EXPECT("qXfer:features:read:target.xml:zz", "E16");
	EXPECT("qXfer:features:read:other.xml:0,100", "");
}

static void test_fx(void **state)
{
	uint8_t image[512] = { 0 }, val[GDB_REG_BYTES];

	(void)state;
	image[2] = 0x00;
	image[3] = 0x38;                                      /* TOP 7: ST0 is register 7 */
	image[4] = 0xc0;                                      /* 7 and 6 are in use */
	memcpy(image + 32, "\0\0\0\0\0\0\0\x80\xff\x3f", 10); /* 1.0 */
	assert_true(gdb_fx_get(image, GDB_FTAG, val));
	assert_memory_equal(val, "\xff\x1f\0\0", 4); /* 6 is a zero */
	assert_true(gdb_fx_get(image, GDB_ST0, val));
	assert_memory_equal(val, "\0\0\0\0\0\0\0\x80\xff\x3f\0\0\0\0\0\0", 16);
	memset(val, 0xff, sizeof(val));
	assert_true(gdb_fx_set(image, GDB_MXCSR, val));
	assert_memory_equal(image + 24, "\xbf\xff\0\0", 4);
	assert_true(gdb_fx_set(image, GDB_FOP, val));
	assert_memory_equal(image + 6, "\xff\x07", 2);
	assert_true(gdb_fx_set(image, GDB_FTAG, val));
	assert_int_equal(image[4], 0);
	assert_true(gdb_fx_set(image, GDB_XMM0 + 15, val));
	assert_int_equal(image[160 + 15 * 16], 0xff);
	assert_int_equal(image[160 + 15 * 16 - 1], 0);
	assert_false(gdb_fx_set(image, GDB_CR0, val));
	assert_false(gdb_fx_get(image, GDB_RIP, val));
	for (unsigned r = GDB_FCTRL; r <= GDB_FOP; r++) {
		memset(val, 0x11, sizeof(val));
		assert_true(gdb_fx_set(image, (enum gdb_reg)r, val));
		assert_true(gdb_fx_get(image, (enum gdb_reg)r, val));
		if (r != GDB_FTAG)
			assert_int_equal(val[0], 0x11);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_begin, setup),
		cmocka_unit_test_setup(test_registers, setup),
		cmocka_unit_test_setup(test_all_registers, setup),
		cmocka_unit_test_setup(test_memory, setup),
		cmocka_unit_test_setup(test_points, setup),
		cmocka_unit_test_setup(test_running, setup),
		cmocka_unit_test_setup(test_old_reasons, setup),
		cmocka_unit_test_setup(test_attach_running, setup),
		cmocka_unit_test_setup(test_killed, setup),
		cmocka_unit_test_setup(test_malformed, setup),
		cmocka_unit_test_setup(test_noise, setup),
		cmocka_unit_test_setup(test_acks_come_back, setup),
		cmocka_unit_test_setup(test_end, setup),
		cmocka_unit_test_setup(test_processes, setup),
		cmocka_unit_test_setup(test_commands, setup),
		cmocka_unit_test_setup(test_long_command, setup),
		cmocka_unit_test_setup(test_overlong, setup),
		cmocka_unit_test_setup(test_description, setup),
		cmocka_unit_test_setup(test_fx, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
