"""What an ONNX graph is made of, and whether two graphs compute the same."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from slmlab.errors import InvalidModelFile


def operators(folder: Path) -> Counter[str]:
    """Count the nodes of the graph in `folder` by operator, most frequent first.

    Raises `InvalidModelFile` where the folder has no `model.onnx` that can be read.
    """
    import onnx

    path = _graph(folder)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as problem:  # protobuf's own type, which onnx does not name
        raise InvalidModelFile(f"{path} is not an ONNX graph ({problem}).") from None
    counts = Counter(node.op_type for node in model.graph.node)
    return Counter(dict(counts.most_common()))


def new_operators(before: Counter[str], after: Counter[str]) -> dict[str, int]:
    """Return the operators that only the second graph has, with their number: its fusions."""
    return {name: count for name, count in after.items() if name not in before}


def largest_difference(first: Path, second: Path, tokens: Sequence[int]) -> float:
    """Return the largest difference between the logits of two graphs for the same tokens.

    Both must read `input_ids` alone and give `logits`. ONNX Runtime's own optimisations are off,
    so that each graph runs as it is written.
    """
    import numpy as np

    ids = np.array([tokens], dtype=np.int64)
    ours, theirs = (
        _session(folder).run(["logits"], {"input_ids": ids})[0] for folder in (first, second)
    )
    return float(np.abs(ours - theirs).max())


def _session(folder: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(_graph(folder), options)


def _graph(folder: Path) -> Path:
    path = Path(folder) / "model.onnx"
    if not path.is_file():
        raise InvalidModelFile(f"{folder} has no model.onnx; give a folder that Olive made.")
    return path
