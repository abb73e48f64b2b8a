"""pyproject.toml is the one list; the locks, environment.yml and binder/ say the same."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from slmlab import environments
from slmlab.environments import lock as locked

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]
EXTRAS = PROJECT["optional-dependencies"]
RUNTIME_LOCK, TEST_LOCK = ROOT / "requirements.lock", ROOT / "requirements-test.lock"
ENVIRONMENT_LOCKS = {name: ROOT / f"slmlab/environments/{name}.txt" for name in environments.NAMES}
LOCKS = [RUNTIME_LOCK, TEST_LOCK, *ENVIRONMENT_LOCKS.values()]
PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"

LINUX = {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux"}
MAC = {"sys_platform": "darwin", "os_name": "posix", "platform_system": "Darwin"}
WINDOWS = {"sys_platform": "win32", "os_name": "nt", "platform_system": "Windows"}
SYSTEMS = {"linux": LINUX, "mac": MAC, "windows": WINDOWS}


def pins(lock: Path) -> list[Requirement]:
    text = lock.read_text("utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [Requirement(line.partition(" --hash=")[0]) for line in lines]


def applies(requirement: Requirement, system: dict[str, str], python: str) -> bool:
    environment = {**system, "python_version": python, "python_full_version": f"{python}.9"}
    return not requirement.marker or requirement.marker.evaluate(environment)


def version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def pinned(lock: Path, system: dict[str, str], python: str) -> dict[str, str]:
    """The version of every package that the lock installs on one system."""
    wanted = [pin for pin in pins(lock) if applies(pin, system, python)]
    versions = {canonicalize_name(pin.name): version(pin) for pin in wanted}
    assert len(versions) == len(wanted), "a package has one version on one system"
    return versions


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_of_a_lock_is_one_exact_version(lock):
    for pin in pins(lock):
        assert "*" not in version(pin)
        assert not pin.extras
        assert not pin.url


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_the_hashes_of_every_package_and_no_address(lock):
    text = lock.read_text("utf-8")
    assert "://" not in text
    for pin in locked.pins(lock):
        assert re.fullmatch(r"( --hash=sha256:[0-9a-f]{64})+", pin.hashes), pin.name


def test_locks_agree_on_the_hashes_of_a_package_that_several_have():
    known = {}
    for pin in (pin for lock in LOCKS for pin in locked.pins(lock)):
        hashes = set(pin.hashes.split())
        assert known.setdefault((pin.name, pin.version), hashes) == hashes, pin.name


def test_locks_take_the_builds_of_pytorch_for_cpus_too():
    lines = (ROOT / "torch-cpu.sha256").read_text("utf-8").splitlines()
    builds = dict(reversed(line.split("  ")) for line in lines)
    for lock in LOCKS:
        for torch in (pin for pin in locked.pins(lock) if pin.name == "torch"):
            listed = f"torch-{torch.version}+cpu-"
            for python in ("cp311", "cp312", "cp313"):
                for machine in ("x86_64", "aarch64"):
                    wheel = f"{listed}{python}-{python}-manylinux_2_28_{machine}.whl"
                    assert f" --hash=sha256:{builds[wheel]}" in torch.hashes


@pytest.fixture
def torch_hashes(tmp_path, monkeypatch):
    """The script that lets locks take those builds, with a list of its own."""
    path = ROOT / "tests" / "torch_hashes.py"
    spec = importlib.util.spec_from_file_location("torch_hashes", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    listed = tmp_path / "listed"
    listed.write_text(f"{'b' * 64}  torch-2.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl\n")
    monkeypatch.setattr(script, "LISTED", listed)
    return script


def test_hashes_of_pytorch_are_added_once(torch_hashes, tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(
        f"six==1 \\\n    --hash=sha256:{64 * 'c'}\n"
        f"torch==2.0 ; os_name == 'nt' \\\n    --hash=sha256:{64 * 'a'}\n"
        f"tqdm==1 \\\n    --hash=sha256:{64 * 'd'}\n"
    )
    for _ in range(2):
        torch_hashes.main([str(lock)])
        six, torch, tqdm = locked.pins(lock)
        assert torch.hashes == f" --hash=sha256:{64 * 'a'} --hash=sha256:{64 * 'b'}"
        assert torch.marker == "os_name == 'nt'"
        assert (six.hashes, tqdm.hashes) == tuple(f" --hash=sha256:{64 * x}" for x in "cd")


def test_another_pytorch_needs_its_hashes_first(torch_hashes, tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(f"torch==2.1 \\\n    --hash=sha256:{64 * 'a'}\n")
    with pytest.raises(SystemExit, match=r"listed has no build of torch 2\.1: write there what"):
        torch_hashes.main([str(lock)])


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_locks_satisfy_pyproject_on_every_system(system, python):
    for lock, listed in [
        (RUNTIME_LOCK, PROJECT["dependencies"]),
        (TEST_LOCK, PROJECT["dependencies"] + EXTRAS["test"] + EXTRAS["azure"]),
    ]:
        versions = pinned(lock, SYSTEMS[system], python)
        for requirement in map(Requirement, listed):
            if applies(requirement, SYSTEMS[system], python):
                assert versions[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", environments.NAMES)
def test_an_environment_has_what_its_group_asks_for_on_every_system(name, system, python):
    versions = pinned(ENVIRONMENT_LOCKS[name], SYSTEMS[system], python)
    for requirement in map(Requirement, GROUPS[name]):
        if applies(requirement, SYSTEMS[system], python):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def test_every_environment_has_a_group_of_its_own():
    assert set(environments.NAMES) == GROUPS.keys() - {"fuzz"}, "atheris stays beside the main one"


def test_packages_of_one_system_stay_there():
    on = {name: pinned(RUNTIME_LOCK, system, "3.11").keys() for name, system in SYSTEMS.items()}
    assert {"mlx", "mlx-lm", "mlx-cpu", "pexpect"} <= on["linux"]
    assert {"mlx", "mlx-lm", "mlx-metal", "appnope"} <= on["mac"]
    assert {"colorama", "pywinpty"} <= on["windows"]
    assert not {"mlx", "mlx-lm", "pexpect", "ptyprocess"} & on["windows"]


def test_test_lock_adds_to_the_runtime_lock_and_changes_nothing():
    for system in SYSTEMS.values():
        runtime, test = (pinned(lock, system, "3.11") for lock in (RUNTIME_LOCK, TEST_LOCK))
        assert runtime.items() < test.items()
    assert "jupyter-repo2docker" not in RUNTIME_LOCK.read_text("utf-8")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_brings_cuda(lock):
    names = {pin.name for pin in pins(lock)}
    assert not [name for name in names if re.match(r"nvidia-(?!ml-py)|cuda-|triton", name)]


def test_tests_run_on_the_locked_versions():
    for pin in pins(TEST_LOCK):
        if not pin.marker or pin.marker.evaluate():
            installed = metadata.version(pin.name).partition("+")[0]
            assert installed in pin.specifier, f"{pin} is locked, {installed} is installed"


def conda(file: str) -> tuple[list[str], list[str]]:
    """What a conda environment file takes from conda-forge, and what from pip."""
    environment = yaml.safe_load((ROOT / file).read_text("utf-8"))
    assert environment["channels"] == ["conda-forge"]
    from_conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    from_pip = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    return from_conda, [line for lines in from_pip for line in lines]


def test_conda_environment_installs_the_lock():
    from_conda, from_pip = conda("environment.yml")
    assert "python=3.11" in from_conda
    assert {"c-compiler", "cxx-compiler"} <= set(from_conda)
    assert from_pip == [f"--extra-index-url {PYTORCH_CPU}", "-r requirements.lock"]


def test_binder_says_the_same_as_the_conda_environment():
    assert conda("binder/environment.yml") == (conda("environment.yml")[0], [])
    script = (ROOT / "binder/postBuild").read_text("utf-8")
    assert f"--no-deps --index-url {PYTORCH_CPU} -r" in script
    assert "pip install --no-cache-dir --no-deps -r requirements.lock" in script
    assert "pip install --no-cache-dir --no-deps -e ." in script
    assert "-DGGML_NATIVE=OFF" in script


@pytest.mark.parametrize(
    "file",
    [
        *("README.md", "hub/README.md", "binder/postBuild"),
        *(".github/workflows/ci.yml", "data/sweeps/kuberay.yaml"),
    ],
)
def test_what_installs_a_lock_gets_no_package_that_the_lock_has_not(file):
    """A lock has hashes, and pip then refuses the libraries of CUDA, and an editable package."""
    text = (ROOT / file).read_text("utf-8")
    command = re.compile(r"pip install (?:(?!pip install).)*?requirements\S*\.lock", re.DOTALL)
    commands = command.findall(text)
    assert commands
    for command in commands:
        assert "--no-deps" in command or f"--extra-index-url {PYTORCH_CPU}" in command
        assert "--constraint" not in command and " -c " not in command


def test_python_of_the_environments_is_the_oldest_that_the_project_takes():
    assert PROJECT["requires-python"] == ">=3.11"
    for lock in LOCKS:
        assert "--python-version 3.11 " in lock.read_text("utf-8").splitlines()[1]


# What repo2docker reads in binder/; it passes over any other name without a word.
BINDER_READS = {"Dockerfile", "apt.txt", "environment.yml", "postBuild", "runtime.txt", "start"}


def binder_problems(folder: Path) -> list[str]:
    problems = [
        f"{path.name}: not a name that Binder reads"
        for path in sorted(folder.iterdir())
        if path.name not in BINDER_READS
    ]
    for script in (path for name in ("postBuild", "start") if (path := folder / name).exists()):
        if not os.access(script, os.X_OK):
            problems.append(f"{script.name}: not executable")
        if not script.read_bytes().startswith(b"#!/bin/bash"):
            problems.append(f"{script.name}: no shebang")
    return problems


def test_binder_reads_every_file_in_its_folder():
    assert binder_problems(ROOT / "binder") == []


@pytest.mark.parametrize("name", ["postbuild", "postBuild.sh", "post_build", "enviroment.yml"])
def test_misnamed_binder_file_is_caught(tmp_path, name):
    (tmp_path / name).write_text("#!/bin/bash\n")
    assert binder_problems(tmp_path) == [f"{name}: not a name that Binder reads"]


def test_binder_script_that_cannot_start_is_caught(tmp_path):
    (tmp_path / "postBuild").write_text("echo\n")
    assert binder_problems(tmp_path) == ["postBuild: not executable", "postBuild: no shebang"]


def test_repo2docker_accepts_the_repository():
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    dockerfile = finished.stdout + finished.stderr
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in dockerfile
    assert "RUN ./binder/postBuild" in dockerfile
    assert "Building conda environment for python=3.11" in dockerfile
