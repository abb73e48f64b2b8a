"""The same model in every framework, on equal terms: one row an engine and precision.

Each variant runs in a process of its own, on the same tokens by the same protocols: peak memory
as `peak_memory`, speed as `speed`, perplexity as `perplexity`. The process loads its model once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from slmlab import engines
from slmlab.engines.engine import Engine
from slmlab.errors import UsageError
from slmlab.files import weight_bytes as file_bytes
from slmlab.measurement.alone import alone, peak_bytes
from slmlab.measurement.energy import Energy, energy
from slmlab.measurement.memory import exercise
from slmlab.measurement.quality import CONTEXT, score
from slmlab.measurement.record import Measurement, measured
from slmlab.measurement.texts import text
from slmlab.measurement.throughput import clock, random_tokens, write

_SECONDS_OF_WRITING = 1.5  # the load that energy is computed from is noise in less


@dataclass(frozen=True)
class Variant:
    """A model in one engine's own form and one precision, at `path`."""

    engine: str
    precision: str
    path: Path

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True)
class Row:
    """What one variant measured: bytes, tokens per second, seconds, joules a written token.

    `energy_how` says whether the joules were `measured` by a meter or `computed`, `energy_by` by
    what. `seconds_to_first_token` is for the prompt of `prompt_tokens`.
    """

    engine: str
    precision: str
    file_bytes: int
    peak_memory_bytes: int
    prompt_tokens_per_second: float
    decode_tokens_per_second: float
    seconds_to_first_token: float
    joules_per_token: float
    energy_how: Literal["measured", "computed"]
    energy_by: str
    perplexity: float
    perplexity_stderr: float
    prompt_tokens: int
    decode_tokens: int
    chunks: int
    context: int
    threads: int

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


def compare(
    variants: Sequence[Variant],
    text_name: str = "prose",
    *,
    chunks: int = 2,
    context: int = CONTEXT,
    prompt_tokens: int = 256,
    decode_tokens: int = 32,
    repetitions: int = 2,
) -> list[Row]:
    """Measure each variant in a process of its own and return one row for each, in order.

    `context` is the length of a chunk, and with it of the prompt that memory is measured with.
    Prints a line when a variant is done. Raises `UsageError` for no variants, and where one cannot
    be measured the error that loading it gives, or `EngineError`.
    """
    if not variants:
        raise UsageError("There is nothing to compare; give at least one variant.")
    rows = []
    for variant in variants:
        numbers = alone(
            __name__,
            "measure_variant",
            str(variant),
            engine=variant.engine,
            path=str(variant.path),
            text_name=text_name,
            chunks=chunks,
            context=context,
            prompt_tokens=prompt_tokens,
            decode_tokens=decode_tokens,
            repetitions=repetitions,
        )
        rows.append(
            Row(
                engine=variant.engine,
                precision=variant.precision,
                file_bytes=file_bytes(variant.path),
                **numbers,
            )
        )
        print(f"measured {variant}")
    return rows


def measure_variant(
    engine: str,
    path: str,
    text_name: str,
    chunks: int,
    context: int,
    prompt_tokens: int,
    decode_tokens: int,
    repetitions: int,
) -> dict[str, Any]:
    """Load one variant in this process and return its numbers, named as in `Row`."""
    longest = max(context, prompt_tokens, decode_tokens)
    with engines.load(Path(path), engine, longest + 8) as loaded:
        exercise(loaded)
        peak = peak_bytes()  # before scoring, which keeps many rows of logits
        speed = clock(loaded, prompt_tokens, decode_tokens, repetitions)
        used, written = _energy_of_writing(loaded, random_tokens(loaded.vocabulary, decode_tokens))
        quality = score(loaded, text(text_name), chunks, context)
    return {
        "peak_memory_bytes": peak,
        "prompt_tokens_per_second": speed.prompt_tokens_per_second,
        "decode_tokens_per_second": speed.decode_tokens_per_second,
        "seconds_to_first_token": speed.seconds_to_first_token,
        "joules_per_token": used.joules / written,
        "energy_how": used.how,
        "energy_by": used.by,
        "perplexity": quality.value,
        "perplexity_stderr": quality.stderr,
        "prompt_tokens": prompt_tokens,
        "decode_tokens": decode_tokens,
        "chunks": chunks,
        "context": context,
        "threads": speed.threads,
    }


def _energy_of_writing(engine: Engine, tokens: Sequence[int]) -> tuple[Energy, int]:
    """Write the tokens again and again for long enough; return the energy, and how many it was."""
    written = 0

    def work() -> None:
        nonlocal written
        end = time.perf_counter() + _SECONDS_OF_WRITING
        while time.perf_counter() < end:
            engine.clear()
            write(engine, tokens)
            written += len(tokens)

    return energy(work), written


def as_measurements(rows: Sequence[Row]) -> list[Measurement]:
    """Return every number of the rows with its unit, conditions, machine and versions."""
    return [number for row in rows for number in _measurements(row)]


def _measurements(row: Row) -> list[Measurement]:
    def add(quantity: str, value: float, unit: str, spread: float | None = None, **more: Any):
        return measured(
            str(row),
            quantity,
            value,
            unit,
            spread,
            packages=engines.packages(row.engine),
            threads=row.threads,
            **more,
        )

    energy_per_token = add("energy a token", row.joules_per_token, "J", by=row.energy_by)
    on = {"chunks": row.chunks, "context": row.context}
    return [
        add("file", row.file_bytes, "bytes"),
        add("peak memory", row.peak_memory_bytes, "bytes"),
        add("prompt speed", row.prompt_tokens_per_second, "tokens/s", tokens=row.prompt_tokens),
        add("decode speed", row.decode_tokens_per_second, "tokens/s", tokens=row.decode_tokens),
        add("time to first token", row.seconds_to_first_token, "s", tokens=row.prompt_tokens),
        replace(energy_per_token, how=row.energy_how),
        add("perplexity", row.perplexity, "", row.perplexity_stderr, **on),
    ]
