"""An executed notebook says where, when and how it was executed."""

from dataclasses import replace
from datetime import UTC, datetime

import nbformat

from slmlab.machine import installed_version, this_machine
from slmlab.notebooks.execution import Execution, note, noted
from slmlab.notebooks.run import run


def test_an_executed_lab_notes_machine_profile_versions_and_date(lab, tmp_path):
    before = datetime.now(UTC).date()
    [done] = run([lab("1 + 1")], tmp_path / "out", "standard")
    execution = noted(nbformat.read(done.notebook, as_version=4))
    assert (execution.machine, execution.profile) == (str(this_machine()), "standard")
    assert execution.versions == {
        "Python": this_machine().python,
        "slmlab": installed_version("slmlab"),
        "llama-cpp-python": installed_version("llama-cpp-python"),
    }
    assert before.isoformat() <= execution.date <= datetime.now(UTC).date().isoformat()


def test_a_lab_that_failed_notes_it_too(lab, tmp_path):
    [done] = run([lab("1 / 0")], tmp_path / "out")
    assert noted(nbformat.read(done.notebook, as_version=4)).profile == "quick"


def test_the_versions_are_those_of_the_engines_that_a_lab_needs(lab):
    tiny = replace(lab("1"), needs_engines=("transformers",))
    notebook = tiny.notebook()
    note(notebook, tiny, "quick")
    assert {"transformers", "torch"} < noted(notebook).versions.keys()


def test_a_notebook_that_was_not_executed_notes_nothing(lab):
    assert noted(lab("1").notebook()) is None


def test_it_is_said_in_one_line():
    execution = Execution("an old laptop", "full", {"Python": "3.13", "mlx": "1"}, "2026-11-22")
    assert str(execution) == (
        "Executed on an old laptop with the full profile; Python 3.13, mlx 1; 2026-11-22."
    )
