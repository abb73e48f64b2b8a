"""Running a lab says in one sentence how it went, whatever happens inside."""

from pathlib import Path

import nbformat
import pytest

from slmlab.cli import main
from slmlab.errors import UsageError
from slmlab.notebooks.run import LabRun, exit_code, run


@pytest.fixture
def run_one(tmp_path):
    return lambda lab, **parameters: run([lab], tmp_path / "out", **parameters)[0]


def outputs(lab_run):
    cells = nbformat.read(lab_run.notebook, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_a_lab_that_runs_passes_and_keeps_its_outputs(lab, run_one):
    done = run_one(lab("print(profile, model)"), profile="standard", model="other")
    assert (done.verdict, done.message) == ("passed", "")
    assert outputs(done) == "standard other\n"
    assert done.seconds > 0


def test_a_lab_writes_nothing_beside_its_notebook(lab, run_one, tmp_path):
    tiny = lab("from pathlib import Path\nPath('left-behind.txt').write_text('x')")
    assert run_one(tiny).verdict == "passed"
    assert {path.name for path in tmp_path.rglob("*")} == {"07_tiny.ipynb", "out"}


def test_an_error_is_one_sentence_with_cell_and_error(lab, run_one):
    done = run_one(lab("print('kept')", "1 / 0", "print('never')"))
    assert done.verdict == "failed"
    assert done.message == "It failed in cell 'step-2': ZeroDivisionError: division by zero"
    assert outputs(done) == "kept\n"


@pytest.mark.parametrize("error", ["NotPossibleHere", "EnvironmentFailed"])
def test_a_lab_that_this_machine_cannot_run_has_not_failed(lab, run_one, error):
    done = run_one(lab(f"from slmlab import errors\nraise errors.{error}('No Metal.')"))
    assert (done.verdict, done.message) == ("not possible here", "No Metal.")


def test_a_lab_that_memory_is_too_small_for_is_not_begun(lab, run_one, tmp_path, monkeypatch):
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 10**8 - 1)
    begun = tmp_path / "begun"
    done = run_one(lab(f"open({str(begun)!r}, 'w')"))
    assert done.verdict == "not possible here"
    assert done.message.startswith("07_tiny needs about 0.1 GB of memory and 0.1 GB are free; ")
    assert not begun.exists()
    assert nbformat.read(done.notebook, as_version=4) == done.lab.notebook()


def test_a_lab_with_something_recorded_goes_on_with_it(lab, run_one, monkeypatch):
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 0)
    shown = lab("print('recorded')")
    shown.minutes["recorded"] = 0.5
    assert outputs(run_one(shown)) == "recorded\n"


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["passed"], 0),
        (["passed", "not possible here"], 3),
        (["not possible here", "failed"], 1),
        (["timed out"], 1),
    ],
)
def test_the_exit_code_tells_failing_from_not_possible_here(lab, tmp_path, verdicts, code):
    runs = [LabRun(lab("1"), verdict, 1.0, "", tmp_path) for verdict in verdicts]
    assert exit_code(runs) == code


def test_a_quiet_exit_is_not_a_pass(lab, run_one):
    done = run_one(lab("raise SystemExit(0)", "print('never')"))
    assert done.verdict == "failed"
    assert "in cell 'step-1'" in done.message


def test_the_time_limit_is_for_the_whole_lab(lab, run_one):
    naps = ["import time; time.sleep(2)"] * 5
    done = run_one(lab(*naps, time_limit_seconds=5))
    assert done.verdict == "timed out"
    assert "time limit" in done.message


def test_a_dead_kernel_is_named_as_such(lab, run_one):
    done = run_one(lab("import os; os._exit(9)"))
    assert done.verdict == "kernel died"
    assert done.message.startswith("The kernel died (often: out of memory) in cell 'step-1'")


def test_a_failing_lab_does_not_stop_the_next(lab, tmp_path):
    labs = [lab("1 / 0", name="01_bad"), lab("1 + 1", name="02_good")]
    assert [done.verdict for done in run(labs, tmp_path / "out")] == ["failed", "passed"]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"colour": "red"}, "no parameter 'colour'; it has: model, profile"),
        ({"profile": "quikc"}, "no profile 'quikc'; choose one of: quick, standard, full"),
    ],
)
def test_what_a_lab_does_not_know_is_refused_before_anything_runs(
    lab, run_one, tmp_path, parameters, sentence
):
    with pytest.raises(UsageError, match=sentence):
        run_one(lab("1"), **parameters)
    assert not (tmp_path / "out").exists()


def test_the_limit_follows_the_profile(lab):
    tiny = lab("1", time_limit_seconds=30)
    assert (tiny.time_limit("quick"), tiny.time_limit("standard")) == (30, 60)
    assert tiny.time_limit("full") is None


def test_the_command_reports_and_its_exit_code_tells_of_a_failure(
    lab, tmp_path, monkeypatch, capsys
):
    labs = [lab("1 / 0", name="01_bad"), lab("1 + 1", name="02_good")]
    monkeypatch.setattr("slmlab.notebooks.labs.find_labs", lambda names: labs)
    assert main(["run", "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert Path(out.strip()) == tmp_path / "out" / "index.html"
    assert "1 of 2 labs passed" in Path(out.strip()).read_text("utf-8")
    assert "01_bad: failed" in err and "02_good: passed" in err
