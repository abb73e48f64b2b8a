"""What every engine can do, whatever runs the model underneath."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from slmlab.errors import EngineError, UsageError

if TYPE_CHECKING:
    import numpy as np

Messages = Sequence[dict[str, str]]

BATCH_TOKENS = 2048
"""The most tokens handed to an engine in one call, as llama-bench and llama-perplexity do."""


@dataclass(frozen=True)
class Generation:
    """What a model wrote and how long it took.

    `seconds_to_first_token` includes reading the prompt; `decode_tokens_per_second` counts the
    tokens after the first, and is 0.0 where there are none.
    """

    text: str
    prompt_tokens: int
    new_tokens: int
    seconds_to_first_token: float
    decode_tokens_per_second: float


class Engine(ABC):
    """One loaded model with one sequence of tokens; use it with `with`, or call `close`.

    `context` is the most tokens the sequence may hold, prompt and answer together; `vocabulary`
    is the number of logits a token gets. A subclass gives the abstract methods; generating,
    streaming and measuring are the same for every engine because they need no more than those.
    """

    path: Path
    context: int
    threads: int
    vocabulary: int

    @abstractmethod
    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return the token ids of a text, with the model's own start token where it wants one.

        With `special`, markers such as `<|im_start|>` count as one token each and no start
        token is added: that is for text that a chat template has already prepared.
        """

    @abstractmethod
    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of some token ids; bytes that form no character become U+FFFD."""

    @abstractmethod
    def chat_prompt(self, messages: Messages) -> str:
        """Return the text the model's own chat template makes of the messages."""

    @abstractmethod
    def start_token(self) -> int | None:
        """Return the token this model wants before every text, or None."""

    @abstractmethod
    def ends(self, token: int) -> bool:
        """Return whether a token ends the model's answer."""

    @abstractmethod
    def clear(self) -> None:
        """Forget everything read so far."""

    @abstractmethod
    def evaluate(
        self, tokens: Sequence[int], position: int = 0, logits_from: int | None = None
    ) -> "np.ndarray":
        """Read tokens at positions `position`, `position` + 1, … of the one sequence.

        `position` must be the number of tokens read since the last `clear`. Returns float32
        logits, one row a token from index `logits_from` on (by default the last token only),
        shape (rows, vocabulary), valid until the next call. At most `BATCH_TOKENS` a call.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the model's memory back; closing twice is harmless, using it afterwards an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prompt_tokens(self, prompt: str | Messages) -> list[int]:
        """Return the token ids the model reads for a plain text or for chat messages."""
        if isinstance(prompt, str):
            return self.tokenize(prompt)
        return self.tokenize(self.chat_prompt(prompt), special=True)

    def generate(self, prompt: str | Messages, max_tokens: int = 64) -> Generation:
        """Write up to `max_tokens` tokens, always the most likely one, and time it.

        A string is continued; a list of `{"role": ..., "content": ...}` is answered.
        """
        tokens = self.prompt_tokens(prompt)
        start = time.perf_counter()
        new, stamps = [], []
        for token in self.greedy(tokens, max_tokens):
            new.append(token)
            stamps.append(time.perf_counter())
        decoding = stamps[-1] - stamps[0] if len(new) > 1 else 0.0
        return Generation(
            text=self.detokenize(new),
            prompt_tokens=len(tokens),
            new_tokens=len(new),
            seconds_to_first_token=(stamps[0] if stamps else time.perf_counter()) - start,
            decode_tokens_per_second=(len(new) - 1) / decoding if decoding else 0.0,
        )

    def stream(self, prompt: str | Messages, max_tokens: int = 64) -> Iterator[str]:
        """Yield the text of `generate` piece by piece, as it is written."""
        new: list[int] = []
        shown = ""
        for token in self.greedy(self.prompt_tokens(prompt), max_tokens):
            new.append(token)
            text = self.detokenize(new)
            if not text.endswith("\ufffd"):  # the last character may not be complete yet
                yield text[len(shown) :]
                shown = text
        if rest := self.detokenize(new)[len(shown) :]:
            yield rest

    def greedy(
        self,
        tokens: Sequence[int],
        max_tokens: int,
        choose: Callable[["np.ndarray"], int] = lambda logits: int(logits.argmax()),
    ) -> Iterator[int]:
        """Yield the most likely next token, again and again, until the model ends its answer.

        `choose` may prefer another one; it gets the logits, shape (vocabulary,).
        """
        if not tokens:
            raise UsageError("The prompt is empty; give the model at least one word.")
        if len(tokens) + max_tokens > self.context:
            raise UsageError(
                f"A prompt of {len(tokens)} tokens and {max_tokens} new ones do not fit a context "
                f"of {self.context}; load the model with a larger context or ask for less."
            )
        end = len(tokens) + max_tokens
        logits = self.read(tokens)
        for position in range(len(tokens), end):
            token = choose(logits[-1])
            if self.ends(token):
                return
            yield token
            if position + 1 < end:
                logits = self.evaluate([token], position)

    def read(self, tokens: Sequence[int]) -> "np.ndarray":
        """Forget everything, read a whole sequence and return the logits of its last token."""
        self.clear()
        return self.extend(tokens)

    def extend(self, tokens: Sequence[int], position: int = 0) -> "np.ndarray":
        """Read tokens, in as many calls as they need; return the logits of the last one.

        Raises `UsageError` where there are none.
        """
        if not len(tokens):
            raise UsageError("There is nothing to read; give the model at least one token.")
        for start in range(0, len(tokens), BATCH_TOKENS):
            logits = self.evaluate(tokens[start : start + BATCH_TOKENS], position + start)
        return logits


def must_be_open(model: object, path: Path) -> None:
    """Raise `EngineError` where an engine's model was closed and is now None."""
    if model is None:
        raise EngineError(f"{path.name} was closed; load it again to use it.")


def must_hold_tokens(context: int) -> None:
    """Raise `UsageError` for a context that no token fits."""
    if context < 1:
        raise UsageError(f"A context of {context} tokens holds nothing; ask for 1 or more.")


def must_be_known(precision: str, precisions: Sequence[str]) -> None:
    """Raise `UsageError` for a precision that an engine does not make."""
    if precision not in precisions:
        raise UsageError(
            f"There is no precision {precision!r} for this engine; choose {', '.join(precisions)}."
        )
