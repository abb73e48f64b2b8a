"""The pictures and tables of lab 02: what catalogues list, what models need, what a file holds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_UNITS = {"parameters": "", "context": "", "embedding_share": "share"}


def readable(table: "DataFrame") -> "DataFrame":
    """Return a table with units and digits for people; what it leaves out says so."""
    shown = table.copy()
    for name in shown.columns:
        unit = "bytes" if name.endswith("_bytes") else _UNITS.get(name)
        shown[name] = [_text(value, unit) for value in shown[name]]
    return shown


def licences(found: "DataFrame", guess: Any = ...) -> "Figure":
    """Draw how many of the models found come under each licence, most first."""
    counts = found.licence.value_counts()
    picture, ax = show.axes("Models found, by licence", "models", height=1.2 + 0.35 * len(counts))
    bars = ax.barh(list(counts.index), list(counts))
    ax.bar_label(bars, padding=4)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.invert_yaxis()
    show.guess(ax, guess, "models")
    return picture


def footprints(models: "DataFrame", limit: float) -> "Figure":
    """Draw the bytes of `compare`'s models in F16: weights, then the cache of 4,096 tokens."""
    picture, ax = show.axes("What a model needs, in F16", "memory (GB)", height=3.4)
    weights, cache = models.f16_bytes / 1e9, models.kv_cache_bytes / 1e9
    ax.barh(models.index, weights, label="weights", color=COLOURS["blue"])
    ax.barh(
        models.index, cache, left=weights, label="KV cache, 4,096 tokens", color=COLOURS["orange"]
    )
    ax.axvline(limit / 1e9, linestyle=":", color=COLOURS["black"], label=f"{limit / 1e9:g} GB")
    ax.invert_yaxis()
    picture.legend(loc="outside lower center", ncols=3)
    return picture


def hash_bits(before: str, after: str, guess: Any = ...) -> "Figure":
    """Draw the 256 bits of two SHA-256 values, in 16 rows, and mark those that differ.

    `guess` is the number of bits expected to differ; the title says it beside the real number.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    differ = [int(bit) for bit in f"{int(before, 16) ^ int(after, 16):0256b}"]
    guessed = "" if guess is ... else f" (your guess: {guess})"
    title = f"{sum(differ)} of 256 bits differ{guessed}"
    picture, ax = show.axes(title, width=5, height=3.6)
    rows = [differ[start : start + 16] for start in range(0, 256, 16)]
    colours = {"the same": COLOURS["sky"], "different": COLOURS["vermilion"]}
    cells = ListedColormap(list(colours.values()))
    ax.pcolormesh(rows, cmap=cells, vmin=0, vmax=1, edgecolors="white")
    keys = [Patch(color=colour, label=label) for label, colour in colours.items()]
    picture.legend(handles=keys, loc="outside right upper")
    ax.set(aspect="equal", xlabel="bit of the row", ylabel="row of 16 bits")
    ax.invert_yaxis()
    ax.grid(False)
    return picture


def file_parts(parts: Mapping[str, int], guess: Any = ...) -> "Figure":
    """Draw the bytes of a file's parts, one bar each in the order of the file; `guess` is in MB."""
    picture, ax = show.axes("What the file holds", "size (MB)", height=1.4 + 0.4 * len(parts))
    bars = ax.barh(list(parts), [size / 1e6 for size in parts.values()])
    ax.bar_label(bars, fmt="%.1f", padding=4)
    ax.margins(x=0.1)
    ax.invert_yaxis()
    show.guess(ax, guess, "MB")
    return picture


def _text(value: Any, unit: str | None) -> str:
    if value is None or value != value:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "share":
        return f"{value:.0%}"
    return str(value) if unit is None else show.quantity(value, unit)
