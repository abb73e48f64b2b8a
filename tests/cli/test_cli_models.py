"""What `slmlab` says of model cards and model files keeps its names and JSON keys."""

from pathlib import Path

import pytest


def test_models_are_a_list_of_objects(as_json):
    models = as_json("models")
    assert len(models) >= 24
    assert models[0]["name"] == "smollm2-135m-instruct"
    assert {"name", "parameters", "tier", "licence"} <= models[0].keys()
    assert models[0]["parameters"] == 134_515_008


def test_models_are_also_a_table(slmlab):
    _, out, _ = slmlab("models")
    lines = out.splitlines()
    assert lines[0].split() == ["model", "parameters", "tier", "context", "licence"]
    assert len({line.index(" micro ") for line in lines if " micro " in line}) == 1


def test_an_estimate_needs_only_a_name(as_json):
    found = as_json("estimate", "qwen3-0.6b", "--quant", "Q4_0", "--context", 1024)
    assert found.keys() == {"file_bytes", "peak_memory_bytes", "decode_tokens_per_second"}
    assert 3e8 < found["file_bytes"] < found["peak_memory_bytes"]


@pytest.mark.slow
def test_a_fetched_file_ends_with_its_path(slmlab, smollm2):
    code, out, err = slmlab("fetch", "smollm2-135m-instruct")
    assert code == 0
    assert Path(out.splitlines()[-1]) == smollm2
    assert "Apache-2.0" in err


@pytest.mark.slow
def test_inspect_tells_what_the_file_is(slmlab, as_json, smollm2):
    found = as_json("inspect", smollm2)
    assert found["architecture"] == "llama"
    assert found["parameters"] == 134_515_008
    assert found["tensor_types"]["Q4_1"] == 210
    assert found["bits_per_weight"] == pytest.approx(5.744, abs=0.001)
    _, out, _ = slmlab("inspect", smollm2)
    assert "98.36 MB" in out and "210 Q4_1" in out


@pytest.mark.slow
def test_quantize_tells_what_fell_back(as_json, smollm2, tmp_path):
    found = as_json("quantize", smollm2, "Q4_0", "Q2_K", "--out", tmp_path)
    first, second = found["files"]
    assert first.keys() >= {"type", "path", "bytes", "seconds", "bits_per_weight", "fell_back"}
    assert Path(first["path"]).stat().st_size == first["bytes"]
    assert any("Q2_K -> " in what for what in second["fell_back"])
