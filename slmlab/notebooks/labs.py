"""Where the labs are, and what each says about itself."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.errors import LabError, UsageError
from slmlab.lessons import questions

if TYPE_CHECKING:
    from nbformat import NotebookNode

LABS = Path(__file__).parents[2] / "labs"
PROFILES = ("quick", "standard", "full")


@dataclass(frozen=True)
class Lab:
    """One lab: a notebook and what its metadata promises.

    `minutes` is machine time by profile, and `recorded` where a lab that cannot measure everything
    shows what was recorded; `time_limit_seconds` is for the whole quick run; `memory_bytes` is
    the peak the lab needs and `disk_bytes` what it writes in its quick run; the engines are those
    besides llama.cpp, and the servers those of `deployment`, or "browser".
    """

    path: Path
    title: str
    minutes: dict[str, float]
    time_limit_seconds: float
    memory_bytes: int
    needs_model: bool
    needs_engines: tuple[str, ...] = ()
    needs_environments: tuple[str, ...] = ()
    needs_servers: tuple[str, ...] = ()
    disk_bytes: int = 0

    @property
    def name(self) -> str:
        """The file's name without its ending, such as `03_quantization`."""
        return self.path.stem

    @property
    def unit(self) -> str:
        """The package's room and module of questions with this lab's name: `quantization`."""
        return self.name.partition("_")[2]

    @property
    def has_recorded(self) -> bool:
        """Whether it shows what was recorded, and goes on, where this machine cannot measure."""
        return "recorded" in self.minutes

    def time_limit(self, profile: str) -> float | None:
        """Return the seconds the lab may take; a full run takes as long as it needs."""
        if profile == "full":
            return None
        return self.time_limit_seconds * self.minutes[profile] / self.minutes["quick"]

    def notebook(self) -> "NotebookNode":
        """Read the notebook."""
        import nbformat

        return nbformat.read(self.path, as_version=4)


def all_labs(directory: Path = LABS) -> list[Lab]:
    """Return every lab in teaching order."""
    return [_read(path) for path in sorted(directory.glob("[0-9][0-9]_*.ipynb"))]


def find_labs(names: Sequence[str] = (), directory: Path = LABS) -> list[Lab]:
    """Return the labs with these names, in teaching order; all of them if none is named.

    `03`, `quantization`, `03_quantization` and the path of the file all name the same lab.
    """
    known = all_labs(directory)
    if not known:
        raise UsageError(f"There are no labs in {directory}; run this in a clone of the course.")
    every = [lab.name for lab in known]
    wanted = {full_name(name, every) for name in names} or every
    return [lab for lab in known if lab.name in wanted]


def full_name(name: str, known: Sequence[str]) -> str:
    """Return the one of these labs' names that `name` stands for, or raise `UsageError`."""
    key = Path(name).name.removesuffix(".ipynb")
    words = {lab.partition("_")[2]: lab for lab in known} | {lab: lab for lab in known}
    numbers = {lab.partition("_")[0]: lab for lab in known}
    if found := words.get(key) or numbers.get(key):
        return found
    near = [words[word] for word in difflib.get_close_matches(key, words)] or known
    meant = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if known else "; none is here."
    raise UsageError(f"There is no lab {name!r}{meant}")


def course() -> dict[str, list[str]]:
    """Return the titles of the questions, such as `tiers.q1`, by the lab's name."""
    return {lab.name: [question.title for question in questions(lab.unit)] for lab in find_labs()}


def has_tag(cell: "NotebookNode", tag: str) -> bool:
    """Return whether a cell of a notebook has this tag."""
    return tag in cell.metadata.get("tags", ())


def _read(path: Path) -> Lab:
    import nbformat

    try:
        about = nbformat.read(path, as_version=4).metadata["slmlab"]
        return Lab(
            path=path,
            title=about["title"],
            minutes=dict(about["minutes"]),
            time_limit_seconds=about["time_limit_seconds"],
            memory_bytes=about["memory_bytes"],
            needs_model=about["needs_model"],
            needs_engines=tuple(about.get("needs_engines", ())),
            needs_environments=tuple(about.get("needs_environments", ())),
            needs_servers=tuple(about.get("needs_servers", ())),
            disk_bytes=about.get("disk_bytes", 0),
        )
    except (KeyError, ValueError, nbformat.ValidationError) as problem:
        raise LabError(
            f"{path.name} is damaged, or its metadata is incomplete ({problem!r}); "
            f"get it again from the course."
        ) from None
