import pytest

from slmlab.errors import UsageError
from slmlab.show import ollama as pictures

TIMES = {"load": 0.5, "read": 0.1, "write": 1.0, "rest": 0.05}


def test_each_request_is_a_bar_whose_parts_add_up():
    warm = {**TIMES, "load": 0.0}
    [ax] = pictures.durations({"first": TIMES, "again": warm}, "the stand-in").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "again"]
    assert "the stand-in" in ax.get_title(loc="left")
    assert ax.get_xlabel() == "seconds"
    ends = [bars[0].get_x() + bars[0].get_width() for bars in ax.containers]
    assert ends == pytest.approx([0.5, 0.6, 1.6, 1.65])
    assert ax.containers[1][1].get_x() == 0.0


def test_loads_stand_side_by_side_for_each_request_with_the_guess():
    loads = {"room for one": [200, 300], "room for two": [200, 0]}
    [ax] = pictures.switching(["Q4_0", "Q8_0"], loads, "the stand-in", 250).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1: Q4_0", "2: Q8_0"]
    assert [[bar.get_height() for bar in bars] for bars in ax.containers] == [[200, 300], [200, 0]]
    first, second = ax.containers[0][0], ax.containers[1][0]
    assert first.get_x() + first.get_width() == pytest.approx(second.get_x())
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"room for one", "room for two", "your guess: 250 ms"} == set(words)
    assert "ms" in ax.get_ylabel() and "the stand-in" in ax.get_title(loc="left")


def test_an_untouched_guess_is_left_out_and_words_are_no_guess():
    [ax] = pictures.switching(["a"], {"one": [1]}, "Ollama").axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one"]
    with pytest.raises(UsageError, match="write a number"):
        pictures.switching(["a"], {"one": [1]}, "Ollama", "much")
