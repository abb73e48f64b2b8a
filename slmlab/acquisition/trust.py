"""Which model files may be loaded here: those verified, those tried, and what was made of both.

All others are tried first in a process of their own (`slmlab.engines.trial`), for llama.cpp may
crash on them.
"""

import hashlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from slmlab.files import cache_path, shared_path


def is_trusted(path: Path) -> bool:
    """Return whether a file is one that `fetch` has verified, or one that `trust` was told of."""
    path = Path(path).resolve()
    verified = filter(None, (cache_path("models"), shared_path("models")))
    return any(path.is_relative_to(home.resolve()) for home in verified) or _mark(path).exists()


def trust(path: Path) -> None:
    """Remember a file as it is now; where nothing can be written, it is tried again instead."""
    mark = _mark(Path(path).resolve())
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _mark(path: Path) -> Path:
    """Return a place for this file as it is now, with the llama.cpp that is installed."""
    now = path.stat()
    about = (path, now.st_size, now.st_mtime_ns, now.st_ino, version("llama-cpp-python"))
    return cache_path("trusted", hashlib.sha256(repr(about).encode()).hexdigest())
