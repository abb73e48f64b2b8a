"""Work in a process of its own: its result comes back, its noise and its death do not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from slmlab.errors import EngineError, FetchError, NotPossibleHere, UsageError
from slmlab.measurement.alone import alone, peak_bytes


def noisy(number):
    print("a framework greets the world")
    os.write(1, b"and so does its C++ part\n")
    return {"pid": os.getpid(), "number": number}


def refuses():
    raise UsageError("There is nothing to do; ask for something.")


def needs_memory():
    raise NotPossibleHere("This model needs 900 GB.")


class Nowhere(FetchError):
    """An error of ours that only one module knows."""


def is_nowhere():
    raise Nowhere("It is nowhere.")


def dies():
    os.abort()


def runs_out_of_memory():
    print("Loading weights:  40%", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def takes_long(note):
    Path(note).write_text(str(os.getpid()))
    time.sleep(600)


def holds(megabytes):
    kept = b"x" * (megabytes << 20)
    return peak_bytes() if kept else 0


@pytest.fixture(autouse=True)
def importable_here(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def run(function, **arguments):
    return alone("test_alone", function, "the work", **arguments)


def test_the_result_comes_from_another_process_and_its_noise_is_lost(capfd):
    result = run("noisy", number=7)
    assert result["number"] == 7 and result["pid"] != os.getpid()
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        ("refuses", UsageError, "There is nothing to do; ask for something."),
        ("needs_memory", NotPossibleHere, "This model needs 900 GB."),
        ("is_nowhere", FetchError, "It is nowhere."),
    ],
)
def test_an_error_of_ours_keeps_its_type_and_tells_what_was_measured(function, kind, said):
    with pytest.raises(kind, match=f"Measuring the work failed: {said}"):
        run(function)


def test_a_death_is_an_error_and_not_a_silence():
    with pytest.raises(EngineError, match="Measuring the work failed"):
        run("dies")


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_kill_is_told_whatever_was_said_before():
    with pytest.raises(EngineError, match="failed: it was killed, often because memory ran out"):
        run("runs_out_of_memory")


def test_what_takes_longer_than_its_limit_is_ended(tmp_path):
    note = tmp_path / "process"
    with pytest.raises(EngineError, match="Measuring the work took more than 3 s and was stopped"):
        run("takes_long", note=str(note), limit=3)
    assert not note.exists() or has_ended(int(note.read_text()))


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_nothing_measures_on_when_we_are_killed(tmp_path):
    note = tmp_path / "process"
    code = "import sys, test_alone; test_alone.run('takes_long', note=sys.argv[1])"
    ours = subprocess.Popen([sys.executable, "-c", code, note])
    wait_until(lambda: note.exists() and note.read_text())
    measuring = int(note.read_text())
    ours.kill()
    ours.wait()
    wait_until(lambda: has_ended(measuring))


def has_ended(process):
    """Whether a process is gone, or waits only to be reaped."""
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited for half a minute")


@pytest.mark.skipif(sys.platform == "win32", reason="the working set is not all that is held")
def test_the_peak_is_of_that_process_alone():
    here = b"x" * (300 << 20)
    small, large = run("holds", megabytes=1), run("holds", megabytes=201)
    assert 200e6 < large - small < 230e6
    assert small < 150e6 < len(here)
