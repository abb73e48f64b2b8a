"""The pictures of lab 07: rounding, latent weights, losses while training, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rounding(weights: Sequence[float], scale: float) -> "Figure":
    """Draw how many weights have which value, and the three values that they are rounded to."""
    picture, ax = show.axes("The weights of one matrix", "weight", "how many")
    ax.hist(weights, bins=120, range=(-4 * scale, 4 * scale), color=COLOURS["blue"])
    for value in (-scale, 0, scale):
        label = None if value else "rounded to one of these"
        ax.axvline(value, color=COLOURS["vermilion"], label=label)
    for border in (-scale / 2, scale / 2):
        label = "borders" if border > 0 else None
        ax.axvline(border, color=COLOURS["black"], linestyle=":", label=label)
    ax.legend()
    return picture


def latent_weights(history: Sequence[Sequence[float]]) -> "Figure":
    """Draw each latent weight step by step, and the borders where its rounded value changes."""
    picture, ax = show.axes("Latent weights while training", "step", "latent weight")
    for number, course in enumerate(zip(*history, strict=True)):
        ax.plot(course, label=f"weight {number}")
    for border in (-0.5, 0.5):
        ax.axhline(border, color=COLOURS["black"], linestyle=":", linewidth=1)
    for value in (-1, 0, 1):
        ax.text(
            1.01,
            value,
            f"used as {value:+d}" if value else "used as 0",
            va="center",
            transform=ax.get_yaxis_transform(),
        )
    ax.set_ylim(-1.4, 1.4)
    ax.legend(ncols=len(history[0]), loc="lower center", bbox_to_anchor=(0.5, -0.35))
    return picture


def losses(
    title: str, courses: Mapping[str, tuple[Sequence[int], Sequence[float]]], guess: Any = ...
) -> "Figure":
    """Draw losses in nats over steps, a line a name; `guess` is a loss."""
    picture, ax = show.axes(title, "step", "loss (nats per token)")
    for name, (steps, values) in courses.items():
        ax.plot(steps, values, label=name)
    ax.legend()
    show.guess(ax, guess, "nats", axis="y")
    return picture


def price(points: Mapping[str, tuple[float, float, float]]) -> "Figure":
    """Draw (bytes, perplexity, standard error) of each file, all measured on the same tokens."""
    picture, ax = show.axes("What three values cost and save", "file (MB)", "perplexity")
    for colour, (name, (size, value, error)) in zip(COLOURS.values(), points.items(), strict=False):
        ax.errorbar(size / 1e6, value, error, fmt="o", color=colour, capsize=3, label=name)
    ax.set_xlim(left=0)
    ax.margins(y=0.2)
    ax.legend()
    return picture
