"""The pictures of lab 08: where a request's time goes, and what switching models costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from slmlab import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {
    "load": "loading the model",
    "read": "reading the prompt",
    "write": "writing the answer",
    "rest": "the rest, such as waiting for a turn",
}
"""What `deployment.ollama.seconds` divides a request's time into, in words."""


def durations(requests: Mapping[str, Mapping[str, float]], server: str) -> "Figure":
    """Return a bar for each request, divided into its `PARTS`, in seconds.

    `server` is what the title calls the server.
    """
    picture, ax = show.axes(
        f"Where a request's time goes ({server})",
        "seconds",
        height=1.6 + 0.5 * len(requests),
    )
    left = dict.fromkeys(requests, 0.0)
    for part, words in PARTS.items():
        widths = [times[part] for times in requests.values()]
        ax.barh(list(requests), widths, left=list(left.values()), label=words)
        left = {name: left[name] + times[part] for name, times in requests.items()}
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22 - 0.1 / len(requests)), ncols=2)
    return picture


def switching(
    models: Sequence[str], loads: Mapping[str, Sequence[float]], server: str, guess: object = ...
) -> "Figure":
    """Return a group of bars for each request in turn: its time to load, in milliseconds.

    `models` names the model that each request asked; `loads` has, for each way to run the server,
    the milliseconds of all requests. `guess` is the learner's, for one load.
    """
    picture, ax = show.axes(
        f"What switching models costs ({server})", "requests, one after another", "load, in ms"
    )
    width = 0.8 / len(loads)
    for place, (name, values) in enumerate(loads.items()):
        xs = [number + (place - (len(loads) - 1) / 2) * width for number in range(len(values))]
        ax.bar(xs, values, width, label=name)
    ax.set_xticks(range(len(models)), [f"{i}: {name}" for i, name in enumerate(models, 1)])
    ax.grid(False, axis="x")
    show.guess(ax, guess, "ms", "y")
    ax.legend()
    return picture
