"""Hand out labs: to learners, with the solutions, and with notes for the instructor.

All three are made from the one file in `labs` whenever they are asked for; no copy is kept.
"""

import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.errors import LabError, UsageError
from slmlab.files import check_new, data_path, whole_folder
from slmlab.lessons import questions
from slmlab.lessons.question import Question
from slmlab.measurement.record import Measurement
from slmlab.measurement.words import origins, provenance, quantity
from slmlab.notebooks.labs import PROFILES, Lab, has_tag
from slmlab.notebooks.report import measurements
from slmlab.notebooks.verify import solved
from slmlab.workshop.resetting import filled_in

if TYPE_CHECKING:
    from nbformat import NotebookNode

_NO_REPORT = (
    "None: they come from labs that were executed, with their machine and date. Run "
    "`slmlab run --out DIR`, then make this handout with `--executed DIR`."
)


def hand_out(labs: Sequence[Lab], out: Path, executed: Path | None = None) -> None:
    """Write each lab into the folders `learner`, `solutions` and `instructor` of a new folder.

    `executed` is a folder that `slmlab run` wrote; the instructor gets the numbers in it. Raises
    `UsageError` where `out` has something in it or `executed` holds none of the labs, and
    `LabError` for a lab in which an answer or a guess is filled in.
    """
    import nbformat

    _check_folders(labs, out, executed)
    with whole_folder(out) as aside:
        for lab in labs:
            made = {
                "learner": blank(lab),
                "solutions": solutions(lab),
                "instructor": annotated(lab, executed),
            }
            for name, notebook in made.items():
                (aside / name).mkdir(parents=True, exist_ok=True)
                nbformat.write(notebook, aside / name / lab.path.name)


def blank(lab: Lab) -> "NotebookNode":
    """Return the learner's notebook: the lab as it stands in the course, without outputs."""
    notebook = lab.notebook()
    if faults := filled_in(notebook, lab.unit):
        raise LabError(
            f"{lab.name} is not as the course has it ({faults[0]}); "
            f"`slmlab reset {lab.name}` keeps yours aside and gives it back."
        )
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
    return notebook


def solutions(lab: Lab) -> "NotebookNode":
    """Return the learner's notebook with the solutions in its answer cells."""
    return solved(blank(lab), questions(lab.unit))


def annotated(lab: Lab, executed: Path | None = None) -> "NotebookNode":
    """Return the solved notebook with a summary below its title and notes beside each question."""
    notebook = solutions(lab)
    for question in questions(lab.unit):
        tagged = (has_tag(cell, question.name) for cell in notebook.cells)
        place = list(tagged).index(True)
        notebook.cells.insert(place, _note(question.name, _about_question(question)))
    notebook.cells.insert(1, _note("summary", _about_lab(lab, executed)))
    return notebook


def discussion(unit: str) -> tuple[str, ...]:
    """Return points to discuss after a lab, such as that of `tiers`; none for an unknown one."""
    points = tomllib.loads(data_path("discussion.toml").read_text("utf-8"))
    return tuple(points.get(unit, ()))


def _check_folders(labs: Sequence[Lab], out: Path, executed: Path | None) -> None:
    check_new(out)
    if executed and not any((executed / lab.path.name).is_file() for lab in labs):
        raise UsageError(
            f"{executed} holds none of these labs executed; "
            f"`slmlab run --out {executed}` puts them there."
        )


def _note(name: str, text: str) -> "NotebookNode":
    from nbformat.v4 import new_markdown_cell

    return new_markdown_cell(text, id=f"instructor-{name}", metadata={"tags": ["instructor"]})


def _about_lab(lab: Lab, executed: Path | None) -> str:
    known = (name for name in (*PROFILES, "recorded") if name in lab.minutes)
    minutes = ", ".join(f"{name} {lab.minutes[name]:g}" for name in known)
    return "\n".join(
        [
            f"## For the instructor: {lab.title}",
            "",
            "This copy holds the solutions; learners get the one in `learner`.",
            "",
            f"**Machine minutes** by profile, on the reference machine: {minutes}. `slmlab doctor` "
            "says them for another. Learners need 30 to 60 minutes.",
            "",
            f"**Needs:** {_needs(lab)}.",
            "",
            "### Expected numbers",
            "",
            *_expected(lab, executed),
            "",
            "### To discuss",
            "",
            *(f"- {point}" for point in discussion(lab.unit)),
        ]
    )


def _needs(lab: Lab) -> str:
    parts = [quantity(lab.memory_bytes, "bytes") + " of memory"]
    parts += ["a model"] * lab.needs_model
    parts += [f"the engine {name}" for name in lab.needs_engines]
    parts += [f"the environment {name}" for name in lab.needs_environments]
    parts += [f"the server {name}" for name in lab.needs_servers]
    return ", ".join(parts)


def _expected(lab: Lab, executed: Path | None) -> list[str]:
    """Return the numbers of the executed lab as a table, or a sentence why there are none."""
    if executed is None:
        return [_NO_REPORT]
    notebook = executed / lab.path.name
    if not notebook.is_file():
        return [f"None: this lab is not among those executed in `{executed.name}`."]
    try:
        rows = _numbers(notebook)
    except (TypeError, ValueError):
        return ["None: those in the executed lab are damaged, or lack their machine and date."]
    if not rows:
        return ["None: the executed lab showed no table of numbers."]
    return [*_table(rows), "", *(f"- {line}" for line in origins(rows))]


def _numbers(executed: Path) -> list[Measurement]:
    """Return the numbers of an executed lab; what was measured there is recorded here."""
    import nbformat

    rows = measurements(nbformat.read(executed, as_version=4))
    return [replace(row, how="recorded") if row.how == "measured" else row for row in rows]


def _table(rows: Sequence[Measurement]) -> Iterator[str]:
    yield "| subject | quantity | value | how |"
    yield "|---|---|---:|---|"
    for row in rows:
        value = quantity(row.value, row.unit, row.spread)
        cells = (row.subject, row.quantity, value, provenance(row))
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _about_question(question: Question) -> str:
    mistakes = [
        f"- The verdict says “… {wrong.message} …” to\n\n{_code(wrong.code)}"
        for wrong in question.wrong_answers
    ]
    hints = [f"{number}. {hint}" for number, hint in enumerate(question.hints, start=1)]
    return "\n\n".join(
        [
            f"#### For the instructor: {question.title}",
            "**Hints** that learners can ask for",
            "\n".join(hints),
            "**Common mistakes**",
            *mistakes,
            f"**Solution**, which the next cell holds. Praise: “{question.praise}”",
        ]
    )


def _code(source: str) -> str:
    return textwrap.indent(f"```python\n{source}\n```", "  ")
