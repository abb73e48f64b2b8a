"""llama-cpp-python's server, with what it lacks: see `llama_cpp_app`."""

import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path

from slmlab.deployment.server import Launch
from slmlab.errors import InvalidModelFile
from slmlab.machine import check_memory, installed_version, usable_threads


def why_not() -> str | None:
    """Return why the server cannot run here and what to install, or None where it can."""
    missing = [name for name in ("llama_cpp", "fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        return (
            f"{missing[0]} is not installed; install it with: "
            f'pip install "llama-cpp-python[server]"'
        )
    return None


def launch(model: Path, port: int, context: int = 2048, threads: int | None = None) -> Launch:
    """Say how to serve a GGUF file; a sequence may have up to `context` tokens.

    It answers one request at a time, in the order they came. Raises `InvalidModelFile` where
    `model` is no file, and `NotPossibleHere` where memory is too small.
    """
    if not model.is_file():
        raise InvalidModelFile(f"{model} is not a GGUF file; llama.cpp's server needs one.")
    check_memory(model.stat().st_size, model.name)
    key = secrets.token_urlsafe(24)
    app = [sys.executable, "-m", "slmlab.deployment.llama_cpp_app"]
    numbers = map(str, (port, context, threads or usable_threads()))
    return Launch(
        command=[*app, model, *numbers],
        env={**os.environ, "SLMLAB_API_KEY": key},
        health="/health",
        metrics="/metrics",
        model=model.stem,
        version=installed_version("llama-cpp-python"),
        api_key=key,
    )
