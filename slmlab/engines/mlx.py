"""Run a Hugging Face or MLX directory with MLX, Apple's array framework, through mlx-lm.

On a Mac with Apple silicon MLX computes on the GPU, elsewhere on one thread of the CPU.
"""

import contextlib
import io
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.engines.engine import must_be_known, must_be_open
from slmlab.engines.folder import (
    FolderEngine,
    language,
    needed_bytes,
    read_config,
    read_json,
    whole_number,
)
from slmlab.errors import EngineError, NotPossibleHere, first_line
from slmlab.files import cache_path, check_room, kept_as, made_once, weight_bytes, whole_folder
from slmlab.machine import check_memory, installed_version
from slmlab.quantization import huggingface_form

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = ("float32", "8-bit", "4-bit")

GROUP = 64
"""How many weights share a scale and a bias: what MLX takes unless told otherwise."""


def why_not() -> str | None:
    """Return why this engine cannot run here and what to install, or None if it can."""
    if sys.platform == "win32":
        return (
            "MLX does not exist for Windows; use llama_cpp, transformers or onnx there, "
            "or Linux inside WSL"
        )
    try:
        import mlx.core  # noqa: F401 - where [cpu] was left out on Linux, only importing tells
    except ImportError:
        package = "'mlx[cpu]'" if sys.platform == "linux" else "mlx"
        return f"MLX is not installed; install it with: pip install {package} mlx-lm"
    if find_spec("mlx_lm"):
        return None
    return "mlx-lm is not installed; install it with: pip install mlx-lm"


def must_run() -> None:
    """Raise `NotPossibleHere` with the reason and what to install where MLX cannot run."""
    if reason := why_not():
        raise NotPossibleHere(reason)


def prepare(source: Path, precision: str) -> Path:
    """Return a GGUF file as a directory for MLX in one of `PRECISIONS`, made once and kept.

    `float32` is the Hugging Face directory as it is; the others are quantised from it.
    """
    must_be_known(precision, PRECISIONS)
    floats = huggingface_form(source, "float32")
    if precision == "float32":
        return floats
    must_run()
    made_by = f"{floats.parent.name}-mlx-lm-{installed_version('mlx-lm')}"
    ending = f"-{precision}"
    directory = kept_as(cache_path("mlx", made_by, f"{Path(source).stem}{ending}"), ending)
    bits = int(precision.removesuffix("-bit"))
    return made_once(directory, lambda directory: _make(floats, bits, directory))


def _make(floats: Path, bits: int, directory: Path) -> None:
    check_room(weight_bytes(floats) * (bits + 1) // 32, directory, directory.name)
    with whole_folder(directory) as aside:
        quantise(floats, bits, aside)


def quantise(source: Path, bits: int, directory: Path) -> None:
    """Write a Hugging Face directory as an MLX directory whose matrices have `bits` bits a weight.

    It is MLX's affine quantisation in groups of 64. Scales and biases keep the type that the
    weights had: with 16-bit ones a CPU is many times slower.
    """
    from mlx_lm.utils import quantize_model, save_config, save_model

    model, config = _load_model(source, read_json(source / "config.json"))
    with contextlib.redirect_stdout(io.StringIO()):
        model, config = quantize_model(model, config, GROUP, bits)
    save_model(directory, model)
    save_config(config, directory / "config.json")
    for file in source.iterdir():
        if file.name != "config.json" and ".safetensors" not in file.suffixes:
            shutil.copy(file, directory)


def load(path: Path, context: int = 2048, threads: int | None = None) -> "Mlx":
    """Load a Hugging Face or MLX directory; use the result with `with`, or call its `close`.

    `context` counts tokens, prompt and answer together. `threads` changes nothing: MLX takes the
    GPU, or one thread of the CPU. Raises `InvalidModelFile` for a directory that is no model,
    `NotPossibleHere` where MLX is not installed or memory is too small, and `EngineError` where
    mlx-lm refuses the model.
    """
    must_run()
    return Mlx(path, context)


class Mlx(FolderEngine):
    """One loaded model with one prompt cache, which is mlx-lm's name for the KV cache."""

    def __init__(self, path: Path, context: int) -> None:
        path = Path(path)
        config = read_config(path)
        check_memory(needed_bytes(path, config, context), path.name)
        super().__init__(path, context, threads=1)
        self.vocabulary = whole_number(language(config), "vocab_size")
        self._model, _ = _load_model(path, config)
        self.clear()

    def close(self) -> None:
        """Give the model's memory back; closing twice is harmless, using it afterwards an error."""
        import mlx.core as mx

        super().close()
        self._model = self._cache = None
        mx.clear_cache()

    def clear(self) -> None:
        """Forget everything read so far."""
        from mlx_lm.models.cache import make_prompt_cache

        must_be_open(self._model, self.path)
        self._read = 0
        self._cache = make_prompt_cache(self._model)

    def _logits(self, tokens: Sequence[int], first: int) -> "np.ndarray":
        import mlx.core as mx
        import numpy as np

        ids = mx.array([list(tokens)])
        if first:
            self._model(ids[:, :first], cache=self._cache)
            mx.eval([layer.state for layer in self._cache])  # and not the logits: MLX is lazy
        logits = self._model(ids[:, first:], cache=self._cache)
        return np.array(logits[0].astype(mx.float32))


def _load_model(path: Path, config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return mlx-lm's model and its configuration, which is `config` as mlx-lm needs it."""
    from mlx_lm.utils import load_model

    try:
        return load_model(path, model_config=rope(config))
    except Exception as problem:  # what a wrong configuration leads to can be of any type
        raise EngineError(f"mlx-lm could not load {path.name}: {first_line(problem)}") from None


def rope(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the rotary position embedding where mlx-lm looks for them.

    transformers 5 writes them to `rope_parameters`. mlx-lm 0.32 does not look there for a Llama,
    and takes a base of 10,000 for whatever the model was trained with, without a word.
    """
    found = config.get("rope_parameters") or {}
    if "rope_theta" not in found:
        return {}
    scaled = found.get("rope_type", "default") != "default"
    return {"rope_theta": found["rope_theta"], "rope_scaling": found if scaled else None}
