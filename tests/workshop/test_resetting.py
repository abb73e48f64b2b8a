"""A lab comes back as the course has it, and nothing that a learner wrote is ever lost."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import nbformat
import pytest

from slmlab.cli import main
from slmlab.errors import NotPossibleHere, UsageError
from slmlab.notebooks.labs import LABS, all_labs
from slmlab.workshop import resetting
from slmlab.workshop.resetting import filled_in, reset

NAME = "00_start_here.ipynb"
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def git(folder, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def labs(tmp_path):
    """Return the labs of a course that holds one lab and its pristine copy, as a pack leaves it."""
    for folder in ("labs", ".pristine/labs"):
        (tmp_path / "course" / folder).mkdir(parents=True)
        shutil.copyfile(LABS / NAME, tmp_path / "course" / folder / NAME)
    return tmp_path / "course" / "labs"


@pytest.fixture
def clone(tmp_path):
    """Return the labs of a course that holds one lab under git."""
    labs = tmp_path / "clone" / "labs"
    labs.mkdir(parents=True)
    shutil.copyfile(LABS / NAME, labs / NAME)
    git(labs, "init")
    git(labs, "add", NAME)
    git(labs, "commit", "-m", "The course")
    return labs


def change(lab, **changed):
    """Change the first question's answer cell of a lab, and return the file's bytes."""
    notebook = nbformat.read(lab, as_version=4)
    for cell in notebook.cells:
        if "q1" in cell.metadata.get("tags", ()):
            cell.update(changed)
    nbformat.write(notebook, lab)
    return lab.read_bytes()


def work(lab, answer="answer = 1536"):
    return change(lab, source=answer)


def run(lab):
    return change(lab, outputs=[nbformat.v4.new_output("stream", text="ran")], execution_count=1)


def guess(lab):
    lab.write_bytes(lab.read_bytes().replace(b"guess = ...", b"guess = 40"))
    return lab.read_bytes()


def rewrite(lab):
    """Change a cell that is neither an answer nor a guess, and return the file's bytes."""
    notebook = nbformat.read(lab, as_version=4)
    notebook.cells[-1].source += "\nMine."
    nbformat.write(notebook, lab)
    return lab.read_bytes()


def test_the_lab_is_pristine_again_and_the_learners_copy_aside(labs):
    mine = work(labs / NAME)
    done = reset("00", labs)
    assert (done.lab, done.changed) == (labs / NAME, True)
    assert done.lab.read_bytes() == (LABS / NAME).read_bytes()
    assert done.kept.read_bytes() == mine
    stem, _, stamp = done.kept.stem.partition(".mine-")
    assert (done.kept.parent, stem) == (labs / "mine", "00_start_here")
    assert datetime.strptime(stamp, "%Y%m%d-%H%M%S") <= datetime.now()


def test_an_unchanged_lab_stays_as_it_is(labs):
    done = reset("start_here", labs)
    assert (done.changed, done.kept) == (False, None)
    assert [path.name for path in labs.iterdir()] == [NAME]


def test_no_copy_overwrites_another(labs, monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 11, 22, 13, 14, 15)

    monkeypatch.setattr(resetting, "datetime", Stopped)
    works = [work(labs / NAME, f"answer = {n}") for n in range(3) if n == 0 or reset("00", labs)]
    reset("00", labs)
    names = [f"00_start_here.mine-20261122-131415{n}.ipynb" for n in ("", "-2", "-3")]
    assert [(labs / "mine" / name).read_bytes() for name in names] == works


def test_many_resets_at_once_keep_one_copy(labs):
    mine = work(labs / NAME)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: reset("00", labs), range(8)))
    assert [path.read_bytes() for path in (labs / "mine").iterdir()] == [mine]
    assert sum(one.changed for one in done) == 1
    assert (labs / NAME).read_bytes() == (LABS / NAME).read_bytes()


def test_a_copy_is_no_lab(labs):
    work(labs / NAME)
    reset("00", labs)
    assert [lab.name for lab in all_labs(labs)] == ["00_start_here"]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\x00", None])
def test_a_damaged_or_deleted_lab_comes_back(labs, damage):
    (labs / NAME).unlink()
    if damage is not None:
        (labs / NAME).write_bytes(damage)
    done = reset("00", labs)
    assert done.lab.read_bytes() == (LABS / NAME).read_bytes()
    assert (done.kept and done.kept.read_bytes()) == damage


def test_on_a_shared_server_the_learners_own_copy_comes_back(labs, tmp_path, monkeypatch):
    monkeypatch.setattr(resetting, "LABS", labs)
    home = tmp_path / "home" / "labs"
    shutil.copytree(labs, home)
    mine = rewrite(home / NAME)
    monkeypatch.setenv("SLMLAB_LABS", str(home))
    done = reset("00")
    assert (done.lab, done.kept.parent) == (home / NAME, home / "mine")
    assert done.lab.read_bytes() == (labs / NAME).read_bytes()
    assert done.kept.read_bytes() == mine


def test_line_ends_of_windows_are_no_change(labs):
    lab = labs / NAME
    lab.write_bytes(lab.read_bytes().replace(b"\n", b"\r\n"))
    assert not reset("00", labs).changed


@needs_git
def test_without_a_pristine_folder_it_comes_from_git(clone):
    mine = work(clone / NAME)
    done = reset("00", clone)
    assert done.lab.read_bytes() == (LABS / NAME).read_bytes()
    assert done.kept.read_bytes() == mine


@needs_git
@pytest.mark.parametrize("do", [work, run, guess])
def test_what_a_learner_committed_is_not_pristine(clone, do):
    mine = do(clone / NAME)
    git(clone, "commit", "-am", "My answers")
    done = reset("00", clone)
    assert done.lab.read_bytes() == (LABS / NAME).read_bytes()
    assert done.kept.read_bytes() == mine


@needs_git
def test_what_a_learner_committed_beside_the_answers_is_not_the_courses_either(clone, tmp_path):
    git(tmp_path, "clone", clone, "labs")
    labs = tmp_path / "labs"
    mine = rewrite(labs / NAME)
    git(labs, "commit", "-am", "My own code")
    done = reset("00", labs)
    assert done.lab.read_bytes() == (LABS / NAME).read_bytes()
    assert done.kept.read_bytes() == mine


@needs_git
def test_a_lab_deleted_in_a_clone_comes_back(clone):
    (clone / NAME).unlink()
    assert reset("start_here", clone).lab.read_bytes() == (LABS / NAME).read_bytes()


def test_without_either_it_says_so_and_touches_nothing(labs, monkeypatch):
    shutil.rmtree(labs.parent / ".pristine")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(labs.parents[1]))
    mine = work(labs / NAME)
    with pytest.raises(NotPossibleHere, match="no pristine copy of 00_start_here"):
        reset("00", labs)
    assert (labs / NAME).read_bytes() == mine
    assert [path.name for path in labs.iterdir()] == [NAME]


def test_without_git_installed_it_says_so_too(labs, monkeypatch):
    shutil.rmtree(labs.parent / ".pristine")
    monkeypatch.setattr(resetting.shutil, "which", lambda program: None)
    with pytest.raises(NotPossibleHere, match="no pristine copy"):
        reset("00", labs)


def test_an_unknown_lab_is_a_mistake(labs):
    with pytest.raises(UsageError, match="no lab '03'"):
        reset("03", labs)


@pytest.mark.parametrize("lab", all_labs(), ids=lambda lab: lab.name)
def test_the_courses_own_labs_count_as_untouched(lab):
    assert filled_in(lab.notebook(), lab.unit) == []


def test_the_command_says_where_the_copy_is(labs, monkeypatch, capsys):
    work(labs / NAME)
    monkeypatch.setattr(resetting, "reset", lambda name: reset(name, labs))
    assert main(["reset", "00"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(labs / NAME)
    assert f"yours is kept as {labs / 'mine'}" in err
    assert main(["reset", "00"]) == 0
    assert "there is nothing to do" in capsys.readouterr().err
