"""What a question is, and what can be said of an answer."""

import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from slmlab.lessons import progress

Outcome = Literal["not attempted", "correct", "incorrect", "error"]


@dataclass(frozen=True)
class Verdict:
    """What the checker says of one answer."""

    question: str
    outcome: Outcome
    message: str

    def __repr__(self) -> str:
        return f"{self.question}: {self.outcome}. {self.message}"


@dataclass(frozen=True)
class WrongAnswer:
    """An answer that people really give, and the words its message must contain."""

    code: str
    message: str


class Incorrect(Exception):
    """Raised by `Question.judge` with the message that diagnoses the answer."""


class Question:
    """A question, its hints, its solution and the wrong answers people give.

    A subclass gives the texts below and `judge`. Code in `solution_code` and
    `WrongAnswer.code` assigns `answer`; where an answer depends on the machine, `needs`
    names the variables that the check takes besides it, and `setup` defines them.
    """

    name: ClassVar[str]
    prompt: ClassVar[str]
    hints: ClassVar[tuple[str, ...]]
    solution_code: ClassVar[str]
    wrong_answers: ClassVar[tuple[WrongAnswer, ...]]
    praise: ClassVar[str] = "That is right."
    setup: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._hints_shown = 0

    @property
    def lab(self) -> str:
        """The unit this question belongs to: the name of its module."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def title(self) -> str:
        """A name for the question that is unique in the course, such as `tiers.q1`."""
        return f"{self.lab}.{self.name}"

    @property
    def check_line(self) -> str:
        """The code that checks an answer, such as `q1.check(answer, rate)`."""
        return f"{self.name}.check({', '.join(('answer', *self.needs))})"

    def judge(self, answer: Any, *measured: Any) -> None:
        """Raise `Incorrect` with a message that diagnoses, or return if the answer is right."""
        raise NotImplementedError

    def check(self, answer: Any = ..., *measured: Any) -> Verdict:
        """Judge an answer, remember the outcome and return the verdict."""
        verdict = self._verdict(answer, measured)
        progress.remember(verdict)
        return verdict

    def hint(self) -> str:
        """Return the next hint, each stronger than the one before; the last one stays."""
        self._hints_shown = min(self._hints_shown + 1, len(self.hints))
        return Text(
            f"Hint {self._hints_shown} of {len(self.hints)}: {self.hints[self._hints_shown - 1]}"
        )

    def solution(self) -> str:
        """Return the solution as code."""
        return Text(self.solution_code)

    def _verdict(self, answer: Any, measured: Iterable[Any]) -> Verdict:
        if answer is ...:
            message = f"Replace the ... in the cell above. For help, run {self.name}.hint()."
            return Verdict(self.title, "not attempted", message)
        try:
            self.judge(answer, *measured)
        except Incorrect as wrong:
            return Verdict(self.title, "incorrect", str(wrong))
        except Exception as problem:
            message = (
                f"The answer could not be checked ({type(problem).__name__}: {problem}). "
                f"Look at what kind of value the question asks for."
            )
            return Verdict(self.title, "error", message)
        return Verdict(self.title, "correct", self.praise)


class Text(str):
    """A string that a notebook shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def number(answer: Any, unit: str) -> float:
    """Return `answer` as a finite float, or raise `Incorrect` naming the unit that is asked for."""
    try:
        value = math.nan if isinstance(answer, bool | str | bytes) else float(answer)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise Incorrect(f"The answer is a number, in {unit}, and not {reprlib.repr(answer)}.")
    return value


def diagnose(answer: float, mistakes: Mapping[float, str], tolerance: float = 0.01) -> None:
    """Raise `Incorrect` with the message of the known mistake that leads to this answer, if any.

    `mistakes` are messages by the value a mistake leads to; `tolerance` is relative.
    """
    for value, message in mistakes.items():
        if math.isclose(answer, value, rel_tol=tolerance):
            raise Incorrect(message)


def expect(
    answer: float, right: float, mistakes: Mapping[float, str], rule: str, tolerance: float = 0.01
) -> None:
    """Accept the right answer; raise for a known mistake, as `diagnose` does, or with `rule`."""
    if math.isclose(answer, right, rel_tol=tolerance):
        return
    diagnose(answer, mistakes, tolerance)
    raise Incorrect(rule)
