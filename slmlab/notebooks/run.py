"""Execute labs from the first cell to the last, each in a kernel of its own."""

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slmlab.errors import NotPossibleHere, UsageError
from slmlab.files import whole
from slmlab.machine import check_memory
from slmlab.notebooks.execution import note
from slmlab.notebooks.labs import PROFILES, Lab

if TYPE_CHECKING:
    from nbformat import NotebookNode

QUIETLY = ["--log-level=CRITICAL"]
"""Tells a kernel to keep its remarks on sockets to itself; a verdict says what matters."""

RunVerdict = Literal["passed", "not possible here", "failed", "timed out", "kernel died"]


@dataclass(frozen=True)
class LabRun:
    """How one lab went; `message` says in a sentence why it did not pass.

    `notebook` is the executed notebook, up to the cell that failed; of a lab that was refused, as
    it was.
    """

    lab: Lab
    verdict: RunVerdict
    seconds: float
    message: str
    notebook: Path


@dataclass
class _Watch:
    """Follows a run: which cell it is in, and how long the whole lab may still take."""

    deadline: float | None
    cell: str = "before its first cell"

    def enter(self, cell: dict[str, Any], cell_index: int) -> None:
        self.cell = f"in cell {cell['id']!r}"

    def remaining(self, cell: dict[str, Any]) -> float | None:
        """Return the seconds left; never 0, which nbclient reads as no limit."""
        return self.deadline and max(0.1, self.deadline - time.monotonic())


def run(labs: Sequence[Lab], out: Path, profile: str = "quick", **parameters: Any) -> list[LabRun]:
    """Execute labs one after another and keep the executed notebooks in the folder `out`.

    A lab that fails does not stop the others. Raises `UsageError`, before anything runs, for a
    profile or a parameter that a lab does not have: papermill would only warn and run with the
    defaults.
    """
    for lab in labs:
        _check_parameters(lab, profile, parameters)
    runs = []
    for number, lab in enumerate(labs, start=1):
        _tell(f"[{number}/{len(labs)}] {lab.name}: running with the {profile} profile ...")
        done = execute(lab, lab.notebook(), out / lab.path.name, profile, **parameters)
        _tell(f"[{number}/{len(labs)}] {lab.name}: {done.verdict} after {done.seconds:.0f} s")
        if done.message:
            _tell(f"      {done.message}")
        runs.append(done)
    return runs


def execute(
    lab: Lab, notebook: "NotebookNode", out: Path, profile: str = "quick", **parameters: Any
) -> LabRun:
    """Execute one notebook in a fresh kernel, in an empty folder, and write it whole to `out`.

    Where memory is too small for the lab, and it has nothing recorded, no kernel is started.
    """
    import nbformat

    started = time.monotonic()
    if refusal := _refusal(lab):
        with whole(out) as aside:
            nbformat.write(notebook, aside)
        return LabRun(lab, "not possible here", time.monotonic() - started, refusal, out)
    note(notebook, lab, profile)
    limit = lab.time_limit(profile)
    watch = _Watch(deadline=limit and started + limit)
    with tempfile.TemporaryDirectory(prefix="slmlab-run-") as scratch:
        executed = Path(scratch, "executed.ipynb")
        workplace = Path(scratch, "workplace")
        workplace.mkdir()
        verdict, message = _papermill(
            notebook, executed, workplace, {"profile": profile, **parameters}, watch
        )
        with whole(out) as aside:
            shutil.copyfile(executed, aside)
    return LabRun(lab, verdict, time.monotonic() - started, message, out)


def _refusal(lab: Lab) -> str | None:
    """Return why a lab cannot begin here: it would run out of memory, and has no way around."""
    if lab.has_recorded:
        return None
    try:
        check_memory(lab.memory_bytes, lab.name)
    except NotPossibleHere as problem:
        return str(problem)
    return None


def _papermill(
    notebook: "NotebookNode",
    executed: Path,
    workplace: Path,
    parameters: dict[str, Any],
    watch: _Watch,
) -> tuple[RunVerdict, str]:
    """Return the verdict on a run and, unless it passed, a sentence that says why."""
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError

    for name in ("papermill", "asyncio"):  # what they remark on, the verdict says
        logging.getLogger(name).setLevel(logging.CRITICAL)
    started = time.monotonic()
    try:
        done = papermill.execute_notebook(
            notebook,
            executed,
            parameters,
            kernel_name="python3",
            extra_arguments=QUIETLY,
            coalesce_streams=True,
            progress_bar=False,
            cwd=workplace,
            timeout_func=watch.remaining,
            on_cell_start=watch.enter,
        )
    except PapermillExecutionError as error:
        if error.ename in _impossibilities(NotPossibleHere):
            return "not possible here", error.evalue
        return "failed", f"It failed {watch.cell}: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        seconds = time.monotonic() - started
        return "timed out", (
            f"It was stopped {watch.cell} at its time limit, after {seconds:.0f} s; "
            f"run it alone on an idle machine, or raise time_limit_seconds in its metadata."
        )
    except RuntimeError:
        return "kernel died", (
            f"The kernel died (often: out of memory) {watch.cell}; "
            f"close other programs, or take a smaller profile."
        )
    if any(cell.cell_type == "code" and not cell.execution_count for cell in done.cells):
        return "failed", f"It stopped {watch.cell} without an error and left cells unexecuted."
    return "passed", ""


def _impossibilities(kind: type[NotPossibleHere]) -> set[str]:
    """Return the names of an error's class and all below it; a notebook tells only names."""
    return {kind.__name__}.union(*map(_impossibilities, kind.__subclasses__()))


def exit_code(runs: Sequence[LabRun]) -> int:
    """Return 0 if every lab passed, 3 if the others are not possible here, and 1 otherwise."""
    verdicts = {done.verdict for done in runs} - {"passed"}
    if verdicts == {"not possible here"}:
        return NotPossibleHere.exit_code
    return int(bool(verdicts))


def _check_parameters(lab: Lab, profile: str, parameters: dict[str, Any]) -> None:
    import papermill

    if profile not in PROFILES:
        raise UsageError(f"There is no profile {profile!r}; choose one of: {', '.join(PROFILES)}.")
    known = papermill.inspect_notebook(lab.path)
    for name in ("profile", *parameters):
        if name not in known:
            raise UsageError(
                f"{lab.name} has no parameter {name!r}; it has: {', '.join(sorted(known))}."
            )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
