"""Graphs are counted and compared by what they compute."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from slmlab import olive
from slmlab.errors import InvalidModelFile


def graph(folder, *steps, offset=0.0):
    """Write a graph that makes logits of ids by `steps`: (operator, weight) pairs."""
    nodes = [helper.make_node("Cast", ["input_ids"], ["x0"], to=TensorProto.FLOAT)]
    weights = []
    for i, (operator, weight) in enumerate(steps):
        weights.append(numpy_helper.from_array(np.float32(weight), f"w{i}"))
        nodes.append(helper.make_node(operator, [f"x{i}", f"w{i}"], [f"x{i + 1}"]))
    weights.append(numpy_helper.from_array(np.float32(offset), "offset"))
    nodes.append(helper.make_node("Add", [f"x{len(steps)}", "offset"], ["logits"]))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "tokens"])
    made = helper.make_graph(nodes, "test", [ids], [logits], weights)
    opset = [helper.make_opsetid("", 20)]
    folder.mkdir()
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=10), folder / "model.onnx")
    return folder


def test_operators_are_counted_most_frequent_first(tmp_path):
    counts = olive.operators(graph(tmp_path / "a", ("Mul", 2), ("Mul", 3)))
    assert list(counts.items()) == [("Mul", 2), ("Cast", 1), ("Add", 1)]


def test_new_operators_are_those_that_were_not_there_before():
    before, after = Counter(Add=4, Mul=2), Counter(Add=1, Fused=3)
    assert olive.new_operators(before, after) == {"Fused": 3}


def test_graphs_that_compute_the_same_differ_by_nothing(tmp_path):
    two_steps = graph(tmp_path / "a", ("Mul", 2), ("Mul", 4))
    one_step = graph(tmp_path / "b", ("Mul", 8))
    assert olive.largest_difference(two_steps, one_step, [1, 2, 3]) == 0


def test_the_largest_difference_is_found_wherever_it_is(tmp_path):
    double, triple = graph(tmp_path / "a", ("Mul", 2)), graph(tmp_path / "b", ("Mul", 3))
    assert olive.largest_difference(double, triple, [1, 5, 2]) == 5


def test_a_folder_without_a_graph_is_refused(tmp_path):
    with pytest.raises(InvalidModelFile, match=r"has no model\.onnx"):
        olive.operators(tmp_path)


def test_a_damaged_graph_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(InvalidModelFile, match="is not an ONNX graph"):
        olive.operators(tmp_path)
