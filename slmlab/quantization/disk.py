"""Room for a new file, checked before anything is written, and looked at where writing failed."""

import errno
import os
from pathlib import Path

from slmlab.errors import NoRoom, QuantizationError
from slmlab.files import check_room, is_full


def prepare(path: Path, needed: int) -> None:
    """Make the folder for `path`, and check that `needed` bytes fit there.

    Raises `QuantizationError` where the folder cannot be made or written to, and `NoRoom` where
    the disk is too full.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise QuantizationError(
            f"The folder {folder} cannot be made ({problem.strerror}); give another folder."
        ) from None
    if not os.access(folder, os.W_OK):
        raise QuantizationError(f"The folder {folder} cannot be written to; give another folder.")
    check_room(needed, folder, path.name)


def blame_disk(path: Path, said: str = "") -> None:
    """Raise `NoRoom` if a full disk is why `path` could not be written.

    It is full now, or whoever wrote has `said` so.
    """
    if is_full(path.parent) or os.strerror(errno.ENOSPC) in said:
        raise NoRoom(
            f"The disk that holds {path.parent} filled up while {path.name} was being written: "
            f"make room there, or use a folder on another disk (the cache's is set in "
            f"SLMLAB_CACHE)."
        )
