"""One answer, piece by piece, with Ollama's count of tokens and time."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync

from slmlab.deployment.ollama_stand_in.failure import Failure
from slmlab.engines.engine import Engine

if TYPE_CHECKING:
    import numpy as np

DEFAULTS: dict[str, Any] = {
    "num_ctx": 4096,
    "num_keep": 4,
    "num_predict": -1,
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "seed": 0,
    "stop": [],
}
"""The options that the stand-in knows, with Ollama's defaults."""


@dataclass
class Timing:
    """What an answer has cost so far, in tokens and nanoseconds."""

    prompt_tokens: int
    prompt: int = 0
    new_tokens: int = 0
    new: int = 0
    reason: str = ""


def options(*layers: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request: Ollama's, the model's and its own, the later ones first.

    Raises `Failure` for a value of the wrong kind. As in Ollama, the log names an option that is
    not known, and the request goes on without it.
    """
    merged = dict(DEFAULTS)
    for name, value in ((name, value) for layer in layers for name, value in layer.items()):
        if name not in DEFAULTS:
            logging.getLogger("uvicorn.error").warning("option %.40r is ignored", name)
            continue
        if value is None:
            continue
        if name == "stop":
            value = [value] if isinstance(value, str) else value
        wanted = (int, float) if isinstance(DEFAULTS[name], float) else type(DEFAULTS[name])
        if not isinstance(value, wanted) or isinstance(value, bool) or not _is_number(value):
            raise Failure(f'option "{name}" must be of type {type(DEFAULTS[name]).__name__}')
        merged[name] = value
    if not all(isinstance(text, str) and text for text in merged["stop"]):
        raise Failure('option "stop" must be an array of texts')
    if merged["num_ctx"] < 1:
        raise Failure('option "num_ctx" must be 1 or more')
    return merged


def _is_number(value: object) -> bool:
    """Whether a value, if it is a number, is one that 64 bits can hold."""
    return isinstance(value, list) or abs(value) < 2**63


async def pieces(
    engine: Engine, prompt: Sequence[int], wanted: dict[str, Any], timing: Timing
) -> AsyncIterator[str]:
    """Yield the answer as it is written, and keep `timing` up to date.

    It ends where the model ends it, at a text of `stop`, after `num_predict` tokens, or where the
    context is full (where Ollama's own would forget the oldest tokens and go on).
    """
    room = engine.context - len(prompt)
    most = room if wanted["num_predict"] < 0 else min(room, wanted["num_predict"])
    tokens = engine.greedy(prompt, most, _chooser(wanted))
    began, pending, held = time.perf_counter_ns(), [], ""
    while (token := await run_sync(next, tokens, None)) is not None:
        moment = time.perf_counter_ns()
        if not timing.new_tokens:
            timing.prompt, began = moment - began, moment
        timing.new_tokens += 1
        timing.new = moment - began
        pending.append(token)
        text = engine.detokenize(pending)
        if text.endswith("\ufffd"):  # the last character may not be complete yet
            continue
        pending, held = [], held + text
        if (end := _first(held, wanted["stop"])) is not None:
            timing.reason = "stop"
            yield held[:end]
            return
        ready = len(held) - _begun(held, wanted["stop"])
        if ready:
            yield held[:ready]
            held = held[ready:]
    timing.reason = "length" if timing.new_tokens == most else "stop"
    if rest := held + engine.detokenize(pending):
        yield rest


def _chooser(wanted: dict[str, Any]) -> Callable[["np.ndarray"], int]:
    """Return what picks the next token: the likeliest, or by chance among the likely ones."""
    import numpy as np

    if wanted["temperature"] <= 0:
        return lambda logits: int(logits.argmax())
    chance = np.random.default_rng(wanted["seed"] if wanted["seed"] > 0 else None)

    def choose(logits: "np.ndarray") -> int:
        many = wanted["top_k"] if 0 < wanted["top_k"] < len(logits) else len(logits)
        likely = np.argpartition(-logits, many - 1)[:many]
        likely = likely[np.argsort(-logits[likely])]
        distances = (logits[likely] - logits[likely[0]]).astype(float)
        with np.errstate(over="ignore"):
            shares = np.exp(distances / wanted["temperature"])
        shares /= shares.sum()
        enough = int(np.searchsorted(shares.cumsum(), wanted["top_p"])) + 1
        shares = shares[:enough] / shares[:enough].sum()
        return int(chance.choice(likely[:enough], p=shares))

    return choose


def _first(text: str, stops: Sequence[str]) -> int | None:
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(places, default=None)


def _begun(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end of a text may be the beginning of a stop."""
    lengths = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return max(lengths, default=0)
