"""Debugging a guest from the monitor: points and steps, of which the guest sees nothing.

tests/guest/debug.asm has breakpoints, single steps and INT3s of its own, and says WRONG when it sees
another's.
"""
import re
import subprocess

import lib

NEVER = "WRONG|panic|vm dbg: .*(stopped|debug-exit)"
UMBRA = "com1=115200 loglevel=info on-idle=monitor log=line console=follow"


def symbols():
    """Where the guest's places are."""
    out = subprocess.run(["nm", lib.guest_file("debug.elf")], check=True, capture_output=True,
                         text=True).stdout
    return {name: int(at, 16) for at, name in re.findall(r"^([0-9a-f]+) \w (\w+)$", out, re.M)}


def say(m, line, answer):
    """Type a command; what it says, or what it leads to."""
    m.type(line + "\n")
    return m.expect(answer, never=NEVER)


def step_and_watch(m, at):
    """A whole round by steps: its own breakpoint, INT3, single step, INT n, exception, CPUID, REP."""
    say(m, "step dbg 300", r"vm dbg: stepped, rip")
    say(m, f"watch dbg {at['watched']:#x}", r"watch +0x")
    for _ in range(2):
        say(m, "cont dbg", rf"vm dbg: {at['watched']:#x} written, before rip "
                           rf"{at['after_watched']:#x}: call")
    say(m, "points dbg", r"^ +1 +watch ")
    say(m, "delete dbg 1", "umbra> ")


def debug(name, options, *machine, script="run-qemu", exact=True):
    """Breaks, steps and watches, again and again, and then the guest goes on as before.

    exact: the processor says why #DB has left, also where the guest has breakpoints of its own.
    """
    at = symbols()
    # The monitor is in front when the other guest has ended: nobody else runs then.
    modules = lib.tiny("first", "hello") \
        + lib.tiny("dbg", "debug", "memory=16M debug-exit " + options)
    iso = lib.make_iso(name, modules, UMBRA + ' run="pause dbg"')
    with lib.Machine(name, iso, *machine, script=script) as m:
        m.expect_umbra()
        m.expect_vm("first", "debug-exit status 33")
        m.type("\n")
        m.expect(r"umbra> ")
        say(m, "cont dbg", "umbra> ")
        say(m, f"break/s dbg {at['point_int3']:#x}", r"break/s +0x")
        for _ in range(2):
            m.expect(rf"vm dbg: break, rip {at['point_int3']:#x}: mov eax, dr6", never=NEVER)
            say(m, "cont dbg", "")
        m.expect(rf"vm dbg: break, rip {at['point_int3']:#x}: mov eax, dr6", never=NEVER)
        say(m, f"break dbg {at['point']:#x}", r"break +0x")
        say(m, "cont dbg", rf"vm dbg: break, rip {at['point']:#x}: nop")
        say(m, "step dbg", rf"vm dbg: stepped, rip {at['point'] + 1:#x}: inc")
        say(m, "delete dbg 2", "umbra> ")
        say(m, "delete dbg 1", "umbra> ")
        if exact:
            step_and_watch(m, at)
        say(m, f"break/s dbg {at['point_int3']:#x}", r"break/s +0x")
        for _ in range(3):
            say(m, "cont dbg", rf"vm dbg: break, rip {at['point_int3']:#x}: mov eax, dr6")


def test_svm(name):
    debug(name, "paging=nested")


def test_svm_shadow(name):
    debug(name, "paging=shadow")


def test_bochs_svm(name):
    debug(name, "paging=nested", "--cpu", "ryzen", script="run-bochs", exact=False)


def test_bochs_vmx(name):
    debug(name, "paging=nested", "--cpu", "corei7_haswell_4770", script="run-bochs")


def test_bochs_vmx_bare(name):
    """A processor without EPT, unrestricted guest and all the rest."""
    debug(name, "paging=shadow", "--cpu", "core2_penryn_t9600", script="run-bochs")


def storm(name, *machine):
    """A guest whose #DB handler raises #DB for ever keeps the CPU from nobody.

    On Bochs: QEMU is ended by an assertion of its own.
    """
    modules = lib.tiny("storm", "db_storm") + lib.tiny("other", "hello")
    iso = lib.make_iso(name, modules, UMBRA)
    with lib.Machine(name, iso, *machine, script="run-bochs") as m:
        m.expect_vm("other", "debug-exit status 33", never="panic|vm storm: .*stopped")


def test_db_storm_svm(name):
    storm(name, "--cpu", "ryzen")


def test_db_storm_vmx(name):
    storm(name, "--cpu", "corei7_haswell_4770")
