"""Where, when and how a lab was executed: noted in its notebook, for every page made of it."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from slmlab import engines
from slmlab.machine import installed_version, this_machine
from slmlab.notebooks.labs import Lab

if TYPE_CHECKING:
    from nbformat import NotebookNode

_NOTE = "slmlab_execution"


@dataclass(frozen=True)
class Execution:
    """How a lab was executed; its `str` is a line that says so. The date is that of UTC."""

    machine: str
    profile: str
    versions: dict[str, str]
    date: str

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"Executed on {self.machine} with the {self.profile} profile; {versions}; {self.date}."
        )


def note(notebook: "NotebookNode", lab: Lab, profile: str) -> None:
    """Note in a notebook of a lab that it is executed with this profile, here and now."""
    packages = [name for engine in lab.needs_engines for name in engines.packages(engine)]
    names = ("slmlab", *engines.packages("llama_cpp"), *packages)
    execution = Execution(
        machine=str(this_machine()),
        profile=profile,
        versions={"Python": this_machine().python} | {it: installed_version(it) for it in names},
        date=datetime.now(UTC).date().isoformat(),
    )
    notebook.metadata[_NOTE] = asdict(execution)


def noted(notebook: "NotebookNode") -> Execution | None:
    """Return what was noted in an executed notebook, or None where nothing was."""
    found = notebook.metadata.get(_NOTE)
    return found and Execution(**found)
