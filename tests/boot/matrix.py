"""What a guest can be: a backend, its memory paged nested or by a shadow, and its own paging.

Each of these cells is tried on every model that has it, by the parts of PARTS.
"""
import dataclasses
import itertools

import lib
import test_apic_board
import test_linux
import test_paging
import test_smp
import test_stress
from models import MODELS, NO_XSAVEC

BACKENDS = ("svm", "vmx")
ROWS = {"unpaged": "no paging", "32": "32-bit", "pse": "32-bit PSE", "pae": "PAE", "64": "64-bit"}
COLUMNS = tuple(itertools.product(BACKENDS, lib.PAGINGS))

# The Linux of each mode: its entry in the menu, what its line gets more, and the pages that it
# then maps itself with. Without PSE it is the 686 kernel on a processor that seems to have none.
LINUX = {
    "32": ("686", f"{NO_XSAVEC},pse", "DirectMap4k"),
    "pse": ("686", NO_XSAVEC, "DirectMap4M"),
    "pae": ("686-pae", NO_XSAVEC, "DirectMap2M"),
    "64": ("amd64", NO_XSAVEC, "DirectMap2M"),
}
# Its self-tests of cryptography are three quarters of a boot on Bochs.
LINUX_LINE = "cryptomgr.notests"
FEWER_TREES = "every=13"  # one tree of flags in 13, see docs/testing.md


@dataclasses.dataclass(frozen=True)
class Job:
    """One part of one cell on one model; long: as long as on QEMU."""
    model: str
    paging: str
    mode: str
    part: str
    long: bool = False

    @property
    def cell(self):
        return f"{MODELS[self.model].backend}-{self.paging}-{self.mode}"

    @property
    def title(self):
        return f"{self.cell} {self.part} on {self.model}"

    @property
    def name(self):
        return f"{self.cell}-{self.part}-{self.model}".replace("-", "_")

    def run(self, name):
        PARTS[self.part](name, self)


def run_tiny(name, job):
    """All tiny guests: real mode, no paging, tasks, what a processor refuses."""
    model = MODELS[job.model]
    skipped = ("task_switch",) if model.script == "run-qemu" and job.paging == "shadow" else ()
    ends = {guest: end for guest, end in lib.TINY_ENDS.items() if guest not in skipped}
    options = f"memory=16M debug-exit paging={job.paging}"
    options += " audit=50" if job.paging == "shadow" else ""
    with model.boot(name, lib.tiny_guests(ends, options)) as m:
        model.expect_backend(m)
        m.expect_exit()
        m.expect_ends(ends)
        lib.check(not m.seen("the shadow is wrong"), "audits that find nothing", m.text[-3000:])


def run_paging(name, job):
    """The paging test of that mode."""
    model = MODELS[job.model]
    slow = model.script == "run-bochs" or job.mode == "64" and job.paging == "shadow"
    line = FEWER_TREES + " steps=2000" if slow and not job.long else ""
    test_paging.under_umbra(name, model, job.mode, job.paging, line)


def check_mapping(machine, vm, mode):
    """The guest's kernel maps itself with the pages of its mode."""
    expected = LINUX[mode][2]
    out = machine.command(vm, "grep DirectMap /proc/meminfo")
    sizes = {name for name, kib in (line.split(":") for line in out.splitlines() if ":" in line)
             if int(kib.split()[0])}
    largest = max(sizes, key=("DirectMap4k", "DirectMap2M", "DirectMap4M", "DirectMap1G").index)
    lib.check(largest == expected, f"{expected} as the largest", out)


def check_date(machine, vm):
    """The date of the machine's RTC: Bochs' begins with 2000."""
    out = machine.command(vm, "date +%F")
    lib.check("2000-01-01" in out or machine.scale == 1, "2000-01-01", out)


def keep_time(machine, vm):
    """The guest's own clock against Umbra's, which its RTC shows, over 20 s: within 1%."""
    machine.command(vm, "r() { read s </sys/class/rtc/rtc0/since_epoch; }; "
                    "e() { r; a=$s; while [ $s = $a ]; do r; done; read u w </proc/uptime; }")
    out = machine.command(vm, "e; t=$s; echo $u; sleep 20; e; echo $u; echo $((s - t))")
    first, last, seconds = (float(word) for word in out.split())
    off = (last - first) / seconds - 1
    lib.check(abs(off) < 0.01, "a guest's clock within 1% of its RTC's", out)


def run_linux(name, job):
    """Debian's kernel to its shell and to its end."""
    model = MODELS[job.model]
    kernel, line, _ = LINUX[job.mode]
    modules = [(path, words.replace("quiet", f"quiet {LINUX_LINE} {line}"))
               for path, words in lib.menu_entry(f"debian-{kernel}-{job.paging}")]
    vm, = lib.vm_names(modules)
    with model.boot(name, modules) as m:
        model.expect_backend(m)
        m.expect_shell(vm, "work")
        test_linux.run_commands(m, vm, 16 if job.long else 2)
        check_date(m, vm)
        check_mapping(m, vm, job.mode)
        if job.long:
            test_linux.compute(m, vm)
            keep_time(m, vm)
            test_linux.restart(m, vm)
        else:
            test_linux.compute(m, vm, blocks=16, size=16384, forks=20)
        test_linux.power_off(m, vm)


def run_stress(name, job):
    """Processes that change their memory at random, see test_stress.py."""
    kernel, line, _ = LINUX[job.mode]
    options = "shadow=2M" if job.paging == "shadow" else ""
    seconds = 10 if job.long else 3
    test_stress.stress(name, kernel, job.paging, options, seconds, ".", MODELS[job.model],
                       f"{LINUX_LINE} {line}")


def run_smp(name, job):
    """Linux with four vCPUs on two processors, see test_smp.py."""
    test_smp.check_briefly(name, job.model, f"paging={job.paging}", 4)


def run_pc(name, job):
    """Each register and mode of the PC, see test_apic_board.py."""
    model = MODELS[job.model]
    cpu = ("--cpu", model.cpu) if model.cpu else ()
    test_apic_board.whole_pc(name, f"paging={job.paging}", *cpu, script=model.script)


PARTS = {"tiny": run_tiny, "paging": run_paging, "linux": run_linux, "stress": run_stress, "smp": run_smp,
         "pc": run_pc}


def parts_of(row):
    if row == "unpaged":
        return ("tiny",)
    return ("paging", "linux", "stress") + (("smp", "pc") if row == "64" else ())


def all_jobs(long):
    """Every part of every cell on every model."""
    for row, (backend, paging) in itertools.product(ROWS, COLUMNS):
        for name, model in MODELS.items():
            if model.backend == backend and paging in model.pagings and name != "max":
                for part in parts_of(row):
                    yield Job(name, paging, row, part, long)


# What CI runs, beside what it does on QEMU: each cell of vmx once, spread over the models, and
# Linux with SVM's optional features and without nested paging. Model, paging, mode, parts.
CI = [
    ("ryzen", "nested", "unpaged", "tiny"),
    ("ryzen", "nested", "32", "paging linux"),
    ("ryzen", "nested", "pse", "paging"),
    ("ryzen", "nested", "pae", "paging linux"),
    ("ryzen", "nested", "64", "paging linux"),
    ("ryzen", "shadow", "unpaged", "tiny"),
    ("ryzen", "shadow", "pse", "linux"),
    ("ryzen", "shadow", "pae", "linux"),
    ("ryzen", "shadow", "64", "linux"),
    ("turion", "shadow", "unpaged", "tiny"),
    ("turion", "shadow", "pse", "linux"),
    ("turion", "shadow", "pae", "linux"),
    ("turion", "shadow", "64", "paging linux"),

    ("lynnfield", "nested", "unpaged", "tiny"),
    ("sandy", "nested", "unpaged", "tiny"),
    ("haswell", "nested", "unpaged", "tiny"),
    ("skylake", "nested", "unpaged", "tiny"),
    ("penryn", "shadow", "unpaged", "tiny"),
    ("lynnfield", "shadow", "unpaged", "tiny"),
    ("sandy", "shadow", "unpaged", "tiny"),
    ("haswell", "shadow", "unpaged", "tiny"),
    ("skylake", "shadow", "unpaged", "tiny"),

    ("lynnfield", "nested", "32", "linux"),
    ("sandy", "nested", "pse", "linux"),
    ("sandy", "nested", "pae", "linux"),
    ("haswell", "nested", "64", "linux"),
    ("haswell", "nested", "32", "paging"),
    ("lynnfield", "nested", "pse", "paging"),
    ("skylake", "nested", "pae", "paging"),
    ("sandy", "nested", "64", "paging"),

    ("penryn", "shadow", "32", "linux"),
    ("lynnfield", "shadow", "pse", "linux"),
    ("haswell", "shadow", "pae", "linux"),
    ("skylake", "shadow", "64", "linux"),
    ("haswell", "shadow", "32", "paging"),
    ("sandy", "shadow", "pse", "paging"),
    ("penryn", "shadow", "pae", "paging"),
    ("lynnfield", "shadow", "64", "paging"),
]


def ci_jobs():
    for model, paging, mode, parts in CI:
        for part in parts.split():
            yield Job(model, paging, mode, part)
