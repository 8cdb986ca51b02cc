"""Hostile guests (tests/guest/hostile) that try every door, beside one that must not notice.

HOSTILE_SEED=N: that seed for all cells; else each has a fresh one, which is printed.
HOSTILE_SECONDS=N: so long for each cell.
"""
import dataclasses
import os
import random
import re
import time

import lib
from models import MODELS

SECONDS = os.environ.get("HOSTILE_SECONDS")
SILENCE = 4      # seconds after which the hostile guest has hung itself: it gets a new start
PAUSE_EVERY = 500  # tries: so often the hostile guest is paused and goes on
PAUSE_LEAST = 5    # seconds between two of that
SAY_EVERY = 20   # tries: so often the hostile guest says something
HANG = 30        # seconds without a line of the witness, on a busy machine
MACHINES = 6     # so often QEMU is booted, should it end itself
SWEEP = 180      # seconds after the end in which what is counted has to be over


@dataclasses.dataclass(frozen=True)
class Cell:
    """A machine with the hostile guest and the witness, for so many seconds."""
    model: str
    paging: str
    line: str = ""    # the hostile guests'
    vcpus: int = 1    # the hostile guest's: with several they all are hostile at once
    every: int = 0    # every how manieth port and so on another guest sweeps (odd: reads and writes
                      # take turns); 0: there is none
    kvm: str = "hostile"  # which of them has pv=kvm
    seconds: int = 60


# QEMU: LTR takes a null selector, after which QEMU itself ends. A task switch loads CR3 behind a
# shadow's back (docs/svm.md), so none is tried there.
NESTED, SHADOW = "on-qemu", "on-qemu no-tasks"
CELLS = {
    "svm_nested": Cell("tcg", "nested", NESTED, every=1, kvm="sweep"),
    "svm_shadow": Cell("tcg", "shadow", SHADOW, every=3),
    "vmx_nested": Cell("haswell", "nested", every=15),
    "vmx_shadow": Cell("penryn", "shadow", every=15),
    "svm_nested_2": Cell("tcg", "nested", NESTED, vcpus=2, seconds=6),
    "svm_nested_4": Cell("tcg", "nested", NESTED, vcpus=4, seconds=6),
    "svm_shadow_2": Cell("tcg", "shadow", SHADOW, vcpus=2, seconds=6),
    "svm_shadow_4": Cell("tcg", "shadow", SHADOW, vcpus=4, seconds=6),
    "vmx_nested_2": Cell("haswell", "nested", vcpus=2, seconds=6),
}
CPUS = 2  # processors for guests, where one of them has several

# QEMU: translating some instructions ends it (no host register is left), and so does an exception
# after an LTR of nothing, when code at random makes one after all.
QEMU_ENDS = r"tcg fatal error|qemu: fatal: invalid tss"
TO_MONITOR, TO_WITNESS = "\x1dm", "\x1d1"
STOPPED = r"vm hostile: (.*), stopped|vm hostile: (powered off)"
# QEMU loads a CS with L and D, where a processor raises #GP, and refuses to enter with it.
BAD = r"umbra: (?:panic|cannot go on).*|panic: .*|WRONG.*|FOREIGN.*|vm witness: (?!started).*\n" \
    r"|vm sweep: (?!started|halted).*\n" \
    r"|vm hostile: (?:the shadow is wrong|nested fault on memory|exit 0x).*" \
    r"|(?:VMRUN|VM entry) refused: (?!CS\.L and CS\.D).*"


def kind_of(end):
    """An end of the hostile guest, less its numbers."""
    end = re.sub(r"0x[0-9a-f]+", "N", end)
    return re.sub(r"rip N: .*", "rip N", end)[:60]


class QemuEnded(Exception):
    """QEMU has ended itself over what a guest did."""


class Watch:
    """The two guests while they run."""

    def __init__(self, machine, sweeps):
        self.machine, self.scale = machine, machine.scale
        self.at = 0
        self.heard = {"hostile": time.monotonic(), "witness": time.monotonic()}
        self.ends, self.tries, self.lives, self.silences = {}, 0, 0, 0
        self.swept = not sweeps
        self.paused = time.monotonic(), 0  # when, after so many tries

    def look(self):
        """Take up what has come since the last look."""
        m = self.machine
        with m.changed:
            end = m.text.rfind("\n") + 1
            start, self.at = self.at, max(self.at, end)
            new = m.text[start:end]
        bad = re.search(BAD, new)
        if bad:
            time.sleep(2)  # there is more to come
            at = start + bad.start()
            raise lib.Failure("expected neither panic nor foreign memory, and a witness that is well, "
                              f"seen\n{m.text[max(0, at - 200):at + 4000]}")
        if m.qemu.poll() is not None:
            self.ended(start)
        for vm in self.heard:
            if f"{vm}: " in new:
                self.heard[vm] = time.monotonic()
        self.tries += SAY_EVERY * len(re.findall(r"hostile: \d+ tries", new))
        self.swept = self.swept or "vm sweep: halted" in new
        self.lives += len(re.findall("vm hostile: started", new))
        for ended in re.finditer(STOPPED, new):
            kind = kind_of(ended[1] or ended[2])
            self.ends[kind] = self.ends.get(kind, 0) + 1
            self.order("start hostile")
        self.pause()
        self.look_for_silence()

    def ended(self, start):
        """The emulator has ended, by what it has said since start."""
        self.machine.reader.join(5)
        last = self.machine.text[max(0, start - 4000):]
        why = re.search(QEMU_ENDS, last)
        if why:
            raise QemuEnded(why[0])
        raise lib.Failure(f"expected the machine to go on, seen\n{last}")

    def order(self, command):
        """A command for the monitor; all guests' lines are seen before it and after it."""
        self.machine.type(TO_MONITOR + command + "\n" + TO_WITNESS)
        self.heard["hostile"] = time.monotonic()

    def pause(self):
        """Now and then, if it gets on: the line is the monitor's meanwhile."""
        when, tries = self.paused
        now = time.monotonic()
        if self.tries - tries >= PAUSE_EVERY and now - when > PAUSE_LEAST * self.scale:
            self.paused = now, self.tries
            self.order("pause hostile\nresume hostile")

    def look_for_silence(self):
        now = time.monotonic()
        lib.check(now - self.heard["witness"] < HANG * lib.SCALE * self.scale,
                  "a line of the witness", self.machine.text[-1500:])
        if now - self.heard["hostile"] > SILENCE * self.scale:
            self.silences += 1
            self.order("reset hostile\nstart hostile")


def watch_guests(machine, watch, seconds):
    """Watch for so long, and until all is swept."""
    end = time.monotonic() + seconds
    patience = max(seconds, SWEEP * lib.SCALE * machine.scale)
    while time.monotonic() < end or not watch.swept:
        time.sleep(0.05)
        watch.look()
        lib.check(time.monotonic() < end + patience, "all doors to be swept", machine.text[-1500:])


def say(name, watch):
    beats = len(re.findall(r"witness: well", watch.machine.text))
    print(f"      {name}: {watch.tries} tries, {watch.lives} lives, {watch.silences} silences, "
          f"{beats} seconds of the witness; {watch.ends}", flush=True)


def modules_of(cell, seed):
    options = f"memory=16M paging={cell.paging}"
    modules = lib.tiny("witness", "witness", options + " weight=100")
    for vm, words in (("hostile", f" cpus={cell.vcpus}"), ("sweep", f" sweep={cell.every}")):
        if vm == "sweep" and not cell.every:
            continue
        more = (f" vcpus={cell.vcpus}" if vm == "hostile" else "") + " pv=kvm" * (vm == cell.kvm)
        modules += lib.tiny(vm, "hostile", f"{options} weight=800{more} -- seed={seed} {cell.line}{words}")
    return modules


def run_machine(name, seed, seconds, cell):
    """Run the guests for so long. QEMU has ended itself: what is left of that."""
    model = MODELS[cell.model]
    cpus = lib.guest_cpus(CPUS, model.script) if cell.vcpus > 1 else ()
    with model.boot(name, modules_of(cell, seed), *cpus, build="debug") as m:
        model.expect_backend(m)
        m.expect(r"witness: well", "umbra")
        watch, start = Watch(m, cell.every), time.monotonic()
        try:
            watch_guests(m, watch, seconds)
        except QemuEnded as e:
            say(name, watch)
            print(f"      {name}: QEMU ended itself ({e}), once more", flush=True)
            return max(seconds - (time.monotonic() - start), 10)
        say(name, watch)
        m.at = watch.at
        watch.order("kill hostile")
        for _ in range(2):
            m.expect(r"witness: well", never=BAD)
        lib.check(watch.lives > 0, "lives of the hostile guest", watch.lives)
        m.type(TO_MONITOR + "poweroff\n")
        m.expect_exit()
    return 0


def run_cell(name, cell):
    seed = int(os.environ.get("HOSTILE_SEED") or random.SystemRandom().randrange(10**9))
    seconds = int(SECONDS or cell.seconds)
    for n in range(MACHINES):
        print(f"      {name}: HOSTILE_SEED={seed + n}", flush=True)
        seconds = run_machine(name, seed + n, seconds, cell)
        if not seconds:
            return
    raise lib.Failure(f"expected QEMU to last, it ended itself {MACHINES} times")


for _name, _cell in CELLS.items():
    lib.add_test(_name, run_cell, _cell)
