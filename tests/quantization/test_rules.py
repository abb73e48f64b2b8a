"""The type of each tensor as computed, against what llama.cpp really writes."""

from pathlib import Path

import numpy as np
import pytest

from slmlab import tiers
from slmlab.errors import UsageError
from slmlab.gguf import TYPES, read_header, tensor_bytes
from slmlab.quantization import QUANTIZATIONS, Quantized, quantize, tensor_types
from slmlab.quantization.rules import known, wanted_types

UNTIED = tiers.Architecture("llama", 17, 256, 8, 2, 32, 512, 64, tied_embeddings=False)
FUSED = tiers.Architecture("phi3", 9, 256, 8, 4, 32, 512, 64, tied_embeddings=True)
UNEVEN = tiers.Architecture("qwen3", 9, 96, 4, 2, 24, 160, 64, tied_embeddings=True)


def write_model(path: Path, a: tiers.Architecture) -> Path:
    """Write a model file of zeros with the tensors of an architecture: enough to be quantised."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, a.kind)
    writer.add_block_count(a.layers)
    writer.add_context_length(128)
    writer.add_embedding_length(a.hidden)
    writer.add_feed_forward_length(a.feed_forward)
    writer.add_head_count(a.heads)
    writer.add_head_count_kv(a.kv_heads)
    writer.add_key_length(a.head_size)
    writer.add_value_length(a.head_size)
    writer.add_rope_dimension_count(a.head_size)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(a.vocabulary)
    for name, shape in tiers.tensors(a):
        matrix = len(shape) > 1
        writer.add_tensor(name, np.zeros(shape[::-1], np.float16 if matrix else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def compare(files: list[Quantized]) -> None:
    for made in files:
        tensors = read_header(made.path).tensors
        predicted = tensor_types([(t.name, t.shape) for t in tensors], made.type)
        assert predicted == {t.name: t.type for t in tensors}, made.type


@pytest.mark.slow
def test_rules_are_those_of_llama_cpp_on_smollm2(every_type):
    assert [made.type for made in every_type] == list(QUANTIZATIONS)
    compare(every_type)


@pytest.mark.slow
def test_rules_where_rows_are_whole_blocks_and_four_query_heads_share_a_key_head(tmp_path):
    source = write_model(tmp_path / "untied.gguf", UNTIED)
    compare(quantize(source, list(QUANTIZATIONS), tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [FUSED, UNEVEN], ids=["fused projections", "odd rows"])
def test_rules_for_other_shapes(tmp_path, architecture):
    quants = ["Q4_0", "Q4_K_M", "Q5_K_M", "Q3_K_M", "Q2_K", "TQ2_0"]
    source = write_model(tmp_path / "model.gguf", architecture)
    compare(quantize(source, quants, tmp_path / "out"))


@pytest.mark.parametrize(
    ("quant", "bits"),
    [
        ("F16", 16.0005),
        ("Q8_0", 8.5008),
        ("Q6_K", 6.5633),
        ("Q5_K_M", 5.7036),
        ("Q4_K_M", 4.8944),
        ("Q3_K_M", 3.9960),
        ("Q2_K", 3.1593),
    ],
)
def test_bits_per_weight_of_llama_8b_are_those_llama_cpp_publishes(quant, bits):
    """llama.cpp, tools/quantize/README.md, for Llama 3.1 8B."""
    shapes = dict(tiers.tensors(tiers.card("llama-3-8b").architecture))
    types = tensor_types(shapes.items(), quant)
    size = sum(tensor_bytes(types[name], shape) for name, shape in shapes.items())
    assert 8 * size / sum(np.prod(s) for s in shapes.values()) == pytest.approx(bits, abs=5e-5)


@pytest.mark.parametrize(
    ("quant", "row", "type"),
    [
        ("Q4_K_M", 256, "Q4_K"),
        ("Q4_K_M", 576, "Q5_0"),
        ("Q5_K_M", 576, "Q5_1"),
        ("Q6_K", 576, "Q8_0"),
        ("Q2_K", 576, "Q4_0"),
        ("TQ2_0", 576, "Q4_0"),
        ("Q4_0", 576, "Q4_0"),
        ("Q4_0", 100, "F16"),
        ("F16", 100, "F16"),
    ],
)
def test_a_row_that_blocks_do_not_fill_falls_back(quant, row, type):
    types = tensor_types([("blk.20.ffn_up.weight", (row, 8))], quant)
    assert types == {"blk.20.ffn_up.weight": type}


def test_norms_biases_and_odd_tensors_are_never_quantised():
    kept = [("blk.0.attn_norm.weight", (64,)), ("blk.0.attn_q.bias", (64,))]
    kept += [("blk.0.ffn_gate_inp.weight", (64, 8)), ("rope_freqs.weight", (32,))]
    assert set(tensor_types(kept, "Q4_0").values()) == {"F32"}
    assert wanted_types(kept, "Q4_0") == {}


def test_an_embedding_that_is_also_the_output_keeps_more_bits():
    embedding = ("token_embd.weight", (256, 64))
    assert tensor_types([embedding], "Q4_0")["token_embd.weight"] == "Q6_K"
    untied = tensor_types([embedding, ("output.weight", (256, 64))], "Q4_0")
    assert untied == {"token_embd.weight": "Q4_0", "output.weight": "Q6_K"}


def test_names_are_found_in_any_case_and_unknown_ones_get_the_nearest():
    assert known("q4_k_m") == "Q4_K_M"
    with pytest.raises(UsageError, match="Q4_K_M"):
        known("Q4_K")
    with pytest.raises(UsageError, match="Q8_0"):
        known("int8")


def test_every_quantisation_names_a_real_tensor_type():
    assert set(QUANTIZATIONS.values()) <= set(TYPES)
