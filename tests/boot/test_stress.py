"""Processes that change their memory at random and check it all (tests/guest/linux/stress.c)."""
import re

import lib
from models import MODELS

LARGE_PAGES = 8
LINE = f"console=ttyS0 quiet hugepages={LARGE_PAGES}"
# Linux makes no transparent large pages with less than 512 MiB.
MEMORY = "memory=640M"

# Kernel, paging, more of the guest's line, seconds, build. Those of lib.PAGINGS are run: under
# shadow paging with less memory for its pages than they need, and with the debug build, which
# audits them.
CELLS = [
    ("amd64", "nested", "", 10, "."),
    ("686-pae", "nested", "", 10, "."),
    ("686", "nested", "", 10, "."),
    ("amd64", "shadow", "shadow=2M", 60, "debug"),
    ("686-pae", "shadow", "shadow=1M", 20, "debug"),
    ("686", "shadow", "shadow=1M", 20, "debug"),
]


def stress(name, kernel, paging, options, seconds, build, model=MODELS["tcg"], more=""):
    large_pages = not re.search(r"clearcpuid=(\S+,)?pse\b", more)
    line = f"{LINE} {more} seconds={seconds} procs=4 seed={len(name) * 7919 + seconds}"
    initrd = "initrd-stress-64" if kernel == "amd64" else "initrd-stress-32"
    modules = [(lib.guest_file(f"vmlinuz-{kernel}"),
                f"vm=stress kernel {MEMORY} paging={paging} {options} stats -- {line}"),
               (lib.guest_file(initrd), "vm=stress initrd")]
    with model.boot(name, modules, build=build) as m:
        model.expect_backend(m)
        m.expect(r"^stress: \d+ s, 4 processes", "shell", never=r"Kernel panic")
        last = m.expect(r"^stress: (OK|WRONG).*\n", "work", never=r"Kernel panic").group()
        lib.check("OK" in last, "stress: OK", last)
        counts = {word: int(n) for word, n in re.findall(r"(\w+)=(\d+)", last)}
        for what in ("ops", "faults", "forks", "moves"):
            lib.check(counts[what] > 0, f"more than 0 {what}", last)
        for what in ("hugetlb", "thp"):
            lib.check((counts[what] > 0) == large_pages,
                      f"{'more than' if large_pages else 'just'} 0 {what}", last)
        m.expect_vm("stress", "powered off")
        if paging == "shadow":
            reclaimed = m.expect(r"vm stress: shadow reclaimed +(\d+)").group(1)
            lib.check(int(reclaimed) > 0, "shadow pages reclaimed", reclaimed)
        m.expect_exit()


for _cell in CELLS:
    if _cell[1] in lib.PAGINGS:
        lib.add_test(f"{_cell[0]}_{_cell[1]}", stress, *_cell)
