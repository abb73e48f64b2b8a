"""Room for a new file, checked before anything is written."""

import os
import shutil
from pathlib import Path

from slmlab.errors import QuantizationError


def prepare(path: Path, needed: int) -> None:
    """Make the folder for `path`, and check that `needed` bytes fit there.

    Raises `QuantizationError` where the folder cannot be made or written to, or the disk is full.
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
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise QuantizationError(
            f"{path.name} needs {needed / 1e6:.0f} MB and {folder} has {free / 1e6:.0f} MB free; "
            f"make room or give another folder."
        )
