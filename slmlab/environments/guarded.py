"""Child processes that leave nothing behind, however we end.

A guard, which is this file run as a script, starts the process in a group of its own. The guard's
standard input is a pipe that we hold open. Where the process ends, or the pipe closes because we
have ended or were killed, the guard ends everything in the group.

What makes a group or a session for itself (`setsid`) escapes. Windows has no such groups: there
what a process has started ends with it only where it is stopped, not where it ends by itself.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_COLOUR = {"FORCE_COLOR", "CLICOLOR_FORCE"}  # Jupyter asks for colours, which are not for reading
_SIGNALS = {128 + number: number.name for number in signal.Signals}
_ABORTED, _FIRST_EXCEPTION = 3, 0xC0000000  # the codes of a crash on Windows

KILLED = 128 + 9
"""The code of a process that was killed, as systems do that run out of memory."""

IDLE = 124
"""The code of a process that was ended because it had done nothing for too long."""


def finish(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    idle: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end and return what it wrote and its code; both are as in `guarded`.

    Raises `subprocess.TimeoutExpired` after `timeout` seconds; the process is stopped then.
    """
    with guarded(command, env, cwd, idle=idle) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def last_words(code: int, log: str) -> str:
    """Return in a line why a process failed: the signal that ended it, or the end of its log."""
    if code == KILLED:
        return "it was killed, often because memory ran out"
    last = log.strip().splitlines()[-1:]
    if code in _SIGNALS:
        return ": ".join([f"it crashed ({_SIGNALS[code]})", *last])
    return last[0] if last else f"it ended with code {code} and said nothing"


def has_crashed(code: int) -> bool:
    """Return whether a code is that of a process that a signal, or a Windows exception, ended."""
    on_windows = os.name == "nt" and (code == _ABORTED or code >= _FIRST_EXCEPTION)
    return code in _SIGNALS or on_windows


@contextmanager
def guarded(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stderr: int | IO[str] = subprocess.PIPE,
    stdout: int | IO[str] = subprocess.PIPE,
    idle: float | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Give a running process whose output is plain text; after the block its group is no more.

    `env` is our own without one. A process that is ended by a signal returns 128 plus the signal's
    number, as in a shell. One that, with all that it has started, has not used the processor nor
    waited for a disk for `idle` seconds is ended; after the block its code is `IDLE`.
    """
    plain = {name: value for name, value in (env or os.environ).items() if name not in _COLOUR}
    guard_end, our_end = os.pipe()
    with os.fdopen(our_end, "wb") as lifeline:
        try:
            guard = subprocess.Popen(
                [sys.executable, "-I", __file__, *command],
                stdin=guard_end,
                stdout=stdout,
                stderr=stderr,
                env=plain,
                cwd=cwd,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        finally:
            os.close(guard_end)
        over, too_idle = threading.Event(), threading.Event()

        def watch() -> None:
            if _falls_idle(guard.pid, idle, over):
                too_idle.set()
                lifeline.close()

        with guard:
            if idle is not None:
                threading.Thread(target=watch, daemon=True).start()
            try:
                yield guard
            finally:
                over.set()
                lifeline.close()
                guard.wait()
                if too_idle.is_set():
                    guard.returncode = IDLE


def _falls_idle(guard: int, idle: float, over: threading.Event) -> bool:
    """Return True once what a guard has started has been idle for so long, and False once over."""
    import psutil

    worked, quiet = {}, 0
    while not over.wait(idle / 10):  # counted, for a clock may go on while a laptop sleeps
        with suppress(psutil.Error):
            started = psutil.Process(guard).children(recursive=True)
            now = {process.pid: process.cpu_times()[:2] for process in started}
            waits = any(process.status() == psutil.STATUS_DISK_SLEEP for process in started)
            worked, quiet = now, 0 if waits or now != worked else quiet + 1
            if quiet >= 10:
                return True
    return False


def _guard(command: Sequence[str]) -> int:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    threading.Thread(target=_end_with_input, args=[process.pid], daemon=True).start()
    code = process.wait()
    if os.name != "nt":
        _end(process.pid)
    if code >= 2**31:  # an exception on Windows, which `sys.exit` takes only as a negative number
        return code - 2**32
    return code if code >= 0 else 128 - code


def _end_with_input(leader: int) -> None:
    os.read(0, 1)
    _end(leader)


def _end(leader: int) -> None:
    """End a group, or on Windows a process with all that it has started."""
    if os.name == "nt":
        tree = ["taskkill", "/F", "/T", "/PID", str(leader)]
        subprocess.run(tree, capture_output=True)
        return
    with suppress(ProcessLookupError, PermissionError):  # nobody is left in the group
        # Asked first, for ninja then ends its compilers, which it puts in groups of their own.
        os.killpg(leader, signal.SIGTERM)
        for _ in range(100):  # what vLLM has started gives its shared memory back last
            time.sleep(0.05)
            os.killpg(leader, 0)
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
