"""Put the progress files of a room together: who is where, and which question stops people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from slmlab.errors import LabError, UsageError
from slmlab.files import from_json
from slmlab.notebooks import report

Course = Mapping[str, Sequence[str]]
"""The titles of the questions, such as `tiers.q1`, by the lab's name, in teaching order."""

_OUTCOMES = ("correct", "incorrect", "error")
_LARGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Answer:
    """How one learner stands with one question; what could not be checked is not correct."""

    correct: bool
    attempts: int
    last: datetime


@dataclass(frozen=True)
class Learner:
    """What one progress file says: the answers by the question's title."""

    label: str
    answers: dict[str, Answer]

    @property
    def where(self) -> str | None:
        """The question answered last; None before the first one."""
        return max(self.answers, key=lambda title: self.answers[title].last, default=None)

    def correct(self, titles: Iterable[str]) -> int:
        """Return how many of the questions are answered correctly."""
        return sum(title in self.answers and self.answers[title].correct for title in titles)


@dataclass(frozen=True)
class Tally:
    """How many learners stand where with a question, and how often they have tried in all."""

    question: str
    not_attempted: int
    incorrect: int
    correct: int
    attempts: int


@dataclass(frozen=True)
class Room:
    """The learners of a room; `left_out` says in sentences what could not be merged."""

    course: Course
    learners: tuple[Learner, ...]
    left_out: tuple[str, ...]

    @property
    def titles(self) -> list[str]:
        """The titles of all questions of the course."""
        return [title for titles in self.course.values() for title in titles]

    def tallies(self, lab: str) -> list[Tally]:
        """Return where the learners stand with each question of a lab."""
        return [self._tally(title) for title in self.course[lab]]

    def stopping(self) -> list[Tally]:
        """Return the questions that some have tried and not got right: first what stops most.

        Among equals, that comes first which took most attempts.
        """
        tallies = [tally for lab in self.course for tally in self.tallies(lab) if tally.incorrect]
        return sorted(tallies, key=lambda tally: (-tally.incorrect, -tally.attempts))

    def _tally(self, title: str) -> Tally:
        tried = [one.answers[title] for one in self.learners if title in one.answers]
        correct = sum(answer.correct for answer in tried)
        return Tally(
            question=title,
            not_attempted=len(self.learners) - len(tried),
            incorrect=len(tried) - correct,
            correct=correct,
            attempts=sum(answer.attempts for answer in tried),
        )


def merge(named: Sequence[str], course: Course) -> Room:
    """Read learners' progress files; what is damaged is left out, and said.

    Each is a file, `LABEL=FILE`, or a folder, which stands for all `.json` files in it. Raises
    `UsageError` for a file that is not there, and `LabError` where none of them can be read.
    """
    learners: dict[str, Learner] = {}
    left_out = []
    titles = {title for lab in course.values() for title in lab}
    for label, path in list(_sources(named)):
        try:
            answers = _read(path)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError):
            left_out.append(f"{path} is damaged or no progress file; ask for it again.")
            continue
        if strange := answers.keys() - titles:
            left_out.append(
                f"{path} answers questions that this course does not have "
                f"({', '.join(sorted(strange))}); it is from another version."
            )
        known = {title: answers[title] for title in answers if title in titles}
        label = next(new for new in _alike(label) if new not in learners)
        learners[label] = Learner(label, known)
    if not learners:
        raise LabError(f"There is nothing to merge: {left_out[0]}")
    return Room(course, tuple(learners.values()), tuple(left_out))


def without_names(room: Room) -> Room:
    """Return the room with numbered learners instead of names, ranked by correct answers."""
    titles = room.titles
    ranked = sorted(room.learners, key=lambda one: -one.correct(titles))
    numbered = (replace(one, label=f"learner {n}") for n, one in enumerate(ranked, start=1))
    missing = len(room.left_out)
    left_out = (f"Files left out, wholly or in part: {missing}.",) if missing else ()
    return Room(room.course, tuple(numbered), left_out)


def as_data(room: Room) -> dict[str, Any]:
    """Return a room as plain data: what `slmlab progress --merge --json` prints."""
    learners = {
        one.label: {
            "where": one.where,
            "correct": one.correct(room.titles),
            "questions": {title: asdict(answer) for title, answer in one.answers.items()},
        }
        for one in room.learners
    }
    return {
        "learners": learners,
        "questions": [asdict(tally) for lab in room.course for tally in room.tallies(lab)],
        "stopping": [tally.question for tally in room.stopping()],
        "left_out": list(room.left_out),
    }


def write_page(room: Room, path: Path) -> None:
    """Write a room as one HTML page that needs nothing else."""
    report.write_page(path, "progress", package="slmlab.workshop", room=room)


def _sources(named: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield a label and a file for each that is named."""
    for name in named:
        label, chosen, rest = name.partition("=")
        if Path(name).exists() or not chosen:
            label, rest = "", name
        path = Path(rest)
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not (files and files[0].is_file()):
            raise UsageError(f"There is no progress file at {path}; give files or a folder.")
        for file in files:
            yield label or _own_label(file), file


def _own_label(file: Path) -> str:
    """Return what a file is called, or its folder where it has the name that all have at first."""
    return file.resolve().parent.name if file.stem == "progress" else file.stem


def _alike(label: str) -> Iterator[str]:
    yield label
    yield from (f"{label} ({number})" for number in count(2))


def _read(path: Path) -> dict[str, Answer]:
    if path.stat().st_size > _LARGEST_BYTES:
        raise ValueError("No progress file is so large.")
    kept = from_json(path.read_text("utf-8-sig"))
    return {title: _answer(entry) for title, entry in kept.items()}


def _answer(entry: Mapping[str, Any]) -> Answer:
    outcome, attempts = entry["outcome"], entry["attempts"]
    if outcome not in _OUTCOMES or type(attempts) is not int or attempts < 1:
        raise ValueError("No verdict is like this.")
    last = datetime.fromisoformat(entry["last"]).astimezone(UTC)
    return Answer(outcome == "correct", attempts, last)
