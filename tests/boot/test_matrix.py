"""Cells of `make test-matrix`, a few parts of each; tests/boot/matrix.py has the list."""
import lib
import matrix
from models import MODELS

for _job in matrix.ci_jobs():
    globals()["test_" + _job.name] = (lambda job: lambda name: job.run(name))(_job)


def test_list(name):
    """The list touches each cell of VMX with a paging test and Linux, and each model.

    Several processors, and the PC from inside, are test_smp.py's and test_apic_board.py's in CI.
    """
    del name
    jobs = list(matrix.ci_jobs())
    touched = {(job.cell, job.part) for job in jobs}
    for job in matrix.all_jobs(False):
        if job.cell.startswith("vmx") and job.part in ("tiny", "paging", "linux"):
            lib.check((job.cell, job.part) in touched, f"{job.cell} {job.part} in matrix.CI", touched)
    models = {job.model for job in jobs}
    lib.check(models == set(MODELS) - {"tcg", "max"}, "each model of Bochs in matrix.CI", models)
