"""What a learner has measured, kept on this machine from one lab to the next."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from slmlab.errors import SlmlabError
from slmlab.files import from_json, locked, progress_file, whole
from slmlab.measurement.record import Measurement


def own_folder() -> Path:
    """Return the folder of the learner's own results: where progress is kept, too."""
    return progress_file().parent


def keep(measurements: Sequence[Measurement], lab: str) -> None:
    """Keep those numbers that were measured; they take the place of the lab's earlier ones.

    Where nothing can be written, this warns: a lab goes on all the same.
    """
    try:
        _write([row for row in measurements if row.how == "measured"], lab)
    except (OSError, SlmlabError) as problem:
        warnings.warn(f"What you measured could not be kept: {problem}", stacklevel=2)


def kept() -> dict[str, list[Measurement]]:
    """Return what was kept, by lab, in the order of the labs.

    A line that is damaged is left out: it must never stop a lab.
    """
    found: dict[str, list[Measurement]] = {}
    for line in _lines(_file()):
        found.setdefault(line["lab"], []).append(Measurement(**line["measurement"]))
    return dict(sorted(found.items()))


def _write(measurements: Sequence[Measurement], lab: str) -> None:
    path = _file()
    with locked(path, timeout=10):
        others = [line for line in _lines(path) if line["lab"] != lab]
        lines = [*others, *({"lab": lab, "measurement": asdict(row)} for row in measurements)]
        with whole(path) as aside:
            aside.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _file() -> Path:
    return own_folder() / "measurements.jsonl"


def _lines(path: Path) -> list[dict]:
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return []
    return list(filter(None, map(_line, text.splitlines())))


def _line(text: str) -> dict | None:
    try:
        line = from_json(text)
        Measurement(**line["measurement"])
        return {"lab": str(line["lab"]), "measurement": line["measurement"]}
    except (ValueError, TypeError, KeyError):
        return None
