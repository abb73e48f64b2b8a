"""The picture of lab 10."""

import pytest

from slmlab.deployment.foundry_local import Turn
from slmlab.errors import UsageError
from slmlab.show import foundry_local as pictures


def turn(tokens, cpu):
    return Turn("", tokens, 8, 0.1, cpu, 0.2)


WAYS = {"open session": [turn(30, 0.1), turn(60, 0.2)], "anew": [turn(30, 0.11), turn(60, 0.19)]}


def test_each_way_is_a_line_of_work_over_the_conversations_length():
    [ax] = pictures.turns(WAYS).axes
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == list(WAYS)
    assert list(lines["open session"].get_xdata()) == [30, 60]
    assert list(lines["open session"].get_ydata()) == pytest.approx([100, 200])
    assert ax.get_ylim()[0] == 0


def test_it_names_its_axes_and_units():
    [ax] = pictures.turns(WAYS).axes
    assert ax.get_title("left")
    assert "tokens" in ax.get_xlabel()
    assert "ms" in ax.get_ylabel()


def test_the_guess_is_a_dashed_line_and_only_a_number():
    [ax] = pictures.turns(WAYS, 150).axes
    assert "your guess: 150 ms" in [text.get_text() for text in ax.get_legend().get_texts()]
    with pytest.raises(UsageError, match="in ms"):
        pictures.turns(WAYS, "much")
