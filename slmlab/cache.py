"""What the cache holds, and how it is pruned while others use it.

An item is a file or folder with a lock file beside it; a folder in which nothing has a lock is one
item. An item is moved aside and then deleted, so that no half of it is ever taken for the whole:
whoever wants it afterwards makes it again.
"""

import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from stat import S_ISDIR
from typing import Any

import filelock

from slmlab import marks
from slmlab.errors import UsageError
from slmlab.files import aside, begun, cache_path, lock_file

_LEFT_BEHIND = 24 * 3600
"""Seconds after which what nobody has written to, and nobody finished, is taken for a leftover."""

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]+)?) ?([KMGT]?)B?", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """Something whole in the cache, or what a killed process has left (`leftover`).

    `name` is its path inside the cache, `kind` the first part of that, `last_used` in seconds
    since 1970, and `used_by` the numbers of the processes that use it now.
    """

    name: str
    kind: str
    bytes: int
    last_used: float
    used_by: tuple[int, ...]
    leftover: bool

    @property
    def last_used_utc(self) -> str:
        """The time of `last_used` to the second, as ISO 8601 writes it."""
        return datetime.fromtimestamp(self.last_used, UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Pruned:
    """What was removed, what was not because it is in use, and the bytes that are left."""

    removed: tuple[Item, ...]
    in_use: tuple[Item, ...]
    bytes_left: int

    @property
    def bytes_freed(self) -> int:
        """The bytes of what was removed."""
        return sum(item.bytes for item in self.removed)

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data: what `slmlab cache prune --json` prints."""
        return {
            "removed": [item.name for item in self.removed],
            "in_use": [item.name for item in self.in_use],
            "removed_bytes": self.bytes_freed,
            "bytes": self.bytes_left,
        }


def limit() -> int | None:
    """Return the bytes that the cache may hold by `$SLMLAB_CACHE_LIMIT`, such as `20GB`, or None.

    Raises `UsageError` where that is no size.
    """
    said = os.environ.get("SLMLAB_CACHE_LIMIT")
    return size(said) if said else None


def size(said: str) -> int:
    """Return the bytes of a size such as `500MB` or `1.5 GB`; raise `UsageError` for another."""
    found = _SIZE.fullmatch(said.strip())
    if not found:
        raise UsageError(f"{said!r} is no size; give one such as 500MB or 20GB.")
    number, prefix = found.groups()
    return int(float(number) * 1000 ** ["", "K", "M", "G", "T"].index(prefix.upper()))


def items() -> list[Item]:
    """Return what is in the cache, by name; of what is unfinished, only what was left behind.

    In a cache that can only be read, nobody can tell who uses what: no item is `used_by` anybody.
    """
    root = cache_path().resolve()
    used = {}
    if (root / marks.FOLDER).is_dir():
        with suppress(OSError), marks.held(root):
            used = marks.read(root)
    found = (_item(path, root, used) for path in _entries(root))
    return sorted(filter(None, found), key=lambda item: item.name)


def kinds(items: Sequence[Item]) -> Counter[str]:
    """Return the bytes that the items of each kind hold."""
    held = Counter()
    for item in items:
        held[item.kind] += item.bytes
    return held


def as_data(items: Sequence[Item], limit: int | None) -> dict[str, Any]:
    """Return items and what they hold as plain data: what `slmlab cache --json` prints."""
    held = kinds(items)
    return {
        "path": str(cache_path()),
        "bytes": held.total(),
        "limit_bytes": limit,
        "kinds": held,
        "items": [asdict(item) | {"last_used": item.last_used_utc} for item in items],
    }


def excess() -> int:
    """Return the bytes by which the cache is over its `limit`; 0 where it is not, or has none."""
    most = limit()
    return 0 if most is None else max(0, sum(item.bytes for item in items()) - most)


def prune(limit: int) -> Pruned:
    """Remove leftovers, then what was used longest ago, until `limit` bytes or fewer are left.

    What has no bytes, such as the marks of files that were tried, would give no room and stays.
    """
    found = sorted(items(), key=lambda item: (not item.leftover, item.last_used))
    over = sum(item.bytes for item in found) - limit
    return _remove(found, lambda item, freed: item.leftover or (item.bytes > 0 and freed < over))


def remove(names: Sequence[str]) -> Pruned:
    """Remove items by name, or everything in a folder by its name.

    Raises `UsageError` for an unknown name.
    """
    found = items()
    for name in names:
        if not any(_within(item.name, name) for item in found):
            raise UsageError(f"There is no {name!r} in the cache; `slmlab cache` lists what is.")
    return _remove(found, lambda item, _: any(_within(item.name, name) for name in names))


def _remove(found: Sequence[Item], goes: Callable[[Item, int], bool]) -> Pruned:
    """Remove each item that `goes`, told how many bytes were freed before it."""
    removed, in_use, freed = [], [], 0
    for item in found:
        if goes(item, freed):
            gone = _removed(item)
            freed += item.bytes * gone
            (removed if gone else in_use).append(item)
    return Pruned(tuple(removed), tuple(in_use), sum(item.bytes for item in found) - freed)


def _removed(item: Item) -> bool:
    """Remove an item unless a process uses it, and return whether it is gone."""
    root = cache_path().resolve()
    path = root / item.name
    moved = aside(path)
    with marks.held(root):
        if _users(item.name, marks.read(root)) or not _moved(path, moved):
            return False
    if moved.is_dir() and not moved.is_symlink():
        with suppress(FileNotFoundError):  # whoever makes it anew may clear this away, too
            shutil.rmtree(moved)
    else:
        moved.unlink(missing_ok=True)
    with marks.held(root):
        _tidy(path.parent, root)
    return True


def _moved(path: Path, target: Path) -> bool:
    """Move an item aside, unless a process has locked it or, on Windows, has it open."""
    try:
        with filelock.FileLock(lock_file(path)).acquire(timeout=0):
            path.rename(target)
    except filelock.Timeout:
        return False
    except PermissionError:
        if sys.platform != "win32":
            raise
        return False
    except FileNotFoundError:
        pass  # another program has removed it
    # Nobody waits for this lock: marks would have shown it, and none can be added now.
    lock_file(path).unlink(missing_ok=True)
    return True


def _tidy(folder: Path, root: Path) -> None:
    """Remove folders that hold nothing any more, unless a process uses something in them."""
    used = marks.read(root)
    while folder != root and not _users(folder.relative_to(root).as_posix(), used):
        try:
            folder.rmdir()
        except OSError:  # it holds something, or is gone
            return
        folder = folder.parent


def _entries(folder: Path) -> Iterator[Path]:
    """Give the items in a folder, and whatever is unfinished beside them."""
    for path in _inside(folder):
        if path.name.startswith("."):
            if path.name != marks.FOLDER and path.suffix != ".lock":
                yield path
        elif lock_file(path).exists() or not _has_locks(path):
            yield path
        else:
            yield from _entries(path)


def _has_locks(folder: Path) -> bool:
    """Whether something in a folder, or in a folder of it, is or was locked."""
    return any(path.match(".?*.lock") or _has_locks(path) for path in _inside(folder))


def _inside(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing where it is a file, a link, or gone by now."""
    if folder.is_symlink():
        return []
    with suppress(FileNotFoundError, NotADirectoryError):
        return list(folder.iterdir())
    return []


def _item(path: Path, root: Path, used: dict[int, set[str]]) -> Item | None:
    """Describe what lies at a path; None where it is gone by now, or unfinished and not old."""
    states = list(_states(path))
    written = max((state.st_mtime for state in states), default=0)
    leftover = path.name.startswith(".")
    if not states or (leftover and time.time() - written < _LEFT_BEHIND):
        return None
    inside = path.relative_to(root)
    with suppress(FileNotFoundError):
        written = lock_file(path).stat().st_mtime
    return Item(
        name=inside.as_posix(),
        kind=inside.parts[0],
        bytes=sum(state.st_size for state in states if not S_ISDIR(state.st_mode)),
        last_used=written,
        used_by=_users(inside.as_posix(), used),
        leftover=leftover,
    )


def _states(path: Path) -> Iterator[os.stat_result]:
    """Give the state of a file, or of a folder and of all that is in it, links not followed."""
    with suppress(FileNotFoundError):
        yield path.lstat()
    for inside in _inside(path):
        yield from _states(inside)


def _users(name: str, used: dict[int, set[str]]) -> tuple[int, ...]:
    """Return the processes that use an item, something in it, or what a leftover was to become."""
    path = PurePosixPath(name)
    wanted = path.with_name(begun(path) or path.name).as_posix()
    return tuple(
        process
        for process, theirs in used.items()
        if any(_within(wanted, one) or _within(one, wanted) for one in theirs)
    )


def _within(name: str, folder: str) -> bool:
    return f"{name}/".startswith(f"{folder.rstrip('/')}/")
