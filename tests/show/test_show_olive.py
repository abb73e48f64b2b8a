"""The pictures of lab 05 show the numbers they are given."""

import pytest

from slmlab.measurement import recorded
from slmlab.olive import OldName
from slmlab.show import olive as pictures

GRAPHS = {
    "plain": {"Mul": 5, "MatMul": 2, "Constant": 4, "Reshape": 3},
    "fused": {"MatMul": 2, "SimplifiedLayerNormalization": 1},
}


def widths(picture):
    """Return the total length of the bars in each row."""
    rows = {}
    for bar in picture.axes[0].patches:
        rows[round(bar.get_y(), 3)] = rows.get(round(bar.get_y(), 3), 0) + bar.get_width()
    return list(rows.values())


def test_a_bar_is_as_long_as_its_graph_has_nodes():
    picture = pictures.nodes(GRAPHS)
    assert widths(picture) == [14, 3]
    assert [text.get_text().strip() for text in picture.axes[0].texts] == ["14", "3"]


def test_a_guess_of_nodes_is_drawn_beside_them():
    [line] = pictures.nodes(GRAPHS, 40).axes[0].lines
    assert list(line.get_xdata()) == [40, 40]


def test_operators_are_listed_most_frequent_first():
    table = pictures.operators(GRAPHS, most=3)
    assert list(table.index) == ["Mul", "Constant", "Reshape"]
    assert list(table["fused"]) == [0, 0, 0]


def test_candidates_stand_where_they_were_measured():
    found = {"a": (50.0, 30.0, 600e6), "b": (20.0, 36.0, 100e6)}
    ax = pictures.search(found, 33).axes[0]
    *points, guess = ax.lines
    assert sorted((*point.get_xdata(), *point.get_ydata()) for point in points) == [
        (20, 36),
        (50, 30),
    ]
    assert "b, 100 MB" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert list(guess.get_ydata()) == [33, 33]


def test_the_table_marks_olives_front():
    metrics = {"size-bytes": 104e6, "prompt-avg": 90.4, "token-avg": 12.34}
    found = {"a": metrics | {"scored-perplexity": 35.7}}
    [row] = pictures.candidates(found, ["a"]).to_dict("records")
    assert row["one token (ms)"] == "12.3"
    assert row["size on disk"] == "104 MB"
    assert row["on Olive's front"] == "yes"


def test_names_say_whether_they_are_still_there():
    [row] = pictures.names([OldName("old", False, "new", True)]).to_dict("records")
    assert row == {"in the program": "old", "still there": "no", "today": "new", "there": "yes"}


def test_recorded_candidates_are_milliseconds_perplexity_and_bytes():
    rows = recorded("olive")
    found = pictures.recorded_candidates(rows)
    assert list(found) == ["float32", "INT8 dynamic", "INT4 in blocks"]
    values = {(row.subject, row.quantity): row.value for row in rows}
    for name, (milliseconds, perplexity, peak) in found.items():
        subject = f"onnx {name}"
        assert 1000 / milliseconds == pytest.approx(values[subject, "decode speed"])
        assert perplexity == values[subject, "perplexity"]
        assert peak == values[subject, "peak memory"]
