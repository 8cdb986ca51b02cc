"""The processor as the judge of paging: tests/guest/paging in each mode, on each machine.

The guest compares millions of accesses with the oracle's rules and says where the processor
itself departs from the manuals: of a real processor only what they leave open is taken, of an
emulator just what it is known for. On QEMU itself the same kernel must count the same cases.
"""
import re
import subprocess
import threading

import lib
from models import MODELS, TCG

# What the manuals leave open: whether a walk that faults sets A above the fault. Under nested
# paging: each walk reads the PAE PDPTEs, and MOV CR3 checks none (APM vol. 2, 15.25.10).
OPEN = {"walk-sets-a", "late-pdptes", "unchecked-pdptes"}
PARTS = ("rights", "accessed and dirty", "string input and output", "one after the other",
         "absent, reserved, ignored", "protection keys", "five levels on and off",
         "addresses, flushes, tables as data", "edits at random")
EPYC_LACKS = ("protection keys", "five levels on and off")


def results(text, known):
    """The number of cases of each part. All must have come out as expected.

    known: the departures that must be there; None: a real processor.
    """
    wrong = re.findall(r"^WRONG.*", text, re.MULTILINE)
    total = re.search(r"^paging [^:\n]+: (\d+) cases, (\d+) wrong$", text, re.MULTILINE)
    lib.check(total and not wrong, "no case with another outcome", "\n".join(wrong) or text[-500:])
    departures = set(re.findall(r"^(?:allowed|deviation): (\S+)", text, re.MULTILINE))
    if known is None:
        lib.check(departures <= OPEN, f"of these departures at most: {sorted(OPEN)}",
                  sorted(departures))
    else:
        lib.check(departures == known, f"these departures: {sorted(known)}", sorted(departures))
    parts = {part: int(count) for part, count in
             re.findall(r"^([a-z, ]+): (\d+) cases$", text, re.MULTILINE)}
    lib.check(tuple(parts) == PARTS, f"the parts {PARTS}", tuple(parts))
    lib.check(sum(parts.values()) == int(total[1]) and int(total[2]) == 0,
              "the sum of the parts' cases, 0 wrong", total[0])
    print(f"      {total[0]}", flush=True)
    return parts


# Who enters the kernel of each mode: QEMU takes multiboot 1 or, without it, the PVH note.
ENTRY = {"32": 1, "pse": 2, "pae": 1, "64": 2, "la57": 1}
ENTRY_NATIVE = {1: "multiboot 1", 2: "PVH"}
FOUR = ("32", "pse", "pae", "64")
FIVE = FOUR + ("la57",)
# Model, modes, how Umbra lets the guest page, and the kernel's line: every=N is one tree of
# flags in N, as under shadow paging each costs some exits.
CELLS = [
    ("tcg", FOUR, "nested", ""),
    ("max", FIVE, "nested", ""),
    ("tcg", FOUR[:3], "shadow", ""),
    ("max", FIVE[3:], "shadow", "every=13"),
]
# Only edits at random, from a fresh seed: model, modes, Umbra's options, the kernel's line.
RANDOM = [
    ("tcg", FOUR, "shadow=1M audit=100", "every=0 steps=20000"),
    ("max", FIVE[4:], "shadow=1M audit=100", "every=0 steps=20000"),
]

native_parts = {}
native_lock = threading.Lock()


def entered_by(text, loader):
    lib.check(f"\nentered by {loader}\n" in text, f"entered by {loader}", text[-2000:])


def natively(mode, line):
    """The cases of the same kernel on QEMU itself, where protection keys and LA57 are."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "16M",
               "-display", "none", "-monitor", "none", "-serial", "stdio", "-net", "none",
               "-kernel", lib.guest_file(f"paging_{mode}.elf"), "-append", line,
               "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         errors="replace", timeout=lib.timeout("work"), check=False)
    text = "\n" + lib.NOISE.sub("", run.stdout)
    lib.check(run.returncode == 33, "exit status 33 of QEMU", f"{run.returncode}\n{text[-2000:]}")
    entered_by(text, ENTRY_NATIVE[ENTRY[mode]])
    parts = results(text, TCG[mode])
    if mode in ("64", "la57") and "every=0" not in line:
        lib.check(parts["protection keys"] > 0, "protection keys natively", parts)
    return parts


def native_cases(mode, line):
    with native_lock:
        if (mode, line) not in native_parts:
            native_parts[mode, line] = natively(mode, line)
        return dict(native_parts[mode, line])


def under_umbra(name, model, mode, paging, line):
    """The cases under Umbra, and whether an emulator made the processor.

    paging: and more of Umbra's options. Under shadow paging nothing departs from the manuals but
    what the processor does without a walk.
    """
    options = f"memory=16M debug-exit paging={paging} -- {line}"
    with model.boot(name, lib.tiny("paging", f"paging_{mode}", options)) as m:
        model.expect_backend(m)
        m.expect_vm("paging", r"debug-exit status \d+$", "work")
        m.expect_exit()
        entered_by(m.text, f"multiboot {ENTRY[mode]}")
        emulated = model.emulated(m)
        expected = model.departs[mode] if emulated else None
        if paging.startswith("shadow"):
            smap = emulated and "implicit-honours-ac" in expected
            expected = {"cached-honours-ac"} if smap else set()
        return results(m.text, expected), emulated


def run_cell(name, model, mode, paging, line):
    parts, emulated = under_umbra(name, MODELS[model], mode, paging, line)
    if not emulated:
        return
    native = native_cases(mode, line)
    for part in EPYC_LACKS if model == "tcg" else ():
        del parts[part], native[part]
    lib.check(parts == native, f"the cases counted natively, {native}", parts)


def test_linux_la57(name):
    """Debian's kernel turns five levels on itself, and protection keys."""
    iso = lib.make_iso(name, lib.linux("deb64", kernel="vmlinuz-amd64"))
    with lib.Machine(name, iso, "--accel", "tcg", "--cpu", "max") as m:
        m.expect_umbra()
        m.expect_shell("deb64", "work")
        flags = m.command("deb64", "grep flags /proc/cpuinfo").split()
        lib.check({"la57", "pku", "ospke"} <= set(flags), "la57, pku and ospke", flags)


def add_tests():
    """One test a cell and mode: test_64_max, test_64_max_shadow, test_random_64 and so on."""
    for model, modes, paging, line in CELLS:
        for mode in modes:
            name = f"{mode}_{model}" + ("" if paging == "nested" else f"_{paging}")
            lib.add_test(name, run_cell, model, mode, paging, line)
    for model, modes, options, line in RANDOM:
        for mode in modes:
            lib.add_test(f"random_{mode}", run_cell, model, mode, "shadow " + options, line)


add_tests()
