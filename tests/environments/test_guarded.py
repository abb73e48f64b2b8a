"""A child process ends with all it has started, and the reason of its failure is one line."""

import os
import re
import sys
from pathlib import Path

import pytest

import slmlab
from slmlab.environments.guarded import finish, guarded, has_crashed, last_words

TIDY = """
import pathlib, signal, sys, time
def tidy(*_):
    pathlib.Path(sys.argv[1]).touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, tidy)
print("ready", flush=True)
time.sleep(600)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""

posix = pytest.mark.skipif(os.name == "nt", reason="no such signals")


def test_every_process_of_ours_has_a_guard():
    package = Path(slmlab.__file__).parent
    starts = re.compile(r"subprocess\.(run|Popen|check_\w+)\(|os\.(system|popen)\(")
    starting = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if starts.search(file.read_text("utf-8"))
    }
    asks_macos_for_its_processor = {"machine.py"}  # which answers at once
    assert starting == {"environments/guarded.py"} | asks_macos_for_its_processor


def test_what_a_process_wrote_and_its_code_come_back(tmp_path):
    code = "import os, sys; print(os.environ['COLOUR'], os.getcwd()); sys.exit('bad')"
    done = finish([sys.executable, "-c", code], os.environ | {"COLOUR": "blue"}, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (
        f"blue {tmp_path.resolve()}\n",
        "bad\n",
        1,
    )


def test_a_process_is_not_asked_for_colours(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a notebook's kernel has it
    done = finish([sys.executable, "-c", "import os; print('FORCE_COLOR' in os.environ)"])
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("system", "code", "crashed"),
    [
        *(("posix", code, True) for code in (134, 137, 139)),
        *(("posix", code, False) for code in (0, 1, 3, 127, 0xC0000005)),
        *(("nt", code, True) for code in (3, 0xC0000005, 0xC000001D)),
        *(("nt", code, False) for code in (0, 1, 30, 127)),
    ],
)
def test_a_crash_is_known_by_its_code(monkeypatch, system, code, crashed):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "name", system)
        found = has_crashed(code)
    assert found == crashed


@posix
@pytest.mark.parametrize(("signal", "code"), [(9, 137), (6, 134)])
def test_a_signal_comes_back_as_in_a_shell(signal, code):
    kill = f"import os; os.kill(os.getpid(), {signal})"
    assert finish([sys.executable, "-c", kill]).returncode == code


def left_while_it_runs(code: str, *arguments) -> int:
    """Return what a process returns that has said it is ready and is then left."""
    with guarded([sys.executable, "-c", code, *arguments]) as process:
        assert process.stdout.readline() == "ready\n"
    return process.returncode


@posix
def test_a_process_is_asked_to_end_before_it_is_killed(tmp_path):
    assert left_while_it_runs(TIDY, tmp_path / "tidied") == 0
    assert (tmp_path / "tidied").exists()


@posix
def test_a_process_that_does_not_listen_is_killed():
    assert left_while_it_runs(DEAF) == 137


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (1, "progress\nValueError: no\n\n", "ValueError: no"),
        (3, "\n", "it ended with code 3 and said nothing"),
        (137, "loading: 40 %\n", "it was killed, often because memory ran out"),
        (134, "terminate called\n", "it crashed (SIGABRT): terminate called"),
        (139, "", "it crashed (SIGSEGV)"),
    ],
)
def test_last_words_tell_what_ended_a_process(code, log, words):
    assert last_words(code, log) == words
