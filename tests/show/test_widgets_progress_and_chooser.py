"""Course progress reads what is kept; the chooser decides what the fields say."""

import dataclasses

import pytest

from slmlab.errors import UsageError
from slmlab.selection import brief, briefs, decide
from slmlab.show.widgets import chooser, course_progress, decision_view, progress_view

ASKED = {"Start here": ["start_here.q1", "start_here.q2"], "Tiers": ["tiers.q1"]}
KEPT = {
    "start_here.q1": {"outcome": "correct", "attempts": 2, "last": ""},
    "start_here.q2": {"outcome": "incorrect", "attempts": 3, "last": ""},
}


def controls(panel):
    return {control.description: control for control in panel.children[1].children}


def test_progress_counts_what_is_correct_and_what_was_tried():
    text = progress_view(ASKED, KEPT).text
    assert "1 of 3 questions are answered correctly" in text
    assert "Start here: 1 of 2 correct, 2 tried" in text
    assert "Tiers: 0 of 1 correct, 0 tried" in text


def test_a_bar_of_progress_can_be_heard():
    html = progress_view(ASKED, KEPT).html
    assert '<progress value="1" max="2" aria-label="Start here">' in html


def test_one_lab_shows_each_of_its_questions():
    panel = course_progress(ASKED, lambda: KEPT)
    controls(panel)["Lab"].value = "Start here"
    rows = [line.split() for line in panel.view.text.splitlines()]
    assert ["start_here.q1", "correct", "2"] in rows
    assert ["start_here.q2", "incorrect", "3"] in rows
    controls(panel)["Lab"].value = "Tiers"
    assert "not attempted" in panel.view.text


def test_a_lab_that_is_not_there_is_an_error_in_the_plain_call():
    with pytest.raises(UsageError, match="no lab 'tears'"):
        progress_view(ASKED, KEPT, "tears")


def test_progress_is_read_again_when_asked():
    kept = {}
    panel = course_progress(ASKED, lambda: kept)
    assert "0 of 3" in panel.view.text
    kept |= KEPT
    controls(panel)["Read again"].click()
    assert "1 of 3" in panel.view.text
    assert panel.view == progress_view(ASKED, KEPT)


def test_the_chooser_starts_with_the_decision_of_the_first_brief():
    panel = chooser(briefs())
    first = next(iter(briefs().values()))
    assert panel.view == decision_view(decide(first))
    assert str(decide(first).best) in panel.view.text


def test_no_brief_at_all_is_an_error_in_the_plain_call():
    with pytest.raises(UsageError, match="no brief to decide"):
        chooser({})


def test_another_brief_fills_the_fields_and_is_decided():
    panel = chooser(briefs())
    fields = controls(panel)
    fields["Brief"].value = "gateway"
    assert fields["Memory, GB"].value == 0.3
    assert panel.view == decision_view(decide(brief("gateway")))
    assert "0 of" in panel.view.text


def test_an_altered_field_counts_once_the_button_is_pressed():
    panel = chooser(briefs())
    fields, before = controls(panel), panel.view
    fields["Users at once"].value = 10
    assert panel.view == before
    fields["Choose again"].click()
    altered = dataclasses.replace(brief("phone"), users=10)
    assert panel.view == decision_view(decide(altered))


def test_memory_and_bandwidth_are_changed_in_bytes():
    panel = chooser(briefs())
    controls(panel)["Memory, GB"].value = 0.3
    controls(panel)["Choose again"].click()
    device = dataclasses.replace(brief("phone").device, memory_bytes=0.3e9)
    altered = dataclasses.replace(brief("phone"), device=device)
    assert panel.view == decision_view(decide(altered))


def test_a_brief_that_cannot_be_is_a_sentence():
    panel = chooser(briefs())
    controls(panel)["Brief"].value = "laptop"
    controls(panel)["Context, tokens"].value = 256
    controls(panel)["Choose again"].click()
    assert "does not fit a context of 256" in panel.view.text


def test_a_decision_says_in_words_what_left_candidates_out():
    decision = decide(brief("gateway"))
    text = decision_view(decision).text
    for name, count in decision.broken().items():
        assert f"{name} {count}" in text
