"""A sweep's table keeps machines apart, and its picture names every point."""

from dataclasses import replace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from slmlab import show
from slmlab.measurement import measured
from slmlab.show import sweeping as pictures
from slmlab.sweeping import Result, Task, summary

HERE, THERE = "0123abcd", "4567ef89"


def result(quantisation, quantity, value, machine=HERE, **more):
    kind = "speed" if quantity == "decode speed" else quantity
    task = Task(kind, "smollm2", "llama_cpp", quantisation, 1, **more)
    return Result(task, machine, (measured(task.subject, quantity, value, "", 0.25),))


RESULTS = [
    result("Q4_0", "perplexity", 14.0, text="prose"),
    result("Q4_0", "perplexity", 30.0, text="code"),
    result("Q4_0", "decode speed", 100.0),
    result("Q8_0", "perplexity", 12.0, text="prose"),
    result("Q8_0", "decode speed", 60.0, THERE),
]


def test_a_column_is_one_quantity_text_and_machine():
    frame = pictures.frame(summary(RESULTS))
    assert list(frame.columns) == [
        "model",
        "engine",
        "quantisation",
        "perplexity on prose",
        "perplexity on code",
        f"decode speed, machine {HERE}",
        f"decode speed, machine {THERE}",
    ]
    assert frame.values.tolist() == [
        ["smollm2", "llama_cpp", "Q4_0", "14.00 ± 0.25", "30.00 ± 0.25", "100.00 ± 0.25", "-"],
        ["smollm2", "llama_cpp", "Q8_0", "12.00 ± 0.25", "-", "-", "60.00 ± 0.25"],
    ]


def test_what_disagrees_stands_in_two_columns():
    first = RESULTS[0]
    other = replace(first, task=replace(first.task, repetition=2), machine=THERE)
    other = replace(other, measurements=(replace(first.measurements[0], value=20.0),))
    columns = list(pictures.frame(summary([first, other])).columns)
    assert columns[3:] == [f"perplexity on prose, machine {name}" for name in (HERE, THERE)]


def test_versions_are_named_where_only_they_tell_numbers_of_a_machine_apart():
    first, other = result("Q4_0", "decode speed", 100.0), result("Q4_0", "decode speed", 80.0)
    newer = replace(other.measurements[0], versions={"slmlab": "1", "llama-cpp-python": "9"})
    older = replace(first.measurements[0], versions={"slmlab": "1", "llama-cpp-python": "8"})
    rows = summary([replace(first, measurements=(older,)), replace(other, measurements=(newer,))])
    assert pictures.frame(rows).iloc[0, 3:].to_dict() == {
        f"decode speed, machine {HERE}, llama-cpp-python 8": "100.00 ± 0.25",
        f"decode speed, machine {HERE}, llama-cpp-python 9": "80.00 ± 0.25",
    }


def test_the_table_carries_every_number_with_its_origin():
    InteractiveShell.instance()
    with capture_output() as captured:
        pictures.table(summary(RESULTS))
    [output] = captured.outputs
    assert len(output.data[show.MEASUREMENTS_MIME]) == len(RESULTS)
    assert "Recorded on" in output.data["text/plain"]
    assert "14.00 ± 0.25" in output.data["text/html"]


def test_the_picture_has_a_point_for_each_form_and_a_marker_for_each_machine():
    [ax] = pictures.picture(summary(RESULTS)).axes
    assert [text.get_text() for text in ax.texts] == ["Q4_0", "Q8_0"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"smollm2, llama_cpp, machine {name}" for name in (HERE, THERE)
    ]
    assert [tuple(text.xy) for text in ax.texts] == [(100.0, 14.0), (60.0, 12.0)]


@pytest.mark.parametrize("kept", [RESULTS[:2], RESULTS[2:3], []])
def test_what_has_no_speed_or_no_perplexity_is_left_out(kept):
    [ax] = pictures.picture(summary(kept)).axes
    assert not ax.texts
