"""The processor as the judge of paging: tests/guest/paging in each mode, under nested paging.

The guest compares millions of accesses with the oracle's rules and says where the processor
itself departs from the manuals: of a real processor only what they leave open is taken, of an
emulator just what it is known for. Natively the same kernel must count the same cases.
"""
import re
import subprocess

import lib

# What the manuals leave open: whether a walk that faults sets A above the fault. Under nested
# paging: each walk reads the PAE PDPTEs, and MOV CR3 checks none (APM vol. 2, 15.25.10).
OPEN = {"walk-sets-a", "late-pdptes", "unchecked-pdptes"}
# What the emulators are known for; see docs/testing.md.
TCG = {
    "32": {"walk-sets-a"},
    "pse": {"walk-sets-a", "rsvd-without-p"},
    "pae": {"walk-sets-a", "rsvd-without-p", "late-pdptes", "unchecked-pdptes"},
    "64": {"walk-sets-a", "rsvd-without-p", "bit8-ignored", "eager-a-1g"},
}
BOCHS = {
    "32": {"implicit-honours-ac"},
    "pse": {"implicit-honours-ac"},
    "pae": {"implicit-honours-ac", "late-pdptes", "unchecked-pdptes"},
    "64": {"implicit-honours-ac", "bit8-ignored"},
}
PARTS = ("rights", "accessed and dirty", "one after the other", "absent, reserved, ignored",
         "protection keys", "addresses, flushes, tables as data")


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


def under_umbra(name, mode, known, script="run-qemu"):
    iso = lib.make_iso(name, lib.tiny("paging", f"paging_{mode}"))
    with lib.Machine(name, iso, script=script) as m:
        m.expect_umbra()
        m.expect_vm("paging", r"debug-exit status \d+$", "work")
        m.expect_exit()
        tcg = "accelerator TCG" in m.text
        if script == "run-qemu" and not tcg:
            known = None
        return results(m.text, known), tcg


def natively(mode):
    """The same kernel on QEMU itself, with protection keys."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "16M",
               "-display", "none", "-monitor", "none", "-serial", "stdio", "-net", "none",
               "-kernel", lib.guest_file(f"paging_{mode}.elf"),
               "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         errors="replace", timeout=lib.timeout("work"), check=False)
    text = lib.NOISE.sub("", run.stdout)
    lib.check(run.returncode == 33, "exit status 33 of QEMU", f"{run.returncode}\n{text[-2000:]}")
    return results(text, TCG[mode])


def nested_and_native(name, mode):
    nested, tcg = under_umbra(name, mode, TCG[mode])
    native = natively(mode)
    if mode == "64":
        lib.check(native["protection keys"] > 0, "protection keys natively", native)
    if tcg:
        del nested["protection keys"], native["protection keys"]  # Umbra offers none
        lib.check(nested == native, f"the cases counted natively, {native}", nested)


def test_64(name):
    nested_and_native(name, "64")


def test_pae(name):
    nested_and_native(name, "pae")


def test_pse(name):
    nested_and_native(name, "pse")


def test_32(name):
    nested_and_native(name, "32")


def test_bochs_64(name):
    """A second opinion: Bochs' walker."""
    under_umbra(name, "64", BOCHS["64"], "run-bochs")


def test_bochs_pae(name):
    under_umbra(name, "pae", BOCHS["pae"], "run-bochs")


def test_bochs_pse(name):
    under_umbra(name, "pse", BOCHS["pse"], "run-bochs")


def test_bochs_32(name):
    under_umbra(name, "32", BOCHS["32"], "run-bochs")
