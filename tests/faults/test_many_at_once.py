"""Two and eight processes at the same cache: everything is made exactly once, and all have it."""

import subprocess
import sys

import pytest
from fault_jobs import JOBS, start
from fault_ledger import WHOLE, only_whole

from slmlab.lessons import progress

pytestmark = pytest.mark.slow

MAKING = [job for job in JOBS.values() if job.says]
SHORT = [(8, JOBS["quantise"])]
EVERY = [(count, job) for count in (2, 8) for job in MAKING]

REMEMBER = """
import sys
from slmlab.lessons import progress
from slmlab.lessons.question import Verdict
for _ in range(20):
    progress.remember(Verdict("tiers.q" + sys.argv[1], "incorrect", ""))
"""


@pytest.mark.parametrize(("count", "job"), EVERY if WHOLE else SHORT)
def test_what_many_ask_for_is_made_once(count, job, inputs, variables, place, right, ledger):
    children = [start(job, inputs, place, variables(place)) for _ in range(count)]
    said = ["".join(child.communicate(timeout=900)) for child in children]
    assert [child.returncode for child in children] == [0] * count, said
    assert sum(job.says in one for one in said) == 1, said
    assert job.outcome(place) == right(job)
    ledger.note(f"{count} processes at once", job.name)


@only_whole
def test_eight_notebooks_at_once_lose_no_attempt(place, variables, monkeypatch, ledger):
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "always", "-c", REMEMBER, str(n)],
            env=variables(place),
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(8)
    ]
    said = "".join(child.communicate(timeout=900)[1] for child in children)
    assert [child.returncode for child in children] == [0] * 8
    monkeypatch.setenv("SLMLAB_PROGRESS", str(place / "progress.json"))
    attempts = [entry["attempts"] for entry in progress.read().values()]
    assert len(attempts) == 8
    # On a very busy machine one may wait for longer than 10 s for its turn, and is told.
    assert sum(attempts) + said.count("could not be kept") == 8 * 20
    ledger.note("8 processes at once", "write progress")
