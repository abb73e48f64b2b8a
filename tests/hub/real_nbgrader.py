"""nbgrader itself gives out a lab, takes it back and marks it; `make test-hub` runs this.

nbgrader lives in an environment of its own, in the cache. Its kernel is that of this interpreter,
in which the labs run.
"""

import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest

from slmlab.files import cache_path, locked
from slmlab.lessons import questions
from slmlab.notebooks.labs import find_labs
from slmlab.workshop.grading import nbgrader_course

NBGRADER = "nbgrader==0.9.6"
LAB = "02_acquisition"


@pytest.fixture(scope="module")
def program() -> Path:
    """The program `nbgrader`, from PyPI, in an environment that is kept in the cache."""
    program = cache_path(NBGRADER, "bin", "nbgrader")
    uv = Path(sysconfig.get_path("scripts"), "uv")
    with locked(cache_path(NBGRADER)):
        if not program.exists():
            venv = [uv, "venv", "--clear", "--python", sys.executable, cache_path(NBGRADER)]
            subprocess.run(venv, check=True)
            install = [uv, "pip", "install", "--python", program.with_name("python"), NBGRADER]
            subprocess.run(install, check=True)
    return program


@pytest.fixture
def nbgrader(program, tmp_path):
    """Run nbgrader in a course of one lab, whose kernel is this interpreter."""
    course, kernels = tmp_path / "course", tmp_path / "jupyter" / "kernels" / "python3"
    nbgrader_course(find_labs([LAB]), course)
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(spec))
    env = {**os.environ, "JUPYTER_PATH": str(tmp_path / "jupyter"), "HOME": str(tmp_path)}
    env["SLMLAB_CACHE"] = str(cache_path())
    env["PATH"] = f"{program.parent}{os.pathsep}{env['PATH']}"  # it looks for alembic there

    def run(*arguments):
        command = [program.with_name("python"), "-m", "nbgrader", *arguments]
        done = subprocess.run(command, cwd=course, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return course

    return run


def hand_in(course, student, answers):
    """Fill a released lab in, from its question's name to the code of the answer, as a student."""
    notebook = nbformat.read(course / "release" / LAB / f"{LAB}.ipynb", as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "").removesuffix("-answer")
        if cell.metadata.get("nbgrader", {}).get("solution") and name in answers:
            assert cell.source.splitlines()[-1] == "answer = ..."
            cell.source = cell.source.replace("answer = ...", answers[name])
    path = course / "submitted" / student / LAB / f"{LAB}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


def points(course):
    """Return what nbgrader's own database says: points by student and question."""
    query = """
        SELECT student.id, base_cell.name, grade.auto_score FROM grade
        JOIN base_cell ON base_cell.id = grade.cell_id
        JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
        JOIN student ON student.id = submitted_assignment.student_id
    """
    found = {}
    with sqlite3.connect(course / "gradebook.db") as database:
        for student, question, score in database.execute(query):
            found.setdefault(student, {})[question] = score
    return found


def test_right_answers_get_a_point_each_and_wrong_or_missing_ones_none(nbgrader):
    asked = {question.name: question for question in questions("acquisition")}
    right = {name: question.solution_code for name, question in asked.items()}
    wrong = {name: question.wrong_answers[0].code for name, question in asked.items()}
    course = nbgrader("generate_assignment", LAB)
    released = (course / "release" / LAB / f"{LAB}.ipynb").read_text()
    assert "SOLUTION" not in released and "HIDDEN TESTS" not in released

    hand_in(course, "ada", right)
    hand_in(course, "bo", right | {"q2": wrong["q2"], "q3": wrong["q3"]})
    hand_in(course, "cy", {"q1": right["q1"]})
    nbgrader("autograde", LAB)

    none = dict.fromkeys(asked, 0.0)
    assert points(course) == {
        "ada": dict.fromkeys(asked, 1.0),
        "bo": dict.fromkeys(asked, 1.0) | {"q2": 0.0, "q3": 0.0},
        "cy": none | {"q1": 1.0},
    }
