"""A handout is the one lab thrice: as it is, solved, and with notes for the instructor."""

import tomllib
from dataclasses import asdict, replace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from slmlab import show
from slmlab.cli import main
from slmlab.errors import LabError, UsageError
from slmlab.files import data_path
from slmlab.lessons import progress, questions
from slmlab.measurement import measured
from slmlab.notebooks.labs import all_labs, find_labs
from slmlab.notebooks.run import execute
from slmlab.workshop.handout import annotated, blank, discussion, hand_out, solutions

LABS = all_labs()
SETS = ("learner", "solutions", "instructor")

every_lab = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)


def read(path):
    return nbformat.read(path, as_version=4)


def notes(notebook):
    """Return the texts of the notes in a notebook, by the id of their cell."""
    return {
        cell.id: cell.source
        for cell in notebook.cells
        if "instructor" in cell.metadata.get("tags", ())
    }


@pytest.fixture
def labs():
    return find_labs(["00", "03"])


@pytest.fixture
def changed(tmp_path):
    """Return lab 00 after something was done to it."""

    def change(do):
        [lab] = find_labs(["00"])
        notebook = lab.notebook()
        do(notebook)
        folder = tmp_path / "labs"
        folder.mkdir()
        nbformat.write(notebook, folder / lab.path.name)
        return find_labs(["00"], folder)[0]

    return change


def answer(notebook):
    return next(cell for cell in notebook.cells if "q1" in cell.metadata.get("tags", ()))


@pytest.fixture
def executed(tmp_path):
    """Return a folder as `slmlab run` leaves it: with lab 03, whose one table has these rows."""

    def write(*rows):
        output = new_output("display_data", {show.MEASUREMENTS_MIME: list(rows)})
        folder = tmp_path / "report"
        folder.mkdir()
        cell = new_code_cell("show.measurements(rows)", outputs=[output])
        nbformat.write(new_notebook(cells=[cell]), folder / "03_quantization.ipynb")
        return folder

    return write


def row(**changed):
    measured = {
        "subject": "Q4_0 | small",
        "quantity": "perplexity",
        "value": 14.299,
        "unit": "",
        "how": "measured",
        "spread": 0.43,
        "machine": "an old laptop",
        "versions": {"llama-cpp-python": "0.3.36"},
        "date": "2026-11-21",
    }
    return measured | changed


def summary(executed, name="03"):
    [lab] = find_labs([name])
    return notes(annotated(lab, executed))["instructor-summary"]


def test_each_set_is_a_folder_with_all_the_labs(labs, tmp_path):
    hand_out(labs, tmp_path / "handout")
    made = {path.relative_to(tmp_path / "handout") for path in tmp_path.rglob("*.ipynb")}
    assert {path.as_posix() for path in made} == {
        f"{name}/{lab.path.name}" for name in SETS for lab in labs
    }


@every_lab
def test_the_learners_notebook_is_the_lab_cell_for_cell(lab):
    assert blank(lab) == lab.notebook()


def test_what_is_written_is_what_the_course_has(labs, tmp_path):
    hand_out(labs, tmp_path / "handout")
    for lab in labs:
        assert read(tmp_path / "handout" / "learner" / lab.path.name) == lab.notebook()


@every_lab
def test_the_solutions_differ_in_the_answer_cells_alone(lab):
    asked = {question.name: question.solution_code for question in questions(lab.unit)}
    for before, after in zip(lab.notebook().cells, solutions(lab).cells, strict=True):
        solved = [asked[tag] for tag in before.metadata.get("tags", ()) if tag in asked]
        assert after.source == (solved[0] if solved else before.source)


@every_lab
def test_the_instructors_notebook_is_the_solved_one_with_notes(lab):
    notebook = annotated(lab)
    nbformat.validate(notebook)
    told = notes(notebook)
    assert [cell for cell in notebook.cells if cell.id not in told] == solutions(lab).cells
    assert notebook.cells[1].id == "instructor-summary"


@every_lab
def test_beside_each_question_stand_its_hints_and_common_mistakes(lab):
    cells = annotated(lab).cells
    for question in questions(lab.unit):
        place = [cell.id for cell in cells].index(f"instructor-{question.name}")
        assert question.name in cells[place + 1].metadata.tags
        note = cells[place].source
        assert all(hint in note for hint in question.hints)
        assert note.count("```python") == len(question.wrong_answers)
        for wrong in question.wrong_answers:
            assert wrong.message in note
            assert all(line in note for line in wrong.code.splitlines())


@every_lab
def test_the_summary_has_minutes_and_points_to_discuss(lab):
    told = notes(annotated(lab))["instructor-summary"]
    for profile, minutes in lab.minutes.items():
        assert f"{profile} {minutes:g}" in told
    points = discussion(lab.unit)
    assert len(set(points)) >= 2
    assert all(f"- {point}" in told for point in points)


def test_points_to_discuss_are_for_labs_that_exist():
    written = tomllib.loads(data_path("discussion.toml").read_text("utf-8"))
    assert list(written) == [lab.unit for lab in LABS]


def test_expected_numbers_come_recorded_with_machine_and_date(executed):
    told = summary(executed(row()))
    assert "| Q4_0 / small | perplexity | 14.30 ± 0.43 | recorded 2026-11-21, not here" in told
    assert "Recorded on an old laptop; llama-cpp-python 0.3.36; 2026-11-21." in told


def test_computed_numbers_stay_computed(executed):
    computed = row(how="computed", machine="", versions={}, date="")
    assert "| 14.30 ± 0.43 | computed |" in summary(executed(computed))


@pytest.mark.parametrize("damage", [{"machine": ""}, {"date": ""}, {"colour": "red"}])
def test_numbers_without_machine_or_date_are_left_out_and_it_is_said(executed, damage):
    told = summary(executed(row(**damage)))
    assert "lack their machine and date" in told
    assert "14.30" not in told


def test_a_lab_that_was_not_executed_says_that_it_has_no_numbers(executed):
    assert "not among those executed in `report`" in summary(executed(row()), "00")
    assert "Run `slmlab run --out DIR`" in summary(None)


def test_outputs_widgets_and_times_are_not_handed_out(changed):
    def work(notebook):
        code = next(cell for cell in notebook.cells if cell.cell_type == "code")
        code.outputs, code.execution_count = [new_output("stream", text="secret")], 7
        code.metadata["execution"] = {"iopub.execute_input": "secret"}
        notebook.metadata["widgets"] = {"state": "secret"}

    lab = changed(work)
    assert "secret" not in nbformat.writes(blank(lab))
    assert blank(lab) == find_labs(["00"])[0].notebook()


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda notebook: answer(notebook).update(source="answer = 1536"), "answer = ..."),
        (
            lambda notebook: next(
                cell for cell in notebook.cells if cell.source.startswith("guess")
            ).update(source="guess = 40  # tokens per second"),
            "guess = 40",
        ),
    ],
    ids=["answer", "guess"],
)
def test_a_lab_that_somebody_filled_in_is_not_handed_out(changed, tmp_path, work, reason):
    lab = changed(work)
    with pytest.raises(LabError, match="slmlab reset 00_start_here") as problem:
        hand_out([*find_labs(["01"]), lab], tmp_path / "handout")
    assert reason in str(problem.value)
    assert not (tmp_path / "handout").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["labs"]


def test_nothing_is_written_over(labs, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="new or empty"):
        hand_out(labs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_report_without_the_labs_is_a_mistake(labs, tmp_path):
    with pytest.raises(UsageError, match="holds none of these labs executed"):
        hand_out(labs, tmp_path / "handout", tmp_path)


def test_a_real_measurement_survives_the_way_through_a_report(executed):
    number = measured("Q8_0", "decode speed", 135.0, "tokens/s", 2.0)
    told = summary(executed(asdict(number)))
    assert "135.0 ± 2.0 tokens/s" in told
    assert number.machine in told


def test_the_command_prints_the_folder_last(tmp_path, capsys):
    assert main(["handout", "tiers", "--out", str(tmp_path / "handout")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "handout")
    for name in SETS:
        nbformat.validate(read(tmp_path / "handout" / name / "01_tiers.ipynb"))


@pytest.mark.slow
def test_the_solutions_that_are_handed_out_run_and_are_right(smollm2, tmp_path):
    lab = replace(find_labs(["00"])[0], time_limit_seconds=3600)
    hand_out([lab], tmp_path / "handout")
    solved = read(tmp_path / "handout" / "solutions" / lab.path.name)
    done = execute(lab, solved, tmp_path / "executed.ipynb")
    assert (done.verdict, done.message) == ("passed", "")
    outcomes = {title: entry["outcome"] for title, entry in progress.read().items()}
    assert outcomes == {question.title: "correct" for question in questions(lab.unit)}
