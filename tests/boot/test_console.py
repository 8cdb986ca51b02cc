"""The console that guests and the monitor share: keys, banners, what is kept, ports."""
import os
import re
import socket
import time

import lib

KEY = "\x1d"
LINES = 2000


def start(name, modules, umbra=lib.QUIET_LINE, extra=()):
    return lib.Machine(name, lib.make_iso(name, modules, umbra), extra=extra, follow=False)


def keys(*names, options=""):
    """Guests that say which keys they get."""
    return [line for vm in names
            for line in lib.tiny(vm, "keys", f"memory=16M debug-exit {options}")]


def go(m, key, banner):
    m.type(KEY + key)
    m.expect(rf"^--- {banner}")


def press(m, key, prefix=""):
    """Type a key; the guest in front has got it."""
    m.type(key)
    m.expect(rf"^{prefix}key:\n{prefix}{ord(key):08X}$")


def test_switching(name):
    """From one to the other, each with what it said meanwhile; Umbra's lines tear nothing."""
    with start(name, keys("one", "two")) as m:
        m.expect_umbra()
        m.expect(r"^--- one \(1, running\)")
        m.expect(r"^keys: ready$", never=r"umbra: ")
        press(m, "a")
        go(m, "2", r"two \(2, running\)")
        m.expect(r"^keys: ready$")
        press(m, "b")
        go(m, "n", r"one \(1, running\)")
        press(m, "c")
        go(m, "?", r"Ctrl-\] m: the monitor")
        go(m, "7", r"there is no VM 7")
        # Ctrl-] itself, by both its keys.
        m.type(KEY + "]")
        m.expect(r"^key:\n0000001D$")
        m.type(KEY + KEY)
        m.expect(r"^key:\n0000001D$")
        # The monitor has messages to show; the guests go on.
        go(m, "m", "monitor")
        m.expect(r"umbra> ")
        m.type("console two\n")
        m.expect(r"^--- two \(2, running\)")
        press(m, "d")
        # Its end is seen, and the other one comes to the front.
        m.type("q")
        m.expect(r"^umbra: vm two: debug-exit status 33$")
        m.expect(r"^--- one \(1, running\)")
        go(m, "2", r"two \(2, stopped\)")
        m.expect(r"^00000064$")  # its last words
        go(m, "1", "one")
        press(m, "e")
        m.type("q")
        m.expect_vm("one", "debug-exit status 33")
        m.expect_exit()


def test_flood(name):
    """A guest that floods its port, seen or not, loses nothing and keeps nobody from his work."""
    with start(name, keys("one", "two")) as m:
        m.expect_umbra()
        m.expect(r"^keys: ready$")
        press(m, "a")
        go(m, "2", "two")
        m.type("f")
        go(m, "1", "one")
        press(m, "b")
        press(m, "c")
        time.sleep(1)
        go(m, "2", "two")
        m.expect(r"^flood is over$", "work")
        seen = re.findall(r"^([0-9A-F]{8})$", m.text, re.M)
        numbers = sorted({int(n, 16) for n in seen if int(n, 16) < LINES})
        lib.check(numbers == list(range(LINES)), f"each number up to {LINES}", len(numbers))
        m.type("q")
        m.expect_vm("two", "debug-exit status 33")
        m.type("q")
        m.expect_vm("one", "debug-exit status 33")
        m.expect_exit()


def test_deaf(name):
    """A guest that takes no input does not keep the operator's keys from him."""
    with start(name, keys("one") + lib.tiny("two", "cli_loop", "memory=16M")) as m:
        m.expect_umbra()
        m.expect(r"^keys: ready$")
        go(m, "2", "two")
        m.expect(r"^looping with interrupts off$")
        m.paste("x" * 12000)
        go(m, "1", "one")
        press(m, "a")
        press(m, "h")
        m.paste("x" * 12000)
        go(m, "m", "monitor")
        m.type("kill one\n")
        m.expect_vm("one", "killed")
        m.type("poweroff\n")
        m.expect_exit()


def test_follow(name):
    """All VMs' output, each line whole and with its name."""
    with start(name, keys("one", "two"), lib.QUIET_LINE + " console=follow") as m:
        m.expect_umbra()
        m.expect(r"^--- all VMs; keys go to one \(1, running\)")
        for _ in range(2):  # whichever has the processor first
            m.expect(r"^(one|two)\| keys: ready$")
        begin = m.at
        press(m, "a", r"one\| ")
        m.type("f")
        go(m, "2", r"all VMs; keys go to two")
        m.type("f")
        m.expect(r"\| flood is over$", "work")
        m.expect(r"\| flood is over$", "work")
        press(m, "b", r"two\| ")
        wrong = [line for line in m.text[begin:].strip().split("\n")
                 if not re.fullmatch(r"(one|two)\| (key:|[0-9A-F]{0,8}|flood is over)|--- .* ---|",
                                     line)]
        lib.check(not wrong, "lines with their VM's name", wrong[:5])
        # A guest that the host kept waiting in the middle of a line may have it in two parts.
        numbers = "".join(f"{n:08X}" for n in range(LINES))
        for vm in ("one", "two"):
            digits = "".join(re.findall(rf"^{vm}\| ([0-9A-F]+)$", m.text, re.M))
            lib.check(numbers in digits, f"{LINES} lines of {vm}", len(digits) // 8)
        m.type(KEY + "f")
        m.expect(r"^--- two \(2, running\)")
        press(m, "c")
        go(m, "m", "monitor")
        m.type("console -f\n")
        m.expect(r"^--- all VMs; keys go to two")
        m.type("q")
        m.expect_vm("two", "debug-exit status 33")
        m.type("q")
        m.expect_vm("one", "debug-exit status 33")
        m.expect_exit()


def test_second_port(name):
    """com2=: bytes to and from a real port, which belongs to one alone."""
    path = os.path.join(lib.WORK, name + ".sock")
    modules = (keys("one", options="com2=phys:com2") + keys("two", options="com2=phys:0x2f8") +
               keys("three", options="com2=phys:com1") + keys("four", options="com2=phys:com9"))
    with start(name, modules, extra=["-serial", f"unix:{path},server=on,wait=off"]) as m:
        m.expect_umbra()
        m.expect(r"vm two: com2=phys:0x2f8: the port belongs to another, not started")
        m.expect(r"vm three: com2=phys:com1: the port belongs to another, not started")
        m.expect(r"vm four: com2=phys:com9: not a serial port and rate, not started")
        m.expect(r"^keys: ready$")
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(lib.timeout("line"))
            line.connect(path)
            text = bytes(range(256)) * 8
            line.sendall(text)
            got = b""
            while len(got) < len(text):
                got += line.recv(4096)
            lib.check(got == text, "what was sent", got[:100])
        press(m, "a")
        m.type("q")
        m.expect_exit()
    if os.path.exists(path):
        os.unlink(path)


def test_second_port_changes_hands(name):
    """A port is free once its owner is gone; a guest called gdb is not who has gdb=."""
    path = os.path.join(lib.WORK, name + ".sock")
    modules = keys("gdb", "console", options="com2=phys:com2")
    with start(name, modules, lib.QUIET_LINE + " log=line gdb=com2",
               extra=["-serial", f"unix:{path},server=on,wait=off"]) as m:
        m.expect(r"vm console: com2=phys:com2: the port belongs to another, not started")
        m.expect(r'"gdb=com2": the port belongs to another; ignored')
        m.expect(r"^keys: ready$")
        go(m, "m", "monitor")
        m.type("gdb gdb com2\n")
        m.expect(r"the port belongs to another")
        m.type("kill gdb\n")
        m.expect_vm("gdb", "killed")
        m.type("start console\n")
        m.expect_vm("console", "started")
        go(m, "2", "console")
        m.expect(r"^keys: ready$")  # turning its FIFO on clears it
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(lib.timeout("line"))
            line.connect(path)
            line.sendall(b"mine")
            got = b""
            while len(got) < 4:
                got += line.recv(4096)
            lib.check(got == b"mine", "what was sent", got)
        go(m, "m", "monitor")
        m.type("kill console\n")
        m.expect_vm("console", "killed")
        m.type("gdb gdb com2\n")
        m.expect(r"gdb debugs gdb once it attaches, on com2")
        m.type("start console\n")
        m.expect(r"vm console: com2=phys:com2: the port belongs to another, not started")
        # Without a session the line is kept for a panic; or given back.
        m.type("gdb off\n")
        m.expect(r"gdb debugs no guest; com2 is kept for a panic")
        m.type("gdb close\n")
        m.expect(r"gdb has no line")
        m.type("start console\n")
        m.expect_vm("console", "started")
    if os.path.exists(path):
        os.unlink(path)
