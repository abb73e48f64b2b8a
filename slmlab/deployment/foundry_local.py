"""Foundry Local: Microsoft's runtime for models on a device, which runs inside a process of ours.

`runtime` gives it to a notebook; `launch` serves a model through a process that holds it
(`foundry_local_app`).
"""

import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from slmlab import engines
from slmlab.deployment import offline
from slmlab.deployment.audit import AuditLog
from slmlab.deployment.foundry_local_catalogue import PATH, id_parts
from slmlab.deployment.roles import Account, by_name
from slmlab.deployment.server import Launch
from slmlab.environments.guarded import finish, last_words
from slmlab.errors import InvalidModelFile, NotPossibleHere, ServerFailed
from slmlab.files import cache_path, weight_bytes
from slmlab.machine import check_memory, installed_version

if TYPE_CHECKING:
    from foundry_local_sdk import ChatSession, FoundryLocalManager, IModel, Request

SETTINGS = "SLMLAB_FOUNDRY_LOCAL"
"""The environment variable with the server's keys: a command line can be read by everybody."""

ELSEWHERE = "pypi.org"
"""Whom a process asks for a page, to learn whether it can reach the web."""

_ALONE = "slmlab"
_PACKAGE = "foundry-local-sdk"
_EXACT = ("onnxruntime", "onnxruntime-genai-core")
"""What it is linked against: with another version, importing it fails."""


@dataclass(frozen=True)
class Turn:
    """An answer of a chat session: its text, its tokens, and what it took.

    `prompt_tokens` are those of the whole conversation up to this answer. The CPU's seconds are
    the work of all threads, whatever else the machine did at the time.
    """

    text: str
    prompt_tokens: int
    new_tokens: int
    seconds_to_first_token: float
    cpu_seconds_to_first_token: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """The rate at which the tokens after the first were written, 0.0 where there are none."""
        if self.new_tokens < 2:
            return 0.0
        return (self.new_tokens - 1) / (self.seconds - self.seconds_to_first_token)


def why_not() -> str | None:
    """Return why Foundry Local cannot run here and what to install, or None if it can."""
    if importlib.util.find_spec("foundry_local_sdk") is None:
        return (
            "foundry-local-sdk is not installed, or not available for this system; try: "
            "pip install foundry-local-sdk"
        )
    for need in map(Requirement, requires(_PACKAGE) or ()):
        if need.name in _EXACT and not need.specifier.contains(installed_version(need.name)):
            return (
                f"{_PACKAGE} {installed_version(_PACKAGE)} needs another {need.name} than "
                f"{installed_version(need.name)}; install it with: pip install "
                f'"{need.name}{need.specifier}"'
            )
    return None


def must_run() -> None:
    """Raise `NotPossibleHere` with the reason where Foundry Local cannot run."""
    if reason := why_not():
        raise NotPossibleHere(reason)


def launch(
    model: Path,
    port: int,
    accounts: Iterable[Account] = (),
    audit: AuditLog | None = None,
) -> Launch:
    """Return how to serve a model: a folder of ONNX Runtime GenAI, or a GGUF file, made int4.

    Only `accounts` may use the server, each as far as its role goes, and `api_key` is the first
    one's; without any there is one owner with a new key. Every request to list or run the model
    goes into `audit`, allowed or refused. Raises `InvalidModelFile` for a folder that is no such
    model, `NotPossibleHere` where memory is too small, and `UsageError` where two accounts have
    one name or one key.
    """
    folder = model if model.is_dir() else engines.prepare("onnx", model, "int4")
    if not (folder / "genai_config.json").is_file():
        raise InvalidModelFile(
            f"{folder} has no genai_config.json, so Foundry Local cannot register it; make the "
            f"folder with engines.prepare, or give a GGUF file."
        )
    check_memory(weight_bytes(folder), folder.name)
    users = list(by_name(accounts).values()) or [
        Account(_ALONE, "owner", secrets.token_urlsafe(24))
    ]
    settings = {
        "accounts": [[user.who, user.role, user.key] for user in users],
        "audit": audit and [str(audit.path.absolute()), audit.key.hex()],
    }
    model_id = model_id_of(folder)
    app = [sys.executable, "-m", "slmlab.deployment.foundry_local_app"]
    return Launch(
        command=[*app, folder.absolute(), model_id, str(port)],
        health="/health",
        model=model_id,
        version=installed_version(_PACKAGE),
        env={**os.environ, SETTINGS: json.dumps(settings)},
        api_key=users[0].key,
    )


def model_id_of(folder: Path) -> str:
    """Return the id that a model's folder gets: `name:1`, as Foundry Local wants it."""
    name = re.sub(r"[^a-z0-9-]+", "-", folder.name.lower()).strip("-")
    return f"{name}:1"


@contextmanager
def quietly(folder: Path) -> Iterator[None]:
    """Keep the runtime that starts in this block from reporting, and from the user's own folders.

    With its own switch alone it still reports the process to Microsoft when it starts. ONNX Runtime
    below it reports by itself, which `slmlab` keeps it from wherever it is imported.
    """
    ours = {"CI": "1", "XDG_CACHE_HOME": str(folder)}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def runtime(folder: Path, catalogue: str = offline.NOWHERE + PATH) -> "FoundryLocalManager":
    """Start the runtime in this process and return its manager; one that runs is closed first.

    Everything it writes goes into `folder`. `catalogue` is the URL of the catalogue that it asks
    for models to download; without one it asks nobody, and knows only what is registered.
    """
    from foundry_local_sdk import Configuration, FoundryLocalManager

    if FoundryLocalManager.instance:
        FoundryLocalManager.instance.close()
    configuration = Configuration(
        app_name="slmlab",
        app_data_dir=str(folder / "app"),
        model_cache_dir=str(folder / "models"),
        logs_dir=str(folder / "logs"),
        catalog_urls=[(catalogue, None)],
        disable_nonessential_telemetry=True,
    )
    with quietly(folder):
        FoundryLocalManager.initialize(configuration)
    return FoundryLocalManager.instance


def register(manager: "FoundryLocalManager", folder: Path, model_id: str) -> "IModel":
    """Register a model's folder for chat in the local catalogue, and return the model.

    Nothing is copied. The registration is kept in the runtime's folder; one of the same id is
    replaced. Raises `UsageError` for an id that is not `name:version`.
    """
    from foundry_local_sdk import CatalogType, ModelInfoBuilder

    id_parts(model_id)
    catalogue = manager.get_catalog(CatalogType.LOCAL)
    if catalogue.get_model_variant(model_id):
        catalogue.unregister_model(model_id)
    with ModelInfoBuilder() as about:
        about.set_string_property("task", "chat-completion")
        return catalogue.register_model(folder, model_id, about)


def request(
    messages: Iterable[Mapping[str, str]],
    max_tokens: int,
    temperature: float = 0.0,
    **search: float,
) -> "Request":
    """Return a request for a chat session; close it, or use it with `with`.

    `messages` have a `role` (system, user or assistant) and a `content`; `search` may name
    `top_p` and `seed`.
    """
    from foundry_local_sdk import MessageItem, Request, RequestOptions, SearchOptions

    makers = {
        "system": MessageItem.system,
        "user": MessageItem.user,
        "assistant": MessageItem.assistant,
    }
    asked = Request()
    for message in messages:
        asked.add_item(makers[message["role"]](message["content"]))
    options = SearchOptions(
        temperature=temperature,
        do_sample=temperature > 0,
        max_output_tokens=max_tokens,
        **search,
    )
    asked.set_options(RequestOptions(search=options))
    return asked


def ask(session: "ChatSession", messages: Iterable[Mapping[str, str]], max_tokens: int) -> Turn:
    """Ask in a session that streams, and return the greedy answer with what it took.

    An open session knows the turns before: give the new message only. A new one knows nothing:
    give all.
    """
    from foundry_local_sdk import TextItem

    with request(messages, max_tokens) as asked:
        began, worked = time.perf_counter(), time.process_time()
        first, pieces = None, []
        with session.process_streaming_request(asked) as stream:
            for item in stream:
                first = first or (time.perf_counter() - began, time.process_time() - worked)
                if isinstance(item, TextItem):
                    pieces.append(item.text)
            usage = stream.final_response.get_usage()
        took = time.perf_counter() - began
    seconds_to_first, cpu_to_first = first or (took, time.process_time() - worked)
    return Turn(
        text="".join(pieces),
        prompt_tokens=usage.prompt_tokens,
        new_tokens=usage.completion_tokens,
        seconds_to_first_token=seconds_to_first,
        cpu_seconds_to_first_token=cpu_to_first,
        seconds=took,
    )


def ask_offline(folder: Path, question: str) -> tuple[str, dict[str, Any]]:
    """Let a process without a network load a model's folder and answer a question.

    Return what kept it off the network, and what it said: `answer`, `new_tokens`, `seconds` (from
    the start of the runtime to the answer) and `network` (what came of asking for a web page).
    Raises `ServerFailed` where it fails, or takes more than five minutes.
    """
    with _in_time():
        done = offline.run(_asking(folder, question, "ours"))
    return done.how, _said(done.code, done.output, done.errors)


def hosts_asked(folder: Path, manner: str) -> list[str]:
    """Return the hosts that a process with Foundry Local asks for while it answers a question.

    `manner` is `plain` (as it comes), `switched` (with its switch against telemetry) or `ours`.
    The process is led to a proxy that connects nobody, so nothing is sent by what heeds a proxy
    setting, and only that is seen. Raises `ServerFailed` where it fails, or takes more than five
    minutes.
    """
    with offline.listening() as (proxies, asked), tempfile.TemporaryDirectory() as cache:
        env = {name: value for name, value in os.environ.items() if name != "CI"}
        env |= proxies | {"XDG_CACHE_HOME": cache, "SLMLAB_CACHE": str(cache_path())}
        with _in_time():
            asking = _asking(folder, "What is the capital of France?", manner)
            done = finish(asking, env, timeout=300)
        _said(done.returncode, done.stdout, done.stderr)
    return sorted(set(asked) - {ELSEWHERE})


def _asking(folder: Path, question: str, manner: str) -> list[str | Path]:
    return [sys.executable, "-m", f"{__package__}.foundry_local_ask", folder, question, manner]


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired as late:
        raise ServerFailed(
            f"Foundry Local did not answer within {late.timeout:.0f} s; close other programs and "
            f"try again."
        ) from None


def _said(code: int, output: str, errors: str) -> dict[str, Any]:
    if code:
        raise ServerFailed(f"Foundry Local did not answer: {last_words(code, errors)}")
    return json.loads(output.splitlines()[-1])
