"""What a source of models hands over, and what it says when it cannot."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from slmlab.errors import FetchError


class Unavailable(FetchError):
    """This source cannot give the model, and the next one may."""


@dataclass(frozen=True)
class Arrival:
    """A downloaded file that nobody has verified yet.

    `path` is where it lies under its own name, `sha256` what its hash must be, and `source` says
    where it came from.
    """

    path: Path
    sha256: str
    source: str


def make_room(needed: int, folder: Path) -> None:
    """Raise `FetchError` unless `needed` more bytes fit on the disk that holds `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"The download needs {needed / 1e6:,.0f} MB and the disk that holds {folder} has "
            f"{free / 1e6:,.0f} MB free: make room there, or set SLMLAB_CACHE to a folder on "
            f"another disk."
        )
