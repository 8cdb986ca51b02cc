"""What interrupts, timers and other processors take, natively and under Umbra, on QEMU's TCG.

tests/guest/latency measures it by the TSC, which with -icount counts the machine's instructions
(and the time in which it idles), so that the figures repeat; the plugin counts exits. Without
-icount QEMU's processors run at the same time, and the TSC is the time that passes.
"""
import os
import re

import lib
import machine

ROWS = {
    "self": "an interrupt to oneself, until its first instruction",
    "ipi": "to another processor that works, and back",
    "wake": "to one that is halted, until its first instruction",
    "shootdown": "a page changes, all drop it, all have said so",
    "busy": "one-shot timer late, to one who works",
    "halted": "one-shot timer late, to one who is halted",
    "periodic": "periodic timer, gap less period",
    "deadline": "TSC deadline late, to one who is halted",
}
NUMBERS = {name: i + 1 for i, name in enumerate(ROWS)}  # as the guest marks them
INSTEAD = {"deadline": "halted"}  # the native row, where TCG itself has none
COLUMNS = {"native": None, "nested": "nested", "x2apic": "nested", "shadow": "shadow"}
# Processors of the guest, and the rows with these.
CELLS = [(1, ["self", "busy", "halted", "periodic", "deadline"]),
         (2, ["ipi", "wake", "shootdown"]), (4, ["shootdown"])]
SAMPLES, FEW = 200, 5  # FEW where vCPUs take turns: who waits for another sits his turn out
MOST = 50  # functions of a profile
DEBUG_EXIT_OK = 33


class Figure:
    """Of one row: in ticks; what a sample makes of exits, by kind, and instructions."""

    def __init__(self, samples, least, median, most):
        self.samples, self.least, self.median, self.most = samples, least, median, most
        self.exits, self.kinds, self.instructions, self.functions = 0, {}, 0, {}

    def take(self, phase):
        self.exits = phase.exits / self.samples
        self.kinds = {kind: n / self.samples for kind, n in phase.kinds.items()}
        self.instructions = phase.total() * 1e6 / self.samples
        self.functions = {name: n / self.samples for name, n in phase.functions.items()}


def elf_start(path):
    with open(path, "rb") as f:
        return int.from_bytes(f.read(32)[24:32], "little")


def read(name, text):
    found = {row: Figure(*map(int, figures.split())) for row, figures in
             re.findall(r"\bbench (\w+)((?: \d+){4})$", text, re.MULTILINE)}
    if "bench done" not in text:
        raise SystemExit(f"bench: {name}: the guest did not come to its end; its console:\n"
                         f"{text[-2000:]}")
    return found


def measure(column, smp, cpus, rows, counted, profile=False):
    """One boot; the figures by row; profile: with Umbra's instructions by function."""
    name = f"latency-{column}-{cpus}" + ("" if counted else "-wall")
    guest = lib.guest_file("latency.elf")
    samples = FEW if cpus > smp else SAMPLES
    line = f"cpus={cpus} n={samples} {'x2apic ' if column == 'x2apic' else ''}{' '.join(rows)}"
    extra = [arg.replace("sleep=on", "sleep=off") for arg in machine.ICOUNT] if counted else []
    if column == "native":
        command = machine.bare(guest, "1G", cpus) + [
            "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-kernel", guest, "-append", line]
        counts = [f"start={elf_start(guest):#x}"]
        phases, text = machine.run(name, command + extra, counts if counted else ["count=off"],
                                   DEBUG_EXIT_OK)
    else:
        options = f"memory=16M vcpus={cpus} paging={COLUMNS[column]} debug-exit stats -- {line}"
        iso = lib.make_iso(name, lib.tiny("bench", "latency", options))
        counts = [machine.counters_range()] + (["blocks=on"] if profile else [])
        try:
            phases, text = machine.run(name, machine.umbra(iso, "1G", smp) + extra,
                                       counts if counted else ["count=off"])
        finally:
            os.unlink(iso)
    found = read(name, text)
    for row, figure in found.items():
        if counted and NUMBERS[row] in phases:
            figure.take(phases[NUMBERS[row]])
    return found


def of_native(native, row, median):
    base = native.get(row) or native.get(INSTEAD.get(row))
    if not base or not base.median:
        return "-"
    ratio = median / base.median
    return f"{ratio:.2f}" if ratio < 1000 else f"{ratio:.0f}"


def print_counted(cpus, cells):
    ours = [c for c in cells if c != "native"]
    native = cells.get("native", {})
    print(f"\n{'':12}" + f"{'native':>15}" + "".join(f"{c:>33}" for c in ours))
    print(f"{'':12}{'median':>8}{'most':>7}" +
          f"{'median':>9}{'most':>9}{'ratio':>8}{'exits':>7}" * len(ours))
    for row in ROWS:
        if not any(row in cell for cell in cells.values()):
            continue
        name = row if cpus <= 2 else f"{row} {cpus}"
        mine = native.get(row)
        line = f"{name:12}" + (f"{mine.median:8d}{mine.most:7d}" if mine else f"{'-':>8}{'-':>7}")
        for c in ours:
            f = cells[c].get(row)
            line += (f"{f.median:9d}{f.most:9d}{of_native(native, row, f.median):>8}{f.exits:7.2f}"
                     if f else f"{'-':>33}")
        print(line, flush=True)


def print_kinds(cells):
    for c, cell in cells.items():
        for row, f in cell.items():
            kinds = sorted(f.kinds.items(), key=lambda item: -item[1])
            if kinds:
                print(f"  {c} {row}: " + ", ".join(f"{kind} {n:.2f}" for kind, n in kinds))


def print_functions(cells):
    for c, cell in cells.items():
        for row, f in cell.items():
            most = sorted(f.functions.items(), key=lambda item: -item[1])[:MOST]
            if most:
                print(f"\n  {c} {row}, Umbra's instructions for one, of all processors:")
            for name, n in most:
                print(f"{n:12.1f}  {name}")


def print_wall(cpus, cells):
    native = cells.get("native", {})
    ours = [c for c in cells if c != "native"]
    if not native or not ours:
        return
    print(f"\n{'of native time':14}" + "".join(f"{c + ', least':>16}{'median':>9}" for c in ours))
    for row in ROWS:
        base = native.get(row) or native.get(INSTEAD.get(row))
        if not base or not any(row in cells[c] for c in ours):
            continue
        line = f"{row if cpus <= 2 else f'{row} {cpus}':14}"
        for c in ours:
            f = cells[c].get(row)
            line += (f"{f.least / max(base.least, 1):16.1f}{f.median / max(base.median, 1):9.1f}"
                     if f else f"{'-':>25}")
        print(line, flush=True)


def bench(smp, rows=None, columns=None, wall=True, profile=False):
    """Measure and print; for other programs: processors -> column -> row -> figures."""
    columns = [c for c in COLUMNS if not columns or c in columns or c == "x2apic" and
               "nested" in columns]
    result = {}
    print(f"\nInterrupts, timers and other processors; Umbra has {smp} of them. In instructions of "
          "the whole machine\nand time that it idles, a nanosecond each; exits for one of it:\n")
    for row, what in ROWS.items():
        print(f"  {row:10} {what}")
    for cpus, has in CELLS:
        chosen = [row for row in has if not rows or row in rows]
        if not chosen:
            continue
        cells = {c: measure(c, smp, cpus, chosen, True, profile) for c in columns}
        print_counted(cpus, cells)
        print_kinds(cells)
        print_functions(cells)
        result[cpus] = {c: {row: vars(f) for row, f in cell.items()} for c, cell in cells.items()}
        if wall:
            print_wall(cpus, {c: measure(c, smp, cpus, chosen, False) for c in columns})
    return result
