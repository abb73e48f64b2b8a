"""A learner's measurements, as lab 13 makes them: four forms of SmolLM2 in llama.cpp."""

from collections.abc import Callable

import pytest

from slmlab import measurement
from slmlab.measurement import Measurement, measured
from slmlab.tiers import card

MODEL = "smollm2-135m-instruct"
PERPLEXITIES = {"Q4_0": 14.3, "Q5_1": 13.1, "Q8_0": 11.7, "F16": 11.6}
PEAKS = {"Q4_0": 253e6, "Q5_1": 213e6, "Q8_0": 247e6, "F16": 374e6}
FILES = {"Q4_0": 92e6, "Q5_1": 112e6, "Q8_0": 145e6, "F16": 271e6}


@pytest.fixture(scope="session")
def measuring() -> Callable[..., list[Measurement]]:
    """Return measurements in which each form reaches a share of its estimated speed."""
    estimated = {
        name: measurement.estimate(card(MODEL), name).decode_tokens_per_second
        for name in PERPLEXITIES
    }

    def measure(share: float = 1.0, **shares: float) -> list[Measurement]:
        rows = []
        for name, perplexity in PERPLEXITIES.items():
            subject, speed = f"llama_cpp {name}", estimated[name] * shares.get(name, share)
            rows += [
                measured(subject, "file", FILES[name], "bytes"),
                measured(subject, "peak memory", PEAKS[name], "bytes"),
                measured(subject, "prompt speed", 500.0, "tokens/s", tokens=128),
                measured(subject, "decode speed", speed, "tokens/s", tokens=24),
                measured(subject, "perplexity", perplexity, "", 0.4, chunks=2, context=256),
            ]
        return rows

    return measure
