"""How much memory running a model takes: the peak of a process that does nothing else."""

import json
import subprocess
import sys
from pathlib import Path

from slmlab.engines import llama_cpp
from slmlab.errors import EngineError, SlmlabError

_WORK_TOKENS = 512


def peak_memory(path: Path, context: int = 2048) -> int:
    """Return the most bytes resident at once in a process that loads and runs the model.

    The process reads a prompt of up to 512 tokens and writes a few more. Its own Python and
    the pages of the model file count, as they do for whoever runs it.
    """
    command = [sys.executable, "-m", __name__, str(path), str(context)]
    child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or ["it was killed, often for memory"])[-1]
        raise EngineError(f"Measuring the memory of {Path(path).name} failed: {reason}")
    return json.loads(child.stdout)["peak_bytes"]


def _run(path: Path, context: int) -> None:
    with llama_cpp.load(path, context) as engine:
        work = min(_WORK_TOKENS, context - 8)
        engine.evaluate(list(range(work)))
        for position in range(work, work + 8):
            engine.evaluate([1], position)


def _peak_bytes() -> int:
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


if __name__ == "__main__":
    try:
        _run(Path(sys.argv[1]), int(sys.argv[2]))
    except SlmlabError as error:
        sys.exit(str(error))
    print(json.dumps({"peak_bytes": _peak_bytes()}))
