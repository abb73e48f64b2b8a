"""How much memory running a model takes: the peak of a process that does nothing else."""

from pathlib import Path

from slmlab import engines
from slmlab.engines.engine import Engine
from slmlab.errors import UsageError
from slmlab.measurement.alone import alone, peak_bytes

_WORK_TOKENS = 512
_NEW_TOKENS = 8


def peak_memory(path: Path, context: int = 2048, engine: str | None = None) -> int:
    """Return the most bytes resident at once in a process that loads and runs the model.

    The process reads a prompt of up to 512 tokens and writes a few more. Its own Python, the
    framework and the pages of the model file count, as they do for whoever runs it. `engine` is a
    name such as `mlx`; without one, what is at `path` decides. Raises `UsageError` for a context
    that is too small for that, the errors of `engines.load`, and `EngineError` where the process
    dies.
    """
    if context <= _NEW_TOKENS:
        raise UsageError(
            f"Memory cannot be measured with a context of {context} tokens; ask for more than "
            f"{_NEW_TOKENS}."
        )
    subject = f"the memory of {Path(path).name}"
    return alone(
        __name__, "peak_of_running", subject, path=str(path), context=context, engine=engine
    )


def peak_of_running(path: str, context: int, engine: str | None) -> int:
    """Load a model, let it work, and return the peak of this process in bytes."""
    with engines.load(Path(path), engine, context) as loaded:
        exercise(loaded)
        return peak_bytes()


def exercise(engine: Engine) -> None:
    """Let an engine read a prompt and write 8 tokens."""
    work = min(_WORK_TOKENS, engine.context - _NEW_TOKENS)
    engine.read(range(work))
    for position in range(work, work + _NEW_TOKENS):
        engine.evaluate([1], position)
