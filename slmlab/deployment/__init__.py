"""Servers as context managers: one module a server, all with the same few verbs.

A server listens on 127.0.0.1 only and ends with us, however we end.
"""

import importlib
from pathlib import Path
from typing import Any

from slmlab.deployment import metrics
from slmlab.deployment.server import Server, start
from slmlab.errors import NotPossibleHere, UsageError

NAMES = ("llama_cpp", "ollama", "vllm", "foundry_local")


def serve(engine: str, model: str | Path, port: int | None = None, **options: Any) -> Server:
    """Start a server for a model and return it when it is ready to answer.

    `model` is a model file or folder, or the name of a card, which is then fetched. Use the server
    with `with`, or call `close`. `port` is a free one unless it is given; `options` are those of
    the engine's module. Raises `UsageError` for an unknown engine, `NotPossibleHere` where the
    engine cannot run here, and `ServerFailed` with the reason where it does not start.
    """
    module = _module(engine)
    if why_not := module.why_not():
        raise NotPossibleHere(why_not)
    return start(engine, lambda free: module.launch(_path(model), free, **options), port)


def why_not(engine: str) -> str | None:
    """Return why a server cannot run here and what to do, or None where it can."""
    return _module(engine).why_not()


def _module(engine: str) -> Any:
    if engine not in NAMES:
        raise UsageError(f"There is no server {engine!r}; choose {', '.join(NAMES)}.")
    return importlib.import_module(f"{__name__}.{engine}")


def _path(model: str | Path) -> Path:
    if Path(model).exists():
        return Path(model)
    from slmlab.acquisition import fetch

    return fetch(str(model)).path


__all__ = ["NAMES", "Server", "metrics", "serve", "start", "why_not"]
