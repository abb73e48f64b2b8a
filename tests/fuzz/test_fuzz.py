"""Whatever comes in from outside gives a value or a sentence: a short part of `make fuzz`."""

import importlib
from pathlib import Path

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


def test_every_harness_is_a_target():
    assert set(TARGETS) == {path.stem for path in Path(__file__).parent.glob("fuzz_*.py")}


def test_inputs_are_always_the_same_and_differ_from_each_other():
    seeds = [b'{"a": [1, {"b": null}]}', b"GGUF\0\0\0"]
    first = list(mutated(seeds, count=200))
    assert first == list(mutated(seeds, count=200))
    assert first[:2] == seeds
    assert len(set(first)) > 100
