"""The console on a serial card, and com1= with nothing behind it."""
import lib

HELLO = r"hello from a tiny guest"


def boot(name, umbra, modules, devices, *options):
    """A machine whose COM1 is nobody's and whose terminal is the character device `line`."""
    iso = lib.make_iso(name, modules, umbra)
    extra = ["-chardev", "stdio,id=line"]
    for device in devices:
        extra += ["-device", device]
    return lib.Machine(name, iso, "--serial", "none", *options, extra=extra)


def test_card(name):
    """A Linux guest's whole life over a PCI card that no interrupt is known of."""
    with boot(name, "com1=pci on-idle=poweroff", lib.linux("deb64"),
              ["pci-serial,chardev=line"]) as m:
        m.expect(r"console: PCI 00:\w\w\.0, port 0x\w+$", "umbra")
        m.expect(r"umbra: Umbra ")
        m.expect(r"console: no interrupt for the serial port; it is polled")
        m.expect_shell("deb64")
        # The guest is idle, and so is the machine.
        out = m.command("deb64", "echo $((6 * 7)) from the guest")
        lib.check("42 from the guest" in out, "'42 from the guest'", out)
        # The guest never halts.
        m.begin("while :; do :; done")
        m.interrupt("deb64")
        # More than any buffer holds, out and in.
        out = m.command("deb64", "seq 1 5000")
        lib.check(out.split() == [str(n) for n in range(1, 5001)], "1 to 5000", out[-2000:])
        m.paste("cat >/tmp/in\n")
        for start in range(1, 1000, 10):
            m.type("".join(f"{n}\n" for n in range(start, start + 10)))
        m.type("\x04")
        m.expect_shell("deb64", "command")
        out = m.command("deb64", "md5sum </tmp/in")
        lib.check("53d025127ae99ab79e8502aae2d9bea6" in out, "the md5sum of 1 to 1000", out)
        m.type("poweroff\n")
        m.expect_vm("deb64", "powered off")
        m.expect_exit()


def test_bridge_uefi(name):
    """Behind a bridge, UEFI's addresses; the monitor, when no guest is left."""
    with boot(name, "com1=pci,115200 loglevel=debug", lib.tiny("good", "hello"),
              ["pci-bridge,id=b,chassis_nr=1", "pci-bridge,id=c,chassis_nr=2,bus=b,addr=5",
               "pci-serial,chardev=line,bus=c,addr=7"], "--uefi") as m:
        m.expect(r"console: PCI 0[2-9]:07\.0, port 0x\w+$", "uefi")
        m.expect(HELLO)
        m.expect(r"umbra> ")
        m.type("vms\n")
        m.expect(r"umbra> ")
        m.type("poweroff\n")
        m.expect_exit()


def test_named_card(name):
    """The second port's own card, by its place; the first one's registers are left alone."""
    with boot(name, "com1=pci,00:0A.0 on-idle=poweroff", lib.tiny("good", "hello"),
              ["pci-serial,addr=9", "pci-serial-2x,chardev1=line,addr=a"],
              "--memory", "1G") as m:
        m.expect(r"console: PCI 00:0a\.0, port 0x\w+$", "umbra")
        m.expect(HELLO)
        m.expect_exit()


def test_other_interrupt(name):
    """COM1 with an interrupt that is not COM1's."""
    with boot(name, "on-idle=monitor", lib.tiny("good", "hello"),
              ["isa-serial,chardev=line,iobase=0x3f8,irq=10"]) as m:
        m.expect(r"umbra: Umbra ", "umbra")
        m.expect(r"console: interrupt 4 does not come; the serial port is polled")
        m.type("\nvms\n")
        m.expect(r"^ 1.good .*debug-exit")
        m.type("poweroff\n")
        m.expect_exit()


def expect_com1(name, place, why, *extra):
    """com1=place cannot be had: one line says why, on COM1."""
    iso = lib.make_iso(name, lib.tiny("good", "hello"), f"com1={place} on-idle=poweroff")
    with lib.Machine(name, iso, extra=extra) as m:
        m.expect(rf"umbra: com1={place}: {why}; using COM1 at 115200$", "umbra")
        m.expect(HELLO)
        m.expect_exit()
        lib.check(m.text.count("using COM1") == 1, "that line once", m.text)


def test_no_card(name):
    expect_com1(name, "pci", "no PCI serial card is there")


def test_ram(name):
    """RAM above 4 GiB is no device's."""
    expect_com1(name, "mmio32,0x140000000", "not an address that a device can have", "-m", "6G")


def test_nobody_there(name):
    """An address above 4 GiB that no device answers to."""
    expect_com1(name, "mmio32,0x1fe034000", "no UART answers there")


def test_other_device(name):
    """A device that keeps what is written to it: memory behind a PCI address."""
    expect_com1(name, "pci,00:0a.0", "no UART answers there",
                "-object", "memory-backend-ram,id=ram,size=1M,share=on",
                "-device", "ivshmem-plain,memdev=ram,addr=a")
