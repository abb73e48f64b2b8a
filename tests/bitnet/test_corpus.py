"""The training text is what data/bitnet/README.md says, and the end of it is held out."""

import re

import pytest

from slmlab.bitnet import corpus
from slmlab.bitnet.model import ARCHITECTURE
from slmlab.files import data_path, sha256


def test_it_is_the_file_that_the_readme_names():
    path = data_path("bitnet", "bible.txt.xz")
    readme = data_path("bitnet", "README.md").read_text("utf-8")
    assert f"`{sha256(path)}`" in readme
    assert path.stat().st_size < 1_000_000


def test_it_is_plain_verses_without_references():
    text = corpus.training_text()
    assert text.startswith("In the beginning God created the heaven and the earth.\n")
    assert text.isascii()
    assert not re.search(r"\d|\n\n\n|\n ", text)


def test_the_end_is_held_out_between_two_chapters():
    learnt, held_out = corpus.training_text(), corpus.held_out_text()
    assert learnt.endswith(".\n\n")
    assert held_out.endswith("Christ be with you all. Amen.\n")
    assert len(held_out) / (len(learnt) + len(held_out)) == pytest.approx(0.05, abs=0.002)
    assert held_out[:1000] not in learnt


@pytest.mark.slow
def test_the_tokenizer_is_the_one_that_the_training_text_gives():
    assert corpus.make_tokenizer(ARCHITECTURE.vocabulary).to_str() == corpus.tokenizer().to_str()


@pytest.mark.parametrize("text", ["In the beginning", "naïve café, 3 \n\n\tend", "", "漢字"])
def test_any_text_comes_back_from_its_tokens(text):
    ids = corpus.tokens(text)
    assert corpus.tokenizer().decode(ids.tolist()) == text
    assert ((ids > 0) & (ids < ARCHITECTURE.vocabulary)).all()
