"""What a server says of itself on its Prometheus page."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmlab.deployment.server import Server


@dataclass(frozen=True)
class Sample:
    """One value of one metric, such as `vllm:num_requests_running`, with its labels."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def samples(page: str) -> list[Sample]:
    """Return the samples of a page in Prometheus' text format, in the order they stand there."""
    from prometheus_client.parser import text_string_to_metric_families

    return [
        Sample(sample.name, sample.value, dict(sample.labels))
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    ]


def total(found: Iterable[Sample], name: str) -> float:
    """Return the sum of a metric over its labels, 0.0 where it is not there."""
    return sum(sample.value for sample in found if sample.name == name)


@dataclass(frozen=True)
class Moment:
    """A server's metrics page, `seconds` after the watch began."""

    seconds: float
    samples: Sequence[Sample]


@contextmanager
def watch(server: "Server", every: float = 0.25) -> Iterator[list[Moment]]:
    """Read a server's metrics before the block, every so many seconds in it, and once after it.

    The list that is given grows meanwhile. A page that does not come is left out.
    """
    moments: list[Moment] = []
    over = threading.Event()
    began = time.perf_counter()

    def look() -> None:
        with suppress(OSError):
            samples = server.metrics()
            moments.append(Moment(time.perf_counter() - began, samples))

    def keep_looking() -> None:
        while not over.wait(every):
            look()

    look()
    watcher = threading.Thread(target=keep_looking, daemon=True)
    watcher.start()
    try:
        yield moments
    finally:
        over.set()
        watcher.join()
        look()
