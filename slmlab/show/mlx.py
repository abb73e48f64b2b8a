"""The pictures of lab 06: what MLX still has to do, and a loss that falls."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plans(dots: Mapping[str, str]) -> "Figure":
    """Draw the operations that `mx.export_to_dot` wrote down, one line for each graph.

    An operation stands to the right of all whose results it needs.
    """
    picture, ax = show.axes("What is still to be computed", height=0.7 + 0.9 * len(dots))
    for row, dot in enumerate(dots.values()):
        names, needs = operations(dot)
        places = {key: (_depth(key, needs), row) for key in names}
        for key, place in places.items():
            box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": COLOURS["blue"]}
            ax.text(*place, names[key], ha="center", va="center", bbox=box, zorder=3)
            for earlier in needs[key]:
                arrow = {"arrowstyle": "->", "shrinkA": 32, "shrinkB": 32}
                ax.annotate("", place, places[earlier], arrowprops=arrow)
    ax.set_yticks(range(len(dots)), list(dots))
    ax.set_xticks([])
    ax.set_xlim(-0.6, max((text.get_position()[0] for text in ax.texts), default=0) + 0.6)
    ax.set_ylim(len(dots) - 0.4, -0.6)
    ax.grid(visible=False)
    return picture


def operations(dot: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the name of each operation in a graph, and which others' results it needs."""
    names = dict(re.findall(r'(\d+) \[label ="(\w+)"', dot))
    made_by = {array: key for key, array in re.findall(r'(\d+) -> "(\w+)"', dot)}
    needs: dict[str, list[str]] = {key: [] for key in names}
    for array, key in dict.fromkeys(re.findall(r'"(\w+)" -> (\d+)', dot)):
        if array in made_by:
            needs[key].append(made_by[array])
    return names, needs


def _depth(key: str, needs: Mapping[str, Sequence[str]]) -> int:
    return 1 + max((_depth(earlier, needs) for earlier in needs[key]), default=-1)


def descent(losses: Sequence[float], floor: float, guess: Any = ...) -> "Figure":
    """Draw the loss after each step, above the lowest possible; `guess`, in nats, is the last."""
    picture, ax = show.axes("A loss that falls", "steps taken", "loss (nats per byte)")
    ax.plot(losses, color=COLOURS["blue"], label="loss")
    ax.axhline(floor, color=COLOURS["black"], linewidth=1, label="lowest possible")
    ax.set_ylim(bottom=0)
    ax.legend()
    show.guess(ax, guess, "nats", axis="y")
    return picture
