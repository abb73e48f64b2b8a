"""One page about a choice: what was chosen, why, and every number behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import slmlab
from slmlab.files import whole
from slmlab.machine import this_machine
from slmlab.measurement import Measurement
from slmlab.measurement.keeping import own_folder
from slmlab.measurement.words import origins, quantity
from slmlab.selection.choosing import Decision
from slmlab.selection.rules import Finding

_OF_THE_CHOICE = ("file", "peak memory", "decode speed", "time to first token")


@dataclass(frozen=True)
class Talk:
    """A question put to the deployed model, its answer, and the server that gave it."""

    server: str
    question: str
    answer: str


def write(
    decision: Decision,
    measurements: Sequence[Measurement],
    kept: Mapping[str, Sequence[Measurement]] | None = None,
    findings: Sequence[Finding] = (),
    talk: Talk | None = None,
    progress: Mapping[str, Mapping[str, Any]] | None = None,
    path: Path | None = None,
) -> Path:
    """Write the dossier of a decision as one HTML file that needs nothing else; return its path.

    `measurements` were made for the choice, `kept` come from earlier labs, and `progress` is what
    `lessons.progress.read` returns. Without a `path`, the file lies where progress is kept.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("slmlab.selection"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("dossier.html.j2").render(
        brief=decision.brief,
        wanted=_wanted(decision),
        best=decision.best,
        others=decision.choices[1:4],
        would_change=decision.would_change,
        tiles=[_cell(row) for row in _tiles(decision)],
        groups=[
            ("", _tables(measurements)),
            *((_heading(lab, rows), _tables(rows)) for lab, rows in (kept or {}).items()),
        ],
        findings=findings,
        talk=talk,
        answered=_answered(progress or {}),
        machine=str(this_machine()),
        version=slmlab.__version__,
        date=datetime.now(UTC).date().isoformat(),
    )
    path = path or own_folder() / "dossier.html"
    with whole(path) as aside:
        aside.write_text(page, "utf-8")
    return path


@dataclass(frozen=True)
class _Table:
    """Numbers as a table: a row a subject, a column a quantity under one set of conditions."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    remarks: tuple[str, ...]


def _tables(measurements: Sequence[Measurement]) -> list[_Table]:
    """Return a table for each set of columns; subjects with the same set share one."""
    subjects: dict[str, dict[tuple[str, str], Measurement]] = {}
    for row in measurements:
        subjects.setdefault(row.subject, {})[row.quantity, _under(row)] = row
    tables: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for subject, cells in subjects.items():
        tables.setdefault(tuple(cells), []).append(subject)
    return [
        _Table(
            columns,
            tuple((name, tuple(map(_value, subjects[name].values()))) for name in names),
            tuple(origins([row for name in names for row in subjects[name].values()])),
        )
        for columns, names in tables.items()
    ]


def _value(row: Measurement) -> str:
    return quantity(row.value, row.unit, row.spread)


def _heading(lab: str, rows: Sequence[Measurement]) -> str:
    if any(row.how == "recorded" for row in rows):
        return f"{lab}: recorded elsewhere or earlier"
    return f"Kept from {lab}"


def _under(row: Measurement) -> str:
    """Return how a number was got, and under which conditions."""
    conditions = (f"{name.replace('_', ' ')} {value}" for name, value in row.conditions.items())
    return ", ".join([row.how, *conditions])


def _cell(row: Measurement) -> dict[str, str]:
    """Return a number for a tile; the source of a published one stands among the reasons."""
    return {
        "quantity": row.quantity,
        "value": quantity(row.value, row.unit),
        "under": _under(row),
    }


def _tiles(decision: Decision) -> list[Measurement]:
    best = decision.best
    if best is None:
        return []
    found = [row for row in best.numbers if row.quantity in _OF_THE_CHOICE]
    return found if best.quality is None else [*found, best.quality]


def _wanted(decision: Decision) -> list[tuple[str, str]]:
    """Return the brief's requirements as pairs of words."""
    brief = decision.brief
    device = brief.device
    floor = f"{brief.quality_floor:g} points in {brief.benchmark}" if brief.quality_floor else "any"
    licence = "open only" if brief.open_licence else "any"
    return [
        ("device", device.title),
        ("memory", quantity(device.memory_bytes, "bytes")),
        ("bandwidth", f"{device.bandwidth / 1e9:.0f} GB/s, {device.bandwidth_from}"),
        ("task", brief.task),
        ("languages", ", ".join(brief.languages)),
        ("context", f"{brief.context:,} tokens, {brief.users} at once"),
        (
            "latency",
            f"{brief.first_token_seconds:g} s to the first token after {brief.prompt_tokens:,}, "
            f"then {brief.tokens_per_second:.3g} tokens/s",
        ),
        ("quality", floor),
        ("licence", licence if brief.accepts_terms else f"{licence}, no terms to accept"),
        ("offline", "yes" if brief.offline else "no"),
    ]


def _answered(progress: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Return for each lab how many questions were answered, and how many rightly."""
    labs: dict[str, list[bool]] = {}
    for question, entry in progress.items():
        labs.setdefault(question.partition(".")[0], []).append(entry["outcome"] == "correct")
    return [(lab, sum(right), len(right)) for lab, right in sorted(labs.items())]
