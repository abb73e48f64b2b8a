"""Two and eight processes at the same cache: everything is made exactly once, and all have it."""

import subprocess
import sys

import pytest
from fault_jobs import JOBS, start
from fault_ledger import WHOLE, only_whole

from slmlab.lessons import progress
from slmlab.measurement import kept

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

KEEP = """
import sys
from slmlab.measurement import keep, measured
for number in range(20):
    keep([measured("tiny", "attempts", number + 1.0, "1", packages=())], "lab " + sys.argv[1])
"""


@pytest.mark.parametrize(("count", "job"), EVERY if WHOLE else SHORT)
def test_what_many_ask_for_is_made_once(count, job, inputs, variables, place, right, ledger):
    children = [start(job, inputs, place, variables(place)) for _ in range(count)]
    said = ["".join(child.communicate(timeout=900)) for child in children]
    assert [child.returncode for child in children] == [0] * count, said
    assert sum(job.says in one for one in said) == 1, said
    assert job.outcome(place) == right(job)
    ledger.note(f"{count} processes at once", job.name)


@pytest.fixture
def at_once(place, variables, monkeypatch):
    """Run a program in many notebooks at once, whose numbers they get; return what was said."""
    monkeypatch.setenv("SLMLAB_PROGRESS", str(place / "progress.json"))

    def at_once(count, program):
        children = [
            subprocess.Popen(
                [sys.executable, "-W", "always", "-c", program, str(n)],
                env=variables(place),
                stderr=subprocess.PIPE,
                text=True,
            )
            for n in range(count)
        ]
        said = "".join(child.communicate(timeout=900)[1] for child in children)
        assert [child.returncode for child in children] == [0] * count
        return said

    return at_once


@only_whole
@pytest.mark.parametrize("count", [2, 8])
def test_notebooks_at_once_lose_no_attempt(count, at_once, ledger):
    said = at_once(count, REMEMBER)
    attempts = [entry["attempts"] for entry in progress.read().values()]
    assert len(attempts) == count
    # On a very busy machine one may wait for longer than 10 s for its turn, and is told.
    assert sum(attempts) + said.count("could not be kept") == count * 20
    ledger.note(f"{count} processes at once", "write progress")


@only_whole
@pytest.mark.parametrize("count", [2, 8])
def test_notebooks_at_once_lose_no_measurement(count, at_once, ledger):
    said = at_once(count, KEEP)
    last = {lab: row.value for lab, (row,) in kept().items()}
    # As above: who waited too long is told, and its lab may have an earlier number.
    assert last == {f"lab {n}": 20.0 for n in range(count)} or "could not be kept" in said
    ledger.note(f"{count} processes at once", "keep measurements")
