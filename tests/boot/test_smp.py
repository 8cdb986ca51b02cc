"""Guests with several vCPUs, in turns on one processor: all of them come up, and work together."""
import re

import lib

# As many processes as that at once, with what they make compared.
LOAD = ("mk() { seq 1 20000 | sha256sum; }; for i in 1 2 3 4 5 6 7 8; do mk >/tmp/s.$i & done; wait; "
        "cat /tmp/s.* | sort -u | wc -l; rm /tmp/s.*")


def check_tiny(name, options, build="."):
    guest = lib.tiny("smp", "smp", "memory=16M vcpus=4 debug-exit apic=on " + options)
    with lib.Machine(name, lib.make_iso(name, guest, build=build)) as m:
        m.expect(r"four processors work together", "shell", never="WRONG")
        m.expect(r"vm smp: debug-exit status 33")
        m.expect_exit()


def test_tiny_nested(name):
    """INIT, STARTUP, locks, interrupts and NMIs between processors, pages that move under all."""
    check_tiny(name, "paging=nested")


def test_tiny_shadow(name):
    check_tiny(name, "paging=shadow")


def check_online(machine, vm, vcpus):
    """All of its processors are there, run processes, and take interrupts of their own."""
    out = machine.command(vm, "grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online")
    lib.check(re.search(rf"^{vcpus}\b", out, re.M) and f"0-{vcpus - 1}" in out,
              f"{vcpus} processors online", out)
    out = machine.command(vm, "cat /proc/interrupts")
    counts = {m[1]: [int(n) for n in m[2].split()]
              for m in re.finditer(rf"^ *(\w+):((?: +\d+){{{vcpus}}})", out, re.M)}
    lib.check(all(n > 0 for n in counts.get("LOC", [0])), "timer interrupts on each processor", out)
    lib.check(sum(counts.get("RES", []) + counts.get("CAL", [])) > 0,
              "interrupts from one processor to another", out)


def check_linux(name, kernel, paging, vcpus):
    options = f"memory=256M vcpus={vcpus} paging={paging} apic=on"
    with lib.boot(name, lib.linux("smp", kernel, options)) as m:
        m.expect_shell("smp")
        check_online(m, "smp", vcpus)
        out = m.command("smp", LOAD)
        lib.check(re.search(r"^1\b", out, re.M), "the same sum from all processes", out)
        out = m.command("smp", "cat /proc/stat")
        busy = [int(n) for n in re.findall(r"^cpu\d+ (\d+)", out, re.M)]
        lib.check(len(busy) == vcpus and all(busy), "work done by each processor", out)
        m.type("poweroff\n")
        m.expect_vm("smp", "powered off")
        m.expect_exit()


def test_amd64_nested(name):
    check_linux(name, "vmlinux-amd64", "nested", 4)


def test_amd64_shadow(name):
    check_linux(name, "vmlinux-amd64", "shadow", 2)


def test_686_pae_nested(name):
    check_linux(name, "vmlinuz-686-pae", "nested", 2)


def test_686_pae_shadow(name):
    check_linux(name, "vmlinuz-686-pae", "shadow", 4)
