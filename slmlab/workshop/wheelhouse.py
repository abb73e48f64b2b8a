"""The wheels of the lock for other machines: pip downloads them, nothing is installed.

The lock holds every package, so that pip never resolves anything. It decides here, and not in
pip, which lines apply to a machine: pip would ask the machine on which it runs.
"""

import os
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from slmlab.acquisition.fetching import verify
from slmlab.acquisition.llama_cpp_source import PACKAGE, SHA256
from slmlab.environments import pip
from slmlab.environments.lock import pins
from slmlab.errors import FetchError, UsageError
from slmlab.files import cache_path, locked, sha256, whole_folder

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version of Python that is running, as `3.11`."""

_BUILD_THE_COURSE = ("hatchling", "editables")
_BUILD_LLAMA_CPP = ("scikit-build-core", "cmake", "ninja")


@dataclass(frozen=True)
class Platform:
    """A kind of machine: the tags of the wheels that run on it, and what markers are told."""

    tags: tuple[str, ...]
    sys_platform: str
    os_name: str
    platform_system: str
    platform_machine: str

    def markers(self, release: str) -> dict[str, str]:
        """Return what markers are told there by a release of Python, such as `3.11.0`."""
        names = ("sys_platform", "os_name", "platform_system", "platform_machine")
        return {
            **{name: getattr(self, name) for name in names},
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "python_version": release.rpartition(".")[0],
            "python_full_version": release,
        }


def _linux(machine: str) -> Platform:
    glibc = tuple(f"manylinux_2_{minor}_{machine}" for minor in range(36, 4, -1))
    tags = (*glibc, f"manylinux2014_{machine}", f"linux_{machine}")
    return Platform(tags, "linux", "posix", "Linux", machine)


PLATFORMS = {
    "linux-x86_64": _linux("x86_64"),
    "linux-aarch64": _linux("aarch64"),
    "macos-arm64": Platform(("macosx_14_0_arm64",), "darwin", "posix", "Darwin", "arm64"),
    "windows-x86_64": Platform(("win_amd64",), "win32", "nt", "Windows", "AMD64"),
}


def here() -> str:
    """Return the name of the platform on which we run, which may be none of `PLATFORMS`."""
    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{system}-{machine}"


def check(platforms: Sequence[str]) -> None:
    """Raise `UsageError` for a platform that there is no lock for."""
    for name in platforms:
        if name not in PLATFORMS:
            raise UsageError(
                f"Nothing can be packed for {name!r}; choose among {', '.join(PLATFORMS)}."
            )


def gather(lock: Path, platforms: Sequence[str], pythons: Sequence[str], folder: Path) -> list[str]:
    """Put the wheels of a lock, and what builds the rest, into `folder`; return remarks on them.

    Raises `FetchError` with pip's reason where a package cannot be had for one of the platforms.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remarks = []
    for name in platforms:
        for python in pythons:
            _say(f"Downloading the wheels for {name}, Python {python} ...")
            _download_lock(lock, name, python, folder)
        remarks.append(_llama_cpp(_pinned(lock), name, pythons, folder))
    _say("Downloading what builds the course ...")
    _download(_BUILD_THE_COURSE, folder, "--only-binary=:all:")
    return remarks


def applying(lock: Path, name: str, release: str) -> list[str]:
    """Return the lines of a lock for a platform and a release of Python, without llama.cpp's."""
    from packaging.markers import Marker

    markers = PLATFORMS[name].markers(release)
    return [
        str(pin)
        for pin in pins(lock)
        if pin.name != PACKAGE and (not pin.marker or Marker(pin.marker).evaluate(markers))
    ]


def allow_built(lock: Path, wheels: Path) -> None:
    """Add the hash of llama-cpp-python, where it was built for the hand-out, to a lock's hashes.

    A lock without hashes stays as it is.
    """
    text = lock.read_text("utf-8")
    for wheel in wheels.glob("llama_cpp_python-*.whl"):
        pin = f"{PACKAGE}=={_pinned(lock)} \\\n"
        text = text.replace(pin, f"{pin}    --hash=sha256:{sha256(wheel)} \\\n")
    lock.write_text(text, "utf-8", newline="\n")


def llama_cpp_wheel(version: str) -> Path:
    """Return llama-cpp-python as a wheel for machines like this one, built once and then kept.

    What pip has built for this machine's own use may need its newest instructions and would crash
    elsewhere; this one runs on any x86-64 processor with AVX2, and on any ARM one. Building takes
    about five minutes on two cores. Raises `FetchError` with the reason.
    """
    home = cache_path("wheels", f"{PACKAGE}-{version}")
    with locked(home):
        if not any(home.glob("*.whl")):
            _say(f"Building {PACKAGE} {version} for other processors than this one, once ...")
            flags = f"{os.environ.get('CMAKE_ARGS', '')} -DGGML_NATIVE=OFF".strip()
            with whole_folder(home) as aside:
                aside.mkdir()
                command = ["wheel", "--no-deps", "--no-cache-dir", "--wheel-dir", aside]
                _pip([*command, f"{PACKAGE}=={version}"], aside.parent, CMAKE_ARGS=flags)
    return next(home.glob("*.whl"))


def _download_lock(lock: Path, name: str, python: str, folder: Path) -> None:
    """Download what the first and the last release of a Python version need."""
    first, last = (f"{python}.{release}" for release in (0, 99))
    lines = applying(lock, name, first)
    besides = [line for line in applying(lock, name, last) if line not in lines]
    torch = [line for line in lines if line.startswith("torch==")]
    if torch and name.startswith("linux"):
        with suppress(FetchError):
            _download(torch, folder, *_for(name, first), *pip.FROM_PYTORCH)
            lines.remove(*torch)  # of two with a hash in the lock, pip takes the package index's
    _download(lines, folder, "--no-deps", *_for(name, first))
    if besides:
        _download(besides, folder, "--no-deps", *_for(name, last))
    for wheel in folder.glob("torch-*linux*.whl"):
        if any(file.endswith(pip.CUDA) for file in ZipFile(wheel).namelist()):
            raise FetchError(
                f"PyTorch's build for CPUs could not be had for {name}, and the other one needs "
                f"gigabytes of NVIDIA's libraries; pack where {pip.PYTORCH_CPU} can be reached."
            )


def _for(name: str, release: str) -> list[str]:
    """Return what makes pip choose wheels for another machine."""
    tags = () if name == here() else PLATFORMS[name].tags
    platforms = [option for tag in tags for option in ("--platform", tag)]
    return ["--only-binary=:all:", "--python-version", release, *platforms]


def _llama_cpp(version: str, name: str, pythons: Sequence[str], folder: Path) -> str:
    """Put llama-cpp-python into the folder: built for this platform, as source for others."""
    if name == here():
        wheel = llama_cpp_wheel(version)
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        system = " ".join(platform.libc_ver()).strip() or platform.platform(terse=True)
        return f"{name}: {PACKAGE} was built with {system}, and needs that or a newer one."
    _download([f"{PACKAGE}=={version}"], folder, "--no-deps", "--no-binary", PACKAGE)
    verify(next(folder.glob("llama_cpp_python-*.tar.gz")), SHA256[version])
    for python in pythons:
        _download(_BUILD_LLAMA_CPP, folder, *_for(name, f"{python}.0"))
    return (
        f"{name}: {PACKAGE} is there as source only, which is compiled while it installs: that "
        f"takes a C++ compiler and about five minutes."
    )


def _pinned(lock: Path) -> str:
    """Return the version of llama-cpp-python in a lock."""
    return next(pin.version for pin in pins(lock) if pin.name == PACKAGE)


def _download(lines: Sequence[str], folder: Path, *options: str) -> None:
    """Let pip download what the lines of a requirements file ask for."""
    with TemporaryDirectory(dir=folder.parent, prefix=".wanted-") as aside:
        wanted = Path(aside, "requirements.txt")
        wanted.write_text("\n".join(lines), "utf-8")
        command = ["download", "--dest", folder, "--find-links", folder, *options]
        _pip([*command, "--requirement", wanted], folder.parent)


def _pip(command: Sequence[str | Path], beside: Path, **variables: str) -> None:
    """Run pip, whose temporary files lie beside what it makes and go with them."""
    done = pip.run(command, beside, os.environ | variables)
    if done.returncode:
        reason = pip.why(done.returncode, done.stderr)
        raise FetchError(
            f"pip could not get all that has to be packed ({reason}); {pip.ELSEWHERE}."
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
