"""The picture of lab 11: the same file in a page and natively."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.measurement import Measurement
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def speeds(rows: Sequence[Measurement], guess: Any = ...) -> "Figure":
    """Draw the decode speed of each run, natively and in the browser.

    `guess` is one in a browser, in tokens per second. Raises `UsageError` for a guess that is no
    number.
    """
    found = [row for row in rows if row.quantity == "decode speed"]
    height = 1 + 0.4 * len(found)
    picture, ax = show.axes(
        "The same file in two places", "tokens written per second", height=height
    )
    for place, colour in (("native", "blue"), ("in the browser", "orange")):
        there = {at: row for at, row in enumerate(found) if _is_native(row) == (place == "native")}
        values = [row.value for row in there.values()]
        bars = ax.barh(list(there), values, 0.7, color=COLOURS[colour], label=place)
        ax.bar_label(bars, fmt="%.1f", padding=3)
    ax.set_yticks(range(len(found)), [row.subject for row in found])
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.margins(x=0.12)
    ax.legend()
    show.guess(ax, guess, "tokens/s")
    return picture


def _is_native(row: Measurement) -> bool:
    return "native" in row.subject
