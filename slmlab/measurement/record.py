"""One number and everything needed to believe it."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from slmlab.files import data_path
from slmlab.machine import installed_version, this_machine

How = Literal["measured", "recorded", "computed", "published"]
Condition = str | int | float


@dataclass(frozen=True)
class Measurement:
    """A number a learner sees, with where it comes from.

    `how` is `measured` (here and now), `recorded` (elsewhere or earlier), `computed` (from a
    formula) or `published` (by somebody else, named in `source`).
    """

    subject: str
    quantity: str
    value: float
    unit: str
    how: How
    spread: float | None = None
    conditions: dict[str, Condition] = field(default_factory=dict)
    machine: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.how == "published" and not self.source:
            raise ValueError("A published number needs its source.")
        if self.how in ("measured", "recorded") and not (self.machine and self.date):
            raise ValueError(f"A {self.how} number needs its machine and date.")


def measured(
    subject: str,
    quantity: str,
    value: float,
    unit: str,
    spread: float | None = None,
    packages: tuple[str, ...] = ("llama-cpp-python",),
    **conditions: Condition,
) -> Measurement:
    """Label a number that was just measured on this machine, with the versions of `packages`."""
    return Measurement(
        subject=subject,
        quantity=quantity,
        value=value,
        unit=unit,
        how="measured",
        spread=spread,
        conditions=conditions,
        machine=str(this_machine()),
        versions={name: installed_version(name) for name in ("slmlab", *packages)},
        date=datetime.now(UTC).date().isoformat(),
    )


def computed(
    subject: str, quantity: str, value: float, unit: str, **conditions: Condition
) -> Measurement:
    """Label a number that a formula gave."""
    return Measurement(subject, quantity, value, unit, "computed", conditions=conditions)


def published(
    subject: str, quantity: str, value: float, unit: str, source: str, **conditions: Condition
) -> Measurement:
    """Label a number that somebody else published."""
    return Measurement(
        subject, quantity, value, unit, "published", conditions=conditions, source=source
    )


def recorded(name: str) -> list[Measurement]:
    """Return the numbers in `data/recorded/NAME.json`, measured on another machine or day."""
    entries = json.loads(data_path("recorded", f"{name}.json").read_text("utf-8"))
    return [Measurement(**entry) for entry in entries]
