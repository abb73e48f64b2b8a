"""The pictures of lab 12 say what they are given."""

import math

import pytest

from slmlab.deployment.operations.capacity import Load
from slmlab.deployment.operations.manifests import Reason
from slmlab.show import operations as pictures


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_what_runs_and_waits_is_stacked_and_tokens_have_an_axis_of_their_own():
    requests, tokens = pictures.watched([0, 1, 2], [1, 1, 0], [0, 3, 0], [0, 50, 20]).axes
    assert legend(requests) == ["running", "waiting", "new tokens per second"]
    assert (
        max(path.vertices[:, 1].max() for one in requests.collections for path in one.get_paths())
        == 4
    )
    assert list(tokens.lines[0].get_ydata()) == [0, 50, 20]
    assert "tokens per second" in tokens.get_ylabel()


def test_a_histogram_is_drawn_with_its_own_widths_and_both_percentiles():
    counted = {0.4: 0, 0.8: 60, 1.6: 90, 3.2: 100, math.inf: 100}
    [ax] = pictures.latencies(counted, 2.2, 2.4, 1.0).axes
    assert [bar.get_x() for bar in ax.patches] == [0.4, 0.8, 1.6]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.4, 0.8, 1.6])
    assert [bar.get_height() for bar in ax.patches] == [60, 30, 10]
    assert legend(ax) == [
        "p95 from the buckets: 2.40 s",
        "p95 from the clients: 2.20 s",
        "your guess: 1.0 s",
    ]


def test_what_was_simulated_is_a_line_and_what_was_measured_are_points():
    [ax] = pictures.users({1: (1, 2), 8: (3, 4)}, {1: (1.1, 2.1), 8: (3.2, 4.2)}).axes
    assert legend(ax) == ["mean, simulated", "mean, measured", "p95, simulated", "p95, measured"]
    assert [line.get_linestyle() for line in ax.lines] == ["-", "None"] * 2
    assert list(ax.lines[1].get_ydata()) == [1.1, 3.2]
    assert list(ax.get_xticks()) == [1, 8]


def test_latency_is_drawn_by_the_share_of_time_busy_with_the_target_and_the_guess():
    loads = {share: Load(1, mean, 2 * mean, 0, 0) for share, mean in ((0.3, 1.0), (0.9, 5.0))}
    [ax] = pictures.knee(loads, {0.3: 1.1, 0.9: 5.2}, 3.0, 70).axes
    assert list(ax.lines[0].get_xdata()) == [30, 90]
    assert list(ax.lines[0].get_ydata()) == [2, 10]
    assert list(ax.lines[2].get_ydata()) == [1.1, 5.2]
    assert {"target: 3 s", "your guess: 70 %"} <= set(legend(ax))


def test_a_long_value_is_shortened_and_its_reason_is_not():
    table = pictures.reasons([Reason("SHA256SUMS", "model", "ab" * 32, "the file's bytes")])
    [row] = table.to_dict("records")
    assert row["value"] == "abababababab…"
    assert row["from"] == "the file's bytes"
