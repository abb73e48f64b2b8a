"""The folder of a sweep's results: one file a task, whole or not there."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from slmlab.files import from_json, whole
from slmlab.measurement import Measurement
from slmlab.sweeping.task import Task


@dataclass(frozen=True)
class Result:
    """What came of a task on the machine with this fingerprint: numbers, or why there are none."""

    task: Task
    machine: str
    measurements: tuple[Measurement, ...]
    failure: str = ""


def write_result(result: Result, folder: Path) -> None:
    """Keep a result, in place of an earlier one of the same task."""
    kept = asdict(result)
    with whole(_file(result.task, folder)) as aside:
        sealed = {"sha256": _seal(kept), "result": kept}
        aside.write_text(json.dumps(sealed, indent=1), "utf-8")


def read_result(task: Task, folder: Path) -> Result | None:
    """Return what is kept of a task, its numbers as `recorded`; None for nothing, or damage."""
    try:
        sealed = from_json(_file(task, folder).read_text("utf-8"))
        kept = sealed["result"]
        if sealed["sha256"] != _seal(kept) or Task(**kept["task"]).id != task.id:
            return None
        rows = (Measurement(**row) for row in kept["measurements"])
        recorded = tuple(replace(row, how="recorded") for row in rows)
        return Result(task, kept["machine"], recorded, kept["failure"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finished(tasks: Iterable[Task], folder: Path) -> list[Result]:
    """Return the results of those tasks that gave numbers, in the order of the tasks."""
    kept = (read_result(task, folder) for task in tasks)
    return [result for result in kept if result and not result.failure]


def _file(task: Task, folder: Path) -> Path:
    return folder / f"{task.id}.json"


def _seal(kept: dict) -> str:
    """Return the SHA-256 of a result, by which damage is recognised."""
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
