"""The report shows everything the labs showed, on pages that need nothing else."""

import base64
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from slmlab import show
from slmlab.machine import this_machine
from slmlab.notebooks.execution import note, noted
from slmlab.notebooks.labs import Lab
from slmlab.notebooks.report import measurements, pictures, write_report
from slmlab.notebooks.run import LabRun

PNG = base64.b64encode(b"\x89PNG and so on").decode()
ALT = 'Size against "speed" & more'
ROW = {
    "subject": "Q4_0",
    "quantity": "perplexity",
    "value": 14.299,
    "unit": "",
    "how": "measured",
    "spread": 0.43,
    "conditions": {"chunks": 20},
    "machine": "an old laptop",
    "versions": {"llama-cpp-python": "0.3.36"},
    "date": "2026-11-22",
    "source": "",
}


class Page(HTMLParser):
    """The images, links and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.images, self.targets, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        self.targets += [attributes[name] for name in ("href", "src") if name in attributes]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def executed(tmp_path):
    picture = new_output(
        "display_data",
        {"image/png": PNG, "text/html": f'<img src="data:image/png;base64,{PNG}" alt="x">'},
        metadata={"image/png": {"alt": ALT}},
    )
    numbers = new_output(
        "display_data", {show.MEASUREMENTS_MIME: [ROW], "text/html": "<table></table>"}
    )
    cells = [
        new_markdown_cell("# Tiers\n\nWords."),
        new_markdown_cell("## Measure <it>\n\nMore."),
        new_code_cell("draw()", outputs=[picture]),
        new_code_cell("count()", outputs=[numbers]),
    ]
    path = tmp_path / "01_tiers.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def report(executed, tmp_path):
    lab = Lab(executed, "Tiers <of> models", {"quick": 1}, 60, 1, False)
    notebook = lab.notebook()
    note(notebook, lab, "quick")
    nbformat.write(notebook, executed)
    runs = [
        LabRun(lab, "passed", 12.34, "", executed),
        LabRun(lab, "failed", 5, "It failed in cell 'x': ValueError: <b>", executed),
    ]
    return write_report(runs, tmp_path / "report", "quick")


def test_what_a_notebook_showed_is_found_in_it(executed):
    notebook = nbformat.read(executed, as_version=4)
    [picture] = pictures(notebook)
    assert (picture.alt, picture.heading) == (ALT, "Measure <it>")
    assert base64.b64decode(picture.png).startswith(b"\x89PNG")
    [row] = measurements(notebook)
    assert (row.value, row.how, row.machine) == (14.299, "measured", "an old laptop")


def test_each_lab_is_there_with_its_verdict_and_seconds(report):
    text = Page(report.read_text("utf-8")).text
    assert "1 of 2 labs passed" in text
    for words in ("passed", "12.3", "failed", "5.0", "It failed in cell 'x': ValueError: <b>"):
        assert words in text
    assert str(this_machine()) in text


def test_each_picture_is_there_with_its_words(report):
    images = Page(report.read_text("utf-8")).images
    assert [image["alt"] for image in images] == [ALT, ALT]
    assert images[0]["src"] == f"data:image/png;base64,{PNG}"


def test_each_number_is_there_with_machine_versions_and_date(report):
    text = Page(report.read_text("utf-8")).text
    assert "14.30 ± 0.43" in text
    assert "measured, chunks 20" in text
    assert "Measured on an old laptop; llama-cpp-python 0.3.36; 2026-11-22." in text


def test_the_executed_notebook_has_a_page_of_its_own(report):
    assert "01_tiers.html" in Page(report.read_text("utf-8")).targets
    assert "draw()" in Page((report.parent / "01_tiers.html").read_text("utf-8")).text


def test_that_page_says_where_when_and_how_the_notebook_was_executed(report, executed):
    line = str(noted(nbformat.read(executed, as_version=4)))
    assert line in Page((report.parent / "01_tiers.html").read_text("utf-8")).text


@pytest.mark.parametrize("name", ["index.html", "01_tiers.html"])
def test_a_page_fetches_nothing(report, name):
    html = (report.parent / name).read_text("utf-8")
    assert "<script" not in html
    assert not re.search(r"@import|url\(", html)
    for target in Page(html).targets:
        assert target.startswith(("data:", "#")) or (report.parent / target).exists(), target
