"""The machine module counts what this process may use, not what the host has."""

import os
import sys
from importlib.metadata import version

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
    other = machine.Machine(**{**vars(this), "cores": this.cores + 1})
    assert this.fingerprint == machine.Machine(**vars(this)).fingerprint
    assert this.fingerprint != other.fingerprint
    assert this.fingerprint in str(this)


def test_a_module_without_its_package_has_an_unknown_version():
    assert machine.installed_version("numpy") == version("numpy")
    assert machine.installed_version("no-such-package") == "unknown"


def test_bandwidth_is_a_plausible_rate():
    assert 1e8 < machine.read_bandwidth() < 1e13
