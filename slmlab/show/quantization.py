"""The pictures of lab 03: one rounded block, what is inside a file, and what it costs."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.measurement import Measurement
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_TYPES = {
    "F32": "black",
    "F16": "purple",
    "Q8_0": "blue",
    "Q6_K": "sky",
    "Q5_1": "green",
    "Q5_0": "yellow",
    "Q4_K": "orange",
    "Q4_0": "vermilion",
}
_GREYS = ("#444444", "#888888", "#bbbbbb")
_MARKS = {"Q4_0": ("_", 15), "Q8_0": (".", 7)}


def block(weights: Sequence[float], restored: Mapping[str, Sequence[float]]) -> "Figure":
    """Draw the weights of one block, and what each quantisation makes of them."""
    picture, ax = show.axes("One block before and after", "weight in the block", "value")
    ax.plot(weights, "o", color=COLOURS["black"], markersize=9, fillstyle="none", label="before")
    for name, values in restored.items():
        marker, size = _MARKS[name]
        colour = COLOURS[_TYPES[name]]
        ax.plot(values, marker, color=colour, markersize=size, markeredgewidth=2, label=name)
    ax.axhline(0, color=COLOURS["black"], linewidth=0.5)
    ax.legend(ncols=3)
    return picture


def sizes(files: Mapping[str, int], guess: Any = ...) -> "Figure":
    """Draw the bytes of each file as bars; `guess` is in MB."""
    picture, ax = show.axes("How large the files are", "file (MB)", height=1.6 + 0.35 * len(files))
    bars = ax.barh(list(files), [size / 1e6 for size in files.values()], color=COLOURS["blue"])
    ax.bar_label(bars, fmt="%.0f", padding=4)
    ax.margins(x=0.1)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    show.guess(ax, guess, "MB")
    return picture


def inside(weights: Mapping[str, Mapping[str, int]], fell_back: Mapping[str, int]) -> "Figure":
    """Draw what share of each file's weights has which tensor type, one bar a file.

    `weights` counts them by type for each label; `fell_back` counts the tensors that fell back.
    """
    picture, ax = show.axes(
        "What is inside each file, and how many tensors fell back",
        "share of the weights (%)",
        height=1.8 + 0.4 * len(weights),
    )
    present = [type for type in _TYPES if any(type in counts for counts in weights.values())]
    others = sorted({type for counts in weights.values() for type in counts} - set(present))
    colours = {type: COLOURS[_TYPES[type]] for type in present}
    colours |= dict(zip(others, itertools.cycle(_GREYS), strict=False))
    for row, (name, counts) in enumerate(weights.items()):
        left = 0.0
        for type, colour in colours.items():
            share = 100 * counts.get(type, 0) / sum(counts.values())
            ax.barh(row, share, left=left, color=colour, label=None if row else type)
            left += share
        ax.text(101, row, f"fell back: {fell_back[name]}", va="center", fontsize=9)
    ax.set_yticks(range(len(weights)), list(weights))
    ax.invert_yaxis()
    ax.set_xlim(0, 122)
    ax.set_xticks(range(0, 101, 20))
    ax.grid(visible=False)
    picture.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=8)
    return picture


def quality_by_size(
    points: Mapping[str, tuple[float, float, float]],
    front: Collection[str],
    source: str,
    guess: Any = ...,
) -> "Figure":
    """Draw (bytes, perplexity, standard error) of each file, and the line of those not beaten.

    `source` names what all files were made from; `guess` is a perplexity.
    """
    title = f"Size against perplexity, all made from {source}"
    picture, ax = show.axes(title, "file (MB)", "perplexity (lower is better)")
    ax.title.set_fontsize(10)
    for name, (size, value, error) in points.items():
        colour = COLOURS["blue" if name in front else "orange"]
        ax.errorbar(size / 1e6, value, error, fmt="o", color=colour, elinewidth=1, capsize=3)
    _label(ax, points)
    best = sorted(points[name][:2] for name in front)
    line = [size / 1e6 for size, _ in best], [value for _, value in best]
    ax.plot(*line, color=COLOURS["blue"], linewidth=1, label="Pareto front")
    ax.margins(0.12)
    ax.legend()
    show.guess(ax, guess, "", axis="y")
    return picture


def speed_by_size(
    points: Mapping[str, tuple[float, float, float]], bandwidth: float, guess: Any = ...
) -> "Figure":
    """Draw (bytes, tokens per second, spread) of each file below the roof that memory sets.

    `bandwidth` is in bytes per second; `guess` in tokens per second.
    """
    picture, ax = show.axes("Writing speed against size", "file (MB)", "tokens per second")
    sizes = [size for size, _, _ in points.values()]
    steps = [min(sizes) + (max(sizes) - min(sizes)) * i / 50 for i in range(51)]
    roof = [size / 1e6 for size in steps], [bandwidth / size for size in steps]
    ax.plot(*roof, color=COLOURS["black"], linewidth=1, label="roof: bandwidth / size")
    for size, rate, spread in points.values():
        ax.errorbar(size / 1e6, rate, spread, fmt="o", color=COLOURS["blue"], capsize=3)
    _label(ax, points)
    ax.set_ylim(bottom=0)
    ax.margins(x=0.12)
    ax.legend()
    show.guess(ax, guess, "tokens/s", axis="y")
    return picture


def side_by_side(rows: Sequence[Measurement], parameters: Mapping[str, int]) -> "DataFrame":
    """Return file sizes as a table: a row a model and type, a column a way they were got.

    Sizes are in GB. The last column turns the published one into bits per weight, with the
    `parameters` of each subject.
    """
    import pandas as pd

    table = pd.DataFrame(
        {
            "model": [row.subject for row in rows],
            "type": [row.quantity for row in rows],
            "how": [f"{row.how} (GB)" for row in rows],
            "GB": [row.value / 1e9 for row in rows],
        }
    )
    wide = table.pivot_table("GB", ["model", "type"], "how", sort=False)
    counts = wide.index.get_level_values("model").map(parameters)
    wide["published (bits/weight)"] = 8e9 * wide["published (GB)"] / counts
    shown = wide.map(lambda value: "" if value != value else f"{value:.3f}")
    return shown.rename_axis(columns=None)


def _label(ax: "Axes", points: Mapping[str, tuple[float, float, float]]) -> None:
    """Name each (bytes, value, spread), in turn above to the right and below to the left."""
    from matplotlib.patheffects import withStroke

    for i, name in enumerate(sorted(points, key=lambda name: points[name])):
        size, value, _ = points[name]
        right = i % 2 == 0
        label = ax.annotate(
            name,
            (size / 1e6, value),
            (6, 5) if right else (-6, -13),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=9,
            zorder=5,
        )
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])
