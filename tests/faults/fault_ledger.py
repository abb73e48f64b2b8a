"""The table of the faults: what was done, how often, and what was lost."""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fault_jobs import JOBS, Job

from slmlab.files import whole
from slmlab.machine import this_machine

SEED = int(os.environ.get("FAULTS_SEED", "6"))
"""What every random choice is drawn from."""

WHOLE = os.environ.get("FAULTS") == "all"
"""Whether all of it is to be done, as by `make test-faults`, or the short part."""

only_whole = pytest.mark.skipif(not WHOLE, reason="takes long; make test-faults does it")


def chosen(names: Iterable[str], short: Collection[str]) -> list[Job]:
    """Return the jobs of these names; where not all is to be done, only those that are `short`."""
    return [JOBS[name] for name in names if WHOLE or name in short]


class Ledger:
    """Counts what was done, and notes what was lost, under a fault and the work it met.

    The table at `path`, if one is to be kept, is written anew with each note, so that it outlives a
    run that is stopped.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: Counter[tuple[str, str]] = Counter()
        self.lost: dict[tuple[str, str], list[str]] = {}
        self.remarks: dict[tuple[str, str], str] = {}

    def note(
        self, fault: str, work: str, lost: str | None = None, times: int = 1, remark: str = ""
    ) -> None:
        """Count a fault that was let loose on some work, and what it cost."""
        self.rows[fault, work] += times
        if lost:
            self.lost.setdefault((fault, work), []).append(lost)
        if remark:
            self.remarks[fault, work] = remark
        if self.path:
            with whole(self.path) as aside:
                aside.write_text(self.markdown(), "utf-8")

    def markdown(self) -> str:
        """Return the table, with seed, machine and date."""
        lines = [
            f"Seed {SEED}, {datetime.now(UTC).date().isoformat()}, {this_machine()}.",
            "",
            "| fault | work | times | lost | remark |",
            "|---|---|---|---|---|",
        ]
        for (fault, work), times in self.rows.items():
            lost = "; ".join(self.lost.get((fault, work), [])) or "nothing"
            remark = self.remarks.get((fault, work), "")
            lines.append(f"| {fault} | {work} | {times} | {lost} | {remark} |")
        return "\n".join(lines) + "\n"
