"""Running a lab says in one sentence how it went, whatever happens inside."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from slmlab.errors import UsageError
from slmlab.notebooks.labs import find_labs
from slmlab.notebooks.run import run


@pytest.fixture
def lab(tmp_path):
    """Write a lab with the given code cells and return it as the course would find it."""

    def write(*sources, name="07_tiny", time_limit_seconds=60):
        cells = [
            new_markdown_cell("# Tiny", id="title"),
            new_code_cell(
                'profile = "quick"\nmodel = "none"',
                id="parameters",
                metadata={"tags": ["parameters"]},
            ),
        ]
        cells += [new_code_cell(code, id=f"step-{i}") for i, code in enumerate(sources, start=1)]
        about = {
            "title": "Tiny",
            "minutes": {"quick": 1, "standard": 2},
            "time_limit_seconds": time_limit_seconds,
            "memory_bytes": 10**8,
            "needs_model": False,
        }
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "slmlab": about})
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        return find_labs([name], tmp_path)[0]

    return write


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
