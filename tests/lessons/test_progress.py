"""Progress is one small file that survives everything and stops nothing."""

import json
import multiprocessing
from pathlib import Path

import pytest

from slmlab.lessons import progress
from slmlab.lessons.question import Verdict


def verdict(outcome, question="tiers.q1"):
    return Verdict(question, outcome, "")


def remember_many(question):
    for _ in range(20):
        progress.remember(verdict("incorrect", question))


def test_at_first_there_is_none():
    assert progress.read() == {}


def test_the_file_is_where_the_environment_says(tmp_path):
    progress.remember(verdict("correct"))
    assert progress.progress_file() == tmp_path / "progress.json"
    assert progress.progress_file().is_file()


def test_without_a_word_it_is_in_the_users_data_folder(monkeypatch):
    monkeypatch.delenv("SLMLAB_PROGRESS")
    assert progress.progress_file().parts[-2:] == ("slmlab", "progress.json")


def test_attempts_are_counted_and_the_last_outcome_kept():
    for outcome in ("incorrect", "error"):
        progress.remember(verdict(outcome))
    entry = progress.read()["tiers.q1"]
    assert (entry["outcome"], entry["attempts"]) == ("error", 2)


def test_once_correct_always_correct():
    for outcome in ("correct", "incorrect"):
        progress.remember(verdict(outcome))
    assert progress.read()["tiers.q1"]["outcome"] == "correct"


def test_an_untouched_starter_leaves_no_trace():
    progress.remember(verdict("not attempted"))
    assert not progress.progress_file().exists()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"tiers.q1": 3}',
        b'{"tiers.q1": {"outcome": "correct"}}',
        b'{"tiers.q1": {"outcome": "correct", "attempts": "many", "last": ""}}',
    ],
)
def test_a_damaged_file_reads_as_no_progress_and_is_replaced(damage):
    progress.progress_file().write_bytes(damage)
    assert progress.read() == {}
    progress.remember(verdict("correct"))
    assert progress.read()["tiers.q1"]["outcome"] == "correct"
    assert json.loads(progress.progress_file().read_text("utf-8"))


def test_two_kernels_at_once_lose_nothing():
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=remember_many, args=(f"tiers.q{i}",)) for i in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {name: entry["attempts"] for name, entry in progress.read().items()} == {
        "tiers.q1": 20,
        "tiers.q2": 20,
    }


def test_nothing_half_written_is_left_behind(tmp_path):
    progress.remember(verdict("correct"))
    left = {path.name for path in Path(tmp_path).iterdir()}
    assert left <= {"progress.json", ".progress.json.lock"}


@pytest.mark.parametrize(
    "attempts", ["Infinity", "1e999", '"many"', "null", "[" * 5000 + "]" * 5000]
)
def test_what_no_verdict_has_is_no_progress(attempts):
    entry = f'{{"outcome": "correct", "attempts": {attempts}, "last": ""}}'
    progress.progress_file().write_text(f'{{"tiers.q1": {entry}}}')
    assert progress.read() == {}
