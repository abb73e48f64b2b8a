"""Small disks: mounted for a test, filled, made read-only, and taken away again."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"

FILL_ONCE_LOOKED_AT = """
import shutil
from pathlib import Path

look, filler = shutil.disk_usage, Path({filler!r})

def look_and_fill(path):
    seen = look(path)
    if not filler.exists():
        filler.write_bytes(bytes(max(0, look(filler.parent).free - {left})))
    return seen

shutil.disk_usage = look_and_fill
"""
"""What a process runs first whose disk is to fill up right after it has seen that there is room."""


def why_not() -> str | None:
    """Return why no disk can be mounted here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting a small disk takes root, on Linux"
    return None


needs_disks = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of that size at a new folder, until the block ends."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)
    try:
        yield folder
    finally:
        _run("umount", "--lazy", folder)


def fill(folder: Path, left: int) -> None:
    """Fill the disk until `left` bytes are free."""
    (folder / FILLER).write_bytes(bytes(max(0, shutil.disk_usage(folder).free - left)))


def read_only(folder: Path) -> None:
    """Let nobody write to the disk any more, root included."""
    _run("mount", "-o", "remount,ro", folder)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)
