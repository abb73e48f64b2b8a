"""Run a model: one module an engine, all with the same few verbs.

Nothing is imported until an engine is used, so each one runs where the others are missing.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab import environments
from slmlab.errors import InvalidModelFile, UsageError
from slmlab.files import use
from slmlab.machine import installed_version

if TYPE_CHECKING:
    from slmlab.engines.engine import Engine

_PACKAGES = {
    "llama_cpp": ("llama-cpp-python",),
    "transformers": ("transformers", "torch"),
    "onnx": ("onnxruntime-genai", "onnxruntime"),
    "mlx": ("mlx-lm", "mlx"),
}
NAMES = tuple(_PACKAGES)
ELSEWHERE = ("olive", "vllm")
"""Frameworks that run in an environment of their own."""


def load(
    path: Path, engine: str | None = None, context: int = 2048, threads: int | None = None
) -> "Engine":
    """Load what is at `path`: a GGUF file, or the folder of a model.

    The engine follows from what is there; a Hugging Face folder is for `transformers` unless
    `engine` says `mlx`. What lies in the cache is not pruned before this process ends.

    Raises `InvalidModelFile` where no model is there, `UsageError` for an unknown engine,
    `NotPossibleHere` where the engine is not installed or memory is too small, and `EngineError`
    where the engine refuses the model.
    """
    path = Path(path)
    use(path)
    if not path.exists():
        raise InvalidModelFile(f"{path} is not there; give a GGUF file or the folder of a model.")
    return _module(engine or _engine_for(path)).load(path, context, threads)


def prepare(engine: str, source: Path, precision: str) -> Path:
    """Return a GGUF file in an engine's own form and precision, made once and kept in the cache.

    The precisions an engine knows stand in `overview`. Raises `UsageError` for an unknown engine
    or precision, `InvalidModelFile` for a source that is no model, and `QuantizationError` where
    it cannot be converted.
    """
    return _module(engine).prepare(Path(source), precision)


def overview() -> list[dict[str, Any]]:
    """Return a row for each engine and framework: whether it runs here, or why not.

    A row has `name`, `runs` (bool), `version` (None where it is not installed), `precisions` that
    `prepare` makes, and `why_not` (None where it runs).
    """
    return [*map(_engine_row, NAMES), *map(_environment_row, ELSEWHERE)]


def precisions(engine: str) -> tuple[str, ...]:
    """Return the precisions that `prepare` makes for an engine."""
    return _module(engine).PRECISIONS


def packages(engine: str) -> tuple[str, ...]:
    """Return the Python packages whose versions decide what an engine does, its own first."""
    return _PACKAGES[_known(engine)]


def first_difference(first: Sequence[int], second: Sequence[int]) -> int | None:
    """Return the index from which two lists of token ids differ, or None where they are equal.

    A list that ends earlier differs where it ends.
    """
    if list(first) == list(second):
        return None
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _known(engine: str) -> str:
    if engine not in NAMES:
        raise UsageError(f"There is no engine {engine!r}; choose {', '.join(NAMES)}.")
    return engine


def _module(engine: str) -> Any:
    return importlib.import_module(f"{__name__}.{_known(engine)}")


def _engine_for(path: Path) -> str:
    if path.is_file():
        return "llama_cpp"
    if (path / "genai_config.json").is_file() or any(path.glob("*.onnx")):
        return "onnx"
    if (path / "config.json").is_file():
        return "transformers"
    raise InvalidModelFile(
        f"{path} is not a model: it has neither a config.json nor a genai_config.json; give a "
        f"GGUF file or the folder of a model."
    )


def _engine_row(name: str) -> dict[str, Any]:
    engine = _module(name)
    why_not = engine.why_not()
    return {
        "name": name,
        "runs": why_not is None,
        "version": None if why_not else installed_version(_PACKAGES[name][0]),
        "precisions": engine.PRECISIONS,
        "why_not": why_not,
    }


def _environment_row(name: str) -> dict[str, Any]:
    status = environments.status(name)
    ready = status == "ready"
    return {
        "name": name,
        "runs": ready,
        "version": environments.version(name) if ready else None,
        "precisions": (),
        "why_not": None
        if ready
        else f"its environment is {status}; make it with: slmlab engines install {name}",
    }
