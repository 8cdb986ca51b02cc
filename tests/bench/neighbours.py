"""What a guest's neighbour costs it: its progress beside each kind of bad one, on QEMU's TCG.

tests/guest/neighbour.asm is all of them. A victim counts how far it comes in about a second of
the machine's clock, which with -icount is its instructions, so that the figures repeat; alone,
it has all of them, beside one other its fair share is a half. A second victim sleeps and measures
by how much a timer's interrupt comes late.

On two processors it is time that counts, as -icount lets QEMU's processors take turns of their own: the
machine that measures needs two that are free, and the figures do not repeat so well.
"""
import os
import re
import subprocess
import sys

import lib

HZ = 10 ** 9  # of the TSC, with -icount shift=0
PERIODS = 4
TICK_MS = 10  # the sleeper's timer
TIMEOUT = 600

# letter -> what it does, options of its line
NEIGHBOURS = {
    "c": ("loops, interrupts off", ""),
    "y": ("spins by PAUSE", ""),
    "i": ("CPUID", ""),
    "o": ("port output", ""),
    "m": ("reads where nothing is", ""),
    "s": ("string output of 3 MiB", ""),
    "f": ("floods its serial port", ""),
    "g": ("the same without waiting", ""),
    "p": ("page faults, shadow", "paging=shadow"),
    "r": ("changes tables, shadow", "paging=shadow"),
    "k": ("interrupts, 18 kHz", ""),
    "a": ("63 timers of 100 us", "vcpus=64"),
    "b": ("the same, interrupts off", "vcpus=64"),
    "x": ("crashes and restarts", "on-crash=restart memory=512M"),
}

SLOW = "y"  # each PAUSE leaves TCG's loop: with -icount it takes hours, so it is on two processors only

# On two processors: what the lines of both say of it, and the victim's fair share of one.
PLACES = {
    "anywhere": ("", "", 1),
    "apart": ("cpus=1", "cpus=2", 1),
    "together": ("cpus=1", "cpus=1", 1 / 2),
}


def boot(work, name, victim, neighbour, extra, place=None):
    """What the victim says. It is in front, and all VMs are made before the first one runs."""
    extra = [arg.replace("sleep=on", "sleep=off") for arg in extra]  # idle time costs none
    cpus = PLACES[place] if place else ("", "", 1)
    modules = lib.tiny("victim", "neighbour", f"memory=16M debug-exit {cpus[0]} -- {victim}")
    if neighbour:
        modules += lib.tiny("bad", "neighbour",
                            f"memory=16M {NEIGHBOURS[neighbour][1]} {cpus[1]} -- {neighbour}")
    iso = lib.make_iso(name, modules, "com1=115200 loglevel=warn on-idle=poweroff log=line console=follow")
    path = os.path.join(work, name + ".log")
    command = [os.path.join(lib.TOP, "scripts", "run-qemu"), iso, "--accel", "tcg",
               *lib.guest_cpus(2 if place else 1), "--", *extra]
    pattern = r"(?:worked|longest gap) ([0-9A-F]{8})"
    wanted = PERIODS if victim == "w" else 1
    try:
        # pylint: disable-next=consider-using-with
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        timer = lib.threading.Timer(TIMEOUT, qemu.kill)
        timer.start()
        text = ""
        with open(path, "w", encoding="latin-1") as log:
            while True:
                data = os.read(qemu.stdout.fileno(), 65536).decode("latin-1")
                log.write(data)
                text = (text + lib.NOISE.sub("", data).replace("\n", "").replace(".", ""))
                found = re.findall(pattern, text)
                if not data or len(found) >= wanted:
                    break
        timer.cancel()
        qemu.kill()
        qemu.wait()
        qemu.stdout.close()
    finally:
        os.unlink(iso)
    if len(found) < wanted:
        sys.exit(f"bench: {name}: the victim did not come to its end; its console is in {path}")
    return [int(n, 16) for n in found]


def measure(work, victim, neighbour, extra, place=None):
    kind = place or ("work" if victim == "w" else "sleep")
    print(f"  running: neighbour-{neighbour or 'none'}-{kind} ...", file=sys.stderr, flush=True)
    return boot(work, f"neighbour-{neighbour or 'none'}-{kind}", victim, neighbour, extra, place)


def bench_two(work, letters):
    """The same on two processors; for other programs: neighbour -> part of its share, by place."""
    alone = sum(measure(work, "w", None, [], "anywhere"))
    result = {}
    print("\nOn two processors, its part of its fair share: cpus= on neither line; on different ones; on the "
          f"same.\n\n{'the neighbour':28}" + "".join(f"{place:>12}" for place in PLACES))
    for letter in letters:
        what = NEIGHBOURS[letter][0]
        result[what] = {place: sum(measure(work, "w", letter, [], place)) / alone / share
                        for place, (_, _, share) in PLACES.items()}
        print(f"{what:28}" + "".join(f"{part:12.3f}" for part in result[what].values()), flush=True)
    return result


def bench(work, extra, letters=None):
    """Measure and print; for other programs: neighbour -> figures."""
    alone = sum(measure(work, "w", None, extra))
    result = {}
    print(f"\nA guest beside a bad neighbour, {PERIODS} periods of {(1 << 28) / HZ * 1000:.0f} ms: "
          "its part of the work\nit does alone, and of its fair share (a half); how late a "
          f"timer of {TICK_MS} ms wakes one that sleeps.\n")
    print(f"{'the neighbour':28}{'of alone':>10}{'of its share':>14}{'late, ms':>10}")
    letters = [letter for letter in NEIGHBOURS if not letters or letter in letters]
    for letter in letters:
        if letter in SLOW:
            continue
        what = NEIGHBOURS[letter][0]
        part = sum(measure(work, "w", letter, extra)) / alone
        late = max(0, measure(work, "l", letter, extra)[0] * 1000 / HZ - TICK_MS)
        result[what] = {"of alone": part, "of share": 2 * part, "late ms": late}
        print(f"{what:28}{part:10.3f}{2 * part:14.3f}{late:10.2f}", flush=True)
    for what, parts in bench_two(work, letters).items():
        result.setdefault(what, {})["on two"] = parts
    return result
