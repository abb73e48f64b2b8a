"""The pictures of lab 12: a server under load, how long its users wait, and what that costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from slmlab.deployment.operations.capacity import Load
    from slmlab.deployment.operations.manifests import Reason


def watched(
    seconds: Sequence[float],
    running: Sequence[float],
    waiting: Sequence[float],
    rate: Sequence[float],
) -> "Figure":
    """Draw requests that run and wait, and new tokens per second, over the seconds of a watch."""
    picture, ax = show.axes("What the server said of itself", "seconds", "requests")
    ax.stackplot(
        seconds,
        running,
        waiting,
        labels=["running", "waiting"],
        colors=[COLOURS["blue"], COLOURS["sky"]],
        step="post",
    )
    ax.set_ylim(bottom=0)
    tokens = ax.twinx()
    tokens.plot(seconds, rate, color=COLOURS["vermilion"], label="new tokens per second")
    tokens.set_ylabel("new tokens per second")
    tokens.set_ylim(bottom=0)
    tokens.grid(visible=False)
    tokens.spines["right"].set_visible(True)
    handles = [*ax.get_legend_handles_labels()[0], *tokens.get_legend_handles_labels()[0]]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    return picture


def latencies(
    counted: Mapping[float, float], measured: float, estimated: float, guess: Any = ...
) -> "Figure":
    """Draw a histogram that a server kept, and the p95 from it and from the clients, in seconds."""
    picture, ax = show.axes("Latency, as the server counted it", "seconds", "requests")
    bounds = [bound for bound in counted if bound != float("inf")]
    previous = dict(zip(bounds, [0.0, *bounds], strict=False))
    earlier = dict(zip(bounds, [0.0, *(counted[bound] for bound in bounds)], strict=False))
    filled = [bound for bound in bounds if counted[bound] > earlier[bound]]
    ax.bar(
        [previous[bound] for bound in filled],
        [counted[bound] - earlier[bound] for bound in filled],
        [bound - previous[bound] for bound in filled],
        align="edge",
        color=COLOURS["sky"],
        edgecolor="white",
    )
    ax.axvline(estimated, color=COLOURS["blue"], label=f"p95 from the buckets: {estimated:.2f} s")
    ax.axvline(measured, color=COLOURS["black"], label=f"p95 from the clients: {measured:.2f} s")
    ax.legend()
    show.guess(ax, guess, "s")
    return picture


def users(
    simulated: Mapping[int, tuple[float, float]], measured: Mapping[int, tuple[float, float]]
) -> "Figure":
    """Draw mean and p95 latency, in seconds, by the number of users: simulated and measured."""
    picture, ax = show.axes("Latency by users at a time", "users", "seconds")
    for place, (name, colour) in enumerate((("mean", "blue"), ("p95", "orange"))):
        for kind, points, marker, line in (
            ("simulated", simulated, "", "-"),
            ("measured", measured, "o", ""),
        ):
            values = [pair[place] for pair in points.values()]
            ax.plot(
                list(points),
                values,
                color=COLOURS[colour],
                marker=marker,
                linestyle=line,
                label=f"{name}, {kind}",
            )
    ax.set_ylim(bottom=0)
    ax.set_xticks(sorted({*simulated, *measured}))
    ax.legend()
    return picture


def knee(
    loads: Mapping[float, "Load"], formula: Mapping[float, float], target: float, guess: Any = ...
) -> "Figure":
    """Draw latencies by the share of its time that a replica works; `formula` gives means."""
    picture, ax = show.axes("The nearer to busy, the longer", "share of time busy (%)", "seconds")
    shares = [100 * share for share in loads]
    p95 = [load.latency_p95 for load in loads.values()]
    means = [load.latency_mean for load in loads.values()]
    ax.plot(shares, p95, color=COLOURS["orange"], label="p95, simulated")
    ax.plot(shares, means, color=COLOURS["blue"], label="mean, simulated")
    ax.plot(
        [100 * share for share in formula],
        list(formula.values()),
        color=COLOURS["black"],
        linestyle="",
        marker="x",
        label="mean, Pollaczek and Khinchine",
    )
    ax.axhline(target, color=COLOURS["green"], linewidth=1, label=f"target: {target:g} s")
    ax.set_ylim(0, max(2 * target, max(means)))
    ax.set_xlim(0, 100)
    ax.legend(loc="upper left")
    show.guess(ax, guess, "%")
    return picture


def reasons(rows: Sequence["Reason"]) -> "DataFrame":
    """Return a table of the lines in the generated files that come from a measurement."""
    import pandas as pd

    return pd.DataFrame(
        {
            "file": [row.file for row in rows],
            "line": [row.line for row in rows],
            "value": [row.value if len(row.value) < 20 else f"{row.value[:12]}…" for row in rows],
            "from": [row.source for row in rows],
        }
    )
