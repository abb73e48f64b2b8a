"""File sizes computed from a card, against real files and published ones."""

import pytest

from slmlab.errors import UsageError
from slmlab.quantization import file_bytes, published_sizes
from slmlab.tiers import card


@pytest.mark.slow
def test_size_of_smollm2_is_within_one_per_cent_in_every_type(every_type):
    for made in every_type:
        computed = file_bytes(card("smollm2-135m-instruct"), made.type)
        assert computed == pytest.approx(made.bytes, rel=0.01), made.type


@pytest.mark.parametrize(
    ("name", "quant", "gigabytes"),
    [
        # As listed by the publishers of the GGUF files on the Hugging Face Hub: bartowski's
        # gemma-3-4b-it, Qwen3-4B and phi-4, unsloth's gemma-3-1b-it.
        ("gemma-3-1b", "Q8_0", 1.07),
        ("gemma-3-1b", "Q4_K_M", 0.806),
        ("gemma-3-4b", "F16", 7.77),
        ("gemma-3-4b", "Q6_K", 3.19),
        ("gemma-3-4b", "Q4_K_M", 2.49),
        ("qwen3-4b", "F16", 8.05),
        ("qwen3-4b", "Q8_0", 4.28),
        ("qwen3-4b", "Q5_K_M", 2.89),
        ("phi-4", "Q8_0", 15.58),
        ("phi-4", "Q6_K", 12.03),
    ],
)
def test_sizes_of_others_are_those_published(name, quant, gigabytes):
    assert file_bytes(card(name), quant) / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_unknown_quantisation_is_refused():
    with pytest.raises(UsageError, match="no quantisation 'Q4'"):
        file_bytes(card("qwen3-0.6b"), "Q4")


def test_published_table_names_its_source_and_known_models():
    rows = published_sizes()
    assert [row.title for row in rows] == ["Phi-4-mini", "Qwen3-0.6B", "Gemma 3"]
    for row in rows:
        assert row.source
        assert set(row.gigabytes) == {"F16", "Q4_0", "Q8_0"}
        assert all(card(name) for name in row.cards)
