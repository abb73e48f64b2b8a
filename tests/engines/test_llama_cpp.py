"""The llama.cpp engine: the few verbs every engine has, and clear words when it cannot."""

import importlib.util
import sys

import pytest

from slmlab.engines import llama_cpp
from slmlab.errors import EngineError, InvalidModelFile, NotPossibleHere, UsageError

QUESTION = [{"role": "user", "content": "What is the capital of France? One word."}]


@pytest.fixture(scope="module")
def engine(smollm2):
    with llama_cpp.load(smollm2, context=256) as loaded:
        yield loaded


@pytest.mark.slow
def test_tokens_survive_the_round_trip(engine):
    text = "Wörter, ☃ and 123 tokens.\n"
    assert engine.detokenize(engine.tokenize(text)) == text


@pytest.mark.slow
def test_a_marker_is_one_token_only_in_prepared_text(engine):
    assert len(engine.tokenize("<|im_start|>", special=True)) == 1
    assert len(engine.tokenize("<|im_start|>")) > 1


@pytest.mark.slow
def test_the_models_own_template_makes_the_prompt(engine):
    prompt = engine.chat_prompt(QUESTION)
    assert prompt.endswith("<|im_start|>assistant\n")
    assert QUESTION[0]["content"] in prompt


@pytest.mark.slow
def test_generating_counts_tokens_and_times_them(engine):
    made = engine.generate(QUESTION, max_tokens=8)
    assert made.text
    assert made.prompt_tokens == len(engine.prompt_tokens(QUESTION))
    assert 1 <= made.new_tokens <= 8
    assert made.seconds_to_first_token > 0


@pytest.mark.slow
def test_the_same_prompt_gives_the_same_text_and_the_stream_is_that_text(engine):
    first = engine.generate("The capital of France is", max_tokens=8)
    assert engine.generate("The capital of France is", max_tokens=8).text == first.text
    assert "".join(engine.stream("The capital of France is", max_tokens=8)) == first.text


@pytest.mark.slow
def test_a_prompt_read_in_two_parts_gives_the_same_logits(engine):
    tokens = engine.tokenize("Small models run on small computers.")
    engine.clear()
    whole = engine.evaluate(tokens)[-1].copy()
    engine.clear()
    engine.evaluate(tokens[:3])
    assert engine.evaluate(tokens[3:], position=3)[-1] == pytest.approx(whole, abs=0.05)


@pytest.mark.slow
def test_logits_come_from_the_position_asked_for(engine):
    tokens = engine.tokenize("one two three four five")
    engine.clear()
    assert engine.evaluate(tokens, logits_from=2).shape == (len(tokens) - 2, engine.vocabulary)


@pytest.mark.slow
@pytest.mark.parametrize(("prompt", "tokens"), [("", 4), ("too much to ask", 4000)])
def test_what_cannot_be_written_is_refused_in_a_sentence(engine, prompt, tokens):
    with pytest.raises(UsageError, match=r"The prompt is empty|do not fit a context of 256"):
        engine.generate(prompt, tokens)


@pytest.mark.slow
def test_closing_twice_is_harmless_and_use_afterwards_is_refused(smollm2):
    engine = llama_cpp.load(smollm2, context=64)
    engine.close()
    engine.close()
    for use in (engine.tokenize, engine.generate, lambda text: engine.evaluate([1])):
        with pytest.raises(EngineError, match="was closed; load it again"):
            use("hello")


@pytest.mark.slow
def test_texts_in_one_batch_are_read_as_if_each_were_alone(smollm2):
    with llama_cpp.load(smollm2, context=32, sequences=2) as engine:
        texts = [engine.tokenize("The capital of France"), engine.tokenize("Water boils at a")]
        for position, pair in enumerate(zip(*texts, strict=True)):
            together = engine.evaluate_together(pair, position).copy()
        for row, tokens in zip(together, texts, strict=True):
            assert row == pytest.approx(engine.read(tokens)[-1], abs=0.05)
        assert together[0] != pytest.approx(together[1], abs=1)
        with pytest.raises(UsageError, match="loaded for 2 sequences and cannot read 3"):
            engine.evaluate_together([1, 2, 3], 0)


@pytest.mark.slow
def test_a_rounded_cache_reads_nearly_the_same(smollm2, engine):
    tokens = engine.tokenize("Small models run on small computers, and on large ones too.")
    exact = engine.read(tokens)[-1].copy()
    with llama_cpp.load(smollm2, context=64, kv_type="Q8_0") as rounded:
        close = rounded.read(tokens)[-1]
        assert close != pytest.approx(exact, abs=1e-4)
        assert close.argmax() == exact.argmax()


@pytest.mark.slow
def test_memory_that_will_not_do_is_foreseen(smollm2, monkeypatch):
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 120_000_000)
    llama_cpp.load(smollm2, context=256).close()
    with pytest.raises(
        NotPossibleHere, match=r"needs about 0\.3 GB of memory and 0\.1 GB are free"
    ):
        llama_cpp.load(smollm2, context=8192)
    llama_cpp.load(smollm2, context=512, kv_type="Q4_0").close()
    with pytest.raises(NotPossibleHere):
        llama_cpp.load(smollm2, context=512, sequences=16)


def test_an_unknown_type_of_cache_is_refused(tmp_path):
    with pytest.raises(UsageError, match="choose F16, Q8_0, Q4_0"):
        llama_cpp.load(tmp_path / "any.gguf", kv_type="Q1")


def test_a_file_that_is_no_model_never_reaches_llama_cpp(tmp_path):
    path = tmp_path / "notes.gguf"
    path.write_text("these are my notes")
    with pytest.raises(InvalidModelFile):
        llama_cpp.load(path)


def test_a_context_of_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match="context of 0 tokens"):
        llama_cpp.load(tmp_path / "any.gguf", context=0)


def test_a_missing_engine_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install llama-cpp-python" in llama_cpp.why_not()


def test_importing_the_engine_does_not_load_llama_cpp():
    import subprocess

    code = "import sys, slmlab.engines.llama_cpp; sys.exit('llama_cpp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_llama_cpps_refusal_becomes_an_error_of_ours(tmp_path):
    """A valid header that names an architecture llama.cpp does not know."""
    import gguf

    path = tmp_path / "unknown.gguf"
    writer = gguf.GGUFWriter(path, "no-such-architecture")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(EngineError, match=r"could not load unknown\.gguf"):
        llama_cpp.load(path)
