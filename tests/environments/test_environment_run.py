"""A program in an environment sees nothing of ours, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from slmlab import environments
from slmlab.errors import EngineError

START_A_CHILD = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep)  # it holds our stdout and stderr
with open(sys.argv[1], "w") as note:
    print(child.pid, file=note)
"""
SLEEP_WITH_A_CHILD = START_A_CHILD + "time.sleep(600)"


@pytest.fixture
def environment(tmp_path) -> environments.Environment:
    """An environment with nothing in it."""
    path = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return environments.Environment("bare", path)


def test_a_program_gives_back_what_it_prints(environment):
    done = environment.run(["-c", "import sys; print('façade'); print('log', file=sys.stderr)"])
    assert (done.stdout, done.stderr, done.returncode) == ("façade\n", "log\n", 0)


def test_it_runs_where_and_with_what_it_is_told(environment, tmp_path):
    code = "import os; print(os.getcwd(), os.environ['COLOUR'])"
    done = environment.run(["-c", code], cwd=tmp_path, env={"COLOUR": "blue"})
    assert done.stdout.split() == [str(tmp_path.resolve()), "blue"]


def test_our_packages_cannot_be_imported(environment, tmp_path, monkeypatch):
    (tmp_path / "ours.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert subprocess.run([sys.executable, "-c", "import ours, numpy"]).returncode == 0
    for module in ("ours", "numpy", "slmlab"):
        with pytest.raises(EngineError, match=f"No module named '{module}'"):
            environment.run(["-c", f"import {module}"])


def test_our_settings_stay_outside_and_those_of_the_machine_go_in(environment, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("PIP_TARGET", "/nowhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    inside = environment.variables()
    assert not {"VIRTUAL_ENV", "MPLBACKEND", "PIP_TARGET"} & inside.keys()
    assert inside["PIP_INDEX_URL"] == "https://packages.example/simple"
    assert inside["HF_HUB_OFFLINE"] == "1"
    assert inside["PATH"].split(os.pathsep)[0] == str(environment.python.parent)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; print('no such pass', file=sys.stderr); sys.exit(3)", "no such pass"),
        ("import sys; print('only said so'); sys.exit(3)", "only said so"),
        ("raise SystemExit(3)", "it ended with code 3 and said nothing"),
        pytest.param(
            "import os; print('RuntimeError: an old one', flush=True); os.kill(os.getpid(), 9)",
            "it was killed, often because memory ran out",
            marks=pytest.mark.skipif(os.name == "nt", reason="no such signals"),
        ),
        (
            "import atexit; atexit.register(print, 'bye'); raise OSError('no model')",
            "OSError: no model",
        ),
    ],
)
def test_a_failure_is_told_in_one_line(environment, code, reason):
    with pytest.raises(EngineError) as caught:
        environment.run(["-c", code])
    assert str(caught.value).startswith(f"A program in the bare environment failed: {reason}")


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits only to be reaped."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_ends(pid: int) -> None:
    for _ in range(100):
        if ended(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} still runs")


def child_in(note) -> int:
    for _ in range(300):
        if note.exists() and note.read_text().strip():
            return int(note.read_text())
        time.sleep(0.1)
    pytest.fail("the child has not started")


def test_too_long_a_run_is_stopped_with_all_it_started(environment, tmp_path):
    note = tmp_path / "child"
    with pytest.raises(EngineError, match="took longer than 3 s and was stopped"):
        environment.run(["-c", SLEEP_WITH_A_CHILD, note], timeout=3)
    assert_ends(child_in(note))


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_we_are_killed(environment, tmp_path, by):
    note = tmp_path / "child"
    code = (  # a shell has its background jobs ignore SIGINT, and they hand that on
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from pathlib import Path; from slmlab.environments import Environment; "
        "Environment('bare', Path(sys.argv[1])).run(['-c', sys.argv[2], sys.argv[3]])"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", code, environment.path, SLEEP_WITH_A_CHILD, note],
        stderr=subprocess.DEVNULL,
    )
    child = child_in(note)
    ours.send_signal(by)
    ours.wait(30)
    assert_ends(child)


@pytest.mark.skipif(os.name == "nt", reason="no process groups")
def test_what_a_program_leaves_running_is_stopped_when_it_ends(environment, tmp_path):
    note = tmp_path / "child"
    done = environment.run(["-c", START_A_CHILD + "print('done')", note], timeout=60)
    assert done.stdout == "done\n"
    assert_ends(child_in(note))
