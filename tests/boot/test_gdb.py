"""Debian's gdb on the second serial line: it debugs guests, and Umbra itself after a panic."""
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time

import lib

UMBRA = "com1=115200 loglevel=info on-idle=monitor gdb=com2"
PROMPT = "(gdb) "


class Gdb:
    """A gdb that is typed to; its answers are what it prints up to the next prompt."""

    def __init__(self, line, *args):
        self.text = ""
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(["gdb", "-q", "-nx", *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.answer()
        for setting in ("confirm off", "pagination off", "width 0", "remotetimeout 20"):
            self.ask(f"set {setting}")
        if line:
            self.attach(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def attach(self, line):
        answer = self.ask(f"target remote {line}")
        lib.check(" in ?? ()" in answer or re.search(r" (in|at) |^0x", answer, re.M),
                  "where the target is", answer)

    def answer(self):
        """What comes up to the next prompt."""
        end = time.monotonic() + lib.timeout("command")
        text = ""
        while not text.endswith(PROMPT):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise lib.Failure(f"expected gdb's prompt, seen {self.text[-2000:] + text!r}")
            data = os.read(self.process.stdout.fileno(), 65536).decode(errors="replace")
            if not data:
                raise lib.Failure(f"expected gdb's prompt, seen its end: {self.text[-2000:] + text!r}")
            text += data
        self.text += text
        return text[:-len(PROMPT)]

    def type(self, command):
        self.text += command + "\n"
        self.process.stdin.write((command + "\n").encode())
        self.process.stdin.flush()

    def ask(self, command, pattern=None):
        """Type a command: what it answers, which the pattern is to match."""
        self.type(command)
        answer = self.answer()
        if not pattern:
            return answer
        found = re.search(pattern, answer, re.M)
        lib.check(found, f"/{pattern}/ from gdb's `{command}`", answer)
        return found

    def value(self, expression):
        return int(self.ask(f"p/x {expression}", r"= (0x[0-9a-f]+)").group(1), 16)

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.answer()


class Debugged(lib.Machine):
    """A machine whose second serial line is a socket that gdb can attach to."""

    def __init__(self, name, modules, umbra=UMBRA):
        self.folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.line = os.path.join(self.folder.name, "com2")
        super().__init__(name, lib.make_iso(name, modules, umbra), "--com2", self.line)

    def __exit__(self, *args):
        super().__exit__(*args)
        self.folder.cleanup()


def symbols(machine, *names):
    """Addresses in the guest's kernel, as its System.map has them: it says them itself."""
    out = machine.command("deb64", f"grep -E ' ({'|'.join(names)})$' /proc/kallsyms")
    found = {name: int(addr, 16) for addr, name in re.findall(r"^(\w+) \w (\w+)$", out, re.M)}
    lib.check(set(found) == set(names), f"addresses of {names}", out)
    return found


def cut_off(line, tail=b"$mffffffff8100"):
    """A debugger that dies in mid-packet, on a line with noise."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(line)
        s.sendall(b"+$?#3f")
        s.recv(100)
        s.sendall(b"\xff\0#$$}}" + tail)


def linux_points(gdb, machine, at):
    """Break in open(), look, watch, step, go on."""
    gdb.ask(f"hbreak *{at['do_sys_openat2']:#x}", "breakpoint 1 at")
    machine.type("cat /proc/version\n")
    gdb.ask("c", r"Breakpoint 1, 0x%016x" % at["do_sys_openat2"])
    # int do_sys_openat2(int dfd, const char __user *filename, ...)
    name = gdb.ask("x/s $rsi", r'"(.*)"').group(1)
    lib.check(name.startswith("/"), "a file name", name)
    code = gdb.value("*(unsigned char *)$rip")
    gdb.ask("delete")
    # One instruction is as long as gdb's disassembler says.
    following = int(gdb.ask("x/2i $pc", r"\n\s+0x([0-9a-f]+)").group(1), 16)
    gdb.ask("stepi", r"0x%016x in" % following)
    # By an INT3, of which the guest's memory shows nothing.
    gdb.ask(f"break *{at['do_sys_openat2']:#x}")
    for _ in range(2):
        machine.type("cat /proc/version\n")
        gdb.ask("c", r"Breakpoint 2, 0x%016x" % at["do_sys_openat2"])
        lib.check(gdb.value("*(unsigned char *)$rip") == code, f"the code byte {code:#x}", "another")
    gdb.ask("delete")
    gdb.ask(f"watch *(unsigned long *){at['jiffies_64']:#x}", "watchpoint 3")
    found = gdb.ask("c", r"Old value = (\d+)\nNew value = (\d+)")
    old, new = (int(n) for n in found.groups())
    lib.check(new > old, "jiffies that grow", found.group(0))
    gdb.ask("delete")


def test_linux(name):
    """A Linux guest: points, registers, memory, stepping, Ctrl-C, a debugger that dies."""
    modules = lib.linux("deb64", line=lib.LINUX_LINE + " nokaslr")
    with Debugged(name, modules) as m:
        m.expect_shell("deb64")
        at = symbols(m, "do_sys_openat2", "jiffies_64", "linux_banner")
        with Gdb(m.line) as gdb:
            gdb.ask("info threads", r"\* 1 .*deb64 vCPU 0")
            gdb.ask("info registers cs", r"cs +0x")
            lib.check(gdb.value("$cr0") & 0x80000001 == 0x80000001, "CR0.PG and PE", "others")
            gdb.ask(f"x/s {at['linux_banner']:#x}", r'"Linux version 6')
            gdb.ask("x/x 0x10", "Cannot access memory")
            linux_points(gdb, m, at)
            gdb.type("c")
            m.command("deb64", "echo goes on")
            gdb.interrupt()
            gdb.ask("p $rbx=$rbx", "= ")
            gdb.ask("detach", "detached")
        m.command("deb64", "echo goes on")
        # Killed while it waits for the guest, which has its breakpoint.
        with Gdb(m.line) as gdb:
            gdb.ask(f"break *{at['do_sys_openat2']:#x}")
            gdb.type("c")
            m.type("cat /proc/version\n")
            gdb.answer()
        cut_off(m.line)
        with Gdb(m.line) as gdb:
            gdb.ask("x/i $pc", "=> 0x")
            gdb.ask("detach", "detached")
        m.expect_shell("deb64", "command")
        m.command("deb64", "cat /proc/version")
        m.type("poweroff\n")
        m.expect_vm("deb64", "powered off")


def test_small_modes(name):
    """From before the first instruction: a guest in 32 bits that goes to 16, and back."""
    with Debugged(name, lib.tiny("small", "real_mode", "memory=16M debug-exit paused")) as m:
        m.expect_vm("small", "started")
        with Gdb(m.line) as gdb:
            gdb.ask("info registers eip", r"eip +0x100\w+")
            gdb.ask("p $rax", "void")
            start = gdb.value("$eip")
            gdb.ask("stepi")
            lib.check(gdb.value("$eip") != start, "another EIP", "the same")
            gdb.ask("set architecture i8086", "i8086")
            gdb.ask("x/2i $cs * 16 + $eip", "0x")
            gdb.ask("c", r"exited normally")
        m.expect_vm("small", "debug-exit status 33")


def test_panic(name):
    """The hypervisor that has panicked: registers, memory, its way to there."""
    elf = os.path.join(lib.BUILD, "umbra.elf")
    with Debugged(name, lib.tiny("good", "hello")) as m:
        m.expect(r"umbra> ")
        m.type("panic\n")
        m.expect(r"umbra: panic: ")
        m.expect(r"umbra: stopped; a debugger may attach")
        cut_off(m.line, b"$m")
        with Gdb(m.line, elf) as gdb:
            gdb.ask("bt", r"(?s)panic \(.*monitor.*vmm_run .*umbra_main ")
            gdb.ask("p vms[0].cfg.name", r'= "good"')
            gdb.ask("x/x 0x10", "Cannot access memory")
            gdb.ask("info registers cr3", r"cr3 +0x")
            gdb.ask("stepi", "nothing runs")
            gdb.type("monitor poweroff")
            m.expect_exit()
