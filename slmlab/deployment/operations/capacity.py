"""How long requests wait, and how many replicas that takes: a simulation, and a formula for it.

A replica has slots. A request takes a free slot or waits its turn, first come, first served. All
times are in seconds, rates in requests per second.
"""

import math
import random
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slmlab.deployment.load import Reply, percentile
from slmlab.errors import UsageError

if TYPE_CHECKING:
    import simpy

Routing = Literal["random", "shortest"]

ALONE = (1.0,)
"""What a replica does in all with 1, 2, 3, ... requests at a time: only one is served."""

_NOTHING = 1e-9


@dataclass(frozen=True)
class ServiceTime:
    """Seconds that a request takes while nobody else asks, by the tokens in it."""

    fixed: float
    per_prompt_token: float
    per_new_token: float

    def __call__(self, prompt_tokens: float, new_tokens: float) -> float:
        """Return the seconds for a request of so many tokens."""
        spent = self.per_prompt_token * prompt_tokens + self.per_new_token * new_tokens
        return self.fixed + spent


@dataclass(frozen=True)
class Outcome:
    """What became of a simulated request; times since the simulation began."""

    arrived: float
    started: float
    finished: float

    @property
    def waited(self) -> float:
        """Seconds before a slot was free."""
        return self.started - self.arrived

    @property
    def latency(self) -> float:
        """Seconds from asking to the whole answer."""
        return self.finished - self.arrived


@dataclass(frozen=True)
class Load:
    """A steady load of one replica: mean numbers of requests in it, and its latencies."""

    rate: float
    latency_mean: float
    latency_p95: float
    running: float
    waiting: float


def fit(replies: Sequence[Reply]) -> ServiceTime:
    """Return the service time that explains replies best, which were asked one after another.

    They must differ in their prompts and in their new tokens. No part is negative. Raises
    `UsageError` where fewer than three requests succeeded.
    """
    import numpy as np

    good = [reply for reply in replies if reply.ok]
    if len(good) < 3:
        raise UsageError("A service time needs at least three requests that succeeded.")
    table = np.array([(1, reply.prompt_tokens, reply.new_tokens) for reply in good], float)
    seconds = np.array([reply.seconds for reply in good])
    parts = list(range(3))
    while True:
        found = np.linalg.lstsq(table[:, parts], seconds, rcond=None)[0]
        if (found >= 0).all():
            break
        parts.pop(int(found.argmin()))
    fitted = dict(zip(parts, found.tolist(), strict=True))
    return ServiceTime(*(fitted.get(part, 0.0) for part in range(3)))


def speedup(rates: Mapping[int, float]) -> tuple[float, ...]:
    """Return what a replica does with 1, 2, 3, ... requests at a time, relative to one.

    `rates` are tokens per second in all by requests at a time, with 1 among them; between two
    numbers that were measured, the rate is taken to grow evenly.
    """
    import numpy as np

    counts = sorted(rates)
    found = np.interp(range(1, counts[-1] + 1), counts, [rates[count] for count in counts])
    return tuple((found / rates[1]).tolist())


def pauses(mean: float, count: int, seed: int = 0) -> list[float]:
    """Return thinking times: exponentially distributed, so that most are short and few are long."""
    dice = random.Random(f"pauses {seed}")
    return [dice.expovariate(1 / mean) if mean else 0.0 for _ in range(count)]


def arrivals(rate: float, count: int, seed: int = 0) -> list[float]:
    """Return when requests arrive that know nothing of each other: a Poisson process."""
    times, now = [], 0.0
    for pause in pauses(1 / rate, count, seed):
        now += pause
        times.append(now)
    return times


def simulate(
    users: int,
    pauses: Sequence[float],
    services: Sequence[float],
    speedup: Sequence[float] = ALONE,
    replicas: int = 1,
    routing: Routing = "random",
    seed: int = 0,
) -> list[Outcome]:
    """Let users ask, as `load.run` does, and return what became of each request.

    Each user takes the next request, waits for its pause, sends it, and takes the next when it is
    answered. As many users as requests make an open load, and their pauses are its arrivals.
    `services` are the seconds that each takes alone; `speedup` is what a replica does in all with
    1, 2, ... requests at a time, relative to one, and has an entry for each slot. Requests go to a
    replica at random, as a Kubernetes Service sends them, or to one with the fewest.
    """
    import simpy

    env = simpy.Environment()
    dice = random.Random(f"routes {seed}")
    servers = [_Replica(env, speedup) for _ in range(replicas)]
    outcomes: list[Outcome | None] = [None] * len(pauses)
    numbers = iter(range(len(pauses)))

    def user() -> Generator:
        for number in numbers:
            yield env.timeout(pauses[number])
            arrived = env.now
            started = yield from _pick(servers, routing, dice).serve(services[number])
            outcomes[number] = Outcome(arrived, started, env.now)

    for _ in range(users):
        env.process(user())
    env.run()
    return [outcome for outcome in outcomes if outcome]


def steady(
    rate: float,
    services: Sequence[float],
    speedup: Sequence[float] = ALONE,
    replicas: int = 1,
    routing: Routing = "random",
    requests: int = 4000,
    seed: int = 0,
) -> Load:
    """Simulate requests that arrive at a rate, and return the load of one replica.

    Each request takes one of `services`, drawn at random. The first tenth of the requests finds
    the queue shorter than it will be and is left out.
    """
    drawn = random.Random(f"services {seed}").choices(services, k=requests)
    asked = arrivals(rate, requests, seed)
    done = simulate(requests, asked, drawn, speedup, replicas, routing, seed)[requests // 10 :]
    latencies = [outcome.latency for outcome in done]
    each = rate / replicas
    waiting = each * sum(outcome.waited for outcome in done) / len(done)
    mean = sum(latencies) / len(done)
    return Load(rate, mean, percentile(latencies, 95), each * mean - waiting, waiting)


def highest(
    target: float, services: Sequence[float], speedup: Sequence[float] = ALONE, seed: int = 0
) -> Load:
    """Return the highest load of one replica whose p95 latency is at most `target` seconds.

    Raises `UsageError` where a request takes longer than that even when nobody else asks.
    """
    alone = percentile(services, 95)
    if alone > target:
        raise UsageError(
            f"No number of replicas gives a p95 of {target:.2f} s: alone, it is {alone:.2f} s. "
            f"Ask for shorter answers, or choose a faster model or machine."
        )
    most = max(speedup) * len(services) / sum(services)
    low, high = 0.0, 1.0
    best = steady(most / 100, services, speedup, seed=seed)
    for _ in range(8):
        share = (low + high) / 2
        load = steady(most * share, services, speedup, seed=seed)
        if load.latency_p95 <= target:
            low, best = share, load
        else:
            high = share
    return best


def replicas_for(rate: float, load: Load) -> int:
    """Return how many replicas, each with at most that load, a rate of requests takes."""
    return max(1, math.ceil(rate / load.rate))


def pollaczek_khinchine_wait(rate: float, services: Sequence[float]) -> float:
    """Return the mean wait of the M/G/1 queue, for any service times; for equal ones, of M/D/1.

    Raises `UsageError` where more arrives than can be served.
    """
    mean = sum(services) / len(services)
    if rate * mean >= 1:
        raise UsageError(
            f"The server would be busy {rate * mean:.0%} of the time: the queue grows without end."
        )
    square = sum(service**2 for service in services) / len(services)
    return rate * square / (2 * (1 - rate * mean))


@dataclass
class _Request:
    left: float
    started: float
    done: "simpy.Event"


class _Replica:
    """Slots that share what the replica can do; whoever finds none free waits in a queue."""

    def __init__(self, env: "simpy.Environment", speedup: Sequence[float]) -> None:
        self.env = env
        self.speedup = speedup
        self.running: list[_Request] = []
        self.queue: deque[_Request] = deque()
        self.changed = env.event()
        env.process(self._work())

    def __len__(self) -> int:
        return len(self.running) + len(self.queue)

    @property
    def _has_room(self) -> bool:
        return len(self.running) < len(self.speedup)

    def serve(self, seconds: float) -> Generator:
        """Serve a request that takes so long alone, and return when its service started."""
        request = _Request(seconds, 0.0, self.env.event())
        self.queue.append(request)
        if self._has_room and not self.changed.triggered:
            self.changed.succeed()
        yield request.done
        return request.started

    def _work(self) -> Generator:
        while True:
            self._fill()
            self.changed = self.env.event()
            if not self.running:
                yield self.changed
                continue
            pace = self.speedup[len(self.running) - 1] / len(self.running)
            soonest = min(request.left for request in self.running) / pace
            since = self.env.now
            next_end = self.env.timeout(soonest)
            yield next_end | self.changed if self._has_room else next_end
            self._advance((self.env.now - since) * pace)

    def _fill(self) -> None:
        while self.queue and self._has_room:
            request = self.queue.popleft()
            request.started = self.env.now
            self.running.append(request)

    def _advance(self, work: float) -> None:
        for request in self.running:
            request.left -= work
        nothing = max(_NOTHING, 4 * math.ulp(self.env.now))  # no finer than the clock
        for request in [one for one in self.running if one.left <= nothing]:
            self.running.remove(request)
            request.done.succeed()


def _pick(servers: Sequence[_Replica], routing: Routing, dice: random.Random) -> _Replica:
    return dice.choice(servers) if routing == "random" else min(servers, key=len)
