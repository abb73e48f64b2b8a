"""What the faults share: small models to work on, a mirror, and the table of what was lost."""

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fault_jobs import REPOSITORY, Job, fresh, make_inputs, start, surroundings
from fault_ledger import Ledger

from slmlab.acquisition import mirror
from slmlab.quantization import convert_from_huggingface, huggingface_form

TABLE = Path(__file__).parents[2] / "build" / "faults.md"

_ledger = Ledger()


class Slow(mirror.Handler):
    """A Hub at the end of a line of about 10 MB/s."""

    def send_file(self, path, first, count):
        with path.open("rb") as file:
            file.seek(first)
            while count > 0:
                piece = file.read(min(count, 2**16))
                self.wfile.write(piece)
                count -= len(piece)
                time.sleep(0.006)


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    """The table that is written in the end."""
    return _ledger


@pytest.fixture(scope="session")
def inputs(smollm2, tmp_path_factory) -> Path:
    """What the jobs read."""
    folder = make_inputs(tmp_path_factory.mktemp("inputs"), huggingface_form(smollm2, "float32"))
    convert_from_huggingface(folder / "small", folder / "small.gguf")
    return folder


@pytest.fixture(scope="session")
def hub(inputs) -> Iterator[mirror.Mirror]:
    """A mirror that has the jobs' model."""
    with mirror.serve({REPOSITORY: {"tiny.gguf": inputs / "served.gguf"}}, Slow) as running:
        yield running


@pytest.fixture
def place(tmp_path) -> Path:
    """An empty folder for a job."""
    return fresh(tmp_path / "place")


@pytest.fixture
def variables(inputs, hub) -> Callable[[Path], dict[str, str]]:
    """Give the variables of a job's process by the folder that it works in."""
    return lambda folder: surroundings(inputs, folder, hub.address)


@pytest.fixture(scope="session")
def right(inputs, hub, tmp_path_factory) -> Callable[[Job], Any]:
    """Give what comes out of a job that nothing has disturbed."""

    @cache
    def outcome(job: Job) -> Any:
        folder = fresh(tmp_path_factory.mktemp("right") / "place")
        child = start(job, inputs, folder, surroundings(inputs, folder, hub.address))
        said = child.communicate()[1]
        assert child.returncode == 0, said
        return job.outcome(folder)

    return outcome


def pytest_terminal_summary(terminalreporter):
    """Print the table, and keep it."""
    if _ledger.rows:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(_ledger.markdown(), "utf-8")
        terminalreporter.section(f"what was lost to faults ({TABLE})")
        terminalreporter.write_line(_ledger.markdown())
