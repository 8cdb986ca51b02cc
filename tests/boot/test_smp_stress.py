"""Processors that change, use and shoot down the same pages at once (tests/guest/race).

RACE_SEED=N: that seed for all cells; else each has a fresh one, which the guest says.
RACE_SECONDS=N: so long for each cell on QEMU.
"""
import os
import random
import re
import subprocess

import lib
from models import MODELS

SECONDS = int(os.environ.get("RACE_SECONDS", "60"))
ALONE = True
# Accesses that leave A or D clear: QEMU has one in ten millions, natively too.
LOST = 40         # in a cell's time
LOST_NATIVE = 8   # in less; a planted loss is to be more, on a crowded machine too
CPUS = 2     # that guests run on
NEVER = r"WRONG .*|the shadow is wrong.*|panic: .*|vm race: .*, stopped"
COUNTS = ("accesses", "sure", "faults", "changes", "shootdowns", "drops")

# Model, options, vCPUs, seconds in the guest (None: SECONDS). The debug build checks the order of
# locks; under shadow paging the auditor looks every so many exits, and the shadow is small enough
# to be reclaimed.
CELLS = {
    "nested": ("tcg", "paging=nested", 2, None),
    "shadow": ("tcg", "paging=shadow shadow=1M audit=500", 3, None),
    "bochs_nested": ("haswell", "paging=nested", 2, 1),
    "bochs_shadow": ("haswell", "paging=shadow audit=1000", 2, 1),
}

# A fault of the guest's own, and what it must say of it. Whose tables are gone may not come to say
# anything, nor to an end.
PLANTS = {
    "noshootdown": r"WRONG",
    "nolocal": r"WRONG",
    "lostdirty": r"WRONG a write that left D clear",
    "oldroot": r"WRONG|\A(?!.*race: OK)",
}


def some_seed():
    return int(os.environ.get("RACE_SEED") or random.SystemRandom().randrange(10**9))


def run_cell(name, model, options, vcpus, seconds):
    lost = LOST if model == "tcg" else 0
    model, seed = MODELS[model], some_seed()
    line = f"seed={seed} cpus={vcpus} seconds={seconds or SECONDS} lost={lost}"
    modules = lib.tiny("race", "race", f"memory=32M vcpus={vcpus} apic=on debug-exit {options} -- {line}")
    with model.boot(name, modules, *lib.guest_cpus(CPUS, model.script), build="debug") as m:
        model.expect_backend(m)
        m.expect(rf"race: begins cpus={vcpus} seed={seed}", "shell", never=NEVER)
        last = m.expect(r"^race: OK .*\n", "work", never=NEVER).group()
        counts = {word: int(n) for word, n in re.findall(r"(\w+)=(\d+)", last)}
        for what in COUNTS:
            lib.check(counts[what] > 10, f"more than a few {what}", last)
        m.expect_vm("race", "debug-exit status 33", never=NEVER)
        m.expect_exit()
    print(f"      {name}: {last.strip()}", flush=True)


for _name, _cell in CELLS.items():
    lib.add_test(_name, run_cell, *_cell)


def natively(line):
    """The same guest on QEMU itself: its exit status, None if it never ended, and what it said."""
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "32M",
               "-smp", str(CPUS), "-display", "none", "-monitor", "none", "-serial", "stdio",
               "-net", "none", "-no-reboot", "-kernel", lib.guest_file("race.elf"), "-append", line,
               "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                             timeout=lib.timeout("native"), check=False)
    except subprocess.TimeoutExpired as e:
        return None, (e.stdout or b"").decode(errors="replace")
    return run.returncode, run.stdout.decode(errors="replace")


def test_native(name):
    """Without Umbra it finds nothing, but each fault that is planted in itself."""
    del name
    line = f"seed={some_seed()} cpus={CPUS} lost={LOST_NATIVE}"
    status, text = natively(f"{line} seconds=3")
    lib.check(status == 33 and "race: OK" in text, "nothing wrong natively", text[-2000:])
    for plant, words in PLANTS.items():
        status, text = natively(f"{line} seconds=30 plant={plant}")
        lib.check(status != 33 and re.search(words, text, re.S), f"{plant} found ({words})",
                  text[-2000:])
