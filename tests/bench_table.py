"""What `make bench` makes of its ratios: medians, verdicts, and one table in Markdown."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TYPES = ("F16", "Q8_0", "Q5_1", "Q4_0")

Ratios = dict[str, dict[str, list[float]]]
"""By quantity and then by type: the ratio of each round."""


@dataclass(frozen=True)
class Aim:
    """Where the median of a quantity's ratios must lie, and the decimals to show it with."""

    low: float = 0.0
    high: float = math.inf
    decimals: int = 2

    def __str__(self) -> str:
        if self == NO_AIM:
            return "none"
        if self.high == math.inf:
            return f"at least {self.low}"
        return f"{self.low} to {self.high}" if self.low else f"at most {self.high}"

    def met(self, values: Sequence[float]) -> bool:
        """Return whether the median is within the limits."""
        return self.low <= statistics.median(values) <= self.high

    def show(self, value: float) -> str:
        """Return a ratio in the decimals of this aim."""
        return f"{value:.{self.decimals}f}"


NO_AIM = Aim()

AIMS = {
    "prompt speed": Aim(low=0.98),
    "decode speed": Aim(low=0.98),
    "speed, peak memory": Aim(high=1.1),
    "perplexity, seconds": Aim(high=1.1),
    "perplexity, value": Aim(0.9995, 1.0005, decimals=4),
    "perplexity, peak memory": Aim(high=1.1),
    "KL divergence, value": Aim(0.99, 1.01, decimals=4),
    "KL divergence, peak memory": Aim(high=1.1),
    "quantising, seconds": Aim(high=1.05),
    "quantising, whole command": NO_AIM,
    "quantising, peak memory": Aim(high=1.1),
    "header reading, times faster": Aim(low=20, decimals=0),
    "header reading, peak memory": Aim(high=1.1),
}

IMPORT_AIM = Aim(high=150, decimals=0)
"""Milliseconds of `import slmlab`."""

PROFILED = 12
"""The lines of a profile that are shown: its head, then the functions that take longest."""


def add(ratios: Ratios, kind: str, round_: dict[str, float]) -> None:
    """Put the ratios of one round to those of the earlier ones."""
    for quantity, ratio in round_.items():
        ratios.setdefault(quantity, {}).setdefault(kind, []).append(ratio)


def missed(ratios: Ratios) -> list[tuple[str, str]]:
    """Return each quantity and type whose aim is not met."""
    return [
        (quantity, kind)
        for quantity, kinds in ratios.items()
        for kind, values in kinds.items()
        if not AIMS[quantity].met(values)
    ]


def cell(values: Sequence[float], aim: Aim) -> str:
    """Return a median with its range, or alone where the rounds do not differ as it is shown."""
    low, middle, high = map(aim.show, (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def verdict(quantity: str, kinds: dict[str, list[float]]) -> str:
    """Return `yes` where all types meet the aim, else which do not; nothing without an aim."""
    if AIMS[quantity] == NO_AIM:
        return ""
    failing = [kind for kind, values in kinds.items() if not AIMS[quantity].met(values)]
    return f"not {', '.join(failing)}" if failing else "yes"


def table(ratios: Ratios) -> str:
    """Return the table: a row a quantity, a column a type, in the order of the aims."""
    lines = [f"| | aim | {' | '.join(TYPES)} | met |", "|---" * (len(TYPES) + 3) + "|"]
    for quantity in filter(ratios.__contains__, AIMS):
        kinds, aim = ratios[quantity], AIMS[quantity]
        cells = [cell(kinds[kind], aim) if kind in kinds else "" for kind in TYPES]
        shown = (quantity, str(aim), *cells, verdict(quantity, kinds))
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def import_met(milliseconds: Sequence[float]) -> bool:
    """Return whether `import slmlab` is quick enough, as it is where it was not measured."""
    return not milliseconds or IMPORT_AIM.met(milliseconds)


def import_line(milliseconds: Sequence[float]) -> str:
    """Return the sentence about `import slmlab`."""
    met = "met" if import_met(milliseconds) else "missed"
    shown = cell(milliseconds, IMPORT_AIM)
    return f"`import slmlab` takes {shown} ms; the aim, {IMPORT_AIM}, is {met}."


def profile_section(part: str, kind: str, printed: str) -> str:
    """Return the head of what cProfile printed as a section of the report."""
    head = printed[printed.index(" function calls") :].splitlines()
    calls = [line for line in head if line.strip()][1:PROFILED]
    return f"## Where the time of ours goes: {part}, {kind}\n\n```\n{chr(10).join(calls)}\n```"


def report(conditions: str, ratios: Ratios, starts: Sequence[float], explanations: str) -> str:
    """Return the whole report in Markdown."""
    parts = [conditions, table(ratios) if ratios else "", import_line(starts) if starts else ""]
    return "\n\n".join(part for part in (*parts, explanations) if part) + "\n"


def figures(conditions: str, ratios: Ratios, starts: Sequence[float]) -> dict[str, Any]:
    """Return the report's figures as plain data: each round's, the median, whether the aim is met.

    A limit that an aim does not have is None.
    """
    rows = [
        {"quantity": quantity, "type": kind, **_figures(values, AIMS[quantity])}
        for quantity, kinds in ratios.items()
        for kind, values in kinds.items()
    ]
    start = {"import_milliseconds": _figures(starts, IMPORT_AIM)} if starts else {}
    return {"conditions": " ".join(conditions.split()), "rows": rows, **start}


def _figures(values: Sequence[float], aim: Aim) -> dict[str, Any]:
    return {
        "rounds": list(values),
        "median": statistics.median(values),
        "at_least": aim.low or None,
        "at_most": None if aim.high == math.inf else aim.high,
        "met": aim.met(values),
    }
