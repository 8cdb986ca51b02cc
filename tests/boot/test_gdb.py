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
FREE = 0x800000  # memory that tests/guest/debug.asm makes no use of


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

    def __init__(self, name, modules, umbra=UMBRA, options=(), script="run-qemu"):
        self.folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.line = os.path.join(self.folder.name, "com2")
        super().__init__(name, lib.make_iso(name, modules, umbra), "--com2", self.line, *options,
                         script=script)

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


def test_linux_two_vcpus(name):
    """A Linux guest's two vCPUs on two processors, of which a guest that spins has one, too."""
    modules = lib.linux("deb64", options="memory=256M apic=on vcpus=2", line=lib.LINUX_LINE + " nokaslr") \
        + lib.tiny("spin", "cli_loop", "memory=2M")
    with Debugged(name, modules, options=lib.guest_cpus(2)) as m:
        m.expect_shell("deb64")
        at = symbols(m, "do_sys_openat2", "jiffies_64")
        with Gdb(m.line) as gdb:
            gdb.ask("info threads", r"(?s)deb64 vCPU 0.*deb64 vCPU 1")
            linux_points(gdb, m, at)
            for thread in (2, 1):
                gdb.ask(f"thread {thread}", rf"Thread 1\.{thread}")
                gdb.ask("stepi", r"0x\w+ in")
                gdb.ask("info threads", rf"\* {thread} ")
            # A point stops both, whichever of them comes to it.
            gdb.ask(f"break *{at['do_sys_openat2']:#x}")
            m.type("for i in 1 2 3; do cat /proc/uptime & done; wait\n")
            for _ in range(3):
                gdb.ask("c", rf"Thread [12] hit Breakpoint \d, 0x{at['do_sys_openat2']:016x}")
            gdb.ask("monitor vcpus", r"(?s)deb64\.0 +(paused|halted).*deb64\.1 +(paused|halted)")
            gdb.ask("delete")
            gdb.ask("detach", "detached")
        m.ask_shell("deb64")
        m.command("deb64", "cat /proc/version")


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


def places():
    """Where tests/guest/debug.asm has its places, all in an endless loop."""
    out = subprocess.run(["nm", lib.guest_file("debug.elf")], check=True, capture_output=True,
                         text=True).stdout
    return {name: int(at, 16) for at, name in re.findall(r"^([0-9a-f]+) \w (\w+)$", out, re.M)}


def test_two_guests(name):
    """One session that debugs two guests, while a third is none of its business."""
    at = places()
    point = rf"0x0*{at['point']:x} in"
    modules = lib.tiny("one", "debug") + lib.tiny("two", "debug") + lib.tiny("free", "debug")
    with Debugged(name, modules) as m:
        m.expect_vm("free", "started")
        with Gdb(None) as gdb:
            gdb.ask(f"target extended-remote {m.line}", r"0x\w+ in")
            gdb.ask("info os processes", r"1 +one +paused *\n2 +two +running *\n3 +free +running")
            gdb.ask("info threads", r"\* 1 +Thread 1\.1 \(one vCPU 0\)")
            gdb.ask("add-inferior", "Added inferior 2")
            gdb.ask("inferior 2")
            gdb.ask("attach 4", "failed")
            gdb.ask("attach 1", "failed")
            gdb.ask("attach 2", r"0x\w+ in")
            gdb.ask("info inferiors", r"(?s)  1 +process 1.*\* 2 +process 2")
            gdb.ask("info threads", r"(?s)1\.1 +Thread 1\.1 \(one vCPU 0\).*"
                                    r"\* 2\.1 +Thread 2\.1 \(two vCPU 0\)")
            gdb.ask("monitor vms", r"(?s)one +paused.*two +paused.*free +running")
            gdb.ask("monitor help", r"(?s)^  vms .*\| cat \(no pager\)$")  # longer than a packet
            # Each has memory and registers of its own.
            gdb.ask(f"set var *(int *){FREE:#x} = 0x222")
            gdb.ask("p $xmm7.v4_int32[0] = 0x2222")
            gdb.ask("thread 1.1", "Switching to thread 1.1")
            gdb.ask(f"set var *(int *){FREE:#x} = 0x111")
            gdb.ask("p $xmm7.v4_int32[0] = 0x1111")
            gdb.ask("thread 2.1", "Switching to thread 2.1")
            lib.check(gdb.value(f"*(int *){FREE:#x}") == 0x222, "two's memory", "another")
            lib.check(gdb.value("$xmm7.v4_int32[0]") == 0x2222, "two's register", "another")
            # Only the one at hand goes on, and breakpoints are its own.
            gdb.ask(f"hbreak *{at['point']:#x}", "breakpoint 1 at")
            gdb.ask("c", rf"Thread 2\.1 .*hit Breakpoint 1, {point}")
            gdb.ask("stepi", rf"0x0*{at['point'] + 1:x} in")
            gdb.ask("thread 1.1", "Switching to thread 1.1")
            lib.check(gdb.value("$xmm7.v4_int32[0]") == 0x1111, "one where it was", "another")
            gdb.ask(f"hbreak *{at['point']:#x}", "breakpoint 2 at")
            gdb.ask("c", rf"Thread 1\.1 .*hit Breakpoint 2, {point}")
            # Both go on, and both come to it.
            gdb.ask("set schedule-multiple on")
            hit = {gdb.ask("c", rf"Thread (\d)\.1 .*hit Breakpoint \d, {point}").group(1)
                   for _ in range(8)}
            lib.check(hit == {"1", "2"}, "both guests at the breakpoint", hit)
            gdb.ask("monitor vms", r"(?s)one +paused.*two +paused.*free +running")
            gdb.ask("delete")
            gdb.type("c")
            time.sleep(1)
            gdb.interrupt()
            gdb.ask("detach inferior 1", "Inferior 1 .*detached")
            gdb.ask("monitor vms", r"(?s)one +running.*two +paused.*free +running")
            gdb.ask("inferior 2", "Switching to inferior 2")
            gdb.ask("kill", "Inferior 2 .*killed")
            gdb.ask("monitor log | grep two", "vm two: gdb kills it")
            gdb.ask("monitor vms", r"(?s)one +running.*two +killed.*free +running")
            # The session has gone on without any: it takes one again.
            gdb.ask("attach 3", r"0x\w+ in")
            gdb.ask("stepi", r"0x\w+ in")
            gdb.ask("detach", "detached")
            gdb.ask("monitor vms", r"(?s)one +running.*free +running")


def test_restart(name):
    """Guests that are started anew under gdb: by their own reset, a crash, and the operator."""
    restarts = "memory=16M paused on-reset=restart on-crash=restart"
    modules = lib.tiny("loop", "reset_loop", restarts) + lib.tiny("crash", "triple_fault", restarts)
    with Debugged(name, modules, UMBRA + " log=line") as m:
        m.expect_vm("crash", "started")
        with Gdb(None) as gdb:
            gdb.ask(f"target extended-remote {m.line}", r"0x\w+ in")
            entry = gdb.value("$eip")
            gdb.ask("stepi")
            for _ in range(2):
                gdb.ask("c", rf"SIGTRAP.*\n0x0*{entry:x} in")
                m.expect_vm("loop", "started")
            # What crashed can be looked at for as long as one wants, and is then made anew.
            gdb.ask("add-inferior")
            gdb.ask("inferior 2")
            gdb.ask("attach 2", r"0x\w+ in")
            entry = gdb.value("$eip")
            gdb.ask("c", "SIGSEGV")
            m.expect_vm("crash", "triple fault.*, restarting")
            time.sleep(2)
            gdb.ask("info threads", r"Thread 2\.1 \(crash vCPU 0, crashed\)")
            gdb.ask("x/2i $pc", "=> 0x")
            gdb.ask("c", rf"SIGTRAP.*\n0x0*{entry:x} in")
            # The operator's reset, and his kill.
            m.type("\x1dm")
            m.expect(r"umbra> ")
            m.type("reset crash\n")
            m.expect_vm("crash", "started")
            gdb.ask("c", "SIGSEGV")
            m.type("kill crash\n")
            m.expect_vm("crash", "killed")
            gdb.ask("c", r"exited normally")
            gdb.ask("inferior 1", r"0x\w+ in")
            gdb.ask("monitor gdb off", "gdb debugs no guest")
            gdb.ask("c", r"exited normally")


def linear(gdb):
    return gdb.value("$cs * 16 + $eip")


def test_16_bits(name):
    """Break and watch points in real mode's code, which the guest copies to 8000h."""
    out = subprocess.run(["nm", lib.guest_file("real_mode.elf")], check=True, capture_output=True,
                         text=True).stdout
    at = {name: int(at, 16) for at, name in re.findall(r"^([0-9a-f]+) \w (\S+)$", out, re.M)}
    low = {name: 0x8000 + at[name] - at["code16"]
           for name in ("code16.real", "on_int", "on_divide", "code16.rom_written")}
    with Debugged(name, lib.tiny("small", "real_mode", "memory=16M debug-exit paused")) as m:
        m.expect_vm("small", "started")
        with Gdb(m.line) as gdb:
            # Once in 32 bits: then the code is where it runs.
            gdb.ask(f"hbreak *{at['real']:#x}", "breakpoint 1 at")
            gdb.ask("c", rf"Breakpoint 1, 0x0*{at['real']:x}")
            gdb.ask("delete")
            gdb.ask("set architecture i8086", "i8086")
            gdb.ask(f"hbreak *{low['code16.real']:#x}")
            gdb.ask(f"break *{low['on_int']:#x}")
            gdb.ask(f"break *{low['on_divide']:#x}")
            gdb.ask("watch *(short *)0x20010")
            gdb.ask("c", rf"Breakpoint 2, 0x0*{low['code16.real']:x}")
            gdb.ask("x/i $pc", r"xor +%ax,%ax")
            gdb.ask("stepi")
            lib.check(linear(gdb) == low["code16.real"] + 2, "one instruction on", "elsewhere")
            gdb.ask("c", r"watchpoint 5: .*\n\nOld value = 0\nNew value = 4369")
            gdb.ask("c", rf"Breakpoint 3, 0x0*{low['on_int']:x}")
            gdb.ask("c", rf"Breakpoint 4, 0x0*{low['on_divide']:x}")
            gdb.ask("delete")
            gdb.ask("set architecture i386", "i386")
            gdb.ask("c", r"exited normally")
        m.expect_vm("small", "debug-exit status 33")


def test_killed_while_reading(name):
    """gdb killed in the middle of a packet, again and again; the next one finds all in order."""
    with Debugged(name, lib.tiny("one", "debug")) as m:
        m.expect_vm("one", "started")
        for n in range(6):
            with Gdb(m.line) as gdb:
                gdb.ask("x/i $pc", "=> 0x")
                gdb.type("dump binary memory /dev/null 0 0x1000000")
                time.sleep(0.05 + 0.13 * n)
                lib.check(gdb.process.poll() is None, "gdb that reads", "its end")
        with Gdb(m.line) as gdb:
            gdb.ask("stepi", r"0x\w+ in")
            gdb.ask("detach", "detached")


def vmx_guest(name, cpu, paging):
    """On VMX: break, step, watch, go on, detach."""
    at = places()
    with Debugged(name, lib.tiny("one", "debug", f"memory=16M debug-exit paging={paging}"), options=("--cpu", cpu),
                  script="run-bochs") as m:
        m.expect_vm("one", "started")
        with Gdb(m.line) as gdb:
            gdb.ask("info threads", r"one vCPU 0")
            gdb.ask(f"hbreak *{at['point']:#x}", "breakpoint 1 at")
            gdb.ask("c", rf"Breakpoint 1, 0x0*{at['point']:x} in")
            gdb.ask("stepi", rf"0x0*{at['point'] + 1:x} in")
            gdb.ask("delete")
            gdb.ask(f"break *{at['point_int3']:#x}", "Breakpoint 2 at")
            gdb.ask("c", rf"Breakpoint 2, 0x0*{at['point_int3']:x} in")
            gdb.ask("delete")
            gdb.ask(f"watch *(int *){at['watched']:#x}", "watchpoint 3")
            gdb.ask("c", rf"watchpoint 3(.*\n)+0x0*{at['after_watched']:x} in")
            gdb.ask("delete")
            gdb.ask("detach", "detached")
        with Gdb(m.line) as gdb:
            gdb.ask("x/i $pc", "=> 0x")


def test_bochs_vmx(name):
    vmx_guest(name, "corei7_haswell_4770", "nested")


def test_bochs_vmx_shadow(name):
    """Without EPT."""
    vmx_guest(name, "core2_penryn_t9600", "shadow")


def panic(name, *options, script="run-qemu"):
    """The hypervisor that has panicked: registers, memory, its way to there; its other CPU."""
    elf = os.path.join(lib.BUILD, "umbra.elf")
    with Debugged(name, lib.tiny("good", "hello"), options=("--smp", "2", *options), script=script) as m:
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
            gdb.ask("info threads", r"(?s)\* 1 .*CPU 0.* 2 .*CPU 1, idle")
            gdb.ask("thread 2", "Switching to thread")
            gdb.ask("bt", r"(?s)cpu_idle .*turns_round .*smp_loop .*ap_main ")
            gdb.ask("p ((struct cpu *)$gs_base)->id", "= 1")
            gdb.type("monitor poweroff")
            m.expect_exit()


def test_panic(name):
    panic(name)


def test_bochs_vmx_panic(name):
    panic(name, "--cpu", "corei7_haswell_4770", script="run-bochs")


def monitor(m, line):
    """What Umbra's monitor answers."""
    m.type(line + "\n")
    start = m.expect(rf"{re.escape(line)}\n").end()
    end = m.expect(r"^umbra> \Z", "command").start()
    return m.text[start:end]


def test_two_processors(name):
    """An operator and gdb at the same guests, which run on two processors, a busy one on each."""
    at = places()
    modules = lib.tiny("one", "debug", "memory=16M cpus=1") + lib.tiny("two", "cli_loop", "memory=2M cpus=0") \
        + lib.tiny("three", "neighbour", "memory=16M apic=on vcpus=2 -- i")
    with Debugged(name, modules, options=("--smp", "2")) as m:
        m.expect_vm("three", "started")
        m.type("\x1dm")
        m.expect(r"^umbra> ")
        lib.check("gdb debugs one once it attaches, on com2" in monitor(m, "gdb"), "how gdb stands", m.text[-300:])
        with Gdb(m.line) as gdb:
            lib.check("gdb debugs one on com2" in monitor(m, "gdb"), "how gdb stands", m.text[-300:])
            gdb.ask(f"hbreak *{at['point']:#x}", "breakpoint 1 at")
            gdb.ask("c", r"Breakpoint 1, ")
            # The operator does the like behind gdb's back.
            monitor(m, "trace one on")
            monitor(m, "step one")
            monitor(m, f"watch one {at['watched']:#x}")
            monitor(m, "cont one")
            time.sleep(0.5)
            lib.check(f"{at['watched']:#018x}" in monitor(m, "points one"), "the operator's point", m.text[-300:])
            for _ in monitor(m, "points one").splitlines():
                monitor(m, "delete one 1")
            gdb.ask("delete")
            monitor(m, "pause one")
            # A new life that gdb has not waited for is its own: it does not stand still for ever.
            monitor(m, "kill one")
            lib.check("killed" in monitor(m, "vms | grep one"), "it is killed", m.text[-300:])
            m.type("start one\n")
            m.expect_vm("one", "started")
            gdb.type("c")
            time.sleep(1)
            lib.check("running" in monitor(m, "vms | grep one"), "it runs", m.text[-300:])
            gdb.interrupt()
            gdb.ask("monitor vcpus", r"^one\.0 +paused .* 1 *$")
            gdb.ask("monitor vcpus", r"^two\.0 +running .* 0 *$")
            gdb.ask("monitor gdb close", "at Umbra's prompt only")
            # Who waits hears of it when the operator takes the session away.
            gdb.type("c")
            time.sleep(1)
            lib.check("kept for a panic" in monitor(m, "gdb off"), "the session's end", m.text[-300:])
            lib.check("SIGABRT" in gdb.answer(), "gdb told of it", gdb.text[-300:])
        monitor(m, "gdb three")
        with Gdb(m.line) as gdb:
            gdb.ask("info threads", r"Thread 3\.2 \(three vCPU 1, offline\)")
            gdb.ask("stepi", r"0x\w+ in")
            gdb.ask("detach", "detached")
        # Each of them can run as soon as it is asked for.
        out = monitor(m, "vcpus | grep running")
        lib.check(len(re.findall(r"running", out)) in (2, 3), "a vCPU running on each processor", out)
        m.type("panic\n")
        m.expect(r"umbra: cpu 1: vm \w+ vcpu \d, last exit \w+, rip 0x\w+")
        m.expect(r"umbra: cpu 0: vm \w+ vcpu \d, last exit \w+, rip 0x\w+")
        with Gdb(m.line, os.path.join(lib.BUILD, "umbra.elf")) as gdb:
            gdb.ask("info threads", r"(?s)1 .*2 ")
            gdb.ask("bt", r"cmd_panic|panic")
            gdb.type("monitor poweroff")
            m.expect_exit()
