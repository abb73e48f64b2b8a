"""Verification holds the questions to their word, and the notebooks to the questions."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from slmlab.lessons import progress, questions
from slmlab.lessons.question import Question, WrongAnswer
from slmlab.notebooks.labs import find_labs
from slmlab.notebooks.verify import disagreements, solved, verify, verify_solved

PROMPT = "How many bytes are eight\nweights of 4 bits?"


class Bytes(Question):
    name = "q1"
    prompt = "How many bytes are eight weights of 4 bits?"
    solution_code = "answer = 4"


def asking(prompt=PROMPT, answer="answer = ...  # bytes", tag="q1", check="q1.check(answer)"):
    return new_notebook(
        cells=[
            new_markdown_cell(f"### Question 1\n{prompt}"),
            new_code_cell(answer, metadata={"tags": [tag]}),
            new_code_cell(check),
        ]
    )


def test_a_notebook_that_asks_the_question_agrees_with_it():
    assert disagreements(asking(), Bytes()) == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"prompt": "How many bits?"}, "does not contain the prompt"),
        ({"answer": "answer = 4"}, "must be `answer = ...`"),
        ({"answer": "guess = ..."}, "must be `answer = ...`"),
        ({"tag": "q2"}, "0 cells are tagged 'q1'"),
        ({"check": "q1.check(4)"}, "must be one cell that ends with `q1.check(answer)`"),
    ],
)
def test_a_notebook_that_asks_something_else_is_found_out(changed, fault):
    [found] = disagreements(asking(**changed), Bytes())
    assert fault in found


def test_the_solved_notebook_is_the_same_with_other_answers():
    notebook, before = solved(asking(), [Bytes()]), asking()
    assert notebook.cells[1].source == "answer = 4"
    assert [notebook.cells[i].source for i in (0, 2)] == [before.cells[i].source for i in (0, 2)]


@pytest.fixture
def lab():
    return find_labs(["00"])[0]


@pytest.mark.slow
def test_real_questions_are_proven_and_progress_left_alone(lab):
    proofs = verify([lab])
    assert [proof.subject for proof in proofs] == [q.title for q in questions(lab.unit)]
    assert all(not proof.faults and proof.wrong_answers >= 2 for proof in proofs), proofs
    assert progress.read() == {}


def dishonest(**changed):
    """Return the first real question with something else than what its kernel will find."""
    real = type(questions("start_here")[0])
    return type("Dishonest", (real,), {"__module__": real.__module__, **changed})()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "fault"),
    [
        (dishonest(solution_code="answer = None"), "`answer = None` is incorrect, and must be"),
        (dishonest(solution_code="answer = 1 / 0"), "ZeroDivisionError"),
        (dishonest(setup="import no_such_module"), "No module named 'no_such_module'"),
        (
            dishonest(wrong_answers=(WrongAnswer("answer = None", "words it does not say"),)),
            "gets another message than its own",
        ),
        (
            dishonest(
                wrong_answers=(WrongAnswer(questions("start_here")[0].solution_code, "wrong"),)
            ),
            "is correct, and must be incorrect",
        ),
    ],
    ids=["solution", "solution raises", "setup", "message", "wrong answer"],
)
def test_a_question_that_does_not_keep_its_word_is_found_out(lab, monkeypatch, question, fault):
    monkeypatch.setattr("slmlab.notebooks.verify.questions", lambda unit: [question])
    [proof] = verify([lab])
    assert fault in " ".join(proof.faults)


@pytest.mark.slow
def test_the_solved_lab_answers_all_its_questions(lab, smollm2, tmp_path):
    proof = verify_solved(lab, tmp_path / "solved.ipynb")
    assert proof.faults == ()
    assert nbformat.read(tmp_path / "solved.ipynb", as_version=4).cells
    assert progress.read() == {}
