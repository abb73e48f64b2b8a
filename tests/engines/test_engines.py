"""One face for every engine: the same tokens, the same words, and clear words when it cannot."""

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from slmlab import engines, machine
from slmlab.engines import engine as face
from slmlab.errors import (
    EngineError,
    InvalidModelFile,
    NotPossibleHere,
    UsageError,
    first_line,
)
from slmlab.measurement import text

FLOATS = {"llama_cpp": "F16", "transformers": "float32", "onnx": "float32", "mlx": "float32"}
PROMPTS = [
    "The capital of France is",
    "def add(a, b):\n",
    [{"role": "user", "content": "Why is the sky blue? Answer in one sentence."}],
]
CHATS = {
    "one question": [{"role": "user", "content": "What is 2 + 2?"}],
    "system": [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
    "several turns": [
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Another one, from 1984 or 2026."},
    ],
    "not ASCII": [{"role": "user", "content": "Größe ½ ²³ ☃ 日本語 👩‍👩‍👧 — “naïve”"}],
    "whitespace": [{"role": "user", "content": "  two  spaces\n\n\n\ttab, end \r\n "}],
    "markers": [{"role": "user", "content": "<|im_end|>\n<|im_start|>system\n<|endoftext|>"}],
    "empty": [{"role": "user", "content": ""}],
}
TEXTS = {name: chat[-1]["content"] for name, chat in CHATS.items()}


@pytest.fixture(scope="module", params=FLOATS)
def engine(request, smollm2):
    """Each engine in turn with the same model, in its own form and not quantised."""
    if reason := _why_not(request.param):
        pytest.skip(reason)
    path = engines.prepare(request.param, smollm2, FLOATS[request.param])
    with engines.load(path, request.param, context=256) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def llama_cpp(f16):
    """The engine that the others are compared with."""
    with engines.load(f16, context=256) as loaded:
        yield loaded


def _why_not(name: str) -> str | None:
    return next(row["why_not"] for row in engines.overview() if row["name"] == name)


@pytest.mark.slow
@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_the_same_messages_are_the_same_tokens(engine, llama_cpp, chat):
    assert engine.chat_prompt(chat) == llama_cpp.chat_prompt(chat)
    assert engine.prompt_tokens(chat) == llama_cpp.prompt_tokens(chat)


@pytest.mark.slow
@pytest.mark.parametrize("plain", TEXTS.values(), ids=TEXTS)
def test_the_same_text_is_the_same_tokens_and_comes_back(engine, llama_cpp, plain):
    tokens = engine.tokenize(plain)
    assert tokens == llama_cpp.tokenize(plain)
    assert engine.detokenize(tokens) == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prose", "code"])
def test_the_texts_that_are_scored_are_the_same_tokens(engine, llama_cpp, name):
    assert engine.tokenize(text(name)) == llama_cpp.tokenize(text(name))


@pytest.mark.slow
def test_half_a_character_is_shown_as_a_mark(engine, llama_cpp):
    half = engine.tokenize("☃")[:1]
    assert engine.detokenize(half) == llama_cpp.detokenize(half) == "\ufffd"


@pytest.mark.slow
def test_texts_begin_and_answers_end_alike(engine, llama_cpp):
    assert engine.start_token() == llama_cpp.start_token()
    assert engine.vocabulary == llama_cpp.vocabulary
    for marker in ("<|im_end|>", "<|endoftext|>", "<|im_start|>", "the"):
        (token,) = engine.tokenize(marker, special=True)
        assert engine.ends(token) == llama_cpp.ends(token), marker


@pytest.mark.slow
@pytest.mark.parametrize("prompt", PROMPTS, ids=["prose", "code", "chat"])
def test_float_engines_write_the_same_sixteen_tokens(engine, llama_cpp, prompt):
    tokens = engine.prompt_tokens(prompt)
    written = list(engine.greedy(tokens, 16))
    assert len(written) == 16
    assert engines.first_difference(written, list(llama_cpp.greedy(tokens, 16))) is None


@pytest.mark.slow
def test_a_prompt_read_in_parts_gives_the_same_logits(engine):
    tokens = engine.tokenize("Small models run on small computers.")
    whole = engine.read(tokens)[-1].copy()
    engine.clear()
    engine.evaluate(tokens[:3])
    engine.evaluate(tokens[3:4], position=3)
    assert engine.evaluate(tokens[4:], position=4)[-1] == pytest.approx(whole, abs=0.05)


@pytest.mark.slow
def test_clear_forgets_what_was_read(engine):
    tokens = engine.tokenize("A river runs to the")
    fresh = engine.read(tokens)[-1].copy()
    engine.read(engine.tokenize("Prices went up and bread is"))
    engine.clear()
    assert engine.evaluate(tokens)[-1] == pytest.approx(fresh, abs=1e-3)


@pytest.mark.slow
def test_logits_come_from_the_rows_asked_for(engine):
    tokens = engine.tokenize("one two three four five")
    engine.clear()
    every = engine.evaluate(tokens, logits_from=0).copy()
    assert every.shape == (len(tokens), engine.vocabulary)
    assert every.dtype == np.float32
    for first in (2, len(tokens) - 1):
        engine.clear()
        assert engine.evaluate(tokens, logits_from=first) == pytest.approx(every[first:], abs=0.05)


@pytest.mark.slow
def test_the_stream_is_the_text_that_is_generated(engine):
    prompt = [{"role": "user", "content": "Write a smiling emoji and the word café."}]
    made = engine.generate(prompt, max_tokens=12)
    assert made.text
    assert made.prompt_tokens == len(engine.prompt_tokens(prompt))
    assert "".join(engine.stream(prompt, max_tokens=12)) == made.text


@pytest.mark.slow
def test_what_does_not_fit_the_context_is_refused(engine):
    with pytest.raises(UsageError, match="do not fit a context of 256"):
        engine.generate("too much to ask", 4000)
    engine.clear()
    with pytest.raises(EngineError, match="the context holds 256"):
        engine.evaluate([1] * 257)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOATS)
def test_closing_twice_is_harmless_and_use_afterwards_is_refused(name, smollm2):
    if reason := _why_not(name):
        pytest.skip(reason)
    engine = engines.load(engines.prepare(name, smollm2, FLOATS[name]), name, context=64)
    engine.close()
    engine.close()
    uses = [
        engine.clear,
        engine.start_token,
        lambda: engine.evaluate([1]),
        lambda: engine.tokenize("hello"),
        lambda: engine.detokenize([1]),
        lambda: engine.chat_prompt(CHATS["system"]),
    ]
    for use in uses:
        with pytest.raises(EngineError, match="was closed; load it again"):
            use()


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOATS)
def test_too_little_memory_is_foreseen(name, smollm2, monkeypatch):
    if reason := _why_not(name):
        pytest.skip(reason)
    path = engines.prepare(name, smollm2, FLOATS[name])
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 200_000_000)
    with pytest.raises(NotPossibleHere, match=r"needs about 0\.[3-9] GB .* and 0\.2 GB are free"):
        engines.load(path, name, context=2048)


@pytest.mark.slow
def test_a_form_is_made_once(smollm2):
    for name in ("transformers", "onnx"):
        path = engines.prepare(name, smollm2, "float32")
        made = {file: file.stat().st_mtime_ns for file in path.iterdir()}
        assert engines.prepare(name, smollm2, "float32") == path
        assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == made
        assert engines.load(path, context=16).path == path  # by what is there


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InvalidModelFile, match="is not there; give a GGUF file or the folder"):
        engines.load(tmp_path / "nowhere")
    with pytest.raises(InvalidModelFile, match=r"is not a model: it has neither a config\.json"):
        engines.load(tmp_path)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(InvalidModelFile, match=r"has no genai_config\.json"):
        engines.load(tmp_path)


@pytest.mark.parametrize("name", FLOATS)
def test_an_engine_given_the_wrong_thing_says_so(name, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("these are my notes")
    for path in (file, tmp_path):
        with pytest.raises(InvalidModelFile) as caught:
            engines.load(path, name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        [1],
        {"text_config": [1], "hidden_size": "576"},
        {"hidden_size": "576"},
        {"num_hidden_layers": "two"},
        {"sliding_window": {}, "num_key_value_heads": [3]},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["transformers", "mlx"])
def test_a_configuration_of_the_wrong_types_is_refused_in_a_sentence(name, config, tmp_path):
    if reason := _why_not(name):
        pytest.skip(reason)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InvalidModelFile, match=r"get (it|the model) again\.$"):
        engines.load(tmp_path, name)


@pytest.mark.parametrize("name", ["transformers", "onnx", "mlx"])
def test_a_cache_that_cannot_be_used_is_said_in_a_sentence(name, tmp_path, monkeypatch):
    if reason := _why_not(name):
        pytest.skip(reason)
    (tmp_path / "in the way").touch()
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "in the way"))
    with pytest.raises(NotPossibleHere, match=r"The folder .* cannot be used .*SLMLAB_CACHE"):
        engines.prepare(name, empty_gguf(tmp_path / "model.gguf"), FLOATS[name])


def empty_gguf(path: Path) -> Path:
    """Write a GGUF file with a header and nothing else."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="'vllm'; choose llama_cpp, transformers, onnx, mlx"):
        engines.load(tmp_path, "vllm")
    for name in engines.NAMES:
        with pytest.raises(UsageError, match=r"'int3' for this engine; choose \w"):
            engines.prepare(name, tmp_path, "int3")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("llama_cpp", "llama-cpp-python"),
        ("transformers", "transformers"),
        ("onnx", "onnxruntime-genai"),
    ],
)
def test_a_missing_engine_says_what_to_install(name, package, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert f"pip install {package}" in _why_not(name)
    if name != "llama_cpp":  # which looks at the file first
        with pytest.raises(NotPossibleHere, match=f"install it with: pip install {package}"):
            engines.load(tmp_path, name)


def test_the_overview_has_a_row_for_every_engine_and_framework():
    rows = {row["name"]: row for row in engines.overview()}
    assert tuple(rows) == (*engines.NAMES, "olive", "vllm")
    for row in rows.values():
        assert row["runs"] == (row["why_not"] is None) == (row["version"] is not None)
    for name, precision in FLOATS.items():
        assert rows[name]["precisions"][0] == precision


def test_an_engine_that_came_under_another_name_runs_all_the_same(monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(machine, "version", absent)
    for row in engines.overview():
        if row["name"] in engines.NAMES:
            assert row["version"] == ("unknown" if row["runs"] else None)


class Counting(face.Engine):
    """A model of ten tokens that always likes the next one best, and ends with 9."""

    def __init__(self):
        self.path, self.context, self.threads, self.vocabulary = Path("counting"), 64, 1, 10
        self.read_at = []

    def tokenize(self, text, special=False):
        return [int(word) for word in text.split()]

    def detokenize(self, tokens):
        return " ".join(map(str, tokens))

    def evaluate(self, tokens, position=0, logits_from=None):
        self.read_at += range(position, position + len(tokens))
        return np.eye(10, dtype=np.float32)[[(tokens[-1] + 1) % 10]]

    def ends(self, token):
        return token == 9

    def clear(self):
        self.read_at = []

    def chat_prompt(self, messages):
        return messages[-1]["content"]

    def start_token(self):
        return None

    def close(self):
        pass


@pytest.mark.parametrize(
    ("asked", "written", "read"), [(0, "", 2), (1, "5", 2), (3, "5 6 7", 4), (9, "5 6 7 8", 6)]
)
def test_no_token_is_read_that_nothing_follows_from(asked, written, read):
    engine = Counting()
    made = engine.generate("3 4", asked)
    assert (made.text, made.new_tokens) == (written, len(written.split()))
    assert engine.read_at == list(range(read))


def test_reading_nothing_is_refused():
    with pytest.raises(UsageError, match="nothing to read; give the model at least one token"):
        Counting().extend([])


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (ValueError("\n first\nsecond"), "first"),
        (AssertionError(), "AssertionError"),
        (OSError(" \n"), "OSError"),
    ],
)
def test_a_problem_that_says_nothing_is_told_by_its_type(problem, line):
    assert first_line(problem) == line


def test_importing_the_engines_loads_no_framework():
    code = (
        "import sys, slmlab.engines; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'mlx', 'onnxruntime_genai', "
        "'transformers', 'llama_cpp', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("first", "second", "index"),
    [
        ([1, 2, 3], [1, 2, 3], None),
        ([1, 2, 3], [1, 5, 3], 1),
        ([1, 2], [1, 2, 3], 2),
        ([], [], None),
    ],
)
def test_the_first_difference_is_where_two_answers_part(first, second, index):
    assert engines.first_difference(first, second) == index
