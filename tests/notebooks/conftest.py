"""Labs small enough to write inside a test."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from slmlab.notebooks.labs import find_labs


@pytest.fixture
def lab(tmp_path):
    """Write a lab with the given code cells and return it as the course would find it."""

    def write(*sources, name="07_tiny", time_limit_seconds=60):
        cells = [
            new_markdown_cell("# Tiny", id="title"),
            new_code_cell(
                'profile = "quick"\nmodel = "none"',
                id="parameters",
                metadata={"tags": ["parameters"]},
            ),
        ]
        cells += [new_code_cell(code, id=f"step-{i}") for i, code in enumerate(sources, start=1)]
        about = {
            "title": "Tiny",
            "minutes": {"quick": 1, "standard": 2},
            "time_limit_seconds": time_limit_seconds,
            "memory_bytes": 10**8,
            "needs_model": False,
        }
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "slmlab": about})
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        return find_labs([name], tmp_path)[0]

    return write
