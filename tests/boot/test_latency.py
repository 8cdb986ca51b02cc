"""The guest that measures for the bench: each of its rows runs, under each kind of paging."""
import re

import lib

ROWS = "self ipi wake shootdown busy halted periodic deadline"


# Docs/vmm.md, "How late a guest's timer comes": in instructions of the machine.
TIMERS = "busy halted periodic deadline"
BOUND = 20000


def run(name, guest, rows, samples, *options, extra=()):
    """The least, the median and the most of each row."""
    with lib.Machine(name, lib.make_iso(name, guest), *options, extra=extra) as m:
        m.expect(r"bench done", "work" if extra else "shell", never="WRONG")
        m.expect(r"vm latency: debug-exit status 33")
        m.expect_exit()
    result = {}
    for row in rows.split():
        found = re.search(rf"^bench {row} {samples} (\d+) (\d+) (\d+)$", m.text, re.M)
        lib.check(found, f"a line of row {row}", m.text[-1000:])
        result[row] = least, median, most = [int(n) for n in found.groups()]
        lib.check(least <= median <= most, f"row {row} in order", found.group())
    return result


def check_rows(name, paging, words=""):
    guest = lib.tiny("latency", "latency", f"memory=16M vcpus=2 paging={paging} debug-exit -- "
                     f"cpus=2 n=3 {words}{ROWS}")
    run(name, guest, ROWS, 3, *lib.guest_cpus(2))


def check_bound(name, paging, words=""):
    """With -icount a tick is an instruction of the whole machine: nothing of it is time."""
    guest = lib.tiny("latency", "latency", f"memory=16M paging={paging} debug-exit -- "
                     f"cpus=1 n=20 {words}{TIMERS}")
    rows = run(name, guest, TIMERS, 20, extra=["-icount", "shift=0,sleep=off"])
    for row, (_, _, most) in rows.items():
        lib.check(most <= BOUND, f"row {row} no later than {BOUND}", most)


def test_nested(name):
    check_rows(name, "nested")


def test_shadow(name):
    check_rows(name, "shadow")


def test_x2apic(name):
    check_rows(name, "nested", "x2apic ")


def test_bound_nested(name):
    check_bound(name, "nested")


def test_bound_shadow(name):
    check_bound(name, "shadow")


def test_bound_x2apic(name):
    check_bound(name, "nested", "x2apic ")
