"""A question says one of four things of any answer, and helps by degrees."""

import math
import warnings

import numpy as np
import pytest

from slmlab.lessons import progress
from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number


class Half(Question):
    """A question on half of something."""

    name = "q1"
    prompt = "What is half of 8?"
    hints = ("Divide.", "Divide by two.")
    solution_code = "answer = 8 / 2"
    wrong_answers = (WrongAnswer("answer = 16", "doubled"),)

    def judge(self, answer, *measured):
        whole = measured[0] if measured else 8
        if number(answer, "units") == whole * 2:
            raise Incorrect("That is doubled.")
        if answer != whole / 2:
            raise Incorrect("That is not half.")


@pytest.fixture
def half():
    return Half()


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (..., "not attempted", "q1.hint()"),
        (4, "correct", "That is right."),
        (16, "incorrect", "doubled"),
        (5, "incorrect", "not half"),
        ("4", "incorrect", "a number, in units, and not '4'"),
        (None, "incorrect", "a number, in units"),
    ],
)
def test_an_answer_gets_its_verdict_and_message(half, answer, outcome, words):
    verdict = half.check(answer)
    assert verdict.outcome == outcome
    assert words in verdict.message


def test_no_answer_at_all_is_not_attempted(half):
    assert half.check().outcome == "not attempted"


def test_the_check_takes_the_answer_and_what_the_question_needs(half):
    assert half.check_line == "q1.check(answer)"
    needy = type("Needy", (Half,), {"needs": ("speeds", "best")})()
    assert needy.check_line == "q1.check(answer, speeds, best)"


def test_an_answer_is_checked_against_what_was_measured(half):
    assert half.check(10, 20).outcome == "correct"
    assert half.check(4, 20).outcome == "incorrect"


def test_a_check_that_breaks_is_an_error_and_not_a_verdict_on_the_answer(half):
    verdict = half.check(4, "not a measurement")
    assert verdict.outcome == "error"
    assert "TypeError" in verdict.message


def test_a_verdict_reads_well_in_a_notebook(half):
    assert repr(half.check(16)).endswith(".q1: incorrect. That is doubled.")


def test_hints_grow_stronger_and_the_last_one_stays(half):
    shown = [repr(half.hint()) for _ in range(3)]
    assert shown == ["Hint 1 of 2: Divide.", "Hint 2 of 2: Divide by two.", *shown[1:2]]


def test_the_solution_is_code_that_gets_the_answer_right(half):
    names = {}
    exec(half.solution(), names)
    assert half.check(names["answer"]).outcome == "correct"


def test_a_verdict_is_remembered(half):
    half.check(16)
    assert progress.read()[half.title]["outcome"] == "incorrect"


def test_progress_that_cannot_be_kept_does_not_stop_the_check(half, monkeypatch, tmp_path):
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("SLMLAB_PROGRESS", str(tmp_path / "a-file" / "progress.json"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert half.check(4).outcome == "correct"
    assert "could not be kept" in str(warned[0].message)


@pytest.mark.parametrize(
    "answer",
    [
        True,
        "4.0",
        b"4",
        None,
        [],
        {},
        4j,
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        np.array([1.0, 2.0]),
        "9" * 100_000,
        object(),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_what_is_no_number_is_named_and_kept_short(answer):
    with pytest.raises(Incorrect, match="The answer is a number, in MB, and not") as refused:
        number(answer, "MB")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("answer", [4, 4.0, np.float32(4), np.int64(4)])
def test_every_kind_of_number_counts(answer):
    assert number(answer, "MB") == 4.0


def test_what_is_close_to_the_right_answer_is_accepted():
    expect(4.03, 4, {8: "doubled"}, "Divide by two.")
    with pytest.raises(Incorrect, match=r"Divide by two\."):
        expect(4.03, 4, {8: "doubled"}, "Divide by two.", tolerance=0.001)


@pytest.mark.parametrize(("answer", "message"), [(8.04, "doubled"), (3, "Divide by two.")])
def test_a_known_mistake_is_named_and_any_other_gets_the_rule(answer, message):
    with pytest.raises(Incorrect, match=message):
        expect(answer, 4, {8: "doubled"}, "Divide by two.")
