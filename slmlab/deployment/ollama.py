"""Ollama's server where Ollama is installed, and otherwise a stand-in that says so.

Both are started with the same environment variables and spoken to with the official client.
"""

import os
import re
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.deployment import ollama_stand_in
from slmlab.deployment.server import HOST, Launch, Server
from slmlab.environments.guarded import finish
from slmlab.errors import InvalidModelFile, ServerFailed, UsageError, first_line
from slmlab.files import cache_path, sha256, use

if TYPE_CHECKING:
    from ollama import ChatResponse, Client, GenerateResponse, ProgressResponse

_INSTRUCTION = re.compile(r'\s*(?:#[^\n]*|(\S+)[ \t]*(""".*?"""|[^\n]*))', re.DOTALL)
_INSTRUCTIONS = ("FROM", "PARAMETER", "SYSTEM", "TEMPLATE")
_ALSO = ("ADAPTER", "LICENSE", "MESSAGE", "REQUIRES", "RENDERER", "PARSER", "DRAFT")

PARAMETERS: dict[str, type] = {
    "num_ctx": int,
    "num_keep": int,
    "num_batch": int,
    "num_predict": int,
    "num_thread": int,
    "num_gpu": int,
    "main_gpu": int,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "seed": int,
    "repeat_last_n": int,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "stop": str,
}
"""The parameters of a Modelfile that `modelfile` knows, with what they hold."""


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says, in the four instructions that lab 08 teaches."""

    source: str
    parameters: dict[str, Any] = field(default_factory=dict)
    system: str = ""
    template: str = ""


def why_not() -> str | None:
    """Return why neither Ollama nor the stand-in can run here, or None where one of them can."""
    if find_spec("ollama") is None:
        return "Ollama's Python client is not installed; install it with: pip install ollama"
    if find_program() or (find_spec("llama_cpp") and find_spec("fastapi")):
        return None
    return (
        "Ollama is not installed, and neither is what its stand-in needs; install Ollama from "
        'https://ollama.com/download, or: pip install "llama-cpp-python[server]"'
    )


def find_program() -> str | None:
    """Return where the program `ollama` is, or None where Ollama is not installed."""
    return shutil.which("ollama")


def launch(
    model: Path,
    port: int,
    context: int | None = None,
    keep_alive: str | None = None,
    loaded_models: int | None = None,
    models: Path | None = None,
) -> Launch:
    """Say how to serve a GGUF file; its name is `model_name`.

    `context` counts tokens, `keep_alive` says how long a model stays in memory ("5m"), and
    `loaded_models` how many may; without them Ollama's own defaults hold. Models are kept in the
    folder `models`, by default one in the cache that an Ollama of yours does not see. Raises
    `InvalidModelFile` where `model` is no file.
    """
    if not model.is_file():
        raise InvalidModelFile(f"{model} is not a GGUF file; Ollama's server needs one.")
    program, name = find_program(), model_name(model)
    command = [program, "serve"] if program else [sys.executable, "-m", ollama_stand_in.__name__]
    folder = models or cache_path("ollama", "models" if program else "stand-in")
    folder.mkdir(parents=True, exist_ok=True)
    use(folder)
    told = {
        "OLLAMA_CONTEXT_LENGTH": context,
        "OLLAMA_KEEP_ALIVE": keep_alive,
        "OLLAMA_MAX_LOADED_MODELS": loaded_models,
    }
    return Launch(
        command=command,
        env={
            **os.environ,
            "OLLAMA_HOST": f"{HOST}:{port}",
            "OLLAMA_MODELS": str(folder),
            "OLLAMA_NO_CLOUD": "1",
            **{name: str(value) for name, value in told.items() if value is not None},
        },
        health="/api/version",
        model=name,
        version=_version(program) if program else ollama_stand_in.VERSION,
        stand_in=program is None,
        after_start=lambda url: _register(url, name, model),
    )


def title(server: Server) -> str:
    """Return what to call a server in an output, such as `Ollama 0.40.0`."""
    return "Ollama's stand-in" if server.stand_in else f"Ollama {server.version}"


def client(server: Server) -> "Client":
    """Return the official client for a server."""
    return _client(server.url)


def seconds(reply: "GenerateResponse | ChatResponse") -> dict[str, float]:
    """Return where the time of a finished answer went: to load, read, write, and the rest."""
    times = {
        "load": (reply.load_duration or 0) / 1e9,
        "read": (reply.prompt_eval_duration or 0) / 1e9,
        "write": (reply.eval_duration or 0) / 1e9,
    }
    return {**times, "rest": max(0.0, (reply.total_duration or 0) / 1e9 - sum(times.values()))}


def modelfile(text: str) -> Modelfile:
    """Read a Modelfile.

    Raises `UsageError` for an instruction or parameter that Ollama does not know either, for one
    that this reader does not take, and where `FROM` is missing.
    """
    said: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    for found in filter(lambda found: found[1], _INSTRUCTION.finditer(text)):
        word, value = found[1].upper(), _unquoted(found[2])
        if word not in _INSTRUCTIONS:
            raise UsageError(_unknown(word))
        if word == "PARAMETER":
            name, _, told = value.replace("\t", " ").partition(" ")
            _add(parameters, name, told)
        else:
            said[word] = value
    if not said.get("FROM"):
        raise UsageError("A Modelfile needs a line FROM with a GGUF file or a model's name.")
    return Modelfile(said["FROM"], parameters, said.get("SYSTEM", ""), said.get("TEMPLATE", ""))


def create(client: "Client", name: str, text: str) -> "ProgressResponse":
    """Make a model by a Modelfile, as `ollama create NAME -f Modelfile` does.

    A file after `FROM` is uploaded to the server; anything else is the name of a model it has.
    """
    told = modelfile(text)
    path = Path(told.source)
    weights: Mapping[str, Any] = {"from_": told.source}
    if path.is_file():
        weights = {"files": {path.name: client.create_blob(path)}}
    return client.create(
        name,
        system=told.system or None,
        template=told.template or None,
        parameters=told.parameters or None,
        **weights,
    )


def _unquoted(value: str) -> str:
    value = value.strip()
    if value.startswith('"""'):
        if len(value) < 6 or not value.endswith('"""'):
            raise UsageError('A text that begins with """ must end with """ too.')
        return value[3:-3]
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _unknown(word: str) -> str:
    if word in _ALSO:
        return f"This reader of Modelfiles does not take {word}; use `ollama create` itself."
    return f"A Modelfile has no instruction {word}; it may have {', '.join(_INSTRUCTIONS + _ALSO)}."


def _add(parameters: dict[str, Any], name: str, value: str) -> None:
    if name not in PARAMETERS:
        raise UsageError(
            f"unknown parameter '{name}': a Modelfile may set {', '.join(PARAMETERS)}."
        )
    try:
        read = PARAMETERS[name](_unquoted(value))
    except ValueError:
        kind = PARAMETERS[name].__name__
        raise UsageError(f"The parameter {name} is {value!r}; it must be of type {kind}.") from None
    if name == "stop":
        read = [*parameters.get("stop", []), read]
    parameters[name] = read


def _client(url: str) -> "Client":
    from ollama import Client

    return Client(url)


def model_name(model: Path) -> str:
    """Return what Ollama calls a file's model: its name, in the letters that Ollama takes."""
    plain = unicodedata.normalize("NFKD", model.stem.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")[:80] or "model"


def _register(url: str, name: str, model: Path) -> None:
    """Give a server a model, unless it has one of this name with the same weights."""
    from ollama import ResponseError

    with _client(url) as speaking:
        try:
            if sha256(model) not in _known_modelfile(speaking, name):
                create(speaking, name, f"FROM {model}")
        except ResponseError as problem:
            raise ServerFailed(f"Ollama refused {model.name}: {first_line(problem)}") from None


def _known_modelfile(speaking: "Client", name: str) -> str:
    from ollama import ResponseError

    try:
        return speaking.show(name).modelfile or ""
    except ResponseError as problem:
        if problem.status_code != 404:
            raise
        return ""


def _version(program: str) -> str:
    command = [program, "--version"]
    env = {**os.environ, "OLLAMA_HOST": f"{HOST}:1"}  # ask no server, which would have another one
    done = finish(command, env, timeout=30)
    found = re.search(r"\d+\.\d+\.\d+\S*", done.stdout + done.stderr)
    if not found:
        raise ServerFailed(f"{shlex.join(command)} names no version; install Ollama again.")
    return found[0]
