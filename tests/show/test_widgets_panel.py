"""What all widgets share: controls with labels, a view that follows them, a sentence on failure."""

import ipywidgets
import pandas as pd
import pytest

from slmlab import show
from slmlab.errors import UsageError
from slmlab.show.widgets.panel import (
    Panel,
    View,
    beside,
    dropdown,
    failure,
    number,
    picture,
    sentence,
    table,
)


@pytest.fixture
def panel():
    """A panel that shows twice the number in its one field."""
    field = number("Number", 2, 0, 10, "Any number")
    made = Panel("Twice", [field])
    made.field = field
    made.follow([field], lambda value: sentence(f"{2 * value}"))
    return made


def test_a_view_follows_its_control_without_a_browser(panel):
    assert panel.view.text == "4"
    panel.field.value = 5
    assert panel.view == View("<p>10</p>", "10")


def test_a_notebook_without_a_kernel_keeps_the_view(panel):
    saved = panel._repr_mimebundle_()
    assert saved["text/html"] == "<p>4</p>"
    assert saved["text/plain"] == "4"
    assert "application/vnd.jupyter.widget-view+json" in saved


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (UsageError("Take a smaller one."), "Take a smaller one."),
        (KeyError("x"), "This did not work (KeyError: 'x')."),
    ],
)
def test_a_failure_is_one_sentence_within_the_widget(panel, problem, said):
    def fail() -> View:
        raise problem

    panel.draw(fail)
    assert panel.view.text == said
    assert 'role="alert"' in panel.view.html
    assert "Traceback" not in panel.view.html
    panel.field.value = 3
    assert panel.view.text == "6"


def test_closing_takes_every_control_along(panel):
    inside = [panel, *panel.children, panel.field]
    panel.close()
    assert all(widget.comm is None for widget in inside)


def test_every_control_has_a_label_that_is_never_cut_off_and_can_shrink():
    for control in (dropdown("Tier", ["a"], "a", "Why"), number("Size", 1.0, 0, 2, "Why")):
        assert control.description and control.tooltip == "Why"
        assert control.style.description_width == "initial"
        assert control.layout.width == "auto"
        assert control.layout.max_width == "100%"


def test_a_whole_number_gets_a_field_for_whole_numbers():
    assert isinstance(number("n", 1, 0, 2, ""), ipywidgets.BoundedIntText)
    assert isinstance(number("n", 1.0, 0, 2, ""), ipywidgets.BoundedFloatText)


def test_a_picture_in_a_widget_has_its_words():
    figure, _ = show.axes("Speed")
    view = picture(figure, 'It "falls".')
    assert 'alt="It &quot;falls&quot;."' in view.html
    assert view.text == '[picture: It "falls".]'
    with pytest.raises(ValueError, match="text alternative"):
        picture(figure, " ")


def test_a_wide_table_scrolls_by_itself_and_with_the_keyboard():
    view = table(pd.DataFrame([{"type": "Q4_0"}]), "Sizes")
    assert 'tabindex="0"' in view.html and 'aria-label="Sizes"' in view.html
    assert "overflow-x: auto" in view.html
    assert "Q4_0" in view.text


def test_columns_wrap_and_no_width_is_fixed():
    view = beside({"A": sentence("one"), "B": sentence("two")})
    assert "flex-wrap: wrap" in view.html
    assert "px" not in view.html.replace("0px", "")
    assert view.text == "A:\none\nB:\ntwo"


def test_markup_in_a_text_is_only_text():
    for view in (sentence("<b>"), failure(UsageError("<b>")), beside({"<b>": sentence("")})):
        assert "<b>" not in view.html
