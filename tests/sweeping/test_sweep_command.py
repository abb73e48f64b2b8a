"""`slmlab sweep`: a table or JSON, exit code 1 where a task failed, 2 for wrong usage."""

import json
from functools import partial

import pytest
import toy_sweep as toy

from slmlab import sweeping
from slmlab.cli import main
from slmlab.errors import EngineError

PLAN = """\
models = ["smollm2-135m-instruct"]
quantisations = ["Q4_0"]
measure = ["size", "perplexity"]
repetitions = 2
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(PLAN)
    return str(path)


@pytest.fixture
def measured_by(monkeypatch):
    """Let the command measure with another function."""
    real = sweeping.sweep

    def use(measure):
        monkeypatch.setattr(sweeping, "sweep", partial(real, measure=measure))

    use(toy.count)
    return use


def run(*arguments):
    try:
        return main(["sweep", *arguments])
    except SystemExit as stopped:
        return stopped.code


def test_json_has_every_row_with_its_task_and_machines(plan, measured_by, capsys):
    assert run(plan, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["finished"], found["done_before"], found["failed"]) == (4, 0, [])
    assert {row["quantity"] for row in found["rows"]} == {"file", "perplexity"}
    for row in found["rows"]:
        assert row["model"] == "smollm2-135m-instruct" and row["how"] == "measured"
        assert len(row["machines"]) == 1 and row["conditions"]["repetitions"] == 2


def test_results_are_kept_by_the_name_of_the_plan(plan, measured_by, tmp_path, capsys):
    assert run(plan) == 0
    assert len(list((tmp_path / "build" / "sweeps" / "small").glob("*.json"))) == 4
    assert run(plan, "--out", "build/sweeps/small", "--processes", "2") == 0
    assert "4 tasks, of which 4 were finished before" in capsys.readouterr().err


def test_a_failed_task_is_told_and_is_exit_code_1(plan, measured_by, capsys):
    def fail(task, threads):
        if task.repetition == 2:
            raise EngineError("There is no memory.")
        return toy.count(task, threads)

    measured_by(fail)
    assert run(plan) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["what", "quantity", "value", "text", "machine"]
    assert out.count("repetition 2 failed: There is no memory.") == 2


def test_a_disagreement_is_told_and_is_exit_code_1(plan, measured_by, capsys):
    measured_by(lambda task, threads: [toy.number(task, 10.0 * task.repetition)])
    assert run(plan, "--json") == 1
    sentences = json.loads(capsys.readouterr().out)["disagreements"]
    assert [sentence.split(" of ")[0] for sentence in sentences] == ["file", "perplexity"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.toml"], "none.toml is not there"),
        (["small.toml", "--processes", "0"], "0 processes measure nothing"),
        (["small.toml", "--processes", "2", "--ray", "auto"], "not allowed with argument"),
    ],
)
def test_wrong_usage_is_exit_code_2(plan, measured_by, capsys, arguments, sentence):
    assert run(*arguments) == 2
    assert sentence in capsys.readouterr().err
