"""The ONNX engine: a folder that ONNX Runtime GenAI made, and what its builder leaves behind."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from slmlab.engines import onnx
from slmlab.errors import EngineError, InvalidModelFile, QuantizationError
from slmlab.files import lock_file


@pytest.fixture(scope="module")
def int4(smollm2) -> Path:
    return onnx.prepare(smollm2, "int4")


@pytest.fixture
def copied(int4, tmp_path) -> Path:
    """A copy of the folder that a test may damage."""
    return shutil.copytree(int4, tmp_path / "copied")


def change(folder: Path, **settings: object) -> None:
    """Change settings of the model in a folder's `genai_config.json`."""
    file = folder / "genai_config.json"
    config = json.loads(file.read_text())
    config["model"] |= settings
    file.write_text(json.dumps(config))


@pytest.mark.slow
def test_four_bits_are_smaller_and_still_know_the_capital(smollm2, int4):
    sizes = [
        sum(file.stat().st_size for file in folder.iterdir())
        for folder in (int4, onnx.prepare(smollm2, "float32"))
    ]
    assert sizes[0] < sizes[1] / 4
    with onnx.load(int4, context=64) as engine:
        question = [{"role": "user", "content": "What is the capital of France?"}]
        assert "Paris" in engine.generate(question, max_tokens=16).text


@pytest.mark.slow
def test_genais_own_tokenizer_agrees_on_a_chat(int4):
    import onnxruntime_genai as og

    chat = [{"role": "user", "content": "Name a colour, a river and a town."}]
    own = og.Tokenizer(str(int4))
    prompt = own.apply_chat_template(json.dumps(chat), add_generation_prompt=True)
    with onnx.load(int4, context=64) as engine:
        assert engine.chat_prompt(chat) == prompt
        assert engine.prompt_tokens(chat) == own.encode(prompt).tolist()


@pytest.mark.slow
def test_greedy_tokens_are_those_of_genais_own_loop(int4):
    import onnxruntime_genai as og

    with onnx.load(int4, context=64) as engine:
        tokens = engine.tokenize("The capital of France is")
        written = list(engine.greedy(tokens, 12))
    model = og.Model(str(int4))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(tokens) + 12, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(tokens)
    while not generator.is_done():
        generator.generate_next_token()
    assert generator.get_sequence(0)[len(tokens) :].tolist() == written


@pytest.mark.slow
def test_logits_outlive_the_next_call(int4):
    with onnx.load(int4, context=16) as engine:
        first = engine.evaluate([1, 2])
        kept = first.copy()
        engine.evaluate([3], position=2)
        assert (first == kept).all()


@pytest.mark.slow
def test_an_answer_also_ends_where_the_graphs_configuration_says(copied):
    change(copied, eos_token_id=[7, 9])
    with onnx.load(copied, context=16) as engine:
        assert [token for token in range(10) if engine.ends(token)] == [0, 2, 7, 9]


@pytest.mark.slow
def test_what_onnx_runtime_refuses_is_said_in_a_sentence(copied):
    change(copied, context_length=32)
    with pytest.raises(EngineError, match="could not load copied: max_length"):
        onnx.load(copied, context=64)
    (copied / "model.onnx").write_bytes(b"half of it")
    with pytest.raises(EngineError, match="could not load copied") as caught:
        onnx.load(copied, context=16)
    assert "\n" not in str(caught.value)
    (copied / "model.onnx").unlink()
    with pytest.raises(EngineError, match="could not load copied"):
        onnx.load(copied, context=16)


def test_a_folder_without_its_configuration_is_refused(tmp_path):
    (tmp_path / "model.onnx").touch()
    for contents in (
        None,
        "{}",
        '{"model": null}',
        '{"model": {"type": "llama"}}',
        '{"model": {"decoder": []}}',
    ):
        if contents:
            (tmp_path / "genai_config.json").write_text(contents)
        with pytest.raises(InvalidModelFile, match=r"has no genai_config\.json that describes"):
            onnx.load(tmp_path)
    for contents in ("{", "[1]"):
        (tmp_path / "genai_config.json").write_text(contents)
        with pytest.raises(InvalidModelFile, match=r"genai_config\.json is damaged"):
            onnx.load(tmp_path)


def test_a_window_in_the_form_of_genai_is_no_obstacle(tmp_path):
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "head_size": 8}
    window = {"sliding_window": {"window_size": 16}}
    (tmp_path / "model.onnx").write_bytes(bytes(100))
    needed = onnx._needed_bytes(tmp_path, {"decoder": sizes | window}, context=32)
    assert needed == 100 + 2 * 2 * 4 * 8 * 32 * 4


def test_what_is_made_serves_where_there_can_be_no_lock(tmp_path, monkeypatch):
    def builder(command, environment):
        Path(command[command.index("-o") + 1]).mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(onnx, "cache_path", tmp_path.joinpath)
    monkeypatch.setattr(onnx, "huggingface_form", lambda *_: tmp_path / "key" / "model-float32")
    monkeypatch.setattr(onnx, "finish", builder)
    made = onnx.prepare(tmp_path / "model.gguf", "int4")
    lock_file(made).unlink()
    lock_file(made).mkdir()
    assert onnx.prepare(tmp_path / "model.gguf", "int4") == made


def test_a_builder_that_fails_leaves_its_reason_and_no_folder(tmp_path, monkeypatch):
    def builder(command, environment):
        out = Path(command[command.index("-o") + 1])
        out.mkdir()
        (out / "half.onnx").touch()
        return subprocess.CompletedProcess(command, 1, "", "progress\nMemoryError: too big\n")

    source = tmp_path / "key" / "model-float32"
    monkeypatch.setattr(onnx, "cache_path", tmp_path.joinpath)
    monkeypatch.setattr(onnx, "huggingface_form", lambda *_: source)
    monkeypatch.setattr(onnx, "finish", builder)
    with pytest.raises(QuantizationError, match="an ONNX model in int4: MemoryError: too big"):
        onnx.prepare(tmp_path / "model.gguf", "int4")
    assert not [found for found in tmp_path.rglob("*") if found.suffix == ".onnx"]
