"""The picture of lab 11 says what it is given."""

import pytest

from slmlab.errors import UsageError
from slmlab.measurement import computed
from slmlab.show import browser as pictures

ROWS = [
    computed("Q4_0 · WebAssembly, 1 thread", "decode speed", 8.0, "tokens/s"),
    computed("Q4_0 · WebAssembly, 1 thread", "load time", 2.0, "s"),
    computed("Q4_0 · native, 1 thread", "decode speed", 100.0, "tokens/s"),
]


def test_each_run_is_a_bar_in_the_colour_of_its_place():
    [ax] = pictures.speeds(ROWS).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "Q4_0 · WebAssembly, 1 thread",
        "Q4_0 · native, 1 thread",
    ]
    bars = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    assert bars == {"native": [100.0], "in the browser": [8.0]}
    assert "per second" in ax.get_xlabel()
    assert ax.get_title(loc="left")


def test_the_guess_is_a_line_and_a_word_is_no_guess():
    [ax] = pictures.speeds(ROWS, 20).axes
    assert "your guess: 20 tokens/s" in [text.get_text() for text in ax.get_legend().get_texts()]
    with pytest.raises(UsageError):
        pictures.speeds(ROWS, "twenty")
