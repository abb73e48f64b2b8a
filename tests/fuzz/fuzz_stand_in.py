"""A request of any bytes gets an answer from the Ollama stand-in, and no request harms the next.

An input is requests as HTTP writes them, with a line `---` between two. The model is a toy whose
tokens are bytes.
"""

import asyncio
import hashlib
import json
import re
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote

import fuzz_gguf
import numpy as np
from mutating import BETWEEN_REQUESTS

from slmlab import acquisition
from slmlab.deployment.ollama_stand_in import app as stand_in
from slmlab.deployment.ollama_stand_in.store import Store
from slmlab.engines import chat, llama_cpp
from slmlab.engines.engine import Engine, must_hold_tokens
from slmlab.errors import FetchError

_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
_WEIGHTS = fuzz_gguf.SEEDS[0]
_DIGEST = "sha256:" + hashlib.sha256(_WEIGHTS).hexdigest()
_NO_MODEL = hashlib.sha256(b"no model").hexdigest()


class _Toy(Engine):
    """Stands for llama.cpp: a token is a byte, and each is followed by the next larger one."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        must_hold_tokens(context)
        self.path, self.context, self.threads = path, min(context, 64), threads
        self.vocabulary = 256

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        return list(text.encode())

    def detokenize(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def chat_prompt(self, messages: Any) -> str:
        return chat.render(_TEMPLATE, messages, "toy")

    def start_token(self) -> None:
        return None

    def ends(self, token: int) -> bool:
        return token == 0

    def clear(self) -> None:
        pass

    def evaluate(self, tokens: Sequence[int], position: int = 0, logits_from: int | None = None):
        assert tokens and position >= 0 and position + len(tokens) <= self.context
        logits = np.zeros((1, 256), np.float32)
        logits[0, (tokens[-1] + 1) % 256] = 9
        return logits

    def close(self) -> None:
        pass


def _nothing_comes(name: str) -> None:
    raise FetchError(f"{name} could not be fetched: there is no network.")


_SCRATCH = tempfile.TemporaryDirectory(prefix="slmlab-fuzz-")
_HOME = Path(_SCRATCH.name)
_STORE = Store(_HOME / "store")
_APP = stand_in.app(_STORE, stand_in.Settings(context=64, keep_alive=60, loaded_models=1, queue=8))
_LOOP = asyncio.new_event_loop()


def one_input(data: bytes) -> None:
    """Send the requests one after another to a server that has the model `toy`."""
    _start_again()
    with (
        mock.patch.object(acquisition, "fetch", _nothing_comes),
        mock.patch.object(llama_cpp, "load", _Toy),
    ):
        for request in data.split(BETWEEN_REQUESTS)[:4]:
            status, said = _LOOP.run_until_complete(_answered(*_parsed(request)))
            assert status < 500 or _is_sentence(said), (status, said)
    assert {path.name for path in _HOME.iterdir()} == {"store"}
    assert {path.name for path in (_HOME / "store").iterdir()} == {"blobs", "models"}


def _start_again() -> None:
    for path in (_HOME / "store").glob("*/*"):
        path.unlink()
    _STORE.weights(_DIGEST).parent.mkdir(exist_ok=True)
    _STORE.weights(_DIGEST).write_bytes(_WEIGHTS)
    _STORE.keep(_STORE.new("toy", _DIGEST))


def _parsed(request: bytes) -> tuple[str, str, list[tuple[bytes, bytes]], bytes]:
    """Return method, path, headers and body, as a web server would take them apart."""
    head, _, body = request.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, _, path = first.partition(" ")
    pairs = [line.partition(":") for line in lines if re.match(r"[\w-]+:", line)]
    headers = [(k.lower().encode("latin-1"), v.strip().encode("latin-1")) for k, _, v in pairs]
    if not any(key == b"host" for key, _ in headers):
        headers.append((b"host", b"127.0.0.1"))
    return method, path, headers, body


async def _answered(
    method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, bytes]:
    """Return the status and the body of the answer; what the application raises is raised."""
    before, _, query = path.partition("?")
    raw = quote(before, safe=string.printable)  # no server lets other characters in
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 11434),
    }
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await _APP(scope, receive, send)
    said = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], said


def _is_sentence(said: bytes) -> bool:
    """Whether an answer says what went wrong, as Ollama's own 500, 501 and 503 do."""
    error = json.loads(said)["error"]
    text = error["message"] if isinstance(error, dict) else error
    return bool(text) and text != "internal server error" and "\n" not in text


def _ask(method: str, path: str, body: object = None, *headers: str) -> bytes:
    head = "\n".join([f"{method} {path}", *headers, "", ""]).encode()
    return head + (b"" if body is None else json.dumps(body).encode())


_OPTIONS = {"num_ctx": 32, "num_predict": 4, "temperature": 0.7, "top_k": 5, "top_p": 0.9}
_MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
_CHAT = {"model": "toy", "messages": _MESSAGES, "options": _OPTIONS | {"seed": 1, "stop": ["z"]}}
_MADE = {
    "model": "my/toy:1",
    "from": "toy",
    "template": "{{ if .System }}{{ .System }}{{ end }} {{ .Prompt }} {{ .Response }}",
    "system": "Be brief.",
    "license": ["MIT"],
    "parameters": {"temperature": 0, "stop": ["x", "y"], "num_keep": 2},
    "messages": _MESSAGES,
}
_MINE = {"model": "my/toy:1", "messages": _MESSAGES, "stream": False, "keep_alive": "5m"}
_OPENAI = {
    "model": "toy",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    "max_tokens": 3,
    "stop": "q",
    "stream_options": {"include_usage": True},
}
SEEDS = [
    _ask("POST", "/api/chat", _CHAT),
    _ask("POST", "/api/generate", {"model": "toy", "prompt": "a", "options": _OPTIONS}),
    _ask("POST", "/api/generate", {"model": "toy", "prompt": "", "keep_alive": 0}),
    BETWEEN_REQUESTS.join([_ask("POST", "/api/create", _MADE), _ask("POST", "/api/chat", _MINE)]),
    BETWEEN_REQUESTS.join(
        [
            _ask("POST", "/api/create", _MADE | {"from": "", "files": {"a.gguf": _DIGEST}}),
            _ask("POST", "/api/show", {"name": "my/toy:1"}),
            _ask("GET", "/api/tags"),
            _ask("GET", "/api/ps"),
        ]
    ),
    BETWEEN_REQUESTS.join(
        [
            _ask("POST", "/api/copy", {"source": "toy", "destination": "other"}),
            _ask("DELETE", "/api/delete", {"model": "other"}),
            _ask("GET", "/v1/models/toy"),
        ]
    ),
    _ask("POST", "/v1/chat/completions", _OPENAI),
    _ask("POST", "/v1/chat/completions", _OPENAI | {"stream": True}, "Origin: http://localhost"),
    _ask("POST", "/api/pull", {"model": "toy", "stream": True}),
    _ask("POST", f"/api/blobs/sha256:{_NO_MODEL}", None) + b"no model",
    _ask("HEAD", f"/api/blobs/{_DIGEST}"),
    _ask("GET", "/", None, "Host: localhost:11434", "Origin: http://[::1"),
    _ask("POST", "/api/unknown", {}),
    b"GET ?\xe1\n\n",  # that broke Starlette's redirection to the path with a slash
    _ask("GET", "/v1/models"),
]
