"""How fast a model reads and writes, in llama-bench's protocol.

llama.cpp, tools/llama-bench/llama-bench.cpp: one run to warm up, then `repetitions` timed ones;
memory is cleared before each; the prompt is random tokens; writing takes one token at a time and
starts from an empty memory; the context is just large enough.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slmlab import engines
from slmlab.engines.engine import Engine
from slmlab.errors import UsageError


@dataclass(frozen=True)
class Speed:
    """Rates in tokens per second, each the mean of the repetitions with its standard deviation.

    `seconds_to_first_token` is the mean time to read the prompt and pick the first new token.
    """

    prompt_tokens_per_second: float
    prompt_spread: float
    decode_tokens_per_second: float
    decode_spread: float
    seconds_to_first_token: float
    prompt_tokens: int
    decode_tokens: int
    repetitions: int
    threads: int

    def as_data(self) -> dict[str, float]:
        """Return it as plain data: what `slmlab measure --speed --json` prints."""
        return {
            "prompt_tokens_per_second": self.prompt_tokens_per_second,
            "prompt_spread_tokens_per_second": self.prompt_spread,
            "decode_tokens_per_second": self.decode_tokens_per_second,
            "decode_spread_tokens_per_second": self.decode_spread,
            "seconds_to_first_token": self.seconds_to_first_token,
            "threads": self.threads,
        }


def speed(
    path: Path,
    prompt_tokens: int = 512,
    decode_tokens: int = 128,
    repetitions: int = 5,
    threads: int | None = None,
    engine: str | None = None,
) -> Speed:
    """Measure prompt and decode speed of a model, with any engine.

    `engine` is a name such as `mlx`; without one, what is at `path` decides.
    """
    context = max(prompt_tokens, decode_tokens, 1)
    with engines.load(path, engine, context, threads) as loaded:
        return clock(loaded, prompt_tokens, decode_tokens, repetitions)


def clock(
    engine: Engine, prompt_tokens: int = 512, decode_tokens: int = 128, repetitions: int = 5
) -> Speed:
    """Measure prompt and decode speed of an engine that is loaded already."""
    if min(prompt_tokens, decode_tokens, repetitions) < 1:
        raise UsageError("Speed needs at least one prompt token, one new token, one repetition.")
    tokens = random_tokens(engine.vocabulary, max(prompt_tokens, decode_tokens))
    prompts = repeat(
        repetitions, engine, lambda: engine.extend(tokens[:prompt_tokens])[-1].argmax()
    )
    decodes = repeat(repetitions, engine, lambda: write(engine, tokens[:decode_tokens]))
    prompt_rates = [prompt_tokens / seconds for seconds in prompts]
    decode_rates = [decode_tokens / seconds for seconds in decodes]
    return Speed(
        prompt_tokens_per_second=statistics.mean(prompt_rates),
        prompt_spread=_spread(prompt_rates),
        decode_tokens_per_second=statistics.mean(decode_rates),
        decode_spread=_spread(decode_rates),
        seconds_to_first_token=statistics.mean(prompts),
        prompt_tokens=prompt_tokens,
        decode_tokens=decode_tokens,
        repetitions=repetitions,
        threads=engine.threads,
    )


def random_tokens(vocabulary: int, count: int) -> list[int]:
    """Return token ids that mean nothing, the same ones every time."""
    return random.Random(0).choices(range(vocabulary), k=count)


def write(engine: Engine, tokens: Sequence[int]) -> None:
    """Let an engine whose memory is empty take one token at a time, as writing does."""
    for position, token in enumerate(tokens):
        engine.evaluate([token], position)


def repeat(repetitions: int, engine: Engine, work: Callable[[], object]) -> list[float]:
    """Return the seconds of each repetition from an empty memory, after one that is not counted."""
    seconds = []
    for _ in range(repetitions + 1):
        engine.clear()
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
