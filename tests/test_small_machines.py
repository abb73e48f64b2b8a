"""Small machines, made with cgroups: a Binder pod (2 GB, 1 CPU) and a laptop with 4 GB.

`make test` runs a light lab and a recorded one in the pod; with ALL_LABS=1, every lab runs there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from slmlab import machine
from slmlab.errors import NotPossibleHere
from slmlab.notebooks.labs import all_labs
from slmlab.notebooks.report import measurements

ROOT = Path(__file__).parents[1]
SLMLAB = Path(sys.executable).with_name("slmlab")
TINY, POD, LAPTOP = 700_000_000, 2_000_000_000, 4_000_000_000
CHEAP = ("02_acquisition", "09_vllm")
RECORDED = ("05_olive", "09_vllm", "11_browser")
LABS = [lab.name for lab in all_labs() if os.environ.get("ALL_LABS") or lab.name in CHEAP]
JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class SmallMachine:
    """Cgroups that limit what runs in them, and a cache that holds only the model."""

    groups: tuple[Path, ...]
    cache: Path

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command inside, without a browser, and return it with its output as text."""
        return subprocess.run(
            ["sh", "-c", JOIN, "sh", *self.groups, "--", *command],
            env=os.environ | {"SLMLAB_CACHE": str(self.cache), "SLMLAB_BROWSER": "none"},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )


@contextmanager
def cgroups(memory_bytes: int, cores: int | None = None) -> Iterator[tuple[Path, ...]]:
    """Make cgroups inside our own with so much memory, no swap and so many cores.

    Skips where this machine does not let us.
    """
    unified = (machine.CGROUP / "cgroup.controllers").exists()
    limits = _of_v2(memory_bytes, cores) if unified else _of_v1(memory_bytes, cores)
    made = []
    try:
        for parent, settings in limits.items():
            group = parent / f"slmlab-{uuid.uuid4().hex[:8]}"
            group.mkdir()
            made.append(group)
            for name, value in settings.items():
                (group / name).write_text(value)
    except OSError as problem:
        _remove(made)
        pytest.skip(f"no cgroup can be made here ({problem}): small machines are not simulated")
    try:
        yield tuple(made)
    finally:
        _remove(made)


def _of_v1(memory_bytes: int, cores: int | None) -> Mapping[Path, Mapping[str, str]]:
    memory = {"memory.limit_in_bytes": str(memory_bytes), "memory.swappiness": "0"}
    cpu = {"cpu.cfs_quota_us": str(100_000 * cores)} if cores else {}
    return {_own("memory"): memory, _own("cpu"): cpu}


def _of_v2(memory_bytes: int, cores: int | None) -> Mapping[Path, Mapping[str, str]]:
    settings = {"memory.max": str(memory_bytes), "memory.swap.max": "0"}
    return {machine.CGROUP: settings | ({"cpu.max": f"{100_000 * cores} 100000"} if cores else {})}


def _own(controller: str) -> Path:
    """Return the folder of the v1 cgroup that we are in."""
    lines = Path("/proc/self/cgroup").read_text().splitlines() if sys.platform == "linux" else []
    paths = [
        path for _, names, path in (line.split(":", 2) for line in lines) if names == controller
    ]
    return machine.CGROUP.joinpath(controller, *(path.strip("/") for path in paths))


def _remove(groups: list[Path]) -> None:
    """End what is left in the cgroups, and remove them once the kernel has seen that."""
    for group in groups:
        for process in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        for _ in range(100):
            with suppress(OSError):
                group.rmdir()
            if not group.exists():
                break
            time.sleep(0.1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, smollm2) -> Path:
    """A cache like that of Binder's image: the model is there, and nothing else."""
    folder = tmp_path_factory.mktemp("cache")
    shutil.copytree(smollm2.parent, folder / "models" / smollm2.parent.name)
    return folder


@pytest.fixture(scope="module")
def pod(cache) -> Iterator[SmallMachine]:
    with cgroups(POD, cores=1) as groups:
        yield SmallMachine(groups, cache)


def doctors_answer(small: SmallMachine) -> dict:
    done = small.run(SLMLAB, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kept_from_running(said: dict) -> dict[str, str]:
    """Return the status of each lab that something keeps from running, besides a full disk.

    No cgroup limits the disk.
    """
    return {
        lab["lab"]: lab["status"]
        for lab in said["labs"]
        if lab["status"] in ("recorded", "not here") and "MB of disk for" not in lab["why"]
    }


def test_pages_of_files_leave_the_memory_of_a_cgroup_free(tmp_path):
    """They fill it to its limit, and a program still has nearly all of it."""
    code = (
        "from slmlab import machine; import pathlib\n"
        f"file = pathlib.Path({str(tmp_path / 'large')!r})\n"
        "with file.open('wb') as out:\n"
        "    for _ in range(30): out.write(bytes(10**7))\n"
        "for _ in range(3):\n"
        "    with file.open('rb') as read:\n"
        "        while read.read(10**7): pass\n"
        "print(machine.this_machine().memory_bytes, machine.available_memory_bytes())\n"
        "machine.check_memory(10**9, 'A large model')\n"
    )
    with cgroups(300_000_000) as groups:
        done = SmallMachine(groups, tmp_path).run(sys.executable, "-c", code)
    limit, free = map(int, done.stdout.split())
    assert limit <= 300_000_000
    assert 150_000_000 < free < limit
    assert "NotPossibleHere: A large model needs about 1.0 GB of memory and 0." in done.stderr


@pytest.mark.slow
def test_the_doctor_sees_a_binder_pod_and_not_its_host(pod):
    said = doctors_answer(pod)
    labs = {lab["lab"]: lab for lab in said["labs"]}
    assert said["machine"]["cores"] == 1
    assert said["machine"]["memory_bytes"] <= POD
    assert kept_from_running(said) == dict.fromkeys(RECORDED, "recorded")
    assert "GB of free memory" in labs["05_olive"]["why"]
    assert "With one core, a lab takes" in said["machine"]["free"]["pace"]
    assert all(lab["minutes"] > 0 for lab in labs.values())


@pytest.mark.slow
def test_the_doctor_sees_a_laptop_of_4_gb(tmp_path):
    with cgroups(LAPTOP) as groups:
        said = doctors_answer(SmallMachine(groups, tmp_path))
    assert said["machine"]["memory_bytes"] <= LAPTOP
    assert said["machine"]["free"]["models"] == []
    assert kept_from_running(said) == dict.fromkeys(("09_vllm", "11_browser"), "recorded")


@pytest.mark.slow
def test_a_lab_that_a_machine_cannot_hold_is_refused_in_a_sentence(cache, tmp_path):
    with cgroups(TINY) as groups:
        done = SmallMachine(groups, cache).run(SLMLAB, "run", "07", "--out", tmp_path)
    assert done.returncode == NotPossibleHere.exit_code, done.stderr
    assert "07_bitnet: not possible here after" in done.stderr
    assert "07_bitnet needs about 1.5 GB of memory and 0." in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS)
def test_a_lab_completes_in_a_binder_pod(pod, lab, tmp_path):
    done = pod.run(SLMLAB, "run", lab, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    if lab in RECORDED:
        executed = nbformat.read(tmp_path / f"{lab}.ipynb", as_version=4)
        recorded = [row for row in measurements(executed) if row.how == "recorded"]
        assert recorded
        assert all(row.machine and row.date for row in recorded)
