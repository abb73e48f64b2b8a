"""The pictures of lab 01: how big models are, where their parameters live, how fast they can be."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TIERS = {"micro": ("green", "o"), "small": ("blue", "s"), "medium": ("orange", "D")}
_PARTS = {
    "embedding": "orange",
    "attention": "blue",
    "feed-forward": "sky",
    "norms": "black",
    "output": "green",
}
_DASHES = ("-", "--", "-.", ":")


def ladder(models: Sequence[tuple[str, int, str]], cut_offs: Sequence[float]) -> "Figure":
    """Draw each (title, parameters, tier) as a mark on a logarithmic axis, one row a model."""
    picture, ax = show.axes("The course's models by size", "parameters", height=7)
    for name, (colour, marker) in _TIERS.items():
        rows = [(size, row) for row, (_, size, tier) in enumerate(models) if tier == name]
        ax.scatter(*zip(*rows, strict=True), color=COLOURS[colour], marker=marker, label=name)
    for cut_off in cut_offs:
        ax.axvline(cut_off, linestyle=":", color=COLOURS["black"])
        ax.text(cut_off, 1.01, _short(cut_off), transform=ax.get_xaxis_transform(), ha="center")
    _rows(ax, [title for title, _, _ in models], fontsize=8)
    ax.set_xlim(left=1e8)
    _logarithmic(ax, "x", (1e8, 3e8, 1e9, 3e9, 1e10, 3e10), _short)
    ax.legend(loc="lower left", title="tier")
    return picture


def shares(models: Mapping[str, Mapping[str, int]], guess: Any = ...) -> "Figure":
    """Draw which part of a model holds how much of its parameters, one bar a model.

    `guess` is in per cent, for the share of the embedding: the first part of each bar.
    """
    height = 1.8 + 0.35 * len(models)
    picture, ax = show.axes(
        "Where the parameters are", "share of all parameters (%)", height=height
    )
    for row, parts in enumerate(models.values()):
        left = 0.0
        for name, colour in _PARTS.items():
            share = 100 * parts[name] / sum(parts.values())
            label = None if row else name
            ax.barh(row, share, left=left, color=COLOURS[colour], label=label)
            left += share
    _rows(ax, list(models))
    show.guess(ax, guess, "%")
    _legend_below(picture, ax, columns=3)
    return picture


def beside(
    title: str, values: Mapping[str, float], unit: str, guess: Any = ..., spread: float = 0
) -> "Figure":
    """Draw a computed and a measured value as bars, one below the other.

    `spread` is that of the last value.
    """
    picture, ax = show.axes(title, unit, height=2.4)
    computed, measured = values.values()
    ax.barh(0, computed, color=COLOURS["sky"])
    ax.barh(1, measured, xerr=spread or None, color=COLOURS["blue"], capsize=4)
    _rows(ax, list(values))
    show.guess(ax, guess, unit)
    _legend_below(picture, ax)
    return picture


def speed_by_size(
    sizes: Mapping[str, float],
    bandwidths: Mapping[str, float],
    here: str,
    measured: tuple[float, float],
) -> "Figure":
    """Draw the most tokens per second against the size of a file in bytes, a line a machine.

    `bandwidths` are in bytes per second; the models in `sizes` are marked on the line of the
    machine named `here`, and `measured` is one real (bytes, tokens per second) of that machine.
    """
    from matplotlib.patheffects import withStroke

    picture, ax = show.axes(
        "The most a machine can write", "model file (GB)", "tokens per second", height=4.6
    )
    ends = [min(*sizes.values(), measured[0]), max(sizes.values())]
    for dashes, (name, bandwidth) in zip(_DASHES, bandwidths.items(), strict=False):
        rates = [bandwidth / size for size in ends]
        ax.plot([size / 1e9 for size in ends], rates, linestyle=dashes, label=name)
    for title, size in sizes.items():
        point = (size / 1e9, bandwidths[here] / size)
        ax.plot(*point, "o", color=COLOURS["black"], markersize=4)
        label = ax.annotate(title, point, (6, 4), textcoords="offset points", fontsize=8)
        label.set_path_effects([withStroke(linewidth=2, foreground="white")])
    star = (measured[0] / 1e9, measured[1])
    ax.margins(x=0.12)
    ax.plot(*star, "*", color=COLOURS["vermilion"], markersize=13, label="measured here")
    _logarithmic(ax, "x", (0.1, 0.3, 1, 3, 10, 30), "{:g}".format)
    _logarithmic(ax, "y", (0.1, 1, 10, 100, 1000), "{:g}".format)
    ax.legend()
    return picture


def caches(curves: Mapping[str, Sequence[float]], contexts: Sequence[int]) -> "Figure":
    """Draw the bytes of the KV cache against the tokens in the context, a line a model.

    A model made for a shorter context has fewer values, and its line ends earlier.
    """
    picture, ax = show.axes(
        "The memory a conversation takes", "tokens in the context", "KV cache (GB)", height=4.4
    )
    for i, (title, sizes) in enumerate(curves.items()):
        gigabytes = [size / 1e9 for size in sizes]
        ax.plot(
            contexts[: len(sizes)], gigabytes, linestyle=_DASHES[i % 4], marker=".", label=title
        )
    _logarithmic(ax, "x", contexts, "{:,}".format)
    _logarithmic(ax, "y", (0.01, 0.1, 1, 10, 100), "{:g}".format)
    ax.tick_params(axis="x", labelsize=8)
    ax.legend()
    return picture


def fits(needs: Mapping[str, tuple[float, float]], rooms: Mapping[str, float]) -> "Figure":
    """Draw the bytes each model needs (file, KV cache) against the bytes each machine can give."""
    picture, ax = show.axes("What fits where", "memory (GB)", height=1.8 + 0.27 * len(needs))
    files, kept = ([need[part] / 1e9 for need in needs.values()] for part in (0, 1))
    ax.barh(range(len(needs)), files, color=COLOURS["blue"], label="model file")
    ax.barh(range(len(needs)), kept, left=files, color=COLOURS["orange"], label="KV cache")
    for dashes, (name, room) in zip(_DASHES, rooms.items(), strict=False):
        ax.axvline(room / 1e9, linestyle=dashes, color=COLOURS["vermilion"], label=name)
    _rows(ax, list(needs), fontsize=9)
    _legend_below(picture, ax, columns=2)
    return picture


def _rows(ax: "Axes", titles: Sequence[str], **text: Any) -> None:
    """Name the rows of a picture from top to bottom."""
    ax.set_yticks(range(len(titles)), titles, **text)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")


def _legend_below(picture: "Figure", ax: "Axes", columns: int = 1) -> None:
    """Put the legend below the picture, where it hides no bar."""
    if old := ax.get_legend():
        old.remove()
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        picture.legend(handles, labels, loc="outside lower center", ncols=columns)


def _logarithmic(ax: "Axes", axis: str, ticks: Sequence[float], name: Any) -> None:
    """Make the axis `x` or `y` logarithmic, with these ticks alone."""
    from matplotlib.ticker import NullLocator

    ax.set(**{f"{axis}scale": "log"})
    line = getattr(ax, f"{axis}axis")
    line.set_minor_locator(NullLocator())
    low, high = line.get_view_interval()
    shown = [tick for tick in ticks if low <= tick <= high]
    line.set_ticks(shown, [name(tick) for tick in shown])


def _short(parameters: float) -> str:
    billions = parameters / 1e9
    return f"{billions:g}B" if billions >= 1 else f"{1000 * billions:g}M"
