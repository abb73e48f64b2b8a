"""Which models are in memory, who may use one now, and when it goes."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from anyio.to_thread import run_sync

from slmlab.deployment.ollama_stand_in.failure import Failure
from slmlab.deployment.ollama_stand_in.store import Model, Store
from slmlab.engines import llama_cpp
from slmlab.machine import usable_threads

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|ms|s|m|h)")
_FOREVER = 365 * 100 * 86400.0


@dataclass
class Runner:
    """Loaded weights; `users` counts the requests that use them or wait for them.

    Models with the same weights share a runner, and `model` is the one that was asked last.
    """

    model: Model
    engine: llama_cpp.LlamaCpp
    users: int = 0
    expires: float = math.inf
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    @property
    def expires_at(self) -> str:
        """When the model goes if nobody uses it, as Ollama writes it."""
        left = min(self.expires - time.monotonic(), _FOREVER)
        date = datetime.now(UTC) + timedelta(seconds=left)
        return date.isoformat().replace("+00:00", "Z")


class Runners:
    """The models in memory: at most `most` of them, each with one request at a time.

    `keep` is how many seconds one stays after its last request; beyond `queue` waiting requests,
    more are turned away with 503.
    """

    def __init__(self, store: Store, most: int, keep: float, queue: int) -> None:
        self._store, self._most, self._keep, self._queue = store, most, keep, queue
        self._loaded: dict[str, Runner] = {}
        self._changing = asyncio.Lock()
        self._requests = 0

    def loaded(self) -> list[Runner]:
        """Return what is in memory, what stays longest first."""
        return sorted(self._loaded.values(), key=lambda runner: -runner.expires)

    @asynccontextmanager
    async def use(
        self, model: Model, context: int, keep: float | None
    ) -> AsyncIterator[tuple[Runner, int]]:
        """Load a model unless it is there, and give it when it is this request's turn.

        With it comes the moment, in nanoseconds, at which it was in memory. After the block it
        stays for `keep` seconds.
        """
        if self._requests >= self._queue:
            raise Failure("server busy, please try again.  maximum pending requests exceeded", 503)
        self._requests += 1
        runner = None
        try:
            async with self._changing:
                runner = await self._ready(model, context)
                runner.users += 1
                runner.idle.clear()
            loaded = time.perf_counter_ns()
            async with runner.turn:
                yield runner, loaded
        finally:
            self._requests -= 1
            if runner:
                self._release(runner, self._keep if keep is None else keep)

    async def unload(self, model: Model) -> None:
        """Take a model out of memory as soon as nobody uses it."""
        async with self._changing:
            if runner := self._loaded.get(model.weights):
                await self._end(runner)

    async def _ready(self, model: Model, context: int) -> Runner:
        runner = self._loaded.get(model.weights)
        trained = model.details["context_length"]
        context = min(context, trained) if trained else context
        if runner and runner.engine.context != context:
            await self._end(runner)
            runner = None
        if runner is None:
            while len(self._loaded) >= self._most:
                await self._end(self._next_to_go())
            path = self._store.weights(model.weights)
            engine = await run_sync(llama_cpp.load, path, context, usable_threads())
            runner = self._loaded[model.weights] = Runner(model, engine)
        runner.model = model
        if runner.timer:
            runner.timer.cancel()
        return runner

    def _next_to_go(self) -> Runner:
        """Return an idle model, the first to expire; or else one with the fewest users."""
        return min(self._loaded.values(), key=lambda runner: (runner.users, runner.expires))

    async def _end(self, runner: Runner) -> None:
        if runner.users:
            await runner.idle.wait()
        self._forget(runner)

    def _forget(self, runner: Runner) -> None:
        if runner.timer:
            runner.timer.cancel()
        if self._loaded.get(runner.model.weights) is runner:
            del self._loaded[runner.model.weights]
            runner.engine.close()

    def _release(self, runner: Runner, keep: float) -> None:
        runner.users -= 1
        runner.expires = time.monotonic() + keep
        if runner.users:
            return
        runner.idle.set()
        if keep <= 0:
            self._forget(runner)
        elif keep < _FOREVER:
            runner.timer = asyncio.get_running_loop().call_later(keep, self._forget, runner)


def seconds(duration: float | str) -> float:
    """Return a time as Ollama reads it: seconds, or "5m"; negative is for ever.

    Raises `Failure` for what is no time.
    """
    text = str(duration)
    number = text.removeprefix("-")
    parts = _PART.findall(number)
    if isinstance(duration, str) and parts and _PART.sub("", number) == "":
        value = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    else:
        try:
            value = abs(float(text))
        except ValueError:
            raise Failure(f'time: invalid duration "{text}"') from None
    return math.inf if text.startswith("-") or math.isnan(value) else value
