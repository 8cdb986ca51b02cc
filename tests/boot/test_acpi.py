"""What an operating system makes of the DSDT, by ACPICA's interpreter; no machine is booted."""
import re
import subprocess

import lib

DSDT = lib.BUILD + "/gen/dsdt.aml"
SLOTS, PINS = 32, 4


def evaluate(*what):
    """The numbers of what the last of these is, after those before it."""
    commands = "; ".join(f"evaluate {one}" for one in what)
    run = subprocess.run(["acpiexec", "-b", commands, DSDT], stdin=subprocess.DEVNULL, text=True,
                         capture_output=True, timeout=lib.timeout("command"), check=False)
    last = run.stdout.rpartition("Evaluating ")[2]
    lib.check("returned object" in last, f"a value of {what[-1]}", run.stdout[-2000:] + run.stderr)
    return [int(n, 16) for n in re.findall(r"\[Integer\] = ([0-9A-F]{16})", last)]


def check_prt(picm, inputs):
    """Each pin of each slot, in four numbers: the slot, the pin, no device between, the input."""
    want = [n for slot in range(SLOTS) for pin in range(PINS)
            for n in (slot << 16 | 0xffff, pin, 0, inputs[(slot + pin) % len(inputs)])]
    seen = evaluate(rf"\_PIC {picm}", r"\_SB.PCI0._PRT")
    lib.check(seen == want, f"_PRT {want}", seen)


def test_prt(name):
    """PCI's wires: to inputs 16 to 19 of the I/O APIC, or IRQ 10 and 11 of the 8259s."""
    del name
    check_prt(1, (16, 17, 18, 19))
    check_prt(0, (10, 11))


def test_sleep(name):
    """S5 is type 5, and there is no other."""
    del name
    lib.check(evaluate(r"\_S5")[:2] == [5, 5], "types 5 and 5 of S5", evaluate(r"\_S5"))
    with open(DSDT, "rb") as f:
        states = re.findall(rb"_S[0-4]_", f.read())
    lib.check(not states, "no other sleeping state", states)
