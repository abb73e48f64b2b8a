"""The evaluation texts are what data/texts/README.md says they are."""

import re
import unicodedata

import pytest

from slmlab.files import data_path, sha256

ROW = re.compile(r"^\| (\w+)\.txt \| ([\d,]+) \| ([\d,]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)
README = data_path("texts", "README.md").read_text("utf-8")
TEXTS = {
    name: {"tokens": int(tokens.replace(",", "")), "bytes": int(size.replace(",", "")), "sha": sha}
    for name, tokens, size, sha in ROW.findall(README)
}


def test_readme_describes_every_text():
    assert set(TEXTS) == {path.stem for path in data_path("texts").glob("*.txt")}
    assert {"prose", "code"} <= set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_the_file_that_the_readme_names(name):
    path = data_path("texts", f"{name}.txt")
    assert path.stat().st_size == TEXTS[name]["bytes"]
    assert sha256(path) == TEXTS[name]["sha"]


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_clean_utf8_with_unix_line_ends(name):
    text = data_path("texts", f"{name}.txt").read_bytes().decode("utf-8")
    assert text.endswith("\n")
    assert unicodedata.is_normalized("NFC", text)
    control = {character for character in text if unicodedata.category(character).startswith("C")}
    assert control == {"\n"}


def test_prose_has_no_traces_of_its_pages():
    text = data_path("texts", "prose.txt").read_text("utf-8")
    assert not re.search(r"</?\w+[^>]*>|&\w+;|&#\d+;|\bPrev\b|\w-\n\w", text)
    paragraphs = text.strip().split("\n\n")
    assert all(paragraph == " ".join(paragraph.split()) for paragraph in paragraphs)
    assert len(paragraphs) == len(text.strip().splitlines()) // 2 + 1


@pytest.mark.parametrize("licence", ["CC-BY-SA-3.0.txt", "PSF-2.0.txt"])
def test_licence_of_each_text_is_here(licence):
    assert f"LICENSES/{licence}" in README
    assert len(data_path("texts", "LICENSES", licence).read_text("utf-8")) > 10_000


def test_prose_is_long_enough():
    assert TEXTS["prose"]["tokens"] >= 60_000


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_text_has_the_tokens_that_the_readme_counts(name, smollm2):
    from llama_cpp import Llama

    vocabulary = Llama(str(smollm2), vocab_only=True, verbose=False)
    text = data_path("texts", f"{name}.txt").read_bytes()
    tokens = vocabulary.tokenize(text, add_bos=False, special=False)
    vocabulary.close()
    assert len(tokens) == TEXTS[name]["tokens"]
