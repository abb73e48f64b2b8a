"""The pages that this course makes itself shut nobody out, in light and in dark."""

import json

import axe
import nbformat
import pytest
from nbformat.v4 import new_code_cell

from slmlab.deployment import browser
from slmlab.measurement import measured, recorded
from slmlab.notebooks.book import write_book
from slmlab.notebooks.labs import course, find_labs
from slmlab.quantization import quantize
from slmlab.selection import brief, decide
from slmlab.selection.dossier import Talk, write
from slmlab.selection.rules import Finding
from slmlab.workshop import merging

HOLDS = (True, False, None)  # each has a colour of its own

LAB = "00_start_here"
SHOWN = """
from slmlab import show
from slmlab.measurement import measured

picture, ax = show.axes("Speed", "round", "tokens per second")
ax.plot([1, 2], [180, 190])
show.figure(picture, "A line that rises from 180 to 190 tokens per second.")
show.measurements([measured("Q4_0", "decode speed", 185.0, "tokens/s", 5.0)])
print("It ends with a plain line.")
"""
BOOK_PAGES = ("index", f"labs/{LAB}", "glossary", "search")

pytestmark = pytest.mark.slow


@pytest.fixture
def chat_site(smollm2, tmp_path):
    with browser.Site([quantize(smollm2, ["Q4_0"])[0].path], {"threads": [1]}) as running:
        yield running


def test_the_chat_page_before_and_after_an_answer(page, chat_site):
    page.goto(chat_site.url)
    page.wait_for_selector("#load:focus")
    assert axe.violations_in_light_and_dark(page) == []
    page.keyboard.press("Enter")
    page.wait_for_selector("#asking:not([hidden])")
    page.keyboard.type("What is the capital of France?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".text:has-text('Paris')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".below")
    assert axe.violations_in_light_and_dark(page) == []


def test_the_dossier(page, tmp_path):
    rows = [
        measured("llama_cpp Q4_0", "file", 92e6, "bytes"),
        measured("llama_cpp Q4_0", "decode speed", 180.0, "tokens/s", 3.0, tokens=24),
        measured("llama_cpp Q4_0", "perplexity", 14.3, "", 0.4, chunks=2, context=256),
    ]
    findings = [Finding(f"Rule {holds}", holds, "14.3 > 11.7", "measured") for holds in HOLDS]
    path = write(
        decide(brief("phone")),
        rows,
        {"06_mlx": recorded("mlx")},
        findings,
        Talk("llama_cpp 1.0, a model", "What is a token?", "A piece of text."),
        {"tiers.q1": {"outcome": "correct"}},
        tmp_path / "dossier.html",
    )
    page.goto(path.as_uri())
    assert axe.violations_in_light_and_dark(page) == []


def test_the_page_of_a_room(page, tmp_path):
    """With everything that it can show: learners who are right, wrong and gone, and a bad file."""
    outcomes = {"ada": "correct", "ben": "incorrect"}
    for name, outcome in outcomes.items():
        answer = {"outcome": outcome, "attempts": 2, "last": "2026-11-22T09:05:00+00:00"}
        (tmp_path / f"{name}.json").write_text(json.dumps({"tiers.q1": answer}), "utf-8")
    (tmp_path / "cleo.json").write_text("{}", "utf-8")
    (tmp_path / "dan.json").write_text("damaged", "utf-8")
    room = merging.merge([str(tmp_path)], course())
    assert len(room.learners) == 3 and room.left_out and room.stopping()
    merging.write_page(room, tmp_path / "room.html")
    page.goto((tmp_path / "room.html").as_uri())
    assert axe.violations_in_light_and_dark(page) == []


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The book of the first lab's prose, with a cell that shows a picture, numbers and a line."""
    folder = tmp_path_factory.mktemp("book")
    [lab] = find_labs([LAB])
    notebook = lab.notebook()
    notebook.cells = [
        cell for cell in notebook.cells if cell.cell_type == "markdown" or cell.id == "parameters"
    ]
    notebook.cells.insert(-1, new_code_cell(SHOWN, id="shown"))
    nbformat.write(notebook, folder / lab.path.name)
    labs = find_labs([LAB], folder)
    return write_book(labs, folder / "report", folder / "site").parent


@pytest.mark.parametrize("name", BOOK_PAGES)
def test_the_book(page, book, name):
    page.goto((book / f"{name}.html").as_uri())
    assert axe.violations_in_light_and_dark(page) == []
