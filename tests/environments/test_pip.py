"""pip is quiet, asks nothing, and leaves nothing outside the folder that it is given."""

import sys

import pytest

from slmlab.environments import pip

TOLD = """
import os, pathlib, sys
pathlib.Path(os.environ["TMPDIR"], "left").touch()
print([os.environ[name] for name in sys.argv[1:]])
"""


def test_its_temporary_files_go_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pip, "command", lambda *names: [sys.executable, "-c", TOLD, *names])
    monkeypatch.setenv("PIP_PROGRESS_BAR", "on")
    done = pip.run(["PIP_NO_INPUT", "PIP_PROGRESS_BAR"], tmp_path)
    assert done.stdout.strip() == "['1', 'off']"
    assert list(tmp_path.iterdir()) == []


def test_it_is_the_pip_of_our_python_and_knows_its_options(tmp_path):
    done = pip.run(["download", "--dest", tmp_path, "--no-index", "no-such-package"], tmp_path)
    assert done.returncode == 1
    assert pip.why(1, done.stderr) == (
        "No matching distribution found for no-such-package, or the package index cannot answer now"
    )


def test_a_pip_that_an_index_keeps_waiting_is_ended(tmp_path, monkeypatch):
    asleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(pip, "command", lambda *_: asleep)
    monkeypatch.setattr(pip, "PATIENCE", 2.0)
    done = pip.run([], tmp_path)
    assert pip.why(done.returncode, done.stderr) == (
        "the package index keeps pip waiting for more than 2 s"
    )


def test_a_pip_that_works_is_left_alone(tmp_path, monkeypatch):
    busy = "import time; end = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    monkeypatch.setattr(pip, "command", lambda *_: [sys.executable, "-c", busy])
    monkeypatch.setattr(pip, "PATIENCE", 1.5)
    assert pip.run([], tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n  Expected 12\n  Got 34",
            "a package that came is not the one that was promised, or was damaged on the way",
        ),
        (
            "ERROR: Exception:\nTraceback ...\nReadTimeoutError: Read timed out.",
            "pip could not reach a package index",
        ),
        (
            "WARNING: Connection interrupted while downloading.\nhint: Use --resume-retries",
            "pip could not reach a package index",
        ),
        ("ERROR: HTTP error 429 while getting x\nERROR: no", "the package index is too busy"),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'Timeout': /simple/x/\n"
            "ERROR: Failed building wheel for x",
            "Failed building wheel for x",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'Timeout': /simple/x/\n"
            "ERROR: Could not find a version that satisfies the requirement x "
            "(from versions: none)",
            "pip could not reach a package index",
        ),
        ("WARNING: x\nERROR: Something new", "Something new"),
    ],
)
def test_why_is_not_only_the_last_line(log, reason):
    assert pip.why(1, log) == reason
