"""Which cache items each process uses. Its marks hold until it ends, however it ends.

A process writes the names of what it uses into a file of its own, beside which it keeps a lock.
The system releases a dead process's lock, so a file with a free lock belongs to a process that has
ended.
"""

import atexit
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from slmlab.errors import NotPossibleHere

FOLDER = ".in-use"
_PATIENCE = 60.0  # seconds; nobody holds the marks for longer than a moment


@dataclass
class _Own:
    """The marks of this process in one cache."""

    file: Path
    lock: FileLock
    names: set[str] = field(default_factory=set)
    process: int = field(default_factory=os.getpid)

    def forget(self) -> None:
        """Take the marks away; a fork of the process that made them must not."""
        if self.process == os.getpid():
            with suppress(OSError):  # then they are found to be of an ended process
                self.file.unlink(missing_ok=True)
                self.lock.release()
                Path(self.lock.lock_file).unlink(missing_ok=True)


_own: dict[Path, _Own] = {}


def add(cache: Path, name: str) -> None:
    """Mark what lies under `name` in a cache as used until this process ends.

    Marks that were deleted with their cache are begun anew.
    """
    if _is_kept(cache) and name in _own[cache].names:
        return
    with held(cache):
        if not _is_kept(cache):
            _own[cache] = _begin(cache / FOLDER)
        own = _own[cache]
        with own.file.open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        own.names.add(name)


@contextmanager
def held(cache: Path) -> Iterator[None]:
    """Let no process add a mark in a cache during the block, which should be short.

    Raises `NotPossibleHere` where another process keeps them for a minute, and `OSError` where
    nothing can be written.
    """
    (cache / FOLDER).mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / FOLDER / "all.lock")
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise NotPossibleHere(
            f"Another program has kept the marks in {cache / FOLDER} for {_PATIENCE:.0f} s; wait "
            f"for it, or stop it, and try again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def read(cache: Path) -> dict[int, set[str]]:
    """Return what each process uses of a cache, by its number; call it with the marks `held`.

    What ended processes have left is removed.
    """
    found = {}
    for file in _living(cache / FOLDER):
        with suppress(FileNotFoundError):  # its process has just ended by itself
            names = file.read_text("utf-8").splitlines()
            # Processes in two containers can have the same number.
            found.setdefault(int(file.stem.partition("-")[0]), set()).update(names)
    return found


def _is_kept(cache: Path) -> bool:
    """Whether this process has marks in a cache, and their file is still there."""
    return cache in _own and _own[cache].file.exists()


def _begin(folder: Path) -> _Own:
    """Begin the marks of this process; those that ended processes have left are removed."""
    _living(folder)
    file = folder / f"{os.getpid()}-{uuid.uuid4().hex}.txt"
    lock = FileLock(file.with_suffix(".lock"), thread_local=False)
    lock.acquire()
    own = _Own(file, lock)
    atexit.register(own.forget)
    return own


def _living(folder: Path) -> list[Path]:
    """Return the files of processes that have not ended, and remove those of the others."""
    return [file for file in folder.glob("*.txt") if not _ended(file)]


def _ended(file: Path) -> bool:
    """Whether the process of a file has ended; then the file is removed."""
    lock = FileLock(file.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    file.unlink(missing_ok=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)
    return True
