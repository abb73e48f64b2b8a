"""How well a model predicts a text, and how far a quantised model strays from its base.

Both follow llama-perplexity (llama.cpp, tools/perplexity/perplexity.cpp): the text is cut into
chunks of `context` tokens that do not overlap, memory is cleared before each, the first token
becomes the start token only where the model wants one, and only the second half of a chunk is
scored, so that every scored token has at least half a context before it.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab import engines
from slmlab.engines.engine import BATCH_TOKENS, Engine
from slmlab.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

CONTEXT = 512
_ROWS = 8  # logits handled at once, so that the work stays small and in the processor's cache


@dataclass(frozen=True)
class Perplexity:
    """exp(mean negative log-likelihood) over the scored tokens; lower is better.

    `stderr` is the standard error of the mean, carried through the exponential.
    """

    value: float
    stderr: float
    tokens_scored: int
    chunks: int
    context: int
    seconds: float

    def as_data(self) -> dict[str, float]:
        """Return it as plain data: what `slmlab measure --perplexity --json` prints."""
        return {"perplexity": self.value, "perplexity_stderr": self.stderr}


@dataclass(frozen=True)
class Divergence:
    """Kullback-Leibler divergence of a model's next-token distribution from its base's, in nats.

    `mean`, `median` and `percentile_99` are over the scored tokens; `stderr` is the standard
    error of the mean; `same_top_token` is the share of positions, 0 to 1, where both models
    think the same token most likely.
    """

    mean: float
    stderr: float
    median: float
    percentile_99: float
    same_top_token: float
    tokens_scored: int
    chunks: int
    context: int

    def as_data(self) -> dict[str, float]:
        """Return it as plain data: what `slmlab measure --against --json` prints."""
        return {
            "kl_divergence_mean": self.mean,
            "kl_divergence_stderr": self.stderr,
            "kl_divergence_median": self.median,
            "kl_divergence_percentile_99": self.percentile_99,
            "same_top_token": self.same_top_token,
        }


def perplexity(
    path: Path, text: str, chunks: int, context: int = CONTEXT, engine: str | None = None
) -> Perplexity:
    """Measure perplexity on the first `chunks` chunks of a text, with any engine.

    `engine` is a name such as `mlx`; without one, what is at `path` decides. Raises `UsageError`
    if the text is shorter than that.
    """
    with engines.load(path, engine, context) as loaded:
        return score(loaded, text, chunks, context)


def score(engine: Engine, text: str, chunks: int, context: int = CONTEXT) -> Perplexity:
    """Measure perplexity with an engine that is loaded already.

    `seconds` is the scoring pass alone.
    """
    import numpy as np

    pieces = _chunks(engine, text, chunks, context)
    start = time.perf_counter()
    losses = np.concatenate([_losses(*_scored(engine, piece)) for piece in pieces])
    seconds = time.perf_counter() - start
    mean = losses.mean()
    value = math.exp(mean)
    stderr = value * math.sqrt(max(0.0, (losses**2).mean() - mean**2) / (len(losses) - 1))
    return Perplexity(value, stderr, len(losses), chunks, context, seconds)


def kl_divergence(
    path: Path, base: Path, text: str, chunks: int, context: int = CONTEXT
) -> Divergence:
    """Measure how far the model at `path` strays from the one at `base`, token by token.

    KL(base || model) = sum over the vocabulary of p_base (log p_base - log p_model), at each
    scored position. Both models must have the same vocabulary; `UsageError` otherwise.
    """
    with (
        engines.load(path, context=context) as engine,
        engines.load(base, context=context) as reference,
    ):
        return divergence(engine, reference, text, chunks, context)


def divergence(
    engine: Engine, reference: Engine, text: str, chunks: int, context: int = CONTEXT
) -> Divergence:
    """Measure `kl_divergence` with an engine and its base that are loaded already."""
    import numpy as np

    if engine.vocabulary != reference.vocabulary:
        raise UsageError(
            f"{engine.path.name} and {reference.path.name} have different vocabularies; "
            f"compare a quantised file with the file it was made from."
        )
    divergences, same_top = [], []
    for piece in _chunks(engine, text, chunks, context):
        logits, _ = _scored(engine, piece)
        base_logits, _ = _scored(reference, piece)
        divergences.append(_divergences(base_logits, logits))
        same_top.append(base_logits.argmax(axis=1) == logits.argmax(axis=1))
    values = np.concatenate(divergences)
    return Divergence(
        mean=float(values.mean()),
        stderr=float(values.std() / math.sqrt(len(values) - 1)),
        median=float(np.median(values)),
        percentile_99=float(np.percentile(values, 99)),
        same_top_token=float(np.concatenate(same_top).mean()),
        tokens_scored=len(values),
        chunks=chunks,
        context=context,
    )


def _chunks(engine: Engine, text: str, chunks: int, context: int) -> list[list[int]]:
    """Cut a text into `chunks` lists of `context` token ids."""
    if chunks < 1 or not 4 <= context <= BATCH_TOKENS:
        raise UsageError(
            f"{chunks} chunks of {context} tokens cannot be scored; "
            f"ask for 1 chunk or more, of 4 to {BATCH_TOKENS} tokens."
        )
    tokens = engine.tokenize(text)
    if len(tokens) < chunks * context:
        raise UsageError(
            f"The text has {len(tokens)} tokens and {chunks} chunks of {context} need "
            f"{chunks * context}; ask for fewer chunks or give a longer text."
        )
    return [tokens[i * context : (i + 1) * context] for i in range(chunks)]


def _scored(engine: Engine, chunk: list[int]) -> tuple["np.ndarray", list[int]]:
    """Return the logits at the scored positions of a chunk and the tokens that really followed.

    With a context of 512 the positions 256 to 510 predict the tokens 257 to 511: 255 of them.
    """
    first = len(chunk) // 2
    start = engine.start_token()
    engine.clear()
    logits = engine.evaluate(chunk if start is None else [start, *chunk[1:]], logits_from=first)
    return logits[:-1], chunk[first + 1 :]


def _losses(logits: "np.ndarray", followers: list[int]) -> "np.ndarray":
    """Return the negative log-likelihood of each follower, shape (rows,), in nats."""
    import numpy as np

    rows = np.arange(len(followers))
    return _log_sums(logits) - logits[rows, followers]


def _log_sums(logits: "np.ndarray") -> "np.ndarray":
    """Return log(sum(exp(row))) of each row in float64, computed without overflow."""
    import numpy as np

    top = logits.max(axis=1)
    sums = [
        np.exp(block - block_top[:, None]).sum(axis=1, dtype=np.float64)
        for block, block_top in _blocks(logits, top)
    ]
    return top + np.log(np.concatenate(sums))


def _divergences(base: "np.ndarray", logits: "np.ndarray") -> "np.ndarray":
    """Return KL(base || model) at each row, shape (rows,), in nats."""
    import numpy as np

    base_sums, sums = _log_sums(base), _log_sums(logits)
    values = []
    for base_block, block, base_sum, block_sum in _blocks(base, logits, base_sums, sums):
        log_p = base_block - base_sum[:, None]
        values.append((np.exp(log_p) * (log_p - (block - block_sum[:, None]))).sum(axis=1))
    return np.concatenate(values)


def _blocks(*arrays: "np.ndarray") -> Iterator[tuple["np.ndarray", ...]]:
    """Yield the arrays together, a few rows at a time."""
    for start in range(0, len(arrays[0]), _ROWS):
        yield tuple(array[start : start + _ROWS] for array in arrays)
