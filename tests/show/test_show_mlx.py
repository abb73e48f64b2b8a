"""The pictures of lab 06 say what they are given."""

import io

import pytest

from slmlab.engines import mlx
from slmlab.show import mlx as pictures

DOT = """digraph {
{ rank=source; "A"; }
{ 11 [label ="Matmul", shape=rectangle]; }
"A" -> 11
"A" -> 11
{ "B"; }
11 -> "B"
{ 22 [label ="Tanh", shape=rectangle]; }
"B" -> 22
{ rank=sink; "C"; }
22 -> "C"
}"""


def test_a_graph_is_read_as_operations_and_what_they_need():
    assert pictures.operations(DOT) == ({"11": "Matmul", "22": "Tanh"}, {"11": [], "22": ["11"]})


@pytest.mark.skipif(mlx.why_not() is not None, reason=str(mlx.why_not()))
def test_what_is_computed_leaves_the_plan():
    import mlx.core as mx

    def plan(array: mx.array) -> list[str]:
        written = io.StringIO()
        mx.export_to_dot(written, array)
        return list(pictures.operations(written.getvalue())[0].values())

    start = mx.ones((4, 4))
    mx.eval(start)
    y = mx.tanh(start @ start)
    assert plan(y) == ["Matmul", "Tanh"]
    mx.eval(y)
    assert plan(mx.exp(y)) == ["Exp"]


def test_each_plan_is_a_line_and_each_operation_stands_right_of_what_it_needs():
    [ax] = pictures.plans({"before": DOT, "after": "digraph {}"}).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["before", "after"]
    places = {text.get_text(): text.get_position() for text in ax.texts if text.get_text()}
    assert places == {"Matmul": (0, 0), "Tanh": (1, 0)}
    assert ax.get_title(loc="left")


def test_the_loss_is_drawn_above_its_floor_with_the_guess():
    [ax] = pictures.descent([5.5, 4.0, 3.0], 2.0, 2.5).axes
    assert list(ax.lines[0].get_ydata()) == [5.5, 4.0, 3.0]
    assert set(ax.lines[1].get_ydata()) == {2.0}
    assert "nats" in ax.get_ylabel()
    assert "your guess: 2.5 nats" in [text.get_text() for text in ax.get_legend().get_texts()]
