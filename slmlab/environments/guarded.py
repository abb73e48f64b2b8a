"""A process that leaves nothing behind, however we end.

It is started by a guard, which is this file run as a script. The guard's standard input is a pipe
that we hold open; when we end, also by being killed, the pipe closes, and the guard kills the
process and all that it has started.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def guarded(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    cwd: Path | None = None,
    stderr: int | IO[str] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """Give a running process whose output is text; after the block nothing of it runs any more.

    A process that is killed by a signal returns 128 plus the signal's number, as in a shell.
    """
    guard_end, our_end = os.pipe()
    try:
        guard = subprocess.Popen(
            [sys.executable, "-I", __file__, *command],
            stdin=guard_end,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=env,
            cwd=cwd,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except BaseException:
        os.close(our_end)
        raise
    finally:
        os.close(guard_end)
    with guard:
        try:
            yield guard
        finally:
            _kill_with_children(guard.pid)
            os.close(our_end)


def _kill_with_children(leader: int) -> None:
    if os.name == "nt":
        tree = ["taskkill", "/F", "/T", "/PID", str(leader)]
        subprocess.run(tree, capture_output=True)
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def _guard(command: Sequence[str]) -> int:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_kill_when_input_ends, daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _kill_when_input_ends() -> None:
    os.read(0, 1)
    _kill_with_children(os.getpid())


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
