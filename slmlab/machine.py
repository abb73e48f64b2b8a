"""What this computer is: cores, memory, bandwidth, and a name for it beside each number.

A container's limits count, not the host's: llama.cpp sizes its threads from the host and
would start eight threads for a quota of one.
"""

import ctypes
import functools
import gc
import hashlib
import math
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from slmlab.errors import NotPossibleHere

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")
_MEMORY = (
    ("", "memory.max", "memory.current", ""),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
"""Of cgroup v2 and v1: controller, files of limit and use, and how counts of memory.stat begin."""

_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
)


@dataclass(frozen=True)
class Machine:
    """A computer as the programs on it may use it.

    `cores` are the ones this process may use, `memory_bytes` the most it may hold. `quota` is how
    many cores' worth of time it gets where that is less, as 1.5 with 2 cores.
    """

    cpu: str
    architecture: str
    system: str
    cores: int
    memory_bytes: int
    python: str
    features: tuple[str, ...]
    quota: float | None = None

    @property
    def fingerprint(self) -> str:
        """A short name that is equal only for machines whose speeds may be compared."""
        share = f"{self.quota or self.cores:g}"
        parts = (self.cpu, self.architecture, self.system, share, *self.features)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} {'core' if self.cores == 1 else 'cores'}, "
            f"{self.memory_bytes / 2**30:.1f} GiB, {self.system} ({self.fingerprint})"
        )


@functools.cache
def this_machine() -> Machine:
    """Describe the machine that runs this process."""
    cpu, flags = _cpu()
    cores, quota = usable_threads(), _cpu_quota(CGROUP)
    return Machine(
        cpu=cpu,
        architecture=platform.machine(),
        system=platform.system(),
        cores=cores,
        memory_bytes=_memory_limit_bytes(),
        python=platform.python_version(),
        features=tuple(feature for feature in _FEATURES if feature in flags),
        quota=quota if quota < cores else None,
    )


def usable_threads(cgroup: Path = CGROUP) -> int:
    """Return how many threads can really run at once: affinity, then the cgroup's CPU quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return math.ceil(min(cores, _cpu_quota(cgroup)))


def available_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Return the bytes that can still be taken without swapping or being killed."""
    import psutil

    free = psutil.virtual_memory().available
    return int(min([free, *(max(0, limit - used) for limit, used in _cgroup_memory(cgroup))]))


def check_memory(needed: int, what: str) -> None:
    """Raise `NotPossibleHere` where something would take more bytes of memory than are free.

    What this process has done with is given back first.
    """
    give_back_memory()
    free = available_memory_bytes()
    if needed > free:
        raise NotPossibleHere(
            f"{what} needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; "
            f"close programs or take a smaller model or quantisation."
        )


def give_back_memory() -> None:
    """Give memory that this process has freed back to the system, which glibc does not by itself.

    It keeps small and middle-sized pieces for later: after ONNX Runtime, many hundreds of MB.
    """
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def installed_version(package: str) -> str:
    """Return the version of a Python package, or "unknown" where only its module is installed.

    So it is where the module came under another name, as from `onnxruntime-genai-cuda`.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@functools.cache
def read_bandwidth(threads: int | None = None) -> float:
    """Measure how fast this machine reads memory, in bytes per second.

    The best of ten passes over 256 MiB, which no cache of a small machine holds, shared by
    `threads` threads (all usable ones by default). Measured once a process.
    """
    import numpy as np

    threads = threads or usable_threads()
    array = np.ones(2**25, dtype=np.int64)
    parts = np.array_split(array, threads)
    with ThreadPoolExecutor(threads) as pool:
        return array.nbytes / min(
            _seconds(lambda: list(pool.map(np.max, parts))) for _ in range(10)
        )


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cpu() -> tuple[str, set[str]]:
    """Return the processor's name and its feature flags, where the system tells them.

    ARM's cores have numbers instead of a name, those of one processor often several.
    """
    try:
        lines = CPUINFO.read_text("utf-8").splitlines()
    except OSError:
        return _name_on_macos() or platform.processor() or platform.machine(), set()
    pairs = [tuple(map(str.strip, line.split(":", 1))) for line in lines if ":" in line]
    fields = dict(pairs)
    flags = fields.get("flags") or fields.get("Features") or ""
    makers = [value for name, value in pairs if name == "CPU implementer"]
    parts = [value for name, value in pairs if name == "CPU part"]
    kinds = sorted({f"{maker}/{part}" for maker, part in zip(makers, parts, strict=False)})
    return " ".join([fields.get("model name") or platform.machine(), *kinds]), set(flags.split())


def _name_on_macos() -> str:
    """Return such as "Apple M2 Pro" on macOS, where Python itself knows only "arm"; else ""."""
    if sys.platform != "darwin":
        return ""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8").stdout.strip()
    except OSError:
        return ""


def _cgroups(cgroup: Path, controller: str = "") -> list[Path]:
    """Return the folders of the cgroups that this process is in: its own and all above it.

    `controller` is one of v1, such as "memory"; without one, they are those of v2. A container
    often shows only the outermost, which is then its own.
    """
    root = cgroup / controller
    lines = [word.split(":", 2) for word in _words(MEMBERSHIP) if word.count(":") > 1]
    inside = next((path for _, names, path in lines if controller in names.split(",")), "/")
    folders = [root.joinpath(*Path(inside).parts[1:end]) for end in range(1, inside.count("/") + 2)]
    return [folder for folder in folders if folder.is_dir()]


def _cpu_quota(cgroup: Path) -> float:
    """Return the cores' worth of time that the cgroups allow; infinity if they set none.

    cgroup v2 keeps "QUOTA PERIOD" or "max PERIOD" in `cpu.max`, v1 two files.
    """
    quotas = [_words(folder / "cpu.max") for folder in _cgroups(cgroup)]
    for folder in _cgroups(cgroup, "cpu"):
        quotas.append(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))
    set_ones = [words for words in quotas if words and words[0] not in ("max", "-1")]
    return min((int(quota) / int(period) for quota, period in set_ones), default=math.inf)


def _cgroup_memory(cgroup: Path) -> list[tuple[int, int]]:
    """Return limit and use in bytes of each cgroup around this process that has a limit.

    Pages of files do not count as used: the kernel gives them up before it lets a process die.
    """
    found = []
    for controller, limit, used, prefix in _MEMORY:
        for folder in _cgroups(cgroup, controller):
            words = _words(folder / limit)
            if words and words[0] != "max":
                taken = int(_words(folder / used)[0]) - _file_bytes(folder, prefix)
                found.append((int(words[0]), taken))
    return found


def _file_bytes(cgroup: Path, prefix: str) -> int:
    counts = _words(cgroup / "memory.stat")
    stat = dict(zip(counts[::2], map(int, counts[1::2]), strict=False))
    return sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))


def _memory_limit_bytes(cgroup: Path = CGROUP) -> int:
    import psutil

    limits = [limit for limit, _ in _cgroup_memory(cgroup)]
    return int(min([psutil.virtual_memory().total, *limits]))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").split()
    except OSError:
        return []
