"""The picture of lab 00."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from slmlab import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def speeds(tokens_per_second: Mapping[str, float]) -> "Figure":
    """Draw a bar for each named speed, in tokens per second, the first on top."""
    figure, ax = show.axes(
        "You and the model, reading and writing", x="speed (tokens per second)", height=2.6
    )
    bars = ax.barh(list(tokens_per_second), list(tokens_per_second.values()))
    ax.bar_label(bars, fmt="%.0f", padding=4)
    ax.margins(x=0.1)
    ax.invert_yaxis()
    return figure
