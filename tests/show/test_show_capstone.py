"""Lab 13's tables and pictures show what they are given."""

import pytest
from IPython.utils.capture import capture_output

from slmlab.measurement import Row
from slmlab.selection import brief, briefs, decide
from slmlab.selection.rules import Finding
from slmlab.show import capstone


def shown(display, *given) -> str:
    with capture_output() as captured:
        display(*given)
    return captured.stdout + "".join(output.data["text/html"] for output in captured.outputs)


def row(precision, memory, speed) -> Row:
    return Row(
        "llama_cpp", precision, 90, memory, 500, speed, 0.3, 1, "computed", "x", 12, 1,
        128, 24, 2, 256, 2,
    )  # fmt: skip


def test_each_brief_is_a_row_with_its_limits():
    text = shown(capstone.briefs, briefs())
    for name in briefs():
        assert f">{name}<" in text
    assert "open, no terms" in text
    assert "300 MB" in text


def test_choices_say_what_is_computed_and_what_is_published():
    decision = decide(brief("phone"))
    text = shown(capstone.choices, decision, 2)
    assert f"{decision.best.quality.value:g}, published" in text
    assert f"{decision.best.decode_tokens_per_second:.1f}, computed" in text
    assert str(decision.choices[1]) in text
    assert str(decision.choices[2]) not in text


def test_a_decision_without_choices_is_a_sentence():
    assert "Nothing meets gateway" in shown(capstone.choices, decide(brief("gateway")))


def test_answers_name_the_first_choice_or_nothing():
    decisions = {name: decide(brief(name)) for name in ("phone", "gateway")}
    text = shown(capstone.answers, decisions)
    assert str(decisions["phone"].best) in text
    assert "nothing" in text


def test_broken_requirements_are_drawn_as_shares_of_all_candidates():
    decision = decide(brief("gateway"))
    ax = capstone.broken({"gateway": decision}).axes[0]
    columns = [label.get_text() for label in ax.get_xticklabels()]
    values = [text.get_text() for text in ax.texts]
    share = 100 * decision.broken()["memory"] / len(decision.excluded)
    assert values[columns.index("memory")] == f"{share:.0f}"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["gateway: 0 left"]


def test_calibration_draws_each_ratio_and_the_guess():
    ax = capstone.calibration({"Q4_0": 0.8, "F16": 1.1}, 0.5).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.8, 1.1]
    assert any("your guess: 0.5" in label for label in ax.get_legend_handles_labels()[1])


def test_limits_mark_the_chosen_form_and_both_limits():
    rows = [row("Q4_0", 250_000_000, 180), row("F16", 370_000_000, 110)]
    ax = capstone.limits(rows, brief("office"), "Q4_0").axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["Q4_0 (chosen)", "F16"]
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["at most 8,000 MB, far to the right", "at least 4 tokens/s"]


@pytest.mark.parametrize(
    ("holds", "word"), [(True, "holds"), (False, "fails"), (None, "not decided")]
)
def test_findings_say_whether_a_rule_holds(holds, word):
    text = shown(capstone.findings, [Finding("a rule", holds, "1 < 2", "measured")])
    assert word in text
    assert "a rule" in text
