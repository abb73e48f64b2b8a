"""A result is a file that is whole, or is not taken for one."""

import json
from dataclasses import replace

import pytest
import toy_sweep as toy

from slmlab.sweeping import Result, finished, read_result
from slmlab.sweeping.results import write_result

TASK, OTHER = toy.plan("size").tasks()


@pytest.fixture
def result():
    return Result(TASK, "0123abcd", (toy.number(TASK, 5.0),))


def test_what_is_kept_comes_back_as_recorded(result, tmp_path):
    write_result(result, tmp_path)
    recorded = replace(result.measurements[0], how="recorded")
    assert read_result(TASK, tmp_path) == replace(result, measurements=(recorded,))
    assert [path.name for path in tmp_path.iterdir()] == [f"{TASK.id}.json"]


def test_a_failure_is_kept_and_is_not_finished(tmp_path):
    write_result(Result(TASK, "0123abcd", (), "No memory."), tmp_path)
    assert read_result(TASK, tmp_path).failure == "No memory."
    assert finished([TASK], tmp_path) == []


def test_a_new_result_takes_the_place_of_an_old_one(result, tmp_path):
    write_result(Result(TASK, "0123abcd", (), "No memory."), tmp_path)
    write_result(result, tmp_path)
    assert [one.task for one in finished([OTHER, TASK], tmp_path)] == [TASK]


def cut(text):
    return text[: len(text) // 2]


def one_digit(text):
    return text.replace('"value": 5.0', '"value": 6.0')


def another_shape(text):
    return json.dumps([text])


def too_deep(text):
    return text.replace("5.0", "[" * 50_000 + "]" * 50_000)


@pytest.mark.parametrize(
    "damage", [cut, one_digit, another_shape, too_deep, lambda text: "", lambda _: "\0"]
)
def test_damage_is_recognised(result, tmp_path, damage):
    write_result(result, tmp_path)
    [path] = tmp_path.iterdir()
    path.write_text(damage(path.read_text()))
    assert read_result(TASK, tmp_path) is None


def test_the_result_of_another_task_is_not_taken(result, tmp_path):
    write_result(result, tmp_path)
    [path] = tmp_path.iterdir()
    path.rename(tmp_path / f"{OTHER.id}.json")
    assert read_result(OTHER, tmp_path) is None
