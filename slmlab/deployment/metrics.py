"""What a server says of itself on its Prometheus page."""

from collections.abc import Iterable
from dataclasses import dataclass, field


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
