"""GGUF to Hugging Face and back, and the three families that the course names."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from toy_model import toy

from slmlab import cache
from slmlab.engines import llama_cpp
from slmlab.errors import InvalidModelFile, NotPossibleHere, QuantizationError, UsageError
from slmlab.files import lock_file
from slmlab.gguf import Array, inspect, read_header
from slmlab.measurement import text
from slmlab.quantization import (
    convert,
    convert_from_huggingface,
    huggingface_form,
    quantize,
    to_huggingface,
)

TINY = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 2,
}


@pytest.fixture(scope="module")
def directory(smollm2, tmp_path_factory) -> Path:
    """SmolLM2 as a Hugging Face directory."""
    return to_huggingface(smollm2, tmp_path_factory.mktemp("huggingface") / "smollm2")


@pytest.fixture(scope="module")
def back(directory) -> Path:
    """That directory as a GGUF file again."""
    return convert_from_huggingface(directory, directory.parent / "back.gguf")


@pytest.fixture
def own_conversions(tmp_path, monkeypatch) -> None:
    """Directories converted by a test are kept in its own folder, and not in the cache."""
    monkeypatch.setattr(convert, "cache_path", tmp_path.joinpath)


@pytest.mark.slow
def test_round_trip_keeps_every_tensor(f16, back):
    before, after = ({t.name: t for t in read_header(path).tensors} for path in (f16, back))
    data_before, data_after = (np.memmap(path, mode="r") for path in (f16, back))
    assert before.keys() == after.keys()
    for name, old in before.items():
        new = after[name]
        assert (old.type, old.shape) == (new.type, new.shape), name
        old_bytes = data_before[old.offset : old.offset + old.bytes]
        assert np.array_equal(old_bytes, data_after[new.offset : new.offset + new.bytes]), name


@pytest.mark.slow
def test_round_trip_keeps_the_tokenizer(f16, back):
    before, after = read_header(f16).metadata, read_header(back).metadata
    for key in before:
        if key.startswith("tokenizer.") and key != "tokenizer.ggml.add_space_prefix":
            old, new = before[key], after[key]
            assert (list(old) == list(new)) if isinstance(old, Array) else (old == new), key


@pytest.mark.slow
def test_round_trip_keeps_every_token_id(f16, back):
    with llama_cpp.load(f16) as old, llama_cpp.load(back) as new:
        for name in ("prose", "code"):
            tokens = old.tokenize(text(name))
            assert len(tokens) > 10_000
            assert tokens == new.tokenize(text(name))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "name"), [("float32", "F32"), ("bfloat16", "BF16")])
def test_weights_are_dequantised_to_the_type_asked_for(smollm2, dtype, name):
    from safetensors import safe_open

    made = huggingface_form(smollm2, dtype)
    with safe_open(made / "model.safetensors", "np") as weights:
        kept = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert kept == {name}
    assert json.loads((made / "config.json").read_text())["dtype"] == dtype


@pytest.mark.slow
def test_the_same_file_is_dequantised_once_under_whatever_name(smollm2, tmp_path, monkeypatch):
    made = huggingface_form(smollm2, "float32")
    monkeypatch.setattr(convert, "to_huggingface", None)  # calling it would fail
    (tmp_path / "twin.gguf").symlink_to(smollm2)
    for source in (smollm2, tmp_path / "twin.gguf"):
        assert huggingface_form(source, "float32") == made


@pytest.mark.slow
def test_every_digit_stays_a_token_of_its_own(smollm2, directory):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    with llama_cpp.load(smollm2, context=16) as engine:
        for text_with_numbers in ("½ of 2026", "²³", "٣ times", "x=1_000"):
            assert tokenizer.encode(text_with_numbers).ids == engine.tokenize(text_with_numbers)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "phi3", "gemma3"])
def test_named_families_convert_quantise_and_run(family, directory, tmp_path, own_conversions):
    source = tiny_model(family, directory, tmp_path / "tiny")
    for made in quantize(source, ["Q8_0", "Q4_0"], tmp_path / "out"):
        found = inspect(made.path)
        assert (found.architecture, found.layers, found.vocabulary) == (family, 2, 49152)
        assert made.type in found.tensor_types
        with llama_cpp.load(made.path, context=64) as engine:
            assert engine.generate("Once upon a time", max_tokens=4).prompt_tokens == 4


def tiny_model(family: str, tokenizer: Path, folder: Path) -> Path:
    """Save a small model of random weights, with SmolLM2's tokenizer."""
    import transformers

    config, model = {
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "phi3": (transformers.Phi3Config, transformers.Phi3ForCausalLM),
        "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
    }[family]
    model(config(**TINY)).save_pretrained(folder)
    for file in tokenizer.glob("*token*"):
        shutil.copy(file, folder)
    if family == "phi3":  # as Phi-4-mini is published; else the converter wants sentencepiece
        path = folder / "tokenizer_config.json"
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "GPT2Tokenizer"})
        )
    return folder


@pytest.mark.slow
def test_same_directory_is_converted_once(directory, tmp_path, own_conversions):
    source = tiny_model("qwen3", directory, tmp_path / "tiny")
    first = convert.as_gguf(source)
    written = first.stat().st_mtime_ns
    assert convert.as_gguf(source) == first
    assert first.stat().st_mtime_ns == written
    (source / "generation_config.json").write_text("{}")
    assert convert.as_gguf(source) != first


def test_two_programs_that_ask_at_once_convert_once(tmp_path, own_conversions, monkeypatch):
    source = tmp_path / "model"
    source.mkdir()
    converted = []

    def slowly(source, out):
        converted.append(out)
        time.sleep(0.5)
        out.touch()

    monkeypatch.setattr(convert, "_convert", slowly)
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(convert.as_gguf, [source, source])
    assert first == second
    assert converted == [first]


def test_a_conversion_in_use_is_not_the_oldest_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(convert, "_convert", lambda source, out: out.touch())
    (tmp_path / "model").mkdir()
    made = convert.as_gguf(tmp_path / "model")
    os.utime(lock_file(made), (0, 0))
    convert.as_gguf(tmp_path / "model")
    (item,) = cache.items()
    assert item.name == made.relative_to(tmp_path / "cache").as_posix()
    assert item.last_used == pytest.approx(time.time(), abs=60)


@pytest.mark.slow
def test_what_the_converter_refuses_is_said_in_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["NoSuchModel"]}')
    with pytest.raises(QuantizationError, match="Model NoSuchModel is not supported") as caught:
        convert_from_huggingface(tmp_path, tmp_path / "out.gguf")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.gguf"))


def test_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(QuantizationError, match=r"no config\.json"):
        convert_from_huggingface(tmp_path, tmp_path / "out.gguf")
    with pytest.raises(QuantizationError, match=r"no config\.json"):
        quantize(tmp_path, ["Q4_0"])


def without_tensors(path: Path, architecture: str) -> Path:
    """Write a valid GGUF file that names an architecture and holds nothing else."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_weights_of_an_unknown_type_are_refused(tmp_path):
    path = without_tensors(tmp_path / "empty.gguf", "llama")
    with pytest.raises(UsageError, match="'int8'; choose float32, bfloat16, float16"):
        to_huggingface(path, tmp_path / "new", "int8")


def test_memory_for_the_file_and_its_weights_is_foreseen(tmp_path, monkeypatch):
    path = toy(tmp_path / "toy.gguf")
    sizes = [tensor.elements for tensor in read_header(path).tensors]
    needed = path.stat().st_size + 4 * sum(sizes) + 2 * 4 * max(sizes)
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: needed - 1)
    with pytest.raises(NotPossibleHere, match=r"Converting toy\.gguf needs about"):
        to_huggingface(path, tmp_path / "new", "float32")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: needed)
    monkeypatch.setattr(convert, "_save", lambda path, folder, dtype: folder.mkdir())
    assert to_huggingface(path, tmp_path / "new", "float32").is_dir()


@pytest.mark.slow
def test_an_architecture_unknown_to_transformers_leaves_no_folder(tmp_path):
    path = without_tensors(tmp_path / "unknown.gguf", "no-such-architecture")
    with pytest.raises(QuantizationError, match=r"could not read unknown\.gguf: ") as caught:
        to_huggingface(path, tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["unknown.gguf"]


def test_folder_in_use_and_damaged_file_are_refused(tmp_path):
    damaged = tmp_path / "model.gguf"
    damaged.write_bytes(b"GGUF")
    with pytest.raises(InvalidModelFile):
        to_huggingface(damaged, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_folder_with_something_in_it_is_never_written_to(smollm2, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(QuantizationError, match="there already"):
        to_huggingface(smollm2, tmp_path)
    with pytest.raises(QuantizationError, match="there already"):
        to_huggingface(smollm2, tmp_path / "thesis.txt")
