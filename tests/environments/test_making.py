"""An environment is made once, from its list alone, and repaired when something is missing."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from toy_wheel import write_wheel
from waiting import wait_until

from slmlab import environments
from slmlab.environments import making, pip
from slmlab.errors import EnvironmentFailed, NoRoom, UsageError

IMPORT_TINY = ["-c", "import tiny; print(tiny.VERSION)"]

ENSURE = """
import sys
from pathlib import Path
from slmlab.environments import making
making.RECIPES["tiny"] = making.Recipe(Path(sys.argv[1]), "tiny", "tiny", 20_000_000, 1)
print(making.ensure("tiny").path)
"""


def ensure_elsewhere(recipe, **options) -> subprocess.Popen:
    """Ask for the environment in another process, as another notebook does."""
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, recipe.requirements], text=True, **options
    )


def packages(environment):
    return next(environment.path.glob("[Ll]ib/**/site-packages"))


def test_an_environment_has_what_is_on_its_list(tiny, capsys):
    assert environments.status("tiny") == "absent"
    environment = environments.ensure("tiny")
    assert environment.run(IMPORT_TINY).stdout == "1.0\n"
    assert environments.status("tiny") == "ready"
    assert environments.version("tiny") == "1.0"
    assert {path.name for path in packages(environment).iterdir()} == {"tiny", "tiny-1.0.dist-info"}
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Making the tiny environment: ")
    assert said[-1].startswith("The tiny environment is ready after ")


def test_it_is_made_once_and_used_again(tiny, capsys):
    first = environments.ensure("tiny")
    mark = first.path / "mark"
    mark.touch()
    capsys.readouterr()
    assert environments.ensure("tiny") == first
    assert mark.exists()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_another_list_makes_another_environment(tiny, tmp_path):
    old = environments.ensure("tiny")
    newer = {"tiny/__init__.py": "VERSION = '1.1'\n"}
    write_wheel(tmp_path / "wheels", "tiny", newer, "1.1")
    tiny.requirements.write_text("tiny==1.1\n")
    new = environments.ensure("tiny")
    assert old.path != new.path
    assert old.run(IMPORT_TINY).stdout == "1.0\n"
    assert new.run(IMPORT_TINY).stdout == "1.1\n"


@pytest.mark.slow
def test_two_programs_that_ask_at_once_make_it_once(tiny):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [ensure_elsewhere(tiny, **pipes) for _ in range(2)]
    outputs = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert outputs[0][0] == outputs[1][0] != ""
    assert sum(err.count("Making the tiny environment") for _, err in outputs) == 1


def test_whatever_is_missing_is_noticed(tiny, tmp_path):
    environment = environments.ensure("tiny")
    site = packages(environment)
    stamp = environment.path / "installed.json"
    for part in (environment.python, site / "tiny", site / "tiny-1.0.dist-info", stamp):
        part.rename(tmp_path / "aside")
        assert environments.status("tiny") == "broken", part
        (tmp_path / "aside").rename(part)
        assert environments.status("tiny") == "ready", part


def test_a_disk_that_cannot_be_read_breaks_nothing(tiny, monkeypatch):
    environment = environments.ensure("tiny")

    def busy(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(making, "_installed", busy)
    for ask in (environments.status, environments.ensure):
        with pytest.raises(EnvironmentFailed, match=r"cannot be looked at \(Input/output error\)"):
            ask("tiny")
    monkeypatch.undo()
    assert (environment.path / "installed.json").exists()


def test_an_environment_that_cannot_be_finished_is_removed(tiny, monkeypatch):
    def busy(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(making, "_installed", busy)
    assert r"could not be made in" in failure()


@pytest.mark.slow
def test_a_broken_environment_is_repaired(tiny):
    environment = environments.ensure("tiny")
    shutil.rmtree(packages(environment) / "tiny")
    environment.python.unlink()
    assert environments.ensure("tiny") == environment
    assert environment.run(IMPORT_TINY).stdout == "1.0\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_kill_in_the_middle_leaves_no_process_and_is_repaired(tiny):
    def installing():
        """The pips that work on our environment."""
        lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        return [line for line in lines if "pip" in line and str(tiny.requirements) in line]

    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that never answers
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        without_index = {name: value for name, value in os.environ.items() if name[:4] != "PIP_"}
        killed = ensure_elsewhere(tiny, env=without_index | {"PIP_INDEX_URL": index})
        wait_until(installing)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        wait_until(lambda: not installing())
    assert environments.status("tiny") == "broken"
    assert environments.ensure("tiny").run(IMPORT_TINY).stdout == "1.0\n"


def failure() -> str:
    with pytest.raises(EnvironmentFailed) as caught:
        environments.ensure("tiny")
    assert environments.status("tiny") == "absent", "nothing half made may stay"
    return str(caught.value)


def test_a_package_that_is_not_there_is_named(tiny):
    tiny.requirements.write_text("tiny==2.0\n")
    assert failure() == (
        "The tiny environment could not be made: No matching distribution found for tiny==2.0."
    )


def test_an_index_that_cannot_be_reached_is_the_reason(tiny, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert failure() == (
        "The tiny environment could not be made: pip could not reach a package index; connect to "
        "a network, or name another package index in PIP_INDEX_URL."
    )


def test_a_package_that_does_not_work_is_the_reason(tiny, monkeypatch):
    monkeypatch.setitem(making.RECIPES, "tiny", replace(tiny, module="tiny.missing"))
    assert failure().endswith(
        "could not be made: ModuleNotFoundError: No module named 'tiny.missing'."
    )


def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(tiny, monkeypatch):
    monkeypatch.setitem(making.RECIPES, "tiny", replace(tiny, bytes=10**18))
    with pytest.raises(
        NoRoom, match="The tiny environment needs 1,000,000,000,000 MB and the disk"
    ):
        environments.ensure("tiny")
    assert environments.status("tiny") == "absent"


def test_a_disk_that_fills_up_is_the_reason(tiny, monkeypatch):
    monkeypatch.setattr(pip, "command", lambda *_: [sys.executable, "-c", FULL_DISK])
    with pytest.raises(NoRoom, match="could not be made: the disk is full; make room"):
        environments.ensure("tiny")
    assert environments.status("tiny") == "absent"


@pytest.fixture
def steps(tiny, tmp_path, monkeypatch):
    """What pip is asked for, where the list has PyTorch and only its build for CUDA is found."""
    asked = []

    def do(environment, command, _):
        asked.append(command[-1].name if isinstance(command[-1], Path) else command[-1])
        if pip.PYTORCH_CPU in command:
            raise EnvironmentFailed("not there")
        library = making._packages(environment) / pip.CUDA
        library.parent.mkdir(parents=True, exist_ok=True)
        library.touch()

    monkeypatch.setattr(making, "_do", do)
    monkeypatch.setattr(sys, "platform", "linux")
    tiny.requirements.write_text("torch==2.13.0 \\\n    --hash=sha256:12\n")
    (tmp_path / "new").mkdir()
    return asked


def test_the_libraries_of_nvidia_are_announced(tiny, tmp_path, steps, capsys):
    making._install(environments.Environment("tiny", tmp_path / "new"), tiny)
    assert (
        "NVIDIA's libraries, which the other one needs, take up to 6 GB" in capsys.readouterr().err
    )
    assert steps == ["torch.txt", "tiny.txt", "torch==2.13.0"]
    assert (tmp_path / "new/torch.txt").read_text() == "torch==2.13.0 --hash=sha256:12"


def test_the_libraries_of_nvidia_need_room(tiny, tmp_path, steps, monkeypatch):
    monkeypatch.setattr(making, "_NVIDIA_BYTES", 10**18)
    with pytest.raises(NoRoom, match="PyTorch with NVIDIA's libraries needs"):
        making._install(environments.Environment("tiny", tmp_path / "new"), tiny)
    assert steps == ["torch.txt", "tiny.txt"]


def test_a_package_that_is_not_the_one_on_the_list_is_refused(tiny):
    tiny.requirements.write_text(f"tiny==1.0 --hash=sha256:{64 * '0'}\n")
    with pytest.raises(EnvironmentFailed, match="came is not the one that was promised"):
        environments.ensure("tiny")
    assert environments.status("tiny") == "absent"


def test_a_full_disk_ends_the_making_at_once(tiny, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(pip, "command", lambda *_: [sys.executable, "-c", FULL_DISK])
    tiny.requirements.write_text("torch==2.13.0\n")
    tried = []
    do = making._do
    monkeypatch.setattr(making, "_do", lambda *step: (tried.append(step), do(*step)))
    with pytest.raises(NoRoom):
        environments.ensure("tiny")
    assert len(tried) == 2, "making it, and the first step of installing"


def test_what_takes_pip_long_is_said(tiny, monkeypatch, capsys):
    monkeypatch.setattr(pip, "command", lambda *_: [sys.executable, "-c", LONG_INSTALLATION])
    monkeypatch.setitem(making.RECIPES, "tiny", replace(tiny, module="json"))
    environments.ensure("tiny")
    assert capsys.readouterr().err.splitlines()[1:-1] == [
        "Downloading torch 2.13.0 (190.2 MB).",
        "Downloading nvidia_cublas 13.1 (1.2 GB).",
        "Installing 3 packages.",
    ]


LONG_INSTALLATION = """
print("Collecting torch==2.13.0 (from -r tiny.txt (line 2))")
print("  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (190.2 MB)")
print("  Downloading nvidia_cublas-13.1-py3-none-any.whl (1.2 GB)")
print("  Downloading idna-3.20-py3-none-any.whl (70 kB)")
print("  Downloading onnx-1.23.2-cp311-abi3.whl (9.1 MB)")
print("Installing collected packages: idna, onnx, torch")
"""

FULL_DISK = """
print("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
print()
raise SystemExit(1)
"""


def test_a_cache_that_cannot_be_made_is_the_reason(tiny, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    assert "make room or get write access there, or set SLMLAB_CACHE" in failure()


def test_an_unknown_name_is_wrong_usage():
    with pytest.raises(UsageError, match="no environment 'olives'; choose olive"):
        environments.ensure("olives")


def test_variables_of_ours_redirect_nothing(tiny, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("PIP_TARGET", str(elsewhere))
    monkeypatch.setenv("PIP_USER", "1")
    environment = environments.ensure("tiny")
    assert (packages(environment) / "tiny").is_dir()
    assert not elsewhere.exists()
