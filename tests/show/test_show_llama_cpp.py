"""The pictures of lab 04 say what they are given."""

import pytest

from slmlab.engines.llama_cpp_tools import COMMANDS
from slmlab.show import llama_cpp as pictures

POINTS = {
    "F16": {"write 1": (1.0, 30e9), "read 512": (400.0, 150e9)},
    "Q4_0": {"write 1": (3.0, 50e9)},
}


def lines(picture):
    """Return the points of each line that has a name."""
    return {
        line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in picture.axes[0].lines
        if not line.get_label().startswith("_")
    }


def test_reading_names_each_rate_and_shows_the_guess():
    picture = pictures.reading({1: 100.0, 512: 500.0}, 300)
    assert [text.get_text() for text in picture.axes[0].texts] == ["100", "500"]
    assert "your guess: 300 tokens/s" in lines(picture)
    assert len(lines(pictures.reading({1: 100.0}))) == 0


def test_a_batch_is_shown_in_all_and_for_each():
    drawn = lines(pictures.together({1: 100.0, 4: 200.0}))
    assert drawn["in all"] == [(1, 100), (4, 200)]
    assert drawn["for each sequence"] == [(1, 100), (4, 50)]


def test_threads_are_compared_with_one():
    drawn = lines(pictures.threads({1: (100.0, 50.0), 2: (180.0, 60.0), 4: (90.0, 5.0)}, 2))
    assert [speed for _, speed in drawn["reading"]] == pytest.approx([1, 1.8, 0.9])
    assert [speed for _, speed in drawn["writing"]] == pytest.approx([1, 1.2, 0.1])


def test_the_cache_is_computed_as_a_line_and_measured_as_points():
    sizes = {"F16": {0: 0, 1000: 20e6}}
    drawn = lines(pictures.cache(sizes, {"F16": {500: 10.1e6}}, 12))
    assert drawn["F16, computed"] == [(0, 0), (1000, 20)]
    assert drawn["F16, measured"] == [(500, 10.1)]
    assert "your guess: 12 MB" in drawn


def test_the_roof_bends_where_arithmetic_becomes_the_limit():
    drawn = lines(pictures.roofline(POINTS, bandwidth=50e9, peak=200e9))
    [(name, roof)] = [(name, roof) for name, roof in drawn.items() if name.startswith("roof")]
    assert name == "roof: 50 GB/s, then 200 billion operations/s"
    assert roof == [(0.5, 25), (4, 200), (1200, 200)]
    assert {"F16", "Q4_0"} <= set(drawn)


def test_each_batch_is_named_at_its_place():
    axes = pictures.roofline(POINTS, 50e9, 200e9).axes[0]
    assert {(text.get_text(), text.xy) for text in axes.texts} == {
        ("write 1", (1.0, 30.0)),
        ("read 512", (400.0, 150.0)),
        ("write 1", (3.0, 50.0)),
    }


def test_commands_stand_beside_those_of_today():
    table = pictures.commands(COMMANDS)
    assert list(table.columns) == ["lessons print", "works now", "what changed"]
    assert len(table) == len(COMMANDS)
