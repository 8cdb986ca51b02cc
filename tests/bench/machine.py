"""One run of QEMU's with the plugin tests/bench/count.c, and what it counted."""
import bisect
import os
import re
import subprocess
import sys

import lib

BENCH = os.path.join(lib.BUILD, "bench")
PLUGIN = os.path.join(BENCH, "count.so")
UMBRA = os.path.join(lib.BUILD, "umbra.elf")
TIMEOUT = 1800
ICOUNT = ["-icount", "shift=0,sleep=on", "-rtc", "base=2024-01-01T00:00:00,clock=vm",
          "-seed", "1"]

# The function that counts exits by kind, the list of the kinds in their order, and where in
# struct exit_stats the last exit's kind is, behind 35 arrays of that many words and two more.
COUNTERS = "vm_exit_handle"
KINDS_HEADER = os.path.join(lib.TOP, "vmm", "exit.h")
KIND_AT = (35, 16)


class Phase:
    """Million instructions of guest and hypervisor, exits, seconds, exits by kind."""

    def __init__(self, words):
        guest, hypervisor, self.exits, ns = words
        self.guest, self.hypervisor = guest / 1e6, hypervisor / 1e6
        self.seconds = ns / 1e9
        self.kinds = {}
        self.functions = {}  # Umbra's: instructions, with the plugin's blocks=on

    def total(self):
        return self.guest + self.hypervisor


def read_result(path):
    """The plugin's result: phases by number; stores: for each address, the times by phase; blocks:
    address, instructions, the times by phase."""
    phases, stores, blocks = {}, {}, []
    with open(path, encoding="ascii") as f:
        for line in f:
            word, first, *rest = line.split()
            if word == "phase":
                phases[int(first)] = Phase([int(n) for n in rest])
            elif word == "block":
                blocks.append((int(first, 16), int(rest[0]), [int(n) for n in rest[1:]]))
            else:
                stores[int(first, 16)] = [int(n) for n in rest]
    return phases, stores, blocks


def kind_names():
    with open(KINDS_HEADER, encoding="utf-8") as f:
        return re.findall(r'^\tX\(EXIT_\w+, "([^"]+)"\)', f.read(), re.MULTILINE)


def take_kinds(phases, stores):
    """Each vCPU's counters are those whose sum is how often the last exit's kind was stored."""
    names = kind_names()
    found = False
    for at, times in stores.items():
        base = at - KIND_AT[0] * 8 * len(names) - KIND_AT[1]
        counters = {name: stores[base + 8 * i] for i, name in enumerate(names)
                    if base + 8 * i in stores}
        if [sum(column) for column in zip(*counters.values())] != times:
            continue
        found = True
        for name, ups in counters.items():
            for number, n in enumerate(ups):
                if n and number in phases:
                    kinds = phases[number].kinds
                    kinds[name] = kinds.get(name, 0) + n
    if not found:
        print("bench: the exits' counters were not found, so no kinds by phase", file=sys.stderr)


def functions():
    """Umbra's: (address, size, name), in order; size 0 where the assembler told none."""
    said = subprocess.run(["nm", "-nS", UMBRA], capture_output=True, text=True, check=True).stdout
    return [(int(at, 16), int(size or "0", 16), name) for at, size, name in
            re.findall(r"^([0-9a-f]+)(?: ([0-9a-f]+))? [tT] (\S+)$", said, re.MULTILINE)]


def take_functions(phases, blocks):
    """A block that QEMU ran on into the next function is the first one's."""
    known = functions()
    starts = [at for at, _, _ in known]
    for at, instructions, times in blocks:
        i = bisect.bisect_right(starts, at) - 1
        inside = i >= 0 and (not known[i][1] or at < known[i][0] + known[i][1])
        name = known[i][2] if inside else "(elsewhere)"
        for number, n in enumerate(times):
            if n and number in phases:
                found = phases[number].functions
                found[name] = found.get(name, 0) + n * instructions


def counters_range():
    """The plugin's argument for exits by kind."""
    start, size = next((at, size) for at, size, name in functions() if name == COUNTERS)
    return f"stores={start:#x}:{start + size:#x}"


def bare(any_file, memory, smp=1):
    """QEMU's command line for Umbra's machine, without its CD."""
    machine = subprocess.run(
        [os.path.join(lib.TOP, "scripts", "run-qemu"), any_file, "--accel", "tcg", "--memory",
         memory, "--smp", str(smp), "--dry-run"], capture_output=True, text=True, check=True).stdout
    machine = machine.replace("\\", "").split()
    return machine[:machine.index("-cdrom")] + ["-serial", "stdio", "-monitor", "none"]


def umbra(iso, memory, smp=1):
    """The command line for Umbra on that machine, whose guests have so many processors."""
    return [os.path.join(lib.TOP, "scripts", "run-qemu"), iso, "--accel", "tcg", "--memory", memory,
            *lib.guest_cpus(smp), "--"]


def run(name, command, plugin_args, status=0):
    """Run QEMU with the plugin; the phases by number, and what its console said."""
    out = os.path.join(BENCH, name + ".txt")
    log = os.path.join(BENCH, name + ".log")
    if os.path.exists(out):
        os.unlink(out)
    command = command + ["-plugin", ",".join([PLUGIN, "out=" + out] + plugin_args)]
    print(f"  running: {name} ...", file=sys.stderr, flush=True)
    with open(log, "wb") as console:
        try:
            got = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console,
                                 stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False).returncode
        except subprocess.TimeoutExpired:
            got = f"none after {TIMEOUT} s"
    with open(log, encoding="latin-1") as f:
        text = lib.NOISE.sub("", f.read())
    if got != status or not os.path.exists(out):
        sys.exit(f"bench: {name}: QEMU's exit status {got}; its console:\n{text[-2000:]}")
    phases, stores, blocks = read_result(out)
    if stores:
        take_kinds(phases, stores)
    if blocks:
        take_functions(phases, blocks)
    return phases, text
