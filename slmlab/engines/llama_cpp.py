"""Run a GGUF model file with llama.cpp, through llama-cpp-python's low-level API.

The high-level `Llama` class copies every row of logits into Python; here a caller gets a view
of llama.cpp's own memory, so that measuring costs next to nothing.
"""

import codecs
import ctypes
import functools
import importlib.util
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab import gguf
from slmlab.errors import EngineError, UsageError
from slmlab.machine import usable_threads

if TYPE_CHECKING:
    import numpy as np

Messages = Sequence[dict[str, str]]

BATCH_TOKENS = 2048
"""The most tokens handed to llama.cpp in one call, as llama-bench and llama-perplexity do."""


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


def why_not() -> str | None:
    """Return why this engine cannot run here and what to install, or None if it can."""
    if importlib.util.find_spec("llama_cpp"):
        return None
    return "llama-cpp-python is not installed; install it with: pip install llama-cpp-python"


def load(path: Path, context: int = 2048, threads: int | None = None) -> "LlamaCpp":
    """Load a model file; use the result with `with`, or call its `close`.

    `context` counts tokens, prompt and answer together; `threads` defaults to the cores this
    process may use. Raises `InvalidModelFile` for a damaged file and `EngineError` where
    llama.cpp refuses it.
    """
    return LlamaCpp(path, context, threads or usable_threads())


class LlamaCpp:
    """One loaded model with one context."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        if context < 1:
            raise UsageError(f"A context of {context} tokens holds nothing; ask for 1 or more.")
        gguf.read_header(path)
        self._api = _api()
        self.path = Path(path)
        self.context = context
        self.threads = threads
        self._model = self._load_model()
        self._context = self._open_context()
        self._vocab = self._api.llama_model_get_vocab(self._model)
        self._memory = self._api.llama_get_memory(self._context)
        self.vocabulary = int(self._api.llama_vocab_n_tokens(self._vocab))
        self._batch = self._api.llama_batch_init(min(context, BATCH_TOKENS), 0, 1)
        self._free = weakref.finalize(
            self, _free, self._api, self._batch, self._context, self._model
        )

    def __enter__(self) -> "LlamaCpp":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the model's memory back; closing twice is harmless, using it afterwards an error."""
        self._free()
        self._api = _Closed(self.path.name)

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return the token ids of a text, with the model's own start token where it wants one.

        With `special`, markers such as `<|im_start|>` count as one token each and no start
        token is added: that is for text that a chat template has already prepared.
        """
        raw = text.encode()
        room = len(raw) + 2
        ids = (self._api.llama_token * room)()
        count = self._api.llama_tokenize(
            self._vocab, raw, len(raw), ids, room, not special, special
        )
        if count < 0:
            raise EngineError(f"llama.cpp could not tokenise a text of {len(raw)} bytes.")
        return list(ids[:count])

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of some token ids; bytes that form no character become U+FFFD."""
        return b"".join(map(self._piece, tokens)).decode(errors="replace")

    def chat_prompt(self, messages: Messages) -> str:
        """Return the text the model's own chat template makes of the messages."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self._api.llama_model_chat_template(self._model, None)
        if not template:
            raise EngineError(
                f"{self.path.name} has no chat template; give a plain string to continue instead."
            )
        formatter = Jinja2ChatFormatter(
            template.decode(),
            eos_token=self._token_text(self._api.llama_vocab_eos(self._vocab)),
            bos_token=self._token_text(self._api.llama_vocab_bos(self._vocab)),
        )
        return formatter(messages=list(messages)).prompt

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
        for token in self._greedy(tokens, max_tokens):
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
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token in self._greedy(self.prompt_tokens(prompt), max_tokens):
            if piece := decoder.decode(self._piece(token)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest

    def clear(self) -> None:
        """Forget everything read so far."""
        self._api.llama_memory_clear(self._memory, True)

    def evaluate(
        self, tokens: Sequence[int], position: int = 0, logits_from: int | None = None
    ) -> "np.ndarray":
        """Read tokens at positions `position`, `position` + 1, … of the one sequence.

        Returns a float32 view of llama.cpp's logits, one row a token from index `logits_from`
        on (by default the last token only), shape (rows, vocabulary). The view is valid until
        the next call. All tokens must fit one batch of `BATCH_TOKENS`.
        """
        import numpy as np

        decode = self._api.llama_decode
        first = len(tokens) - 1 if logits_from is None else logits_from
        batch = self._batch
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i >= first
        batch.n_tokens = len(tokens)
        if decode(self._context, batch):
            raise EngineError(
                f"llama.cpp could not read {len(tokens)} tokens at position {position}; "
                f"the context holds {self.context}."
            )
        logits = self._api.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (len(tokens) - first, self.vocabulary))

    def start_token(self) -> int | None:
        """Return the token this model wants before every text, or None."""
        if not self._api.llama_vocab_get_add_bos(self._vocab):
            return None
        return int(self._api.llama_vocab_bos(self._vocab))

    def _greedy(self, tokens: list[int], max_tokens: int) -> Iterator[int]:
        """Yield the most likely next token, again and again, until the model ends its answer."""
        if not tokens:
            raise UsageError("The prompt is empty; give the model at least one word.")
        if len(tokens) + max_tokens > self.context:
            raise UsageError(
                f"A prompt of {len(tokens)} tokens and {max_tokens} new ones do not fit a context "
                f"of {self.context}; load the model with a larger context or ask for less."
            )
        self.clear()
        for start in range(0, len(tokens), BATCH_TOKENS):
            logits = self.evaluate(tokens[start : start + BATCH_TOKENS], start)
        for position in range(len(tokens), len(tokens) + max_tokens):
            token = int(logits[-1].argmax())
            if self._api.llama_vocab_is_eog(self._vocab, token):
                return
            yield token
            logits = self.evaluate([token], position)

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        size = self._api.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[: max(0, size)]

    def _token_text(self, token: int) -> str:
        return self._api.llama_vocab_get_text(self._vocab, token).decode() if token >= 0 else ""

    def _load_model(self):
        model = self._api.llama_model_load_from_file(
            str(self.path).encode(), self._api.llama_model_default_params()
        )
        if not model:
            raise EngineError(
                f"llama.cpp could not load {self.path.name}: {_last_words()}. "
                f"Look at the file with: slmlab inspect"
            )
        return model

    def _open_context(self):
        wanted = self._api.llama_context_default_params()
        wanted.n_ctx = self.context
        wanted.n_batch = min(self.context, BATCH_TOKENS)
        wanted.n_threads = wanted.n_threads_batch = self.threads
        wanted.swa_full = False  # keep only the window of a sliding-window layer, as the tools do
        context = self._api.llama_init_from_model(self._model, wanted)
        if not context:
            self._api.llama_model_free(self._model)
            raise EngineError(
                f"llama.cpp could not make room for a context of {self.context} tokens: "
                f"{_last_words()}. Ask for a smaller context."
            )
        return context


class _Closed:
    """Stands where llama.cpp was: a call with freed memory would end the learner's kernel."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, _: str) -> None:
        raise EngineError(f"{self._name} was closed; load it again to use it.")


_log: list[str] = []


@functools.cache
def _api():
    """Return the low-level module, with llama.cpp's log kept instead of printed."""
    reason = why_not()
    if reason:
        raise EngineError(reason)
    import llama_cpp

    @llama_cpp.llama_log_callback
    def keep(_level: int, text: bytes, _data: object) -> None:
        _log.append(text.decode(errors="replace"))
        del _log[:-20]

    llama_cpp.llama_log_set(keep, None)
    _api.keep = keep
    llama_cpp.llama_backend_init()
    return llama_cpp


def _last_words() -> str:
    """Return llama.cpp's last line of log: where loading fails, it is the reason."""
    lines = "".join(_log).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else "it gave no reason"


def _free(api, batch, context, model) -> None:
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)
