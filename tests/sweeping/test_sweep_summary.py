"""Repetitions come together, rates of unlike machines never, and a contradiction is shown."""

from dataclasses import replace

import pytest
import toy_sweep as toy

from slmlab.machine import this_machine
from slmlab.sweeping import Result, disagreements, summary

HERE = this_machine().fingerprint


def results(quantity, *values, machines=(HERE,), **more):
    """Return the results of one task's repetitions, one after the other on each machine."""
    plan = toy.plan(quantity, quantisations=("Q4_0",), repetitions=len(values))
    return [
        Result(task, machines[i % len(machines)], (replace(toy.number(task, value), **more),))
        for i, (task, value) in enumerate(zip(plan.tasks(), values, strict=True))
    ]


def test_repetitions_become_their_mean_with_its_spread():
    [row] = summary(results("speed", 10.0, 12.0, 14.0))
    assert (row.number.value, row.number.spread, row.machines) == (12.0, 2.0, (HERE,))
    assert row.number.conditions["repetitions"] == 3


def test_one_repetition_keeps_what_it_said_of_itself():
    [row] = summary(results("speed", 10.0, spread=0.5))
    assert (row.number.value, row.number.spread) == (10.0, 0.5)


@pytest.mark.parametrize("quantity", ["speed", "memory"])
def test_unlike_machines_are_never_averaged(quantity):
    found = results(quantity, 10.0, 100.0, 12.0, 102.0, machines=(HERE, "another"))
    rows = summary(found)
    means = {row.machines: row.number.value for row in rows}
    assert means == {(HERE,): 11.0, ("another",): 101.0}
    assert disagreements(found) == []


def test_unlike_versions_are_never_averaged():
    old = results("speed", 10.0, 11.0)
    new = replace(old[1].measurements[0], versions={"llama-cpp-python": "9"})
    rows = summary([old[0], replace(old[1], measurements=(new,))])
    assert [row.number.value for row in rows] == [10.0, 11.0]
    assert rows[0].where != rows[1].where == f"{HERE}, llama-cpp-python 9"


def test_versions_are_not_named_where_machines_differ_anyway():
    first, other = results("speed", 10.0, 11.0, machines=(HERE, "another"))
    new = replace(other.measurements[0], versions={"llama-cpp-python": "9"})
    rows = summary([first, replace(other, measurements=(new,))])
    assert [row.where for row in rows] == [HERE, "another"]


def test_what_no_machine_decides_is_one_row():
    found = results("perplexity", 14.0, 14.0001, spread=0.4, machines=(HERE, "another"))
    [row] = summary(found)
    assert (row.machines, row.number.spread) == ((HERE, "another"), 0.4)
    assert disagreements(found) == []


@pytest.mark.parametrize(("quantity", "other"), [("perplexity", 14.1), ("size", 15.0)])
def test_a_disagreement_is_shown_and_not_averaged(quantity, other):
    found = results(quantity, 14.0, other, machines=(HERE, "another"))
    assert [row.number.value for row in summary(found)] == [14.0, other]
    [sentence] = disagreements(found)
    assert "of smollm2-135m-instruct llama_cpp Q4_0 differs: 14 " in sentence
    assert f"on {HERE}" in sentence and "on another" in sentence


@pytest.mark.parametrize(
    ("machine", "how", "said"),
    [(HERE, "measured", "measured"), (HERE, "recorded", "recorded"), ("x", "measured", "recorded")],
)
def test_measured_is_only_what_was_measured_here_and_now(machine, how, said):
    [row] = summary(results("size", 5.0, machines=(machine,), how=how))
    assert row.number.how == said
