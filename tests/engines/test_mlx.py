"""The MLX engine: what quantising writes, what reloading keeps, and what it says when it cannot."""

import inspect
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from slmlab import engines
from slmlab.engines import mlx
from slmlab.errors import EngineError, InvalidModelFile, NotPossibleHere

TEXT = "A small model fits into the memory of a phone, and"

needs_mlx = pytest.mark.skipif(mlx.why_not() is not None, reason=str(mlx.why_not()))


@pytest.fixture(scope="module")
def forms(smollm2) -> dict[str, Path]:
    """SmolLM2 in every precision that MLX gets here."""
    if reason := mlx.why_not():
        pytest.skip(reason)
    return {precision: mlx.prepare(smollm2, precision) for precision in mlx.PRECISIONS}


@pytest.fixture(scope="module")
def logits(forms) -> dict[str, np.ndarray]:
    """What each precision thinks of every token of one sentence."""
    return {precision: read(path) for precision, path in forms.items()}


def read(path: Path) -> np.ndarray:
    with mlx.load(path, context=32) as engine:
        return engine.evaluate(engine.tokenize(TEXT), logits_from=0)


def divergence(base: np.ndarray, other: np.ndarray) -> float:
    """Return the mean KL(base || other) over the rows, in nats."""

    def log_p(rows: np.ndarray) -> np.ndarray:
        shifted = rows - rows.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    return float((np.exp(log_p(base)) * (log_p(base) - log_p(other))).sum(axis=1).mean())


def weights(path: Path) -> dict:
    import mlx.core as mx

    return mx.load(str(path / "model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bits"), [("8-bit", 9.0), ("4-bit", 5.0)])
def test_a_float32_scale_and_bias_for_64_weights_cost_one_bit_each(forms, precision, bits):
    import mlx.core as mx

    parameters = sum(array.size for array in weights(forms["float32"]).values())
    stored = weights(forms[precision])
    assert {str(a.dtype) for name, a in stored.items() if "scales" in name} == {str(mx.float32)}
    size = sum(array.nbytes for array in stored.values())
    assert 8 * size / parameters == pytest.approx(bits, rel=0.005)


@pytest.mark.slow
def test_eight_bits_stray_less_than_four(logits):
    strayed = {name: divergence(logits["float32"], rows) for name, rows in logits.items()}
    assert strayed["float32"] == 0 < strayed["8-bit"] < 0.01 < strayed["4-bit"]


@pytest.mark.slow
def test_saved_and_loaded_again_the_logits_are_the_same_bit_for_bit(forms, logits):
    assert np.array_equal(read(forms["4-bit"]), logits["4-bit"])


@pytest.mark.slow
def test_mlx_lm_alone_reads_a_quantised_folder_alike(forms, logits):
    """The folder itself says what mlx-lm must know, so it can be passed on."""
    import mlx.core as mx
    from mlx_lm import load

    model, tokenizer = load(str(forms["4-bit"]))
    rows = np.array(model(mx.array([tokenizer.encode(TEXT)]))[0])
    assert rows == pytest.approx(logits["4-bit"], abs=1e-3)


@pytest.mark.slow
def test_a_form_is_made_once(forms, smollm2):
    config = forms["8-bit"] / "config.json"
    made = config.stat().st_mtime_ns
    assert mlx.prepare(smollm2, "8-bit") == forms["8-bit"]
    assert config.stat().st_mtime_ns == made


@pytest.mark.slow
def test_a_form_whose_making_was_stopped_is_not_there(smollm2, forms, monkeypatch):
    def stop(source: Path, bits: int, directory: Path) -> None:
        directory.mkdir()
        (directory / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(mlx, "quantise", stop)
    monkeypatch.setattr(mlx, "installed_version", lambda _: "unheard-of")
    with pytest.raises(KeyboardInterrupt):
        mlx.prepare(smollm2, "4-bit")
    folder = forms["4-bit"].parent.with_name(
        forms["4-bit"].parent.name.rpartition("-")[0] + "-unheard-of"
    )
    left = [entry for entry in folder.iterdir() if entry.is_dir()]
    shutil.rmtree(folder)
    assert not left


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}},
            {"rope_theta": 100_000.0, "rope_scaling": None},
        ),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}},
            {
                "rope_theta": 1e6,
                "rope_scaling": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            },
        ),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, {}),
        ({"rope_theta": 500_000.0}, {}),
    ],
    ids=["plain", "scaled", "by kind of layer", "the older form"],
)
def test_the_base_of_the_rotary_embedding_reaches_mlx_lm(config, settings):
    assert mlx.rope(config) == settings


def folder_of(path: Path, config: dict) -> Path:
    """Make a folder with everything but a model that makes sense."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return path


@needs_mlx
def test_an_architecture_that_mlx_lm_does_not_know_is_named(tmp_path):
    folder = folder_of(tmp_path, {"model_type": "abacus", "vocab_size": 1})
    with pytest.raises(EngineError, match=r"mlx-lm could not load .*abacus not supported"):
        mlx.load(folder)


@needs_mlx
def test_a_model_that_brings_code_along_is_not_run(tmp_path):
    folder = folder_of(tmp_path, {"model_type": "llama", "vocab_size": 1, "model_file": "evil.py"})
    (folder / "evil.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(EngineError, match="mlx-lm could not load"):
        mlx.load(folder)


@needs_mlx
def test_a_folder_without_weights_is_refused(tmp_path):
    folder = folder_of(tmp_path, {"model_type": "llama", "vocab_size": 1})
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidModelFile, match="holds no safetensors weights"):
        mlx.load(folder)


def test_on_windows_it_says_what_works_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert "llama_cpp, transformers or onnx" in mlx.why_not()
    with pytest.raises(NotPossibleHere, match="MLX does not exist for Windows"):
        mlx.load(tmp_path)


@pytest.mark.parametrize(
    ("platform", "package"), [("linux", "pip install 'mlx[cpu]' mlx-lm"), ("darwin", "mlx mlx-lm")]
)
def test_without_mlx_it_says_what_to_install(platform, package, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    assert package in mlx.why_not()


@needs_mlx
def test_without_mlx_lm_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mlx, "find_spec", lambda _: None)
    assert mlx.why_not() == "mlx-lm is not installed; install it with: pip install mlx-lm"


@needs_mlx
def test_names_in_older_lessons_are_gone_and_todays_are_there():
    """What lab 06 says of the widely copied snippet."""
    import mlx_lm
    from mlx_lm import generate, sample_utils, tuner, utils

    assert not hasattr(mlx_lm, "convert_to_float16") and not hasattr(utils, "convert_to_float16")
    assert not hasattr(utils, "load_dataset") and hasattr(tuner.datasets, "load_dataset")
    assert inspect.signature(generate).return_annotation is str
    assert "temp" in inspect.signature(sample_utils.make_sampler).parameters
    assert "dtype" in inspect.signature(mlx_lm.convert).parameters


@needs_mlx
def test_it_is_one_of_the_engines():
    [row] = [row for row in engines.overview() if row["name"] == "mlx"]
    assert row["runs"] and row["precisions"] == mlx.PRECISIONS
