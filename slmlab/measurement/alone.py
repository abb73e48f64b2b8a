"""Measuring in a process that does nothing else, so that no framework disturbs another."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slmlab.errors import EngineError, SlmlabError


def alone(module: str, function: str, subject: str, **arguments: str | int | None) -> Any:
    """Call a function of a module in a fresh process and return its JSON-able result.

    Raises `EngineError` with the reason, naming `subject`, where the process fails or dies.
    """
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", __name__, module, function, json.dumps(arguments), result]
        # What frameworks print goes nowhere: neither into the result nor into a notebook.
        child = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        if child.returncode:
            lines = child.stderr.strip().splitlines() or ["it was killed, often for memory"]
            raise EngineError(f"Measuring {subject} failed: {lines[-1]}")
        return json.loads(result.read_text("utf-8"))


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
        value = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    except SlmlabError as error:
        sys.exit(str(error))
    Path(result).write_text(json.dumps(value), "utf-8")
    # Some frameworks crash while Python shuts down; the result is complete, so leave at once.
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
