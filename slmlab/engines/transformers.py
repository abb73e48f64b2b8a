"""Run a Hugging Face directory with transformers and PyTorch, on the CPU.

Only safetensors are read, nothing is looked up on the network, and no code that comes with a
model is run.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.engines.engine import must_be_known, must_be_open
from slmlab.engines.folder import FolderEngine, needed_bytes, read_config
from slmlab.errors import EngineError, InvalidModelFile, NotPossibleHere, first_line
from slmlab.machine import check_memory, usable_threads
from slmlab.quantization import huggingface_form

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = ("float32", "bfloat16")


def why_not() -> str | None:
    """Return why this engine cannot run here and what to install, or None if it can."""
    for package in ("transformers", "torch"):
        if not importlib.util.find_spec(package):
            return f"{package} is not installed; install it with: pip install {package}"
    return None


def prepare(source: Path, precision: str) -> Path:
    """Return a GGUF file as a Hugging Face directory, made once and kept in the cache."""
    must_be_known(precision, PRECISIONS)
    return huggingface_form(source, precision)


def load(path: Path, context: int = 2048, threads: int | None = None) -> "Transformers":
    """Load a Hugging Face directory; use the result with `with`, or call its `close`.

    Weights stay in the type that the directory's `config.json` names. `context` counts tokens,
    prompt and answer together; `threads` defaults to the cores this process may use. Raises
    `InvalidModelFile` for a directory that is no model, `NotPossibleHere` where the engine is not
    installed or memory is too small, and `EngineError` where transformers refuses the model.
    """
    if reason := why_not():
        raise NotPossibleHere(reason)
    return Transformers(path, context, threads or usable_threads())


class Transformers(FolderEngine):
    """One loaded model with one cache of keys and values."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        path = Path(path)
        config = read_config(path)
        check_memory(needed_bytes(path, config, context), path.name)
        super().__init__(path, context, threads)
        self._model = _load_model(path)
        self.vocabulary = int(self._model.config.get_text_config().vocab_size)
        self.clear()

    def close(self) -> None:
        """Give the model's memory back; closing twice is harmless, using it afterwards an error."""
        super().close()
        self._model = self._cache = None

    def clear(self) -> None:
        """Forget everything read so far."""
        from transformers import DynamicCache

        must_be_open(self._model, self.path)
        self._read = 0
        self._cache = DynamicCache()

    def _logits(self, tokens: Sequence[int], first: int) -> "np.ndarray":
        import torch

        torch.set_num_threads(self.threads)  # of the whole process, so another engine may differ
        with torch.inference_mode():
            found = self._model(
                torch.tensor([list(tokens)]),
                past_key_values=self._cache,
                logits_to_keep=len(tokens) - first,
            )
        return found.logits[0].float().numpy()


def _load_model(path: Path):
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            path,
            dtype="auto",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as problem:  # what a wrong configuration leads to can be of any type
        raise EngineError(
            f"transformers could not load {path.name}: {first_line(problem)}"
        ) from None
    if missing := found["missing_keys"]:
        raise InvalidModelFile(
            f"{path.name} lacks {len(missing)} of its weights, {min(missing)} among them; fetch or "
            f"make the model again."
        )
    return model.eval()
