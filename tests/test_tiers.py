"""Model cards, the arithmetic on their architectures, and the three tiers."""

import re
from dataclasses import replace

import pytest

from slmlab import gguf, tiers
from slmlab.errors import UnknownModel
from slmlab.tiers import Architecture, breakdown, count_parameters, kv_cache_bytes, tensors

CARDS = list(tiers.cards().values())

# Read from the publishers' weight files; a card must not be able to agree only with itself.
PUBLISHED = {
    "smollm2-135m-instruct": 134_515_008,
    "gemma-3-270m": 268_098_176,
    "qwen2.5-0.5b-instruct": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "llama-3.2-1b-instruct": 1_235_814_400,
    "bitnet-b1.58-2b-4t": 2_412_820_480,
    "gemma-2-2b": 2_614_341_888,
    "phi-4-mini": 3_836_021_760,
    "olmo-2-7b-instruct": 7_298_617_344,
    "llama-3-8b": 8_030_261_248,
    "phi-4": 14_659_507_200,
    "gemma-3-27b": 27_009_346_304,
}

TINY = Architecture(
    kind="llama",
    layers=2,
    hidden=8,
    heads=4,
    kv_heads=2,
    head_size=2,
    feed_forward=16,
    vocabulary=100,
    tied_embeddings=False,
)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_architecture_gives_the_published_parameter_count(card):
    assert count_parameters(card.architecture) == pytest.approx(card.parameters, rel=0.005)


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_counts_are_met_exactly(name):
    card = tiers.card(name)
    assert (card.parameters, count_parameters(card.architecture)) == (PUBLISHED[name],) * 2


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_card_says_what_a_learner_and_fetch_need(card):
    assert card.name == card.name.lower()
    assert "/" in card.repository
    assert card.source and card.licence and card.languages and card.context > 0
    assert (card.gguf_repository is None) == (card.gguf_file is None)
    assert bool(card.gguf_file or card.wheels) == bool(re.fullmatch("[0-9a-f]{64}", card.sha256))
    assert card.architecture.heads % card.architecture.kv_heads == 0


def test_the_cards_are_in_order_of_size_and_fill_three_tiers():
    counts = [card.parameters for card in CARDS]
    assert counts == sorted(counts)
    assert len(counts) >= 24
    in_tier = [tiers.tier(count) for count in counts]
    assert all(in_tier.count(name) >= 5 for name in ("micro", "small", "medium"))


def test_a_model_published_with_a_vision_tower_says_so():
    noted = [card.name for card in CARDS if "vision tower" in card.note]
    assert noted == ["gemma-3-4b", "gemma-3-12b", "gemma-3-27b"]


def test_an_unknown_name_gets_the_nearest_names():
    with pytest.raises(UnknownModel, match=r"'smollm2-135'.*smollm2-135m-instruct"):
        tiers.card("smollm2-135")


def test_a_name_like_no_other_gets_none():
    with pytest.raises(UnknownModel, match="nearest: none"):
        tiers.card("@@@@")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (99_999_999, None),
        (100e6, "micro"),
        (1.4e9, "micro"),
        (1_499_999_999, "micro"),
        (1.5e9, "small"),
        (13.9e9, "small"),
        (13_999_999_999, "small"),
        (14e9, "medium"),
        (30e9, "medium"),
        (30_000_000_001, None),
    ],
)
def test_tier_boundaries(parameters, expected):
    assert tiers.tier(parameters) == expected


def test_sources_disagree_on_what_is_small():
    ten, thirty = tiers.CUT_OFFS
    assert (ten, thirty) == (10_000_000_000, 30_000_000_000)
    phi_4 = tiers.card("phi-4").parameters
    assert not tiers.is_small(phi_4, ten)
    assert tiers.is_small(phi_4, thirty)
    assert tiers.is_small(thirty, thirty)


def test_every_tensor_of_a_plain_llama():
    assert tensors(replace(TINY, layers=1)) == (
        ("token_embd.weight", (8, 100)),
        ("blk.0.attn_q.weight", (8, 8)),
        ("blk.0.attn_k.weight", (8, 4)),
        ("blk.0.attn_v.weight", (8, 4)),
        ("blk.0.attn_output.weight", (8, 8)),
        ("blk.0.ffn_gate.weight", (8, 16)),
        ("blk.0.ffn_up.weight", (8, 16)),
        ("blk.0.ffn_down.weight", (16, 8)),
        ("blk.0.attn_norm.weight", (8,)),
        ("blk.0.ffn_norm.weight", (8,)),
        ("output_norm.weight", (8,)),
        ("output.weight", (8, 100)),
    )


@pytest.mark.parametrize(
    ("kind", "present", "absent"),
    [
        ("qwen2", {"attn_q.bias", "attn_k.bias", "attn_v.bias"}, set()),
        ("qwen3", {"attn_q_norm.weight", "attn_k_norm.weight"}, {"attn_q.bias"}),
        ("phi3", {"attn_qkv.weight", "ffn_up.weight"}, {"attn_q.weight", "ffn_gate.weight"}),
        ("gemma3", {"post_attention_norm.weight", "post_ffw_norm.weight"}, set()),
        ("olmo2", {"post_attention_norm.weight", "attn_q_norm.weight"}, {"attn_norm.weight"}),
        ("bitnet", {"attn_sub_norm.weight", "ffn_sub_norm.weight"}, set()),
    ],
)
def test_where_an_architecture_differs_from_llama(kind, present, absent):
    names = {name.removeprefix("blk.0.") for name, _ in tensors(replace(TINY, kind=kind))}
    assert present <= names
    assert not absent & names


def test_norms_over_one_head_or_over_all_heads():
    qwen = dict(tensors(replace(TINY, kind="qwen3")))
    olmo = dict(tensors(replace(TINY, kind="olmo2")))
    assert qwen["blk.0.attn_k_norm.weight"] == (2,)
    assert olmo["blk.0.attn_k_norm.weight"] == (4,)


def test_tied_embeddings_are_stored_and_counted_once():
    tied = replace(TINY, tied_embeddings=True)
    assert "output.weight" not in dict(tensors(tied))
    assert count_parameters(TINY) - count_parameters(tied) == 8 * 100
    assert breakdown(tied)["output"] == 0


def test_the_breakdown_of_a_tiny_model_by_hand():
    assert breakdown(TINY) == {
        "embedding": 800,
        "attention": 2 * (64 + 32 + 32 + 64),
        "feed-forward": 2 * 3 * 8 * 16,
        "norms": 2 * 2 * 8 + 8,
        "output": 800,
    }


def test_rotary_tables_are_in_the_file_but_are_not_parameters():
    with_table = replace(TINY, rotary_factors=1)
    assert dict(tensors(with_table))["rope_freqs.weight"] == (1,)
    assert count_parameters(with_table) == count_parameters(TINY)
    long_context = dict(tensors(tiers.card("phi-4-mini").architecture))
    assert long_context["rope_factors_short.weight"] == (48,)


def test_kv_cache_of_llama_3_is_128_kib_a_token():
    llama = tiers.card("llama-3-8b").architecture
    assert kv_cache_bytes(llama, context=1) == 128 * 1024
    assert kv_cache_bytes(llama, context=8192, bytes_per_value=1) == 8192 * 64 * 1024


def test_sharing_heads_divides_the_kv_cache():
    shared = tiers.card("llama-3-8b").architecture
    unshared = replace(shared, kv_heads=shared.heads)
    assert kv_cache_bytes(unshared, 1024) == 4 * kv_cache_bytes(shared, 1024)


def test_a_sliding_window_stops_growing():
    windowed = replace(TINY, layers=6, sliding_window=10, global_every=6)
    token = 2 * 2 * 2 * 2
    assert kv_cache_bytes(windowed, 5) == 6 * 5 * token
    assert kv_cache_bytes(windowed, 100) == (5 * 10 + 100) * token


@pytest.mark.slow
def test_the_tensors_are_those_of_the_real_file(smollm2):
    in_file = {(tensor.name, tensor.shape) for tensor in gguf.read_header(smollm2).tensors}
    assert in_file == set(tensors(tiers.card("smollm2-135m-instruct").architecture))


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_transformers_builds_the_same_number_of_parameters(card):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    a = card.architecture
    config = AutoConfig.for_model(
        "gemma3_text" if a.kind == "gemma3" else a.kind,
        num_hidden_layers=a.layers,
        hidden_size=a.hidden,
        num_attention_heads=a.heads,
        num_key_value_heads=a.kv_heads,
        head_dim=a.head_size,
        intermediate_size=a.feed_forward,
        vocab_size=a.vocabulary,
        tie_word_embeddings=a.tied_embeddings,
        pad_token_id=0,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == count_parameters(a)
