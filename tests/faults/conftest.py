"""What the faults share: small models to work on, a mirror, and the table of what was lost."""

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fault_disks
import pytest
from fault_jobs import REPOSITORY, Job, fresh, make_inputs, start, surroundings
from fault_ledger import WHOLE, Ledger

from slmlab.acquisition import mirror

TABLE = Path(__file__).parents[2] / "build" / "faults.md"

_ledger = Ledger(TABLE if WHOLE else None)


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
    """The table, which `make test-faults` keeps in build/faults.md."""
    return _ledger


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """The folder of what the jobs read."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


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
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 96 MB for a job."""
    with fault_disks.disk(tmp_path / "disk", 96) as mounted:
        yield fresh(mounted)


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
    """Print the table."""
    if _ledger.rows:
        kept = f" ({TABLE})" if WHOLE else ""
        terminalreporter.section(f"what was lost to faults{kept}")
        terminalreporter.write_line(_ledger.markdown())
