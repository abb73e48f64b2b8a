"""Measuring one task, in a process of its own, so that a crash is one task's failure."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from slmlab import acquisition, engines, measurement
from slmlab.errors import SlmlabError, VerificationError
from slmlab.files import locked, weight_bytes
from slmlab.machine import this_machine
from slmlab.measurement import Measurement, measured
from slmlab.measurement.alone import alone
from slmlab.quantization import quantize
from slmlab.sweeping.results import Result
from slmlab.sweeping.task import Task, read_text

Measure = Callable[[Task, int | None], list[Measurement]]
"""Measures a task with the given number of threads; None means all available."""

_LIMIT = 24 * 3600
"""Seconds after which a task is taken to hang."""

PATIENCE = 7 * 24 * 3600
"""Seconds to wait for other sweeps, which may take days."""


def attempt(task: Task, threads: int | None, measure: Measure) -> Result:
    """Measure a task and return what came out: the numbers, or the sentence that says why not."""
    machine = this_machine()
    try:
        rows, failure = tuple(measure(task, threads)), ""
    except (SlmlabError, OSError) as problem:
        rows, failure = (), str(problem)
    return Result(task, machine.fingerprint, rows, failure)


def measure_alone(task: Task, threads: int | None) -> list[Measurement]:
    """Measure a task in a fresh process of this machine; a timed one waits for those of others.

    Raises what `acquisition.fetch`, `engines.prepare` and `engines.load` raise,
    `VerificationError` where the model or text is not the one that was planned, and `EngineError`
    where it takes more than a day.
    """
    arguments = {"task": asdict(task), "threads": threads}
    with _turn() if task.is_timed else nullcontext():
        found = alone(__name__, "rows", str(task), _LIMIT, **arguments)
    return [Measurement(**row) for row in found]


def _turn() -> AbstractContextManager[None]:
    """Hold the lock under which one task at a time is timed here, whatever sweep it is of.

    It is not in the cache, which may be read-only, or shared by several machines.
    """
    folder = Path(gettempdir(), f"slmlab-{Path.home().name}")
    return locked(folder / "timing a model", PATIENCE)


def rows(task: dict[str, Any], threads: int | None) -> list[dict[str, Any]]:
    """Measure a task in this process and return its numbers as plain data."""
    planned = Task(**task)
    path = _form(planned)
    found = _MEASURED_BY[planned.quantity](planned, path, threads)
    return [asdict(_row(planned, *one)) for one in found]


def _form(task: Task) -> Path:
    """Return the model in the form that the engine runs, made where it is not in the cache."""
    source = _source(task)
    if task.engine == "llama_cpp":
        return quantize(source, [task.quantisation])[0].path
    return engines.prepare(task.engine, source, task.quantisation)


def _source(task: Task) -> Path:
    path = Path(task.model)
    if not path.is_absolute():
        return acquisition.fetch(task.model).path
    acquisition.verify(path, task.model_sha256)
    return path


def _size(task: Task, path: Path, threads: int | None) -> list[tuple]:
    return [("file", weight_bytes(path), "bytes", None)]


def _perplexity(task: Task, path: Path, threads: int | None) -> list[tuple]:
    text = read_text(task.text)
    if hashlib.sha256(text.encode()).hexdigest() != task.text_sha256:
        raise VerificationError(
            f"The text {task.text} is not the one that was planned; copy the same to each machine."
        )
    with engines.load(path, task.engine, task.context, threads) as loaded:
        found = measurement.score(loaded, text, task.chunks, task.context)
    return [("perplexity", found.value, "", found.stderr)]


def _speed(task: Task, path: Path, threads: int | None) -> list[tuple]:
    found = measurement.speed(
        path, task.prompt_tokens, task.decode_tokens, task.runs, threads, task.engine
    )
    return [
        ("prompt speed", found.prompt_tokens_per_second, "tokens/s", found.prompt_spread),
        ("decode speed", found.decode_tokens_per_second, "tokens/s", found.decode_spread),
    ]


def _memory(task: Task, path: Path, threads: int | None) -> list[tuple]:
    peak = measurement.peak_memory(path, task.context, task.engine)
    return [("peak memory", peak, "bytes", None)]


_MEASURED_BY = {"size": _size, "perplexity": _perplexity, "speed": _speed, "memory": _memory}


def _row(task: Task, quantity: str, value: float, unit: str, spread: float | None) -> Measurement:
    conditions = {
        "text": Path(task.text).name,
        "chunks": task.chunks,
        "context": task.context,
        "prompt_tokens": task.prompt_tokens,
        "decode_tokens": task.decode_tokens,
        "runs": task.runs,
    }
    return measured(
        task.subject,
        quantity,
        value,
        unit,
        spread,
        packages=engines.packages(task.engine),
        **{name: value for name, value in conditions.items() if value},
    )
