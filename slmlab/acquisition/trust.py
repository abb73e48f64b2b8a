"""Which model files may be loaded here: those verified, those tried, and what was made of both.

All others are tried first in a process of their own (`slmlab.engines.trial`), for llama.cpp may
crash on them.
"""

import hashlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from slmlab.acquisition.arrival import INCOMING
from slmlab.files import cache_path, shared_path


def is_trusted(path: Path) -> bool:
    """Return whether a file is one that `fetch` has verified, or one that `trust` was told of."""
    path = Path(path).resolve()
    homes = filter(None, (cache_path("models"), shared_path("models")))
    return any(_is_verified(path, home.resolve()) for home in homes) or mark(path).exists()


def mark(path: Path) -> Path:
    """Return a place for this file as it is now, with the llama.cpp that is installed.

    Take it before the file is tried: one that takes its place meanwhile has another mark.
    """
    path = Path(path).resolve()
    now = path.stat()
    about = (path, now.st_size, now.st_mtime_ns, now.st_ino, version("llama-cpp-python"))
    return cache_path("trusted", hashlib.sha256(repr(about).encode()).hexdigest())


def trust(marked: Path) -> None:
    """Remember a file by its `mark`; where nothing can be written, it is tried again instead."""
    with suppress(OSError):
        marked.parent.mkdir(parents=True, exist_ok=True)
        marked.touch()


def _is_verified(path: Path, home: Path) -> bool:
    return path.is_relative_to(home) and INCOMING not in path.relative_to(home).parts
