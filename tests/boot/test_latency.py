"""The guest that measures for the bench: each of its rows runs, under each kind of paging."""
import re

import lib

ROWS = "self ipi wake shootdown busy halted periodic deadline"


def check_rows(name, paging, words=""):
    guest = lib.tiny("latency", "latency", f"memory=16M vcpus=2 paging={paging} debug-exit -- "
                     f"cpus=2 n=3 {words}{ROWS}")
    with lib.Machine(name, lib.make_iso(name, guest), *lib.guest_cpus(2)) as m:
        m.expect(r"bench done", "shell", never="WRONG")
        m.expect(r"vm latency: debug-exit status 33")
        m.expect_exit()
        for row in ROWS.split():
            found = re.search(rf"^bench {row} 3 (\d+) (\d+) (\d+)$", m.text, re.M)
            lib.check(found, f"a line of row {row}", m.text[-1000:])
            least, median, most = map(int, found.groups())
            lib.check(least <= median <= most, f"row {row} in order", found.group())


def test_nested(name):
    check_rows(name, "nested")


def test_shadow(name):
    check_rows(name, "shadow")


def test_x2apic(name):
    check_rows(name, "nested", "x2apic ")
