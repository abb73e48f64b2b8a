"""How speed and memory change with one thing at a time: prompt, batch, threads, context.

A rate is the fastest of its repetitions after one that is not counted, because whatever else the
machine does can only slow it down. Tokens are random, as in llama-bench.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slmlab import gguf
from slmlab.engines import llama_cpp
from slmlab.engines.engine import Engine
from slmlab.measurement.alone import alone
from slmlab.measurement.throughput import random_tokens, repeat


@dataclass(frozen=True)
class Work:
    """What one batch takes: arithmetic operations, and bytes of weights to read."""

    operations: int
    bytes: int

    @property
    def intensity(self) -> float:
        """How many operations are done with each byte that is read."""
        return self.operations / self.bytes


def reading(engine: Engine, lengths: Sequence[int], repetitions: int = 2) -> dict[int, float]:
    """Measure how fast prompts of these lengths are read, in tokens per second."""
    tokens = random_tokens(engine.vocabulary, max(lengths))
    return {
        length: length
        / min(repeat(repetitions, engine, lambda length=length: engine.extend(tokens[:length])))
        for length in lengths
    }


def writing(
    engine: llama_cpp.LlamaCpp, counts: Sequence[int], tokens: int = 16, repetitions: int = 2
) -> dict[int, float]:
    """Measure how fast several sequences are written side by side, in tokens per second in all.

    Each of `counts` is how many sequences share a batch; each of them gets `tokens` tokens.
    """
    ids = random_tokens(engine.vocabulary, max(counts))

    def write(count: int) -> None:
        for position in range(tokens):
            engine.evaluate_together(ids[:count], position)

    return {
        count: count * tokens / min(repeat(repetitions, engine, lambda count=count: write(count)))
        for count in counts
    }


def by_threads(
    path: Path, counts: Sequence[int], prompt_tokens: int = 64, tokens: int = 16
) -> dict[int, tuple[float, float]]:
    """Measure reading and writing, in tokens per second, for each number of threads."""
    rates = {}
    for count in counts:
        with llama_cpp.load(path, max(prompt_tokens, tokens), count) as engine:
            read = reading(engine, [prompt_tokens])[prompt_tokens]
            rates[count] = (read, writing(engine, [1], tokens)[1])
    return rates


def thread_counts(cores: int) -> list[int]:
    """Return the numbers of threads worth trying: powers of two, all cores, and twice as many."""
    below = [2**i for i in range(cores.bit_length()) if 2**i < cores]
    return [*below, cores, 2 * cores]


def cache_growth(path: Path, contexts: Sequence[int], kv_type: str = "F16") -> dict[int, int]:
    """Read ever more tokens and return the bytes of keys and values kept after each of `contexts`.

    It is llama.cpp's own count of what the sequence has left in its memory.
    """
    kept = {}
    with llama_cpp.load(path, max(contexts), kv_type=kv_type) as engine:
        tokens = random_tokens(engine.vocabulary, max(contexts))
        read = 0
        for context in sorted(contexts):
            engine.extend(tokens[read:context], read)
            kept[context] = engine.kept_bytes()
            read = context
    return kept


def reserved_bytes(path: Path, less: int, more: int, kv_type: str = "F16") -> int:
    """Return by how many bytes a process is larger if a context is `more` tokens and not `less`.

    Nothing is read: each process only loads the model, and says how much of it is resident (RSS).
    """
    first, second = (
        alone(
            __name__,
            "resident_with",
            f"the memory of {Path(path).name}",
            path=str(path),
            context=context,
            kv_type=kv_type,
        )
        for context in (less, more)
    )
    return second - first


def resident_with(path: str, context: int, kv_type: str) -> int:
    """Load a model and return the resident bytes of this process."""
    import psutil

    with llama_cpp.load(Path(path), context, kv_type=kv_type):
        return psutil.Process().memory_info().rss


def work(path: Path, tokens: int, rows: int) -> Work:
    """Return what reading `tokens` tokens at once takes, with logits for `rows` of them.

    Each weight of a matrix is read once for all of them and gives two operations a token: a
    multiplication and an addition. The output matrix works for `rows` tokens only. Attention over
    earlier tokens and reading the KV cache are left out; both are small for short contexts.
    """
    matrices = {
        tensor.name: tensor for tensor in gguf.read_header(path).tensors if len(tensor.shape) > 1
    }
    embedding = matrices.pop("token_embd.weight")
    output = matrices.pop("output.weight", embedding)
    layers = sum(tensor.elements for tensor in matrices.values())
    return Work(
        operations=2 * (layers * tokens + output.elements * rows),
        bytes=sum(tensor.bytes for tensor in matrices.values()) + output.bytes,
    )


def roofline_points(
    path: Path, reads: Mapping[int, float], writes: Mapping[int, float]
) -> dict[str, tuple[float, float]]:
    """Return (operations per byte, operations per second) of each rate in tokens per second.

    `reads` are rates by tokens of the prompt, as from `reading`, and `writes` by sequences in the
    batch, as from `writing`.
    """
    batches = {f"write {count}": (count, count, rate) for count, rate in writes.items()}
    batches |= {f"read {count}": (count, 1, rate) for count, rate in reads.items()}
    points = {}
    for name, (tokens, rows, rate) in batches.items():
        batch = work(path, tokens, rows)
        points[name] = batch.intensity, batch.operations / tokens * rate
    return points


@functools.cache
def peak_operations() -> float:
    """Measure how fast this machine computes, in float32 operations per second.

    The best of ten products of two matrices of 1,024 x 1,024, by NumPy on all its threads.
    """
    import numpy as np

    side = 1024
    matrix = np.random.default_rng(0).random((side, side), np.float32)
    return 2 * side**3 / min(_seconds(lambda: matrix @ matrix) for _ in range(10))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
