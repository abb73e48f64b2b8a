"""The results of a sweep in one table: repetitions together, rates of unlike machines never."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from slmlab.machine import this_machine
from slmlab.measurement import Measurement
from slmlab.measurement.words import quantity
from slmlab.sweeping.results import Result
from slmlab.sweeping.running import Sweep
from slmlab.sweeping.task import Task

_TOLERANCE = {"size": 0.0, "perplexity": 1e-3}
"""How far what no machine decides may differ, relative to the least.

Processors add up in different orders; `make bench` gives llama-perplexity as much.
"""


@dataclass(frozen=True)
class SweepRow:
    """A quantity of a model in one form: the mean of the repetitions in `number`.

    `task` is the first of them, `machines` are the fingerprints of those that took part: one for
    speed and memory. `versions` names the packages that tell it from another row of its machine.
    The spread is the standard deviation of the repetitions for speed and memory, and otherwise what
    one said of itself.
    """

    task: Task
    machines: tuple[str, ...]
    versions: tuple[str, ...]
    number: Measurement

    @property
    def where(self) -> str:
        """What was measured on, in words: the machines, and versions where these differ."""
        return ", ".join([" ".join(self.machines), *self.versions])


def summary(results: Sequence[Result]) -> list[SweepRow]:
    """Return a row for each quantity, in the order of the tasks.

    Speed and memory have one for each kind of machine and set of versions, and so has what ought
    to be the same everywhere and is not.
    """
    rows = []
    for group in _groups(results):
        parts = _split(group)
        for part in parts:
            alike = [other for other in parts if other[0][0].machine == part[0][0].machine]
            rows.append(_row(part, _differing(alike)))
    return rows


def disagreements(results: Sequence[Result]) -> list[str]:
    """Return a sentence for each quantity that no machine decides and that differs all the same."""
    return [_sentence(group) for group in _groups(results) if not _agree(group)]


def as_data(found: Sweep) -> dict[str, Any]:
    """Return a sweep with its summary as plain data: what `slmlab sweep --json` prints."""
    return {
        "finished": len(found.finished),
        "done_before": found.done_before,
        "failed": [
            asdict(one.task) | {"id": one.task.id, "why": one.failure} for one in found.failed
        ],
        "disagreements": disagreements(found.finished),
        "rows": [
            asdict(row.task) | asdict(row.number) | {"machines": row.machines}
            for row in summary(found.finished)
        ],
    }


_Group = list[tuple[Result, Measurement]]


def _groups(results: Sequence[Result]) -> Iterator[_Group]:
    """Yield what only repetition and machine tell apart."""
    found: dict[tuple, _Group] = {}
    for result in results:
        for number in result.measurements:
            key = (replace(result.task, repetition=0), number.quantity)
            found.setdefault(key, []).append((result, number))
    yield from found.values()


def _split(group: _Group) -> list[_Group]:
    """Return a group whole where machines do not matter, or else in one part for each kind."""
    if not group[0][0].task.is_timed and _agree(group):
        return [group]
    parts: dict[tuple, _Group] = {}
    for result, number in group:
        key = (result.machine, *sorted(number.versions.items()))
        parts.setdefault(key, []).append((result, number))
    return list(parts.values())


def _agree(group: _Group) -> bool:
    """Whether what no machine decides is the same within its tolerance; rates need not be."""
    task, values = group[0][0].task, [number.value for _, number in group]
    if task.is_timed:
        return True
    return max(values) - min(values) <= _TOLERANCE[task.quantity] * min(values)


def _differing(parts: Sequence[_Group]) -> set[str]:
    """Return the packages of which not all parts have the same version."""
    versions = [set(part[0][1].versions.items()) for part in parts]
    return {name for name, _ in set.union(*versions) - set.intersection(*versions)}


def _row(part: _Group, differing: set[str]) -> SweepRow:
    machines = dict.fromkeys(result.machine for result, _ in part)
    (first, number), values = part[0], [number.value for _, number in part]
    repeated = first.task.is_timed and len(values) > 1
    mean = replace(
        number,
        value=statistics.fmean(values),
        spread=statistics.stdev(values) if repeated else number.spread,
        how="measured" if all(map(_is_of_here_and_now, part)) else "recorded",
        conditions=number.conditions | {"repetitions": len(values)},
    )
    versions = [f"{name} {one}" for name, one in number.versions.items() if name in differing]
    return SweepRow(first.task, tuple(machines), tuple(versions), mean)


def _is_of_here_and_now(found: tuple[Result, Measurement]) -> bool:
    result, number = found
    return number.how == "measured" and result.machine == this_machine().fingerprint


def _sentence(group: _Group) -> str:
    result, number = group[0]
    values = ", ".join(
        f"{quantity(number.value, number.unit)} on {result.machine}" for result, number in group
    )
    return f"{number.quantity} of {result.task.subject} differs: {values}"
