"""The pictures of lab 09: requests at once, blocks of the KV cache in use, and shared prefixes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.deployment.load import Summary
from slmlab.deployment.vllm import Moment, Share
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


def rates(by_concurrency: Mapping[int, Summary], alone: float, guess: Any = ...) -> "Figure":
    """Draw tokens per second in all against requests at once.

    `alone` is llama.cpp's rate, one request after another; `guess` is for the most at once.
    """
    picture, ax = show.axes("One batch for all", "requests at once", "tokens/s, of all requests")
    at_once = list(by_concurrency)
    found = [by_concurrency[number].tokens_per_second for number in at_once]
    ax.plot(at_once, found, marker="o", color=COLOURS["blue"], label="vLLM")
    ax.axhline(alone, color=COLOURS["orange"], label="llama.cpp, one after another")
    _at_once(ax, at_once)
    ax.legend()
    show.guess(ax, guess, "tokens/s", axis="y")
    return picture


def latencies(by_concurrency: Mapping[int, Summary], queue: Summary) -> "Figure":
    """Draw what one request waits for: its first token, and its last.

    `queue` is llama.cpp with as many requests at once as the most here.
    """
    picture, ax = show.axes("What one request waits for", "requests at once", "seconds")
    at_once = list(by_concurrency)
    lines = {
        "first token, median": ("first_token_median", "sky", ":o"),
        "whole answer, median": ("latency_median", "blue", "-s"),
        "whole answer, 95th percentile": ("latency_p95", "blue", "--^"),
    }
    for label, (field, colour, style) in lines.items():
        values = [getattr(by_concurrency[number], field) for number in at_once]
        ax.plot(at_once, values, style, color=COLOURS[colour], label=f"vLLM, {label}")
    for label, (field, _, style) in lines.items():
        name = f"llama.cpp's queue, {label}"
        value = getattr(queue, field)
        ax.plot([at_once[-1]], [value], style[-1], color=COLOURS["orange"], label=name)
    _at_once(ax, at_once)
    ax.set_ylim(bottom=0)
    ax.legend()
    return picture


def cache(moments: Sequence[Moment], pool: int, reserved: int, guess: Any = ...) -> "Figure":
    """Draw the blocks in use over time, below those there are and those reserving would take."""
    picture, ax = show.axes("Blocks of the KV cache in use", "seconds", "blocks")
    times = [moment.seconds for moment in moments]
    used = [moment.blocks for moment in moments]
    ax.fill_between(times, used, step="post", color=COLOURS["sky"], alpha=0.6)
    ax.step(times, used, where="post", color=COLOURS["blue"], label="in use")
    ax.axhline(pool, color=COLOURS["black"], linewidth=1, label="in the cache")
    label = "needed to reserve whole contexts"
    ax.axhline(reserved, color=COLOURS["orange"], linewidth=1, label=label)
    ax.set_ylim(0, 1.1 * max(pool, reserved))
    show.guess(ax, guess, "blocks", axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.9))
    return picture


def first_tokens(seconds: Mapping[str, Sequence[float]]) -> "Figure":
    """Draw each request's seconds to its first token, one line of dots for each kind."""
    title, height = "A prompt that was read before", 1.2 + 0.5 * len(seconds)
    picture, ax = show.axes(title, "seconds to the first token", height=height)
    for row, values in enumerate(seconds.values()):
        ax.plot(values, [row] * len(values), "o", color=COLOURS["blue"], alpha=0.7)
    ax.set_yticks(range(len(seconds)), list(seconds))
    ax.set_ylim(len(seconds) - 0.5, -0.5)
    ax.set_xlim(left=0)
    return picture


def shares(rows: Sequence[Share]) -> "DataFrame":
    """Return a table of what each GPU holds."""
    import pandas as pd

    return pd.DataFrame(
        {
            "GPUs": [row.gpus for row in rows],
            "weights on each": [show.quantity(row.weights, "bytes") for row in rows],
            "KV cache on each": [show.quantity(row.cache, "bytes") for row in rows],
            "together": [show.quantity(row.total, "bytes") for row in rows],
        }
    )


def _at_once(ax: "Axes", numbers: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(numbers, [str(number) for number in numbers])
    ax.set_ylim(bottom=0)
