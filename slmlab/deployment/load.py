"""Many requests at a time against one server, and what became of each."""

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmlab.deployment.server import Server
from slmlab.errors import UsageError, first_line

if TYPE_CHECKING:
    import httpx

_TIMEOUT = 600.0


@dataclass(frozen=True)
class Reply:
    """What became of one request.

    `ok` is whether the whole answer came; `error` says what came instead. `started` is in seconds
    since the load began; the other seconds are since the request was sent. `new_tokens` is the
    server's own count, or the number of pieces that came where it does not tell; `prompt_tokens`
    is 0 where it does not tell.
    """

    index: int
    ok: bool
    text: str
    error: str
    prompt_tokens: int
    new_tokens: int
    started: float
    seconds_to_first_token: float
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What a load came to: counts, tokens per second in all, and latencies in seconds."""

    requests: int
    failed: int
    tokens_per_second: float
    first_token_median: float
    first_token_p95: float
    latency_median: float
    latency_p95: float


def run(
    server: Server,
    prompts: Sequence[str],
    concurrency: int,
    max_tokens: int = 16,
    pauses: Sequence[float] | None = None,
) -> list[Reply]:
    """Ask a server every prompt, `concurrency` of them at a time; return the replies in order.

    Each is a chat request of one message, streamed, at temperature 0. `pauses` are the seconds
    that whoever asks a prompt waits before sending it. A request that fails is a reply that is not
    `ok`, and the others go on. Raises `UsageError` where there are no prompts or `concurrency` is
    below 1.
    """
    import httpx

    if not prompts or concurrency < 1:
        raise UsageError("A load needs at least one prompt and a concurrency of at least 1.")
    limits = httpx.Limits(max_connections=concurrency)
    with (
        httpx.Client(headers=server.headers(), timeout=_TIMEOUT, limits=limits) as client,
        ThreadPoolExecutor(concurrency) as pool,
    ):
        began = time.perf_counter()

        def ask(indexed: tuple[int, str]) -> Reply:
            index, prompt = indexed
            time.sleep(pauses[index] if pauses else 0)
            return _ask(client, server, index, prompt, max_tokens, began)

        return list(pool.map(ask, enumerate(prompts)))


def summary(replies: Sequence[Reply]) -> Summary:
    """Return what a load came to; latencies are those of the requests that succeeded.

    The rate is all new tokens divided by the time from the first request's start to the last
    one's end. Raises `UsageError` where no request succeeded.
    """
    good = [reply for reply in replies if reply.ok]
    if not good:
        why = replies[0].error if replies else "there was none"
        raise UsageError(f"No request of this load succeeded: {why}")
    took = max(reply.started + reply.seconds for reply in good) - min(r.started for r in good)
    first = sorted(reply.seconds_to_first_token for reply in good)
    whole = sorted(reply.seconds for reply in good)
    return Summary(
        requests=len(replies),
        failed=len(replies) - len(good),
        tokens_per_second=sum(reply.new_tokens for reply in good) / took,
        first_token_median=statistics.median(first),
        first_token_p95=percentile(first, 95),
        latency_median=statistics.median(whole),
        latency_p95=percentile(whole, 95),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` % of all do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(1, math.ceil(len(ranked) * percent / 100)) - 1]


def _ask(
    client: "httpx.Client", server: Server, index: int, prompt: str, max_tokens: int, began: float
) -> Reply:
    import httpx

    body = {
        "model": server.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    pieces: list[str] = []
    usage: dict[str, int] = {}
    first, error = 0.0, ""
    start = time.perf_counter()
    try:
        with client.stream("POST", f"{server.base_url}/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                error = f"{answer.status_code}: {answer.read().decode(errors='replace')}"
            else:
                for chunk in _chunks(answer):
                    usage = chunk.get("usage") or usage
                    if piece := _piece(chunk):
                        first = first or time.perf_counter() - start
                        pieces.append(piece)
    except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as problem:
        error = first_line(problem)
    took = time.perf_counter() - start
    return Reply(
        index=index,
        ok=not error,
        text="".join(pieces),
        error=error,
        prompt_tokens=usage.get("prompt_tokens", 0),
        new_tokens=usage.get("completion_tokens", len(pieces)),
        started=start - began,
        seconds_to_first_token=first or took,
        seconds=took,
    )


def _chunks(answer: "httpx.Response") -> Iterator[dict]:
    """Yield the events of a stream; one that ends without saying so raises `ValueError`."""
    for line in answer.iter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:"):
            continue
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise ValueError(str(chunk["error"]))
        yield chunk
    raise ValueError("the answer broke off")


def _piece(chunk: dict) -> str:
    return "".join(choice.get("delta", {}).get("content") or "" for choice in chunk["choices"])
