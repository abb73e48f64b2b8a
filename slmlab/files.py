"""Where things are kept, and how a file appears: whole or not at all."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

from slmlab.errors import FetchError

_PACKAGE = Path(__file__).parent


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


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; it becomes `path` only if the block succeeds.

    The temporary name is unique, so two writers never share one; a leftover of a killed
    process is never taken for the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, timeout: float = 3600) -> Iterator[None]:
    """Hold a lock beside `path`, shared by every process on this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with filelock.FileLock(lock, timeout=timeout):
            yield
    except filelock.Timeout:
        raise FetchError(
            f"Another program has been working on {path.name} for {timeout:.0f} s; "
            f"wait for it, or stop it, and try again."
        ) from None
