"""What every widget is made of: controls, and below them a view that follows them.

The plain call beside each widget returns the same view. It is also what a widget leaves in a saved
notebook, for a page where no kernel runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets

from slmlab import show
from slmlab.errors import SlmlabError, first_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

MOST_TOKENS = 1_048_576
"""The longest context that a field takes."""

_ROW = {"flex_flow": "row wrap", "align_items": "flex-end", "grid_gap": "4px 16px"}


@dataclass(frozen=True)
class View:
    """Something to see, as HTML and as plain text; a notebook shows it like any value."""

    html: str
    text: str

    def __add__(self, other: "View") -> "View":
        return View(self.html + other.html, f"{self.text}\n{other.text}")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}


class Panel(ipywidgets.VBox):
    """A title, controls in rows that wrap, and a view."""

    def __init__(self, title: str, controls: Sequence[ipywidgets.Widget]) -> None:
        self.view = View("", "")
        self._shown = ipywidgets.HTML()
        self._shown.add_class("jp-RenderedHTMLCommon")  # tables and pictures as in any output
        self._row = ipywidgets.Box(controls, layout=_ROW)
        heading = ipywidgets.HTML(f"<strong>{escape(title)}</strong>")
        super().__init__([heading, self._row, self._shown])

    def show(self, view: View) -> None:
        """Replace what is seen below the controls."""
        self.view = view
        self._shown.value = view.html

    def draw(self, make: Callable[..., View], *values: Any) -> None:
        """Show what `make` returns for these values, or one sentence where it fails."""
        try:
            self.show(make(*values))
        except Exception as problem:
            self.show(failure(problem))

    def follow(self, controls: Sequence[ipywidgets.Widget], make: Callable[..., View]) -> None:
        """Show what `make` returns for the controls' values, now and after each change."""

        def redraw(_change: Any = None) -> None:
            self.draw(make, *(control.value for control in controls))

        for control in controls:
            control.observe(redraw, "value")
        redraw()

    def close(self) -> None:
        """Take the widget with all its controls off the page."""
        for widget in (*self._row.children, *self.children):
            widget.close()
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(**kwargs) | self.view._repr_mimebundle_()


def dropdown(label: str, options: Iterable[Any], value: Any, tooltip: str) -> ipywidgets.Dropdown:
    """Return a labelled list to choose from; an option may be a (text, value) pair."""
    return ipywidgets.Dropdown(options=list(options), value=value, **named(label, tooltip))


def number(
    label: str, value: float, least: float, most: float, tooltip: str
) -> ipywidgets.BoundedFloatText | ipywidgets.BoundedIntText:
    """Return a labelled field for a number between two limits, whole where `value` is whole."""
    field = ipywidgets.BoundedIntText if isinstance(value, int) else ipywidgets.BoundedFloatText
    return field(value=value, min=least, max=most, **named(label, tooltip))


def button(label: str, tooltip: str, **options: Any) -> ipywidgets.Button:
    """Return a button that is as wide as its label."""
    layout = {"width": "auto", "max_width": "100%"}
    return ipywidgets.Button(description=label, tooltip=tooltip, layout=layout, **options)


def named(label: str, tooltip: str) -> dict[str, Any]:
    """Return what gives a control a label that is never cut off, and lets it shrink."""
    return {
        "description": label,
        "tooltip": tooltip,
        "style": {"description_width": "initial"},
        "layout": {"width": "auto", "max_width": "100%"},
    }


def sentence(text: str) -> View:
    """Return a paragraph."""
    return View(f"<p>{escape(text)}</p>", text)


def sentences(texts: Sequence[str]) -> View:
    """Return a list with a text in each line."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return View(f"<ul>{items}</ul>", "\n".join(f"- {text}" for text in texts))


def failure(problem: Exception) -> View:
    """Return one sentence that says what went wrong."""
    said = first_line(problem)
    if not isinstance(problem, SlmlabError):
        said = f"This did not work ({type(problem).__name__}: {said})."
    return View(f'<p role="alert">{escape(said)}</p>', said)


def picture(figure: "Figure", alt: str) -> View:
    """Return a matplotlib figure with its text alternative."""
    image = show.as_image(show.as_png(figure), alt)
    return View(f"<div>{image}</div>", f"[picture: {alt}]")


def table(frame: "DataFrame", label: str) -> View:
    """Return a table; where the page is too narrow for it, it scrolls by itself."""
    text = frame.to_string(index=False)
    return View(scrolling(show.as_html(frame), label), text)


def scrolling(html: str, label: str) -> str:
    """Return HTML that scrolls sideways where it must, with the keyboard too."""
    return (
        f'<div role="group" tabindex="0" aria-label="{escape(label)}" '
        f'style="overflow-x: auto; width: fit-content; max-width: 100%">{html}</div>'
    )


def beside(columns: Mapping[str, View]) -> View:
    """Return titled views side by side, or below each other where the page is narrow."""
    html = "".join(
        f'<div style="flex: 1 1 16em; min-width: 0; overflow-wrap: anywhere">'
        f"<p><strong>{escape(title)}</strong></p>{view.html}</div>"
        for title, view in columns.items()
    )
    text = "\n".join(f"{title}:\n{view.text}" for title, view in columns.items())
    return View(f'<div style="display: flex; flex-wrap: wrap; gap: 0 2em">{html}</div>', text)
