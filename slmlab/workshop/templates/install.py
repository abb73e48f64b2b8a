"""Install the course from this folder, without a network.

    python3 install.py [--into FOLDER] [--accept-license]

On Windows: py install.py. It needs one of the versions of Python that README.txt names, and
nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNFINISHED = ".install-unfinished"
PYTHON = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")


class CannotInstall(Exception):
    """Why the course cannot be installed here, in one sentence."""


def main() -> int:
    """Install, and return 0, or 1 after one sentence that says why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path.home() / "slmlab", metavar="FOLDER")
    parser.add_argument("--accept-license", action="store_true", help="of models that ask for it")
    parser.add_argument("--fill-cache", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        manifest = json.loads((HERE / "manifest.json").read_text("utf-8"))
        if options.fill_cache:  # in the new environment, which knows where its cache is
            fill_cache(manifest["cache"], options.accept_license)
        else:
            install(manifest, options.into.expanduser().resolve(), options.accept_license)
    except (CannotInstall, OSError) as problem:
        print(f"install: {problem}", file=sys.stderr)
        return 1
    return 0


def install(manifest: dict, into: Path, accept: bool) -> None:
    """Install the course as the folder `into`, which is removed again if that fails."""
    check_machine(manifest)
    check_free(into)
    check_files()
    say(f"Copying the course to {into} ...")
    into.mkdir(parents=True, exist_ok=True)
    (into / UNFINISHED).touch()
    try:
        shutil.copytree(HERE / "course", into, dirs_exist_ok=True)
        install_packages(into)
        command = [into / ".venv" / PYTHON, __file__, "--fill-cache"]
        run([*command, *(["--accept-license"] if accept else [])], "The models were not copied")
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    (into / UNFINISHED).unlink()
    say("Ready. To begin:")
    print(f'cd "{into}"')
    print(f"{Path('.venv') / PYTHON} -m jupyter lab {Path('labs/00_start_here.ipynb')}")


def check_machine(manifest: dict) -> None:
    """Raise `CannotInstall` unless there are wheels here for this Python on this machine."""
    version = "{}.{}".format(*sys.version_info)
    if version not in manifest["pythons"]:
        raise CannotInstall(
            f"this is Python {version} and the wheels here are for {', '.join(manifest['pythons'])}"
            f": start this file with one of them."
        )
    names = {"darwin": "macos", "amd64": "x86_64"}
    parts = [platform.system().lower(), platform.machine().lower()]
    machine = "-".join(names.get(part, part) for part in parts)
    if machine not in manifest["platforms"]:
        raise CannotInstall(
            f"this is {machine} and the wheels here are for {', '.join(manifest['platforms'])}: "
            f"ask for a hand-out that was packed with --platforms {machine}."
        )


def check_free(into: Path) -> None:
    """Raise `CannotInstall` if something is there already; what was broken off is removed."""
    if (into / UNFINISHED).exists():
        shutil.rmtree(into)
    if into.exists() and any(into.iterdir()):
        raise CannotInstall(f"{into} is not empty: name another folder with --into.")


def check_files() -> None:
    """Raise `CannotInstall` unless every file is there and is what was packed."""
    lines = (HERE / "SHA256SUMS").read_text("utf-8").splitlines()
    say(f"Checking {len(lines)} files ...")
    for line in lines:
        expected, _, name = line.partition("  ")
        if not (HERE / name).is_file() or sha256(HERE / name) != expected:
            raise CannotInstall(f"{name} is missing or damaged: copy the whole hand-out again.")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def install_packages(into: Path) -> None:
    """Make the environment `.venv` and install the wheels of the lock, and the course itself."""
    say("Making the environment ...")
    missing = "Python's venv does not work (on Debian and Ubuntu it is in the package python3-venv)"
    run([sys.executable, "-m", "venv", into / ".venv"], missing)
    pip = [into / ".venv" / PYTHON, "-m", "pip", "--isolated", "install", "--quiet", "--no-deps"]
    pip += ["--disable-pip-version-check", "--no-index", "--find-links", HERE / "wheels"]
    say("Installing the packages, which takes some minutes ...")
    run([*pip, "--requirement", into / "requirements.lock"], "pip could not install the packages")
    run([*pip, "--editable", into], "pip could not install the course")


def fill_cache(items: list[dict], accept: bool) -> None:
    """Copy the models, and what else is downloaded otherwise, into the cache of the course."""
    from slmlab.files import cache_path

    for item in items:
        if item["read"] and not accept:
            say(
                f"Left out: {item['folder']}, whose licence has to be accepted. Read it in "
                f"{HERE / item['read']}, then accept it with: "
                f'"{sys.executable}" "{__file__}" --fill-cache --accept-license'
            )
        else:
            copy_whole(HERE / "cache" / item["folder"], cache_path(*item["folder"].split("/")))


def copy_whole(source: Path, target: Path) -> None:
    """Copy a folder so that it appears whole; one that is there already stays."""
    from slmlab.files import locked, whole_folder

    files = [path for path in source.rglob("*") if path.is_file()]
    with locked(target):
        if all(same(path, target / path.relative_to(source)) for path in files):
            return
        say(f"Copying {source.name} to {target} ...")
        with whole_folder(target) as aside:
            shutil.copytree(
                source, aside, copy_function=shutil.copyfile
            )  # a stick may be read-only
            shutil.rmtree(target, ignore_errors=True)


def same(one: Path, other: Path) -> bool:
    """Tell whether the other file is there with the same size; the course checks its hash."""
    return other.is_file() and other.stat().st_size == one.stat().st_size


def run(command: list, otherwise: str) -> None:
    """Run a program; raise `CannotInstall` if it fails, after what it says itself."""
    if subprocess.call([str(part) for part in command]):
        raise CannotInstall(f"{otherwise}; the reason is above.")


def say(line: str) -> None:
    """Show a line at once, beside what other programs write."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
