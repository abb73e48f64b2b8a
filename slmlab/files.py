"""Where things are kept, and how a file appears: whole or not at all."""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

import filelock
import platformdirs

from slmlab import marks
from slmlab.errors import NoRoom, NotPossibleHere, Unwritable, UsageError

_PACKAGE = Path(__file__).parent
_LONGEST_NAME = 200  # bytes; disks take 255, and a temporary name is longer
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*]|[. ]$')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³]) *(\..*)?", re.IGNORECASE
)  # Windows
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.part")
_WEIGHTS = re.compile(r"\.(safetensors|onnx|data|onnx_data(_\d+)?)$")


def data_path(*parts: str) -> Path:
    """Return a path inside the course's `data/` folder.

    In a checkout it stands beside the package; a wheel carries it inside the package.
    """
    inside = _PACKAGE / "_data"
    return (inside if inside.is_dir() else _PACKAGE.parent / "data").joinpath(*parts)


def cache_path(*parts: str) -> Path:
    """Return a path inside the cache: `$SLMLAB_CACHE`, or the user's cache folder."""
    root = os.environ.get("SLMLAB_CACHE")
    return (Path(root) if root else platformdirs.user_cache_path("slmlab")).joinpath(*parts)


def shared_path(*parts: str) -> Path | None:
    """Return a path inside the cache that many users of this machine read, if there is one.

    It is named in `$SLMLAB_SHARED_CACHE`, and nothing is ever written there.
    """
    root = os.environ.get("SLMLAB_SHARED_CACHE")
    return Path(root).joinpath(*parts) if root else None


def progress_file() -> Path:
    """Return where the learner's progress is kept: `$SLMLAB_PROGRESS`, or the user's data folder.

    What else the learner has made lies beside it.
    """
    named = os.environ.get("SLMLAB_PROGRESS")
    return Path(named) if named else platformdirs.user_data_path("slmlab") / "progress.json"


def is_plain_name(name: str) -> bool:
    """Return whether every system takes this as the name of a file, and it stays in its folder."""
    return (
        name.isprintable()  # no NUL, no new line, and no half of a character
        and 0 < len(name.encode()) <= _LONGEST_NAME
        and not _NOT_IN_NAMES.search(name)
        and not _RESERVED.fullmatch(name)
    )


def from_json(text: str | bytes) -> Any:
    """Return what a JSON text holds; raise `ValueError` for one that is damaged.

    Lists within lists, thousands deep, are damage too: they are too deep to read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("Its values are nested too deeply.") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_bytes(path: Path) -> int:
    """Return the bytes of a model's weights: its one file, or the files of its folder with them.

    Beside an ONNX graph that is `model.onnx.data`, or `model.onnx_data` where Optimum made it.
    """
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.glob("*") if _WEIGHTS.search(file.name))


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_full(folder: Path) -> bool:
    """Return whether less than 1 MiB is free on `folder`'s disk: a likely reason to fail there."""
    return free_bytes(folder) < 2**20


def check_room(needed: int, folder: Path, what: str) -> None:
    """Raise `NoRoom` unless `needed` more bytes fit on the disk where `folder` is, or will be."""
    free = free_bytes(folder)
    if free < needed:
        raise NoRoom(
            f"{what} needs {needed / 1e6:,.0f} MB and the disk that holds {folder} has "
            f"{free / 1e6:,.0f} MB free: make room there, or use a folder on another disk (the "
            f"cache's is set in SLMLAB_CACHE)."
        )


def check_new(path: Path) -> None:
    """Raise `UsageError` unless a file or folder can be made at `path` and nothing is lost."""
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UsageError(f"{path} is there already; name a folder that is new or empty.")


def unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, inside: str) -> None:
    """Write a member of an archive that was verified to the path `inside` the folder.

    Python before 3.11.4 has no filter that would refuse what leads out of it.
    """
    member.name = inside
    archive.extract(
        member, folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
    )


def kept_as(path: Path, ending: str) -> Path:
    """Return and `use` what is kept in the folder of `path` with this ending; else `path`.

    It is for folders named by what decides the contents: the same was made from the same there,
    under another name.
    """
    found = path if path.exists() else min(path.parent.glob(f"[!.]*{ending}"), default=path)
    use(found)
    return found


def aside(path: Path) -> Path:
    """Return a new name beside `path`, which no other writer has, for what is to become `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")


def begun(path: PurePath) -> str | None:
    """Return the name that something under a name of `aside` was to have; None for another."""
    found = _UNFINISHED.fullmatch(path.name)
    return found["name"] if found else None


def flush(path: Path) -> None:
    """Have a file's bytes on the disk before it is renamed: a crash then leaves no empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; it becomes `path` only if the block succeeds.

    The temporary name is unique, so two writers never share one; a leftover of a killed
    process is never taken for the file. Raises `Unwritable` where the disk is, or gets, full.
    """
    new = aside(path)
    with _fullness_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield new
            flush(new)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary path to make a folder at; it becomes `path` only if the block succeeds.

    `path` must not be there, or be an empty folder. Raises `Unwritable` where the disk is, or
    gets, full.
    """
    new = aside(path)
    with _fullness_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield new
            for made in filter(Path.is_file, new.rglob("*")):
                flush(made)
            if path.is_dir():
                path.rmdir()  # Windows replaces no folder, not even an empty one
            new.replace(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def lock_file(path: Path) -> Path:
    """Return where the lock of `path` is; in the cache, its time says when that was last used."""
    return path.with_name(f".{path.name}.lock")


def use(path: Path) -> None:
    """Note that this process uses something in the cache, which is not pruned before it ends.

    Call it before looking whether it is there; for what lies inside an item, the item is used.
    Where nothing can be written, nothing is noted; where others keep the marks locked for too
    long, standard error says so.
    """
    cache, path = cache_path().resolve(), path.parent.resolve() / path.name
    if cache not in path.parents:
        return
    try:
        item = _item(path, cache)
        marks.add(cache, item.relative_to(cache).as_posix())
        lock_file(item).touch()
    except NotPossibleHere as problem:
        print(f"{path.name} may be pruned while it is used: {problem}", file=sys.stderr)
    except OSError:
        pass


def _item(path: Path, cache: Path) -> Path:
    """Return the item of the cache that a path lies in: the outermost thing with a lock, or it."""
    around = [folder for folder in path.parents if cache in folder.parents]
    return next((found for found in reversed(around) if lock_file(found).exists()), path)


@contextmanager
def locked(path: Path, timeout: float = 3600) -> Iterator[None]:
    """Hold a lock beside `path`, shared by every process on this machine, and `use` the path.

    What a process that was killed has left unfinished under this lock, as `path` or right in it,
    is removed. Raises `Unwritable` where there can be no lock, and `NotPossibleHere` where another
    process holds it for more than `timeout` seconds.
    """
    use(path)
    lock = filelock.FileLock(lock_file(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, timeout)
    except filelock.Timeout:
        raise NotPossibleHere(
            f"Another program has been working on {path.name} for {timeout:.0f} s; "
            f"wait for it, or stop it, and try again."
        ) from None
    except OSError as problem:
        raise _unwritable(path.parent, problem) from None
    try:
        _clear(path)
        yield
    finally:
        lock.release()


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """Return `path` and `use` it; where nothing is there, first let `make` make it under a lock.

    What is there takes no lock, so it serves from a cache that can only be read, too. Raises what
    `make` and `locked` raise.
    """
    use(path)
    if not path.exists():
        with locked(path):
            if not path.exists():
                make(path)
    return path


def _clear(path: Path) -> None:
    """Remove what was begun, but not finished, as `path` or right in it; nobody is at it now."""
    beside = [found for found in path.parent.iterdir() if begun(found) == path.name]
    inside = [found for found in path.iterdir() if begun(found)] if path.is_dir() else []
    for found in beside + inside:
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            with suppress(OSError):
                found.unlink()


def _acquire(lock: filelock.BaseFileLock, path: Path, timeout: float) -> None:
    try:
        lock.acquire(timeout=min(1, timeout))
    except filelock.Timeout:
        print(f"Waiting for another program to finish {path.name}.", file=sys.stderr, flush=True)
        lock.acquire(timeout=timeout)


@contextmanager
def _fullness_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if problem.errno not in _NO_ROOM:
            raise
        raise _unwritable(folder, problem) from problem


def _unwritable(folder: Path, problem: OSError) -> Unwritable:
    reason = problem.strerror or problem
    sentence = Unwritable(
        f"The folder {folder} cannot be used ({reason}): make room or get write access there, or "
        f"use another folder (the cache's is set in SLMLAB_CACHE)."
    )
    sentence.strerror = problem.strerror
    return sentence
