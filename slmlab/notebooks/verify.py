"""Prove the questions: each in a fresh kernel, from the very cells a learner would run."""

import ast
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.errors import LabError
from slmlab.lessons import progress, questions
from slmlab.lessons.question import Question
from slmlab.notebooks.labs import Lab, has_tag
from slmlab.notebooks.run import QUIETLY, execute

if TYPE_CHECKING:
    from nbformat import NotebookNode

_KERNELS = 2
_TIME_LIMIT_SECONDS = 300
_STARTER = "answer = ..."


@dataclass(frozen=True)
class Proof:
    """What was found out about one question, or about a lab as a whole.

    `faults` are sentences; none means that it holds. `wrong_answers` counts those tried.
    """

    subject: str
    wrong_answers: int
    faults: tuple[str, ...]


def verify(labs: Sequence[Lab]) -> list[Proof]:
    """Prove every question of these labs, two kernels at a time.

    The starter must be *not attempted*, the solution *correct*, and each listed wrong answer
    *incorrect* with its own message; and the notebook must ask the question the class checks.
    The learner's progress is left alone.
    """
    tasks = [(question, lab.notebook()) for lab in labs for question in questions(lab.unit)]
    with _progress_aside(), ThreadPoolExecutor(_KERNELS) as pool:
        return list(pool.map(lambda task: _prove(*task), tasks))


def verify_solved(lab: Lab, out: Path) -> Proof:
    """Execute the lab with every answer cell replaced by the solution; each must come out correct.

    The solved notebook is the learner's with other answers, written to `out`, never a second copy.
    """
    asked = questions(lab.unit)
    with _progress_aside():
        done = execute(lab, solved(lab.notebook(), asked), out)
        outcomes = {name: entry["outcome"] for name, entry in progress.read().items()}
    faults = [done.message] if done.message else []
    for question in asked:
        outcome = outcomes.get(question.title, "not checked")
        if outcome != "correct":
            faults.append(f"The solution of {question.title} is {outcome} in the lab.")
    return Proof(f"{lab.name}, solved", 0, tuple(faults))


def solved(notebook: "NotebookNode", asked: Sequence[Question]) -> "NotebookNode":
    """Replace the answer cells of a notebook with the solutions and return it."""
    for question in asked:
        _tagged(notebook, question.name)["source"] = question.solution_code
    return notebook


def disagreements(notebook: "NotebookNode", question: Question) -> list[str]:
    """Return what the notebook says differently from the question's class, as sentences."""
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    answers = [cell for cell in codes if has_tag(cell, question.name)]
    faults = []
    if " ".join(question.prompt.split()) not in " ".join(prose.split()):
        faults.append("The notebook does not contain the prompt.")
    if len(answers) != 1:
        faults.append(f"{len(answers)} cells are tagged {question.name!r}; there must be one.")
    elif answers[0].source.partition("#")[0].strip() != _STARTER:
        faults.append(f"The answer cell must be `{_STARTER}`, with at most a comment.")
    if sum(cell.source.splitlines()[-1:] == [question.check_line] for cell in codes) != 1:
        faults.append(f"There must be one cell that ends with `{question.check_line}`.")
    return faults


def _prove(question: Question, notebook: "NotebookNode") -> Proof:
    faults = disagreements(notebook, question)
    expected = [(_STARTER, "not attempted", ""), (question.solution_code, "correct", "")]
    expected += [(wrong.code, "incorrect", wrong.message) for wrong in question.wrong_answers]
    try:
        found = _verdicts(question, [code for code, _, _ in expected])
    except (LabError, RuntimeError, TimeoutError) as problem:
        return Proof(question.title, 0, (*faults, f"Its kernel failed: {problem}"))
    for (code, outcome, words), (got, message) in zip(expected, found, strict=True):
        line = code.splitlines()[-1]
        if got != outcome:
            faults.append(f"`{line}` is {got}, and must be {outcome}: {message}")
        elif words not in message:
            faults.append(f"`{line}` gets another message than its own: {message}")
    return Proof(question.title, len(question.wrong_answers), tuple(faults))


def _verdicts(question: Question, attempts: Sequence[str]) -> list[tuple[str, str]]:
    """Check the attempts one after another in one fresh kernel; return outcomes and messages.

    Raises `LabError` where the question's setup fails or an attempt raises.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell, new_notebook

    start = f"from slmlab.lessons.{question.lab} import {question.name}\n{question.setup}"
    check = f"_verdict = {question.check_line}"
    report = "(_verdict.outcome, _verdict.message)"
    cells = [new_code_cell(start)]
    cells += [new_code_cell(f"{code}\n{check}\n{report}") for code in attempts]
    notebook = new_notebook(cells=cells)
    try:
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=_TIME_LIMIT_SECONDS,
            extra_arguments=QUIETLY,
        ).execute()
    except CellExecutionError as error:
        raise LabError(f"{error.ename}: {error.evalue}") from None
    return [ast.literal_eval(cell.outputs[-1].data["text/plain"]) for cell in cells[1:]]


def _tagged(notebook: "NotebookNode", tag: str) -> "NotebookNode":
    return next(cell for cell in notebook.cells if has_tag(cell, tag))


@contextmanager
def _progress_aside() -> Iterator[None]:
    """Keep progress in a temporary file meanwhile, here and in every kernel started."""
    before = os.environ.get("SLMLAB_PROGRESS")
    with tempfile.TemporaryDirectory(prefix="slmlab-verify-") as folder:
        os.environ["SLMLAB_PROGRESS"] = str(Path(folder, "progress.json"))
        try:
            yield
        finally:
            del os.environ["SLMLAB_PROGRESS"]
            if before is not None:
                os.environ["SLMLAB_PROGRESS"] = before
