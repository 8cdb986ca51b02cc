"""Guests on two processors: where each runs, and what the operator does to them meanwhile."""
import re
import time

import lib
import test_smp

ALONE = True
PROMPT = r"^umbra> "
BALANCE_SECONDS = 20


def ask(m, line):
    """What the monitor answers."""
    m.type(line + "\n")
    start = m.at
    end = m.expect(PROMPT, "command").start()
    return m.text[start:end].split("\n", 1)[1]


def to_monitor(m):
    m.type("\x1dm")
    m.expect(PROMPT)


def places(m):
    """The processor of each virtual one."""
    return dict(re.findall(r"^(\w+\.\d+) .* (\d+) *$", ask(m, "vcpus | cat"), re.M))


def expect_places(m, want):
    """Soon: a VM that is made anew begins on the first."""
    for _ in range(20):
        seen = places(m)
        if seen == want:
            return
        time.sleep(0.2)
    lib.check(False, f"virtual processors on {want}", seen)


def busy(m):
    """What part of the time each processor is not idle: since when it was used first."""
    return [100 - float(idle) for idle in re.findall(r"^ *\d+ +\d+ online +([\d.]+)%", ask(m, "cpus | cat"), re.M)]


def test_pinned(name):
    """cpus= holds, whatever becomes of the VMs; where there are none of these, a VM does not start."""
    modules = lib.tiny("zero", "cli_loop", "memory=2M cpus=0") \
        + lib.tiny("one", "cli_loop", "memory=2M cpus=1") \
        + lib.tiny("too", "cli_loop", "memory=2M cpus=1") \
        + lib.tiny("none", "cli_loop", "memory=2M cpus=2-5")
    with lib.Machine(name, lib.make_iso(name, modules), "--smp", "2") as m:
        m.expect(r"vm none: .*cpus=: none of these processors is there")
        m.expect(r"(?s)(looping with interrupts off.*){3}")
        to_monitor(m)
        want = {"zero.0": "0", "one.0": "1", "too.0": "1"}
        expect_places(m, want)
        for line in ("pause one", "pause zero", "resume one", "resume zero", "reset too", "regs one | cat"):
            ask(m, line)
        expect_places(m, want)
        ask(m, "kill one")
        expect_places(m, {"zero.0": "0", "too.0": "1"})


def test_spread(name):
    """VMs that are busy do not share a processor while another one has nothing to do."""
    modules = lib.tiny("a", "cli_loop", "memory=2M") + lib.tiny("b", "cli_loop", "memory=2M") \
        + lib.tiny("c", "cli_loop", "memory=2M")
    with lib.Machine(name, lib.make_iso(name, modules), *lib.guest_cpus(2)) as m:
        m.expect(r"(?s)(looping with interrupts off.*){3}")
        to_monitor(m)
        lib.check(set(places(m).values()) == {"1", "2"}, "both processors in use", places(m))
        states = re.findall(r"^\w+\.0 +(\w+) .* (\d) *$", ask(m, "vcpus | cat"), re.M)
        lib.check(sorted(states)[1:] == [("running", "1"), ("running", "2")] and sorted(states)[0][0] == "runnable",
                  "one that runs on each processor, and one that waits", states)
        where = places(m)
        alone = next(vm for vm, cpu in where.items() if list(where.values()).count(cpu) == 1)
        ask(m, f"kill {alone[0]}")
        time.sleep(0.5)
        where = places(m)
        lib.check(len(where) == 2 and set(where.values()) == {"1", "2"}, "one of the two sent over", where)
        lib.check(min(busy(m)[1:]) > 10, "no processor idle", busy(m))


def ran(m, vms):
    """For how many ms each has had a processor."""
    return [int(re.search(r"^ +ran +(\d+) ms", ask(m, f"vm {vm} | grep ms"), re.M)[1]) for vm in vms]


def test_balanced(name):
    """Three that are always busy have two thirds of a processor each; unmoved, two would have half of one, and moved
    whenever something happens to interrupt one of them, chance would have it. By the time stamp counter: an emulator
    that is slow is so for all."""
    vms = ("a", "b", "c")
    modules = [line for vm in vms for line in lib.tiny(vm, "cli_loop", "memory=2M paging=nested")]
    with lib.Machine(name, lib.make_iso(name, modules), *lib.guest_cpus(2)) as m:
        m.expect(r"(?s)(looping with interrupts off.*){3}")
        to_monitor(m)
        before = ran(m, vms)
        time.sleep(BALANCE_SECONDS)
        had = [after - at_first for after, at_first in zip(ran(m, vms), before)]
        parts = [n * len(vms) / sum(had) for n in had]
        lib.check(sum(had) > BALANCE_SECONDS * 1000 and all(0.9 < part < 1.1 for part in parts),
                  "each a tenth off a third of the time of two processors at most", had)


LOOKS = ("regs smp | cat", "regs smp.1 | cat", "vcpus | cat", "bt smp.1 | head 3", "x/4i smp.1 $rip", "exits smp | head 5",
         "walk smp $rip | cat", "irqs smp | head 4", "vm smp | head 3", "pause smp", "regs smp.1 | cat", "resume smp",
         "trace smp on", "trace smp off", "tables smp | head 5", "cpus | cat")


def look_at(name, options):
    """An operator looks at a VM again and again, pauses it, traces it; what it works out stays right."""
    with test_smp.machine(name, "tcg", test_smp.linux("vmlinux-amd64", options, 2), build="debug") as m:
        m.expect_shell("smp", "work")
        test_smp.check_online(m, "smp", 2)
        m.command("smp", f"job() {{ {test_smp.JOB}; }}")
        m.type("(for i in 1 2 3 4; do job $i 10000 > /tmp/$i & done; wait; cat /tmp/[1-4] > /tmp/all) &\n")
        m.expect_shell("smp")
        to_monitor(m)
        for _ in range(4):
            for line in LOOKS:
                out = ask(m, line)
                lib.check("usage:" not in out, f"an answer to {line}", out)
        m.type("\x1d1\n")
        m.expect_shell("smp")
        out = m.command("smp", "while ! [ -e /tmp/all ]; do sleep 1; done; sleep 1; cat /tmp/all", "work")
        sums = re.findall(r"\b(\w{64})\b", out)
        lib.check(sums == [test_smp.job_sum(i, 10000) for i in range(1, 5)], "the sums", out)
        test_smp.check_log(m, "smp")


def test_looked_at_nested(name):
    look_at(name, "paging=nested")


def test_looked_at_shadow(name):
    look_at(name, "paging=shadow")
