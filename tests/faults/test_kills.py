"""kill -9 at any moment: nothing half is taken for whole, no lock stays, and the next run goes on.

A moment is drawn from the time that an undisturbed run takes: for every other kill from all of it,
and for the rest from when it first leaves something on disk, since much of a run is imports.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import pytest
from fault_jobs import JOBS, Job, fresh, start
from fault_ledger import SEED, WHOLE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="no SIGKILL"),
]

PATIENCE = 600  # seconds; a run takes less than a minute on a busy machine
FAULT = "kill -9"


@dataclass(frozen=True)
class Undisturbed:
    """How long one run took, when it left the first thing on disk, and what came out."""

    seconds: float
    first_trace: float
    outcome: object


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.suffix != ".lock"}


def undisturbed(job: Job, inputs: Path, folder: Path, variables: dict) -> Undisturbed:
    before, begun, traced = files(folder), time.monotonic(), None
    child = start(job, inputs, folder, variables)
    while child.poll() is None:
        time.sleep(0.01)
        if traced is None and any(path.is_file() for path in files(folder) - before):
            traced = time.monotonic() - begun
    assert child.returncode == 0, child.communicate()[1]
    child.communicate()
    seconds = time.monotonic() - begun
    return Undisturbed(seconds, traced or seconds / 2, job.outcome(folder))


def killed(child: subprocess.Popen, delay: float, alone: bool) -> bool:
    """Kill a run, alone or with its whole session, after `delay` seconds; False where it had ended.

    A kernel is killed alone, and what it has started must end by itself.
    """
    try:
        child.communicate(timeout=delay)
        return False
    except subprocess.TimeoutExpired:
        (os.kill if alone else os.killpg)(child.pid, signal.SIGKILL)
        child.communicate(timeout=PATIENCE)
        return True


def left_running(folder: Path) -> list[str]:
    """The processes that still work in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(folder) in command:
            found.append(command)
    return found


def gone_on(job: Job, inputs: Path, folder: Path, variables: dict, right: object) -> str | None:
    """Run the job again, at once; say what is not as it should be then."""
    child = start(job, inputs, folder, variables)
    said = child.communicate(timeout=PATIENCE)[1]
    if child.returncode:
        return f"the next run failed: {said.strip().splitlines()[-1]}"
    if "Waiting for another program" in said:
        return "a lock was still held"
    if job.outcome(folder) != right:
        return f"the next run ended with {job.outcome(folder)!r}"
    end = time.monotonic() + 30
    while left := left_running(folder):
        if time.monotonic() > end:
            return f"a process is left: {left[0]}"
        time.sleep(0.1)
    return None


def left_behind(folder: Path) -> list[Path]:
    """What is there under the name of something unfinished."""
    return list(folder.rglob("*.part"))


@pytest.mark.parametrize("job", JOBS.values(), ids=lambda job: job.name)
def test_a_killed_run_loses_nothing(job, inputs, variables, tmp_path, ledger):
    wanted = job.share if WHOLE else job.short
    if not wanted:
        pytest.skip("takes long; make test-faults does it")
    random = Random(f"{SEED} {job.name}")
    whole = fresh(tmp_path / "whole")
    run = undisturbed(job, inputs, whole, variables(whole))
    kills = tries = most = 0
    lost = []
    folder = fresh(tmp_path / "0")
    while kills < wanted and tries < 4 * wanted + 4:
        tries += 1
        delay = random.uniform(run.first_trace if tries % 2 else 0, run.seconds)
        child = start(job, inputs, folder, variables(folder))
        if not killed(child, delay, alone=random.random() < 0.5):
            folder = fresh(tmp_path / str(tries))
            continue
        kills += 1
        wrong = job.lost(folder, run.outcome)
        most = max(most, len(left_behind(folder)))
        if random.random() < 0.3 and kills < wanted:  # the next run is killed, too
            ledger.note(FAULT, job.name, wrong)
            lost.append(wrong)
            continue
        wrong = wrong or gone_on(job, inputs, folder, variables(folder), run.outcome)
        if not wrong and (left := left_behind(folder)):
            wrong = f"{len(left)} unfinished files stay after a run that went well"
        ledger.note(FAULT, job.name, wrong)
        lost.append(wrong)
        folder = fresh(tmp_path / str(tries))
    remark = f"a run takes {run.seconds:.1f} s; at most {most} unfinished files at a time"
    ledger.note(FAULT, job.name, times=0, remark=remark)
    assert kills == wanted
    assert not list(filter(None, lost))
