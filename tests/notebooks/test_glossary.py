"""The glossary: each lab links a term where it first uses it, and only in prose."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from slmlab.notebooks import glossary
from slmlab.notebooks.book import BOOK
from slmlab.notebooks.labs import all_labs

TEXT = """# Glossary

Words.

```{glossary}
cache
  A place.

KV cache
  Keys and values.

quantisation
quantization
  Fewer bits,
  with some loss.

Q4_0
  A type.
```
"""
TERMS = glossary.terms(TEXT)


def linked(*markdown: str) -> list[str]:
    notebook = new_notebook(cells=[new_markdown_cell(text) for text in markdown])
    glossary.link(notebook, TERMS)
    return [cell.source for cell in notebook.cells]


def test_a_glossary_names_its_terms():
    assert TERMS == {
        "cache": "cache",
        "KV cache": "KV cache",
        "quantisation": "quantisation",
        "quantization": "quantisation",
        "Q4_0": "Q4_0",
    }


def test_only_the_first_use_is_linked():
    assert linked("A cache is a cache.", "The cache.") == [
        "A {term}`cache <cache>` is a cache.",
        "The cache.",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Two caches.", "Two {term}`caches <cache>`."),
        ("Cache it.", "{term}`Cache <cache>` it."),
        ("The **cache**.", "The **{term}`cache <cache>`**."),
        ("Quantization costs.", "{term}`Quantization <quantisation>` costs."),
        ("The KV cache.", "The {term}`KV cache <KV cache>`."),
        ("The KV\ncache.", "The {term}`KV\ncache <KV cache>`."),
        ("In Q4_0, say.", "In {term}`Q4_0 <Q4_0>`, say."),
    ],
)
def test_a_term_is_found_as_prose_has_it(text, shown):
    assert linked(text) == [shown]


@pytest.mark.parametrize(
    "text",
    [
        "`cache`",
        "``a ` cache``",
        "```python\ncache = {}\n```",
        "## The cache",
        "[the cache](https://example.org)",
        "![a cache](cache.png)",
        "https://example.org/cache",
        '<img src="cache.png" alt="a cache">',
        "$cache$",
        "$$\ncache\n$$",
        "cached, a cache-miss, pre-cache, q4_0",
    ],
)
def test_nothing_else_is_touched(text):
    assert linked(text) == [text]


def test_prose_after_code_is_prose_again():
    assert linked("`a` cache\n```\ncache\n```\nQ4_0") == [
        "`a` {term}`cache <cache>`\n```\ncache\n```\n{term}`Q4_0 <Q4_0>`"
    ]


def test_code_cells_are_left_alone():
    notebook = new_notebook(cells=[new_code_cell("cache")])
    assert glossary.link(notebook, TERMS) == set()
    assert notebook.cells[0].source == "cache"


def test_an_entry_says_which_lab_uses_it_first():
    text = glossary.with_first_uses(TEXT, {"quantisation": "03_quantization"})
    assert "  with some loss.\n  First needed in {doc}`lab 03 <labs/03_quantization>`.\n" in text
    assert text.count("First needed in") == 1


@pytest.fixture(scope="module")
def uses() -> dict[str, list[str]]:
    """The labs that link each term, in teaching order."""
    terms = glossary.terms((BOOK / "glossary.md").read_text("utf-8"))
    found = {term: [] for term in terms.values()}
    for lab in all_labs():
        for term in glossary.link(lab.notebook(), terms):
            found[term].append(lab.name)
    return found


def test_every_term_of_the_course_is_used_in_a_lab(uses):
    assert [term for term, labs in uses.items() if not labs] == []


@pytest.mark.parametrize(
    ("term", "lab"),
    [
        ("token", "00_start_here"),
        ("KV cache", "01_tiers"),
        ("gated", "02_acquisition"),
        ("perplexity", "03_quantization"),
        ("standard error", "03_quantization"),
        ("roofline", "04_llama_cpp"),
        ("straight-through estimator", "07_bitnet"),
        ("paged attention", "09_vllm"),
        ("Little's law", "12_operations"),
    ],
)
def test_a_term_is_first_met_where_the_course_explains_it(uses, term, lab):
    assert uses[term][0] == lab


@pytest.mark.parametrize(
    ("term", "labs"),
    [
        ("bias", "01 06"),
        ("block (of weights or tokens)", "01 03 04 05 09"),
        ("group (of weights)", "06"),
        ("node", "04 05 12"),
        ("pass (in Olive)", "05"),
        ("recipe", "02 03"),
        ("roof", "03 04 06"),
        ("seal", "10"),
    ],
)
def test_a_common_word_is_linked_only_where_it_has_the_meaning_of_its_entry(uses, term, labs):
    """Where a lab means something else by the word, name a phrase of the right uses instead."""
    assert [lab[:2] for lab in uses[term]] == labs.split()


def test_every_entry_is_short_and_in_the_order_of_the_alphabet():
    text = (BOOK / "glossary.md").read_text("utf-8")
    names = list(dict.fromkeys(glossary.terms(text).values()))
    assert names == sorted(names, key=str.lower)
    for entry in text.partition("```{glossary}\n")[2].strip("`\n").split("\n\n"):
        assert 1 <= len([line for line in entry.splitlines() if line.startswith("  ")]) <= 3, entry
