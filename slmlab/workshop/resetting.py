"""Give a lab back as the course has it, and keep aside what the learner made of it.

The pristine lab comes from the folder `.pristine/labs` beside `labs`, which a packed course brings
along, or else from git: the newest version of the file in which nothing is filled in, among those
that came from where the course was cloned. Where git knows no such place, a learner's own commit
counts too, if it fills nothing in. On a shared server learners work in a copy of the labs, which
`$SLMLAB_LABS` names, and the pristine lab is that of the course itself.
"""

import os
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


def reset(name: str, labs: Path | None = None) -> Reset:
    """Give the lab of this name back as the course has it; the learner's copy goes to `labs/mine`.

    A damaged or deleted lab comes back too. Raises `UsageError` for an unknown name and
    `NotPossibleHere` where there is no pristine copy.
    """
    labs, course = (labs, _beside(labs)) if labs else _here()
    lab = labs / f"{full_name(name, _known(labs, course))}.ipynb"
    pristine = _pristine(lab, course)
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


def _here() -> tuple[Path, Path]:
    """Return where this user's labs are, and where pristine copies of them may be."""
    own = os.environ.get("SLMLAB_LABS")
    return (Path(own).expanduser(), LABS) if own else (LABS, _beside(LABS))


def _known(labs: Path, course: Path) -> list[str]:
    """Return the names of all labs, whose files may be damaged or gone."""
    here = {path.stem for folder in (labs, course) for path in folder.glob(_LAB)}
    tracked = _git(labs, "ls-files", _LAB) or ""
    return sorted(here | {Path(line).stem for line in tracked.splitlines()})


def _pristine(lab: Path, course: Path) -> str:
    if (course / lab.name).is_file():
        return (course / lab.name).read_text("utf-8")
    for text in _versions(lab):
        if _untouched(text, lab.stem.partition("_")[2]):
            return text
    raise NotPossibleHere(
        f"There is no pristine copy of {lab.stem}: {course} has none, and neither has git; get "
        f"the file again from wherever you have the course."
    )


def _beside(labs: Path) -> Path:
    return labs.parent / ".pristine" / "labs"


def _versions(lab: Path) -> Iterator[str]:
    """Yield what git has of a file, the newest version first: the origin's, if it has an origin."""
    log = ("log", "--format=%H")
    commits = _git(lab.parent, *log, "origin/HEAD", "--", lab.name)
    for commit in (commits or _git(lab.parent, *log, "--", lab.name) or "").split():
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
