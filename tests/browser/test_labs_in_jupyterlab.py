"""A lab in JupyterLab in a real browser, from the first cell to the last, as a learner does it.

By default that is lab 00; with `--all-labs`, every lab. Pictures go to `build/browser/`.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import axe
import nbformat
import pytest
from nbformat import NotebookNode
from visitor import THEMES, Jupyter, Notebook, jupyterlab

from slmlab.lessons import questions
from slmlab.lessons.question import Question
from slmlab.notebooks.execution import note
from slmlab.notebooks.labs import Lab, has_tag
from slmlab.notebooks.report import write_report
from slmlab.notebooks.run import LabRun

OURS = (".jp-OutputArea-output", ".jp-RenderedMarkdown")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Visit:
    """What a visit of a lab has shown.

    `verdicts` are those on the untouched, the wrong and the right answer to the first question;
    `widgets` has what each widget showed before and after its use, by the cell's id; violations of
    accessibility are by theme.
    """

    run: LabRun
    question: Question
    verdicts: tuple[str, str, str]
    notebook: NotebookNode
    widgets: dict[str, tuple[str, str]]
    console: tuple[str, ...]
    pictures: tuple[str | None, ...]
    violations: dict[str, list[str]]
    photographs: dict[str, int]


@pytest.fixture(scope="module")
def jupyter(real_browser, tmp_path_factory) -> Iterator[Jupyter]:
    with jupyterlab(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


@pytest.fixture(scope="module")
def visit(request, real_browser, jupyter) -> Visit:
    """Go through a lab once; every test here looks at what came of it."""
    page = real_browser.new_page(viewport={"width": 1280, "height": 1400})
    notebook = Notebook(page, jupyter, request.param)
    try:
        return go_through(notebook, request.param)
    except BaseException:
        notebook.photograph(f"{request.param.name}-failed")
        raise
    finally:
        notebook.close()


def go_through(notebook: Notebook, lab: Lab) -> Visit:
    question = questions(lab.unit)[0]
    started = time.monotonic()
    verdicts = run_every_cell(notebook, lab, question)
    run = LabRun(lab, "passed", time.monotonic() - started, "", notebook.path)
    saved = notebook.save()
    widgets = use_every_widget(notebook, lab)
    violations, photographs = {}, {}
    for theme in THEMES:
        notebook.show_in(theme)
        violations[theme] = axe.violations(notebook.page, OURS)
        photographs[theme] = notebook.photograph(f"{lab.name}-{theme}")
    images = notebook.page.locator(", ".join(f"{place} img" for place in OURS))
    pictures = images.evaluate_all("all => all.map(it => it.getAttribute('alt'))")
    console = tuple(notebook.console)
    return Visit(
        run,
        question,
        verdicts,
        saved,
        widgets,
        console,
        tuple(pictures),
        violations,
        photographs,
    )


def run_every_cell(notebook: Notebook, lab: Lab, question: Question) -> tuple[str, str, str]:
    """Run a lab with Shift+Enter; when the first question comes, answer it wrongly, then rightly.

    Return what the check has said each time.
    """
    cells = lab.notebook().cells
    answer = next(i for i, it in enumerate(cells) if has_tag(it, question.name))
    verdicts = []
    for index, cell in enumerate(cells):
        notebook.run(index)
        if cell.source.endswith(question.check_line):
            verdicts.append(notebook.shown(index))
            for code in (question.wrong_answers[0].code, question.solution_code):
                notebook.answer(answer, code)
                verdicts.append(notebook.again(index))
    return tuple(verdicts)


def use_every_widget(notebook: Notebook, lab: Lab) -> dict[str, tuple[str, str]]:
    return {
        cell.id: notebook.use_widget(index)
        for index, cell in enumerate(lab.notebook().cells)
        if cell.source.rpartition("\n")[2].startswith("widgets.")
    }


def test_every_cell_ran_to_its_end_and_none_failed(visit):
    for cell in (it for it in visit.notebook.cells if it.cell_type == "code" and it.source):
        assert cell.execution_count, f"{cell.id} did not run"
        errors = [it.evalue for it in cell.outputs if it.output_type == "error"]
        assert errors == [], cell.id


def test_an_answer_is_judged_as_it_deserves(visit):
    title = visit.question.title
    untouched, wrong, right = visit.verdicts
    assert f"{title}: not attempted" in untouched
    assert f"{title}: incorrect" in wrong
    assert visit.question.wrong_answers[0].message in wrong
    assert f"{title}: correct" in right


def test_each_widget_follows_its_controls(visit):
    for cell, (before, after) in visit.widgets.items():
        assert after != before, cell
        assert 'role="alert"' not in after, cell


def test_the_browser_has_no_error_to_report(visit):
    assert visit.console == ()


@pytest.mark.parametrize("theme", THEMES)
def test_nothing_of_ours_shuts_anybody_out(visit, theme):
    assert visit.violations[theme] == []


def test_neither_does_the_report(visit, page, tmp_path):
    note(visit.notebook, visit.run.lab, "quick")
    nbformat.write(visit.notebook, visit.run.notebook)
    index = write_report([visit.run], tmp_path, "quick")
    for report in (index, index.with_name(f"{visit.run.lab.name}.html")):
        page.goto(report.as_uri())
        assert axe.violations_in_light_and_dark(page) == []


def test_every_picture_has_words_for_who_cannot_see_it(visit):
    for words in visit.pictures:
        assert words and len(words.split()) > 3, words


@pytest.mark.parametrize("theme", THEMES)
def test_the_whole_lab_was_photographed(visit, theme):
    assert visit.photographs[theme] > 1
