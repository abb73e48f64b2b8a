"""The pictures of lab 09 say what they are given."""

from slmlab.deployment.load import Summary
from slmlab.deployment.vllm import Moment, Share
from slmlab.show import vllm as pictures


def summary(rate, latency):
    return Summary(4, 0, rate, latency / 10, latency / 8, latency, 2 * latency)


MEASURED = {1: summary(30.0, 1.0), 4: summary(100.0, 1.2), 16: summary(240.0, 2.0)}


def words(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_rates_stand_above_the_line_of_one_after_another():
    [ax] = pictures.rates(MEASURED, 115.0, 200).axes
    assert list(ax.lines[0].get_ydata()) == [30.0, 100.0, 240.0]
    assert set(ax.lines[1].get_ydata()) == {115.0}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "4", "16"]
    assert "your guess: 200 tokens/s" in words(ax)


def test_latencies_show_the_first_token_the_median_and_the_slow_ones():
    [ax] = pictures.latencies(MEASURED, summary(115.0, 3.0)).axes
    heights = [list(line.get_ydata()) for line in ax.lines]
    assert heights == [[0.1, 0.12, 0.2], [1.0, 1.2, 2.0], [2.0, 2.4, 4.0], [0.3], [3.0], [6.0]]
    assert list(ax.lines[-1].get_xdata()) == [16]
    assert "seconds" in ax.get_ylabel()


def test_blocks_in_use_stand_below_those_there_are_and_those_reserved():
    seen = [Moment(0.1, 16, 16, 0), Moment(0.2, 48, 16, 0), Moment(0.3, 0, 0, 0)]
    [ax] = pictures.cache(seen, 256, 512, 60).axes
    assert list(ax.lines[0].get_ydata()) == [16, 48, 0]
    assert [set(line.get_ydata()) for line in ax.lines[1:3]] == [{256}, {512}]
    assert "your guess: 60 blocks" in words(ax)


def test_each_kind_of_prompt_is_a_line_of_dots():
    [ax] = pictures.first_tokens({"new": [1.0, 1.1], "again": [0.1]}).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["new", "again"]
    assert [list(line.get_xdata()) for line in ax.lines] == [[1.0, 1.1], [0.1]]


def test_the_table_of_gpus_adds_up_what_each_holds():
    table = pictures.shares([Share(2, 8_000_000_000, 1_000_000_000)])
    assert table.iloc[0].to_list() == [2, "8 GB", "1 GB", "9 GB"]
