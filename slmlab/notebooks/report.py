"""The report: one page for all the labs that ran, and one for each executed notebook.

Every page stands alone: styles and pictures are inside it, and it fetches nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slmlab
from slmlab import show
from slmlab.files import whole
from slmlab.machine import this_machine
from slmlab.measurement.record import Measurement
from slmlab.notebooks.execution import noted
from slmlab.notebooks.run import LabRun

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Picture:
    """A picture of an executed notebook: base64 of its PNG, its text alternative, its heading."""

    png: str
    alt: str
    heading: str


@dataclass(frozen=True)
class Chapter:
    """What the report shows of one lab."""

    run: LabRun
    pictures: tuple[Picture, ...]
    measurements: tuple[Measurement, ...]


def write_report(runs: Sequence[LabRun], out: Path, profile: str) -> Path:
    """Write `index.html` and a page for each lab into the folder `out`; return the index."""
    chapters = []
    for run in runs:
        notebook = _read(run.notebook)
        chapters.append(Chapter(run, tuple(pictures(notebook)), tuple(measurements(notebook))))
        page = {"run": run, "execution": noted(notebook), "body": _body(notebook)}
        _write(out / f"{run.lab.name}.html", "lab", **page)
    index = out / "index.html"
    _write(index, "report", chapters=chapters, profile=profile)
    return index


def write_page(path: Path, template: str, package: str = "slmlab.notebooks", **values: Any) -> None:
    """Write a page from a template of a package, which may build on those of `notebooks`."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("slmlab.notebooks")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(f"{template}.html.j2").render(
        version=slmlab.__version__, now=datetime.now().astimezone(), **values
    )
    with whole(path) as aside:
        aside.write_text(page, "utf-8")


def pictures(notebook: "NotebookNode") -> Iterator[Picture]:
    """Yield the pictures of an executed notebook that were shown with `show.figure`."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            titles = [line for line in cell.source.splitlines() if line.startswith("#")]
            heading = titles[-1].lstrip("# ") if titles else heading
        for output in cell.get("outputs", ()):
            if png := output.get("data", {}).get("image/png"):
                yield Picture(png, output.metadata.get("image/png", {}).get("alt", ""), heading)


def measurements(notebook: "NotebookNode") -> Iterator[Measurement]:
    """Yield the numbers of an executed notebook that were shown with `show.measurements`."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for row in output.get("data", {}).get(show.MEASUREMENTS_MIME, ()):
                yield Measurement(**row)


def _read(path: Path) -> "NotebookNode":
    import nbformat

    return nbformat.read(path, as_version=4)


def _body(notebook: "NotebookNode") -> str:
    """Return the notebook as HTML, without a page around it."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_anchor_links=True,
        preprocessors=["nbconvert.preprocessors.CoalesceStreamsPreprocessor"],
    )
    notebook.metadata.pop("widgets", None)  # their scripts are not here; the plain view is
    return exporter.from_notebook_node(notebook)[0]


def _write(path: Path, template: str, **values: Any) -> None:
    write_page(
        path,
        template,
        **values,
        show=show,
        machine=this_machine(),
        highlighting=_highlighting(),
    )


def _highlighting() -> str:
    """Return the colours of code, for light pages and for dark ones."""
    from pygments.formatters import HtmlFormatter

    light, dark = (
        HtmlFormatter(style=style).get_style_defs(".highlight")
        for style in ("default", "github-dark")
    )
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"
