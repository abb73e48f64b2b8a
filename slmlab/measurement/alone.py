"""Measuring in a process that does nothing else, so that no framework disturbs another."""

import importlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slmlab import errors
from slmlab.environments.guarded import guarded, last_words
from slmlab.errors import EngineError, SlmlabError

STOP: ContextVar[threading.Event | None] = ContextVar("STOP", default=None)
"""Of a thread: once this event is set, what it does `alone` ends with `CancelledError`."""

_LOOK_EVERY = 0.5  # seconds


def alone(
    module: str, function: str, subject: str, limit: float = math.inf, **arguments: Any
) -> Any:
    """Call a function of a module in a fresh process and return its JSON-able result.

    Where the function raises an `SlmlabError`, it is raised here with its type, naming `subject`.
    Raises `EngineError` with the reason where the process fails otherwise, dies, or takes more than
    `limit` seconds; it is ended then.
    """
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", __name__, module, function, json.dumps(arguments), result]
        # What frameworks print goes nowhere: neither into the result nor into a notebook.
        try:
            code, log = _finish(command, limit)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"Measuring {subject} took more than {limit:.0f} s and was stopped; try again, or "
                f"measure less of it."
            ) from None
        if code:
            raise EngineError(f"Measuring {subject} failed: {last_words(code, log)}")
        outcome = json.loads(result.read_text("utf-8"))
    if "error" in outcome:
        kind = getattr(errors, outcome["error"])
        raise kind(f"Measuring {subject} failed: {outcome['reason']}")
    return outcome["value"]


def _finish(command: Sequence[str | Path], limit: float) -> tuple[int, str]:
    """Run a process to its end and return its code and log; raise `TimeoutExpired` at the limit."""
    end, stop = time.monotonic() + limit, STOP.get()
    with guarded(command) as process:
        while True:
            try:
                _, log = process.communicate(timeout=_LOOK_EVERY)
                return process.returncode, log
            except subprocess.TimeoutExpired:
                if stop and stop.is_set():
                    raise CancelledError from None
                if time.monotonic() > end:
                    raise


def peak_bytes() -> int:
    """Return this process's peak resident set.

    Linux: VmHWM, because ru_maxrss starts from the parent's peak. macOS: ru_maxrss in bytes.
    Windows: the peak working set.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _main(module: str, function: str, arguments: str, result: str) -> None:
    try:
        work = getattr(importlib.import_module(module), function)
        outcome = {"value": work(**json.loads(arguments))}
    except SlmlabError as error:
        kinds = [kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
        outcome = {"error": kinds[0].__name__, "reason": str(error)}
    Path(result).write_text(json.dumps(outcome), "utf-8")
    # Some frameworks crash while Python shuts down; the result is complete, so leave at once.
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
