"""Give a lab back as the course has it, and keep aside what the learner made of it.

The pristine lab comes from the folder `.pristine/labs` beside `labs`, which a packed course brings
along, or else from git: the newest version of the file in which nothing is filled in.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.environments.guarded import finish
from slmlab.errors import NotPossibleHere
from slmlab.files import cache_path, locked, whole
from slmlab.lessons import questions
from slmlab.notebooks.labs import LABS, full_name
from slmlab.notebooks.verify import disagreements

if TYPE_CHECKING:
    from nbformat import NotebookNode

_LAB = "[0-9][0-9]_*.ipynb"
_GUESSED = re.compile(r"^guess\w* = (?!.*\.\.\.).*$", re.MULTILINE)


@dataclass(frozen=True)
class Reset:
    """What became of a lab: whether it was `changed` back, and where the learner's copy is."""

    lab: Path
    changed: bool
    kept: Path | None


def reset(name: str, labs: Path = LABS) -> Reset:
    """Give the lab of this name back as the course has it; the learner's copy goes to `labs/mine`.

    A damaged or deleted lab comes back too. Raises `UsageError` for an unknown name and
    `NotPossibleHere` where there is no pristine copy.
    """
    lab = labs / f"{full_name(name, _known(labs))}.ipynb"
    pristine = _pristine(lab)
    with locked(cache_path("reset"), timeout=60):
        if lab.is_file() and lab.read_bytes().replace(b"\r\n", b"\n") == pristine.encode():
            return Reset(lab, changed=False, kept=None)
        with whole(lab) as aside:
            aside.write_text(pristine, "utf-8", newline="\n")
            kept = _move_aside(lab) if lab.exists() else None
        return Reset(lab, changed=True, kept=kept)


def filled_in(notebook: "NotebookNode", unit: str) -> list[str]:
    """Return, as sentences, how a lab differs from an untouched one; outputs do not count."""
    asked = questions(unit)
    faults = [fault for question in asked for fault in disagreements(notebook, question)]
    guesses = (guess for cell in notebook.cells for guess in _GUESSED.findall(cell.source))
    return faults + [f"A guess is filled in: `{guess}`." for guess in guesses]


def _known(labs: Path) -> list[str]:
    """Return the names of all labs, whose files may be damaged or gone."""
    here = {path.stem for folder in (labs, _beside(labs)) for path in folder.glob(_LAB)}
    tracked = _git(labs, "ls-files", _LAB) or ""
    return sorted(here | {Path(line).stem for line in tracked.splitlines()})


def _pristine(lab: Path) -> str:
    beside = _beside(lab.parent) / lab.name
    if beside.is_file():
        return beside.read_text("utf-8")
    for text in _versions(lab):
        if _untouched(text, lab.stem.partition("_")[2]):
            return text
    raise NotPossibleHere(
        f"There is no pristine copy of {lab.stem}: {_beside(lab.parent)} has none, and neither has "
        f"git; get the file again from wherever you have the course."
    )


def _beside(labs: Path) -> Path:
    return labs.parent / ".pristine" / "labs"


def _versions(lab: Path) -> Iterator[str]:
    """Yield what git has of a file, the newest version first."""
    for commit in (_git(lab.parent, "log", "--format=%H", "--", lab.name) or "").split():
        if text := _git(lab.parent, "show", f"{commit}:./{lab.name}"):
            yield text


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says, or None where there is no git, no repository or no such file."""
    if not (shutil.which("git") and folder.is_dir()):
        return None
    done = finish(["git", "-C", folder, *arguments])
    return done.stdout if done.returncode == 0 else None


def _untouched(text: str, unit: str) -> bool:
    import nbformat

    try:
        notebook = nbformat.reads(text, as_version=4)
    except (ValueError, nbformat.ValidationError):
        return False
    shown = any(cell.get("outputs") for cell in notebook.cells)
    return not shown and not filled_in(notebook, unit)


def _move_aside(lab: Path) -> Path:
    """Move a file to a name in the folder `mine` that nothing has yet; return it.

    The names do not begin like a lab's, and nobody looks for labs in that folder.
    """
    stem = f"{lab.stem}.mine-{datetime.now():%Y%m%d-%H%M%S}"
    names = (f"{stem}{f'-{again}' if again > 1 else ''}.ipynb" for again in count(1))
    mine = lab.parent / "mine"
    mine.mkdir(exist_ok=True)
    return lab.rename(next(mine / name for name in names if not (mine / name).exists()))
