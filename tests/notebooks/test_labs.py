"""A lab is found by any name a person would use."""

import pytest
from nbformat.v4 import new_code_cell

from slmlab.errors import LabError, UsageError
from slmlab.notebooks.labs import all_labs, course, find_labs, has_tag


@pytest.mark.parametrize(
    "name", ["03", "quantization", "03_quantization", "labs/03_quantization.ipynb"]
)
def test_every_name_of_a_lab_finds_it(name):
    assert [lab.name for lab in find_labs([name])] == ["03_quantization"]


def test_no_name_means_every_lab_in_teaching_order():
    names = [lab.name for lab in find_labs()]
    assert names == sorted(names)
    assert names[:4] == ["00_start_here", "01_tiers", "02_acquisition", "03_quantization"]


def test_labs_come_in_teaching_order_however_they_are_named():
    assert [lab.name for lab in find_labs(["quantization", "01", "tiers"])] == [
        "01_tiers",
        "03_quantization",
    ]


def test_an_unknown_lab_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 03_quantization"):
        find_labs(["03_quantisation"])


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(UsageError, match="no labs in"):
        find_labs([], tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}']
)
def test_a_damaged_lab_is_named(tmp_path, text):
    (tmp_path / "01_broken.ipynb").write_text(text)
    with pytest.raises(LabError, match=r"01_broken\.ipynb is damaged"):
        find_labs([], tmp_path)


def test_every_lab_says_what_it_needs():
    for lab in all_labs():
        assert lab.title and lab.memory_bytes > 0 and lab.time_limit_seconds > 0, lab.name
        assert lab.minutes["quick"] <= lab.minutes["standard"], lab.name


def test_the_course_is_the_questions_of_each_lab_in_teaching_order():
    titles = course()
    assert list(titles) == [lab.name for lab in all_labs()]
    assert titles["00_start_here"] == ["start_here.q1", "start_here.q2"]


def test_a_cell_has_the_tags_that_its_metadata_names():
    assert has_tag(new_code_cell(metadata={"tags": ["a", "q1"]}), "q1")
    assert not has_tag(new_code_cell(metadata={"tags": ["q10"]}), "q1")
    assert not has_tag(new_code_cell(), "q1")
