"""Drive a whole machine over its serial line: build an ISO, boot it in QEMU, type, expect.

Every wait has a timeout from TIMEOUTS. A failure says what was expected, what was seen
last, and where the whole transcript is.
"""
import contextlib
import functools
import itertools
import os
import re
import subprocess
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build")
GUESTS = os.path.join(TOP, "deps", "guests")
WORK = os.path.join(BUILD, "boot")

# Seconds. An emulator on a busy machine is slow: these are to catch what hangs, not what is slow.
SCALE = float(os.environ.get("UMBRA_TIMEOUT_SCALE", "1"))
BOCHS_SCALE = 3  # so much slower is Bochs than QEMU
TIMEOUTS = {
    "umbra": 90,     # from power-on to Umbra's first line, BIOS
    "uefi": 240,     # the same through OVMF
    "shell": 180,    # from there to a guest's prompt
    "command": 60,   # a typed command
    "work": 400,     # a command that computes for long
    "try": 10,       # something that is asked for again if it does not come
    "line": 60,      # something that Umbra is to say
    "native": 120,   # a guest that works for half a minute, without Umbra
    "exit": 60,      # QEMU's end
}

# Debian's kernels, and how guests are paged: each with each is an entry of iso/grub.cfg.
KERNELS = ("amd64", "686-pae", "686")
PAGINGS = ("nested", "shadow")

# All that any VM and Umbra say is on the line. test_console.py has what is seen without that.
QUIET_LINE = "com1=115200 loglevel=info on-idle=poweroff"
UMBRA_LINE = QUIET_LINE + " log=line console=follow"
LINUX_LINE = "console=ttyS0 quiet"

# What busybox' shell and terminals' line ends put between the words that count.
NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\(B|\r|[\0\x0f\x18]")
# What stands before a VM's line when all VMs' output is followed, and what may become that.
FOLLOWED = re.compile(r"^[\w-]{1,31}\| ", re.M)
FOLLOWED_BEGUN = re.compile(r"^[\w-]{1,31}\|?\Z", re.M)


class Failure(Exception):
    """A test's expectation that did not hold."""


class Skip(Exception):
    """A test that cannot be run here, and why."""


def timeout(kind):
    return TIMEOUTS[kind] * SCALE


def guest_file(name):
    """A file that guests are started from: fetched (deps/guests) or built (build/guest)."""
    for place in (GUESTS, os.path.join(BUILD, "guest")):
        path = os.path.join(place, name)
        if os.path.exists(path):
            return path
    raise Failure(f"expected the file {name} in deps/guests or build/guest: run make")


def linux(vm, kernel="vmlinux-amd64", options="memory=256M", line=LINUX_LINE):
    """The module lines of a Linux guest, and the files it needs."""
    initrd = "initrd-amd64" if kernel.endswith("amd64") else "initrd-i386"
    return [(guest_file(kernel), f"vm={vm} kernel {options} -- {line} hostname={vm}"),
            (guest_file(initrd), f"vm={vm} initrd")]


def menu_entry(entry):
    """The module lines of that entry (its --id) of the product's menu, and the files."""
    with open(os.path.join(TOP, "iso", "grub.cfg"), encoding="utf-8") as f:
        body = re.search(rf"^menuentry .* --id {entry} {{\n(.*?)^}}", f.read(), re.M | re.S)
    if not body:
        raise Failure(f"expected an entry {entry} in iso/grub.cfg")
    lines = re.findall(r"^\s*module2 /guests/(\S+) (.*)", body.group(1), re.M)
    return [(guest_file(name), line) for name, line in lines]


def vm_names(modules):
    """The VMs that these module lines describe, in the order of their kernels."""
    return [re.search(r"vm=(\S+)", line).group(1) for _, line in modules if " kernel " in line]


def each_entry(kernels=KERNELS):
    """Decorates test(name, modules): a test for each kernel under each of PAGINGS.

    They are called test_NAME_KERNEL_PAGING and get the lines of debian-KERNEL-PAGING.
    """
    def decorate(test):
        def case(entry):
            @functools.wraps(test)
            def run(name):
                return test(name, menu_entry(entry))
            return run
        for kernel, paging in itertools.product(kernels, PAGINGS):
            full_name = f"{test.__name__}_{kernel}_{paging}"
            test.__globals__[full_name] = case(f"debian-{kernel}-{paging}")
    return decorate


def add_test(name, test, *cell):
    """Has test(its name, *cell) be run as test_NAME of its module."""
    @functools.wraps(test)
    def run(full_name):
        return test(full_name, *cell)
    test.__globals__[f"test_{name}"] = run


def tiny(vm, name, options="memory=16M debug-exit"):
    """The module line of a guest from tests/guest/."""
    return [(guest_file(name + ".elf"), f"vm={vm} kernel {options}")]


# How the tiny guests end, each by itself.
TINY_ENDS = {
    "hello": "debug-exit status 33",
    "bad_opcode": r".*(?i:triple).*, stopped",
    "bad_opcode_handled": "debug-exit status 33",
    "triple_fault": r".*(?i:triple).*, stopped",
    "jump_unmapped": "debug-exit status 33|.*d0000000",
    "rom_write": "debug-exit status 33",
    "absent_device": "debug-exit status 33",
    "real_mode": "debug-exit status 33",
    "refused": "debug-exit status 33",
    "sti_shadow": "debug-exit status 33",
    "task_switch": "debug-exit status 33",
}


def tiny_guests(names, options):
    """The module lines of several, each a VM of its own name."""
    return [line for name in names for line in tiny(name, name, options)]


def scratch(name, content):
    """A file with this content, to use as a kernel or an initrd."""
    os.makedirs(WORK, exist_ok=True)
    path = os.path.join(WORK, name)
    with open(path, "wb") as f:
        f.write(content)
    return path


def make_iso(name, modules, umbra=UMBRA_LINE, build="."):
    """An ISO whose only menu entry has these (file, line) modules; returns its path.

    build: "debug" for the debug build's image. Files made by scratch() are gone afterwards.
    """
    os.makedirs(WORK, exist_ok=True)
    cfg = os.path.join(WORK, name + ".cfg")
    iso = os.path.join(WORK, name + ".iso")
    lines = ["serial --unit=0 --speed=115200", "terminal_output serial", "set timeout=0",
             'menuentry "test" {', f"multiboot2 /boot/umbra.elf {umbra}"]
    lines += [f"module2 /guests/{os.path.basename(path)} {line}" for path, line in modules]
    with open(cfg, "w", encoding="utf-8") as f:
        f.write("\n".join(lines + ["}"]) + "\n")
    files = sorted({path for path, _ in modules})
    elf = os.path.join(BUILD, build, "umbra.elf")
    subprocess.run([os.path.join(TOP, "scripts", "mkiso"), "-o", iso, "-c", cfg, "-e", elf,
                    *files], check=True)
    for path in [cfg] + files:
        if os.path.dirname(path) == WORK:
            os.unlink(path)
    return iso


def guest_cpus(number, script="run-qemu"):
    """The options for a machine on which guests run on so many processors: on QEMU several leave
    the first one alone (docs/svm.md)."""
    return "--smp", str(number + (script == "run-qemu" and number > 1))


class Machine:
    """A machine booted from an ISO; use as a context manager."""

    def __init__(self, name, iso, *options, extra=(), keep_iso=False, script="run-qemu",
                 follow=True):
        os.makedirs(WORK, exist_ok=True)
        self.log = os.path.join(WORK, name + ".log")
        self.iso = None if keep_iso else iso
        self.text = ""   # everything seen, without NOISE
        self.at = 0      # up to where it has been looked at
        self.follow = follow  # names may stand before the VMs' lines: they are taken off
        self.uefi = "--uefi" in options
        self.scale = BOCHS_SCALE if script == "run-bochs" else 1
        self.changed = threading.Condition()
        self.ended = False
        command = [os.path.join(TOP, "scripts", script), iso, *options]
        # pylint: disable-next=consider-using-with
        self.qemu = subprocess.Popen(command + ["--", *extra], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, _, error, __):
        if isinstance(error, Failure) and self.qemu.poll() is None:
            error.args = (f"{error}\n    what Umbra says of it:\n{self._ask_umbra()}",)
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()
        self.reader.join(5)
        with contextlib.suppress(BrokenPipeError):
            self.qemu.stdin.close()
        self.qemu.stdout.close()
        if self.iso:
            os.unlink(self.iso)

    def _ask_umbra(self):
        """What an operator would look at if a machine does not get on."""
        start = len(self.text)
        for line in ("\x1dm", "\nvms | cat\n", "vcpus | cat\n", "cpus | cat\n", "log | tail 5\n"):
            with contextlib.suppress(OSError):
                self.type(line)
            time.sleep(1)
        return "\n".join("      | " + line[:200] for line in self.text[start:].splitlines()[-60:])

    def _take(self, line):
        """Take up this text, less the VMs' names; what may be a part of one is left."""
        start = "" if not self.text or self.text[-1] == "\n" else "."
        begun = None
        if self.follow:
            line = FOLLOWED.sub("", start + line)[len(start):]
            begun = FOLLOWED_BEGUN.search(start + line)
        cut = begun.start() - len(start) if begun and not self.ended else len(line)
        self.text += line[:cut]
        return line[cut:]

    def _read(self):
        held = line = ""
        with open(self.log, "wb") as log:
            while True:
                data = os.read(self.qemu.stdout.fileno(), 65536)
                log.write(data)
                log.flush()
                with self.changed:
                    if not data:
                        self.ended = True
                    # An escape sequence that is not whole yet waits for its end.
                    held += data.decode("latin-1")
                    cut = held.rfind("\x1b")
                    if cut < 0 or len(held) - cut > 16 or NOISE.match(held, cut):
                        cut = len(held)
                    line += NOISE.sub("", held[:cut])
                    held = held[cut:]
                    line = self._take(line)
                    self.changed.notify_all()
                if not data:
                    return

    def _fail(self, expected, why):
        seen = self.text[self.at:].strip().splitlines()[-25:]
        shown = "\n".join("      | " + line[:200] for line in seen) or "      | (nothing)"
        raise Failure(f"expected {expected}, {why}\n    seen since the last match:\n{shown}\n"
                      f"    whole transcript: {os.path.relpath(self.log, TOP)}")

    def expect(self, pattern, kind="line", never=None):
        """Wait for the pattern in what was not looked at yet; go behind it; the match.

        never: a pattern that must not turn up before.
        """
        regex = re.compile(pattern, re.MULTILINE)
        seconds = timeout(kind) * self.scale
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                found = regex.search(self.text, self.at)
                if never:
                    bad = re.compile(never, re.MULTILINE).search(
                        self.text, self.at, found.start() if found else len(self.text))
                    if bad:
                        self._fail(f"/{pattern}/", f"saw {bad.group()!r} first")
                if found:
                    self.at = found.end()
                    return found
                if self.ended:
                    self._fail(f"/{pattern}/", "QEMU ended first")
                left = end - time.monotonic()
                if left <= 0:
                    self._fail(f"/{pattern}/", f"not seen within {seconds:.0f} s")
                self.changed.wait(left)

    def seen(self, pattern):
        """Has the pattern turned up anywhere so far?"""
        with self.changed:
            return re.search(pattern, self.text, re.MULTILINE)

    def type(self, text):
        """Type as a person does: not faster than a serial line carries."""
        for start in range(0, len(text), 8):
            self.paste(text[start:start + 8])
            time.sleep(0.02)

    def paste(self, text):
        """Give it all at once."""
        self.qemu.stdin.write(text.encode())
        self.qemu.stdin.flush()

    def expect_umbra(self):
        return self.expect(r"Umbra", "uefi" if self.uefi else "umbra")

    def expect_vm(self, vm, text, kind="line", never=None):
        """Wait for a line of Umbra's about a VM."""
        return self.expect(rf"vm {vm}: .*{text}", kind, never)

    def expect_ends(self, ends):
        """Each of these VMs has ended so by now."""
        for vm, end in ends.items():
            check(self.seen(rf"vm {vm}: ({end})"), f"/vm {vm}: {end}/", self.text[-3000:])

    def expect_shell(self, vm, kind="shell"):
        """Wait for a guest's prompt."""
        return self.expect(rf"^{vm}:[^\n]*# ", kind, never=r"Kernel panic")

    def ask_shell(self, vm, kind="shell"):
        """Type Enter until the guest's prompt stands alone on a line: other guests may write too."""
        for _ in range(TIMEOUTS[kind] // TIMEOUTS["try"]):
            self.type("\n")
            try:
                return self.expect_shell(vm, "try")
            except Failure:
                if self.ended:
                    raise
        return self.expect_shell(vm, "try")

    def command(self, vm, line, kind="command"):
        """Type a command at a guest's prompt; what it printed."""
        mark = f"done-{time.monotonic_ns() % 1000000}"
        # The mark is split in what is typed, so that its echo does not end the wait.
        self.type(f"{line}; echo {mark[:5]}''{mark[5:]} $?\n")
        start = self.at
        found = self.expect(rf"^{mark} (\d+)$", kind)
        status = int(found.group(1))
        out = self.text[start:found.start()]
        self.expect_shell(vm, "command")
        if status:
            self._fail(f"status 0 of `{line}`", f"it is {status}, after:\n{out}")
        return out.partition("$?\n")[2]  # less the echo of what was typed

    def begin(self, line):
        """Type a command that does not end by itself; it has begun when this returns.

        It is a shell of its own that says so: until the one at the prompt has given the terminal
        away, ^C is not for the command. No single quotes in the line.
        """
        self.type(f"sh -c 'echo be\"\"gun; {line}'\n")
        self.expect(r"^begun$", "command")

    def interrupt(self, vm):
        """End what begin() has begun. Linux has the signal out before its echo: the shell, which begins
        a new line, may be quicker, and its prompt then stands behind the echo."""
        self.type("\x03")
        self.expect(rf"^(\^C)?{vm}:[^\n]*# ", "command")

    def expect_exit(self, status=0):
        """Wait for QEMU's end."""
        seconds = timeout("exit") * self.scale
        end = time.monotonic() + seconds
        try:
            got = self.qemu.wait(max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._fail("the end of QEMU", f"it ran on for {seconds:.0f} s")
        if got != status:
            self._fail(f"exit status {status} of QEMU", f"it is {got}")

    def still_runs(self, seconds=3):
        """QEMU must not end within these seconds."""
        time.sleep(seconds)
        if self.qemu.poll() is not None:
            self._fail("the machine to go on", "QEMU ended")


def boot(name, modules, umbra=UMBRA_LINE):
    """A machine booted with these modules from BIOS."""
    return Machine(name, make_iso(name, modules, umbra))


def check(condition, expected, seen):
    if not condition:
        raise Failure(f"expected {expected}, seen {seen!r}")
