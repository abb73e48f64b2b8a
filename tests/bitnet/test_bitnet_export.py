"""llama.cpp runs what was trained: the same tokens and logits, the weights bit for bit."""

import math

import numpy as np
import pytest
import torch

from slmlab import gguf, measurement
from slmlab.bitnet import checkpoint, corpus, export
from slmlab.bitnet.model import CONTEXT, Model
from slmlab.engines import llama_cpp
from slmlab.errors import UsageError
from slmlab.quantization import quantize

TEXTS = [
    "In the beginning",
    corpus.held_out_text()[:5000],
    "Debian's naïve café: 3 x 5 = 15\n\n\tend ",
    "we'll, I'VE, 漢字 \u00a0 \u200b?!",
]


@pytest.fixture(scope="module")
def model() -> Model:
    return checkpoint.load(ternary=True)[0]


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return {type: export.export(model, folder / f"{type}.gguf", type) for type in export.TYPES}


def test_an_engine_reads_the_same_tokens(files):
    with llama_cpp.load(files["F16"], CONTEXT) as engine:
        for text in TEXTS:
            assert engine.tokenize(text) == corpus.tokens(text).tolist()


def logits(path, tokens):
    with llama_cpp.load(path, CONTEXT) as engine:
        return np.array(engine.evaluate(tokens.tolist(), logits_from=0))


def test_the_f16_file_computes_what_the_weights_say(model, files):
    plain = Model(ternary=False)
    weights = export.final_weights(model)
    plain.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    tokens = corpus.tokens(corpus.held_out_text()[:2000])[:CONTEXT]
    with torch.no_grad():
        expected = plain(tokens[None])[0].numpy()
    assert np.abs(logits(files["F16"], tokens) - expected).max() < 0.05
    assert expected.std() > 1


def test_the_ternary_file_rounds_activations_as_training_did(model, files):
    tokens = corpus.tokens(corpus.held_out_text()[:2000])[:CONTEXT]
    with torch.no_grad():
        expected = model(tokens[None])[0].numpy()
    difference = logits(files["TQ2_0"], tokens) - expected
    assert np.sqrt((difference**2).mean()) < 0.05


@pytest.mark.parametrize("type", ["TQ2_0", "TQ1_0"])
def test_three_values_come_back_bit_for_bit(model, files, type):
    before, after = export.stored_weights(files["F16"]), export.stored_weights(files[type])
    assert before.keys() == after.keys() == model.state_dict().keys()
    for name, values in before.items():
        assert np.array_equal(values, after[name]), name
        if name.startswith("blk.") and values.ndim == 2:
            assert len(np.unique(values)) == 3


@pytest.mark.parametrize(("type", "bits"), [("TQ2_0", 2.0625), ("TQ1_0", 1.6875)])
def test_bits_per_weight_are_as_computed(files, type, bits):
    tensors = gguf.read_header(files[type]).tensors
    ternary = [tensor for tensor in tensors if tensor.type == type]
    assert len(ternary) == 21
    size = sum(tensor.bytes for tensor in ternary)
    assert 8 * size / sum(tensor.elements for tensor in ternary) == bits
    assert {tensor.type for tensor in tensors} == {type, "F16", "F32"}
    assert next(t.type for t in tensors if t.name == "token_embd.weight") == "F16"


def test_llama_cpp_packs_the_same_bytes(files, tmp_path):
    for made in quantize(files["F16"], ["TQ2_0", "TQ1_0"], tmp_path):
        for tensor in gguf.read_header(made.path).tensors:
            if tensor.type == made.type:
                theirs = gguf.read_tensor(made.path, tensor.name)
                assert theirs == gguf.read_tensor(files[made.type], tensor.name)


@pytest.mark.slow
def test_perplexity_is_the_same_within_a_thousandth(files):
    text = corpus.held_out_text()
    found = {
        type: measurement.perplexity(path, text, 128, CONTEXT).value for type, path in files.items()
    }
    assert math.isclose(found["TQ2_0"], found["F16"], rel_tol=0.001)
    assert found["TQ1_0"] == found["TQ2_0"]


def test_it_writes_english_of_its_time(files):
    with llama_cpp.load(files["TQ2_0"], CONTEXT) as engine:
        made = engine.generate("And the LORD said unto", 20)
    assert made.new_tokens == 20
    known = set(corpus.training_text().split())
    words = made.text.split()[:-1]
    assert sum(word in known for word in words) >= 0.8 * len(words)


def test_only_a_ternary_model_fits_a_ternary_type(tmp_path):
    with pytest.raises(UsageError, match="export it as F16"):
        export.export(Model(ternary=False), tmp_path / "x.gguf", "TQ2_0")
    with pytest.raises(UsageError, match="F16, TQ2_0, TQ1_0"):
        export.export(Model(ternary=True), tmp_path / "x.gguf", "Q4_0")
    assert list(tmp_path.iterdir()) == []
