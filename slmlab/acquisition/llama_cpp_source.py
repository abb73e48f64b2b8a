"""llama.cpp's own source, at the very commit that the runtime was built from.

llama-cpp-python's source package carries all of llama.cpp: its converter from Hugging Face and
the tools we compare ourselves with. Taken from there they match the runtime by construction, any
Python package index has them, and nothing needs to be copied into this repository.
"""

import sys
import tarfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from slmlab.environments import pip
from slmlab.errors import FetchError, NotPossibleHere, VerificationError
from slmlab.files import cache_path, check_room, made_once, sha256, unpack, whole_folder

PACKAGE = "llama-cpp-python"
SHA256 = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
"""The source package's SHA-256, for each version of llama-cpp-python this course is locked to."""

_BYTES = 300_000_000  # the package, pip's own copy of it, and what is unpacked
_NOT_NEEDED = {"models", "docs", "media"}  # two thirds of the bytes; no tool is built from them


def source_tree() -> Path:
    """Return the folder that holds llama.cpp's source, fetched once (77 MB) and then kept.

    Raises `NotPossibleHere` for a version of llama-cpp-python whose source is not pinned here,
    `FetchError` without a package index, and `VerificationError` for a wrong package.
    """
    installed = _installed_version()
    return made_once(cache_path(f"llama.cpp-{installed}"), lambda home: _fetch(installed, home))


def _installed_version() -> str:
    try:
        installed = version(PACKAGE)
    except PackageNotFoundError:
        installed = "none"
    if installed not in SHA256:
        raise NotPossibleHere(
            f"The source of llama.cpp is known for {PACKAGE} {', '.join(SHA256)}, and {installed} "
            f"is installed; install what requirements.lock says."
        )
    return installed


def _fetch(version: str, home: Path) -> None:
    with whole_folder(home) as aside:
        aside.mkdir()
        package = _download(version, aside)
        _unpack(package, aside)
        package.unlink()


def _download(version: str, folder: Path) -> Path:
    check_room(_BYTES, folder, "The source of llama.cpp")
    print(f"Fetching llama.cpp's source with {PACKAGE} {version} (77 MB, once).", file=sys.stderr)
    # --no-binary, for pip would rather give a wheel, which has no source in it.
    wanted = ["--no-deps", "--no-binary", PACKAGE, f"{PACKAGE}=={version}"]
    done = pip.run(["download", "--dest", folder, *wanted], folder)
    packages = list(folder.glob("*.tar.gz"))
    if done.returncode or not packages:
        raise FetchError(
            f"pip could not download the source of {PACKAGE} {version} "
            f"({pip.why(done.returncode, done.stderr)}); {pip.ELSEWHERE}."
        )
    if sha256(packages[0]) != SHA256[version]:
        raise VerificationError(
            f"The source of {PACKAGE} {version} is not the package that is pinned here; "
            f"use another package index."
        )
    return packages[0]


def _unpack(package: Path, folder: Path) -> None:
    """Unpack `vendor/llama.cpp` of the source package into `folder`."""
    with tarfile.open(package) as archive:
        for member in archive:
            _, _, inside = member.name.partition("/vendor/llama.cpp/")
            if inside and inside.split("/")[0] not in _NOT_NEEDED:
                unpack(archive, member, folder, inside)
