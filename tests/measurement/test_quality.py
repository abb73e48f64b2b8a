"""Perplexity and KL divergence: the definitions at toy size, the protocol on the real model."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from slmlab import measurement
from slmlab.errors import UsageError
from slmlab.measurement import quality


class Recorder:
    """Stands for an engine; remembers what it was asked to read."""

    path, vocabulary = Path("recorder.gguf"), 4

    def __init__(self, start=None):
        self.start, self.read, self.cleared = start, [], 0

    def start_token(self):
        return self.start

    def clear(self):
        self.cleared += 1

    def evaluate(self, tokens, position=0, logits_from=None):
        self.read.append((list(tokens), logits_from))
        return np.zeros((len(tokens) - logits_from, self.vocabulary), np.float32)

    def tokenize(self, text):
        return [len(word) for word in text.split()]


def softmax(row):
    exponentials = np.exp(row.astype(np.float64))
    return exponentials / exponentials.sum()


def test_only_the_second_half_of_a_chunk_is_scored():
    logits, followers = quality._scored(Recorder(), list(range(512)))
    assert len(logits) == len(followers) == 255
    assert followers[0] == 257 and followers[-1] == 511


def test_memory_is_cleared_before_each_chunk():
    engine = Recorder()
    quality._scored(engine, list(range(8)))
    quality._scored(engine, list(range(8)))
    assert engine.cleared == 2


def test_the_first_token_gives_way_to_the_start_token_only_where_the_model_wants_one():
    with_start, without = Recorder(start=99), Recorder()
    quality._scored(with_start, [1, 2, 3, 4])
    quality._scored(without, [1, 2, 3, 4])
    assert with_start.read[0][0] == [99, 2, 3, 4]
    assert without.read[0][0] == [1, 2, 3, 4]


def test_loss_is_the_negative_log_of_the_followers_probability():
    logits = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    expected = [-math.log(softmax(logits[0])[1]), math.log(4)]
    assert quality._losses(logits, [1, 3]) == pytest.approx(expected)


def test_loss_survives_logits_that_would_overflow():
    assert quality._losses(np.array([[1000.0, 0.0]], np.float32), [0]) == pytest.approx([0.0])


def test_divergence_is_the_definition_row_by_row():
    rng = np.random.default_rng(0)
    base, model = rng.normal(size=(2, 70, 50)).astype(np.float32)
    expected = [
        float((softmax(p) * np.log(softmax(p) / softmax(q))).sum())
        for p, q in zip(base, model, strict=True)
    ]
    assert quality._divergences(base, model) == pytest.approx(expected, rel=1e-4)


def test_a_model_does_not_diverge_from_itself():
    logits = np.random.default_rng(1).normal(size=(3, 50)).astype(np.float32)
    assert quality._divergences(logits, logits) == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_base_that_is_loaded_serves_one_model_after_another():
    words, base = "a " * 12, Recorder()
    for model in (Recorder(), Recorder()):
        found = quality.divergence(model, base, words, 2, 5)
        assert (found.mean, found.same_top_token, found.tokens_scored) == (0, 1, 4)
    assert base.read == 2 * model.read


def test_models_with_different_vocabularies_are_not_compared():
    other = Recorder()
    other.vocabulary = 5
    with pytest.raises(UsageError, match=r"recorder\.gguf and recorder\.gguf have different voc"):
        quality.divergence(other, Recorder(), "a " * 12, 1, 5)


def test_chunks_follow_each_other_without_overlap():
    words = " ".join("x" * n for n in range(1, 13))
    assert quality._chunks(Recorder(), words, 2, 5) == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]


@pytest.mark.parametrize(
    ("chunks", "context", "sentence"),
    [(3, 5, "has 12 tokens"), (0, 5, "0 chunks"), (1, 2, "of 2 tokens"), (1, 99999, "of 99999")],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(chunks, context, sentence):
    with pytest.raises(UsageError, match=sentence):
        quality._chunks(Recorder(), "a " * 12, chunks, context)


@pytest.mark.slow
def test_perplexity_of_the_model_depends_on_the_text(smollm2):
    prose = measurement.perplexity(smollm2, measurement.text("prose"), chunks=2)
    nonsense = measurement.perplexity(smollm2, "qx zj vv kw " * 400, chunks=1)
    words = measurement.text("prose").split()[:3000]
    random.Random(0).shuffle(words)
    assert prose.tokens_scored == 510
    assert 1 < prose.value < 60
    assert 0 < prose.stderr < prose.value
    assert measurement.perplexity(smollm2, " ".join(words), chunks=2).value > prose.value
    assert nonsense.value < prose.value, "what repeats is easy to predict"


@pytest.mark.slow
def test_the_pass_is_the_native_formula_on_the_models_logits(smollm2):
    """One chunk, computed the long way from the definition in llama-perplexity's source."""
    from slmlab.engines import llama_cpp

    text = measurement.text("prose")
    with llama_cpp.load(smollm2, context=64) as engine:
        tokens = engine.tokenize(text)[:64]
        logits = engine.evaluate(tokens, logits_from=0)
        losses = [-math.log(softmax(logits[i])[tokens[i + 1]]) for i in range(32, 63)]
    ours = measurement.perplexity(smollm2, text, chunks=1, context=64)
    assert ours.value == pytest.approx(math.exp(np.mean(losses)), rel=1e-3)
    standard_error = np.std(losses) / math.sqrt(len(losses) - 1)
    assert ours.stderr == pytest.approx(ours.value * standard_error, rel=1e-2)


@pytest.mark.slow
def test_a_quantised_model_strays_from_its_base_and_more_bits_stray_less(f16):
    from slmlab.quantization import quantize

    paths = {made.type: made.path for made in quantize(f16, ["Q8_0", "Q4_0"])}
    text = measurement.text("prose")
    eight = measurement.kl_divergence(paths["Q8_0"], f16, text, chunks=1)
    four = measurement.kl_divergence(paths["Q4_0"], f16, text, chunks=1)
    assert 0 < eight.mean < four.mean
    assert four.median < four.percentile_99
    assert 0 < four.same_top_token < eight.same_top_token <= 1
