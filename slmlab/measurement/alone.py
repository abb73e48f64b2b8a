"""Measuring in a process that does nothing else, so that no framework disturbs another."""

import importlib
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slmlab import errors
from slmlab.environments.guarded import finish, last_words
from slmlab.errors import EngineError, SlmlabError


def alone(module: str, function: str, subject: str, **arguments: str | int | None) -> Any:
    """Call a function of a module in a fresh process and return its JSON-able result.

    Where the function raises an `SlmlabError`, it is raised here with its type, naming `subject`.
    Raises `EngineError` with the reason where the process fails otherwise, or dies.
    """
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", __name__, module, function, json.dumps(arguments), result]
        # What frameworks print goes nowhere: neither into the result nor into a notebook.
        child = finish(command)
        if child.returncode:
            reason = last_words(child.returncode, child.stderr)
            raise EngineError(f"Measuring {subject} failed: {reason}")
        outcome = json.loads(result.read_text("utf-8"))
    if "error" in outcome:
        kind = getattr(errors, outcome["error"])
        raise kind(f"Measuring {subject} failed: {outcome['reason']}")
    return outcome["value"]


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
