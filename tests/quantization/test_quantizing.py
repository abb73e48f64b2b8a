"""Quantised files: right, whole, used again only where that is honest, and every refusal."""

import shutil
from collections import namedtuple

import pytest
from toy_model import WIDTH, toy

from slmlab.errors import (
    InvalidModelFile,
    NoRoom,
    NotPossibleHere,
    QuantizationError,
    UsageError,
)
from slmlab.gguf import inspect, read_header
from slmlab.quantization import disk, quantize, quantizing


@pytest.mark.slow
def test_quantised_file_says_what_became_of_its_tensors(f16, tmp_path):
    (made,) = quantize(f16, ["Q4_K_M"], tmp_path)
    assert made.path == tmp_path / "SmolLM2-135M-Instruct-Q4_K_M.gguf"
    assert made.bytes == made.path.stat().st_size
    assert made.seconds > 0
    assert made.fell_back == {"Q4_K -> Q5_0": 166, "Q6_K -> Q8_0": 14}
    found = inspect(made.path)
    assert found.tensor_types == {
        "Q5_0": 166,
        "F32": 61,
        "Q4_K": 16,
        "Q8_0": 15,
        "Q6_K": 14,
    }
    assert made.bits_per_weight == found.bits_per_weight


@pytest.mark.slow
def test_label_and_bits_disagree_where_types_fall_back(every_type):
    bits = {made.type: made.bits_per_weight for made in every_type}
    assert bits["Q4_K_M"] > bits["Q4_0"]
    fell_back = {made.type: sum(made.fell_back.values()) for made in every_type}
    assert fell_back["F16"] == fell_back["Q8_0"] == 0
    assert fell_back["Q4_0"] == 1  # the embedding


@pytest.mark.slow
def test_same_source_is_quantised_once(smollm2, tmp_path):
    (first,) = quantize(smollm2, ["q4_0"], tmp_path)
    (again,) = quantize(smollm2, ["Q4_0"], tmp_path)
    assert (first.reused, again.reused, again.seconds) == (False, True, 0.0)
    assert (again.path, again.bytes, again.fell_back) == (first.path, first.bytes, first.fell_back)


@pytest.mark.slow
def test_the_cache_goes_by_what_a_source_holds_and_not_by_its_name(smollm2, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    twin, other = tmp_path / "twin.gguf", tmp_path / "other" / smollm2.name
    shutil.copy(smollm2, twin)
    changed = bytearray(smollm2.read_bytes())
    changed[-1] ^= 1
    other.parent.mkdir()
    other.write_bytes(changed)
    made, same, another = (quantize(source, ["Q4_0"])[0] for source in (smollm2, twin, other))
    assert (made.reused, same.reused, another.reused) == (False, True, False)
    assert same.path == made.path
    assert another.path != made.path and another.path.name == made.path.name


@pytest.mark.slow
def test_file_of_another_source_or_a_damaged_one_is_made_anew(smollm2, f16, tmp_path):
    quantize(smollm2, ["Q4_0"], tmp_path)
    (other,) = quantize(f16, ["Q4_0"], tmp_path)
    assert not other.reused
    other.path.write_bytes(other.path.read_bytes()[:-1])
    (repaired,) = quantize(f16, ["Q4_0"], tmp_path)
    assert not repaired.reused
    assert read_header(repaired.path).file_bytes == other.bytes


@pytest.mark.slow
def test_interrupted_quantising_leaves_nothing(smollm2, tmp_path, monkeypatch):
    def interrupted(source, target, *_):
        target.write_bytes(b"half a fi")
        raise KeyboardInterrupt

    monkeypatch.setattr(quantizing, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quantize(smollm2, ["Q4_0"], tmp_path)
    assert list(tmp_path.glob("*.gguf")) == list(tmp_path.glob("*.part")) == []


@pytest.mark.slow
def test_source_is_never_overwritten(smollm2, tmp_path):
    source = tmp_path / "model-Q8_0.gguf"
    shutil.copy(smollm2, source)
    with pytest.raises(QuantizationError, match="would overwrite"):
        quantize(source, ["Q8_0"], tmp_path)


@pytest.mark.slow
def test_full_disk_is_said_before_anything_is_written(smollm2, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(2, 1, 1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoRoom, match=r"needs 271 MB and .* has 1 MB free: make room"):
        quantize(smollm2, ["F16"], tmp_path)
    assert list(tmp_path.glob("*.gguf")) == []


@pytest.mark.slow
def test_what_llama_cpp_refuses_is_said_in_its_words(smollm2, tmp_path):
    source = tmp_path / "odd.gguf"
    architecture = b"general.architecture" + b"\x08\0\0\0" + b"\x05" + b"\0" * 7
    data = smollm2.read_bytes()
    assert architecture + b"llama" in data
    source.write_bytes(data.replace(architecture + b"llama", architecture + b"lamma", 1))
    with pytest.raises(QuantizationError, match="unknown model architecture: 'lamma'"):
        quantize(source, ["Q4_0"], tmp_path)


def test_unknown_type_is_refused_before_the_source_is_read(tmp_path):
    with pytest.raises(UsageError, match="no quantisation 'Q9_9'"):
        quantize(tmp_path / "none.gguf", ["Q9_9"])


def test_missing_source_and_other_files_are_refused(tmp_path):
    with pytest.raises(InvalidModelFile, match="No such file"):
        quantize(tmp_path / "none.gguf", ["Q4_0"])
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(InvalidModelFile, match="letters GGUF"):
        quantize(tmp_path / "text.gguf", ["Q4_0"])


@pytest.mark.slow
def test_folder_that_cannot_be_made_is_refused(smollm2, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(QuantizationError, match="cannot be made"):
        quantize(smollm2, ["Q4_0"], tmp_path / "file" / "folder")


def test_memory_for_the_largest_tensor_in_float32_and_quantised_is_foreseen(tmp_path, monkeypatch):
    source = toy(tmp_path / "toy.gguf")
    needed = 4 * WIDTH**2 + 2 * WIDTH**2
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: needed - 1)
    with pytest.raises(NotPossibleHere, match=r"Quantising toy\.gguf needs about"):
        quantize(source, ["F16"], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: needed)
    [made] = quantize(source, ["F16"], tmp_path / "out")
    assert made.path.is_file()


def test_a_disk_that_filled_up_is_why_a_file_could_not_be_written(tmp_path, monkeypatch):
    disk.blame_disk(tmp_path / "model.gguf")
    usage = namedtuple("usage", "total used free")(2, 1, 4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoRoom, match=r"filled up while model\.gguf was being written: make room"):
        disk.blame_disk(tmp_path / "model.gguf")
