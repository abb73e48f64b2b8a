"""The comparison of engines and precisions, as a table and as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slmlab import show
from slmlab.measurement import Row, as_measurements
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {
    "llama_cpp": "blue",
    "transformers": "orange",
    "onnx": "green",
    "mlx": "purple",
}
_MARKERS = {"llama_cpp": "o", "transformers": "s", "onnx": "^", "mlx": "D"}


def table(rows: Sequence[Row]) -> None:
    """Display the comparison, one row a variant, and below it the conditions of its numbers.

    The output also carries every number as data, for the report to collect.
    """
    import pandas as pd

    cells = pd.DataFrame([_cells(row) for row in rows])
    show.table(cells, as_measurements(rows), _conditions(rows))


def _cells(row: Row) -> dict[str, str]:
    return {
        "engine": row.engine,
        "precision": row.precision,
        "file": show.quantity(row.file_bytes, "bytes"),
        "peak memory": show.quantity(row.peak_memory_bytes, "bytes"),
        "prompt (tokens/s)": f"{row.prompt_tokens_per_second:,.0f}",
        "decode (tokens/s)": f"{row.decode_tokens_per_second:,.1f}",
        "first token (s)": _short(row.seconds_to_first_token),
        "energy (J/token)": f"{_short(row.joules_per_token)}, {row.energy_how}",
        "perplexity": show.quantity(row.perplexity, "", row.perplexity_stderr),
    }


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _conditions(rows: Sequence[Row]) -> list[str]:
    """Return one line for each set of conditions under which rows were measured."""
    lines = [
        f"threads: {row.threads}; a prompt of {row.prompt_tokens} tokens; "
        f"{row.decode_tokens} tokens written; "
        f"perplexity on {row.chunks} x {row.context} tokens; "
        f"energy {row.energy_how} by {row.energy_by}."
        for row in rows
    ]
    return list(dict.fromkeys(lines))


def picture(rows: Sequence[Row]) -> "Figure":
    """Draw decode speed against peak memory on logarithmic scales, each point named."""
    fig, ax = show.axes(
        "Speed against memory; at each point, precision and perplexity",
        "peak memory (MB)",
        "decode speed (tokens/s)",
        height=4.5,
    )
    for engine in dict.fromkeys(row.engine for row in rows):
        points = [row for row in rows if row.engine == engine]
        memory = [row.peak_memory_bytes / 1e6 for row in points]
        speeds = [row.decode_tokens_per_second for row in points]
        colour = COLOURS[_COLOURS[engine]]
        ax.plot(memory, speeds, _MARKERS[engine], color=colour, markersize=8, label=engine)
        for x, y, row in zip(memory, speeds, points, strict=True):
            label = f"{row.precision}: {row.perplexity:.1f}"
            ax.annotate(label, (x, y), (7, 4), textcoords="offset points", fontsize=9)
    show.logarithmic(ax)
    ax.margins(x=0.25, y=0.15)
    ax.legend(title="engine")
    return fig
