"""The files that one model was quantised to: size, quality, speed, and what each of them writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from slmlab.errors import UsageError
from slmlab.machine import read_bandwidth
from slmlab.measurement.words import quantity
from slmlab.selection import pareto_front
from slmlab.show import COLOURS
from slmlab.show import quantization as pictures
from slmlab.show.widgets.panel import Panel, View, beside, dropdown, picture, sentence, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AGAINST = ("quality", "speed")


@dataclass(frozen=True)
class Form:
    """What was measured of one file: bytes, perplexity and tokens per second with their spreads.

    `text` is what it wrote; all forms got the same prompt.
    """

    bytes: int
    perplexity: float
    stderr: float
    tokens_per_second: float
    spread: float
    text: str


def quantization_explorer(forms: Mapping[str, Form], base: str = "F16") -> Panel:
    """Return a widget to select one of the measured forms and read it beside the base.

    Raises `UsageError` where there is no form.
    """
    if not forms:
        raise UsageError("There is no measured file to show; give at least one, by its type.")
    smallest = min(forms, key=lambda name: forms[name].bytes)
    chosen = dropdown("File", forms, smallest, "The file to read beside the base")
    against = dropdown("Picture", AGAINST, "quality", "What to draw the size against")
    panel = Panel("Quantisation explorer", [chosen, against])
    panel.follow([chosen, against], lambda *values: form_view(forms, *values, base))
    return panel


def form_view(
    forms: Mapping[str, Form], chosen: str, against: str = "quality", base: str = "F16"
) -> View:
    """Return the points of all forms with one marked, and its text beside the base's.

    `against` is "quality" or "speed". Raises `UsageError` for anything else, and for a form that
    was not measured.
    """
    if against not in AGAINST:
        raise UsageError(f"There is no picture of {against!r}; choose {' or '.join(AGAINST)}.")
    for name in (chosen, base):
        if name not in forms:
            others = f"choose {', '.join(forms)}" if forms else "measure it first"
            raise UsageError(f"{name!r} was not measured; {others}.")
    figure = _points(forms, base) if against == "quality" else _speeds(forms)
    _mark(figure, forms[chosen], against, chosen)
    drawn = picture(figure, f"Size against {against}; marked is {_in_words(chosen, forms[chosen])}")
    texts = {
        f"{chosen}, measured here": sentence(forms[chosen].text),
        f"{base}, the base": sentence(forms[base].text),
    }
    same = sentence(_comparison(forms[chosen].text, forms[base].text))
    return drawn + _table(forms) + beside(texts) + same


def _table(forms: Mapping[str, Form]) -> View:
    rows = [
        {
            "file": name,
            "size": quantity(form.bytes, "bytes"),
            "perplexity": quantity(form.perplexity, "", form.stderr),
            "tokens/s": quantity(form.tokens_per_second, "", form.spread),
            "how": "measured",
        }
        for name, form in forms.items()
    ]
    return table(pd.DataFrame(rows), "Measured size, perplexity and speed of each file")


def _points(forms: Mapping[str, Form], base: str) -> "Figure":
    points = {name: (form.bytes, form.perplexity, form.stderr) for name, form in forms.items()}
    rows = [
        {"type": name, "bytes": point[0], "perplexity": point[1]} for name, point in points.items()
    ]
    front = [row["type"] for row in pareto_front(rows, ["bytes", "perplexity"])]
    return pictures.quality_by_size(points, front, base)


def _speeds(forms: Mapping[str, Form]) -> "Figure":
    points = {
        name: (form.bytes, form.tokens_per_second, form.spread) for name, form in forms.items()
    }
    return pictures.speed_by_size(points, read_bandwidth())


def _mark(figure: "Figure", form: Form, against: str, name: str) -> None:
    [ax] = figure.axes
    height = form.perplexity if against == "quality" else form.tokens_per_second
    ring = {"markersize": 18, "fillstyle": "none", "linestyle": "", "color": COLOURS["vermilion"]}
    ax.plot(form.bytes / 1e6, height, "o", label=f"selected: {name}", **ring)
    ax.legend()


def _in_words(name: str, form: Form) -> str:
    return (
        f"{name}: {quantity(form.bytes, 'bytes')}, perplexity {form.perplexity:.2f}, "
        f"{form.tokens_per_second:.0f} tokens per second."
    )


def _comparison(text: str, base: str) -> str:
    words, others = text.split(), base.split()
    if words == others:
        return "Both wrote the same, word for word."
    pairs = enumerate(zip(words, others, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(words), len(others)))
    return f"They differ from word {same + 1} on."
