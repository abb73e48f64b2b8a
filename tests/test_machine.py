"""The machine module counts what this process may use, not what the host has."""

import os
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


@pytest.mark.parametrize(
    ("folder", "limit", "used", "cached"),
    [
        (".", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
    ids=["v2", "v1"],
)
def test_pages_of_files_that_can_be_given_up_are_not_taken(tmp_path, folder, limit, used, cached):
    home = tmp_path / folder
    home.mkdir(exist_ok=True)
    (home / limit).write_text(str(10 * 2**20))
    (home / used).write_text(str(9 * 2**20))
    (home / "memory.stat").write_text(f"anon {3 * 2**20}\n{cached} {5 * 2**20}\nactive_file 7\n")
    assert machine.available_memory_bytes(tmp_path) == 6 * 2**20


def test_memory_over_its_limit_is_none_and_not_negative(tmp_path):
    (tmp_path / "memory.max").write_text("1000")
    (tmp_path / "memory.current").write_text("2000")
    assert machine.available_memory_bytes(tmp_path) == 0


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
