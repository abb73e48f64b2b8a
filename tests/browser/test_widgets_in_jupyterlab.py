"""Each widget in JupyterLab in a real browser, with the keyboard alone."""

import re

import axe
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import expect
from visitor import THEMES, Notebook, jupyterlab

from slmlab import tiers
from slmlab.measurement.words import quantity
from slmlab.notebooks.labs import Lab
from slmlab.show import widgets

MODEL = "smollm2-135m-instruct"
PATIENCE = 60_000  # milliseconds
CONTROL = ":is(input, select, textarea, button)"
FITS = "it => it.getBoundingClientRect().right <= innerWidth"
MOST_TABS = 15  # from a cell through the widget with the most controls
IMPORTS = """
from slmlab import selection
from slmlab.acquisition import fetch
from slmlab.lessons import progress
from slmlab.show import widgets
Form = widgets.Form
"""
CELLS = {
    "tiers": "widgets.tier_explorer()",
    "costs": "widgets.calculator()",
    "progress": 'widgets.course_progress({"tiers": ["tiers.q1", "tiers.q2"]}, progress.read)',
    "quantization": """widgets.quantization_explorer({
        "Q4_0": Form(92_000_000, 14.3, 0.5, 180.0, 3.0, "A small fox."),
        "Q8_0": Form(145_000_000, 11.7, 0.4, 135.0, 2.0, "A small red fox."),
        "F16": Form(271_000_000, 11.6, 0.4, 117.0, 2.0, "A small red fox.")})""",
    "chooser": "widgets.chooser(selection.briefs())",
    "chat": f"""widgets.chat({{"one": fetch("{MODEL}").path, "two": fetch("{MODEL}").path}},
                             max_tokens=1500)""",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def notebook(real_browser, smollm2, tmp_path_factory):
    """Every widget in a notebook of its own making, each shown by one cell."""
    home = tmp_path_factory.mktemp("widgets")
    path = home / "90_widgets.ipynb"
    cells = [new_markdown_cell("# Widgets"), new_code_cell(IMPORTS)]
    cells += [*map(new_code_cell, CELLS.values()), new_markdown_cell("That is all.")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    lab = Lab(path, "Widgets", {"quick": 1}, 600, 1, needs_model=True)
    page = real_browser.new_page(viewport={"width": 1280, "height": 1400})
    with jupyterlab(home) as jupyter:
        opened = Notebook(page, jupyter, lab)
        for index in range(len(cells) - 1):
            opened.run(index)
        yield opened
        opened.close()


@pytest.fixture
def widget(notebook, request):
    """The output with the widget that a test is named after."""
    name = request.node.originalname.removeprefix("test_").partition("_")[0]
    output = cell_of(notebook, name).locator(".jp-OutputArea-output")
    expect(output.locator(".widget-vbox").first).to_be_visible(timeout=PATIENCE)
    return output


def cell_of(notebook, name):
    return notebook.cell(2 + list(CELLS).index(name))


def reach(widget, label):
    control = widget.get_by_label(label, exact=True)
    control.focus()
    expect(control).to_be_focused()
    return control


def take_next(widget, label):
    """Take the next entry of a list: closed, it leaves the arrow keys to JupyterLab's cells."""
    reach(widget, label)
    for key in ("Space", "ArrowDown", "Enter"):
        widget.page.keyboard.press(key)


def write(widget, label, text):
    control = reach(widget, label)
    control.press("Control+a")
    widget.page.keyboard.type(text)
    control.press("Tab")


def press(widget, label):
    control = widget.get_by_role("button", name=label, exact=True)
    control.focus()
    control.press("Enter")


def shows(widget, text):
    expect(widget).to_contain_text(text, timeout=PATIENCE)


def test_tiers_are_explored(widget):
    take_next(widget, "Tier")
    shows(widget, widgets.tier_view("micro").text.splitlines()[0])


def test_costs_follow_the_context(widget):
    write(widget, "Context, tokens", "8192")
    shows(widget, quantity(tiers.kv_cache_bytes(tiers.card(MODEL).architecture, 8192), "bytes"))


def test_progress_is_read_again_and_shown_for_one_lab(widget):
    press(widget, "Read again")
    shows(widget, "0 of 2 questions")
    take_next(widget, "Lab")
    shows(widget, "not attempted")


def test_quantization_is_compared_with_its_base(widget):
    shows(widget, "Q4_0, measured here")
    take_next(widget, "File")
    shows(widget, "Q8_0, measured here")
    shows(widget, "Both wrote the same")


def test_chooser_decides_again(widget):
    write(widget, "Memory, GB", "0.05")
    press(widget, "Choose again")
    shows(widget, re.compile(r"0 of \d+ candidates meet"))


def test_chat_answers_and_can_be_stopped(widget):
    write(widget, "Message", "Tell me a long story about a fox.")
    press(widget, "Ask both")
    shows(widget, "tokens/s")
    press(widget, "Stop")
    shows(widget, "stopped, ")
    expect(widget.get_by_role("button", name="Ask both")).to_be_enabled(timeout=PATIENCE)


@pytest.mark.parametrize("name", CELLS)
def test_tab_goes_through_every_control_in_order(notebook, name):
    cell = cell_of(notebook, name)
    controls = cell.locator(f".jp-OutputArea-output {CONTROL}:enabled")
    assert controls.count() > 1
    cell.focus()
    focused = []
    for _ in range(MOST_TABS):
        notebook.page.keyboard.press("Tab")
        focused.append(controls.evaluate_all("all => all.indexOf(document.activeElement)"))
    assert [place for place in focused if place >= 0] == list(range(controls.count()))


@pytest.mark.parametrize("theme", THEMES)
def test_no_widget_shuts_anybody_out(notebook, theme):
    notebook.show_in(theme)
    assert axe.violations(notebook.page, (".jp-OutputArea-output",)) == []
    assert notebook.photograph(f"widgets-{theme}") > 1


def test_at_200_percent_no_control_is_cut_off(notebook):
    notebook.page.set_viewport_size({"width": 640, "height": 700})
    for control in notebook.page.locator(f".jp-OutputArea-output {CONTROL}").all():
        assert control.evaluate(FITS)


def test_at_200_percent_pictures_fit_and_tables_fit_or_scroll(notebook):
    notebook.page.set_viewport_size({"width": 640, "height": 700})
    views = notebook.page.locator(".widget-vbox > .jp-RenderedHTMLCommon")
    pictures, tables = views.locator("img").all(), views.locator("table").all()
    assert pictures and tables
    for picture in pictures:
        assert picture.evaluate(FITS)
    for table in tables:
        frame = table.locator("xpath=ancestor::*[@role='group'][1]")
        assert frame.evaluate(FITS)
        assert frame.evaluate("it => getComputedStyle(it).overflowX") == "auto"


def test_the_browser_has_no_error_to_report(notebook):
    assert notebook.console == []
