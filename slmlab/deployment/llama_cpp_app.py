"""llama-cpp-python's server in a process of its own, with what it lacks.

Run as a script: `python -m slmlab.deployment.llama_cpp_app MODEL PORT CONTEXT THREADS`, with the
API key in `SLMLAB_API_KEY`. To the server as it is, this adds `/health`, `/metrics`, and a check
of each request: the server takes another model than the one that was asked for, answers 200 before
it finds a prompt too long, and writes a request that is wrong into its log.
"""

import functools
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.server.app as server
import prometheus_client as prometheus
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from llama_cpp.server.settings import ModelSettings, ServerSettings
from llama_cpp.server.types import CreateChatCompletionRequest, CreateCompletionRequest
from pydantic import ValidationError

from slmlab.deployment.server import HOST
from slmlab.files import from_json

_KINDS = {
    "/v1/chat/completions": CreateChatCompletionRequest,
    "/v1/completions": CreateCompletionRequest,
}
_PIECE = re.compile(rb'"(?:content|text)": "[^"]')
"""A piece of an answer in a stream that is not empty: one token, or one character of several."""

_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):
    """A request that must not reach the model: the HTTP status, a code and a sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code

    def response(self) -> JSONResponse:
        """Return it as the OpenAI API writes errors."""
        error = {"message": str(self), "type": "invalid_request_error", "code": self.code}
        return JSONResponse({"error": error}, self.status)


class Counts:
    """What `/metrics` tells."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = prometheus.Counter(
            "slmlab_requests", "Requests that were answered, by HTTP status.", ["status"], **own
        )
        self.present = prometheus.Gauge(
            "slmlab_requests_in_progress", "Requests that wait or are being answered.", **own
        )
        waiting = prometheus.Gauge(
            "slmlab_requests_waiting", "Requests that wait for the model.", **own
        )
        waiting.set_function(self.waiting)
        self.prompt_tokens = prometheus.Counter(
            "slmlab_prompt_tokens", "Tokens in the prompts of requests.", **own
        )
        self.pieces = prometheus.Counter(
            "slmlab_generated_tokens",
            "Tokens that were generated; in a stream, the pieces that were sent.",
            **own,
        )
        self.first = prometheus.Histogram(
            "slmlab_time_to_first_token_seconds",
            "From a request to the first token of its stream.",
            buckets=_SECONDS,
            **own,
        )
        self.whole = prometheus.Histogram(
            "slmlab_request_seconds", "From a request to its whole answer.", buckets=_SECONDS, **own
        )

    def waiting(self) -> float:
        """Return how many requests wait: the model answers one at a time."""
        return max(0.0, self.present._value.get() - server.llama_inner_lock.locked())

    def page(self) -> Response:
        """Return all of it in Prometheus' text format."""
        return Response(
            prometheus.generate_latest(self.registry), media_type=prometheus.CONTENT_TYPE_LATEST
        )


class Checked:
    """The server behind a check: ASGI middleware that counts, and refuses what is wrong."""

    def __init__(self, app: FastAPI, model: str, context: int, counts: Counts) -> None:
        self.app = app
        self.model = model
        self.context = context
        self.counts = counts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        counted = Counted(send, self.counts)
        self.counts.present.inc()
        try:
            kind = _kind(scope)
            body = await _body(receive)
            self.counts.prompt_tokens.inc(self._check(body, kind))
            await self.app(scope, _again(body, receive), counted)
        except Refused as refused:
            await refused.response()(scope, receive, counted)
        finally:
            counted.finish()
            self.counts.present.dec()

    def _check(self, body: bytes, kind: type) -> int:
        """Return the tokens of a request's prompt; raise `Refused` where it cannot be answered."""
        try:
            asked = from_json(body)
        except ValueError:
            raise Refused(400, "invalid_json", "The request is not valid JSON.") from None
        try:
            kind(**asked)
        except (ValidationError, TypeError) as problem:
            raise Refused(422, "invalid_request", _where(problem)) from None
        if asked.get("model") not in (None, self.model):
            message = f"The model {asked['model']!r} is not served here; ask for {self.model!r}."
            raise Refused(404, "model_not_found", message)
        return self._must_fit(asked)

    def _must_fit(self, asked: dict[str, Any]) -> int:
        llama = server._llama_proxy(self.model)
        try:
            prompt = _prompt(llama, asked).encode()
            tokens = len(llama.tokenize(prompt, add_bos=False, special=True))
        except Exception as problem:  # a chat template raises what it likes
            message = f"The messages cannot be read ({type(problem).__name__})."
            raise Refused(400, "invalid_messages", message) from None
        if tokens >= self.context:
            message = (
                f"The prompt has {tokens} tokens and the context {self.context}: shorten it, or "
                f"serve the model with a larger context."
            )
            raise Refused(400, "context_length_exceeded", message)
        return tokens


class Counted:
    """Sends an answer on and measures it."""

    def __init__(self, send: Send, counts: Counts) -> None:
        self.send = send
        self.counts = counts
        self.began = time.perf_counter()
        self.status = 499  # as nginx says where the client went before there was an answer
        self.streams = False
        self.seen_first = False

    async def __call__(self, message: Message) -> None:
        """Send one part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kind = dict(message["headers"]).get(b"content-type", b"")
            self.streams = kind.startswith(b"text/event-stream")
        elif self.status == 200:
            self._count(message.get("body", b""))
        await self.send(message)

    def finish(self) -> None:
        """Count the request."""
        self.counts.requests.labels(str(self.status)).inc()
        if self.status == 200:
            self.counts.whole.observe(time.perf_counter() - self.began)

    def _count(self, part: bytes) -> None:
        if not self.streams:
            found = json.loads(part) if part else {}
            return self.counts.pieces.inc(found.get("usage", {}).get("completion_tokens", 0))
        pieces = len(_PIECE.findall(part))
        if pieces and not self.seen_first:
            self.seen_first = True
            self.counts.first.observe(time.perf_counter() - self.began)
        self.counts.pieces.inc(pieces)


def _kind(scope: Message) -> type:
    """Return what the body must be; raise `Refused` without the key or for another path."""
    expected = f"Bearer {server._server_settings.api_key}".encode()
    if dict(scope["headers"]).get(b"authorization") != expected:
        raise Refused(401, "invalid_api_key", "The API key is missing or wrong.")
    if scope["path"] not in _KINDS:
        raise Refused(404, "not_found", f"Only {' and '.join(_KINDS)} are served here.")
    return _KINDS[scope["path"]]


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read already once more; then what the client really sends."""
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return unread.pop() if unread else await receive()

    return next_message


def _prompt(llama: llama_cpp.Llama, asked: dict[str, Any]) -> str:
    """Return the text that the model will read."""
    if "messages" not in asked:
        prompt = asked.get("prompt") or ""
        return prompt if isinstance(prompt, str) else "".join(prompt)
    template = _template(llama)
    if template is None:
        return "\n".join(str(message.get("content")) for message in asked["messages"])
    return template(messages=asked["messages"]).prompt


@functools.cache
def _template(llama: llama_cpp.Llama) -> Jinja2ChatFormatter | None:
    """Return the model's own chat template, compiled once, or None where it has none."""
    source = llama.metadata.get("tokenizer.chat_template")
    if source is None:
        return None
    ids = (llama.token_eos(), llama.token_bos())
    texts = [llama.detokenize([one], special=True).decode() if one >= 0 else "" for one in ids]
    return Jinja2ChatFormatter(source, *texts)


def _where(problem: Exception) -> str:
    """Say which fields are wrong, without what stands in them."""
    if not isinstance(problem, ValidationError):
        return "The request must be a JSON object."
    places = {".".join(map(str, error["loc"][:1])): error["msg"] for error in problem.errors()}
    return "; ".join(f"{place}: {message}" for place, message in places.items()) + "."


def make(model: Path, context: int, threads: int, api_key: str) -> Checked:
    """Return the application that serves one model; it is loaded now."""
    inner = server.create_app(
        server_settings=ServerSettings(host=HOST, api_key=api_key, interrupt_requests=False),
        model_settings=[
            ModelSettings(
                model=str(model),
                model_alias=model.stem,
                n_ctx=context,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        ],
    )
    counts = Counts()
    inner.get("/health")(lambda: {"status": "ok"})
    inner.get("/metrics")(counts.page)
    return Checked(inner, model.stem, context, counts)


def main() -> None:
    """Serve until the process is ended."""
    prometheus.disable_created_metrics()
    model, port, context, threads = sys.argv[1:]
    app = make(Path(model), int(context), int(threads), os.environ.pop("SLMLAB_API_KEY"))
    uvicorn.run(app, host=HOST, port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
