"""The picture of lab 10: what a longer conversation costs before its first word."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from slmlab.deployment.foundry_local import Turn


def turns(ways: Mapping[str, Sequence["Turn"]], guess: Any = ...) -> "Figure":
    """Draw the CPU's work before the first token against the conversation's length, by turn.

    `ways` are the turns by the way they were asked; `guess`, in milliseconds, is the last turn of
    an open session.
    """
    picture, ax = show.axes(
        "Work before the first word of each answer",
        "tokens in the conversation so far",
        "CPU time (ms)",
    )
    for marker, (way, asked) in zip("osv^", ways.items(), strict=False):
        lengths = [turn.prompt_tokens for turn in asked]
        ax.plot(lengths, [milliseconds(turn) for turn in asked], marker=marker, label=way)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend()
    show.guess(ax, guess, "ms", axis="y")
    return picture


def milliseconds(turn: "Turn") -> float:
    """Return the CPU's work before the first token of a turn."""
    return 1000 * turn.cpu_seconds_to_first_token
