"""The machine's own processors: started, left out, seen by the operator, stopped."""
import re

import lib
from test_monitor import PROMPT, ask, check_in

LINE = "com1=115200 loglevel=debug"
ONLINE = r"^ +{} +{} online +\d+\.\d% +\d+\.\d% +\d+\.\d% +\d+ "


def machine(name, *options, umbra=LINE, build=".", script="run-qemu", cpu=0, extra=()):
    iso = lib.make_iso(name, lib.tiny("spin", "cli_loop", f"memory=16M cpus={cpu}"), umbra, build)
    return lib.Machine(name, iso, *options, script=script, extra=extra)


def at_monitor(m):
    m.expect_vm("spin", "started", "umbra")
    m.type("\x1dm")
    m.expect(PROMPT)


def expect_cpus(m, number):
    out = ask(m, "cpus")
    check_in(out, *(ONLINE.format(n, n) for n in range(number)))
    lib.check(max(map(len, out.splitlines())) <= 80, "lines of 80 columns", out)
    return out


def test_four(name):
    """Four come, and idle: nearly all of the time of each but the first, which has a guest."""
    with machine(name, "--smp", "4") as m:
        m.expect("4 of 4 processors are running", "umbra")
        at_monitor(m)
        out = expect_cpus(m, 4)
        idle = re.findall(r"online +(\d+\.\d)%", out)
        lib.check(all(float(part) > 90 for part in idle[1:]), "three idle processors", out)
        m.type("poweroff\r")
        m.expect_exit()


def test_calls(name):
    """Four call each other all at once, a hundred times each; every call is answered."""
    with machine(name, "--smp", "4", build="debug") as m:
        at_monitor(m)
        check_in(ask(m, "ping"), r"^1200 calls of 1200 answered, a call every \d+ ticks$")
        check_in(ask(m, "irqs"), r"^ +0xf2 +\d{2,} a CPU is called$")
        expect_cpus(m, 4)


def test_maxcpus(name):
    """maxcpus= leaves the rest as the firmware had them; reboot finds all of them again."""
    with machine(name, "--smp", "4", umbra=LINE + " maxcpus=2") as m:
        m.expect("2 processors are not used", "umbra")
        m.expect("2 of 2 processors are running")
        at_monitor(m)
        lib.check(ask(m, "cpus").count("online") == 2, "two processors", m.text[-2000:])
        m.type("reboot\r")
        m.expect("2 of 2 processors are running", "umbra")
        m.type("\x1dm")


def test_one(name):
    """maxcpus=1 is as a machine with one; a number that is none is named."""
    with machine(name, "--smp", "2", umbra=LINE + " maxcpus=1 maxcpus=0") as m:
        m.expect('"maxcpus=0": not a number of processors; ignored', "umbra")
        at_monitor(m)
        lib.check(ask(m, "cpus").count("online") == 1, "one processor", m.text[-2000:])
        lib.check(not m.seen("processors are running"), "no word of others", m.text[-2000:])


def test_absent(name):
    """One that the tables name and that does not come costs a second and a line."""
    with machine(name, "--smp", "2", umbra=LINE + " absent-cpu=9", build="debug") as m:
        m.expect(r"cpu 1 \(APIC id 9\) does not come: no answer to INIT and STARTUP within 1000 ms",
                 "umbra")
        m.expect("2 of 3 processors are running")
        at_monitor(m)
        check_in(ask(m, "cpus"), r"^ +1 +9 absent", ONLINE.format(2, 1))


def test_beyond_xapic(name):
    """An APIC id that only x2APIC mode can name, on a processor without it, is left out."""
    with machine(name, umbra=LINE + " absent-cpu=300", build="debug") as m:
        m.expect("APIC id is 300, and this one has no x2APIC mode: it is left out", "umbra")
        m.expect_vm("spin", "started")


def test_panic(name):
    """A panic stops the others, and says where they were."""
    with machine(name, "--smp", "3") as m:
        at_monitor(m)
        m.type("panic\r")
        m.expect(r"panic: asked for by the operator")
        m.expect(r"cpu 1: idle")
        m.expect(r"cpu 2: idle")


SPINS = r"watchdog: cpu {} takes interrupts, and has not come round for \d+ s: rip [0-9a-f]{{16}} "


def test_watchdog(name):
    """A processor that takes no interrupts is reported with the functions it is in, and then that
    it goes on; a panic meanwhile stops it all the same, and shows it."""
    with machine(name, "--smp", "2", build="debug") as m:
        at_monitor(m)
        check_in(ask(m, "hang 7"), "hang: there is no such processor")
        m.type("hang 1 20\r")
        m.expect(r"watchdog: cpu 1 has taken no interrupt for \d+ s: rip [0-9a-f]{16} ")
        m.expect(r"watchdog:   [0-9a-f]{16} smp_do_work\+0x")
        m.expect(r"watchdog: cpu 1 goes on, after \d+ s")
        m.expect(PROMPT)
        m.type("hang 1 600\r")
        m.expect(PROMPT)
        m.type("panic\r")
        m.expect(r"cpu 1: rip [0-9a-f]{16} ")
        m.expect(r"[0-9a-f]{16} smp_do_work\+0x")


def test_watchdog_first(name):
    """The first processor, which sends what is said, is looked after as well."""
    with machine(name, "--smp", "2", build="debug") as m:
        at_monitor(m)
        m.type("hang 0 600\r")
        m.expect(r"watchdog: cpu 0 has taken no interrupt for \d+ s: rip [0-9a-f]{16} ")
        m.expect(r"watchdog:   [0-9a-f]{16} smp_do_work\+0x")
        m.still_runs(10)
        lib.check(m.text.count("watchdog: cpu") == 1, "one who says so", m.text[-2000:])


def test_watchdog_all(name):
    """When nobody gets on the first processor says so of itself, by the HPET's NMIs, and only then."""
    with machine(name, "--smp", "2", build="debug") as m:
        at_monitor(m)
        m.type("hang 1 30\r")
        m.expect(PROMPT)
        m.type("hang 0 20\r")
        m.expect(r"watchdog: cpu 0 has taken no interrupt for \d+ s: rip [0-9a-f]{16} ")
        m.expect(r"watchdog:   [0-9a-f]{16} smp_do_work\+0x")
        m.expect(r"watchdog: cpu 0 goes on, after \d+ s")
        m.expect(r"watchdog: cpu 1 goes on, after \d+ s")
        m.still_runs(10)
        lib.check(len(re.findall("watchdog: cpu 0", m.text)) == 2, "one who says so", m.text[-2000:])


VIRTUAL = ["-icount", "shift=3,sleep=off"]


def test_watchdog_virtual(name):
    """With a clock that stands at the HPET's comparator to the tick there is one NMI in a period,
    not two: the first processor of three is idle, and another one works."""
    with machine(name, "--smp", "3", "--accel", "tcg", cpu=1, extra=VIRTUAL) as m:
        m.expect_vm("spin", "started", "umbra")
        m.still_runs(25)
        lib.check("panic" not in m.text, "no NMI that is nobody's", m.text[-2000:])


# Bochs's clock is then a tick short of the HPET's comparator at every second NMI.
EARLY_IPS = "2184618623"


def test_watchdog_early(name):
    """A timer that is early by a tick, and is then set again, makes one NMI in a period all the same."""
    iso = lib.make_iso(name, lib.tiny("hello", "hello"), 'com1=115200 on-idle=poweroff run="wait 60"')
    with lib.Machine(name, iso, "--ips", EARLY_IPS, script="run-bochs") as m:
        m.expect_exit()


def test_watchdog_mute(name):
    """One who is stuck with the log's lock leaves the others a panic, which says where he is."""
    with machine(name, "--smp", "2", build="debug") as m:
        at_monitor(m)
        m.type("hang 1 600 log\r")
        m.expect(r"panic: watchdog: cpu [01] is stuck, and somebody who has the log's lock")
        m.expect(r"cpu 1: rip [0-9a-f]{16} ")
        m.expect(r"[0-9a-f]{16} smp_do_work\+0x")
        m.still_runs(10)
        lib.check(m.text.count("panic: ") == 1, "one panic", m.text[-2000:])


def test_watchdog_alone(name):
    """A processor that is alone looks after itself, by the HPET's NMIs."""
    with machine(name, "--smp", "1", build="debug") as m:
        at_monitor(m)
        m.type("hang 0 20\r")
        m.expect(r"watchdog: cpu 0 has taken no interrupt for \d+ s: rip [0-9a-f]{16} ")
        m.expect(r"watchdog:   [0-9a-f]{16} smp_do_work\+0x")
        m.expect(r"watchdog: cpu 0 goes on, after \d+ s")
        m.still_runs(10)
        m.type("\r")
        m.expect(PROMPT)
        m.type("hang 0 20 irqs\r")
        m.expect(SPINS.format(0))
        m.expect(r"watchdog:   [0-9a-f]{16} smp_do_work\+0x")
        m.expect(r"watchdog: cpu 0 goes on, after \d+ s")


def test_watchdog_spinning(name):
    """One that spins with interrupts on, which it takes, is no better."""
    with machine(name, "--smp", "2", build="debug") as m:
        at_monitor(m)
        m.type("hang 1 20 irqs\r")
        m.expect(SPINS.format(1))
        m.expect(r"watchdog:   [0-9a-f]{16} smp_do_work\+0x")
        m.expect(r"watchdog: cpu 1 goes on, after \d+ s")
        m.still_runs(10)
        lib.check(m.text.count("watchdog: cpu") == 2, "no further word", m.text[-2000:])


def bochs(name, model, *lines, umbra=LINE):
    umbra += " run=cpus on-idle=poweroff"
    iso = lib.make_iso(name, lib.tiny("hello", "hello"), umbra)
    with lib.Machine(name, iso, "--cpu", model, "--smp", "2", script="run-bochs") as m:
        for line in lines:
            m.expect(line, "umbra")
        m.expect("2 of 2 processors are running")
        m.expect(ONLINE.format(1, 1))
        m.expect_vm("hello", "debug-exit status 33")
        m.expect_exit()


def test_bochs_vmx(name):
    """VMXON on both; timers by TSC deadlines; x2APIC mode from xAPIC mode."""
    bochs(name, "corei7_haswell_4770", "timer: local APIC by TSC deadlines",
          "local APICs: x2APIC mode", umbra=LINE + " x2apic=on")


def test_bochs_svm(name):
    """SVM on both, by xAPIC."""
    bochs(name, "ryzen", "SVM: ")
