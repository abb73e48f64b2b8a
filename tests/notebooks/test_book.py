"""The course as a site: every page, every term and every picture, and nothing fetched."""

import base64
import re
import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from slmlab import show
from slmlab.errors import LabError, UsageError
from slmlab.machine import this_machine
from slmlab.notebooks import book, glossary
from slmlab.notebooks.execution import note, noted
from slmlab.notebooks.labs import all_labs
from slmlab.notebooks.pages import faults
from slmlab.notebooks.run import LabRun, execute

REPOSITORY = "https://github.com/example/slmlab"
WORDS = "A curve that falls"
PNG = base64.b64encode(b"\x89PNG and so on").decode()
ROW = {
    "subject": "Q4_0",
    "quantity": "perplexity",
    "value": 14.299,
    "unit": "",
    "how": "measured",
    "spread": None,
    "conditions": {},
    "machine": "an old laptop",
    "versions": {"llama-cpp-python": "0.3.36"},
    "date": "2026-11-22",
    "source": "",
}
PICTURE = new_output(
    "display_data",
    {"image/png": PNG, "text/html": f'<img src="data:image/png;base64,{PNG}" alt="{WORDS}">'},
)
BARE_PICTURE = new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})
NUMBERS = new_output(
    "display_data",
    {show.MEASUREMENTS_MIME: [ROW], "text/html": "<table><tr><td>14.30</td></tr></table>"},
)
WIDGET = new_output(
    "display_data",
    {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
        "text/plain": "VBox(children=())",
    },
)
OWN_WIDGET = new_output("display_data", WIDGET.data | {"text/html": "<p>28 models</p>"})
SAID = new_output("stream", name="stdout", text="It ends with a plain line.\n")


def shown(cell):
    return [sorted(output.get("data", ["text"])) for output in cell.outputs]


def write_executed(folder):
    """Write the course's labs as if they had been executed; only the first has outputs."""
    folder.mkdir()
    for lab in all_labs():
        notebook = lab.notebook()
        note(notebook, lab, "standard" if lab.unit == "tiers" else "quick")
        notebook.metadata["papermill"] = {"duration": 12.3}
        if lab.unit == "start_here":
            notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
            outputs = [PICTURE, NUMBERS, WIDGET, OWN_WIDGET, SAID]
            notebook.cells.append(new_code_cell("draw()", outputs=outputs, id="draw"))
        nbformat.write(notebook, folder / lab.path.name)
    return folder


VERDICTS = {"1 / 0": "failed", "vllm()": "not possible here"}
"""What comes of a lab whose last cell is this one."""


@pytest.fixture
def executed(tmp_path):
    return write_executed(tmp_path / "report")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of the whole course, made once."""
    folder = tmp_path_factory.mktemp("book")
    executed = all_labs(write_executed(folder / "report"))
    return book.build(executed, folder / "site", REPOSITORY).parent


@pytest.fixture
def source(executed, tmp_path):
    """What Jupyter Book would read of the first two labs."""
    book.write_source(all_labs(executed)[:2], tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def first_lab(site):
    return (site / "labs" / "00_start_here.html").read_text("utf-8")


@pytest.fixture
def small(tmp_path, lab, monkeypatch):
    """Give a course of one tiny lab, a report, a site, and the labs that are executed meanwhile."""
    tiny, ran = lab("1 + 1"), []

    def run(labs, report):
        done = []
        for one in labs:
            verdict = VERDICTS.get(one.notebook().cells[-1].source, "passed")
            path = shutil.copy(one.path, report / one.path.name)
            done.append(LabRun(one, verdict, 1, "the reason", path))
        ran.extend(one.name for one in labs)
        return done

    (tmp_path / "report").mkdir()
    monkeypatch.setattr(book, "run", run)
    monkeypatch.setattr(book, "build", lambda labs, out, repository: [one.name for one in labs])
    return tiny, tmp_path / "report", tmp_path / "site", ran


def test_what_a_page_cannot_show_is_left_out(executed):
    notebook = nbformat.read(executed / "00_start_here.ipynb", as_version=4)
    page = book.for_reading(notebook)
    assert shown(page.cells[-1]) == [
        ["image/png", "text/html"],
        ["text/html"],
        ["text/html", "text/plain"],
        ["text"],
    ]
    assert set(page.metadata) & {"widgets", "papermill"} == set()


def test_a_lab_that_is_not_there_is_executed(small):
    tiny, report, site, ran = small
    assert book.write_book([tiny], report, site) == ["07_tiny"]
    assert ran == ["07_tiny"]


def test_a_lab_that_was_executed_as_it_is_now_is_not_executed_again(small):
    tiny, report, site, ran = small
    execute(tiny, tiny.notebook(), report / tiny.path.name)
    book.write_book([tiny], report, site)
    assert ran == []


def test_a_lab_that_has_changed_is_executed_again(small, lab):
    tiny, report, site, ran = small
    execute(tiny, tiny.notebook(), report / tiny.path.name)
    book.write_book([lab("1 + 2")], report, site)
    assert ran == ["07_tiny"]


def test_a_lab_whose_execution_broke_off_is_executed_again(small):
    tiny, report, site, ran = small
    shutil.copy(tiny.path, report)
    book.write_book([tiny], report, site)
    assert ran == ["07_tiny"]


def test_a_lab_that_does_not_say_where_it_was_executed_is_executed_again(small):
    tiny, report, site, ran = small
    done = execute(tiny, tiny.notebook(), report / tiny.path.name)
    notebook = nbformat.read(done.notebook, as_version=4)
    del notebook.metadata["slmlab_execution"]
    nbformat.write(notebook, done.notebook)
    book.write_book([tiny], report, site)
    assert ran == ["07_tiny"]


@pytest.mark.parametrize(("last_cell", "verdict"), VERDICTS.items())
def test_a_lab_that_did_not_end_makes_no_book(small, lab, last_cell, verdict):
    _, report, site, _ = small
    with pytest.raises(LabError, match=rf"07_tiny did not pass \({verdict}\): the reason"):
        book.write_book([lab(last_cell)], report, site)
    assert not site.exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(UsageError, match="holds something else than a site; name another folder"):
        book.write_book([], tmp_path, tmp_path)


def test_a_repository_is_an_address(tmp_path):
    with pytest.raises(UsageError, match="give its address, with https://"):
        book.write_book([], tmp_path, tmp_path / "site", "OWNER/slmlab")


def test_every_lab_has_its_place_in_the_contents():
    contents = (book.BOOK / "_toc.yml").read_text("utf-8")
    named = re.findall(r"file: labs/(\w+)", contents)
    assert named == [lab.name for lab in all_labs()]


def test_labs_that_are_not_there_are_not_in_the_contents(source):
    contents = (source / "_toc.yml").read_text("utf-8")
    assert re.findall(r"file: labs/(\w+)", contents) == ["00_start_here", "01_tiers"]
    assert "caption: Frameworks" not in contents


def test_a_lab_says_below_its_title_where_when_and_how_it_was_executed(executed, source):
    for lab in all_labs(executed)[:2]:
        page = nbformat.read(source / "labs" / lab.path.name, as_version=4)
        title, _, line, blank, *_ = page.cells[0].source.splitlines()
        assert (title[:2], line, blank) == ("# ", str(noted(lab.notebook())), "")


def test_the_front_page_says_of_each_lab_where_when_and_how_it_was_executed(executed, source):
    rows = (source / "executed.md").read_text("utf-8").splitlines()[2:]
    for lab, row in zip(all_labs(executed)[:2], rows, strict=True):
        done = noted(lab.notebook())
        for words in (lab.title, done.date, done.profile, done.machine, "12.30"):
            assert words in row


@pytest.mark.slow
def test_a_picture_that_was_shown_without_words_makes_no_book(executed, tmp_path, capsys):
    bare = all_labs(executed)[0]
    notebook = bare.notebook()
    notebook.cells[-1].outputs.append(BARE_PICTURE)
    nbformat.write(notebook, bare.path)
    with pytest.raises(LabError, match="The book was not built: mend what is printed above"):
        book.build([bare], tmp_path / "site")
    assert "do not say what a picture shows" in capsys.readouterr().err


@pytest.mark.slow
def test_a_warning_is_an_error_and_is_shown(executed, tmp_path, capsys):
    broken = all_labs(executed)[0]
    notebook = broken.notebook()
    notebook.cells.append(new_markdown_cell("See [this](nowhere.md).", id="broken"))
    nbformat.write(notebook, broken.path)
    with pytest.raises(LabError, match="The book was not built: mend what is printed above"):
        book.build([broken], tmp_path / "site")
    assert "nowhere.md" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


@pytest.mark.slow
def test_the_site_has_no_faults(site):
    assert faults(site) == []


@pytest.mark.slow
def test_every_lab_has_a_page(site):
    pages = {path.stem for path in (site / "labs").glob("*.html")}
    assert pages == {lab.name for lab in all_labs()}


@pytest.mark.slow
def test_every_term_is_linked_from_a_lab(site):
    pages = [path.read_text("utf-8") for path in (site / "labs").glob("*.html")]
    linked = {
        anchor
        for page in pages
        for anchor in re.findall(r'href="\.\./glossary\.html#(term-[^"]+)"', page)
    }
    entries = re.findall(r"<dd>", (site / "glossary.html").read_text("utf-8"))
    terms = glossary.terms((book.BOOK / "glossary.md").read_text("utf-8"))
    assert len(linked) == len(entries) == len(set(terms.values()))


@pytest.mark.slow
def test_a_term_says_which_lab_uses_it_first(site):
    text = (site / "glossary.html").read_text("utf-8")
    assert text.count("First needed in") == text.count("<dd>")


@pytest.mark.slow
def test_a_page_shows_what_the_lab_showed(first_lab):
    for words in (f'alt="{WORDS}"', "<td>14.30</td>", "It ends with a plain line."):
        assert words in first_lab
    assert "VBox(" not in first_lab


@pytest.mark.slow
def test_the_front_page_lists_the_labs_that_were_executed(site):
    text = (site / "index.html").read_text("utf-8")
    assert len(re.findall(r"<td>(?:<p>)?standard(?:</p>)?</td>", text)) == 1
    assert this_machine().fingerprint in text


@pytest.mark.slow
def test_a_lab_can_be_launched_where_the_repository_is_known(first_lab):
    launch = "https://mybinder.org/v2/gh/example/slmlab/HEAD?urlpath=lab/tree/labs/"
    assert f"{launch}00_start_here.ipynb" in first_lab


def test_nothing_is_launched_where_the_repository_is_not_known(source):
    assert "binderhub_url" not in (source / "_config.yml").read_text("utf-8")


@pytest.mark.slow
def test_the_course_can_be_searched(site, first_lab):
    assert 'action="../search.html"' in first_lab
    assert "labs/00_start_here" in (site / "searchindex.js").read_text("utf-8")


@pytest.mark.slow
def test_a_reader_chooses_between_light_and_dark(first_lab):
    assert "theme-switch" in first_lab


@pytest.mark.slow
def test_a_site_names_no_folder_of_ours(site):
    for page in site.rglob("*.html"):
        assert str(book.BOOK.parents[1]) not in page.read_text("utf-8"), page
