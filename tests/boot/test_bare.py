"""What a PC has and the usual emulated machine has not, and the other way round."""
import os

import lib

ISO = os.path.join(lib.BUILD, "umbra.iso")
HELLO = r"hello from a tiny guest"


def stick(name, firmware):
    """The product's ISO as it is on a USB stick."""
    with lib.Machine(name, ISO, firmware, "--usb", keep_iso=True) as m:
        m.expect_umbra()
        m.expect_shell("deb64")
        m.type("poweroff\n")
        m.expect_vm("deb64", "powered off")
        m.expect_exit()


def test_stick_bios(name):
    stick(name, "--bios")


def test_stick_uefi(name):
    stick(name, "--uefi")


def test_no_legacy(name):
    """No PIT, HPET, keyboard controller: power-off and time do without."""
    iso = lib.make_iso(name, lib.tiny("good", "hello"), lib.UMBRA_LINE.replace("info", "debug"))
    with lib.Machine(name, iso, extra=["-M", "q35,pit=off,hpet=off,i8042=off,vmport=off"]) as m:
        m.expect(r"clock: TSC \d+ kHz by the ACPI PM timer", "umbra")
        m.expect(HELLO)
        m.expect_exit()


def test_more_processors(name):
    """The others wait where the firmware left them."""
    iso = lib.make_iso(name, lib.tiny("good", "hello"))
    with lib.Machine(name, iso, "--smp", "4") as m:
        m.expect(HELLO, "umbra")
        m.expect_exit()
