"""Room for a new file, checked before anything is written, and looked at where writing failed."""

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


def blame_disk(path: Path) -> None:
    """Raise `NoRoom` if the disk of `path` is full: then that is why it could not be written."""
    if is_full(path.parent):
        raise NoRoom(
            f"The disk that holds {path.parent} filled up while {path.name} was being written: "
            f"make room there, or use a folder on another disk (the cache's is set in "
            f"SLMLAB_CACHE)."
        )
