"""Work in a process of its own: its result comes back, its noise and its death do not."""

import os
import sys
from pathlib import Path

import pytest

from slmlab.errors import EngineError, UsageError
from slmlab.measurement.alone import alone, peak_bytes


def noisy(number):
    print("a framework greets the world")
    os.write(1, b"and so does its C++ part\n")
    return {"pid": os.getpid(), "number": number}


def refuses():
    raise UsageError("There is nothing to do; ask for something.")


def dies():
    os.abort()


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


def test_an_error_of_ours_is_told_with_what_was_measured():
    with pytest.raises(EngineError, match=r"Measuring the work failed: There is nothing to do"):
        run("refuses")


def test_a_death_is_an_error_and_not_a_silence():
    with pytest.raises(EngineError, match="Measuring the work failed"):
        run("dies")


@pytest.mark.skipif(sys.platform == "win32", reason="the working set is not all that is held")
def test_the_peak_is_of_that_process_alone():
    here = b"x" * (300 << 20)
    small, large = run("holds", megabytes=1), run("holds", megabytes=201)
    assert 200e6 < large - small < 230e6
    assert small < 150e6 < len(here)
