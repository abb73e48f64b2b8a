"""What a learner sees: pictures with a text alternative, and tables with where numbers are from.

A picture is made with `axes`, drawn on, and shown with `figure`. The pictures of one lab are in the
module with the lab's name; they take plain data and return a matplotlib figure.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from html import escape
from numbers import Real
from typing import TYPE_CHECKING, Any

from slmlab.errors import UsageError
from slmlab.measurement.record import Measurement
from slmlab.measurement.words import origins, provenance, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

MEASUREMENTS_MIME = "application/vnd.slmlab.measurements+json"

# Okabe and Ito's palette, which colour-blind readers can tell apart (jfly.uni-koeln.de/color).
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}

_STYLE = {
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "savefig.facecolor": "white",
}


def axes(
    title: str, x: str = "", y: str = "", *, width: float = 7, height: float = 4
) -> tuple["Figure", "Axes"]:
    """Return an empty picture in the course's style, `width` by `height` inches.

    `x` and `y` label the axes and name their units. The figure is unknown to pyplot, so a notebook
    never shows it by itself a second time.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(_STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=list(COLOURS.values()))
    picture = Figure(figsize=(width, height), layout="constrained")
    ax = picture.subplots()
    ax.set(title=title, xlabel=x, ylabel=y)
    return picture, ax


def logarithmic(ax: "Axes") -> None:
    """Make both axes logarithmic, with plain numbers at 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def figure(fig: "Figure", alt: str) -> None:
    """Display a matplotlib figure as PNG; `alt` says in words what the picture shows.

    JupyterLab ignores the metadata of a PNG output, so the same image is also given as HTML with
    its `alt`, which JupyterLab and nbconvert prefer.
    """
    from IPython.display import display

    png = as_png(fig)
    display(
        {
            "image/png": png,
            "text/html": as_image(png, alt),
            "text/plain": f"[picture: {alt}]",
        },
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


def as_png(fig: "Figure") -> str:
    """Return a matplotlib figure as the base64 of its PNG."""
    from matplotlib import pyplot as plt

    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    plt.close(fig)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def as_image(png: str, alt: str) -> str:
    """Return the base64 of a PNG as HTML; raises `ValueError` without a text alternative."""
    if not alt.strip():
        raise ValueError("A picture needs a text alternative that says what it shows.")
    return f'<img src="data:image/png;base64,{png}" alt="{escape(alt)}">'


def guess(ax: "Axes", guess: Any, unit: str, axis: str = "x") -> None:
    """Draw the learner's guess as a dashed line across `axis`; an untouched guess draws nothing.

    Raises `UsageError` for a guess that is no number.
    """
    if guess is ...:
        return
    if not isinstance(guess, Real):
        raise UsageError(f"The guess is {guess!r}; write a number, in {unit}, without quotes.")
    line = ax.axvline if axis == "x" else ax.axhline
    line(
        guess,
        linestyle="--",
        color=COLOURS["vermilion"],
        label=f"your guess: {guess:,} {unit}",
    )
    ax.legend()


def measurements(rows: Sequence[Measurement]) -> None:
    """Display numbers as a table that says of each how it was got, and below it where and when.

    The output also carries the numbers as data, for the report to collect.
    """
    import pandas as pd

    numbers = pd.DataFrame(
        {
            "subject": [row.subject for row in rows],
            "quantity": [row.quantity for row in rows],
            "value": [quantity(row.value, row.unit, row.spread) for row in rows],
            "how": [provenance(row) for row in rows],
        }
    )
    table(numbers, rows)


def table(
    frame: "DataFrame", numbers: Sequence[Measurement] = (), remarks: Sequence[str] = ()
) -> None:
    """Display a table with every text in full; an index that has a name is its first column.

    Below it stand the remarks, then where and when its numbers were got. The output carries
    the numbers as data too (`MEASUREMENTS_MIME`).
    """
    from IPython.display import display

    shown = frame.reset_index() if frame.index.name else frame
    lines = [*remarks, *origins(numbers)]
    small = "<br>".join(f"<small>{escape(line)}</small>" for line in lines)
    bundle = {
        "text/html": as_html(shown) + small,
        "text/plain": "\n".join([shown.to_string(index=False), *lines]),
    }
    if numbers:
        bundle[MEASUREMENTS_MIME] = [asdict(number) for number in numbers]
    display(bundle, raw=True)


def as_html(frame: "DataFrame") -> str:
    """Return a table whose cells stand to the left, which Jupyter's style would not do."""
    import pandas as pd

    with pd.option_context("display.max_colwidth", None):
        text = frame.to_html(index=False, border=0, justify="left")
    text = text.replace("<th>", '<th scope="col" style="text-align: left">')
    return text.replace("<td>", '<td style="text-align: left">')


@contextmanager
def expected_error(error: type[BaseException]) -> Iterator[None]:
    """Run a block that must fail with `error`, and show its sentence instead of a traceback."""
    try:
        yield
    except error as caught:
        print(f"{type(caught).__name__}: {caught}")
    else:
        raise AssertionError(f"This cell was expected to raise {error.__name__}, and did not.")
