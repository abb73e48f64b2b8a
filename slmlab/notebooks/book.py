"""The course as a site: the executed labs with contents, search and a glossary, by Jupyter Book.

The pages are made of `docs/book/` and of executed notebooks. They fetch nothing, so the site can
be read from a folder and without a network.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from slmlab import environments
from slmlab.environments.guarded import finish
from slmlab.errors import LabError, UsageError
from slmlab.files import data_path, whole_folder
from slmlab.measurement.words import quantity
from slmlab.notebooks import glossary
from slmlab.notebooks.execution import Execution, noted
from slmlab.notebooks.labs import Lab, all_labs, has_tag
from slmlab.notebooks.pages import faults
from slmlab.notebooks.run import run
from slmlab.show import MEASUREMENTS_MIME

if TYPE_CHECKING:
    from nbformat import NotebookNode

BOOK = Path(__file__).parents[2] / "docs" / "book"

_BINDER = "https://mybinder.org"
_DATA = ("bitnet", "snapshots", "texts")
_WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def write_book(labs: Sequence[Lab], report: Path, out: Path, repository: str = "") -> Path:
    """Build the site of labs that were executed into the folder `report`; return its front page.

    A lab that is not there, or has changed since, is executed first. Raises `LabError` where a lab
    fails, and what `build` raises.
    """
    _check(out, repository)
    for done in run([lab for lab in labs if not is_current(lab, report)], report):
        if done.verdict != "passed":
            raise LabError(f"{done.lab.name} did not pass ({done.verdict}): {done.message}")
    names = {lab.name for lab in labs}
    return build([lab for lab in all_labs(report) if lab.name in names], out, repository)


def is_current(lab: Lab, report: Path) -> bool:
    """Whether the folder `report` holds this very lab, executed to its end, and says where."""
    import nbformat

    path = report / lab.path.name
    if not path.exists():
        return False
    executed = nbformat.read(path, as_version=4)
    cells = [cell for cell in executed.cells if not has_tag(cell, "injected-parameters")]
    codes = [cell for cell in cells if cell.cell_type == "code"]
    same = [cell.source for cell in cells] == [cell.source for cell in lab.notebook().cells]
    return same and all(cell.execution_count for cell in codes) and noted(executed) is not None


def build(executed: Sequence[Lab], out: Path, repository: str = "") -> Path:
    """Build the site of executed labs into the folder `out`; return its front page.

    With `repository`, the address of this course at a place that Binder knows, each lab can be
    launched from its page. Raises `UsageError` where `out` holds something else than a site, and
    `LabError` where Jupyter Book warns or a page has a fault; each is printed.
    """
    _check(out, repository)
    with tempfile.TemporaryDirectory(prefix="slmlab-book-") as scratch:
        source = Path(scratch, "source")
        write_source(executed, source, repository)
        site = _jupyter_book(source, Path(scratch, "built"))
        found = faults(site)
        if found:
            raise _not_built(found)
        with whole_folder(out) as aside:
            shutil.copytree(site, aside)
            shutil.rmtree(out, ignore_errors=True)
    return out / "index.html"


def write_source(executed: Sequence[Lab], source: Path, repository: str = "") -> None:
    """Write what Jupyter Book reads into the new folder `source`."""
    import nbformat

    shutil.copytree(BOOK, source)
    for name in _DATA:
        shutil.copytree(data_path(name), source / "data" / name)
    _write_yaml(source / "_config.yml", _config(repository))
    _write_yaml(source / "_toc.yml", _contents({f"labs/{lab.name}" for lab in executed}))
    (source / "executed.md").write_text(_executed(executed), "utf-8")

    text = (BOOK / "glossary.md").read_text("utf-8")
    terms, first_uses = glossary.terms(text), {}
    (source / "labs").mkdir()
    for lab in executed:
        notebook = lab.notebook()
        page = for_reading(notebook)
        for term in glossary.link(page, terms):
            first_uses.setdefault(term, lab.name)
        _say_below_the_title(page, noted(notebook))
        nbformat.write(page, source / "labs" / lab.path.name)
    (source / "glossary.md").write_text(glossary.with_first_uses(text, first_uses), "utf-8")


def for_reading(notebook: "NotebookNode") -> "NotebookNode":
    """Take from an executed notebook what a page without a kernel cannot show, and return it.

    That is a widget, of which its plain view stays, and the numbers as data, beside which stands
    their table. What papermill noted may name folders, and goes too.
    """
    for name in ("widgets", "papermill"):
        notebook.metadata.pop(name, None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _can_be_read(output)]
    return notebook


def _say_below_the_title(page: "NotebookNode", execution: Execution) -> None:
    title, _, rest = page.cells[0].source.partition("\n")
    page.cells[0].source = f"{title}\n\n{execution}\n{rest}"


def _can_be_read(output: "NotebookNode") -> bool:
    """Take the data for programs from an output, and return whether it still shows something."""
    data = output.get("data", {})
    data.pop(MEASUREMENTS_MIME, None)
    return data.pop(_WIDGET_MIME, None) is None or "text/html" in data


def _check(out: Path, repository: str) -> None:
    if repository and not repository.startswith("https://"):
        raise UsageError(f"The repository is {repository!r}; give its address, with https://.")
    is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not is_free and not (out / "searchindex.js").exists():
        raise UsageError(f"{out} holds something else than a site; name another folder.")


def _config(repository: str) -> dict[str, Any]:
    config = yaml.safe_load((BOOK / "_config.yml").read_text("utf-8"))
    if repository:
        config["repository"] = {"url": repository.removesuffix(".git"), "branch": "HEAD"}
        config["html"]["use_repository_button"] = True
        config["launch_buttons"]["binderhub_url"] = _BINDER
    return config


def _contents(labs: set[str]) -> dict[str, Any]:
    """Return the contents without the labs that are not there."""
    contents = yaml.safe_load((BOOK / "_toc.yml").read_text("utf-8"))
    for part in contents["parts"]:
        part["chapters"] = [
            chapter
            for chapter in part["chapters"]
            if chapter["file"] in labs or not chapter["file"].startswith("labs/")
        ]
    contents["parts"] = [part for part in contents["parts"] if part["chapters"]]
    return contents


def _executed(labs: Sequence[Lab]) -> str:
    """Return, as a table in Markdown, when, how and on which machine each lab was executed."""
    rows = ["| lab | executed | profile | machine | seconds |", "|---|---|---|---|--:|"]
    for lab in labs:
        notebook = lab.notebook()
        done, seconds = noted(notebook), quantity(notebook.metadata.papermill.duration)
        title = f"[{lab.title}](labs/{lab.path.name})"
        date = f'<span class="text-nowrap">{done.date}</span>'
        rows.append(f"| {title} | {date} | {done.profile} | {done.machine} | {seconds} |")
    return "\n".join([*rows, ""])


def _write_yaml(path: Path, value: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False), "utf-8")


def _jupyter_book(source: Path, out: Path) -> Path:
    """Run Jupyter Book and return the folder of its pages."""
    environment = environments.ensure("book")
    program = environment.python.with_name("jupyter-book")
    strictly = ["--quiet", "--warningiserror", "--nitpick", "--keep-going"]
    done = finish(
        [program, "build", source, "--path-output", out, *strictly],
        environment.variables() | {"NO_COLOR": "1"},
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
        raise _not_built(said or (done.stderr or done.stdout).splitlines()[-5:])
    return out / "_build" / "html"


def _not_built(said: Sequence[str]) -> LabError:
    for line in said:
        print(line, file=sys.stderr, flush=True)
    return LabError(f"The book was not built: mend what is printed above ({len(said)} lines).")
