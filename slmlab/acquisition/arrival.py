"""What a source of models hands over, and what it says when it cannot."""

from dataclasses import dataclass
from pathlib import Path

from slmlab.errors import FetchError

INCOMING = "incoming"
"""The folder inside a model's own in which everything unfinished and unverified lies."""


class Unavailable(FetchError):
    """This source cannot give the model, and the next one may."""


@dataclass(frozen=True)
class Arrival:
    """A downloaded file that nobody has verified yet.

    `path` is where it lies under its own name, and `source` says where it came from.
    """

    path: Path
    source: str
