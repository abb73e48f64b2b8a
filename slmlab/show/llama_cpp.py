"""The pictures of lab 04: speed by prompt, batch and threads, the KV cache, and the roofline."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.engines.llama_cpp_tools import Command
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_LINES = ("blue", "orange", "green")
_LABEL_PLACES = ({"xytext": (5, -11)}, {"xytext": (-5, 5), "ha": "right"}, {"xytext": (5, 5)})


def reading(rates: Mapping[int, float], guess: Any = ...) -> "Figure":
    """Draw how fast prompts are read by how many tokens they have; `guess` in tokens/s."""
    picture, ax = show.axes(
        "Reading prompts of different lengths",
        "tokens in the prompt",
        "tokens per second",
    )
    ax.plot(list(rates), list(rates.values()), "o-", color=COLOURS["blue"])
    for length, rate in rates.items():
        ax.annotate(f"{rate:.0f}", (length, rate), (0, 7), textcoords="offset points", ha="center")
    _powers_of_two(ax, list(rates))
    ax.set_ylim(0, 1.15 * max(rates.values()))
    show.guess(ax, guess, "tokens/s", axis="y")
    return picture


def together(rates: Mapping[int, float], guess: Any = ...) -> "Figure":
    """Draw tokens per second in all, and for each sequence, by how many share a batch."""
    picture, ax = show.axes(
        "Writing several texts at once", "sequences in the batch", "tokens per second"
    )
    each = [rate / count for count, rate in rates.items()]
    ax.plot(list(rates), list(rates.values()), "o-", color=COLOURS["blue"], label="in all")
    ax.plot(list(rates), each, "s-", color=COLOURS["orange"], label="for each sequence")
    _powers_of_two(ax, list(rates))
    ax.set_ylim(bottom=0)
    ax.legend()
    show.guess(ax, guess, "tokens/s", axis="y")
    return picture


def threads(rates: Mapping[int, tuple[float, float]], cores: int) -> "Figure":
    """Draw (reading, writing) by number of threads, against what one thread does."""
    picture, ax = show.axes(
        "More threads, and more threads than cores", "threads", "speed (one thread = 1)"
    )
    for i, (name, mark) in enumerate((("reading", "o-"), ("writing", "s-"))):
        speeds = [rate[i] / rates[1][i] for rate in rates.values()]
        ax.plot(list(rates), speeds, mark, color=COLOURS[_LINES[i]], label=name)
    ax.plot([1, cores], [1, cores], ":", color=COLOURS["black"], label="each core as good as one")
    ax.axvline(cores, color=COLOURS["black"], linewidth=0.8)
    label = f" {cores} {'core' if cores == 1 else 'cores'} here"
    ax.text(cores, 0.02, label, transform=ax.get_xaxis_transform(), fontsize=9)
    _powers_of_two(ax, list(rates))
    ax.set_ylim(bottom=0)
    ax.legend()
    return picture


def cache(
    computed: Mapping[str, Mapping[int, float]],
    measured: Mapping[str, Mapping[int, float]],
    guess: Any = ...,
) -> "Figure":
    """Draw the bytes of the KV cache by tokens of context: lines computed, points measured.

    Both are by type of the cache, then by tokens; `guess` is in MB.
    """
    picture, ax = show.axes("What the context takes", "tokens of context", "KV cache (MB)")
    for name, colour in zip(computed, _LINES, strict=False):
        line = list(computed[name]), [size / 1e6 for size in computed[name].values()]
        ax.plot(*line, color=COLOURS[colour], linewidth=1, label=f"{name}, computed")
        points = list(measured[name]), [size / 1e6 for size in measured[name].values()]
        ax.plot(*points, "o", color=COLOURS[colour], label=f"{name}, measured")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend(ncols=2)
    show.guess(ax, guess, "MB", axis="y")
    return picture


def roofline(
    points: Mapping[str, Mapping[str, tuple[float, float]]], bandwidth: float, peak: float
) -> "Figure":
    """Draw (operations per byte, operations per second) of each batch below the machine's roof.

    `points` are by file, then by what was done; `bandwidth` is in bytes per second, `peak` in
    operations per second.
    """
    picture, ax = show.axes(
        "The roof: reading memory on the left, computing on the right",
        "arithmetic intensity (operations for each byte read)",
        "billions of operations per second",
        height=4.8,
    )
    ridge = peak / bandwidth
    places = [x for batches in points.values() for x, _ in batches.values()]
    left, right = min([*places, ridge]) / 2, max([*places, ridge]) * 3
    roof = [left, ridge, right], [bandwidth * left / 1e9, peak / 1e9, peak / 1e9]
    limits = f"roof: {bandwidth / 1e9:.0f} GB/s, then {peak / 1e9:.0f} billion operations/s"
    ax.plot(*roof, color=COLOURS["black"], linewidth=1.5, label=limits)
    styles = zip(points.items(), _LINES, "os^", _LABEL_PLACES, strict=False)
    for (name, batches), colour, mark, place in styles:
        ax.plot([], [], mark, color=COLOURS[colour], label=name)
        for what, (x, speed) in batches.items():
            ax.plot(x, speed / 1e9, mark, color=COLOURS[colour])
            ax.annotate(what, (x, speed / 1e9), textcoords="offset points", fontsize=8, **place)
    show.logarithmic(ax)
    ax.set_xlim(left, right)
    ax.legend(loc="lower right")
    return picture


def commands(rows: Sequence[Command]) -> "DataFrame":
    """Return the commands that lessons print beside those that work now."""
    import pandas as pd

    return pd.DataFrame(
        {
            "lessons print": [row.then for row in rows],
            "works now": [row.now for row in rows],
            "what changed": [row.change for row in rows],
        }
    )


def _powers_of_two(ax: "Axes", ticks: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
