"""A disk that is, or gets, full: one sentence, nothing half, and it goes on once there is room."""

import re
import subprocess
from pathlib import Path
from random import Random

import fault_disks
import pytest
from fault_jobs import JOBS, Job, start
from fault_ledger import SEED, WHOLE, chosen

pytestmark = [pytest.mark.slow, fault_disks.needs_disks]

GOING_ON = ("write progress", "keep measurements")
LOOKING = [name for name in JOBS if name not in (*GOING_ON, "sweep")]
"""Those that look for room first."""

SHORT = ("fetch, from the Hub", "quantise", "sweep", "write progress")
SENTENCE = re.compile(r"^(?:\w+|.*UserWarning): \S.*(make room|the disk is full).*[.)]$")


def ended(child: subprocess.Popen) -> tuple[int, str]:
    out, err = child.communicate(timeout=600)
    return child.returncode, out + err


def sentence(said: str) -> str:
    """The one line that says what is wrong."""
    assert "Traceback" not in said, said
    found = [line for line in said.splitlines() if SENTENCE.match(line)]
    assert len(found) == 1, said
    return found[0]


def goes_on(job: Job, inputs: Path, disk: Path, variables: dict) -> None:
    """With room again, the job ends with what an undisturbed one has made."""
    (disk / fault_disks.FILLER).unlink()
    code, said = ended(start(job, inputs, disk, variables))
    assert code == 0, said
    assert not list(disk.rglob("*.part"))


@pytest.mark.parametrize("job", chosen(JOBS, SHORT), ids=lambda job: job.name)
def test_a_full_disk_is_said_in_a_sentence(job, inputs, variables, disk, right, ledger):
    fault_disks.fill(disk, 0)
    code, said = ended(start(job, inputs, disk, variables(disk)))
    assert sentence(said)
    assert code == (0 if job.name in GOING_ON else 1)
    goes_on(job, inputs, disk, variables(disk))
    assert job.outcome(disk) == right(job)
    ledger.note("the disk is full", job.name)


@pytest.mark.parametrize("job", chosen(LOOKING, SHORT), ids=lambda job: job.name)
def test_a_disk_that_fills_up_meanwhile_leaves_nothing_half(
    job, inputs, variables, disk, right, ledger
):
    random = Random(f"{SEED} {job.name}")
    for left in random.sample(range(100_000, 3_000_000), 3 if WHOLE else 1):
        filler = str(disk / fault_disks.FILLER)
        first = fault_disks.FILL_ONCE_LOOKED_AT.format(filler=filler, left=left)
        code, said = ended(start(job, inputs, disk, variables(disk), first))
        assert (code, bool(sentence(said))) == (1, True)
        assert job.lost(disk, right(job)) is None
        ledger.note("the disk fills up", job.name)
        (disk / fault_disks.FILLER).unlink()
    fault_disks.fill(disk, 90_000_000)
    goes_on(job, inputs, disk, variables(disk))
    assert job.outcome(disk) == right(job)


def test_a_sweep_that_fills_the_disk_keeps_what_it_has_measured(
    inputs, variables, disk, right, ledger
):
    job = JOBS["sweep"]
    fault_disks.fill(disk, 200_000)
    code, said = ended(start(job, inputs, disk, variables(disk)))
    assert (code, bool(sentence(said))) == (1, True)
    assert 0 < job.outcome(disk) < right(job)
    assert job.lost(disk, right(job)) is None
    ledger.note("the disk fills up", job.name)
    goes_on(job, inputs, disk, variables(disk))
    assert job.outcome(disk) == right(job)
