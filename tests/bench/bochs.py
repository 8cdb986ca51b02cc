"""The bench on Bochs: instructions and exits of the same guests, on AMD's SVM and Intel's VMX.

Bochs' debugger is asked for the processor's count of executed instructions, at

    the marks of the guest's phases       micro's XCHG BX, BX, a magic break
    the hypervisor's VM entry             a breakpoint on VMRUN, VMLAUNCH and VMRESUME
    the processor's VM exit               vmexitbp

which tells the guest's instructions from the hypervisor's. A halted processor's clock goes on,
but its instructions do not. Native runs are on the same processor model.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import threading

import lib

TOP = lib.TOP
BENCH = os.path.join(TOP, "build", "bench")
UMBRA = os.path.join(TOP, "build", "umbra.elf")
KINDS_HEADER = os.path.join(TOP, "vmm", "exit.h")
TIMEOUT = 2400
JOBS = 2

# name -> vendor, paging; the models are those that have the most of it.
COLUMNS = {"bochs-native-svm": ("svm", None), "bochs-svm-nested": ("svm", "nested"),
           "bochs-svm-shadow": ("svm", "shadow"), "bochs-native-vmx": ("vmx", None),
           "bochs-vmx-nested": ("vmx", "nested"), "bochs-vmx-shadow": ("vmx", "shadow")}
MODELS = {"svm": "ryzen", "vmx": "corei7_haswell_4770"}
ENTRIES = {"svm": "vmrun", "vmx": "vmlaunch|vmresume"}

# idle=halt, as Bochs' MWAIT is a nop here: an idle loop would count. mitigations=off, so that both
# vendors' guests run the same code. The self-tests are 3.2 billion instructions on i386.
LINE = "idle=halt mitigations=off cryptomgr.notests"
MEMORY = 512        # MiB, of the guest and of the native machine
MACHINE = 1024      # of Umbra's machine
KERNEL_ENTRY = 0x1000000  # of an uncompressed kernel; a bzImage's code comes by here too, before it
MARK = 0x504d4b00   # EAX at a magic break of micro's: this, and the phase in its low byte
NUMBER = 'show "cpu0.icount"'
GO_ON = f"s {10 ** 15}"  # what "c" does, but "c" draws the screen at each stop, which takes 2 ms


class Ended(Exception):
    """Bochs is no more."""


class Debugger:
    """Bochs, and its debugger's command line."""

    def __init__(self, iso, model, memory, console, log):
        said = subprocess.run(
            [os.path.join(TOP, "scripts", "run-bochs"), iso, "--cpu", model, "--memory",
             f"{memory}M", "--serial", console, "--dry-run", "--", "magic_break: enabled=1",
             "log: " + log], capture_output=True, text=True, check=True).stdout
        rc = os.memfd_create("bochsrc", 0)
        os.write(rc, said.encode())
        commands, self.commands = os.pipe()
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(
            ["bochs", "-q", "-f", f"/proc/self/fd/{rc}", "-rc", f"/proc/self/fd/{commands}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[rc, commands])
        os.close(rc)
        os.close(commands)
        self.timer = threading.Timer(TIMEOUT, self.process.kill)
        self.timer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        os.close(self.commands)

    def ask(self, command):
        """What the debugger says to it, and the instructions executed so far."""
        text = ""
        try:
            os.write(self.commands, f"{command}\n{NUMBER}\n".encode())
        except BrokenPipeError as e:
            raise Ended from e
        for line in self.process.stdout:
            if line.startswith(b"icount = "):
                return text, int(line.split()[2])
            text += line.decode("latin-1")
        raise Ended

    def register(self, name):
        text, _ = self.ask(f'show "cpu0.{name}"')
        return int(re.search(rf"^{name} = (0x[0-9a-f]+)", text, re.MULTILINE).group(1), 16)

    def words(self, at, n):
        """n words of 64 bits from memory, as the code that runs now sees it."""
        text, _ = self.ask(f"x /{2 * n}wx {at:#x}")
        halves = [int(w, 16) for line in re.findall(r">:\t(.*)", text) for w in line.split()]
        return [halves[2 * i] | halves[2 * i + 1] << 32 for i in range(n)]


class Umbra:
    """What must be known of umbra.elf: its VM entries' addresses, where the exits are counted."""

    def __init__(self):
        with open(KINDS_HEADER, encoding="utf-8") as f:
            self.kinds = re.findall(r'^\tX\(EXIT_\w+, "([^"]+)"\)', f.read(), re.MULTILINE)
        self.code = self.run("objdump", "-d", "--no-show-raw-insn", UMBRA)
        said = self.run("gdb", "-batch", "-ex", "print (long)&((struct vcpu *)0)->vm",
                        "-ex", "print (long)&((struct vm *)0)->exits", UMBRA)
        self.vm_at, self.exits_at = [int(n) for n in re.findall(r"= (\d+)$", said, re.MULTILINE)]
        self.exit_handle = int(re.search(r"^([0-9a-f]+) <vm_exit_handle>:", self.code,
                                         re.MULTILINE).group(1), 16)

    @staticmethod
    def run(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def entries(self, vendor):
        return [int(at, 16) for at in re.findall(rf"^ *([0-9a-f]+):\t(?:{ENTRIES[vendor]})\b",
                                                 self.code, re.MULTILINE)]


class Phase:
    """Instructions of guest and hypervisor, what the clock counted, exits, exits by kind."""

    def __init__(self):
        self.guest = self.hypervisor = self.clock = self.exits = 0
        self.kinds = {}

    def total(self):
        return self.guest + self.hypervisor

    @classmethod
    def of(cls, figures):
        phase = cls()
        vars(phase).update(figures)
        return phase

    def plain(self):
        """As tests/bench/run has it: millions."""
        return {**vars(self), **{name: round(getattr(self, name) / 1e6, 6)
                                 for name in ("guest", "hypervisor", "clock")}}


class Count:
    """A run: follows Bochs from stop to stop, and counts."""

    def __init__(self, bochs, umbra):
        self.bochs, self.umbra = bochs, umbra
        self.phases = {}
        self.phase = 0
        self.running = self.in_guest = False
        self.counted = self.clock = 0  # instructions, clock ticks that are in phases already
        self.exits_at = None           # where Umbra counts them by kind
        self.known = []                # what stood there when the phase began
        self.ended = []                # phases over since Umbra ran last

    def here(self):
        return self.phases.setdefault(self.phase, Phase())

    def settle(self, icount):
        n, self.counted = icount - self.counted, icount
        if not self.running:
            return
        if self.in_guest:
            self.here().guest += n
        else:
            self.here().hypervisor += n

    def begin(self, icount, clock):
        self.phases.clear()
        self.running, self.counted, self.clock = True, icount, clock

    def on_mark(self, icount, clock):
        number = self.bochs.register("RAX")
        if not self.running or number & ~0xff != MARK:
            return
        self.settle(icount)
        self.here().clock += clock - self.clock
        self.clock = clock
        self.ended.append(self.phase)
        self.phase = number & 0xff

    def on_exit(self, icount):
        self.settle(icount)
        self.in_guest = False
        if self.ended and self.exits_at:
            now = self.bochs.words(self.exits_at, len(self.umbra.kinds))
            kinds = self.phases[self.ended[0]].kinds  # in those after it nothing happened
            for kind, n, before in zip(self.umbra.kinds, now, self.known):
                if n != before:
                    kinds[kind] = kinds.get(kind, 0) + n - before
            self.known, self.ended = now, []

    def on_entry(self, icount, clock):
        if self.in_guest:
            return  # the guest's own code at that address
        if not self.running:
            self.begin(icount, clock)
        self.settle(icount)
        self.in_guest = True
        self.here().exits += 1

    def on_exit_handle(self):
        vm, = self.bochs.words(self.bochs.register("RDI") + self.umbra.vm_at, 1)
        self.exits_at, = self.bochs.words(vm + self.umbra.exits_at, 1)  # of vCPU 0
        self.known = self.bochs.words(self.exits_at, len(self.umbra.kinds))

    def stop(self):
        """Go on to the next stop: what the debugger says, instructions, clock."""
        text, icount = self.bochs.ask(GO_ON)
        clock = re.search(r"^Next at t=(\d+)", text, re.MULTILINE)
        if not clock:
            raise Ended
        return text, icount, int(clock.group(1))

    def native(self):
        """Until Bochs ends."""
        self.in_guest = True
        self.bochs.ask(f"lb {KERNEL_ENTRY:#x}")
        while True:
            text, icount, clock = self.stop()
            if "Magic breakpoint" in text:
                self.on_mark(icount, clock)
                self.bochs.ask("d 1")
            elif "Breakpoint" in text:
                self.begin(icount, clock)

    def hypervised(self, vendor):
        """The same, under Umbra."""
        for at in [self.umbra.exit_handle] + self.umbra.entries(vendor):
            self.bochs.ask(f"lb {at:#x}")
        self.bochs.ask("vmexitbp")
        while True:
            text, icount, clock = self.stop()
            if "VMEXIT breakpoint" in text:
                self.on_exit(icount)
            elif "Magic breakpoint" in text:
                self.on_mark(icount, clock)
            elif "Breakpoint 1," in text:
                self.on_exit_handle()
                self.bochs.ask("d 1")
            elif "Breakpoint" in text:
                self.on_entry(icount, clock)


def make_iso(name, kernel, initrd, paging, line):
    """One that boots the kernel, in Umbra when there is a paging; its path."""
    if paging:
        return lib.make_iso(name, [
            (lib.guest_file("vmlinux-" + kernel),
             f"vm=bench kernel memory={MEMORY}M paging={paging} stats -- {line}"),
            (initrd, "vm=bench initrd")])
    image = lib.guest_file("vmlinuz-" + kernel)
    os.makedirs(lib.WORK, exist_ok=True)
    cfg, iso = (os.path.join(lib.WORK, f"{name}.{end}") for end in ("cfg", "iso"))
    with open(cfg, "w", encoding="utf-8") as f:
        f.write('set timeout=0\nmenuentry "native" {\n'
                f"linux /guests/{os.path.basename(image)} {line}\n"
                f"initrd /guests/{os.path.basename(initrd)}\n}}\n")
    subprocess.run([os.path.join(TOP, "scripts", "mkiso"), "-o", iso, "-c", cfg, "-e", UMBRA,
                    image, initrd], check=True)
    os.unlink(cfg)
    return iso


def measure(umbra, kernel, column, initrd, line):
    """One cell: phases by number."""
    vendor, paging = COLUMNS[column]
    name = f"{kernel}-{column}"
    console, log = (os.path.join(BENCH, name + end) for end in (".log", ".bochs"))
    iso = make_iso(name, kernel, initrd, paging, line)
    print(f"  running: {name} ...", file=sys.stderr, flush=True)
    with open(console, "wb"):
        pass
    try:
        with Debugger(iso, MODELS[vendor], MACHINE if paging else MEMORY, console, log) as bochs:
            count = Count(bochs, umbra)
            if paging:
                count.hypervised(vendor)
            else:
                count.native()
    except Ended:
        pass
    finally:
        os.unlink(iso)
    with open(console, encoding="latin-1") as f:
        text = f.read().replace("\r", "")
    if "reboot: Power down" not in text:
        sys.exit(f"bench: {name}: the guest did not come to its end; its console:\n{text[-2000:]}")
    print(f"  done: {name}", file=sys.stderr, flush=True)
    with open(kept(kernel, column), "w", encoding="utf-8") as f:
        json.dump({n: vars(phase) for n, phase in count.phases.items()}, f)
    return count.phases


def kept(kernel, column):
    """The file that has the cell after a run."""
    return os.path.join(BENCH, f"{kernel}-{column}.json")


def take_kept(kernel, column):
    with open(kept(kernel, column), encoding="utf-8") as f:
        return {int(n): Phase.of(figures) for n, figures in json.load(f).items()}


def ratio(a, b):
    return f"{a / b:.3f}" if b else "-"


class Table:
    """The cells of one kernel, printed; phases: number -> (name, what it does)."""

    def __init__(self, kernel, cells, phases):
        self.kernel, self.cells, self.phases = kernel, cells, phases

    def rows(self):
        for number, (name, what) in sorted(self.phases.items()):
            found = {c: cell[number] for c, cell in self.cells.items() if number in cell}
            if found:
                yield name, what, found

    def print_counts(self, paging):
        vendors = [v for v in MODELS
                   if {f"bochs-{v}-{paging}", f"bochs-native-{v}"} & set(self.cells)]
        print(f"\n{self.kernel} on Bochs, {paging}: million instructions, and exits:\n")
        print(f"{'':18}" + "".join(f"{v.upper() + ', ' + MODELS[v]:>40}" for v in vendors))
        print(f"{'phase':18}" + f"{'native':>8}{'guest':>8}{'+ hyp.':>9}{'exits':>8}{'ratio':>7}" *
              len(vendors))
        for _, what, found in self.rows():
            line = f"{what:18}"
            for v in vendors:
                line += self.columns_of(found.get(f"bochs-{v}-{paging}"),
                                        found.get(f"bochs-native-{v}"))
            print(line)

    @staticmethod
    def columns_of(p, native):
        line = f"{native.guest / 1e6:8.1f}" if native else f"{'-':>8}"
        if not p:
            return line + f"{'-':>8}{'-':>9}{'-':>8}{'-':>7}"
        line += f"{p.guest / 1e6:8.1f}{p.hypervisor / 1e6:9.2f}{p.exits:8d}"
        return line + f"{ratio(p.total(), native.total()) if native else '-':>7}"

    def print_vendors(self):
        """VMX beside SVM, for the pagings that ran on both."""
        pagings = [p for p in ("nested", "shadow")
                   if all(f"bochs-{v}-{p}" in self.cells for v in MODELS)]
        if not pagings:
            return
        print(f"\n{self.kernel} on Bochs, VMX / SVM; Umbra's instructions per exit:\n")
        print(f"{'':18}" + "".join(f"{p:>38}" for p in pagings))
        print(f"{'phase':18}" + f"{'exits':>12}{'hyp.':>8}{'SVM':>9}{'VMX':>9}" * len(pagings))
        for _, what, found in self.rows():
            line = f"{what:18}"
            for p in pagings:
                pair = [found.get(f"bochs-{v}-{p}") for v in MODELS]
                if not all(pair):
                    continue
                svm, vmx = pair
                each = [f"{q.hypervisor / q.exits if q.exits else 0:9.0f}" for q in pair]
                line += (f"{ratio(vmx.exits, svm.exits):>12}"
                         f"{ratio(vmx.hypervisor, svm.hypervisor):>8}{''.join(each)}")
            print(line)

    def print_kinds(self):
        """Exits by kind: of the boot, and of the phases after it together."""
        columns = [c for c in self.cells if COLUMNS[c][1]]
        if not columns:
            return
        sums = {}  # kind -> {(column, is it the boot): exits}
        for column in columns:
            for number, phase in self.cells[column].items():
                for kind, n in phase.kinds.items() if number in self.phases else ():
                    at = sums.setdefault(kind, {})
                    at[column, number == 0] = at.get((column, number == 0), 0) + n
        names = [c.removeprefix("bochs-").replace("nested", "nest").replace("shadow", "shad")
                 for c in columns]
        print(f"\n{self.kernel} on Bochs, exits by kind: of the boot; of the phases after it:\n")
        print(f"{'kind':13}" + "".join(f"{n:>10}" for n in names) * 2)
        for kind in sorted(sums, key=lambda k: -sum(sums[k].values())):
            print(f"{kind:13}" + "".join(f"{sums[kind].get((c, boot), 0) or '':>10}"
                                         for boot in (True, False) for c in columns))

    def print_all(self):
        for paging in "nested", "shadow":
            if any(f"bochs-{v}-{paging}" in self.cells for v in MODELS):
                self.print_counts(paging)
        if not any(COLUMNS[c][1] for c in self.cells):
            self.print_counts("native only")
        self.print_vendors()
        self.print_kinds()
        sys.stdout.flush()

    def plain(self):
        """For other programs: column -> phase -> figures."""
        return {c: {name: found[c].plain() for name, _, found in self.rows() if c in found}
                for c in self.cells}


def bench(kernels, columns, initrds, line, phases, keep):
    """All kernels in all these columns, JOBS at a time; their figures for other programs.

    keep: cells that an earlier run left are taken, not run again.
    """
    def cell(kernel, column):
        if keep and os.path.exists(kept(kernel, column)):
            return take_kept(kernel, column)
        return measure(umbra, kernel, column, initrds[kernel], line)

    umbra = Umbra() if any(COLUMNS[c][1] for c in columns) else None
    result = {}
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        futures = {(k, c): pool.submit(cell, k, c)
                   for k in kernels for c in columns}
        for kernel in kernels:
            table = Table(kernel, {c: futures[kernel, c].result() for c in columns}, phases)
            table.print_all()
            result[kernel] = table.plain()
    return result
