"""Debian's amd64 kernel on several processors: fork, page fault and context switch by as many
processes as processors at once, and what an idle guest does.

QEMU's processors run at the same time, each a thread: what is measured is time, and exits. With
-icount, which would count instructions, a Linux of several processors does not come up natively.
"""
import re

KERNEL = "amd64"
WORK = ["parfork", "parfault", "parswitch"]
PHASES = WORK + ["idle"]
IDLE_SECONDS = 10
IDLE_CPUS = (1, 2)
CPUS = [1, 2, 4, 8]
COLUMNS = ["native", "nested", "shadow"]
SHOWN = {"LOC": "local timer", "0": "8254 or HPET", "RES": "rescheduling", "CAL": "function call"}


def interrupts(text):
    """What /proc/interrupts showed: by kind, how many there were between its two showings."""
    shown = {}
    for kind, counts in re.findall(r"^(?:bench\| )? *(\w+):((?: +\d+)+)", text, re.MULTILINE):
        shown.setdefault(kind, []).append(sum(map(int, counts.split())))
    return {kind: n[1] - n[0] for kind, n in shown.items() if len(n) == 2 and kind in SHOWN}


def print_work(cells, phases):
    """cells: (column, cpus) -> Cell."""
    columns = [c for c in COLUMNS if any(column == c for column, _ in cells)]
    print(f"\nspeed: time of one processor / of N; ratio: time / native's with as many; exits\n\n"
          f"{'':18}{'CPUs':>5}" + "".join(f"{c:>10}" if c == "native" else
                                           f"{c:>10}{'ratio':>8}{'exits':>9}" for c in columns))
    for number, (name, what) in sorted(phases.items()):
        for n in sorted({n for _, n in cells}) if name in WORK else ():
            line = f"{what:18}{n:5}"
            times = {key: cell.phases[number].seconds for key, cell in cells.items()
                     if number in cell.phases}
            for c in columns:
                line += f"{ratio(times.get((c, 1)), times.get((c, n))):>10}"
                if c != "native":
                    line += f"{ratio(times.get((c, n)), times.get(('native', n))):>8}"
                    line += f"{cells[c, n].phases[number].exits:9}"
            print(line, flush=True)


def ratio(a, b):
    return f"{a / b:.2f}" if a and b else "-"


def print_idle(cells, phases):
    number = next(n for n, (name, _) in phases.items() if name == "idle")
    for (column, cpus), cell in cells.items():
        phase = cell.phases.get(number)
        if not phase or column == "native":
            continue
        took = interrupts(cell.text)
        each = phase.kinds.get("hlt", 0) or 1
        print(f"\nidle, {column}, {cpus} vCPUs: {phase.exits / IDLE_SECONDS:.1f} exits a second; "
              f"for one of {each} times that one halts:\n  " +
              ", ".join(f"{kind} {n / each:.2f}" for kind, n in
                        sorted(phase.kinds.items(), key=lambda item: -item[1])) +
              "\n  interrupts: " +
              ", ".join(f"{SHOWN[kind]} {n}" for kind, n in took.items() if n), flush=True)


def bench(measure, all_phases, names, cpus, columns):
    """Measure and print. measure(column, cpus): a Cell; for other programs: the figures."""
    phases = {n: (name, what) for n, (name, what) in all_phases.items() if name in names}
    print(f"\n{KERNEL} on several processors, as many processes at once:", flush=True)
    cells = {(c, n): measure(c, n) for n in cpus for c in COLUMNS if c in columns}
    if set(names) & set(WORK):
        print_work(cells, phases)
    if "idle" in names:
        print_idle(cells, phases)
    return {f"{c}-{n}": {name: vars(cell.phases[number]) for number, (name, _) in phases.items()
                         if number in cell.phases} for (c, n), cell in cells.items()}
