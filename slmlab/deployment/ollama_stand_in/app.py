"""The requests the stand-in answers, under Ollama's paths and with Ollama's JSON."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from slmlab import acquisition, gguf
from slmlab.deployment.ollama_stand_in import VERSION, generating, prompts
from slmlab.deployment.ollama_stand_in.failure import Failure, status
from slmlab.deployment.ollama_stand_in.requests import (
    Ask,
    Chat,
    Completion,
    Copy,
    Create,
    Generate,
    Message,
    Named,
    Stream,
)
from slmlab.deployment.ollama_stand_in.runners import Runner, Runners, seconds
from slmlab.deployment.ollama_stand_in.store import Model, Store, full_name, now
from slmlab.errors import SlmlabError

_OURS = ["127.0.0.1", "localhost"]
_LARGEST_REQUEST = 2**24  # without a blob, which goes to the disk piece by piece

_UNKNOWN = ("format", "tools", "images", "suffix", "context", "logprobs", "think")


@dataclass(frozen=True)
class Settings:
    """What Ollama's environment variables say: a context in tokens, times in seconds."""

    context: int = 4096
    keep_alive: float = 300
    loaded_models: int = 3
    queue: int = 512


Kind = TypeVar("Kind", bound=BaseModel)
Parts = AsyncIterator[dict[str, Any]]


class StandIn:
    """A store, the models in memory, and what becomes of a request."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.context = settings.context
        self.runners = Runners(store, settings.loaded_models, settings.keep_alive, settings.queue)

    async def generate(self, ask: Generate) -> Parts:
        """Yield the parts of an answer to `/api/generate`."""
        model = self._model(ask)

        def prompt(runner: Runner, wanted: dict[str, Any]) -> list[int]:
            if ask.raw:
                found = runner.engine.tokenize(ask.prompt, special=True)
                return prompts.cut(found, runner.engine.context, wanted["num_keep"], ask.truncate)
            system = ask.system or model.system
            messages = [{"role": "system", "content": system}] if system else []
            messages += [*model.messages, {"role": "user", "content": ask.prompt}]
            template = ask.template or model.template
            return prompts.tokens(runner.engine, template, messages, wanted, ask.truncate)

        empty = not ask.prompt
        async for part in self._answer(model, ask, empty, prompt):
            yield {"response": part.pop("text"), **part}

    async def chat(self, ask: Chat) -> Parts:
        """Yield the parts of an answer to `/api/chat`."""
        model = self._model(ask)
        if any(message.images for message in ask.messages):
            raise Failure("the stand-in reads no images")

        def prompt(runner: Runner, wanted: dict[str, Any]) -> list[int]:
            told = _plain(ask.messages)
            messages = [*model.messages, *told]
            if model.system and told[0]["role"] != "system":
                messages.insert(0, {"role": "system", "content": model.system})
            return prompts.tokens(runner.engine, model.template, messages, wanted, ask.truncate)

        async for part in self._answer(model, ask, not ask.messages, prompt):
            yield {"message": {"role": "assistant", "content": part.pop("text")}, **part}

    async def create(self, ask: Create) -> Parts:
        """Yield the progress of `/api/create`."""
        name = full_name(ask.called())
        if ask.quantize:
            raise Failure(
                "create-time quantization is only supported for safetensors imports; quantize "
                "GGUF models with llama.cpp tools before importing"
            )
        if ask.adapters:
            raise Failure("LoRA adapters are no longer supported")
        if ask.from_:
            base = self.store.model(ask.from_)
        elif ask.files:
            yield {"status": "parsing GGUF"}
            base = self.store.new(name, next(iter(ask.files.values())))
        else:
            raise Failure("neither 'from' or 'files' was specified")
        if ask.template:
            prompts.go_template(ask.template)
        generating.options(ask.parameters)
        licence = ask.license if isinstance(ask.license, str) else "\n".join(ask.license)
        model = replace(
            base,
            name=name,
            template=ask.template or base.template,
            system=ask.system or base.system,
            license=licence or base.license,
            parameters={**base.parameters, **ask.parameters},
            messages=_plain(ask.messages) or base.messages,
        )
        yield {"status": f"using existing layer {model.weights.replace('-', ':')}"}
        yield {"status": "writing manifest"}
        self.store.keep(model)
        yield {"status": "success"}

    async def pull(self, ask: Named) -> Parts:
        """Yield the progress of `/api/pull`, which takes models of the course's cards."""
        name = full_name(ask.called())
        yield {"status": "pulling manifest"}
        card, _, tag = name.partition(":")
        if tag != "latest":
            raise Failure("pull model manifest: file does not exist", 500)
        try:
            file = await run_sync(acquisition.fetch, card)
        except SlmlabError as problem:
            raise Failure(f"pull model manifest: {problem}", 500) from None
        digest = f"sha256:{file.sha256}"
        told = {"status": f"pulling {file.sha256[:12]}", "digest": digest}
        size = file.path.stat().st_size
        if not self.store.weights(digest).exists():
            copying = self.store.take(file.path, digest)
            while (done := await run_sync(next, copying, None)) is not None:
                yield {**told, "total": size, "completed": done}
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        self.store.keep(self.store.new(name, digest))
        yield {"status": "success"}

    def shown(self, name: str) -> dict[str, Any]:
        """Return what `/api/show` says of a model."""
        model = self.store.model(name)
        path = self.store.weights(model.weights)
        about = {
            key: [] if isinstance(value, gguf.Array) else value
            for key, value in gguf.read_header(path).metadata.items()
            if key not in ("general.name", "tokenizer.chat_template")
        }
        lines = [f"{key:<30} {json.dumps(value)}" for key, value in _parameters(model)]
        return {
            "license": model.license,
            "modelfile": _modelfile(model, str(path)),
            "parameters": "\n".join(lines),
            "template": model.template,
            "system": model.system,
            "details": model.details,
            "messages": model.messages,
            "model_info": about,
            "capabilities": ["completion"],
            "modified_at": model.modified_at,
        }

    def running(self) -> list[dict[str, Any]]:
        """Return what `/api/ps` lists."""
        return [
            {
                **_listed(runner.model),
                "size": runner.model.bytes,
                "size_vram": 0,
                "context_length": runner.engine.context,
                "expires_at": runner.expires_at,
            }
            for runner in self.runners.loaded()
        ]

    def _model(self, ask: Ask) -> Model:
        for unknown in _UNKNOWN:
            if getattr(ask, unknown, None):
                raise Failure(f"the stand-in does not support '{unknown}'")
        return self.store.model(ask.called())

    async def _answer(
        self,
        model: Model,
        ask: Ask,
        empty: bool,
        prompt: Callable[[Runner, dict[str, Any]], list[int]],
    ) -> Parts:
        """Yield the parts of an answer, the text of each under `text`.

        A request without a prompt only loads the model, or unloads it where it is to be kept for
        no time.
        """
        start = time.perf_counter_ns()
        keep = None if ask.keep_alive is None else seconds(ask.keep_alive)
        wanted = generating.options({"num_ctx": self.context}, model.parameters, ask.options or {})

        def part(text: str, **more: Any) -> dict[str, Any]:
            head = {"model": ask.called(), "created_at": now(), "text": text, "done": bool(more)}
            return {**head, **more}

        if empty and keep == 0:
            await self.runners.unload(model)
            yield part("", done_reason="unload")
            return
        async with self.runners.use(model, wanted["num_ctx"], keep) as (runner, loaded):
            if empty:
                yield part("", done_reason="load")
                return
            found = await run_sync(prompt, runner, wanted)
            if not found:
                raise Failure("the prompt is empty")
            timing = generating.Timing(len(found))
            async for text in generating.pieces(runner.engine, found, wanted, timing):
                yield part(text)
            yield part(
                "",
                done_reason=timing.reason,
                total_duration=time.perf_counter_ns() - start,
                load_duration=loaded - start,
                prompt_eval_count=timing.prompt_tokens,
                prompt_eval_duration=timing.prompt,
                eval_count=timing.new_tokens,
                eval_duration=timing.new,
            )


def app(store: Store, settings: Settings) -> FastAPI:
    """Return the web application; it answers nobody but this machine."""
    ours_only = [Depends(_from_no_other_site)]
    serving = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=ours_only,
    )
    serving.add_middleware(TrustedHostMiddleware, allowed_hosts=_OURS)
    stand_in = StandIn(store, settings)

    @serving.exception_handler(SlmlabError)
    @serving.exception_handler(Exception)
    async def failed(request: Request, problem: Exception) -> Response:
        if not isinstance(problem, SlmlabError):
            problem = Failure("internal server error", 500)
        openai = request.scope["path"].startswith("/v1/")
        said = _openai_error(problem) if openai else {"error": str(problem)}
        return JSONResponse(said, status(problem))

    @serving.api_route("/", methods=["GET", "HEAD"])
    async def root() -> Response:
        return PlainTextResponse("Ollama is running")

    @serving.api_route("/api/version", methods=["GET", "HEAD"])
    async def version() -> dict[str, str]:
        return {"version": VERSION}

    @serving.api_route("/api/tags", methods=["GET", "HEAD"])
    async def tags() -> dict[str, Any]:
        return {"models": [_listed(model) for model in store.models()]}

    @serving.get("/api/ps")
    async def ps() -> dict[str, Any]:
        return {"models": stand_in.running()}

    @serving.post("/api/show")
    async def show(request: Request) -> dict[str, Any]:
        return stand_in.shown((await _read(request, Named)).called())

    serving.post("/api/generate")(_in_parts(Generate, stand_in.generate))
    serving.post("/api/chat")(_in_parts(Chat, stand_in.chat))
    serving.post("/api/create")(_in_parts(Create, stand_in.create))
    serving.post("/api/pull")(_in_parts(Stream, stand_in.pull))

    @serving.post("/api/copy")
    async def copy(request: Request) -> Response:
        ask = await _read(request, Copy)
        store.keep(replace(store.model(ask.source), name=ask.destination))
        return Response()

    @serving.delete("/api/delete")
    async def delete(request: Request) -> Response:
        name = (await _read(request, Named)).called()
        await stand_in.runners.unload(store.model(name))
        store.remove(name)
        return Response()

    @serving.head("/api/blobs/{digest}")
    async def has_blob(digest: str) -> Response:
        return Response(status_code=200 if store.weights(digest).exists() else 404)

    @serving.post("/api/blobs/{digest}")
    async def blob(request: Request, digest: str) -> Response:
        if store.weights(digest).exists():
            async for _ in request.stream():  # a client still sends it all
                pass
            return Response()
        await store.receive(digest, request.stream())
        return Response(status_code=201)

    @serving.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        asked = await _read(request, Completion)
        ask = asked.chat()
        parts = stand_in.chat(ask)
        if asked.stream:
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            return await _streamed(_events(parts, usage), "text/event-stream")
        whole = await _collected(parts, request)
        choice = {
            "index": 0,
            "message": whole["message"],
            "finish_reason": whole.get("done_reason"),
        }
        return JSONResponse(
            {**_openai(whole, "chat.completion"), "choices": [choice], "usage": _usage(whole)}
        )

    @serving.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_openai_model(model) for model in store.models()]}

    @serving.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        return _openai_model(store.model(name))

    @serving.post("/{path:path}")
    async def unknown(path: str) -> Response:
        raise Failure(f"the stand-in does not know /{path}", 501)

    return serving


def _from_no_other_site(origin: Annotated[str | None, Header()] = None) -> None:
    """Refuse what a web page from elsewhere asks, as Ollama does: there is no key to stop it."""
    if origin and not _is_ours(origin):
        raise Failure("origin not allowed", 403)


def _is_ours(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in _OURS
    except ValueError:
        return False


async def _read(request: Request, kind: type[Kind]) -> Kind:
    """Return a request's body, whatever type it says it has; raise `Failure` for a wrong one."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_REQUEST:
            raise Failure(f"request is larger than {_LARGEST_REQUEST} bytes", 413)
    if not body.strip():
        raise Failure("missing request body")
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as problem:
        wrong = problem.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise Failure(f"{where}: {wrong['msg']}" if where else wrong["msg"]) from None


def _plain(messages: Iterable[Message]) -> prompts.Messages:
    return [{"role": message.role, "content": message.content} for message in messages]


def _in_parts(kind: type[Stream], answer: Callable[[Any], Parts]) -> Callable:
    """Return what reads a request and answers it in parts, or with all of them as one."""

    async def route(request: Request) -> Response:
        ask = await _read(request, kind)
        return await _respond(answer(ask), request, ask.stream)

    return route


async def _respond(parts: Parts, request: Request, stream: bool) -> Response:
    """Answer with a line of JSON for each part, or with all of them as one."""
    if stream:
        return await _streamed(_lines(parts), "application/x-ndjson")
    return JSONResponse(await _collected(parts, request))


async def _streamed(lines: AsyncIterator[str], kind: str) -> Response:
    """Stream what comes; what fails before the first piece is an error with its own status."""
    first = await anext(lines)

    async def all_lines() -> AsyncIterator[str]:
        yield first
        async for line in lines:
            yield line

    return StreamingResponse(all_lines(), media_type=kind)


async def _lines(parts: Parts) -> AsyncIterator[str]:
    async for part in _with_failure(parts, lambda problem: {"error": str(problem)}):
        yield json.dumps(part) + "\n"


async def _with_failure(parts: Parts, said: Callable[[SlmlabError], dict[str, Any]]) -> Parts:
    """Yield parts; what fails after the first one becomes the last part."""
    begun = False
    try:
        async for part in parts:
            yield part
            begun = True
    except SlmlabError as problem:
        if not begun:
            raise
        yield said(problem)


async def _collected(parts: Parts, request: Request) -> dict[str, Any]:
    """Return the last part with the text of all of them; stop where the client has gone."""
    texts: list[str] = []
    last: dict[str, Any] = {}
    async for last in parts:
        texts.append(last["message"]["content"] if "message" in last else last.get("response", ""))
        if await request.is_disconnected():
            break
    if "message" in last:
        last["message"]["content"] = "".join(texts)
    elif "response" in last:
        last["response"] = "".join(texts)
    return last


async def _events(parts: Parts, usage: bool) -> AsyncIterator[str]:
    """Yield a chat as the events of OpenAI's stream."""
    async for part in _with_failure(parts, _openai_error):
        if "error" in part:
            yield f"data: {json.dumps(part)}\n\n"
            return
        choice = {
            "index": 0,
            "delta": part["message"],
            "finish_reason": part.get("done_reason"),
        }
        chunk = _openai(part, "chat.completion.chunk")
        yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
        if part["done"] and usage:
            yield f"data: {json.dumps({**chunk, 'choices': [], 'usage': _usage(part)})}\n\n"
    yield "data: [DONE]\n\n"


def _openai(part: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-stand-in",
        "object": kind,
        "created": int(time.time()),
        "model": part["model"],
        "system_fingerprint": "fp_ollama",
    }


def _usage(part: dict[str, Any]) -> dict[str, int]:
    read, written = part.get("prompt_eval_count", 0), part.get("eval_count", 0)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }


def _openai_model(model: Model) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "library"}


def _openai_error(problem: SlmlabError) -> dict[str, Any]:
    kinds = {400: "invalid_request_error", 404: "not_found_error"}
    kind = kinds.get(status(problem), "api_error")
    return {"error": {"message": str(problem), "type": kind, "param": None, "code": None}}


def _listed(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified_at,
        "size": model.bytes,
        "digest": model.digest,
        "details": model.details,
    }


def _parameters(model: Model) -> Iterator[tuple[str, Any]]:
    for name, value in model.parameters.items():
        for one in value if isinstance(value, list) else [value]:
            yield name, one


def _modelfile(model: Model, path: str) -> str:
    lines = [
        '# Modelfile generated by "ollama show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {model.name}",
        "",
        f"FROM {path}",
    ]
    if model.template:
        lines.append(f'TEMPLATE """{model.template}"""')
    if model.system:
        lines.append(f'SYSTEM """{model.system}"""')
    lines += [f"PARAMETER {name} {value}" for name, value in _parameters(model)]
    return "\n".join(lines) + "\n"
