"""The pictures of lab 07 show what they are given."""

import pytest

from slmlab.show import bitnet


def lines(picture):
    return picture.axes[0].get_lines()


def test_rounding_marks_the_three_values_and_two_borders():
    picture = bitnet.rounding([0.1, -0.2, 0.05], 0.1)
    assert sorted(line.get_xdata()[0] for line in lines(picture)) == [-0.1, -0.05, 0, 0.05, 0.1]


def test_latent_weights_are_a_line_each():
    history = [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]
    first, second, *borders = lines(bitnet.latent_weights(history))
    assert list(first.get_ydata()) == [0.1, 0.2, 0.3]
    assert list(second.get_ydata()) == [0.9, 0.8, 0.7]
    assert sorted(line.get_ydata()[0] for line in borders) == [-0.5, 0.5]


def test_losses_are_named_lines_and_a_guess():
    courses = {"three values": ([0, 50], [6.9, 5.0]), "all": ([0, 50], [6.9, 4.9])}
    ax = bitnet.losses("Losses", courses, guess=4.0).axes[0]
    assert ax.get_title(loc="left") == "Losses"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["three values", "all", "your guess: 4.0 nats"]
    assert "nats" in ax.get_ylabel()


def test_price_is_drawn_in_megabytes():
    ax = bitnet.price({"F16": (4e6, 30.0, 1.0), "TQ2_0": (1e6, 30.1, 1.0)}).axes[0]
    drawn = [container.lines[0].get_xdata()[0] for container in ax.containers]
    assert drawn == pytest.approx([4.0, 1.0])
    assert ax.get_xlim()[0] == 0
