"""Give labs to nbgrader: each answer becomes a cell it collects, each check a test it marks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.files import check_new, whole_folder
from slmlab.lessons import questions
from slmlab.lessons.question import Question
from slmlab.notebooks.labs import Lab, has_tag
from slmlab.workshop.handout import blank

if TYPE_CHECKING:
    from nbformat import NotebookNode

_ANSWER = "### BEGIN SOLUTION\n{solution}\n### END SOLUTION"
_CHECK = """\
verdict = {check}
print(verdict)
### BEGIN HIDDEN TESTS
assert verdict.outcome == "correct", verdict.message
### END HIDDEN TESTS"""
_CONFIG = '''\
"""What nbgrader needs to know of the labs of slmlab."""

import os
from pathlib import Path

# Marking checks answers too; it leaves your own progress alone.
os.environ["SLMLAB_PROGRESS"] = str(Path(__file__).resolve().with_name("progress.json"))

c = get_config()
c.CourseDirectory.course_id = "slmlab"
c.ClearSolutions.code_stub = {"python": "answer = ..."}
c.Execute.timeout = 600
'''


def nbgrader_course(labs: Sequence[Lab], out: Path) -> None:
    """Write a course folder for nbgrader: an assignment for each lab, and `nbgrader_config.py`.

    Raises `UsageError` where `out` has something in it, and `LabError` for a lab in which an
    answer or a guess is filled in.
    """
    import nbformat

    check_new(out)
    with whole_folder(out) as aside:
        for lab in labs:
            assignment = aside / "source" / lab.name
            assignment.mkdir(parents=True)
            nbformat.write(nbgrader_source(lab), assignment / lab.path.name)
        (aside / "nbgrader_config.py").write_text(_CONFIG, "utf-8")


def nbgrader_source(lab: Lab) -> "NotebookNode":
    """Return the instructor's version of a lab, in which every question is worth one point.

    nbgrader takes the solutions and the tests out for the learners, and puts the tests back to
    mark. Raises `LabError` for a lab in which an answer or a guess is filled in.
    """
    notebook = blank(lab)
    for question in questions(lab.unit):
        for cell in notebook.cells:
            if has_tag(cell, question.name):
                _make_answer(cell, question)
            elif cell.source.splitlines()[-1:] == [question.check_line]:
                _make_test(cell, question)
    return notebook


def _make_answer(cell: "NotebookNode", question: Question) -> None:
    unit = cell.source.partition("#")[2].strip()
    remarks = [f"# {unit}"] if unit else []
    if question.needs:
        measured = ", ".join(question.needs)
        remarks.append(f"# Compute it from {measured}: the machine that marks measures anew.")
    cell.source = "\n".join([*remarks, _ANSWER.format(solution=question.solution_code)])
    cell.metadata["nbgrader"] = _metadata(f"{question.name}-answer", solution=True)


def _make_test(cell: "NotebookNode", question: Question) -> None:
    before = cell.source.removesuffix(question.check_line)
    cell.source = before + _CHECK.format(check=question.check_line)
    cell.metadata["nbgrader"] = _metadata(question.name, grade=True, locked=True, points=1)


def _metadata(grade_id: str, **roles: Any) -> dict[str, Any]:
    none = {"grade": False, "solution": False, "locked": False, "task": False}
    return {"schema_version": 3, "grade_id": grade_id, **none, **roles}
