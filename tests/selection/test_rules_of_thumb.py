"""Rules of thumb: judged by the numbers, whichever way these fall."""

from dataclasses import replace

import pytest

from slmlab.selection import briefs, decide, rules


@pytest.fixture(scope="module")
def decisions():
    return {name: decide(one) for name, one in briefs().items()}


def verdicts(decisions, rows):
    return {one.rule: one.holds for one in rules.check(decisions, rows)}


def with_value(rows, subject, quantity, value):
    return [
        replace(row, value=value) if (row.subject, row.quantity) == (subject, quantity) else row
        for row in rows
    ]


def test_the_smallest_file_is_not_enough_to_be_the_smallest(decisions, measuring):
    rows = measuring()
    assert not verdicts(decisions, rows)["Q4_0 for the smallest"]
    lean = with_value(rows, "llama_cpp Q4_0", "peak memory", 150e6)
    assert verdicts(decisions, lean)["Q4_0 for the smallest"]


def test_a_balance_is_not_beaten_in_everything(decisions, measuring):
    rows = measuring()
    assert verdicts(decisions, rows)["Q5_1 for balance"]
    heavy = with_value(rows, "llama_cpp Q5_1", "peak memory", 300e6)
    slow = with_value(heavy, "llama_cpp Q5_1", "decode speed", 1.0)
    assert not verdicts(decisions, slow)["Q5_1 for balance"]


def test_near_the_original_is_within_two_per_cent(decisions, measuring):
    rows = measuring()
    assert verdicts(decisions, rows)["Q8_0 is near the original"]
    bad = with_value(rows, "llama_cpp Q8_0", "perplexity", 12.0)
    assert not verdicts(decisions, bad)["Q8_0 is near the original"]


def test_a_rule_about_a_model_holds_where_that_model_comes_first(decisions, measuring):
    rule = "Qwen3 0.6B for a chatbot on a phone"
    assert not verdicts(decisions, measuring())[rule]
    only = replace(briefs()["phone"], models=("qwen3-0.6b",))
    assert verdicts(decisions | {"phone": decide(only)}, measuring())[rule]


def test_what_is_so_by_assumption_is_not_decided(decisions, measuring):
    found = {one.rule: one for one in rules.check(decisions, measuring())}
    finding = found["llama.cpp for processors"]
    assert finding.holds is None
    assert finding.verdict == "not decided"
    assert "by assumption" in finding.why


def test_each_finding_has_its_numbers_and_how_they_were_got(decisions, measuring):
    for finding in rules.check(decisions, measuring()):
        assert any(sign.isdigit() for sign in finding.why), finding.rule
        assert finding.how in ("measured", "computed")


def test_measurements_are_sorted_by_quantisation(measuring):
    assert rules.by_quantization(measuring())["Q8_0"]["perplexity"] == 11.7
