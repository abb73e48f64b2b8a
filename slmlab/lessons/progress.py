"""What this learner has answered, kept in one small file on this machine."""

import json
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError
from slmlab.files import from_json, locked, progress_file, whole

if TYPE_CHECKING:
    from slmlab.lessons.question import Verdict


def read() -> dict[str, dict[str, str | int]]:
    """Return, for each question answered so far, its `outcome`, `attempts` and `last` time.

    A file that is missing or damaged reads as no progress: it must never stop a lab.
    """
    try:
        kept = from_json(progress_file().read_text("utf-8"))
        return {
            question: {
                "outcome": str(entry["outcome"]),
                "attempts": int(entry["attempts"]),
                "last": str(entry["last"]),
            }
            for question, entry in kept.items()
        }
    except (OSError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def standing(titles: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what `read` has of each question, or that it is `not attempted`; plain data.

    It is what `slmlab progress --json` prints of the course's questions.
    """
    blank = {"outcome": "not attempted", "attempts": 0, "last": None}
    kept = read()
    return {title: kept.get(title, blank) for title in titles}


def remember(verdict: "Verdict") -> None:
    """Note a verdict; a question once answered correctly stays correct.

    Where nothing can be written, this warns: an answer is worth checking all the same.
    """
    if verdict.outcome == "not attempted":
        return
    try:
        _write(verdict)
    except (OSError, SlmlabError) as problem:
        warnings.warn(f"Your progress could not be kept: {problem}", stacklevel=3)


def _write(verdict: "Verdict") -> None:
    path = progress_file()
    with locked(path, timeout=10):
        kept = read()
        before = kept.get(verdict.question, {})
        done = "correct" in (before.get("outcome"), verdict.outcome)
        kept[verdict.question] = {
            "outcome": "correct" if done else verdict.outcome,
            "attempts": before.get("attempts", 0) + 1,
            "last": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with whole(path) as aside:
            aside.write_text(json.dumps(kept, indent=1, sort_keys=True), "utf-8")
