"""A room's progress files become one page: who is where, and which question stops people."""

import json
import re
from html.parser import HTMLParser

import pytest

from slmlab.cli import main
from slmlab.errors import LabError, UsageError
from slmlab.lessons import progress
from slmlab.lessons.question import Verdict
from slmlab.notebooks.labs import course
from slmlab.workshop.merging import merge, without_names, write_page

COURSE = {"00_start_here": ["start_here.q1", "start_here.q2"], "01_tiers": ["tiers.q1"]}


def entry(outcome, attempts=1, minute=0):
    last = f"2026-11-22T09:{minute:02}:00+00:00"
    return {"outcome": outcome, "attempts": attempts, "last": last}


@pytest.fixture
def file(tmp_path):
    """Write a progress file and return its path as a command would get it."""

    def write(name, **answers):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {title.replace("_q", ".q"): answer for title, answer in answers.items()}
        path.write_text(json.dumps(kept), "utf-8")
        return str(path)

    return write


@pytest.fixture
def room(file):
    return merge(
        [
            file(
                "ada.json",
                start_here_q1=entry("correct", 1, 1),
                start_here_q2=entry("correct", 2, 5),
                tiers_q1=entry("incorrect", 4, 20),
            ),
            file("ben.json", start_here_q1=entry("correct", 3), tiers_q1=entry("error", 1, 9)),
            file("cleo.json", start_here_q1=entry("incorrect", 9)),
            file("dan.json"),
        ],
        COURSE,
    )


class Page(HTMLParser):
    """The parts of a page that matter to whoever cannot see it."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += f" {data}"

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(tmp_path):
    def write(room):
        write_page(room, tmp_path / "page.html")
        return Page((tmp_path / "page.html").read_text("utf-8"))

    return write


def test_each_learner_is_where_the_last_answer_was(room):
    assert {one.label: one.where for one in room.learners} == {
        "ada": "tiers.q1",
        "ben": "tiers.q1",
        "cleo": "start_here.q1",
        "dan": None,
    }
    assert [one.correct(room.titles) for one in room.learners] == [2, 1, 0, 0]


def test_each_question_is_counted(room):
    [first, second] = room.tallies("00_start_here")
    assert (first.not_attempted, first.incorrect, first.correct, first.attempts) == (1, 1, 2, 13)
    assert (second.not_attempted, second.incorrect, second.correct) == (3, 0, 1)
    [third] = room.tallies("01_tiers")
    assert (third.not_attempted, third.incorrect, third.correct, third.attempts) == (2, 2, 0, 5)


def test_what_stops_most_people_comes_first(room):
    assert [tally.question for tally in room.stopping()] == ["tiers.q1", "start_here.q1"]


def test_real_progress_is_read(file):
    for outcome in ("incorrect", "incorrect", "correct"):
        progress.remember(Verdict("tiers.q1", outcome, ""))
    room = merge([f"Eva={progress.progress_file()}"], course())
    [answer] = room.learners[0].answers.values()
    assert (answer.correct, answer.attempts) == (True, 3)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["seat 7.json"], ["seat 7"]),
        (["anna/progress.json", "bob/progress.json"], ["anna", "bob"]),
        (["a/kim.json", "b/kim.json", "c/kim.json"], ["kim", "kim (2)", "kim (3)"]),
    ],
)
def test_a_learner_is_called_as_the_file_or_its_folder(file, names, labels):
    room = merge([file(name) for name in names], COURSE)
    assert [one.label for one in room.learners] == labels


def test_a_label_can_be_chosen(file):
    path = file("x=y.json")
    assert [one.label for one in merge([f"row 1, left={path}"], COURSE).learners] == ["row 1, left"]
    assert [one.label for one in merge([path], COURSE).learners] == ["x=y"]


def test_a_folder_stands_for_the_files_in_it(file, tmp_path):
    for name in ("collected/ben.json", "collected/ada.json", "collected/cleo/progress.json"):
        file(name)
    room = merge([str(tmp_path / "collected")], COURSE)
    assert [one.label for one in room.learners] == ["ada", "ben", "cleo"]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        '"text"',
        "{",
        "[" * 100_000,
        '{"tiers.q1": 3}',
        '{"tiers.q1": {"outcome": "correct", "attempts": 1}}',
        json.dumps({"tiers.q1": entry("splendid")}),
        json.dumps({"tiers.q1": entry("correct", 0)}),
        json.dumps({"tiers.q1": entry("correct", "many")}),
        json.dumps({"tiers.q1": entry("correct") | {"last": "yesterday"}}),
        json.dumps({"tiers.q1": entry("correct") | {"last": "0001-01-01T00:00:00+09:00"}}),
        " " * 1_000_001 + "{}",
    ],
    ids=lambda damage: damage[:60].strip() or "blank",
)
def test_a_damaged_file_is_named_and_the_others_are_merged(file, tmp_path, damage):
    (tmp_path / "bad.json").write_text(damage, "utf-8")
    room = merge([str(tmp_path / "bad.json"), file("good.json")], COURSE)
    assert [one.label for one in room.learners] == ["good"]
    [sentence] = room.left_out
    assert sentence.startswith(f"{tmp_path / 'bad.json'} is damaged or no progress file")


def test_a_file_that_is_no_text_is_left_out(file, tmp_path):
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    assert len(merge([str(tmp_path / "bad.json"), file("good.json")], COURSE).left_out) == 1


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"tiers.q1": entry("correct")}), "utf-8-sig")
    assert merge([str(tmp_path / "a.json")], COURSE).tallies("01_tiers")[0].correct == 1


def test_answers_to_other_questions_are_named(file):
    room = merge([file("ada.json", tiers_q1=entry("correct"), tiers_q9=entry("correct"))], COURSE)
    assert list(room.learners[0].answers) == ["tiers.q1"]
    assert "does not have (tiers.q9)" in room.left_out[0]


def test_a_file_that_is_not_there_is_a_mistake(file, tmp_path):
    for missing in (tmp_path / "gone.json", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=f"no progress file at {re.escape(str(missing))}"):
            merge([file("good.json"), str(missing)], COURSE)


def test_nothing_but_damaged_files_is_an_error(tmp_path):
    (tmp_path / "bad.json").touch()
    with pytest.raises(LabError, match=r"nothing to merge: .*bad\.json is damaged"):
        merge([str(tmp_path / "bad.json")], COURSE)


def test_the_page_says_who_is_where_and_what_stops_people(room, page):
    text = " ".join(page(room).text.split())
    assert "Where 4 learners are" in text
    assert "tiers.q1 2 0 5 start_here.q1 1 2 13" in text
    assert re.search(r"ada tiers\.q1 [\d-]+ [\d:]+ 2 of 3 2 of 2 0 of 1", text)
    assert "dan none yet - 0 of 3 - -" in text
    assert "00_start_here 4 1 3 15 start_here.q1 1 1 2 13" in text


def test_the_page_can_be_read_without_seeing_it(room, page):
    found = page(room)
    assert found.all("html") == [{"lang": "en-GB"}]
    assert len(found.all("h1")) == len(found.all("main")) == 1
    assert len(found.all("caption")) == len(found.all("table")) == 3
    assert {head.get("scope") for head in found.all("th")} == {"col", "row"}
    for region in found.all("div"):
        assert region["tabindex"] == "0" and region["aria-label"]


def test_the_page_needs_nothing_else(room, page, tmp_path):
    found = page(room)
    assert not found.all("script") and not found.all("link") and not found.all("img")
    assert "http" not in (tmp_path / "page.html").read_text("utf-8")


def test_a_name_cannot_become_markup(file, page):
    room = merge([f"<script>alert(1)</script>={file('ada.json')}"], COURSE)
    found = page(room)
    assert not found.all("script")
    assert "<script>alert(1)</script>" in found.text


def test_without_names_there_are_numbers_by_how_far_people_are(room, file, tmp_path, page):
    (tmp_path / "zoe.json").touch()
    named = merge(
        [file("dan.json"), str(tmp_path / "zoe.json"), str(tmp_path / "ada.json")], COURSE
    )
    shown = without_names(named)
    assert [(one.label, one.correct(shown.titles)) for one in shown.learners] == [
        ("learner 1", 2),
        ("learner 2", 0),
    ]
    text = page(shown).text
    assert "left out, wholly or in part: 1." in text
    assert not re.search(r"\b(ada|dan|zoe)\b", text)


def test_the_command_writes_the_page_and_names_what_is_damaged(file, tmp_path, capsys):
    (tmp_path / "bad.json").touch()
    page = tmp_path / "out" / "room.html"
    named = [file("ada.json", tiers_q1=entry("incorrect")), str(tmp_path / "bad.json")]
    assert main(["progress", "--merge", *named, "--out", str(page)]) == 1
    out, err = capsys.readouterr()
    assert out.strip() == str(page)
    assert "bad.json is damaged" in err
    assert "ada" in page.read_text("utf-8")


def test_the_command_prints_a_table_or_json(file, capsys):
    named = [file("ada.json", tiers_q1=entry("incorrect", 2)), file("ben.json")]
    assert main(["progress", "--merge", *named]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^ada +tiers\.q1 +0 of \d+$", out, re.MULTILINE)
    assert "stops people: tiers.q1 (1)" in err
    assert main(["progress", "--json", "--anonymous", "--merge", *named]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stopping"] == ["tiers.q1"] and found["left_out"] == []
    assert found["learners"]["learner 1"]["questions"]["tiers.q1"]["attempts"] == 2


@pytest.mark.parametrize("option", [["--anonymous"], ["--out", "page.html"]])
def test_what_belongs_to_merging_is_refused_without_it(option, capsys):
    assert main(["progress", *option]) == 2
    assert "go with --merge" in capsys.readouterr().err
