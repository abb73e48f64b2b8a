"""What every question of the course keeps, whoever wrote it."""

import math
import re

import pytest

from slmlab.lessons import questions
from slmlab.notebooks.labs import all_labs
from slmlab.notebooks.verify import disagreements

LABS = {lab.unit: lab for lab in all_labs()}
QUESTIONS = [question for unit in LABS for question in questions(unit)]
JUNK = [
    None,
    True,
    "abc",
    "",
    b"abc",
    [],
    {},
    set(),
    (),
    math.nan,
    math.inf,
    -math.inf,
    -1,
    0,
    10**400,
    4j,
    object(),
    print,
    "x" * 100_000,
]

every_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.title)


def attempt(question, code):
    """Run an answer's code and the check as the notebook would; return the verdict."""
    names = {question.name: question}
    exec(question.setup, names)
    exec(code, names)
    return eval(question.check_line, names)


@every_question
def test_it_is_written_out(question):
    assert re.fullmatch(r"q\d+", question.name)
    assert len(question.prompt) > 40
    assert len(question.hints) >= 2
    assert len(set(question.hints)) == len(question.hints)
    assert len(question.wrong_answers) >= 2


@every_question
def test_no_hint_gives_the_solution_away_at_once(question):
    solution = question.solution_code.rpartition("answer = ")[2]
    assert solution not in question.hints[0]


@every_question
def test_the_starter_is_not_attempted(question):
    assert attempt(question, "answer = ...").outcome == "not attempted"


@every_question
def test_the_solution_is_correct(question):
    verdict = attempt(question, question.solution_code)
    assert verdict.outcome == "correct", verdict


@every_question
def test_each_wrong_answer_gets_its_own_message(question):
    for wrong in question.wrong_answers:
        verdict = attempt(question, wrong.code)
        assert verdict.outcome == "incorrect", (wrong.code, verdict)
        assert wrong.message in verdict.message, (wrong.code, verdict)
    messages = [wrong.message for wrong in question.wrong_answers]
    assert len(set(messages)) == len(messages)


@every_question
def test_junk_is_told_apart_and_never_correct(question):
    for junk in JUNK:
        names = {question.name: question}
        exec(question.setup, names)
        names["answer"] = junk
        verdict = eval(question.check_line, names)
        assert verdict.outcome == "incorrect", (junk, verdict)


@every_question
def test_the_notebook_asks_what_the_class_checks(question):
    assert disagreements(LABS[question.lab].notebook(), question) == []


@pytest.mark.parametrize("unit", LABS)
def test_names_count_up_from_one(unit):
    names = [question.name for question in questions(unit)]
    assert names == [f"q{i}" for i in range(1, len(names) + 1)]


@pytest.mark.parametrize("unit", LABS)
def test_a_lab_asks_enough(unit):
    assert len(questions(unit)) >= (2 if unit == "start_here" else 4)
