"""Programs in a namespace of their own: nobody else sees its mounts, and none outlive it.

Our interpreter may lie where only root may enter (as `/root` is). Other users can enter it there.
"""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

_NEW = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_be_made() -> bool:
    """Say whether this process may make such a namespace."""
    try:
        return subprocess.run([*_NEW, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def inside(command: Sequence[str | Path], reachable: Sequence[Path], aside: Path) -> list[str]:
    """Return the command that runs `command` where every user reaches the folders `reachable`.

    `aside` is an empty folder that is used while the namespace is made.
    """
    closed = {path: folder for path in reachable if (folder := _closed(path))}
    steps = []
    for number, path in enumerate(closed):
        steps.append(["mkdir", aside / str(number)])
        steps.append(["mount", "--bind", path, aside / str(number)])
    for folder in dict.fromkeys(closed.values()):
        steps.append(["mount", "-t", "tmpfs", "-o", "mode=755", "none", folder])
    for number, path in enumerate(closed):
        steps.append(["mkdir", "-p", path])
        steps.append(["mount", "--move", aside / str(number), path])
    lines = [shlex.join(map(str, step)) for step in steps]
    script = "\n".join(["set -e", *lines, 'exec "$@"'])
    return [*_NEW, "sh", "-c", script, "sh", *map(str, command)]


def _closed(path: Path) -> Path | None:
    """Return the first folder on the way to `path` that only its owner may enter."""
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None)
