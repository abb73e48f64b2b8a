"""The machine module counts what this process may use, not what the host has."""

import math
import os
import platform
import sys
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from slmlab import machine


def affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("max 100000", None), ("50000 100000", 1), ("100000 100000", 1), ("999900000 100000", None)],
)
def test_threads_follow_the_cgroup_v2_quota_and_never_exceed_affinity(tmp_path, quota, threads):
    (tmp_path / "cpu.max").write_text(quota)
    assert machine.usable_threads(tmp_path) == (threads or affinity())


def test_threads_follow_the_cgroup_v1_quota(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert machine.usable_threads(tmp_path) == 1


def test_threads_without_a_cgroup_are_the_affinity(tmp_path):
    assert machine.usable_threads(tmp_path) == affinity()


def test_memory_is_what_the_cgroup_leaves(tmp_path):
    (tmp_path / "memory.max").write_text(str(10 * 2**20))
    (tmp_path / "memory.current").write_text(str(4 * 2**20))
    assert machine.available_memory_bytes(tmp_path) == 6 * 2**20


MEMORY_FILES = [
    (".", "memory.max", "memory.current", ""),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
]
both_versions = pytest.mark.parametrize(
    ("folder", "limit", "used", "prefix"), MEMORY_FILES, ids=["v2", "v1"]
)


@both_versions
def test_pages_of_files_can_be_given_up_and_are_not_taken(tmp_path, folder, limit, used, prefix):
    home = tmp_path / folder
    home.mkdir(exist_ok=True)
    (home / limit).write_text(str(10 * 2**20))
    (home / used).write_text(str(9 * 2**20))
    (home / "memory.stat").write_text(
        f"anon {3 * 2**20}\n{prefix}inactive_file {5 * 2**20}\n{prefix}active_file {2**20}\n"
    )
    assert machine.available_memory_bytes(tmp_path) == 7 * 2**20


@both_versions
def test_the_tightest_of_the_cgroups_around_a_process_counts(
    tmp_path, monkeypatch, folder, limit, used, prefix
):
    membership = tmp_path / "membership"
    membership.write_text("4:memory:/outer/inner\n1:cpu,cpuacct:/\n0::/outer/inner\n")
    monkeypatch.setattr(machine, "MEMBERSHIP", membership)
    for place, most in (("", 90), ("outer", 10), ("outer/inner", 20), ("beside", 1)):
        home = tmp_path / folder / place
        home.mkdir(parents=True, exist_ok=True)
        (home / limit).write_text(str(most * 2**20))
        (home / used).write_text("0")
    assert machine.available_memory_bytes(tmp_path) == 10 * 2**20


def test_threads_follow_the_quota_of_the_cgroup_that_the_process_is_in(tmp_path, monkeypatch):
    membership = tmp_path / "membership"
    membership.write_text("1:cpu:/pod\n0::/\n")
    monkeypatch.setattr(machine, "MEMBERSHIP", membership)
    for place, quota in (("cpu", "-1"), ("cpu/pod", "100000")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "cpu.cfs_quota_us").write_text(quota)
        (tmp_path / place / "cpu.cfs_period_us").write_text("100000")
    assert machine.usable_threads(tmp_path) == 1


@pytest.mark.parametrize("inside", ["/../../elsewhere", "/of/the/host"])
def test_a_container_that_sees_only_its_own_cgroup_takes_that(tmp_path, monkeypatch, inside):
    membership = tmp_path / "membership"
    membership.write_text(f"0::{inside}\n")
    monkeypatch.setattr(machine, "MEMBERSHIP", membership)
    (tmp_path / "memory.max").write_text(str(10 * 2**20))
    (tmp_path / "memory.current").write_text("0")
    assert machine.available_memory_bytes(tmp_path) == 10 * 2**20


def test_memory_over_its_limit_is_none_and_not_negative(tmp_path):
    (tmp_path / "memory.max").write_text("1000")
    (tmp_path / "memory.current").write_text("2000")
    assert machine.available_memory_bytes(tmp_path) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="how glibc keeps memory")
def test_freed_memory_goes_back_to_the_system():
    import psutil

    process = psutil.Process()
    kept = [bytearray(100_000) for _ in range(3000)]
    last = bytearray(1000)  # on top of the heap, so that nothing below is given back by itself
    held = process.memory_info().rss
    del kept
    machine.give_back_memory()
    assert held - process.memory_info().rss > 200e6
    assert last


def test_a_machine_has_a_fingerprint_that_changes_with_its_cores():
    this = machine.this_machine()
    other = machine.Machine(**{**vars(this), "cores": this.cores + 1, "quota": None})
    assert this.fingerprint == machine.Machine(**vars(this)).fingerprint
    assert this.fingerprint != other.fingerprint
    assert this.fingerprint in str(this)


def test_the_fingerprint_of_a_machine_that_numbers_were_recorded_on_stays():
    features = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16")
    recorded = machine.Machine("AMD EPYC", "x86_64", "Linux", 2, 25 << 30, "3.11", features)
    assert recorded.fingerprint == "09cf3a35"


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Describe a machine with this quota, and with this in /proc/cpuinfo or without that file."""

    def describe(quota=math.inf, cpuinfo=None):
        path = tmp_path / "cpuinfo"
        path.unlink(missing_ok=True)
        if cpuinfo is not None:
            path.write_text(cpuinfo, "utf-8")
        monkeypatch.setattr(machine, "CPUINFO", path)
        monkeypatch.setattr(machine, "_cpu_quota", lambda cgroup: quota)
        return machine.this_machine.__wrapped__()

    return describe


def test_a_part_of_a_core_is_another_machine_and_a_whole_one_is_not(here):
    half, whole, bare = (here(quota) for quota in (0.5, 1.0, math.inf))
    assert (half.cores, half.quota) == (1, 0.5)
    assert (whole.cores, whole.quota) == (1, None)
    assert half.fingerprint != whole.fingerprint
    assert whole.fingerprint == replace(bare, cores=1).fingerprint


def test_the_name_of_a_processor_is_what_linux_says(here):
    cpuinfo = "vendor_id : AuthenticAMD\nmodel name : AMD EPYC\nflags : fpu avx2 avx512f\n"
    found = here(cpuinfo=2 * cpuinfo)
    assert (found.cpu, found.features) == ("AMD EPYC", ("avx2", "avx512f"))


def arm_cores(*parts):
    return "".join(
        f"Features : fp asimd\nCPU implementer : 0x41\nCPU part : {part}\n\n" for part in parts
    )


def test_arm_processors_are_told_apart_by_the_parts_of_their_cores(here, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    old, new = here(cpuinfo=arm_cores("0xd0c")), here(cpuinfo=arm_cores("0xd40"))
    assert (old.cpu, old.features) == ("aarch64 0x41/0xd0c", ("asimd",))
    assert old.fingerprint != new.fingerprint
    mixed = here(cpuinfo=arm_cores("0xd0b", "0xd05", "0xd05", "0xd0b"))
    assert mixed.cpu == "aarch64 0x41/0xd05 0x41/0xd0b"


def test_apples_chips_are_told_apart_by_the_name_that_macos_gives(here, monkeypatch):
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    found = {}
    for name in ("Apple M1", "Apple M4 Pro"):
        said = SimpleNamespace(stdout=f"{name}\n")
        monkeypatch.setattr(machine.subprocess, "run", lambda command, said=said, **_: said)
        found[name] = here()
    assert [one.cpu for one in found.values()] == list(found)
    assert len({one.fingerprint for one in found.values()}) == 2


def test_without_a_name_the_processor_is_what_python_says(here, monkeypatch):
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    monkeypatch.setenv("PATH", "")
    assert here().cpu == "arm"


def test_a_module_without_its_package_has_an_unknown_version():
    assert machine.installed_version("numpy") == version("numpy")
    assert machine.installed_version("no-such-package") == "unknown"


def test_bandwidth_is_a_plausible_rate():
    assert 1e8 < machine.read_bandwidth() < 1e13
