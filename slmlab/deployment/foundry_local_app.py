"""A process that holds Foundry Local's runtime and answers OpenAI-style: FOLDER MODEL_ID PORT.

The runtime's own web service asks for no key and knows no model that was registered locally. This
one has keys, roles and an audit log, all from the environment variable `SETTINGS`. It answers one
request at a time while the others wait, and writes no prompt anywhere.
"""

import http.server
import json
import os
import re
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slmlab.deployment.audit import AuditLog
from slmlab.deployment.foundry_local import SETTINGS, register, request, runtime
from slmlab.deployment.registry import folder_digest
from slmlab.deployment.roles import Access, Account
from slmlab.errors import NotAllowed, SlmlabError
from slmlab.files import from_json
from slmlab.machine import give_back_memory

_LARGEST_BODY = 4_000_000
_MOST_WAITING = 64
_DEFAULT_TOKENS = 256
_PATIENCE = 30.0
"""Seconds that a client may take to send a request."""
_NOT_HERE = ("tools", "functions", "stop", "response_format", "logprobs", "audio", "logit_bias")


class Refusal(Exception):
    """A request that is answered with an error: an HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Gone(Exception):
    """The client has closed the connection."""


@dataclass(frozen=True)
class Wanted:
    """What a chat request asks for, checked."""

    messages: list[dict[str, str]]
    max_tokens: int
    sampling: dict[str, float]
    stream: bool
    usage: bool


class Chat:
    """A loaded model that answers one request at a time."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._turn = threading.Lock()
        self._waiting = threading.Semaphore(_MOST_WAITING)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn; raise `Refusal` where too many wait already."""
        if not self._waiting.acquire(blocking=False):
            raise Refusal(503, f"{_MOST_WAITING} requests are waiting already; try again later.")
        try:
            with self._turn:
                try:
                    yield
                finally:
                    give_back_memory()  # the session's: hundreds of MB where a context is long
        finally:
            self._waiting.release()

    @contextmanager
    def answer(self, wanted: Wanted) -> Iterator["Answer"]:
        """Give the answer, still unwritten; raise `Refusal` for what does not fit the context."""
        from foundry_local_sdk import ChatSession

        sampling = wanted.sampling
        with (
            ChatSession(self._model) as session,
            request(wanted.messages, wanted.max_tokens, **sampling) as asked,
        ):
            budget = session.preflight_request(asked)
            if not budget.fits:
                raise Refusal(
                    400,
                    f"The prompt has {budget.prompt_tokens} tokens and up to "
                    f"{budget.output_reserve_tokens} are wanted, but this model's context holds "
                    f"{budget.context_limit_tokens}.",
                )
            yield Answer(session, asked)


class Answer:
    """An answer that is written while it is iterated over; then it has `finish` and `usage`."""

    def __init__(self, session: Any, asked: Any) -> None:
        self._session = session
        self._asked = asked
        self.finish = ""
        self.usage: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        from foundry_local_sdk import FinishReason, TextItem

        self._session.set_streaming(True)
        with self._session.process_streaming_request(self._asked) as stream:
            for item in stream:
                if isinstance(item, TextItem):
                    yield item.text
            last = stream.final_response
            self.finish = "length" if last.finish_reason == FinishReason.LENGTH else "stop"
            self.usage = asdict(last.get_usage())


class Server(http.server.ThreadingHTTPServer):
    """The HTTP server, with what its requests share."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, port: int, model_id: str, digest: str, chat: Chat, access: Access) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.model_id = model_id
        self.digest = digest
        self.chat = chat
        self.access = access


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server: Server

    def do_GET(self) -> None:
        """Answer `/health` for everybody, `/v1/models` for who may read."""
        self._answer({"/health": self._health, "/v1/models": self._models})

    def do_POST(self) -> None:
        """Answer `/v1/chat/completions` for who may run."""
        self._answer({"/v1/chat/completions": self._chat})

    def log_message(self, *_: object) -> None:
        """Write nothing of one's own accord: a request line is whatever its sender likes."""

    def _answer(self, known: dict[str, Any]) -> None:
        self._status = 200
        self._unread = 0
        path = self.path.partition("?")[0]
        try:
            self._unread = self._announced()
            if path not in known:
                raise Refusal(404, "There is nothing here; ask /v1/chat/completions.")
            known[path]()
        except Refusal as refusal:
            self._refuse(refusal.status, str(refusal))
        except (Gone, ConnectionError, TimeoutError):
            self._status = 499
            self.close_connection = True
        except SlmlabError as problem:
            self._refuse(500, str(problem))
        except Exception as problem:
            self._refuse(500, f"The runtime failed ({type(problem).__name__}).")
        print(f"{self.command} {path if path in known else '?'} {self._status}", flush=True)

    def _announced(self) -> int:
        """Return how many bytes of body the client says will come."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise Refusal(411, "The request must say its Content-Length.")
        return int(length)

    def _health(self) -> None:
        self._send(200, {"status": "ok"})

    def _models(self) -> None:
        self._require("read")
        entry = {"id": self.server.model_id, "object": "model", "created": 0, "owned_by": "slmlab"}
        self._send(200, {"object": "list", "data": [entry]})

    def _chat(self) -> None:
        body = self._body()
        self._require("run")
        wanted = read_request(body, self.server.model_id)
        with self.server.chat.turn():
            self._stay()
            with self.server.chat.answer(wanted) as answer:
                if wanted.stream:
                    self._stream(answer, wanted.usage)
                else:
                    self._whole(answer)

    def _whole(self, answer: Answer) -> None:
        text = ""
        for piece in answer:
            self._stay()
            text += piece
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish}
        frame = self._frame("chat.completion")
        self._send(200, frame | {"choices": [choice], "usage": answer.usage})

    def _stream(self, answer: Answer, with_usage: bool) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        frame = self._frame("chat.completion.chunk")
        self._event(frame | {"choices": [_delta({"role": "assistant", "content": ""})]})
        try:
            for piece in answer:
                self._stay()
                self._event(frame | {"choices": [_delta({"content": piece})]})
        except (Gone, ConnectionError, TimeoutError):
            raise
        except Exception as problem:
            self._status = 500
            self._event(_error(500, f"The runtime failed ({type(problem).__name__})."))
            return
        self._event(frame | {"choices": [_delta({}, answer.finish)]})
        if with_usage:
            self._event(frame | {"choices": [], "usage": answer.usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: dict) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def _frame(self, kind: str) -> dict:
        name = f"chatcmpl-{uuid.uuid4().hex}"
        created = int(time.time())
        return {"id": name, "object": kind, "created": created, "model": self.server.model_id}

    def _require(self, what: str) -> None:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        account = self.server.access.whose(key) if scheme == "Bearer" else None
        if account is None:
            self.server.access.turn_away(what, self.server.digest)
            raise Refusal(401, "The API key is missing or wrong.")
        try:
            self.server.access.require(account.who, what, self.server.digest)
        except NotAllowed as refused:
            raise Refusal(403, str(refused)) from None

    def _body(self) -> bytes:
        if self._unread > _LARGEST_BODY:
            raise Refusal(413, f"A request may have {_LARGEST_BODY} bytes.")
        body = self.rfile.read(self._unread)
        self._unread = 0
        return body

    def _stay(self) -> None:
        """Raise `Gone` where the client has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise Gone

    def _refuse(self, status: int, sentence: str) -> None:
        self._status = status
        if self._unread:
            self.close_connection = True  # what was not read would be taken for a next request
        with suppress(ConnectionError, TimeoutError):
            self._send(status, _error(status, sentence))

    def _send(self, status: int, answer: dict) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def read_request(body: bytes, model_id: str) -> Wanted:
    """Return what a chat request asks for; raise `Refusal`, which never quotes it, if it cannot."""
    try:
        asked = from_json(body)
    except ValueError:
        raise Refusal(400, "The request is not valid JSON.") from None
    if not isinstance(asked, dict):
        raise Refusal(400, "The request is not a JSON object.")
    if asked.get("model") != model_id:
        raise Refusal(404, f"This server has no {_named(asked.get('model'))}, only {model_id}.")
    extra = [name for name in _NOT_HERE if asked.get(name)]
    if extra or asked.get("n") not in (None, 1):
        raise Refusal(400, f"This server does not support {', '.join(extra) or 'n above 1'}.")
    sampling = {
        name: _number(asked, name, low, high)
        for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1))
        if asked.get(name) is not None
    }
    if asked.get("seed") is not None:
        sampling["seed"] = _whole_number(asked, "seed", 0, 2**31 - 1, 0)
    limit = "max_tokens" if "max_tokens" in asked else "max_completion_tokens"
    options = asked.get("stream_options")
    return Wanted(
        messages=_messages(asked.get("messages")),
        max_tokens=_whole_number(asked, limit, 1, 2**31 - 1, _DEFAULT_TOKENS),
        sampling={"temperature": 1.0} | sampling,
        stream=asked.get("stream") is True,
        usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _named(model: Any) -> str:
    """Return a model's name as it may stand in a sentence; what is long is none."""
    is_name = isinstance(model, str) and len(model) <= 100 and model.isprintable()
    return f"model {model!r}" if is_name else "such model"


def _messages(asked: Any) -> list[dict[str, str]]:
    if not isinstance(asked, list) or not asked:
        raise Refusal(400, "messages is a list with at least one message.")
    return [_message(message) for message in asked]


def _message(message: Any) -> dict[str, str]:
    roles = ("system", "user", "assistant")
    if not isinstance(message, dict) or message.get("role") not in roles:
        raise Refusal(400, "Each message has a role: system, user or assistant.")
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        content = "".join(map(str, texts)) if len(texts) == len(content) else None
    if not isinstance(content, str) or not content or re.search("[\x00\ud800-\udfff]", content):
        raise Refusal(400, "The content of a message is a text, and not empty.")
    return {"role": message["role"], "content": content}


def _number(asked: dict, name: str, low: float, high: float) -> float:
    value = asked[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refusal(400, f"{name} is a number from {low} to {high}.")
    return float(value)


def _whole_number(asked: dict, name: str, low: int, high: int, otherwise: int) -> int:
    value = asked.get(name)
    if value is None:
        return otherwise
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refusal(400, f"{name} is a whole number, at least {low}.")
    return value


def _delta(delta: dict, finish: str | None = None) -> dict:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _error(status: int, sentence: str) -> dict:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": status}}


def _access() -> Access:
    """Read the settings, and forget them: what this process starts need not know the keys."""
    settings = json.loads(os.environ.pop(SETTINGS))
    accounts = [Account(*account) for account in settings["accounts"]]
    if settings["audit"] is None:
        return Access(accounts)
    path, key = settings["audit"]
    return Access(accounts, AuditLog(Path(path), bytes.fromhex(key)))


def main(folder: Path, model_id: str, port: int) -> None:
    """Load the model, then listen until this process is asked to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    access = _access()
    with tempfile.TemporaryDirectory(prefix="slmlab-foundry-") as scratch:
        manager = runtime(Path(scratch))
        try:
            model = register(manager, folder, model_id)
            model.load()
            chat = Chat(model)
            with Server(port, model_id, folder_digest(folder), chat, access) as server:
                server.serve_forever()
        finally:
            manager.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
