"""A lab for nbgrader: every answer is collected, every check is worth a point.

`tests/hub/real_nbgrader.py` marks with nbgrader itself: `make test-hub`.
"""

from contextlib import nullcontext

import pytest

from slmlab.cli import main
from slmlab.errors import UsageError
from slmlab.lessons import questions
from slmlab.notebooks.labs import all_labs, find_labs
from slmlab.workshop.grading import nbgrader_course, nbgrader_source


def marked(notebook):
    """Return the cells that nbgrader looks at, by its name for them."""
    cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    by_name = {cell.metadata["nbgrader"]["grade_id"]: cell for cell in cells}
    assert len(by_name) == len(cells)
    return by_name


@pytest.mark.parametrize("lab", all_labs(), ids=lambda lab: lab.name)
def test_every_question_has_an_answer_and_a_point(lab):
    cells = marked(nbgrader_source(lab))
    names = [question.name for question in questions(lab.unit)]
    assert set(cells) == {*names, *(f"{name}-answer" for name in names)}
    for name in names:
        answer, check = (cells[key].metadata["nbgrader"] for key in (f"{name}-answer", name))
        assert (answer["solution"], answer["grade"]) == (True, False)
        assert (check["grade"], check["locked"], check["points"]) == (True, True, 1)


def test_the_answer_holds_the_unit_and_the_solution_that_nbgrader_removes():
    lab = find_labs(["00"])[0]
    [first, second] = questions(lab.unit)
    cells = marked(nbgrader_source(lab))
    assert cells["q1-answer"].source == (
        "# words\n"
        "# Compute it from tokens_per_word: the machine that marks measures anew.\n"
        f"### BEGIN SOLUTION\n{first.solution_code}\n### END SOLUTION"
    )
    assert "Compute it from prompt_rate, decode_rate:" in cells["q2-answer"].source
    assert second.solution_code in cells["q2-answer"].source


@pytest.mark.parametrize("right", [True, False])
def test_the_test_passes_for_the_right_answer_only(right):
    lab = find_labs(["02"])[0]
    question = questions(lab.unit)[1]
    code = question.solution_code if right else question.wrong_answers[0].code
    names = {question.name: question}
    exec(code, names)
    with nullcontext() if right else pytest.raises(AssertionError, match=r"\w+"):
        exec(marked(nbgrader_source(lab))[question.name].source, names)


def test_other_cells_are_the_learners_own():
    lab = find_labs(["00"])[0]
    before, after = lab.notebook(), nbgrader_source(lab)
    untouched = [cell for cell in after.cells if "nbgrader" not in cell.metadata]
    ids = {cell.id for cell in untouched}
    assert [cell.source for cell in untouched] == [
        cell.source for cell in before.cells if cell.id in ids
    ]
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]


def test_a_course_has_an_assignment_for_each_lab_and_its_settings(tmp_path):
    assert main(["nbgrader", "00", "02", "--out", str(tmp_path / "course")]) == 0
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {
        "course/nbgrader_config.py",
        "course/source/00_start_here/00_start_here.ipynb",
        "course/source/02_acquisition/02_acquisition.ipynb",
    }


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "gradebook.db").touch()
    with pytest.raises(UsageError, match="is there already"):
        nbgrader_course(find_labs(["00"]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gradebook.db"]
