"""Lines at GRUB's prompt that are wrong, and files that are: one line says what, the rest goes on."""
import struct

import lib

HELLO = r"hello from a tiny guest"


def expect_left_out(name, modules, complaint):
    """The complaint is said, and a good guest beside it runs and the machine ends as usual."""
    with lib.boot(name, modules + lib.tiny("good", "hello")) as m:
        m.expect_umbra()
        m.expect(complaint)
        m.expect(HELLO)
        m.expect_exit()


def test_no_guest(name):
    with lib.boot(name, []) as m:
        m.expect(r"no guest: the menu entry has no line such as")
        m.expect_exit()


def test_unknown_token(name):
    expect_left_out(name, lib.tiny("bad", "hello", "memory=16M colour=blue"),
                    r'vm=bad kernel memory=16M colour=blue": unknown token "colour=blue"')


def test_bad_values(name):
    modules = []
    for i, word in enumerate(("memory=lots", "memory=0", "vcpus=0", "paging=maybe")):
        modules += lib.tiny(f"bad{i}", "hello", word)
    with lib.boot(name, modules + lib.tiny("good", "hello")) as m:
        for word in ("memory=lots", "memory=0", "vcpus=0", "paging=maybe"):
            m.expect(rf'"{word}": ')
        m.expect(HELLO)
        m.expect_exit()


def test_unknown_token_of_umbra(name):
    with lib.boot(name, lib.tiny("good", "hello"), lib.UMBRA_LINE + " sugar") as m:
        m.expect(r'Umbra\'s line: "sugar": unknown token; ignored')
        m.expect(HELLO)
        m.expect_exit()


def test_long_line(name):
    """A command line of any length: 3,000 characters reach the guest's kernel line whole."""
    tail = " ".join(f"word{i}" for i in range(400))
    modules = lib.tiny("good", "hello", f"memory=16M debug-exit -- {tail}")
    with lib.boot(name, modules) as m:
        m.expect(HELLO)
        m.expect_exit()


def test_too_much_memory(name):
    expect_left_out(name, lib.tiny("bad", "hello", "memory=64G"), r"vm bad: memory=65536M exceeds the \d+ MiB that are free, not started")


def test_duplicate_name(name):
    with lib.boot(name, lib.tiny("twin", "hello") + lib.tiny("twin", "hello")) as m:
        m.expect(r'"vm=twin": another kernel has this name')
        m.expect(HELLO)
        m.expect_exit()
        lib.check(m.text.count("hello from") == 1, "one guest", m.text.count("hello from"))


def test_initrd_without_kernel(name):
    orphan = [(lib.guest_file("initrd-amd64"), "vm=nobody initrd")]
    expect_left_out(name, orphan, r'no guest "nobody" has a good kernel line')


def test_no_kernel_file(name):
    """A file that is no kernel at all, and one of no bytes."""
    text = lib.scratch(name + "-text", b"this is no kernel\n" * 1000)
    empty = lib.scratch(name + "-empty", b"")
    expect_left_out(name, [(text, "vm=text kernel"), (empty, "vm=empty kernel")],
                    r"vm text: .*not started[\s\S]*vm empty: .*not started")


def bzimage():
    with open(lib.guest_file("vmlinuz-amd64"), "rb") as f:
        return bytearray(f.read())


def test_truncated_bzimage(name):
    """Cut in the middle of the compressed kernel, in the header, in the first sector."""
    whole = bzimage()
    modules, complaint = [], []
    for i, size in enumerate((len(whole) // 2, 0x1f8, 100)):
        modules.append((lib.scratch(f"{name}-{i}", whole[:size]), f"vm=cut{i} kernel"))
        complaint.append(rf"vm cut{i}: .*not started")
    expect_left_out(name, modules, r"[\s\S]*".join(complaint))


def test_lying_bzimage(name):
    """Header fields that point outside the file or ask for more than there is."""
    lies = {
        "setup_sects": (0x1f1, "B", 0xff),
        "syssize": (0x1f4, "I", 0xffffffff),
        "version": (0x206, "H", 0x0200),
        "init_size": (0x260, "I", 0xffffffff),
    }
    modules, complaint = [], []
    for i, (field, (at, form, value)) in enumerate(lies.items()):
        image = bzimage()
        struct.pack_into("<" + form, image, at, value)
        if field == "setup_sects":
            del image[0x8000:]
        modules.append((lib.scratch(f"{name}-{i}", image), f"vm=lie{i} kernel memory=64M"))
        complaint.append(rf"vm lie{i}: .*{field}.*, not started")
    expect_left_out(name, modules, r"[\s\S]*".join(complaint))


def test_lying_elf(name):
    """A segment past the file's end; program headers past the file's end."""
    with open(lib.guest_file("hello.elf"), "rb") as f:
        elf = f.read()
    segment, headers = bytearray(elf), bytearray(elf)
    struct.pack_into("<Q", segment, 64 + 32, 1 << 40)       # p_filesz
    struct.pack_into("<Q", headers, 32, len(elf) - 8)       # e_phoff
    expect_left_out(name, [(lib.scratch(name + "-segment", segment), "vm=segment kernel"),
                           (lib.scratch(name + "-headers", headers), "vm=headers kernel")],
                    r"vm segment: .*p_\w+.*, not started[\s\S]*vm headers: .*e_phoff.*, not started")


def test_large_initrd(name):
    """An initrd that does not fit into the guest's memory."""
    large = lib.scratch(name + "-initrd", bytes(48 << 20))
    modules = [(lib.guest_file("vmlinuz-amd64"), "vm=bad kernel memory=100M"),
               (large, "vm=bad initrd")]
    expect_left_out(name, modules, r"vm bad: .*initrd.*, not started")


def test_small_memory(name):
    """A kernel that does not fit into the guest's memory."""
    modules = [(lib.guest_file("vmlinux-amd64"), "vm=bad kernel memory=16M")]
    expect_left_out(name, modules, r"vm bad: .*, not started")


def test_no_svm(name):
    """A processor without SVM: one line, and the machine halts."""
    iso = lib.make_iso(name, lib.tiny("good", "hello"))
    with lib.Machine(name, iso, "--accel", "tcg", "--cpu", "qemu64,-svm") as m:
        m.expect(r"(?i)(svm|virtuali[sz]ation)")
        m.still_runs()
        lib.check(not m.seen(HELLO), "no guest", "a guest's line")


def test_no_long_mode(name):
    iso = lib.make_iso(name, lib.tiny("good", "hello"))
    with lib.Machine(name, iso, "--accel", "tcg", "--cpu", "qemu32") as m:
        m.expect(r"umbra: cannot start: the processor has no 64-bit long mode")
        m.still_runs()


def test_no_uart(name):
    """No serial port at all: guests run and the machine powers off when they are done."""
    iso = lib.make_iso(name, lib.tiny("good", "hello"))
    with lib.Machine(name, iso, "--serial", "none") as m:
        m.expect_exit()


def test_odd_port(name):
    """The console on another port and rate."""
    iso = lib.make_iso(name, lib.tiny("good", "hello"), "com1=com2,57600 on-idle=poweroff")
    with lib.Machine(name, iso, "--serial", "null", extra=["-serial", "mon:stdio"]) as m:
        m.expect(HELLO)
        m.expect_exit()
