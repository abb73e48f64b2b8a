"""The dossier: complete, self-contained, and safe against what a model says."""

import re
import shutil
from dataclasses import replace

import pytest

from slmlab.measurement import keeping, recorded
from slmlab.selection import brief, briefs, decide, rules
from slmlab.selection.dossier import Talk, write

TALK = Talk("llama_cpp 1.0, a model", "What is <b>bold</b>?", "<script>alert(1)</script> & more")


@pytest.fixture
def page(measuring, tmp_path) -> str:
    rows = measuring()
    decisions = {name: decide(one) for name, one in briefs().items()}
    path = write(
        decisions["phone"],
        rows,
        {"06_mlx": recorded("mlx"), "03_quantization": rows[:2]},
        rules.check(decisions, rows),
        TALK,
        {"tiers.q1": {"outcome": "correct"}, "tiers.q2": {"outcome": "incorrect"}},
        tmp_path / "dossier.html",
    )
    return path.read_text("utf-8")


def test_it_needs_nothing_from_elsewhere(page):
    assert not re.search(r"(src|href)=|url\(|@import|<script|<link", page)


def test_it_prints_and_knows_light_and_dark(page):
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page


def test_it_says_what_was_chosen_why_and_what_would_change_it(page):
    best = decide(brief("phone")).best
    assert str(best) in page
    for sentence in (*best.reasons, *best.would_change):
        assert sentence.replace("'", "&#39;") in page


def test_every_measurement_stands_with_unit_conditions_machine_and_date(page, measuring):
    [row] = [r for r in measuring() if (r.subject, r.quantity) == ("llama_cpp Q5_1", "perplexity")]
    assert "13.10 ± 0.40" in page
    assert "measured, chunks 2, context 256" in page
    assert row.machine in page
    assert row.date in page


def test_what_was_recorded_never_looks_measured(page):
    assert "06_mlx: recorded elsewhere or earlier" in page
    assert "Kept from 03_quantization" in page
    assert "recorded, threads 1, tokens 16" in page


def test_what_a_model_says_is_text_and_not_markup(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "What is &lt;b&gt;bold&lt;/b&gt;?" in page


def test_it_says_how_many_questions_were_answered_rightly(page):
    assert "tiers 1 of 2 right" in page


def test_a_brief_without_an_answer_has_a_dossier_too(tmp_path):
    text = write(decide(brief("gateway")), [], path=tmp_path / "d.html").read_text("utf-8")
    assert "nothing meets the brief" in text
    assert "gemma-3-270m" in text


def test_without_a_path_it_lies_where_progress_is_kept():
    decision = decide(replace(brief("phone"), models=("qwen3-0.6b",)))
    assert write(decision, []) == keeping.own_folder() / "dossier.html"


@pytest.mark.slow
def test_without_other_labs_it_prints_on_one_page(measuring, tmp_path):
    write(decide(brief("phone")), measuring(), path=tmp_path / "dossier.html")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium to print with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        sheet = opened.new_page()
        sheet.goto((tmp_path / "dossier.html").as_uri())
        printed = sheet.pdf(prefer_css_page_size=True)
        opened.close()
    assert b"/Count 1\n" in printed
