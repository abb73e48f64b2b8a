"""Whatever comes in from outside gives a value or a sentence: a short part of `make fuzz`."""

import importlib

import pytest
from fuzzing import TARGETS
from mutating import mutated


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_a_reader(target):
    harness = importlib.import_module(target)
    for data in mutated(harness.SEEDS, count=TARGETS[target]):
        try:
            harness.one_input(data)
        except Exception as problem:
            problem.add_note(f"The input: {data[:2000]!r}")
            raise
