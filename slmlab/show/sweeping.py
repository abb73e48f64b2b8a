"""A sweep as a table, one column for each kind of number and machine, and as a picture."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab import show
from slmlab.show import COLOURS
from slmlab.sweeping import SweepRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def table(rows: Sequence[SweepRow]) -> None:
    """Display what a sweep measured, and below it where its numbers come from.

    The output also carries every number as data, for the report to collect.
    """
    show.table(frame(rows), [row.number for row in rows])


def frame(rows: Sequence[SweepRow]) -> "DataFrame":
    """Return one line for each model, engine and quantisation; rates of machines stand apart."""
    import pandas as pd

    lines: dict[tuple, dict[str, str]] = {}
    for row, label in zip(rows, _labels(rows), strict=True):
        task, number = row.task, row.number
        form = {
            "model": Path(task.model).name,
            "engine": task.engine,
            "quantisation": task.quantisation,
        }
        line = lines.setdefault(tuple(form.values()), form)
        line[label] = show.quantity(number.value, number.unit, number.spread)
    return pd.DataFrame(lines.values()).fillna("-")


def _labels(rows: Sequence[SweepRow]) -> list[str]:
    """Return a heading for each row, which names the machine where the number depends on it."""
    plain = [_label(row) for row in rows]
    seen = Counter((row.task.subject, label) for row, label in zip(rows, plain, strict=True))
    split = {label for (_, label), count in seen.items() if count > 1}
    return [
        f"{label}, machine {row.where}" if row.task.is_timed or label in split else label
        for row, label in zip(rows, plain, strict=True)
    ]


def _label(row: SweepRow) -> str:
    text = row.task.text
    return f"{row.number.quantity} on {Path(text).name}" if text else row.number.quantity


def picture(rows: Sequence[SweepRow], text: str = "prose") -> "Figure":
    """Draw decode speed against perplexity on a text; the bars are the spreads.

    What has only one of them is left out; each machine has a marker of its own.
    """
    fig, ax = show.axes(
        "What speed costs: to the right faster, below better",
        "decode speed (tokens/s)",
        f"perplexity on {text}",
    )
    quality = {
        row.task.subject: row.number
        for row in rows
        if row.number.quantity == "perplexity" and Path(row.task.text).name == text
    }
    timed = [row for row in rows if row.number.quantity == "decode speed"]
    drawn = [row for row in timed if row.task.subject in quality]
    for i, name in enumerate(dict.fromkeys(_series(row) for row in drawn)):
        points = [row for row in drawn if _series(row) == name]
        speeds, losses = (
            [row.number for row in points],
            [quality[row.task.subject] for row in points],
        )
        ax.errorbar(
            [number.value for number in speeds],
            [number.value for number in losses],
            yerr=[number.spread or 0 for number in losses],
            xerr=[number.spread or 0 for number in speeds],
            fmt="osD^v"[i % 5],
            color=list(COLOURS.values())[i % len(COLOURS)],
            elinewidth=1,
            label=name,
        )
        for row, speed, loss in zip(points, speeds, losses, strict=True):
            place = {"xytext": (6, 6), "textcoords": "offset points", "fontsize": 9}
            ax.annotate(row.task.quantisation, (speed.value, loss.value), **place)
    ax.margins(0.2)
    if drawn:
        ax.legend()
    return fig


def _series(row: SweepRow) -> str:
    return f"{Path(row.task.model).name}, {row.task.engine}, machine {row.where}"
