"""The pictures and tables of lab 05: graphs by their nodes, and what Olive's search found."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.measurement import Measurement
from slmlab.olive import OldName
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_KINDS = {
    "multiply matrices": ("blue", {"MatMul", "MatMulInteger", "MatMulNBits", "Gemm"}),
    "fused": (
        "green",
        {
            "GroupQueryAttention",
            "SimplifiedLayerNormalization",
            "SkipSimplifiedLayerNormalization",
        },
    ),
    "calculate": (
        "sky",
        {
            *("Add", "Cos", "CumSum", "Max", "Mul", "Neg", "Pow", "Reciprocal", "ReduceMean"),
            *("ReduceSum", "Sigmoid", "Sin", "Softmax", "Sqrt", "Sub"),
        },
    ),
    "rearrange": (
        "orange",
        {
            *("Concat", "Expand", "Gather", "GatherND", "Reshape", "Slice", "Squeeze"),
            *("Transpose", "Unsqueeze"),
        },
    ),
}
_OTHERS = "constants, casts and others"


def names(found: Sequence[OldName]) -> "DataFrame":
    """Return the old names and their successors as a table, each with whether Olive has it."""
    import pandas as pd

    return pd.DataFrame(
        {
            "in the program": [name.old for name in found],
            "still there": ["yes" if name.old_exists else "no" for name in found],
            "today": [name.today for name in found],
            "there": ["yes" if name.today_exists else "no" for name in found],
        }
    )


def operators(graphs: Mapping[str, Mapping[str, int]], most: int = 8) -> "DataFrame":
    """Return how often each graph has an operator, one row an operator, most frequent first."""
    import pandas as pd

    table = pd.DataFrame(graphs).fillna(0).astype(int)
    order = table.max(axis=1).sort_values(ascending=False, kind="stable").index[:most]
    return table.loc[order].rename_axis("operator")


def nodes(graphs: Mapping[str, Mapping[str, int]], guess: Any = ...) -> "Figure":
    """Draw the nodes of each graph as a bar, divided by what they do; `guess` is in nodes."""
    picture, ax = show.axes("What the graphs are made of", "nodes", height=2.2 + 0.5 * len(graphs))
    for row, counts in enumerate(graphs.values()):
        left = 0
        for kind, (colour, count) in _by_kind(counts).items():
            ax.barh(row, count, left=left, color=colour, label=None if row else kind)
            left += count
        ax.text(left, row, f"  {left}", va="center", fontsize=9)
    ax.set_yticks(range(len(graphs)), list(graphs))
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(visible=False, axis="y")
    show.guess(ax, guess, "nodes")
    if ax.get_legend():
        ax.get_legend().remove()
    picture.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return picture


def recorded_candidates(rows: Sequence[Measurement]) -> dict[str, tuple[float, float, float]]:
    """Return milliseconds a token, perplexity and peak bytes of what was recorded, by name."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row.subject.removeprefix("onnx "), {})[row.quantity] = row.value
    return {
        name: (1000 / one["decode speed"], one["perplexity"], one["peak memory"])
        for name, one in found.items()
    }


def _by_kind(counts: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """Return the colour and the number of nodes of each kind."""
    kinds = {
        kind: (COLOURS[colour], sum(counts.get(name, 0) for name in names))
        for kind, (colour, names) in _KINDS.items()
    }
    rest = sum(counts.values()) - sum(count for _, count in kinds.values())
    return kinds | {_OTHERS: ("#bbbbbb", rest)}


def search(candidates: Mapping[str, tuple[float, float, float]], guess: Any = ...) -> "Figure":
    """Draw (milliseconds a token, perplexity, bytes) of each candidate; `guess` is a perplexity."""
    picture, ax = show.axes(
        "What Olive's search found", "latency of one token (ms)", "perplexity (lower is better)"
    )
    for colour, (name, found) in zip(COLOURS.values(), candidates.items(), strict=False):
        latency, perplexity, size = found
        label = f"{name}, {size / 1e6:.0f} MB"
        ax.plot(latency, perplexity, "o", color=colour, markersize=9, label=label)
    ax.set_xlim(left=0)
    ax.margins(y=0.2)
    ax.legend()
    show.guess(ax, guess, "", axis="y")
    return picture


def candidates(found: Mapping[str, Mapping[str, float]], front: Sequence[str]) -> "DataFrame":
    """Return the metrics of each candidate as a table; `front` names Olive's best."""
    import pandas as pd

    return pd.DataFrame(
        {
            "candidate": list(found),
            "size on disk": [show.quantity(m["size-bytes"], "bytes") for m in found.values()],
            "128 tokens (ms)": [f"{m['prompt-avg']:.0f}" for m in found.values()],
            "one token (ms)": [f"{m['token-avg']:.1f}" for m in found.values()],
            "perplexity": [f"{m['scored-perplexity']:.2f}" for m in found.values()],
            "on Olive's front": ["yes" if name in front else "" for name in found],
        }
    )
