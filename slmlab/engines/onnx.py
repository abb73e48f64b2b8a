"""Run a folder of ONNX Runtime GenAI: a graph, its weights and a `genai_config.json`."""

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from slmlab.engines.engine import must_be_known, must_be_open
from slmlab.engines.folder import FolderEngine, cache_bytes, end_tokens, read_json, whole_number
from slmlab.environments.guarded import finish, last_words
from slmlab.errors import (
    EngineError,
    InvalidModelFile,
    NotPossibleHere,
    QuantizationError,
    first_line,
)
from slmlab.files import cache_path, check_room, kept_as, made_once, weight_bytes, whole_folder
from slmlab.machine import check_memory, installed_version, usable_threads
from slmlab.quantization import huggingface_form

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = ("float32", "int4")
_BUILDER_NAMES = {"float32": "fp32", "int4": "int4"}


def why_not() -> str | None:
    """Return why this engine cannot run here and what to install, or None if it can."""
    if importlib.util.find_spec("onnxruntime_genai"):
        return None
    return "onnxruntime-genai is not installed; install it with: pip install onnxruntime-genai"


def prepare(source: Path, precision: str) -> Path:
    """Return a GGUF file as an ONNX Runtime GenAI folder, made once and kept in the cache.

    The model builder of ONNX Runtime GenAI makes it from the Hugging Face directory. In int4, 32
    weights share a scale, in the embedding as well, and a matrix product takes its inputs in 8
    bits (the builder's accuracy level 4).
    """
    must_be_known(precision, PRECISIONS)
    if reason := why_not():
        raise NotPossibleHere(reason)
    directory = huggingface_form(source, "float32")
    made_by = f"{directory.parent.name}-genai-{installed_version('onnxruntime-genai')}"
    ending = f"-{precision}"
    folder = kept_as(cache_path("onnx", made_by, f"{Path(source).stem}{ending}"), ending)
    return made_once(folder, lambda folder: _make(directory, folder, precision))


def load(path: Path, context: int = 2048, threads: int | None = None) -> "Onnx":
    """Load an ONNX Runtime GenAI folder; use the result with `with`, or call its `close`.

    `context` counts tokens, prompt and answer together; `threads` defaults to the cores this
    process may use. Raises `InvalidModelFile` for a folder that is no such model,
    `NotPossibleHere` where the engine is not installed or memory is too small, and `EngineError`
    where ONNX Runtime refuses the model.
    """
    if reason := why_not():
        raise NotPossibleHere(reason)
    return Onnx(path, context, threads or usable_threads())


class Onnx(FolderEngine):
    """One loaded model with one generator, which holds the cache of keys and values."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        path = Path(path)
        config = _config(path)
        check_memory(_needed_bytes(path, config, context), path.name)
        super().__init__(path, context, threads)
        self.vocabulary = whole_number(config, "vocab_size")
        self._model, self._generator = _open(path, context, threads)
        self._ends |= end_tokens(config)

    def close(self) -> None:
        """Give the model's memory back; closing twice is harmless, using it afterwards an error."""
        super().close()
        self._generator = self._model = None

    def clear(self) -> None:
        """Forget everything read so far."""
        must_be_open(self._generator, self.path)
        self._read = 0
        self._generator.rewind_to(0)

    def _logits(self, tokens: Sequence[int], first: int) -> "np.ndarray":
        import numpy as np

        self._generator.append_tokens(np.array(tokens, dtype=np.int32))
        return self._generator.get_output("logits")[0, first:]  # of which the graph made all


def _config(path: Path) -> dict:
    """Return what the folder's `genai_config.json` says of the model."""
    config = read_json(path / "genai_config.json").get("model")
    if not isinstance(config, dict) or not isinstance(config.get("decoder"), dict):
        raise InvalidModelFile(
            f"{path} has no genai_config.json that describes a model; make the folder with "
            f"engines.prepare or with python -m onnxruntime_genai.models.builder."
        )
    return config


def _needed_bytes(path: Path, config: dict, context: int) -> int:
    """Weights as they lie on disk, and the cache of keys and values, which is float32 on a CPU.

    It is counted as if every layer kept all of it: GenAI has a form of its own for windows.
    """
    decoder = config["decoder"]
    cache = decoder | {"head_dim": decoder.get("head_size"), "sliding_window": None}
    return weight_bytes(path) + cache_bytes(cache, context, 4)


def _open(path: Path, context: int, threads: int):
    import onnxruntime_genai as og

    options = {
        "search": {"max_length": context},
        "model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}},
    }
    try:
        config = og.Config(str(path))
        config.overlay(json.dumps(options))
        model = og.Model(config)
        return model, og.Generator(model, og.GeneratorParams(model))
    except (OSError, RuntimeError, ValueError) as problem:
        raise EngineError(
            f"ONNX Runtime GenAI could not load {path.name}: {first_line(problem)}"
        ) from None


def _make(directory: Path, folder: Path, precision: str) -> None:
    check_room(weight_bytes(directory), folder, folder.name)
    with whole_folder(folder) as aside:
        _build(directory, aside, precision)


def _build(directory: Path, folder: Path, precision: str) -> None:
    with TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(directory)]
        options = ["-o", str(folder), "-p", _BUILDER_NAMES[precision], "-e", "cpu", "-c", scratch]
        child = finish(command + options, os.environ | {"HF_HUB_OFFLINE": "1"})
    if child.returncode:
        reason = last_words(child.returncode, child.stderr)
        raise QuantizationError(
            f"{directory.name} could not be made an ONNX model in {precision}: {reason}"
        )
