"""The operator's monitor: a session beside running guests, and run= on Umbra's line."""
import re

import lib

PROMPT = r"^umbra> "
TINY = "memory=16M debug-exit"


def ask(m, line):
    """Type a command at the monitor's prompt; what it printed."""
    m.type(line + "\r")
    m.expect(r"[^\n]*\n")  # the echo, however it was edited
    start = m.at
    found = m.expect(PROMPT, "command")
    return m.text[start:found.start()]


def live(m, line, text):
    """Type a command that has Umbra say something of spin, and go behind the prompt after that."""
    m.type(line + "\r")
    m.expect_vm("spin", text)
    m.expect(PROMPT)


def owned(m):
    """Bytes of the machine's memory by their owner, as `mem` says."""
    lines = re.findall(r"^(\S.*?\S) +(\d+) +(\d+) +(\d+) +(\d+)\r?$", ask(m, "mem"), re.M)
    lib.check(len(lines) > 3, "a table of owners", lines)
    for owner, small, large, huge, total in lines:
        size = (int(small) << 12) + (int(large) << 21) + (int(huge) << 30)
        lib.check(size == int(total), f"pages of {owner} that make {total} bytes", size)
    return {owner: int(total) for owner, _, _, _, total in lines}


def check_in(out, *patterns):
    for pattern in patterns:
        lib.check(re.search(pattern, out, re.M), f"/{pattern}/", out)


def test_session(name):
    """Two guests run; commands, words that are wrong, a VM's life, memory before and after."""
    modules = lib.linux("deb64") + lib.tiny("spin", "cli_loop", TINY)
    with lib.boot(name, modules, "com1=115200") as m:
        m.expect_shell("deb64")
        m.type("\x1dm")
        m.expect(PROMPT)
        out = ask(m, "vms")
        check_in(out, r"^ 1.deb64 +running +256M +1 nested +0:00:", r"^ 2.spin +running +16M")
        lib.check(max(map(len, out.splitlines())) <= 80, "lines of 80 columns", out)
        # Completion, the keys of a shell, history.
        check_in(ask(m, "paXX\x08\x08u\t sp\t"), "spin: paused")
        check_in(ask(m, "vms | grep spin"), "paused")
        check_in(ask(m, "xresume\x1b[H\x04\x05 2"), "spin: running")
        check_in(ask(m, "\x10\x10"), "spin +running")
        # Wrong words.
        check_in(ask(m, "kill"), "^kill: a word is missing", "^usage: kill NAME")
        check_in(ask(m, "start spin memory=7"), '^start: "memory=7": less than 1M|spin is running')
        check_in(ask(m, "frobnicate"), "^frobnicate: no such command; help lists them")
        check_in(ask(m, "vcpus"), r"^deb64\.0 +\w+ +\d +64 4-level", r"^spin\.0")
        check_in(ask(m, "cpus"), "APIC", "SVM")
        check_in(ask(m, "irqs"), r"^ +0x34 +[1-9]\d* ISA 4$", r"^ +0xf0 +[1-9]\d* timer$")
        # Long output comes by the page.
        m.type("help\r")
        m.expect(r"--more-- \d+%")
        m.type("q")
        m.expect(r"umbra> ")
        check_in(ask(m, "help | cat"), r"Virtual machines(.|\n)*The machine(.|\n)*The monitor")
        check_in(ask(m, "help start"), r"^example: start ")
        # A life with changed words; it costs no memory.
        before = owned(m)
        live(m, "kill spin", "killed")
        lib.check("spin" not in owned(m), "no memory of spin's", m.text[-2000:])
        check_in(ask(m, "start spin memory=8M paging=shadow pagin=x"), 'unknown token "pagin=x"')
        live(m, "start spin memory=8M paging=shadow", "started, 8 MiB, shadow paging")
        check_in(ask(m, "vms"), r"^ 2.spin +running +8M +1 shadow")
        live(m, "kill spin", "killed")
        live(m, "start spin", "started, 16 MiB$")
        check_in(ask(m, "vms"), r"^ 2.spin +running +16M +1 nested")
        after = owned(m)
        lib.check(after["free"] == before["free"], f"{before} as before", after)
        # All that time the first guest has run.
        m.type("\x1d1\r")
        out = m.command("deb64", "echo $((6 * 7))")
        lib.check("42" in out, "42", out)
        m.type("\x1dm\r")
        m.expect(PROMPT)
        ask(m, "log | tail 3")
        m.type("poweroff\r")
        m.expect_exit()


def test_prompt(name):
    """The monitor when no guest runs: keys, wrong words, a start with changed words, memory."""
    with lib.boot(name, lib.tiny("good", "hello", TINY), "on-idle=monitor") as m:
        m.expect_vm("good", "debug-exit status 33", "umbra")
        m.expect(PROMPT)
        check_in(ask(m, "vmXX\x08\x08s | gr\t debug"), r"^ 1.good +debug-exit +16M +1 nested")
        check_in(ask(m, "xelp start\x1b[H\x04h"), r"^example: start ")
        check_in(ask(m, "\x10\x10"), r"^ 1.good ")
        check_in(ask(m, "kill"), "^kill: a word is missing", "^usage: kill NAME")
        check_in(ask(m, "kill good"), "^good is debug-exit: nothing done")
        check_in(ask(m, "start good memory=8M pagin=x"), 'unknown token "pagin=x"')
        check_in(ask(m, "cpus"), "APIC", "SVM")
        m.type("help\r")
        m.expect(r"--more-- \d+%")
        m.type("q")
        m.expect(r"umbra> ")
        check_in(ask(m, "help | cat"), r"Virtual machines(.|\n)*The machine(.|\n)*The monitor")
        before = owned(m)
        m.type("start good memory=8M paging=shadow\r")
        m.expect(r"^--- good \(1, running\)")
        m.expect_vm("good", "debug-exit status 33")
        m.expect(r"^--- monitor")
        m.expect(r"umbra> ")
        check_in(ask(m, "vms"), r"^ 1.good +debug-exit +8M +1 shadow")
        after = owned(m)
        lib.check(after == before, f"{before} as before", after)
        m.type("poweroff\r")
        m.expect_exit()


def test_run(name):
    """run= in quotes, with waiting: a script's way to use the monitor."""
    modules = lib.tiny("good", "hello", TINY) + lib.tiny("spin", "cli_loop", TINY)
    with lib.boot(name, modules,
                  'run="vms; vm good | grep exits; bad; kill spin; wait idle; vms" '
                  "on-idle=poweroff") as m:
        m.expect(r"^umbra> vms$", "umbra")
        m.expect(r"^ 1.good ")
        m.expect(r"^ 2.spin +running")
        m.expect(r"^umbra> vm good \| grep exits$")
        m.expect(r"^  exits +\d+")
        m.expect(r"^umbra> bad\nbad: no such command")
        m.expect(r"^umbra> wait idle$")
        m.expect(r"^umbra> vms$")
        m.expect(r"^ 1.good +debug-exit")
        m.expect(r"^ 2.spin +killed")
        m.expect_exit()
