"""What others published, and that each number names its source."""

import pytest

from slmlab.selection import published
from slmlab.selection.published import benchmarks, quality
from slmlab.tiers import cards


@pytest.mark.parametrize("benchmark", benchmarks())
def test_every_number_has_a_source_and_its_conditions(benchmark):
    found = [row for name in cards() if (row := quality(name, benchmark))]
    assert len(found) > 10
    for row in found:
        assert 0 < row.value < 100
        assert row.how == "published"
        assert row.source
        assert row.conditions["protocol"]


def test_every_name_in_the_file_is_a_card():
    for entry in published._file()["benchmark"]:
        for group in entry["group"]:
            assert set(group["scores"]) <= set(cards())


def test_no_model_has_two_numbers_in_one_benchmark():
    for entry in published._file()["benchmark"]:
        names = [name for group in entry["group"] for name in group["scores"]]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("model", "points"), [("gemma-3-1b", 54.5), ("phi-4-mini", 68.6), ("qwen3-14b", 84.8)]
)
def test_what_one_report_gives_for_many_is_taken_from_there(model, points):
    row = quality(model, "IFEval")
    assert row.value == points
    assert "2505.09388" in row.source


def test_what_has_no_source_is_unknown():
    assert quality("tinyllama-1.1b-chat", "IFEval") is None


def test_fewer_bits_cost_more_perplexity():
    losses = [published.loss(name).value for name in ("F16", "Q8_0", "Q5_1", "Q4_K_M", "Q4_0")]
    assert losses == sorted(losses)
    assert losses[0] == 1
    assert published.loss("Q2_K") is None
